//! On what was measured, and of what.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::results::Machine;
use crate::shell;

/// This machine; its best speed is not known yet.
pub fn here() -> Machine {
    Machine {
        cpu: cpu().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        isa: isa().to_owned(),
        gpu: None,
        gflops: None,
        busy_cores: busy_cores(),
    }
}

/// Cores' worth of work that is under way while we do nothing; looks for a second. Where the system tells (Linux).
fn busy_cores() -> Option<f64> {
    let before = Ticks::now(None)?;
    std::thread::sleep(Duration::from_secs(1));
    Ticks::now(None)?.others_since(&before)
}

/// What the cores have done since the machine was started, in the system's ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticks {
    busy: u64,
    all: u64,
    /// Of the busy ones, those of the process that is watched.
    own: u64,
}

impl Ticks {
    /// Now, watching a process; `None` where the system does not tell.
    pub fn now(process: Option<u32>) -> Option<Ticks> {
        let (busy, all) = busy_and_all(&std::fs::read_to_string("/proc/stat").ok()?)?;
        let own = match process {
            Some(id) => own(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?,
            None => 0,
        };
        Some(Ticks { busy, all, own })
    }

    /// Cores that others than the watched process have kept busy since then.
    pub fn others_since(&self, before: &Ticks) -> Option<f64> {
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let all = self.all.saturating_sub(before.all);
        let busy = self.busy.saturating_sub(before.busy);
        let others = busy.saturating_sub(self.own.saturating_sub(before.own));
        (all > 0).then(|| cores * others as f64 / all as f64)
    }
}

/// The ticks of a process, all its threads, in the program and in the system for it (proc(5), `/proc/PID/stat`).
fn own(text: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, which may hold anything; the third follows the last one.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(field(14)? + field(15)?)
}

/// Ticks that were spent working, for others on this host too, and all ticks, of all cores (proc(5), `/proc/stat`).
fn busy_and_all(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time after them is part of user time.
    let all: u64 = ticks.get(..8)?.iter().sum();
    Some((all - ticks[3] - ticks[4], all))
}

fn cpu() -> Option<String> {
    if let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let model = lines.find(|(name, _)| name.trim() == "model name");
        return model.map(|(_, model)| model.trim().to_owned());
    }
    said(Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]))
}

#[cfg(target_arch = "x86_64")]
fn isa() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "AVX-512"
    } else if std::arch::is_x86_feature_detected!("avx2") {
        "AVX2"
    } else {
        "x86-64"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn isa() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "NEON",
        other => other,
    }
}

/// The commit that is checked out, and whether anything differs from it.
pub fn commit() -> (String, bool) {
    let git = |arguments: &[&str]| {
        said(
            Command::new("git")
                .args(arguments)
                .current_dir(shell::root()),
        )
    };
    let commit = git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changes = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    (commit, changes)
}

fn said(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Today's date, UTC.
pub fn today() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    date(since.as_secs() / 86_400)
}

/// The date so many days after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> String {
    // Years are counted from March, so that the leap day is a year's last; the eras of 400 years are all alike.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 8 9 20 0 1 0";
        assert_eq!(own(text), Some(300));
        assert_eq!(own("7 (a) S 1"), None);
    }

    #[test]
    fn work_of_the_watched_process_is_not_that_of_others() {
        let (before, after) = (
            Ticks {
                busy: 100,
                all: 1000,
                own: 50,
            },
            Ticks {
                busy: 190,
                all: 1100,
                own: 130,
            },
        );
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        assert_eq!(after.others_since(&before), Some(cores * 0.1));
        assert_eq!(before.others_since(&before), None);
    }

    #[test]
    fn idle_and_waiting_ticks_are_not_work() {
        let text = "cpu  10 1 5 70 4 1 2 7 3 0\ncpu0 1 2 3\n";
        assert_eq!(busy_and_all(text), Some((26, 100)));
        assert_eq!(busy_and_all("cpu 1 2 3"), None);
        assert_eq!(busy_and_all(""), None);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_453, "2025-12-31"),
            (20_454, "2026-01-01"),
        ];
        for (days, text) in cases {
            assert_eq!(date(days), text);
        }
    }
}
