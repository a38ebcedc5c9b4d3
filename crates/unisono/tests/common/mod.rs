//! Small models and inputs that several tests share.
#![allow(dead_code)] // each test program uses some of them

use unisono::onnx::write::{Dim, Graph, Node, Tensor as Weights, ValueInfo};
use unisono::{Model, Outputs, Tensor};

/// Numbers from -1 to 1 without a pattern that a transposed or repeated row could hide in.
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub fn input(rows: usize, width: usize, seed: u32) -> Tensor {
    Tensor::from_slice(&[rows, width], &numbers(rows * width, seed)).expect("a small tensor")
}

pub fn load(graph: Graph) -> Model {
    let bytes = unisono::onnx::write::Model::new(17, graph).to_bytes();
    Model::from_bytes(bytes).expect("the test's model is good")
}

/// `x[batch, width]` through two linear layers with a GELU-free non-linearity and a softmax: odd widths, so that every
/// kernel has tails.
pub fn mlp(width: usize, hidden: usize, out: usize) -> Model {
    load(
        Graph::new("mlp")
            .input(ValueInfo::tensor::<f32>(
                "x",
                [Dim::symbol("batch"), Dim::fixed(width as i64)],
            ))
            .initializer(weights("w1", &[width, hidden], 1))
            .initializer(weights("b1", &[hidden], 2))
            .initializer(weights("w2", &[hidden, out], 3))
            .initializer(weights("b2", &[out], 4))
            .node(
                Node::new("Gemm")
                    .name("first")
                    .inputs(["x", "w1", "b1"])
                    .outputs(["a"]),
            )
            .node(Node::new("Relu").name("relu").inputs(["a"]).outputs(["b"]))
            .node(
                Node::new("MatMul")
                    .name("second")
                    .inputs(["b", "w2"])
                    .outputs(["c"]),
            )
            .node(
                Node::new("Add")
                    .name("bias")
                    .inputs(["c", "b2"])
                    .outputs(["d"]),
            )
            .node(
                Node::new("Softmax")
                    .name("softmax")
                    .inputs(["d"])
                    .outputs(["y"])
                    .attribute("axis", -1i64),
            )
            .output(ValueInfo::tensor::<f32>(
                "y",
                [Dim::symbol("batch"), Dim::fixed(out as i64)],
            )),
    )
}

/// Three outputs of one input.
pub fn three_outputs() -> Model {
    let info = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(8)]);
    load(
        Graph::new("three")
            .input(info("x"))
            .node(Node::new("Relu").inputs(["x"]).outputs(["a"]))
            .node(Node::new("Tanh").inputs(["x"]).outputs(["b"]))
            .node(Node::new("Add").inputs(["a", "b"]).outputs(["c"]))
            .output(info("a"))
            .output(info("b"))
            .output(info("c")),
    )
}

fn weights(name: &str, shape: &[usize], seed: u32) -> Weights {
    let dims: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    Weights::of(name, &dims, &numbers(shape.iter().product(), seed))
}

/// The bytes of one row of the first output.
pub fn row(outputs: &Outputs, row: usize) -> &[u8] {
    let tensor = &outputs[0];
    let bytes = tensor.bytes();
    let size = bytes.len() / tensor.shape()[0];
    &bytes[row * size..][..size]
}
