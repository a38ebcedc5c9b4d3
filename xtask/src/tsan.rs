//! `cargo xtask tsan`: the tests in which threads meet, under ThreadSanitizer.
//!
//! One idea: the standard library is built with the sanitizer as well. With the one that is installed, everything that is
//! ordered inside of it (a lock that is waited for, the end of a scope, the last drop of an `Arc`) is invisible, and the
//! reports are hundreds of races that are none. With its own build nothing has to be suppressed, nothing in the code that is
//! tested differs from what ships, and a single report is a failure.
//!
//! It must never pass for having seen nothing: first, a race that was made on purpose has to be reported.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::args::Args;
use crate::cross::{has_library_sources, sysroot};
use crate::shell;
use crate::test::Tally;

pub const HELP: &str = "\
usage: cargo xtask tsan [--only NAME]... [--rounds N] [--list]

Builds the library, its tests and the standard library with ThreadSanitizer, runs the tests in which threads meet, and
fails if a data race is reported. Before, it breaks one memory ordering on purpose (a race that x86 hides from every
test) and demands that the sanitizer reports it.

  --only NAME   this test program alone; may be given several times
  --rounds N    how often each of them runs; default 3, since threads meet in another way each time
  --list        print the test programs and stop

Needs Linux or macOS and the sources of the standard library: `rustup component add rust-src`.
The last line is `N passed, N failed`, of all tests in all rounds; the exit code is 0 only if nothing failed and no race was reported.
";

/// One test program.
struct Program {
    name: &'static str,
    about: &'static str,
    package: &'static str,
    target: &'static [&'static str],
    /// With parts that can be broken on purpose.
    mutants: bool,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "mutants",
        about: "a job that is published with a relaxed store is reported",
        package: "unisono-runtime",
        target: &["--test", "tsan_mutants"],
        mutants: true,
    },
    Program {
        name: "runtime",
        about: "team, lanes, plan cache, census: the runtime's unit tests",
        package: "unisono-runtime",
        target: &["--lib"],
        mutants: false,
    },
    Program {
        name: "endings",
        about: "sessions on a device that fails, panics and is late",
        package: "unisono-runtime",
        target: &["--test", "endings"],
        mutants: false,
    },
    Program {
        name: "coalescing",
        about: "threads, futures and changing shapes on the CPU",
        package: "unisono",
        target: &["--test", "coalescing"],
        mutants: false,
    },
    Program {
        name: "life-cycle",
        about: "sessions that come and go, drained and dropped",
        package: "unisono",
        target: &["--test", "life_cycle"],
        mutants: false,
    },
    Program {
        name: "exit",
        about: "100 processes that end with threads and futures in flight",
        package: "unisono",
        target: &["--test", "exit"],
        mutants: false,
    },
    Program {
        name: "same-bits",
        about: "8 callers, all instruction sets, any number of threads",
        package: "unisono",
        target: &["--test", "same_bits"],
        mutants: false,
    },
];

