//! Chapter 3, batching advantage: the same rows by one caller as a batch, and by callers that know nothing of each other.
//!
//! The one idea: three legs, equally warm, with the same threads and the same clock, in turn over several rounds. One caller sends explicit
//! batches of 8; 8 callers send one row each and share batches; 8 callers send one row each and may not. The original compared a warm
//! thread with batches against 8 cold ones behind a lock, where any margin passed.
//!
//! A coalesced cycle may exceed the explicit batch's time by what waking its callers costs on this machine, and a quarter more.

use std::sync::Arc;

use unisono::Error;

use super::speed::judge::{Turn, judge};
use super::speed::{Work, batch, median, singles, timed, wake_up};
use super::{Context, Description, Findings, Running, Scope, SectionId};
use crate::callers::{Job, Tally};
use crate::case::Case;
use crate::report::{Axis, Chart, ChartKind, Check, Scale, Series};
use crate::seed::SeedModel;
use crate::subject::{Counters, Opening, Rig, Setup, Subject};

/// What it says of itself.
/// Evidence: no-timer
pub const DESCRIPTION: Description = Description {
    name: "batching",
    title: "Chapter 3: batching advantage",
    scope: Scope::Models(&[SeedModel::Transformer, SeedModel::Mlp]),
    proves: "Callers that know nothing of each other share batches, and it costs them no more than waking up.",
    claim: "callers share batches at no more than the cost of waking them",
    cannot: "What batches are worth to a model whose rows must be run one by one.",
    checks: &[
        (
            "three legs",
            "an explicit batch of 8 by one caller, 8 callers of one row that share batches, and 8 that may not, in turn; each answer must \
             be, bit for bit, the one to the same request alone",
        ),
        (
            "the cost of sharing",
            "a cycle of 8 callers that share batches may take an explicit batch's time and 1.25 times what waking 8 threads \
             through an empty batch server costs on this machine; fails only if the whole interval over rounds is beyond, and says so if \
             callers that share nothing would not have been told from it",
        ),
    ],
};

/// As many callers as the original had.
const CALLERS: usize = 8;
/// Rounds are shorter than those of chapter 2, which has more to measure in each.
const MORE_ROUNDS: usize = 2;
/// The second leg, for messages.
const SHARING: &str = "8 callers x 1 row, sharing batches";
/// The third.
const ALONE: &str = "8 callers x 1 row, sharing nothing";
/// Cycles of the wake-up probe in a round.
const CYCLES: usize = 40;

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    let work = Work::of(case, cx.options);
    let rounds = MORE_ROUNDS * work.rounds;
    let section = SectionId::Batching;
    let mut running = Running::start(
        section,
        case,
        "legs",
        "three legs",
        "answers",
        &mut *cx.progress,
    );
    let mut legs = match Legs::prepare(case) {
        Ok(legs) => legs,
        Err(error) => return vec![running.could_not_run(&error)].into(),
    };
    let before = legs.on.counters();
    let mut turns = Vec::new();
    for round in 0..rounds {
        running.step(round as u64, rounds as u64);
        match legs.round(case, &work) {
            Ok(turn) => turns.push(turn),
            Err(why) => {
                running.check().warnings.push(why);
                break;
            }
        }
    }
    // Of the coalesced leg alone: explicit batches run on a session of their own.
    let histogram = since(&before, &legs.on.counters());
    let tally = std::mem::take(&mut legs.tally);
    let sound = tally.wrong == 0 && tally.abandoned.is_none();
    let mut charts = Vec::new();
    if sound {
        let divides = legs.explicit.is_some();
        tell(running.check(), &turns, divides, &histogram);
        charts.extend(chart(&case.name, &histogram));
    }
    let mut checks = vec![running.tallied(tally.answers, tally)];
    if sound && legs.explicit.is_some() {
        let mut running = Running::start(
            section,
            case,
            "cost",
            "the cost of sharing",
            "rounds",
            cx.progress,
        );
        judge(
            running.check(),
            CALLERS,
            &turns,
            "8 callers that share nothing",
        );
        checks.push(running.finish());
    } else if sound && let Some(check) = checks.first_mut() {
        let what = "rows are not proven independent: requests run one by one, and there is no batch to share";
        check.warnings.push(what.to_owned());
    }
    Findings { checks, charts }
}

struct Legs {
    /// Of the explicit batches.
    whole: Arc<dyn Subject>,
    /// Where callers share batches.
    on: Arc<dyn Subject>,
    /// Where they may not.
    off: Arc<dyn Subject>,
    /// Keeps the device, which all three have in common.
    _rig: Box<dyn Rig>,
    singles: Vec<Arc<Job>>,
    /// None for a model whose requests cannot be put together.
    explicit: Option<Arc<Job>>,
    tally: Tally,
}

