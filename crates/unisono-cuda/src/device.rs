//! The CUDA device: its options, and what all that runs on it shares.

use std::sync::Arc;
use std::time::Duration;

use unisono_runtime::coalescer::Spin;
use unisono_runtime::device::Device;
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Backend, DeviceInfo, DeviceMemory, Executable};
use unisono_runtime::roofline::Ceilings;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::DeviceId;

use crate::driver::{Context, DevicePool, Driver, Properties};
use crate::exec::ceilings::ceilings;
use crate::exec::engine::Engine;
use crate::exec::lane::CudaLane;
use crate::exec::model::CudaExecutable;
use crate::kernels::SOURCES;
use crate::lower::lower;

/// How a CUDA device is made. None of it can change a bit of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaOptions {
    /// Which device: the 0 of `cuda:0`, in the driver's order.
    pub index: usize,
    /// The most bytes of device memory that may be used. Default: 90 % of what the device has.
    pub memory_limit: Option<u64>,
    /// Batches in flight at once. Default: 6. A session has at most one for every 3 of its callers and for every 2 cores, but 2 in any case, so
    /// that one is copied while the other is computed.
    pub lanes: usize,
    /// How long a thread looks again and again whether its batch is done, or whether there is something to copy, before it sleeps. Default:
    /// 200 µs, about what several wake-ups cost.
    pub spin: Duration,
    /// The most rows for which several requests run together; larger batches run in several pieces. A single request with more rows
    /// runs as a whole. Default: 1,024.
    pub max_bucket_rows: usize,
    /// Bytes of intermediate values that one run may need. Default: 4 GiB.
    pub arena_limit: usize,
}

impl Default for CudaOptions {
    fn default() -> Self {
        CudaOptions {
            index: 0,
            memory_limit: None,
            lanes: 6,
            spin: Duration::from_micros(200),
            max_bucket_rows: 1024,
            arena_limit: 4 << 30,
        }
    }
}

/// Batches in flight for however few callers: one is copied while the other is computed.
const FEWEST_LEADERS: usize = 2;

/// So many callers have another batch in flight: waking its followers and putting it together takes longer than a small batch
/// takes on a fast device. With 4, 8 callers of a transformer got 8 % less, 16 of another 8 %, and 8 of a convolution 7 % more (H200).
const CALLERS_OF_A_LEADER: usize = 3;

/// A leader looks for the end of its batch all the time. So many cores have one of them.
const CORES_OF_A_LEADER: usize = 2;

/// Callers for each core from which on a follower gives way instead of sleeping.
const CROWD: usize = 4;

/// What waking a sleeper costs the waker where cores are idle and virtual, in nanoseconds.
const WAKE_NS: usize = 2_500;

/// The longest that one of many followers keeps looking.
const LONGEST_LOOK: Duration = Duration::from_millis(2);

/// A quarter of what a small batch takes on a fast device.
const ASKING: Duration = Duration::from_micros(12);

/// A device that was opened: what lanes and models on it need.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its context.
    pub context: Context,
    /// All its memory.
    pub pool: DevicePool,
}

impl Opened {
    /// Opens a device.
    ///
    /// # Errors
    /// [`ErrorKind::Device`]: there is no driver, no such device, or it cannot be used; an option makes no sense.
    pub fn new(options: &CudaOptions) -> Result<Opened, Error> {
        for (what, value) in [
            ("lane", options.lanes),
            ("row in a bucket", options.max_bucket_rows),
        ] {
            if value == 0 {
                return Err(Error::new(
                    ErrorKind::Device,
                    format!("a CUDA device needs at least one {what}"),
                ));
            }
        }
        let context = Context::open(Driver::load()?, options.index)?;
        let pool = DevicePool::new(&context, options.memory_limit);
        Ok(Opened { context, pool })
    }
}

/// A CUDA device with these options.
///
/// # Errors
/// As [`Opened::new`].
pub fn device(options: &CudaOptions) -> Result<Device, Error> {
    Device::new(backend(options)?)
}

/// What [`device()`] hands to the runtime, for those who want lanes and batches of their own.
///
/// # Errors
/// As [`device()`].
pub fn backend(options: &CudaOptions) -> Result<Box<dyn Backend>, Error> {
    let opened = Opened::new(options)?;
    let engine = Engine::new(opened, options, SOURCES, lower)?;
    Ok(Box::new(Cuda(Arc::new(engine))))
}

/// How many of so many callers may lead at the same time.
fn leaders(callers: usize, cores: usize) -> usize {
    let by_callers = callers.div_ceil(CALLERS_OF_A_LEADER);
    by_callers
        .min(cores / CORES_OF_A_LEADER)
        .max(FEWEST_LEADERS)
}

