//! A device whose arithmetic is trivial and whose troubles are on order: what sessions do is seen apart from any kernel.
#![allow(dead_code)]

use std::sync::Arc;

use unisono_graph::contract::contract;
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_graph::ops::{NodeSpec, build};
use unisono_graph::{Attributes, Dim, Graph, Symbol, TensorType};
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Backend, Cost, DeviceInfo, Executable, Group, Member, Plan, PlanKey};
use unisono_runtime::request::Outputs;
use unisono_runtime::session::SessionOptions;
use unisono_runtime::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use unisono_runtime::sync::{Condvar, Mutex, lock, thread, wait};
use unisono_runtime::{Device, Error, ErrorKind, Session};
use unisono_tensor::{DType, DeviceId, Tensor};

/// A row that an operator refuses.
pub const POISON: f32 = 1.0e30;
/// A row at which a kernel panics.
pub const PANIC: f32 = 2.0e30;
/// A row at which the leader goes down outside of the model.
pub const LEADER_PANIC: f32 = 3.0e30;

/// What the tests see of the device, and what they make it do.
pub struct Control {
    /// Members of every batch that was run together, and 1 for every single run.
    pub batches: Mutex<Vec<usize>>,
    pub compiles: AtomicUsize,
    /// While closed, runs wait.
    closed: Mutex<bool>,
    opened: Condvar,
    /// So many runs go through the closed door.
    passes: AtomicUsize,
    /// While it is held, compiles wait.
    pub compiling: Mutex<()>,
    /// Runs that wait at the door or are past it.
    pub begun: AtomicUsize,
    drop_leader: AtomicBool,
}

impl Control {
    pub fn close(&self) {
        *lock(&self.closed) = true;
    }

    pub fn open(&self) {
        *lock(&self.closed) = false;
        self.opened.notify_all();
    }

    /// Lets one run through although the door is closed.
    pub fn let_one_through(&self) {
        self.passes.fetch_add(1, Ordering::SeqCst);
        // Through the lock: who waits either sleeps by now, or has yet to look.
        drop(lock(&self.closed));
        self.opened.notify_all();
    }

    fn has_pass(&self) -> bool {
        let less = |n: usize| n.checked_sub(1);
        let (order, look) = (Ordering::SeqCst, Ordering::SeqCst);
        self.passes.fetch_update(order, look, less).is_ok()
    }

    fn pass(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut closed = lock(&self.closed);
        while *closed && !self.has_pass() {
            closed = wait(&self.opened, closed);
        }
    }

    /// Waits until so many runs have begun.
    pub fn wait_for_begun(&self, runs: usize) {
        until(|| self.begun.load(Ordering::SeqCst) >= runs);
    }
}

/// Waits for something that must come.
pub fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::yield_now();
        #[cfg(not(any(loom, shuttle)))]
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}

struct Mock {
    control: Arc<Control>,
    lanes: usize,
}

struct MockLane {
    control: Arc<Control>,
}

struct MockExecutable(Arc<Control>);
struct MockPlan(Arc<Control>);

impl Lane for MockLane {
    fn bytes(&self) -> u64 {
        if self.control.drop_leader.swap(false, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("the leader goes down"));
        }
        8
    }
}

impl Backend for Mock {
    fn info(&self) -> DeviceInfo {
        DeviceInfo::new(
            DeviceId::Cpu,
            "mock".to_owned(),
            self.lanes,
            "none".to_owned(),
        )
    }

    fn lane_count(&self) -> usize {
        self.lanes
    }

    fn new_lane(&self) -> Result<Box<dyn Lane>, Error> {
        Ok(Box::new(MockLane {
            control: Arc::clone(&self.control),
        }))
    }

    fn prepare(&self, _model: Arc<ModelGraph>) -> Result<Arc<dyn Executable>, Error> {
        Ok(Arc::new(MockExecutable(Arc::clone(&self.control))))
    }
}

/// One request's rows: 2 x + 1.
fn compute(
    control: &Control,
    inputs: &[Tensor],
    outputs: &mut [Option<Tensor>],
) -> Result<(), Error> {
    let x = inputs[0].as_slice::<f32>()?;
    for &value in x {
        if value == POISON {
            return Err(Error::new(ErrorKind::Execution, "poisoned"));
        }
        if value == PANIC {
            std::panic::resume_unwind(Box::new("a kernel's panic"));
        }
        if value == LEADER_PANIC {
            control.drop_leader.store(true, Ordering::SeqCst);
        }
    }
    let y: Vec<f32> = x.iter().map(|x| 2.0 * x + 1.0).collect();
    outputs[0] = Some(Tensor::from_slice(inputs[0].shape(), &y)?);
    Ok(())
}

