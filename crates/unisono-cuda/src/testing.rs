//! Small graphs, and lowerings with kernels that the driver without a device can do: for tests of programs and of running them.

use std::sync::Arc;

use smallvec::smallvec;
use unisono_graph::contract::contract;
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::indexing::Gather;
use unisono_graph::ops::movement::Trilu;
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_graph::{Dim, Graph, Operator, Symbol, TensorType, ValueId};
use unisono_runtime::Error;
use unisono_runtime::model::ModelGraph;
use unisono_tensor::{DType, Tensor};

use crate::driver::Source;
use crate::kernels::staging::{ENDED, PIECE_BYTES};
use crate::launch::{Arg, Buffer, Launch, Place, status};
use crate::lower::Lowering;

/// An input; letters stand for lengths.
pub fn input(graph: &mut Graph, name: &str, dtype: DType, shape: &[&str]) -> ValueId {
    let dim = |n: &&str| match n.parse::<i64>() {
        Ok(n) => Dim::constant(n),
        Err(_) => Dim::symbol(&Symbol::new(n)),
    };
    let shape = Some(shape.iter().map(dim).collect());
    graph.add_input(name, TensorType { dtype, shape })
}

/// A node with one output.
pub fn node(graph: &mut Graph, op: impl Operator, inputs: &[ValueId]) -> ValueId {
    let name = format!("node{}", graph.nodes().len());
    graph.append(name, Arc::new(op), inputs, 1)[0]
}

/// `-x`, which has a kernel.
pub fn negate() -> Unary {
    Unary {
        function: UnaryFunction::Neg,
    }
}

/// `a + b`, which has a kernel.
pub fn sum() -> Binary {
    Binary {
        function: BinaryFunction::Add,
    }
}

/// What picks slices of a table by indices, and has a kernel.
pub fn pick() -> Gather {
    Gather { axis: 0 }
}

/// The upper triangle, which has no kernel.
pub fn triangle() -> Trilu {
    Trilu { upper: true }
}

/// The model of a graph.
pub fn model(graph: Graph) -> Arc<ModelGraph> {
    graph.check().unwrap();
    let facts = infer_partial(&graph, &declared_inputs(&graph)).unwrap();
    let outputs = graph.outputs().iter();
    let outputs: Vec<_> = outputs.map(|id| facts[id.index()].clone()).collect();
    let contract = contract(&graph);
    Arc::new(ModelGraph::new(graph, contract, &outputs).unwrap())
}

/// Numbers without a pattern in which a row that is repeated or misplaced could hide.
pub fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_slice(shape, &values).unwrap()
}

/// Declares the kernels of [`lower`], and those around a batch.
pub const SOURCE: Source = Source {
    name: "testing",
    ptx: "
.version 8.0
.target sm_80
.visible .entry negate(.param .u64 a, .param .u64 b, .param .u64 y, .param .u32 n, .param .u64 s) { ret; }
.visible .entry sum(.param .u64 a, .param .u64 b, .param .u64 y, .param .u32 n, .param .u64 s) { ret; }
.visible .entry pick(.param .u64 a, .param .u64 b, .param .u64 y, .param .u32 n, .param .u64 s) { ret; }
.visible .entry unisono_ended(.param .u64 word) { ret; }
.visible .entry unisono_stage(.param .u64 from, .param .u64 to, .param .u32 pieces) { ret; }
",
};

/// Lowers [`negate`], [`sum`] of equal shapes and [`pick`] from an axis of its own.
pub fn lower(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(output) = cx.output(0).cloned() else {
        return Ok(false);
    };
    let n: usize = output.shape.iter().product();
    let has_its_shape = |index: usize| cx.input(index).is_some_and(|x| x.shape == output.shape);
    let all_floats = cx.inputs.iter().flatten().all(|x| x.dtype == DType::F32);
    let kernel = match () {
        () if cx.op.is::<Unary>() && all_floats => "negate",
        () if cx.op.is::<Binary>() && has_its_shape(0) && has_its_shape(1) && all_floats => "sum",
        () if cx.op.is::<Gather>() && cx.input(0).is_some_and(|x| x.shape.len() == 1) => "pick",
        () => return Ok(false),
    };
    // Used by nobody, but its place must be kept from everybody else.
    let _scratch = cx.site.scratch(4 * n)?;
    let a = cx.buffer(0)?;
    let b = cx.buffer(1)?;
    let buffer = |buffer: Option<Buffer>| buffer.map_or(Arg::Null, Arg::Buffer);
    let length = if kernel == "pick" {
        let rows = cx.input(0).map_or(0, |x| x.shape[0]);
        (rows as u32) << 16 | n as u32
    } else {
        n as u32
    };
    cx.launches.push(Launch {
        kernel,
        grid: [1, 1, 1],
        block: [32, 1, 1],
        shared: 0,
        args: smallvec![
            buffer(a),
            buffer(b),
            buffer(output.buffer),
            Arg::value(&length),
            match kernel {
                "pick" => Arg::Buffer(Buffer::at(Place::Status)),
                _ => Arg::Null,
            },
        ],
    });
    Ok(true)
}

/// Does what these kernels are for.
pub fn simulate(state: &mut crate::driver::fake::State, kernel: &str, arguments: &[Vec<u8>]) {
    let address = |n: usize| u64::from_le_bytes(arguments[n].clone().try_into().unwrap());
    let number = |n: usize| u32::from_le_bytes(arguments[n].clone().try_into().unwrap()) as usize;
    if kernel == "unisono_ended" {
        let word = state.at(address(0), 4).unwrap();
        // Whoever waits for it would not have waited.
        assert_eq!(
            word, [0; 4],
            "the word says that the batch before has ended"
        );
        return word.copy_from_slice(&ENDED.to_le_bytes());
    }
    if kernel == "unisono_stage" {
        let bytes = PIECE_BYTES * number(2);
        let from = state.at(address(0), bytes).unwrap().to_vec();
        return state.at(address(1), bytes).unwrap().copy_from_slice(&from);
    }
    let n = number(3);
    let (n, rows) = match kernel {
        "pick" => (n & 0xFFFF, n >> 16),
        _ => (n, n),
    };
    let mut floats = |at: u64, n: usize| -> Vec<f32> {
        let bytes = state.at(at, 4 * n).unwrap();
        let four = bytes.chunks_exact(4);
        four.map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let mut bits = 0;
    let a = floats(address(0), rows);
    let y: Vec<f32> = match kernel {
        "negate" => a.iter().map(|x| -x).collect(),
        "sum" => a
            .iter()
            .zip(floats(address(1), n))
            .map(|(x, y)| x + y)
            .collect(),
        "pick" => {
            let picks = state.at(address(1), 8 * n).unwrap();
            let picks: Vec<i64> = picks
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let mut pick = |index: i64| match usize::try_from(index) {
                Ok(index) if index < rows => a[index],
                _ => {
                    bits |= status::BAD_INDEX;
                    f32::NAN
                }
            };
            picks.into_iter().map(&mut pick).collect()
        }
        other => panic!("no kernel {other}"),
    };
    let bytes: Vec<u8> = y.iter().flat_map(|x| x.to_le_bytes()).collect();
    state.at(address(2), 4 * n).unwrap().copy_from_slice(&bytes);
    if bits != 0 {
        let word = state.at(address(4), 4).unwrap();
        word.copy_from_slice(&bits.to_le_bytes());
    }
}
