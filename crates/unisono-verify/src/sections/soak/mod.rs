//! Soak: a long load, every answer judged, and everything watched that could go wrong slowly.
//!
//! The one idea: the callers judge their own answers and keep what the client can know (`caller`), the thread that waits for them
//! looks at memory, latency and progress as time goes by (`watch`), and a pure function judges the recorded history afterwards (`history`).

mod caller;
pub mod history;
mod overtaking;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use unisono::Error;

use super::census::nothing_is_left;
use super::device_memory;
use super::load::Pool;
use super::{Context, Description, Findings, Running, Scope, SectionId};
use crate::callers::KEPT_DIFFERENCES;
use crate::case::Case;
use crate::options::{Effort, Options};
use crate::progress::Progress;
use crate::report::{Axis, Chart, ChartKind, Check, Scale, Series};
use crate::seed::SeedModel;
use crate::stats::quantile::{Latencies, needed};
use crate::stats::slope::theil_sen;
use crate::subject::{Counters, Rig, Setup, Subject};
use crate::verdict::Verdict;

use caller::Kept;
use history::Rules;
use watch::{Watched, Window};

/// What it says of itself.
/// Evidence: same-bits-callers, every-call-ends, bounded-overtaking
pub const DESCRIPTION: Description = Description {
    name: "soak",
    title: "Soak",
    scope: Scope::Models(&[SeedModel::Matmul(128)]),
    proves: "A long load from 8 callers loses, swaps, delays and leaks nothing: each request is answered once, by its own answer, within its \
             deadline, overtaken at most so often, and the process does not grow.",
    claim: "a long load loses, swaps and leaks nothing",
    cannot: "Faults that take longer than the soak to show; the smallest growth that it could tell from none is printed. Overtaking is \
             seen from the callers' side, which knows when a call began and not when it entered the queue. For hours, use --soak 1h or \
             --soak 24h.",
    checks: &[
        (
            "every answer",
            "8 callers ask one of 64 requests, again and again; each answer must have the bits of the same request alone. One call in 16 \
             has a deadline, one in 32 is a future that is waited for, one in 32 a future that is dropped",
        ),
        (
            "every caller gets on",
            "no caller is served far less often than the others, and none waits for ever",
        ),
        (
            "history",
            "what the callers recorded in the first twentieth of each second, and at least four calls of each: answered exactly once, by its own answer, not after its deadline, \
             not overtaken by more later requests than the session allows",
        ),
        (
            "overtaking",
            "a large request between smaller ones, started in a known order by one thread, round after round: no more later ones may be answered \
             before it than the session was told to let ahead (2) and, where several batches are in flight, than the others of them hold; and \
             some must be",
        ),
        (
            "memory",
            "resident memory over time: the slope (Theil-Sen) and its interval must stay below 100 MB an hour; the original took one \
             difference and multiplied it by 60",
        ),
        (
            device_memory::WHAT,
            "only on a device with memory of its own: its bytes in use after the first fifth of the soak; growth that goes on fails (Theil-Sen, with interval)",
        ),
        (
            "nothing left behind",
            "when the session is dropped, everything that was made for it goes with it",
        ),
    ],
};

/// The numbers of the check on answers and latency that the success metrics look at.
pub const P99_LOADED: &str = "p99 under load";
/// See [`P99_LOADED`].
pub const P99_ALONE: &str = "p99 alone";
/// How many latencies the former is of.
pub const SAMPLES_LOADED: &str = "latencies under load";
/// How many latencies the latter is of.
pub const SAMPLES_ALONE: &str = "latencies alone";
/// The number of the check on memory that the success metrics look at: in MB/h, with its interval.
pub const GROWTH: &str = "growth";

/// The most that memory may grow, in MB an hour: the original's target.
const MOST_GROWTH: f64 = 100.0;

const CALLERS: usize = 8;
const REQUESTS: usize = 64;
/// The original's figures: operations in 60 s, and a second.
const ORIGINAL: (f64, f64) = (488_570.0, 8_141.0);

/// How many later requests a session lets overtake one; the default of a session's options.
const MAX_OVERTAKEN: usize = 256;

/// What the history is judged by.
const RULES: Rules = Rules {
    max_overtaken: MAX_OVERTAKEN,
    callers: CALLERS,
};

