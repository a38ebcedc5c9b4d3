//! `unisono verify`: what this machine, its device and a model can be trusted with.
//!
//! The one idea: the suite is a library; this file reads options, shows progress and says where the report is.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use unisono_verify::isolation::{Injury, Isolated, Launcher, serve};
use unisono_verify::ledger::Ledger;
use unisono_verify::report::{Check, sections, summary, summary_of_all_checks};
use unisono_verify::requests::Values;
use unisono_verify::subject::CPU;
use unisono_verify::{Effort, InputOptions, Options, Report, SectionId, VerifyError};

use super::verify_compare::{CompareArgs, compare};
use crate::console::{self, grouped, plain};
use crate::failure::Failure;

const EXAMPLES: &str = "\
Without --model, it checks three models that it builds itself: a transformer, a multi-layer perceptron and a
convolutional network. With --model, it checks yours. Requests are made up from the seed; equal seeds give equal
requests everywhere, and the digests in two reports tell whether the answers were equal too.

Examples:
  unisono verify
  unisono verify --quick
  unisono verify --model minilm.onnx --dim sequence_length=64
  unisono verify --model silero_vad.onnx --value sr=16000 --dim sequence=576
  unisono verify --section correctness --json | jq .verdict
  unisono verify --device cuda:0
  unisono verify compare before/report.json after/report.json
  cargo run --release --features mutants -- verify --mutants

Exit codes:
  0  nothing failed, and everything that was asked for ran
  1  a check failed or could not run";

/// Check that answers are the same from every thread, in any company, and right
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct VerifyArgs {
    #[command(subcommand)]
    command: Option<VerifyCommand>,

    /// Less work: about a minute instead of about five on two slow cores
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// Much more work: half an hour and more, to see rarer faults
    #[arg(long)]
    full: bool,

    /// How long the soak lasts, such as 10s, 15m, 24h [default: 10s with --quick, 60s, 15m with --full]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    soak: Option<Duration>,

    /// Check this ONNX model instead of the built-in ones; may be repeated
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<PathBuf>,

    /// Folder for report.json, report.md, report.html and report.junit.xml
    #[arg(long, value_name = "DIR", default_value = "unisono-report")]
    out: PathBuf,

    /// Print the report as JSON instead of the summary
    #[arg(long)]
    json: bool,

    /// Show no progress
    #[arg(long)]
    quiet: bool,

    /// Show every check in the summary, not only those that did not pass
    #[arg(long)]
    verbose: bool,

    /// Run this section only; may be repeated
    #[arg(long = "section", value_name = "NAME", value_parser = section)]
    sections: Vec<SectionId>,

    /// Break one part after the other on purpose and see each caught; only in a build with the Cargo feature `mutants`
    #[arg(long, conflicts_with_all = ["models", "sections"])]
    mutants: bool,

    /// List the sections and what they show
    #[arg(long)]
    list: bool,

    /// After how long without any sign of life a section is given up and its process killed, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    patience: Duration,

    /// Folder of the crash ledger, which counts crashes over all runs [default: the user's state folder]
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,

    /// Let a section's process come to harm on purpose, to see what the report says: kill, abort, exit, hang or memory
    #[arg(long, value_name = "SECTION=HARM", value_parser = injury)]
    injure: Option<(SectionId, Injury)>,

    /// Run one section for a parent: its task comes on standard input, what it finds goes to standard output
    #[arg(long, hide = true)]
    child: bool,

    /// Seed of all requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// What to verify: cpu, or cuda:0, cuda:1, … for a GPU; `unisono devices` lists what there is
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,

    /// What "all threads" of the CPU means [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Set a symbolic length of inputs, such as sequence=128; `unisono inspect` names them
    #[arg(long = "dim", value_name = "SYMBOL=N", value_parser = length)]
    dims: Vec<(String, usize)>,

    /// Give an input one value everywhere, such as sr=16000
    #[arg(long = "value", visible_alias = "fill", value_name = "NAME=X", value_parser = value)]
    values: Vec<(String, Values)>,

    /// Draw an input's values from a range, both ends included, such as pixels=0..255
    #[arg(long = "range", value_name = "NAME=LO..HI", value_parser = range, allow_hyphen_values = true)]
    ranges: Vec<(String, Values)>,
}

#[derive(Subcommand, Debug)]
enum VerifyCommand {
    Compare(CompareArgs),
}

fn section(name: &str) -> Result<SectionId, String> {
    SectionId::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = SectionId::ALL
            .iter()
            .map(|section| section.name())
            .collect();
        format!("should be one of {}", names.join(", "))
    })
}

