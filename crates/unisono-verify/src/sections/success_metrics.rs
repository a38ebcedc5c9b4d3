//! Success metrics: the targets of the original programme, against what this run measured.
//!
//! The one idea: nothing is measured here. Every figure is looked up in the section that measured it, with its interval, so a target
//! cannot be ticked that was not met in this run. The original ticked 50,000 samples/s with a figure of another run, below it.
//!
//! A target that the device's own peak puts out of reach is called so, with the arithmetic; a figure that is missing is named, with the
//! section that would give it.

use super::efficiency::{self, figures};
use super::{Description, Findings, Scope, SectionId, soak};
use crate::report::{Check, Figure, ProcessEnd, Report};
use crate::seed::SeedModel;
use crate::stats::quantile::needed;
use crate::verdict::Verdict;

/// What it says of itself.
pub const DESCRIPTION: Description = Description {
    name: "success-metrics",
    title: "Success metrics",
    scope: Scope::Report,
    proves: "The targets of the original programme, with figures that were measured in this run.",
    claim: "the targets of the original programme are met",
    cannot: "Anything by itself: it needs the sections efficiency and soak of the same run. Targets that the hardware cannot reach are \
             called so, with the arithmetic. Throughput and latency are those of the built-in models.",
    checks: &[
        (
            "50,000 samples/s",
            "the story's transformer at the best configuration that chapter 2 measured, and with 8 callers of one row; met only if the \
             whole interval is; out of reach if the processor's measured peak, spent on nothing else, gives less",
        ),
        (
            "crash rate 0 %",
            "sections whose process ended badly, of all answers of the run",
        ),
        (
            "memory growth",
            "the upper end of the soak's slope must be below 100 MB an hour",
        ),
        (
            "p99 below 50 ms",
            "the 99th percentile of one caller's calls, and of 8 callers' at once, each of at least 1,000 calls; the upper end of its \
             interval must be below the target",
        ),
    ],
};

/// Samples per second.
const THROUGHPUT: f64 = 50_000.0;
/// MB per hour.
const GROWTH: f64 = 100.0;
/// Milliseconds.
const P99: f64 = 50.0;

/// Concludes from what the report has so far.
pub fn check(report: &Report) -> Findings {
    let mut checks = Vec::new();
    // The targets on speed are about the original's model.
    let built_in =
        report.models.is_empty() || report.models.iter().any(|m| m.source.starts_with(BUILT_IN));
    if built_in {
        let of = figures::rate(efficiency::JUDGED);
        let best = "50,000 samples/s at best";
        checks.push(throughput(
            report,
            "throughput/best",
            best,
            figures::BEST_RATE,
        ));
        let callers = "50,000 samples/s, 8 callers x 1 row";
        checks.push(throughput(report, "throughput/callers", callers, &of));
    }
    checks.push(crash_rate(report));
    checks.push(growth(report));
    if built_in {
        let (alone, loaded) = (
            (figures::P99_ALONE, soak::P99_ALONE, soak::SAMPLES_ALONE),
            (figures::P99_LOADED, soak::P99_LOADED, soak::SAMPLES_LOADED),
        );
        checks.push(p99(report, "p99/alone", "p99 below 50 ms, alone", alone));
        checks.push(p99(
            report,
            "p99/load",
            "p99 below 50 ms, under load",
            loaded,
        ));
    }
    checks.into()
}

/// How the sources of models begin that come with the program.
const BUILT_IN: &str = "built in";

fn start(id: &str, what: &str, unit: &str) -> Check {
    let id = format!("{}/{id}", SectionId::SuccessMetrics.name());
    Check::new(id, "", what, unit)
}

/// It needs what a section has not given.
fn missing(check: Check, report: &Report, section: SectionId) -> Check {
    let why = if report.section(section).is_some() {
        format!("the section {section} of this run does not have the figure")
    } else {
        format!(
            "the section {section} was not run: add --section {section}, or leave --section out"
        )
    };
    check.could_not_run(why)
}

/// The checks of a section that have a figure of this name.
fn with_figure<'a>(
    report: &'a Report,
    section: SectionId,
    name: &'a str,
) -> impl Iterator<Item = (&'a Check, &'a Figure)> {
    let checks = report.section(section).map(|section| &*section.checks);
    let checks = checks.unwrap_or_default().iter();
    checks.filter_map(move |check| Some((check, check.figure_named(name)?)))
}

fn ends(figure: &Figure) -> (f64, f64) {
    figure.interval.unwrap_or((figure.value, figure.value))
}

fn copy(check: &mut Check, name: &str, figure: &Figure) {
    match figure.interval {
        Some(interval) => check.figure_within(name, figure.value, &figure.unit, interval),
        None => check.figure(name, figure.value, &figure.unit),
    }
}

