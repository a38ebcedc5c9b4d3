//! `cargo xtask bench`: Unisono and its peers on the same models, in turn, in one run.
//!
//! One idea: a machine drifts, so two speeds can be compared only if they were measured next to each other. Every round
//! measures every engine once, in an order that moves on by one each round, and ratios are taken within a round. An engine
//! is timed only on models on which its answers are right.

mod carry;
mod cells;
mod chart;
mod device;
mod engines;
mod machine;
mod memory;
mod profiles;
mod results;
mod stats;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Args;
use crate::peers;
use crate::shell;

use cells::Cell;
use device::Device;
use engines::{Engine, Programs};
use results::{Agreement, OURS, Refusal, Results, Series};

pub const HELP: &str = "\
usage: cargo xtask bench [--device NAME] [--models LIST] [--cells LIST] [--engines LIST] [--rounds N] [--seconds S] [--quick] [--out DIR]
       cargo xtask bench --device cuda:0 --build-only DIR [--models LIST] [--cells LIST]
       cargo xtask bench --memory [--models LIST] [--engines LIST] [--rounds N] [--out DIR]
       cargo xtask bench [--memory] --render FILE [--out DIR]

Runs Unisono and other engines on the same models with the same requests, and writes results.json (every round),
results.md (tables) and a chart per model, MODEL.svg. The exit code is 0 if it ran; a missed target is shown, no error.

A cell is so many callers, each with so many rows in a request: 8x1 is 8 threads that each ask for one row again and
again. In each round every engine is measured once, in an order that moves on by one; each lives in a process of
its own, which loads the model once. Before anything is timed, every engine's answers are compared with onnxruntime's
(|a - b| <= 1e-4 |b| + 1e-5 max|b|); one that differs by more, or cannot load the model, is named and not timed.

With --memory, no speed is measured but what a model takes in memory: after loading, after 1 caller, after 8, and what a
second session of it adds. Writes results.json, results.md and memory.svg. About 10 minutes; Linux alone.

  --device NAME    cpu, or cuda:0 for a GPU (cpu). On a GPU the engines are unisono, torch, torch-graph (the built models alone) and
                   ort (on the processor beside it); it needs a python3 in PATH that has PyTorch for it
  --build-only DIR measure nothing: put everything into DIR, to be carried to a machine with a GPU, PyTorch and no toolchain;
                   `sh DIR/run.sh` there leaves DIR/results.json, which --render makes tables and charts of here
  --models LIST    of mlp, transformer, conv1d, resnet50, mobilenet_v3_large, and the real models minilm, ppocr_det, magika
                   (all; the real ones if they are in models/, see `cargo xtask models`)
  --cells LIST     such as 1x1,8x1,1x64 (each model's own, which have targets)
  --engines LIST   of unisono, ort, ort1, openvino, rten, tract, torch (all but torch, which is SEVERAL GIGABYTES to
                   install and has the built models alone)
  --rounds N       rounds (5; with --memory 3)
  --seconds S      seconds that each engine is measured for in a round (1.5), after a fifth of that to warm up
  --quick          2 rounds of 0.5 seconds of mlp, transformer and conv1d: to see that it works, not to quote
  --out DIR        for the results (docs/benchmarks/cpu; with --device cuda:0 docs/benchmarks/cuda; with --memory docs/benchmarks/memory; with --quick target/bench/quick)
  --render FILE    measure nothing: make tables and charts of this results.json again

All of it takes about 25 minutes, and much longer the first time: it makes .venv (onnxruntime, OpenVINO; about 400 MB) and builds
bench/peers-rs (rten, tract). Everything is pinned. Leave the machine alone meanwhile. Progress is on standard error.
";

const OPENVINO: peers::Packages = peers::Packages::new(
    "tools/requirements-bench.txt",
    "unisono-bench.txt",
    "installing OpenVINO into .venv (about 200 MB)",
);

/// Cores that others may keep busy before the results are worth little.
const BUSY: f64 = 0.1;

struct Options {
    device: Device,
    memory: bool,
    /// Where everything lies that was built elsewhere.
    carried: Option<PathBuf>,
    models: Vec<&'static cells::Model>,
    cells: Vec<Cell>,
    engines: Vec<&'static engines::Kind>,
    rounds: usize,
    seconds: f64,
    out: PathBuf,
}

/// # Errors
/// If an option is wrong, something that is needed cannot be installed or built, or the results cannot be written.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let render = args.value("--render")?;
    let build_only = args.value("--build-only")?;
    let out = arguments.iter().any(|argument| argument == "--out");
    let mut options = options(&mut args)?;
    args.finish()?;
    if let Some(folder) = build_only {
        if options.device == Device::Cpu {
            return Err("`--build-only` is for a GPU; add --device cuda:0".to_owned());
        }
        return carry::build(&options, &shell::root().join(folder));
    }
    match render {
        Some(file) => {
            let broken = |error: String| format!("{file}: {error}");
            let text = std::fs::read_to_string(&file).map_err(|error| broken(error.to_string()))?;
            if options.memory {
                memory::render(&text, &options.out).map_err(broken)?;
            } else {
                let results: Results =
                    serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
                let out = match out {
                    true => options.out.clone(),
                    false => results.device.documentation(),
                };
                write(&results, &out)?;
                options.out = out;
            }
        }
        None => measure(&options)?,
    }
    eprintln!("results: {}", options.out.join("results.md").display());
    Ok(ExitCode::SUCCESS)
}

