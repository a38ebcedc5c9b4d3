//! What lanes and models of a device share.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use unisono_cpu::CpuOptions;
use unisono_cpu::host::Host;
use unisono_runtime::team::{Team, TeamOptions};
use unisono_runtime::{Error, ErrorKind};

use crate::device::{CudaOptions, Opened};
use crate::driver::{Context, DeviceMemory, DevicePool, Kernels, Source, Stream};
use crate::exec::run::upload;
use crate::lower::Lowering;
use crate::program::{Resident, Upload};

/// Lowers a node; see [`crate::lower::lower`].
pub(crate) type LowerNode = fn(&mut Lowering<'_>) -> Result<bool, Error>;

/// Threads that copy a batch, the leader among them. With two fewer and with two more, 64 callers are answered more slowly.
const COPIERS: usize = 4;

/// A batch of so much copying wakes them. Where batches follow each other, the next one finds them awake.
const WORTH_WAKING_COPIERS: Duration = Duration::from_micros(10);

/// See the [module](self).
pub(crate) struct Engine {
    pub(crate) context: Context,
    pub(crate) pool: DevicePool,
    pub(crate) kernels: Kernels,
    pub(crate) lower: LowerNode,
    /// Runs what has no kernel here.
    pub(crate) host: Host,
    pub(crate) options: CudaOptions,
    /// Put batches together and cut their answers apart.
    pub(crate) copiers: Team,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Lanes made so far: their numbers.
    pub(crate) lanes: AtomicUsize,
    pub(crate) uploads: Arc<Uploads>,
}

impl Engine {
    /// Of a device that was opened.
    pub(crate) fn new(
        opened: Opened,
        options: &CudaOptions,
        sources: &[Source],
        lower: LowerNode,
    ) -> Result<Engine, Error> {
        let Opened { context, pool } = opened;
        let mut host = CpuOptions::default();
        host.arena_limit = options.arena_limit;
        let team = TeamOptions::default();
        let cores = team.threads;
        let threads = cores.clamp(1, COPIERS);
        let team = team.threads(threads).spin(options.spin);
        let copiers = Team::new(team.worth_waking(WORTH_WAKING_COPIERS)).map_err(|e| {
            Error::new(
                ErrorKind::Device,
                format!("{threads} threads that copy could not be started: {e}"),
            )
        })?;
        Ok(Engine {
            copiers,
            cores,
            kernels: Kernels::new(&context, sources)?,
            uploads: Arc::new(Uploads {
                pool: pool.clone(),
                stream: Mutex::new(Stream::new(&context)?),
            }),
            host: Host::new(&host)?,
            context,
            pool,
            lower,
            options: options.clone(),
            lanes: AtomicUsize::new(0),
        })
    }
}

/// Puts constants onto the device.
pub(crate) struct Uploads {
    pool: DevicePool,
    stream: Mutex<Stream>,
}

impl Upload for Uploads {
    fn upload(&self, bytes: &[u8]) -> Result<Arc<dyn Resident>, Error> {
        let memory = self.pool.allocate(bytes.len())?;
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        upload(&stream, &memory, bytes)?;
        Ok(Arc::new(memory))
    }
}

impl Resident for DeviceMemory {
    fn address(&self) -> u64 {
        DeviceMemory::address(self)
    }

    fn len(&self) -> usize {
        DeviceMemory::len(self)
    }
}
