//! What is kept beyond one section: crashes of all runs, the documentation's claims, mutants.

use std::fmt::Write as _;

use super::super::markup::{Escaped, escaped};
use super::super::{Report, words};
use super::{badge, scrolling};
use crate::claims::Standing;

/// What the crash ledger says.
pub(super) fn crashes(out: &mut String, report: &Report) {
    let lines = words::crashes(report);
    if lines.is_empty() {
        return;
    }
    out.push_str("<dl class=\"facts\">\n");
    for (name, line) in lines {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&line));
    }
    out.push_str("</dl>\n");
}

/// The claims of the documentation, each with its evidence.
pub(super) fn claims(out: &mut String, report: &Report) {
    if report.claims.is_empty() {
        return;
    }
    scrolling(out, "Claims and their evidence", |out| {
        out.push_str(
            "<table>\n<thead><tr><th scope=\"col\">Standing</th><th scope=\"col\">Claim</th>\
             <th scope=\"col\">Evidence</th></tr></thead>\n<tbody>\n",
        );
        for record in &report.claims {
            let standing = match (record.claim.standing, record.verdict) {
                (Standing::Guaranteed, Some(verdict)) => badge(verdict),
                _ => format!("<span class=\"quiet\">{}</span>", words::standing(record)),
            };
            let _ = write!(
                out,
                "<tr><td>{standing}</td><th scope=\"row\">{} <span class=\"quiet\">{}</span></th><td>",
                Escaped(&record.claim.text),
                Escaped(&record.claim.contract)
            );
            if !record.claim.evidence.is_empty() {
                let _ = write!(
                    out,
                    "<details><summary>{}</summary><ul class=\"figures\">",
                    escaped(&record.claim.evidence_in_numbers())
                );
                for evidence in &record.claim.evidence {
                    let _ = write!(
                        out,
                        "<li>{} <code>{}</code></li>",
                        evidence.kind.name(),
                        Escaped(&evidence.name)
                    );
                }
                out.push_str("</ul></details>");
            }
            out.push_str("</td></tr>\n");
        }
        out.push_str("</tbody></table>");
    });
}

/// What became of the parts that were broken on purpose.
pub(super) fn mutants(out: &mut String, report: &Report) {
    let Some(mutation) = &report.mutation else {
        return;
    };
    let _ = writeln!(
        out,
        "<section id=\"mutants\">\n<h2>Mutants: {}</h2>\n<p>Parts were broken on purpose, one at a time, and the sections run \
         that should see it.</p>",
        escaped(&mutation.score())
    );
    scrolling(out, "Mutants", |out| {
        out.push_str(
            "<table>\n<thead><tr><th scope=\"col\">Fate</th><th scope=\"col\">Mutant</th>\
             <th scope=\"col\">By</th></tr></thead>\n<tbody>\n",
        );
        for mutant in &mutation.mutants {
            let class = words::verdict_of(mutant.fate).word().to_ascii_lowercase();
            let _ = writeln!(
                out,
                "<tr><td><span class=\"verdict {class}\">{}</span></td><th scope=\"row\"><code>{}</code><br>\
                 <span class=\"quiet\">{}</span></th><td>{}</td></tr>",
                mutant.fate.word(),
                Escaped(&mutant.name),
                Escaped(&mutant.broken),
                escaped(&words::killed_by(mutant))
            );
        }
        out.push_str("</tbody></table>");
    });
    if !mutation.vacuous.is_empty() {
        out.push_str("<p>Checks that were run and killed no mutant:</p>\n<ul>\n");
        for check in &mutation.vacuous {
            let _ = writeln!(out, "<li><code>{}</code></li>", Escaped(check));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</section>\n");
}
