//! The report: what was looked at, on what, and what came of it.
//!
//! The one idea: the report is data first. Everything that a terminal or a file shows is made from this one structure, and
//! `report.json` is this structure, so that two reports can be compared by a program.

mod changes;
mod chart;
mod clock;
mod format;
mod html;
mod junit;
mod markdown;
mod markup;
mod mutation;
mod mutation_text;
mod platform;
mod text;
mod words;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::claims::ClaimRecord;
use crate::compare::Difference;
use crate::options::Effort;
use crate::sections::SectionId;
use crate::stats::interval;
use crate::verdict::{Verdict, rate_bound};

pub use changes::{Changes, ReadError};
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use markup::Escaped;
pub use mutation::{Fate, MutantRecord, MutationRecord, UnbrokenRecord};
pub use text::{differences, sections, summary, summary_of_all_checks};

pub(crate) use clock::Stamp;
pub(crate) use platform::platform;

/// Raised whenever a field of the JSON changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When, where, with what.
    pub header: Header,
    /// The verdict on everything.
    pub verdict: Verdict,
    /// The models.
    pub models: Vec<ModelRecord>,
    /// The sections, in the order of the report.
    pub sections: Vec<Section>,
    /// What the crash ledger says, if one was kept.
    pub crashes: Option<CrashRecord>,
    /// The documentation's claims and what this run says of each; none if that section was not asked for.
    #[serde(default)]
    pub claims: Vec<ClaimRecord>,
    /// The mutation score, if it was asked for.
    #[serde(default)]
    pub mutation: Option<MutationRecord>,
    /// How long it took.
    pub seconds: f64,
}

/// Crashes on this machine, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashRecord {
    /// The file in which they are remembered.
    pub ledger: String,
    /// Earlier runs.
    pub runs_before: u64,
    /// Sections' processes that ended badly in earlier runs.
    pub crashes_before: u64,
    /// The same with those of this run.
    pub crashes_after: u64,
    /// Earlier runs that never ended.
    pub unended_before: u64,
    /// What is wrong with the file, if anything.
    pub trouble: Option<String>,
    /// Where the system's own crash reports were looked for; empty if there is no place that can be looked at.
    pub system_reports_in: Vec<String>,
    /// Those that have come during the run.
    pub system_reports: Vec<String>,
}

/// When, where, with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When the run began, in UTC: `2025-12-25T08:30:00Z`.
    pub date: String,
    /// Names the run.
    pub run_id: String,
    /// The version of Unisono.
    pub version: String,
    /// The commit that was checked out when it was built; none if it was not built from a checkout of its repository.
    pub commit: Option<String>,
    /// The compiler that it was built with.
    pub compiler: String,
    /// The version of the canonical arithmetic. Answers of two runs are comparable if it is the same.
    pub arithmetic_version: u32,
    /// The machine.
    pub platform: Platform,
    /// The device under test.
    pub device: DeviceRecord,
    /// The seed of all requests.
    pub seed: u64,
    /// How much work was asked for.
    pub effort: Effort,
    /// What was asked for.
    pub sections: Vec<SectionId>,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, `macos`, …
    pub os: String,
    /// The system's own version, if it tells.
    pub os_version: String,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// Cores that this process may use.
    pub cores: usize,
}

/// The device under test, as it is set up by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// `cpu`, …
    pub id: String,
    /// The hardware's own name.
    pub name: String,
    /// The version of the driver between program and hardware; none for a processor, which needs none.
    pub driver: Option<String>,
    /// Whether a device with a driver still works when all is over: `works`, or the error after which nothing works on it any more.
    /// None for a processor.
    #[serde(default)]
    pub state: Option<String>,
    /// Threads that compute at once.
    pub threads: usize,
    /// Vector instructions.
    pub isa: String,
    /// All instruction sets that this machine has.
    pub available_isas: Vec<String>,
}

/// One model and what it was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Its name in the report.
    pub name: String,
    /// What it is: a file, or the seed's own.
    pub source: String,
    /// Elements of its weights.
    pub parameters: u64,
    /// Floating-point operations for one row.
    pub flops_per_row: u64,
    /// Are rows proven independent, so that requests may be put together?
    pub rows_are_independent: bool,
    /// What a request is made of.
    pub inputs: Vec<InputRecord>,
    /// Lengths that neither the model nor the user chose.
    pub default_lengths: Vec<(String, usize)>,
    /// Digest of the requests that the expected answers were computed for. Equal seeds give equal digests.
    pub requests_digest: Option<String>,
    /// Digest of those answers. Equal on every machine, by contract C1.
    pub answers_digest: Option<String>,
}

/// One input of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: String,
    /// The shape of one row.
    pub shape: Vec<usize>,
    /// Along which axis rows lie.
    pub rows_axis: Option<usize>,
    /// Where its values come from.
    pub values: String,
}

