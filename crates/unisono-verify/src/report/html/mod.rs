//! The report as one HTML page that needs nothing else: no network, no script, no font.
//!
//! The one idea: the first screen answers "is it well?" for somebody who has never seen a report; everything else is
//! below it, folded where it is long. The page forbids itself all requests and scripts, and no string reaches it unescaped.

mod axis;
mod chart;
mod ledger;
mod section;

use std::fmt::Write as _;

use super::format::seconds;
use super::markup::{Escaped, escaped};
use super::{Report, words};
use crate::sections::SectionId;
use crate::verdict::Verdict;

const STYLE: &str = include_str!("style.css");

/// The whole report as one HTML document.
pub fn html(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    out.push_str("<main>\n");
    summary(&mut out, report);
    let mut before = None;
    for section in &report.sections {
        if words::story_begins(before, section.id) {
            let _ = writeln!(out, "<h2>{}</h2>", words::STORY);
        }
        section::section(&mut out, section, |out| match section.id {
            SectionId::CrashStatus => ledger::crashes(out, report),
            SectionId::Status => ledger::claims(out, report),
            _ => {}
        });
        before = Some(section.id);
    }
    ledger::mutants(&mut out, report);
    models(&mut out, report);
    out.push_str("</main>\n");
    foot(&mut out);
    out
}

// Writing to a string cannot fail, so the results of `write!` are not looked at here and below.

fn head(out: &mut String, report: &Report) {
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}: Unisono verification report {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        report.verdict,
        Escaped(&report.header.run_id)
    );
    let _ = write!(
        out,
        "<header>\n<h1>Unisono verification report {}</h1>\n<p class=\"headline\">{}</p>\n",
        badge(report.verdict),
        words::headline(report)
    );
    let _ = writeln!(
        out,
        "<p>{}</p>\n<p>{}</p>",
        words::WHAT_IT_IS,
        escaped(&words::conclusion(report))
    );
    out.push_str("<dl class=\"facts\">\n");
    for (name, fact) in words::facts(report) {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&fact));
    }
    out.push_str("</dl>\n</header>\n");
}

fn summary(out: &mut String, report: &Report) {
    out.push_str("<section id=\"summary\">\n<h2>Executive summary</h2>\n");
    let faults = words::faults(report);
    if !faults.is_empty() {
        out.push_str("<p>What is not well:</p>\n<ul class=\"faults\">\n");
        for (section, why) in faults {
            let _ = writeln!(
                out,
                "<li>{} <a href=\"#{}\">{}</a>: {}</li>",
                badge(section.verdict),
                section.id.name(),
                Escaped(&section.title),
                escaped(&why)
            );
        }
        out.push_str("</ul>\n");
    }
    if let Some(metrics) = report.section(SectionId::SuccessMetrics) {
        section::tiles(out, metrics);
    }
    let claims = words::claims(report);
    if !claims.is_empty() {
        out.push_str("<p>What holds on this machine:</p>\n<ul class=\"claims\">\n");
        for claim in claims {
            let _ = writeln!(out, "<li>{}</li>", escaped(claim));
        }
        out.push_str("</ul>\n");
    }
    if let Some(evidence) = words::evidence(report) {
        let _ = writeln!(out, "<p class=\"quiet\">{}</p>", escaped(&evidence));
    }
    scrolling(out, "Sections", |out| {
        out.push_str(
            "<table>\n<thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Section</th>\
             <th scope=\"col\" class=\"number\">Passed</th><th scope=\"col\" class=\"wide\">Seen</th>\
             <th scope=\"col\" class=\"number wide\">Time</th></tr></thead>\n<tbody>\n",
        );
        for section in &report.sections {
            let _ = writeln!(
                out,
                "<tr><td>{}</td><th scope=\"row\"><a href=\"#{}\">{}</a></th><td class=\"number\">{}</td>\
                 <td class=\"wide\">{}</td><td class=\"number wide\">{}</td></tr>",
                badge(section.verdict),
                section.id.name(),
                Escaped(&section.title),
                words::passed_of(section),
                escaped(&words::seen_in(section).join(", ")),
                seconds(section.seconds)
            );
        }
        out.push_str("</tbody></table>");
    });
    out.push_str("</section>\n");
}

fn models(out: &mut String, report: &Report) {
    out.push_str("<section id=\"models\">\n<h2>Models and digests</h2>\n");
    scrolling(out, "Models and digests", |out| {
        out.push_str(
            "<table>\n<thead><tr><th scope=\"col\">Model</th><th scope=\"col\">What it is</th>\
             <th scope=\"col\">Requests</th><th scope=\"col\">Answers</th></tr></thead>\n<tbody>\n",
        );
        for model in &report.models {
            let independent = match model.rows_are_independent {
                true => "rows proven independent",
                false => "rows not proven independent: each request runs alone",
            };
            let digest = |digest: &Option<String>| match digest {
                Some(digest) => format!("<code>{}</code>", escaped(digest)),
                None => String::new(),
            };
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{}</th><td>{}; {independent}</td><td>{}</td><td>{}</td></tr>",
                Escaped(&model.name),
                escaped(&words::model(model)),
                digest(&model.requests_digest),
                digest(&model.answers_digest)
            );
        }
        out.push_str("</tbody></table>");
    });
    let _ = writeln!(out, "<p class=\"quiet\">{}</p>\n</section>", words::DIGESTS);
}

fn foot(out: &mut String) {
    out.push_str("<footer>\n<h2>What the verdicts mean</h2>\n<dl class=\"facts\">\n");
    for (verdict, meaning) in words::VERDICTS {
        let _ = writeln!(out, "<dt>{}</dt><dd>{meaning}</dd>", badge(verdict));
    }
    out.push_str("</dl>\n</footer>\n</body>\n</html>\n");
}

fn badge(verdict: Verdict) -> String {
    let class = verdict.word().to_ascii_lowercase();
    format!("<span class=\"verdict {class}\">{verdict}</span>")
}

/// Something wide that scrolls by itself, by keyboard too.
fn scrolling(out: &mut String, label: &str, content: impl FnOnce(&mut String)) {
    let _ = writeln!(
        out,
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\">",
        Escaped(label)
    );
    content(out);
    out.push_str("\n</div>\n");
}
