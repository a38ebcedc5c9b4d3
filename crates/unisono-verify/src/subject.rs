//! What is verified, seen from outside.
//!
//! The one idea: the sections know nothing of sessions. They talk to a [`Subject`] that answers requests, and the real
//! session is one of several: our own tests put subjects in its place that are wrong on purpose, and assert that the
//! sections say so. A check that accepts a wrong subject is not a check.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use unisono::{Device, Error, Isa, Model, Resource, RunOptions, Session, Tensor};

/// How a device is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    /// Threads that compute at once; `None` for all cores.
    pub threads: Option<usize>,
    /// Vector instructions; `None` for the widest.
    pub isa: Option<Isa>,
}

impl Setup {
    /// What a user gets who sets nothing.
    pub const DEFAULT: Setup = Setup {
        threads: None,
        isa: None,
    };
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.isa {
            Some(isa) => write!(f, "{isa}")?,
            None => f.write_str("the widest instructions")?,
        }
        match self.threads {
            Some(1) => f.write_str(", 1 thread"),
            Some(n) => write!(f, ", {n} threads"),
            None => f.write_str(", all threads"),
        }
    }
}

/// Answers requests, from any number of threads.
pub trait Subject: Send + Sync {
    /// Answers one request: outputs in the model's order.
    ///
    /// # Errors
    /// As a session's `run`.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error>;

    /// Answers a request whose deadline has passed: it should be refused.
    ///
    /// # Errors
    /// Always, if all is well.
    fn run_late(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error>;
}

/// How many of one thing were made and unmade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What is counted.
    pub what: &'static str,
    /// Ever made.
    pub created: u64,
    /// Ever unmade.
    pub released: u64,
    /// Bytes held now.
    pub bytes: u64,
}

/// A device set up in one way, ready for one model.
pub trait Rig {
    /// Binds the model to the device: plans are cold.
    ///
    /// # Errors
    /// As `Model::session`.
    fn open(&self) -> Result<Arc<dyn Subject>, Error>;

    /// What was made and unmade for subjects so far. What the device itself keeps for later is not in it.
    fn census(&self) -> Vec<Held>;
}

/// Sets devices up.
pub trait Lab {
    /// A device of its own.
    ///
    /// # Errors
    /// The machine lacks what the setup asks for.
    fn rig(&self, setup: Setup) -> Result<Box<dyn Rig>, Error>;
}

/// A model on devices of this machine.
pub struct ModelLab {
    model: Model,
    /// The number of threads that "all" means; `None` for all cores.
    threads: Option<usize>,
}

impl ModelLab {
    /// A lab for the model in which "all threads" means this many.
    pub fn new(model: Model, threads: Option<usize>) -> ModelLab {
        ModelLab { model, threads }
    }

    /// The device of a setup.
    ///
    /// # Errors
    /// As [`Lab::rig`].
    pub fn device(threads: Option<usize>, isa: Option<Isa>) -> Result<Device, Error> {
        let mut builder = Device::builder();
        if let Some(threads) = threads {
            builder = builder.threads(threads);
        }
        if let Some(isa) = isa {
            builder = builder.isa(isa);
        }
        builder.build()
    }
}

impl Lab for ModelLab {
    fn rig(&self, setup: Setup) -> Result<Box<dyn Rig>, Error> {
        let device = ModelLab::device(setup.threads.or(self.threads), setup.isa)?;
        Ok(Box::new(ModelRig {
            device,
            model: self.model.clone(),
        }))
    }
}

struct ModelRig {
    device: Device,
    model: Model,
}

impl Rig for ModelRig {
    fn open(&self) -> Result<Arc<dyn Subject>, Error> {
        Ok(Arc::new(self.model.session(&self.device)?))
    }

    fn census(&self) -> Vec<Held> {
        let classes = Resource::ALL
            .into_iter()
            .filter(|class| !class.is_kept_by_device());
        let held = |class: Resource| {
            let count = self.device.census().get(class);
            Held {
                what: class.name(),
                created: count.created,
                released: count.released,
                bytes: count.bytes,
            }
        };
        classes.map(held).collect()
    }
}

impl Subject for Session {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let outputs = Session::run(self, inputs)?;
        Ok(outputs.iter().map(|(_, tensor)| tensor.clone()).collect())
    }

    fn run_late(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let late = RunOptions::new().deadline(Instant::now());
        let outputs = self.run_with(inputs, &late)?;
        Ok(outputs.iter().map(|(_, tensor)| tensor.clone()).collect())
    }
}
