//! Whether kernels may write a program's outputs into the host's memory by themselves.
//!
//! The one idea: what is written once and read by nobody on the device need not be there. Writing it over the bus takes no longer than
//! writing and copying it, without the copy's own way to begin and to end; reading it back over the bus would take far longer.

use super::{Placed, Step, Work};
use crate::launch::{Arg, Buffer, Place};

/// Bytes of outputs up to which kernels write them over the bus. What is larger would keep the device's processors waiting for the bus,
/// while a copy leaves them to other lanes.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// Is every output written by at most one launch, and read by none?
pub(super) fn is_straight(steps: &[Step], output_bytes: usize) -> bool {
    let is_output = |buffer: &Buffer| matches!(buffer.place, Place::Output(_));
    let has_one = |placed: &[Placed]| placed.iter().any(|placed| is_output(&placed.buffer));
    // Copies and nodes on the processor need it on the device.
    let others = steps
        .iter()
        .filter(|step| !matches!(step.work, Work::Launches(_)));
    let mut operands = others.flat_map(|step| [&step.inputs, &step.outputs]);
    let named: Vec<&Buffer> = buffers(steps).filter(|buffer| is_output(buffer)).collect();
    let once = |one: &&Buffer| {
        named
            .iter()
            .filter(|other| other.place == one.place)
            .count()
            == 1
    };
    output_bytes <= MOST_BYTES
        && named.iter().all(once)
        && !operands.any(|operands| has_one(operands))
}

/// Does a kernel get the status word?
pub(super) fn may_refuse(steps: &[Step]) -> bool {
    buffers(steps).any(|buffer| buffer.place == Place::Status)
}

/// What kernels are given.
fn buffers(steps: &[Step]) -> impl Iterator<Item = &Buffer> {
    let launches = steps.iter().flat_map(|step| match &step.work {
        Work::Launches(launches) => &launches[..],
        Work::Copy { .. } | Work::Host(_) => &[],
    });
    let args = launches.flat_map(|launch| &launch.args);
    args.filter_map(|arg| match arg {
        Arg::Buffer(buffer) => Some(buffer),
        Arg::Null | Arg::Bytes(_) => None,
    })
}
