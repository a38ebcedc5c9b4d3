//! `unisono devices`: what this machine can run models on.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use unisono::{Device, Isa};

use crate::console::{Table, plain};
use crate::failure::Failure;

/// List the devices of this machine
#[derive(Args, Debug)]
pub struct DevicesArgs {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    device: String,
    name: String,
    threads: usize,
    isa: String,
    available_isas: Vec<&'static str>,
}

/// Runs the command.
///
/// # Errors
/// A device cannot be opened, or standard output not written.
pub fn devices(args: &DevicesArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let info = Device::cpu()?.info();
    let line = Line {
        device: info.id.to_string(),
        name: info.name,
        threads: info.threads,
        isa: info.isa,
        available_isas: Isa::available().map(Isa::name).collect(),
    };
    if args.json {
        writeln!(out, "{}", super::json_line(&line)?)?;
        return Ok(());
    }
    let mut table = Table::new(&["device", ">threads", "isa", "also", "name"]);
    let others: Vec<&str> = line
        .available_isas
        .iter()
        .copied()
        .filter(|isa| *isa != line.isa)
        .collect();
    table.row([
        line.device,
        line.threads.to_string(),
        line.isa,
        others.join(", "),
        plain(&line.name),
    ]);
    table.write(out, "")?;
    Ok(())
}
