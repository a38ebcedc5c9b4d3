//! `cargo xtask ptx`: the CUDA kernels' PTX, made from their sources.
//!
//! One idea: the PTX is committed, so that neither users nor builds need a CUDA toolkit; this chore makes it again with
//! one pinned compiler, and the same compiler gives the same text. So whoever reads a kernel's source can trust that it
//! is what runs.
//!
//! The compiler is NVRTC, a shared library from a wheel of the Python package index. It needs no GPU.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Args;
use crate::peers;
use crate::shell;

pub const HELP: &str = "\
usage: cargo xtask ptx [--check] [--or-skip]

Compiles each crates/unisono-cuda/kernels/NAME.cu to crates/unisono-cuda/ptx/NAME.ptx with NVRTC 12.4.127, which it
fetches from the Python package index (25 MB, pinned by sha256). Needs x86-64 Linux and python3 with pip; no GPU.

  --check     write nothing; fail if a committed file is not what its source gives
  --or-skip   where the compiler cannot be had, say why and end well
";

/// PTX ISA 8.4: drivers from 550 on read it.
const REQUIREMENT: &str = "nvidia-cuda-nvrtc-cu12==12.4.127";
const SHA256: &str = "a178759ebb095827bd30ef56598ec182b85547f1508941a3d560eb7ea1fbf338";
const PLATFORM: &str = "manylinux2014_x86_64";
const LIBRARY: &str = "libnvrtc.so.12";

/// The library, and what it loads from beside itself.
const FILES: [(&str, &str); 2] = [
    (
        LIBRARY,
        "466d6f14d6cfde99838a132cfa7a23f90ba08acfadaa4d9e4c9defe1277f7bf1",
    ),
    (
        "libnvrtc-builtins.so.12.4",
        "4425561a319da07bbde0dc180a90422e351b364c3dc4f6a3ea1e69925d62db72",
    ),
];

/// One virtual architecture: the driver compiles it for Ampere and all that came later. No option may let arithmetic
/// differ from what the source says.
const OPTIONS: [&str; 6] = [
    "--gpu-architecture=compute_80",
    "--std=c++17",
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
];

/// # Errors
/// If the compiler cannot be had (without `--or-skip`), a kernel does not compile, or `--check` finds a difference.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let (check, or_skip) = (args.switch("--check"), args.switch("--or-skip"));
    args.finish()?;
    let crate_dir = shell::root().join("crates/unisono-cuda");
    let sources = files(&crate_dir.join("kernels"), "cu")?;
    if sources.is_empty() {
        return Err("crates/unisono-cuda/kernels holds no .cu file".to_owned());
    }
    let (python, library) = match compiler() {
        Err(why) if or_skip => {
            println!("skipped, the compiler cannot be had: {why}");
            return Ok(ExitCode::SUCCESS);
        }
        found => found?,
    };
    let made = shell::target_dir().join("ptx");
    let mut command = peers::script(&python, "compile_ptx.py");
    command.arg("--nvrtc").arg(library).arg("--out").arg(&made);
    command.args(OPTIONS.map(|option| format!("--option={option}")));
    command.args(&sources);
    shell::run(&mut command).map_err(|_| "not compiled (the reason stands above)".to_owned())?;

    let committed = crate_dir.join("ptx");
    let mut stale = Vec::new();
    for source in &sources {
        let name = Path::new(source.file_stem().unwrap_or_default()).with_extension("ptx");
        let text = read(&made.join(&name))?;
        let kept = committed.join(&name);
        if std::fs::read_to_string(&kept).is_ok_and(|found| found == text) {
            continue;
        }
        if check {
            stale.push(name.display().to_string());
            continue;
        }
        std::fs::create_dir_all(&committed)
            .and_then(|()| std::fs::write(&kept, text))
            .map_err(|error| format!("{}: {error}", kept.display()))?;
        println!("wrote {}", kept.display());
    }
    for orphan in files(&committed, "ptx")? {
        if !sources.iter().any(|s| s.file_stem() == orphan.file_stem()) {
            stale.push(format!("{} (without a source)", orphan.display()));
        }
    }
    if stale.is_empty() {
        println!("the PTX of {} sources is up to date", sources.len());
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!(
        "not what the sources in kernels/ give: {}; run `cargo xtask ptx` and commit",
        stale.join(", ")
    ))
}

/// A Python, and NVRTC's path.
fn compiler() -> Result<(PathBuf, PathBuf), String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("the pinned compiler runs on x86-64 Linux only".to_owned());
    }
    let python = peers::python_with_pip()?;
    let folder = shell::target_dir().join("nvrtc");
    let mut command = peers::script(&python, "fetch_wheel.py");
    command.args(["--requirement", REQUIREMENT, "--sha256", SHA256]);
    command
        .args(["--platform", PLATFORM, "--cache"])
        .arg(shell::target_dir().join("wheels"));
    for (name, sha256) in FILES {
        let member = format!("nvidia/cuda_nvrtc/lib/{name}");
        command
            .args(["--file", &member, sha256])
            .arg(folder.join(name));
    }
    shell::run(&mut command)
        .map_err(|_| format!("{REQUIREMENT} was not fetched (the reason stands above)"))?;
    Ok((python, folder.join(LIBRARY)))
}

/// The files of a folder with this extension, in the order of their names; none if there is no such folder.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_option_lets_the_compiler_change_arithmetic() {
        for needed in [
            "--fmad=false",
            "--ftz=false",
            "--prec-div=true",
            "--prec-sqrt=true",
        ] {
            assert!(OPTIONS.contains(&needed), "{needed}");
        }
        assert!(OPTIONS.iter().all(|option| !option.contains("fast")));
    }

    #[test]
    fn every_file_of_the_compiler_has_a_digest() {
        for digest in FILES.map(|(_, sha256)| sha256).into_iter().chain([SHA256]) {
            assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
}
