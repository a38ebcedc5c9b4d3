//! Which section must see which mutant.
//!
//! The one idea: the `match` over all mutants has no arm for the rest, so that a mutant without a line here does not compile.

use unisono::mutant::Mutant;

use super::score::{Target, Trial};
use crate::sections::SectionId::{
    Batching, CompileStress, Correctness, Faults, Leak, RealModels, Soak, ThreadSafety,
};

/// All mutants.
pub fn targets() -> Vec<Target> {
    Mutant::ALL.iter().map(|&mutant| target(mutant)).collect()
}

fn target(mutant: Mutant) -> Target {
    let (trials, elsewhere) = match guards(mutant) {
        Guard::Sections(trials) => (trials, None),
        Guard::Elsewhere(what) => (&[][..], Some(what)),
    };
    Target {
        name: mutant.name(),
        broken: mutant.describe(),
        trials,
        elsewhere,
    }
}

enum Guard {
    Sections(&'static [Trial]),
    Elsewhere(&'static str),
}
use Guard::{Elsewhere, Sections};

const fn guards(mutant: Mutant) -> Guard {
    match mutant {
        Mutant::ForgottenWakeUp => Sections(&[(ThreadSafety, "1 to 64 callers")]),
        Mutant::RowsSwappedOnScatter => Sections(&[(ThreadSafety, "1 to 64 callers")]),
        Mutant::NeighboursRows => Sections(&[
            (ThreadSafety, "8 callers x 20 requests"),
            (RealModels, "8 callers x 20 requests"),
            (Faults, "a poisoned row"),
        ]),
        Mutant::ArenaReusedEarly => Sections(&[(Correctness, "plain arithmetic")]),
        Mutant::SumSplitByRows => Sections(&[
            (Correctness, "same bits"),
            (CompileStress, "plain arithmetic"),
        ]),
        Mutant::ScalarWithoutFma => Sections(&[(Correctness, "same bits")]),
        Mutant::PlanCompiledTwice => {
            Sections(&[(CompileStress, "16 callers, 30 new shapes together")])
        }
        Mutant::KeyIgnoresDimension => {
            Sections(&[(CompileStress, "16 callers x 30, unique shapes")])
        }
        Mutant::EvictionDropsPlanInUse => Sections(&[(CompileStress, "a small cache")]),
        Mutant::OutputLeaked => Sections(&[(Leak, "resident memory")]),
        Mutant::LaneKeptOnError => Sections(&[(Faults, "a panicking kernel")]),
        Mutant::RelaxedSignal => Elsewhere(
            "x86 lets no run see it; killed by the model checker: \
             cargo test -p unisono-runtime --test loom_mutants (`cargo xtask mutants`)",
        ),
        Mutant::DeadlineIgnored => Sections(&[
            (ThreadSafety, "beside refused requests"),
            (Faults, "late requests"),
        ]),
        Mutant::FollowersLeftAsleep => Sections(&[(Faults, "a panicking kernel")]),
        Mutant::PaddingReadsInput => Sections(&[(Correctness, "64-bit floats")]),
        Mutant::StatusUnchecked => Sections(&[(Faults, "a kernel's error")]),
        Mutant::OvertakenWithoutBound => Sections(&[(Soak, "overtaking")]),
        Mutant::CancelledKept => Sections(&[(Faults, "cancelled requests")]),
        Mutant::RefusedKept => Sections(&[(ThreadSafety, "nothing left behind")]),
        Mutant::CoefficientOff => Sections(&[(Correctness, "64-bit floats")]),
        Mutant::CacheWithoutBound => Sections(&[(CompileStress, "a small cache")]),
        Mutant::ModelsMixedUp => Sections(&[(RealModels, "all models beside each other")]),
        Mutant::NeverCoalesced => Sections(&[(Batching, "the cost of sharing")]),
        Mutant::PanicNotCaught => Sections(&[(Faults, "a panic inside of a kernel")]),
        Mutant::FailureRemembered => Sections(&[(Faults, "a failed allocation")]),
        Mutant::SessionKept => Sections(&[
            (ThreadSafety, "nothing left behind"),
            (RealModels, "nothing left behind"),
            (Faults, "a session closed under load"),
        ]),
        Mutant::QueueWithoutBound => Sections(&[(Faults, "a full queue")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_sixteen_mutants_show_in_a_section_and_the_others_say_who_kills_them() {
        let targets = targets();
        assert_eq!(targets.len(), Mutant::ALL.len());
        let shown = targets.iter().filter(|t| t.elsewhere.is_none());
        assert!(shown.clone().count() >= 16);
        for target in shown {
            assert!(!target.trials.is_empty(), "{}", target.name);
        }
    }

    #[test]
    fn guards_are_checks_that_their_sections_describe() {
        for target in targets() {
            for (section, guard) in target.trials {
                let checks = section.description().checks;
                let known =
                    checks.is_empty() || checks.iter().any(|(name, _)| name.starts_with(guard));
                assert!(known, "{}: {section} has no \"{guard}\"", target.name);
            }
        }
    }
}
