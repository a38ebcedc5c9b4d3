//! A small writer of ONNX files, for models that Unisono builds itself and for tests.
//!
//! The types mirror ONNX's messages one to one and promise nothing about validity: a test that needs a broken model
//! writes one. Data is little-endian, as ONNX asks on every machine.
//!
//! ```
//! use unisono_onnx::write::{Dim, Graph, Model, Node, Tensor, ValueInfo};
//! use unisono_onnx::{LoadOptions, load_bytes};
//!
//! let graph = Graph::new("mlp")
//!     .input(ValueInfo::tensor::<f32>("x", [Dim::symbol("batch"), Dim::fixed(4)]))
//!     .initializer(Tensor::of("w", &[4, 2], &[1f32; 8]))
//!     .node(Node::new("MatMul").inputs(["x", "w"]).outputs(["y"]))
//!     .output(ValueInfo::tensor::<f32>("y", [Dim::symbol("batch"), Dim::fixed(2)]));
//! let bytes = Model::new(17, graph).to_bytes();
//! let model = load_bytes(bytes, None, &LoadOptions::default())?;
//! assert_eq!(model.graph.inputs().len(), 1);
//! # Ok::<(), unisono_onnx::OnnxError>(())
//! ```

mod attribute;
mod encoder;
mod graph;
mod model;
mod tensor;
mod types;

pub use attribute::{Attribute, AttributeValue};
pub use encoder::Encoder;
pub use graph::{Graph, Node};
pub use model::{Function, Model};
pub use tensor::{Data, Tensor, data_type_of, element_code};
pub use types::{Dim, Type, ValueInfo};
