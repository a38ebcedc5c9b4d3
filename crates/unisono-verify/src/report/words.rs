//! What a report says in words, once for all renderings.
//!
//! The one idea: terminal, Markdown, HTML and JUnit differ in dress, never in what they say.

use std::fmt::Write as _;

use super::format::{amount, counted, grouped, number, printable, seconds, short};
use super::{Check, Fate, Figure, InputRecord, ModelRecord, MutantRecord, Report, Section};
use crate::claims::{ClaimRecord, Standing};
use crate::compare::Difference;
use crate::sections::SectionId;
use crate::verdict::Verdict;

/// What each verdict means.
pub(crate) const VERDICTS: [(Verdict, &str); 5] = [
    (
        Verdict::Pass,
        "It looked as many times as it says and found nothing wrong. The true rate of failures is below 3 in that many, \
         at 95 % confidence.",
    ),
    (
        Verdict::Fail,
        "It found something wrong. This fails the run.",
    ),
    (
        Verdict::CouldNotRun,
        "It was asked for and could not look. This fails the run: what was skipped is not called passed.",
    ),
    (
        Verdict::NotDistinguishable,
        "It looked, but a fault would not have been seen on this machine. No proof, and no failure.",
    ),
    (
        Verdict::OutOfReach,
        "It asks for more than this device can physically do; the arithmetic is given. No failure.",
    ),
];

/// The facts about the run, in the order of the original report.
pub(crate) fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let h = &report.header;
    let system = [&*h.platform.os, &*h.platform.arch, &*h.platform.os_version];
    let system: Vec<&str> = system.into_iter().filter(|part| !part.is_empty()).collect();
    let commit = h.commit.iter().map(|commit| format!(", commit {commit}"));
    let commit: String = commit.collect();
    let mut facts = vec![
        (
            "date",
            format!("{} (UTC)", h.date.replace('T', " ").trim_end_matches('Z')),
        ),
        ("run", h.run_id.clone()),
        (
            "machine",
            format!(
                "{}, {}",
                system.join(", "),
                counted(h.platform.cores, "core")
            ),
        ),
        (
            "device",
            format!(
                "{}: {}, {}, {}",
                h.device.id,
                h.device.name,
                counted(h.device.threads, "thread"),
                h.device.isa
            ),
        ),
    ];
    facts.extend(
        h.device
            .driver
            .iter()
            .map(|driver| ("driver", driver.clone())),
    );
    let state = h.device.state.iter();
    facts.extend(state.map(|state| ("device state", state.clone())));
    facts.push((
        "unisono",
        format!(
            "{}{commit}, {}, canonical arithmetic {}",
            h.version, h.compiler, h.arithmetic_version
        ),
    ));
    facts.push(("seed", format!("{}, {} run", h.seed, h.effort.name())));
    for fact in &mut facts {
        fact.1 = printable(&fact.1);
    }
    facts
}

/// What a model is and what it is given, in a line.
pub(crate) fn model(model: &ModelRecord) -> String {
    let mut text = format!(
        "{}; {} parameters, {} operations a row",
        printable(&model.source),
        grouped(model.parameters),
        short(model.flops_per_row)
    );
    for input in &model.inputs {
        let _ = write!(text, "; {}", self::input(input));
    }
    if !model.default_lengths.is_empty() {
        let lengths: Vec<String> = model
            .default_lengths
            .iter()
            .map(|(name, n)| format!("{}={n}", printable(name)))
            .collect();
        let _ = write!(
            text,
            "; lengths that nobody chose: {} (set with --dim)",
            lengths.join(", ")
        );
    }
    text
}

fn input(input: &InputRecord) -> String {
    let axes = input.shape.iter().enumerate();
    let shape: Vec<String> = axes
        .map(|(axis, n)| match input.rows_axis == Some(axis) {
            true => "rows".to_owned(),
            false => n.to_string(),
        })
        .collect();
    format!(
        "{} {} [{}] {}",
        printable(&input.name),
        input.dtype,
        shape.join(", "),
        printable(&input.values)
    )
}

