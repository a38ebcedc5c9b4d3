//! The pool over a model of memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

/// Memory with a size, which tells overlap, double release and a wrong size.
#[derive(Default)]
struct Model {
    size: usize,
    blocks: Mutex<BTreeMap<u64, usize>>,
    allocations: AtomicUsize,
    /// The allocation that fails, counted from 0.
    fail_at: Option<usize>,
}

impl Model {
    fn used(&self) -> usize {
        self.blocks.lock().unwrap().values().sum()
    }
}

impl Backing for Arc<Model> {
    fn allocate(&self, bytes: usize) -> Result<u64, Error> {
        let number = self.allocations.fetch_add(1, Ordering::Relaxed);
        if self.used() + bytes > self.size || self.fail_at == Some(number) {
            return Err(Error::new(ErrorKind::OutOfMemory, "the model has no more"));
        }
        let mut blocks = self.blocks.lock().unwrap();
        let end = blocks
            .last_key_value()
            .map_or(4096, |(at, n)| at + *n as u64);
        let address = end.next_multiple_of(256);
        blocks.insert(address, bytes);
        Ok(address)
    }

    fn free(&self, address: u64, bytes: usize) {
        let taken = self.blocks.lock().unwrap().remove(&address);
        assert_eq!(taken, Some(bytes), "released what was not given like this");
    }
}

fn model(size: usize) -> Arc<Model> {
    Arc::new(Model {
        size,
        ..Model::default()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(usize),
    Release(usize),
    Trim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => prop_oneof![0usize..5000, 0usize..200_000].prop_map(Step::Allocate),
        4 => any::<prop::sample::Index>().prop_map(|i| Step::Release(i.index(64))),
        1 => Just(Step::Trim),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn blocks_never_overlap_the_bound_is_kept_and_counts_are_exact(
        steps in steps(),
        limit in 0u64..600_000,
        size in 0usize..800_000,
        fail_at in prop::option::of(0usize..60),
    ) {
        let model = Arc::new(Model { size, fail_at, ..Model::default() });
        let pool = Pool::new(Arc::clone(&model), limit);
        let mut held: Vec<Block<Arc<Model>>> = Vec::new();
        for step in steps {
            match step {
                Step::Allocate(bytes) => match pool.allocate(bytes) {
                    Ok(block) => {
                        prop_assert!(block.bytes() >= bytes);
                        prop_assert_eq!(block.address() % 256, 0);
                        held.push(block);
                    }
                    Err(error) => {
                        // Everything that nobody has was given back before it was refused.
                        prop_assert!(matches!(error.kind(), ErrorKind::Limit | ErrorKind::OutOfMemory));
                        prop_assert_eq!(pool.stats().kept_bytes, 0);
                        if error.kind() == ErrorKind::Limit {
                            let class = class(bytes).unwrap() as u64;
                            prop_assert!(pool.stats().in_use_bytes + class > limit);
                        }
                    }
                },
                Step::Release(at) => if !held.is_empty() {
                    drop(held.swap_remove(at % held.len()));
                },
                Step::Trim => {
                    pool.trim();
                    prop_assert_eq!(pool.stats().kept_bytes, 0);
                }
            }
            let stats = pool.stats();
            prop_assert!(stats.held_bytes() <= limit && stats.peak_bytes <= limit);
            prop_assert_eq!(stats.held_bytes(), model.used() as u64);
            prop_assert_eq!(stats.blocks, held.len() as u64);
            let in_use: usize = held.iter().map(Block::bytes).sum();
            prop_assert_eq!(stats.in_use_bytes, in_use as u64);
            let mut ranges: Vec<(u64, u64)> =
                held.iter().map(|b| (b.address(), b.address() + b.bytes() as u64)).collect();
            ranges.sort_unstable();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", ranges);
        }
        // A block outlives the handle of the pool.
        drop(pool);
        drop(held);
        prop_assert_eq!(model.used(), 0);
    }

    #[test]
    fn a_class_holds_its_size_and_wastes_little(bytes in 1usize..(1 << 40)) {
        let class = class(bytes).unwrap();
        prop_assert!(class >= bytes && class.is_multiple_of(SMALLEST));
        prop_assert!(class - bytes <= (bytes / 8).clamp(SMALLEST, WIDEST_STEP));
        prop_assert_eq!(super::class(class), Some(class), "a class is its own class");
    }
}

#[test]
fn a_size_beyond_all_classes_is_a_limit_not_an_overflow() {
    let pool = Pool::new(model(1 << 20), u64::MAX);
    for bytes in [usize::MAX, usize::MAX - 511, usize::MAX / 2 + 1] {
        let kind = pool.allocate(bytes).err().map(|error| error.kind());
        assert!(matches!(
            kind,
            Some(ErrorKind::Limit | ErrorKind::OutOfMemory)
        ));
    }
}

#[test]
fn a_block_that_came_back_is_given_again_without_asking_below() {
    let model = model(1 << 20);
    let pool = Pool::new(Arc::clone(&model), 1 << 20);
    let first = pool.allocate(1000).unwrap().address();
    let again = pool.allocate(990).unwrap();
    assert_eq!(again.address(), first);
    assert_eq!(model.allocations.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_kept_makes_room_when_the_bound_or_the_memory_is_reached() {
    for (size, limit) in [(8192, 1 << 20), (1 << 20, 8192)] {
        let model = model(size);
        let pool = Pool::new(Arc::clone(&model), limit);
        drop((pool.allocate(2048).unwrap(), pool.allocate(4096).unwrap()));
        assert_eq!(pool.stats().kept_bytes, 6144);
        let large = pool.allocate(8192).unwrap();
        assert_eq!((pool.stats().kept_bytes, model.used()), (0, 8192));
        drop(large);
    }
}

#[test]
fn an_error_below_that_is_not_about_memory_is_not_tried_again() {
    struct Broken(AtomicUsize);
    impl Backing for Broken {
        fn allocate(&self, _: usize) -> Result<u64, Error> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(4096),
                _ => Err(Error::new(ErrorKind::Device, "broken")),
            }
        }
        fn free(&self, _: u64, _: usize) {}
    }
    let pool = Pool::new(Broken(AtomicUsize::new(0)), 1 << 30);
    drop(pool.allocate(512).unwrap());
    let error = pool.allocate(4096).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert_eq!(pool.backing().0.load(Ordering::Relaxed), 2);
}

#[test]
fn threads_share_a_pool() {
    let model = model(1 << 24);
    let pool = Pool::new(Arc::clone(&model), 1 << 24);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for i in 0..200usize {
                    let a = pool.allocate(i * 37 % 5000 + thread).unwrap();
                    let b = pool.allocate(700).unwrap();
                    assert_ne!(a.address(), b.address());
                }
            });
        }
    });
    assert_eq!((pool.stats().blocks, pool.stats().in_use_bytes), (0, 0));
    drop(pool);
    assert_eq!(model.used(), 0);
}
