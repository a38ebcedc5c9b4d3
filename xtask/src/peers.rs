//! `cargo xtask peers`, and the Python that the optional chores share.
//!
//! One idea: one virtual environment, `.venv` in the repository, filled from requirement files that pin every package by
//! version and sha256. A stamp inside it says which files it was filled from, so that a second call costs nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::args::Args;
use crate::shell;

pub const HELP: &str = "\
usage: cargo xtask peers [--python PROGRAM]

Makes the virtual environment .venv and installs onnxruntime 1.31.1, onnx 1.23.2 and numpy 2.4.6 into it, with what
they need, every file pinned by sha256 (tools/requirements-peers.txt; about 200 MB on disk). `compare` and `ort-bits`
call this themselves. Does nothing if the environment is already up to date.

  --python PROGRAM   the Python to make it with (3.11 or newer; else the first of python3, python that is)
";

/// A list of packages that `.venv` can be filled with.
pub struct Packages {
    /// The requirement file, from the root.
    file: &'static str,
    /// A fingerprint of the installed list is kept under this name in the environment.
    stamp: &'static str,
    /// What is said before installing.
    notice: &'static str,
}

impl Packages {
    /// A requirement file, the stamp's name, and what is said before installing.
    pub const fn new(file: &'static str, stamp: &'static str, notice: &'static str) -> Packages {
        Packages {
            file,
            stamp,
            notice,
        }
    }
}

/// What `compare` and `ort-bits` need.
pub const PEERS: Packages = Packages {
    file: "tools/requirements-peers.txt",
    stamp: "unisono-peers.txt",
    notice: "installing onnxruntime, onnx and numpy into .venv (about 200 MB)",
};

/// What the exporter needs: PyTorch.
pub const EXPORT: Packages = Packages {
    file: "tools/requirements-export.txt",
    stamp: "unisono-export.txt",
    notice: "installing PyTorch into .venv: SEVERAL GIGABYTES (on Linux 6 on disk: the wheel brings CUDA's libraries along)",
};

/// # Errors
/// If there is no Python that serves, or pip cannot install.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let python = args.value("--python")?;
    args.finish()?;
    let installed = ensure(&PEERS, python.as_deref())?;
    println!(
        "{} has onnxruntime 1.31.1, onnx 1.23.2 and numpy 2.4.6",
        installed.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The environment's Python, after making the environment and installing `packages` where that has not happened.
///
/// # Errors
/// If there is no Python that serves, or pip cannot install.
pub fn ensure(packages: &Packages, python: Option<&str>) -> Result<PathBuf, String> {
    let folder = shell::root().join(".venv");
    let inside = if cfg!(windows) {
        folder.join("Scripts/python.exe")
    } else {
        folder.join("bin/python")
    };
    let list = shell::root().join(packages.file);
    let wanted =
        std::fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    let stamp = folder.join(packages.stamp);
    if inside.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(inside);
    }
    if !shell::works(Command::new(&inside).args(["-m", "pip", "--version"])) {
        let python = base_python(python)?;
        println!("making {} with {}", folder.display(), python.display());
        shell::run(
            command(&python)
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
        )
        .map_err(|why| {
            format!("{why}; Python's venv module is needed (Debian: the package python3-venv)")
        })?;
    }
    println!("{}", packages.notice);
    let mut install = command(&inside);
    install.args([
        "-m",
        "pip",
        "install",
        "--require-hashes",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ]);
    install
        .args(["--progress-bar", "off", "--requirement"])
        .arg(&list);
    shell::run(&mut install).map_err(|why| {
        format!("{why}; is the Python package index within reach, and is there a wheel for this platform and Python?")
    })?;
    std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(inside)
}

/// Any Python 3 with pip: the environment's if there is one, else the system's.
///
/// # Errors
/// If there is none.
pub fn python_with_pip() -> Result<PathBuf, String> {
    let folder = shell::root().join(".venv");
    let inside = if cfg!(windows) {
        folder.join("Scripts/python.exe")
    } else {
        folder.join("bin/python")
    };
    let mut seen = Vec::new();
    for candidate in [
        Some(inside),
        shell::find_program(&["python3"]),
        shell::find_program(&["python"]),
    ] {
        let Some(python) = candidate.filter(|python| python.is_file()) else {
            continue;
        };
        if shell::works(Command::new(&python).args(["-m", "pip", "--version"])) {
            return Ok(python);
        }
        seen.push(python.display().to_string());
    }
    Err(if seen.is_empty() {
        "python3 is missing: it is needed to fetch from the Python package index; install Python 3 with pip".to_owned()
    } else {
        format!(
            "no pip in {}: install it (Debian: python3-pip), or python3-venv and run `cargo xtask peers`",
            seen.join(", ")
        )
    })
}

/// Starts one of the repository's scripts, from its root, with nothing to read from.
pub fn script(python: &Path, name: &str) -> Command {
    let mut command = command(python);
    command.arg(shell::root().join("tools").join(name));
    // The scripts stand in the source tree, where compiled copies of them have no place.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(shell::root()).stdin(Stdio::null());
    command
}

fn base_python(asked: Option<&str>) -> Result<PathBuf, String> {
    let serves = |python: &Path| {
        shell::works(Command::new(python).args([
            "-c",
            "import sys, venv; sys.exit(sys.version_info < (3, 11))",
        ]))
    };
    if let Some(asked) = asked {
        let python = PathBuf::from(asked);
        return if serves(&python) {
            Ok(python)
        } else {
            Err(format!("{asked} is no Python 3.11 or newer with venv"))
        };
    }
    let candidates = [
        "python3",
        "python",
        "python3.13",
        "python3.12",
        "python3.11",
    ];
    let found: Vec<PathBuf> = candidates
        .iter()
        .filter_map(|name| shell::find_program(&[name]))
        .collect();
    if found.is_empty() {
        return Err(
            "python3 is missing: this optional chore needs Python 3.11 or newer with venv and pip"
                .to_owned(),
        );
    }
    found.into_iter().find(|python| serves(python)).ok_or_else(|| {
        "Python 3.11 or newer with the module venv is needed (Debian: python3-venv); give one with --python".to_owned()
    })
}
