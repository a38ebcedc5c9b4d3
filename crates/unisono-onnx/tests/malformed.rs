//! Files that must be refused, each with the class of its error and a part of its text.
//!
//! One row is one file. All rows run, and every row that fails is reported.

mod common;

use common::{rich, rows, small, x_to_y};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{
    Attribute, AttributeValue, Data, Dim, Encoder, Function, Graph, Model, Node, Tensor, Type,
    ValueInfo,
};
use unisono_onnx::{LoadOptions, load_bytes, load_file};

struct Row {
    name: String,
    bytes: Vec<u8>,
    folder: Option<PathBuf>,
    options: LoadOptions,
    kind: Kind,
    text: &'static str,
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn bytes(&mut self, name: &str, bytes: Vec<u8>, kind: Kind, text: &'static str) {
        self.0.push(Row {
            name: name.into(),
            bytes,
            folder: None,
            options: LoadOptions::default(),
            kind,
            text,
        });
    }

    fn model(&mut self, name: &str, model: &Model, kind: Kind, text: &'static str) {
        self.bytes(name, model.to_bytes(), kind, text);
    }

    fn graph(&mut self, name: &str, graph: Graph, kind: Kind, text: &'static str) {
        self.model(name, &Model::new(17, graph), kind, text);
    }

    fn limited(
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

    fn in_folder(
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
    fn check(&self) {
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
fn with_weight(w: Tensor) -> Graph {
    x_to_y().initializer(w).node(
        Node::new("Add")
            .name("add")
            .inputs(["x", "w"])
            .outputs(["y"]),
    )
}

fn with_node(node: Node) -> Graph {
    x_to_y().node(node)
}

fn weight(data_type: i32, dims: &[i64], data: Data) -> Graph {
    with_weight(Tensor::new("w", data_type, dims, data))
}

/// A model around a graph whose bytes are given.
fn around(graph: &[u8]) -> Vec<u8> {
    let mut out = Encoder::new();
    out.varint(1, 8);
    out.bytes(7, graph);
    out.message(8, |out| out.varint(2, 17));
    out.into_bytes()
}

#[test]
fn files_that_are_not_onnx_are_refused() {
    let mut table = Table::default();
    table.bytes(
        "empty file",
        Vec::new(),
        Kind::Truncated,
        "the file is empty",
    );
    table.bytes(
        "text",
        b"hello, world, this is no model".to_vec(),
        Kind::Malformed,
        "what to do",
    );
    for (name, start, text) in [
        (
            "zip archive",
            &b"PK\x03\x04\x14\x00"[..],
            "is a zip archive",
        ),
        (
            "Git LFS pointer",
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00", "compressed with gzip"),
        ("web page", b"<!DOCTYPE html><html>", "is a web page"),
        ("GGUF", b"GGUF\x03\x00\x00\x00", "is a GGUF model"),
        (
            "TensorFlow Lite",
            b"\x1c\x00\x00\x00TFL3\x14\x00",
            "TensorFlow Lite",
        ),
    ] {
        table.bytes(name, start.to_vec(), Kind::Malformed, text);
    }
    table.bytes(
        "pickle",
        b"\x80\x02}q\x00".to_vec(),
        Kind::Truncated,
        "Python pickle",
    );
    table.bytes(
        "safetensors",
        b"\x10\x00\x00\x00\x00\x00\x00\x00{\"a\":{}}".to_vec(),
        Kind::Malformed,
        "safetensors",
    );
    table.bytes("zeros", vec![0; 64], Kind::Malformed, "field number 0");
    table.bytes(
        "all ones",
        vec![0xff; 64],
        Kind::Malformed,
        "does not fit in 64 bits",
    );
    let mut overflow = vec![0x08];
    overflow.extend([0xff; 9]);
    overflow.push(0x7f);
    table.bytes(
        "integer of more than 64 bits",
        overflow,
        Kind::Malformed,
        "does not fit in 64 bits",
    );
    table.bytes("group", vec![0x3b, 0x3c], Kind::Malformed, "is a group");
    table.bytes(
        "unknown wire type",
        vec![0x3e],
        Kind::Malformed,
        "unknown wire type 6",
    );
    table.bytes(
        "field number 0",
        vec![0x02, 0x00],
        Kind::Malformed,
        "field number 0",
    );
    table.bytes(
        "graph as a number",
        vec![0x38, 0x01],
        Kind::Malformed,
        "where a length and bytes is expected",
    );
    table.bytes(
        "length beyond the file",
        vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        Kind::Truncated,
        "are left",
    );
    let mut absurd = vec![0x3a];
    absurd.extend([0xff; 9]);
    absurd.push(0x01);
    table.bytes("length of 2^64 - 1", absurd, Kind::Truncated, "are left");
    table.bytes(
        "only unknown fields",
        vec![0xf8, 0x07, 0x01],
        Kind::MissingGraph,
        "no field of the file is a graph",
    );
    let mut twice = small().to_bytes();
    twice.extend(small().to_bytes());
    table.bytes(
        "two models joined",
        twice,
        Kind::Malformed,
        "`graph` occurs twice",
    );
    let mut out = Encoder::new();
    out.bytes(2, b"pytorch \xff\xfe");
    table.bytes(
        "producer that is not UTF-8",
        out.into_bytes(),
        Kind::InvalidUtf8,
        "producer_name",
    );
    table.check();
}

#[test]
fn every_truncation_of_a_model_is_refused() {
    let mut table = Table::default();
    for (name, model) in [("small", small()), ("rich", rich())] {
        let bytes = model.to_bytes();
        for length in 1..bytes.len() {
            let Err(error) = load_bytes(&bytes[..length], None, &LoadOptions::default()) else {
                // The rich model ends with its function, which is called: every cut before that is seen.
                panic!("{name} cut at {length} of {} was accepted", bytes.len());
            };
            assert!(error.advice().is_some(), "{name} cut at {length}: {error}");
        }
        table.bytes(
            &format!("{name} without its last byte"),
            bytes[..bytes.len() - 1].to_vec(),
            Kind::Truncated,
            "are left",
        );
    }
    table.check();
}

#[test]
fn tensors_that_contradict_themselves_are_refused() {
    let raw = |count: usize| Data::Raw(vec![0; count]);
    let mut table = Table::default();
    table.graph(
        "raw data too short",
        weight(1, &[4], raw(12)),
        Kind::InvalidTensor,
        "needs 16 bytes, raw_data has 12",
    );
    table.graph(
        "raw data too long",
        weight(1, &[4], raw(20)),
        Kind::InvalidTensor,
        "initializer[0] \"w\"",
    );
    table.graph(
        "no data",
        weight(1, &[4], Data::None),
        Kind::InvalidTensor,
        "has no data",
    );
    table.graph(
        "negative dimension",
        weight(1, &[-4], raw(16)),
        Kind::InvalidTensor,
        "impossible length -4",
    );
    table.graph(
        "dimension of 2^62",
        weight(1, &[1 << 62], raw(16)),
        Kind::InvalidTensor,
        "more than memory can hold",
    );
    table.graph(
        "product that overflows",
        weight(1, &[1 << 31, 1 << 31, 1 << 31], raw(16)),
        Kind::InvalidTensor,
        "more than memory can hold",
    );
    table.graph(
        "lengths that overflow beside a zero",
        weight(1, &[1 << 40, 1 << 40, 0], Data::None),
        Kind::InvalidTensor,
        "more than memory can hold",
    );
    table.graph(
        "8 GiB claimed by raw data",
        weight(1, &[2 << 30], raw(16)),
        Kind::InvalidTensor,
        "raw_data has 16",
    );
    table.graph(
        "8 GiB claimed by a typed list",
        weight(1, &[2 << 30], Data::Floats(vec![0.0; 4])),
        Kind::InvalidTensor,
        "the whole tensor has",
    );
    table.graph(
        "2^38 elements claimed without data",
        weight(1, &[(1 << 38) + 1], Data::None),
        Kind::LimitExceeded,
        "LoadLimits::elements",
    );
    table.graph(
        "floats in int64_data",
        weight(1, &[4], Data::Int64s(vec![1, 2, 3, 4])),
        Kind::InvalidTensor,
        "must be stored in float_data",
    );
    table.graph(
        "integers in float_data",
        weight(7, &[1], Data::Floats(vec![1.0])),
        Kind::InvalidTensor,
        "must be stored in int64_data",
    );
    table.graph(
        "typed list too short",
        weight(1, &[4], Data::Floats(vec![1.0; 3])),
        Kind::InvalidTensor,
        "needs 4 elements, float_data has 3",
    );
    table.graph(
        "typed list too long",
        weight(1, &[4], Data::Floats(vec![1.0; 5])),
        Kind::InvalidTensor,
        "needs 4 elements, float_data has 5",
    );
    table.graph(
        "byte out of range",
        weight(2, &[1], Data::Int32s(vec![256])),
        Kind::InvalidTensor,
        "the value 256 does not fit in u8",
    );
    table.graph(
        "half out of range",
        weight(10, &[1], Data::Int32s(vec![-1])),
        Kind::InvalidTensor,
        "does not fit in f16",
    );
    table.graph(
        "boolean out of range",
        weight(9, &[1], Data::Int32s(vec![2])),
        Kind::InvalidTensor,
        "fit in bool",
    );
    table.graph(
        "u32 out of range",
        weight(12, &[1], Data::Uint64s(vec![1 << 32])),
        Kind::InvalidTensor,
        "does not fit in u32",
    );
    table.graph(
        "no data type",
        weight(0, &[4], raw(16)),
        Kind::UnsupportedType,
        "data type UNDEFINED",
    );
    table.graph(
        "unknown data type",
        weight(99, &[4], raw(16)),
        Kind::UnsupportedType,
        "data type 99",
    );
    table.graph(
        "float8",
        weight(17, &[4], raw(4)),
        Kind::UnsupportedType,
        "FLOAT8E4M3FN",
    );
    table.graph(
        "int4",
        weight(22, &[4], raw(2)),
        Kind::UnsupportedType,
        "INT4",
    );
    table.graph(
        "complex",
        weight(14, &[4], raw(32)),
        Kind::UnsupportedType,
        "COMPLEX64",
    );
    table.graph(
        "strings as raw data",
        weight(8, &[1], raw(1)),
        Kind::InvalidTensor,
        "only in string_data",
    );
    table.graph(
        "string that is not UTF-8",
        weight(8, &[1], Data::Strings(vec![vec![0xc3, 0x28]])),
        Kind::InvalidUtf8,
        "string_data",
    );
    table.graph(
        "too few strings",
        weight(8, &[2], Data::Strings(vec![b"a".to_vec()])),
        Kind::InvalidTensor,
        "needs 2 elements, string_data has 1",
    );
    table.graph(
        "17 dimensions",
        weight(1, &[1; 17], raw(4)),
        Kind::LimitExceeded,
        "LoadLimits::rank",
    );

    let mut tensor = Encoder::new();
    tensor.packed_varints(1, [1]);
    tensor.varint(2, 1);
    tensor.text(8, "w");
    tensor.bytes(9, &[0; 4]);
    tensor.packed_fixed(4, [[0u8; 4]]);
    let mut graph = Encoder::new();
    graph.bytes(5, &tensor.into_bytes());
    table.bytes(
        "raw data and a typed list",
        around(&graph.into_bytes()),
        Kind::InvalidTensor,
        "in raw_data and in float_data",
    );
    let mut graph = Encoder::new();
    graph.message(5, |out| {
        out.text(8, "w");
        out.message(3, |out| out.varint(1, 0));
    });
    table.bytes(
        "segments",
        around(&graph.into_bytes()),
        Kind::UnsupportedType,
        "stored in segments",
    );
    let mut graph = Encoder::new();
    graph.message(5, |out| out.varint(14, 7));
    table.bytes(
        "unknown data location",
        around(&graph.into_bytes()),
        Kind::Malformed,
        "no data location",
    );
    let mut graph = Encoder::new();
    graph.message(5, |out| out.bytes(4, &[0; 5]));
    table.bytes(
        "typed list cut inside an element",
        {
            let mut graph = Encoder::new();
            graph.message(5, |out| {
                out.packed_varints(1, [1]);
                out.varint(2, 1);
                out.text(8, "w");
                out.bytes(4, &[0; 5]);
            });
            around(&graph.into_bytes())
        },
        Kind::Truncated,
        "float_data",
    );
    table.check();
}

#[test]
fn graphs_that_contradict_themselves_are_refused() {
    let relu = |from: &'static str, to: &'static str| {
        Node::new("Relu").name(to).inputs([from]).outputs([to])
    };
    let mut table = Table::default();
    table.model(
        "no graph",
        &Model {
            graph: None,
            ..small()
        },
        Kind::MissingGraph,
        "no field of the file is a graph",
    );
    table.graph(
        "cycle of three",
        x_to_y()
            .node(relu("c", "a"))
            .node(relu("a", "b"))
            .node(relu("b", "c"))
            .node(relu("c", "y")),
        Kind::Cycle,
        "node[0] \"a\" (Relu)",
    );
    table.graph(
        "node that reads itself",
        with_node(relu("y", "y")),
        Kind::Cycle,
        "node[0] \"y\" (Relu) -> node[0]",
    );
    table.graph(
        "two nodes make one value",
        x_to_y().node(relu("x", "y")).node(relu("x", "y")),
        Kind::DuplicateName,
        "the value \"y\" is made here and by node[0]",
    );
    table.graph(
        "a node makes one value twice",
        with_node(Node::new("Split").inputs(["x"]).outputs(["y", "y"])),
        Kind::DuplicateName,
        "the value \"y\" is made here and by node[0]",
    );
    table.graph(
        "a node makes an input",
        x_to_y().node(relu("y", "x")).node(relu("x", "y")),
        Kind::DuplicateName,
        "by an input or initializer",
    );
    table.graph(
        "two inputs of one name",
        x_to_y().input(rows("x")).node(relu("x", "y")),
        Kind::DuplicateName,
        "two graph inputs have the name \"x\"",
    );
    table.graph(
        "two outputs of one name",
        x_to_y().output(rows("y")).node(relu("x", "y")),
        Kind::DuplicateName,
        "two graph outputs have the name \"y\"",
    );
    table.graph(
        "two initializers of one name",
        with_weight(Tensor::of("w", &[4], &[0f32; 4])).initializer(Tensor::of(
            "w",
            &[4],
            &[1f32; 4],
        )),
        Kind::DuplicateName,
        "two initializers have the name \"w\"",
    );
    table.graph(
        "initializer without a name",
        with_weight(Tensor::of("", &[4], &[0f32; 4])),
        Kind::InvalidGraph,
        "an initializer has no name",
    );
    table.graph(
        "missing initializer",
        with_node(
            Node::new("Add")
                .name("add")
                .inputs(["x", "w"])
                .outputs(["y"]),
        ),
        Kind::UndefinedValue,
        "graph.node[0] \"add\" (Add, opset 17)",
    );
    table.graph(
        "undefined input",
        with_node(relu("nowhere", "y")),
        Kind::UndefinedValue,
        "input 0 is \"nowhere\"",
    );
    table.graph(
        "output that nothing makes",
        with_node(relu("x", "z")),
        Kind::UndefinedValue,
        "output[0] \"y\"",
    );
    table.graph(
        "no outputs",
        Graph::new("g").input(rows("x")),
        Kind::InvalidGraph,
        "has no outputs",
    );
    table.graph(
        "input without a name",
        x_to_y().input(rows("")).node(relu("x", "y")),
        Kind::InvalidGraph,
        "a graph input has no name",
    );
    table.graph(
        "input without a type",
        Graph::new("g")
            .input(ValueInfo::untyped("x"))
            .output(rows("y"))
            .node(relu("x", "y")),
        Kind::InvalidGraph,
        "no element type",
    );
    let typed = |value_type: Type| {
        Graph::new("g")
            .input(ValueInfo::of_type("x", value_type))
            .output(rows("y"))
            .node(relu("x", "y"))
    };
    let float = || Box::new(Type::Tensor(1, None));
    table.graph(
        "sequence input",
        typed(Type::Sequence(float())),
        Kind::UnsupportedType,
        "of type sequence",
    );
    table.graph(
        "map input",
        typed(Type::Map(7, float())),
        Kind::UnsupportedType,
        "of type map",
    );
    table.graph(
        "optional input",
        typed(Type::Optional(float())),
        Kind::UnsupportedType,
        "of type optional",
    );
    table.graph(
        "sparse input",
        typed(Type::SparseTensor(1, None)),
        Kind::UnsupportedType,
        "of type sparse tensor",
    );
    table.graph(
        "input of float8",
        typed(Type::Tensor(19, None)),
        Kind::UnsupportedType,
        "FLOAT8E5M2",
    );
    table.graph(
        "sequence output",
        Graph::new("g")
            .input(rows("x"))
            .output(ValueInfo::of_type("y", Type::Sequence(float())))
            .node(relu("x", "y")),
        Kind::UnsupportedType,
        "the graph output is of type sequence",
    );
    table.graph(
        "input whose dimensions overflow",
        typed(Type::Tensor(
            1,
            Some(vec![Dim::fixed(1 << 62), Dim::fixed(1 << 62)]),
        )),
        Kind::InvalidTensor,
        "more than 2^63",
    );
    table.graph(
        "input of 17 dimensions",
        typed(Type::Tensor(1, Some(vec![Dim::Unknown; 17]))),
        Kind::LimitExceeded,
        "LoadLimits::rank",
    );
    let mut graph = Encoder::new();
    graph.message(15, |_| {});
    table.bytes(
        "sparse initializer",
        around(&graph.into_bytes()),
        Kind::UnsupportedType,
        "sparse initializer",
    );
    let mut graph = Encoder::new();
    graph.message(1, |out| {
        out.text(4, "Relu");
        out.bytes(3, b"\xf0\x28\x8c\x28");
    });
    table.bytes(
        "node name that is not UTF-8",
        around(&graph.into_bytes()),
        Kind::InvalidUtf8,
        "graph.node[0]",
    );
    let mut graph = Encoder::new();
    graph.message(1, |out| out.bytes(1, b"\xff"));
    table.bytes(
        "value name that is not UTF-8",
        around(&graph.into_bytes()),
        Kind::InvalidUtf8,
        "input[0]",
    );
    table.check();
}

#[test]
fn operators_and_opsets_that_are_not_supported_are_refused_by_name() {
    let with_opset = |opset: i64| Model {
        opset_imports: vec![(String::new(), opset)],
        ..small()
    };
    let mut table = Table::default();
    table.graph(
        "unknown operator",
        with_node(
            Node::new("Frobnicate")
                .name("f")
                .inputs(["x"])
                .outputs(["y"]),
        ),
        Kind::UnsupportedOperator,
        "Frobnicate (ai.onnx, opset 17): 1 node, first graph.node[0] \"f\"",
    );
    table.graph(
        "two unknown operators, one of them twice",
        x_to_y()
            .node(Node::new("Frobnicate").inputs(["x"]).outputs(["a"]))
            .node(Node::new("Frobnicate").inputs(["a"]).outputs(["b"]))
            .node(Node::new("Zorkify").inputs(["b"]).outputs(["y"])),
        Kind::UnsupportedOperator,
        "3 nodes use 2 operators",
    );
    table.graph(
        "unknown operator inside a body of an unknown operator",
        with_node(
            Node::new("Frobnicate").name("f").inputs(["x"]).outputs(["y"]).attribute(
                "body",
                Graph::new("b").node(Node::new("Zorkify").name("z").inputs(["x"]).outputs(["v"])),
            ),
        ),
        Kind::UnsupportedOperator,
        "first graph.node[0] \"f\" (Frobnicate, opset 17).attribute \"body\".node[0] \"z\" (Zorkify, opset 17)",
    );
    table.model(
        "unknown domain",
        &Model::new(
            17,
            with_node(
                Node::new("Relu")
                    .domain("com.example")
                    .inputs(["x"])
                    .outputs(["y"]),
            ),
        )
        .import("com.example", 1),
        Kind::UnsupportedOperator,
        "com.example",
    );
    table.graph(
        "domain that is not imported",
        with_node(
            Node::new("Relu")
                .domain("com.example")
                .inputs(["x"])
                .outputs(["y"]),
        ),
        Kind::UnsupportedOpset,
        "\"com.example\"",
    );
    table.model(
        "opset 6",
        &with_opset(6),
        Kind::UnsupportedOpset,
        "7 to 28 are supported",
    );
    table.model(
        "opset 29",
        &with_opset(29),
        Kind::UnsupportedOpset,
        "uses opset 29",
    );
    table.model(
        "opset -1",
        &with_opset(-1),
        Kind::UnsupportedOpset,
        "uses opset -1",
    );
    table.model(
        "no opset",
        &Model {
            opset_imports: Vec::new(),
            ..small()
        },
        Kind::UnsupportedOpset,
        "does not say which version",
    );
    table.model(
        "two versions of one domain",
        &small().import("", 18),
        Kind::DuplicateName,
        "version 17 and as version 18",
    );
    table.model(
        "one domain under both its names",
        &small().import("ai.onnx", 18),
        Kind::DuplicateName,
        "ai.onnx",
    );
    table.graph(
        "operator without a name",
        with_node(Node::new("").inputs(["x"]).outputs(["y"])),
        Kind::InvalidNode,
        "names no operator",
    );
    table.graph(
        "too many inputs",
        with_node(
            Node::new("Relu")
                .name("r")
                .inputs(["x", "x"])
                .outputs(["y"]),
        ),
        Kind::InvalidNode,
        "graph.node[0] \"r\" (Relu, opset 17)",
    );
    table.graph(
        "too few inputs",
        with_node(Node::new("Add").inputs(["x"]).outputs(["y"])),
        Kind::InvalidNode,
        "Add",
    );
    table.graph(
        "too many outputs",
        with_node(Node::new("Relu").inputs(["x"]).outputs(["y", "z"])),
        Kind::InvalidNode,
        "Relu",
    );
    table.check();
}

#[test]
fn wrong_attributes_are_refused_with_their_name() {
    let conv = |value: AttributeValue| {
        with_weight(Tensor::of("w", &[1, 1, 1, 1], &[1f32])).node(
            Node::new("Conv")
                .name("conv1")
                .inputs(["x", "w"])
                .outputs(["z"])
                .attribute("pads", value),
        )
    };
    let constant = |node: Node| with_node(node.outputs(["y"]));
    let mut table = Table::default();
    table.graph(
        "attribute of the wrong type",
        conv(AttributeValue::Float(1.0)),
        Kind::InvalidAttribute,
        "graph.node[1] \"conv1\" (Conv, opset 17).attribute \"pads\"",
    );
    table.graph(
        "unknown attribute",
        with_node(
            Node::new("Relu")
                .inputs(["x"])
                .outputs(["y"])
                .attribute("slope", 1i64),
        ),
        Kind::InvalidAttribute,
        "slope",
    );
    table.graph(
        "attribute given twice",
        with_node(
            Node::new("LeakyRelu")
                .inputs(["x"])
                .outputs(["y"])
                .attribute("alpha", 0.1f32)
                .attribute("alpha", 0.2f32),
        ),
        Kind::DuplicateName,
        "two attributes of this name",
    );
    table.graph(
        "reference outside a function",
        with_node(
            Node::new("LeakyRelu")
                .inputs(["x"])
                .outputs(["y"])
                .attribute("alpha", AttributeValue::Reference("a".into(), 1)),
        ),
        Kind::InvalidAttribute,
        "only functions may have references",
    );
    table.graph(
        "If without a branch",
        x_to_y()
            .input(ValueInfo::of_type("flag", Type::Tensor(9, Some(vec![]))))
            .node(
                Node::new("If")
                    .name("if")
                    .inputs(["flag"])
                    .outputs(["y"])
                    .attribute(
                        "then_branch",
                        Graph::new("t")
                            .node(Node::new("Relu").inputs(["x"]).outputs(["v"]))
                            .output(ValueInfo::untyped("v")),
                    ),
            ),
        Kind::InvalidAttribute,
        "else_branch",
    );
    table.graph(
        "body that reads what nothing makes",
        x_to_y().node(
            Node::new("If").name("if").inputs(["x"]).outputs(["y"]).attribute(
                "then_branch",
                Graph::new("t")
                    .node(Node::new("Relu").name("r").inputs(["nowhere"]).outputs(["v"]))
                    .output(ValueInfo::untyped("v")),
            ),
        ),
        Kind::UndefinedValue,
        "graph.node[0] \"if\" (If, opset 17).attribute \"then_branch\".node[0] \"r\" (Relu, opset 17)",
    );
    table.graph(
        "Constant without a value",
        constant(Node::new("Constant")),
        Kind::InvalidAttribute,
        "a Constant has one attribute, this has 0",
    );
    table.graph(
        "Constant with a value of the wrong type",
        constant(Node::new("Constant").attribute("value_int", 1f32)),
        Kind::InvalidAttribute,
        "no attribute \"value_int\" of type FLOAT",
    );
    table.graph(
        "Constant with an input",
        constant(
            Node::new("Constant")
                .inputs(["x"])
                .attribute("value_int", 1i64),
        ),
        Kind::InvalidNode,
        "a Constant has no inputs",
    );
    let raw_attribute = |write: &dyn Fn(&mut Encoder)| {
        let mut graph = Encoder::new();
        graph.message(1, |out| {
            out.text(1, "x");
            out.text(2, "y");
            out.text(4, "LeakyRelu");
            out.message(5, |out| write(out));
        });
        graph.message(11, |out| {
            out.text(1, "x");
            out.message(2, |out| out.message(1, |out| out.varint(1, 1)));
        });
        graph.message(12, |out| out.text(1, "y"));
        around(&graph.into_bytes())
    };
    table.bytes(
        "attribute without a name",
        raw_attribute(&|out| out.float(2, 1.0)),
        Kind::InvalidAttribute,
        "the attribute has no name",
    );
    table.bytes(
        "attribute with neither type nor value",
        raw_attribute(&|out| out.text(1, "alpha")),
        Kind::InvalidAttribute,
        "neither a type nor a value",
    );
    table.bytes(
        "attribute that is declared as something else",
        raw_attribute(&|out| {
            out.text(1, "alpha");
            out.float(2, 1.0);
            out.varint(20, 2);
        }),
        Kind::InvalidAttribute,
        "declared as INT but holds FLOAT",
    );
    table.bytes(
        "attribute of an unknown type",
        raw_attribute(&|out| {
            out.text(1, "alpha");
            out.varint(20, 77);
        }),
        Kind::InvalidAttribute,
        "77 is no attribute type",
    );
    table.bytes(
        "tensor attribute without a tensor",
        raw_attribute(&|out| {
            out.text(1, "alpha");
            out.varint(20, 4);
        }),
        Kind::InvalidAttribute,
        "declared as TENSOR but holds nothing",
    );
    table.bytes(
        "sparse tensor attribute",
        raw_attribute(&|out| {
            out.text(1, "alpha");
            out.message(22, |_| {});
            out.varint(20, 11);
        }),
        Kind::UnsupportedType,
        "SPARSE_TENSOR",
    );
    table.check();
}

#[test]
fn functions_that_are_wrong_are_refused() {
    let call = |op: &str| {
        Node::new(op)
            .domain("f")
            .name("call")
            .inputs(["x"])
            .outputs(["y"])
    };
    let model = |function: Function| {
        Model::new(17, with_node(call("F")))
            .import("f", 1)
            .function(function)
    };
    let f = || Function::new("f", "F", 17).inputs(["a"]).outputs(["b"]);
    let mut table = Table::default();
    table.model(
        "function that calls itself",
        &model(f().node(Node::new("F").domain("f").inputs(["a"]).outputs(["b"]))),
        Kind::InvalidFunction,
        "\"f.F\" -> \"f.F\"",
    );
    table.model(
        "functions that call each other",
        &model(f().node(Node::new("G").domain("f").inputs(["a"]).outputs(["b"]))).function(
            Function::new("f", "G", 17)
                .inputs(["a"])
                .outputs(["b"])
                .node(Node::new("F").domain("f").inputs(["a"]).outputs(["b"])),
        ),
        Kind::InvalidFunction,
        "\"f.F\" -> \"f.G\" -> \"f.F\"",
    );
    table.model(
        "reference to an attribute that the function does not have",
        &model(
            f().node(
                Node::new("LeakyRelu")
                    .inputs(["a"])
                    .outputs(["b"])
                    .attribute("alpha", AttributeValue::Reference("slope".into(), 1)),
            ),
        ),
        Kind::InvalidFunction,
        "\"slope\", which is no attribute of the function",
    );
    table.model(
        "reference to an attribute of another type",
        &model(
            f().attribute_default(Attribute::new("slope", 1i64)).node(
                Node::new("LeakyRelu")
                    .inputs(["a"])
                    .outputs(["b"])
                    .attribute("alpha", AttributeValue::Reference("slope".into(), 1)),
            ),
        ),
        Kind::InvalidAttribute,
        "wants FLOAT, but the function was called with INT",
    );
    table.model(
        "attribute that an operator needs and the call leaves out",
        &model(
            f().attribute("type").node(
                Node::new("Cast")
                    .name("cast")
                    .inputs(["a"])
                    .outputs(["b"])
                    .attribute("to", AttributeValue::Reference("type".into(), 2)),
            ),
        ),
        Kind::InvalidAttribute,
        "function \"f.F\".node[0] \"cast\" (Cast, opset 17)",
    );
    table.model(
        "call with an attribute that the function does not have",
        &Model::new(17, with_node(call("F").attribute("speed", 1i64)))
            .import("f", 1)
            .function(f().node(Node::new("Relu").inputs(["a"]).outputs(["b"]))),
        Kind::InvalidAttribute,
        "has no such attribute",
    );
    table.model(
        "call with too many inputs",
        &Model::new(17, with_node(call("F").inputs(["x"])))
            .import("f", 1)
            .function(f().node(Node::new("Relu").inputs(["a"]).outputs(["b"]))),
        Kind::InvalidNode,
        "is called with 2 and 1",
    );
    table.model(
        "function that does not make its output",
        &model(f().node(Node::new("Relu").inputs(["a"]).outputs(["c"]))),
        Kind::UndefinedValue,
        "no node of the function makes its output \"b\"",
    );
    table.model(
        "function that reads its caller's values",
        &model(f().node(Node::new("Add").inputs(["a", "x"]).outputs(["b"]))),
        Kind::UndefinedValue,
        "input 1 is \"x\"",
    );
    table.model(
        "function that is defined twice",
        &model(f()).function(f()),
        Kind::DuplicateName,
        "\"f.F\" is defined twice",
    );
    table.model(
        "two inputs of a function with one name",
        &model(f().inputs(["a"])),
        Kind::DuplicateName,
        "two inputs of \"f.F\" are called \"a\"",
    );
    table.model(
        "cycle inside a function",
        &model(
            f().node(Node::new("Relu").inputs(["b"]).outputs(["c"]))
                .node(Node::new("Relu").inputs(["c"]).outputs(["b"])),
        ),
        Kind::Cycle,
        "function \"f.F\"",
    );
    table.model(
        "function for an opset that is too new",
        &model(Function::new("f", "F", 99).inputs(["a"]).outputs(["b"])),
        Kind::UnsupportedOpset,
        "functions[0]",
    );
    table.model(
        "overload that does not exist",
        &Model::new(17, with_node(call("F").overload("fast")))
            .import("f", 1)
            .function(f()),
        Kind::UnsupportedOperator,
        "F (f, opset 1)",
    );
    table.check();
}

#[test]
fn external_data_is_bounded_by_its_file_and_its_folder() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("malformed-external");
    let folder = root.join("model");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("weights.bin"), vec![0; 64]).unwrap();
    std::fs::write(folder.join("empty.bin"), []).unwrap();
    std::fs::write(root.join("secret.bin"), vec![0; 64]).unwrap();
    let external = |location: &str, offset: u64, length: u64| {
        Tensor::external::<f32>("w", &[4], location, offset, length)
    };
    let entries = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        Tensor::new("w", 1, &[4], Data::External(pairs))
    };
    let mut table = Table::default();
    let t = &mut table;
    t.in_folder(
        "missing",
        &folder,
        external("gone.bin", 0, 16),
        Kind::ExternalData,
        "\"gone.bin\"",
    );
    t.in_folder(
        "past the end",
        &folder,
        external("weights.bin", 52, 16),
        Kind::ExternalData,
        "which has 64",
    );
    t.in_folder(
        "empty file",
        &folder,
        external("empty.bin", 0, 16),
        Kind::ExternalData,
        "which has 0",
    );
    t.in_folder(
        "offset that overflows",
        &folder,
        external("weights.bin", u64::MAX - 4, 16),
        Kind::ExternalData,
        "which has 64",
    );
    t.in_folder(
        "length that is not the tensor's",
        &folder,
        external("weights.bin", 0, 12),
        Kind::ExternalData,
        "has length 12",
    );
    t.in_folder(
        "with ..",
        &folder,
        external("../secret.bin", 0, 16),
        Kind::ExternalDataEscapes,
        "..",
    );
    t.in_folder(
        "with .. inside",
        &folder,
        external("sub/../../secret.bin", 0, 16),
        Kind::ExternalDataEscapes,
        "..",
    );
    t.in_folder(
        "with .. of another system",
        &folder,
        external("..\\secret.bin", 0, 16),
        Kind::ExternalDataEscapes,
        "..",
    );
    t.in_folder(
        "absolute",
        &folder,
        external("/etc/passwd", 0, 16),
        Kind::ExternalDataEscapes,
        "absolute",
    );
    t.in_folder(
        "absolute on another system",
        &folder,
        external("C:\\secret.bin", 0, 16),
        Kind::ExternalDataEscapes,
        "absolute",
    );
    t.in_folder(
        "folder",
        &folder,
        external("sub", 0, 16),
        Kind::ExternalData,
        "not a regular file",
    );
    t.in_folder(
        "empty location",
        &folder,
        external("", 0, 16),
        Kind::ExternalData,
        "location of the external data is empty",
    );
    t.in_folder(
        "name with a zero byte",
        &folder,
        external("a\0b", 0, 16),
        Kind::ExternalData,
        "cannot read",
    );
    t.in_folder(
        "no location",
        &folder,
        entries(&[("offset", "0")]),
        Kind::ExternalData,
        "without a location",
    );
    t.in_folder(
        "negative offset",
        &folder,
        entries(&[("location", "weights.bin"), ("offset", "-4")]),
        Kind::ExternalData,
        "the offset",
    );
    t.in_folder(
        "length in words",
        &folder,
        entries(&[("location", "weights.bin"), ("length", "all")]),
        Kind::ExternalData,
        "the length",
    );
    let strings = Tensor {
        data_type: 8,
        ..entries(&[("location", "weights.bin")])
    };
    t.in_folder(
        "strings",
        &folder,
        strings,
        Kind::InvalidTensor,
        "external data",
    );
    t.graph(
        "no folder",
        with_weight(external("weights.bin", 0, 16)),
        Kind::ExternalData,
        "without a folder",
    );
    let bytes = Model::new(17, with_weight(external("weights.bin", 0, 16))).to_bytes();
    t.limited(
        "switched off",
        bytes,
        |options| options.external_data = false,
        Kind::ExternalData,
        "switched off",
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.bin", folder.join("link.bin")).unwrap();
        std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
        t.in_folder(
            "link that leaves",
            &folder,
            external("link.bin", 0, 16),
            Kind::ExternalDataEscapes,
            "is a link",
        );
        t.in_folder(
            "folder that leaves",
            &folder,
            external("up/secret.bin", 0, 16),
            Kind::ExternalDataEscapes,
            "is a link",
        );
    }
    table.check();
}

#[test]
fn every_limit_is_enforced() {
    let small = || small().to_bytes();
    let rich = || rich().to_bytes();
    let mut table = Table::default();
    let t = &mut table;
    t.limited(
        "file",
        small(),
        |o| o.limits.file_bytes = 10,
        Kind::LimitExceeded,
        "LoadLimits::file_bytes",
    );
    t.limited(
        "messages",
        small(),
        |o| o.limits.messages = 5,
        Kind::LimitExceeded,
        "LoadLimits::messages",
    );
    t.limited(
        "nodes",
        small(),
        |o| o.limits.nodes = 1,
        Kind::LimitExceeded,
        "LoadLimits::nodes",
    );
    t.limited(
        "initializers",
        small(),
        |o| o.limits.initializers = 0,
        Kind::LimitExceeded,
        "LoadLimits::initializers",
    );
    t.limited(
        "nesting",
        rich(),
        |o| o.limits.nesting = 1,
        Kind::LimitExceeded,
        "LoadLimits::nesting",
    );
    t.limited(
        "rank",
        small(),
        |o| o.limits.rank = 0,
        Kind::LimitExceeded,
        "LoadLimits::rank",
    );
    t.limited(
        "elements",
        small(),
        |o| o.limits.elements = 3,
        Kind::LimitExceeded,
        "LoadLimits::elements",
    );
    t.limited(
        "copies",
        rich(),
        |o| o.limits.copied_bytes = 64,
        Kind::LimitExceeded,
        "LoadLimits::copied_bytes",
    );

    // 2^40 nodes out of 40 functions that each call the one before twice.
    let mut bomb = Model::new(
        17,
        with_node(Node::new("F39").domain("f").inputs(["x"]).outputs(["y"])),
    )
    .import("f", 1);
    for level in 0..40 {
        let inner = match level {
            0 => Node::new("Relu"),
            _ => Node::new(&format!("F{}", level - 1)).domain("f"),
        };
        bomb = bomb.function(
            Function::new("f", &format!("F{level}"), 17)
                .inputs(["a"])
                .outputs(["b"])
                .node(inner.clone().inputs(["a"]).outputs(["c"]))
                .node(inner.inputs(["c"]).outputs(["b"])),
        );
    }
    t.limited(
        "functions that double",
        bomb.to_bytes(),
        |o| {
            o.limits.nesting = 64;
            o.limits.nodes = 10_000;
        },
        Kind::LimitExceeded,
        "nodes after functions are inlined",
    );

    let nested = |depth: usize| {
        let mut body = Graph::new("b")
            .node(Node::new("Relu").inputs(["x"]).outputs(["v"]))
            .output(ValueInfo::untyped("v"));
        for _ in 0..depth {
            body = Graph::new("b")
                .node(
                    Node::new("If")
                        .inputs(["flag"])
                        .outputs(["v"])
                        .attribute("then_branch", body.clone())
                        .attribute(
                            "else_branch",
                            Graph::new("e").output(ValueInfo::untyped("x")),
                        ),
                )
                .output(ValueInfo::untyped("v"));
        }
        let graph = x_to_y()
            .input(ValueInfo::of_type("flag", Type::Tensor(9, Some(vec![]))))
            .node(
                Node::new("If")
                    .inputs(["flag"])
                    .outputs(["y"])
                    .attribute("then_branch", body)
                    .attribute(
                        "else_branch",
                        Graph::new("e").output(ValueInfo::untyped("x")),
                    ),
            );
        Model::new(17, graph).to_bytes()
    };
    t.limited(
        "bodies within bodies",
        nested(40),
        |_| {},
        Kind::LimitExceeded,
        "levels of nesting",
    );
    t.limited(
        "bodies deeper than any setting allows",
        nested(200),
        |o| o.limits.nesting = usize::MAX,
        Kind::LimitExceeded,
        "128 levels of nesting",
    );
    // The deepest that is allowed must fit on a thread's stack.
    let mut options = LoadOptions::default();
    options.limits.nesting = usize::MAX;
    if let Err(error) = load_bytes(nested(125), None, &options) {
        panic!("{error}");
    }
    table.check();
}

#[test]
fn paths_that_are_no_models_are_refused() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let missing =
        load_file(folder.join("no-such-model.onnx"), &LoadOptions::default()).unwrap_err();
    assert_eq!(missing.kind(), Kind::Io);
    assert!(
        missing.to_string().contains("no-such-model.onnx"),
        "{missing}"
    );
    let error = load_file(folder, &LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let empty = folder.join("empty.onnx");
    std::fs::write(&empty, []).unwrap();
    let error = load_file(&empty, &LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Truncated);
}
