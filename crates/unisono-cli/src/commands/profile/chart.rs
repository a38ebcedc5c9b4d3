//! The chart: a run and its parts as bars, as wide as their times (Gregg's flame graph, with the root on top).
//!
//! The one idea: width is time, and colour is the share of the roof that was reached, so what can be gained is what is wide and red.
//! A bar names itself in a tooltip, with its numbers, so no reader needs the colours. The file is all there is: no script, no font,
//! no link; it knows light and dark.

use std::fmt::Write as _;

use unisono_verify::report::Escaped;

use super::By;
use super::ceiling::{CLASSES, Work, class, ratio};
use super::groups::{Group, groups};
use super::report::Report;
use crate::console::{bytes, microseconds, short, shortened, three_digits};

/// The paper, in units of the view box.
const WIDTH: f64 = 1200.0;
const EDGE: f64 = 16.0;
const TOP: f64 = 84.0;
const ROW: f64 = 26.0;
/// Half of what letters of 12 units take in the mean, and what a name keeps free at both ends.
const LETTER: f64 = 6.9;
const PADDING: f64 = 5.0;
/// Narrower bars cannot be seen and are left out.
const NARROWEST: f64 = 0.15;

const STYLE: &str = "\
:root { color-scheme: light dark; }
svg { --paper: #ffffff; --ink: #1b1f24; --quiet: #57606a; --between: #d5dae0; }
@media (prefers-color-scheme: dark) { svg { --paper: #14171b; --ink: #e4e8ec; --quiet: #a0a9b3; --between: #363d45; } }
text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif; fill: var(--ink); }
.paper { fill: var(--paper); }
.title { font-size: 18px; font-weight: 650; }
.quiet { fill: var(--quiet); }
.bar { stroke: var(--paper); stroke-width: 1; }
g.part:hover .bar { stroke: var(--ink); }
.c0 { fill: #b3352b; } .c1 { fill: #e58a4e; } .c2 { fill: #f3d37a; } .c3 { fill: #93c6dc; } .c4 { fill: #2b6f9e; }
.t1, .t2, .t3 { fill: #1b1f24; } .t0, .t4 { fill: #ffffff; }
.between { fill: var(--between); }";

/// The chart as a file.
pub fn svg(report: &Report<'_>, by: By) -> String {
    let run = groups(report, by);
    let whole = report.parts_ns();
    let height = TOP + ROW * run.depth() as f64 + EDGE;
    let mut drawing = Drawing {
        out: String::new(),
        whole,
        scale: (WIDTH - 2.0 * EDGE) / whole.max(1.0),
    };
    let out = &mut drawing.out;
    let described = format!(
        "One run takes {}, {} of it within its steps, and reaches {} of what the machine can do.",
        microseconds(report.run_ms * 1e3),
        percent(ratio(report.steps_ms, report.run_ms)),
        percent(report.roof_share)
    );
    let title = format!(
        "{}: {} on {} ({} threads, {}), rows: {}",
        report.model,
        microseconds(report.run_ms * 1e3),
        report.device,
        report.threads,
        report.isa,
        report.rows
    );
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"t d\">\n\
         <title id=\"t\">{}</title>\n<desc id=\"d\">{}</desc>\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{EDGE}\" y=\"30\">{}</text>\n\
         <text class=\"quiet\" x=\"{EDGE}\" y=\"50\">{}</text>\n",
        Escaped(&title),
        Escaped(&described),
        Escaped(&shortened(&title, 110)),
        Escaped(&format!(
            "{described} Roof: {} GFLOP/s, {} GB/s read from {}.",
            three_digits(report.gflops_peak),
            three_digits(report.read_gb_per_s),
            bytes(report.read_bytes as u64)
        )),
    );
    legend(out);
    drawing.run(&run, &format!("run {}", microseconds(report.run_ms * 1e3)));
    drawing.out.push_str("</svg>\n");
    drawing.out
}

fn legend(out: &mut String) {
    let _ = writeln!(
        out,
        "<text class=\"quiet\" x=\"{EDGE}\" y=\"72\">share of the roof:</text>"
    );
    let mut x = EDGE + 112.0;
    let names = CLASSES.iter().enumerate();
    let classes = names.map(|(i, (_, name))| (format!("c{i}"), *name));
    let between = ("between".to_owned(), "between the steps");
    for (style, name) in classes.chain([between]) {
        let _ = writeln!(
            out,
            "<rect class=\"{style}\" x=\"{x:.1}\" y=\"62\" width=\"12\" height=\"12\"/>\
             <text class=\"quiet\" x=\"{:.1}\" y=\"72\">{name}</text>",
            x + 17.0
        );
        x += 17.0 + LETTER * name.chars().count() as f64 + 18.0;
    }
}

struct Drawing {
    out: String,
    /// Nanoseconds of all that is drawn side by side.
    whole: f64,
    /// Units of the paper for one.
    scale: f64,
}

impl Drawing {
    fn run(&mut self, run: &Group<'_>, label: &str) {
        // The roof of the run counts what lies between the steps as lost.
        let work = Work {
            ns: self.whole,
            ..run.work
        };
        let tip = self.tip("the whole run", &work);
        self.bar(EDGE, 0, &work, None, label, &tip);
        let end = self.parts(run, EDGE, 1);
        let between = self.whole - run.work.ns;
        let width = between * self.scale;
        if width >= NARROWEST {
            let work = Work {
                ns: between,
                ..Work::default()
            };
            let tip = format!(
                "between the steps: {}, {} of the run",
                microseconds(between / 1e3),
                percent(between / self.whole)
            );
            self.bar(end, 1, &work, Some("between"), "between the steps", &tip);
        }
    }

    /// Draws the parts of a group side by side; gives where they end.
    fn parts(&mut self, group: &Group<'_>, from: f64, row: usize) -> f64 {
        let mut x = from;
        for part in &group.parts {
            let width = part.work.ns * self.scale;
            if width >= NARROWEST {
                let tip = self.tip_of(part);
                self.bar(x, row, &part.work, None, &part.label, &tip);
                self.parts(part, x, row + 1);
            }
            x += width;
        }
        x
    }

    fn bar(
        &mut self,
        x: f64,
        row: usize,
        work: &Work,
        style: Option<&str>,
        label: &str,
        tip: &str,
    ) {
        let width = work.ns * self.scale;
        let y = TOP + ROW * row as f64;
        let class = class(work.roof_share());
        let (fill, ink) = match style {
            Some(style) => (style.to_owned(), "quiet".to_owned()),
            None => (format!("c{class}"), format!("t{class}")),
        };
        let _ = write!(
            self.out,
            "<g class=\"part\"><title>{}</title><rect class=\"bar {fill}\" x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" \
             height=\"{}\"/>",
            Escaped(tip),
            ROW - 1.0
        );
        let letters = ((width - 2.0 * PADDING) / LETTER) as usize;
        if letters >= 4 {
            let _ = write!(
                self.out,
                "<text class=\"{ink}\" x=\"{:.2}\" y=\"{:.1}\">{}</text>",
                x + PADDING,
                y + 17.0,
                Escaped(&shortened(label, letters))
            );
        }
        self.out.push_str("</g>\n");
    }

    fn tip_of(&self, part: &Group<'_>) -> String {
        match part.step {
            None => self.tip(
                &format!("{} ({} parts)", part.label, part.parts.len()),
                &part.work,
            ),
            Some(step) => {
                let numbers = self.tip(&format!("{} ({})", step.name, step.operator), &part.work);
                let threads = match step.threads {
                    1 => "1 thread".to_owned(),
                    n => format!("{n} threads"),
                };
                format!("{numbers}\n{}, {threads}", step.kernel)
            }
        }
    }

    fn tip(&self, name: &str, work: &Work) -> String {
        format!(
            "{name}\n{}, {} of the run; {} of the roof, {} lost\n{} FLOPs at {} GFLOP/s, {} at {} GB/s",
            microseconds(work.ns / 1e3),
            percent(ratio(work.ns, self.whole)),
            percent(work.roof_share()),
            microseconds(work.lost_ns() / 1e3),
            short(work.flops),
            three_digits(ratio(work.flops as f64, work.ns)),
            bytes(work.bytes),
            three_digits(ratio(work.bytes as f64, work.ns)),
        )
    }
}

fn percent(share: f64) -> String {
    format!("{} %", three_digits(share * 100.0))
}
