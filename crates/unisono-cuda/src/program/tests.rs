//! Programs, looked at without a device: every value has a place, and nobody else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use unisono_cpu::CpuOptions;
use unisono_cpu::exec::model::Store;
use unisono_cpu::host::Host;
use unisono_graph::infer::infer;
use unisono_graph::ops::activation::{Activate, Activation};
use unisono_graph::ops::conv::Conv;
use unisono_graph::ops::indexing::NonZero;
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::Transpose;
use unisono_graph::ops::normalize::{Softmax, SoftmaxFunction};
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_graph::ops::shape::Reshape;
use unisono_graph::ops::window::{Padding, Window};
use unisono_graph::{Fact, Graph, Symbol, ValueId};
use unisono_runtime::Error;
use unisono_runtime::program::concretise;
use unisono_tensor::{DType, Tensor};

use super::straight::MOST_BYTES;
use super::*;
use crate::lower::Lowering;
use crate::testing::{input, lower, negate, node, numbers, pick, sum, triangle};

/// Memory of the device, played by the host's.
struct Bytes(Vec<u8>);

impl Resident for Bytes {
    fn address(&self) -> u64 {
        self.0.as_ptr().addr() as u64
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Counts what is uploaded.
#[derive(Default)]
struct Uploads(Mutex<Vec<usize>>);

impl Upload for Uploads {
    fn upload(&self, bytes: &[u8]) -> Result<Arc<dyn Resident>, Error> {
        self.0.lock().unwrap().push(bytes.len());
        Ok(Arc::new(Bytes(bytes.to_vec())))
    }
}

/// What programs are built with.
pub(super) struct Bench {
    uploads: Arc<Uploads>,
    weights: Weights,
    host: Host,
    store: Store,
    arena_limit: usize,
    pub(super) lower: fn(&mut Lowering<'_>) -> Result<bool, Error>,
}

impl Bench {
    pub(super) fn new() -> Bench {
        let uploads = Arc::new(Uploads::default());
        let mut options = CpuOptions::default();
        options.threads = 1;
        Bench {
            weights: Weights::new(Arc::<Uploads>::clone(&uploads)),
            uploads,
            host: Host::new(&options).unwrap(),
            store: Store::default(),
            arena_limit: 1 << 30,
            lower,
        }
    }

    /// The program for so many rows, which the inputs call "rows".
    fn build(&self, graph: &Graph, rows: usize) -> Result<Built, Error> {
        graph.check().unwrap();
        let declared = graph.inputs().iter().map(|&id| {
            let declared = graph.value(id).declared.clone().unwrap();
            Fact::new(declared.dtype, declared.shape.unwrap())
        });
        let facts = infer(graph, &declared.collect::<Vec<_>>()).unwrap();
        let known = concretise(&facts, &Symbol::new("rows"), rows);
        let target = Target {
            lower: &self.lower,
            processors: 132,
            shared_limit: 227 << 10,
            arena_limit: self.arena_limit,
            weights: &self.weights,
            host: &self.host,
            taken: None,
            store: &self.store,
        };
        build(graph, &known, &target)
    }

    /// Bytes of constants on the device.
    pub(super) fn weights(&self) -> u64 {
        self.weights.bytes()
    }

    pub(super) fn program(&self, graph: &Graph, rows: usize) -> Program {
        match self.build(graph, rows).unwrap() {
            Built::Program(program) => *program,
            Built::Elsewhere(reason) => panic!("{reason:?}"),
        }
    }

    fn elsewhere(&self, graph: &Graph) -> Reason {
        match self.build(graph, 2).unwrap() {
            Built::Program(_) => panic!("it is a program"),
            Built::Elsewhere(reason) => reason,
        }
    }
}

/// Bytes of a block, and whose they are at the moment.
struct Owners(HashMap<&'static str, Vec<usize>>);

const NOBODY: usize = usize::MAX - 1;

impl Owners {
    fn bytes(&mut self, program: &Program, placed: &Placed) -> &mut [usize] {
        let ports = |ports: &[Port], n: usize| (ports[n].offset, ports[n].bytes);
        let Buffer { place, offset } = placed.buffer;
        let (block, start, room) = match place {
            Place::Input(n) => {
                let (start, room) = ports(&program.inputs, n);
                ("inputs", start, room)
            }
            Place::Output(n) => {
                let (start, room) = ports(&program.outputs, n);
                ("outputs", start, room)
            }
            Place::Arena(at) => ("arena", at, program.arena - at),
            Place::Constant(_) | Place::Status => panic!("nothing of a step's own is there"),
        };
        assert!(start % ALIGNMENT == 0, "{placed:?} is not aligned");
        assert!(offset + placed.bytes <= room, "{placed:?} has no room");
        let block = self.0.get_mut(block).unwrap();
        &mut block[start + offset..start + offset + placed.bytes]
    }
}

/// Looks at a program as if it ran: whatever is read was written before and belongs to who is read; all that kernels get lies
/// within their step's operands.
pub(super) fn check(program: &Program, graph: &Graph) {
    let mut owners = Owners(HashMap::from([
        ("inputs", vec![NOBODY; program.input_bytes]),
        ("outputs", vec![NOBODY; program.output_bytes]),
        ("arena", vec![NOBODY; program.arena]),
    ]));
    for (n, port) in program.inputs.iter().enumerate() {
        let placed = Placed {
            value: graph.inputs()[n].index(),
            buffer: Buffer::at(Place::Input(n)),
            bytes: port.bytes,
        };
        let bytes = owners.bytes(program, &placed);
        assert!(bytes.iter().all(|&owner| owner == NOBODY), "inputs overlap");
        bytes.fill(placed.value);
    }
    for port in &program.outputs {
        assert!(port.offset >= STATUS_BYTES, "an output lies on the status");
    }
    for step in &program.steps {
        let read = |owners: &mut Owners| {
            for placed in &step.inputs {
                if matches!(placed.buffer.place, Place::Constant(_)) {
                    continue;
                }
                let bytes = owners.bytes(program, placed);
                assert!(
                    bytes.iter().all(|&owner| owner == placed.value),
                    "{}: value {} is not there",
                    step.name,
                    placed.value
                );
            }
        };
        read(&mut owners);
        for scratch in &step.scratch {
            owners.bytes(program, scratch).fill(NO_VALUE);
        }
        for placed in &step.outputs {
            owners.bytes(program, placed).fill(placed.value);
        }
        // What it writes meets nothing that it reads.
        read(&mut owners);
        let operands = || step.inputs.iter().chain(&step.outputs).chain(&step.scratch);
        let lies_within = |buffer: &Buffer| match buffer.place {
            Place::Status => buffer.offset == 0,
            Place::Constant(n) => buffer.offset <= program.constants[n].len(),
            place => operands().any(|p| {
                p.buffer.place == place
                    && (p.buffer.offset..=p.buffer.offset + p.bytes).contains(&buffer.offset)
            }),
        };
        if let Work::Launches(launches) = &step.work {
            for launch in launches {
                for arg in &launch.args {
                    if let Arg::Buffer(buffer) = arg {
                        assert!(lies_within(buffer), "{}: {buffer:?}", launch.kernel);
                    }
                }
            }
        }
    }
    // Every output was written.
    for (n, port) in program.outputs.iter().enumerate() {
        let placed = Placed {
            value: 0,
            buffer: Buffer::at(Place::Output(n)),
            bytes: port.bytes,
        };
        let bytes = owners.bytes(program, &placed);
        assert!(bytes.iter().all(|&owner| owner != NOBODY), "output {n}");
    }
}

/// Adds a value that is the same for all: `[2, 3, 3]`.
fn constant(graph: &mut Graph, seed: usize) -> ValueId {
    graph.add_constant("c", numbers(&[2, 3, 3], seed))
}

proptest! {
    #[test]
    fn every_value_has_its_place_for_as_long_as_it_is_read(
        choices in prop::collection::vec((0usize..5, 0usize..100, 0usize..100), 1..25),
        outputs in prop::collection::vec(0usize..100, 1..5),
        rows in 1usize..5,
    ) {
        let bench = Bench::new();
        let mut graph = Graph::new("test");
        let mut values = vec![
            input(&mut graph, "x", DType::F32, &["2", "3", "3"]),
            input(&mut graph, "y", DType::F32, &["2", "3", "3"]),
        ];
        // Inputs that have rows beside them, so that sizes differ.
        let z = input(&mut graph, "z", DType::F32, &["rows", "7"]);
        let shape = Tensor::from_slice(&[3], &[2i64, 3, 3]).unwrap();
        let shape = graph.add_constant("shape", shape);
        let mut last = node(&mut graph, negate(), &[z]);
        for (n, &(what, a, b)) in choices.iter().enumerate() {
            let (a, b) = (values[a % values.len()], values[b % values.len()]);
            let value = match what {
                0 => node(&mut graph, negate(), &[a]),
                1 => node(&mut graph, sum(), &[a, b]),
                2 => node(&mut graph, triangle(), &[a]),
                3 => node(&mut graph, Reshape { allow_zero: false }, &[a, shape]),
                _ => constant(&mut graph, n),
            };
            values.push(value);
            if n % 5 == 4 {
                last = node(&mut graph, sum(), &[last, z]);
            }
        }
        let outputs = outputs.iter().map(|&n| values[n % values.len()]);
        let outputs: Vec<ValueId> = outputs.chain([last]).collect();
        graph.set_outputs(outputs);
        let program = bench.program(&graph, rows);
        check(&program, &graph);
    }
}

#[test]
fn a_perceptron_is_launches_alone_and_its_weights_are_shared_by_all_its_programs() {
    let bench = Bench {
        lower: crate::lower::lower,
        ..Bench::new()
    };
    let mut graph = Graph::new("test");
    let mut x = input(&mut graph, "x", DType::F32, &["rows", "64"]);
    let product = Linear {
        transpose_a: false,
        transpose_b: false,
        alpha: 1.0,
        beta: 1.0,
        activation: None,
        gemm: false,
    };
    for layer in 0..3 {
        let weights = graph.add_constant("w", numbers(&[64, 64], layer));
        let bias = graph.add_constant("b", numbers(&[64], 10 + layer));
        x = node(&mut graph, product, &[x, weights, bias]);
        x = node(&mut graph, negate(), &[x]);
    }
    let softmax = Softmax {
        function: SoftmaxFunction::Softmax,
        axis: -1,
        flatten: false,
    };
    let y = node(&mut graph, softmax, &[x]);
    graph.set_outputs(vec![y]);
    let first = bench.program(&graph, 1);
    check(&first, &graph);
    assert_eq!(first.segments().len(), 1);
    assert!(first.launches().count() >= 7);
    let bytes = bench.weights.bytes();
    assert!(bytes >= 3 * 4 * 64 * 65, "{bytes}");
    let uploads = bench.uploads.0.lock().unwrap().len();
    for rows in [2, 8, 48, 1024] {
        let other = bench.program(&graph, rows);
        check(&other, &graph);
        assert_eq!(other.inputs[0].bytes, 4 * 64 * rows);
        // Small and large products may want other forms of a weight; whatever is made is made once.
        drop(bench.program(&graph, rows));
    }
    let after = bench.uploads.0.lock().unwrap().len();
    // Each program has its own tables.
    assert!(after - uploads - 8 <= 3, "{uploads} and {after}");
    assert!(bench.weights.bytes() <= 2 * bytes);
}

/// Speech, as detectors of it are exported: windows of sound, which are a recurrent layer's steps, and a probability for each.
fn speech() -> Graph {
    let mut graph = Graph::new("speech");
    let x = input(&mut graph, "x", DType::F32, &["rows", "129", "3"]);
    let states = ["h", "c"].map(|name| input(&mut graph, name, DType::F32, &["1", "1", "128"]));
    let window = |kernel: usize| Window {
        kernel: vec![kernel],
        strides: vec![1],
        dilations: vec![1],
        padding: Padding::Explicit(vec![0, 0]),
        ceil_mode: false,
    };
    let conv = |kernel: usize| Conv {
        groups: 1,
        window: window(kernel),
        activation: None,
    };
    let weights = graph.add_constant("w", numbers(&[128, 129, 3], 1));
    let y = node(&mut graph, conv(3), &[x, weights]);
    let perm = Some(vec![0, 2, 1]);
    let y = node(&mut graph, Transpose { perm }, &[y]);
    let shapes: [&[usize]; 3] = [&[1, 512, 128], &[1, 512, 128], &[1, 1024]];
    let [w, r, b] = [0, 1, 2].map(|n| Some(graph.add_constant("p", numbers(shapes[n], 3 + n))));
    let [h, c] = states.map(Some);
    let outputs: Vec<ValueId> = ["y", "h", "c"]
        .iter()
        .map(|&name| graph.add_value(name, None))
        .collect();
    let op = Recurrent {
        cell: Cell::Lstm {
            input_forget: false,
        },
        direction: Direction::Forward,
        hidden_size: Some(128),
        activations: vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        clip: None,
        batch_first: false,
    };
    let given = outputs.iter().copied().map(Some).collect();
    let inputs = vec![Some(y), w, r, b, None, h, c];
    graph.add_node("lstm", Arc::new(op), inputs, given);
    let shape = Tensor::from_slice(&[3], &[-1i64, 128, 1]).unwrap();
    let shape = graph.add_constant("shape", shape);
    let y = node(
        &mut graph,
        Reshape { allow_zero: false },
        &[outputs[0], shape],
    );
    let relu = Activate {
        function: Activation::Relu,
    };
    let y = node(&mut graph, relu, &[y]);
    let weights = graph.add_constant("w", numbers(&[1, 128, 1], 2));
    let y = node(&mut graph, conv(1), &[y, weights]);
    let sigmoid = Activate {
        function: Activation::Sigmoid,
    };
    let y = node(&mut graph, sigmoid, &[y]);
    graph.set_outputs(vec![y, outputs[1], outputs[2]]);
    graph
}

#[test]
fn a_recurrent_layer_is_two_launches_however_long_the_sequence_is_and_shares_its_weights() {
    let bench = Bench {
        lower: crate::lower::lower,
        ..Bench::new()
    };
    let graph = speech();
    let kernels = |rows| -> Vec<&str> {
        let program = bench.program(&graph, rows);
        check(&program, &graph);
        let is_host = |step: &Step| matches!(step.work, Work::Host(_));
        assert!(!program.steps.iter().any(is_host), "{rows} rows");
        let layer = program.steps.iter().find(|step| step.name.contains("lstm"));
        match &layer.unwrap().work {
            Work::Launches(launches) => launches.iter().map(|launch| launch.kernel).collect(),
            _ => panic!("it is on the device"),
        }
    };
    let short = kernels(1);
    let bytes = bench.weights();
    for rows in [2, 31, 5000] {
        let long = kernels(rows);
        assert!(long[0].starts_with("gemm_"), "{long:?}");
        assert_eq!(long[1], "unisono_lstm_narrow");
        assert_eq!(long.len(), short.len());
    }
    assert_eq!(bench.weights(), bytes);
}

#[test]
fn a_node_without_a_kernel_runs_on_the_processor_between_two_segments() {
    let bench = Bench::new();
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "3", "3"]);
    let a = node(&mut graph, negate(), &[x]);
    let b = node(&mut graph, triangle(), &[a]);
    let c = node(&mut graph, triangle(), &[x]);
    let d = node(&mut graph, sum(), &[b, c]);
    graph.set_outputs(vec![d, b]);
    let program = bench.program(&graph, 5);
    check(&program, &graph);
    let expected = [
        Segment::Device(0..1),
        Segment::Host(1),
        Segment::Device(2..2),
        Segment::Host(2),
        Segment::Device(3..4),
    ];
    assert_eq!(program.segments(), expected);
    let of = |step: usize| match &program.steps[step].work {
        Work::Host(host) => host,
        _ => panic!("step {step} is on the device"),
    };
    let from_device = |input: &Option<HostInput>| matches!(input, Some(HostInput::Device { .. }));
    assert!(from_device(&of(1).inputs[0]));
    // What the lane has anyway is not fetched.
    assert!(matches!(of(2).inputs[0], Some(HostInput::Input(0, ..))));
    // In and out of one step lie apart.
    assert_eq!(program.exchange, 2 * ALIGNMENT);
    assert_eq!(
        program.steps[1].outputs[0].buffer,
        Buffer::at(Place::Output(1))
    );
}

#[test]
fn outputs_that_are_inputs_or_constants_are_copied() {
    let bench = Bench::new();
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["2", "3", "3"]);
    let c = constant(&mut graph, 1);
    let y = node(&mut graph, negate(), &[x]);
    graph.set_outputs(vec![x, c, y, y]);
    let program = bench.program(&graph, 1);
    check(&program, &graph);
    let copies: Vec<(Place, Place, usize)> = program
        .steps
        .iter()
        .filter_map(|step| match step.work {
            Work::Copy { from, to, bytes } => Some((from.place, to.place, bytes)),
            _ => None,
        })
        .collect();
    let expected = [
        (Place::Input(0), Place::Output(0), 72),
        (Place::Constant(1), Place::Output(1), 72),
        (Place::Output(2), Place::Output(3), 72),
    ];
    assert_eq!(copies, expected);
}

#[test]
fn outputs_that_are_written_once_and_read_by_nobody_go_to_the_host() {
    let bench = Bench::new();
    let blocks = Blocks {
        inputs: 1 << 40,
        outputs: 2 << 40,
        on_host: 3 << 40,
        arena: 4 << 40,
    };
    let look = |outputs: fn(&mut Graph, ValueId) -> Vec<ValueId>, rows: usize| {
        let mut graph = Graph::new("test");
        let x = input(&mut graph, "x", DType::F32, &["rows", "3", "3"]);
        let outputs = outputs(&mut graph, x);
        graph.set_outputs(outputs);
        let program = bench.program(&graph, rows);
        check(&program, &graph);
        let at = |place| program.address(place, blocks).unwrap() >> 40;
        assert_eq!(at(Place::Status), 2);
        assert_eq!(at(Place::Output(0)) == 3, program.writes_to_host);
        (program.writes_to_host, program.bytes_to_bring())
    };
    let one = |graph: &mut Graph, x| vec![node(graph, negate(), &[x])];
    let two = |graph: &mut Graph, x| {
        let y = node(graph, negate(), &[x]);
        vec![node(graph, negate(), &[x]), y]
    };
    let chain = |graph: &mut Graph, x| {
        let y = node(graph, negate(), &[x]);
        vec![y, node(graph, negate(), &[y])]
    };
    let twice = |graph: &mut Graph, x| {
        let y = node(graph, negate(), &[x]);
        vec![y, y]
    };
    let passed = |graph: &mut Graph, x| vec![node(graph, negate(), &[x]), x];
    let on_processor = |graph: &mut Graph, x| {
        let y = node(graph, negate(), &[x]);
        vec![node(graph, triangle(), &[y])]
    };
    let all = |ports: usize| STATUS_BYTES + ports * ALIGNMENT;
    assert_eq!(look(one, 1), (true, 0));
    assert_eq!(look(two, 1), (true, 0));
    assert_eq!(look(chain, 1), (false, all(2)));
    assert_eq!(look(twice, 1), (false, all(2)));
    assert_eq!(look(passed, 1), (false, all(2)));
    assert_eq!(look(on_processor, 1), (false, all(1)));

    let most = (MOST_BYTES - STATUS_BYTES) / 36;
    assert_eq!(look(one, most), (true, 0));
    assert!(!look(one, most + 1).0);

    // Where data can be refused, that is to be known.
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::I64, &["rows"]);
    let table = graph.add_constant("table", numbers(&[10], 3));
    let y = node(&mut graph, pick(), &[table, x]);
    graph.set_outputs(vec![y]);
    let program = bench.program(&graph, 4);
    assert!(program.writes_to_host && program.may_refuse);
    assert_eq!(program.bytes_to_bring(), STATUS_BYTES);
}

