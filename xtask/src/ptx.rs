//! `cargo xtask ptx`: the CUDA kernels' PTX, made from their sources.
//!
//! One idea: the PTX is committed, so that neither users nor builds need a CUDA toolkit, and each file names the sources
//! that it was made of by a fingerprint. A fingerprint is compared without any compiler. Where the compiler can be had, the
//! PTX is made again and must hold the same arithmetic, stores, copies and barriers, each as often: the text itself
//! differs from run to run, because the compiler numbers registers and pairs loads in the order of addresses.
//!
//! The compiler is NVRTC, a shared library from a wheel of the Python package index. It needs no GPU.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Args;
use crate::peers;
use crate::shell;

pub const HELP: &str = "\
usage: cargo xtask ptx [--check] [--all]

Compiles each crates/unisono-cuda/kernels/NAME.cu to crates/unisono-cuda/ptx/NAME.ptx with NVRTC 12.4.127, which it
fetches from the Python package index (25 MB, pinned by sha256). Needs x86-64 Linux and python3 with pip; no GPU.
Files whose sources have not changed are left as they are.

  --check   write nothing; fail if a committed file is not what its source gives. Where the compiler cannot be had,
            say why and compare fingerprints of the sources alone
  --all     compile those that have not changed as well
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

/// What a committed file begins with; the fingerprint stands behind it.
const HEADING: &str = "// Made by `cargo xtask ptx`, from sources with the fingerprint ";

/// A kernel's source, and what belongs to it.
struct Kernel {
    source: PathBuf,
    /// Of the source, its headers, the compiler and the options.
    heading: String,
    committed: PathBuf,
    /// What is committed, if there is anything.
    text: Option<String>,
}

