//! `unisono bench`: how many rows a second a model answers, and how long each request takes.

mod closed_loop;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use unisono::{Session, Tensor};

use super::{DeviceArgs, load};
use crate::console::{Progress, grouped, milliseconds, plain};
use crate::failure::Failure;
use crate::request::MadeUp;
use crate::request::shapes::{GivenShapes, Lengths};
use closed_loop::{LoopError, Seen, Window, closed_loop};

const EXAMPLES: &str = "\
Every caller is a thread that sends its next request as soon as the last one is answered. Requests are made up
from the seed; each caller has its own. A row is one entry along the batch axis: --rows 8 puts 8 into each request.

Examples:
  unisono bench model.onnx
  unisono bench model.onnx --callers 1,8 --rows 1,8 --secs 5
  unisono bench minilm.onnx --dim sequence=128 --int-range 0:30000
  unisono bench silero_vad.onnx --shapes 'input=1,512' --fill sr=16000
  unisono bench model.onnx --json | jq .rows_per_s

With --json, one object a line:
  model, device, callers, rows   what was measured
  rows_per_s                     rows answered per second, all callers together
  p50_ms, p99_ms, max_ms         time from a request to its answer
  samples                        requests answered while measured
  secs                           how long that was
  threads, isa, seed, shapes     the circumstances";

/// Measure throughput and latency under closed-loop callers
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The ONNX model
    model: PathBuf,

    /// Numbers of concurrent callers to measure
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,2,8,32",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    callers: Vec<u16>,

    /// Rows per request to measure
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,8",
          value_parser = clap::value_parser!(u32).range(1..))]
    rows: Vec<u32>,

    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    secs: f64,

    /// Shapes of inputs, such as 'x=1,3,224,224;y=1,2'; without, the model's own
    #[arg(long, value_name = "SHAPES")]
    shapes: Vec<GivenShapes>,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    made_up: MadeUp,

    #[command(flatten)]
    device: DeviceArgs,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(secs) if (0.01..=86_400.0).contains(&secs) => Ok(secs),
        _ => Err("should be a number of seconds from 0.01 to 86400".to_owned()),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    device: &'a str,
    callers: u16,
    rows: u32,
    rows_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    samples: usize,
    secs: f64,
    threads: usize,
    isa: &'a str,
    seed: u64,
    shapes: std::collections::BTreeMap<&'a str, Vec<usize>>,
}

/// Runs the command.
///
/// # Errors
/// The model or the options do not work, or a request failed.
pub fn bench(args: &BenchArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let model = load(&args.model)?;
    let given = GivenShapes::merged(&args.shapes)?;
    let mut lengths = args.made_up.assumptions.lengths(&model, &given)?;
    let rows = choose_rows(args, &lengths, &given);
    let device = args.device.build()?;
    let info = device.info();
    let session = model
        .session(&device)
        .map_err(|e| Failure::of_model(&e, &args.model))?;

    // Made once before the head is printed, so that what cannot be made up is known, and the defaults are.
    args.made_up.inputs(&mut lengths, &given, 1, 0)?;
    let name = args.model.display().to_string();
    if args.json {
        if let Some(defaults) = lengths.defaults() {
            eprintln!("note: lengths that nobody chose: {}", plain(&defaults));
        }
    } else {
        writeln!(
            out,
            "{} on {} ({} threads, {})",
            plain(&name),
            info.id,
            info.threads,
            info.isa
        )?;
        if let Some(defaults) = lengths.defaults() {
            writeln!(
                out,
                "lengths that nobody chose: {} (set with --dim)",
                plain(&defaults)
            )?;
        }
        writeln!(
            out,
            "{:>7} {:>5} {:>12} {:>11} {:>11} {:>9}",
            "callers", "rows", "rows/s", "p50", "p99", "requests"
        )?;
    }

    let mut progress = Progress::new();
    for &rows in &rows {
        for &callers in &args.callers {
            let requests: Vec<Vec<Tensor>> = (0..u64::from(callers))
                .map(|caller| {
                    args.made_up
                        .inputs(&mut lengths, &given, rows as usize, caller)
                })
                .collect::<Result<_, _>>()?;
            let seen = measure(&session, &requests, args.secs, |answered, open| {
                progress.show(&format!(
                    "{callers} callers x {rows} rows: {} requests in {:.1} of {} s",
                    grouped(answered),
                    open.as_secs_f64(),
                    args.secs
                ));
            })?;
            progress.clear();
            let rows_per_s = seen.rate() * f64::from(rows);
            if args.json {
                let ms = |share| seen.quantile(share).as_secs_f64() * 1e3;
                let ports = model.inputs().iter().map(|port| &*port.name);
                let shapes = requests[0].iter().map(|tensor| tensor.shape().to_vec());
                let line = Line {
                    model: &name,
                    device: &info.id.to_string(),
                    callers,
                    rows,
                    rows_per_s,
                    p50_ms: ms(0.5),
                    p99_ms: ms(0.99),
                    max_ms: ms(1.0),
                    samples: seen.requests(),
                    secs: seen.elapsed.as_secs_f64(),
                    threads: info.threads,
                    isa: &info.isa,
                    seed: args.made_up.seed,
                    shapes: ports.zip(shapes).collect(),
                };
                writeln!(out, "{}", super::json_line(&line)?)?;
            } else {
                writeln!(
                    out,
                    "{callers:>7} {rows:>5} {:>12} {:>11} {:>11} {:>9}",
                    grouped(rows_per_s.round() as u64),
                    milliseconds(seen.quantile(0.5)),
                    milliseconds(seen.quantile(0.99)),
                    seen.requests()
                )?;
            }
            out.flush()?;
        }
    }
    Ok(())
}

/// The numbers of rows that can be measured: all that are asked for, or 1 with the reason why no others.
fn choose_rows(args: &BenchArgs, lengths: &Lengths<'_>, given: &GivenShapes) -> Vec<u32> {
    let fixed = lengths.rows_are_fixed_because().or_else(|| {
        let fixes = |port: &&unisono::Port| given.get(&port.name).is_some();
        let port = lengths.inputs().iter().find(fixes)?;
        Some(format!("--shapes fixes the rows of \"{}\"", port.name))
    });
    match fixed {
        Some(why) if args.rows != [1] => {
            eprintln!(
                "note: {}: measured as given, which is called 1 row",
                plain(&why)
            );
            vec![1]
        }
        Some(_) => vec![1],
        None => args.rows.clone(),
    }
}

fn measure(
    session: &Session,
    requests: &[Vec<Tensor>],
    secs: f64,
    progress: impl FnMut(u64, Duration),
) -> Result<Seen, Failure> {
    let window = Window {
        warm_up: Duration::from_secs_f64((secs / 4.0).clamp(0.05, 1.0)),
        measured: Duration::from_secs_f64(secs),
    };
    let call = |caller: usize| session.run(&requests[caller]).map(drop);
    closed_loop(requests.len(), window, call, progress).map_err(|error| match error {
        LoopError::Call(error) => error.into(),
        LoopError::Thread(error) => {
            Failure::internal(format!("a caller's thread cannot be started: {error}"))
                .help("measure fewer callers")
        }
    })
}
