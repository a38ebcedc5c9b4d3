//! Requests over a driver without a device, byte for byte against the processor.

use std::sync::Arc;

use unisono_cpu::CpuOptions;
use unisono_cpu::host::Host;
use unisono_graph::Graph;
use unisono_graph::ops::indexing::NonZero;
use unisono_graph::ops::linear::Linear;
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Backend, Executable, Group, Member, NodePlacement, Plan, PlanKey};
use unisono_runtime::profile::Profile;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Tensor};

use crate::device::{Cuda, CudaOptions, Opened};
use crate::driver::fake::{self, FakeDevice, State};
use crate::driver::{Context, DevicePool, Source};
use crate::exec::engine::Engine;
use crate::exec::lane::CudaLane;
use crate::exec::run::MOST_BY_KERNEL;
use crate::lower::Lower;
use crate::testing::{
    SOURCE, input, lower, model, negate, node, numbers, pick, simulate, sum, triangle,
};

/// As an executable takes them.
fn lent(members: &mut [Member]) -> Vec<&mut Member> {
    members.iter_mut().collect()
}

pub(super) fn state(memory: usize) -> State {
    State {
        devices: vec![FakeDevice {
            name: c"Fake 100",
            capability: (9, 0),
            memory,
        }],
        simulate: Some(simulate),
        ..State::default()
    }
}

/// A device without a device, with one lane in use, and the plans made so far.
pub(super) struct Bench {
    pub(super) model: Arc<ModelGraph>,
    engine: Arc<Engine>,
    pub(super) executable: Arc<dyn Executable>,
    plans: Vec<(PlanKey, Arc<dyn Plan>)>,
    lane: Box<dyn Lane>,
    /// What the processor says.
    oracle: Arc<dyn Executable>,
    oracle_lane: Box<dyn Lane>,
}

fn one_thread() -> Host {
    let mut options = CpuOptions::default();
    options.threads = 1;
    Host::new(&options).unwrap()
}

fn backend(options: &CudaOptions) -> Result<Cuda, Error> {
    backend_with(options, &[SOURCE], lower)
}

fn backend_with(options: &CudaOptions, sources: &[Source], lower: Lower) -> Result<Cuda, Error> {
    let context = Context::open(fake::driver()?, 0)?;
    let pool = DevicePool::new(&context, options.memory_limit);
    let opened = Opened { context, pool };
    Ok(Cuda(Arc::new(Engine::new(
        opened, options, sources, lower,
    )?)))
}

impl Bench {
    pub(super) fn new(graph: Graph) -> Bench {
        Bench::with(graph, 64 << 20, &CudaOptions::default()).unwrap()
    }

    pub(super) fn with(graph: Graph, memory: usize, options: &CudaOptions) -> Result<Bench, Error> {
        fake::reset(state(memory));
        Bench::on_this_driver(model(graph), options)
    }

    pub(super) fn on_this_driver(
        model: Arc<ModelGraph>,
        options: &CudaOptions,
    ) -> Result<Bench, Error> {
        let backend = backend(options)?;
        let oracle = one_thread();
        Ok(Bench {
            lane: backend.new_lane()?,
            executable: backend.prepare(Arc::clone(&model))?,
            plans: Vec::new(),
            oracle: oracle.prepare(Arc::clone(&model))?,
            oracle_lane: oracle.new_lane()?,
            engine: backend.0,
            model,
        })
    }

    pub(super) fn member(&mut self, inputs: &[Tensor]) -> Result<Member, Error> {
        let (key, rows) = self.model.admit(inputs).unwrap();
        let known = self.plans.iter().position(|(k, _)| *k == key);
        let at = match known {
            Some(at) => at,
            None => {
                let plan = self.executable.compile(&key)?;
                self.plans.push((key, plan));
                self.plans.len() - 1
            }
        };
        Ok(Member {
            plan: Arc::clone(&self.plans[at].1),
            rows,
            inputs: inputs.iter().cloned().collect(),
            outputs: vec![None; self.model.outputs().len()],
        })
    }

