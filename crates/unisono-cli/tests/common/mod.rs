//! What the tests of the program share: a folder of their own, models in it, and the program run in it.
#![allow(dead_code)] // each test program uses some of it

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use unisono::DType;
use unisono::onnx::write::{Dim, Graph, Model, Node, Tensor, Type, ValueInfo, element_code};

/// A folder that goes with its owner.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("program-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("the test's folder can be made");
        Folder(path)
    }

    /// A folder with [`linear`] as `model.onnx`.
    pub fn with_model() -> Folder {
        let folder = Folder::new();
        folder.write("model.onnx", &linear());
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("the test's file can be written");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Runs the program in this folder. Backtraces are asked for, so that one shown for a user's error is seen.
    pub fn unisono(&self, arguments: &[&str]) -> Ran {
        let output = self
            .command(arguments)
            .output()
            .expect("the program starts");
        Ran::new(arguments, output)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unisono"));
        command
            .args(arguments)
            .current_dir(&self.0)
            .env("RUST_BACKTRACE", "1");
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind lies in the build folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the program did.
pub struct Ran {
    pub line: String,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn new(arguments: &[&str], output: Output) -> Ran {
        Ran {
            line: format!("unisono {}", arguments.join(" ")),
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("standard output is text"),
            err: String::from_utf8(output.stderr).expect("standard error is text"),
        }
    }

    /// It ended well.
    pub fn ok(self) -> Ran {
        assert_eq!(
            self.code,
            Some(0),
            "{}\n{}{}",
            self.line,
            self.out,
            self.err
        );
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{}: {e}\n{}", self.line, self.out))
    }
}

/// `y = x * w + b` and `relu(y)` under an awkward name: `x[batch, 3]`, `y[batch, 2]`.
pub fn linear() -> Vec<u8> {
    let y = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(2)]);
    let graph = Graph::new("linear")
        .input(ValueInfo::tensor::<f32>(
            "x",
            [Dim::symbol("batch"), Dim::fixed(3)],
        ))
        .initializer(Tensor::of(
            "w",
            &[3, 2],
            &[1f32, -1.0, 2.0, -2.0, 3.0, -3.0],
        ))
        .initializer(Tensor::of("b", &[2], &[0.5f32, 0.25]))
        .node(
            Node::new("Gemm")
                .name("gemm")
                .inputs(["x", "w", "b"])
                .outputs(["y"]),
        )
        .node(
            Node::new("Relu")
                .name("relu")
                .inputs(["y"])
                .outputs(["layer/relu:0"]),
        )
        .output(y("y"))
        .output(y("layer/relu:0"));
    Model::new(17, graph).to_bytes()
}

/// Softmax over the rows: a row depends on its neighbours.
pub fn softmax_over_rows() -> Vec<u8> {
    let info = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(4)]);
    let graph = Graph::new("mixing")
        .input(info("x"))
        .node(
            Node::new("Softmax")
                .name("mixer")
                .inputs(["x"])
                .outputs(["y"])
                .attribute("axis", 0i64),
        )
        .output(info("y"));
    Model::new(17, graph).to_bytes()
}

/// Two inputs of other types and a scalar: `ids[batch, length]` into a table of 10, times `scale`.
pub fn lookup() -> Vec<u8> {
    let numbers: Vec<f32> = (0..20u8).map(f32::from).collect();
    let graph = Graph::new("lookup")
        .input(ValueInfo::tensor::<i64>(
            "ids",
            [Dim::symbol("batch"), Dim::symbol("length")],
        ))
        .input(ValueInfo::scalar::<f32>("scale"))
        .initializer(Tensor::of("table", &[10, 2], &numbers))
        .node(
            Node::new("Gather")
                .name("embed")
                .inputs(["table", "ids"])
                .outputs(["rows"]),
        )
        .node(
            Node::new("Mul")
                .name("scaled")
                .inputs(["rows", "scale"])
                .outputs(["y"]),
        )
        .output(ValueInfo::tensor::<f32>(
            "y",
            [Dim::symbol("batch"), Dim::symbol("length"), Dim::fixed(2)],
        ));
    Model::new(17, graph).to_bytes()
}

/// `x * w` if `flag`, else `relu(x)`: `x[batch, 8]`.
pub fn branches() -> Vec<u8> {
    let info = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(8)]);
    let branch = |node: Node| Graph::new("branch").node(node).output(info("z"));
    let product = branch(Node::new("MatMul").inputs(["x", "w"]).outputs(["z"]));
    let relu = branch(Node::new("Relu").inputs(["x"]).outputs(["z"]));
    let graph = Graph::new("branches")
        .input(ValueInfo::of_type(
            "flag",
            Type::Tensor(element_code(DType::Bool), Some(vec![])),
        ))
        .input(info("x"))
        .initializer(Tensor::of("w", &[8, 8], &[0.5f32; 64]))
        .node(
            Node::new("If")
                .inputs(["flag"])
                .outputs(["y"])
                .attribute("then_branch", product)
                .attribute("else_branch", relu),
        )
        .output(info("y"));
    Model::new(17, graph).to_bytes()
}

/// A little-endian array as numpy writes it.
pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let text = format!("{text:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(
        u16::try_from(text.len())
            .expect("a short header")
            .to_le_bytes(),
    );
    bytes.extend(text.bytes());
    bytes.extend(data);
    bytes
}

pub fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The header's text and the values of an array of `f32`.
pub fn read_npy(bytes: &[u8]) -> (String, Vec<f32>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (text, data) = bytes[10..].split_at(length);
    let values = data
        .as_chunks()
        .0
        .iter()
        .map(|c| f32::from_le_bytes(*c))
        .collect();
    (
        String::from_utf8(text.to_vec()).expect("the header is text"),
        values,
    )
}
