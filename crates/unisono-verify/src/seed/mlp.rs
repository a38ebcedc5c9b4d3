//! The multi-layer perceptron, as PyTorch exports `Linear` on a matrix: one `Gemm` with transposed weights.

use unisono::onnx::write::{Dim, Graph, Model, Node, ValueInfo};

use super::weights::Weights;
use super::{OPSET, WEIGHTS_SEED};

const WIDTHS: [u16; 4] = [256, 512, 512, 256];

pub(super) fn build() -> Model {
    let weights = Weights::new(WEIGHTS_SEED);
    let shape = || [Dim::symbol("batch"), Dim::fixed(256)];
    let mut graph = Graph::new("mlp")
        .input(ValueInfo::tensor::<f32>("x", shape()))
        .output(ValueInfo::tensor::<f32>("y", shape()));
    let mut value = "x".to_owned();
    let layers = WIDTHS.len() - 1;
    for (i, pair) in WIDTHS.windows(2).enumerate() {
        let &[inputs, outputs] = pair else { continue };
        let layer = format!("mlp.{}", 2 * i);
        let [weight, bias] = weights.layer(&layer, &[outputs.into(), inputs.into()], inputs);
        let last = i + 1 == layers;
        let sum = if last {
            "y".to_owned()
        } else {
            format!("{layer}.out")
        };
        let gemm = Node::new("Gemm")
            .name(&format!("/{layer}/Gemm"))
            .inputs([&*value, &*weight.name, &*bias.name])
            .outputs([&*sum])
            .attribute("transB", 1i64);
        graph = graph.initializer(weight).initializer(bias).node(gemm);
        value = sum;
        if !last {
            let active = format!("{layer}.relu");
            let relu = Node::new("Relu").name(&format!("/mlp.{}/Relu", 2 * i + 1));
            graph = graph.node(relu.inputs([&*value]).outputs([&*active]));
            value = active;
        }
    }
    Model::new(OPSET, graph)
}
