//! Engines as child processes: started once per model, asked by line, ended by the end of their input.
//!
//! One idea: whatever an engine does, crash or hang or refuse, costs its own measurement and nobody else's.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use super::memory::Resident;

use super::device::Device;
use super::machine::Ticks;
use super::results::{Measured, OURS};

/// An engine that can be chosen.
pub struct Kind {
    pub name: &'static str,
    pub about: &'static str,
    /// Whether it takes part if nobody chooses.
    pub by_default: bool,
    /// It has no part in cells of more.
    pub most_callers: usize,
}

/// On the processor, in the order of tables and charts.
pub const CPU_ENGINES: &[Kind] = &[
    Kind {
        name: OURS,
        about: "this tree, defaults: `Session::run` from every caller",
        by_default: true,
        most_callers: usize::MAX,
    },
    Kind {
        name: "ort",
        about: "onnxruntime, intra-op threads = cores; one session, C interface, no Python",
        by_default: true,
        most_callers: usize::MAX,
    },
    Kind {
        name: "ort1",
        about: "onnxruntime, one intra-op thread: each caller computes alone; one session, C interface, no Python",
        by_default: true,
        most_callers: usize::MAX,
    },
    Kind {
        name: "openvino",
        about: "OpenVINO, f32; latency hint for one caller, throughput hint for several; a request object per caller, C interface, no Python",
        by_default: true,
        most_callers: usize::MAX,
    },
    Kind {
        name: "rten",
        about: "rten, defaults, weights packed at load",
        by_default: true,
        most_callers: usize::MAX,
    },
    Kind {
        name: "tract",
        about: "tract, optimised for the exact shape; each caller computes alone",
        by_default: true,
        most_callers: usize::MAX,
    },
    Kind {
        name: "torch",
        about: "PyTorch eager, operator by operator, threads = cores; called from Python threads",
        by_default: false,
        most_callers: usize::MAX,
    },
];

/// On a GPU.
pub const CUDA_ENGINES: &[Kind] = &[
    Kind {
        name: OURS,
        about: "this tree, defaults: `Session::run` from every caller",
        by_default: true,
        most_callers: usize::MAX,
    },
    Kind {
        name: "torch",
        about: "PyTorch eager, operator by operator, f32 without TF32; a Python thread and a stream for each caller, inputs in page-locked memory",
        by_default: true,
        most_callers: usize::MAX,
    },
    Kind {
        name: "torch-graph",
        about: "PyTorch, f32 without TF32; one CUDA graph captured for the request's shape with both copies in it, launched by one Python thread, inputs in page-locked memory",
        by_default: true,
        most_callers: 1,
    },
    Kind {
        name: "ort",
        about: "onnxruntime on the processor of the same machine, intra-op threads = cores; one session, C interface, no Python",
        by_default: true,
        most_callers: usize::MAX,
    },
];

