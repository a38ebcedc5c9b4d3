//! The report for people at a terminal, at most 100 columns wide.
//!
//! The one idea: a line for each section, and then only what needs a reader. All checks are in the files, and here on demand.

pub(super) mod wrap;

use std::fmt::Write as _;

use super::format::{cut, printable, seconds};
use super::{Check, Report, Section, mutation_text, words};
use crate::compare::Difference;
use crate::sections::SectionId;
use crate::verdict::Verdict;
use wrap::{WIDTH, hanging, wrapped};

/// Differences that are shown of one check.
const SHOWN: usize = 2;

/// Everything that a person wants to know first, in plain words: a line for each section, what did not pass, the targets,
/// the conclusion.
pub fn summary(report: &Report) -> String {
    render(report, false)
}

/// The same with every check of every section.
pub fn summary_of_all_checks(report: &Report) -> String {
    render(report, true)
}

fn render(report: &Report, all: bool) -> String {
    let mut out = String::new();
    header(&mut out, report);
    if !report.sections.is_empty() {
        overview(&mut out, report);
    }
    if all {
        for section in &report.sections {
            every_check(&mut out, section);
        }
    }
    if let Some(mutation) = &report.mutation {
        mutation_text::write(&mut out, mutation);
    }
    if let Some(section) = report.section(SectionId::SuccessMetrics) {
        targets(&mut out, section);
    }
    for section in &report.sections {
        for check in &section.checks {
            explain(&mut out, check);
        }
        if let Some(why) = words::unexplained(section) {
            let _ = writeln!(out, "\n{} {}", section.verdict, section.id.name());
            wrapped(&mut out, "  ", &why);
        }
        last_words(&mut out, section);
    }
    warnings(&mut out, report);
    conclusion(&mut out, report);
    out
}

/// What sections there are, what each shows and what it cannot.
pub fn sections() -> String {
    let mut out = String::new();
    for id in SectionId::ALL {
        let _ = writeln!(out, "{}: {}", id.name(), id.title());
        hanging(&mut out, "  shows: ", 4, id.description().proves);
        hanging(&mut out, "  cannot show: ", 4, id.description().cannot);
        for (check, does) in id.description().checks {
            hanging(&mut out, &format!("  - {check}: "), 4, does);
        }
        out.push('\n');
    }
    out
}

// Writing to a string cannot fail, so the results of `writeln!` are not looked at below.

fn header(out: &mut String, report: &Report) {
    let _ = writeln!(out, "Verification report {}", report.header.run_id);
    let facts = words::facts(report);
    for (name, fact) in facts.iter().filter(|(name, _)| *name != "run") {
        wrapped(out, &format!("  {name:<10}"), fact);
    }
    for model in &report.models {
        let text = format!("{}: {}", printable(&model.name), words::model(model));
        wrapped(out, &format!("  {:<10}", "model"), &text);
    }
}

/// Columns of text, each as wide as its widest cell, but for the one before the last, which gives way.
fn table(out: &mut String, rows: &[[String; 5]]) {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [verdict, first, second, seen, time] = widths;
    let seen = seen.min(WIDTH.saturating_sub(10 + verdict + first + second + time));
    for [a, b, c, d, e] in rows {
        let d = cut(d, seen);
        let _ = writeln!(
            out,
            "  {a:verdict$}  {b:first$}  {c:second$}  {d:seen$}  {e:>time$}"
        );
    }
}

fn overview(out: &mut String, report: &Report) {
    let _ = writeln!(out);
    let mut rows = vec![["verdict", "section", "passed", "seen", "time"].map(str::to_owned)];
    let verdicts = report.sections.iter().map(|s| s.verdict.word().len());
    let titles = report.sections.iter().map(|s| s.title.chars().count());
    let used = verdicts.max().unwrap_or(0).max(7) + titles.max().unwrap_or(0).max(7);
    // Beside the gaps, the count of checks and the time.
    let left = WIDTH.saturating_sub(10 + 7 + 7 + used);
    for section in &report.sections {
        let mut parts = words::seen_in(section);
        // Better a part less than half of one.
        while parts.len() > 1 && parts.join(", ").chars().count() > left {
            parts.pop();
        }
        rows.push([
            section.verdict.word().to_owned(),
            section.title.clone(),
            format!("{:>7}", words::passed_of(section)),
            parts.join(", "),
            seconds(section.seconds),
        ]);
    }
    table(out, &rows);
}