/// One section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Which.
    pub id: SectionId,
    /// The heading.
    pub title: String,
    /// What a pass shows, in plain words.
    pub proves: String,
    /// What it does not show.
    pub cannot: String,
    /// The verdict on all of it.
    pub verdict: Verdict,
    /// The checks.
    pub checks: Vec<Check>,
    /// What is better looked at than read.
    pub charts: Vec<Chart>,
    /// For each model, what was asked and answered in this section.
    pub digests: Vec<SectionDigest>,
    /// How its process ended; `None` if it had none of its own.
    pub process: Option<ProcessRecord>,
    /// How long it took.
    pub seconds: f64,
}

/// What was asked of one model in one section, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionDigest {
    /// The model.
    pub model: String,
    /// Digest of the requests.
    pub requests: String,
    /// Digest of the answers.
    pub answers: String,
}

/// How the process of a section ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// How.
    pub end: ProcessEnd,
    /// In words: `ended by itself`, `killed by signal 11 (SIGSEGV)`, `no sign of life for 300 s`.
    pub what: String,
    /// Did it leave a core file, as far as the system says?
    pub core_dumped: bool,
    /// The last lines that it wrote to standard error; empty if all went well.
    pub last_words: String,
    /// The most memory that it had resident at any time, in bytes, where the system tells.
    pub peak_resident_bytes: Option<u64>,
}

/// The ways in which a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessEnd {
    /// By itself, with a report.
    Good,
    /// By itself, with an exit code but without a report.
    Exit,
    /// By a signal.
    Signal,
    /// By us, because it gave no sign of life.
    Hung,
    /// Because it had no memory left.
    OutOfMemory,
    /// It could not be started.
    NotStarted,
}

/// What is better looked at than read: some series of points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// A name that stays the same from run to run: `efficiency/mlp/throughput`.
    pub id: String,
    /// The heading.
    pub title: String,
    /// What there is to see, in a sentence.
    pub caption: String,
    /// Lines or bars.
    pub kind: ChartKind,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChartKind {
    /// Joined by lines.
    Lines,
    /// As bars from zero.
    Bars,
}

/// An axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// What it shows, with its unit: `samples/s`.
    pub label: String,
    /// How values are spread along it.
    pub scale: Scale,
}

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// Evenly, from the smallest value.
    LinearFromLowest,
    /// By doublings.
    Log2,
    /// By factors of ten.
    Log10,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// Pairs of x and y.
    pub points: Vec<(f64, f64)>,
    /// The lowest and highest value at each point, if known.
    pub band: Option<Vec<(f64, f64)>>,
    /// Is it a bound or a model instead of a measurement? Then it is drawn dashed.
    pub dashed: bool,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// A name that stays the same from run to run: `thread-safety/transformer/callers`.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// What is checked, in a few words.
    pub what: String,
    /// What came of it.
    pub verdict: Verdict,
    /// How many times it was looked.
    pub trials: u64,
    /// What a trial is: `answers`, `rows`, …
    pub unit: String,
    /// How many of them were wrong.
    pub failures: u64,
    /// If none was wrong: the largest rate of failures that would still be missed one time in twenty (3 / trials).
    pub rate_bound: Option<f64>,
    /// How it was looked, and why it could not.
    pub notes: Vec<String>,
    /// What a reader must know even of a pass: what was left out, what is unusual.
    pub warnings: Vec<String>,
    /// Measured numbers.
    pub figures: Vec<Figure>,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// How long it took.
    pub seconds: f64,
}

/// A measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit; empty for a plain number.
    pub unit: String,
    /// The interval in which the true value lies at 95 %, if known.
    pub interval: Option<(f64, f64)>,
}

impl Check {
    /// A check that has looked at nothing yet.
    pub fn new(id: impl Into<String>, model: &str, what: impl Into<String>, unit: &str) -> Check {
        Check {
            id: id.into(),
            model: model.to_owned(),
            what: what.into(),
            verdict: Verdict::CouldNotRun,
            trials: 0,
            unit: unit.to_owned(),
            failures: 0,
            rate_bound: None,
            notes: Vec::new(),
            warnings: Vec::new(),
            figures: Vec::new(),
            differences: Vec::new(),
            seconds: 0.0,
        }
    }

    /// States what was seen: a pass if something was looked at and nothing was wrong.
    pub fn conclude(&mut self, trials: u64, failures: u64) {
        self.trials = trials;
        self.failures = failures;
        self.verdict = match (trials, failures) {
            (_, 1..) => Verdict::Fail,
            (0, 0) => Verdict::CouldNotRun,
            (_, 0) => Verdict::Pass,
        };
        self.rate_bound = if failures == 0 {
            rate_bound(trials)
        } else {
            None
        };
        if failures > 0 && trials >= failures {
            let (low, high) = interval::rate(failures, trials);
            self.notes.push(format!(
                "{failures} of {trials} {} are wrong: between {:.2} and {:.2} % of all such, at 95 %",
                self.unit,
                100.0 * low,
                100.0 * high
            ));
        }
    }

