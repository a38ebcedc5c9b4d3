//! Exact counts of everything that is made and must be unmade (contract C5).
//!
//! The one idea: a count is taken where a resource comes into being and given back by the drop of a [`Token`], so that
//! no way out of a scope (return, error, panic) can forget it.
//!
//! Counts are exact for who has joined, or otherwise synchronised with, those that counted. Read in between, they may be behind, but never
//! show more released than created.

use crate::stripes::Striped;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Sessions.
    Session,
    /// Calls of `run` that passed validation.
    Request,
    /// Models prepared for a device (packed weights); bytes are those that the device holds beside the model's own.
    Model,
    /// Compiled plans.
    Plan,
    /// Batches that run; a request that runs alone is one.
    Batch,
    /// Lanes, and the arenas in them.
    Lane,
    /// Threads that lead for futures.
    Thread,
    /// Threads that look whether a session stands still.
    Watchdog,
}

impl Resource {
    /// All classes, in the order of reports.
    pub const ALL: [Resource; 8] = [
        Resource::Session,
        Resource::Request,
        Resource::Model,
        Resource::Plan,
        Resource::Batch,
        Resource::Lane,
        Resource::Thread,
        Resource::Watchdog,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Session => "sessions",
            Resource::Request => "requests",
            Resource::Model => "models",
            Resource::Plan => "plans",
            Resource::Batch => "batches",
            Resource::Lane => "lanes",
            Resource::Thread => "threads",
            Resource::Watchdog => "watchdogs",
        }
    }

    /// Does the device keep it as long as it lives? What it keeps is not released with the last session.
    pub const fn is_kept_by_device(self) -> bool {
        matches!(self, Resource::Lane | Resource::Thread)
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// The counts of one class at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Ever made.
    pub created: u64,
    /// Ever unmade.
    pub released: u64,
    /// Bytes held now.
    pub bytes: u64,
}

impl Count {
    /// How many there are now.
    pub fn alive(&self) -> u64 {
        self.created.saturating_sub(self.released)
    }
}

/// What has come and gone, as far as the threads of one stripe have counted it. Who releases may be of another stripe than who created,
/// so that in one stripe alone more may have gone than came.
#[derive(Default)]
struct Tally {
    created: AtomicU64,
    released: AtomicU64,
}

#[derive(Default)]
struct Cell {
    tallies: Striped<Tally>,
    bytes: AtomicU64,
}

