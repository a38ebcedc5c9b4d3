//! One matrix product, with or without ReLU: the work of the original's soak, stress, leak, churn and compilation rows.
//!
//! A row is a whole `n x n` matrix, multiplied by a weight of the same size. With [`build_any`] the size is open, and both factors are inputs.

use unisono::onnx::write::{Dim, Graph, Model, Node, ValueInfo};

use super::weights::Weights;
use super::{OPSET, WEIGHTS_SEED};

pub(super) fn build(n: u16, relu: bool) -> Model {
    let shape = || {
        [
            Dim::symbol("batch"),
            Dim::fixed(n.into()),
            Dim::fixed(n.into()),
        ]
    };
    let [weight, _] = Weights::new(WEIGHTS_SEED).layer("matmul", &[n.into(), n.into()], n);
    let product = if relu { "product" } else { "y" };
    let matmul = Node::new("MatMul")
        .name("/MatMul")
        .inputs(["x", &*weight.name])
        .outputs([product]);
    let graph = Graph::new("matmul")
        .input(ValueInfo::tensor::<f32>("x", shape()))
        .output(ValueInfo::tensor::<f32>("y", shape()))
        .initializer(weight)
        .node(matmul);
    Model::new(OPSET, activated(graph, relu))
}

/// `y = relu(a b)` of square matrices of any size, `a` and `b` of shape `[batch, n, n]`.
pub(super) fn build_any() -> Model {
    let shape = || [Dim::symbol("batch"), Dim::symbol("n"), Dim::symbol("n")];
    let graph = Graph::new("matmul")
        .input(ValueInfo::tensor::<f32>("a", shape()))
        .input(ValueInfo::tensor::<f32>("b", shape()))
        .output(ValueInfo::tensor::<f32>("y", shape()))
        .node(
            Node::new("MatMul")
                .name("/MatMul")
                .inputs(["a", "b"])
                .outputs(["product"]),
        );
    Model::new(OPSET, activated(graph, true))
}

fn activated(graph: Graph, relu: bool) -> Graph {
    if !relu {
        return graph;
    }
    graph.node(
        Node::new("Relu")
            .name("/Relu")
            .inputs(["product"])
            .outputs(["y"]),
    )
}
