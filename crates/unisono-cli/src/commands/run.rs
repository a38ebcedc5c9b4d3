//! `unisono run`: one answer, from arrays to arrays.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use unisono::{Model, Outputs, Tensor};

use super::{DeviceArgs, load};
use crate::console::{Table, milliseconds, plain, three_digits};
use crate::failure::Failure;
use crate::npy;
use crate::request::shapes::{self, GivenShapes};
use crate::request::{GivenFile, MadeUp};

const EXAMPLES: &str = "\
Inputs come from .npy files (numpy.save), or are made up from the seed: floats from -1 to 1, integers from
--int-range. Without any --input or --random, all are made up in the model's own shapes.

Examples:
  unisono run model.onnx
  unisono run model.onnx --input x=x.npy --output-dir out
  unisono run model.onnx --random 1,3,224,224 --seed 7
  unisono run minilm.onnx --random 'input_ids=2,16;attention_mask=2,16;token_type_ids=2,16' --int-range 0:1000
  unisono run silero_vad.onnx --random 'input=1,512' --fill sr=16000

With --output-dir, every output becomes one file: its name, with '_' for every character other than letters, digits,
'.', '_' and '-', and '.npy'. outputs.json there maps names to files. bf16 is written as float32.";

/// Run a model once
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// The ONNX model
    model: PathBuf,

    /// An input from a file
    #[arg(long = "input", value_name = "NAME=FILE.npy")]
    inputs: Vec<GivenFile>,

    /// Make inputs up in these shapes: 'x=1,3,224,224;y=2', or lengths alone if there is one input
    #[arg(long, value_name = "SHAPES")]
    random: Vec<GivenShapes>,

    /// Write the outputs into this folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,

    #[command(flatten)]
    made_up: MadeUp,

    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
///
/// # Errors
/// The model, an input or an option does not work, or a file cannot be written.
pub fn run(args: &RunArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let device = args.device.build()?;
    let started = Instant::now();
    let model = load(&args.model)?;
    let loaded = started.elapsed();
    let requested = gather(args, &model)?;

    let info = device.info();
    writeln!(
        out,
        "{} on {} ({} threads, {})",
        plain(&args.model.display().to_string()),
        info.id,
        info.threads,
        info.isa
    )?;
    writeln!(out, "inputs")?;
    let mut table = Table::new(&["name", "type", "from"]);
    for (port, (tensor, origin)) in model.inputs().iter().zip(&requested) {
        table.row([plain(&port.name), of_type(tensor), plain(origin)]);
    }
    table.write(out, "  ")?;

    let tensors: Vec<Tensor> = requested.into_iter().map(|(tensor, _)| tensor).collect();
    let (outputs, times) = answer(args, &model, &device, &tensors)?;

    writeln!(out, "outputs")?;
    let files = file_names(outputs.iter().map(|(name, _)| name));
    if let Some(folder) = &args.output_dir {
        save(folder, &outputs, &files)?;
    }
    let mut table = Table::new(&["name", "type", ">min", ">mean", ">max", "file"]);
    for ((name, tensor), file) in outputs.iter().zip(&files) {
        let [least, mean, most] = summary(tensor);
        let file = args.output_dir.as_ref().map(|folder| folder.join(file));
        let file = file.map_or(String::new(), |file| file.display().to_string());
        table.row([
            plain(name),
            of_type(tensor),
            least,
            mean,
            most,
            plain(&file),
        ]);
    }
    table.write(out, "  ")?;
    writeln!(
        out,
        "load {}, compile and first run {}, second run {}",
        milliseconds(loaded),
        milliseconds(times.first),
        milliseconds(times.again)
    )?;
    Ok(())
}

struct Times {
    /// Binding the model to the device and the first run, which compiles.
    first: Duration,
    again: Duration,
}

fn answer(
    args: &RunArgs,
    model: &Model,
    device: &unisono::Device,
    tensors: &[Tensor],
) -> Result<(Outputs, Times), Failure> {
    let of_model = |e: unisono::Error| Failure::of_model(&e, &args.model);
    let started = Instant::now();
    let session = model.session(device).map_err(of_model)?;
    let mut outputs = Outputs::new();
    session.run_into(tensors, &mut outputs).map_err(of_model)?;
    let first = started.elapsed();
    let started = Instant::now();
    session.run_into(tensors, &mut outputs).map_err(of_model)?;
    let again = started.elapsed();
    Ok((outputs, Times { first, again }))
}

