//! Results as Markdown: first what was to be reached and whether it was, then every engine in every cell.

use super::cells::{self, Target};
use super::device::Device;
use super::results::{Cell, Engine, Machine, Model, OURS, Results};
use super::stats::Spread;

/// The whole page. Charts are taken to lie beside it, as `MODEL.svg`.
pub fn page(results: &Results) -> String {
    let mut page = format!("# Unisono and its peers on {}\n\n", results.device.title());
    let device = match results.device {
        Device::Cpu => String::new(),
        other => format!(" --device {other}"),
    };
    page += &format!("Written by `cargo xtask bench{device}`; ");
    page += "[how to read it](../README.md). Every round of every engine is in [results.json](results.json).\n\n";
    page += &machine(results);
    page += "\n## Against the best peer\n\n";
    page += "Rows per second, median of the rounds; p99 in milliseconds. The ratio is taken within each round: median (lowest-highest).\n\n";
    page += "| model | callers x rows | unisono | p99 | best peer | its p99 | ratio | must reach | reached |\n";
    page += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for model in &results.models {
        for cell in &model.cells {
            page += &against_best(results, model, cell);
        }
    }
    page += &missed(results);
    page += &profiles(results);
    for model in &results.models {
        page += &every_engine(results, model);
    }
    page
}

fn machine(results: &Results) -> String {
    let mut text = on_what(
        &results.machine,
        &results.date,
        &results.commit,
        results.uncommitted_changes,
    );
    text += &format!(
        "; {} rounds of {} s each.\n\n",
        results.rounds, results.seconds
    );
    if let Some(busy) = results.busy_cores() {
        text += &format!(
            "Other programs kept {:.2} cores busy during the median measurement, and {:.2} during the worst.\n\n",
            busy.median, busy.highest
        );
    }
    text + &engine_table(&results.engines)
}

/// The machine, the date and the commit, to be followed by what was done.
pub fn on_what(machine: &Machine, date: &str, commit: &str, uncommitted_changes: bool) -> String {
    let mut text = format!(
        "{}{}, {} cores, {}",
        match &machine.gpu {
            Some(gpu) => format!("{}; ", escaped(gpu)),
            None => String::new(),
        },
        escaped(&machine.cpu),
        machine.cores,
        machine.isa
    );
    if let Some(gflops) = machine.gflops {
        text += &format!(", {gflops:.0} GFLOP/s at best");
    }
    let short: String = commit.chars().take(10).collect();
    let changes = match uncommitted_changes {
        true => " with uncommitted changes",
        false => "",
    };
    text + &format!(". {date}, commit {short}{changes}")
}

/// Which engines there are.
pub fn engine_table(engines: &[Engine]) -> String {
    let mut text = String::from("| engine | version | how it is set up |\n| --- | --- | --- |\n");
    for engine in engines {
        let (version, about) = (escaped(&engine.version), escaped(&engine.about));
        text += &format!("| {} | {version} | {about} |\n", engine.name);
    }
    text
}

fn against_best(results: &Results, model: &Model, cell: &Cell) -> String {
    let of = |series: Option<&super::results::Series>, name: bool| match series
        .and_then(|series| Some((series, series.rate()?, series.p99_ms()?)))
    {
        Some((series, rate, p99)) => {
            let name = if name {
                format!(" {}", series.engine)
            } else {
                String::new()
            };
            format!("{}{name} | {}", thousands(rate.median), digits(p99.median))
        }
        None => "- | -".to_owned(),
    };
    let ratio = cell.ratio();
    let target = results.device.model(&model.name).and_then(|known| {
        known.target(cells::Cell {
            callers: cell.callers,
            rows: cell.rows,
        })
    });
    let (wanted, reached) = match target {
        None => ("-".to_owned(), "-"),
        Some(target) => (
            wanted(&target),
            match reached(results, model, cell, &target) {
                None => "-",
                Some(true) => "yes",
                Some(false) => "**no**",
            },
        ),
    };
    format!(
        "| {} | {}x{} | {} | {} | {} | {wanted} | {reached} |\n",
        model.name,
        cell.callers,
        cell.rows,
        of(cell.series(OURS), false),
        of(cell.best_peer(), true),
        ratio.map_or("-".to_owned(), |ratio| times(&ratio)),
    )
}

/// What it would have taken to reach what was not, in shares of what the processor can do: beyond all of it nobody can be.
fn missed(results: &Results) -> String {
    let mut lines = String::new();
    for model in &results.models {
        for cell in &model.cells {
            lines += &missed_by(results, model, cell).unwrap_or_default();
        }
    }
    if lines.is_empty() {
        return lines;
    }
    let head = "\n## What was missed\n\nRows per second, and as a share of the multiply-adds that the processor was measured to do at best.\n\n\
                | model | callers x rows | reached | of the best | needed | of the best | p99, ms | allowed |\n\
                | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    head.to_owned() + &lines
}