/// How many checks came to what: `12 passed, 1 failed`.
pub(crate) fn counts<'a>(checks: impl Iterator<Item = &'a Check> + Clone) -> String {
    let count = |verdict| {
        checks
            .clone()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    let parts: Vec<String> = [
        (Verdict::Pass, "passed"),
        (Verdict::Fail, "failed"),
        (Verdict::CouldNotRun, "could not run"),
        (Verdict::NotDistinguishable, "could not be distinguished"),
        (Verdict::OutOfReach, "out of reach"),
    ]
    .into_iter()
    .filter(|(verdict, _)| count(*verdict) > 0)
    .map(|(verdict, words)| format!("{} {words}", count(verdict)))
    .collect();
    parts.join(", ")
}

/// The whole run in a few sentences, for somebody who has never seen a report.
pub(crate) fn conclusion(report: &Report) -> String {
    if let (Some(mutation), true) = (&report.mutation, report.sections.is_empty()) {
        return format!(
            "Parts of Unisono were broken on purpose, one at a time, to see each of them caught by a check: {}.",
            mutation.score()
        );
    }
    let mut text = format!(
        "{}: {}, in {}. ",
        counted(report.checks().count(), "check"),
        counts(report.checks()),
        seconds(report.seconds)
    );
    if report.verdict == Verdict::Fail {
        text += "Please report it with the file report.json. ";
    }
    text.trim_end().to_owned()
}

/// What the sections that passed show about this machine. Empty if none did.
pub(crate) fn claims(report: &Report) -> Vec<&'static str> {
    let passed = report
        .sections
        .iter()
        .filter(|s| s.verdict == Verdict::Pass);
    passed.map(|s| s.id.description().claim).collect()
}

/// On what the claims rest.
pub(crate) fn evidence(report: &Report) -> Option<String> {
    let sum = |unit: &str| -> u64 {
        let of = report
            .checks()
            .filter(|c| c.unit == unit && c.verdict == Verdict::Pass && c.rate_bound.is_some());
        of.map(|check| check.trials).sum()
    };
    let (answers, rows) = (sum("answers"), sum("rows"));
    (report.verdict.is_acceptable() && answers + rows > 0).then(|| {
        format!(
            "Seen: {} answers and {} rows compared bit for bit, 0 wrong. If wrong ones were rarer than one in {}, this run \
             might have missed them (at 95 %).",
            grouped(answers),
            grouped(rows),
            grouped(((answers + rows) / 3).max(1))
        )
    })
}

/// What a check saw, short.
pub(crate) fn seen(check: &Check) -> String {
    let figure = |name: &str| check.figure_named(name);
    match (figure("measured"), figure("bound")) {
        (Some(error), Some(bound)) if check.trials > 0 => {
            format!("{:.1e} of {:.1e} allowed", error.value, bound.value)
        }
        _ if check.trials > 0 => wrong_of(check.failures, check.trials, &check.unit),
        // A conclusion from figures has no trials.
        _ if check.verdict != Verdict::CouldNotRun => check
            .figures
            .first()
            .map_or_else(String::new, |figure| amount(figure.value, &figure.unit)),
        _ => "nothing".to_owned(),
    }
}

fn wrong_of(wrong: u64, trials: u64, unit: &str) -> String {
    let unit = if unit.is_empty() { "trials" } else { unit };
    format!(
        "{} of {} {} wrong",
        grouped(wrong),
        grouped(trials),
        printable(unit)
    )
}

/// What a section saw, short: how often it looked, and its first rate where it has one.
pub(crate) fn seen_in(section: &Section) -> Vec<String> {
    let mut units: Vec<(&str, u64, u64)> = Vec::new();
    for check in section.checks.iter().filter(|check| check.trials > 0) {
        match units.iter_mut().find(|(unit, ..)| *unit == check.unit) {
            Some((_, trials, wrong)) => {
                *trials += check.trials;
                *wrong += check.failures;
            }
            None => units.push((&check.unit, check.trials, check.failures)),
        }
    }
    // What is wrong first, then answers, then what there is most of.
    units.sort_by_key(|(unit, trials, wrong)| {
        std::cmp::Reverse((*wrong, matches!(*unit, "answers" | "rows"), *trials))
    });
    let mut parts: Vec<String> = Vec::new();
    parts.extend(
        units
            .first()
            .map(|(unit, trials, wrong)| wrong_of(*wrong, *trials, unit)),
    );
    let figures = section.checks.iter().flat_map(|check| &check.figures);
    let rate = figures
        .into_iter()
        .find(|figure| figure.unit.ends_with("/s"));
    parts.extend(rate.map(|figure| amount(figure.value, &figure.unit)));
    parts
}

