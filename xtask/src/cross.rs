//! `cargo xtask neon` and `cargo xtask cross`: the other instruction set, without the other machine.
//!
//! One idea: the bits of the NEON kernels are a promise like all others, so they are tested where they can be had, under
//! an emulator. What this needs beyond a toolchain is looked for, and where something is missing the answer is "untested"
//! and a failing exit code, never silence.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::args::Args;
use crate::shell;
use crate::test::Tally;

pub const NEON_HELP: &str = "\
usage: cargo xtask neon [--package NAME]... [--filter TEXT]

Builds the tests of the CPU device and of the canonical arithmetic for aarch64 and runs them under qemu-user: the same
tests that hold AVX2 and AVX-512 to the scalar reference bit for bit then hold NEON to it. On an aarch64 machine they
run without the emulator.

  --package NAME   tests of these crates instead of unisono-reference and unisono-cpu
  --filter TEXT    only tests whose name contains TEXT

Needs qemu-aarch64 and aarch64-linux-gnu-gcc (Debian: qemu-user, gcc-aarch64-linux-gnu) and a Rust standard library
for aarch64: `rustup target add aarch64-unknown-linux-gnu`, or its sources to build it from (`rustup component add
rust-src`; Debian: rustc-web, cargo-web, rust-web-src). Says what is missing and fails if it cannot test.
";

pub const CROSS_HELP: &str = "\
usage: cargo xtask cross [--target TRIPLE]...

Type-checks the workspace, tests included, for aarch64-unknown-linux-gnu and aarch64-apple-darwin (or the targets that
are given). Nothing is linked or run, so no cross compiler is needed; the standard library is found as for `neon`.
";

const ARM_LINUX: &str = "aarch64-unknown-linux-gnu";
const ARM_MACOS: &str = "aarch64-apple-darwin";

/// # Errors
/// If anything that is needed is missing ("untested: ...").
pub fn neon(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let mut packages = args.values("--package")?;
    let filter = args.value("--filter")?;
    args.finish()?;
    if packages.is_empty() {
        packages = vec!["unisono-reference".to_owned(), "unisono-cpu".to_owned()];
    }

    let mut command = if cfg!(all(target_arch = "aarch64", target_os = "linux")) {
        println!("this machine is aarch64: no emulator needed");
        let mut command = shell::cargo();
        command.arg("test");
        command
    } else {
        let emulator = shell::find_program(&["qemu-aarch64", "qemu-aarch64-static"])
            .ok_or("untested: qemu-aarch64 is missing (Debian: qemu-user)")?;
        let linker = shell::find_program(&["aarch64-linux-gnu-gcc"])
            .ok_or("untested: aarch64-linux-gnu-gcc is missing (Debian: gcc-aarch64-linux-gnu)")?;
        let libraries = target_libraries(&linker)?;
        let mut command = Toolchain::find(ARM_LINUX)?.cargo("test", ARM_LINUX);
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &linker);
        command.env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
            format!("{} -L {}", emulator.display(), libraries.display()),
        );
        command
    };
    command.args(["--lib", "--tests", "--no-fail-fast"]);
    for package in &packages {
        command.args(["--package", package]);
    }
    if let Some(filter) = &filter {
        command.args(["--", filter]);
    }
    println!("{}", shell::shown(&command));
    let mut tally = Tally::default();
    let ended = tally.run(&mut command);
    println!(
        "\naarch64: {} passed, {} failed",
        tally.passed, tally.failed
    );
    ended?;
    if tally.passed == 0 {
        return Err("untested: no test ran, so nothing was shown".to_owned());
    }
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// If no standard library can be had for a target, or the workspace does not compile for it.
pub fn cross(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let mut targets = args.values("--target")?;
    args.finish()?;
    if targets.is_empty() {
        targets = vec![ARM_LINUX.to_owned(), ARM_MACOS.to_owned()];
    }
    let mut failed = Vec::new();
    for target in &targets {
        println!("=== {target} ===");
        let checked = Toolchain::find(target).and_then(|toolchain| {
            let mut command = toolchain.cargo("check", target);
            command.args(["--workspace", "--all-targets"]);
            println!("{}", shell::shown(&command));
            shell::run(&mut command)
        });
        match checked {
            Ok(()) => println!("{target}: ok"),
            Err(why) => {
                println!("{target}: {why}");
                failed.push(target.as_str());
            }
        }
    }
    if failed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(format!("not ok: {}", failed.join(", ")))
    }
}

