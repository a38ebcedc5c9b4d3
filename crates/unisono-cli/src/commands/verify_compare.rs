//! `unisono verify compare`: what changed between two reports.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use unisono_verify::Report;
use unisono_verify::report::Changes;

use crate::failure::Failure;

const HELP: &str = "\
Answers to the same requests must be the same bits on every machine: a digest that differs with the same seed and
arithmetic stands first. Then come the runs' differences, verdicts that changed, and figures whose intervals have nothing
in common. Speed alone makes nothing worse: whether it suffices is what verdicts say.

Example:
  unisono verify compare before/report.json after/report.json

Exit codes:
  0  nothing is worse in B
  1  a verdict is worse in B, or answers differ that must not
  2  a file is no report, or one of another version";

/// Show what changed between two reports: of two machines, drivers or versions
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct CompareArgs {
    /// The report.json to start from
    #[arg(value_name = "A.json")]
    a: PathBuf,

    /// The report.json to compare with it
    #[arg(value_name = "B.json")]
    b: PathBuf,

    /// Print what changed as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A file is no report, or something is worse.
pub fn compare(args: &CompareArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let changes = Changes::between(&read(&args.a)?, &read(&args.b)?);
    if args.json {
        writeln!(out, "{}", super::json_line(&changes)?)?;
    } else {
        write!(out, "{}", changes.to_text())?;
    }
    out.flush()?;
    match changes.worse {
        true => Err(Failure::negative("something is worse in B")),
        false => Ok(()),
    }
}

fn read(path: &Path) -> Result<Report, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::bad_input(format!("the report cannot be read: {error}")).at(path.display())
    })?;
    Report::from_json(&text).map_err(|error| {
        Failure::bad_input(error.to_string())
            .at(path.display())
            .help("give two files report.json that `unisono verify` of this version has written")
    })
}