/// A number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let seconds = match unit.trim() {
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => f64::NAN,
    };
    let length = number.parse::<f64>().ok().map(|n| n * seconds);
    length
        .filter(|&s| s > 0.0)
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| "should be a number and a unit, such as 30s, 15m or 24h".to_owned())
}

fn injury(text: &str) -> Result<(SectionId, Injury), String> {
    let (name, harm) = text
        .split_once('=')
        .ok_or_else(|| "should be SECTION=HARM, such as soak=kill".to_owned())?;
    Ok((section(name)?, harm.parse()?))
}

/// Names may hold `=`, what stands behind them does not.
fn named<T>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    should: &str,
) -> Result<(String, T), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, rest)| {
        let name = name.trim();
        Some((name.to_owned(), parse(rest.trim())?)).filter(|_| !name.is_empty())
    });
    parsed.ok_or_else(|| format!("should be {should}"))
}

fn length(text: &str) -> Result<(String, usize), String> {
    named(
        text,
        |n| n.parse().ok().filter(|&n| n > 0),
        "SYMBOL=N, such as sequence=128",
    )
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|x: &f64| x.is_finite())
}

fn value(text: &str) -> Result<(String, Values), String> {
    named(
        text,
        |x| finite(x).map(Values::Constant),
        "NAME=NUMBER, such as sr=16000",
    )
}

fn range(text: &str) -> Result<(String, Values), String> {
    let parse = |ends: &str| {
        let (low, high) = ends.split_once("..")?;
        let (low, high) = (finite(low.trim())?, finite(high.trim())?);
        (low <= high).then_some(Values::Uniform { low, high })
    };
    named(
        text,
        parse,
        "NAME=LO..HI with LO not above HI, such as pixels=0..255",
    )
}

/// Runs the command.
///
/// # Errors
/// The options make no sense, the report cannot be written, or the verdict is negative.
pub fn verify(args: &VerifyArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(VerifyCommand::Compare(args)) = &args.command {
        return compare(args, out);
    }
    if args.list {
        return Ok(write!(out, "{}", sections())?);
    }
    if args.child {
        return match serve(&mut io::stdin().lock(), out) {
            true => Ok(()),
            false => Err(Failure::internal("there was no section to run")),
        };
    }
    if args.device != CPU && args.threads.is_some() {
        return Err(super::of_the_cpu("--threads", &args.device));
    }
    for path in &args.models {
        if let Err(error) = std::fs::metadata(path) {
            let failure = Failure::bad_input(format!("the model cannot be read: {error}"));
            return Err(failure.at(path.display()));
        }
    }
    let mut options = Options::default();
    options.effort = match (args.quick, args.full) {
        (true, _) => Effort::Quick,
        (_, true) => Effort::Full,
        _ => Effort::Standard,
    };
    options.soak = args.soak;
    options.patience = args.patience;
    options.models.clone_from(&args.models);
    options.sections.clone_from(&args.sections);
    options.seed = args.seed;
    options.device.clone_from(&args.device);
    options.threads = args.threads.map(usize::from);
    let values = args.values.iter().chain(&args.ranges);
    options.inputs = InputOptions {
        lengths: args.dims.clone(),
        values: values.cloned().collect(),
    };

    let mut progress = Progress::new(args.quiet);
    let mut isolated = Isolated::new(this_program()?);
    isolated.injury = args.injure;
    if let Some(folder) = &args.ledger {
        isolated.ledger = Some(Ledger::in_folder(folder));
    }
    let report = match args.mutants {
        true => mutants(&options, &mut isolated, &mut progress)?,
        false => isolated.run(&options, &mut progress).map_err(failure)?,
    };
    drop(progress);

    // First what was found: it must not get lost because a folder cannot be written.
    if args.json {
        writeln!(out, "{}", super::json_line(&report)?)?;
    } else if args.verbose {
        write!(out, "{}", summary_of_all_checks(&report))?;
    } else {
        write!(out, "{}", summary(&report))?;
    }
    out.flush()?;
    let files = report.write(&args.out).map_err(|error| {
        Failure::internal(format!("the report cannot be written: {error}"))
            .at(args.out.display())
            .help("choose another folder with --out DIR")
    })?;
    if !args.json {
        for file in files {
            writeln!(out, "  report  {}", file.display())?;
        }
    }
    verdict(&report)
}

#[cfg(feature = "mutants")]
fn mutants(
    options: &Options,
    isolated: &mut Isolated,
    progress: &mut Progress,
) -> Result<Report, Failure> {
    unisono_verify::mutation::run_mutants(options, isolated, progress).map_err(failure)
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &Options, _: &mut Isolated, _: &mut Progress) -> Result<Report, Failure> {
    Err(
        Failure::bad_input("this build has no mutants: nothing in it can be broken on purpose").help(
            "build one that has, from a clone: cargo run --release --features mutants -- verify --mutants",
        ),
    )
}