    pub(super) fn alone(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let mut member = self.member(inputs)?;
        let Member {
            plan,
            rows,
            inputs,
            outputs,
        } = &mut member;
        plan.run(&mut *self.lane, *rows, inputs, outputs)?;
        Ok(member.outputs.into_iter().map(Option::unwrap).collect())
    }

    pub(super) fn expected(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let (key, rows) = self.model.admit(inputs).unwrap();
        let plan = self.oracle.compile(&key)?;
        let mut outputs = vec![None; self.model.outputs().len()];
        plan.run(&mut *self.oracle_lane, rows, inputs, &mut outputs)?;
        Ok(outputs.into_iter().map(Option::unwrap).collect())
    }

    /// Runs requests of one plan as a batch.
    pub(super) fn batch(&mut self, requests: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Error> {
        let members = requests.iter().map(|inputs| self.member(inputs));
        let mut members = members.collect::<Result<Vec<_>, Error>>()?;
        let group = Group {
            members: 0..members.len(),
            rows: members.iter().map(|member| member.rows).sum(),
        };
        self.executable
            .run_batch(&mut *self.lane, &mut lent(&mut members), &[group])?;
        let outputs = members.into_iter().map(|member| {
            let outputs = member.outputs.into_iter();
            outputs.map(Option::unwrap).collect()
        });
        Ok(outputs.collect())
    }

    pub(super) fn placement(&mut self, inputs: &[Tensor]) -> Vec<NodePlacement> {
        let member = self.member(inputs).unwrap();
        member.plan.placement(member.rows, inputs).unwrap()
    }

    /// A profile of so many runs, and the outputs of the last.
    pub(super) fn profile(&mut self, inputs: &[Tensor], runs: usize) -> (Profile, Vec<Tensor>) {
        let mut member = self.member(inputs).unwrap();
        let Member {
            plan,
            rows,
            inputs,
            outputs,
        } = &mut member;
        let lane = &mut *self.lane;
        let profile = plan.profile(lane, *rows, inputs, outputs, runs).unwrap();
        (profile, member.outputs.into_iter().flatten().collect())
    }

    pub(super) fn check_alone(&mut self, inputs: &[Tensor]) {
        let got = self.alone(inputs).unwrap();
        compare(&got, &self.expected(inputs).unwrap());
    }

    pub(super) fn check_batch(&mut self, requests: &[Vec<Tensor>]) {
        let got = self.batch(requests).unwrap();
        for (got, request) in got.iter().zip(requests) {
            compare(got, &self.expected(request).unwrap());
        }
    }
}

pub(super) fn compare(got: &[Tensor], expected: &[Tensor]) {
    assert_eq!(got.len(), expected.len());
    for (n, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.dtype(), expected.dtype(), "output {n}");
        assert_eq!(got.shape(), expected.shape(), "output {n}");
        assert!(got.bytes() == expected.bytes(), "output {n} has other bits");
    }
}

/// How often a call was made since the last time.
pub(super) fn calls(name: &str) -> usize {
    fake::with(|state| state.calls.iter().filter(|call| **call == name).count())
}

pub(super) fn forget_calls() {
    fake::with(|state| state.calls.clear());
}

/// Kernels, nodes on the processor, a value that is passed on, and a constant.
fn mixed() -> Graph {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "3", "3"]);
    let a = node(&mut graph, negate(), &[x]);
    let b = node(&mut graph, triangle(), &[a]);
    let c = node(&mut graph, sum(), &[b, x]);
    let d = node(&mut graph, triangle(), &[x]);
    let e = node(&mut graph, sum(), &[c, d]);
    let constant = graph.add_constant("c", numbers(&[5], 1));
    graph.set_outputs(vec![e, x, constant, b]);
    graph
}

