//! Charts as inline SVG.
//!
//! The one idea: a series is told apart by colour, by the shape of its marks and, if it is no measurement, by its dashes, so
//! that no reader needs the colours. Colours are classes of the style sheet, which knows light and dark. The legend and the
//! table of numbers are HTML: they wrap on a phone and are read aloud.

use std::fmt::Write as _;

use super::super::format::{counted, number};
use super::super::markup::{Escaped, escaped};
use super::super::{Chart, ChartKind, Series};
use super::axis::Ruler;
use super::scrolling;

/// The paper, in units of the view box; letters are 13 of them high.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 300.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 48.0;

/// Colours and shapes of marks before they repeat.
const STYLES: usize = 6;

/// With more points, only some of them have a mark.
const MOST_MARKS: usize = 24;

/// The chart with its heading, legend and numbers.
pub(super) fn figure(out: &mut String, chart: &Chart) {
    let _ = write!(
        out,
        "<figure class=\"chart\">\n<figcaption><strong>{}</strong> {}</figcaption>\n",
        Escaped(&chart.title),
        Escaped(&chart.caption)
    );
    match Drawing::of(chart) {
        Some(drawing) => {
            drawing.write(out);
            legend(out, chart);
            numbers(out, chart);
        }
        None => out.push_str("<p class=\"quiet\">No points to draw.</p>\n"),
    }
    out.push_str("</figure>\n");
}

struct Drawing<'a> {
    chart: &'a Chart,
    x: Ruler,
    y: Ruler,
    left: f64,
    /// The width of the place of one bar.
    place: f64,
}

impl<'a> Drawing<'a> {
    fn of(chart: &'a Chart) -> Option<Drawing<'a>> {
        let (top, bottom) = (TOP, HEIGHT - BOTTOM);
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let bands = chart
            .series
            .iter()
            .filter_map(|series| series.band.as_ref())
            .flatten();
        let ys = points()
            .map(|(_, y)| *y)
            .chain(bands.flat_map(|(low, high)| [*low, *high]));
        let mut y_axis = chart.y.clone();
        if chart.kind == ChartKind::Bars && y_axis.scale == super::super::Scale::LinearFromLowest {
            y_axis.scale = super::super::Scale::Linear;
        }
        let y = Ruler::over(&y_axis, ys, bottom, top, 6)?;
        let widest = y
            .ticks
            .iter()
            .map(|(_, label)| label.chars().count())
            .max()?;
        let left = 14.0 + 7.4 * widest as f64;
        let right = WIDTH - RIGHT;
        let xs: Vec<f64> = points().map(|(x, _)| *x).collect();
        let (x, place) = match chart.kind {
            ChartKind::Lines => (Ruler::up_to_the_last(&chart.x, &xs, left, right, 7)?, 0.0),
            ChartKind::Bars => Ruler::under_bars(&chart.x, &xs, left, right, 8)?,
        };
        Some(Drawing {
            chart,
            x,
            y,
            left,
            place,
        })
    }

    fn write(&self, out: &mut String) {
        let id: String = self
            .chart
            .id
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let _ = writeln!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n\
             <title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>",
            Escaped(&self.chart.title),
            Escaped(&described(self.chart)),
        );
        self.axes(out);
        let measured = self.chart.series.iter().enumerate();
        for (i, series) in measured.clone() {
            self.band(out, i, series);
        }
        for (i, series) in measured {
            match (self.chart.kind, series.dashed) {
                (ChartKind::Bars, false) => self.bars(out, i, series),
                _ => self.line(out, i, series),
            }
        }
        out.push_str("</svg>\n");
    }

