//! The report for people at a terminal, at most 100 columns wide.

use std::fmt::Write as _;

use super::{Check, ModelRecord, Report, Section, mutation_text};
use crate::compare::Difference;
use crate::sections::SectionId;
use crate::verdict::Verdict;

/// Columns of a terminal that are used.
const WIDTH: usize = 100;

/// Differences that are shown of one check.
const SHOWN: usize = 2;

/// Everything that a person wants to know first, in plain words, and a table of all checks.
pub fn summary(report: &Report) -> String {
    let mut out = String::new();
    header(&mut out, report);
    for section in &report.sections {
        table(&mut out, section);
    }
    if let Some(mutation) = &report.mutation {
        mutation_text::write(&mut out, mutation);
    }
    warnings(&mut out, report);
    for check in report.checks() {
        explain(&mut out, check);
    }
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
    let h = &report.header;
    let effort = h.effort.name();
    let _ = writeln!(out, "Verification report {}", h.run_id);
    let mut line = |name: &str, text: String| wrapped(out, &format!("  {name:<10}"), &text);
    line(
        "date",
        format!("{} (UTC)", h.date.replace('T', " ").trim_end_matches('Z')),
    );
    let system = [&*h.platform.os, &*h.platform.arch, &*h.platform.os_version];
    let system: Vec<&str> = system.into_iter().filter(|part| !part.is_empty()).collect();
    line(
        "machine",
        format!("{}, {} cores", system.join(", "), h.platform.cores),
    );
    line(
        "device",
        format!(
            "{}: {}, {} threads, {}",
            h.device.id, h.device.name, h.device.threads, h.device.isa
        ),
    );
    line(
        "unisono",
        format!(
            "{}, canonical arithmetic {}, seed {}, {effort} run",
            h.version, h.arithmetic_version, h.seed
        ),
    );
    for model in &report.models {
        line("model", describe(model));
    }
}

