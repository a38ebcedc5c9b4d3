//! Runs sections in processes of this program's own file.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::child::{Event, Order};
use super::runner::{End, Job, Run, Runner};
use crate::report::Check;

/// Starts a program of which the [child's side](super::child) is a part.
#[derive(Clone, Debug)]
pub struct Processes {
    program: PathBuf,
    /// Put before the order, which is the last argument.
    arguments: Vec<String>,
}

impl Processes {
    /// The program that is running now, told with these arguments that an order follows.
    ///
    /// # Errors
    /// The system does not tell where the program is.
    pub fn of_this_program(arguments: &[&str]) -> io::Result<Processes> {
        Ok(Processes {
            program: std::env::current_exe()?,
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        })
    }

    fn start(&self, order: &Order) -> io::Result<Child> {
        let order = serde_json::to_string(order).map_err(io::Error::other)?;
        Command::new(&self.program)
            .args(&self.arguments)
            .arg(order)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

impl Runner for Processes {
    fn run(&mut self, job: &Job<'_>, heard: &mut dyn FnMut(&Check) -> bool) -> Run {
        let order = Order {
            section: job.section,
            options: job.options.clone(),
            mutant: job.mutant.map(str::to_owned),
        };
        let mut run = Run {
            end: End::Done,
            longest_silence: Duration::ZERO,
            last_step: None,
        };
        run.end = match self.start(&order) {
            Ok(mut child) => {
                let seen = listen(&mut child, job.patience, heard, &mut run);
                conclude(child, seen)
            }
            Err(error) => End::NotStarted(format!("its process cannot be started: {error}")),
        };
        run
    }
}

/// Why nobody listens any more.
enum Seen {
    /// The child has closed its output; did it say that it was over?
    Closed {
        over: bool,
    },
    Enough,
    Silence(Duration),
}

fn listen(
    child: &mut Child,
    patience: Duration,
    heard: &mut dyn FnMut(&Check) -> bool,
    run: &mut Run,
) -> Seen {
    let (send, receive) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // What is not an event was printed by somebody else.
                let Ok(event) = serde_json::from_str::<Event>(&line) else {
                    continue;
                };
                if send.send(event).is_err() {
                    break;
                }
            }
        });
    }
    let mut over = false;
    loop {
        let since = Instant::now();
        let event = receive.recv_timeout(patience);
        run.longest_silence = run.longest_silence.max(since.elapsed());
        match event {
            Ok(Event::Step { model, what }) => run.last_step = Some((model, what)),
            Ok(Event::Finished(check)) => {
                if !heard(&check) {
                    return Seen::Enough;
                }
            }
            Ok(Event::Over) => over = true,
            Err(RecvTimeoutError::Timeout) => return Seen::Silence(since.elapsed()),
            Err(RecvTimeoutError::Disconnected) => return Seen::Closed { over },
        }
    }
}

fn conclude(mut child: Child, seen: Seen) -> End {
    if !matches!(seen, Seen::Closed { .. }) {
        // It may have ended meanwhile, which is as good.
        let _ = child.kill();
    }
    let stderr = child.stderr.take();
    let ended = child.wait();
    match seen {
        Seen::Enough => End::Stopped,
        Seen::Silence(waited) => End::Hung(waited),
        Seen::Closed { over: true } => End::Done,
        Seen::Closed { over: false } => {
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            let said = stderr.map(last_line).unwrap_or_default();
            End::Crashed(format!("{how} {said}").trim_end().to_owned())
        }
    }
}

/// The last line that somebody wrote.
fn last_line(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What can be read is all there is.
    let _ = from.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or_default().trim().to_owned()
}
