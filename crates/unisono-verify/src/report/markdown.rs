//! The report as Markdown, in the order of the original's.
//!
//! It must never let a name out of a model file become markup: everything that is not ours is escaped.

use std::fmt::Write as _;

use super::format::{counted, printable, seconds};
use super::{Chart, Check, Report, Section, words};
use crate::sections::SectionId;
use crate::verdict::Verdict;

/// Differences that are shown of one check.
const SHOWN: usize = 5;

/// The whole report as one Markdown document (tables as GitHub has them).
pub fn markdown(report: &Report) -> String {
    let mut out = String::from("# Verification report\n\n");
    table(
        &mut out,
        &["", ""],
        words::facts(report)
            .iter()
            .map(|(name, fact)| vec![(*name).to_owned(), safe(fact)]),
    );
    out.push_str("\n## Executive summary\n\n");
    summary(&mut out, report);
    let mut before = None;
    for section in &report.sections {
        if words::story_begins(before, section.id) {
            let _ = writeln!(out, "\n## {}", words::STORY);
        }
        self::section(&mut out, section);
        match section.id {
            SectionId::CrashStatus => crashes(&mut out, report),
            SectionId::Status => claims(&mut out, report),
            _ => {}
        }
        before = Some(section.id);
    }
    mutants(&mut out, report);
    out.push_str("\n## Models and digests\n\n");
    models(&mut out, report);
    out.push_str("\n## What the verdicts mean\n\n");
    let rows = words::VERDICTS.iter();
    table(
        &mut out,
        &["verdict", "meaning"],
        rows.map(|(verdict, meaning)| vec![format!("`{verdict}`"), (*meaning).to_owned()]),
    );
    out
}

// Writing to a string cannot fail, so the results of `writeln!` are not looked at below.

fn summary(out: &mut String, report: &Report) {
    let _ = writeln!(
        out,
        "**{}**. {}\n",
        report.verdict,
        words::conclusion(report)
    );
    for (section, why) in words::faults(report) {
        let _ = writeln!(
            out,
            "- `{}` {}: {}",
            section.verdict,
            safe(&section.title),
            safe(&why)
        );
    }
    let claims = words::claims(report);
    if !claims.is_empty() {
        out.push_str("\nWhat holds on this machine:\n\n");
        for claim in claims {
            let _ = writeln!(out, "- {}", safe(claim));
        }
        out.push('\n');
    }
    if let Some(evidence) = words::evidence(report) {
        let _ = writeln!(out, "{}\n", safe(&evidence));
    }
    let rows = report.sections.iter().map(|section| {
        vec![
            format!("`{}`", section.verdict),
            safe(&section.title),
            words::passed_of(section),
            safe(&words::seen_in(section).join(", ")),
            seconds(section.seconds),
        ]
    });
    table(out, &["verdict", "section", "passed", "seen", "time"], rows);
}

fn section(out: &mut String, section: &Section) {
    let level = if words::is_chapter(section.id) {
        "###"
    } else {
        "##"
    };
    let _ = writeln!(out, "\n{level} {}\n", safe(&section.title));
    let _ = writeln!(
        out,
        "**{}** in {}. {}\n",
        section.verdict,
        seconds(section.seconds),
        safe(&section.proves)
    );
    if !section.cannot.is_empty() {
        let _ = writeln!(out, "What it cannot show: {}\n", safe(&section.cannot));
    }
    let mut any = false;
    for (check, does) in words::explanations(section) {
        let _ = writeln!(out, "- *{}*: {}", safe(check), safe(does));
        any = true;
    }
    if any {
        out.push('\n');
    }
    match section.id {
        SectionId::Status | SectionId::SuccessMetrics => figures_first(out, section),
        _ => checks(out, section),
    }
    for check in &section.checks {
        explain(out, check);
    }
    for (models, warning) in words::warnings(section.checks.iter()) {
        let of = if models.is_empty() {
            String::new()
        } else {
            format!(" on {}", safe(&models))
        };
        let _ = writeln!(out, "\n> Note{of}: {}", safe(warning));
    }
    for chart in &section.charts {
        self::chart(out, chart);
    }
    if let Some(why) = words::unexplained(section) {
        let _ = writeln!(out, "\nNot acceptable because {}", safe(&why));
    } else if let Some(end) = words::bad_end(section) {
        let _ = writeln!(out, "\nHow it ended: {}", safe(&end));
    }
}

fn checks(out: &mut String, section: &Section) {
    let rows = section.checks.iter().map(|check| {
        vec![
            format!("`{}`", check.verdict),
            safe(&check.model),
            safe(&check.what),
            safe(&words::seen(check)),
            figures(check),
            seconds(check.seconds),
        ]
    });
    table(
        out,
        &["verdict", "model", "check", "seen", "figures", "time"],
        rows,
    );
}