/// Runs the tests.
///
/// # Errors
/// If the arguments make no sense, something that is needed is missing, or the tests do not compile. A race is not an
/// error but an exit code.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let list = args.switch("--list");
    let only = args.values("--only")?;
    let rounds = match args.value("--rounds")? {
        None => 3,
        Some(text) => text
            .parse::<u32>()
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| format!("`--rounds {text}` is no number of rounds"))?,
    };
    args.finish()?;
    if let Some(unknown) = only
        .iter()
        .find(|name| PROGRAMS.iter().all(|p| p.name != name.as_str()))
    {
        return Err(format!("there is no test program `{unknown}`; see --list"));
    }
    let chosen = PROGRAMS
        .iter()
        .filter(|p| only.is_empty() || only.iter().any(|name| name == p.name));
    if list {
        chosen.for_each(|p| println!("{:<12} {}", p.name, p.about));
        return Ok(ExitCode::SUCCESS);
    }
    let compiler = Compiler::find()?;
    let chosen: Vec<&Program> = chosen.collect();

    let started = Instant::now();
    for program in &chosen {
        shell::run(compiler.test(program).arg("--no-run"))?;
    }
    println!("\nbuilt in {:.0} s", started.elapsed().as_secs_f64());

    let (mut text, mut passed, mut failed) = (String::from("\n"), 0, 0);
    for program in chosen {
        println!("\n=== {} ({}) ===", program.name, program.about);
        let mut tally = Tally::default();
        let started = Instant::now();
        let mut command = compiler.test(program);
        let ended = (0..rounds).try_for_each(|_| tally.run(&mut command));
        let verdict = match ended {
            Ok(()) if tally.passed > 0 && tally.failed == 0 => "ok".to_owned(),
            Ok(()) if tally.failed == 0 => "FAILED: no test ran".to_owned(),
            Ok(()) => "FAILED".to_owned(),
            Err(why) => format!("FAILED: {why}"),
        };
        text.push_str(&format!(
            "{:<12} {:>4} passed, {} failed in {:>5.1} s  {verdict}\n",
            program.name,
            tally.passed,
            tally.failed,
            started.elapsed().as_secs_f64(),
        ));
        passed += tally.passed;
        failed += tally.failed;
        // A report ends the program with a code of its own, however its tests ended.
        if verdict != "ok" && tally.failed == 0 {
            failed += 1;
        }
    }
    print!("{text}\n{passed} passed, {failed} failed\n");
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The compiler that started us, with the sources of its standard library.
struct Compiler {
    host: String,
}

impl Compiler {
    fn find() -> Result<Compiler, String> {
        let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
        if !sysroot(&rustc).is_some_and(|root| has_library_sources(&root)) {
            return Err(
                "untested: the sources of the standard library are missing: `rustup component add rust-src`"
                    .to_owned(),
            );
        }
        let version = Command::new(&rustc)
            .arg("-vV")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start {}: {error}", rustc.display()))?;
        let host = host(&String::from_utf8_lossy(&version.stdout))
            .ok_or_else(|| format!("{} -vV names no host", rustc.display()))?;
        Ok(Compiler { host })
    }

    /// `cargo test` of one program. cargo's unstable `build-std` and the compiler's unstable sanitizers are allowed on a
    /// stable toolchain by `RUSTC_BOOTSTRAP`. That a target is named keeps the sanitizer out of build scripts and
    /// procedural macros.
    fn test(&self, program: &Program) -> Command {
        let mut command = shell::cargo();
        command.args(["test", "-Z", "build-std", "--target", &self.host]);
        command
            .arg("--target-dir")
            .arg(shell::target_dir().join("tsan"));
        command
            .args(["--package", program.package])
            .args(program.target);
        if program.mutants {
            command.args(["--features", "mutants"]);
        }
        command.env("RUSTC_BOOTSTRAP", "1");
        command.env("RUSTFLAGS", "-Zsanitizer=thread --cfg tsan");
        // Every race of a program is reported, not its first one, whatever the caller has set. A process that ends is watched for a
        // moment, not for a second: one test has a hundred of them.
        command.env("TSAN_OPTIONS", "halt_on_error=0 atexit_sleep_ms=20");
        command
    }
}

/// The line `host: x86_64-unknown-linux-gnu` of `rustc -vV`.
fn host(version: &str) -> Option<String> {
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))?;
    Some(host.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_the_compilers_version() {
        let version = "rustc 1.95.0\nbinary: rustc\nhost: aarch64-apple-darwin\nrelease: 1.95.0\n";
        assert_eq!(host(version).as_deref(), Some("aarch64-apple-darwin"));
        assert_eq!(host("rustc 1.95.0\n"), None);
    }

    #[test]
    fn a_known_race_comes_first() {
        assert!(PROGRAMS.first().is_some_and(|program| program.mutants));
    }
}