impl Executable for MockExecutable {
    fn compile(&self, _key: &PlanKey) -> Result<Arc<dyn Plan>, Error> {
        self.0.compiles.fetch_add(1, Ordering::SeqCst);
        drop(lock(&self.0.compiling));
        Ok(Arc::new(MockPlan(Arc::clone(&self.0))))
    }

    fn bytes(&self) -> u64 {
        16
    }

    fn run_batch(
        &self,
        _lane: &mut dyn Lane,
        members: &mut [&mut Member],
        groups: &[Group],
    ) -> Result<(), Error> {
        let covered: usize = groups.iter().map(|g| g.members.len()).sum();
        assert_eq!(covered, members.len(), "groups cover the members");
        for group in groups {
            let rows: usize = members[group.members.clone()].iter().map(|m| m.rows).sum();
            assert_eq!(rows, group.rows);
        }
        lock(&self.0.batches).push(members.len());
        self.0.pass();
        for member in members {
            compute(&self.0, &member.inputs, &mut member.outputs)?;
        }
        Ok(())
    }
}

impl Plan for MockPlan {
    fn run(
        &self,
        _lane: &mut dyn Lane,
        _rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error> {
        lock(&self.0.batches).push(1);
        self.0.pass();
        compute(&self.0, inputs, outputs)
    }

    fn bytes(&self) -> u64 {
        100
    }

    fn cost(&self) -> Cost {
        Cost {
            fixed_ns: 1000,
            shared_ns: 500,
            row_ns: 1,
            ..Cost::default()
        }
    }
}

/// `y = relu(x)` for `x` of f32[batch, width]; the mock computes something else.
pub fn model() -> Arc<ModelGraph> {
    let mut graph = Graph::new("mock");
    let symbol = |name| Dim::symbol(&Symbol::new(name));
    let x = graph.add_input(
        "x",
        TensorType {
            dtype: DType::F32,
            shape: Some(vec![symbol("batch"), symbol("width")]),
        },
    );
    let mut attributes = Attributes::new();
    let relu = build(
        "",
        "Relu",
        &mut NodeSpec {
            attributes: &mut attributes,
            opset: 17,
            inputs: &[true],
            output_count: 1,
        },
    )
    .expect("an operator");
    let y = graph.append("relu", relu, &[x], 1);
    graph.set_outputs(y.clone());
    let contract = contract(&graph);
    assert!(contract.is_coalescible());
    let facts = infer_partial(&graph, &declared_inputs(&graph)).expect("shapes");
    let fact = facts[y[0].index()].clone();
    Arc::new(ModelGraph::new(graph, contract, &[fact]).expect("a model"))
}

/// A device with so many lanes.
pub fn device(lanes: usize) -> (Device, Arc<Control>) {
    let control = Arc::new(Control {
        batches: Mutex::new(Vec::new()),
        compiles: AtomicUsize::new(0),
        closed: Mutex::new(false),
        opened: Condvar::new(),
        passes: AtomicUsize::new(0),
        compiling: Mutex::new(()),
        begun: AtomicUsize::new(0),
        drop_leader: AtomicBool::new(false),
    });
    let mock = Mock {
        control: Arc::clone(&control),
        lanes,
    };
    (Device::new(Box::new(mock)).expect("a device"), control)
}

/// A session on a device of its own.
pub fn session(options: &SessionOptions) -> (Session, Arc<Control>) {
    let (device, control) = device(2);
    (
        Session::new(model(), &device, options).expect("a session"),
        control,
    )
}

/// One row of two.
pub fn row(value: f32) -> Tensor {
    Tensor::from_slice(&[1, 2], &[value, value + 0.5]).expect("a tensor")
}

/// Is it the answer to `row(value)`?
pub fn is_answer(outputs: &Outputs, value: f32) -> bool {
    outputs[0].as_slice::<f32>().expect("f32") == [2.0 * value + 1.0, 2.0 * (value + 0.5) + 1.0]
}
