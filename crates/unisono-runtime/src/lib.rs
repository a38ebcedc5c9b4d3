//! The device-independent half of running a model: sessions, plans, lanes, threads.
//!
//! The one idea: all concurrency lives here and nowhere else. A device ([`plan::Backend`]) is told what to run and on
//! which lane, and never locks, spawns or waits itself; its worker threads are a [`team::Team`] from here.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`session`] | [`Session`]: a model bound to a device, run by any number of threads |
//! | [`device`] | [`Device`]: the handle to a backend with its lanes and census |
//! | [`plan`] | the traits that a device implements, and the key of a plan |
//! | [`plan_cache`] | compile once per key, bounded in bytes |
//! | [`profile`] | what a request's time went into, step by step |
//! | [`program`] | what every device does on the way from a graph to a program |
//! | [`coalescer`] | callers become batches: the queue, leadership, who shares a batch |
//! | [`stats`] | what a session did |
//! | [`stall`] | who waits for what, when nothing moves |
//! | [`lane`] | what a batch in flight needs, handed out in turn |
//! | [`team`] | worker threads that take tiles of a leader's work |
//! | [`census`] | exact counts of what is made and unmade |
//! | [`sync`] | the one door to threads, locks and atomics; loom's twins come through it too |

mod background;
pub mod census;
pub mod coalescer;
pub mod device;
pub mod error;
pub mod fork;
mod gate;
pub mod lane;
pub mod model;
pub mod plan;
pub mod plan_cache;
pub mod profile;
pub mod program;
pub mod request;
pub mod roofline;
pub mod session;
pub mod stall;
pub mod stats;
mod stripes;
pub mod sync;
pub mod team;

pub use device::Device;
pub use error::{Error, ErrorKind};
pub use session::Session;
