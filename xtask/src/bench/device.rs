//! On which device the engines run, and what follows from it: models, cells, engines, and where the results go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cells::{CPU_MODELS, CUDA_MODELS, Model};
use super::engines::{CPU_ENGINES, CUDA_ENGINES, Kind};
use crate::shell;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    #[default]
    Cpu,
    /// An NVIDIA GPU, in the driver's order.
    Cuda(u32),
}

impl Device {
    /// `cpu`, or `cuda:0`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Device, String> {
        match text.split_once(':') {
            None if text == "cpu" => Some(Device::Cpu),
            Some(("cuda", index)) => index.parse().ok().map(Device::Cuda),
            _ => None,
        }
        .ok_or_else(|| format!("`{text}` is no device; write cpu or cuda:0"))
    }

    pub fn models(self) -> &'static [Model] {
        match self {
            Device::Cpu => CPU_MODELS,
            Device::Cuda(_) => CUDA_MODELS,
        }
    }

    /// The model of that name.
    pub fn model(self, name: &str) -> Option<&'static Model> {
        self.models().iter().find(|model| model.name == name)
    }

    /// The engines, in the order of tables and charts.
    pub fn engines(self) -> &'static [Kind] {
        match self {
            Device::Cpu => CPU_ENGINES,
            Device::Cuda(_) => CUDA_ENGINES,
        }
    }

    /// Where speeds are documented.
    pub fn documentation(self) -> PathBuf {
        shell::root().join(match self {
            Device::Cpu => "docs/benchmarks/cpu",
            Device::Cuda(_) => "docs/benchmarks/cuda",
        })
    }

    /// In the title of the results.
    pub fn title(self) -> &'static str {
        match self {
            Device::Cpu => "the CPU",
            Device::Cuda(_) => "a GPU",
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Device, String> {
        Device::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(Device::parse(&device.to_string()), Ok(device));
        }
        for wrong in ["", "gpu", "cuda", "cuda:", "cuda:-1", "cpu:0"] {
            assert!(Device::parse(wrong).is_err(), "`{wrong}`");
        }
    }
}
