//! One request with a clock around every step.

use super::{Session, together};
use crate::error::Error;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::request::{Inputs, Outputs};

impl Session {
    /// Runs one request once, then `runs` times (at least once) with a clock around every step, on one lane and in no batch.
    ///
    /// The session's statistics do not count it. Other callers go on meanwhile, and are seen in the times.
    ///
    /// # Errors
    /// Those of a run, and [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) from a device that cannot look into
    /// its runs.
    pub fn profile<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        runs: usize,
    ) -> Result<Profile, Error> {
        let inner = &**self.inner();
        let admitted = inner.admit(inputs.into())?;
        let _visit = inner.visit()?;
        let plan = inner.plan(&admitted.key, None)?;
        let mut outputs = Outputs::new();
        outputs.prepare(&inner.model);
        let mut lane = inner.lane_for_one(None, None)?;
        let (rows, tensors) = (admitted.rows, &admitted.tensors);
        let profile = together(|| {
            let lane = &mut *lane.lane;
            plan.profile(lane, rows, tensors, &mut outputs.tensors, runs.max(1))
        });
        inner.recount(&mut lane);
        Ok(Profile {
            outputs,
            ..profile?
        })
    }
}