    /// States that it could not look.
    #[must_use]
    pub fn could_not_run(mut self, why: impl Into<String>) -> Check {
        self.verdict = Verdict::CouldNotRun;
        self.notes.push(why.into());
        self
    }

    /// Adds a number. One that is not finite is no figure (JSON cannot hold it either): a warning tells of it instead.
    pub fn figure(&mut self, name: &str, value: f64, unit: &str) {
        if !value.is_finite() {
            self.warnings.push(format!("{name}: not a finite number"));
            return;
        }
        self.figures.push(Figure {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            interval: None,
        });
    }

    /// Adds a number with the interval in which it lies at 95 %.
    pub fn figure_within(&mut self, name: &str, value: f64, unit: &str, interval: (f64, f64)) {
        self.figure(name, value, unit);
        let known = value.is_finite() && interval.0.is_finite() && interval.1.is_finite();
        if let (true, Some(figure)) = (known, self.figures.last_mut()) {
            figure.interval = Some(interval);
        }
    }

    /// The figure of this name.
    pub fn figure_named(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

impl Report {
    /// Did nothing fail, and did everything that was asked for run?
    pub fn is_acceptable(&self) -> bool {
        self.verdict.is_acceptable()
    }

    /// The section, if it was run.
    pub fn section(&self, id: SectionId) -> Option<&Section> {
        self.sections.iter().find(|section| section.id == id)
    }

    /// All checks.
    pub fn checks(&self) -> impl Iterator<Item = &Check> + Clone {
        self.sections.iter().flat_map(|section| &section.checks)
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// None that a report of ours can cause.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// Writes the report into a folder, which is made if it does not exist, as `report.json` (this structure, described by
    /// `docs/report.schema.json`), `report.md` (see [`markdown`]), `report.html` (see [`html`](html())) and
    /// `report.junit.xml` (see [`junit`]), and says where, in this order.
    ///
    /// # Errors
    /// The folder or a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let json = self.to_json().map_err(io::Error::other)? + "\n";
        std::fs::create_dir_all(folder)?;
        let files = [
            ("report.json", json),
            ("report.md", markdown(self)),
            ("report.html", html(self)),
            ("report.junit.xml", junit(self)),
        ];
        files
            .into_iter()
            .map(|(name, content)| {
                let file = folder.join(name);
                std::fs::write(&file, content)?;
                Ok(file)
            })
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn header() -> Header {
        Header {
            date: "2026-01-01T00:00:00Z".to_owned(),
            run_id: "20260101T000000Z-0000".to_owned(),
            version: "0.0.0".to_owned(),
            commit: None,
            compiler: "rustc".to_owned(),
            arithmetic_version: 1,
            platform: platform(),
            device: DeviceRecord {
                id: "cpu".to_owned(),
                name: "a processor".to_owned(),
                driver: None,
                state: None,
                threads: 2,
                isa: "avx2".to_owned(),
                available_isas: vec!["avx2".to_owned()],
            },
            seed: 1,
            effort: Effort::Quick,
            sections: Vec::new(),
        }
    }

    /// A report of nothing.
    pub(crate) fn report() -> Report {
        Report {
            schema_version: SCHEMA_VERSION,
            header: header(),
            verdict: Verdict::Pass,
            models: Vec::new(),
            sections: Vec::new(),
            claims: Vec::new(),
            mutation: None,
            crashes: None,
            seconds: 0.0,
        }
    }

    /// A section without checks.
    pub(crate) fn section(id: SectionId) -> Section {
        Section {
            id,
            title: id.title().to_owned(),
            proves: String::new(),
            cannot: String::new(),
            verdict: Verdict::Pass,
            checks: Vec::new(),
            charts: Vec::new(),
            digests: Vec::new(),
            process: None,
            seconds: 0.0,
        }
    }

    pub(crate) fn process(end: ProcessEnd) -> ProcessRecord {
        ProcessRecord {
            end,
            what: "it ended".to_owned(),
            core_dumped: false,
            last_words: String::new(),
            peak_resident_bytes: Some(1_000_000),
        }
    }

    pub(crate) fn crashes(before: u64, after: u64) -> CrashRecord {
        CrashRecord {
            ledger: "/state/unisono/verify-ledger.jsonl".to_owned(),
            runs_before: 3,
            crashes_before: before,
            crashes_after: after,
            unended_before: 0,
            trouble: None,
            system_reports_in: vec!["/var/crash".to_owned()],
            system_reports: Vec::new(),
        }
    }
}
