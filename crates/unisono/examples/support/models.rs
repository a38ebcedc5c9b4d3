use unisono::onnx::write::{Dim, Graph, Model, Node, Tensor, ValueInfo};

/// The models with their file names.
pub fn all() -> [(&'static str, Vec<u8>); 2] {
    [("classifier.onnx", classifier()), ("similarity.onnx", similarity())]
}

/// Rows of 4 features, `x`, to 3 scores each: softmax of a linear layer, a ReLU, and another linear layer.
fn classifier() -> Vec<u8> {
    let weights = |n: u8, scale: f32| -> Vec<f32> {
        (0..n).map(|i| f32::from(i * 7 % 11) * scale - 0.5).collect()
    };
    let graph = Graph::new("classifier")
        .input(ValueInfo::tensor::<f32>("x", [Dim::symbol("batch"), Dim::fixed(4)]))
        .initializer(Tensor::of("w1", &[4, 8], &weights(32, 0.1)))
        .initializer(Tensor::of("b1", &[8], &weights(8, 0.05)))
        .initializer(Tensor::of("w2", &[8, 3], &weights(24, 0.1)))
        .initializer(Tensor::of("b2", &[3], &weights(3, 0.05)))
        .node(Node::new("Gemm").name("layer1").inputs(["x", "w1", "b1"]).outputs(["h1"]))
        .node(Node::new("Relu").name("relu").inputs(["h1"]).outputs(["h2"]))
        .node(Node::new("Gemm").name("layer2").inputs(["h2", "w2", "b2"]).outputs(["h3"]))
        .node(Node::new("Softmax").name("softmax").inputs(["h3"]).outputs(["scores"]).attribute("axis", -1i64))
        .output(ValueInfo::tensor::<f32>("scores", [Dim::symbol("batch"), Dim::fixed(3)]));
    Model::new(17, graph).to_bytes()
}

/// Rows of two vectors, `query` and `document`, to their dot products.
fn similarity() -> Vec<u8> {
    let vector = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(4)]);
    let graph = Graph::new("similarity")
        .input(vector("query"))
        .input(vector("document"))
        .initializer(Tensor::of("axes", &[1], &[1i64]))
        .node(Node::new("Mul").name("products").inputs(["query", "document"]).outputs(["products"]))
        .node(
            Node::new("ReduceSum")
                .name("sum")
                .inputs(["products", "axes"])
                .outputs(["similarity"])
                .attribute("keepdims", 0i64),
        )
        .output(ValueInfo::tensor::<f32>("similarity", [Dim::symbol("batch")]));
    Model::new(17, graph).to_bytes()
}
