//! All voices, one line: neural-network models for programs in which many threads ask at once.
//!
//! A [`Model`] is loaded from an ONNX file. A [`Session`] binds it to a [`Device`] and answers any number of threads
//! through `&self`. A row of an answer has the same bits whatever else goes on: how many threads ask, what they ask, how
//! many rows a request has, how many threads and which vector instructions compute.
//!
//! # Load a model and run it
//!
//! ```
//! use unisono::{Device, Model, Tensor};
//!
//! let device = Device::cpu()?;
//! let session = Model::load("examples/classifier.onnx")?.session(&device)?;
//!
//! let x = Tensor::from_slice(&[1, 4], &[1f32, 2.0, 3.0, 4.0])?;
//! let outputs = session.run(&x)?;
//! let scores: &[f32] = outputs[0].as_slice()?;
//! assert_eq!(scores.len(), 3);
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! # Ask from many threads
//!
//! Nothing has to be locked, pooled or cloned, and no answer depends on the others:
//!
//! ```
//! # use unisono::{Device, Model, Tensor};
//! # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
//! let ask = |caller: u8| -> Result<Vec<u8>, unisono::Error> {
//!     let x = Tensor::from_slice(&[1, 4], &[f32::from(caller), 1.0, -2.0, 0.5])?;
//!     Ok(session.run(&x)?["scores"].bytes().to_vec())
//! };
//! let alone: Vec<_> = (0..8).map(ask).collect::<Result<_, _>>()?;
//! std::thread::scope(|scope| {
//!     let callers: Vec<_> = (0..8).map(|caller| scope.spawn(move || ask(caller))).collect();
//!     for (caller, alone) in callers.into_iter().zip(&alone) {
//!         let together = caller.join().expect("the caller does not panic")?;
//!         assert_eq!(&together, alone); // bit for bit
//!     }
//!     Ok::<(), unisono::Error>(())
//! })?;
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! # Several inputs, by name
//!
//! ```
//! # use unisono::{Device, Model, Tensor};
//! # let session = Model::load("examples/similarity.onnx")?.session(&Device::cpu()?)?;
//! let query = Tensor::from_slice(&[2, 4], &[1f32, 0.0, 2.0, 0.0, 0.0, 1.0, 0.0, 1.0])?;
//! let document = Tensor::from_slice(&[2, 4], &[3f32, 5.0, 0.5, 0.0, 1.0, 2.0, 3.0, 4.0])?;
//! let outputs = session.run([("document", &document), ("query", &query)])?;
//! assert_eq!(outputs["similarity"].as_slice::<f32>()?, [4.0, 6.0]);
//!
//! // In the model's order, names can be left out.
//! let same = session.run(&[query, document])?;
//! assert_eq!(same["similarity"].bytes(), outputs["similarity"].bytes());
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! # A loop that allocates nothing
//!
//! [`Session::run_into`] writes into the outputs of the run before, if nobody else holds them:
//!
//! ```
//! # use unisono::{Device, Model, Outputs, Tensor};
//! # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
//! let mut outputs = Outputs::new();
//! let mut x = Tensor::from_slice(&[1, 4], &[0f32; 4])?;
//! for step in 0..100u8 {
//!     // Nobody else holds `x`, so it can be written.
//!     x.as_slice_mut::<f32>().expect("an f32 tensor of our own")[0] = f32::from(step);
//!     session.run_into(&x, &mut outputs)?;
//!     assert_eq!(outputs["scores"].shape(), [1, 3]);
//! }
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! # A deadline
//!
//! ```
//! # use unisono::{Device, Model, Tensor};
//! use std::time::{Duration, Instant};
//! use unisono::{ErrorKind, RunOptions};
//!
//! # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
//! # let x = Tensor::from_slice(&[1, 4], &[0f32; 4])?;
//! let soon = RunOptions::new().deadline(Instant::now() + Duration::from_secs(10));
//! assert!(session.run_with(&x, &soon).is_ok());
//!
//! let past = RunOptions::new().deadline(Instant::now());
//! let error = session.run_with(&x, &past).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! # Errors
//!
//! Every call ends with a result or an [`Error`], whose [`kind`](Error::kind) says what can be done. The session stays
//! usable.
//!
//! ```
//! # use unisono::{Device, Model, Tensor};
//! use unisono::ErrorKind;
//!
//! # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
//! let wrong = Tensor::from_slice(&[1, 5], &[0f32; 5])?;
//! let error = session.run(&wrong).unwrap_err();
//! match error.kind() {
//!     // The message names the input, and both shapes.
//!     ErrorKind::InvalidInput => assert!(error.to_string().contains("\"x\"")),
//!     _ if error.is_retryable() => unreachable!("nothing to wait for"),
//!     _ => return Err(error),
//! }
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! # When nothing moves
//!
//! A watchdog tells of requests that have made no progress for a while, and what they wait for: which thread runs the batch
//! ahead of them, who holds the lanes, who compiles their plan. Without [`on_stall`](SessionOptions::on_stall) it prints on standard error.
//!
//! ```
//! # use unisono::{Device, Model, SessionOptions};
//! # use std::time::Duration;
//! let options = SessionOptions::default()
//!     .stall_watchdog(Duration::from_secs(10))
//!     .on_stall(|report| eprintln!("{report}"));
//! let session = Model::load("examples/classifier.onnx")?.session_with(&Device::cpu()?, &options)?;
//!
//! // Any thread can ask at any time, with a watchdog or without.
//! assert!(session.stalled(Duration::from_secs(1)).is_empty());
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! # What a model is, and whether its rows are independent
//!
//! ```
//! # use unisono::Model;
//! use unisono::Verdict;
//!
//! let model = Model::load("examples/classifier.onnx")?;
//! let x = &model.inputs()[0];
//! assert_eq!((&*x.name, x.dtype.name()), ("x", "f32"));
//! match &model.contract().verdict {
//!     Verdict::Coalescible { .. } => assert_eq!(x.rows_axis, Some(0)),
//!     // The node that stands in the way, and why.
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! The examples' models are a few hundred bytes, written by `examples/write_models.rs`.
#![forbid(unsafe_code)]

