//! The plan cache: every key is compiled once, however many ask at the same moment (contract C4).
//!
//! The one idea: *single flight*. The first to ask for a key puts a flight in the table and compiles outside of the
//! lock; whoever asks meanwhile waits for that flight. Different keys fly at the same time. A flight that fails takes
//! its entry out of the table before it lands, so the next caller tries afresh. Ready plans are bounded in bytes; the
//! least recently used go first. Eviction only forgets: a plan lives on while somebody runs it.
//!
//! A plan that is ready is found at every request, and by callers who all need the same one. So each stripe of threads has a *front*:
//! what its threads have found, behind a lock and with counts of owners that no other stripe writes. A front holds nothing that the table
//! does not: it is filled with the table locked for reading, and whoever takes a plan out of the table, which needs the table for itself,
//! takes it out of all fronts before. Eviction is therefore as exact as without them.

use std::collections::HashMap;
use std::hash::Hash;

use unisono_tensor::mutant;

use crate::stripes::{Padded, Striped};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, RwLock, lock, read, wait, write};

/// What a cached value must tell of itself.
pub trait Weigh {
    /// Bytes that the value keeps alive.
    fn bytes(&self) -> u64;

    /// Another handle to the same value, with a count of owners of its own if that makes a difference: for callers who would
    /// otherwise all write to one.
    #[must_use]
    fn own_handle(&self) -> Self
    where
        Self: Sized + Clone,
    {
        self.clone()
    }

    /// Releases what the value stands for although it is held; only a mutant does that.
    #[doc(hidden)]
    fn revoke(&self) {}
}

impl<T: Weigh + ?Sized> Weigh for std::sync::Arc<T> {
    fn bytes(&self) -> u64 {
        (**self).bytes()
    }
}

/// What the cache did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Compiles begun.
    pub compiles: u64,
    /// Compiles that failed.
    pub failures: u64,
    /// Look-ups answered by a ready plan.
    pub hits: u64,
    /// Plans forgotten to stay within the bound.
    pub evictions: u64,
    /// Plans held now.
    pub plans: u64,
    /// Bytes held now.
    pub bytes: u64,
}

enum Entry<V, E> {
    Ready {
        value: V,
        bytes: u64,
        used: Arc<AtomicU64>,
    },
    Building(Arc<Flight<V, E>>),
}

/// A compile under way.
struct Flight<V, E> {
    landed: Mutex<Option<Result<V, E>>>,
    news: Condvar,
}

/// What the threads of one stripe have found. See the [module](self).
struct Front<K, V> {
    known: Mutex<HashMap<K, Known<V>>>,
    hits: AtomicU64,
}

struct Known<V> {
    value: V,
    /// The table's.
    used: Arc<AtomicU64>,
}

struct Table<K, V, E> {
    entries: HashMap<K, Entry<V, E>>,
    bytes: u64,
    counts: CacheCounts,
}

/// A bounded map from keys to compiled values. Values are handles (`Arc`s): cloning them is cheap.
pub struct PlanCache<K, V, E> {
    /// Locked, if at all, with the table locked already, never the other way round.
    fronts: Striped<Front<K, V>>,
    table: RwLock<Table<K, V, E>>,
    /// The clock of "least recently used": goes on when another value than the last one is used.
    now: Padded<AtomicU64>,
    limit: AtomicU64,
}

impl<K: Eq + Hash + Clone, V: Clone + Weigh, E: Clone> PlanCache<K, V, E> {
    /// An empty cache that holds at most so many bytes. A single value beyond that is still handed out, not kept.
    pub fn new(limit: u64) -> Self {
        PlanCache {
            fronts: Striped::new(|| Front {
                known: Mutex::new(HashMap::new()),
                hits: AtomicU64::new(0),
            }),
            table: RwLock::new(Table {
                entries: HashMap::new(),
                bytes: 0,
                counts: CacheCounts::default(),
            }),
            now: Padded::default(),
            limit: AtomicU64::new(limit),
        }
    }

