//! Chapter 2, efficiency ceiling: what many callers get out of the device, and what it could give.
//!
//! The one idea: the ceiling is the device's own batch. Callers of one row each are measured in turn with explicit batches of as
//! many rows by one caller; their quotient is the efficiency, whatever the device. The original's efficiency, throughput of N callers
//! over N times that of one, stands beside it: it asks a machine for N times its speed, and a perfect lock gets 1/N of it.
//!
//! The target is the machine's own as well: a cycle of callers may take the explicit batch's time and a quarter more than what waking them
//! costs (see `wake_up`).

use std::collections::BTreeMap;
use std::sync::Arc;

use unisono::Error;
use unisono::roofline::Ceilings;

use super::speed::judge::{ALLOWANCE, Turn, judge};
use super::speed::{Quantile, Work, batch, median, quantile, singles, timed, wake_up};
use super::{Context, Description, Findings, Running, Scope, SectionId, hung};
use crate::callers::{Job, Tally};
use crate::case::Case;
use crate::report::{Axis, Chart, ChartKind, Check, Scale, Series};
use crate::seed::SeedModel;
use crate::stats::quantile::needed;
use crate::stats::scalability::{Estimate, Scalability, fit};
use crate::subject::{Setup, Subject};
use crate::verdict::Verdict;

/// What it says of itself.
/// Evidence: no-timer
pub const DESCRIPTION: Description = Description {
    name: "efficiency",
    title: "Chapter 2: efficiency ceiling",
    scope: Scope::Models(&[SeedModel::Transformer]),
    proves: "Many callers of one row each get out of the device what it gives to explicit batches.",
    claim: "many callers get what the device gives to explicit batches",
    cannot: "What another machine reaches; nor that the device itself could not be faster.",
    checks: &[
        (
            "1 to 64 callers, timed",
            "throughput of 1 to 64 callers of one row each, in turn with explicit batches of as many rows; each answer must be, bit \
             for bit, the one to the same request alone",
        ),
        (
            "efficiency at 8 callers",
            "8 callers may take, for one answer each, an explicit batch's time and 1.25 times what waking 8 threads through an empty \
             batch server costs on this machine; fails only if the whole interval over rounds is beyond, and says so if callers behind a \
             perfect lock would not have been told from it",
        ),
    ],
};

/// Numbers of callers.
pub const CALLERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// The number of callers that the verdict is about; the original's largest.
pub const JUDGED: usize = 8;
/// The check that holds the figures.
pub const CURVE: &str = "callers";

/// Names of figures that other sections look for.
pub mod figures {
    /// Multiply-adds on all threads, in GFLOP/s.
    pub const PEAK: &str = "peak of the processor";
    /// The same on one thread.
    pub const PEAK_OF_ONE: &str = "peak of one thread";
    /// The best rate of all configurations, in samples/s.
    pub const BEST_RATE: &str = "best rate measured";
    /// The 99th percentile of one caller's calls, in ms.
    pub const P99_ALONE: &str = "p99 of 1 caller";
    /// The same of 8.
    pub const P99_LOADED: &str = "p99 of 8 callers";

    /// How many calls a percentile is of.
    pub fn samples_of(percentile: &str) -> String {
        format!("{percentile}, of")
    }

    /// The rate of so many callers, in samples/s.
    pub fn rate(callers: usize) -> String {
        format!("rate of {callers} callers")
    }

    /// The rate of explicit batches, in samples/s.
    pub fn explicit_rate(rows: usize) -> String {
        format!("rate of explicit batches of {rows}")
    }
}

/// What was measured with one number of callers, round by round.
#[derive(Default)]
struct Point {
    turns: Vec<Turn>,
    latencies: Vec<f64>,
}

