//! From runs to a score.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::runner::{End, Job, Run, Runner};
use crate::options::Options;
use crate::progress::Progress;
use crate::report::{Check, Fate, MutantRecord, MutationRecord, UnbrokenRecord};
use crate::sections::SectionId;
use crate::verdict::Verdict;

/// A mutant and where it must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What is broken.
    pub broken: &'static str,
    /// Where it must show. One check that sees it kills it; one that should and does not is told.
    pub trials: &'static [Trial],
    /// If no run can be relied on to show it: what kills it instead.
    pub elsewhere: Option<&'static str>,
}

/// A section that can show a mutant, and the check of it that guards the part: the words with which its name begins. Once that is
/// red, the rest of the section is not waited for.
pub type Trial = (SectionId, &'static str);

/// A run with nothing broken may take this long without a sign of life.
const UNBROKEN_PATIENCE: Duration = Duration::from_secs(120);
/// One with a mutant this long at least,
const LEAST_PATIENCE: Duration = Duration::from_secs(8);
/// and so many times what it took with nothing broken.
const SLOWER: u32 = 5;

/// A section with nothing broken.
struct Unbroken {
    record: UnbrokenRecord,
    /// Id, model and name of its checks.
    checks: Vec<(String, String, String)>,
    patience: Duration,
}

/// What has been learnt so far.
#[derive(Default)]
struct Learnt {
    unbroken: Vec<Unbroken>,
    /// Kinds of checks that were run, and those that killed.
    ran: BTreeSet<(usize, String)>,
    deadly: BTreeSet<(usize, String)>,
}

/// Runs all mutants.
pub fn score(
    targets: &[Target],
    options: &Options,
    runner: &mut dyn Runner,
    progress: &mut dyn Progress,
) -> MutationRecord {
    let started = Instant::now();
    let mut learnt = Learnt::default();
    let mut record = MutationRecord::default();
    for (done, target) in targets.iter().enumerate() {
        progress.step("mutants", target.name, done as u64, targets.len() as u64);
        let began = Instant::now();
        let mut mutant = MutantRecord {
            name: target.name.to_owned(),
            broken: target.broken.to_owned(),
            fate: Fate::NotDistinguishable,
            killed_by: Vec::new(),
            how: target.elsewhere.unwrap_or_default().to_owned(),
            sections: Vec::new(),
            seconds: 0.0,
        };
        if target.elsewhere.is_none() {
            judge(target, &mut mutant, &mut learnt, options, runner, progress);
            record.total += 1;
            record.killed += usize::from(mutant.fate == Fate::Killed);
        }
        mutant.seconds = began.elapsed().as_secs_f64();
        record.mutants.push(mutant);
    }
    let vacuous = learnt.ran.difference(&learnt.deadly);
    record.vacuous = vacuous.map(named).collect();
    record.sections = learnt.unbroken.into_iter().map(|u| u.record).collect();
    record.seconds = started.elapsed().as_secs_f64();
    record
}

/// Runs one mutant's trials, all of them: each names a check that must see it.
fn judge(
    target: &Target,
    mutant: &mut MutantRecord,
    learnt: &mut Learnt,
    options: &Options,
    runner: &mut dyn Runner,
    progress: &mut dyn Progress,
) {
    mutant.fate = Fate::CouldNotRun;
    let (mut how, mut troubles, mut blind) = (Vec::new(), Vec::new(), Vec::new());
    for &(section, guard) in target.trials {
        let unbroken = learnt.unbroken(section, options, runner, progress);
        if let Some(trouble) = &unbroken.record.trouble {
            troubles.push(format!(
                "{section} is not green with nothing broken: {trouble}"
            ));
            continue;
        }
        let job = Job {
            section,
            options,
            mutant: Some(target.name),
            patience: unbroken.patience,
        };
        progress.step(target.name, section.name(), 0, 0);
        let (mut red, mut kinds, mut guarded) = (Vec::new(), Vec::new(), false);
        let run = runner.run(&job, &mut |check| {
            if check.verdict == Verdict::Fail {
                red.push(check.id.clone());
                kinds.push(kind(section, &check.what));
                guarded |= check.what.starts_with(guard);
            }
            !guarded
        });
        if let End::NotStarted(why) = run.end {
            troubles.push(why);
            continue;
        }
        mutant.sections.push(section);
        if let Some(fatal) = fatal(&run) {
            let (id, what) = unbroken.going_on(&run);
            guarded |= what.starts_with(guard);
            kinds.push(kind(section, &what));
            red.push(id);
            how.push(fatal);
        } else if !red.is_empty() {
            how.push("red".to_owned());
        }
        if !guarded {
            blind.push(format!(
                "not in {section}: \"{guard}\", which should see it"
            ));
        }
        mutant.killed_by.extend(red);
        learnt.deadly.extend(kinds);
    }
    how.dedup();
    mutant.fate = match (mutant.killed_by.is_empty(), mutant.sections.is_empty()) {
        (false, _) => Fate::Killed,
        (true, false) => Fate::Survived,
        (true, true) => Fate::CouldNotRun,
    };
    let parts: Vec<String> = [how, blind, troubles].concat();
    mutant.how = match parts.is_empty() {
        true => "no section is there for it".to_owned(),
        false => parts.join("; "),
    };
}

/// How it showed, if not by a verdict.
fn fatal(run: &Run) -> Option<String> {
    match &run.end {
        End::Hung(waited) => Some(format!("hangs: no sign of life for {} s", waited.as_secs())),
        End::Crashed(how) => Some(format!("crashes: {how}")),
        End::Done | End::Stopped | End::NotStarted(_) => None,
    }
}

impl Learnt {
    /// The section with nothing broken, run on first sight.
    fn unbroken(
        &mut self,
        section: SectionId,
        options: &Options,
        runner: &mut dyn Runner,
        progress: &mut dyn Progress,
    ) -> &Unbroken {
        let known = |u: &Unbroken| u.record.section == section;
        let at = self.unbroken.iter().position(known);
        let at = at.unwrap_or_else(|| {
            progress.step("nothing broken", section.name(), 0, 0);
            let unbroken = Unbroken::run(section, options, runner);
            let kinds = unbroken.checks.iter().map(|check| kind(section, &check.2));
            self.ran.extend(kinds);
            self.unbroken.push(unbroken);
            self.unbroken.len() - 1
        });
        &self.unbroken[at]
    }
}

impl Unbroken {
    fn run(section: SectionId, options: &Options, runner: &mut dyn Runner) -> Unbroken {
        let started = Instant::now();
        let job = Job {
            section,
            options,
            mutant: None,
            patience: UNBROKEN_PATIENCE,
        };
        let (mut checks, mut bad) = (Vec::new(), None);
        let run = runner.run(&job, &mut |check: &Check| {
            if !check.verdict.is_acceptable() && bad.is_none() {
                bad = Some(format!("{} {}", check.verdict, check.id));
            }
            checks.push((check.id.clone(), check.model.clone(), check.what.clone()));
            true
        });
        let trouble = match (&run.end, bad) {
            (End::NotStarted(why), _) => Some(why.clone()),
            (_, Some(bad)) => Some(bad),
            (End::Done | End::Stopped, None) if checks.is_empty() => {
                Some("it checks nothing".to_owned())
            }
            _ => fatal(&run),
        };
        Unbroken {
            record: UnbrokenRecord {
                section,
                checks: checks.len(),
                trouble,
                seconds: started.elapsed().as_secs_f64(),
            },
            checks,
            patience: LEAST_PATIENCE.max(run.longest_silence * SLOWER),
        }
    }

    /// Id and name of the check that was going on at the end of a run.
    fn going_on(&self, run: &Run) -> (String, String) {
        let section = self.record.section;
        let Some((model, what)) = &run.last_step else {
            return (section.name().to_owned(), String::new());
        };
        let same = |check: &&(String, String, String)| check.1 == *model && check.2 == *what;
        let id = match self.checks.iter().find(same) {
            Some((id, ..)) => id.clone(),
            None => format!("{section}/{model}: {what}"),
        };
        (id, what.clone())
    }
}

/// Which of its section's checks it is: what the section's description calls it, or its own name.
fn kind(section: SectionId, what: &str) -> (usize, String) {
    let at = SectionId::ALL.iter().position(|s| *s == section);
    let names = section.description().checks.iter().map(|(name, _)| *name);
    let known = names.filter(|name| what.starts_with(name));
    let name = known.max_by_key(|name| name.len()).unwrap_or(what);
    (at.unwrap_or(usize::MAX), name.to_owned())
}

fn named((section, check): &(usize, String)) -> String {
    let section = SectionId::ALL.get(*section).map_or("", |s| s.name());
    format!("{section}: {check}")
}

#[cfg(test)]
mod tests;