fn throughput(report: &Report, id: &str, what: &str, figure: &str) -> Check {
    let mut check = start(id, what, "figures");
    let story = SeedModel::Transformer.name();
    let mut found = with_figure(report, SectionId::Efficiency, figure);
    let Some((source, rate)) = found.find(|(check, _)| check.model == story) else {
        return missing(check, report, SectionId::Efficiency);
    };
    check.trials = 1;
    copy(&mut check, figure, rate);
    check.figure("target", THROUGHPUT, "samples/s");
    let model = report.models.iter().find(|model| model.name == story);
    let flops = model.map(|model| model.flops_per_row as f64);
    let peak_of = |name: &str| source.figure_named(name).map(|peak| peak.value * 1e9);
    // A neighbour may have taken a core while all threads were measured: what they would reach together by themselves counts as well.
    let threads = report.header.device.threads as f64;
    let apart = peak_of(figures::PEAK_OF_ONE).map_or(0.0, |one| one * threads);
    let peak = peak_of(figures::PEAK).map(|all| all.max(apart));
    let reach = peak
        .zip(flops)
        .map(|(peak, flops)| (peak, flops, peak / flops));
    let (low, high) = ends(rate);
    check.verdict = match reach {
        _ if low >= THROUGHPUT => Verdict::Pass,
        Some((_, _, most)) if most < THROUGHPUT => Verdict::OutOfReach,
        _ if high < THROUGHPUT => Verdict::Fail,
        _ => Verdict::NotDistinguishable,
    };
    check.failures = u64::from(check.verdict == Verdict::Fail);
    if let Some((peak, flops, most)) = reach {
        check.figure("the most that the peak allows", most, "samples/s");
        check.figure("share of that", rate.value / most * 100.0, "%");
        check.notes.push(format!(
            "{:.1} GFLOP/s measured peak / {:.1} MFLOP a sample = {most:.0} samples/s, whatever the software",
            peak / 1e9,
            flops / 1e6
        ));
    }
    check
        .notes
        .push("the original: \"48,000+\", marked as met; never measured in its run".to_owned());
    check
}

fn crash_rate(report: &Report) -> Check {
    let mut check = start("crash-rate", "crash rate 0 %", "answers");
    let answered = report.checks().filter(|check| check.unit == "answers");
    let answers = answered.map(|check| check.trials).sum();
    let mut crashes = 0;
    for section in &report.sections {
        let Some(process) = section
            .process
            .as_ref()
            .filter(|p| p.end != ProcessEnd::Good)
        else {
            continue;
        };
        crashes += 1;
        check
            .notes
            .push(format!("{}: {}", section.id, process.what));
    }
    check.conclude(answers, crashes);
    if answers == 0 && crashes == 0 {
        let why = "no section of this run has asked anything: run some, or leave --section out";
        check.notes.push(why.to_owned());
    }
    check.notes.push("the original: 0 of 100 rounds".to_owned());
    check
}

fn growth(report: &Report) -> Check {
    let mut check = start("growth", "memory growth below 100 MB/h", "soaks");
    let soaks: Vec<(&Check, &Figure)> =
        with_figure(report, SectionId::Soak, soak::GROWTH).collect();
    if soaks.is_empty() {
        return missing(check, report, SectionId::Soak);
    }
    check.trials = soaks.len() as u64;
    let mut verdicts = Vec::new();
    for (source, figure) in soaks {
        copy(&mut check, &format!("growth with {}", source.model), figure);
        let (low, high) = ends(figure);
        verdicts.push(match source.verdict {
            _ if high < GROWTH => Verdict::Pass,
            // It also asks for a rise that is more than a step.
            Verdict::Fail if low > GROWTH => Verdict::Fail,
            _ => Verdict::NotDistinguishable,
        });
    }
    check.failures = verdicts.iter().filter(|v| **v == Verdict::Fail).count() as u64;
    check.verdict = Verdict::of_all(verdicts);
    check
        .notes
        .push("the original: 6 MB/h, one difference over 60 s".to_owned());
    check
}

fn p99(report: &Report, id: &str, what: &str, names: (&str, &str, &str)) -> Check {
    let mut check = start(id, what, "calls");
    let (own, soaked, soaked_samples) = names;
    let own_samples = figures::samples_of(own);
    let sources = with_figure(report, SectionId::Efficiency, own)
        .map(|(check, figure)| (check, figure, &*own_samples))
        .chain(
            with_figure(report, SectionId::Soak, soaked)
                .map(|(check, figure)| (check, figure, soaked_samples)),
        );
    let (mut verdicts, mut any) = (Vec::new(), false);
    for (source, figure, samples) in sources {
        any = true;
        let calls = source.figure_named(samples).map_or(0.0, |f| f.value);
        if calls < needed(0.99) as f64 {
            let what = format!(
                "{}: {calls} calls are too few for a 99th percentile",
                source.id
            );
            check.notes.push(what);
            continue;
        }
        check.trials += calls as u64;
        copy(&mut check, &format!("p99 of {}", source.model), figure);
        let (low, high) = ends(figure);
        verdicts.push(match () {
            () if high < P99 => Verdict::Pass,
            () if low >= P99 => Verdict::Fail,
            () => Verdict::NotDistinguishable,
        });
    }
    if !any {
        return missing(check, report, SectionId::Efficiency);
    }
    check.failures = verdicts.iter().filter(|v| **v == Verdict::Fail).count() as u64;
    check.verdict = Verdict::of_all(verdicts);
    check
        .notes
        .push("the original: 0.4 ms, one idle thread".to_owned());
    check
}

#[cfg(test)]
mod tests;
