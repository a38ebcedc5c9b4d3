//! `cargo xtask bench --memory`: what a model takes in memory with each engine, and what a second session of it adds.
//!
//! One idea: an engine's library and threads are paid once per process, the model once per session. So the process is weighed
//! when the engine is there and the model is not, and everything after is held against that.

mod chart;
mod results;
mod table;

use std::path::Path;

use super::engines::{Engine, Programs};
use super::{Options, machine, save, stats};
pub use results::Resident;
use results::{Measured, Model, Results, Series};

/// Callers of the second half of a measurement; the first half has one.
const CALLERS: usize = 8;
/// Requests of each caller before the process is weighed.
const TIMES: usize = 20;
/// How often requests are sent at most until the process has stopped growing.
const MOST: usize = 15;
/// So many times in a row must little have come.
const QUIET: usize = 2;

/// Weighs every engine that gives right answers, with every model.
///
/// # Errors
/// If onnxruntime cannot answer, or the results cannot be written.
pub fn measure(options: &Options, programs: &Programs, folder: &Path) -> Result<(), String> {
    let (commit, uncommitted_changes) = machine::commit();
    let mut results = Results {
        date: machine::today(),
        commit,
        uncommitted_changes,
        machine: machine::here(),
        rounds: options.rounds,
        callers: CALLERS,
        requests: TIMES,
        engines: Vec::new(),
        models: Vec::new(),
    };
    for model in &options.models {
        let file = folder.join(format!("{}.onnx", model.name));
        let (found, running) = super::admit(model, options, programs, folder, |kind, engine| {
            super::list(&mut results.engines, options.device.engines(), kind, engine);
        })?;
        let mut measured = Model {
            name: found.name,
            about: found.about,
            file_bytes: std::fs::metadata(&file).map_or(0, |metadata| metadata.len()),
            refused: found.refused,
            series: Vec::new(),
        };
        // They have been asked for their answers; what is weighed starts anew.
        let names: Vec<String> = running
            .into_iter()
            .map(|engine| engine.name.clone())
            .collect();
        let inputs = folder.join("inputs").join(model.name);
        measured.series = names.iter().map(|name| Series::new(name)).collect();
        for round in 0..options.rounds {
            for place in 0..names.len() {
                let turn = stats::in_turn(round, place, names.len());
                let start = || Engine::start(programs, &names[turn], &file, &inputs);
                let series = &mut measured.series[turn];
                match weigh(start) {
                    Ok(weight) => {
                        eprintln!(
                            "{} round {}/{}: {} {}",
                            model.name,
                            round + 1,
                            options.rounds,
                            names[turn],
                            weight.in_words()
                        );
                        series.rounds.push(weight);
                    }
                    Err(why) => {
                        eprintln!("{}: {} is not weighed: {why}", model.name, names[turn]);
                        series.failed = Some(why);
                    }
                }
            }
        }
        results.models.push(measured);
        // What was measured is not lost if the run is ended later.
        write(&results, &options.out)?;
    }
    Ok(())
}

/// One engine with one model: a process for each way to make a second session.
fn weigh(start: impl Fn() -> Result<Engine, String>) -> Result<Measured, String> {
    let unknown = "this system does not say how much of a process is in memory; Linux does";
    let mut engine = start()?;
    let (library, loaded) = engine.loading.ok_or(unknown)?;
    let one = engine.resident_after(1, 1, TIMES)?;
    let several = settled(&mut engine)?;
    let second = |engine: &mut Engine, how| {
        engine.load_again(how)?;
        engine.resident_after(1, 1, TIMES)?;
        settled(engine)
    };
    let after_file = second(&mut engine, "file")?;
    drop(engine);
    let mut engine = start()?;
    engine.resident_after(1, 1, TIMES)?;
    let alone = settled(&mut engine)?;
    // Not every engine can.
    let after_shared = second(&mut engine, "shared").ok();
    Ok(Measured {
        library,
        loaded,
        one,
        several,
        second_of_file: after_file.since(&several),
        second_shared: after_shared.map(|after| after.since(&alone)),
    })
}

/// What several callers leave when they leave no more: how large a batch becomes, and which lane or heap serves whom, is chance, so
/// the last of them is grown long after the first request, and would be charged to the second session.
fn settled(engine: &mut Engine) -> Result<Resident, String> {
    let mut weights = Vec::new();
    loop {
        let now = engine.resident_after(CALLERS, 1, TIMES)?;
        weights.push(now.anon_kib + now.file_kib);
        if weights.len() == MOST || has_settled(&weights) {
            return Ok(now);
        }
    }
}

/// Whether the last [`QUIET`] of these are at most a hundredth more than the one before each.
fn has_settled(weights: &[u64]) -> bool {
    let steps = weights.windows(2).rev().take(QUIET);
    weights.len() > QUIET
        && steps
            .into_iter()
            .all(|pair| pair[1] <= pair[0] + pair[0] / 100)
}

/// Makes tables and the chart of a file that [`measure`] wrote.
///
/// # Errors
/// If it is no such file, or the results cannot be written.
pub fn render(text: &str, folder: &Path) -> Result<(), String> {
    let results = serde_json::from_str(text).map_err(|error| error.to_string())?;
    write(&results, folder)
}

fn write(results: &Results, folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let json = serde_json::to_string_pretty(results).map_err(|error| error.to_string())?;
    save(folder, "results.json", &(json + "\n"))?;
    save(folder, "results.md", &table::page(results))?;
    save(folder, "memory.svg", &chart::svg(results))
}

#[cfg(test)]
mod tests {
    use super::has_settled;

    #[test]
    fn a_process_has_settled_when_it_has_twice_not_grown() {
        for (weights, settled) in [
            (&[1000][..], false),
            (&[1000, 1000], false),
            (&[1000, 1000, 1010], true),
            (&[1000, 900, 905], true),
            (&[1000, 1000, 1011], false),
            (&[1000, 1011, 1011], false),
            (&[1000, 2000, 2000, 2000], true),
        ] {
            assert_eq!(has_settled(weights), settled, "{weights:?}");
        }
    }
}