fn length(options: &Options) -> Duration {
    let seconds = options.effort.choose(10, 60, 900);
    options.soak.unwrap_or(Duration::from_secs(seconds))
}

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    let length = length(cx.options);
    let effort = cx.options.effort;
    let progress = &mut *cx.progress;
    let mut running = start(case, "answers", "every answer", "answers", progress);
    let (pool, rig, subject) = match open(case) {
        Ok(ready) => ready,
        Err(error) => return vec![running.could_not_run(&error)].into(),
    };
    let alone = match alone(&pool, &subject, effort) {
        Ok(alone) => alone,
        Err(error) => return vec![running.could_not_run(&error)].into(),
    };
    let before = subject.counters();
    let asked = (length, RULES);
    let watched = watch::soak(case, &pool, (&*rig, &subject), asked, &mut |seconds| {
        let (done, total) = (seconds.as_secs(), length.as_secs().max(1));
        running.step(done.min(total), total);
    });
    let counters = subject.counters();
    let mut findings = Findings::default();
    findings
        .checks
        .push(answers(case, running, &watched, &alone, length));
    findings
        .checks
        .push(progress_of_callers(case, &watched, progress));
    findings.checks.push(history_of(case, &watched, progress));
    findings.checks.push(growth(case, &watched, progress));
    findings
        .checks
        .extend(growth_on_device(case, &watched, progress));
    findings.charts = charts(case, &watched, &before, &counters);
    if watched.stuck.is_empty() && case.maker.has_rows() {
        findings
            .checks
            .push(overtaking::check(case, effort, progress));
    }
    // Threads of ours may still sit in the subject: then it cannot go.
    if watched.stuck.is_empty() {
        drop(subject);
        let running = start(case, "census", "nothing left behind", "objects", progress);
        findings
            .checks
            .push(nothing_is_left(running, &rig.census()));
    }
    findings
}

fn start<'a>(
    case: &Case,
    id: &str,
    what: &str,
    unit: &str,
    progress: &'a mut dyn Progress,
) -> Running<'a> {
    Running::start(SectionId::Soak, case, id, what, unit, progress)
}

type Ready = (Arc<Pool>, Box<dyn Rig>, Arc<dyn Subject>);

fn open(case: &mut Case) -> Result<Ready, Error> {
    let pool = Pool::new(case, 50_000, REQUESTS)?;
    let rig = case.lab.rig(Setup::DEFAULT)?;
    let subject = rig.open()?;
    subject.run(&pool.job(0).request.tensors)?;
    Ok((Arc::new(pool), rig, subject))
}

/// Latencies of one caller who is alone.
fn alone(pool: &Pool, subject: &Arc<dyn Subject>, effort: Effort) -> Result<Latencies, Error> {
    let mut latencies = Latencies::new();
    for turn in 0..effort.choose(1_000, 2_000, 10_000) {
        let began = std::time::Instant::now();
        subject.run(&pool.job(turn).request.tensors)?;
        latencies.add(began.elapsed().as_nanos() as u64);
    }
    Ok(latencies)
}

fn answers(
    case: &Case,
    mut running: Running<'_>,
    watched: &Watched,
    alone: &Latencies,
    length: Duration,
) -> Check {
    let check = running.check();
    let Kept { latencies, .. } = &watched.kept;
    let seconds = watched.seconds.max(f64::MIN_POSITIVE);
    check.figure("requests", watched.kept.answers as f64, "");
    check.figure(
        "requests per second",
        watched.kept.answers as f64 / seconds,
        "/s",
    );
    if case.name == SeedModel::Matmul(128).name() {
        check.figure("the original's requests in 60 s", ORIGINAL.0, "");
        check.figure("the original's requests per second", ORIGINAL.1, "/s");
    }
    check.figure("length", length.as_secs_f64(), "s");
    for (name, share, of) in [
        ("p50 alone", 0.5, alone),
        (P99_ALONE, 0.99, alone),
        ("p50 under load", 0.5, latencies),
        (P99_LOADED, 0.99, latencies),
        ("p99.9 under load", 0.999, latencies),
    ] {
        // A quantile that rests on a handful of values is none.
        if of.count() < needed(share) {
            let note = format!(
                "{name} needs {} latencies, and there are {}",
                needed(share),
                of.count()
            );
            check.notes.push(note);
            continue;
        }
        if let (Some(value), Some((low, high))) = (of.quantile(share), of.interval(share)) {
            check.figure_within(name, value / 1e6, "ms", (low / 1e6, high / 1e6));
        }
    }
    check.figure(SAMPLES_ALONE, alone.count() as f64, "");
    check.figure(SAMPLES_LOADED, latencies.count() as f64, "");
    check.figure("longest under load", latencies.largest() as f64 / 1e6, "ms");
    check.figure("cancelled", watched.kept.cancelled as f64, "");
    check.conclude(watched.kept.answers, watched.kept.wrong);
    check.differences = watched.kept.differences.clone();
    check.differences.truncate(KEPT_DIFFERENCES);
    running.finish()
}

