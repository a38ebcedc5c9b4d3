//! `cargo xtask mutants`: every check can fail.
//!
//! One idea: a mutant is a build with one part broken on purpose, and a test that demands to see it caught. So the chore is
//! runs of tests, and what is counted is the tests that say "is caught". `unisono verify --mutants` asks the same of the sections that a
//! user runs; the tests of that are run here too, since they need a build with mutants.

use std::process::{Command, ExitCode};

use crate::args::Args;
use crate::shell;
use crate::test::Tally;

pub const HELP: &str = "\
usage: cargo xtask mutants

Breaks the parts of the runtime and of the CPU's kernels one by one (Cargo feature `mutants`, which no release has),
and demands that the check which guards each of them catches it. One is visible to the model checker alone.

The last line is `killed n of n`. The exit code is 0 only if all were killed.
";

/// Runs the tests of the mutants.
///
/// # Errors
/// If there are arguments. A mutant that survives is not an error but an exit code.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    Args::new(arguments).finish()?;
    let (mut killed, mut all, mut well) = (0, 0, true);
    for mut command in [on_this_machine(), by_model(), the_score()] {
        let mut tally = Tally::default();
        if let Err(why) = tally.run(&mut command) {
            eprintln!("{why}");
            well = false;
        }
        killed += caught(&tally.passes);
        all += caught(&tally.passes) + caught(&tally.failures);
    }
    println!("\nkilled {killed} of {all}");
    Ok(match well && killed == all && all > 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// How many tests say so; the others see to the tests themselves.
fn caught(names: &[String]) -> usize {
    names.iter().filter(|n| n.ends_with("_caught")).count()
}

fn on_this_machine() -> Command {
    let mut command = shell::cargo();
    command.args(["test", "--package", "unisono", "--features", "mutants"]);
    command.args(["--test", "mutants", "--no-fail-fast"]);
    command
}

/// The tests of `unisono verify --mutants`.
fn the_score() -> Command {
    let mut command = shell::cargo();
    command.args([
        "test",
        "--package",
        "unisono-verify",
        "--package",
        "unisono-cli",
    ]);
    command.args(["--features", "mutants", "--lib", "--test", "mutants"]);
    command.args(["--no-fail-fast", "--", "mutation", "a_broken_part"]);
    command
}

/// See the step `loom` of `cargo xtask test`.
fn by_model() -> Command {
    let mut command = shell::cargo();
    command.args(["test", "--release", "--package", "unisono-runtime"]);
    command.args(["--features", "mutants", "--test", "loom_mutants"]);
    command
        .arg("--target-dir")
        .arg(shell::target_dir().join("loom"));
    command.env("RUSTFLAGS", "--cfg loom");
    command
}
