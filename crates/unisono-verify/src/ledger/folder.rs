//! Where programs keep what outlives a run and is of interest to this machine alone.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folder, or `None` if the system does not say where.
pub(super) fn state_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    state_folder_from(variable)
}

fn state_folder_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // Relative paths are invalid by the XDG Base Directory Specification.
    let base = variable("XDG_STATE_HOME").map(PathBuf::from);
    let base = base.filter(|path| path.is_absolute()).or_else(|| {
        if cfg!(windows) {
            return variable("LOCALAPPDATA").map(PathBuf::from);
        }
        let home = PathBuf::from(variable("HOME")?);
        Some(match cfg!(target_os = "macos") {
            true => home.join("Library/Application Support"),
            false => home.join(".local/state"),
        })
    });
    Some(base?.join("unisono"))
}

#[cfg(all(test, unix, not(target_os = "macos")))]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_one_of_the_specification() {
        let with = |pairs: &'static [(&str, &str)]| {
            state_folder_from(move |name| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            })
        };
        let home = with(&[("HOME", "/home/ann")]);
        assert_eq!(home, Some("/home/ann/.local/state/unisono".into()));
        let state = with(&[("HOME", "/home/ann"), ("XDG_STATE_HOME", "/var/state")]);
        assert_eq!(state, Some("/var/state/unisono".into()));
        let relative = with(&[("HOME", "/home/ann"), ("XDG_STATE_HOME", "state")]);
        assert_eq!(relative, Some("/home/ann/.local/state/unisono".into()));
        assert_eq!(with(&[]), None);
    }
}
