//! The mutation score for people at a terminal.

use std::fmt::Write as _;

use super::format::{printable, seconds};
use super::text::wrap::{hanging, wrapped};
use super::{Fate, MutationRecord, words};

// Writing to a string cannot fail, so the results of `writeln!` are not looked at below.

/// What became of each mutant.
pub(super) fn write(out: &mut String, mutation: &MutationRecord) {
    let _ = writeln!(out, "\nMutants: parts that were broken on purpose");
    wrapped(
        out,
        "  ",
        "Each section was run with nothing broken, when it must be green, and with one part broken, when it must be red, hang or \
         crash.",
    );
    let _ = writeln!(out);
    for section in &mutation.sections {
        let state = match &section.trouble {
            None => format!("green, {} checks", section.checks),
            Some(trouble) => format!("NOT GREEN: {trouble}"),
        };
        let first = format!("  nothing broken  {:<16} ", section.section);
        let time = seconds(section.seconds);
        hanging(out, &first, 4, &format!("{}, {time}", printable(&state)));
    }
    let _ = writeln!(out);
    for mutant in &mutation.mutants {
        let _ = writeln!(
            out,
            "  {:<19}  {:<50}  {:>7}",
            mutant.fate.word(),
            mutant.name,
            seconds(mutant.seconds)
        );
        wrapped(out, "    broken  ", &mutant.broken);
        wrapped(out, "    by      ", &printable(&words::killed_by(mutant)));
    }
    if !mutation.vacuous.is_empty() {
        let _ = writeln!(
            out,
            "\n  Vacuous: these checks were run and killed no mutant"
        );
        for check in &mutation.vacuous {
            wrapped(out, "  - ", &printable(check));
        }
    }
}

/// The score.
pub(super) fn conclude(out: &mut String, mutation: &MutationRecord) {
    let of = |fate: Fate| mutation.mutants.iter().filter(|m| m.fate == fate).count();
    let text = match (of(Fate::Survived), of(Fate::CouldNotRun)) {
        (0, 0) => "Every part that can be broken was seen broken by a check.".to_owned(),
        (0, n) => format!("{n} could not be tried."),
        (n, _) => format!(
            "{n} were broken and no check saw it: a pass of the sections says nothing about these parts."
        ),
    };
    wrapped(out, "  ", &text);
    let _ = writeln!(
        out,
        "  {}; {} that no run here can show; {}",
        mutation.score(),
        of(Fate::NotDistinguishable),
        seconds(mutation.seconds)
    );
}