impl Legs {
    fn prepare(case: &mut Case) -> Result<Legs, Error> {
        let rig = case.lab.rig(Setup::DEFAULT)?;
        let mut tally = Tally::default();
        let singles = singles(case, CALLERS)?;
        let explicit = match case.maker.has_rows() {
            true => Some(batch(case, CALLERS, &mut tally)?),
            false => None,
        };
        let alone = Opening {
            coalesce: false,
            ..Opening::default()
        };
        let mut legs = Legs {
            whole: rig.open()?,
            on: rig.open()?,
            off: rig.open_with(&alone)?,
            _rig: rig,
            singles,
            explicit,
            tally,
        };
        // Equally warm.
        for (subject, what) in [(&legs.on, SHARING), (&legs.off, ALONE)] {
            let seen = timed(subject, case, &legs.singles, 1, what);
            legs.tally.add(seen.tally);
        }
        legs.whole(case, 1);
        Ok(legs)
    }

    fn callers(
        &mut self,
        case: &Case,
        subject: &Arc<dyn Subject>,
        turns: usize,
        what: &str,
    ) -> f64 {
        let seen = timed(subject, case, &self.singles, turns, what);
        self.tally.add(seen.tally);
        seen.cycle
    }

    fn whole(&mut self, case: &Case, turns: usize) -> Option<f64> {
        let job = [Arc::clone(self.explicit.as_ref()?)];
        let seen = timed(
            &self.whole,
            case,
            &job,
            turns,
            "explicit batches of 8 rows, timed",
        );
        self.tally.add(seen.tally);
        Some(seen.cycle)
    }

    fn round(&mut self, case: &Case, work: &Work) -> Result<Turn, String> {
        let turns = work.turns(CALLERS);
        let explicit = self.whole(case, turns);
        let on = Arc::clone(&self.on);
        let cycle = self.callers(case, &on, turns, SHARING);
        let off = Arc::clone(&self.off);
        let twin = self.callers(case, &off, turns, ALONE);
        let wake = wake_up::cycle(CALLERS, CYCLES)
            .map_err(|why| format!("a thread could not be started: {why}"))?;
        if self.tally.abandoned.is_some() {
            return Err("measured until a call did not return".to_owned());
        }
        Ok(Turn {
            cycle,
            explicit: explicit.unwrap_or(cycle),
            wake,
            twin,
        })
    }
}

fn tell(check: &mut Check, turns: &[Turn], divides: bool, histogram: &Histogram) {
    let mut rate = |name: &str, of: fn(&Turn) -> f64| {
        let rates: Vec<f64> = turns.iter().map(|t| CALLERS as f64 / of(t)).collect();
        match median(&rates) {
            Some(q) if q.interval.is_some() => {
                check.figure_within(name, q.value, "samples/s", q.interval.unwrap_or_default());
            }
            Some(q) => check.figure(name, q.value, "samples/s"),
            None => {}
        }
    };
    if divides {
        rate("1 caller, explicit batches of 8", |t| t.explicit);
    }
    rate("8 callers, sharing batches", |t| t.cycle);
    rate("8 callers, sharing nothing", |t| t.twin);
    check.figure(
        "the original: 1 thread x batch 8 x 30",
        8_333.0,
        "samples/s",
    );
    check.figure("the original: 8 threads x 1 row", 790.0, "samples/s");
    if histogram.batches > 0 {
        check.figure("rows of a shared batch, mean", histogram.mean, "");
    }
}

/// What a subject did between two looks.
struct Histogram {
    batches: u64,
    mean: f64,
    /// The lower bound of each bucket, and how many batches fell into it.
    rows: Vec<(u64, u64)>,
}

fn since(before: &Counters, after: &Counters) -> Histogram {
    let batches = after.batches.saturating_sub(before.batches);
    let rows = after.rows.saturating_sub(before.rows);
    let earlier = |lowest: u64| {
        let bucket = before.batch_rows.iter().find(|bucket| bucket.0 == lowest);
        bucket.map_or(0, |bucket| bucket.1)
    };
    let each = after.batch_rows.iter();
    let fresh = each.map(|&(lowest, count)| (lowest, count.saturating_sub(earlier(lowest))));
    Histogram {
        batches,
        mean: rows as f64 / batches.max(1) as f64,
        rows: fresh.filter(|bucket| bucket.1 > 0).collect(),
    }
}

fn chart(model: &str, histogram: &Histogram) -> Option<Chart> {
    if histogram.rows.is_empty() {
        return None;
    }
    let total: u64 = histogram.rows.iter().map(|bucket| bucket.1).sum();
    let share = |&(rows, count): &(u64, u64)| (rows as f64, count as f64 / total as f64 * 100.0);
    let axis = |label: &str| Axis {
        label: label.to_owned(),
        scale: Scale::Linear,
    };
    Some(Chart {
        id: format!("batching/{model}/rows"),
        title: format!("{model}: rows of a shared batch"),
        caption: "What 8 callers of one row each were put together to. All at 8 is the best there is; 1 and 7 in turn would be twice the \
                  batches."
            .to_owned(),
        kind: ChartKind::Bars,
        x: axis("rows"),
        y: axis("% of batches"),
        series: vec![Series {
            name: "8 callers".to_owned(),
            points: histogram.rows.iter().map(share).collect(),
            band: None,
            dashed: false,
        }],
    })
}
