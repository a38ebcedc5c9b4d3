//! Dekker's algorithm: mutual exclusion of two threads out of plain writes and reads.
//!
//! The one idea: it is right exactly where store buffering is forbidden. Each thread raises its flag and then looks at the other's; if
//! both may read the old value, both enter. What is done inside, a counter that is read and then written, loses an entry
//! when that happens.
//!
//! Dijkstra, EWD 35 (about 1962), describes it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::crew::{Broken, Pulse, Rendezvous, Watch, crew};
use super::litmus::{Memory, Outcome, Pace};

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU32);

/// The flags, whose turn it is, and what they guard.
#[derive(Default)]
struct Gate {
    wants: [Line; 2],
    turn: Line,
    entries: AtomicU64,
}

impl Gate {
    /// Enters, does the work, leaves. `false` if the crew was given up.
    fn pass<M: Memory>(&self, me: usize, pulse: &Pulse) -> bool {
        let other = 1 - me;
        let (own, others, turn) = (&self.wants[me].0, &self.wants[other].0, &self.turn.0);
        let my_turn = || M::load(turn) == me as u32;
        M::store(own, 1);
        while M::load(others) == 1 {
            if !my_turn() {
                M::store(own, 0);
                if !pulse.spin_until(my_turn) {
                    return false;
                }
                M::store(own, 1);
            } else if !pulse.spin_until(|| M::load(others) == 0) {
                return false;
            }
        }
        // Relaxed, and in two steps on purpose: only the exclusion keeps an entry from being lost.
        let entries = self.entries.load(Ordering::Relaxed);
        M::dwell();
        self.entries.store(entries + 1, Ordering::Relaxed);
        M::store(turn, other as u32);
        M::store(own, 0);
        true
    }
}

/// Entries of each thread between two meetings.
const ENTRIES: u64 = 1_000;

/// Two threads enter `batches` times a thousand times each. Counts the entries that were lost because both were inside.
///
/// # Errors
/// The threads hung, or could not be had.
pub fn dekker<M: Memory>(
    batches: usize,
    seed: u64,
    watch: &mut Watch<'_>,
) -> Result<Outcome, Broken> {
    let gate = Gate::default();
    let meeting = Rendezvous::new(2);
    let pace = Pace::default();
    let counted = crew(2, watch, move |me, pulse| {
        let mut steps = pace.steps(me, seed);
        for batch in 0..batches {
            meeting.meet(batch, pulse);
            for _ in 0..ENTRIES {
                if !steps.next(pulse) || !gate.pass::<M>(me, pulse) {
                    return 0;
                }
            }
            pulse.beat();
        }
        meeting.meet(batches, pulse);
        gate.entries.load(Ordering::Relaxed)
    })?;
    let rounds = 2 * ENTRIES * batches as u64;
    // Both read the same number; the first will do.
    let entries = counted.first().copied().unwrap_or(0);
    Ok(Outcome {
        rounds,
        forbidden: rounds.abs_diff(entries),
    })
}