    /// The value for `key`, if this stripe knows it.
    fn find_in_front(&self, key: &K) -> Option<V> {
        let front = self.fronts.own();
        let value = {
            let known = lock(&front.known);
            let known = known.get(key)?;
            self.note_use(&known.used);
            known.value.clone()
        };
        front.hits.fetch_add(1, Ordering::Relaxed);
        Some(value)
    }

    /// The value for `key`, if it is ready. The stripe knows it from now on: the table is locked, so it cannot be forgotten
    /// meanwhile.
    fn find(&self, table: &Table<K, V, E>, key: &K) -> Option<V> {
        let Some(Entry::Ready { value, used, .. }) = table.entries.get(key) else {
            return None;
        };
        self.note_use(used);
        let front = self.fronts.own();
        front.hits.fetch_add(1, Ordering::Relaxed);
        let mut known = lock(&front.known);
        let known = known.entry(key.clone()).or_insert_with(|| Known {
            value: value.own_handle(),
            used: Arc::clone(used),
        });
        Some(known.value.clone())
    }

    /// Relaxed throughout: numbers that decide what is forgotten first. Of one plan that everybody uses nothing is written.
    fn note_use(&self, used: &AtomicU64) {
        if used.load(Ordering::Relaxed) != self.now.load(Ordering::Relaxed) {
            used.store(self.tick(), Ordering::Relaxed);
        }
    }

    /// The next moment.
    fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The value for `key`; `compile` is called if nobody has it and nobody else is making it.
    ///
    /// If `compile` panics, the panic goes on here, and those who wait get the error that `orphaned` makes.
    pub fn get_or_compile(
        &self,
        key: &K,
        compile: impl FnOnce() -> Result<V, E>,
        orphaned: impl Fn() -> E,
    ) -> Result<V, E> {
        if let Some(value) = self.find_in_front(key) {
            return Ok(value);
        }
        if let Some(value) = self.find(&read(&self.table), key) {
            return Ok(value);
        }
        let flight = {
            let mut table = write(&self.table);
            if mutant!(PlanCompiledTwice) {
                table
                    .entries
                    .retain(|k, e| k != key || matches!(e, Entry::Ready { .. }));
            }
            // It may have become ready since.
            if let Some(value) = self.find(&table, key) {
                return Ok(value);
            }
            match table.entries.get(key) {
                Some(Entry::Building(flight)) => {
                    let flight = Arc::clone(flight);
                    drop(table);
                    return flight.wait();
                }
                _ => {
                    let flight = Arc::new(Flight {
                        landed: Mutex::new(None),
                        news: Condvar::new(),
                    });
                    table
                        .entries
                        .insert(key.clone(), Entry::Building(Arc::clone(&flight)));
                    table.counts.compiles += 1;
                    flight
                }
            }
        };
        // From here on the flight must land whatever happens.
        let landing = Landing {
            cache: self,
            key,
            flight: &flight,
            orphaned: &orphaned,
            done: false,
        };
        let result = compile();
        landing.land(result)
    }

    fn settle(&self, key: &K, result: &Result<V, E>) {
        let mut table = write(&self.table);
        if !(mutant!(FailureRemembered) && result.is_err()) {
            table.entries.remove(key);
        }
        match result {
            Err(_) => table.counts.failures += 1,
            Ok(value) => {
                let bytes = value.bytes();
                // Relaxed: a limit that changes at this moment may apply from the next plan on.
                let limit = self.limit.load(Ordering::Relaxed);
                if bytes > limit {
                    table.counts.evictions += 1;
                    return;
                }
                table.bytes += bytes;
                let ready = Entry::Ready {
                    value: value.clone(),
                    bytes,
                    used: Arc::new(AtomicU64::new(self.tick())),
                };
                table.entries.insert(key.clone(), ready);
                let over = |bytes| bytes > limit && !mutant!(CacheWithoutBound);
                while over(table.bytes) && self.evict_oldest(&mut table, key) {}
            }
        }
    }