fn options(args: &mut Args) -> Result<Options, String> {
    let quick = args.switch("--quick");
    let memory = args.switch("--memory");
    let carried = args.value("--carried")?.map(PathBuf::from);
    let device = match args.value("--device")? {
        Some(text) => Device::parse(&text)?,
        None => Device::Cpu,
    };
    if device != Device::Cpu && memory {
        return Err("--memory weighs processes on the CPU alone".to_owned());
    }
    let at_hand = |model: &cells::Model| match &carried {
        Some(folder) => folder.join(format!("{}.onnx", model.name)).is_file(),
        None => model.built || real_model(model.name).is_file(),
    };
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(|word| word.trim().to_owned()).collect()
    };
    let models = match args.value("--models")? {
        Some(text) => list(&text)
            .iter()
            .map(|name| {
                device
                    .model(name)
                    .ok_or_else(|| format!("there is no model `{name}`; see --help"))
            })
            .collect::<Result<Vec<_>, _>>()?,
        None => device
            .models()
            .iter()
            .filter(|model| match quick {
                true => ["mlp", "transformer", "conv1d"].contains(&model.name),
                false => at_hand(model),
            })
            .collect(),
    };
    if let Some(missing) = models.iter().find(|model| !at_hand(model)) {
        return Err(match carried {
            Some(folder) => format!("{} was not carried to {}", missing.name, folder.display()),
            None => format!(
                "{} is not in models/; fetch it with `cargo xtask models`",
                missing.name
            ),
        });
    }
    let engines = device.engines();
    let engines = match args.value("--engines")? {
        Some(text) => {
            let chosen = list(&text);
            if let Some(unknown) = chosen
                .iter()
                .find(|name| engines.iter().all(|kind| kind.name != **name))
            {
                return Err(format!("there is no engine `{unknown}`; see --help"));
            }
            if let Some(name) = chosen.iter().find(|name| memory && *name == "torch") {
                return Err(format!("--memory does not weigh `{name}`"));
            }
            engines
                .iter()
                .filter(|kind| chosen.iter().any(|name| name == kind.name))
                .collect()
        }
        None => engines.iter().filter(|kind| kind.by_default).collect(),
    };
    let cells = match args.value("--cells")? {
        Some(text) => list(&text)
            .iter()
            .map(|word| Cell::parse(word))
            .collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    if memory && !cells.is_empty() {
        return Err("--memory has its own number of callers; leave --cells out".to_owned());
    }
    let rounds = match args.value("--rounds")? {
        Some(text) => text
            .parse()
            .ok()
            .filter(|rounds| *rounds > 0)
            .ok_or("`--rounds` needs a count")?,
        None => {
            if quick {
                2
            } else if memory {
                3
            } else {
                5
            }
        }
    };
    let seconds = match args.value("--seconds")? {
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| (0.01..=3600.0).contains(seconds))
            .ok_or("`--seconds` needs a number from 0.01 to 3600")?,
        None => {
            if quick {
                0.5
            } else {
                1.5
            }
        }
    };
    let out = match args.value("--out")? {
        Some(folder) => PathBuf::from(folder),
        None if quick => shell::target_dir().join("bench/quick"),
        None if memory => shell::root().join("docs/benchmarks/memory"),
        None => device.documentation(),
    };
    Ok(Options {
        device,
        memory,
        carried,
        models,
        cells,
        engines,
        rounds,
        seconds,
        out,
    })
}

