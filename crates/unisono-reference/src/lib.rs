//! The canonical arithmetic and a plain implementation of it.
//!
//! Unisono promises that an answer has the same bits on every thread, at every batch size and on every instruction set. That promise
//! needs one definition of what each operator computes, down to the order of additions. This crate is that definition: readable
//! scalar code, generic over `f32` (the canonical arithmetic itself) and `f64` (the same structure with more digits, the reference
//! for accuracy).
//!
//! It is the oracle that every kernel of every device is compared with, bit for bit. It must never become clever: a change that makes
//! it faster at the price of a reader's time belongs in a device.
#![forbid(unsafe_code)]

pub mod arith;
pub mod eval;
pub mod interpret;
