//! The mutation score end to end: a part is broken in a process of the program, and the section that guards it sees it.
//!
//! Evidence: checks-can-fail
#![cfg(feature = "mutants")]

use std::path::PathBuf;

use unisono_verify::isolation::{Isolated, Launcher};
use unisono_verify::mutation::{Target, score};
use unisono_verify::progress::Silent;
use unisono_verify::report::Fate;
use unisono_verify::{Effort, Options, SectionId};

#[test]
fn a_broken_part_is_seen_in_a_process_of_its_own_and_an_unknown_one_is_no_kill() {
    let mut isolated = Isolated::new(Launcher {
        program: PathBuf::from(env!("CARGO_BIN_EXE_unisono")),
        arguments: vec!["verify".to_owned(), "--child".to_owned()],
    });
    isolated.ledger = None;
    let mut options = Options::default();
    options.effort = Effort::Quick;
    let target = |name, trials| Target {
        name,
        broken: "something",
        trials,
        elsewhere: None,
    };
    let targets = [
        target(
            "refused-kept",
            &[(SectionId::ThreadSafety, "nothing left behind")],
        ),
        target("no-such-part", &[(SectionId::ThreadSafety, "1 to 64")]),
    ];
    let record = score(&targets, &options, &mut isolated, &mut Silent);
    let [kept, unknown] = &record.mutants[..] else {
        panic!("two mutants were asked for");
    };
    assert_eq!((kept.fate, &*kept.how), (Fate::Killed, "red"), "{kept:?}");
    let check = "thread-safety/transformer/census";
    assert!(kept.killed_by.iter().any(|id| id == check), "{kept:?}");
    assert_eq!(unknown.fate, Fate::CouldNotRun);
    assert!(unknown.how.contains("there is no mutant"), "{unknown:?}");
}
