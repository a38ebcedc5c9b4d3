//! A section of the page: what it shows, what went wrong, pictures, and all its checks, folded.

use std::fmt::Write as _;

use super::super::format::{amount, counted, seconds};
use super::super::markup::{Escaped, escaped};
use super::super::{Check, Section, words};
use super::{badge, chart, scrolling};
use crate::sections::SectionId;
use crate::verdict::Verdict;

/// Differences that are shown of one check.
const SHOWN: usize = 5;

/// Writes a section, with what else belongs to it behind its pictures.
pub(super) fn section(out: &mut String, section: &Section, more: impl FnOnce(&mut String)) {
    let level = if words::is_chapter(section.id) { 3 } else { 2 };
    let _ = writeln!(
        out,
        "<section id=\"{}\">\n<h{level}>{} {}</h{level}>\n<p>{}</p>",
        section.id.name(),
        Escaped(&section.title),
        badge(section.verdict),
        Escaped(&section.proves)
    );
    if !section.cannot.is_empty() {
        let _ = writeln!(
            out,
            "<p class=\"quiet\">What it cannot show: {}</p>",
            Escaped(&section.cannot)
        );
    }
    if let Some(why) = words::unexplained(section) {
        let class = section.verdict.word().to_ascii_lowercase();
        let _ = writeln!(
            out,
            "<div class=\"alert {class}\"><p>Not acceptable because {}</p></div>",
            escaped(&why)
        );
    }
    for check in section
        .checks
        .iter()
        .filter(|check| check.verdict != Verdict::Pass)
    {
        alert(out, check);
    }
    process(out, section);
    for (models, warning) in words::warnings(section.checks.iter()) {
        let of = if models.is_empty() {
            String::new()
        } else {
            format!(" on {}", escaped(&models))
        };
        let _ = writeln!(
            out,
            "<div class=\"alert\"><p>Note{of}: {}</p></div>",
            Escaped(warning)
        );
    }
    if !section.charts.is_empty() {
        out.push_str("<div class=\"charts\">\n");
        section.charts.iter().for_each(|c| chart::figure(out, c));
        out.push_str("</div>\n");
    }
    more(out);
    checks(out, section);
    out.push_str("</section>\n");
}

/// The figures of the success metrics, large.
pub(super) fn tiles(out: &mut String, section: &Section) {
    out.push_str("<ul class=\"tiles\">\n");
    for check in &section.checks {
        let measured = check
            .figure_named("measured")
            .or_else(|| check.figures.first());
        let wanted = check
            .figure_named("target")
            .or_else(|| check.figure_named("bound"));
        let _ = write!(out, "<li><span>{}</span>", Escaped(&check.what));
        let value = match measured {
            Some(figure) => amount(figure.value, &figure.unit),
            None => words::seen(check),
        };
        // The unit is smaller: the number is what one looks for.
        let (number, unit) = value.split_once(' ').unwrap_or((&value, ""));
        let _ = write!(
            out,
            "<b>{} <small>{}</small></b>",
            Escaped(number),
            Escaped(unit)
        );
        if let Some(figure) = wanted {
            let _ = write!(
                out,
                "<span class=\"quiet\">target {}</span>",
                escaped(&words::figure(figure))
            );
        }
        let _ = writeln!(out, "{}</li>", badge(check.verdict));
    }
    out.push_str("</ul>\n");
}

/// A check that did not simply pass.
fn alert(out: &mut String, check: &Check) {
    let class = check.verdict.word().to_ascii_lowercase();
    let _ = writeln!(
        out,
        "<div class=\"alert {class}\">\n<p>{} {} <span class=\"id quiet\">{}</span></p>",
        badge(check.verdict),
        Escaped(&check.what),
        Escaped(&check.id)
    );
    for note in check.warnings.iter().chain(&check.notes) {
        let _ = writeln!(out, "<p>{}</p>", Escaped(note));
    }
    let (shown, more) = check
        .differences
        .split_at(check.differences.len().min(SHOWN));
    if !shown.is_empty() {
        out.push_str("<ul>\n");
        for difference in shown {
            let _ = writeln!(
                out,
                "<li>{}<br>found <code>{}</code><br>expected <code>{}</code><br><span class=\"quiet\">during {}</span></li>",
                escaped(&words::place(difference)),
                Escaped(&difference.found),
                Escaped(&difference.expected),
                Escaped(&difference.during)
            );
        }
        out.push_str("</ul>\n");
    }
    if !more.is_empty() {
        let _ = writeln!(
            out,
            "<p>{} in report.json</p>",
            counted(more.len(), "more difference")
        );
    }
    out.push_str("</div>\n");
}

fn process(out: &mut String, section: &Section) {
    let (Some(end), Some(process)) = (words::bad_end(section), &section.process) else {
        return;
    };
    let _ = writeln!(out, "<p>How it ended: {}.</p>", escaped(&end));
    if !process.last_words.trim().is_empty() {
        let _ = writeln!(out, "<pre>{}</pre>", Escaped(process.last_words.trim_end()));
    }
}

fn checks(out: &mut String, section: &Section) {
    if section.checks.is_empty() {
        return;
    }
    // Conclusions are what a reader looks for; evidence is there for those who doubt.
    let open = section.id == SectionId::SuccessMetrics;
    let _ = writeln!(
        out,
        "<details{}><summary>{}: {}</summary>",
        if open { " open" } else { "" },
        counted(section.checks.len(), "check"),
        words::counts(section.checks.iter())
    );
    let mut explanations = words::explanations(section).peekable();
    if explanations.peek().is_some() {
        out.push_str("<ul class=\"checks\">\n");
        for (check, does) in explanations {
            let _ = writeln!(
                out,
                "<li><strong>{}</strong>: {}</li>",
                escaped(check),
                escaped(does)
            );
        }
        out.push_str("</ul>\n");
    }
    scrolling(out, &section.title, |out| {
        out.push_str(
            "<table>\n<thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Check</th>\
             <th scope=\"col\">Seen</th><th scope=\"col\" class=\"number\">Time</th></tr></thead>\n<tbody>\n",
        );
        section.checks.iter().for_each(|check| row(out, check));
        out.push_str("</tbody></table>");
    });
    out.push_str("</details>\n");
}

fn row(out: &mut String, check: &Check) {
    let model = match &*check.model {
        "" => String::new(),
        model => format!(" <span class=\"quiet\">{}</span>", escaped(model)),
    };
    let _ = write!(
        out,
        "<tr><td>{}</td><th scope=\"row\">{}{model}",
        badge(check.verdict),
        Escaped(&check.what),
    );
    if check.verdict == Verdict::Pass && !check.notes.is_empty() {
        let _ = write!(
            out,
            "<br><span class=\"quiet\">{}</span>",
            escaped(&check.notes.join(" "))
        );
    }
    let _ = write!(out, "</th><td>{}", escaped(&words::seen(check)));
    if !check.figures.is_empty() {
        out.push_str("<ul class=\"figures\">");
        for figure in &check.figures {
            let _ = write!(
                out,
                "<li>{}: {}</li>",
                Escaped(&figure.name),
                escaped(&words::figure(figure))
            );
        }
        out.push_str("</ul>");
    }
    let _ = writeln!(
        out,
        "</td><td class=\"number\">{}</td></tr>",
        seconds(check.seconds)
    );
}
