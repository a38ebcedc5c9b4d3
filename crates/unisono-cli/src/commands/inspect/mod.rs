//! `unisono inspect`: what a model is, what it costs, and whether its rows are independent.

mod contract;
mod cost;
mod report;
mod text;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::load;
use crate::failure::Failure;
use crate::request::Assumptions;
use report::Report;

const EXAMPLES: &str = "\
Shows inputs and outputs, the batch contract (whether rows of a request are proven not to influence each other, or
which node stands in the way), what one row costs, and the operators before and after rewrites. FLOPs count a
multiplication with an addition as two. What the cost depends on can be set: open lengths with --dim, the value of
an input that chooses a branch with --fill.

Examples:
  unisono inspect model.onnx
  unisono inspect minilm.onnx --dim sequence=128
  unisono inspect silero_vad.onnx --fill sr=8000
  unisono inspect model.onnx --json | jq .contract";

/// Show what a model is, what it costs, and whether its rows are independent
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// The ONNX model
    model: PathBuf,

    #[command(flatten)]
    assumptions: Assumptions,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded, or an option does not fit it.
pub fn inspect(args: &InspectArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let model = load(&args.model)?;
    let cost = cost::cost(&model, &args.assumptions)?;
    let report = Report::new(args.model.display().to_string(), &model, cost);
    if args.json {
        writeln!(out, "{}", super::json_line(&report)?)?;
    } else {
        text::write(&report, out)?;
    }
    Ok(())
}