fn progress_of_callers(case: &Case, watched: &Watched, progress: &mut dyn Progress) -> Check {
    /// So many times less than the mean is starving.
    const STARVING: u64 = 10;
    let mut running = start(case, "callers", "every caller gets on", "callers", progress);
    let check = running.check();
    let each = &watched.each;
    let mean = each.iter().sum::<u64>() / each.len().max(1) as u64;
    let starving = each.iter().filter(|&&n| n < mean / STARVING).count();
    check.conclude(each.len() as u64, (starving + watched.stuck.len()) as u64);
    check.rate_bound = None;
    let ends = (each.iter().min(), each.iter().max());
    if let (Some(&least), Some(&most)) = ends {
        check.figure("requests of the slowest caller", least as f64, "");
        check.figure("requests of the fastest caller", most as f64, "");
    }
    for stuck in &watched.stuck {
        check.notes.push(stuck.clone());
    }
    running.finish()
}

fn history_of(case: &Case, watched: &Watched, progress: &mut dyn Progress) -> Check {
    let mut running = start(case, "history", "history", "recorded calls", progress);
    let judged = &watched.history;
    let check = running.check();
    check.conclude(judged.calls, judged.wrong);
    check.figure("most overtaken", judged.most_overtaken as f64, "");
    check.figure("allowed", RULES.allowed() as f64, "");
    check.figure("overtaken more often", judged.overtaken as f64, "");
    check.figure("with a deadline", judged.with_deadline as f64, "");
    check.figure("cancelled", judged.cancelled as f64, "");
    for violation in judged.violations.iter().take(KEPT_DIFFERENCES) {
        check.notes.push(violation.to_string());
    }
    running.finish()
}

fn growth(case: &Case, watched: &Watched, progress: &mut dyn Progress) -> Check {
    /// Growth of so few bytes in all is the allocator's, which takes memory in steps.
    const STEP: f64 = 4e6;
    /// The least by which resident memory can move, in bytes.
    const PAGE: f64 = 4_096.0;
    let mut running = start(case, "memory", "memory", "samples", progress);
    let check = running.check();
    // The first fifth fills caches and arenas.
    let from = watched.seconds / 5.0;
    let late: Vec<(f64, f64)> = watched
        .memory
        .iter()
        .copied()
        .filter(|p| p.0 >= from)
        .collect();
    let Some(slope) = theil_sen(&late, PAGE) else {
        check.verdict = Verdict::NotDistinguishable;
        check.notes.push(match watched.memory.is_empty() {
            true => "this system does not say how much memory a process has".to_owned(),
            false => format!("{} samples are too few", late.len()),
        });
        return running.finish();
    };
    let hourly = |bytes_per_second: f64| bytes_per_second * 3_600.0 / 1e6;
    let (low, high) = (hourly(slope.interval.0), hourly(slope.interval.1));
    check.trials = slope.points as u64;
    check.figure_within(GROWTH, hourly(slope.slope), "MB/h", (low, high));
    check.figure(
        "smallest detectable growth",
        hourly(slope.detectable),
        "MB/h",
    );
    let last = late.last().map_or(0.0, |p| p.1);
    check.figure("resident at the end", last / 1e6, "MB");
    let rise = slope.slope * (watched.seconds - from);
    if low > 0.0 {
        check.notes.push(format!(
            "it grew by {:.1} MB in {:.0} s; a longer soak tells whether that goes on",
            rise / 1e6,
            watched.seconds - from
        ));
    }
    check.verdict = match () {
        () if low > MOST_GROWTH && rise > STEP => Verdict::Fail,
        () if high < MOST_GROWTH => Verdict::Pass,
        () => {
            check.notes.push(format!(
                "between {low:.1} and {high:.1} MB an hour: the soak is too short to tell"
            ));
            Verdict::NotDistinguishable
        }
    };
    check.failures = u64::from(check.verdict == Verdict::Fail);
    running.finish()
}

