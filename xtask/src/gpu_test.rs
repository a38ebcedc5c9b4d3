//! `cargo xtask gpu-test`: the tests that need an NVIDIA GPU.
//!
//! One idea: they are ordinary tests that are ignored elsewhere, all of `unisono-cuda` and every `tests/gpu_*.rs`. A machine
//! with a GPU often has no toolchain, so they can be built here and carried there as a folder that runs itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::args::Args;
use crate::shell;
use crate::test::Tally;

pub const HELP: &str = "\
usage: cargo xtask gpu-test [--release] [--filter TEXT] [--build-only DIR]

Runs the tests that need an NVIDIA GPU: those of unisono-cuda and all crates' tests/gpu_*.rs that are ignored elsewhere.
Needs NVIDIA's driver (for CUDA 12 or later) and a GPU of compute capability 8.0 or later, but no CUDA toolkit.

  --release         build them as a release
  --filter TEXT     only tests whose name contains TEXT
  --build-only DIR  run nothing: put the tests and the program `unisono`, stripped, into DIR, to be carried to a machine
                    with a GPU and no toolchain; `sh DIR/run.sh` there runs the tests, with a count on the last line

The last line is `N passed, N failed`; a run in which no test ran has failed.
";

/// Tests whose names begin so are for a GPU, in whatever crate they are.
const PREFIX: &str = "gpu_";
/// All tests of this crate that are ignored are.
const PACKAGE: &str = "unisono-cuda";

/// # Errors
/// If something cannot be built, no test ran, or a test failed.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let release = args.switch("--release");
    let filter = args.value("--filter")?;
    let build_only = args.value("--build-only")?;
    args.finish()?;
    let commands = commands(release)?;
    if let Some(folder) = build_only {
        if filter.is_some() {
            return Err("`--filter` goes behind run.sh if nothing is run here".to_owned());
        }
        return build(&shell::root().join(folder), commands);
    }
    let mut tally = Tally::default();
    let mut ended = Ok(());
    for mut command in commands {
        command.args(["--no-fail-fast", "--", "--ignored", "--test-threads=1"]);
        command.args(&filter);
        println!("{}", shell::shown(&command));
        ended = ended.and(tally.run(&mut command));
    }
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    ended?;
    match tally.passed {
        0 => Err("untested: no test ran, so nothing was shown".to_owned()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// What builds and runs the tests.
fn commands(release: bool) -> Result<Vec<Command>, String> {
    let base = || {
        let mut command = shell::cargo();
        command.arg("test");
        if release {
            command.arg("--release");
        }
        command
    };
    let mut own = base();
    own.args(["--package", PACKAGE, "--lib", "--tests"]);
    let mut commands = vec![own];
    for (package, tests) in elsewhere(&shell::root().join("crates"))? {
        let mut command = base();
        command.args(["--package", &package]);
        for test in tests {
            command.args(["--test", &test]);
        }
        commands.push(command);
    }
    Ok(commands)
}

/// Tests for a GPU in other crates, by crate.
fn elsewhere(crates: &Path) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in names(crates)?.into_iter().filter(|name| name != PACKAGE) {
        let tests = crates.join(&package).join("tests");
        if !tests.is_dir() {
            continue;
        }
        let mut own: Vec<String> = names(&tests)?
            .iter()
            .filter_map(|name| name.strip_suffix(".rs"))
            .filter(|name| name.starts_with(PREFIX))
            .map(str::to_owned)
            .collect();
        own.sort();
        if !own.is_empty() {
            found.insert(package, own);
        }
    }
    Ok(found)
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let said = |error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(said)?;
    entries
        .map(|entry| {
            Ok(entry
                .map_err(said)?
                .file_name()
                .to_string_lossy()
                .into_owned())
        })
        .collect()
}

/// Builds everything into a folder.
fn build(folder: &Path, commands: Vec<Command>) -> Result<ExitCode, String> {
    let tests = folder.join("tests");
    // What an earlier call left must not be run for what this one builds.
    if tests.is_dir() {
        fs::remove_dir_all(&tests).map_err(|error| format!("{}: {error}", tests.display()))?;
    }
    fs::create_dir_all(&tests).map_err(|error| format!("{}: {error}", tests.display()))?;
    let mut count = 0;
    for mut command in commands {
        command.args(["--no-run", "--message-format=json-render-diagnostics"]);
        for (name, program) in executables(&mut command)? {
            shell::put_stripped(&program, &tests.join(name))?;
            count += 1;
        }
    }
    if count == 0 {
        return Err("no test was built".to_owned());
    }
    let mut command = shell::cargo();
    command.args(["build", "--release", "--package", "unisono-cli"]);
    command.arg("--message-format=json-render-diagnostics");
    for (name, program) in executables(&mut command)? {
        shell::put_stripped(&program, &folder.join(name))?;
    }
    let script = folder.join("run.sh");
    fs::write(&script, SCRIPT).map_err(|error| format!("{}: {error}", script.display()))?;
    println!(
        "{count} test programs and `unisono` are in {}",
        folder.display()
    );
    println!("there: sh run.sh [TEXT OF THE TESTS' NAMES]; and ./unisono verify --device cuda:0");
    Ok(ExitCode::SUCCESS)
}

/// Runs a build and gives the programs that it made: a name of their own, and where they are.
fn executables(command: &mut Command) -> Result<Vec<(String, PathBuf)>, String> {
    let text = shell::shown(command);
    println!("{text}");
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start {text}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{text} ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(executable)
        .collect())
}

