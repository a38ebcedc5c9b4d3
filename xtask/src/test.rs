//! `cargo xtask test`: everything that must pass, in one run.
//!
//! One idea: a table of steps. Every step runs even if an earlier one failed, so that one run shows all that is wrong, and
//! the closing line counts tests. A step of tests in which no test ran has failed: it has proved nothing.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::shell;

pub const HELP: &str = "\
usage: cargo xtask test [--fast] [--only STEP]... [--list]

Runs everything that must pass, in order, and goes on after a failure so that one run shows all of them.
Needs a Rust toolchain with rustfmt and clippy; no models. Python with pip is used if it is there, to compile the CUDA
kernels' sources and compare.

  --fast        leave out what takes longest (clippy, loom, shuttle): for a quick look, not for a verdict
  --only STEP   this step alone; may be given several times
  --list        print the steps and stop

The last line is `N passed, N failed`: the tests of all steps. A step that fails without a failing test (the
format, a lint, code that does not compile, a step in which no test ran) counts as one failure.
The exit code is 0 only if every step passed.
";

struct Step {
    name: &'static str,
    about: &'static str,
    /// Left out by `--fast`.
    slow: bool,
    /// Whether the step runs tests, whose results are counted.
    tests: bool,
    /// A cargo subcommand that a toolchain may lack, and the component that brings it.
    needs: Option<(&'static str, &'static str)>,
    command: fn() -> Command,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        about: "rustfmt has nothing to change",
        slow: false,
        tests: false,
        needs: Some(("fmt", "rustfmt")),
        command: || cargo(&["fmt", "--all", "--check"]),
    },
    Step {
        name: "clippy",
        about: "no warning in any target of the workspace",
        slow: true,
        tests: false,
        needs: Some(("clippy", "clippy")),
        command: || {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--keep-going",
                "--",
                "-D",
                "warnings",
            ])
        },
    },
    Step {
        name: "claims",
        about: "every guarantee of the documentation has evidence, and the ledger says so",
        slow: false,
        tests: false,
        needs: None,
        command: || cargo(&["xtask", "claims", "--check"]),
    },
    Step {
        name: "ptx",
        about: "the committed PTX is what the CUDA kernels' sources give",
        slow: false,
        tests: false,
        needs: None,
        command: || cargo(&["xtask", "ptx", "--check"]),
    },
    Step {
        name: "tests",
        about: "unit, property and integration tests",
        slow: false,
        tests: true,
        needs: None,
        command: || {
            cargo(&[
                "test",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--examples",
                "--no-fail-fast",
            ])
        },
    },
    Step {
        name: "doc-tests",
        about: "the examples in the documentation run",
        slow: false,
        tests: true,
        needs: None,
        command: || cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]),
    },
    Step {
        name: "loom",
        about: "every interleaving of the runtime's synchronisation, model-checked",
        slow: true,
        tests: true,
        needs: None,
        command: loom,
    },
    Step {
        name: "shuttle",
        about: "whole sessions under thousands of random schedules",
        slow: true,
        tests: true,
        needs: None,
        command: shuttle,
    },
    Step {
        name: "docs",
        about: "rustdoc without a warning",
        slow: false,
        tests: false,
        needs: None,
        command: || {
            let mut command = cargo(&[
                "doc",
                "--workspace",
                "--no-deps",
                "--lib",
                "--quiet",
                "--keep-going",
            ]);
            command.env("RUSTDOCFLAGS", "-D warnings");
            command
        },
    },
];

fn cargo(arguments: &[&str]) -> Command {
    let mut command = shell::cargo();
    command.args(arguments);
    command
}

/// loom replaces `std::sync` by a `cfg` that reaches every crate: hence a target folder of its own, so that the two builds
/// do not throw each other out. Release, because it runs each model thousands of times.
fn loom() -> Command {
    let mut command = cargo(&[
        "test",
        "--release",
        "--package",
        "unisono-runtime",
        "--no-fail-fast",
    ]);
    command
        .args(["--lib", "--tests", "--target-dir"])
        .arg(shell::target_dir().join("loom"));
    command.env("RUSTFLAGS", "--cfg loom");
    command
}

