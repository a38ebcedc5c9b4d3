//! The parent's side: starts a child, listens, and knows when to give up.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::end::{Seen, classify, oom_kills, peak_resident};
use super::injury::MEMORY_KIB;
use super::{Event, Injury, Launcher, Task};
use crate::progress::Progress;
use crate::report::{Check, ProcessEnd, ProcessRecord};
use crate::run::{Ran, VerifyError, conclude};
use crate::sections::Findings;

/// How much of what a child writes to standard error is kept: the end.
const KEPT: usize = 4 << 10;

/// How long a child may take to end once it has told all.
const FAREWELL: Duration = Duration::from_secs(30);

/// What came out of a child.
struct Heard {
    checks: Vec<Check>,
    /// What it was doing last.
    doing: String,
    ran: Option<Ran>,
    failed: Option<String>,
    /// For how long it had said nothing when it was given up.
    silent: Option<Duration>,
    /// Was it ended because nobody needs the rest?
    enough: bool,
    peak: Option<u64>,
}

pub(super) fn run(
    launcher: &Launcher,
    task: &Task,
    progress: &mut dyn Progress,
) -> Result<Ran, VerifyError> {
    let started = Instant::now();
    let kills_before = oom_kills();
    let mut child = match start(launcher, task) {
        Ok(child) => child,
        Err(error) => {
            let record = ProcessRecord {
                end: ProcessEnd::NotStarted,
                what: format!("could not be started: {error}"),
                core_dumped: false,
                last_words: String::new(),
                peak_resident_bytes: None,
            };
            return Ok(broken(task, Vec::new(), String::new(), record, started));
        }
    };
    let words = child.stderr.take().map(last_words);
    let mut heard = listen(&mut child, task, progress);
    let status = leave(&mut child, heard.silent.is_some() || heard.enough);
    let last_words = words.map_or_else(String::new, |thread| thread.join().unwrap_or_default());
    if let Some(why) = heard.failed {
        return Err(VerifyError::Child(why));
    }
    if heard.enough {
        let findings = Findings::from(heard.checks);
        let mut section = conclude(task.section, findings, started);
        section.process = Some(ProcessRecord {
            end: ProcessEnd::Good,
            what: "was ended early: enough was seen".to_owned(),
            core_dumped: false,
            last_words: String::new(),
            peak_resident_bytes: heard.peak,
        });
        return Ok(Ran {
            section,
            models: Vec::new(),
        });
    }
    let (end, what, core_dumped) = match (status, heard.silent) {
        (_, Some(silent)) => (
            ProcessEnd::Hung,
            format!(
                "gave no sign of life for {} s and was killed",
                silent.as_secs()
            ),
            false,
        ),
        (Ok(status), None) if status.success() && heard.ran.is_some() => {
            (ProcessEnd::Good, "ended by itself".to_owned(), false)
        }
        (Ok(status), None) => classify(&Seen {
            status,
            last_words: &last_words,
            oom_kills: kills_before.zip(oom_kills()),
        }),
        (Err(error), None) => (
            ProcessEnd::Hung,
            format!("did not end after its report, and was killed: {error}"),
            false,
        ),
    };
    let good = end == ProcessEnd::Good;
    let record = ProcessRecord {
        end,
        what,
        core_dumped,
        last_words: if good { String::new() } else { last_words },
        peak_resident_bytes: heard.peak,
    };
    match heard.ran.take() {
        Some(mut ran) if good => {
            ran.section.process = Some(record);
            Ok(ran)
        }
        // It had told all, and yet did not end well: what it said counts, and so does its end.
        Some(mut ran) => {
            let check = end_check(task, &record, "after its report");
            ran.section.checks.push(check);
            ran.section.verdict =
                crate::Verdict::of_all(ran.section.checks.iter().map(|c| c.verdict));
            ran.section.process = Some(record);
            Ok(ran)
        }
        None => Ok(broken(task, heard.checks, heard.doing, record, started)),
    }
}

