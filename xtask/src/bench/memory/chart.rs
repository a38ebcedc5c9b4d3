//! What each model takes with each engine, as one SVG: a group of bars per model, a bar per engine, each with a scale of its
//! group's own.

use std::fmt::Write;

use super::results::{Model, Results};
use crate::bench::chart::{
    BAR, GROUP_GAP, GROUP_HEAD, HEAD, LEFT, LONGEST, STEP, class_of, opening, text,
};
use crate::bench::table::digits;

/// The chart of all models.
pub fn svg(results: &Results) -> String {
    let mut body = String::new();
    let mut y = HEAD;
    for model in &results.models {
        y += group(&mut body, model, y);
    }
    let height = y + 6.0;
    let title = "What a model takes in memory";
    let mut out = opening(height, &format!("{title} with each engine"));
    let machine = &results.machine;
    let about = format!(
        "MiB after {} callers; pale: mapped pages of the file. Dashed: onnxruntime. {}, {} cores",
        results.callers, machine.cpu, machine.cores
    );
    text(&mut out, "title", 12.0, 22.0, title);
    text(&mut out, "faint", 12.0, 42.0, &about);
    out + &body + "</svg>\n"
}

/// Draws a model from `top` down and returns its height.
fn group(out: &mut String, model: &Model, top: f64) -> f64 {
    let costs = model
        .series
        .iter()
        .filter_map(|series| Some(series.cost()?.median));
    let most = costs.fold(f64::MIN_POSITIVE, f64::max);
    let wide = |mib: f64| LONGEST * mib.max(0.0) / most;
    let file = digits(model.file_bytes as f64 / f64::from(1 << 20));
    text(
        out,
        "group",
        12.0,
        top + 18.0,
        &format!("{} (a file of {file} MiB)", model.name),
    );
    let first = top + GROUP_HEAD;
    let mut y = first;
    for series in &model.series {
        let mapped =
            series.spread(|round| Some(round.cost(&round.several).file_kib as f64 / 1024.0));
        let (Some(cost), Some(mapped)) = (series.cost(), mapped) else {
            continue;
        };
        let class = class_of(&series.engine);
        text(out, "name", LEFT - 8.0, y + BAR / 2.0 + 4.0, &series.engine);
        let own = wide(cost.median - mapped.median.max(0.0));
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{own:.1}\" height=\"{BAR}\"/>\n\
             <rect class=\"{class}\" opacity=\"0.5\" x=\"{:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\"/>",
            LEFT + own,
            wide(cost.median) - own
        );
        let second = series.spread(|round| Some(round.second_of_file.mib()));
        let second = second.map_or(String::new(), |more| {
            format!(" (a second: {:+.1})", more.median)
        });
        let label = format!("{}{second}", digits(cost.median));
        text(
            out,
            "faint",
            LEFT + LONGEST + 14.0,
            y + BAR / 2.0 + 4.0,
            &label,
        );
        y += STEP;
    }
    if let Some((_, goal)) = model.least_onnxruntime() {
        let x = LEFT + wide(goal.median);
        let _ = writeln!(
            out,
            "<path class=\"goal\" d=\"M{x:.1} {}V{y}\"/>",
            first - 4.0
        );
    }
    y + GROUP_GAP - top
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn bars_are_as_long_as_what_they_stand_for_and_stay_inside() {
        let mut results = sample::results();
        results.models[0].name = "<a & b>".to_owned();
        let svg = svg(&results);
        let document = roxmltree::Document::parse(&svg).unwrap();
        let widths: Vec<f64> = document
            .descendants()
            .filter(|node| matches!(node.attribute("class"), Some("ours" | "peer")))
            .map(|node| node.attribute("width").unwrap().parse().unwrap())
            .collect();
        // Ours: 8 of its own and 2 mapped; then onnxruntime's 20 and 16.
        let expected = [0.4, 0.1, 1.0, 0.0, 0.8, 0.0].map(|share| share * LONGEST);
        assert_eq!(widths.len(), expected.len());
        for (width, expected) in widths.iter().zip(expected) {
            assert!((width - expected).abs() < 0.1, "{width} {expected}");
        }
    }
}
