//! A model's chart: a group of bars per cell, a bar per engine, as an SVG file that needs nothing and follows the reader's
//! light or dark setting.
//!
//! One idea: cells differ by a factor of ten, engines within a cell by less. So every group has a scale of its own, and the
//! numbers stand beside the bars.

use std::fmt::Write;

use super::cells;
use super::results::{Cell, Model, OURS, Results};
use super::table::{digits, thousands};

const WIDTH: f64 = 760.0;
/// Where bars begin, and how long the longest is.
pub const LEFT: f64 = 92.0;
pub const LONGEST: f64 = 430.0;
pub const BAR: f64 = 16.0;
pub const STEP: f64 = 20.0;
pub const HEAD: f64 = 58.0;
pub const GROUP_HEAD: f64 = 28.0;
pub const GROUP_GAP: f64 = 14.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}.group{font-weight:600}
.faint{fill:#59636e}.name{text-anchor:end}.back{fill:#fff}.ours{fill:#0969da}.peer{fill:#afb8c1}
.range{stroke:#1f2328;stroke-width:1.2;fill:none}.goal{stroke:#cf222e;stroke-width:2;stroke-dasharray:3 2}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.back{fill:#0d1117}.ours{fill:#4493f8}
.peer{fill:#4b535d}.range{stroke:#e6edf3}.goal{stroke:#ff7b72}}
";

/// The chart of a model.
pub fn svg(results: &Results, model: &Model) -> String {
    let mut body = String::new();
    let mut y = HEAD;
    for cell in &model.cells {
        y += group(&mut body, results, model, cell, y);
    }
    let height = y + 6.0;
    let mut out = opening(
        height,
        &format!("{}: rows per second of each engine", model.name),
    );
    let machine = &results.machine;
    let about = format!(
        "rows per second, median of {} rounds; line: lowest to highest. {}, {} cores",
        results.rounds,
        machine.gpu.as_ref().unwrap_or(&machine.cpu),
        machine.cores
    );
    text(&mut out, "title", 12.0, 22.0, &model.name);
    text(&mut out, "faint", 12.0, 42.0, &about);
    out + &body + "</svg>\n"
}

/// Draws a cell from `top` down and returns its height.
fn group(out: &mut String, results: &Results, model: &Model, cell: &Cell, top: f64) -> f64 {
    let here = cells::Cell {
        callers: cell.callers,
        rows: cell.rows,
    };
    let known = results.device.model(&model.name);
    let target = known.and_then(|known| known.target(here));
    let best = cell.best_peer().and_then(|series| series.rate());
    let goal = target
        .zip(best)
        .map(|(target, best)| target.factor * best.median);
    let spreads = || cell.series.iter().filter_map(|series| series.rate());
    let most = spreads().map(|rate| rate.highest).chain(goal);
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + LONGEST * value / most;

    let plural =
        |count: usize, one: &str| format!("{count} {one}{}", ["s", ""][usize::from(count == 1)]);
    let mut title = format!(
        "{} x {}",
        plural(cell.callers, "caller"),
        plural(cell.rows, "row")
    );
    if let Some(target) = target {
        let _ = write!(title, " (dashed: goal, {} x the best peer)", target.factor);
    }
    text(out, "group", 12.0, top + 18.0, &title);
    let first = top + GROUP_HEAD;
    let mut y = first;
    for series in &cell.series {
        let (Some(rate), Some(p99)) = (series.rate(), series.p99_ms()) else {
            continue;
        };
        let class = class_of(&series.engine);
        let middle = y + BAR / 2.0;
        text(out, "name", LEFT - 8.0, middle + 4.0, &series.engine);
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
            x(rate.median) - LEFT
        );
        let (low, high) = (x(rate.lowest), x(rate.highest));
        let _ = writeln!(
            out,
            "<path class=\"range\" d=\"M{low:.1} {0}v6M{low:.1} {middle}H{high:.1}M{high:.1} {0}v6\"/>",
            middle - 3.0
        );
        let label = format!("{} (p99 {} ms)", thousands(rate.median), digits(p99.median));
        text(out, "faint", LEFT + LONGEST + 14.0, middle + 4.0, &label);
        y += STEP;
    }
    if let Some(goal) = goal {
        let _ = writeln!(
            out,
            "<path class=\"goal\" d=\"M{:.1} {}V{}\"/>",
            x(goal),
            first - 4.0,
            y
        );
    }
    y + GROUP_GAP - top
}

/// Everything before the first text: an image of this height, and what it says to who cannot see it.
pub fn opening(height: f64, label: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\">\n<style>\n{STYLE}</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        escaped(label)
    )
}

/// How an engine's bars look.
pub fn class_of(engine: &str) -> &'static str {
    if engine == OURS { "ours" } else { "peer" }
}

pub fn text(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let text = escaped(text);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn a_chart_is_well_formed_whatever_stands_in_the_names() {
        let mut results = sample::results();
        results.models[0].name = "<a & \"b\">".to_owned();
        let svg = svg(&results, &results.models[0]);
        let document = roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(document.root_element().tag_name().name(), "svg");
        assert!(svg.contains("A &amp; B &lt;CPU&gt;"));
    }

    #[test]
    fn bars_are_as_long_as_their_medians_and_stay_inside() {
        let results = sample::results();
        let svg = svg(&results, &results.models[0]);
        let document = roxmltree::Document::parse(&svg).unwrap();
        let widths: Vec<f64> = document
            .descendants()
            .filter(|node| matches!(node.attribute("class"), Some("ours" | "peer")))
            .map(|node| node.attribute("width").unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths.len(), 6);
        assert!((widths[0] / widths[1] - 2.25).abs() < 0.01);
        assert!(widths.iter().all(|width| (0.0..=LONGEST).contains(width)));
    }

    #[test]
    fn a_model_that_nobody_ran_has_an_empty_chart() {
        let mut results = sample::results();
        results.models[0].cells[0].series.clear();
        let svg = svg(&results, &results.models[0]);
        assert!(roxmltree::Document::parse(&svg).is_ok());
    }
}