fn start(launcher: &Launcher, task: &Task) -> std::io::Result<Child> {
    let mut command = launcher.command();
    if task.injury == Some(Injury::Memory) {
        command = limited(&command);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let line = serde_json::to_string(task)?;
    let told = child.stdin.take().map_or(Ok(()), |mut input| {
        input.write_all(line.as_bytes())?;
        input.write_all(b"\n")
    });
    // A child that is gone already is told by its exit status.
    let _ = told;
    Ok(child)
}

/// The same command with a limited address space.
fn limited(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

/// Reads to the end of standard error, and keeps the end of it.
fn last_words(mut stderr: ChildStderr) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut piece = [0; 1 << 10];
        while let Ok(n @ 1..) = stderr.read(&mut piece) {
            kept.extend_from_slice(piece.get(..n).unwrap_or_default());
            if kept.len() > 2 * KEPT {
                kept.drain(..kept.len() - KEPT);
            }
        }
        let from = kept.len().saturating_sub(KEPT);
        String::from_utf8_lossy(kept.get(from..).unwrap_or_default())
            .trim()
            .to_owned()
    })
}

fn lines(stdout: ChildStdout) -> Receiver<Event> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            // A line that is none of ours is no sign of life either.
            let Ok(event) = serde_json::from_str(&line) else {
                continue;
            };
            if send.send(event).is_err() {
                return;
            }
        }
    });
    receive
}

fn listen(child: &mut Child, task: &Task, progress: &mut dyn Progress) -> Heard {
    let mut heard = Heard {
        checks: Vec::new(),
        doing: String::new(),
        ran: None,
        failed: None,
        silent: None,
        enough: false,
        peak: None,
    };
    let Some(stdout) = child.stdout.take() else {
        return heard;
    };
    let events = lines(stdout);
    let mut alive = Instant::now();
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|at| at.elapsed() > Duration::from_millis(250)) {
            looked = Some(Instant::now());
            heard.peak = peak_resident(child.id()).or(heard.peak);
        }
        let event = match events.recv_timeout(Duration::from_millis(250)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Disconnected) => return heard,
            Err(RecvTimeoutError::Timeout) => {
                let silent = alive.elapsed();
                if silent >= task.options.patience {
                    heard.silent = Some(silent);
                    return heard;
                }
                continue;
            }
        };
        alive = Instant::now();
        match event {
            Event::Step {
                model,
                what,
                done,
                total,
            } => {
                progress.step(&model, &what, done, total);
                heard.doing = match &*model {
                    "" => what,
                    _ => format!("{what} ({model})"),
                };
            }
            Event::Finished(check) => {
                progress.finished(&check);
                heard.checks.push(*check);
            }
            Event::Done(ran) => heard.ran = Some(*ran),
            Event::Failed(why) => heard.failed = Some(why),
        }
        if progress.is_enough() {
            heard.enough = true;
            return heard;
        }
    }
}

/// Waits for a child's end, not without end.
fn leave(child: &mut Child, kill: bool) -> std::io::Result<std::process::ExitStatus> {
    if kill {
        child.kill()?;
        return child.wait();
    }
    let until = Instant::now() + FAREWELL;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Err(std::io::Error::other(format!(
                "{} s were not enough",
                FAREWELL.as_secs()
            )));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The check that a process's bad end is.
fn end_check(task: &Task, record: &ProcessRecord, when: &str) -> Check {
    let mut check = Check::new(
        format!("{}/process", task.section.name()),
        "",
        "the section's process ends by itself",
        "processes",
    );
    check.conclude(1, 1);
    check.notes.push(format!("{} {when}", record.what));
    if record.core_dumped {
        check.notes.push("it left a core file".to_owned());
    }
    if !record.last_words.is_empty() {
        check
            .notes
            .push(format!("its last words: {}", record.last_words));
    }
    check
}

/// A section of which only a part was heard.
fn broken(
    task: &Task,
    checks: Vec<Check>,
    doing: String,
    record: ProcessRecord,
    started: Instant,
) -> Ran {
    let when = match &*doing {
        "" => "before its first check".to_owned(),
        doing => format!("during: {doing}"),
    };
    let mut findings = Findings::from(checks);
    findings.checks.push(end_check(task, &record, &when));
    let mut section = conclude(task.section, findings, started);
    section.process = Some(record);
    Ran {
        section,
        models: Vec::new(),
    }
}
