//! The handle to a device: its backend, its lanes, its census, and the models prepared for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use unisono_tensor::mutant;

use crate::background::Leaders;
use crate::census::{Census, Resource, Token};
use crate::coalescer::Spin;
use crate::error::{Error, ErrorKind};
use crate::fork;
use crate::lane::{Lane, LanePool};
use crate::model::ModelGraph;
use crate::plan::{Backend, DeviceInfo, DeviceMemory, Executable};
use crate::roofline::Ceilings;
use crate::session::Scratch;
use crate::stall::notes::Notes;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// A device: owns threads, lanes and memory. Cheap to clone; the last handle ends its threads.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    /// First, so that its threads have ended before anything else goes.
    leaders: Leaders,
    backend: Box<dyn Backend>,
    lanes: LanePool<CountedLane>,
    census: Census,
    /// Models prepared and still in use, so that a second session of one shares its packed weights. A device serves
    /// few models, so a list is enough. Held while a model is prepared: a second session of the same model waits.
    prepared: Mutex<Vec<(Weak<ModelGraph>, Weak<Prepared>)>>,
    lane_count: usize,
    notes: Notes,
    /// The process it was made in; see [`crate::fork`].
    generation: u64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if fork::current() != self.generation {
            self.leaders.forget();
        }
    }
}

/// A lane with its place in the census.
pub(crate) struct CountedLane {
    pub(crate) lane: Box<dyn Lane>,
    pub(crate) token: Token,
    pub(crate) scratch: Scratch,
}

impl CountedLane {
    /// Tells the census what the lane holds now.
    pub(crate) fn recount(&mut self) {
        self.token.set_bytes(self.lane.bytes());
    }
}

/// A model on a device, with its place in the census.
pub(crate) struct Prepared {
    pub(crate) executable: Arc<dyn Executable>,
    token: Mutex<Token>,
    /// The bytes last told to the census, so that a run that packed nothing has nothing to tell.
    counted: AtomicU64,
}

impl Prepared {
    /// Tells the census what the model holds now: weights are packed when a run first needs them.
    pub(crate) fn recount(&self) {
        let bytes = self.executable.bytes();
        // Relaxed: the number orders nothing. Whoever sees another one asks again under the lock, so the census ends at
        // the truth; at worst a later run asks once more.
        if self.counted.swap(bytes, Ordering::Relaxed) != bytes {
            lock(&self.token).set_bytes(self.executable.bytes());
        }
    }
}

impl Device {
    /// A device with this backend. Fails if a lane cannot be made.
    pub fn new(backend: Box<dyn Backend>) -> Result<Device, Error> {
        let census = Census::new();
        let lanes = (0..backend.lane_count().max(1))
            .map(|_| {
                let lane = backend.new_lane()?;
                let token = census.count(Resource::Lane, lane.bytes());
                Ok(CountedLane {
                    lane,
                    token,
                    scratch: Scratch::default(),
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let lane_count = lanes.len();
        Ok(Device(Arc::new(Inner {
            leaders: Leaders::new(lane_count, backend.spin(), census.clone()),
            lane_count,
            notes: Notes::new(),
            generation: fork::generation(),
            backend,
            lanes: LanePool::new(lanes),
            census,
            prepared: Mutex::new(Vec::new()),
        })))
    }

    /// What the device is.
    pub fn info(&self) -> DeviceInfo {
        self.0.backend.info()
    }

    /// Exact counts of what was made and unmade on it.
    pub fn census(&self) -> &Census {
        &self.0.census
    }

    /// An error in a child of the process that made the device: its threads do not exist here.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if fork::current() == self.0.generation {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Device,
            "this process is a forked child of the one that made the device, and has none of its threads",
        )
        .with_advice("make the device, and sessions on it, in the child"))
    }

    pub(crate) fn leaders(&self) -> &Leaders {
        &self.0.leaders
    }

    pub(crate) fn lane_count(&self) -> usize {
        self.0.lane_count
    }

    /// What the device holds of memory of its own; `None` where it has none beside the host's.
    pub fn memory(&self) -> Option<DeviceMemory> {
        self.0.backend.memory()
    }

    /// Measures what the device can do at best, to set measured speeds beside it. Takes some tenths of a second, in which nothing else
    /// should run on it. `weight_bytes` is how much the model reads that the ceilings are for.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: the device has nothing to measure with. [`ErrorKind::OutOfMemory`]: there is not so much memory.
    /// [`ErrorKind::Device`]: it failed.
    pub fn ceilings(&self, weight_bytes: usize) -> Result<Ceilings, Error> {
        self.check_process()?;
        self.0.backend.ceilings(weight_bytes)
    }

    /// Does the device still work? Some errors end it for good: from then on every call on it ends with the same one.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<(), Error> {
        self.0.backend.check()
    }

    /// How many batches of a session with so many callers may be in flight, where batching pays.
    pub fn leader_count(&self, callers: usize) -> usize {
        self.0.backend.leaders(callers).clamp(1, self.0.lane_count)
    }

    pub(crate) fn lend_a_hand(&self) -> bool {
        self.0.backend.lend_a_hand()
    }

    pub(crate) fn spin_of_a_follower(&self, callers: usize) -> Spin {
        self.0.backend.spin_of_a_follower(callers)
    }

    pub(crate) fn asking(&self) -> Duration {
        self.0.backend.asking()
    }

    pub(crate) fn lanes(&self) -> &LanePool<CountedLane> {
        &self.0.lanes
    }

    /// How many lanes there are, and how many nobody holds.
    pub(crate) fn lanes_and_free(&self) -> (usize, usize) {
        (self.0.lane_count, self.0.lanes.free())
    }

    pub(crate) fn notes(&self) -> &Notes {
        &self.0.notes
    }

    pub(crate) fn prepare(&self, model: &Arc<ModelGraph>) -> Result<Arc<Prepared>, Error> {
        let mut list = lock(&self.0.prepared);
        list.retain(|(_, prepared)| prepared.strong_count() > 0);
        let known = list
            .iter()
            .find(|(m, _)| std::ptr::eq(m.as_ptr(), Arc::as_ptr(model)) || mutant!(ModelsMixedUp));
        if let Some(prepared) = known.and_then(|(_, p)| p.upgrade()) {
            return Ok(prepared);
        }
        let executable = self.0.backend.prepare(Arc::clone(model))?;
        let token = self.0.census.count(Resource::Model, executable.bytes());
        let prepared = Arc::new(Prepared {
            executable,
            token: Mutex::new(token),
            counted: AtomicU64::new(0),
        });
        list.push((Arc::downgrade(model), Arc::downgrade(&prepared)));
        Ok(prepared)
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("info", &self.info())
            .finish_non_exhaustive()
    }
}