/// The longest that loading a model or answering once may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What children need to be started.
pub struct Programs {
    pub device: Device,
    /// The driver of all engines but PyTorch.
    pub driver: PathBuf,
    pub python: PathBuf,
    /// Environment variables that tell the driver of shared libraries.
    pub libraries: Vec<(&'static str, PathBuf)>,
    pub torch_script: PathBuf,
}

impl Programs {
    fn command(&self, engine: &str, model: &Path, inputs: &Path) -> Command {
        if engine.starts_with("torch") {
            let mut command = Command::new(&self.python);
            command.arg(&self.torch_script).arg(engine);
            command.args([model, inputs]);
            if self.device != Device::Cpu {
                command.arg(self.device.to_string());
            }
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            return command;
        }
        let mut command = Command::new(&self.driver);
        command.arg(engine).args([model, inputs]);
        command.env("BENCH_DEVICE", self.device.to_string());
        command.envs(self.libraries.iter().map(|(name, path)| (name, path)));
        command
    }
}

/// A running engine with a model loaded.
pub struct Engine {
    pub name: String,
    pub version: String,
    /// The name of the device that it runs on, if it says so.
    pub runs_on: Option<String>,
    /// What was in memory before and after the model was loaded, where the system tells.
    pub loading: Option<(Resident, Resident)>,
    child: Child,
    /// `None` once it has been closed.
    asks: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Engine {
    /// Starts the engine and waits until it has loaded the model.
    ///
    /// # Errors
    /// Why it could not.
    pub fn start(
        programs: &Programs,
        name: &str,
        model: &Path,
        inputs: &Path,
    ) -> Result<Engine, String> {
        let mut child = programs
            .command(name, model, inputs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("it cannot be started: {error}"))?;
        let asks = child.stdin.take();
        let said = child.stdout.take().ok_or("it has no output")?;
        let (sender, answers) = channel();
        // Ends with the child, whose end closes the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut engine = Engine {
            name: name.to_owned(),
            version: String::new(),
            runs_on: None,
            loading: None,
            child,
            asks,
            answers,
        };
        let loaded = engine.hear(PATIENCE)?;
        engine.version = loaded["version"].as_str().unwrap_or("?").to_owned();
        engine.runs_on = loaded["device"].as_str().map(str::to_owned);
        engine.loading = resident(&loaded["library"]).zip(resident(&loaded["loaded"]));
        Ok(engine)
    }

    /// One request with so many rows: its outputs as f32.
    ///
    /// # Errors
    /// Why there are none.
    pub fn answer(&mut self, rows: usize, folder: &Path) -> Result<Vec<Vec<f32>>, String> {
        let broken = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(broken)?;
        let said = self.ask(&format!("answer {rows} {}", folder.display()), PATIENCE)?;
        let outputs = said["outputs"]
            .as_u64()
            .ok_or("it does not say how many outputs it has")?;
        (0..outputs)
            .map(|i| floats(folder, i).map_err(broken))
            .collect()
    }

    /// Callers in a closed loop.
    ///
    /// # Errors
    /// Why nothing was measured.
    pub fn time(
        &mut self,
        callers: usize,
        rows: usize,
        warm_up: f64,
        seconds: f64,
    ) -> Result<Measured, String> {
        let patience = PATIENCE + Duration::from_secs_f64(warm_up + seconds);
        let before = Ticks::now(Some(self.child.id()));
        let said = self.ask(
            &format!("time {callers} {rows} {warm_up} {seconds}"),
            patience,
        )?;
        let after = Ticks::now(Some(self.child.id()));
        let mut measured: Measured = serde_json::from_value(said)
            .map_err(|error| format!("its measurement is unreadable: {error}"))?;
        measured.busy_cores = before
            .zip(after)
            .and_then(|(before, after)| after.others_since(&before));
        Ok(measured)
    }

    /// What is in memory when so many callers have been answered so many times each.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn resident_after(
        &mut self,
        callers: usize,
        rows: usize,
        times: usize,
    ) -> Result<Resident, String> {
        let said = self.ask(&format!("ask {callers} {rows} {times}"), PATIENCE)?;
        resident(&said["resident"]).ok_or_else(|| "it does not say what is in memory".to_owned())
    }

    /// Makes another session, which is asked from now on: `file` loads the model's file again, `shared` takes the model
    /// that is loaded.
    ///
    /// # Errors
    /// Why it could not.
    pub fn load_again(&mut self, how: &str) -> Result<(), String> {
        self.ask(&format!("again {how}"), PATIENCE).map(|_| ())
    }

    /// What the processor can do at best, in 10^9 operations a second; our engine alone can tell.
    ///
    /// # Errors
    /// If this engine cannot.
    pub fn gflops(&mut self) -> Result<f64, String> {
        let said = self.ask("roofline", PATIENCE)?;
        said["gflops"].as_f64().ok_or("it does not say".to_owned())
    }

    fn ask(&mut self, line: &str, patience: Duration) -> Result<Value, String> {
        let asks = self.asks.as_mut().ok_or("it has ended")?;
        // If this fails the child has ended, which `hear` finds out and explains.
        let _ = writeln!(asks, "{line}").and_then(|()| asks.flush());
        self.hear(patience)
    }