#[test]
fn graphs_that_cannot_be_programs_say_why() {
    let bench = Bench::new();
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "3"]);
    let a = node(&mut graph, negate(), &[x]);
    let b = node(&mut graph, NonZero, &[a]);
    graph.set_outputs(vec![b]);
    let reason = bench.elsewhere(&graph);
    assert_eq!(reason.node, Some(1));
    assert!(reason.why.contains("depend on data"), "{reason:?}");

    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "3", "3"]);
    let a = node(&mut graph, triangle(), &[x]);
    graph.set_outputs(vec![a]);
    let reason = bench.elsewhere(&graph);
    assert!(reason.why.contains("no node"), "{reason:?}");

    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::String, &["rows"]);
    graph.set_outputs(vec![x]);
    assert!(bench.elsewhere(&graph).why.contains("strings"));
}

#[test]
fn more_than_the_arena_may_have_is_a_limit() {
    let bench = Bench {
        arena_limit: 10_000,
        ..Bench::new()
    };
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "10"]);
    let a = node(&mut graph, negate(), &[x]);
    let b = node(&mut graph, negate(), &[a]);
    graph.set_outputs(vec![b]);
    assert!(bench.build(&graph, 10).is_ok());
    let error = bench.build(&graph, 1000).err().unwrap();
    assert_eq!(error.kind(), unisono_runtime::ErrorKind::Limit);
    assert!(error.message().contains("10000"), "{error}");
}

#[test]
fn contents_that_follow_from_shapes_are_the_programs_own() {
    let bench = Bench::new();
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows"]);
    // Where the rows end: a number that another program has otherwise.
    let shape = node(
        &mut graph,
        unisono_graph::ops::shape::Shape {
            start: 0,
            end: None,
        },
        &[x],
    );
    let y = node(&mut graph, pick(), &[x, shape]);
    let z = node(&mut graph, negate(), &[y]);
    graph.set_outputs(vec![z]);
    let of = |rows: usize| {
        let program = bench.program(&graph, rows);
        check(&program, &graph);
        let picks = program.launches().next().unwrap().args[1].clone();
        assert!(
            matches!(
                picks,
                Arg::Buffer(Buffer {
                    place: Place::Constant(0),
                    ..
                })
            ),
            "{picks:?}"
        );
        program.constants[0].len()
    };
    assert_eq!((of(3), of(4)), (8, 8));
    assert_eq!(bench.weights.bytes(), 0);
}