/// The program that a line of cargo's messages tells of.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let program = PathBuf::from(message["executable"].as_str()?);
    let target = &message["target"];
    let name = target["name"].as_str()?;
    // Names of tests are unique in a crate only.
    let package = Path::new(target["src_path"].as_str()?)
        .ancestors()
        .find(|folder| folder.join("Cargo.toml").is_file())
        .and_then(|folder| folder.file_name())
        .map(|name| name.to_string_lossy().into_owned());
    Some(match (target["kind"][0].as_str()?, package) {
        ("test", Some(package)) => (format!("{package}-{name}"), program),
        _ => (name.to_owned(), program),
    })
}

/// Runs what lies beside it. A program that ends badly without a failed test counts as one.
const SCRIPT: &str = r#"#!/bin/sh
# Runs the GPU tests of this folder. The last line counts; arguments go to the tests.
cd "$(dirname "$0")" || exit 2
passed=0
failed=0
for test in tests/*; do
    echo "=== $test ==="
    log="${TMPDIR:-/tmp}/gpu-test.$$"
    "./$test" --ignored --test-threads=1 "$@" >"$log" 2>&1
    code=$?
    cat "$log"
    counts=$(sed -n 's/^test result: .*\. \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' "$log" | tail -n 1)
    rm -f "$log"
    here=${counts%% *}
    wrong=${counts##* }
    passed=$((passed + ${here:-0}))
    failed=$((failed + ${wrong:-0}))
    if [ "$code" -ne 0 ] && [ "${wrong:-0}" -eq 0 ]; then
        echo "$test ended with $code"
        failed=$((failed + 1))
    fi
done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_from_cargos_messages() {
        let root = shell::root().display().to_string();
        let line = |kind: &str, source: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","executable":"/b/x-1","target":{{"kind":["{kind}"],"name":"gpu_x","src_path":"{root}/{source}"}}}}"#
            )
        };
        let named = |line: &str| executable(line).map(|(name, _)| name);
        let of_a_test = line("test", "crates/unisono-cuda/tests/gpu_x.rs");
        assert_eq!(named(&of_a_test).as_deref(), Some("unisono-cuda-gpu_x"));
        let of_a_library = line("lib", "crates/unisono-cuda/src/lib.rs");
        assert_eq!(named(&of_a_library).as_deref(), Some("gpu_x"));
        for other in [
            "",
            "{}",
            r#"{"reason":"compiler-artifact","executable":null}"#,
        ] {
            assert_eq!(named(other), None, "{other}");
        }
    }

    #[test]
    fn tests_of_other_crates_are_found_by_their_names() {
        let folder = shell::target_dir().join(format!("gpu-test-names-{}", std::process::id()));
        for name in [
            "a/tests/gpu_one.rs",
            "a/tests/two.rs",
            "b/src/lib.rs",
            "unisono-cuda/tests/gpu_own.rs",
        ] {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let found = elsewhere(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            found,
            BTreeMap::from([("a".to_owned(), vec!["gpu_one".to_owned()])])
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_script_counts_and_a_program_that_dies_counts_as_a_failure() {
        use std::os::unix::fs::PermissionsExt;

        let ok = "#!/bin/sh\n[ \"$1\" = --ignored ] && echo 'test result: ok. 3 passed; 0 failed; 0 ignored'\n";
        let bad =
            "#!/bin/sh\necho 'test result: FAILED. 1 passed; 2 failed; 0 ignored'\nexit 101\n";
        let dead = "#!/bin/sh\nkill -9 $$\n";
        let rows: [(&[&str], &str, bool); 4] = [
            (&[ok, ok], "6 passed, 0 failed", true),
            (&[ok, bad], "4 passed, 2 failed", false),
            (&[ok, dead], "3 passed, 1 failed", false),
            (&[], "0 passed, 1 failed", false),
        ];
        for (number, (programs, last, good)) in rows.into_iter().enumerate() {
            let folder =
                shell::target_dir().join(format!("gpu-test-{}-{number}", std::process::id()));
            fs::create_dir_all(folder.join("tests")).unwrap();
            fs::write(folder.join("run.sh"), SCRIPT).unwrap();
            for (i, program) in programs.iter().enumerate() {
                let file = folder.join(format!("tests/{i}"));
                fs::write(&file, program).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            }
            let output = Command::new("sh")
                .arg(folder.join("run.sh"))
                .output()
                .unwrap();
            fs::remove_dir_all(&folder).unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(text.lines().last(), Some(last), "{text}");
            assert_eq!(output.status.success(), good, "{text}");
        }
    }
}
