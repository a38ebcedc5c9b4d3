//! The table that all tests here fill, and the models that rows are made of.

use crate::common::x_to_y;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{Data, Encoder, Graph, Model, Node, Tensor};
use unisono_onnx::{LoadOptions, load_bytes};

struct Row {
    name: String,
    bytes: Vec<u8>,
    folder: Option<PathBuf>,
    options: LoadOptions,
    kind: Kind,
    text: &'static str,
}

#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    pub fn bytes(&mut self, name: &str, bytes: Vec<u8>, kind: Kind, text: &'static str) {
        self.0.push(Row {
            name: name.into(),
            bytes,
            folder: None,
            options: LoadOptions::default(),
            kind,
            text,
        });
    }

    pub fn model(&mut self, name: &str, model: &Model, kind: Kind, text: &'static str) {
        self.bytes(name, model.to_bytes(), kind, text);
    }

    pub fn graph(&mut self, name: &str, graph: Graph, kind: Kind, text: &'static str) {
        self.model(name, &Model::new(17, graph), kind, text);
    }

    pub fn limited(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        set: impl FnOnce(&mut LoadOptions),
        kind: Kind,
        text: &'static str,
    ) {
        self.bytes(name, bytes, kind, text);
        if let Some(row) = self.0.last_mut() {
            set(&mut row.options);
        }
    }

    pub fn in_folder(
        &mut self,
        name: &str,
        folder: &Path,
        tensor: Tensor,
        kind: Kind,
        text: &'static str,
    ) {
        self.graph(name, with_weight(tensor), kind, text);
        if let Some(row) = self.0.last_mut() {
            row.folder = Some(folder.to_path_buf());
        }
    }

    /// Runs all rows and reports all that fail.
    pub fn check(&self) {
        let mut failures = Vec::new();
        for row in &self.0 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                load_bytes(row.bytes.as_slice(), row.folder.as_deref(), &row.options)
            }));
            let problem = match result {
                Err(_) => "panicked".to_owned(),
                Ok(Ok(_)) => "was accepted".to_owned(),
                Ok(Err(error)) if error.kind() != row.kind => {
                    format!("wanted {:?}, got {:?}:\n{error}", row.kind, error.kind())
                }
                Ok(Err(error)) if !error.to_string().contains(row.text) => {
                    format!("wanted the text {:?}, got:\n{error}", row.text)
                }
                Ok(Err(error)) if error.advice().is_none() => format!("has no advice:\n{error}"),
                Ok(Err(_)) => continue,
            };
            failures.push(format!("{}: {problem}", row.name));
        }
        assert!(
            failures.is_empty(),
            "{} of {} rows failed\n\n{}",
            failures.len(),
            self.0.len(),
            failures.join("\n\n")
        );
    }
}

/// `y = x + w` with this `w`.
pub fn with_weight(w: Tensor) -> Graph {
    x_to_y().initializer(w).node(
        Node::new("Add")
            .name("add")
            .inputs(["x", "w"])
            .outputs(["y"]),
    )
}

pub fn with_node(node: Node) -> Graph {
    x_to_y().node(node)
}

pub fn weight(data_type: i32, dims: &[i64], data: Data) -> Graph {
    with_weight(Tensor::new("w", data_type, dims, data))
}

/// A model around a graph whose bytes are given.
pub fn around(graph: &[u8]) -> Vec<u8> {
    let mut out = Encoder::new();
    out.varint(1, 8);
    out.bytes(7, graph);
    out.message(8, |out| out.varint(2, 17));
    out.into_bytes()
}