/// As [`loom`], for whole sessions, which are too large to try every interleaving of.
fn shuttle() -> Command {
    let mut command = cargo(&[
        "test",
        "--release",
        "--package",
        "unisono-runtime",
        "--test",
        "shuttle_sessions",
        "--target-dir",
    ]);
    command.arg(shell::target_dir().join("shuttle"));
    command.env("RUSTFLAGS", "--cfg shuttle");
    command
}

/// Runs the steps that were asked for.
///
/// # Errors
/// If the arguments make no sense. Failing steps are not an error but an exit code.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let (fast, list) = (args.switch("--fast"), args.switch("--list"));
    let only = args.values("--only")?;
    args.finish()?;
    if let Some(unknown) = only
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != name.as_str()))
    {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(format!(
            "there is no step `{unknown}`; the steps are: {}",
            known.join(", ")
        ));
    }
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| {
            if only.is_empty() {
                !(fast && step.slow)
            } else {
                only.iter().any(|name| name == step.name)
            }
        })
        .collect();
    if list {
        for step in chosen {
            println!(
                "{:<10} {}\n{:<10} {}",
                step.name,
                step.about,
                "",
                shell::shown(&(step.command)())
            );
        }
        return Ok(ExitCode::SUCCESS);
    }

    let mut reports = Vec::new();
    for (i, step) in chosen.iter().enumerate() {
        println!(
            "\n=== {} of {}: {} ({}) ===",
            i + 1,
            chosen.len(),
            step.name,
            step.about
        );
        let started = Instant::now();
        let (tally, failure) = run_step(step);
        let took = started.elapsed();
        println!(
            "=== {}: {} in {} ===",
            step.name,
            if failure.is_none() { "ok" } else { "FAILED" },
            seconds(took)
        );
        reports.push(Report {
            name: step.name,
            tests: step.tests,
            took,
            tally,
            failure,
        });
    }
    print!("{}", summary(&reports));
    let good = reports.iter().all(|report| report.failure.is_none());
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Report {
    name: &'static str,
    tests: bool,
    took: Duration,
    tally: Tally,
    /// Why the step failed, if it did.
    failure: Option<String>,
}

fn run_step(step: &Step) -> (Tally, Option<String>) {
    let mut tally = Tally::default();
    if let Some((subcommand, component)) = step.needs
        && !shell::works(shell::cargo().args([subcommand, "--version"]))
    {
        let why = format!("this toolchain has no {component}: `rustup component add {component}`");
        println!("{why}");
        return (tally, Some(why));
    }
    let mut command = (step.command)();
    println!("{}", shell::shown(&command));
    let ended = if step.tests {
        tally.run(&mut command)
    } else {
        shell::run(&mut command)
    };
    let failure = match ended {
        Err(why) => Some(why),
        // Not by the exit code alone: a harness that ends well after a failing test must not pass for green.
        Ok(()) if tally.failed > 0 => {
            Some("a test failed although the command ended well".to_owned())
        }
        Ok(()) if step.tests && tally.passed == 0 => {
            Some("no test ran, so nothing was shown".to_owned())
        }
        Ok(()) => None,
    };
    (tally, failure)
}

/// Tests counted from the lines that close each test binary, and the names of all that ran.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
    pub passes: Vec<String>,
    pub failures: Vec<String>,
}

impl Tally {
    /// Runs a `cargo test`, passing its output through while counting the results in it.
    ///
    /// # Errors
    /// If it cannot be started or does not end well.
    pub fn run(&mut self, command: &mut Command) -> Result<(), String> {
        let text = shell::shown(command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {text}: {error}"))?;
        if let Some(output) = child.stdout.take() {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            // Bytes, not `lines()`: a test may print what is not UTF-8.
            while reader
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                let mut out = std::io::stdout().lock();
                // A closed terminal must not keep the tests from ending.
                let _ = out.write_all(&line).and_then(|()| out.flush());
                self.read(&String::from_utf8_lossy(&line));
                line.clear();
            }
        }
        let status = child.wait().map_err(|error| format!("{text}: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{text} ended with {status}"))
        }
    }

    fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("test ") {
            if let Some(name) = rest.strip_suffix(" ... FAILED") {
                self.failures.push(name.to_owned());
                return;
            }
            if let Some(name) = rest.strip_suffix(" ... ok") {
                // `#[should_panic]` is noted behind the name.
                let name = name.strip_suffix(" - should panic").unwrap_or(name);
                self.passes.push(name.to_owned());
                return;
            }
        }
        // "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s"
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let Some((_, counts)) = result.split_once(". ") else {
            return;
        };
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

