//! What changed, for people at a terminal.

use std::fmt::Write as _;

use super::super::format::{counted, printable};
use super::super::text::wrap::wrapped;
use super::super::words;
use super::{Changes, DigestChange};

/// Checks of one side alone that are listed.
const LISTED: usize = 12;

pub(super) fn changes(changes: &Changes) -> String {
    let mut out = String::new();
    if !changes.broken_contract.is_empty() {
        out.push_str("BROKEN CONTRACT: answers that must be equal everywhere are not\n");
        digests(&mut out, &changes.broken_contract);
        wrapped(
            &mut out,
            "  ",
            "If the files of the models are the same, please report this with both reports.",
        );
        out.push('\n');
    }
    let verdict = &changes.verdict;
    let _ = match verdict.a == verdict.b {
        true => writeln!(out, "verdict   {} in both", verdict.a),
        false => writeln!(out, "verdict   {} -> {}", verdict.a, verdict.b),
    };
    if !changes.header.is_empty() {
        out.push_str("\nthe runs\n");
    }
    for change in &changes.header {
        wrapped(
            &mut out,
            &format!("  {:<10}A  ", change.name),
            &change.values.a,
        );
        wrapped(&mut out, &format!("  {:<10}B  ", ""), &change.values.b);
    }
    verdicts(&mut out, changes);
    figures(&mut out, changes);
    if !changes.not_comparable.is_empty() {
        out.push_str("\ndigests that cannot be compared\n");
        digests(&mut out, &changes.not_comparable);
    }
    for (side, ids) in [("A", &changes.only_in_a), ("B", &changes.only_in_b)] {
        if ids.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\nonly in {side}: {}", counted(ids.len(), "check"));
        for id in ids.iter().take(LISTED) {
            wrapped(&mut out, "  ", &printable(id));
        }
        if ids.len() > LISTED {
            let _ = writeln!(out, "  and {} more", ids.len() - LISTED);
        }
    }
    let _ = writeln!(
        out,
        "\n{}",
        match changes.worse {
            true => "B is worse than A",
            false => "nothing is worse in B",
        }
    );
    out
}

fn digests(out: &mut String, digests: &[DigestChange]) {
    for change in digests {
        let text = format!(
            "{} on {}: {} (A {}, B {})",
            change.section, change.model, change.what, change.values.a, change.values.b
        );
        wrapped(out, "  ", &printable(&text));
    }
}

fn verdicts(out: &mut String, changes: &Changes) {
    for (worse, title) in [(true, "worse"), (false, "better")] {
        let mut of_kind = changes
            .verdicts
            .iter()
            .filter(|change| change.worse == worse)
            .peekable();
        if of_kind.peek().is_some() {
            let _ = writeln!(out, "\n{title}");
        }
        for change in of_kind {
            let text = format!(
                "{} -> {}  {}: {}",
                change.values.a, change.values.b, change.id, change.what
            );
            wrapped(out, "  ", &printable(&text));
        }
    }
}

fn figures(out: &mut String, changes: &Changes) {
    if !changes.figures.is_empty() {
        out.push_str("\nfigures whose intervals have nothing in common\n");
    }
    for change in &changes.figures {
        let ratio = change
            .ratio
            .map_or_else(String::new, |ratio| format!(", x {ratio:.2}"));
        let judged = match change.better {
            Some(true) => ", better",
            Some(false) => ", worse",
            None => "",
        };
        let text = format!("{}: {}{ratio}{judged}", change.id, change.name);
        wrapped(out, "  ", &printable(&text));
        let both = format!(
            "A {}, B {}",
            words::figure(&change.values.a),
            words::figure(&change.values.b)
        );
        wrapped(out, "    ", &both);
    }
}
