//! Tells the crate what it is built from and with, for the header of a report: the commit, if this is a checkout of the
//! repository, and the compiler's version.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Some(commit) = commit() {
        println!("cargo:rustc-env=UNISONO_COMMIT={commit}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = said(Command::new(rustc).arg("--version")) {
        println!("cargo:rustc-env=UNISONO_COMPILER={version}");
    }
}

/// What is checked out, unless this crate lies in somebody else's repository.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| said(Command::new("git").args(arguments));
    if git(&["rev-parse", "--show-prefix"])? != "crates/unisono-verify/" {
        return None;
    }
    // The log of HEAD grows with every commit and checkout. A path that does not exist would mean a rebuild every time.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).is_file() {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// The line that a program says, if it ends well.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.contains('\n')).then_some(line)
}