impl Point {
    fn rates(&self, callers: usize, of: fn(&Turn) -> f64) -> Option<Quantile> {
        let rates: Vec<f64> = self.turns.iter().map(|t| callers as f64 / of(t)).collect();
        median(&rates)
    }
}

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    let work = Work::of(case, cx.options);
    let what = "1 to 64 callers, timed";
    let section = SectionId::Efficiency;
    let mut running = Running::start(section, case, CURVE, what, "answers", &mut *cx.progress);
    let mut measured = match Measured::prepare(case, &work) {
        Ok(measured) => measured,
        Err(error) => return vec![running.could_not_run(&error)].into(),
    };
    let roofline = measured.roofline(case);
    for round in 0..work.rounds {
        running.step(round as u64, work.rounds as u64);
        if let Err(why) = measured.round(case, &work) {
            running.check().warnings.push(why);
            break;
        }
    }
    measured.top_up(case);
    let tally = std::mem::take(&mut measured.tally);
    let sound = tally.wrong == 0 && tally.abandoned.is_none();
    let mut charts = Vec::new();
    if sound {
        measured.tell(
            running.check(),
            roofline.as_ref().and_then(|found| found.as_ref().ok()),
            case.flops_per_row,
        );
        charts = measured.charts(&case.name, running.check());
    }
    let unmeasured = roofline.and_then(Result::err);
    let unmeasured =
        unmeasured.map(|error| format!("the device's peak could not be measured: {error}"));
    running.check().warnings.extend(unmeasured);
    let mut checks = vec![running.tallied(tally.answers, tally)];
    // Times of wrong answers, or of a subject in which calls hang, say nothing.
    if sound && measured.batches.contains_key(&JUDGED) {
        let what = "efficiency at 8 callers";
        let running = Running::start(section, case, "target", what, "rounds", cx.progress);
        checks.push(measured.judged(running));
    } else if sound && let Some(check) = checks.first_mut() {
        check.warnings.push(
            "rows are not proven independent: there is no explicit batch to compare callers with"
                .to_owned(),
        );
    }
    Findings { checks, charts }
}

struct Measured {
    subject: Arc<dyn Subject>,
    /// Keeps the device.
    rig: Box<dyn crate::subject::Rig>,
    singles: Vec<Arc<Job>>,
    batches: BTreeMap<usize, Arc<Job>>,
    points: BTreeMap<usize, Point>,
    tally: Tally,
}

impl Measured {
    fn prepare(case: &mut Case, work: &Work) -> Result<Measured, Error> {
        let rig = case.lab.rig(Setup::DEFAULT)?;
        let mut measured = Measured {
            subject: rig.open()?,
            rig,
            singles: Vec::new(),
            batches: BTreeMap::new(),
            points: BTreeMap::new(),
            tally: Tally::default(),
        };
        let affordable = CALLERS.into_iter().filter(|&n| work.affords(n));
        measured.points = affordable.map(|n| (n, Point::default())).collect();
        let most = measured.points.keys().copied().max().unwrap_or(1);
        measured.singles = singles(case, most)?;
        if case.maker.has_rows() {
            for &n in measured.points.keys().filter(|n| **n > 1) {
                let job = batch(case, n, &mut measured.tally)?;
                measured.batches.insert(n, job);
            }
        }
        // All sides equally warm: every plan and every thread has worked.
        let warm: Vec<usize> = measured.points.keys().copied().collect();
        for n in warm {
            measured.callers(case, n, 1);
            measured.explicit(case, n, 1);
        }
        Ok(measured)
    }

    /// Of the device, if it is a real one.
    fn roofline(&self, case: &Case) -> Option<Result<Ceilings, Error>> {
        let weights = usize::try_from(case.record.parameters).unwrap_or(usize::MAX / 8);
        let bytes = weights.max(1 << 14) * size_of::<f32>();
        Some(self.rig.device()?.ceilings(bytes))
    }

    /// Seconds of a cycle of callers, and of each call.
    fn callers(&mut self, case: &Case, callers: usize, turns: usize) -> (f64, Vec<f64>) {
        let jobs = self.singles.get(..callers).unwrap_or_default();
        let what = format!("{callers} callers x 1 row, timed");
        let seen = timed(&self.subject, case, jobs, turns, &what);
        self.tally.add(seen.tally);
        (seen.cycle, seen.latencies)
    }

    /// Seconds of an explicit batch.
    fn explicit(&mut self, case: &Case, rows: usize, turns: usize) -> Option<f64> {
        let job = Arc::clone(self.batches.get(&rows)?);
        let what = format!("explicit batches of {rows} rows, timed");
        let seen = timed(&self.subject, case, &[job], turns, &what);
        self.tally.add(seen.tally);
        Some(seen.cycle)
    }

    fn round(&mut self, case: &Case, work: &Work) -> Result<(), String> {
        /// Cycles of the probe.
        const CYCLES: usize = 40;
        let numbers: Vec<usize> = self.points.keys().copied().collect();
        let mut alone = 0.0;
        for n in numbers {
            let turns = work.turns(n);
            let (cycle, latencies) = self.callers(case, n, turns);
            if n == 1 {
                alone = cycle;
            }
            let explicit = self.explicit(case, n, turns).unwrap_or(cycle);
            let wake = match n {
                1 => 0.0,
                _ => wake_up::cycle(n, CYCLES)
                    .map_err(|why| format!("a thread could not be started: {why}"))?,
            };
            if hung(&self.tally) || self.tally.abandoned.is_some() {
                return Err("measured until a call did not return".to_owned());
            }
            if let Some(point) = self.points.get_mut(&n) {
                point.latencies.extend(latencies);
                point.turns.push(Turn {
                    cycle,
                    explicit,
                    wake,
                    // A perfect lock: one after the other, and nothing lost in between.
                    twin: alone * n as f64,
                });
            }
        }
        Ok(())
    }

