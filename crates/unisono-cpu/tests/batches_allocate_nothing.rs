//! Contract C5 for batches: with outputs that can be written in place, a batch that the lane has seen before allocates
//! nothing. A global allocator counts, on all threads, which is why this test program holds one test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use unisono_cpu::{CpuOptions, backend};
use unisono_graph::contract::contract;
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::{Concat, Split, SplitParts, Transpose};
use unisono_graph::ops::normalize::{Softmax, SoftmaxFunction};
use unisono_graph::{Dim, Graph, Symbol, TensorType};
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Group, Member};
use unisono_tensor::{DType, Tensor};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on unchanged to the system's allocator, which keeps the trait's promises; what is not
// written here goes through these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is ours.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WIDTH: usize = 40;

/// Two products with constant weights and one with its own transposed, over rows of any length, and moves between them.
fn model() -> Arc<ModelGraph> {
    let mut graph = Graph::new("scores");
    let dims = [
        Dim::symbol(&Symbol::new("b")),
        Dim::symbol(&Symbol::new("s")),
        Dim::from(WIDTH),
    ];
    let declared = TensorType {
        dtype: DType::F32,
        shape: Some(dims.to_vec()),
    };
    let x = graph.add_input("x", declared);
    let values: Vec<f32> = (0..WIDTH * WIDTH).map(|i| (i % 17) as f32 / 17.0).collect();
    let weights = Tensor::from_slice(&[WIDTH, WIDTH], &values).unwrap();
    let weights = graph.add_constant("weights", weights);
    let softmax = Softmax {
        function: SoftmaxFunction::Softmax,
        axis: -1,
        flatten: false,
    };
    let transposed = Linear {
        transpose_b: true,
        ..Linear::default()
    };
    let y = graph.append("first", Arc::new(Linear::default()), &[x, weights], 1)[0];
    let scores = graph.append("scores", Arc::new(transposed), &[y, y], 1)[0];
    let scores = graph.append("softmax", Arc::new(softmax), &[scores], 1)[0];
    // There and back again, by operators that only move data.
    let joined = graph.append("join", Arc::new(Concat { axis: 2 }), &[y, y], 1)[0];
    let halves = Split {
        axis: 2,
        parts: SplitParts::Equal(2),
    };
    let half = graph.append("cut", Arc::new(halves), &[joined], 2)[1];
    let turn = || {
        Arc::new(Transpose {
            perm: Some(vec![0, 2, 1]),
        })
    };
    let half = graph.append("turn", turn(), &[half], 1)[0];
    let half = graph.append("turn back", turn(), &[half], 1)[0];
    let mixed = graph.append("mix", Arc::new(Linear::default()), &[scores, half], 1)[0];
    let z = graph.append("last", Arc::new(Linear::default()), &[mixed, weights], 1)[0];
    graph.set_outputs(vec![z]);
    let contract = contract(&graph);
    let facts = infer_partial(&graph, &declared_inputs(&graph)).unwrap();
    let outputs = [facts[z.index()].clone()];
    Arc::new(ModelGraph::new(graph, contract, &outputs).unwrap())
}

/// Evidence: steady-allocations
#[test]
fn a_batch_that_was_seen_before_allocates_nothing() {
    let model = model();
    let mut options = CpuOptions::default();
    options.threads = 2;
    let backend = backend(&options).unwrap();
    let executable = backend.prepare(Arc::clone(&model)).unwrap();
    let mut lane = backend.new_lane().unwrap();
    // More groups than are walked together, the first ones of several members.
    let mut members = Vec::new();
    let mut groups = Vec::new();
    for length in 1..=20 {
        let first = members.len();
        let count = if length < 4 { 3 } else { 1 };
        let x = Tensor::zeros(DType::F32, &[2, length, WIDTH]).unwrap();
        let (key, rows) = model.admit(std::slice::from_ref(&x)).unwrap();
        let plan = executable.compile(&key).unwrap();
        members.extend((0..count).map(|_| Member {
            plan: Arc::clone(&plan),
            rows,
            inputs: [x.clone()].into_iter().collect(),
            outputs: vec![None],
        }));
        groups.push(Group {
            members: first..members.len(),
            rows: count * rows,
        });
    }
    let mut lent: Vec<&mut Member> = members.iter_mut().collect();
    let mut run = |groups: &[Group]| {
        let result = executable.run_batch(&mut *lane, &mut lent, groups);
        result.unwrap();
    };
    for groups in [&groups[..], &groups[..1], &groups[5..6], &groups[2..9]] {
        // Workers start when the system lets them.
        for _ in 0..100 {
            run(groups);
        }
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        for _ in 0..100 {
            run(groups);
        }
        let allocations = ALLOCATIONS.load(Ordering::SeqCst) - before;
        assert_eq!(allocations, 0, "{} groups", groups.len());
    }
}
