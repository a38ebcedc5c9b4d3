//! The notes: which stage every request of a device is in, since when.
//!
//! The one idea: notes are taken only while somebody watches a session of the device. Otherwise all that a request pays is one relaxed
//! load, and a branch at each stage. Notes are the device's, not a session's, because sessions wait for each other's lanes.
//!
//! It must never be locked while anything else is: who takes a note holds no other lock, and a report takes theirs before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use unisono_graph::Symbol;

use super::{Caller, RunningBatch, StallReport, Wait, WaitsFor, Watched};
use crate::plan::PlanKey;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, lock, thread};

/// What somebody does or waits for.
#[derive(Clone)]
pub(crate) enum Stage {
    /// Finds a plan: what takes long is another thread's compile.
    Plan(PlanKey),
    Compile(PlanKey),
    Room,
    Queue,
    Lane,
    /// In the batch of this number.
    Batch(u64),
    Answered,
    Drain,
}

/// Whose stage it is.
#[derive(Clone)]
pub(crate) enum Who {
    Thread(thread::Thread),
    Future,
}

struct Entry {
    session: u64,
    who: Who,
    /// `None` of one who has no request: a background leader, or one who shuts the session down.
    rows: Option<usize>,
    since: Instant,
    stage: Stage,
    entered: Instant,
    changes: u64,
}

struct Batch {
    session: u64,
    leader: thread::Thread,
    requests: usize,
    rows: usize,
    since: Instant,
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    batches: HashMap<u64, Batch>,
}

/// See the [module](self).
#[derive(Clone)]
pub(crate) struct Notes(Arc<Shared>);

struct Shared {
    watchers: AtomicUsize,
    next: AtomicU64,
    table: Mutex<Table>,
}

/// Notes are taken while there is one.
pub(crate) struct Watching(Notes);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a request's stage is noted.
#[derive(Clone)]
pub(crate) struct Tag {
    notes: Notes,
    session: u64,
    number: u64,
}

/// A tag whose notes are thrown away with it.
pub(crate) struct Note(Tag);

/// A batch that is noted until this is dropped.
pub(crate) struct BatchNote {
    notes: Notes,
    number: u64,
}

impl Notes {
    pub(crate) fn new() -> Notes {
        Notes(Arc::new(Shared {
            watchers: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            table: Mutex::new(Table::default()),
        }))
    }

    /// Has notes taken from now on.
    pub(crate) fn watch(&self) -> Watching {
        self.0.watchers.fetch_add(1, Ordering::Relaxed);
        Watching(self.clone())
    }

    /// A number that nothing else has.
    pub(crate) fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes somebody of this session, if anybody watches.
    #[inline]
    pub(crate) fn begin(
        &self,
        session: u64,
        who: impl FnOnce() -> Who,
        rows: Option<usize>,
        stage: impl FnOnce() -> Stage,
    ) -> Option<Note> {
        // Relaxed: who comes while somebody begins to watch may not be noted, and is told as unknown.
        if self.0.watchers.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let (number, now) = (self.number(), Instant::now());
        let entry = Entry {
            session,
            who: who(),
            rows,
            since: now,
            stage: stage(),
            entered: now,
            changes: 0,
        };
        lock(&self.0.table).entries.insert(number, entry);
        Some(Note(Tag {
            notes: self.clone(),
            session,
            number,
        }))
    }

    /// What of a session has not moved for so long.
    pub(crate) fn report(&self, of: &Watched, older_than: Duration) -> StallReport {
        let (lanes, free_lanes) = of.device.lanes_and_free();
        let inside = of.gate.inside();
        let now = Instant::now();
        let since = |then: Instant| now.saturating_duration_since(then);
        let table = lock(&self.0.table);
        let running = |batch: &Batch| RunningBatch {
            leader: Caller::of_thread(&batch.leader),
            requests: batch.requests,
            rows: batch.rows,
            age: since(batch.since),
            own: batch.session == of.session,
        };
        let mut report = StallReport {
            model: of.model.graph().name().to_owned(),
            older_than,
            lane_holders: table.batches.values().map(running).collect(),
            lanes,
            free_lanes,
            inside,
            ..StallReport::default()
        };
        for (number, batch) in &table.batches {
            if batch.session == of.session && since(batch.since) >= older_than {
                report.batches.push(running(batch));
                report.keys.push((*number, 0));
            }
        }
        let own = || {
            table
                .entries
                .iter()
                .filter(|(_, e)| e.session == of.session)
        };
        let known = own().filter(|(_, e)| e.is_inside()).count();
        report.unknown = inside.saturating_sub(known);
        for (number, entry) in own() {
            let waited = since(entry.entered);
            if waited < older_than || table.leads(entry) {
                continue;
            }
            let waits_for = match &entry.stage {
                Stage::Plan(key) => WaitsFor::Plan {
                    shapes: shapes(key, of),
                    compiler: own().find_map(|(_, other)| match &other.stage {
                        Stage::Compile(k) if k == key => {
                            Some((other.who.caller(), since(other.entered)))
                        }
                        _ => None,
                    }),
                },
                Stage::Compile(key) => WaitsFor::OwnCompile {
                    shapes: shapes(key, of),
                },
                Stage::Room => WaitsFor::Room {
                    capacity: of.capacity,
                },
                Stage::Queue => WaitsFor::Batch {
                    leaders: table.leaders(of.session),
                },
                Stage::Lane => WaitsFor::Lane,
                Stage::Batch(number) => WaitsFor::End {
                    batch: table.batches.get(number).map(running),
                },
                Stage::Answered => WaitsFor::Pickup,
                Stage::Drain => WaitsFor::Drain { inside },
            };
            report.keys.push((*number, entry.changes));
            report.waits.push(Wait {
                caller: entry.who.caller(),
                rows: entry.rows.unwrap_or(0),
                age: since(entry.since),
                waited,
                waits_for,
            });
        }
        drop(table);
        report.waits.sort_by_key(|w| std::cmp::Reverse(w.waited));
        report.batches.sort_by_key(|b| std::cmp::Reverse(b.age));
        report
    }
}