    /// Calls until there are as many as a 99th percentile needs, unless the model is too large for that.
    fn top_up(&mut self, case: &Case) {
        /// Operations that this may take.
        const MOST: u64 = 200_000_000_000;
        let calls = needed(0.99);
        if calls.saturating_mul(case.flops_per_row) > MOST || self.tally.abandoned.is_some() {
            return;
        }
        for callers in [1, JUDGED] {
            let known = self.points.get(&callers).map_or(0, |p| p.latencies.len());
            let missing = usize::try_from(calls).unwrap_or(0).saturating_sub(known);
            let turns = missing.div_ceil(callers);
            if turns > 0 {
                let (_, latencies) = self.callers(case, callers, turns);
                if let Some(point) = self.points.get_mut(&callers) {
                    point.latencies.extend(latencies);
                }
            }
        }
    }

    fn rate(&self, callers: usize) -> Option<Quantile> {
        self.points.get(&callers)?.rates(callers, |t| t.cycle)
    }

    /// Throughput over that of explicit batches, or the original's over so many times that of one caller.
    fn efficiency(&self, callers: usize, original: bool) -> Option<Quantile> {
        let turns = &self.points.get(&callers)?.turns;
        let shares: Vec<f64> = match original {
            false => turns.iter().map(|t| t.explicit / t.cycle).collect(),
            true => turns
                .iter()
                .map(|t| t.twin / t.cycle / callers as f64)
                .collect(),
        };
        median(&shares)
    }

    /// What the allowance asks for.
    fn required(&self, callers: usize) -> Option<f64> {
        let turns = &self.points.get(&callers)?.turns;
        let shares = turns
            .iter()
            .map(|t| t.explicit / (t.explicit + ALLOWANCE * t.wake));
        Some(median(&shares.collect::<Vec<_>>())?.value)
    }

    fn law(&self) -> Result<Scalability, crate::stats::scalability::Undetermined> {
        let rate = |&n: &usize| Some((n, self.rate(n)?.value));
        fit(&self.points.keys().filter_map(rate).collect::<Vec<_>>())
    }

    fn tell(&self, check: &mut Check, roofline: Option<&Ceilings>, flops: u64) {
        let mut best = 0.0f64;
        for (&n, point) in &self.points {
            if let Some(rate) = self.rate(n) {
                best = best.max(rate.value);
                figure(check, &figures::rate(n), rate, 1.0, "samples/s");
            }
            let explicit = point.rates(n, |t| t.explicit);
            if let (Some(rate), true) = (explicit, self.batches.contains_key(&n)) {
                best = best.max(rate.value);
                figure(check, &figures::explicit_rate(n), rate, 1.0, "samples/s");
            }
        }
        check.figure(figures::BEST_RATE, best, "samples/s");
        for (callers, name) in [(1, figures::P99_ALONE), (JUDGED, figures::P99_LOADED)] {
            let latencies = self.points.get(&callers).map(|point| &*point.latencies);
            let latencies = latencies.unwrap_or_default();
            if let Some(p99) = quantile(latencies, 0.99) {
                figure(check, name, p99, 1e3, "ms");
                let name = figures::samples_of(name);
                check.figure(&name, latencies.len() as f64, "calls");
            }
        }
        match self.law() {
            Ok(law) => {
                let mut within = |name: &str, e: Estimate, unit: &str| {
                    check.figure_within(name, e.value, unit, (e.low, e.high));
                };
                within("scalability law: one caller (λ)", law.lambda, "samples/s");
                within("scalability law: contention (σ)", law.sigma, "");
                within("scalability law: coherence (κ)", law.kappa, "");
                check.figure("scalability law: relative residual", law.residual, "");
            }
            Err(why) => check.notes.push(format!("no scalability law: {why}")),
        }
        if let Some(roofline) = roofline {
            let giga = |rate: unisono::roofline::Rate| rate.best / 1e9;
            check.figure(figures::PEAK, giga(roofline.all_units), "GFLOP/s");
            check.figure(figures::PEAK_OF_ONE, giga(roofline.one_unit), "GFLOP/s");
            check.figure("reading the weights", giga(roofline.weights), "GB/s");
            check.figure("reading memory", giga(roofline.memory), "GB/s");
            let share = best * flops as f64 / roofline.all_units.best;
            check.figure("best rate, share of the peak", share * 100.0, "%");
        }
        check.notes.push(format!(
            "medians of {} rounds in turn; every caller's request is compared between its calls, on both sides alike",
            self.points.values().map(|p| p.turns.len()).max().unwrap_or(0)
        ));
    }

