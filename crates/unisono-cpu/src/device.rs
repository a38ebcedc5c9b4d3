//! The CPU device: its options, its threads, its lanes.

use std::sync::Arc;
use std::time::Duration;

use unisono_runtime::device::Device;
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Backend, DeviceInfo, Executable};
use unisono_runtime::roofline::Ceilings;
use unisono_runtime::team::{Team, TeamOptions};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::DeviceId;

use crate::exec::cost::NEAR_BYTES;
use crate::exec::lane::CpuLane;
use crate::exec::model::{CpuExecutable, CpuModel, Engine};
use crate::roofline::RooflineProbe;
use crate::simd::{FpEnv, Isa};

/// How a CPU device is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CpuOptions {
    /// Threads that compute: as many lanes, and one worker fewer. Default: the cores that this process may use.
    pub threads: usize,
    /// The instruction set. Default: the widest that the machine has. The bits do not depend on it.
    pub isa: Isa,
    /// How long an idle worker spins before it sleeps. Default: 200 µs.
    pub spin: Duration,
    /// Bytes of intermediate values that one run may need. Default: 4 GiB.
    pub arena_limit: usize,
}

impl Default for CpuOptions {
    fn default() -> Self {
        let team = TeamOptions::default();
        CpuOptions {
            threads: team.threads,
            isa: Isa::detect(),
            spin: team.spin,
            arena_limit: 4 << 30,
        }
    }
}

/// A CPU device with these options.
///
/// # Errors
/// An instruction set that the machine does not have; threads that the system refuses.
pub fn device(options: &CpuOptions) -> Result<Device, Error> {
    Device::new(backend(options)?)
}

/// What [`device()`] hands to the runtime, for those who want lanes and batches of their own.
///
/// # Errors
/// As [`device()`].
pub fn backend(options: &CpuOptions) -> Result<Box<dyn Backend>, Error> {
    Ok(Box::new(Cpu::new(options)?))
}

pub(crate) struct Cpu {
    pub(crate) engine: Arc<Engine>,
    spin: Duration,
}

impl Cpu {
    /// Starts the threads.
    pub(crate) fn new(options: &CpuOptions) -> Result<Cpu, Error> {
        if !options.isa.is_available() {
            let available: Vec<&str> = Isa::available().map(Isa::name).collect();
            return Err(Error::new(
                ErrorKind::Device,
                format!(
                    "this machine does not have {}; it has {}",
                    options.isa.name(),
                    available.join(", ")
                ),
            ));
        }
        let team = TeamOptions::default()
            .threads(options.threads)
            .spin(options.spin)
            .on_thread_start(|| {
                // For the life of the thread: workers run nothing but kernels.
                std::mem::forget(FpEnv::new());
            });
        let team = Team::new(team).map_err(|e| {
            Error::new(
                ErrorKind::Device,
                format!(
                    "{} worker threads could not be started: {e}; ask for fewer",
                    options.threads
                ),
            )
        })?;
        let engine = Engine {
            team,
            solo: Team::solo(),
            isa: options.isa,
            arena_limit: options.arena_limit,
            near_bytes: NEAR_BYTES,
        };
        Ok(Cpu {
            engine: Arc::new(engine),
            spin: options.spin,
        })
    }
}

impl Backend for Cpu {
    fn info(&self) -> DeviceInfo {
        DeviceInfo::new(
            DeviceId::Cpu,
            processor_name(),
            self.engine.team.threads(),
            self.engine.isa.name().to_owned(),
        )
    }

    fn lane_count(&self) -> usize {
        self.engine.team.threads()
    }

    fn lend_a_hand(&self) -> bool {
        if !self.engine.team.needs_stand_in() {
            return false;
        }
        let _default_rounding = FpEnv::new();
        self.engine.team.help()
    }

    fn spin(&self) -> Duration {
        self.spin
    }

    fn ceilings(&self, weight_bytes: usize) -> Result<Ceilings, Error> {
        let probe = RooflineProbe::new(self.engine.isa, self.engine.team.threads())?;
        Ok(probe.measure(weight_bytes)?.into())
    }

    fn new_lane(&self) -> Result<Box<dyn Lane>, Error> {
        Ok(Box::new(CpuLane::default()))
    }

    fn prepare(&self, model: Arc<ModelGraph>) -> Result<Arc<dyn Executable>, Error> {
        Ok(Arc::new(CpuExecutable(Arc::new(CpuModel::new(
            model,
            Arc::clone(&self.engine),
        )?))))
    }
}

/// The processor's name as the operating system tells it, or its architecture.
fn processor_name() -> String {
    let from_proc = || {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    from_proc().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