impl Table {
    fn enter(&mut self, number: u64, stage: Stage, now: Instant, from: impl Fn(&Stage) -> bool) {
        // One that has left is not there any more.
        if let Some(entry) = self.entries.get_mut(&number).filter(|e| from(&e.stage)) {
            (entry.stage, entry.entered) = (stage, now);
            entry.changes += 1;
        }
    }

    /// Does it run the batch that it is in? Then it is told as that batch.
    fn leads(&self, entry: &Entry) -> bool {
        match (&entry.stage, &entry.who) {
            (Stage::Batch(number), Who::Thread(thread)) => {
                let batch = self.batches.get(number);
                batch.is_some_and(|batch| batch.leader.id() == thread.id())
            }
            _ => false,
        }
    }

    /// Who runs a batch of this session, or waits for a lane to run one.
    fn leaders(&self, session: u64) -> Vec<Caller> {
        let batches = self.batches.values().filter(|b| b.session == session);
        let about_to = self
            .entries
            .values()
            .filter(|e| e.session == session && matches!(e.stage, Stage::Lane));
        batches
            .map(|b| Caller::of_thread(&b.leader))
            .chain(about_to.map(|e| e.who.caller()))
            .collect()
    }
}

impl Entry {
    /// Does the session's gate count it?
    fn is_inside(&self) -> bool {
        match (&self.stage, &self.who) {
            (Stage::Answered | Stage::Drain, _) | (Stage::Room, Who::Future) => false,
            _ => self.rows.is_some(),
        }
    }
}

impl Tag {
    /// It is in another stage now.
    pub(crate) fn enter(&self, stage: Stage) {
        let now = Instant::now();
        lock(&self.notes.0.table).enter(self.number, stage, now, |_| true);
    }

    /// No thread waits for it any more.
    pub(crate) fn is_a_future(&self) {
        if let Some(entry) = lock(&self.notes.0.table).entries.get_mut(&self.number) {
            entry.who = Who::Future;
        }
    }

    /// It has found room, unless a leader has it by now, which knows better.
    pub(crate) fn found_room(&self) {
        let now = Instant::now();
        let from = |stage: &Stage| matches!(stage, Stage::Room);
        lock(&self.notes.0.table).enter(self.number, Stage::Queue, now, from);
    }

    /// Notes that the calling thread runs it by itself.
    pub(crate) fn begin_alone(&self, rows: usize) -> BatchNote {
        self.begin_batch(1, rows, std::iter::once(self))
    }

    /// Notes a batch that the calling thread runs, and that these are in it.
    pub(crate) fn begin_batch<'a>(
        &self,
        requests: usize,
        rows: usize,
        members: impl Iterator<Item = &'a Tag>,
    ) -> BatchNote {
        let notes = self.notes.clone();
        let (number, now) = (notes.number(), Instant::now());
        let batch = Batch {
            session: self.session,
            leader: thread::current(),
            requests,
            rows,
            since: now,
        };
        let mut table = lock(&notes.0.table);
        table.batches.insert(number, batch);
        for tag in members {
            table.enter(tag.number, Stage::Batch(number), now, |_| true);
        }
        drop(table);
        BatchNote { notes, number }
    }
}

impl std::ops::Deref for Note {
    type Target = Tag;
    fn deref(&self) -> &Tag {
        &self.0
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        lock(&self.0.notes.0.table).entries.remove(&self.0.number);
    }
}

impl Drop for BatchNote {
    fn drop(&mut self) {
        lock(&self.notes.0.table).batches.remove(&self.number);
    }
}

impl Who {
    /// The calling thread.
    pub(crate) fn me() -> Who {
        Who::Thread(thread::current())
    }

    fn caller(&self) -> Caller {
        match self {
            Who::Thread(thread) => Caller::of_thread(thread),
            Who::Future => Caller::Future,
        }
    }
}

impl Caller {
    fn of_thread(thread: &thread::Thread) -> Caller {
        Caller::Thread {
            name: thread.name().map(str::to_owned),
            id: format!("{:?}", thread.id()),
        }
    }
}

/// `x[rows, 4], y[rows]`.
fn shapes(key: &PlanKey, of: &Watched) -> String {
    let lists = key.shapes(&Symbol::new("rows"));
    let ports = of.model.inputs().iter().zip(lists);
    let shown = ports.map(|(port, shape)| {
        let lengths: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!("{}[{}]", port.name, lengths.join(", "))
    });
    shown.collect::<Vec<_>>().join(", ")
}
