//! The child's side: one section, told line by line.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use super::{Event, Injury, Task};
use crate::case::Machine;
use crate::progress::Progress;
use crate::report::Check;
use crate::run::run_section;

/// Runs the section that the first line of `input` asks for and tells of it on `output`. `false` if there was nothing to run.
pub fn serve(input: &mut dyn BufRead, output: &mut dyn Write) -> bool {
    let mut line = String::new();
    let read = input.read_line(&mut line);
    let task = read
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_str::<Task>(&line).map_err(|error| error.to_string()));
    let mut teller = Teller {
        output,
        told: None,
        injury: None,
    };
    let task = match task {
        Ok(task) => task,
        Err(error) => {
            teller.tell(&Event::Failed(format!("the task cannot be read: {error}")));
            return false;
        }
    };
    if let Err(why) = break_on_purpose(task.mutant.as_deref()) {
        teller.tell(&Event::Failed(why));
        return false;
    }
    teller.injury = task.injury;
    let machine = match Machine::of(&task.options) {
        Ok(machine) => machine,
        Err(error) => {
            teller.tell(&Event::Failed(error.to_string()));
            return false;
        }
    };
    let ran = run_section(task.section, &task.options, &machine, &mut teller);
    teller.tell(&Event::Done(Box::new(ran)));
    true
}

#[cfg(feature = "mutants")]
fn break_on_purpose(name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    let mutant = unisono::mutant::Mutant::named(name);
    let mutant = mutant.ok_or_else(|| format!("there is no mutant \"{name}\""))?;
    unisono::mutant::activate(Some(mutant));
    Ok(())
}

#[cfg(not(feature = "mutants"))]
fn break_on_purpose(name: Option<&str>) -> Result<(), String> {
    match name {
        Some(_) => Err("this build has no mutants".to_owned()),
        None => Ok(()),
    }
}

struct Teller<'a> {
    output: &'a mut dyn Write,
    /// When a step was last told.
    told: Option<Instant>,
    injury: Option<Injury>,
}

impl Teller<'_> {
    /// Steps come far more often than anybody can read.
    const EVERY: Duration = Duration::from_millis(50);

    fn tell(&mut self, event: &Event) {
        let Ok(line) = serde_json::to_string(event) else {
            return;
        };
        // A parent that is gone hears nothing more.
        let _ = writeln!(self.output, "{line}");
        let _ = self.output.flush();
    }
}

impl Progress for Teller<'_> {
    fn section(&mut self, _: &str) {}

    fn step(&mut self, model: &str, what: &str, done: u64, total: u64) {
        if self.told.is_none_or(|told| told.elapsed() >= Self::EVERY) || done == 0 {
            self.told = Some(Instant::now());
            self.tell(&Event::Step {
                model: model.to_owned(),
                what: what.to_owned(),
                done,
                total,
            });
        }
        if let Some(injury) = self.injury {
            injury.inflict();
        }
    }

    fn finished(&mut self, check: &Check) {
        self.tell(&Event::Finished(Box::new(check.clone())));
    }
}
