//! The compilation stress against sessions whose plans are not what they should be.

mod small_case;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use unisono::{Error, Tensor};
use unisono_verify::report::Check;
use unisono_verify::sections::compile_stress;
use unisono_verify::subject::{Counters, Held, Lab, Opening, Pending, Ready, Rig, Setup, Subject};

use small_case::{Caught, case, every_fault_is_caught, quick};

/// Bytes of every plan.
const PLAN: u64 = 100;

fn sum(inputs: &[Tensor], nudge: f32) -> Vec<Tensor> {
    let [a, b] = [0, 1].map(|i| inputs[i].as_slice::<f32>().unwrap());
    let y: Vec<f32> = a.iter().zip(b).map(|(a, b)| a + b + nudge).collect();
    vec![Tensor::from_slice(inputs[0].shape(), &y).unwrap()]
}

fn model(inputs: &[Tensor]) -> Vec<Tensor> {
    sum(inputs, 0.0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Honest,
    CompilesForEveryCall,
    CompilesTwiceUnderLoad,
    HasOnePlanForTwoSizes,
    EvictsWithRoomLeft,
    MixesUpPlans,
    NeverEvicts,
    KeepsEvictedPlans,
    KeepsPlansOfDroppedSessions,
    IsWrongAfterAnEviction,
    AnswersInaccurately,
}

use Wrong::*;

#[derive(Default)]
struct Plans {
    created: u64,
    released: u64,
    bytes: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct FakeLab(Wrong);

struct FakeRig {
    wrong: Wrong,
    plans: Arc<Mutex<Plans>>,
}

#[derive(Default)]
struct Cache {
    order: VecDeque<usize>,
    counters: Counters,
    /// How often each size was compiled.
    compiled: HashMap<usize, u64>,
    calls: u64,
}

struct Fake {
    wrong: Wrong,
    bound: u64,
    plans: Arc<Mutex<Plans>>,
    cache: Mutex<Cache>,
}

impl Lab for FakeLab {
    fn rig(&self, _: Setup) -> Result<Box<dyn Rig>, Error> {
        Ok(Box::new(FakeRig {
            wrong: self.0,
            plans: Arc::default(),
        }))
    }
}

impl Rig for FakeRig {
    fn open_with(&self, opening: &Opening) -> Result<Arc<dyn Subject>, Error> {
        Ok(Arc::new(Fake {
            wrong: self.wrong,
            bound: match (self.wrong, opening.plan_cache_bytes) {
                (NeverEvicts, _) => u64::MAX,
                (EvictsWithRoomLeft, None) => 10 * PLAN,
                (_, bytes) => bytes.unwrap_or(u64::MAX),
            },
            plans: Arc::clone(&self.plans),
            cache: Mutex::default(),
        }))
    }

    fn census(&self) -> Vec<Held> {
        let plans = lock(&self.plans);
        vec![Held {
            what: "plans",
            created: plans.created,
            released: plans.released,
            bytes: plans.bytes,
        }]
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if self.wrong != KeepsPlansOfDroppedSessions {
            let held = lock(&self.cache).order.len() as u64;
            let mut plans = lock(&self.plans);
            plans.released += held;
            plans.bytes -= held * PLAN;
        }
    }
}

impl Fake {
    fn compile(&self, cache: &mut Cache, key: usize) {
        cache.counters.compiles += 1;
        *cache.compiled.entry(key).or_default() += 1;
        cache.order.push_back(key);
        let mut plans = lock(&self.plans);
        plans.created += 1;
        plans.bytes += PLAN;
        while cache.order.len() as u64 * PLAN > self.bound {
            cache.order.pop_front();
            cache.counters.evictions += 1;
            if self.wrong != KeepsEvictedPlans {
                plans.released += 1;
                plans.bytes -= PLAN;
            }
        }
    }
}

impl Subject for Fake {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let size = inputs[0].shape()[1];
        let mut cache = lock(&self.cache);
        cache.calls += 1;
        let key = match self.wrong {
            HasOnePlanForTwoSizes => size / 14,
            _ => size,
        };
        let known = cache.order.contains(&key);
        if !known || self.wrong == CompilesForEveryCall {
            self.compile(&mut cache, key);
        }
        if !known && self.wrong == CompilesTwiceUnderLoad && self.bound == u64::MAX {
            // Somebody else asked at the same moment.
            self.compile(&mut cache, key);
        }
        let nudge = match self.wrong {
            AnswersInaccurately => 1e-3,
            IsWrongAfterAnEviction if cache.compiled.get(&key) > Some(&1) => 1e-3,
            // Behind the answers that are kept for comparison.
            MixesUpPlans if cache.counters.compiles < 20 && cache.calls % 400 == 399 => 1e-3,
            _ => 0.0,
        };
        Ok(sum(inputs, nudge))
    }

    fn run_by(&self, inputs: &[Tensor], _: Instant) -> Result<Vec<Tensor>, Error> {
        self.run(inputs)
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        Ok(Box::new(Ready(self.run(inputs))))
    }

    fn counters(&self) -> Counters {
        lock(&self.cache).counters.clone()
    }

    fn close(&self) {}
}

fn verify(wrong: Wrong) -> Vec<Check> {
    let lab = Box::new(FakeLab(wrong));
    let mut case = case("fake", &["a", "b"], &[1, 8, 8], model, lab);
    case.patience = Duration::from_secs(2);
    quick(|cx| compile_stress::check_with(&mut case, cx).checks)
}

const CAUGHT: &[Caught<Wrong>] = &[
    (CompilesForEveryCall, "compile-stress/one", "800 compiles"),
    (
        CompilesTwiceUnderLoad,
        "compile-stress/unique",
        "32 compiles",
    ),
    (
        CompilesTwiceUnderLoad,
        "compile-stress/together",
        "60 compiles",
    ),
    (
        HasOnePlanForTwoSizes,
        "compile-stress/unique",
        "16 compiles, one for each",
    ),
    (EvictsWithRoomLeft, "compile-stress/mixed", "evictions"),
    (MixesUpPlans, "compile-stress/one", "\"y\""),
    (
        NeverEvicts,
        "compile-stress/small-cache",
        "at most 450 bytes",
    ),
    (
        KeepsEvictedPlans,
        "compile-stress/small-cache",
        "those compiled without those evicted",
    ),
    (
        KeepsPlansOfDroppedSessions,
        "compile-stress/unique",
        "0 bytes held",
    ),
    (
        IsWrongAfterAnEviction,
        "compile-stress/small-cache",
        "\"y\"",
    ),
    (
        AnswersInaccurately,
        "compile-stress/plain",
        "matrices of size 64",
    ),
];

#[test]
fn every_wrong_way_to_keep_plans_turns_a_check_red() {
    every_fault_is_caught(Honest, CAUGHT, verify);
}
