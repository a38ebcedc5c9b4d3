//! One engine and one model in a process of its own, measured on request: what `cargo xtask bench` starts for every
//! engine but PyTorch.
//!
//! One idea: loading is no part of any measurement, and no engine shares a process with another. The process loads
//! the model, says so, and then answers one line on standard output for every line on standard input:
//!
//! ```text
//! bench-peers ENGINE MODEL.onnx INPUTS     INPUTS/ROWS/ has what a request of so many rows asks (see `request`)
//!   -> {"version": "1.31.1", "device": null, "library": MEMORY, "loaded": MEMORY}     memory before and after the model was loaded;
//!                                            the device's name if it is not the processor
//! answer ROWS FOLDER                       one request; its outputs go to FOLDER/0.f32, FOLDER/1.f32, ...
//!   -> {"outputs": 1}
//! time CALLERS ROWS WARM_UP SECONDS        a closed loop of threads, each with a request of its own
//!   -> {"rows_per_s": 14517.2, "p50_ms": 0.068, "p99_ms": 0.12, "requests": 21775}
//! ask CALLERS ROWS TIMES                   threads that each send so many requests
//!   -> {"resident": MEMORY}                  when all have been answered
//! again file|shared                        another session: the file loaded again, or made of the loaded model; asked from now on
//!   -> {"resident": MEMORY}
//! roofline                                 what the processor can do at best (engine `unisono` alone)
//!   -> {"gflops": 452.1}
//! ```
//!
//! MEMORY is what [`resident`] says: `{"anon_kib": 8412, "file_kib": 40, "code_kib": 6200, "peak_kib": 16000}`, or null where it cannot be known. What cannot
//! be done is answered with `{"error": "..."}`. All callers share one loaded model, as in a program that
//! answers many users.

#![deny(unsafe_code)]

mod closed_loop;
mod engines;
mod request;
mod resident;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use engines::{Engine, Library};
use request::Request;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, model, inputs] = arguments.as_slice() else {
        eprintln!(
            "usage: bench-peers ENGINE MODEL.onnx INPUTS    (started by `cargo xtask bench`)"
        );
        return ExitCode::from(2);
    };
    let mut session = match Session::start(engine, Path::new(model), Path::new(inputs)) {
        Ok(session) => session,
        Err(error) => {
            say(&json!({ "error": error }));
            return ExitCode::FAILURE;
        }
    };
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        say(&session
            .obey(&line)
            .unwrap_or_else(|error| json!({ "error": error })));
    }
    ExitCode::SUCCESS
}

fn say(answer: &Value) {
    println!("{answer}");
    // Whoever asked has gone if this fails; reading the next line then ends the process.
    let _ = std::io::stdout().flush();
}

struct Session {
    library: Box<dyn Library>,
    model: PathBuf,
    /// The one that is asked.
    engine: Box<dyn Engine>,
    /// Those loaded before it, which only live on.
    earlier: Vec<Box<dyn Engine>>,
    inputs: PathBuf,
}

impl Session {
    /// Loads the model and says so.
    fn start(engine: &str, model: &Path, inputs: &Path) -> Result<Session, String> {
        let library = engines::open(engine)?;
        let before = resident::now();
        let engine = library.load(model)?;
        say(
            &json!({ "version": library.version(), "device": library.device(), "library": before, "loaded": resident::now() }),
        );
        Ok(Session {
            library,
            model: model.to_owned(),
            engine,
            earlier: Vec::new(),
            inputs: inputs.to_owned(),
        })
    }

    fn obey(&mut self, line: &str) -> Result<Value, String> {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        match words.as_slice() {
            ["answer", rows, folder @ ..] => self.answer(number(rows)?, &folder.join(" ")),
            ["time", callers, rows, warm_up, seconds] => self.time(
                number(callers)?,
                number(rows)?,
                span(warm_up)?,
                span(seconds)?,
            ),
            ["ask", callers, rows, times] => {
                self.ask(number(callers)?, number(rows)?, number(times)?)
            }
            ["again", how] => self.again(how),
            ["roofline"] => Ok(json!({ "gflops": self.engine.gflops()? })),
            _ => Err(format!("no such request: {line}")),
        }
    }

    fn request(&self, rows: usize) -> Result<Request, String> {
        Request::read(&self.inputs.join(rows.to_string()), rows)
    }

    fn answer(&mut self, rows: usize, folder: &str) -> Result<Value, String> {
        let request = self.request(rows)?;
        self.engine.prepare(&request, 1)?;
        let mut caller = self.engine.caller(&request, 1)?;
        caller.ask()?;
        let outputs = caller.answer()?;
        for (i, output) in outputs.iter().enumerate() {
            let bytes: Vec<u8> = output
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            let path = Path::new(folder).join(format!("{i}.f32"));
            std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(json!({ "outputs": outputs.len() }))
    }

    fn time(
        &mut self,
        callers: usize,
        rows: usize,
        warm_up: Duration,
        window: Duration,
    ) -> Result<Value, String> {
        let request = self.request(rows)?;
        self.engine.prepare(&request, callers)?;
        let engine = &*self.engine;
        let seen = closed_loop::run(callers, warm_up, window, |ready| {
            let own = request.clone();
            let mut caller = engine.caller(&own, callers)?;
            ready.repeat(|| caller.ask())
        })?;
        Ok(json!({
            "rows_per_s": seen.requests_per_second() * rows as f64,
            "p50_ms": seen.quantile_ms(0.5),
            "p99_ms": seen.quantile_ms(0.99),
            "requests": seen.requests(),
        }))
    }

    /// Sends requests for what they leave in memory. Unlike in [`Session::time`], how many is given, and nothing is kept of
    /// them: a fast engine would otherwise be charged for a long list of latencies.
    fn ask(&mut self, callers: usize, rows: usize, times: usize) -> Result<Value, String> {
        let request = self.request(rows)?;
        self.engine.prepare(&request, callers)?;
        let engine = &*self.engine;
        std::thread::scope(|scope| {
            let one = || {
                let own = request.clone();
                let mut caller = engine.caller(&own, callers)?;
                (0..times).try_for_each(|_| caller.ask())
            };
            let threads: Vec<_> = (0..callers).map(|_| scope.spawn(one)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a caller panicked".to_owned())?)
        })?;
        Ok(json!({ "resident": resident::now() }))
    }

    fn again(&mut self, how: &str) -> Result<Value, String> {
        let second = match how {
            "file" => self.library.load(&self.model)?,
            "shared" => self.engine.share()?,
            _ => return Err(format!("`{how}` is no way to make another session")),
        };
        self.earlier
            .push(std::mem::replace(&mut self.engine, second));
        Ok(json!({ "resident": resident::now() }))
    }
}

fn number(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{word}` is no count")),
    }
}

fn span(word: &str) -> Result<Duration, String> {
    let seconds: f64 = word
        .parse()
        .map_err(|_| format!("`{word}` is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("{word} s: {error}"))
}
