//! `unisono devices`: what this machine can run models on.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use unisono::{CudaInfo, Device, Error, ErrorKind, Isa};

use crate::console::{Table, bytes, plain};
use crate::failure::Failure;

const HELP: &str = "\
The names go behind --device. Threads are those of the CPU, processors the multiprocessors of a GPU; driver is the
newest CUDA that the GPU's driver is for. Where no GPU can be used, a line says why.

With --json, a line is one device, or {\"absent\": \"cuda\", \"why\": …}.

Examples:
  unisono devices
  unisono run model.onnx --device cuda:0";

/// List the devices of this machine
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct DevicesArgs {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Cpu {
    device: String,
    name: String,
    threads: usize,
    isa: String,
    available_isas: Vec<&'static str>,
}

#[derive(Serialize)]
struct Cuda {
    device: String,
    name: String,
    processors: u32,
    isa: String,
    memory_bytes: u64,
    ecc: bool,
    uuid: String,
    driver: String,
}

#[derive(Serialize)]
struct Absent {
    absent: &'static str,
    why: String,
    what_to_do: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The CPU cannot be opened, or standard output not written.
pub fn devices(args: &DevicesArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let info = Device::cpu()?.info();
    let cpu = Cpu {
        device: info.id.to_string(),
        name: info.name,
        threads: info.threads,
        isa: info.isa,
        available_isas: Isa::available().map(Isa::name).collect(),
    };
    let cuda = Device::list_cuda().and_then(|found| match found.is_empty() {
        true => Err(
            Error::new(ErrorKind::Device, "the CUDA driver shows no device")
                .with_advice("see what `nvidia-smi` and CUDA_VISIBLE_DEVICES say"),
        ),
        false => Ok(found.into_iter().map(Cuda::of).collect::<Vec<_>>()),
    });
    if args.json {
        return lines(&cpu, &cuda, out);
    }
    let others: Vec<&str> = cpu
        .available_isas
        .iter()
        .copied()
        .filter(|isa| *isa != cpu.isa)
        .collect();
    let mut table = Table::new(&["device", ">threads", "isa", "also", "name"]);
    table.row([
        cpu.device,
        cpu.threads.to_string(),
        cpu.isa,
        others.join(", "),
        plain(&cpu.name),
    ]);
    table.write(out, "")?;
    writeln!(out)?;
    let found = match cuda {
        Ok(found) => found,
        Err(error) => {
            writeln!(out, "no CUDA device: {}", plain(error.message()))?;
            return Ok(());
        }
    };
    let mut table = Table::new(&[
        "device",
        ">processors",
        "isa",
        ">memory",
        "ecc",
        "driver",
        "name",
    ]);
    for device in found {
        table.row([
            device.device,
            device.processors.to_string(),
            device.isa,
            bytes(device.memory_bytes),
            if device.ecc { "yes" } else { "no" }.to_owned(),
            format!("CUDA {}", device.driver),
            plain(&device.name),
        ]);
    }
    table.write(out, "")?;
    Ok(())
}

fn lines(cpu: &Cpu, cuda: &Result<Vec<Cuda>, Error>, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{}", super::json_line(cpu)?)?;
    match cuda {
        Ok(found) => {
            for device in found {
                writeln!(out, "{}", super::json_line(device)?)?;
            }
        }
        Err(error) => {
            let absent = Absent {
                absent: "cuda",
                why: error.message().to_owned(),
                what_to_do: error.advice().map(str::to_owned),
            };
            writeln!(out, "{}", super::json_line(&absent)?)?;
        }
    }
    Ok(())
}

impl Cuda {
    fn of(info: CudaInfo) -> Cuda {
        Cuda {
            device: info.id.to_string(),
            name: info.name,
            processors: info.processors,
            isa: info.architecture,
            memory_bytes: info.memory_bytes,
            ecc: info.ecc,
            uuid: info.uuid,
            driver: info.driver,
        }
    }
}