/// How many of a section's checks passed: `7/8`.
pub(crate) fn passed_of(section: &Section) -> String {
    let passed = section
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Pass);
    format!("{}/{}", passed.count(), section.checks.len())
}

/// A figure's number, unit and interval.
pub(crate) fn figure(figure: &Figure) -> String {
    let value = amount(figure.value, &figure.unit);
    match figure.interval {
        Some((low, high)) => format!(
            "{value} ({} to {})",
            number_in(low, figure),
            number_in(high, figure)
        ),
        None => value,
    }
}

fn number_in(value: f64, figure: &Figure) -> String {
    match &*figure.unit {
        "bytes" | "B" => amount(value, "bytes"),
        _ => number(value),
    }
}

/// Where a difference is: `"y" row 6 at [0, 17] (1 of 256 elements differ)`.
pub(crate) fn place(difference: &Difference) -> String {
    let mut place = match &*difference.output {
        "" => "the answer".to_owned(),
        output => format!("\"{}\"", printable(output)),
    };
    if let Some(row) = difference.row {
        let _ = write!(place, " row {row}");
    }
    if !difference.index.is_empty() {
        let _ = write!(place, " at {:?}", difference.index);
    }
    if let Some((wrong, of)) = difference.extent {
        let _ = write!(
            place,
            " ({} of {} elements differ)",
            grouped(wrong as u64),
            grouped(of as u64)
        );
    }
    place
}

/// How a section's process ended, if it did not end well.
pub(crate) fn bad_end(section: &Section) -> Option<String> {
    let process = section.process.as_ref()?;
    (process.end != super::ProcessEnd::Good).then(|| {
        let core = if process.core_dumped {
            ", with a core file"
        } else {
            ""
        };
        format!("its process: {}{core}", printable(&process.what))
    })
}

/// A section that is not acceptable although each of its checks is, and why: its process died, or it has no checks.
pub(crate) fn unexplained(section: &Section) -> Option<String> {
    let explained = section
        .checks
        .iter()
        .any(|check| !check.verdict.is_acceptable());
    (!explained && !section.verdict.is_acceptable()).then(|| {
        bad_end(section).unwrap_or_else(|| match section.checks.is_empty() {
            true => "it made no check".to_owned(),
            false => "no check says why".to_owned(),
        })
    })
}

/// What the checks of a section do, for those that it ran.
pub(crate) fn explanations(
    section: &Section,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = section.id.description().checks.iter().copied();
    all.filter(|(name, _)| section.checks.iter().any(|c| c.what.starts_with(name)))
}

/// The warnings of checks that passed, each once, with the names of the models that it is about.
pub(crate) fn warnings<'a>(checks: impl Iterator<Item = &'a Check>) -> Vec<(String, &'a str)> {
    let mut told: Vec<(Vec<&str>, &str)> = Vec::new();
    for check in checks.filter(|check| check.verdict == Verdict::Pass) {
        for warning in &check.warnings {
            let known = told.iter().position(|(_, known)| known == warning);
            match known.and_then(|at| told.get_mut(at)) {
                Some((models, _)) if models.contains(&&*check.model) => {}
                Some((models, _)) => models.push(&check.model),
                None => told.push((vec![&check.model], warning)),
            }
        }
    }
    told.into_iter()
        .map(|(models, warning)| (models.join(", "), warning))
        .collect()
}

/// The heading of a group of sections, where one begins.
pub(crate) fn story_begins(before: Option<SectionId>, id: SectionId) -> bool {
    is_chapter(id) && !before.is_some_and(is_chapter)
}

/// Is it a chapter of the story?
pub(crate) fn is_chapter(id: SectionId) -> bool {
    matches!(
        id,
        SectionId::ThreadSafety
            | SectionId::Efficiency
            | SectionId::Batching
            | SectionId::Correctness
    )
}