/// The page that a newcomer sees first; its example runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

mod cuda;
mod device;
mod error;
mod loaded;
mod model;
mod session;
mod summary;

pub use cuda::{CudaBuilder, CudaInfo};
pub use device::{Device, DeviceBuilder};
pub use model::Model;
pub use session::Session;
pub use summary::Summary;

pub use unisono_cpu::Isa;
pub use unisono_graph::contract::{Contract, Obstacle, OutputRows, Verdict};
pub use unisono_graph::rewrite::RewriteReport;
pub use unisono_graph::{Dim, Symbol};
pub use unisono_onnx::{LoadLimits, LoadOptions, ModelBytes, ModelInfo};
pub use unisono_runtime::census::{Census, Count, Resource};
pub use unisono_runtime::model::Port;
pub use unisono_runtime::plan::{
    Cost as PlanCost, DeviceInfo, DeviceMemory, NodePlacement, PlanInfo,
};
pub use unisono_runtime::plan_cache::CacheCounts;
pub use unisono_runtime::request::{Inputs, Outputs, RunOptions};
pub use unisono_runtime::session::{RunFuture, SessionOptions, Shutdown, WhenFull};
pub use unisono_runtime::stats::{Histogram, SessionStats};
pub use unisono_runtime::{Error, ErrorKind};
pub use unisono_tensor::{
    DType, DeviceId, Element, ForeignBytes, MappedFile, Shape, Tensor, TensorError, bf16,
    element_count, f16,
};

/// The graph of a model, for programs that look into it: operators, symbolic lengths, inference, the batch contract.
///
/// This is where Unisono changes most from version to version.
pub mod graph {
    pub use unisono_graph::*;
}

/// What the processor can do at best, to set measured speeds beside it.
pub mod roofline {
    pub use unisono_cpu::roofline::{MEMORY_STREAM_BYTES, Roofline, RooflineProbe};
    pub use unisono_runtime::roofline::{Ceilings, Rate};
}

/// What a request's time went into, step by step: what [`Session::profile`] tells.
pub mod profile {
    pub use unisono_runtime::profile::{Profile, StepProfile, Times};
}

/// Model files: the range of opsets that can be read, and a writer of small models.
pub mod onnx {
    pub use unisono_onnx::{OPSETS, write};
}

/// Who waits for what, when a session makes no progress: what [`Session::stalled`] and a
/// [watchdog](SessionOptions::stall_watchdog) tell.
pub mod stall {
    pub use unisono_runtime::stall::{Caller, OnStall, RunningBatch, StallReport, Wait, WaitsFor};
}

/// Parts that can be broken on purpose, so that every check can be seen to fail.
#[cfg(feature = "mutants")]
pub use unisono_tensor::mutant;

/// Faults on purpose, for programs that check what becomes of them: only with the Cargo feature `fault-injection`.
///
/// ```
/// use unisono::fault::{Fault, inject};
/// use unisono::{Device, ErrorKind, Model, Tensor};
///
/// let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
/// let x = Tensor::from_slice(&[1, 4], &[1f32, 2.0, 3.0, 4.0])?;
/// let panic = inject(Fault::Panic, 0..1);
/// assert_eq!(session.run(&x).unwrap_err().kind(), ErrorKind::Panic);
/// assert!(session.run(&x).is_ok()); // the session stays usable
/// assert_eq!(panic.strikes(), 1);
/// # Ok::<(), unisono::Error>(())
/// ```
#[cfg(feature = "fault-injection")]
pub mod fault {
    pub use unisono_tensor::fault::*;
}

/// The canonical arithmetic, which every device follows bit for bit, as plain code: an oracle for tests.
pub mod reference {
    pub use unisono_reference::*;
}
