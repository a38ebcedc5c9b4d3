//! Litmus tests of the memory model: store buffering and message passing.
//!
//! The one idea: two threads run over a thousand independent cells in the same order. A reordering lasts for nanoseconds, so for
//! store buffering they are brought in step before each cell and then held back by a few random nanoseconds each, which takes
//! them through all alignments that the machine has (`Pace`); for message passing the reader waits at each flag, which is the
//! moment that matters. The same code runs with the ordering that is needed and with one that is not
//! enough; the second shows whether the first could have been seen to fail.
//!
//! Names as in Alglave, Maranget, Tautschnig: "Herding Cats" (2014).

use std::sync::atomic::{AtomicU32, Ordering};

use std::hint::black_box;

use super::crew::{Broken, Pulse, Rendezvous, Watch, crew};
use crate::random::Random;

/// How a word that two threads share is written and read.
pub trait Memory: 'static {
    /// What it is called.
    const NAME: &'static str;
    /// Writes.
    fn store(cell: &AtomicU32, value: u32);
    /// Reads.
    fn load(cell: &AtomicU32) -> u32;
    /// What is done in the middle of what these words guard: a moment, so that somebody else who is there as well is noticed.
    fn dwell() {
        std::hint::spin_loop();
    }
}

/// One order of all writes and reads, for all threads.
pub struct SequentiallyConsistent;

impl Memory for SequentiallyConsistent {
    const NAME: &'static str = "sequentially consistent";

    fn store(cell: &AtomicU32, value: u32) {
        cell.store(value, Ordering::SeqCst);
    }

    fn load(cell: &AtomicU32) -> u32 {
        cell.load(Ordering::SeqCst)
    }
}

/// Who reads a word sees what its writer did before.
pub struct ReleaseAcquire;

impl Memory for ReleaseAcquire {
    const NAME: &'static str = "release and acquire";

    fn store(cell: &AtomicU32, value: u32) {
        cell.store(value, Ordering::Release);
    }

    fn load(cell: &AtomicU32) -> u32 {
        cell.load(Ordering::Acquire)
    }
}

/// No order between words.
pub struct Relaxed;

impl Memory for Relaxed {
    const NAME: &'static str = "relaxed";

    fn store(cell: &AtomicU32, value: u32) {
        cell.store(value, Ordering::Relaxed);
    }

    fn load(cell: &AtomicU32) -> u32 {
        cell.load(Ordering::Relaxed)
    }
}

/// What a litmus test saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Rounds.
    pub rounds: u64,
    /// Those that ended as they never may.
    pub forbidden: u64,
}

/// Rounds between two meetings.
pub const CELLS: usize = 1_000;

/// A word on a cache line of its own (two, since processors fetch lines in pairs).
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU32);

/// Brings two threads in step, to within a few random nanoseconds.
#[derive(Default)]
pub(super) struct Pace([Line; 2]);

/// One thread's steps.
pub(super) struct Steps<'a> {
    own: &'a AtomicU32,
    others: &'a AtomicU32,
    done: u32,
    random: Random,
}

impl Pace {
    /// The steps of one thread, 0 or 1.
    pub fn steps(&self, me: usize, seed: u64) -> Steps<'_> {
        Steps {
            own: &self.0[me].0,
            others: &self.0[1 - me].0,
            done: 0,
            random: Random::new(seed, &[me as u64]),
        }
    }
}

impl Steps<'_> {
    /// Waits until the other thread is here as well. `false` if the crew was given up.
    pub fn next(&mut self, pulse: &Pulse) -> bool {
        // Who arrives last goes on at once and the other one a cache line's way later; the delay makes up for that. Below a
        // hundred turns of an empty loop, a fraction of a nanosecond each.
        let delay = self.random.below(100);
        self.done = self.done.wrapping_add(1);
        let step = self.done;
        // Relaxed: it orders nothing, and must not, lest it hide what is looked for. The other one is at most one step ahead.
        self.own.store(step, Ordering::Relaxed);
        let other = || self.others.load(Ordering::Relaxed).wrapping_sub(step);
        if !pulse.spin_until(|| other() <= 1) {
            return false;
        }
        for turn in 0..delay {
            black_box(turn);
        }
        true
    }
}

fn lines() -> Vec<Line> {
    (0..CELLS).map(|_| Line::default()).collect()
}

