//! The report for continuous integration: JUnit XML as Ant began it and as Jenkins, GitLab and others read it.
//!
//! The one idea: no verdict may look better than it is. A section that is not acceptable always holds a failure or an
//! error, even if it has no check that says so; what is no proof is skipped, not passed.

use std::fmt::Write as _;

use super::format::printable;
use super::markup::{Escaped, escaped};
use super::{Check, MutationRecord, Report, Section, text, words};
use crate::verdict::Verdict;

/// The report as JUnit XML; `docs/junit.xsd` describes it. A suite for each section, a case for each check, properties for
/// figures.
pub fn junit(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let suites: Vec<Suite> = report.sections.iter().map(Suite::of).collect();
    let sum = |what: Option<&str>| {
        let of_mutants = report
            .mutation
            .as_ref()
            .map_or(0, |m| count(&fates(m), what));
        suites.iter().map(|suite| suite.count(what)).sum::<usize>() + of_mutants
    };
    let _ = writeln!(
        out,
        "<testsuites name=\"unisono verify\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        sum(None),
        sum(Some("failure")),
        sum(Some("error")),
        sum(Some("skipped")),
        report.seconds
    );
    for suite in &suites {
        suite.write(&mut out, report);
    }
    if let Some(mutation) = &report.mutation {
        mutants(&mut out, report, mutation);
    }
    out.push_str("</testsuites>\n");
    out
}

/// The element that stands for a verdict in a case; none for a pass.
fn element(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Pass => None,
        Verdict::Fail => Some("failure"),
        Verdict::CouldNotRun => Some("error"),
        Verdict::NotDistinguishable | Verdict::OutOfReach => Some("skipped"),
    }
}

/// How many of the verdicts are shown by this element; all for `None`.
fn count(verdicts: &[Verdict], what: Option<&str>) -> usize {
    let of_kind = verdicts
        .iter()
        .filter(|v| what.is_none() || element(**v) == what);
    of_kind.count()
}

fn fates(mutation: &MutationRecord) -> Vec<Verdict> {
    mutation
        .mutants
        .iter()
        .map(|mutant| words::verdict_of(mutant.fate))
        .collect()
}

struct Suite<'a> {
    section: &'a Section,
    /// Why the section is not acceptable, if no check tells.
    unexplained: Option<String>,
}

impl Suite<'_> {
    fn of(section: &Section) -> Suite<'_> {
        Suite {
            section,
            unexplained: words::unexplained(section),
        }
    }

    fn count(&self, what: Option<&str>) -> usize {
        let section = self.unexplained.iter().map(|_| self.section.verdict);
        let verdicts = self.section.checks.iter().map(|c| c.verdict).chain(section);
        count(&verdicts.collect::<Vec<_>>(), what)
    }

    fn write(&self, out: &mut String, report: &Report) {
        let section = self.section;
        begin_suite(
            out,
            report,
            &section.title,
            section.verdict,
            section.seconds,
            |what| self.count(what),
        );
        for check in &section.checks {
            case(out, section, check);
        }
        if let Some(why) = &self.unexplained {
            let (id, time) = (section.id.name(), section.seconds);
            let _ = writeln!(
                out,
                "    <testcase name=\"section\" classname=\"unisono.verify.{id}\" time=\"{time:.3}\">"
            );
            result(out, section.verdict, why, &last_words(section));
            out.push_str("    </testcase>\n");
        }
        if words::bad_end(section).is_some() {
            let _ = writeln!(
                out,
                "    <system-err>{}</system-err>",
                escaped(&last_words(section))
            );
        }
        out.push_str("  </testsuite>\n");
    }
}

