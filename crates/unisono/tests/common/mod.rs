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

/// A model, and the shape of one row of its input `x`.
pub struct Sample {
    pub name: &'static str,
    pub model: Model,
    pub row: Vec<usize>,
}

impl Sample {
    /// A request of so many rows.
    pub fn request(&self, rows: usize, seed: u32) -> Tensor {
        let shape: Vec<usize> = [&[rows], &self.row[..]].concat();
        Tensor::from_slice(&shape, &numbers(shape.iter().product(), seed)).expect("a small tensor")
    }

    /// A request of a part of another's rows.
    pub fn part(&self, of: &Tensor, first: usize, count: usize) -> Tensor {
        let width: usize = self.row.iter().product();
        let values = of.as_slice::<f32>().expect("samples have f32 inputs");
        let shape: Vec<usize> = [&[count], &self.row[..]].concat();
        Tensor::from_slice(&shape, &values[first * width..][..count * width]).expect("some rows")
    }
}

/// Models that have the kernels of most networks between them.
pub fn samples() -> [Sample; 3] {
    [
        Sample {
            name: "mlp",
            model: mlp(37, 301, 19),
            row: vec![37],
        },
        Sample {
            name: "convolutions",
            model: convolutions(),
            row: vec![3, 13, 11],
        },
        Sample {
            name: "attention",
            model: attention(),
            row: vec![7, 24],
        },
    ]
}

pub fn input(rows: usize, width: usize, seed: u32) -> Tensor {
    Tensor::from_slice(&[rows, width], &numbers(rows * width, seed)).expect("a small tensor")
}

pub fn load(graph: Graph) -> Model {
    let bytes = unisono::onnx::write::Model::new(17, graph).to_bytes();
    Model::from_bytes(bytes).expect("the test's model is good")
}

/// `x[batch, width]` through two linear layers and a softmax: odd widths, so that every kernel has tails.
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

/// An image through a convolution, a depthwise one, pooling, and a linear layer.
fn convolutions() -> Model {
    let pads = [1i64; 4];
    load(
        Graph::new("convolutions")
            .input(info("x", &[3, 13, 11]))
            .initializer(weights("w1", &[20, 3, 3, 3], 1))
            .initializer(weights("b1", &[20], 2))
            .initializer(weights("w2", &[20, 1, 3, 3], 3))
            .initializer(weights("w3", &[20, 9], 4))
            .node(
                Node::new("Conv")
                    .name("dense")
                    .inputs(["x", "w1", "b1"])
                    .outputs(["a"])
                    .attribute("pads", &pads[..])
                    .attribute("strides", &[2i64, 1][..]),
            )
            .node(Node::new("HardSwish").inputs(["a"]).outputs(["b"]))
            .node(
                Node::new("Conv")
                    .name("depthwise")
                    .inputs(["b", "w2"])
                    .outputs(["c"])
                    .attribute("pads", &pads[..])
                    .attribute("group", 20i64),
            )
            .node(
                Node::new("MaxPool")
                    .inputs(["c"])
                    .outputs(["d"])
                    .attribute("kernel_shape", &[2i64, 2][..]),
            )
            .node(Node::new("GlobalAveragePool").inputs(["d"]).outputs(["e"]))
            .node(Node::new("Flatten").inputs(["e"]).outputs(["f"]))
            .node(Node::new("MatMul").inputs(["f", "w3"]).outputs(["y"]))
            .output(info("y", &[9])),
    )
}

/// One head of attention over a sequence, with a residual and a layer norm.
fn attention() -> Model {
    let product = |name, w, out| {
        Node::new("MatMul")
            .name(name)
            .inputs(["x", w])
            .outputs([out])
    };
    load(
        Graph::new("attention")
            .input(info("x", &[7, 24]))
            .initializer(weights("wq", &[24, 24], 1))
            .initializer(weights("wk", &[24, 24], 2))
            .initializer(weights("wv", &[24, 24], 3))
            .initializer(weights("scale", &[24], 4))
            .initializer(weights("bias", &[24], 5))
            .initializer(Weights::of("root", &[], &[24f32.sqrt()]))
            .node(product("query", "wq", "q"))
            .node(product("key", "wk", "k"))
            .node(product("value", "wv", "v"))
            .node(
                Node::new("Transpose")
                    .inputs(["k"])
                    .outputs(["kt"])
                    .attribute("perm", &[0i64, 2, 1][..]),
            )
            .node(
                Node::new("MatMul")
                    .name("scores")
                    .inputs(["q", "kt"])
                    .outputs(["s"]),
            )
            .node(Node::new("Div").inputs(["s", "root"]).outputs(["t"]))
            .node(
                Node::new("Softmax")
                    .inputs(["t"])
                    .outputs(["p"])
                    .attribute("axis", -1i64),
            )
            .node(
                Node::new("MatMul")
                    .name("mix")
                    .inputs(["p", "v"])
                    .outputs(["m"]),
            )
            .node(Node::new("Add").inputs(["x", "m"]).outputs(["r"]))
            .node(
                Node::new("LayerNormalization")
                    .inputs(["r", "scale", "bias"])
                    .outputs(["n"])
                    .attribute("axis", -1i64),
            )
            .node(Node::new("Erf").inputs(["n"]).outputs(["y"]))
            .output(info("y", &[7, 24])),
    )
}

fn info(name: &str, row: &[i64]) -> ValueInfo {
    let dims = row.iter().map(|&n| Dim::fixed(n));
    ValueInfo::tensor::<f32>(name, std::iter::once(Dim::symbol("batch")).chain(dims))
}

/// Half of its input.
pub fn halving() -> Model {
    load(
        Graph::new("halving")
            .input(info("x", &[40]))
            .initializer(Weights::of("half", &[1], &[0.5f32]))
            .node(Node::new("Mul").inputs(["x", "half"]).outputs(["y"]))
            .output(info("y", &[40])),
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