/// The order in which both threads visit the cells of a batch: a start and a stride that is prime to their number, so
/// that no prefetcher learns it.
fn walk(seed: u64, batch: usize) -> impl Iterator<Item = usize> {
    /// None divides 1,000.
    const STRIDES: [usize; 6] = [1, 7, 97, 333, 501, 777];
    let mut random = Random::new(seed, &[batch as u64]);
    let start = random.below(CELLS);
    let stride = STRIDES.get(random.below(STRIDES.len())).map_or(1, |s| *s);
    (0..CELLS).map(move |i| (start + i * stride) % CELLS)
}

/// What a thread wrote in a batch; 0 is what it never writes.
fn mark(batch: usize) -> u32 {
    // There are far fewer batches than 2^32.
    (batch + 1) as u32
}

/// Store buffering (SB), the core of Dekker's algorithm: each thread writes its own word and then reads the other's. That both read
/// the old value is forbidden by sequential consistency and by nothing weaker.
///
/// # Errors
/// The threads hung, or could not be had.
pub fn store_buffering<M: Memory>(
    batches: usize,
    seed: u64,
    watch: &mut Watch<'_>,
) -> Result<Outcome, Broken> {
    let words = [lines(), lines()];
    // Did the thread read the other's old word?
    let old = [lines(), lines()];
    let meeting = Rendezvous::new(2);
    let pace = Pace::default();
    let forbidden = crew(2, watch, move |me, pulse| {
        let mut steps = pace.steps(me, seed);
        let ([own, other], [mine, theirs]) = match me {
            0 => ([&words[0], &words[1]], [&old[0], &old[1]]),
            _ => ([&words[1], &words[0]], [&old[1], &old[0]]),
        };
        let mut forbidden = 0;
        for batch in 0..batches {
            let mark = mark(batch);
            meeting.meet(2 * batch, pulse);
            for i in walk(seed, batch) {
                if !steps.next(pulse) {
                    return forbidden;
                }
                M::store(&own[i].0, mark);
                let found = M::load(&other[i].0);
                mine[i].0.store(u32::from(found != mark), Ordering::Relaxed);
            }
            // Relaxed is enough above: the meeting orders it.
            if !meeting.meet(2 * batch + 1, pulse) {
                break;
            }
            if me == 0 {
                let both = |i: &usize| {
                    mine[*i].0.load(Ordering::Relaxed) + theirs[*i].0.load(Ordering::Relaxed) == 2
                };
                forbidden += (0..CELLS).filter(both).count() as u64;
            }
            pulse.beat();
        }
        forbidden
    })?;
    Ok(Outcome {
        rounds: (batches * CELLS) as u64,
        forbidden: forbidden.iter().sum(),
    })
}

/// Message passing (MP): one thread writes a message and then raises a flag; the other waits for the flag and then reads the message.
/// That it reads an old message is forbidden by release and acquire. Only the flag is written and read as `M` says.
///
/// # Errors
/// The threads hung, or could not be had.
pub fn message_passing<M: Memory>(
    batches: usize,
    seed: u64,
    watch: &mut Watch<'_>,
) -> Result<Outcome, Broken> {
    let (messages, flags) = (lines(), lines());
    let meeting = Rendezvous::new(2);
    let forbidden = crew(2, watch, move |me, pulse| {
        let mut stale = 0;
        for batch in 0..batches {
            let mark = mark(batch);
            if !meeting.meet(batch, pulse) {
                break;
            }
            if me == 0 {
                for i in walk(seed, batch) {
                    messages[i].0.store(mark, Ordering::Relaxed);
                    M::store(&flags[i].0, mark);
                }
            } else {
                stale += stale_messages::<M>(&messages, &flags, mark, walk(seed, batch), pulse);
            }
            pulse.beat();
        }
        stale
    })?;
    Ok(Outcome {
        rounds: (batches * CELLS) as u64,
        forbidden: forbidden.iter().sum(),
    })
}

fn stale_messages<M: Memory>(
    messages: &[Line],
    flags: &[Line],
    mark: u32,
    cells: impl Iterator<Item = usize>,
    pulse: &Pulse,
) -> u64 {
    let mut stale = 0;
    for i in cells {
        if !pulse.spin_until(|| M::load(&flags[i].0) == mark) {
            break;
        }
        stale += u64::from(messages[i].0.load(Ordering::Relaxed) != mark);
    }
    stale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_walk_visits_every_cell_once() {
        for batch in 0..50 {
            let mut visited: Vec<usize> = walk(3, batch).collect();
            visited.sort_unstable();
            assert!(visited.into_iter().eq(0..CELLS), "batch {batch}");
        }
    }
}
