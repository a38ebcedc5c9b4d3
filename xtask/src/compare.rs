//! `cargo xtask compare` and `cargo xtask ort-bits`: the same models in onnxruntime.
//!
//! One idea: the peer is asked from outside. The scripts in `tools/` run onnxruntime and *our program as a user runs it*
//! on the same files, and compare what both wrote; nothing of ours can bend the comparison.

use std::process::ExitCode;

use crate::args::Args;
use crate::peers;
use crate::shell;

pub const HELP: &str = "\
usage: cargo xtask compare [--model NAME]... [--rows 1,3,16] [--models DIR] [--seed N] [--peer-only]

For each model in models/ (see `cargo xtask models`): makes seeded inputs of the kind that the model meets in practice,
runs onnxruntime 1.31.1 and `unisono run` on them, and checks every output value a of ours against b of onnxruntime:

    |a - b| <= 1e-4 |b| + 1e-5 max|b|      (max over that output; integers must be equal)

Prints a table: model, rows, output, the largest error as a share of what is allowed, verdict. The exit code is 0 only
if every model agreed in every case.

  --model NAME   this model alone (the file's name without .onnx); may be given several times
  --rows LIST    batch sizes (1,3,16)
  --models DIR   another folder of models
  --seed N       another seed for the inputs (1)
  --peer-only    run onnxruntime alone and show what it answers; compares nothing
";

pub const ORT_BITS_HELP: &str = "\
usage: cargo xtask ort-bits [--model NAME]... [--rows 1,2,...] [--threads N] [--models DIR]

Shows that onnxruntime's own answers depend on the batch: runs one row alone and the same row inside batches, at every
position, and counts the values whose bits differ. Shown on magika and MiniLM if no model is named.
";

/// # Errors
/// If the peer cannot be installed or our program does not build. Disagreement is an exit code.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let models = args.values("--model")?;
    let rows = args.value("--rows")?;
    let folder = args.value("--models")?;
    let seed = args.value("--seed")?;
    let peer_only = args.switch("--peer-only");
    args.finish()?;
    let python = peers::ensure(&peers::PEERS, None)?;
    let mut script = peers::script(&python, "compare.py");
    script
        .arg("--models")
        .arg(folder.unwrap_or_else(|| "models".to_owned()));
    script
        .arg("--work")
        .arg(shell::target_dir().join("compare"));
    for model in models {
        script.args(["--model", &model]);
    }
    for (name, value) in [("--rows", rows), ("--seed", seed)] {
        if let Some(value) = value {
            script.args([name, &value]);
        }
    }
    if peer_only {
        script.arg("--peer-only");
    } else {
        println!("building the program");
        shell::run(shell::cargo().args([
            "build",
            "--release",
            "--package",
            "unisono-cli",
            "--quiet",
        ]))?;
        let program = format!("release/unisono{}", std::env::consts::EXE_SUFFIX);
        script
            .arg("--program")
            .arg(shell::target_dir().join(program));
    }
    exit_code(&mut script)
}

/// # Errors
/// If the peer cannot be installed or a model is missing.
pub fn ort_bits(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let models = args.values("--model")?;
    let rows = args.value("--rows")?;
    let threads = args.value("--threads")?;
    let folder = args.value("--models")?;
    args.finish()?;
    let python = peers::ensure(&peers::PEERS, None)?;
    let mut script = peers::script(&python, "ort_bits.py");
    script
        .arg("--models")
        .arg(folder.unwrap_or_else(|| "models".to_owned()));
    for model in models {
        script.args(["--model", &model]);
    }
    for (name, value) in [("--rows", rows), ("--threads", threads)] {
        if let Some(value) = value {
            script.args([name, &value]);
        }
    }
    exit_code(&mut script)
}

fn exit_code(script: &mut std::process::Command) -> Result<ExitCode, String> {
    let status = script
        .status()
        .map_err(|error| format!("cannot start {}: {error}", shell::shown(script)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
