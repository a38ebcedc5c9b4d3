//! What can be said of measurements, and with how much certainty.
//!
//! Pure functions of numbers. None decides a verdict; sections do, and print what they decided from.

pub mod interval;
pub mod quantile;
pub mod scalability;
pub mod slope;