/// How sections are started: this program again.
fn this_program() -> Result<Launcher, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::internal(format!("the program does not know where it is: {error}"))
    })?;
    Ok(Launcher {
        program,
        arguments: vec!["verify".to_owned(), "--child".to_owned()],
    })
}

fn verdict(report: &Report) -> Result<(), Failure> {
    if report.is_acceptable() {
        return Ok(());
    }
    if let Some(mutation) = &report.mutation {
        return Err(Failure::negative(format!(
            "the verdict is {}: {} mutants",
            report.verdict,
            mutation.score()
        )));
    }
    let bad = report
        .checks()
        .filter(|check| !check.verdict.is_acceptable())
        .count();
    Err(Failure::negative(format!(
        "the verdict is {}: {bad} checks",
        report.verdict
    )))
}

fn failure(error: VerifyError) -> Failure {
    match error {
        VerifyError::Options(error) => {
            let failure = Failure::bad_input(error.message());
            match error.advice() {
                Some(advice) => failure.help(advice),
                None => failure,
            }
        }
        VerifyError::Device(error) => error.into(),
        other => Failure::internal(other.to_string()),
    }
}

/// Shows what goes on: one living line on a terminal, a line for each check elsewhere.
struct Progress {
    line: console::Progress,
    quiet: bool,
    lines: bool,
    section: String,
    /// When the last line of a long check was written.
    told: Instant,
}

impl Progress {
    /// How often a long check says how far it is where nothing can be overwritten.
    const EVERY: Duration = Duration::from_secs(15);

    fn new(quiet: bool) -> Progress {
        Progress {
            line: console::Progress::new(),
            quiet,
            lines: !io::stderr().is_terminal(),
            section: String::new(),
            told: Instant::now(),
        }
    }

    fn tell(&mut self, text: &str) {
        self.told = Instant::now();
        // Losing a progress line is no error.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

impl unisono_verify::progress::Progress for Progress {
    fn section(&mut self, title: &str) {
        title.clone_into(&mut self.section);
        if self.lines && !self.quiet {
            self.tell(title);
        }
    }

    fn step(&mut self, model: &str, what: &str, done: u64, total: u64) {
        if self.quiet {
            return;
        }
        let far = if total > 0 {
            format!(" · {} of {}", grouped(done), grouped(total))
        } else {
            String::new()
        };
        let text = plain(&format!("{model} · {what}{far}"));
        if !self.lines {
            // A line that wraps could not be removed.
            let text: String = format!("{} · {text}", self.section)
                .chars()
                .take(98)
                .collect();
            self.line.show(&text);
        } else if total > 0 && self.told.elapsed() >= Progress::EVERY {
            self.tell(&format!("  {text}"));
        }
    }

    fn finished(&mut self, check: &Check) {
        if self.quiet {
            return;
        }
        self.line.clear();
        if self.lines {
            let text = format!(
                "  {} · {} · {} · {:.1} s",
                check.verdict, check.model, check.what, check.seconds
            );
            self.tell(&plain(&text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_about_inputs_are_read() {
        assert_eq!(length("a=b=7"), Ok(("a=b".to_owned(), 7)));
        assert_eq!(
            value("sr=16000"),
            Ok(("sr".to_owned(), Values::Constant(16_000.0)))
        );
        let uniform = Values::Uniform {
            low: -1.5,
            high: 2.0,
        };
        assert_eq!(range("x=-1.5..2"), Ok(("x".to_owned(), uniform)));
        for bad in ["", "x", "x=", "=3", "x=0", "x=-1", "x=1.5"] {
            assert!(length(bad).is_err(), "{bad}");
        }
        for bad in ["x=nan", "x=inf", "x=a", "=1"] {
            assert!(value(bad).is_err(), "{bad}");
        }
        for bad in ["x=1", "x=2..1", "x=..", "x=1..", "x=0..inf"] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert_eq!(section("correctness"), Ok(SectionId::Correctness));
        assert!(section("siesta").is_err());
        assert_eq!(injury("soak=kill"), Ok((SectionId::Soak, Injury::Kill)));
        assert!(injury("soak").is_err() && injury("soak=tickle").is_err());
        let seconds = |text| duration(text).map(|d| d.as_secs_f64());
        assert_eq!(
            ["90", "10s", "1.5m", "24h", "250ms"].map(seconds),
            [90.0, 10.0, 90.0, 86_400.0, 0.25].map(Ok)
        );
        for bad in ["", "s", "0s", "-1s", "5y", "1e400h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
