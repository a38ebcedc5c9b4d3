//! Crash reports that the system itself writes.
//!
//! Linux says in `/proc/sys/kernel/core_pattern` where core files go: to a file, or to a program (systemd-coredump and apport keep them
//! in folders of their own). macOS and Windows have folders for them. Only files whose name has the program's in it are counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What was there at one moment.
#[derive(Clone, Debug, Default)]
pub struct CrashReports {
    folders: Vec<PathBuf>,
    files: BTreeSet<PathBuf>,
}

/// What has come since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Where was looked; empty if the system keeps none that can be looked at.
    pub folders: Vec<String>,
    /// The new ones.
    pub new: Vec<String>,
}

impl CrashReports {
    /// Looks where this system keeps them.
    pub fn now() -> CrashReports {
        CrashReports::in_folders(folders())
    }

    fn in_folders(folders: Vec<PathBuf>) -> CrashReports {
        // What cannot be read cannot be looked at.
        let folders: Vec<PathBuf> = folders
            .into_iter()
            .filter(|folder| std::fs::read_dir(folder).is_ok())
            .collect();
        let files = folders.iter().flat_map(|folder| ours(folder)).collect();
        CrashReports { folders, files }
    }

    /// Looks again.
    pub fn since(&self) -> Found {
        let files = self.folders.iter().flat_map(|folder| ours(folder));
        let new = files.filter(|file| !self.files.contains(file));
        Found {
            folders: self
                .folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect(),
            new: new.map(|file| file.display().to_string()).collect(),
        }
    }
}

/// Files in a folder that have the program's name in theirs, or are plain core files.
fn ours(folder: &Path) -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_stem).map_or_else(
        || "unisono".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    );
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_ours = |name: &str| {
        let plain_core = name.strip_prefix("core").is_some_and(|rest| {
            rest.trim_start_matches('.')
                .chars()
                .all(|c| c.is_ascii_digit())
        });
        name.contains(&program) && is_report(name) || plain_core
    };
    let files = entries.filter(|entry| is_ours(&entry.file_name().to_string_lossy()));
    files
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .collect()
}

/// Is this the name of a core file or crash report, and not of the program itself?
fn is_report(name: &str) -> bool {
    let endings = [".ips", ".crash", ".dmp", ".core"];
    name.starts_with("core") || endings.iter().any(|ending| name.ends_with(ending))
}

fn folders() -> Vec<PathBuf> {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    if cfg!(target_os = "macos") {
        let own = home().map(|home| home.join("Library/Logs/DiagnosticReports"));
        let of_all = PathBuf::from("/Library/Logs/DiagnosticReports");
        return own.into_iter().chain([of_all]).collect();
    }
    if cfg!(windows) {
        let local = std::env::var_os("LOCALAPPDATA").map(PathBuf::from);
        return local
            .map(|local| local.join("CrashDumps"))
            .into_iter()
            .collect();
    }
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    core_folders(pattern.trim())
}

/// Where Linux puts core files under this pattern.
fn core_folders(pattern: &str) -> Vec<PathBuf> {
    if pattern.is_empty() {
        return Vec::new();
    }
    if pattern.starts_with('|') {
        return vec!["/var/lib/systemd/coredump".into(), "/var/crash".into()];
    }
    match Path::new(pattern).parent() {
        Some(parent) if parent.is_absolute() => vec![parent.to_owned()],
        // Into the process's working folder.
        _ => std::env::current_dir().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_tell_where_core_files_are() {
        let piped = core_folders("|/usr/lib/systemd/systemd-coredump %P %u");
        assert_eq!(piped[0], Path::new("/var/lib/systemd/coredump"));
        assert_eq!(
            core_folders("/var/cores/core.%e.%p"),
            [Path::new("/var/cores")]
        );
        assert_eq!(core_folders("core"), [std::env::current_dir().unwrap()]);
        assert!(core_folders("").is_empty());
    }

    #[test]
    fn new_core_files_are_found_and_old_ones_and_others_are_not() {
        let folder = std::env::temp_dir().join(format!("unisono-cores-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("core.1"), "").unwrap();
        let before = CrashReports::in_folders(vec![folder.clone()]);
        assert_eq!(before.since().new, Vec::<String>::new());
        std::fs::write(folder.join("core.2"), "").unwrap();
        std::fs::write(folder.join("corelation.txt"), "").unwrap();
        let found = before.since();
        assert_eq!(found.new, [folder.join("core.2").display().to_string()]);
        assert_eq!(found.folders, [folder.display().to_string()]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
