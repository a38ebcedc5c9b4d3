//! The real ONNX models, if somebody has fetched them.
//!
//! A fresh clone has none, and nothing is fetched without being asked: then the report says that they were not looked at, and how to
//! get them.

use std::path::{Path, PathBuf};

use super::super::{Context, Running, SectionId};
use super::together;
use crate::case::Case;
use crate::options::Options;
use crate::report::Check;
use crate::requests::Values;

/// Where `cargo xtask models` puts them.
const FOLDER: &str = "models";

/// A model, and what it must be given besides what can be made up.
struct File {
    name: &'static str,
    lengths: &'static [(&'static str, usize)],
    values: &'static [(&'static str, f64)],
}

const FILES: [File; 6] = [
    File {
        name: "magika",
        lengths: &[],
        values: &[],
    },
    File {
        name: "minilm",
        lengths: &[],
        values: &[],
    },
    File {
        name: "ppocr_cls",
        lengths: &[],
        values: &[],
    },
    File {
        name: "ppocr_det",
        lengths: &[],
        values: &[],
    },
    File {
        name: "silero_vad",
        lengths: &[("sequence", 576)],
        values: &[("sr", 16_000.0)],
    },
    File {
        name: "silero_vad_sequence",
        lengths: &[],
        values: &[],
    },
];

const ID: &str = "files";
const WHAT: &str = "real ONNX models beside each other";

/// Which there are.
pub(super) struct Files<'a> {
    folder: &'a Path,
    there: Vec<&'static File>,
    missing: Vec<&'static File>,
}

impl Files<'static> {
    /// Looks.
    pub(super) fn find() -> Files<'static> {
        Files::find_in(Path::new(FOLDER))
    }
}

impl<'a> Files<'a> {
    fn find_in(folder: &'a Path) -> Files<'a> {
        let is_there = |file: &&File| path(folder, file).is_file();
        let (there, missing) = FILES.iter().partition(is_there);
        Files {
            folder,
            there,
            missing,
        }
    }

    /// What was not looked at, if anything, and how to get it.
    pub(super) fn left_out(&self) -> Option<String> {
        let names: Vec<&str> = self.missing.iter().map(|file| file.name).collect();
        (!names.is_empty()).then(|| {
            format!(
                "real ONNX models that were not looked at, for they are not in ./{}: {}; `cargo xtask models` fetches them",
                self.folder.display(),
                names.join(", ")
            )
        })
    }

    /// Those that are there, beside each other; nothing if there are none.
    pub(super) fn check(&self, cx: &mut Context<'_>) -> Vec<Check> {
        check_files(self.folder, &self.there, cx)
    }
}

fn path(folder: &Path, file: &File) -> PathBuf {
    folder.join(format!("{}.onnx", file.name))
}

fn check_files(folder: &Path, there: &[&File], cx: &mut Context<'_>) -> Vec<Check> {
    let (mut cases, mut checks) = (Vec::new(), Vec::new());
    for file in there {
        let options = options_for(file, cx.options);
        match Case::of_file(file.name, &path(folder, file), &options, cx.machine) {
            Ok(case) => cases.push(case),
            Err(error) => {
                let section = SectionId::RealModels;
                let id = format!("{ID}/{}", file.name);
                let what = "load the model and ask it once";
                let running = Running::start_of_device(section, &id, what, "models", cx.progress);
                checks.push(running.could_not_run(&error));
            }
        }
    }
    if !cases.is_empty() {
        let names: Vec<&str> = cases.iter().map(|case| &*case.name).collect();
        let notes = vec![format!("from ./{}: {}", folder.display(), names.join(", "))];
        checks.extend(together::check(ID, WHAT, &mut cases, notes, Vec::new(), cx).0);
    }
    checks
}

/// The run's options with this model's inputs.
fn options_for(file: &File, options: &Options) -> Options {
    let mut options = options.clone();
    let lengths = file.lengths.iter();
    options.inputs.lengths = lengths.map(|(name, n)| ((*name).to_owned(), *n)).collect();
    let values = file.values.iter();
    options.inputs.values = values
        .map(|(name, value)| ((*name).to_owned(), Values::Constant(*value)))
        .collect();
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Machine;
    use crate::progress::Silent;
    use crate::seed::SeedModel;
    use crate::{Effort, Verdict};

    fn run(files: &Files<'_>) -> Vec<Check> {
        let options = Options {
            effort: Effort::Quick,
            threads: Some(2),
            ..Options::default()
        };
        let machine = Machine {
            threads: 2,
            isas: Vec::new(),
        };
        let mut cx = Context {
            options: &options,
            machine: &machine,
            progress: &mut Silent,
        };
        files.check(&mut cx)
    }

    #[test]
    fn without_the_files_the_report_says_so_and_how_to_get_them() {
        let files = Files::find_in(Path::new("no such folder"));
        assert!(run(&files).is_empty());
        let left_out = files.left_out().unwrap();
        assert!(left_out.contains("silero_vad"), "{left_out}");
        assert!(left_out.contains("cargo xtask models"), "{left_out}");
    }

    #[test]
    fn those_that_are_there_are_looked_at_and_a_broken_one_could_not_run() {
        let name = format!("unisono-real-models-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.join(format!("{name}.onnx")), bytes).unwrap();
        };
        write("magika", &SeedModel::Mlp.to_bytes());
        write("ppocr_cls", &SeedModel::Matmul(16).to_bytes());
        write("minilm", b"not a model");
        let files = Files::find_in(&folder);
        let checks = run(&files);
        std::fs::remove_dir_all(&folder).unwrap();
        let verdicts: Vec<(&str, Verdict)> = checks.iter().map(|c| (&*c.id, c.verdict)).collect();
        assert_eq!(
            verdicts,
            [
                ("real-models/files/minilm", Verdict::CouldNotRun),
                ("real-models/files", Verdict::Pass),
                ("real-models/files-census", Verdict::Pass),
            ]
        );
        let both = &checks[1];
        assert!(both.trials > 8 && both.notes[0].contains("ppocr_cls"));
        let left_out = files.left_out().unwrap();
        assert!(left_out.contains("silero_vad") && !left_out.contains("magika"));
        assert!(
            both.figures
                .iter()
                .any(|f| f.name.starts_with("ppocr_cls: "))
        );
    }
}
