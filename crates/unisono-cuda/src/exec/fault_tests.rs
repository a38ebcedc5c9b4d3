//! Faults on purpose over a driver without a device: what goes wrong with a batch, and what the next one sees of it.
//!
//! Faults are the whole process's, so the one test here has a process of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;

use unisono_graph::contract::contract;
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_graph::ops::{NodeSpec, build};
use unisono_graph::{Attributes, Dim, Graph, Symbol, TensorType};
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Backend, Plan, PlanKey};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::fault::{Fault, MESSAGE, inject};
use unisono_tensor::{DType, Tensor};

use crate::device::{Cuda, CudaOptions, Opened};
use crate::driver::{Context, DevicePool, Status, fake};
use crate::exec::engine::Engine;
use crate::kernels::SOURCES;
use crate::lower::lower;

/// `y = relu(x)`: one kernel, of which this driver remembers no more than that it was asked for.
fn model() -> Arc<ModelGraph> {
    let mut graph = Graph::new("relu");
    let symbol = |name| Dim::symbol(&Symbol::new(name));
    let ty = TensorType {
        dtype: DType::F32,
        shape: Some(vec![symbol("batch"), symbol("width")]),
    };
    let x = graph.add_input("x", ty);
    let mut attributes = Attributes::new();
    let mut spec = NodeSpec {
        attributes: &mut attributes,
        opset: 17,
        inputs: &[true],
        output_count: 1,
    };
    let relu = build("", "Relu", &mut spec).unwrap();
    let y = graph.append("relu", relu, &[x], 1);
    graph.set_outputs(y.clone());
    let contract = contract(&graph);
    let facts = infer_partial(&graph, &declared_inputs(&graph)).unwrap();
    let fact = facts[y[0].index()].clone();
    Arc::new(ModelGraph::new(graph, contract, &[fact]).unwrap())
}

fn backend() -> Cuda {
    fake::reset(fake::State {
        devices: vec![fake::FakeDevice {
            name: c"Fake 100",
            capability: (9, 0),
            memory: 64 << 20,
        }],
        ..fake::State::default()
    });
    let context = Context::open(fake::driver().unwrap(), 0).unwrap();
    let pool = DevicePool::new(&context, None);
    let opened = Opened { context, pool };
    let options = CudaOptions::default();
    Cuda(Arc::new(
        Engine::new(opened, &options, SOURCES, lower).unwrap(),
    ))
}

fn run(plan: &dyn Plan, lane: &mut dyn Lane, x: &Tensor) -> Result<(), Error> {
    plan.run(lane, 1, std::slice::from_ref(x), &mut [None])
}

/// Set in the process in which faults may strike.
const ALONE: &str = "UNISONO_TEST_FAULTS_ALONE";
/// The test's name there.
const NAME: &str = "exec::fault_tests::\
                    faults_strike_where_a_graph_is_launched_and_waited_for_and_the_lane_goes_on";

#[test]
fn faults_strike_where_a_graph_is_launched_and_waited_for_and_the_lane_goes_on() {
    if std::env::var_os(ALONE).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let ran = again
            .args(["--exact", NAME])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let backend = backend();
    let mut lane = backend.new_lane().unwrap();
    let executable = backend.prepare(model()).unwrap();
    let shape: &[usize] = &[1, 4];
    let key = PlanKey::new([(shape, Some(0))].into_iter());
    let plan = executable.compile(&key).unwrap();
    let is_free = |calls: &[&str]| {
        let last = |name| calls.iter().rposition(|call| *call == name);
        last("launch_graph") < last("synchronize_stream")
    };

    let x = Tensor::from_slice(&[1, 4], &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let counting = inject(Fault::Error, 0..0);
    run(&*plan, &mut *lane, &x).unwrap();
    assert_eq!(counting.occasions(), 2);
    drop(counting);

    let launches = || fake::with(|s| s.calls.iter().filter(|c| **c == "launch_graph").count());
    for place in 0..2 {
        let launched = launches();
        let error = inject(Fault::Error, place..place + 1);
        let found = run(&*plan, &mut *lane, &x).unwrap_err();
        // Not made good by the processor, which would hide it.
        assert_eq!(found.kind(), ErrorKind::Execution);
        assert!(found.message().contains(MESSAGE), "{found}");
        assert_eq!(error.strikes(), 1);
        drop(error);
        assert_eq!(launches() - launched, place as usize);
        assert!(fake::with(|state| is_free(&state.calls)));
        run(&*plan, &mut *lane, &x).unwrap();

        let panic = inject(Fault::Panic, place..place + 1);
        let end = catch_unwind(AssertUnwindSafe(|| run(&*plan, &mut *lane, &x)));
        assert!(end.is_err());
        assert_eq!(panic.strikes(), 1);
        drop(panic);
        assert!(fake::with(|state| is_free(&state.calls)));
        run(&*plan, &mut *lane, &x).unwrap();
    }

    let pool = backend.0.pool.stats();
    let mut cold = backend.new_lane().unwrap();
    let memory = inject(Fault::NoMemory, 0..u64::MAX);
    let error = run(&*plan, &mut *cold, &x).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(memory.strikes() > 0);
    drop(memory);
    assert_eq!(backend.0.pool.stats().in_use_bytes, pool.in_use_bytes);
    run(&*plan, &mut *cold, &x).unwrap();

    let memory = backend.memory().unwrap();
    assert_eq!(memory.in_use_bytes, backend.0.pool.stats().in_use_bytes);
    assert!(memory.in_use_bytes > pool.in_use_bytes && memory.pinned_bytes > 0);
    assert!(memory.in_use_bytes + memory.kept_bytes <= memory.limit_bytes);
    backend.check().unwrap();
    fake::with(|state| {
        let next = state.calls.len();
        state.fail_at = Some((next, Status(700)));
    });
    let error = run(&*plan, &mut *lane, &x).unwrap_err();
    let told = backend.check().unwrap_err();
    assert_eq!(told.to_string(), error.to_string());
}
