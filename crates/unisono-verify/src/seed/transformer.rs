//! The story's transformer, with the detours that PyTorch's exporter takes.
//!
//! `TransformerEncoderLayer` with `batch_first` turns `[B, T, E]` into `[T, B, E]`, views the projected queries, keys and
//! values as `[T, B * heads, D]` (the batch is now folded with the heads), works on `[B * heads, T, D]`, and gives back
//! `[T * B, E]` (folded with time) to the output projection. A proof that rows do not meet must follow all of that.

use unisono::onnx::write::{Dim, Graph, Model, Node, Tensor, ValueInfo};

use super::weights::Weights;
use super::{OPSET, WEIGHTS_SEED};

const LAYERS: usize = 2;
const TOKENS: i64 = 32;
const WIDTH: u16 = 256;
const HEADS: u16 = 4;
const FORWARD: u16 = 1024;

pub(super) fn build() -> Model {
    let shape = || {
        [
            Dim::symbol("batch"),
            Dim::fixed(TOKENS),
            Dim::fixed(WIDTH.into()),
        ]
    };
    let (width, head) = (i64::from(WIDTH), i64::from(WIDTH / HEADS));
    let graph = Graph::new("transformer")
        .input(ValueInfo::tensor::<f32>("x", shape()))
        .output(ValueInfo::tensor::<f32>("y", shape()))
        .initializer(Tensor::of("heads.shape", &[3], &[TOKENS, -1, head]))
        .initializer(Tensor::of("flat.shape", &[2], &[-1, width]))
        .initializer(Tensor::of("sequence.shape", &[3], &[TOKENS, -1, width]))
        .initializer(Tensor::of("thirds", &[3], &[width; 3]))
        // The square root of the 64 numbers that a head has.
        .initializer(Tensor::scalar("head.root", 8f32));
    let mut writer = Writer {
        graph,
        weights: Weights::new(WEIGHTS_SEED),
        prefix: String::new(),
    };
    let mut value = "x".to_owned();
    for layer in 0..LAYERS {
        writer.prefix = format!("layers.{layer}");
        let out = if layer + 1 == LAYERS { "y" } else { "" };
        value = writer.encoder_layer(&value, out);
    }
    Model::new(OPSET, writer.graph)
}

/// Writes nodes one after another, each named after what it makes.
struct Writer {
    graph: Graph,
    weights: Weights,
    prefix: String,
}

impl Writer {
    fn take_graph(&mut self, change: impl FnOnce(Graph) -> Graph) {
        self.graph = change(std::mem::take(&mut self.graph));
    }

    fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn constant(&mut self, tensor: Tensor) -> String {
        let name = tensor.name.clone();
        self.take_graph(|graph| graph.initializer(tensor));
        name
    }

    /// Adds a node that makes the value `output`.
    fn node(&mut self, node: Node, inputs: &[&str], output: &str) -> String {
        let name = format!("/{output}/{}", node.op_type);
        let node = node
            .name(&name)
            .inputs(inputs.iter().copied())
            .outputs([output]);
        self.take_graph(|graph| graph.node(node));
        output.to_owned()
    }

    fn op(&mut self, op_type: &str, inputs: &[&str], output: &str) -> String {
        let output = self.path(output);
        self.node(Node::new(op_type), inputs, &output)
    }

    fn transpose(&mut self, input: &str, order: [i64; 3], output: &str) -> String {
        let output = self.path(output);
        self.node(
            Node::new("Transpose").attribute("perm", order),
            &[input],
            &output,
        )
    }

    /// A dense layer on the last axis of a tensor of rank 3: the exporter stores its weights transposed.
    fn dense(&mut self, input: &str, name: &str, inputs: u16, outputs: u16) -> String {
        let full = self.path(name);
        let dims = [i64::from(inputs), i64::from(outputs)];
        let bound = 1.0 / f32::from(inputs).sqrt();
        let weight = self
            .weights
            .uniform(&format!("{full}.weight"), &dims, bound);
        let bias = self
            .weights
            .uniform(&format!("{full}.bias"), &dims[1..], bound);
        let (weight, bias) = (self.constant(weight), self.constant(bias));
        let product = self.op("MatMul", &[input, &weight], &format!("{name}.product"));
        self.op("Add", &[&product, &bias], &format!("{name}.out"))
    }

