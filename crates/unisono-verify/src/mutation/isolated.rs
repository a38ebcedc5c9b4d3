//! Sections with a part broken, each in a process of its own.

use std::time::{Duration, Instant};

use super::runner::{End, Job, Run, Runner};
use crate::isolation::{Isolated, Task};
use crate::progress::Progress;
use crate::report::{Check, ProcessEnd, ProcessRecord};

impl Runner for Isolated {
    fn run(&mut self, job: &Job<'_>, heard: &mut dyn FnMut(&Check) -> bool) -> Run {
        let mut options = job.options.clone();
        options.patience = job.patience;
        let task = Task {
            section: job.section,
            options,
            mutant: job.mutant.map(str::to_owned),
            injury: None,
        };
        let mut ear = Ear {
            heard,
            enough: false,
            alive: Instant::now(),
            longest_silence: Duration::ZERO,
            last_step: None,
        };
        let ran = self.section(&task, &mut ear);
        ear.sign_of_life();
        let end = match (ran, ear.enough) {
            (_, true) => End::Stopped,
            (Ok(ran), false) => match ran.section.process {
                Some(process) => end(process, job),
                None => End::Done,
            },
            (Err(error), false) => End::NotStarted(error.to_string()),
        };
        Run {
            end,
            longest_silence: ear.longest_silence,
            last_step: ear.last_step,
        }
    }
}

fn end(process: ProcessRecord, job: &Job<'_>) -> End {
    match process.end {
        ProcessEnd::Good => End::Done,
        ProcessEnd::Hung => End::Hung(job.patience),
        ProcessEnd::NotStarted => End::NotStarted(process.what),
        ProcessEnd::Exit | ProcessEnd::Signal | ProcessEnd::OutOfMemory => {
            End::Crashed(process.what)
        }
    }
}

/// Hears what a section's process says.
struct Ear<'a> {
    heard: &'a mut dyn FnMut(&Check) -> bool,
    enough: bool,
    alive: Instant,
    longest_silence: Duration,
    last_step: Option<(String, String)>,
}

impl Ear<'_> {
    fn sign_of_life(&mut self) {
        self.longest_silence = self.longest_silence.max(self.alive.elapsed());
        self.alive = Instant::now();
    }
}

impl Progress for Ear<'_> {
    fn section(&mut self, _: &str) {}

    fn step(&mut self, model: &str, what: &str, _: u64, _: u64) {
        self.sign_of_life();
        self.last_step = Some((model.to_owned(), what.to_owned()));
    }

    fn finished(&mut self, check: &Check) {
        self.sign_of_life();
        self.enough |= !(self.heard)(check);
    }

    fn is_enough(&self) -> bool {
        self.enough
    }
}