/// On a device with memory of its own.
fn growth_on_device(case: &Case, watched: &Watched, progress: &mut dyn Progress) -> Option<Check> {
    if watched.on_device.is_empty() {
        return None;
    }
    let (id, what) = (device_memory::ID, device_memory::WHAT);
    let running = start(case, id, what, "samples", progress);
    // The first fifth fills caches, captures graphs and finds the largest batch.
    let points = watched.on_device.iter().copied();
    let late: Vec<(f64, f64)> = points.filter(|p| p.0 >= watched.seconds / 5.0).collect();
    Some(device_memory::is_flat(running, &late, "a second"))
}

fn charts(case: &Case, watched: &Watched, before: &Counters, after: &Counters) -> Vec<Chart> {
    let id = |name: &str| format!("soak/{}/{name}", case.name);
    let axis = |label: &str, scale| Axis {
        label: label.to_owned(),
        scale,
    };
    let series = |name: &str, points: Vec<(f64, f64)>| Series {
        name: name.to_owned(),
        points,
        band: None,
        dashed: false,
    };
    let of = |which: usize| -> Vec<(f64, f64)> {
        let windows = watched.windows.iter();
        let point = |window: &Window| Some((window.at, (*window.quantiles.get(which)?)? / 1e6));
        windows.filter_map(point).collect()
    };
    let quantiles = ["p50", "p99", "p99.9"].into_iter().enumerate();
    let quantiles = quantiles.map(|(which, name)| series(name, of(which)));
    let mut charts = vec![Chart {
        id: id("latency"),
        title: format!("Latency over the soak, {}", case.name),
        caption: "Time from request to answer, as the callers saw it.".to_owned(),
        kind: ChartKind::Lines,
        x: axis("s", Scale::Linear),
        y: axis("ms", Scale::Log10),
        // A soak too short for the higher ones has none of them to show.
        series: quantiles.filter(|s| !s.points.is_empty()).collect(),
    }];
    if !watched.memory.is_empty() {
        let points = watched.memory.iter().map(|&(at, bytes)| (at, bytes / 1e6));
        charts.push(Chart {
            id: id("memory"),
            title: format!("Memory over the soak, {}", case.name),
            caption: "Resident memory of the process.".to_owned(),
            kind: ChartKind::Lines,
            x: axis("s", Scale::Linear),
            y: axis("MB", Scale::LinearFromLowest),
            series: vec![series("resident", points.collect())],
        });
    }
    if !watched.on_device.is_empty() {
        let points = watched.on_device.iter();
        let points = points.map(|&(at, bytes)| (at, bytes / 1e6));
        charts.push(Chart {
            id: id("device-memory"),
            title: format!("Device memory over the soak, {}", case.name),
            caption: "Bytes of the device's own memory in use.".to_owned(),
            kind: ChartKind::Lines,
            x: axis("s", Scale::Linear),
            y: axis("MB", Scale::LinearFromLowest),
            series: vec![series("in use", points.collect())],
        });
    }
    let earlier = |rows: u64| {
        let bucket = before.batch_rows.iter().find(|(lowest, _)| *lowest == rows);
        bucket.map_or(0, |(_, count)| *count)
    };
    let bars = after
        .batch_rows
        .iter()
        .map(|&(rows, count)| (rows as f64, count.saturating_sub(earlier(rows)) as f64))
        .filter(|(_, count)| *count > 0.0);
    let bars: Vec<(f64, f64)> = bars.collect();
    if !bars.is_empty() {
        charts.push(Chart {
            id: id("batches"),
            title: format!("Rows of a batch, {}", case.name),
            caption: "How many batches had how many rows.".to_owned(),
            kind: ChartKind::Bars,
            x: axis("rows", Scale::Linear),
            y: axis("batches", Scale::Linear),
            series: vec![series("batches", bars)],
        });
    }
    charts
}