fn every_check(out: &mut String, section: &Section) {
    let _ = writeln!(out, "\n{}", section.title);
    wrapped(out, "  ", &section.proves);
    for (check, does) in words::explanations(section) {
        hanging(out, &format!("  - {check}: "), 4, does);
    }
    let _ = writeln!(out);
    let mut rows = vec![["verdict", "model", "check", "seen", "time"].map(str::to_owned)];
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let checks = &section.checks;
    let models = widest(&mut checks.iter().map(|c| printable(&c.model).chars().count()));
    let verdicts = widest(&mut checks.iter().map(|c| c.verdict.word().len()));
    let seen = widest(&mut checks.iter().map(|c| words::seen(c).chars().count()));
    let (models, verdicts, seen) = (models.clamp(5, 20), verdicts.max(7), seen.clamp(4, 28));
    // What is left for the description, between fixed columns and the gaps.
    let what = WIDTH.saturating_sub(10 + verdicts + models + seen + 7);
    for check in checks {
        rows.push([
            check.verdict.word().to_owned(),
            cut(&printable(&check.model), models),
            cut(&printable(&check.what), what),
            format!("{:>seen$}", cut(&words::seen(check), seen)),
            seconds(check.seconds),
        ]);
    }
    table(out, &rows);
}

/// The success metrics: what was measured, and what should be reached.
fn targets(out: &mut String, section: &Section) {
    let figure = |check: &Check, names: &[&str]| {
        let mut found = names.iter().filter_map(|name| check.figure_named(name));
        found.next().map(words::figure).unwrap_or_default()
    };
    let mut rows = vec![["verdict", "target", "measured", "wanted", ""].map(str::to_owned)];
    for check in &section.checks {
        let measured = match figure(check, &["measured"]) {
            none if none.is_empty() => check.figures.first().map(words::figure).unwrap_or_default(),
            some => some,
        };
        rows.push([
            check.verdict.word().to_owned(),
            cut(&printable(&check.what), 40),
            cut(&measured, 36),
            figure(check, &["target", "bound"]),
            String::new(),
        ]);
    }
    if rows.len() > 1 {
        let _ = writeln!(out, "\n{}", section.title);
        let mut text = String::new();
        table(&mut text, &rows);
        for line in text.lines() {
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
}

/// What a reader must know of checks that passed, once with all of their models.
fn warnings(out: &mut String, report: &Report) {
    let told = words::warnings(report.checks());
    if !told.is_empty() {
        let _ = writeln!(out);
    }
    for (models, warning) in told {
        let first = match &*models {
            "" => "  note: ".to_owned(),
            models => format!("  note on {}: ", printable(models)),
        };
        hanging(out, &first, 4, &printable(warning));
    }
}

/// What a reader must know of a check that did not simply pass.
fn explain(out: &mut String, check: &Check) {
    if check.verdict == Verdict::Pass {
        return;
    }
    out.push('\n');
    hanging(
        out,
        &format!("{} ", check.verdict),
        2,
        &printable(&check.id),
    );
    for note in check.warnings.iter().chain(&check.notes) {
        wrapped(out, "  ", &printable(note));
    }
    let (first, more) = check
        .differences
        .split_at(check.differences.len().min(SHOWN));
    out.push_str(&differences(first));
    if !more.is_empty() {
        let _ = writeln!(out, "  {} more in the report's files", more.len());
    }
}

/// What a process that ended badly said last.
fn last_words(out: &mut String, section: &Section) {
    let (Some(_), Some(process)) = (words::bad_end(section), &section.process) else {
        return;
    };
    if !process.last_words.trim().is_empty() {
        wrapped(out, "  ", &format!("last words of {}:", section.id.name()));
    }
    for line in process
        .last_words
        .lines()
        .filter(|line| !line.trim().is_empty())
    {
        wrapped(out, "    ", &printable(line));
    }
}

/// Differences, each with its place and both values.
pub fn differences(differences: &[Difference]) -> String {
    let mut out = String::new();
    for difference in differences {
        wrapped(&mut out, "  - ", &words::place(difference));
        wrapped(&mut out, "    found    ", &printable(&difference.found));
        wrapped(&mut out, "    expected ", &printable(&difference.expected));
        wrapped(&mut out, "    during   ", &printable(&difference.during));
    }
    out
}

fn conclusion(out: &mut String, report: &Report) {
    let _ = writeln!(out, "\n{}: {}", report.verdict, words::headline(report));
    if let (Some(mutation), true) = (&report.mutation, report.sections.is_empty()) {
        return mutation_text::conclude(out, mutation);
    }
    wrapped(out, "  ", &words::conclusion(report));
    let claims = words::claims(report);
    if !claims.is_empty() {
        wrapped(
            out,
            "  ",
            &format!("On this machine, {}.", claims.join("; ")),
        );
    }
    if let Some(evidence) = words::evidence(report) {
        wrapped(out, "  ", &evidence);
    }
    let mut any = false;
    for model in &report.models {
        if let (Some(requests), Some(answers)) = (&model.requests_digest, &model.answers_digest) {
            let name = printable(&model.name);
            let text = format!("{name}: requests {requests}, answers {answers}");
            wrapped(out, "  digest  ", &text);
            any = true;
        }
    }
    if any {
        wrapped(out, "  ", words::DIGESTS);
    }
}
