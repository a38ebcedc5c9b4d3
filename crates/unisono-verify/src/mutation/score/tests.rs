//! The score against runners that say what a test wants them to say.

use super::*;
use crate::progress::Silent;
use crate::sections::SectionId::{Correctness, ThreadSafety};

/// What a run of a section says: its checks with their verdicts, and how it ends.
type Script = (&'static [(&'static str, Verdict)], End);

const BITS: &str = "same bits: avx2";
const FLOATS: &str = "64-bit floats";
const GREEN: &[(&str, Verdict)] = &[(BITS, Verdict::Pass), (FLOATS, Verdict::Pass)];

/// A runner that answers by section and mutant.
struct Scripted<F>(F, Vec<(SectionId, Option<String>)>);

impl<F: Fn(SectionId, Option<&str>) -> Script> Runner for Scripted<F> {
    fn run(&mut self, job: &Job<'_>, heard: &mut dyn FnMut(&Check) -> bool) -> Run {
        self.1.push((job.section, job.mutant.map(str::to_owned)));
        let (checks, mut end) = (self.0)(job.section, job.mutant);
        let mut last_step = None;
        for (what, verdict) in checks {
            last_step = Some(("mlp".to_owned(), (*what).to_owned()));
            let id = format!("{}/mlp/{what}", job.section);
            let mut check = Check::new(id, "mlp", *what, "rows");
            check.verdict = *verdict;
            if !heard(&check) {
                end = End::Stopped;
                break;
            }
        }
        Run {
            end,
            longest_silence: Duration::ZERO,
            last_step,
        }
    }
}

const fn target(name: &'static str, trials: &'static [Trial]) -> Target {
    Target {
        name,
        broken: "something",
        trials,
        elsewhere: None,
    }
}

const BITS_GUARD: Target = target("bits-broken", &[(Correctness, "same bits")]);

fn scored(
    targets: &[Target],
    says: impl Fn(SectionId, Option<&str>) -> Script,
) -> (MutationRecord, Vec<(SectionId, Option<String>)>) {
    let mut runner = Scripted(says, Vec::new());
    let record = score(targets, &Options::default(), &mut runner, &mut Silent);
    (record, runner.1)
}

fn fate_of(broken: Script) -> MutantRecord {
    let (mut record, _) = scored(&[BITS_GUARD], |_, mutant| match mutant {
        None => (GREEN, End::Done),
        Some(_) => (broken.0, broken.1.clone()),
    });
    record.mutants.remove(0)
}

#[test]
fn red_hanging_and_crashing_sections_kill_and_say_which_check_it_was() {
    let red = fate_of((&[(BITS, Verdict::Fail), (FLOATS, Verdict::Fail)], End::Done));
    assert_eq!((red.fate, &*red.how), (Fate::Killed, "red"));
    // The rest is not waited for once the guard is red.
    assert_eq!(red.killed_by, ["correctness/mlp/same bits: avx2"]);

    let hung = fate_of((&[(BITS, Verdict::Pass)], End::Hung(Duration::from_secs(9))));
    assert_eq!(hung.fate, Fate::Killed);
    assert_eq!(hung.how, "hangs: no sign of life for 9 s");
    assert_eq!(hung.killed_by, ["correctness/mlp/same bits: avx2"]);

    let crashed = fate_of((&[], End::Crashed("signal 11".to_owned())));
    assert_eq!(crashed.fate, Fate::Killed);
    assert_eq!(crashed.killed_by, ["correctness"]);
}

#[test]
fn what_passes_or_could_not_run_kills_nothing() {
    assert_eq!(fate_of((GREEN, End::Done)).fate, Fate::Survived);
    let unable = [
        (BITS, Verdict::CouldNotRun),
        (FLOATS, Verdict::NotDistinguishable),
    ];
    let unable: &'static [_] = Box::leak(Box::new(unable));
    assert_eq!(fate_of((unable, End::Done)).fate, Fate::Survived);
    let absent = fate_of((&[], End::NotStarted("no program".to_owned())));
    assert_eq!(
        (absent.fate, &*absent.how),
        (Fate::CouldNotRun, "no program")
    );
}