    fn layer_norm(&mut self, input: &str, name: &str, output: &str) -> String {
        let full = self.path(name);
        let dims = [i64::from(WIDTH)];
        let gain = self
            .weights
            .around(&format!("{full}.weight"), &dims, 1.0, 0.25);
        let bias = self.weights.uniform(&format!("{full}.bias"), &dims, 0.25);
        let (gain, bias) = (self.constant(gain), self.constant(bias));
        let node = Node::new("LayerNormalization")
            .attribute("axis", -1i64)
            .attribute("epsilon", 1e-5f32);
        let output = if output.is_empty() {
            self.path(&format!("{name}.out"))
        } else {
            output.to_owned()
        };
        self.node(node, &[input, &gain, &bias], &output)
    }

    fn attention(&mut self, x: &str) -> String {
        let time_first = self.transpose(x, [1, 0, 2], "attn.time_first");
        let projected = self.dense(&time_first, "attn.in_proj", WIDTH, 3 * WIDTH);
        let thirds = ["attn.q", "attn.k", "attn.v"].map(|name| self.path(name));
        let split = Node::new("Split")
            .name(&format!("/{}/Split", self.path("attn")))
            .inputs([&*projected, "thirds"])
            .outputs(thirds.iter().map(String::as_str))
            .attribute("axis", -1i64);
        self.take_graph(|graph| graph.node(split));
        let [q, k, v] = ["q", "k", "v"].map(|part| {
            let value = self.path(&format!("attn.{part}"));
            let viewed = self.op(
                "Reshape",
                &[&value, "heads.shape"],
                &format!("attn.{part}.heads"),
            );
            // Keys are turned at once so that the product with queries needs no further transpose.
            let order = if part == "k" { [1, 2, 0] } else { [1, 0, 2] };
            self.transpose(&viewed, order, &format!("attn.{part}.folded"))
        });
        let products = self.op("MatMul", &[&q, &k], "attn.products");
        let scores = self.op("Div", &[&products, "head.root"], "attn.scores");
        let output = self.path("attn.weights");
        let weights = self.node(
            Node::new("Softmax").attribute("axis", -1i64),
            &[&scores],
            &output,
        );
        let mixed = self.op("MatMul", &[&weights, &v], "attn.mixed");
        let unfolded = self.transpose(&mixed, [1, 0, 2], "attn.unfolded");
        let flat = self.op("Reshape", &[&unfolded, "flat.shape"], "attn.flat");
        let full = self.path("attn.out_proj");
        let [weight, bias] = self
            .weights
            .layer(&full, &[WIDTH.into(), WIDTH.into()], WIDTH);
        let (weight, bias) = (self.constant(weight), self.constant(bias));
        let gemm = Node::new("Gemm").attribute("transB", 1i64);
        let projected = self.node(gemm, &[&flat, &weight, &bias], &format!("{full}.out"));
        let sequence = self.op("Reshape", &[&projected, "sequence.shape"], "attn.sequence");
        self.transpose(&sequence, [1, 0, 2], "attn.out")
    }

    /// Post-norm: each half adds to its input, then normalises. The result is called `output`, or after the layer if that
    /// is empty.
    fn encoder_layer(&mut self, x: &str, output: &str) -> String {
        let attended = self.attention(x);
        let sum = self.op("Add", &[x, &attended], "attn.residual");
        let x = self.layer_norm(&sum, "norm1", "");
        let wide = self.dense(&x, "linear1", WIDTH, FORWARD);
        let active = self.op("Relu", &[&wide], "linear1.relu");
        let narrow = self.dense(&active, "linear2", FORWARD, WIDTH);
        let sum = self.op("Add", &[&x, &narrow], "linear2.residual");
        self.layer_norm(&sum, "norm2", output)
    }
}
