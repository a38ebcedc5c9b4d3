//! Tensors as every other crate sees them: an element type, a shape, and reference-counted bytes.
//!
//! The one idea: a [`Tensor`] never knows where its bytes come from. They may be its own allocation, a range of a
//! mapped model file, or memory that belongs to somebody else (a numpy array, a DLPack capsule); the storage keeps
//! the owner alive. Kernels never see tensors, only borrowed [`TensorRef`] and [`TensorMut`] views.
//!
//! This crate never computes. Its few `unsafe` lines are in `storage` (the file map).

mod dtype;
mod error;
pub mod fault;
pub mod mutant;
pub mod read_once;
mod storage;
mod tensor;
mod view;

pub use dtype::{DType, Element};
pub use error::TensorError;
pub use half::{bf16, f16};
pub use storage::{ForeignBytes, MappedFile};
pub use tensor::{DeviceId, Tensor};
pub use view::{TensorMut, TensorRef};

/// A concrete shape: one length per axis, outermost first. Row-major everywhere.
pub type Shape = smallvec::SmallVec<[usize; 6]>;

/// The number of elements of a concrete shape, or `None` if it overflows `usize`. A scalar (rank 0) has one.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere means no elements, even beside lengths whose product would overflow.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}
