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
        gflops: None,
        busy_cores: busy_cores(),
    }
}

/// Cores' worth of work that is under way while we do nothing; looks for a second. Where the system tells (Linux).
fn busy_cores() -> Option<f64> {
    let now = || busy_and_all(&std::fs::read_to_string("/proc/stat").ok()?);
    let before = now()?;
    std::thread::sleep(Duration::from_secs(1));
    let after = now()?;
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let all = after.1.saturating_sub(before.1);
    (all > 0).then(|| cores * after.0.saturating_sub(before.0) as f64 / all as f64)
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