    fn axes(&self, out: &mut String) {
        let (left, right, top, bottom) = (self.left, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
        for (value, label) in &self.y.ticks {
            let Some(y) = self.y.at(*value) else { continue };
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 7.0,
                y + 4.5
            );
        }
        for (value, label) in &self.x.ticks {
            let Some(x) = self.x.at(*value) else { continue };
            let _ = writeln!(
                out,
                "<path class=\"axis\" d=\"M{x:.1} {bottom:.1}v5\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 19.0
            );
        }
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}H{right:.1}\"/>\
             <text class=\"label\" x=\"2\" y=\"{:.1}\">{}</text>\
             <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            top - 15.0,
            Escaped(&self.chart.y.label),
            (left + right) / 2.0,
            HEIGHT - 8.0,
            Escaped(&self.chart.x.label)
        );
    }

    /// The place of a point, if it has one.
    fn at(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        Some((self.x.at(x)?, self.y.at(y)?))
    }

    fn band(&self, out: &mut String, i: usize, series: &Series) {
        let Some(band) = &series.band else { return };
        let ends = series.points.iter().zip(band);
        let edge = |pick: fn(&(f64, f64)) -> f64| -> Vec<(f64, f64)> {
            let ends = ends.clone();
            ends.filter_map(|((x, _), band)| self.at(*x, pick(band)))
                .collect()
        };
        let (low, high) = (edge(|band| band.0), edge(|band| band.1));
        let outline = high.into_iter().chain(low.into_iter().rev());
        let path: Vec<String> = outline.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let style = i % STYLES;
        if self.chart.kind == ChartKind::Lines && path.len() > 2 {
            let _ = writeln!(
                out,
                "<path class=\"band s{style}\" d=\"M{}Z\"/>",
                path.join("L")
            );
        }
    }

    fn line(&self, out: &mut String, i: usize, series: &Series) {
        let style = i % STYLES;
        let mut path = String::new();
        let mut pen_is_down = false;
        for (x, y) in &series.points {
            // What cannot be shown leaves a gap.
            let Some((x, y)) = self.at(*x, *y) else {
                pen_is_down = false;
                continue;
            };
            let _ = write!(path, "{}{x:.1} {y:.1}", if pen_is_down { 'L' } else { 'M' });
            pen_is_down = true;
        }
        let kind = if series.dashed { "line dashed" } else { "line" };
        let _ = writeln!(out, "<path class=\"{kind} s{style}\" d=\"{path}\"/>");
        if series.dashed {
            return;
        }
        let every = series.points.len().div_ceil(MOST_MARKS).max(1);
        for (x, y) in series.points.iter().step_by(every) {
            if let Some((at_x, at_y)) = self.at(*x, *y) {
                let what = format!("{}: {} at {}", series.name, number(*y), number(*x));
                mark(out, style, at_x, at_y, &what);
            }
        }
    }

    fn bars(&self, out: &mut String, i: usize, series: &Series) {
        let bars: Vec<usize> = (0..self.chart.series.len())
            .filter(|i| self.chart.series.get(*i).is_some_and(|s| !s.dashed))
            .collect();
        let (nth, of) = (
            bars.iter().position(|b| *b == i).unwrap_or(0),
            bars.len().max(1),
        );
        let width = 0.8 * self.place / of as f64;
        let style = i % STYLES;
        // Logarithmic axes have no zero: their bars stand on the axis.
        let ground = self.y.at(0.0).unwrap_or(HEIGHT - BOTTOM);
        for (x, y) in &series.points {
            let Some((middle, top)) = self.at(*x, *y) else {
                continue;
            };
            let left = middle - 0.4 * self.place + nth as f64 * width;
            let (top, height) = (top.min(ground), (ground - top).abs());
            let what = format!("{}: {} at {}", series.name, number(*y), number(*x));
            let _ = writeln!(
                out,
                "<rect class=\"bar s{style}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">\
                 <title>{}</title></rect>",
                Escaped(&what)
            );
        }
    }
}

/// A mark of the series' own shape around a place.
fn mark(out: &mut String, style: usize, x: f64, y: f64, what: &str) {
    let path = match style {
        0 => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        1 => "m-3.7 -3.7h7.4v7.4h-7.4z",
        2 => "m0 -5l4.7 8.4h-9.4z",
        3 => "m0 -5.2l5.2 5.2l-5.2 5.2l-5.2 -5.2z",
        4 => "m0 5l4.7 -8.4h-9.4z",
        _ => "m-1.5 -4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    };
    let _ = write!(
        out,
        "<path class=\"mark s{style}\" d=\"M{x:.1} {y:.1}{path}\">"
    );
    if !what.is_empty() {
        let _ = write!(out, "<title>{}</title>", Escaped(what));
    }
    out.push_str("</path>\n");
}

fn legend(out: &mut String, chart: &Chart) {
    out.push_str("<ul class=\"legend\">\n");
    for (i, series) in chart.series.iter().enumerate() {
        let style = i % STYLES;
        out.push_str(
            "<li><svg viewBox=\"0 0 30 12\" width=\"30\" height=\"12\" aria-hidden=\"true\">",
        );
        match (chart.kind, series.dashed) {
            (ChartKind::Bars, false) => {
                let _ = write!(
                    out,
                    "<rect class=\"bar s{style}\" x=\"18\" width=\"12\" height=\"12\"/>"
                );
            }
            (_, true) => {
                let _ = write!(out, "<path class=\"line dashed s{style}\" d=\"M0 6H30\"/>");
            }
            (ChartKind::Lines, false) => {
                let _ = write!(out, "<path class=\"line s{style}\" d=\"M0 6H30\"/>");
                mark(out, style, 15.0, 6.0, "");
            }
        }
        let _ = writeln!(out, "</svg> {}</li>", Escaped(&series.name));
    }
    if chart.kind == ChartKind::Lines && chart.series.iter().any(|series| series.band.is_some()) {
        out.push_str("<li class=\"quiet\">shaded: lowest to highest</li>\n");
    }
    out.push_str("</ul>\n");
}

fn numbers(out: &mut String, chart: &Chart) {
    let (head, rows) = chart.table();
    if rows.len() > Chart::MOST_ROWS {
        let _ = writeln!(
            out,
            "<p class=\"quiet\">All {} are in report.json.</p>",
            counted(rows.len(), "point")
        );
        return;
    }
    out.push_str("<details><summary>Numbers</summary>\n");
    scrolling(out, &chart.title, |out| {
        out.push_str("<table class=\"numbers\"><thead><tr>");
        for title in head {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(&title));
        }
        out.push_str("</tr></thead><tbody>\n");
        for row in rows {
            out.push_str("<tr>");
            for cell in row {
                let _ = write!(out, "<td>{}</td>", escaped(&cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table>");
    });
    out.push_str("</details>\n");
}

/// The chart in words, for those who do not see it.
fn described(chart: &Chart) -> String {
    let mut text = format!(
        "{} {} against {}.",
        chart.caption, chart.y.label, chart.x.label
    );
    for series in &chart.series {
        if let (Some((x0, y0)), Some((x1, y1))) = (series.points.first(), series.points.last()) {
            let _ = write!(
                text,
                " {}: {} at {}, {} at {}.",
                series.name,
                number(*y0),
                number(*x0),
                number(*y1),
                number(*x1)
            );
        }
    }
    text
}