/// Kernels alone.
fn plain() -> Graph {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "10"]);
    let a = node(&mut graph, negate(), &[x]);
    let b = node(&mut graph, sum(), &[a, x]);
    let c = node(&mut graph, sum(), &[b, a]);
    graph.set_outputs(vec![c]);
    graph
}

/// Picks from a table of 10 numbers.
fn picking() -> Graph {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::I64, &["rows"]);
    let table = graph.add_constant("table", numbers(&[10], 3));
    let y = node(&mut graph, pick(), &[table, x]);
    graph.set_outputs(vec![y]);
    graph
}

fn picks(picks: &[i64]) -> Vec<Tensor> {
    vec![Tensor::from_slice(&[picks.len()], picks).unwrap()]
}

#[test]
fn whatever_the_number_of_rows_a_request_has_the_bits_of_the_processor() {
    let mut bench = Bench::new(mixed());
    for rows in [1, 2, 3, 8, 9, 10, 12, 13, 16, 17, 50, 9, 1, 2000] {
        bench.check_alone(&[numbers(&[rows, 3, 3], rows)]);
    }
}

#[test]
fn members_of_a_batch_have_the_bits_that_they_have_alone() {
    let mut bench = Bench::new(mixed());
    for sizes in [&[1, 1][..], &[1, 2, 3], &[7, 1, 1], &[4; 10], &[700, 500]] {
        let requests: Vec<Vec<Tensor>> = sizes
            .iter()
            .enumerate()
            .map(|(n, &rows)| vec![numbers(&[rows, 3, 3], 100 * n + rows)])
            .collect();
        bench.check_batch(&requests);
    }
}

#[test]
fn outputs_that_callers_allocate_have_the_shapes_of_their_answers_and_are_written_to() {
    let mut bench = Bench::new(mixed());
    let requests: Vec<Vec<Tensor>> = [1, 3].map(|n| vec![numbers(&[n, 3, 3], n)]).into();
    let members = requests.iter().map(|inputs| bench.member(inputs));
    let mut members = members.collect::<Result<Vec<_>, Error>>().unwrap();
    for member in &mut members {
        member.plan.allocate(member.rows, &mut member.outputs);
    }
    let address = |output: &Option<Tensor>| output.as_ref().map(|t| t.bytes().as_ptr());
    let addresses = |member: &Member| -> Vec<_> { member.outputs.iter().map(address).collect() };
    let before: Vec<_> = members.iter().map(addresses).collect();
    let group = Group {
        members: 0..2,
        rows: 4,
    };
    let executable = Arc::clone(&bench.executable);
    executable
        .run_batch(&mut *bench.lane, &mut lent(&mut members), &[group])
        .unwrap();
    for ((member, request), before) in members.iter().zip(&requests).zip(before) {
        // All but the constant, which has no rows.
        assert_eq!(before.iter().filter(|at| at.is_some()).count(), 3);
        for (after, before) in addresses(member).into_iter().zip(before) {
            assert!(before.is_none() || after == before);
        }
        let got: Vec<Tensor> = member.outputs.iter().flatten().cloned().collect();
        compare(&got, &bench.expected(request).unwrap());
    }
}

#[test]
fn a_bucket_is_captured_once_and_then_launched() {
    let mut bench = Bench::new(mixed());
    let request = |rows| [numbers(&[rows, 3, 3], rows)];
    bench.check_alone(&request(17));
    // Three segments on the device, as two nodes are on the processor.
    assert_eq!((calls("begin_capture"), calls("launch_graph")), (3, 3));
    forget_calls();
    for rows in [18, 19, 20] {
        bench.check_alone(&request(rows));
    }
    assert_eq!((calls("begin_capture"), calls("launch_graph")), (0, 9));
    for name in ["allocate", "allocate_host", "launch", "upload_graph"] {
        assert_eq!(calls(name), 0, "{name}");
    }
    bench.check_alone(&request(21));
    assert_eq!(calls("begin_capture"), 3);
    // Another lane has addresses of its own.
    forget_calls();
    bench.lane = Box::new(CudaLane::new(&bench.engine).unwrap());
    bench.check_alone(&request(21));
    assert_eq!(calls("begin_capture"), 3);
}

