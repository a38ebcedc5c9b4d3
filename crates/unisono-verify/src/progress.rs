//! What a run tells while it runs.

use crate::report::Check;

/// Hears what goes on. All calls come from the thread that called [`run`](crate::run).
pub trait Progress {
    /// A section begins.
    fn section(&mut self, title: &str);

    /// A check goes on: `done` of `total` steps, in whatever unit it counts.
    fn step(&mut self, model: &str, what: &str, done: u64, total: u64);

    /// A check has come to its verdict.
    fn finished(&mut self, check: &Check);

    /// Does nobody need to know the rest? Then a section that has a process of its own may be ended at once.
    fn is_enough(&self) -> bool {
        false
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn section(&mut self, _: &str) {}
    fn step(&mut self, _: &str, _: &str, _: u64, _: u64) {}
    fn finished(&mut self, _: &Check) {}
}
