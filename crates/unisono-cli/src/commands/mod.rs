//! The subcommands, one file or folder each, and what they share.

pub mod bench;
pub mod completions;
pub mod devices;
pub mod inspect;
pub mod profile;
pub mod run;
pub mod verify;
pub mod verify_compare;

use std::path::Path;

use clap::Args;
use serde::Serialize;
use unisono::{Device, Isa, Model};

use crate::console::plain;
use crate::failure::Failure;

/// Options that choose a device.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub struct DeviceArgs {
    /// Where to run: cpu, or cuda:0, cuda:1, … for a GPU; `unisono devices` lists what there is
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,

    /// Threads of the CPU that compute at once [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Vector instructions of the CPU: scalar, avx2, avx512 or neon [default: the widest that the machine has]
    #[arg(long, value_name = "ISA", value_parser = isa)]
    isa: Option<Isa>,
}

fn isa(name: &str) -> Result<Isa, String> {
    let found = Isa::ALL.into_iter().find(|isa| isa.name() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = Isa::ALL.iter().map(|isa| isa.name()).collect();
        format!("should be one of {}", names.join(", "))
    })
}

impl DeviceArgs {
    /// The instruction set that was asked for.
    pub fn isa(&self) -> Option<Isa> {
        self.isa
    }

    /// Is it the CPU?
    pub fn is_cpu(&self) -> bool {
        self.device == "cpu"
    }

    /// The device.
    ///
    /// # Errors
    /// There is no such device or instruction set here.
    pub fn build(&self) -> Result<Device, Failure> {
        if !self.is_cpu() {
            for (option, given) in [
                ("--threads", self.threads.is_some()),
                ("--isa", self.isa.is_some()),
            ] {
                if given {
                    return Err(of_the_cpu(option, &self.device));
                }
            }
            return Ok(self.device.parse()?);
        }
        let mut builder = Device::builder();
        if let Some(threads) = self.threads {
            builder = builder.threads(threads.into());
        }
        if let Some(isa) = self.isa {
            builder = builder.isa(isa);
        }
        Ok(builder.build()?)
    }
}

/// An option that only the CPU has was given for another device.
pub fn of_the_cpu(option: &str, device: &str) -> Failure {
    Failure::bad_input(format!(
        "{option} is for the CPU, and the device is {}",
        plain(device)
    ))
    .help(format!("leave {option} out, or use --device cpu"))
}

/// Loads a model.
///
/// # Errors
/// What is wrong with the file.
pub fn load(path: &Path) -> Result<Model, Failure> {
    Model::load(path).map_err(|error| Failure::of_model(&error, path))
}

/// One line of JSON.
///
/// # Errors
/// None that a report of ours can cause.
pub fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::internal(format!("the report is no JSON: {error}")))
}
