//! What running a plan costs, from counted work.
//!
//! The one idea: the operators say how much arithmetic they do, the facts how many bytes move, and a few rates turn both
//! into nanoseconds. The rates are a usual machine's, not this one's: what is decided with them (who shares a batch) must
//! not differ from run to run, so no clock is read.

use unisono_graph::{Fact, Graph, Symbol};
use unisono_runtime::plan::Cost;
use unisono_runtime::program::work::{Amount, Work};

use crate::exec::model::Engine;
use crate::gemm::products_per_ns;

/// Starting a step: finding its operands, cutting its work, and waiting for the last helper. A job whose helpers are awake
/// was measured at 0.5 to 1.5 µs (`WORTH_SHARING_NS` in `unisono_runtime::team` has the same origin).
pub(super) const STEP_NS: u64 = 1_000;

/// Weights up to this size stay in the last-level cache of a server's socket from run to run.
const CACHE_BYTES: u64 = 32 << 20;

/// What all cores together read from the last-level cache, and from memory, in a nanosecond.
const CACHE_BYTES_PER_NS: u64 = 100;
const MEMORY_BYTES_PER_NS: u64 = 25;

/// What a step reads and writes for all rows stays in the last-level cache for the next one up to this size. Measured with ResNet-50 and MobileNetV3 on a
/// processor with 32 MiB of it, of which other guests use some: steps with 7 MB were as fast as smaller ones, with 14 MB 5 to 40 % slower,
/// with 30 MB up to four times.
pub(crate) const NEAR_BYTES: u64 = CACHE_BYTES / 4;

/// How long it takes to have `bytes` at hand that were touched together with `together` bytes, where `near` bytes stay in the cache.
pub(super) fn fetching_ns(bytes: u64, together: u64, near: u64) -> u64 {
    match together > near {
        true => bytes / MEMORY_BYTES_PER_NS,
        false => bytes / CACHE_BYTES_PER_NS,
    }
}

/// Bytes that one core takes in and gives out in a nanosecond in work that is not a product of matrices. The kernels'
/// own estimates are 4 (arithmetic) to 20 (softmax) ns for 16 elements of `f32`, which are 128 bytes in and out.
pub(super) const MOVED_BYTES_PER_NS: u64 = 10;

/// How many times as much work as reading the weights takes a member of a batch must have, so that each may read them for itself. Measured
/// with 8 callers on two cores: a transformer that has 8 times as much gains 15 %, one that has 6 times as much loses 5 %.
const WORTH_READING: u64 = 6;

/// A thread's rows run together if reading the weights with which a row does little takes more than one part in so many of the row's work. Measured on
/// one thread with four rows: MobileNetV3, where it takes one part in ten, gains 13 % a row; ResNet-50, where it takes one in four hundred, and a
/// transformer without such weights lose 4 %.
const WORTH_A_SHARE: u64 = 32;

/// Rows of a thread's share: with twice as many, a row of MobileNetV3 takes as long.
pub(super) const SHARE_ROWS: usize = 4;

/// What was counted of a plan.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    pub(super) cost: Cost,
    /// The work, on the device as a whole, that a member of a batch must have for itself to run by itself.
    apart_ns: u64,
    threads: u64,
    /// Whether each thread had better run its share of the rows together than one by one.
    pub(super) in_shares: bool,
}

impl Counted {
    /// The work of so many rows on one thread, if they may as well run by themselves as together with others.
    pub(super) fn work_apart(&self, rows: usize) -> Option<u64> {
        let work = self.cost.row_ns.saturating_mul(rows as u64);
        (work >= self.apart_ns).then(|| work.saturating_mul(self.threads))
    }
}

/// The cost of a plan, of whose values `facts` tells shapes with the number of rows as the symbol `rows`.
pub(super) fn cost(
    graph: &Graph,
    facts: &[Option<Fact>],
    rows: &Symbol,
    engine: &Engine,
) -> Counted {
    let mut work = Work::default();
    work.add_graph(graph, facts, rows);
    let threads = engine.team.threads() as u64;
    let products = products_per_ns(engine.isa).saturating_mul(threads);
    let moved = MOVED_BYTES_PER_NS * threads;
    let weights = if work.weight_bytes > CACHE_BYTES {
        MEMORY_BYTES_PER_NS
    } else {
        CACHE_BYTES_PER_NS
    };
    let time = |part: &Amount| part.products / products + part.moved / moved;
    let steps = |n: u64, bytes: u64| n * STEP_NS + bytes / weights;
    let mut cost = Cost {
        fixed_ns: steps(work.steps, work.weight_bytes) + time(&work.shared),
        shared_ns: steps(work.linear_steps, work.linear_bytes),
        row_ns: time(&work.per_row),
        ..Cost::default()
    };
    let reading = (work.weight_bytes / weights).saturating_mul(WORTH_READING);
    let apart_ns = steps(work.steps, 0) + time(&work.shared) + reading;
    let thin_ns = work.thin_bytes / (CACHE_BYTES_PER_NS / 2);
    let in_shares =
        thin_ns > 0 && thin_ns.saturating_mul(WORTH_A_SHARE) >= cost.row_ns.saturating_mul(threads);
    if cost.row_ns >= apart_ns {
        let of_a_thread = if in_shares && threads > 1 {
            SHARE_ROWS
        } else {
            1
        };
        cost.beside = engine.team.threads() * of_a_thread;
    }
    Counted {
        cost,
        apart_ns,
        threads,
        in_shares,
    }
}
