//! The repository's own chores, as one program: `cargo xtask CHORE`.
//!
//! One idea: a chore is a short Rust function over `std::process`, so that a fresh machine with a Rust toolchain can run
//! everything that must pass. What needs more (Python, an emulator, a cross compiler) is optional, is pinned where it is
//! fetched, and says in one sentence what is missing when it is.
//!
//! It must never depend on the crates that it tests: a broken kernel must not keep the chores from starting.

mod args;
mod bench;
mod claims;
mod compare;
mod cross;
mod gpu_test;
mod models;
mod mutants;
mod peers;
mod ptx;
mod report;
mod shell;
mod test;
mod tsan;

use std::process::ExitCode;

/// One chore: its name on the command line, one line for the list, its own `--help`, and what it does.
struct Chore {
    name: &'static str,
    about: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<ExitCode, String>,
}

const CHORES: &[Chore] = &[
    Chore {
        name: "test",
        about: "everything that must pass: format, clippy, tests, doc tests, loom models, docs",
        help: test::HELP,
        run: test::run,
    },
    Chore {
        name: "mutants",
        about: "break parts on purpose, one by one, and see each of them caught",
        help: mutants::HELP,
        run: mutants::run,
    },
    Chore {
        name: "claims",
        about: "join the guarantees of the documentation with their evidence, for `unisono verify`",
        help: claims::HELP,
        run: claims::run,
    },
    Chore {
        name: "tsan",
        about: "run the tests of threads under ThreadSanitizer",
        help: tsan::HELP,
        run: tsan::run,
    },
    Chore {
        name: "models",
        about: "fetch the real models (pinned, checked by sha256); --exported makes PyTorch's",
        help: models::HELP,
        run: models::run,
    },
    Chore {
        name: "ptx",
        about: "make the CUDA kernels' PTX from their sources; --check compares",
        help: ptx::HELP,
        run: ptx::run,
    },
    Chore {
        name: "peers",
        about: "install onnxruntime, onnx and numpy, pinned, into .venv",
        help: peers::HELP,
        run: peers::run,
    },
    Chore {
        name: "compare",
        about: "run every model here and in onnxruntime, and compare the answers",
        help: compare::HELP,
        run: compare::run,
    },
    Chore {
        name: "ort-bits",
        about: "show where onnxruntime's own bits depend on the batch",
        help: compare::ORT_BITS_HELP,
        run: compare::ort_bits,
    },
    Chore {
        name: "bench",
        about: "measure Unisono and its peers in turn; tables and charts for docs/benchmarks",
        help: bench::HELP,
        run: bench::run,
    },
    Chore {
        name: "report",
        about: "open the report's page in headless Chromium; screenshots",
        help: report::HELP,
        run: report::run,
    },
    Chore {
        name: "neon",
        about: "run the CPU kernels' tests as aarch64 code under qemu",
        help: cross::NEON_HELP,
        run: cross::neon,
    },
    Chore {
        name: "cross",
        about: "type-check the workspace for aarch64 Linux and macOS",
        help: cross::CROSS_HELP,
        run: cross::cross,
    },
    Chore {
        name: "gpu-test",
        about: "run the tests that need an NVIDIA GPU, or build them to be carried to one",
        help: gpu_test::HELP,
        run: gpu_test::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", overview());
        return ExitCode::SUCCESS;
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", overview());
        return ExitCode::SUCCESS;
    }
    let Some(chore) = CHORES.iter().find(|chore| chore.name == name) else {
        eprintln!("cargo xtask: there is no chore `{name}`\n\n{}", overview());
        return ExitCode::from(2);
    };
    if rest
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        print!("{}", chore.help);
        return ExitCode::SUCCESS;
    }
    match (chore.run)(rest) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("cargo xtask {name}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn overview() -> String {
    let mut text = String::from("usage: cargo xtask CHORE [OPTIONS]\n\n");
    for chore in CHORES {
        text.push_str(&format!("  {:<10} {}\n", chore.name, chore.about));
    }
    text.push_str("\n`cargo xtask CHORE --help` explains one. `test` needs a Rust toolchain and nothing else.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chore_explains_itself_by_its_own_name() {
        for chore in CHORES {
            let usage = format!("usage: cargo xtask {}", chore.name);
            assert!(
                chore.help.starts_with(&usage),
                "help of `{}` must open with `{usage}`",
                chore.name
            );
            assert!(
                chore.help.ends_with('\n'),
                "help of `{}` must end its last line",
                chore.name
            );
        }
    }

    #[test]
    fn names_of_chores_are_unique() {
        for (i, chore) in CHORES.iter().enumerate() {
            assert!(
                CHORES[..i].iter().all(|earlier| earlier.name != chore.name),
                "`{}` twice",
                chore.name
            );
        }
    }
}
