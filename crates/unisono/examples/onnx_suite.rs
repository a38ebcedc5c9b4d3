//! Runs the ONNX project's own operator tests: by the plain reference implementation, and on the CPU device.
//!
//! ```text
//! python tools/dump_onnx_cases.py FOLDER
//! cargo run --release --example onnx_suite -- FOLDER [NAME-PART] [--all]
//! ```
//!
//! A case passes if the model as loaded, run by the reference in both its precisions, and the rewritten model, run on the device, all give the
//! expected outputs within the tolerances of the case, and if the device's answer has the bits of the reference's for the same graph.
//!
//! Prints one line per failing case (with `--all` also per case whose model is not supported) and a summary. The exit code is 0 if no case
//! failed but those that are known to.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use unisono::{DType, Device, Model, Tensor};
use unisono_onnx::LoadOptions;
use unisono_reference::interpret::{Interpreter, Precision};

/// Parts of the names of cases that fail, and why that is right.
const KNOWN: &[(&str, &str)] = &[
    ("training_dropout", "training is not supported"),
    (
        "downsample_scales_cubic_align_corners",
        "the test takes scale * length for the output's length, the operator's text its whole part",
    ),
    (
        "downsample_scales_linear_align_corners",
        "the test takes scale * length for the output's length, the operator's text its whole part",
    ),
    (
        "bf16_expanded",
        "one unit in the last place: the test accumulates in another order",
    ),
    (
        "causal_fp16_expanded",
        "one unit in the last place: the test accumulates in another order",
    ),
];

/// How a case ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Passed,
    /// The model could not be loaded.
    Unsupported,
    /// It failed as it is known to.
    Known,
    /// An operator could not be evaluated.
    Error,
    /// Another answer than the expected one.
    Wrong,
    /// The device gave other bits than the reference.
    Bits,
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
    let device = match Device::cpu() {
        Ok(device) => device,
        Err(e) => {
            eprintln!("no device: {e}");
            return ExitCode::from(2);
        }
    };
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if part.is_some_and(|p| !name.contains(p.as_str())) {
            continue;
        }
        let (mut verdict, why) = run(&folder, &device);
        let known = KNOWN.iter().find(|(part, _)| name.contains(part));
        if matches!(verdict, Verdict::Error | Verdict::Wrong) && known.is_some() {
            verdict = Verdict::Known;
        }
        *counts.entry(verdict).or_default() += 1;
        match verdict {
            Verdict::Passed => {}
            Verdict::Unsupported | Verdict::Known if !all => {}
            Verdict::Unsupported => println!("unsupported {name}: {why}"),
            Verdict::Known => println!("known {name}: {}", known.map_or("", |k| k.1)),
            Verdict::Error => println!("error {name}: {why}"),
            Verdict::Wrong => println!("WRONG {name}: {why}"),
            Verdict::Bits => println!("BITS {name}: {why}"),
        }
    }
    let count = |v| counts.get(&v).copied().unwrap_or(0);
    println!(
        "{} passed, {} wrong, {} with other bits, {} failed to run, {} known to differ, {} not supported",
        count(Verdict::Passed),
        count(Verdict::Wrong),
        count(Verdict::Bits),
        count(Verdict::Error),
        count(Verdict::Known),
        count(Verdict::Unsupported)
    );
    let failed = count(Verdict::Wrong) + count(Verdict::Error) + count(Verdict::Bits);
    ExitCode::from(u8::from(failed > 0))
}

fn run(folder: &Path, device: &Device) -> (Verdict, String) {
    let path = folder.join("model.onnx");
    let plain = match unisono_onnx::load_file(&path, &LoadOptions::default()) {
        Ok(model) => model,
        Err(e) => return (Verdict::Unsupported, e.to_string().replace('\n', " ")),
    };
    match compare(folder, &plain.graph, device) {
        Ok(None) => (Verdict::Passed, String::new()),
        Ok(Some((verdict, why))) => (verdict, why),
        Err(e) => (Verdict::Error, e.to_string().replace('\n', " ")),
    }
}

fn compare(
    folder: &Path,
    plain: &unisono::graph::Graph,
    device: &Device,
) -> Result<Option<(Verdict, String)>, Box<dyn Error>> {
    let (inputs, expected) = (read_all(folder, "in")?, read_all(folder, "out")?);
    let tolerance = tolerance(folder)?;
    let reference = Interpreter::new(Precision::Canonical);
    let differs = |who: &str, found: &[Tensor]| {
        let mut pairs = found.iter().zip(&expected).enumerate();
        pairs.find_map(|(i, (f, e))| {
            let difference = difference(f, e, tolerance)?;
            Some((Verdict::Wrong, format!("{who}, output {i}: {difference}")))
        })
    };
    if let Some(wrong) = differs("reference", &reference.run(plain, &inputs)?) {
        return Ok(Some(wrong));
    }
    let wide = Interpreter::new(Precision::Float64).run(plain, &inputs)?;
    // Half types and integers are rounded on the way, which f64 does not do.
    let comparable = |t: &Tensor| matches!(t.dtype(), DType::F32 | DType::F64);
    if expected.iter().all(comparable)
        && let Some(wrong) = differs("reference in f64", &wide)
    {
        return Ok(Some(wrong));
    }
    let model = Model::load(folder.join("model.onnx"))?;
    let session = model.session(device)?;
    let outputs = session.run(inputs.as_slice())?;
    let on_device: Vec<Tensor> = (0..expected.len()).map(|i| outputs[i].clone()).collect();
    if let Some(wrong) = differs("device", &on_device) {
        return Ok(Some(wrong));
    }
    let by_reference = reference.run(model.graph(), &inputs)?;
    let pairs = on_device.iter().zip(&by_reference).enumerate();
    Ok(pairs
        .filter_map(|(i, (f, e))| Some((i, bits(f, e)?)))
        .next()
        .map(|(i, at)| (Verdict::Bits, format!("output {i}, element {at}"))))
}

/// The first element whose bits differ; all NaNs are one.
fn bits(found: &Tensor, expected: &Tensor) -> Option<usize> {
    if found.dtype() != expected.dtype() || found.shape() != expected.shape() {
        return Some(0);
    }
    match (found.to_f64s(), expected.to_f64s()) {
        (Some(f), Some(e)) => f
            .iter()
            .zip(&e)
            .position(|(f, e)| f.to_bits() != e.to_bits() && !(f.is_nan() && e.is_nan())),
        _ => found
            .bytes()
            .iter()
            .zip(expected.bytes())
            .position(|(f, e)| f != e),
    }
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
    // A float may be wider than expected: the reference in f64.
    let wider = found.dtype() == DType::F64 && expected.dtype().is_float();
    if (found.dtype() != expected.dtype() && !wider) || found.shape() != expected.shape() {
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