#[test]
fn a_section_that_is_red_with_nothing_broken_kills_nothing() {
    const RED: &[(&str, Verdict)] = &[(BITS, Verdict::Fail)];
    for ((checks, end), why) in [
        ((RED, End::Done), "FAIL correctness/mlp/same bits: avx2"),
        ((GREEN, End::Hung(Duration::from_secs(9))), "hangs"),
        ((&[][..], End::Done), "it checks nothing"),
        ((GREEN, End::Crashed("signal 6".to_owned())), "signal 6"),
    ] {
        let (record, asked) = scored(&[BITS_GUARD], |_, mutant| match mutant {
            None => (checks, end.clone()),
            Some(_) => (RED, End::Done),
        });
        assert_eq!(record.mutants[0].fate, Fate::CouldNotRun);
        assert!(
            record.mutants[0].how.contains(why),
            "{}",
            record.mutants[0].how
        );
        assert_eq!(record.verdict(), Verdict::CouldNotRun);
        assert_eq!(asked.len(), 1);
    }
}

#[test]
fn a_section_is_run_unbroken_once_and_every_trial_is_run() {
    const TWO: &[Trial] = &[
        (Correctness, "same bits"),
        (ThreadSafety, "1 to 64 callers"),
    ];
    let targets = [target("first", TWO), target("second", TWO)];
    let (record, asked) = scored(&targets, |section, mutant| match (section, mutant) {
        (Correctness, Some("first")) => (&[(BITS, Verdict::Fail)], End::Done),
        (ThreadSafety, Some(_)) => (&[("1 to 64 callers at once", Verdict::Fail)], End::Done),
        _ => (GREEN, End::Done),
    });
    assert_eq!(record.score(), "killed 2 of 2");
    assert_eq!(record.verdict(), Verdict::Pass);
    assert_eq!(record.mutants[0].how, "red");
    assert_eq!(record.mutants[0].killed_by.len(), 2);
    // The other check sees it, and that this one did not is told.
    let blind = "red; not in correctness: \"same bits\", which should see it";
    assert_eq!(record.mutants[1].how, blind);
    let asked: Vec<_> = asked.iter().map(|(s, m)| (*s, m.as_deref())).collect();
    assert_eq!(
        asked,
        [
            (Correctness, None),
            (Correctness, Some("first")),
            (ThreadSafety, None),
            (ThreadSafety, Some("first")),
            (Correctness, Some("second")),
            (ThreadSafety, Some("second")),
        ]
    );
}

#[test]
fn checks_that_ran_and_killed_none_are_vacuous() {
    let (record, _) = scored(&[BITS_GUARD], |_, mutant| match mutant {
        None => (GREEN, End::Done),
        Some(_) => (&[(BITS, Verdict::Fail)], End::Done),
    });
    assert_eq!(record.vacuous, ["correctness: 64-bit floats"]);
}

#[test]
fn a_kill_by_another_check_than_the_guard_counts_and_is_told() {
    let other = fate_of((&[(BITS, Verdict::Pass), (FLOATS, Verdict::Fail)], End::Done));
    assert_eq!(other.fate, Fate::Killed);
    assert!(
        other.how.contains("not in correctness: \"same bits\""),
        "{}",
        other.how
    );
}

#[test]
fn one_that_no_run_can_show_is_listed_and_not_counted() {
    let hidden = Target {
        elsewhere: Some("killed by the model checker"),
        ..target("relaxed", &[])
    };
    let (record, asked) = scored(&[hidden], |_, _| (GREEN, End::Done));
    assert_eq!(record.mutants[0].fate, Fate::NotDistinguishable);
    assert_eq!((record.total, asked.len()), (0, 0));
    // A score of nothing is not a pass.
    assert_eq!(record.verdict(), Verdict::CouldNotRun);
}

#[test]
fn one_survivor_is_a_failure() {
    let (record, _) = scored(&[BITS_GUARD], |_, _| (GREEN, End::Done));
    assert_eq!(record.verdict(), Verdict::Fail);
    assert_eq!(record.score(), "killed 0 of 1");
}
