//! A section whose process is killed, aborts, exits, hangs or runs out of memory ends in a truthful report.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("unisono-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

/// The report of a short run in which the section comes to this harm, the exit code, and the folder of the ledger.
fn injured(harm: &str, folder: &PathBuf) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_unisono"))
        .args([
            "verify",
            "--quick",
            "--quiet",
            "--json",
            "--section",
            "thread-safety",
        ])
        .args(["--section", "crash-status", "--injure"])
        .arg(format!("thread-safety={harm}"))
        .args(["--patience", "3s", "--ledger"])
        .arg(folder)
        .arg("--out")
        .arg(folder)
        .output()
        .expect("the program runs");
    let report = serde_json::from_slice(&output.stdout).expect("a report");
    (report, output.status.code())
}

#[test]
fn every_bad_end_of_a_process_is_told_truthfully() {
    let folder = folder("ends");
    let rows = [
        ("kill", "signal", "ended by signal 9 (SIGKILL)"),
        ("abort", "signal", "ended by signal 6 (SIGABRT)"),
        ("exit", "exit", "exited with 7 and without a report"),
        (
            "hang",
            "hung",
            "gave no sign of life for 3 s and was killed",
        ),
        (
            "memory",
            "out-of-memory",
            "memory ran out: an allocation failed, and it ended by signal 6 (SIGABRT)",
        ),
    ];
    let mut wrong = Vec::new();
    for (before, (harm, end, what)) in rows.into_iter().enumerate() {
        let (report, code) = injured(harm, &folder);
        let section = &report["sections"][0];
        let process = &section["process"];
        let last = section["checks"].as_array().and_then(|c| c.last());
        let last = last.cloned().unwrap_or_default();
        let found = (
            code,
            &report["verdict"],
            &process["end"],
            &process["what"],
            &last["id"],
            &last["verdict"],
            &report["crashes"]["crashes_before"],
            &report["crashes"]["crashes_after"],
        );
        let expected = (
            Some(1),
            &Value::from("FAIL"),
            &Value::from(end),
            &Value::from(what),
            &Value::from("thread-safety/process"),
            &Value::from("FAIL"),
            &Value::from(before),
            &Value::from(before + 1),
        );
        if found != expected {
            wrong.push(format!("{harm}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}

#[test]
fn a_child_without_a_task_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_unisono"))
        .args(["verify", "--child"])
        .output()
        .expect("the program runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("the task cannot be read"), "{said}");
}