/// Where the time of what was missed goes.
fn profiles(results: &Results) -> String {
    let mut text = String::new();
    for model in &results.models {
        for profile in &model.profiles {
            text += &format!("\n### {}, {} rows\n\n", model.name, profile.rows);
            text += &format!("```text\n{}\n```\n", profile.lines.join("\n"));
        }
    }
    if text.is_empty() {
        return text;
    }
    let head = "\n## Where the time of what was missed goes\n\nWhat `unisono profile` says of the models with the rows of these cells, measured when the \
                engines had ended ([how to read it](../../profiling.md)).\n";
    head.to_owned() + &text
}

/// What a cell has not reached.
fn missed_target(results: &Results, model: &Model, cell: &Cell) -> Option<Target> {
    let target = results.device.model(&model.name)?.target(cells::Cell {
        callers: cell.callers,
        rows: cell.rows,
    })?;
    (!reached(results, model, cell, &target)?).then_some(target)
}

/// Has the cell a target that it did not reach?
pub fn is_missed(results: &Results, model: &Model, cell: &Cell) -> bool {
    missed_target(results, model, cell).is_some()
}

fn missed_by(results: &Results, model: &Model, cell: &Cell) -> Option<String> {
    let known = results.device.model(&model.name)?;
    let target = missed_target(results, model, cell)?;
    let ours = cell.series(OURS)?;
    let (rate, p99) = (ours.rate()?.median, ours.p99_ms()?.median);
    let share = |rate: f64| match results.machine.gflops {
        Some(peak) if known.flops > 0.0 => {
            format!("{:.0} %", rate * known.flops / peak / 1e9 * 100.0)
        }
        _ => "-".to_owned(),
    };
    // In the best peer's terms, as the ratio is the median of rounds and not of medians.
    let needed = rate * target.factor / cell.ratio()?.median;
    let allowed = target.p99_ms.map_or("-".to_owned(), digits);
    Some(format!(
        "| {} | {}x{} | {} | {} | {} | {} | {} | {allowed} |\n",
        model.name,
        cell.callers,
        cell.rows,
        thousands(rate),
        share(rate),
        thousands(needed),
        share(needed),
        digits(p99),
    ))
}

fn wanted(target: &Target) -> String {
    let mut text = format!("{}x", target.factor);
    if let Some(p99) = target.p99_ms {
        text += &format!(", p99 {p99} ms");
    }
    if let Some(share) = target.of_peak {
        text += &format!(", {:.0} % of peak", share * 100.0);
    }
    text
}

/// Whether all of the target was reached, by the medians; `None` where something of it was not measured.
pub fn reached(results: &Results, model: &Model, cell: &Cell, target: &Target) -> Option<bool> {
    let ours = cell.series(OURS)?;
    let mut reached = cell.ratio()?.median >= target.factor;
    if let Some(p99) = target.p99_ms {
        reached &= ours.p99_ms()?.median <= p99;
    }
    if let Some(share) = target.of_peak {
        let flops = results.device.model(&model.name)?.flops;
        reached &= ours.rate()?.median * flops >= share * results.machine.gflops? * 1e9;
    }
    Some(reached)
}

fn every_engine(results: &Results, model: &Model) -> String {
    let mut text = format!("\n## {}\n\n{}.\n\n", model.name, escaped(&model.about));
    if model.cells.iter().any(|cell| !cell.series.is_empty()) {
        text += &format!(
            "![{0}: rows per second of each engine]({0}.svg)\n\n",
            model.name
        );
        text += "Rows per second, median (lowest-highest); p99 in milliseconds, median.\n\n| callers x rows |";
        let raced = |name: &str| model.cells.iter().any(|cell| cell.series(name).is_some());
        let names = results.engines.iter().map(|engine| engine.name.as_str());
        let names: Vec<&str> = names.filter(|name| raced(name)).collect();
        for name in &names {
            text += &format!(" {name} |");
        }
        text += &format!("\n|{}\n", " --- |".repeat(names.len() + 1));
        for cell in &model.cells {
            text += &format!("| {}x{} |", cell.callers, cell.rows);
            for name in &names {
                let series = cell.series(name);
                let found = series.and_then(|series| Some((series.rate()?, series.p99_ms()?)));
                text += &match found {
                    Some((rate, p99)) => format!(
                        " {} ({}-{}), p99 {} |",
                        thousands(rate.median),
                        thousands(rate.lowest),
                        thousands(rate.highest),
                        digits(p99.median)
                    ),
                    None => " - |".to_owned(),
                };
            }
            text += "\n";
        }
    }
    let worst = model
        .agreement
        .iter()
        .map(|a| a.error_of_allowed)
        .fold(0.0, f64::max);
    if !model.agreement.is_empty() {
        text += &format!(
            "\nAll of these agree with onnxruntime: the largest error is {worst:.2} of what is allowed.\n"
        );
    }
    for refusal in &model.refused {
        text += &format!(
            "\nNot timed: {}, since {}.\n",
            refusal.engine,
            escaped(&refusal.why)
        );
    }
    text
}