    fn judged(&self, mut running: Running<'_>) -> Check {
        let turns = self.points.get(&JUDGED).map(|point| &*point.turns);
        let check = running.check();
        judge(
            check,
            JUDGED,
            turns.unwrap_or_default(),
            "8 callers behind a perfect lock",
        );
        if let Some(found) = self.efficiency(JUDGED, false) {
            figure(check, "efficiency", found, 100.0, "%");
        }
        if let Some(required) = self.required(JUDGED) {
            check.figure("efficiency required", required * 100.0, "%");
        }
        if let Some(original) = self.efficiency(JUDGED, true) {
            figure(
                check,
                "efficiency as the original defined it",
                original,
                100.0,
                "%",
            );
        }
        check.figure("the original's figure", 14.9, "%");
        check.figure(
            "a perfect lock, as the original defined it",
            100.0 / JUDGED as f64,
            "%",
        );
        if check.verdict == Verdict::NotDistinguishable {
            check
                .notes
                .push("one row alone keeps the device as busy as a batch does".to_owned());
        }
        running.finish()
    }

    fn charts(&self, model: &str, check: &mut Check) -> Vec<Chart> {
        let series = |name: &str, dashed: bool, of: &dyn Fn(usize) -> Option<Quantile>| {
            let all: Vec<(f64, Quantile)> = self
                .points
                .keys()
                .filter_map(|&n| Some((n as f64, of(n)?)))
                .collect();
            let band = all.iter().map(|(_, q)| q.interval);
            Series {
                name: name.to_owned(),
                points: all.iter().map(|(n, q)| (*n, q.value)).collect(),
                band: band.collect(),
                dashed,
            }
        };
        let exactly = |value: f64| Quantile {
            value,
            interval: None,
        };
        let mut rates = vec![series("callers of 1 row", false, &|n| self.rate(n))];
        let mut shares = Vec::new();
        if !self.batches.is_empty() {
            rates.push(series("explicit batches", true, &|n| {
                self.points.get(&n)?.rates(n, |t| t.explicit)
            }));
            let own = series("of the device's batch", false, &|n| {
                self.efficiency(n, false)
            });
            let required = series("required", true, &|n| Some(exactly(self.required(n)?)));
            shares.extend([own, required]);
        }
        shares.push(series("as the original defined it", false, &|n| {
            self.efficiency(n, true)
        }));
        shares.push(series("a perfect lock, so defined", true, &|n| {
            Some(exactly(1.0 / n as f64))
        }));
        if let Ok(law) = self.law() {
            rates.push(series("scalability law", true, &|n| {
                Some(exactly(law.throughput(n)?))
            }));
            if let Some(callers) = law.best_callers() {
                let name = "scalability law: throughput falls beyond";
                check.figure(name, callers, "callers");
            }
        }
        let chart = |id: &str, title: String, caption: &str, y: &str, series| Chart {
            id: format!("efficiency/{model}/{id}"),
            title,
            caption: caption.to_owned(),
            kind: ChartKind::Lines,
            x: Axis {
                label: "callers".to_owned(),
                scale: Scale::Log2,
            },
            y: Axis {
                label: y.to_owned(),
                scale: Scale::Linear,
            },
            series,
        };
        vec![
            chart(
                "throughput",
                format!("{model}: throughput over callers"),
                "Callers of one row each, and one caller with explicit batches of as many rows: the nearer, the less it costs not to \
                 batch by hand.",
                "samples/s",
                rates,
            ),
            chart(
                "efficiency",
                format!("{model}: efficiency over callers"),
                "Throughput of callers as a share of explicit batches', and of so many times one caller's, as the original defined it.",
                "efficiency",
                shares,
            ),
        ]
    }
}

fn figure(check: &mut Check, name: &str, found: Quantile, scale: f64, unit: &str) {
    match found.interval {
        Some((low, high)) => {
            check.figure_within(name, found.value * scale, unit, (low * scale, high * scale));
        }
        None => check.figure(name, found.value * scale, unit),
    }
}