fn real_model(name: &str) -> PathBuf {
    shell::root().join("models").join(format!("{name}.onnx"))
}

fn measure(options: &Options) -> Result<(), String> {
    let (folder, programs, (commit, uncommitted_changes)) = match &options.carried {
        Some(folder) => {
            let folder = std::path::absolute(folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
            let (programs, commit) = carry::unpacked(options, &folder);
            (folder, programs, commit)
        }
        None => {
            let folder = shell::target_dir().join("bench");
            let mut programs = programs(options)?;
            make_models(options, &programs, &folder)?;
            if options.device != Device::Cpu {
                programs.python = PathBuf::from("python3");
            }
            (folder, programs, machine::commit())
        }
    };
    if options.memory {
        return memory::measure(options, &programs, &folder);
    }
    let here = machine::here();
    if here.busy_cores.is_some_and(|busy| busy > BUSY) {
        eprintln!(
            "WARNING: other programs keep {:.1} cores busy; these results will say more about them",
            here.busy_cores.unwrap_or_default()
        );
    }
    let mut results = Results {
        device: options.device,
        date: machine::today(),
        commit,
        uncommitted_changes,
        machine: here,
        rounds: options.rounds,
        seconds: options.seconds,
        engines: Vec::new(),
        models: Vec::new(),
    };
    let cells: usize = options
        .models
        .iter()
        .map(|model| model.chosen(&options.cells).len())
        .sum();
    let windows = (cells * options.rounds * options.engines.len()) as f64;
    eprintln!(
        "{cells} cells, about {:.0} minutes",
        (windows * options.seconds * 1.25 / 60.0).ceil()
    );
    for model in &options.models {
        let measured = measure_model(model, options, &programs, &folder, &mut results)?;
        results.models.push(measured);
        // What was measured is not lost if the run is ended later.
        write(&results, &options.out)?;
    }
    if profiled(options) {
        profiles::add(&mut results, &folder)?;
        write(&results, &options.out)?;
    }
    Ok(())
}

/// Are there profiles of what was missed? On a GPU, `unisono profile --device` is for that.
fn profiled(options: &Options) -> bool {
    let is_ours = |kind: &&engines::Kind| kind.name == results::OURS;
    options.device == Device::Cpu && options.engines.iter().any(is_ours)
}

/// Installs and builds what is needed.
fn programs(options: &Options) -> Result<Programs, String> {
    let chosen = |name: &str| options.engines.iter().any(|kind| kind.name == name);
    let python = peers::ensure(&peers::PEERS, None)?;
    let mut libraries = vec![(
        "BENCH_ONNXRUNTIME",
        library(&python, "onnxruntime", "capi", "onnxruntime")?,
    )];
    if chosen("openvino") {
        peers::ensure(&OPENVINO, None)?;
        libraries.push((
            "BENCH_OPENVINO_C",
            library(&python, "openvino", "libs", "openvino_c")?,
        ));
    }
    if chosen("torch") && options.device == Device::Cpu {
        peers::ensure(&peers::EXPORT, None)?;
    }
    if profiled(options) && !options.memory {
        profiles::build()?;
    }
    eprintln!("building bench/peers-rs (minutes the first time)");
    let target = shell::target_dir().join("bench-peers");
    let manifest = shell::root().join("bench/peers-rs/Cargo.toml");
    shell::run(
        shell::cargo()
            .args([
                "build",
                "--release",
                "--locked",
                "--quiet",
                "--manifest-path",
            ])
            .arg(manifest)
            .env("CARGO_TARGET_DIR", &target),
    )?;
    Ok(Programs {
        device: options.device,
        driver: target.join(format!(
            "release/bench-peers{}",
            std::env::consts::EXE_SUFFIX
        )),
        python,
        libraries,
        torch_script: shell::root().join(match options.device {
            Device::Cpu => "tools/bench_torch.py",
            Device::Cuda(_) => "tools/bench_torch_cuda.py",
        }),
    })
}

/// The shared library in a folder of an installed Python package.
fn library(python: &Path, package: &str, folder: &str, name: &str) -> Result<PathBuf, String> {
    let find = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]).submodule_search_locations[0])";
    let output = std::process::Command::new(python)
        .args(["-c", find, package])
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join(folder);
    let files =
        std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let prefix = format!("{}{name}.", std::env::consts::DLL_PREFIX);
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(&prefix))
        })
        .ok_or_else(|| format!("{} has no file {prefix}*", folder.display()))
}