fn times(ratio: &Spread) -> String {
    format!(
        "{:.2} ({:.2}-{:.2})",
        ratio.median, ratio.lowest, ratio.highest
    )
}

/// `14517.3` is `14,517`; small numbers keep three digits.
pub fn thousands(value: f64) -> String {
    if value < 100.0 {
        return digits(value);
    }
    let plain = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in plain.chars().enumerate() {
        if i > 0 && (plain.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits that count.
pub fn digits(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// Text that stays in its table cell and is no markup.
pub fn escaped(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
}

/// That every row of every table has as many columns as the table's head.
#[cfg(test)]
pub fn assert_columns(page: &str) {
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut head = None;
    for line in page.lines() {
        if !line.starts_with('|') {
            head = None;
            continue;
        }
        assert_eq!(*head.get_or_insert(columns(line)), columns(line), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        let cases = [
            (14_517.3, "14,517"),
            (1_234_567.0, "1,234,567"),
            (999.6, "1,000"),
            (450.0, "450"),
            (43.81, "43.8"),
            (0.0685, "0.069"),
        ];
        for (value, text) in cases {
            assert_eq!(thousands(value), text);
        }
    }

    #[test]
    fn the_page_says_what_was_reached_and_what_was_not() {
        let page = page(&sample::results());
        let line = |start: &str| {
            page.lines()
                .find(|line| line.starts_with(start))
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            line("| mlp | 8x1 |"),
            "| mlp | 8x1 | 45,000 | 0.400 | 20,000 ort | 12.0 | 2.25 (2.00-2.50) | 2.2x, p99 0.5 ms | yes |"
        );
        assert!(line("| mlp | 1x64 |").ends_with("| 1x, 85 % of peak | **no** |"));
        assert!(line("| mlp | 2x2 |").ends_with("| 0.50 (0.50-0.50) | - | - |"));
        assert!(page.contains("kept 0.25 cores busy during the median measurement"));
        assert!(page.contains("Not timed: rten, since operator &lt;X> \\| is missing."));
    }

    #[test]
    fn what_was_missed_is_told_in_shares_of_the_peak() {
        let mut results = sample::results();
        let page = page(&results);
        let (_, missed) = page.split_once("## What was missed").unwrap();
        let (missed, _) = missed.split_once("## mlp").unwrap();
        let lines: Vec<&str> = missed.lines().filter(|l| l.starts_with("| mlp")).collect();
        assert_eq!(lines.len(), 1, "{missed}");
        assert!(lines[0].starts_with("| mlp | 1x64 |"), "{}", lines[0]);
        let model = &results.models[0];
        let cell = model.cells.iter().find(|c| c.rows == 64).unwrap().clone();
        let rate = cell.series(OURS).unwrap().rate().unwrap().median;
        let of_peak = rate * 4.19e6 / results.machine.gflops.unwrap() / 1e9 * 100.0;
        let expected = format!("| {} | {of_peak:.0} % |", thousands(rate));
        assert!(lines[0].contains(&expected), "{} {expected}", lines[0]);
        // What was reached is not there.
        results.models[0].cells.retain(|cell| cell.rows == 1);
        assert!(!super::page(&results).contains("## What was missed"));
    }

    #[test]
    fn profiles_stand_behind_what_was_missed() {
        let page = page(&sample::results());
        let (_, behind) = page.split_once("## What was missed").unwrap();
        assert!(
            behind.contains("### mlp, 64 rows\n\n```text\nshare  operator\n99 %  MatMul\n```\n")
        );
    }

    #[test]
    fn every_row_of_a_table_has_as_many_columns_as_its_head() {
        assert_columns(&page(&sample::results()));
    }

    #[test]
    fn a_slow_tail_misses_the_target_whatever_the_rate() {
        let mut results = sample::results();
        results.models[0].cells[0].series[0].rounds[0].p99_ms = 9.0;
        let (model, target) = (
            &results.models[0],
            Device::Cpu.model("mlp").unwrap().cells[1].1,
        );
        let is = |cell: &Cell| reached(&results, model, cell, &target.unwrap());
        assert_eq!(is(&model.cells[0]), Some(true));
        let mut slow = model.cells[0].clone();
        slow.series[0] = sample::series(OURS, &[50_000.0; 3], 0.6);
        assert_eq!(is(&slow), Some(false));
        slow.series.remove(0);
        assert_eq!(is(&slow), None);
    }
}