/// How one of so many callers looks for its answer.
fn look(callers: usize, cores: usize, spin: Duration) -> Spin {
    if callers < cores {
        // The cores have nothing else to do as long as there is one for everybody.
        return Spin {
            time: spin,
            gives_way: false,
        };
    }
    if spin.is_zero() || callers <= CROWD.saturating_mul(cores) {
        return Spin::default();
    }
    // Those who would sleep are woken by their leaders, one after the other. For as long as that takes it is cheaper to let them take
    // turns on the cores, on which whoever has work goes first.
    let all_of_them = Duration::from_nanos(callers.saturating_mul(WAKE_NS) as u64);
    Spin {
        time: all_of_them.min(LONGEST_LOOK),
        gives_way: true,
    }
}

pub(crate) struct Cuda(pub(crate) Arc<Engine>);

impl Backend for Cuda {
    fn info(&self) -> DeviceInfo {
        let properties = self.0.context.properties();
        DeviceInfo::new(
            DeviceId::Cuda(u32::try_from(properties.index).unwrap_or(u32::MAX)),
            properties.name.clone(),
            properties.processors as usize,
            properties.architecture(),
        )
    }

    fn lane_count(&self) -> usize {
        self.0.options.lanes
    }

    fn leaders(&self, callers: usize) -> usize {
        leaders(callers, self.0.cores)
    }

    fn memory(&self) -> Option<DeviceMemory> {
        let pool = self.0.pool.stats();
        let mut memory = DeviceMemory::new(pool.in_use_bytes, pool.limit_bytes);
        memory.kept_bytes = pool.kept_bytes;
        memory.peak_bytes = pool.peak_bytes;
        memory.pinned_bytes = self.0.context.counts().snapshot().pinned_bytes;
        Some(memory)
    }

    fn ceilings(&self, weight_bytes: usize) -> Result<Ceilings, Error> {
        ceilings(&self.0, weight_bytes)
    }

    fn check(&self) -> Result<(), Error> {
        self.0.context.check()
    }

    fn spin_of_a_follower(&self, callers: usize) -> Spin {
        look(callers, self.0.cores, self.0.options.spin)
    }

    fn asking(&self) -> Duration {
        ASKING
    }

    fn new_lane(&self) -> Result<Box<dyn Lane>, Error> {
        Ok(Box::new(CudaLane::new(&self.0)?))
    }

    fn prepare(&self, model: Arc<ModelGraph>) -> Result<Arc<dyn Executable>, Error> {
        Ok(Arc::new(CudaExecutable::new(model, &self.0)?))
    }
}

/// All CUDA devices of this machine, whether or not they can be used.
///
/// # Errors
/// [`ErrorKind::Device`]: there is no driver, or it cannot be used.
pub fn devices() -> Result<Vec<Properties>, Error> {
    Driver::load()?.devices()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_as_many_as_callers_and_cores_are_good_for() {
        assert_eq!([1, 2, 6].map(|callers| leaders(callers, 16)), [2, 2, 2]);
        assert_eq!([7, 8, 16, 64].map(|n| leaders(n, 16)), [3, 3, 6, 8]);
        assert_eq!([1, 2, 4, 12].map(|cores| leaders(64, cores)), [2, 2, 2, 6]);
    }

    #[test]
    fn followers_spin_where_there_is_a_core_for_each_and_give_way_where_there_are_many() {
        let spin = Duration::from_micros(200);
        let time = |time, gives_way| Spin { time, gives_way };
        assert_eq!(look(8, 16, spin), time(spin, false));
        assert_eq!(look(16, 16, spin), Spin::default());
        assert_eq!(look(64, 16, spin), Spin::default());
        assert_eq!(look(256, 16, spin), time(Duration::from_micros(640), true));
        assert_eq!(look(usize::MAX, 16, spin), time(LONGEST_LOOK, true));
        for callers in [1, 64, 256] {
            assert_eq!(look(callers, 16, Duration::ZERO).time, Duration::ZERO);
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused_before_the_driver_is_looked_for() {
        let no_lanes = CudaOptions {
            lanes: 0,
            ..CudaOptions::default()
        };
        let no_rows = CudaOptions {
            max_bucket_rows: 0,
            ..CudaOptions::default()
        };
        for (options, says) in [(no_lanes, "one lane"), (no_rows, "one row in a bucket")] {
            let error = Opened::new(&options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Device);
            assert!(error.message().contains(says), "{error}");
        }
    }
}
