//! See the module list.
#![forbid(unsafe_code)]