    fn hear(&mut self, patience: Duration) -> Result<Value, String> {
        let line = match self.answers.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                self.end();
                return Err(format!("it did not answer within {} s", patience.as_secs()));
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.asks = None;
                let status = self.child.wait();
                let how =
                    status.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(format!("it ended ({how})"));
            }
        };
        let said: Value =
            serde_json::from_str(&line).map_err(|error| format!("it said `{line}`: {error}"))?;
        match said["error"].as_str() {
            Some(error) => Err(first_line(error)),
            None => Ok(said),
        }
    }

    fn end(&mut self) {
        self.asks = None;
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// The outputs that [`Engine::answer`] has left in a folder.
pub fn left_in(folder: &Path) -> Vec<Vec<f32>> {
    (0..).map_while(|i| floats(folder, i).ok()).collect()
}

fn floats(folder: &Path, output: u64) -> std::io::Result<Vec<f32>> {
    let bytes = std::fs::read(folder.join(format!("{output}.f32")))?;
    let floats = bytes.as_chunks().0.iter();
    Ok(floats.map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn resident(said: &Value) -> Option<Resident> {
    serde_json::from_value(said.clone()).ok()
}

/// Enough of an engine's error to know what is meant.
fn first_line(error: &str) -> String {
    let line = error.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or("no reason given")
        .trim()
        .chars()
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell;

    /// The names that a manifest's tables of dependencies have, without those for tests and those that are optional.
    fn dependencies(manifest: &str) -> Vec<&str> {
        let mut names = Vec::new();
        let mut counts = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                counts = line.ends_with("dependencies]") && !line.contains("dev-");
            } else if counts && !line.contains("optional = true") {
                let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
                names.extend((!name.is_empty() && !name.starts_with('#')).then_some(name));
            }
        }
        names
    }

    #[test]
    fn the_drivers_lock_file_knows_what_our_crates_need() {
        let read = |path: &str| std::fs::read_to_string(shell::root().join(path)).unwrap();
        let lock = read("bench/peers-rs/Cargo.lock");
        let mut seen = 0;
        for package in lock.split("[[package]]") {
            let name = package.split('"').nth(1).unwrap_or_default();
            if !name.starts_with("unisono") {
                continue;
            }
            seen += 1;
            for needed in dependencies(&read(&format!("crates/{name}/Cargo.toml"))) {
                assert!(
                    package.contains(&format!("\n \"{needed}")),
                    "bench/peers-rs/Cargo.lock lacks {needed}, which {name} needs; to mend it: \
                     cargo metadata --manifest-path bench/peers-rs/Cargo.toml"
                );
            }
        }
        assert!(seen > 5, "{seen} of our crates are in the lock file");
    }

    #[test]
    fn names_of_engines_are_unique_and_ours_is_first() {
        for kinds in [CPU_ENGINES, CUDA_ENGINES] {
            assert_eq!(kinds[0].name, OURS);
            for (i, kind) in kinds.iter().enumerate() {
                assert!(kinds[..i].iter().all(|earlier| earlier.name != kind.name));
            }
        }
    }

    #[test]
    #[cfg(unix)]
    fn an_engine_that_does_not_speak_or_is_not_there_is_an_error() {
        let start = |driver: &str| {
            let programs = Programs {
                device: Device::Cpu,
                driver: driver.into(),
                python: PathBuf::new(),
                libraries: Vec::new(),
                torch_script: PathBuf::new(),
            };
            let engine = Engine::start(&programs, "ort", Path::new("model"), Path::new("inputs"));
            engine.err().unwrap()
        };
        assert!(start("false").starts_with("it ended"));
        assert!(start("echo").starts_with("it said `ort model inputs`"));
        assert!(start("/nowhere/at/all").starts_with("it cannot be started"));
    }

    #[test]
    fn long_errors_are_cut_to_one_line() {
        assert_eq!(first_line("\n  what\nand how"), "what");
        assert_eq!(first_line(" \n"), "no reason given");
        assert_eq!(first_line(&"x".repeat(999)).len(), 200);
    }
}
