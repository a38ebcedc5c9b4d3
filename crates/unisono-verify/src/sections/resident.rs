//! How much memory this process has resident.

/// In bytes, where the system says.
pub(super) fn resident() -> Option<u64> {
    if cfg!(target_os = "linux") {
        return from_status(&std::fs::read_to_string("/proc/self/status").ok()?);
    }
    if cfg!(unix) {
        let process = std::process::id().to_string();
        let output = std::process::Command::new("ps")
            .args(["-o", "rss=", "-p", &process])
            .output()
            .ok()?;
        let kib: u64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
        return Some(kib << 10);
    }
    None
}

fn from_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn more_memory_is_seen() {
        let before = resident().unwrap();
        let kept = vec![1u8; 64 << 20];
        let after = resident().unwrap();
        assert!(after >= before + (48 << 20), "{before} {after}");
        assert!(kept.iter().all(|&b| b == 1));
    }
}