#[test]
fn kernels_copy_batches_up_to_a_size_and_copy_engines_larger_ones() {
    let mut bench = Bench::with(plain(), 1 << 30, &CudaOptions::default()).unwrap();
    let copies = || (calls("copy_in"), calls("copy_out"));
    // Odd numbers of bytes, so that a last piece is not full.
    for rows in [1, 3, 700] {
        bench.check_alone(&[numbers(&[rows, 10], rows)]);
    }
    assert_eq!(copies(), (0, 0));
    let rows = MOST_BY_KERNEL / 40 + 1;
    bench.check_alone(&[numbers(&[rows, 10], 5)]);
    assert_eq!(copies(), (1, 1));

    // What is copied within the device is brought back as a whole.
    let mut bench = Bench::new(mixed());
    bench.check_alone(&[numbers(&[3, 3, 3], 1)]);
    // The constant, and two nodes on the processor: one reads what a kernel has made, both write to the device.
    assert_eq!(copies(), (3, 1));
}

#[test]
fn a_kernel_begins_early_right_behind_another_and_behind_nothing_else() {
    let begins_early = |graph: Graph, shape: &[usize]| {
        let mut bench = Bench::with(graph, 1 << 30, &CudaOptions::default()).unwrap();
        bench.check_alone(&[numbers(shape, 1)]);
        fake::with(|state| {
            let launched = state.launched.iter();
            launched.map(|one| one.begins_early).collect::<Vec<bool>>()
        })
    };
    // The inputs come by a kernel, or by the copy engine; the last kernel is the one that says that all has ended.
    assert_eq!(
        begins_early(plain(), &[3, 10]),
        [false, true, true, true, true]
    );
    let many = [MOST_BY_KERNEL / 40 + 1, 10];
    assert_eq!(begins_early(plain(), &many), [false, true, true, false]);
    // A node on the processor is between the second and the third, and between that and the fourth. Before the fifth outputs are
    // copied within the device; it brings all of them back.
    let expected = [false, true, false, false, false, true];
    assert_eq!(begins_early(mixed(), &[3, 3, 3]), expected);
}

#[test]
fn a_lane_that_grew_captures_again_what_it_had_captured() {
    let mut bench = Bench::new(plain());
    let request = |rows| [numbers(&[rows, 10], rows)];
    bench.check_alone(&request(2));
    let before = bench.lane.bytes();
    bench.check_alone(&request(6000));
    assert!(bench.lane.bytes() > before + 4 * 10 * 6000);
    forget_calls();
    bench.check_alone(&request(2));
    bench.check_alone(&request(2));
    assert_eq!((calls("begin_capture"), calls("launch_graph")), (1, 2));
}

#[test]
fn data_that_a_kernel_refuses_is_an_error_of_one_request_alone() {
    let mut bench = Bench::new(picking());
    bench.check_alone(&picks(&[1, 9, 0]));
    let bad = picks(&[2, 10]);
    let requests = [picks(&[4]), bad.clone(), picks(&[7, 8])];
    let error = bench.batch(&requests).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Execution);
    // The runtime runs them singly then.
    bench.check_alone(&requests[0]);
    let (error, expected) = (
        bench.alone(&bad).unwrap_err(),
        bench.expected(&bad).unwrap_err(),
    );
    assert_eq!(error.kind(), expected.kind());
    assert_eq!(error.to_string(), expected.to_string());
    assert!(error.node().is_some());
    bench.check_batch(&[picks(&[4]), picks(&[7, 8])]);
    // Rows that nobody asked for are no reason to fail: nine of them have a bucket of twelve.
    bench.check_batch(&[picks(&[9; 8]), picks(&[9])]);
}