/// For sections that conclude: what, its figures, and the reasons in the table itself.
fn figures_first(out: &mut String, section: &Section) {
    let rows = section.checks.iter().map(|check| {
        vec![
            format!("`{}`", check.verdict),
            safe(&check.what),
            figures(check),
            safe(&check.notes.join(" ")),
        ]
    });
    table(out, &["verdict", "claim", "figures", "evidence"], rows);
}

fn figures(check: &Check) -> String {
    let figures = check.figures.iter();
    let figures: Vec<String> = figures
        .map(|figure| format!("{}: {}", safe(&figure.name), safe(&words::figure(figure))))
        .collect();
    figures.join("<br>")
}

fn explain(out: &mut String, check: &Check) {
    if check.verdict == Verdict::Pass {
        return;
    }
    let _ = writeln!(out, "\n**{}** {}\n", check.verdict, code(&check.id));
    for note in check.warnings.iter().chain(&check.notes) {
        let _ = writeln!(out, "- {}", safe(note));
    }
    let (shown, more) = check
        .differences
        .split_at(check.differences.len().min(SHOWN));
    for difference in shown {
        let _ = writeln!(
            out,
            "- {}: found {}, expected {}; {}",
            safe(&words::place(difference)),
            code(&difference.found),
            code(&difference.expected),
            safe(&difference.during)
        );
    }
    if !more.is_empty() {
        let _ = writeln!(
            out,
            "- {} in report.json",
            counted(more.len(), "more difference")
        );
    }
}

/// A chart's numbers: Markdown has no pictures of its own.
fn chart(out: &mut String, chart: &Chart) {
    let _ = writeln!(
        out,
        "\n**{}.** {}\n",
        safe(&chart.title),
        safe(&chart.caption)
    );
    let (head, rows) = chart.table();
    if rows.len() > Chart::MOST_ROWS {
        let _ = writeln!(
            out,
            "{} in report.json and report.html.",
            counted(rows.len(), "point")
        );
        return;
    }
    let head: Vec<String> = head.iter().map(|title| safe(title)).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table(out, &head, rows.into_iter());
}

fn crashes(out: &mut String, report: &Report) {
    let lines = words::crashes(report);
    if !lines.is_empty() {
        out.push('\n');
        let rows = lines
            .into_iter()
            .map(|(name, line)| vec![name.to_owned(), safe(&line)]);
        table(out, &["", ""], rows);
    }
}

fn claims(out: &mut String, report: &Report) {
    if report.claims.is_empty() {
        return;
    }
    out.push_str("\n### Claims and their evidence\n\n");
    let rows = report.claims.iter().map(|record| {
        vec![
            words::standing(record).to_owned(),
            record.claim.contract.clone(),
            safe(&record.claim.text),
            safe(&record.claim.evidence_in_numbers()),
        ]
    });
    table(out, &["standing", "contract", "claim", "evidence"], rows);
}

fn mutants(out: &mut String, report: &Report) {
    let Some(mutation) = &report.mutation else {
        return;
    };
    let _ = writeln!(out, "\n## Mutants: {}\n", mutation.score());
    let rows = mutation.mutants.iter().map(|mutant| {
        vec![
            format!("`{}`", mutant.fate.word()),
            code(&mutant.name),
            safe(&mutant.broken),
            safe(&words::killed_by(mutant)),
        ]
    });
    table(out, &["fate", "mutant", "what is broken", "by"], rows);
    if !mutation.vacuous.is_empty() {
        out.push_str("\nChecks that were run and killed no mutant:\n\n");
        for check in &mutation.vacuous {
            let _ = writeln!(out, "- {}", code(check));
        }
    }
}

fn models(out: &mut String, report: &Report) {
    let digest = |digest: &Option<String>| digest.as_deref().map_or_else(String::new, code);
    let rows = report.models.iter().map(|model| {
        let rows = if model.rows_are_independent {
            "yes"
        } else {
            "no"
        };
        vec![
            safe(&model.name),
            safe(&words::model(model)),
            rows.to_owned(),
            digest(&model.requests_digest),
            digest(&model.answers_digest),
        ]
    });
    let head = [
        "model",
        "what it is",
        "rows independent",
        "requests",
        "answers",
    ];
    table(out, &head, rows);
    let _ = writeln!(out, "\n{}", words::DIGESTS);
}

fn table(out: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = writeln!(out, "| {} |", head.join(" | "));
    let _ = writeln!(out, "|{}", " --- |".repeat(head.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
}

/// Text in which nothing is markup.
fn safe(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// Text as code, also inside of a table.
fn code(text: &str) -> String {
    // Neither a backtick nor a bar can be escaped inside of code in a table.
    let text = printable(text).replace('`', "'").replace('|', "¦");
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_never_markup() {
        assert_eq!(safe("a|b*c_<d>&`e`"), "a\\|b\\*c\\_&lt;d&gt;&amp;\\`e\\`");
        assert_eq!(safe("![x](y)\n# z"), "\\!\\[x\\](y)\\\\u{a}\\# z");
        assert_eq!(code("a`b|c"), "`a'b¦c`");
    }
}
