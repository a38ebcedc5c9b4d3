//! `unisono inspect`: what a model is, what it costs, and whether its rows are independent.

mod contract;
mod cost;
mod plan;
mod report;
mod text;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{DeviceArgs, load};
use crate::failure::Failure;
use crate::request::MadeUp;
use report::Report;

const EXAMPLES: &str = "\
Shows inputs and outputs, the batch contract (whether rows of a request are proven not to influence each other, or
which node stands in the way), what one row costs, up to how many rows it pays to share a batch on this device, and
the operators before and after rewrites. FLOPs count a multiplication with an addition as two. What the cost depends
on can be set: open lengths with --dim, the value of an input that chooses a branch with --fill. With --run, a few
made-up requests of one row run one after the other, and the session's statistics are shown; for load, see bench.

Examples:
  unisono inspect model.onnx
  unisono inspect minilm.onnx --dim sequence_length=128 --run 10
  unisono inspect silero_vad.onnx --fill sr=8000
  unisono inspect model.onnx --json | jq .contract";

/// Show what a model is, what it costs, and whether its rows are independent
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// The ONNX model
    model: PathBuf,

    /// Run so many requests of one row, and show what the session's statistics say [without a number: 10]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10",
          value_parser = clap::value_parser!(u32).range(1..))]
    run: Option<u32>,

    #[command(flatten)]
    made_up: MadeUp,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded, or an option does not fit it.
pub fn inspect(args: &InspectArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let model = load(&args.model)?;
    let cost = cost::cost(&model, &args.made_up.assumptions)?;
    let device = args.device.build()?;
    let (plan, session) = match plan::first_request(&model, &device, &args.made_up)? {
        Ok(first) => {
            let runs = args.run.map(|runs| first.run(runs)).transpose()?;
            (Ok(first.plan), runs)
        }
        Err(why) if args.run.is_some() => {
            return Err(Failure::bad_input(format!("it cannot be run: {why}")));
        }
        Err(why) => (Err(why), None),
    };
    let name = args.model.display().to_string();
    let report = Report::new(name, &model, cost, plan, session);
    if args.json {
        writeln!(out, "{}", super::json_line(&report)?)?;
    } else {
        text::write(&report, out)?;
    }
    Ok(())
}