/// The inputs in the model's order, each with where it comes from.
fn gather(args: &RunArgs, model: &Model) -> Result<Vec<(Tensor, String)>, Failure> {
    let ports = model.inputs();
    let random = GivenShapes::merged(&args.random)?;
    let mut lengths = args.made_up.assumptions.lengths(model, &random)?;
    for (i, given) in args.inputs.iter().enumerate() {
        shapes::known(&given.name, ports)?;
        if args.inputs[..i]
            .iter()
            .any(|other| other.name == given.name)
        {
            return Err(Failure::bad_input(format!(
                "--input {} is given twice",
                given.name
            )));
        }
        if random.get(&given.name).is_some() {
            return Err(Failure::bad_input(format!(
                "input \"{}\" is given both by --input and by --random",
                given.name
            )));
        }
    }
    let mut gathered = Vec::new();
    for port in ports {
        if let Some(given) = args.inputs.iter().find(|given| *given.name == *port.name) {
            gathered.push((given.read(port)?, given.file.display().to_string()));
            continue;
        }
        let shape = match random.get(&port.name) {
            Some(shape) => shape.to_vec(),
            // Whoever gives some inputs as files has not asked for made-up others, unless by name or because there is
            // nothing to choose.
            None if args.inputs.is_empty() || args.made_up.fills(port) => lengths.shape(port, 1)?,
            None => {
                return Err(
                    Failure::bad_input(format!("input \"{}\" is missing", port.name)).help(
                        format!(
                            "give --input {0}=FILE.npy, or --random {0}=LENGTHS to make it up",
                            port.name
                        ),
                    ),
                );
            }
        };
        let tensor = args.made_up.input(port, &shape, 0)?;
        gathered.push((tensor, args.made_up.origin(port)));
    }
    if let Some(defaults) = lengths.defaults() {
        eprintln!(
            "note: lengths that nobody chose: {} (set with --dim)",
            plain(&defaults)
        );
    }
    Ok(gathered)
}

/// `f32[1, 2]`.
fn of_type(tensor: &Tensor) -> String {
    format!("{}{:?}", tensor.dtype(), tensor.shape())
}

/// Smallest value, mean and largest value, for people.
fn summary(tensor: &Tensor) -> [String; 3] {
    let none = || ["-", "-", "-"].map(str::to_owned);
    let values = tensor
        .to_f64s()
        .or_else(|| Some(tensor.to_i64s()?.into_iter().map(|v| v as f64).collect()));
    let Some(values) = values.filter(|values| !values.is_empty()) else {
        return none();
    };
    // `min` and `max` pass over NaN, of which a user should hear.
    if values.iter().any(|v| v.is_nan()) {
        return [NOT_A_NUMBER; 3].map(str::to_owned);
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    [shown(least), shown(mean), shown(most)]
}

const NOT_A_NUMBER: &str = "has NaN";

fn shown(value: f64) -> String {
    match value.abs() {
        a if a == 0.0 || value.fract() == 0.0 && a < 1e15 => format!("{value}"),
        a if (1e-3..1e6).contains(&a) => {
            let sign = if value < 0.0 { "-" } else { "" };
            if a < 1.0 {
                format!("{sign}{a:.4}")
            } else {
                format!("{sign}{}", three_digits(a))
            }
        }
        _ => format!("{value:.3e}"),
    }
}

/// A file for each output. Names that become equal without their odd characters are told apart by a number.
fn file_names<'a>(outputs: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    outputs
        .map(|name| {
            let keep = |c: char| match c {
                'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
                _ => '_',
            };
            let stem: String = name.chars().map(keep).collect();
            let mut file = format!("{stem}.npy");
            let mut number = 2;
            while !taken.insert(file.to_lowercase()) {
                file = format!("{stem}-{number}.npy");
                number += 1;
            }
            file
        })
        .collect()
}

fn save(folder: &Path, outputs: &Outputs, files: &[String]) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|e| {
        Failure::bad_input(format!("the folder cannot be made: {e}")).at(folder.display())
    })?;
    let mut index = BTreeMap::new();
    for ((name, tensor), file) in outputs.iter().zip(files) {
        write_file(&folder.join(file), |out| npy::write(out, tensor))?;
        index.insert(name, file);
    }
    let json = super::json_line(&index)?;
    write_file(&folder.join("outputs.json"), |out| writeln!(out, "{json}"))
}

fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<std::fs::File>) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let written = std::fs::File::create(path).and_then(|file| {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.flush()
    });
    written.map_err(|e| {
        Failure::bad_input(format!("the output cannot be written: {e}")).at(path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_get_plain_file_names_that_do_not_collide() {
        let names = ["a/b", "a:b", "A_b", "../../etc/passwd", "ü", "x.y-z_1"];
        assert_eq!(
            file_names(names.into_iter()),
            [
                "a_b.npy",
                "a_b-2.npy",
                "A_b-3.npy",
                ".._.._etc_passwd.npy",
                "_.npy",
                "x.y-z_1.npy"
            ]
        );
    }

    #[test]
    fn values_are_summed_up_and_nan_is_said() {
        let tensor = Tensor::from_slice(&[3], &[-1.5f32, 0.0, 2.5]).unwrap();
        assert_eq!(summary(&tensor), ["-1.50", "0.3333", "2.50"]);
        let ints = Tensor::from_slice(&[2], &[1i64, 3]).unwrap();
        assert_eq!(summary(&ints), ["1", "2", "3"]);
        let nan = Tensor::from_slice(&[2], &[1.0, f32::NAN]).unwrap();
        assert_eq!(summary(&nan), ["has NaN"; 3]);
        let empty = Tensor::from_slice::<f32>(&[0], &[]).unwrap();
        assert_eq!(summary(&empty), ["-"; 3]);
    }
}