impl Kernel {
    fn name(&self) -> String {
        self.committed
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Does the committed file name these sources?
    fn is_current(&self) -> bool {
        let first = self.text.as_deref().and_then(|text| text.lines().next());
        first == Some(&self.heading)
    }
}

/// # Errors
/// If a kernel does not compile, the compiler cannot be had (but for `--check`), or `--check` finds a difference.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let (check, all) = (args.switch("--check"), args.switch("--all"));
    args.finish()?;
    let crate_dir = shell::root().join("crates/unisono-cuda");
    let committed = crate_dir.join("ptx");
    let mut kernels = Vec::new();
    for source in files(&crate_dir.join("kernels"), "cu")? {
        let name = Path::new(source.file_stem().unwrap_or_default()).with_extension("ptx");
        let committed = committed.join(name);
        kernels.push(Kernel {
            heading: format!("{HEADING}{:016x}", fingerprint(&source)?),
            text: std::fs::read_to_string(&committed).ok(),
            committed,
            source,
        });
    }
    if kernels.is_empty() {
        return Err("crates/unisono-cuda/kernels holds no .cu file".to_owned());
    }
    for orphan in files(&committed, "ptx")? {
        if !kernels.iter().any(|kernel| kernel.committed == orphan) {
            return Err(format!("{} has no source; remove it", orphan.display()));
        }
    }
    if check {
        compare(&kernels)?;
    } else {
        kernels.retain(|kernel| all || !kernel.is_current());
        write(&kernels, &committed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(kernels: &[Kernel], folder: &Path) -> Result<(), String> {
    if kernels.is_empty() {
        println!("nothing has changed");
        return Ok(());
    }
    let (python, library) = compiler()?;
    let made = compile(&python, &library, kernels)?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (kernel, text) in kernels.iter().zip(made) {
        std::fs::write(&kernel.committed, format!("{}\n{text}", kernel.heading))
            .map_err(|error| format!("{}: {error}", kernel.committed.display()))?;
        println!("wrote {}", kernel.committed.display());
    }
    Ok(())
}

fn compare(kernels: &[Kernel]) -> Result<(), String> {
    let mut stale: Vec<String> = kernels
        .iter()
        .filter(|kernel| !kernel.is_current())
        .map(Kernel::name)
        .collect();
    if stale.is_empty() {
        match compiler() {
            Err(why) => {
                println!("fingerprints alone were compared, the compiler cannot be had: {why}")
            }
            Ok((python, library)) => {
                for (kernel, text) in kernels.iter().zip(compile(&python, &library, kernels)?) {
                    let found = kernel.text.as_deref().unwrap_or_default();
                    if instructions(found) != instructions(&text) {
                        stale.push(kernel.name());
                    }
                }
            }
        }
    }
    if stale.is_empty() {
        println!("the PTX of {} sources is up to date", kernels.len());
        return Ok(());
    }
    Err(format!(
        "not what the sources in kernels/ give: {}; run `cargo xtask ptx` and commit",
        stale.join(", ")
    ))
}

/// The PTX of each kernel, in order.
fn compile(python: &Path, library: &Path, kernels: &[Kernel]) -> Result<Vec<String>, String> {
    let out = shell::target_dir().join("ptx");
    let mut command = peers::script(python, "compile_ptx.py");
    command.arg("--nvrtc").arg(library).arg("--out").arg(&out);
    command.args(OPTIONS.map(|option| format!("--option={option}")));
    command.args(kernels.iter().map(|kernel| &kernel.source));
    shell::run(&mut command).map_err(|_| "not compiled (the reason stands above)".to_owned())?;
    kernels
        .iter()
        .map(|kernel| read(&out.join(kernel.name())))
        .collect()
}

/// How often each instruction occurs, but for loads and moves.
fn instructions(ptx: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in ptx.lines() {
        let line = line.trim_start();
        let line = match line.strip_prefix('@') {
            Some(guarded) => guarded
                .split_once(char::is_whitespace)
                .map_or("", |(_, rest)| rest),
            None => line,
        };
        let word = line
            .trim_start()
            .split([' ', '\t', ';'])
            .next()
            .unwrap_or_default();
        let is_instruction = word.starts_with(|c: char| c.is_ascii_lowercase());
        if is_instruction && !word.starts_with("ld.") && !word.starts_with("mov.") {
            *counts.entry(word).or_insert(0) += 1;
        }
    }
    counts
}

/// Of a source with all that it includes, the compiler and its options.
fn fingerprint(source: &Path) -> Result<u64, String> {
    let mut seen = Vec::new();
    let mut bytes = format!("{SHA256} {}\n", OPTIONS.join(" "));
    let mut waiting = vec![source.to_owned()];
    while let Some(path) = waiting.pop() {
        if seen.contains(&path) {
            continue;
        }
        // Line ends may be the machine's.
        let text = read(&path)?.replace("\r\n", "\n");
        for line in text.lines() {
            if let Some(name) = line.trim_start().strip_prefix("#include \"") {
                waiting.push(path.with_file_name(name.trim_end().trim_end_matches('"')));
            }
        }
        bytes.push_str(&text);
        seen.push(path);
    }
    // FNV-1a: it tells a forgotten file from a fresh one, and nobody gains by forging it.
    let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    Ok(bytes.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
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
    fn instructions_are_counted_without_guards_registers_loads_and_moves() {
        let text = ".reg .f32 %f<3>;\n\tfma.rn.f32 \t%f1, %f2, %f3, %f4;\n@%p1 bra \t$L__BB0_2;\n\tret;\n\tld.shared.f32 %f1, [%r1];\n\tfma.rn.f32 \t%f9, %f2, %f3, %f4;\n\tmov.f32 %f1, %f2;\n";
        let expected = BTreeMap::from([("bra", 1), ("fma.rn.f32", 2), ("ret", 1)]);
        assert_eq!(instructions(text), expected);
    }

    #[test]
    fn a_fingerprint_takes_in_the_headers() {
        let folder = std::env::temp_dir().join(format!("unisono-ptx-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (source, header) = (folder.join("a.cu"), folder.join("a.cuh"));
        std::fs::write(&source, "#include \"a.cuh\"\n").unwrap();
        std::fs::write(&header, "#pragma once\n#include \"a.cuh\"\n").unwrap();
        let before = fingerprint(&source).unwrap();
        assert_eq!(fingerprint(&source), Ok(before));
        std::fs::write(&header, "#pragma once\n").unwrap();
        assert_ne!(fingerprint(&source), Ok(before));
        std::fs::remove_file(&header).unwrap();
        assert!(fingerprint(&source).is_err(), "a header that is missing");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_file_of_the_compiler_has_a_digest() {
        for digest in FILES.map(|(_, sha256)| sha256).into_iter().chain([SHA256]) {
            assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
}
