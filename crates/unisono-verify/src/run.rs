//! From options to a report.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use unisono::{Device, DeviceId, Error, Isa};

use crate::case::{Case, Machine};
use crate::claims::{Ledger, join};
use crate::digest::Digest;
use crate::options::{OptionError, Options};
use crate::progress::Progress;
use crate::report::{
    Check, DeviceRecord, Header, ModelRecord, Report, SCHEMA_VERSION, Section, SectionDigest,
    Stamp, platform,
};
use crate::requests::open_lengths;
use crate::sections::{
    Context, Findings, Scope, SectionId, check_device, check_model, check_report,
};
use crate::seed::SeedModel;
use crate::subject::{Setup, device};
use crate::verdict::Verdict;

/// Why there is no report at all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum VerifyError {
    /// The options make no sense for the models at hand.
    Options(OptionError),
    /// There is no device to verify.
    Device(Error),
    /// A section's process could not do what it was asked to.
    Child(String),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::Options(error) => error.fmt(f),
            VerifyError::Device(error) => error.fmt(f),
            VerifyError::Child(why) => write!(f, "a section could not be run: {why}"),
        }
    }
}

impl std::error::Error for VerifyError {}

impl From<OptionError> for VerifyError {
    fn from(error: OptionError) -> VerifyError {
        VerifyError::Options(error)
    }
}

/// Runs the verification in this process and reports. What goes wrong with a model is in the report, not an error.
///
/// A section that crashes takes the caller with it; [`Isolated`](crate::isolation::Isolated) gives each a process of its own.
///
/// # Errors
/// The options name something that no model has, or the device cannot be set up.
pub fn run(options: &Options, progress: &mut dyn Progress) -> Result<Report, VerifyError> {
    let section = |id: SectionId, progress: &mut dyn Progress| {
        let machine = Machine::of(options)?;
        Ok(run_section(id, options, &machine, progress))
    };
    run_with(options, progress, section, |_| {})
}

/// The same with another way to run a section. `looked` is called when all sections have run that look at something, before those that
/// conclude from the report.
pub(crate) fn run_with(
    options: &Options,
    progress: &mut dyn Progress,
    mut section: impl FnMut(SectionId, &mut dyn Progress) -> Result<Ran, VerifyError>,
    looked: impl FnOnce(&mut Report),
) -> Result<Report, VerifyError> {
    let started = Instant::now();
    check_names(options)?;
    let sections = options.chosen_sections();
    let mut report = empty_report(options, &sections)?;
    let mut looked = Some(looked);
    for id in sections {
        progress.section(id.title());
        let ran = match id.description().scope {
            Scope::Report => {
                if let Some(looked) = looked.take() {
                    looked(&mut report);
                }
                let started = Instant::now();
                let findings = check_report(id, &report);
                for check in &findings.checks {
                    progress.finished(check);
                }
                Ran {
                    section: conclude(id, findings, started),
                    models: Vec::new(),
                }
            }
            _ => section(id, progress)?,
        };
        for model in ran.models {
            if !report.models.iter().any(|known| known.name == model.name) {
                report.models.push(model);
            }
        }
        report.sections.push(ran.section);
    }
    if let Some(looked) = looked.take() {
        looked(&mut report);
    }
    if report.section(SectionId::Status).is_some() {
        // One that cannot be read is what the section reports.
        report.claims =
            Ledger::of_this_version().map_or_else(|_| Vec::new(), |l| join(&l, &report));
    }
    digest_of_all(&mut report);
    if report.header.device.driver.is_some() {
        report.header.device.state = Some(state(under_test(options)));
    }
    report.verdict = Verdict::of_all(report.sections.iter().map(|section| section.verdict));
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// A report of which nothing is known but who asks for what.
pub(crate) fn empty_report(
    options: &Options,
    sections: &[SectionId],
) -> Result<Report, VerifyError> {
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        header: header(options, Stamp::now(), sections)?,
        verdict: Verdict::CouldNotRun,
        models: Vec::new(),
        sections: Vec::new(),
        claims: Vec::new(),
        mutation: None,
        crashes: None,
        seconds: 0.0,
    })
}

