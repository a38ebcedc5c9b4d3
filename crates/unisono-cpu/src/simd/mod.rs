//! Vectors, lanes and what the machine offers of them.

mod isa;

pub use isa::Isa;
