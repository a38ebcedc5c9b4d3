//! Models beside each other against devices on which they disturb each other.

mod small_case;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use unisono::{Error, ErrorKind, Tensor};
use unisono_verify::report::Check;
use unisono_verify::sections::real_models;
use unisono_verify::subject::{Counters, Held, Lab, Opening, Pending, Ready, Rig, Setup, Subject};

use small_case::{Caught, case, every_fault_is_caught, quick};

const WIDTH: usize = 6;

fn scaled(inputs: &[Tensor], by: f32) -> Vec<Tensor> {
    let x = inputs[0].as_slice::<f32>().unwrap();
    let y: Vec<f32> = x.iter().map(|v| v * by).collect();
    vec![Tensor::from_slice(inputs[0].shape(), &y).unwrap()]
}

fn twice(inputs: &[Tensor]) -> Vec<Tensor> {
    scaled(inputs, 2.0)
}

fn thrice(inputs: &[Tensor]) -> Vec<Tensor> {
    scaled(inputs, 3.0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Honest,
    IsWrongWithTwoCallers,
    IsWrongWithEightCallers,
    MixesUpModels,
    StarvesOneModel,
    RefusesBesideAnother,
    HangsBesideAnother,
    LeaksSessions,
    LeaksSessionsOfTwoModels,
}

use Wrong::*;

/// The device: what both models share.
#[derive(Default)]
struct Shared {
    /// Calls that are inside, by model.
    inside: [AtomicU64; 2],
    calls: [AtomicU64; 2],
    most: AtomicU64,
    /// Has a model that was starved found the other quiet?
    quiet: AtomicU64,
    created: AtomicU64,
    released: AtomicU64,
}

struct FakeLab {
    wrong: Wrong,
    which: usize,
    shared: Arc<Mutex<Arc<Shared>>>,
}

struct FakeRig {
    wrong: Wrong,
    which: usize,
    shared: Arc<Shared>,
}

struct Fake {
    wrong: Wrong,
    which: usize,
    shared: Arc<Shared>,
}

impl Lab for FakeLab {
    fn rig(&self, _: Setup) -> Result<Box<dyn Rig>, Error> {
        let shared = Arc::<Shared>::default();
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&shared);
        Ok(Box::new(FakeRig {
            wrong: self.wrong,
            which: self.which,
            shared,
        }))
    }

    fn rig_beside(&self, _: &dyn Rig) -> Result<Box<dyn Rig>, Error> {
        let shared = Arc::clone(&self.shared.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Box::new(FakeRig {
            wrong: self.wrong,
            which: self.which,
            shared,
        }))
    }
}

impl Rig for FakeRig {
    fn open_with(&self, _: &Opening) -> Result<Arc<dyn Subject>, Error> {
        self.shared.created.fetch_add(1, SeqCst);
        Ok(Arc::new(Fake {
            wrong: self.wrong,
            which: self.which,
            shared: Arc::clone(&self.shared),
        }))
    }

    fn census(&self) -> Vec<Held> {
        vec![Held {
            what: "sessions",
            released: self.shared.released.load(SeqCst),
            created: self.shared.created.load(SeqCst),
            bytes: 0,
        }]
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let two = self.shared.created.load(SeqCst) > 1;
        if !(self.wrong == LeaksSessions || self.wrong == LeaksSessionsOfTwoModels && two) {
            self.shared.released.fetch_add(1, SeqCst);
        }
    }
}

impl Fake {
    fn answer(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let own = self.shared.inside[self.which].load(SeqCst);
        let other = 1 - self.which;
        // Have the callers of both models been seen?
        let beside = self.shared.calls[other].load(SeqCst) > 0;
        let most = self.shared.most.fetch_max(own, SeqCst).max(own);
        let by = 2.0 + self.which as f32;
        Ok(match self.wrong {
            IsWrongWithTwoCallers if most > 1 => scaled(inputs, by + 1e-6),
            IsWrongWithEightCallers if most > 4 => scaled(inputs, by + 1e-6),
            MixesUpModels if beside => scaled(inputs, 5.0 - by),
            RefusesBesideAnother if beside => {
                return Err(Error::new(ErrorKind::Limit, "the device is in use"));
            }
            HangsBesideAnother if beside => loop {
                std::thread::park();
            },
            StarvesOneModel if self.which == 1 && self.shared.created.load(SeqCst) > 1 => {
                // Until the other has been quiet for long.
                let calls = || self.shared.calls[other].load(SeqCst);
                let mut seen = u64::MAX;
                while seen != calls() && self.shared.quiet.load(SeqCst) == 0 {
                    seen = calls();
                    std::thread::sleep(Duration::from_millis(400));
                }
                self.shared.quiet.store(1, SeqCst);
                scaled(inputs, by)
            }
            _ => scaled(inputs, by),
        })
    }
}

impl Subject for Fake {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        self.shared.calls[self.which].fetch_add(1, SeqCst);
        self.shared.inside[self.which].fetch_add(1, SeqCst);
        // Long enough for others to come in.
        std::thread::sleep(Duration::from_micros(300));
        let answer = self.answer(inputs);
        self.shared.inside[self.which].fetch_sub(1, SeqCst);
        answer
    }

    fn run_by(&self, inputs: &[Tensor], _: Instant) -> Result<Vec<Tensor>, Error> {
        self.run(inputs)
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        Ok(Box::new(Ready(self.run(inputs))))
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(&self) {}
}

fn verify(wrong: Wrong) -> Vec<Check> {
    let shared = Arc::default();
    let lab = |which| {
        Box::new(FakeLab {
            wrong,
            which,
            shared: Arc::clone(&shared),
        })
    };
    let shape = [1, WIDTH];
    let mut cases = [
        case("twice", &["x"], &shape, twice, lab(0)),
        case("thrice", &["x"], &shape, thrice, lab(1)),
    ];
    if wrong == StarvesOneModel {
        // It does answer in the end.
        cases
            .iter_mut()
            .for_each(|case| case.patience = Duration::from_secs(20));
    }
    quick(|cx| {
        let mut checks = real_models::check(&mut cases[0], cx).checks;
        checks.extend(real_models::check_together(&mut cases, cx).checks);
        checks.retain(|check| check.id != "real-models/together-census-1");
        checks
    })
}

const CAUGHT: &[Caught<Wrong>] = &[
    (
        IsWrongWithTwoCallers,
        "real-models/twice/2-callers",
        "\"y\"",
    ),
    (
        IsWrongWithEightCallers,
        "real-models/twice/8-callers",
        "\"y\"",
    ),
    (
        MixesUpModels,
        "real-models/together",
        "beside other models (2 in all)",
    ),
    (
        StarvesOneModel,
        "real-models/together",
        "no answer while another model had all",
    ),
    (
        RefusesBesideAnother,
        "real-models/together",
        "the device is in use",
    ),
    (
        HangsBesideAnother,
        "real-models/together",
        "a call did not return",
    ),
    (LeaksSessions, "real-models/twice/census", "sessions"),
    (
        LeaksSessionsOfTwoModels,
        "real-models/together-census",
        "sessions",
    ),
];

#[test]
fn models_that_disturb_each_other_turn_a_check_red() {
    every_fault_is_caught(Honest, CAUGHT, verify);
}