    /// What the cache did and holds.
    pub fn counts(&self) -> CacheCounts {
        let table = read(&self.table);
        let plans = table
            .entries
            .values()
            .filter(|e| matches!(e, Entry::Ready { .. }))
            .count();
        CacheCounts {
            plans: plans as u64,
            bytes: table.bytes,
            hits: self
                .fronts
                .iter()
                .map(|f| f.hits.load(Ordering::Relaxed))
                .sum(),
            ..table.counts
        }
    }

    /// Forgets every ready value.
    pub fn clear(&self) {
        let mut table = write(&self.table);
        for front in self.fronts.iter() {
            lock(&front.known).clear();
        }
        table.entries.retain(|_, e| matches!(e, Entry::Building(_)));
        table.bytes = 0;
    }

    /// Forgets the least recently used value other than `keep`; `false` if there is none.
    fn evict_oldest(&self, table: &mut Table<K, V, E>, keep: &K) -> bool {
        let oldest = table
            .entries
            .iter()
            .filter_map(|(k, e)| match e {
                Entry::Ready { used, .. } if k != keep => Some((used.load(Ordering::Relaxed), k)),
                _ => None,
            })
            .min_by_key(|(used, _)| *used)
            .map(|(_, k)| k.clone());
        let Some(key) = oldest else { return false };
        for front in self.fronts.iter() {
            lock(&front.known).remove(&key);
        }
        if let Some(Entry::Ready { value, bytes, .. }) = table.entries.remove(&key) {
            if mutant!(EvictionDropsPlanInUse) {
                value.revoke();
            }
            table.bytes -= bytes;
            table.counts.evictions += 1;
        }
        true
    }
}

impl<V: Clone, E: Clone> Flight<V, E> {
    fn wait(&self) -> Result<V, E> {
        let mut landed = lock(&self.landed);
        loop {
            if let Some(result) = &*landed {
                return result.clone();
            }
            landed = wait(&self.news, landed);
        }
    }

    fn land(&self, result: Result<V, E>) {
        *lock(&self.landed) = Some(result);
        self.news.notify_all();
    }
}

/// Makes sure that a flight lands: with the compile's result, or as an orphan if the compile panics.
struct Landing<'a, K: Eq + Hash + Clone, V: Clone + Weigh, E: Clone, F: Fn() -> E> {
    cache: &'a PlanCache<K, V, E>,
    key: &'a K,
    flight: &'a Flight<V, E>,
    orphaned: &'a F,
    done: bool,
}

impl<K: Eq + Hash + Clone, V: Clone + Weigh, E: Clone, F: Fn() -> E> Landing<'_, K, V, E, F> {
    fn land(mut self, result: Result<V, E>) -> Result<V, E> {
        self.done = true;
        // The table first: who finds no entry may compile anew, who found the flight gets its result.
        self.cache.settle(self.key, &result);
        self.flight.land(result.clone());
        result
    }
}

impl<K: Eq + Hash + Clone, V: Clone + Weigh, E: Clone, F: Fn() -> E> Drop
    for Landing<'_, K, V, E, F>
{
    fn drop(&mut self) {
        if !self.done {
            let orphan = Err((self.orphaned)());
            self.cache.settle(self.key, &orphan);
            self.flight.land(orphan);
        }
    }
}

#[cfg(test)]
impl Weigh for u64 {
    fn bytes(&self) -> u64 {
        *self
    }
}

/// A value whose handles for fronts are told apart from the table's.
#[cfg(test)]
#[derive(Clone)]
struct Handle(std::sync::Arc<Held>);

#[cfg(test)]
struct Held(std::sync::Arc<u64>);