/// A section that has run, and the models that it looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ran {
    /// The section.
    pub section: Section,
    /// The models.
    pub models: Vec<ModelRecord>,
}

/// The digests of a model over all sections, in their order.
fn digest_of_all(report: &mut Report) {
    for model in &mut report.models {
        let own = report
            .sections
            .iter()
            .flat_map(|section| &section.digests)
            .filter(|digest| digest.model == model.name);
        let (mut requests, mut answers, mut any) = (Digest::new(), Digest::new(), false);
        for digest in own {
            requests.bytes(digest.requests.as_bytes());
            answers.bytes(digest.answers.as_bytes());
            any = true;
        }
        model.requests_digest = any.then(|| requests.to_string());
        model.answers_digest = any.then(|| answers.to_string());
    }
}

fn header(options: &Options, stamp: Stamp, sections: &[SectionId]) -> Result<Header, VerifyError> {
    let info = under_test(options)?.info();
    let isas: Vec<String> = match info.id {
        DeviceId::Cpu => Isa::available().map(|isa| isa.name().to_owned()).collect(),
        _ => vec![info.isa.clone()],
    };
    Ok(Header {
        date: stamp.to_string(),
        run_id: stamp.run_id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("UNISONO_COMMIT").map(str::to_owned),
        compiler: option_env!("UNISONO_COMPILER")
            .unwrap_or("unknown compiler")
            .to_owned(),
        arithmetic_version: unisono::reference::arith::ARITHMETIC_VERSION,
        platform: platform(),
        device: DeviceRecord {
            id: info.id.to_string(),
            name: info.name,
            driver: driver(info.id),
            // Known when all is over.
            state: None,
            threads: info.threads,
            isa: info.isa,
            available_isas: isas,
        },
        seed: options.seed,
        effort: options.effort,
        sections: sections.to_vec(),
    })
}

impl Machine {
    /// What there is to check across.
    pub(crate) fn of(options: &Options) -> Result<Machine, VerifyError> {
        let info = under_test(options)?.info();
        Ok(Machine {
            threads: info.threads,
            isas: match info.id {
                DeviceId::Cpu => Isa::available().collect(),
                _ => Vec::new(),
            },
        })
    }
}

/// The device that the options name.
fn under_test(options: &Options) -> Result<Device, VerifyError> {
    let setup = Setup {
        threads: options.threads,
        isa: None,
    };
    device(&options.device, setup).map_err(VerifyError::Device)
}

/// The driver of a device that has one. A run on the CPU must not start it.
fn driver(id: DeviceId) -> Option<String> {
    if id == DeviceId::Cpu {
        return None;
    }
    let found = Device::list_cuda().ok()?;
    let info = found.into_iter().find(|info| info.id == id)?;
    Some(format!("CUDA {}", info.driver))
}

