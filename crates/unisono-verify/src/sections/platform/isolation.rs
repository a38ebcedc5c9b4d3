//! A.006, stream isolation: what one queue writes never shows in another.
//!
//! The one idea: four queues send patterns through real kernels at the same time, with several requests of each under way and of
//! several sizes, so that batches form and every lane's memory is used again by somebody else. Each word of a pattern says whose
//! it is, so a mistake names its victim and its culprit. The host's memory is the canary: guard bytes on either side of each
//! input, and every answer that was ever given away, are read again at the end, when all others have long written theirs.
//!
//! Guard bytes inside of a lane's arena cannot be placed from outside.

use std::sync::Arc;
use std::time::Instant;

use unisono::{Error, Outputs, Tensor};

use super::Bench;
use super::crew::{Pulse, Watch, crew};
use super::memory::Island;
use super::probe::{ROW_WORDS, Tag, words_of};
use super::row::{Part, Row, conclude};
use crate::progress::Progress;
use crate::report::Check;
use crate::subject::{Setup, Subject};

/// The original's row.
pub const ROW: Row = Row {
    id: "a.006",
    name: "A.006 stream isolation",
    unit: "patterns",
    original: "4 queues x 50 patterns of 4 KiB, with empty command buffers",
    original_ms: 1.5,
};

const QUEUES: usize = 4;
const TURNS: usize = 50;

/// An answer that was given away, and what it was.
struct Given {
    tag: Tag,
    rows: usize,
    answer: Vec<Tensor>,
}

/// What one queue does and keeps.
struct Queue<'a> {
    subject: &'a dyn Subject,
    number: usize,
    part: Part,
    given: Vec<Given>,
    islands: Vec<Island>,
    /// Written in place, or replaced where somebody holds what is there.
    kept: Outputs,
}

impl Queue<'_> {
    /// The next pattern, in memory of the host.
    fn pattern(&mut self, turn: usize, rows: usize) -> Result<(Tag, Tensor), Error> {
        let tag = Tag {
            queue: self.number,
            turn,
        };
        // At a page's start, or one word after.
        let island = Island::new(tag.words(rows * ROW_WORDS), turn % 2 * 4);
        let x = island.tensor(&[rows, 32, 32])?;
        self.islands.push(island);
        Ok((tag, x))
    }

    fn judge(&mut self, tag: Tag, rows: usize, answer: Result<Vec<Tensor>, Error>) {
        let during = |d: crate::compare::Difference| {
            d.during(format!(
                "queue {}, turn {}, {rows} rows",
                tag.queue, tag.turn
            ))
        };
        self.part
            .judge(tag.answer_difference(&answer, rows).map(during));
        if let Ok(answer) = answer {
            self.given.push(Given { tag, rows, answer });
        }
    }

    /// Two requests under way at once, answered in the other order, and one into tensors that the queue keeps.
    fn turn(&mut self, turn: usize) -> Result<(), Error> {
        let rows = 1 + turn % 3;
        let (first, x) = self.pattern(3 * turn, rows)?;
        let earlier = self.subject.start(&[x])?;
        let (second, x) = self.pattern(3 * turn + 1, 1)?;
        let later = self.subject.start(&[x])?;
        self.judge(second, 1, later.wait());
        self.judge(first, rows, earlier.wait());
        let (third, x) = self.pattern(3 * turn + 2, 1)?;
        let answer = self.subject.run_in_place(&[x], &mut self.kept);
        self.judge(third, 1, answer);
        if turn.is_multiple_of(2) {
            // Its tensor is the queue's alone again, and will be written in place.
            self.given.pop();
        }
        Ok(())
    }

    /// Reads everything again. Counted as patterns of their own.
    fn read_again(self) -> [Part; 2] {
        let mut again = Part::default();
        for Given { tag, rows, answer } in &self.given {
            let fault = match words_of(answer) {
                Ok(words) => tag.difference(words, rows * ROW_WORDS),
                Err(difference) => Some(*difference),
            };
            let during = format!(
                "the answer to queue {}, turn {}, read again",
                tag.queue, tag.turn
            );
            again.judge(fault.map(|fault| fault.during(during)));
        }
        for island in &self.islands {
            again.judge(island.difference());
        }
        [self.part, again]
    }
}

/// Four queues on these subjects, one for all or one each.
pub fn queues(subjects: Vec<Arc<dyn Subject>>, rounds: usize, watch: &mut Watch<'_>) -> [Part; 2] {
    let on = match subjects.len() {
        1 => "one session",
        _ => "a session each",
    };
    let mut own = Part::new(format!("4 queues, {on}"));
    let mut again = Part::new(format!("what was given away, {on}"));
    for _ in 0..rounds {
        let subjects = subjects.clone();
        let found = crew(QUEUES, watch, move |me, pulse| {
            let subject = subjects.get(me % subjects.len().max(1));
            subject.map_or_else(Default::default, |subject| run_queue(&**subject, me, pulse))
        });
        let broken = found.as_ref().err().cloned();
        for [queue, read] in found.into_iter().flatten() {
            own.add(queue);
            again.add(read);
        }
        if broken.is_some() {
            own.broken = broken;
            break;
        }
    }
    [own, again]
}

fn run_queue(subject: &dyn Subject, number: usize, pulse: &Pulse) -> [Part; 2] {
    let mut queue = Queue {
        subject,
        number,
        part: Part::default(),
        given: Vec::new(),
        islands: Vec::new(),
        kept: Outputs::new(),
    };
    for turn in 0..TURNS {
        if let Err(error) = queue.turn(turn) {
            queue.part.judge(Some(super::probe::refusal(&error)));
        }
        pulse.beat();
    }
    queue.read_again()
}

/// Checks it.
pub fn check(bench: &Bench<'_>, progress: &mut dyn Progress) -> Check {
    let mut running = ROW.start(progress);
    let opened = bench.relay.rig(Setup::DEFAULT).and_then(|rig| {
        let own: Result<Vec<_>, _> = (0..QUEUES).map(|_| rig.open()).collect();
        Ok((rig.open()?, own?, rig))
    });
    let (shared, own, _rig) = match opened {
        Ok(opened) => opened,
        Err(error) => return running.could_not_run(&error),
    };
    let rounds = bench.effort.choose(1, 5, 100);
    let mut step = |_| running.step(0, 0);
    let mut watch = bench.watch(&mut step);
    let started = Instant::now();
    let [first, first_again] = queues(own, rounds, &mut watch);
    // Three patterns a turn, where the original had one.
    let at_original_size = started.elapsed() / (3 * rounds as u32);
    let [second, second_again] = queues(vec![shared], rounds, &mut watch);
    let parts = vec![second, second_again, first, first_again];
    let check = running.check();
    check.notes.push(format!(
        "{rounds} x {QUEUES} queues x {TURNS} turns of three patterns of 4 to 12 KiB; guard bytes around inputs, none in arenas"
    ));
    conclude(&ROW, running, parts, &[], Some(at_original_size))
}
