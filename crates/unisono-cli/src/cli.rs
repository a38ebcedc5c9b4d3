//! The command line: what can be said, and who does it.

use std::io::Write;

use clap::{Parser, Subcommand};

use crate::commands::bench::{BenchArgs, bench};
use crate::commands::completions::{CompletionsArgs, completions};
use crate::commands::devices::{DevicesArgs, devices};
use crate::commands::inspect::{InspectArgs, inspect};
use crate::commands::profile::{ProfileArgs, profile};
use crate::commands::run::{RunArgs, run};
use crate::commands::verify::{VerifyArgs, verify};
use crate::failure::Failure;

const HELP: &str = "\
Examples:
  unisono inspect model.onnx                          what it is, and whether its rows are independent
  unisono run model.onnx                              one answer to made-up inputs
  unisono run model.onnx --input x=x.npy --output-dir out
  unisono bench model.onnx --callers 1,8              throughput and latency
  unisono profile model.onnx --svg profile.svg        which nodes take the time, and what could be gained
  unisono verify                                      what this machine can be trusted with
  unisono devices                                     what there is to run on

Exit codes:
  0  all is well
  1  a check failed: a verdict is negative
  2  usage, or something given to the program is wrong: a file, a model, a shape
  3  the program failed, or the machine did";

/// Runs neural-network models for many callers at once, with the same bits as for one
#[derive(Parser, Debug)]
#[command(name = "unisono", version, after_help = HELP, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Inspect(InspectArgs),
    Run(RunArgs),
    Bench(BenchArgs),
    Profile(ProfileArgs),
    Verify(VerifyArgs),
    Devices(DevicesArgs),
    Completions(CompletionsArgs),
}

impl Cli {
    /// Does what was said, writing results to `out`.
    ///
    /// # Errors
    /// Why not.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        match &self.command {
            Command::Inspect(args) => inspect(args, out),
            Command::Run(args) => run(args, out),
            Command::Bench(args) => bench(args, out),
            Command::Profile(args) => profile(args, out),
            Command::Verify(args) => verify(args, out),
            Command::Devices(args) => devices(args, out),
            Command::Completions(args) => completions(args, out),
        }
    }
}