/// What a device says that is asked for anew: to open it, the driver must answer, and the device must write what it is told to.
fn state(opened: Result<Device, VerifyError>) -> String {
    let checked = opened.and_then(|device| device.check().map_err(VerifyError::Device));
    match checked {
        Ok(()) => "works".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Runs one section here.
pub(crate) fn run_section(
    id: SectionId,
    options: &Options,
    machine: &Machine,
    progress: &mut dyn Progress,
) -> Ran {
    let started = Instant::now();
    let mut cx = Context {
        options,
        machine,
        progress,
    };
    let mut findings = Findings::default();
    let mut cases = Vec::new();
    if let Scope::Models(seeds) = id.description().scope {
        for (name, case) in load(seeds, options, machine) {
            match case {
                Ok(mut case) => {
                    findings.extend(check_model(id, &mut case, &mut cx));
                    case.forget();
                    cases.push(case);
                }
                Err(error) => {
                    let check = Check::new(
                        format!("{}/{name}/load", id.name()),
                        &name,
                        "load the model and ask it once",
                        "models",
                    );
                    let check = check.could_not_run(error.to_string());
                    cx.progress.finished(&check);
                    findings.checks.push(check);
                }
            }
        }
    }
    findings.extend(check_device(id, &mut cases, &mut cx));
    let mut section = conclude(id, findings, started);
    let mut models = Vec::new();
    for case in cases {
        if let (Some(requests), Some(answers)) =
            (&case.record.requests_digest, &case.record.answers_digest)
        {
            section.digests.push(SectionDigest {
                model: case.name.clone(),
                requests: requests.clone(),
                answers: answers.clone(),
            });
        }
        models.push(case.record);
    }
    Ran { section, models }
}

/// The section of these findings.
pub(crate) fn conclude(id: SectionId, findings: Findings, started: Instant) -> Section {
    let about = id.description();
    Section {
        id,
        title: about.title.to_owned(),
        proves: about.proves.to_owned(),
        cannot: about.cannot.to_owned(),
        verdict: Verdict::of_all(findings.checks.iter().map(|check| check.verdict)),
        checks: findings.checks,
        charts: findings.charts,
        digests: Vec::new(),
        process: None,
        seconds: started.elapsed().as_secs_f64(),
    }
}

/// The user's models, or the section's own. A model that cannot be loaded comes as the reason why.
fn load(
    seeds: &[SeedModel],
    options: &Options,
    machine: &Machine,
) -> Vec<(String, Result<Case, Error>)> {
    if options.models.is_empty() {
        let seed = |seed: &SeedModel| (seed.name(), Case::of_seed(*seed, options, machine));
        return seeds.iter().map(seed).collect();
    }
    let mut asked = Vec::new();
    for path in &options.models {
        let name = free_name(path, &asked);
        let case = Case::of_file(&name, path, options, machine);
        asked.push((name, case));
    }
    asked
}

/// The file's name without its extension, with a number behind it if that is taken.
fn free_name(path: &Path, taken: &[(String, Result<Case, Error>)]) -> String {
    let stem = path
        .file_stem()
        .map_or_else(|| "model".into(), |stem| stem.to_string_lossy());
    let is_taken = |name: &str| taken.iter().any(|(taken, _)| taken == name);
    let numbered = (2..).map(|n| format!("{stem}-{n}"));
    let mut names = std::iter::once(stem.to_string()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or_default()
}

/// Does every symbol and input that the options name exist in one of the models?
fn check_names(options: &Options) -> Result<(), OptionError> {
    let given = &options.inputs;
    if given.lengths.is_empty() && given.values.is_empty() {
        return Ok(());
    }
    let (mut symbols, mut inputs) = (Vec::new(), Vec::new());
    let files = options
        .models
        .iter()
        .filter_map(|path| unisono::Model::load(path).ok());
    let seeds = SeedModel::STORY
        .into_iter()
        .filter(|_| options.models.is_empty());
    let seeds = seeds.filter_map(|seed| unisono::Model::from_bytes(seed.to_bytes()).ok());
    for model in files.chain(seeds) {
        symbols.extend(open_lengths(&model));
        inputs.extend(model.inputs().iter().map(|port| port.name.to_string()));
    }
    let known = |what: &str, name: &str, names: &[String]| {
        if names.iter().any(|known| known == name) {
            return Ok(());
        }
        let error = OptionError::new(format!("no model has {what} \"{name}\""));
        Err(if names.is_empty() {
            error
        } else {
            error.with_advice(format!("there are {}", names.join(", ")))
        })
    };
    for (symbol, _) in &given.lengths {
        known("an open length named", symbol, &symbols)?;
    }
    for (input, _) in &given.values {
        known("an input named", input, &inputs)?;
    }
    Ok(())
}