#[cfg(test)]
impl Handle {
    fn new(bytes: u64) -> Handle {
        Handle(std::sync::Arc::new(Held(std::sync::Arc::new(bytes))))
    }
}

#[cfg(test)]
impl Weigh for Handle {
    fn bytes(&self) -> u64 {
        *self.0.0
    }

    fn own_handle(&self) -> Handle {
        Handle(std::sync::Arc::new(Held(std::sync::Arc::clone(&self.0.0))))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    type Cache = PlanCache<u32, u64, String>;

    fn get(cache: &Cache, key: u32, bytes: u64) -> Result<u64, String> {
        cache.get_or_compile(&key, || Ok(bytes), || "orphaned".into())
    }

    /// Evidence: compile-once
    #[test]
    fn sixteen_threads_that_ask_for_one_new_key_at_once_compile_it_once() {
        let cache = Cache::new(1_000);
        let (compiles, barrier) = (AtomicUsize::new(0), Barrier::new(16));
        std::thread::scope(|s| {
            for _ in 0..16 {
                s.spawn(|| {
                    barrier.wait();
                    let compile = || {
                        compiles.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        std::thread::yield_now();
                        Ok(7)
                    };
                    assert_eq!(
                        cache.get_or_compile(&1, compile, || "orphaned".into()),
                        Ok(7)
                    );
                });
            }
        });
        assert_eq!(compiles.into_inner(), 1);
        assert_eq!(cache.counts().compiles, 1);
    }

    /// Evidence: plans-bounded, bounded-plans
    #[test]
    fn the_bound_holds_and_the_least_recently_used_goes_first() {
        let cache = Cache::new(100);
        get(&cache, 1, 40).unwrap();
        get(&cache, 2, 40).unwrap();
        get(&cache, 1, 40).unwrap();
        get(&cache, 3, 40).unwrap();
        let counts = cache.counts();
        assert_eq!((counts.bytes, counts.plans, counts.evictions), (80, 2, 1));
        get(&cache, 1, 40).unwrap();
        assert_eq!(
            cache.counts().compiles,
            3,
            "1 was used last and must have stayed"
        );
        get(&cache, 4, 101).unwrap();
        assert!(
            cache.counts().bytes <= 100,
            "a value beyond the bound is not kept"
        );
    }

    /// Evidence: plans-bounded, bounded-plans
    #[test]
    fn what_is_evicted_or_cleared_is_kept_by_nobody_but_those_who_use_it() {
        let cache = PlanCache::<u32, Handle, String>::new(100);
        let get = |key| {
            let value = cache.get_or_compile(&key, || Ok(Handle::new(60)), || "orphaned".into());
            value.unwrap()
        };
        // One after the other, each of another stripe, and twice: from the table, then from the front.
        let look_up = |key| {
            for _ in 0..4 {
                std::thread::scope(|s| s.spawn(|| (get(key), get(key))).join().unwrap());
            }
        };
        get(1);
        look_up(1);
        assert_eq!((cache.counts().compiles, cache.counts().hits), (1, 8));
        let used = get(1);
        let value = std::sync::Arc::downgrade(&used.0.0);
        get(2);
        assert_eq!(
            value.strong_count(),
            1,
            "it lives on while somebody uses it"
        );
        drop(used);
        assert_eq!(value.strong_count(), 0);
        look_up(2);
        let cleared = std::sync::Arc::downgrade(&get(2).0.0);
        cache.clear();
        assert_eq!(cleared.strong_count(), 0);
        get(2);
        assert_eq!(cache.counts().compiles, 3);
    }

    /// Evidence: failed-compile
    #[test]
    fn a_failed_compile_leaves_nothing_behind() {
        let cache = Cache::new(100);
        let failed = cache.get_or_compile(&1, || Err("broken".into()), || "orphaned".into());
        assert_eq!(failed, Err("broken".into()));
        assert_eq!(get(&cache, 1, 5), Ok(5));
        assert_eq!(cache.counts().failures, 1);
    }

    /// Evidence: failed-compile
    #[test]
    fn a_panicking_compile_fails_those_who_wait_and_leaves_nothing_behind() {
        let cache = Cache::new(100);
        let barrier = Barrier::new(2);
        std::thread::scope(|s| {
            let leader = s.spawn(|| {
                cache.get_or_compile(
                    &1,
                    || {
                        barrier.wait();
                        // Give the other thread time to find the flight; the test holds either way.
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        std::panic::resume_unwind(Box::new("on purpose"))
                    },
                    || "orphaned".into(),
                )
            });
            barrier.wait();
            let follower = get(&cache, 1, 5);
            assert!(leader.join().is_err());
            assert!(
                follower == Err("orphaned".into()) || follower == Ok(5),
                "{follower:?}"
            );
        });
        assert_eq!(get(&cache, 1, 5), Ok(5));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::atomic::AtomicUsize;

    /// Evidence: compile-once
    #[test]
    fn a_key_is_compiled_once_and_everybody_gets_it() {
        loom::model(|| {
            let cache = Arc::new(PlanCache::<u32, u64, String>::new(100));
            let compiles = Arc::new(AtomicUsize::new(0));
            let ask = |cache: &PlanCache<u32, u64, String>, compiles: &AtomicUsize| {
                let compile = || {
                    compiles.fetch_add(1, Ordering::Relaxed);
                    Ok(7)
                };
                assert_eq!(
                    cache.get_or_compile(&1, compile, || "orphaned".into()),
                    Ok(7)
                );
            };
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (cache, compiles) = (Arc::clone(&cache), Arc::clone(&compiles));
                    loom::thread::spawn(move || ask(&cache, &compiles))
                })
                .collect();
            for t in threads {
                t.join().unwrap();
            }
            assert_eq!(compiles.load(Ordering::Relaxed), 1);
        });
    }

