//! How a process ended, in words that say what was seen and no more.

use std::process::ExitStatus;

use crate::report::ProcessEnd;

/// What the system and the process itself said of its end.
pub(super) struct Seen<'a> {
    pub status: ExitStatus,
    /// The end of its standard error.
    pub last_words: &'a str,
    /// How many processes the system had killed for want of memory, before and after, if it counts them.
    pub oom_kills: Option<(u64, u64)>,
}

/// What kind of end it was, in words, and whether a core was dumped.
pub(super) fn classify(seen: &Seen<'_>) -> (ProcessEnd, String, bool) {
    // What Rust's standard library says before it aborts.
    let out_of_memory = seen.last_words.contains("memory allocation of ")
        && seen.last_words.contains(" bytes failed");
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = seen.status.signal() {
            let dumped = seen.status.core_dumped();
            let name = signal_name(signal);
            let killed = seen.oom_kills.is_some_and(|(before, after)| after > before);
            return match () {
                () if out_of_memory => (
                    ProcessEnd::OutOfMemory,
                    format!("memory ran out: an allocation failed, and it ended by {name}"),
                    dumped,
                ),
                () if signal == 9 && killed => (
                    ProcessEnd::OutOfMemory,
                    format!("memory ran out: the system killed it ({name})"),
                    dumped,
                ),
                () => (ProcessEnd::Signal, format!("ended by {name}"), dumped),
            };
        }
    }
    let code = seen
        .status
        .code()
        .map_or_else(|| "an unknown code".to_owned(), |code| code.to_string());
    let (end, what) = match out_of_memory {
        true => (
            ProcessEnd::OutOfMemory,
            format!("memory ran out: an allocation failed, and it exited with {code}"),
        ),
        false => (
            ProcessEnd::Exit,
            format!("exited with {code} and without a report"),
        ),
    };
    (end, what, false)
}

/// A signal with its number and name, as far as they are the same on all systems of the Unix family that we run on.
#[cfg(unix)]
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        7 if cfg!(target_os = "linux") => "SIGBUS",
        10 if cfg!(target_os = "macos") => "SIGBUS",
        24 => "SIGXCPU",
        31 if cfg!(target_os = "linux") => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// How many processes the system has killed for want of memory since it started, if it counts them.
pub(super) fn oom_kills() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/vmstat").ok()?;
    let line = counters.lines().find_map(|l| l.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// The most memory that a process has had resident so far, in bytes, where the system tells.
pub(super) fn peak_resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn end(raw: i32, last_words: &str, oom_kills: Option<(u64, u64)>) -> (ProcessEnd, String) {
        let (end, what, _) = classify(&Seen {
            status: ExitStatus::from_raw(raw),
            last_words,
            oom_kills,
        });
        (end, what)
    }

    #[test]
    fn ends_are_told_apart() {
        let killed = "ended by signal 9 (SIGKILL)".to_owned();
        assert_eq!(end(9, "", None), (ProcessEnd::Signal, killed.clone()));
        assert_eq!(end(9, "", Some((3, 3))), (ProcessEnd::Signal, killed));
        assert_eq!(end(9, "", Some((3, 4))).0, ProcessEnd::OutOfMemory);
        let failed = "memory allocation of 67108864 bytes failed";
        assert_eq!(end(6, failed, None).0, ProcessEnd::OutOfMemory);
        assert_eq!(
            end(6, "", None),
            (ProcessEnd::Signal, "ended by signal 6 (SIGABRT)".to_owned())
        );
        assert_eq!(
            end(7 << 8, "", None),
            (
                ProcessEnd::Exit,
                "exited with 7 and without a report".to_owned()
            )
        );
    }
}