#[test]
fn rows_that_nobody_asked_for_hold_nothing_of_an_earlier_batch() {
    let mut bench = Bench::new(picking());
    // As bad as it gets, in the very rows that the next batch does not fill.
    let bad = picks(&[0, 0, 0, 0, 0, 0, 0, 0, 0, -5, 99, 10]);
    bench.alone(&bad).unwrap_err();
    // A batch, which nobody would run again on the processor.
    bench.check_batch(&[picks(&[3; 7]), picks(&[3; 2])]);
}

#[test]
fn more_than_there_is_memory_for_runs_in_pieces_and_what_cannot_is_an_error() {
    // Room for the least of a lane, and for one step of growth.
    let options = CudaOptions::default();
    let mut bench = Bench::with(plain(), 1 << 20, &options).unwrap();
    let request = |rows: usize| vec![numbers(&[rows, 10], rows)];
    bench.check_alone(&request(100));
    // Each half has room, both together have not.
    bench.check_batch(&[request(480), request(500)]);
    let large: Vec<Vec<Tensor>> = (0..12).map(|n| request(1000 + n)).collect();
    bench.check_batch(&large);
    let error = bench.alone(&request(20_000)).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::Limit),
        "{error}"
    );
    bench.check_alone(&request(100));
}

#[test]
fn what_has_no_program_runs_on_the_processor_and_says_so() {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "3"]);
    let a = node(&mut graph, negate(), &[x]);
    let b = node(&mut graph, NonZero, &[a]);
    graph.set_outputs(vec![b]);
    let mut bench = Bench::new(graph);
    let request = [Tensor::from_slice(&[2, 3], &[0f32, 1.0, 2.0, 0.0, 0.0, 3.0]).unwrap()];
    bench.check_alone(&request);
    let placement = bench.placement(&request);
    assert_eq!(placement.len(), 2);
    for place in placement {
        assert_eq!(place.device, "cpu");
        let why = place.why.unwrap();
        assert!(
            why.contains("node1") && why.contains("depend on data"),
            "{why}"
        );
    }
}

#[test]
fn a_plan_says_where_its_nodes_run() {
    let mut bench = Bench::new(mixed());
    let request = [numbers(&[2, 3, 3], 1)];
    bench.check_alone(&request);
    let placement = bench.placement(&request);
    let devices: Vec<&str> = placement.iter().map(|place| &*place.device).collect();
    assert_eq!(devices, ["cuda:0", "cpu", "cuda:0", "cpu", "cuda:0"]);
    for place in placement {
        assert_eq!(place.why.is_some(), place.device == "cpu", "{place:?}");
    }
}