fn summary(reports: &[Report]) -> String {
    let mut text = String::from("\n");
    let (mut passed, mut failed) = (0, 0);
    for report in reports {
        let tests = match (report.tests, report.tally.ignored) {
            (false, _) => String::new(),
            (true, 0) => format!(
                "{} passed, {} failed",
                report.tally.passed, report.tally.failed
            ),
            (true, n) => format!(
                "{} passed, {} failed, {n} ignored",
                report.tally.passed, report.tally.failed
            ),
        };
        let verdict = if report.failure.is_none() {
            "ok"
        } else {
            "FAILED"
        };
        text.push_str(
            format!(
                "{:<10} {verdict:<7} {:>8}  {tests}",
                report.name,
                seconds(report.took)
            )
            .trim_end(),
        );
        text.push('\n');
        passed += report.tally.passed;
        failed += report.tally.failed;
        if report.failure.is_some() && report.tally.failed == 0 {
            failed += 1;
        }
    }
    let broken: Vec<&Report> = reports
        .iter()
        .filter(|report| report.failure.is_some())
        .collect();
    if !broken.is_empty() {
        text.push_str("\nfailures:\n");
    }
    for report in broken {
        text.push_str(&format!(
            "  {}: {}\n",
            report.name,
            report.failure.as_deref().unwrap_or_default()
        ));
        for name in &report.tally.failures {
            text.push_str(&format!("    {name}\n"));
        }
    }
    text.push_str(&format!("\n{passed} passed, {failed} failed\n"));
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &'static str, lines: &[&str], failure: Option<&str>) -> Report {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        let took = Duration::from_millis(1500);
        Report {
            name,
            tests: !lines.is_empty(),
            took,
            tally,
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn results_of_several_binaries_are_added() {
        let mut tally = Tally::default();
        tally.read("running 3 tests\n");
        tally.read("test a::b ... ok\n");
        tally.read("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n");
        tally.read("test c::d ... FAILED\r\n");
        tally.read("test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s");
        let (passes, failures) = (vec!["a::b".to_owned()], vec!["c::d".to_owned()]);
        assert_eq!(
            tally,
            Tally {
                passed: 7,
                failed: 1,
                ignored: 1,
                passes,
                failures
            }
        );
    }

    #[test]
    fn what_a_test_prints_is_not_taken_for_a_result() {
        let mut tally = Tally::default();
        tally.read("the test result: ok. 3 passed; 0 failed");
        tally.read("test result: nonsense");
        tally.read("test result: ok. many passed; 0 failed");
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn the_last_line_counts_all_steps() {
        let ok = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let text = summary(&[
            report("format", &[], None),
            report("tests", &[ok, ok], None),
            report("loom", &[ok], None),
        ]);
        assert_eq!(text.lines().last(), Some("15 passed, 0 failed"));
        assert!(!text.contains("failures"));
    }

    #[test]
    fn a_step_that_fails_without_a_failing_test_counts_as_one() {
        let ok = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let text = summary(&[
            report("clippy", &[], Some("a lint")),
            report(
                "tests",
                &[ok, "test x ... FAILED", bad],
                Some("cargo test ended with exit status: 101"),
            ),
        ]);
        assert_eq!(text.lines().last(), Some("6 passed, 3 failed"));
        assert!(text.contains("clippy: a lint"));
        assert!(text.contains("    x\n"));
    }

    #[test]
    fn a_command_that_cannot_start_is_a_failure() {
        let step = Step {
            name: "x",
            about: "",
            slow: false,
            tests: true,
            needs: None,
            command: || Command::new("surely-no-such-program"),
        };
        assert!(run_step(&step).1.is_some());
    }

    #[test]
    fn a_step_of_tests_without_a_test_is_a_failure() {
        let step = Step {
            name: "x",
            about: "",
            slow: false,
            tests: true,
            needs: None,
            command: || cargo(&["--version"]),
        };
        assert!(
            run_step(&step)
                .1
                .is_some_and(|why| why.contains("no test ran"))
        );
    }
}
