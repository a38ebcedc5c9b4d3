//! Harm that a process does to itself, to see that the report tells the truth about it.

use std::alloc::Layout;
use std::fmt;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a section's process comes to harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Injury {
    /// It is killed, as the system does when memory runs out or an administrator does by hand.
    Kill,
    /// It aborts, as a library does that finds its own state broken.
    Abort,
    /// It exits without a report.
    Exit,
    /// It does nothing any more.
    Hang,
    /// It asks for memory until there is none. Its address space is limited beforehand, so that the machine does not suffer.
    Memory,
}

/// The most that a process may have which is to run out of memory, in KiB: enough to get going.
pub(super) const MEMORY_KIB: u64 = 4 << 20;

impl Injury {
    /// All of them.
    pub const ALL: [Injury; 5] = [
        Injury::Kill,
        Injury::Abort,
        Injury::Exit,
        Injury::Hang,
        Injury::Memory,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Injury::Kill => "kill",
            Injury::Abort => "abort",
            Injury::Exit => "exit",
            Injury::Hang => "hang",
            Injury::Memory => "memory",
        }
    }

    /// Does it. Returns only if the system does not let it.
    pub(super) fn inflict(self) {
        match self {
            Injury::Kill => {
                let process = std::process::id().to_string();
                // If there is no such program, the abort below is harm enough.
                let _ = Command::new("kill").args(["-KILL", &process]).status();
                std::thread::sleep(Duration::from_secs(5));
                std::process::abort();
            }
            Injury::Abort => std::process::abort(),
            Injury::Exit => std::process::exit(7),
            Injury::Hang => loop {
                std::thread::park();
            },
            Injury::Memory => {
                const PIECE: usize = 64 << 20;
                let pieces = 2 * (MEMORY_KIB << 10) / PIECE as u64;
                // Zeros cost address space and no time.
                let _kept: Vec<Vec<u8>> = (0..pieces).map(|_| vec![0; PIECE]).collect();
                // The system keeps to no limit: what an allocation does that fails.
                std::alloc::handle_alloc_error(Layout::new::<[u8; PIECE]>());
            }
        }
    }
}

impl fmt::Display for Injury {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Injury {
    type Err = String;

    fn from_str(name: &str) -> Result<Injury, String> {
        let known = Injury::ALL.into_iter().find(|injury| injury.name() == name);
        known.ok_or_else(|| {
            let names = Injury::ALL.map(Injury::name);
            format!("should be one of {}", names.join(", "))
        })
    }
}
