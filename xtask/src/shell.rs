//! What every chore needs of the machine: where the repository is, and starting programs in it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's root, from where this crate was compiled.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR` if set, else `target/` in the repository.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

/// The cargo that started us, in the repository's root, with nothing to read from.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The first of `names` that is a file in a folder of `PATH`.
pub fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        folders
            .iter()
            .map(|folder| folder.join(&file))
            .find(|candidate| candidate.is_file())
    })
}

/// Whether the program starts and ends well; its output is not shown.
pub fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs to the end, output going to the terminal.
///
/// # Errors
/// If the program cannot be started or ends with another code than 0; the text names it.
pub fn run(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} ended with {status}", shown(command)))
    }
}

/// Copies a program without what only a debugger needs.
///
/// # Errors
/// If it cannot be copied, or `strip` fails.
pub fn put_stripped(program: &Path, to: &Path) -> Result<(), String> {
    std::fs::copy(program, to)
        .map_err(|error| format!("{} to {}: {error}", program.display(), to.display()))?;
    match find_program(&["strip", "llvm-strip"]) {
        Some(strip) => run(Command::new(strip).arg(to)),
        None => {
            println!("no `strip` here: {} stays as it is", to.display());
            Ok(())
        }
    }
}

/// The command as one would type it, without its environment.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    if text.is_empty() || text.contains([' ', '"', '\'', '*', '$']) {
        format!("'{text}'")
    } else {
        text.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn a_program_that_is_nowhere_is_not_found() {
        assert_eq!(find_program(&["surely-no-such-program"]), None);
    }
}
