//! How much of this process is in memory.
//!
//! One idea: pages of files are told apart from the rest. Those of a mapped model or of a library are in memory once however
//! many processes map them, and the system can drop them when it needs room; all else is this process's alone.

use serde_json::{Value, json};

/// `{"anon_kib", "file_kib", "peak_kib"}`: resident memory that no file backs, resident pages of files, and the most that
/// both ever were together. Null where the system does not say; Linux does.
pub fn now() -> Value {
    // `status` has the first two as well, from counters that each core brings up to date only now and then: 128 KiB a core
    // too much or too little, which is a small model's size. This one is counted when it is read.
    let Ok(rollup) = std::fs::read_to_string("/proc/self/smaps_rollup") else {
        return Value::Null;
    };
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Value::Null;
    };
    let found = (
        kib(&rollup, "Rss:"),
        kib(&rollup, "Anonymous:"),
        kib(&status, "VmHWM:"),
    );
    let (Some(all), Some(anon), Some(peak)) = found else {
        return Value::Null;
    };
    json!({
        "anon_kib": anon,
        "file_kib": all.saturating_sub(anon),
        "peak_kib": peak.max(all),
    })
}

/// The number in a line such as `VmHWM:   1234 kB`.
fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_key_at_the_start_of_a_line() {
        let text = "Pss_Anon:   7 kB\nAnonymous:     1234 kB\nLazyFree:  0 kB\n";
        assert_eq!(kib(text, "Anonymous:"), Some(1234));
        assert_eq!(kib(text, "Anon:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_touched_is_counted_apart_from_files() {
        let read = |value: &Value, key: &str| value[key].as_u64().unwrap();
        let before = now();
        let touched = std::hint::black_box(vec![1u8; 32 << 20]);
        let after = now();
        let more = read(&after, "anon_kib") - read(&before, "anon_kib");
        assert!((30 << 10..40 << 10).contains(&more), "{more}");
        assert!(read(&after, "peak_kib") >= read(&after, "anon_kib") + read(&after, "file_kib"));
        drop(touched);
    }
}