fn describe(model: &ModelRecord) -> String {
    let mut text = format!(
        "{}: {}; {} parameters, {} operations a row",
        model.name,
        printable(&model.source),
        grouped(model.parameters),
        short(model.flops_per_row)
    );
    for input in &model.inputs {
        let shape: Vec<String> = input
            .shape
            .iter()
            .enumerate()
            .map(|(axis, n)| {
                if input.rows_axis == Some(axis) {
                    "rows".to_owned()
                } else {
                    n.to_string()
                }
            })
            .collect();
        let _ = write!(
            text,
            "; {} {} [{}] {}",
            printable(&input.name),
            input.dtype,
            shape.join(", "),
            input.values
        );
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

fn table(out: &mut String, section: &Section) {
    let _ = writeln!(out, "\n{}", section.title);
    wrapped(out, "  ", &section.proves);
    for (check, does) in section.id.description().checks {
        let ran = |c: &Check| c.what.starts_with(check) && c.trials > 0;
        if section.checks.iter().any(ran) {
            hanging(out, &format!("  - {check}: "), 4, does);
        }
    }
    let _ = writeln!(out);
    let name = |check: &Check| printable(&check.model).chars().count();
    let models = section
        .checks
        .iter()
        .map(name)
        .max()
        .unwrap_or(0)
        .clamp(5, 20);
    let verdicts = section
        .checks
        .iter()
        .map(|c| c.verdict.word().len())
        .max()
        .unwrap_or(0)
        .max(7);
    // What is left for the description, between fixed columns and the gaps.
    let what = WIDTH - (2 + verdicts + 2 + models + 2 + 2 + 24 + 2 + 7);
    let _ = writeln!(
        out,
        "  {:verdicts$}  {:models$}  {:what$}  {:>24}  {:>7}",
        "verdict", "model", "check", "seen", "time"
    );
    for check in &section.checks {
        let _ = writeln!(
            out,
            "  {:verdicts$}  {:models$}  {:what$}  {:>24}  {:>7}",
            check.verdict.word(),
            cut(&printable(&check.model), models),
            cut(&check.what, what),
            seen(check),
            seconds(check.seconds)
        );
    }
}

/// What a check saw, short.
fn seen(check: &Check) -> String {
    let figure = |name: &str| check.figures.iter().find(|figure| figure.name == name);
    match (figure("measured"), figure("bound")) {
        _ if check.trials == 0 => "nothing".to_owned(),
        (Some(error), Some(bound)) => {
            format!("{:.1e} of {:.1e} allowed", error.value, bound.value)
        }
        _ => format!(
            "{} of {} {} wrong",
            grouped(check.failures),
            grouped(check.trials),
            check.unit
        ),
    }
}

/// What a reader must know of checks that passed, once for each model.
fn warnings(out: &mut String, report: &Report) {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for check in report
        .checks()
        .filter(|check| check.verdict == Verdict::Pass)
    {
        for warning in &check.warnings {
            let told_before = told.contains(&(&check.model, warning));
            if told.is_empty() {
                let _ = writeln!(out);
            }
            if !told_before {
                hanging(
                    out,
                    &format!("  note on {}: ", printable(&check.model)),
                    4,
                    &printable(warning),
                );
                told.push((&check.model, warning));
            }
        }
    }
}

/// What a reader must know of a check that did not simply pass.
fn explain(out: &mut String, check: &Check) {
    if check.verdict == Verdict::Pass {
        return;
    }
    let _ = writeln!(out, "\n{} {}", check.verdict, check.id);
    for note in check.warnings.iter().chain(&check.notes) {
        wrapped(out, "  ", &printable(note));
    }
    let (first, more) = check
        .differences
        .split_at(check.differences.len().min(SHOWN));
    out.push_str(&differences(first));
    if !more.is_empty() {
        let _ = writeln!(out, "  {} more in report.json", more.len());
    }
}

/// Differences, each with its place and both values.
pub fn differences(differences: &[Difference]) -> String {
    let mut out = String::new();
    for difference in differences {
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
        wrapped(&mut out, "  - ", &place);
        wrapped(&mut out, "    found    ", &printable(&difference.found));
        wrapped(&mut out, "    expected ", &printable(&difference.expected));
        wrapped(&mut out, "    during   ", &printable(&difference.during));
    }
    out
}

fn conclusion(out: &mut String, report: &Report) {
    let count = |verdict: Verdict| {
        report
            .checks()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    let _ = writeln!(out, "\n{}", report.verdict);
    if let (Some(mutation), true) = (&report.mutation, report.sections.is_empty()) {
        return mutation_text::conclude(out, mutation);
    }
    let counts: Vec<String> = [
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
    let mut text = format!(
        "{} checks: {}, in {}. ",
        report.checks().count(),
        counts.join(", "),
        seconds(report.seconds)
    );
    text += match report.verdict {
        Verdict::Fail => {
            "Something on this machine gives answers that it must not give; see above. Please report it with the file \
             report.json. "
        }
        Verdict::CouldNotRun => "Something that was asked for could not be checked; see above. ",
        _ => "",
    };
    let claims: Vec<&str> = report
        .sections
        .iter()
        .filter(|section| section.verdict == Verdict::Pass)
        .map(|section| section.id.description().claim)
        .collect();
    if !claims.is_empty() {
        let models = if report.models.len() == 1 {
            "this model"
        } else {
            "these models"
        };
        text += &format!("On this machine, with {models}, {}.", claims.join("; "));
    }
    wrapped(out, "  ", &text);
    let sum = |unit: &str| -> u64 {
        let of = report
            .checks()
            .filter(|c| c.unit == unit && c.verdict == Verdict::Pass && c.rate_bound.is_some());
        of.map(|check| check.trials).sum()
    };
    let (answers, rows) = (sum("answers"), sum("rows"));
    if report.verdict.is_acceptable() && answers + rows > 0 {
        let text = format!(
            "Seen: {} answers and {} rows compared bit for bit, 0 wrong. If wrong ones were rarer than one in {}, this run \
             might have missed them (at 95 %).",
            grouped(answers),
            grouped(rows),
            grouped((answers + rows) / 3)
        );
        wrapped(out, "  ", &text);
    }
    for model in &report.models {
        if let (Some(requests), Some(answers)) = (&model.requests_digest, &model.answers_digest) {
            let text = format!("{}: requests {requests}, answers {answers}", model.name);
            wrapped(out, "  digest  ", &text);
        }
    }
    if report
        .models
        .iter()
        .any(|model| model.answers_digest.is_some())
    {
        wrapped(
            out,
            "  ",
            "Another machine with the same seed and arithmetic must show the same digests.",
        );
    }
}

/// Writes text behind `first`, broken at blanks, with further lines below its beginning.
pub(super) fn wrapped(out: &mut String, first: &str, text: &str) {
    hanging(out, first, first.chars().count().min(WIDTH / 2), text);
}

/// The same with further lines behind so many blanks.
pub(super) fn hanging(out: &mut String, first: &str, indent: usize, text: &str) {
    let mut line = first.to_owned();
    let mut used = first.chars().count();
    // Nothing but blanks or `first` on this line yet.
    let mut fresh = true;
    for word in text.split(' ') {
        let mut word = word;
        loop {
            let gap = usize::from(!fresh);
            let length = word.chars().count();
            if used + gap + length <= WIDTH {
                line.extend((gap > 0).then_some(' '));
                line += word;
                used += gap + length;
                fresh = false;
                break;
            }
            if fresh && used <= indent {
                // Longer than a whole line: broken anywhere.
                let at = word
                    .char_indices()
                    .nth(WIDTH - used)
                    .map_or(word.len(), |(at, _)| at);
                line += &word[..at];
                word = &word[at..];
            }
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(indent);
            used = indent;
            fresh = true;
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Names and messages come from model files: nothing in them may steer a terminal.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars()
        .take(width.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// A number with its thousands apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A large number in three digits.
fn short(n: u64) -> String {
    let value = n as f64;
    let units = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match units.into_iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => format!("{:.*}{unit}", decimals(value / size), value / size),
        None => n.to_string(),
    }
}

fn decimals(value: f64) -> usize {
    match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    }
}

pub(super) fn seconds(value: f64) -> String {
    if value >= 99.5 {
        format!("{value:.0} s")
    } else {
        format!("{value:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_never_too_long() {
        let mut out = String::new();
        let words = "word ".repeat(40);
        hanging(
            &mut out,
            "  - name: ",
            4,
            &format!("{words}{}", "x".repeat(250)),
        );
        for line in out.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(
                line.starts_with("  - name: word") || line.starts_with("    "),
                "{line}"
            );
        }
        assert_eq!(out.matches("word").count(), 40);
        assert_eq!(out.matches('x').count(), 250);
        let mut short = String::new();
        wrapped(&mut short, "  date  ", "today");
        assert_eq!(short, "  date  today\n");
    }

    #[test]
    fn a_first_part_of_a_whole_line_ends_too() {
        let mut out = String::new();
        hanging(&mut out, &"n".repeat(200), 4, "text");
        assert_eq!(out.lines().count(), 2);
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb"), "a\\u{1b}[2Jb");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [0, 999, 1_000, 1_579_520].map(grouped),
            ["0", "999", "1,000", "1,579,520"]
        );
        assert_eq!(
            [7, 26_200_000, 103_000_000].map(short),
            ["7", "26.2 M", "103 M"]
        );
        assert_eq!(cut("description", 5), "desc…");
    }
}