/// A compiler that can build for a target it does not run on.
enum Toolchain {
    /// The one that started us has the target's standard library installed.
    Installed,
    /// The standard library is built from its sources on the way (cargo's unstable `build-std`, allowed on a stable
    /// compiler by `RUSTC_BOOTSTRAP`, which is what its own build uses).
    FromSource { cargo: PathBuf, rustc: PathBuf },
}

impl Toolchain {
    fn find(target: &str) -> Result<Toolchain, String> {
        let ours = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
        let our_root = sysroot(&ours);
        if our_root
            .as_ref()
            .is_some_and(|root| root.join("lib/rustlib").join(target).join("lib").is_dir())
        {
            return Ok(Toolchain::Installed);
        }
        let ours = our_root.map(|root| (root.join("bin/cargo"), root.join("bin/rustc")));
        let system = Some((
            PathBuf::from("/usr/bin/cargo"),
            PathBuf::from("/usr/bin/rustc"),
        ));
        for (cargo, rustc) in [ours, system].into_iter().flatten() {
            if cargo.is_file() && sysroot(&rustc).is_some_and(|root| has_library_sources(&root)) {
                return Ok(Toolchain::FromSource { cargo, rustc });
            }
        }
        Err(format!(
            "untested: no Rust standard library for {target}: `rustup target add {target}`, or its sources: \
             `rustup component add rust-src` (Debian: rustc-web, cargo-web, rust-web-src)"
        ))
    }

    fn cargo(&self, subcommand: &str, target: &str) -> Command {
        let folder = shell::target_dir().join("cross");
        match self {
            Toolchain::Installed => {
                let mut command = shell::cargo();
                command
                    .args([subcommand, "--target", target, "--target-dir"])
                    .arg(folder);
                command
            }
            Toolchain::FromSource { cargo, rustc } => {
                let mut command = Command::new(cargo);
                command.current_dir(shell::root()).stdin(Stdio::null());
                // What the cargo that started us sets speaks of another compiler, its libraries included.
                for variable in [
                    "CARGO",
                    "RUSTUP_TOOLCHAIN",
                    "RUSTUP_HOME",
                    "LD_LIBRARY_PATH",
                    "DYLD_FALLBACK_LIBRARY_PATH",
                ] {
                    command.env_remove(variable);
                }
                command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                // Another cargo version keeps its own caches, in its own format.
                command.env("CARGO_HOME", folder.join("cargo-home"));
                command.args([
                    subcommand,
                    "-Z",
                    "build-std=std,panic_abort",
                    "--target",
                    target,
                    "--target-dir",
                ]);
                command.arg(folder.join("build-std"));
                command
            }
        }
    }
}

/// Can the standard library be built from what is installed there?
pub fn has_library_sources(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/Cargo.lock")
        .is_file()
}

/// Where a compiler keeps what it brings.
pub fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim())).filter(|root| output.status.success() && root.is_dir())
}

/// The folder whose `lib/` holds the target's C library, for the emulator.
fn target_libraries(linker: &Path) -> Result<PathBuf, String> {
    let asked = Command::new(linker)
        .arg("-print-sysroot")
        .stdin(Stdio::null())
        .output();
    let printed = asked
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    // Debian's cross compiler prints "/" and keeps the target's libraries beside its other files.
    [
        PathBuf::from("/usr/aarch64-linux-gnu"),
        PathBuf::from(printed.trim()),
    ]
    .into_iter()
    .find(|folder| folder.join("lib/ld-linux-aarch64.so.1").exists())
    .ok_or_else(|| "untested: no C library for aarch64 (Debian: libc6-arm64-cross)".to_owned())
}