/// The heading above the four chapters.
pub(crate) const STORY: &str = "Complete story suite";

/// What equal digests mean.
pub(crate) const DIGESTS: &str =
    "Another machine with the same seed and arithmetic must show the same digests.";

/// What the verdict on everything means, in a sentence.
pub(crate) fn headline(report: &Report) -> &'static str {
    match report.verdict {
        Verdict::Pass => "Everything that was checked on this machine holds.",
        Verdict::Fail => "Something on this machine does what it must not do.",
        Verdict::CouldNotRun => "Something that was asked for could not be checked.",
        Verdict::NotDistinguishable => {
            "Nothing failed; some faults would not have been seen on this machine."
        }
        Verdict::OutOfReach => {
            "Nothing failed; some targets are more than this device can physically do."
        }
    }
}

/// What a report is, for somebody who sees the first one.
pub(crate) const WHAT_IT_IS: &str = "Unisono runs neural-network models for many callers at once and promises each of them \
     the answer that it would have got alone, bit for bit. This report puts that promise, and the speed and stability around \
     it, to the test on one machine.";

/// How a claim of the documentation stands after this run.
pub(crate) fn standing(record: &ClaimRecord) -> &'static str {
    match (record.claim.standing, record.verdict) {
        (Standing::Gap, _) => "open gap",
        (Standing::NotGuaranteed, _) => "not guaranteed",
        (Standing::Guaranteed, Some(verdict)) => verdict.word(),
        (Standing::Guaranteed, None) => "not looked at in this run",
    }
}

/// The verdict that a mutant's fate amounts to.
pub(crate) fn verdict_of(fate: Fate) -> Verdict {
    match fate {
        Fate::Killed => Verdict::Pass,
        Fate::Survived => Verdict::Fail,
        Fate::CouldNotRun => Verdict::CouldNotRun,
        Fate::NotDistinguishable => Verdict::NotDistinguishable,
    }
}

/// Who killed a mutant, and how it showed.
pub(crate) fn killed_by(mutant: &MutantRecord) -> String {
    match (mutant.killed_by.split_first(), mutant.fate) {
        (Some((first, rest)), Fate::Killed) => {
            let more = match rest.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            format!("{first}{more}: {}", mutant.how)
        }
        _ => mutant.how.clone(),
    }
}

/// What the crash ledger says, in lines.
pub(crate) fn crashes(report: &Report) -> Vec<(&'static str, String)> {
    let Some(crashes) = &report.crashes else {
        return Vec::new();
    };
    let mut lines = vec![
        (
            "crashes before this run",
            format!(
                "{} in {}",
                grouped(crashes.crashes_before),
                counted(crashes.runs_before as usize, "run")
            ),
        ),
        ("crashes after it", grouped(crashes.crashes_after)),
        (
            "earlier runs that never ended",
            grouped(crashes.unended_before),
        ),
        ("ledger", printable(&crashes.ledger)),
    ];
    lines.extend(
        crashes
            .trouble
            .iter()
            .map(|trouble| ("trouble with it", printable(trouble))),
    );
    if !crashes.system_reports_in.is_empty() {
        let places = printable(&crashes.system_reports_in.join(", "));
        let new = crashes.system_reports.len();
        lines.push((
            "crash files of the system",
            format!("{} in {places} during this run", counted(new, "new file")),
        ));
    }
    lines
}

/// What did not pass, section by section, in a line each: how, and the first reason.
pub(crate) fn faults(report: &Report) -> Vec<(&Section, String)> {
    let bad = report
        .sections
        .iter()
        .filter(|s| !s.verdict.is_acceptable());
    bad.map(|section| {
        let checks = section.checks.iter().filter(|c| !c.verdict.is_acceptable());
        let what: Vec<String> = checks.map(|check| printable(&check.what)).collect();
        let why = match what.split_first() {
            Some((first, [])) => first.clone(),
            Some((first, rest)) => format!("{first}, and {}", counted(rest.len(), "more check")),
            None => unexplained(section).unwrap_or_default(),
        };
        (section, why)
    })
    .collect()
}