#[test]
fn nodes_that_run_together_are_told_one_by_one_in_the_graphs_order() {
    fake::reset(state(64 << 20));
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "8"]);
    let projected = |graph: &mut Graph, seed| {
        let weights = graph.add_constant("w", numbers(&[8, 8], seed));
        node(graph, Linear::default(), &[x, weights])
    };
    let a = projected(&mut graph, 1);
    let b = node(&mut graph, triangle(), &[a]);
    let c = projected(&mut graph, 2);
    let d = node(&mut graph, negate(), &[c]);
    graph.set_outputs(vec![b, d]);
    let options = CudaOptions::default();
    let backend = backend_with(&options, crate::kernels::SOURCES, crate::lower::lower).unwrap();
    let model = model(graph);
    let executable = backend.prepare(Arc::clone(&model)).unwrap();
    let request = [numbers(&[2, 8], 1)];
    let (key, rows) = model.admit(&request).unwrap();
    let plan = executable.compile(&key).unwrap();
    let placement = plan.placement(rows, &request).unwrap();
    let told: Vec<(&str, &str)> = placement.iter().map(|p| (&*p.name, &*p.device)).collect();
    let expected = [
        ("node0", "cuda:0"),
        ("node1", "cpu"),
        ("node2", "cuda:0"),
        ("node3", "cuda:0"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_profile_tells_of_every_step_and_ends_with_the_same_answer() {
    let mut bench = Bench::new(mixed());
    let request = [numbers(&[9, 3, 3], 1)];
    let (profile, got) = bench.profile(&request, 3);
    assert_eq!((profile.rows, profile.runs), (9, 3));
    let kernels: Vec<&str> = profile.steps.iter().map(|step| &*step.kernel).collect();
    let copy = "copy to an output";
    let expected = [
        "negate",
        "on the CPU",
        "sum",
        "on the CPU",
        "sum",
        copy,
        copy,
    ];
    assert_eq!(kernels, expected);
    // The driver's clock goes on by 1.5 ms from event to event.
    assert_eq!(profile.steps[0].times.median_ns, 1_500_000);
    assert_eq!(profile.steps[2].input_bytes, 2 * 4 * 81);
    assert_eq!(profile.steps[2].output_bytes, 4 * 81);
    assert!(profile.within_steps.median_ns <= profile.whole.highest_ns);
    compare(&got, &bench.expected(&request).unwrap());
}

/// A first request, one of another bucket, and a batch; then everything goes.
fn everything() -> Result<(), Error> {
    let model = model(mixed());
    let mut bench = Bench::on_this_driver(model, &CudaOptions::default())?;
    let requests: Vec<Vec<Tensor>> = (1..4).map(|n| vec![numbers(&[n, 3, 3], n)]).collect();
    for request in &requests {
        let got = bench.alone(request)?;
        compare(&got, &bench.expected(request).unwrap());
    }
    for (got, request) in bench.batch(&requests)?.iter().zip(&requests) {
        compare(got, &bench.expected(request).unwrap());
    }
    Ok(())
}

#[test]
fn everything_that_is_made_is_unmade() {
    fake::reset(state(64 << 20));
    everything().unwrap();
    fake::with(|state| {
        assert!(state.alive.is_empty(), "{:?}", state.alive);
        assert_eq!(state.retained, 0);
    });
}

#[test]
fn whatever_call_fails_nothing_wrong_comes_out_and_nothing_is_left() {
    use crate::driver::status::Status;
    fake::reset(state(64 << 20));
    everything().unwrap();
    let count = fake::with(|state| state.calls.len());
    let mut failed = 0;
    for (number, status) in (0..count).flat_map(|n| {
        [Status::OUT_OF_MEMORY, Status::INVALID_VALUE, Status(700)].map(|status| (n, status))
    }) {
        fake::reset(State {
            fail_at: Some((number, status)),
            ..state(64 << 20)
        });
        // Right, or an error: `everything` compares.
        failed += usize::from(everything().is_err());
        if status.is_sticky() {
            continue;
        }
        fake::with(|state| {
            // A call that gives something back and fails leaves it where it is.
            let gives_back = |call: &str| {
                ["free", "destroy", "unload", "release"]
                    .iter()
                    .any(|what| call.starts_with(what))
            };
            let call = state.calls.get(number).copied().unwrap_or_default();
            if !gives_back(call) && !call.contains("current_context") {
                assert!(
                    state.alive.is_empty(),
                    "{call}, number {number}: {:?}",
                    state.alive
                );
            }
        });
    }
    assert!(failed > count, "{failed} of {count} calls");
}

#[test]
fn a_lost_device_is_an_error_for_everybody_from_then_on() {
    let mut bench = Bench::new(plain());
    let request = vec![numbers(&[2, 10], 1)];
    bench.check_alone(&request);
    fake::with(|state| {
        state.fail_at = Some((state.calls.len(), crate::driver::status::Status(700)));
    });
    for _ in 0..3 {
        let error = bench.alone(&request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        let error = bench
            .batch(&[request.clone(), request.clone()])
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
    }
}

#[test]
fn batching_pays_as_long_as_starting_costs_more_than_rows() {
    let mut bench = Bench::new(plain());
    bench.check_alone(&[numbers(&[1, 10], 1)]);
    let cost = bench.plans[0].1.cost();
    assert!(cost.worthwhile_rows() >= 1000, "{cost:?}");
    assert!(!cost.mixes());
}
