//! Files that must be refused, each with the class of its error and a part of its text.
//!
//! One row is one file. All rows run, and every row that fails is reported.

#[path = "../common/mod.rs"]
mod common;
mod table;

mod attributes;
mod external;
mod files;
mod functions;
mod graphs;
mod limits;
mod operators;
mod tensors;
