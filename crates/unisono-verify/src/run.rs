//! From options to a report.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use unisono::{Error, Isa};

use crate::case::{Case, Machine};
use crate::options::{OptionError, Options, SectionId};
use crate::progress::Progress;
use crate::report::{
    Check, DeviceRecord, Header, Report, SCHEMA_VERSION, Section, Stamp, platform,
};
use crate::requests::open_lengths;
use crate::sections::{correctness, thread_safety};
use crate::seed::SeedModel;
use crate::subject::ModelLab;
use crate::verdict::Verdict;

/// Why there is no report at all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum VerifyError {
    /// The options make no sense for the models at hand.
    Options(OptionError),
    /// There is no device to verify.
    Device(Error),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::Options(error) => error.fmt(f),
            VerifyError::Device(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for VerifyError {}

impl From<OptionError> for VerifyError {
    fn from(error: OptionError) -> VerifyError {
        VerifyError::Options(error)
    }
}

/// A model that was asked for: ready, or the reason why not.
struct Asked {
    name: String,
    case: Result<Case, Error>,
}

/// Runs the verification and reports. What goes wrong with a model is in the report, not an error.
///
/// # Errors
/// The options name something that no model has, or the device cannot be set up.
pub fn run(options: &Options, progress: &mut dyn Progress) -> Result<Report, VerifyError> {
    let started = Instant::now();
    let stamp = Stamp::now();
    let device = ModelLab::device(options.threads, None).map_err(VerifyError::Device)?;
    let info = device.info();
    drop(device);
    let machine = Machine {
        threads: info.threads,
        isas: Isa::available().collect(),
    };
    check_names(options)?;
    let mut asked = load(options, &machine);

    let sections = options.chosen_sections();
    let mut done = Vec::new();
    for id in &sections {
        done.push(section(*id, &mut asked, options, progress));
    }
    let models = asked
        .into_iter()
        .filter_map(|asked| Some(asked.case.ok()?.record));
    let verdict = Verdict::of_all(done.iter().map(|section| section.verdict));
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        header: Header {
            date: stamp.to_string(),
            run_id: stamp.run_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arithmetic_version: unisono::reference::arith::ARITHMETIC_VERSION,
            platform: platform(),
            device: DeviceRecord {
                id: info.id.to_string(),
                name: info.name,
                threads: info.threads,
                isa: info.isa,
                available_isas: machine
                    .isas
                    .iter()
                    .map(|isa| isa.name().to_owned())
                    .collect(),
            },
            seed: options.seed,
            effort: options.effort,
            sections,
        },
        verdict,
        models: models.collect(),
        sections: done,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn section(
    id: SectionId,
    asked: &mut [Asked],
    options: &Options,
    progress: &mut dyn Progress,
) -> Section {
    let started = Instant::now();
    progress.section(id.title());
    let mut checks = Vec::new();
    for asked in asked {
        match &mut asked.case {
            Ok(case) => {
                checks.extend(match id {
                    SectionId::ThreadSafety => thread_safety::check(case, options.effort, progress),
                    SectionId::Correctness => correctness::check(case, options.effort, progress),
                });
                case.forget();
            }
            Err(error) => {
                let name = format!("{}/{}/load", id.name(), asked.name);
                let check = Check::new(
                    name,
                    &asked.name,
                    "load the model and ask it once",
                    "models",
                );
                let check = check.could_not_run(error.to_string());
                progress.finished(&check);
                checks.push(check);
            }
        }
    }
    Section {
        id,
        title: id.title().to_owned(),
        proves: id.proves().to_owned(),
        cannot: id.cannot().to_owned(),
        verdict: Verdict::of_all(checks.iter().map(|check| check.verdict)),
        checks,
        seconds: started.elapsed().as_secs_f64(),
    }
}

fn load(options: &Options, machine: &Machine) -> Vec<Asked> {
    if options.models.is_empty() {
        let seed = |seed: SeedModel| Asked {
            name: seed.name().to_owned(),
            case: Case::of_seed(seed, options, machine),
        };
        return SeedModel::ALL.map(seed).into();
    }
    let mut asked: Vec<Asked> = Vec::new();
    for path in &options.models {
        let name = free_name(path, &asked);
        let case = Case::of_file(&name, path, options, machine);
        asked.push(Asked { name, case });
    }
    asked
}

/// The file's name without its extension, with a number behind it if that is taken.
fn free_name(path: &Path, taken: &[Asked]) -> String {
    let stem = path
        .file_stem()
        .map_or_else(|| "model".into(), |stem| stem.to_string_lossy());
    let is_taken = |name: &str| taken.iter().any(|asked| asked.name == name);
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
    let seeds = SeedModel::ALL
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
