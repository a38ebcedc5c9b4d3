//! Chapters 2 and 3 against subjects that are slow or wrong in company, each in its own way.
//!
//! Their work is sleep, so that it costs the same on every machine: a call of one row takes one piece of time, whatever else goes on, and
//! a batch two. Sessions that share nothing take one call after the other.

mod small_case;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use unisono::{Error, Tensor};
use unisono_verify::report::Check;
use unisono_verify::sections::{batching, efficiency};
use unisono_verify::subject::{Counters, Held, Lab, Opening, Pending, Ready, Rig, Setup, Subject};

use small_case::{case, every_fault_is_caught_but_for_time, quick};

const WIDTH: usize = 6;
/// Checks that depend on time: a busy machine may be too slow for them however honest the subject is.
const TIMED: [&str; 2] = ["efficiency/slow/target", "batching/slow/cost"];
/// What a row alone takes.
const PIECE: Duration = Duration::from_millis(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Honest,
    TakesOneAfterTheOther,
    IsSlowInCompany,
    FlipsABitInCompany,
    FlipsABitWithoutCompany,
    SwapsRowsOfBatches,
    PanicsInCompany,
    HangsInCompany,
}

use Wrong::*;

fn model(inputs: &[Tensor]) -> Vec<Tensor> {
    let x = inputs[0].as_slice::<f32>().unwrap();
    let row = |row: &[f32]| row.iter().map(|v| v * 1.5 + row[0]).collect::<Vec<f32>>();
    let y: Vec<f32> = x.chunks_exact(WIDTH).flat_map(row).collect();
    vec![Tensor::from_slice(inputs[0].shape(), &y).unwrap()]
}

struct Slow {
    wrong: Wrong,
    shares: bool,
    inside: AtomicUsize,
    lock: Mutex<()>,
}

impl Slow {
    fn work(&self, rows: usize) {
        match self.wrong {
            TakesOneAfterTheOther if rows == 1 => {
                let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
                sleep(PIECE);
            }
            _ if !self.shares => {
                let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
                sleep(PIECE);
            }
            IsSlowInCompany if self.inside.load(SeqCst) > 1 => sleep(PIECE * 5),
            _ if rows > 1 => sleep(PIECE * 2),
            _ => sleep(PIECE),
        }
    }
}

impl Subject for Slow {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let rows = inputs[0].shape()[0];
        self.inside.fetch_add(1, SeqCst);
        // Others come in meanwhile.
        sleep(PIECE / 6);
        let crowd = self.inside.load(SeqCst);
        self.work(rows);
        self.inside.fetch_sub(1, SeqCst);
        match self.wrong {
            PanicsInCompany if crowd > 6 => panic!("a kernel's assertion"),
            HangsInCompany if crowd > 6 => loop {
                std::thread::park();
            },
            _ => {}
        }
        let mut answer = model(inputs);
        let values = answer[0].as_slice_mut::<f32>().unwrap();
        match self.wrong {
            FlipsABitInCompany if crowd > 6 && self.shares => values[0] = -values[0],
            FlipsABitWithoutCompany if !self.shares => values[0] = -values[0],
            SwapsRowsOfBatches if rows == 4 || rows == 8 => values.rotate_left(WIDTH),
            _ => {}
        }
        Ok(answer)
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

struct SlowLab(Wrong);

impl Lab for SlowLab {
    fn rig(&self, _: Setup) -> Result<Box<dyn Rig>, Error> {
        Ok(Box::new(SlowLab(self.0)))
    }
}

impl Rig for SlowLab {
    fn open_with(&self, opening: &Opening) -> Result<Arc<dyn Subject>, Error> {
        Ok(Arc::new(Slow {
            wrong: self.0,
            shares: opening.coalesce,
            inside: AtomicUsize::new(0),
            lock: Mutex::new(()),
        }))
    }

    fn census(&self) -> Vec<Held> {
        Vec::new()
    }
}

fn verify(wrong: Wrong) -> Vec<Check> {
    let mut case = case("slow", &["x"], &[1, WIDTH], model, Box::new(SlowLab(wrong)));
    // Eight rows are as much work as a quick measurement does.
    case.flops_per_row = 800_000_000;
    quick(|cx| {
        let mut checks = efficiency::check(&mut case, cx).checks;
        checks.extend(batching::check(&mut case, cx).checks);
        checks
    })
}

#[test]
fn every_fault_turns_its_check_red() {
    let beyond = "beyond what is allowed by";
    let caught = [
        (TakesOneAfterTheOther, "efficiency/slow/target", beyond),
        (TakesOneAfterTheOther, "batching/slow/cost", beyond),
        (IsSlowInCompany, "efficiency/slow/target", beyond),
        (IsSlowInCompany, "batching/slow/cost", beyond),
        (
            FlipsABitInCompany,
            "efficiency/slow/callers",
            "8 callers x 1 row, timed",
        ),
        (FlipsABitInCompany, "batching/slow/legs", "sharing batches"),
        (
            FlipsABitWithoutCompany,
            "batching/slow/legs",
            "sharing nothing",
        ),
        (
            SwapsRowsOfBatches,
            "efficiency/slow/callers",
            "an explicit batch of 4 rows",
        ),
        (
            SwapsRowsOfBatches,
            "batching/slow/legs",
            "an explicit batch of 8 rows",
        ),
        (
            PanicsInCompany,
            "efficiency/slow/callers",
            "a kernel's assertion",
        ),
        (
            PanicsInCompany,
            "batching/slow/legs",
            "a kernel's assertion",
        ),
        (
            HangsInCompany,
            "efficiency/slow/callers",
            "a call did not return",
        ),
        (
            HangsInCompany,
            "batching/slow/legs",
            "a call did not return",
        ),
    ];
    every_fault_is_caught_but_for_time(Honest, &caught, verify, &TIMED);
}
