//! The verification suite: certifies a machine, a device and a model.
//!
//! The one idea: a check that cannot fail is not a check. Sections talk to a [`subject::Subject`], of which a session is
//! one and subjects that are wrong on purpose are others; a section is trusted because its tests show it failing. Verdicts
//! say how much was seen, work follows from a seed, and nothing that was skipped is called passed.
//!
//! ```no_run
//! use unisono_verify::{Options, progress::Silent, run};
//!
//! let report = run(&Options::default(), &mut Silent)?;
//! println!("{}", unisono_verify::report::summary(&report));
//! assert!(report.is_acceptable());
//! # Ok::<(), unisono_verify::VerifyError>(())
//! ```
//!
//! It must never lock around a call of the subject, never decide an amount of work by a stopwatch, and never repeat a check
//! until it passes.
#![forbid(unsafe_code)]

pub mod accuracy;
pub mod callers;
pub mod case;
pub mod claims;
pub mod compare;
pub mod digest;
pub mod isolation;
pub mod ledger;
pub mod mutation;
pub mod options;
pub mod oracle;
pub mod progress;
pub mod random;
pub mod report;
pub mod requests;
mod run;
pub mod sections;
pub mod seed;
pub mod stats;
pub mod subject;
pub mod verdict;

pub use options::{Effort, InputOptions, OptionError, Options};
pub use report::Report;
pub use run::{Ran, VerifyError, run};
pub use sections::SectionId;
pub use verdict::Verdict;
