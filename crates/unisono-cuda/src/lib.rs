//! The CUDA device: a model's graph as one captured graph per number of rows.
//!
//! The one idea: everything that a batch needs is decided before it comes. A program is a list of [`launch::Launch`]es over
//! buffers whose places are known; a lane captures it once per bucket of rows, and a batch is then one copy in, one graph
//! launch, one copy out. The kernels follow the canonical arithmetic, so a row has the bits that the CPU gives it, whatever
//! kernel served it: how a product is split over blocks and warps never moves a sum.
//!
//! From the bottom: `driver` is the only module that talks to the driver and holds its `unsafe`; `kernels` knows what each
//! kernel in `ptx/` wants and builds launches for it; `lower` says which launches an operator becomes; `program` puts a graph's
//! values into places; `exec` runs batches.
//!
//! It must never need a toolkit: kernels come as PTX with the crate, and the driver is looked for when a device is asked for.

pub mod device;
pub mod driver;
mod exec;
pub mod kernels;
pub mod launch;
pub mod lower;
pub mod program;
#[cfg(test)]
mod testing;

pub use device::{CudaOptions, Opened, backend, device, devices};
