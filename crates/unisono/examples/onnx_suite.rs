//! Runs the ONNX project's own operator tests with the plain reference implementation.
//!
//! ```text
//! python tools/dump_onnx_cases.py FOLDER
//! cargo run --release --example onnx_suite -- FOLDER [NAME-PART] [--all]
//! ```
//!
//! Prints one line per failing case (with `--all` also per case whose model is not supported) and a summary. The exit code is 0 if every
//! model that could be loaded gave the expected outputs within the tolerances of the case.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use unisono_onnx::LoadOptions;
use unisono_reference::interpret::{Interpreter, Precision};
use unisono_tensor::{DType, Tensor};

/// How a case ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Passed,
    /// The model could not be loaded.
    Unsupported,
    /// An operator could not be evaluated.
    Error,
    /// Another answer than the expected one.
    Wrong,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(root) = arguments.next() else {
        eprintln!("usage: onnx_suite FOLDER [NAME-PART] [--all]");
        return ExitCode::from(2);
    };
    let rest: Vec<String> = arguments.collect();
    let all = rest.iter().any(|a| a == "--all");
    let part = rest.iter().find(|a| !a.starts_with("--"));
    let mut folders: Vec<PathBuf> = match std::fs::read_dir(&root) {
        Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
        Err(e) => {
            eprintln!("cannot read {root}: {e}");
            return ExitCode::from(2);
        }
    };
    folders.retain(|f| f.join("model.onnx").exists());
    folders.sort();
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if part.is_some_and(|p| !name.contains(p.as_str())) {
            continue;
        }
        let (verdict, why) = run(&folder);
        *counts.entry(verdict).or_default() += 1;
        match verdict {
            Verdict::Passed => {}
            Verdict::Unsupported if all => println!("unsupported {name}: {why}"),
            Verdict::Unsupported => {}
            Verdict::Error => println!("error {name}: {why}"),
            Verdict::Wrong => println!("WRONG {name}: {why}"),
        }
    }
    let count = |v| counts.get(&v).copied().unwrap_or(0);
    println!(
        "{} passed, {} wrong, {} failed to run, {} not supported",
        count(Verdict::Passed),
        count(Verdict::Wrong),
        count(Verdict::Error),
        count(Verdict::Unsupported)
    );
    ExitCode::from(u8::from(count(Verdict::Wrong) + count(Verdict::Error) > 0))
}

fn run(folder: &Path) -> (Verdict, String) {
    let model = match unisono_onnx::load_file(folder.join("model.onnx"), &LoadOptions::default()) {
        Ok(model) => model,
        Err(e) => return (Verdict::Unsupported, e.to_string().replace('\n', " ")),
    };
    let answer = || -> Result<Vec<Tensor>, Box<dyn Error>> {
        let inputs = read_all(folder, "in")?;
        Ok(Interpreter::new(Precision::Canonical).run(&model.graph, &inputs)?)
    };
    let (found, expected, tolerance) = match (answer(), read_all(folder, "out"), tolerance(folder))
    {
        (Ok(f), Ok(e), Ok(t)) => (f, e, t),
        (Err(e), ..) | (_, Err(e), _) | (.., Err(e)) => return (Verdict::Error, e.to_string()),
    };
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if let Some(difference) = difference(found, expected, tolerance) {
            return (Verdict::Wrong, format!("output {i}: {difference}"));
        }
    }
    (Verdict::Passed, String::new())
}

fn tolerance(folder: &Path) -> Result<(f64, f64), Box<dyn Error>> {
    let text = std::fs::read_to_string(folder.join("tolerance"))?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let (Some(relative), Some(absolute)) = (numbers.next(), numbers.next()) else {
        return Err("the file \"tolerance\" should hold two numbers".into());
    };
    Ok((relative?, absolute?))
}

fn read_all(folder: &Path, prefix: &str) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let mut tensors = Vec::new();
    loop {
        let path = folder.join(format!("{prefix}{}", tensors.len()));
        if !path.exists() {
            return Ok(tensors);
        }
        tensors.push(read(&std::fs::read(path)?)?);
    }
}

/// A tensor as the dump script writes it.
fn read(file: &[u8]) -> Result<Tensor, Box<dyn Error>> {
    let end = file.iter().position(|&b| b == b'\n').ok_or("no header")?;
    let mut words = std::str::from_utf8(&file[..end])?.split(' ');
    let name = words.next().unwrap_or_default();
    let dtype = DType::from_name(name).ok_or_else(|| format!("no element type {name}"))?;
    let shape = words.map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    Ok(Tensor::from_bytes(dtype, &shape, &file[end + 1..])?)
}

/// The first difference beyond the tolerance.
fn difference(
    found: &Tensor,
    expected: &Tensor,
    (relative, absolute): (f64, f64),
) -> Option<String> {
    if found.dtype() != expected.dtype() || found.shape() != expected.shape() {
        return Some(format!("{found:?} instead of {expected:?}"));
    }
    let values = |t: &Tensor| {
        t.to_f64s()
            .or_else(|| Some(t.to_i64s()?.into_iter().map(|i| i as f64).collect()))
            .unwrap_or_default()
    };
    let pairs = values(found).into_iter().zip(values(expected));
    for (i, (f, e)) in pairs.enumerate() {
        let same = f == e || (f.is_nan() && e.is_nan());
        // Written so that NaN is a difference.
        let close = (f - e).abs() <= absolute + relative * e.abs();
        if !same && !close {
            return Some(format!("element {i} is {f} instead of {e}"));
        }
    }
    None
}
