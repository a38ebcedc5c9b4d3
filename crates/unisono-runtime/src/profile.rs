//! What a request's time went into: made by [`Session::profile`](crate::Session::profile).
//!
//! The one idea: a clock is read around every step of the plan, so the steps' times of one run never add up to more than
//! the run, and what is missing is what lies between them. Work is counted from shapes, not measured: operations and
//! bytes are what the step cannot do without, whatever its kernel makes of it.

use std::time::Duration;

use crate::request::Outputs;

/// The times of one request, run again and again on one lane.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Profile {
    /// Rows of the request.
    pub rows: usize,
    /// How often it was timed, beside a first run that was not.
    pub runs: usize,
    /// From the lane to the answer.
    pub whole: Times,
    /// All steps of one run together; never more than [`Profile::whole`].
    pub within_steps: Times,
    /// In the order in which they run. Nodes whose outputs are views, or follow from shapes and constants, are none.
    pub steps: Vec<StepProfile>,
    /// Bytes of intermediate values that one run needs at once.
    pub arena_bytes: u64,
    /// The answer of the last run: the same bits as those of a run without clocks.
    pub outputs: Outputs,
}

impl Profile {
    /// What a run spent between its steps, by the medians: finding operands, making outputs, reading clocks.
    pub fn between_steps_ns(&self) -> u64 {
        self.whole
            .median_ns
            .saturating_sub(self.within_steps.median_ns)
    }

    /// Bytes of all steps' weights. One that two steps read counts twice.
    pub fn weight_bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.weight_bytes).sum()
    }
}

/// One step of a plan: a node of the rewritten graph, or a copy to an output.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StepProfile {
    /// The node's name, with the path of enclosing nodes and functions. Of nodes that were fused, that of the last one.
    pub name: String,
    /// The operator, as messages and listings name it: the ONNX name where there is one.
    pub operator: String,
    /// The kernel that was chosen, in words.
    pub kernel: String,
    /// How long it took.
    pub times: Times,
    /// Floating-point operations, a multiplication with an addition being two. `None` if that depends on data.
    pub flops: Option<u64>,
    /// Bytes of inputs that are neither weights nor shapes.
    pub input_bytes: u64,
    /// Bytes of outputs.
    pub output_bytes: u64,
    /// Bytes of constants of the model that it reads.
    pub weight_bytes: u64,
    /// Threads that worked on it in the median run, the caller's among them.
    pub threads: usize,
}

impl StepProfile {
    /// All bytes that it reads and writes at least.
    pub fn bytes(&self) -> u64 {
        self.input_bytes
            .saturating_add(self.output_bytes)
            .saturating_add(self.weight_bytes)
    }
}

/// Times over the runs, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The fastest run.
    pub lowest_ns: u64,
    /// The run in the middle.
    pub median_ns: u64,
    /// The slowest run.
    pub highest_ns: u64,
}

impl Times {
    /// Of these runs; all zero if there are none.
    pub fn of(runs: impl IntoIterator<Item = Duration>) -> Times {
        let ns = |run: Duration| u64::try_from(run.as_nanos()).unwrap_or(u64::MAX);
        let mut runs: Vec<u64> = runs.into_iter().map(ns).collect();
        runs.sort_unstable();
        let at = |i: usize| runs.get(i).copied().unwrap_or(0);
        Times {
            lowest_ns: at(0),
            // The lower one of two: of sums and of parts of sums alike, so that parts stay below sums.
            median_ns: at(runs.len().saturating_sub(1) / 2),
            highest_ns: at(runs.len().saturating_sub(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_runs_in_order() {
        let of = |runs: &[u64]| Times::of(runs.iter().map(|&ns| Duration::from_nanos(ns)));
        assert_eq!(of(&[]), Times::default());
        let all = |times: Times| [times.lowest_ns, times.median_ns, times.highest_ns];
        assert_eq!(all(of(&[7])), [7, 7, 7]);
        assert_eq!(all(of(&[9, 1, 4])), [1, 4, 9]);
        assert_eq!(all(of(&[9, 1, 4, 6])), [1, 4, 9]);
    }
}
