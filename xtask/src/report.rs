//! `cargo xtask report`: the report's page in a real browser.
//!
//! One idea: a page that needs nothing must be seen to ask for nothing. A headless Chromium opens it and tells of every
//! request and every message; screenshots are for the eyes of whoever changed it.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use crate::args::Args;
use crate::shell;

pub const HELP: &str = "\
usage: cargo xtask report [--html FILE | --sample] [--unfold] [--out DIR] [--docs]

Runs `unisono verify --quick`, opens its report.html in headless Chromium and fails if the page writes to the console,
asks for anything but itself, or is wider than the screen. Takes screenshots: light, dark, and of a phone. Look at them.

  --html FILE   open this page instead of running anything
  --sample      open a report made by hand, which has every kind of chart and verdict
  --unfold      open everything that is folded before the screenshots are taken
  --out DIR     put the screenshots there (target/report)
  --docs        keep the first screen as docs/images/report.png

Needs Python 3.10 and Chromium (Debian: the package chromium).
";

/// # Errors
/// If the report cannot be made, or Python is missing. What is wrong with the page is an exit code.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let html = args.value("--html")?;
    let (sample, unfold, docs) = (
        args.switch("--sample"),
        args.switch("--unfold"),
        args.switch("--docs"),
    );
    let out = args.value("--out")?.map(PathBuf::from);
    args.finish()?;
    let out = out.unwrap_or_else(|| shell::target_dir().join("report"));
    let html = match html {
        Some(file) => PathBuf::from(file),
        None => {
            make(&out, sample)?;
            out.join("report.html")
        }
    };
    let python = shell::find_program(&["python3", "python"])
        .ok_or("python3 is missing: it drives the browser")?;
    let mut command = Command::new(python);
    command
        .arg(shell::root().join("tools/view_report.py"))
        .arg(&html)
        .arg("--out")
        .arg(&out)
        .stdin(Stdio::null());
    if unfold {
        command.arg("--unfold");
    }
    let status = command
        .status()
        .map_err(|error| format!("cannot start {}: {error}", shell::shown(&command)))?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    if docs {
        let to = shell::root().join("docs/images/report.png");
        std::fs::copy(out.join("first-screen.png"), &to)
            .map_err(|error| format!("{}: {error}", to.display()))?;
        println!("{}", to.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a report in the folder.
fn make(folder: &std::path::Path, sample: bool) -> Result<(), String> {
    let mut command = shell::cargo();
    if sample {
        command.args(["run", "--quiet", "--package", "unisono-verify"]);
        command
            .args(["--example", "sample_report", "--"])
            .arg(folder);
    } else {
        command.args(["run", "--quiet", "--release", "--package", "unisono-cli"]);
        command
            .args(["--", "verify", "--quick", "--out"])
            .arg(folder);
    }
    let ended = shell::run(&mut command);
    // A negative verdict is a report, too.
    match folder.join("report.html").is_file() {
        true => Ok(()),
        false => ended,
    }
}
