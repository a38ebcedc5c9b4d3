//! Writes the corpus that fuzzing starts from: small valid models, one file each, and one for every operator.

#[path = "../../crates/unisono-onnx/tests/common/mod.rs"]
mod common;

use std::path::Path;
use unisono_onnx::write::{Data, Model, Node, Tensor};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/load");
    std::fs::create_dir_all(&folder)?;
    let mut models = vec![
        ("small".to_owned(), common::small()),
        ("rich".to_owned(), common::rich()),
    ];
    for definition in unisono_graph::ops::supported() {
        let inputs = ["x", "x", "x", "x", "x", "x"]
            .into_iter()
            .take(definition.inputs.0.max(1));
        let node = Node::new(definition.name)
            .domain(definition.domain)
            .inputs(inputs)
            .outputs(["y"]);
        let mut model = Model::new(definition.opsets.0.max(17), common::x_to_y().node(node));
        if !definition.domain.is_empty() {
            model = model.import(definition.domain, definition.opsets.0);
        }
        models.push((
            format!("op-{}-{}", definition.domain, definition.name),
            model,
        ));
    }
    let typed = [
        (1, Data::Floats(vec![1.0])),
        (6, Data::Int32s(vec![-1])),
        (7, Data::Int64s(vec![1 << 40])),
        (8, Data::Strings(vec![b"s".to_vec()])),
        (11, Data::Doubles(vec![1.0])),
        (13, Data::Uint64s(vec![u64::MAX])),
        (
            1,
            Data::External(vec![
                ("location".into(), "w".into()),
                ("offset".into(), "0".into()),
            ]),
        ),
    ];
    for (index, (code, data)) in typed.into_iter().enumerate() {
        let graph = common::x_to_y()
            .initializer(Tensor::new("w", code, &[1], data))
            .node(Node::new("Identity").inputs(["w"]).outputs(["y"]));
        models.push((format!("typed-{index}"), Model::new(17, graph)));
    }
    for (name, model) in &models {
        std::fs::write(folder.join(name), model.to_bytes())?;
    }
    println!("{} seeds in {}", models.len(), folder.display());
    Ok(())
}
