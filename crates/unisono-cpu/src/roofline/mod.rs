//! What the processor can do at best: multiply-adds a second, and bytes read a second.
//!
//! The one idea: a speed means something beside the ceiling of the machine that it was measured on (Williams, Waterman,
//! Patterson: "Roofline: an insightful visual performance model", 2009). Two loops that do nothing else touch that
//! ceiling: [`peak`] multiplies and adds in registers, [`RooflineProbe::read_rate`] reads a stream that fits a level of the memory or
//! does not. Each takes some hundredths of a second, so that they can stand between the rounds of what they are compared with.
//!
//! The loops are written in the operations of [`Simd`](crate::simd::Simd), as kernels are, and handed out in tiles by a [`Team`], as a
//! product's are: if a neighbour takes half a core, it takes it from both.
//!
//! It must never decide anything: no kernel, tile or thread count depends on what is measured here.

mod loops;

use std::time::Instant;

use unisono_runtime::roofline::Ceilings;
pub use unisono_runtime::roofline::Rate;
use unisono_runtime::team::{Team, TeamOptions};
use unisono_runtime::{Error, ErrorKind};

use crate::simd::{Isa, dispatch};
use loops::{MultiplyAdds, ReadStream};

/// The stream that is read from memory: larger than the caches of all but the largest servers.
pub const MEMORY_STREAM_BYTES: usize = 256 << 20;

/// Rounds of each measurement.
const ROUNDS: usize = 7;

/// The ceilings of a machine for one instruction set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// The instructions.
    pub isa: Isa,
    /// The threads that "all" means.
    pub threads: usize,
    /// Floating-point operations per second in f32 on one thread, a multiply-add being two.
    pub one_thread: Rate,
    /// The same on all threads together.
    pub all_threads: Rate,
    /// Bytes per second that all threads together read from memory, each its own part of [`MEMORY_STREAM_BYTES`].
    pub memory: Rate,
    /// The same for a stream of `weight_bytes`, read again and again: the level of the memory that holds as much.
    pub weights: Rate,
    /// The length of that stream.
    pub weight_bytes: usize,
}

impl From<Roofline> for Ceilings {
    fn from(roofline: Roofline) -> Ceilings {
        Ceilings {
            isa: roofline.isa.name().to_owned(),
            unit: "thread",
            units: roofline.threads,
            one_unit: roofline.one_thread,
            all_units: roofline.all_threads,
            memory: roofline.memory,
            memory_bytes: MEMORY_STREAM_BYTES,
            weights: roofline.weights,
            weight_bytes: roofline.weight_bytes,
        }
    }
}

fn over_rounds(round: impl FnMut() -> f64) -> Rate {
    Rate::of(std::iter::repeat_with(round).take(ROUNDS))
}

/// Threads of its own to measure with. They should be the only ones that are busy.
///
/// ```
/// use unisono_cpu::Isa;
/// use unisono_cpu::roofline::RooflineProbe;
///
/// let probe = RooflineProbe::new(Isa::detect(), 1)?;
/// assert!(probe.peak() > 0.0);
/// # Ok::<(), unisono_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct RooflineProbe {
    isa: Isa,
    all: Team,
    one: Team,
}

impl RooflineProbe {
    /// A probe with so many threads.
    ///
    /// # Errors
    /// The machine does not have the instructions, or the system refuses a thread.
    pub fn new(isa: Isa, threads: usize) -> Result<RooflineProbe, Error> {
        if !isa.is_available() {
            let message = format!("this machine does not have {}", isa.name());
            return Err(Error::new(ErrorKind::Device, message));
        }
        let team = Team::new(TeamOptions::default().threads(threads)).map_err(|e| {
            let message = format!("{threads} threads could not be started: {e}");
            Error::new(ErrorKind::Device, message)
        })?;
        Ok(RooflineProbe {
            isa,
            all: team,
            one: Team::solo(),
        })
    }

    /// The threads that measure.
    pub fn threads(&self) -> usize {
        self.all.threads()
    }

    /// Floating-point operations per second on all threads, of one short round.
    pub fn peak(&self) -> f64 {
        peak(self.isa, &self.all)
    }

    /// Bytes per second that all threads together read, each its own part of a stream of `bytes`, again and again for so many passes.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] if there is not so much memory.
    pub fn read_rate(&self, bytes: usize, passes: usize) -> Result<Rate, Error> {
        let stream = Stream::new(bytes)?;
        let passes = passes.max(1);
        // Untimed: what is left of other data in the caches makes room.
        self.read(&stream, 1);
        Ok(over_rounds(|| {
            let start = Instant::now();
            self.read(&stream, passes);
            (stream.bytes() * passes) as f64 / start.elapsed().as_secs_f64()
        }))
    }

    fn read(&self, stream: &Stream, passes: usize) {
        let parts = self.threads();
        self.all.run(parts, CERTAINLY_SHARED_NS, |part, _| {
            let data = stream.part(part, parts);
            dispatch(self.isa, ReadStream { data, passes });
        });
    }