fn begin_suite(
    out: &mut String,
    report: &Report,
    title: &str,
    verdict: Verdict,
    seconds: f64,
    count: impl Fn(Option<&str>) -> usize,
) {
    let _ = writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\" \
         timestamp=\"{}\">",
        Escaped(title),
        count(None),
        count(Some("failure")),
        count(Some("error")),
        count(Some("skipped")),
        Escaped(report.header.date.trim_end_matches('Z')),
    );
    out.push_str("    <properties>\n");
    property(out, "verdict", verdict.word());
    for (name, fact) in words::facts(report) {
        property(out, name, &fact);
    }
    out.push_str("    </properties>\n");
}

fn mutants(out: &mut String, report: &Report, mutation: &MutationRecord) {
    let fates = fates(mutation);
    begin_suite(
        out,
        report,
        "Mutants",
        mutation.verdict(),
        mutation.seconds,
        |what| count(&fates, what),
    );
    for mutant in &mutation.mutants {
        let _ = writeln!(
            out,
            "    <testcase name=\"{}\" classname=\"unisono.verify.mutants\" time=\"{:.3}\">",
            Escaped(&printable(&mutant.name)),
            mutant.seconds
        );
        let how = words::killed_by(mutant);
        result(out, words::verdict_of(mutant.fate), &how, &mutant.broken);
        out.push_str("    </testcase>\n");
    }
    out.push_str("  </testsuite>\n");
}

fn last_words(section: &Section) -> String {
    section
        .process
        .as_ref()
        .map_or_else(String::new, |p| p.last_words.clone())
}

fn case(out: &mut String, section: &Section, check: &Check) {
    let own = check.id.strip_prefix(section.id.name());
    let own = own
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(&check.id);
    let _ = writeln!(
        out,
        "    <testcase name=\"{}: {}\" classname=\"unisono.verify.{}\" time=\"{:.3}\">",
        Escaped(&printable(own)),
        Escaped(&printable(&check.what)),
        section.id.name(),
        check.seconds
    );
    out.push_str("      <properties>\n");
    property(out, "verdict", check.verdict.word());
    if !check.model.is_empty() {
        property(out, "model", &check.model);
    }
    property(out, "seen", &words::seen(check));
    if let Some(bound) = check.rate_bound {
        property(out, "rate of failures, at most", &format!("{bound:.3e}"));
    }
    for figure in &check.figures {
        property(out, &figure.name, &words::figure(figure));
    }
    out.push_str("      </properties>\n");
    // The body says everything; the message is one line for a list.
    let notes: Vec<&str> = check
        .warnings
        .iter()
        .chain(&check.notes)
        .map(String::as_str)
        .collect();
    let message = match (check.verdict, check.differences.first(), notes.first()) {
        (Verdict::Fail, Some(first), _) => {
            format!("{}: {}", words::seen(check), words::place(first))
        }
        (Verdict::Fail, None, None) => words::seen(check),
        (_, _, Some(note)) => (*note).to_owned(),
        _ => words::seen(check),
    };
    let body = format!(
        "{}\n{}",
        notes.join("\n"),
        text::differences(&check.differences)
    );
    result(out, check.verdict, &message, body.trim_matches('\n'));
    if check.verdict == Verdict::Pass && !notes.is_empty() {
        let _ = writeln!(
            out,
            "      <system-out>{}</system-out>",
            Escaped(&notes.join("\n"))
        );
    }
    out.push_str("    </testcase>\n");
}

fn result(out: &mut String, verdict: Verdict, message: &str, body: &str) {
    if let Some(element) = element(verdict) {
        let message = format!("{verdict}: {}", printable(message));
        let _ = write!(out, "      <{element} message=\"{}\"", Escaped(&message));
        // `skipped` has no type in any of the formats in use.
        if element != "skipped" {
            let _ = write!(out, " type=\"{verdict}\"");
        }
        let _ = writeln!(out, ">{}</{element}>", Escaped(body));
    }
}

fn property(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(
        out,
        "        <property name=\"{}\" value=\"{}\"/>",
        Escaped(&printable(name)),
        Escaped(&printable(value))
    );
}