/// Most of what comes and goes at every request holds no bytes, or as many as before: nothing is written then, since
/// everybody writes to the same place.
impl Cell {
    fn add_bytes(&self, bytes: u64) {
        if bytes > 0 {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn subtract_bytes(&self, bytes: u64) {
        if bytes > 0 {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// The counters of one device.
#[derive(Clone, Default)]
pub struct Census(Arc<[Cell; Resource::ALL.len()]>);

impl Census {
    /// Counters at zero.
    pub fn new() -> Census {
        Census::default()
    }

    /// Counts one resource of this many bytes until the token is dropped.
    pub fn count(&self, resource: Resource, bytes: u64) -> Token {
        self.created(resource);
        self.0[resource.index()].add_bytes(bytes);
        Token {
            census: self.clone(),
            resource,
            bytes,
        }
    }

    /// Counts one resource without bytes, for an owner whose own drop sees to [`Census::released`].
    pub(crate) fn created(&self, resource: Resource) {
        let tally = self.0[resource.index()].tallies.own();
        // Relaxed: a reader that must see exact counts has joined or otherwise synchronised with the threads that counted,
        // which makes their relaxed additions visible to it. For all others see `get`.
        tally.created.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the release of so many.
    pub(crate) fn released(&self, resource: Resource, count: u64) {
        let tally = self.0[resource.index()].tallies.own();
        // Release: who sees one as released sees it as created. See `get`.
        tally.released.fetch_add(count, Ordering::Release);
    }

    /// The counts of one class.
    pub fn get(&self, resource: Resource) -> Count {
        let cell = &self.0[resource.index()];
        // All stripes' released first: a resource that is made and unmade in between is then seen as alive, never as released
        // without having been created. Acquire pairs with the Release in `released`: each one that is seen as released was
        // counted as created, in whichever stripe, before that, so the additions below find it there. Without it, or with the
        // two sums taken stripe by stripe, the creation of one that another stripe has released could be missed.
        let tallies = || cell.tallies.iter();
        let released = tallies().map(|t| t.released.load(Ordering::Acquire)).sum();
        let created = tallies().map(|t| t.created.load(Ordering::Relaxed)).sum();
        Count {
            released,
            created,
            bytes: cell.bytes.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for Census {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(Resource::ALL.map(|r| (r.name(), self.get(r))))
            .finish()
    }
}

/// One counted resource; dropping it counts the release.
#[must_use]
pub struct Token {
    census: Census,
    resource: Resource,
    bytes: u64,
}

impl Token {
    /// States the bytes that the resource holds now.
    pub fn set_bytes(&mut self, bytes: u64) {
        let cell = &self.census.0[self.resource.index()];
        cell.add_bytes(bytes.saturating_sub(self.bytes));
        cell.subtract_bytes(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
    }
}

impl Token {
    /// Counts the release; once, or what was counted is not what there is.
    pub(crate) fn release(&self) {
        self.census.0[self.resource.index()].subtract_bytes(self.bytes);
        self.census.released(self.resource, 1);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_way_out_of_a_scope_gives_the_count_back() {
        let census = Census::new();
        let by_return = || drop(census.count(Resource::Lane, 100));
        let by_error = || -> Result<(), ()> {
            let _token = census.count(Resource::Lane, 7);
            Err(())
        };
        by_return();
        assert!(by_error().is_err());
        let panicked = std::panic::catch_unwind(|| {
            let _token = census.count(Resource::Lane, 3);
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicked.is_err());
        assert_eq!(
            census.get(Resource::Lane),
            Count {
                created: 3,
                released: 3,
                bytes: 0
            }
        );
    }

    #[test]
    fn bytes_follow_growth_and_shrinkage() {
        let census = Census::new();
        let mut token = census.count(Resource::Plan, 10);
        token.set_bytes(50);
        assert_eq!(census.get(Resource::Plan).bytes, 50);
        token.set_bytes(20);
        assert_eq!(census.get(Resource::Plan).bytes, 20);
        drop(token);
        assert_eq!(census.get(Resource::Plan).bytes, 0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    const BYTES: u64 = 100;

    /// Two of a class come and go, one of them released by another thread than the one that counted it.
    fn two_come_and_go(census: &Census) -> [loom::thread::JoinHandle<()>; 2] {
        let first = census.count(Resource::Plan, BYTES);
        let census = census.clone();
        [
            loom::thread::spawn(move || drop(first)),
            loom::thread::spawn(move || drop(census.count(Resource::Plan, BYTES))),
        ]
    }

    /// The threads of a model are numbered: the third counts in the reader's stripe, the second in the other one.
    #[test]
    fn what_one_stripe_created_and_another_released_is_never_seen_released_alone() {
        check(|| {
            let census = Census::new();
            let counted = census.clone();
            let releases = loom::thread::spawn(move || {
                let creates = loom::thread::spawn(move || counted.count(Resource::Plan, 0));
                drop(creates.join().unwrap());
            });
            let count = census.get(Resource::Plan);
            assert!(count.released <= count.created, "{count:?}");
            releases.join().unwrap();
            let count = census.get(Resource::Plan);
            assert_eq!((count.created, count.released), (1, 1));
        });
    }

    fn check(f: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(f);
    }

    #[test]
    fn who_has_joined_those_that_counted_reads_exact_counts() {
        check(|| {
            let census = Census::new();
            let threads = two_come_and_go(&census);
            drop(census.count(Resource::Plan, BYTES));
            threads.into_iter().for_each(|t| t.join().unwrap());
            let exact = Count {
                created: 3,
                released: 3,
                bytes: 0,
            };
            assert_eq!(census.get(Resource::Plan), exact);
        });
    }

    #[test]
    fn who_reads_in_between_never_sees_more_released_than_created() {
        check(|| {
            let census = Census::new();
            let threads = two_come_and_go(&census);
            let count = census.get(Resource::Plan);
            assert!(count.released <= count.created && count.created <= 2);
            assert!(count.bytes <= 2 * BYTES);
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }
}
