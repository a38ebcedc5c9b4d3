//! The crash ledger: how many processes of the verification have ended badly on this machine, over all runs.
//!
//! The one idea: a line is written when a run begins and another when it ends, each by one append. A run whose second line is missing
//! went down itself: with the machine, by a signal, or because somebody pulled the plug. The ledger stands in the user's state folder.
//!
//! It must never keep a run from running: where it cannot be read or written, the report says so.

mod folder;
mod system;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::report::{CrashRecord, Header};

pub use system::CrashReports;

/// A process that ended badly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// The section that it ran.
    pub section: String,
    /// How it ended.
    pub what: String,
}

/// A line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
enum Line {
    Begun {
        id: String,
        version: String,
        process: u32,
    },
    Ended {
        id: String,
        run_id: String,
        crashes: Vec<Crash>,
    },
}

/// Where crashes are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    file: PathBuf,
}

/// What a ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs that began.
    pub runs: u64,
    /// Runs that never ended.
    pub unended: u64,
    /// Processes of sections that ended badly.
    pub crashes: u64,
    /// Lines that cannot be read.
    pub unreadable: u64,
}

impl Ledger {
    /// The name of the file.
    const NAME: &'static str = "verify-ledger.jsonl";

    /// In this folder.
    pub fn in_folder(folder: &Path) -> Ledger {
        Ledger {
            file: folder.join(Ledger::NAME),
        }
    }

    /// In the user's state folder, if the system has such a thing and says where: `$XDG_STATE_HOME/unisono`, by default
    /// `~/.local/state/unisono`; on macOS `~/Library/Application Support/unisono`; on Windows `%LOCALAPPDATA%\unisono`.
    pub fn of_user() -> Option<Ledger> {
        folder::state_folder().map(|folder| Ledger::in_folder(&folder))
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What it says now. A file that does not exist says nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn tally(&self) -> io::Result<Tally> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut tally = Tally::default();
        let mut open: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(Line::Begun { id, process, .. }) => {
                    tally.runs += 1;
                    // One that goes on beside us has not failed to end.
                    if !is_alive(process) {
                        open.push(id);
                    }
                }
                Ok(Line::Ended { id, crashes, .. }) => {
                    open.retain(|known| *known != id);
                    tally.crashes += crashes.len() as u64;
                }
                Err(_) => tally.unreadable += 1,
            }
        }
        tally.unended = open.len() as u64;
        Ok(tally)
    }

    fn append(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.file)?;
        // One write, so that the lines of two runs at once do not mix.
        file.write_all(text.as_bytes())
    }

    /// Notes that a run begins.
    pub(crate) fn open(&self) -> Book {
        let id = format!(
            "{}-{}",
            std::process::id(),
            crate::report::Stamp::now().run_id()
        );
        let before = self.tally();
        let begun = self.append(&Line::Begun {
            id: id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
        });
        Book {
            ledger: self.clone(),
            id,
            before: before.and_then(|tally| begun.map(|()| tally)),
            reports: CrashReports::now(),
        }
    }
}

/// A run in the ledger that has not ended yet.
pub(crate) struct Book {
    ledger: Ledger,
    id: String,
    before: io::Result<Tally>,
    reports: CrashReports,
}

impl Book {
    /// Notes that the run ends, with these crashes.
    pub fn close(self, header: &Header, crashes: &[Crash]) -> CrashRecord {
        let ended = self.ledger.append(&Line::Ended {
            id: self.id,
            run_id: header.run_id.clone(),
            crashes: crashes.to_vec(),
        });
        let found = self.reports.since();
        let mut record = CrashRecord {
            ledger: self.ledger.file.display().to_string(),
            runs_before: 0,
            crashes_before: 0,
            crashes_after: 0,
            unended_before: 0,
            trouble: None,
            system_reports_in: found.folders,
            system_reports: found.new,
        };
        match (self.before, ended) {
            (Ok(before), Ok(())) => {
                record.runs_before = before.runs;
                record.crashes_before = before.crashes;
                record.unended_before = before.unended;
                record.crashes_after = before.crashes + crashes.len() as u64;
                if before.unreadable > 0 {
                    record.trouble =
                        Some(format!("{} lines of it cannot be read", before.unreadable));
                }
            }
            (Err(error), _) | (_, Err(error)) => record.trouble = Some(error.to_string()),
        }
        record
    }
}

/// Is there a process of this number? Only Linux says so without further ado; elsewhere an open run counts as not ended.
fn is_alive(process: u32) -> bool {
    process == std::process::id() || Path::new(&format!("/proc/{process}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("unisono-ledger-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn begun(id: &str, process: u32) -> Line {
        Line::Begun {
            id: id.to_owned(),
            version: "1".to_owned(),
            process,
        }
    }

    #[test]
    fn crashes_and_runs_that_never_ended_are_counted_over_runs() {
        let folder = folder("counts");
        let ledger = Ledger::in_folder(&folder);
        assert_eq!(ledger.tally().unwrap(), Tally::default());
        ledger.append(&begun("a", u32::MAX)).unwrap();
        ledger.append(&begun("b", u32::MAX)).unwrap();
        let crash = Crash {
            section: "soak".to_owned(),
            what: "ended by signal 11 (SIGSEGV)".to_owned(),
        };
        let ended = Line::Ended {
            id: "b".to_owned(),
            run_id: "r".to_owned(),
            crashes: vec![crash.clone(), crash],
        };
        ledger.append(&ended).unwrap();
        ledger.append(&begun("c", std::process::id())).unwrap();
        let mut file = OpenOptions::new().append(true).open(ledger.file()).unwrap();
        file.write_all(b"{\"line\":\"beg\n").unwrap();
        let expected = Tally {
            runs: 3,
            unended: 1,
            crashes: 2,
            unreadable: 1,
        };
        assert_eq!(ledger.tally().unwrap(), expected);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_ledger_that_cannot_be_written_is_trouble_and_no_more() {
        let folder = folder("unwritable");
        std::fs::create_dir_all(&folder).unwrap();
        // A file stands where the folder should be.
        let blocked = folder.join("file");
        std::fs::write(&blocked, "").unwrap();
        let book = Ledger::in_folder(&blocked).open();
        let trouble = book.close(&crate::report::tests::header(), &[]).trouble;
        assert!(trouble.is_some());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