    /// All ceilings; `weight_bytes` is how much the model reads that they are for.
    ///
    /// # Errors
    /// As [`RooflineProbe::read_rate`].
    pub fn measure(&self, weight_bytes: usize) -> Result<Roofline, Error> {
        /// Bytes of a round: at tens of gigabytes a second a few milliseconds.
        const ROUND_BYTES: usize = 128 << 20;
        Ok(Roofline {
            isa: self.isa,
            threads: self.threads(),
            one_thread: over_rounds(|| peak(self.isa, &self.one)),
            all_threads: over_rounds(|| self.peak()),
            memory: self.read_rate(MEMORY_STREAM_BYTES, 1)?,
            weights: self.read_rate(weight_bytes, ROUND_BYTES / weight_bytes.max(1))?,
            weight_bytes,
        })
    }
}

/// An estimate for work that wakes all workers.
const CERTAINLY_SHARED_NS: u64 = 1 << 40;

/// Floating-point operations per second of multiply-adds in registers, on all threads of the team, by the clock on the wall.
/// One round takes about a hundredth of a second. If the machine lacks the instructions it is the rate without any.
pub fn peak(isa: Isa, team: &Team) -> f64 {
    const TILES: usize = 32;
    let reps = match isa {
        // Without the instruction a fused multiply-add may be a call.
        Isa::Scalar => 1_000,
        _ => 10_000,
    };
    let start = Instant::now();
    team.run(TILES, CERTAINLY_SHARED_NS, |_, _| {
        multiply_adds(isa, reps);
    });
    TILES as f64 * multiply_adds_flops(isa, reps) / start.elapsed().as_secs_f64()
}

/// Sums that are in flight at once: more than the latency of the instruction times the units that execute it, and no more than there
/// are registers.
const fn sums(isa: Isa) -> usize {
    match isa {
        // 32 registers.
        Isa::Avx512 | Isa::Neon => 24,
        // 16 registers.
        Isa::Avx2 | Isa::Scalar => 12,
    }
}

fn multiply_adds(isa: Isa, reps: usize) {
    // The numbers of `sums`, as constants.
    match isa {
        Isa::Avx512 | Isa::Neon => dispatch(isa, MultiplyAdds::<24> { reps }),
        Isa::Avx2 | Isa::Scalar => dispatch(isa, MultiplyAdds::<12> { reps }),
    }
}

fn multiply_adds_flops(isa: Isa, reps: usize) -> f64 {
    let lanes = match isa {
        Isa::Scalar => 1,
        Isa::Neon => 4,
        Isa::Avx2 => 8,
        Isa::Avx512 => 16,
    };
    (reps * sums(isa) * lanes * 2) as f64
}

/// Memory that has been written: pages that never were are all the same one, and reading them says nothing.
struct Stream {
    values: Vec<f32>,
    /// Where the first cache line begins.
    first: usize,
}

impl Stream {
    fn new(bytes: usize) -> Result<Stream, Error> {
        let len = bytes.div_ceil(size_of::<f32>()).max(crate::memory::LINE) + crate::memory::LINE;
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| {
            let message = format!("{bytes} bytes to measure with could not be had");
            Error::new(ErrorKind::OutOfMemory, message)
        })?;
        values.resize(len, 1.0);
        let first = values.as_ptr().align_offset(64).min(crate::memory::LINE);
        Ok(Stream { values, first })
    }

    fn whole(&self) -> &[f32] {
        let end = self.values.len() - (crate::memory::LINE - self.first);
        self.values.get(self.first..end).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        size_of_val(self.whole())
    }

    /// One of `parts` parts that begin with cache lines.
    fn part(&self, part: usize, parts: usize) -> &[f32] {
        let line = crate::memory::LINE;
        let share = self.whole().len().div_ceil(parts).next_multiple_of(line);
        let end = ((part + 1) * share).min(self.whole().len());
        self.whole().get(part * share..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_stream_are_the_stream() {
        for (bytes, parts) in [(64, 1), (64, 3), (10_000, 2), (1 << 20, 7)] {
            let stream = Stream::new(bytes).unwrap();
            let total: usize = (0..parts).map(|p| stream.part(p, parts).len()).sum();
            assert_eq!(total, stream.whole().len(), "{bytes} bytes, {parts} parts");
            assert!(stream.bytes() >= bytes);
            assert!(stream.bytes() < bytes + 64);
            let mut own = (0..parts).map(|p| stream.part(p, parts));
            assert!(own.all(|part| part.is_empty() || part.as_ptr().align_offset(64) == 0));
            assert!(stream.whole().iter().all(|&v| v == 1.0));
        }
    }

    #[test]
    fn every_instruction_set_of_the_machine_has_a_ceiling() {
        for isa in Isa::available() {
            let probe = RooflineProbe::new(isa, 2).unwrap();
            assert_eq!(probe.threads(), 2);
            assert!(probe.peak().is_finite() && probe.peak() > 0.0, "{isa}");
            let rate = probe.read_rate(1 << 20, 2).unwrap();
            assert!(0.0 < rate.lowest && rate.lowest <= rate.median && rate.median <= rate.best);
        }
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        let probe = RooflineProbe::new(Isa::Scalar, 1).unwrap();
        let error = probe.read_rate(usize::MAX / 2, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }

    #[test]
    fn instructions_that_the_machine_lacks_are_an_error() {
        for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
            assert_eq!(
                RooflineProbe::new(isa, 1).unwrap_err().kind(),
                ErrorKind::Device
            );
        }
    }
}
