//! The one-dimensional convolutional network.

use unisono::onnx::write::{Dim, Graph, Model, Node, ValueInfo};

use super::weights::Weights;
use super::{OPSET, WEIGHTS_SEED};

const CHANNELS: [u16; 4] = [1, 64, 64, 1];
const WIDTH: u16 = 3;

pub(super) fn build() -> Model {
    let weights = Weights::new(WEIGHTS_SEED);
    let shape = || [Dim::symbol("batch"), Dim::fixed(1), Dim::fixed(1024)];
    let mut graph = Graph::new("conv1d")
        .input(ValueInfo::tensor::<f32>("x", shape()))
        .output(ValueInfo::tensor::<f32>("y", shape()));
    let mut value = "x".to_owned();
    let layers = CHANNELS.len() - 1;
    for (i, pair) in CHANNELS.windows(2).enumerate() {
        let &[inputs, outputs] = pair else { continue };
        let layer = format!("conv.{}", 2 * i);
        let dims = [outputs.into(), inputs.into(), WIDTH.into()];
        let [weight, bias] = weights.layer(&layer, &dims, inputs * WIDTH);
        let last = i + 1 == layers;
        let sum = if last {
            "y".to_owned()
        } else {
            format!("{layer}.out")
        };
        let conv = Node::new("Conv")
            .name(&format!("/{layer}/Conv"))
            .inputs([&*value, &*weight.name, &*bias.name])
            .outputs([&*sum])
            .attribute("dilations", [1i64])
            .attribute("group", 1i64)
            .attribute("kernel_shape", [i64::from(WIDTH)])
            .attribute("pads", [1i64, 1])
            .attribute("strides", [1i64]);
        graph = graph.initializer(weight).initializer(bias).node(conv);
        value = sum;
        if !last {
            let active = format!("{layer}.relu");
            let relu = Node::new("Relu").name(&format!("/conv.{}/Relu", 2 * i + 1));
            graph = graph.node(relu.inputs([&*value]).outputs([&*active]));
            value = active;
        }
    }
    Model::new(OPSET, graph)
}
