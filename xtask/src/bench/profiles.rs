//! Where the time goes in what missed its target: what `unisono profile` says of the model with as many rows.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::results::{Profile, Results};
use super::{cells, table};
use crate::shell;

/// Lines of a table that are kept: its head and the steps that take most of the time.
const LINES: usize = 11;

/// Builds the program that profiles.
///
/// # Errors
/// If it does not compile.
pub fn build() -> Result<(), String> {
    eprintln!("building the program `unisono`, which tells where the time of a missed target goes");
    let arguments = ["build", "--release", "--quiet", "-p", "unisono-cli"];
    shell::run(shell::cargo().args(arguments))
}

fn program() -> PathBuf {
    let name = format!("release/unisono{}", std::env::consts::EXE_SUFFIX);
    shell::target_dir().join(name)
}

/// Profiles each model of a missed cell with the rows that the cell's callers have together.
///
/// # Errors
/// If the program cannot be run, or ends with an error.
pub fn add(results: &mut Results, folder: &Path) -> Result<(), String> {
    for i in 0..results.models.len() {
        let model = &results.models[i];
        let is_built = |known: &cells::Model| known.built;
        if !results.device.model(&model.name).is_some_and(is_built) {
            continue;
        }
        let missed = model.cells.iter();
        let missed = missed.filter(|cell| table::is_missed(results, model, cell));
        let mut all_rows: Vec<usize> = missed.map(|cell| cell.callers * cell.rows).collect();
        all_rows.sort_unstable();
        all_rows.dedup();
        let file = folder.join(format!("{}.onnx", model.name));
        let mut profiles = Vec::new();
        for rows in all_rows {
            eprintln!("{}: a profile of {rows} rows", model.name);
            let mut command = Command::new(program());
            command.arg("profile").arg(&file);
            command.args(["--rows", &rows.to_string()]);
            let shown = shell::shown(&command);
            let output = command
                .output()
                .map_err(|error| format!("cannot start {shown}: {error}"))?;
            if !output.status.success() {
                return Err(format!("{shown} ended with {}", output.status));
            }
            let lines = condensed(&String::from_utf8_lossy(&output.stdout));
            profiles.push(Profile { rows, lines });
        }
        results.models[i].profiles = profiles;
    }
    Ok(())
}

/// The tables without the line that names the file, of each the first lines.
fn condensed(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for block in text.split("\n\n").skip(1) {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let block = block.lines().map(str::trim_end);
        lines.extend(block.take(LINES).map(str::to_owned));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_cut_and_the_file_is_not_named() {
        let steps: Vec<String> = (0..20).map(|i| format!(" 5.0%  step {i}  ")).collect();
        let text = format!(
            "/home/me/mlp.onnx on cpu, 8 rows\n\nshare  operator\n{}\n\ntotal  1 ms\n",
            steps.join("\n")
        );
        let lines = condensed(&text);
        assert_eq!(lines.first().map(String::as_str), Some("share  operator"));
        assert_eq!(lines[LINES - 1], format!(" 5.0%  step {}", LINES - 2));
        assert_eq!(lines[LINES..], ["", "total  1 ms"]);
    }
}