fn make_models(options: &Options, programs: &Programs, folder: &Path) -> Result<(), String> {
    eprintln!("building the models and requests");
    let mut script = peers::script(&programs.python, "bench_models.py");
    script
        .arg("--out")
        .arg(folder)
        .arg("--real")
        .arg(shell::root().join("models"));
    for model in &options.models {
        let rows: Vec<String> = rows_of(model, options)
            .iter()
            .map(usize::to_string)
            .collect();
        script.arg(format!("{}:{}", model.name, rows.join(",")));
    }
    shell::run(&mut script)?;
    match options.device {
        Device::Cpu => Ok(()),
        Device::Cuda(_) => carry::describe_graphs(options, &programs.python, folder),
    }
}

/// The numbers of rows that a model's cells have, each once.
fn rows_of(model: &cells::Model, options: &Options) -> Vec<usize> {
    if options.memory {
        return vec![1];
    }
    let mut rows: Vec<usize> = model
        .chosen(&options.cells)
        .iter()
        .map(|(cell, _)| cell.rows)
        .collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Measures the engines whose answers are right in turn.
fn measure_model(
    model: &cells::Model,
    options: &Options,
    programs: &Programs,
    folder: &Path,
    results: &mut Results,
) -> Result<results::Model, String> {
    let (mut found, mut running) = admit(model, options, programs, folder, |kind, engine| {
        note(results, kind, engine);
    })?;
    for (cell, _) in model.chosen(&options.cells) {
        let series = race(model, cell, options, &mut running, &mut found);
        found.cells.push(results::Cell {
            callers: cell.callers,
            rows: cell.rows,
            series,
        });
    }
    Ok(found)
}

/// Starts all engines and drops those whose answers are wrong; `note` hears of the others.
fn admit(
    model: &cells::Model,
    options: &Options,
    programs: &Programs,
    folder: &Path,
    mut note: impl FnMut(&engines::Kind, &mut Engine),
) -> Result<(results::Model, Vec<Engine>), String> {
    let mut found = results::Model {
        name: model.name.to_owned(),
        about: model.about.to_owned(),
        refused: Vec::new(),
        agreement: Vec::new(),
        cells: Vec::new(),
        profiles: Vec::new(),
    };
    let file = folder.join(format!("{}.onnx", model.name));
    let inputs = folder.join("inputs").join(model.name);
    let answers = folder.join("answers");
    let expected = match options.carried {
        None => answers_of(model, options, programs, folder)?,
        Some(_) => {
            let rows = rows_of(model, options).into_iter();
            rows.map(|rows| (rows, engines::left_in(&expected_in(model, rows, folder))))
                .collect()
        }
    };
    let mut running = Vec::new();
    for kind in &options.engines {
        eprintln!("{}: {} loads and is checked", model.name, kind.name);
        let checked = Engine::start(programs, kind.name, &file, &inputs).and_then(|mut engine| {
            let agreement = check(&mut engine, &expected, &answers)?;
            Ok((engine, agreement))
        });
        match checked {
            Ok((mut engine, agreement)) => {
                found.agreement.extend(agreement);
                note(kind, &mut engine);
                running.push(engine);
            }
            Err(why) => refuse(&mut found, kind.name, why),
        }
    }
    Ok((found, running))
}

/// A number of rows, and the outputs that a request of so many must have.
type Expected = (usize, Vec<Vec<f32>>);

/// Where the answers lie that are expected.
fn expected_in(model: &cells::Model, rows: usize, folder: &Path) -> PathBuf {
    let folder = folder.join("expected").join(model.name);
    folder.join(rows.to_string())
}

/// The answers of onnxruntime, for every number of rows. They stay in the folder.
fn answers_of(
    model: &cells::Model,
    options: &Options,
    programs: &Programs,
    folder: &Path,
) -> Result<Vec<Expected>, String> {
    let file = folder.join(format!("{}.onnx", model.name));
    let inputs = folder.join("inputs").join(model.name);
    let mut reference = Engine::start(programs, "ort", &file, &inputs).map_err(|why| {
        format!(
            "{}: onnxruntime, which answers are compared with: {why}",
            model.name
        )
    })?;
    let rows = rows_of(model, options).into_iter();
    rows.map(|rows| {
        let answers = reference.answer(rows, &expected_in(model, rows, folder))?;
        Ok((rows, answers))
    })
    .collect()
}

/// Compares an engine's answers with what is expected, for every number of rows.
fn check(
    engine: &mut Engine,
    expected: &[Expected],
    folder: &Path,
) -> Result<Vec<Agreement>, String> {
    let mut agreement = Vec::new();
    for (rows, theirs) in expected {
        let ours = engine.answer(*rows, folder)?;
        if ours.len() != theirs.len() {
            return Err(format!(
                "it has {} outputs and onnxruntime {}",
                ours.len(),
                theirs.len()
            ));
        }
        let shares = ours
            .iter()
            .zip(theirs)
            .map(|(a, b)| stats::share_of_allowed(a, b));
        let worst = shares.fold(0.0, f64::max);
        if worst > 1.0 {
            return Err(format!(
                "its answers differ from onnxruntime's by {worst:.2} times what is allowed, at {rows} rows"
            ));
        }
        agreement.push(Agreement {
            engine: engine.name.clone(),
            rows: *rows,
            error_of_allowed: worst,
        });
    }
    Ok(agreement)
}

/// Remembers the engine's version, and asks ours once for what the processor can do.
fn note(results: &mut Results, kind: &engines::Kind, engine: &mut Engine) {
    let kinds = results.device.engines();
    let is_new = list(&mut results.engines, kinds, kind, engine);
    if kind.name != OURS {
        return;
    }
    if is_new {
        results.machine.gpu = engine.runs_on.take();
    }
    if results.device == Device::Cpu {
        // Once for each model, of which the best counts: a neighbour who takes a core for a moment only makes it lower.
        results.machine.gflops = best(results.machine.gflops, engine.gflops().ok());
    }
}

/// The larger of what is known.
fn best(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

/// Puts the engine in the list, in the order of `kinds`, and says whether it was not there.
fn list(
    engines: &mut Vec<results::Engine>,
    kinds: &[engines::Kind],
    kind: &engines::Kind,
    engine: &Engine,
) -> bool {
    if engines.iter().any(|known| known.name == kind.name) {
        return false;
    }
    engines.push(results::Engine {
        name: kind.name.to_owned(),
        version: engine.version.clone(),
        about: kind.about.to_owned(),
    });
    let place = |name: &str| kinds.iter().position(|kind| kind.name == name);
    engines.sort_by_key(|engine| place(&engine.name));
    true
}

fn refuse(found: &mut results::Model, engine: &str, why: String) {
    eprintln!("{}: {engine} is not timed: {why}", found.name);
    found.refused.push(Refusal {
        engine: engine.to_owned(),
        why,
    });
}

/// All rounds of a cell. An engine that fails is ended and out of the race.
fn race(
    model: &cells::Model,
    cell: Cell,
    options: &Options,
    running: &mut Vec<Engine>,
    found: &mut results::Model,
) -> Vec<Series> {
    let takes_part = |engine: &Engine| {
        let mut kinds = options.engines.iter();
        kinds.any(|kind| kind.name == engine.name && cell.callers <= kind.most_callers)
    };
    // By series: which of those that run it is of.
    let mut racing: Vec<usize> = (0..running.len())
        .filter(|&place| takes_part(&running[place]))
        .collect();
    let new = |place: &usize| Series {
        engine: running[*place].name.clone(),
        rounds: Vec::new(),
    };
    let mut series: Vec<Series> = racing.iter().map(new).collect();
    for round in 0..options.rounds {
        let mut failed = Vec::new();
        for place in 0..racing.len() {
            let turn = stats::in_turn(round, place, racing.len());
            let engine = &mut running[racing[turn]];
            let measured = engine.time(
                cell.callers,
                cell.rows,
                options.seconds / 5.0,
                options.seconds,
            );
            let said = match &measured {
                Ok(measured) => format!(
                    "{} rows/s, p99 {} ms",
                    table::thousands(measured.rows_per_s),
                    table::digits(measured.p99_ms)
                ),
                Err(why) => why.clone(),
            };
            eprintln!(
                "{} {cell} round {}/{}: {} {said}",
                model.name,
                round + 1,
                options.rounds,
                engine.name
            );
            match measured {
                Ok(measured) => series[turn].rounds.push(measured),
                Err(why) => failed.push((turn, why)),
            }
        }
        failed.sort_by_key(|(turn, _)| std::cmp::Reverse(*turn));
        for (turn, why) in failed {
            let gone = racing.remove(turn);
            refuse(found, &running.remove(gone).name, why);
            racing
                .iter_mut()
                .for_each(|place| *place -= usize::from(*place > gone));
            series.remove(turn);
        }
    }
    series
}

fn write(results: &Results, folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let json = serde_json::to_string_pretty(results).map_err(|error| error.to_string())?;
    save(folder, "results.json", &(json + "\n"))?;
    save(folder, "results.md", &table::page(results))?;
    for model in &results.models {
        save(
            folder,
            &format!("{}.svg", model.name),
            &chart::svg(results, model),
        )?;
    }
    Ok(())
}

fn save(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let mut args = Args::new(&words);
        let options = options(&mut args)?;
        args.finish()?;
        Ok(options)
    }

    #[test]
    fn a_gpu_has_models_engines_and_results_of_its_own() {
        let cuda = read("--device cuda:0").unwrap();
        let engines: Vec<&str> = cuda.engines.iter().map(|kind| kind.name).collect();
        assert_eq!(engines, [OURS, "torch", "torch-graph", "ort"]);
        assert!(cuda.out.ends_with("docs/benchmarks/cuda"));
        let resnet = read("--device cuda:0 --models resnet50").unwrap();
        let cells: Vec<_> = resnet.models[0].chosen(&[]);
        assert!(cells.iter().all(|(_, target)| target.is_none()));
        assert!(read("--device cuda:0 --engines rten").is_err());
    }

    #[test]
    fn a_carried_benchmark_has_the_models_that_lie_beside_it() {
        let folder = std::env::temp_dir().join(format!("carried-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("minilm.onnx"), "").unwrap();
        let asked = |more: &str| {
            let carried = folder.display();
            let options = read(&format!("--device cuda:0 --carried {carried} {more}"))?;
            Ok::<Vec<_>, String>(options.models.iter().map(|model| model.name).collect())
        };
        let (all, missing) = (asked(""), asked("--models mlp"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(all.unwrap(), ["minilm"]);
        let missing = missing.unwrap_err();
        assert!(missing.starts_with("mlp was not carried"), "{missing}");
    }

    #[test]
    fn a_peak_that_was_disturbed_once_does_not_count() {
        assert_eq!(best(None, Some(2.0)), Some(2.0));
        assert_eq!(best(Some(236.0), Some(114.0)), Some(236.0));
        assert_eq!(best(Some(114.0), Some(236.0)), Some(236.0));
        assert_eq!(best(Some(3.0), None), Some(3.0));
    }

    #[test]
    fn torch_takes_part_only_if_it_is_asked_for() {
        let names = |text| {
            read(text)
                .unwrap()
                .engines
                .iter()
                .map(|kind| kind.name)
                .collect::<Vec<_>>()
        };
        assert!(!names("").contains(&"torch"));
        assert_eq!(names("--engines torch,unisono"), [OURS, "torch"]);
    }

    #[test]
    fn a_quick_run_does_not_touch_the_documentation() {
        let quick = read("--quick").unwrap();
        assert!(!quick.out.ends_with("docs/benchmarks/cpu"));
        assert!(read("").unwrap().out.ends_with("docs/benchmarks/cpu"));
        assert_eq!((quick.rounds, quick.models.len()), (2, 3));
    }

    #[test]
    fn memory_is_weighed_with_one_row_and_kept_apart_from_speeds() {
        let memory = read("--memory --models mlp").unwrap();
        assert!(memory.out.ends_with("docs/benchmarks/memory"));
        assert_eq!(rows_of(memory.models[0], &memory), [1]);
        assert_eq!(memory.rounds, 3);
    }

    #[test]
    fn what_nobody_can_measure_is_refused() {
        for wrong in [
            "--models gpt",
            "--engines unison",
            "--cells 8",
            "--rounds 0",
            "--seconds 0",
            "--fast",
            "--memory --engines torch",
            "--memory --cells 8x1",
            "--memory --device cuda:0",
            "--device gpu",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_number_of_rows_is_prepared_once() {
        let options = read("--models mlp").unwrap();
        assert_eq!(rows_of(options.models[0], &options), [1, 8, 64]);
    }
}
