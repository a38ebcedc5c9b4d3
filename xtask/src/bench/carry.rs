//! A benchmark that is carried to a machine without a toolchain: everything it needs, in a folder that runs itself.
//!
//! One idea: what needs onnxruntime or a compiler is done here (models, requests, the answers that are to be given, programs), and
//! the same chore that would measure here measures there, on what lies beside it. Its `results.json` comes back to be rendered.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::engines::Programs;
use super::{Options, answers_of, machine, make_models, programs};
use crate::shell;

/// Which commit the programs were built from, and whether there were changes.
const COMMIT: &str = "commit.txt";

/// What PyTorch's engines are made of.
const SCRIPTS: [&str; 2] = ["bench_torch_cuda.py", "torch_engine.py"];

/// The folder of the driver's shared libraries, each named like the variable that tells of it.
const LIBRARIES: &str = "libraries";

/// Puts all of it into a folder.
///
/// # Errors
/// If something cannot be built or written.
pub fn build(options: &Options, folder: &Path) -> Result<ExitCode, String> {
    let made = programs(options)?;
    let written = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| written(folder, error))?;
    make_models(options, &made, folder)?;
    for model in &options.models {
        answers_of(model, options, &made, folder)?;
    }
    let here = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    for (program, name) in [(&made.driver, "bench-peers"), (&here, "xtask")] {
        shell::put_stripped(program, &folder.join(name))?;
    }
    for (name, library) in &made.libraries {
        let there = folder.join(LIBRARIES).join(name);
        std::fs::create_dir_all(folder.join(LIBRARIES)).map_err(|error| written(folder, error))?;
        std::fs::copy(library, &there).map_err(|error| written(library, error))?;
    }
    for name in SCRIPTS {
        let (from, to) = (shell::root().join("tools").join(name), folder.join(name));
        std::fs::copy(&from, &to).map_err(|error| written(&from, error))?;
    }
    let (commit, changes) = machine::commit();
    let commit = format!("{commit} {}\n", if changes { "changed" } else { "clean" });
    let script = SCRIPT.replace("DEVICE", &options.device.to_string());
    for (name, text) in [(COMMIT, commit), ("run.sh", script)] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| written(&path, error))?;
    }
    println!(
        "there: sh run.sh [OPTIONS OF THE BENCHMARK]; it leaves results.json, for --render here"
    );
    Ok(ExitCode::SUCCESS)
}

/// What was carried here, and its commit.
pub fn unpacked(options: &Options, folder: &Path) -> (Programs, (String, bool)) {
    let text = std::fs::read_to_string(folder.join(COMMIT)).unwrap_or_default();
    let (commit, state) = text.trim().split_once(' ').unwrap_or(("unknown", ""));
    let programs = Programs {
        device: options.device,
        driver: folder.join("bench-peers"),
        python: PathBuf::from("python3"),
        libraries: ["BENCH_ONNXRUNTIME"]
            .map(|name| (name, folder.join(LIBRARIES).join(name)))
            .into(),
        torch_script: folder.join(SCRIPTS[0]),
    };
    (programs, (commit.to_owned(), state == "changed"))
}

/// Writes beside each model what PyTorch needs to know of its graph.
///
/// # Errors
/// If the script fails.
pub fn describe_graphs(options: &Options, python: &Path, folder: &Path) -> Result<(), String> {
    let mut script: Command = crate::peers::script(python, "torch_graph.py");
    // PyTorch's functions are written down for the operators of the models that are built.
    for model in options.models.iter().filter(|model| model.built) {
        script.arg(folder.join(format!("{}.onnx", model.name)));
    }
    shell::run(&mut script)
}

/// Measures what lies beside it.
const SCRIPT: &str = r#"#!/bin/sh
# Measures on DEVICE; needs NVIDIA's driver and a python3 that has PyTorch. Leaves results.json here. Arguments are those of
# `cargo xtask bench`, such as --rounds 3 --seconds 1.
cd "$(dirname "$0")" || exit 2
exec ./xtask bench --device DEVICE --carried . --out . "$@"
"#;