    /// Evidence: plans-bounded
    #[test]
    fn a_value_that_is_evicted_while_it_is_looked_up_stays_in_no_front() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let cache = Arc::new(PlanCache::<u32, Handle, String>::new(100));
            let get = |cache: &PlanCache<u32, Handle, String>, key| {
                let compile = || Ok(Handle::new(60));
                cache.get_or_compile(&key, compile, || "orphaned".into())
            };
            let evicted = std::sync::Arc::downgrade(&get(&cache, 1).unwrap().0.0);
            let other = Arc::clone(&cache);
            let looks_up = loom::thread::spawn(move || {
                // Not compiled anew: that would evict the other one.
                drop(other.find_in_front(&1));
                drop(other.find(&read(&other.table), &1));
                drop(other.find_in_front(&1));
            });
            get(&cache, 2).unwrap();
            looks_up.join().unwrap();
            assert_eq!(evicted.strong_count(), 0);
            let fronts = || cache.fronts.iter().map(|f| lock(&f.known));
            assert!(fronts().all(|known| !known.contains_key(&1)));
            assert!(cache.find_in_front(&1).is_none());
        });
    }

    /// Evidence: failed-compile
    #[test]
    fn a_failed_flight_fails_its_waiters_or_is_tried_afresh() {
        loom::model(|| {
            let cache = Arc::new(PlanCache::<u32, u64, String>::new(100));
            let other = Arc::clone(&cache);
            let failing = loom::thread::spawn(move || {
                other.get_or_compile(&1, || Err("broken".into()), || "orphaned".into())
            });
            let mine = cache.get_or_compile(&1, || Ok(7), || "orphaned".into());
            assert!(mine == Ok(7) || mine == Err("broken".into()));
            let theirs = failing.join().unwrap();
            assert!(theirs == Ok(7) || theirs == Err("broken".into()));
            assert_eq!(
                cache.get_or_compile(&1, || Ok(7), || "orphaned".into()),
                Ok(7)
            );
        });
    }
}
