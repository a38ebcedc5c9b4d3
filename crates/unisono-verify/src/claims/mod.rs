//! The claims ledger: every guarantee of the documentation, its evidence, and what this run says of it.
//!
//! The one idea: the ledger is generated (`cargo xtask claims`) from the documentation and from the comments of tests and sections, and
//! carried in the program; a run adds the verdicts of the sections that it has seen. A claim of which this run has looked at
//! nothing has no verdict here, however much other evidence there is.

mod ledger;

use serde::{Deserialize, Serialize};

pub use ledger::{Claim, Evidence, EvidenceKind, Ledger, Standing};

use crate::report::{Check, Report, Section};
use crate::sections::{SectionId, correctness};
use crate::verdict::Verdict;

/// A claim and what a run says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// The claim, with all of its evidence.
    #[serde(flatten)]
    pub claim: Claim,
    /// The verdict of this run; `None` if it looked at nothing of it.
    pub verdict: Option<Verdict>,
    /// The sections of this run that are evidence for it, each with its verdict.
    pub looked_at_by: Vec<(SectionId, Verdict)>,
}

/// Checks that are about some of their section's claims alone where they are out of a device's reach: how their ids end, and these claims.
const OUT_OF_REACH: &[(&str, &[&str])] =
    &[(correctness::SETUPS, &["same-bits-threads", "same-bits-isa"])];

/// What a section says of a claim: its verdict. Only if that is that something was out of reach, the claims that this something is not
/// about have the verdict of the other checks.
fn verdict_on(claim: &str, section: &Section) -> Verdict {
    if section.verdict != Verdict::OutOfReach {
        return section.verdict;
    }
    let is_about = |check: &&Check| {
        let listed = OUT_OF_REACH
            .iter()
            .find(|(ending, _)| check.id.ends_with(ending));
        check.verdict != Verdict::OutOfReach
            || listed.is_none_or(|(_, claims)| claims.contains(&claim))
    };
    let mut own = section.checks.iter().filter(is_about).peekable();
    match own.peek() {
        None => section.verdict,
        Some(_) => Verdict::of_all(own.map(|check| check.verdict)),
    }
}

/// Joins the ledger with what a run has seen.
pub fn join(ledger: &Ledger, report: &Report) -> Vec<ClaimRecord> {
    let record = |claim: &Claim| {
        let sections = claim.evidence.iter();
        let sections = sections.filter(|e| e.kind == EvidenceKind::Section);
        let sections = sections.filter_map(|e| SectionId::from_name(&e.name));
        let seen = |id: SectionId| Some((id, verdict_on(&claim.id, report.section(id)?)));
        let looked_at_by: Vec<(SectionId, Verdict)> = sections.filter_map(seen).collect();
        ClaimRecord {
            claim: claim.clone(),
            verdict: joint_verdict(&looked_at_by),
            looked_at_by,
        }
    };
    ledger.claims.iter().map(record).collect()
}

/// The verdict on a claim by what its sections came to; `None` if none was run. A section that could not tell does not take away what
/// another has seen.
fn joint_verdict(seen: &[(SectionId, Verdict)]) -> Option<Verdict> {
    let told = |v: &Verdict| !matches!(v, Verdict::NotDistinguishable | Verdict::OutOfReach);
    let all = || seen.iter().map(|(_, verdict)| *verdict);
    if all().any(|verdict| told(&verdict)) {
        return Some(Verdict::of_all(all().filter(told)));
    }
    (!seen.is_empty()).then(|| Verdict::of_all(all()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::run::empty_report;
    use crate::sections::Findings;
    use crate::verdict::Verdict::{CouldNotRun, Fail, NotDistinguishable, OutOfReach, Pass};

    fn ledger() -> Ledger {
        let text = r#"{ "claims": [
            { "id": "bits", "contract": "C1", "text": "Equal bits.", "standing": "guaranteed", "evidence": [
                { "kind": "loom-model", "name": "a_model", "path": "a.rs" },
                { "kind": "section", "name": "correctness", "path": "b.rs" },
                { "kind": "section", "name": "thread-safety", "path": "c.rs" } ] },
            { "id": "files", "contract": "C6", "text": "Any file.", "standing": "guaranteed", "evidence": [
                { "kind": "fuzz-target", "name": "load", "path": "d.rs" } ] } ] }"#;
        Ledger::parse(text).unwrap()
    }

    fn report(sections: &[(SectionId, Verdict)]) -> Report {
        let mut report = empty_report(&Options::default(), &[]).unwrap();
        for &(id, verdict) in sections {
            let now = std::time::Instant::now();
            let mut section = crate::run::conclude(id, Findings::default(), now);
            section.verdict = verdict;
            report.sections.push(section);
        }
        report
    }

    fn verdicts(sections: &[(SectionId, Verdict)]) -> Vec<Option<Verdict>> {
        let records = join(&ledger(), &report(sections));
        records.iter().map(|record| record.verdict).collect()
    }

    #[test]
    fn a_claim_has_the_gravest_verdict_of_the_sections_that_looked() {
        let (bits, threads) = (SectionId::Correctness, SectionId::ThreadSafety);
        assert_eq!(verdicts(&[(bits, Pass), (threads, Pass)])[0], Some(Pass));
        assert_eq!(verdicts(&[(bits, Pass), (threads, Fail)])[0], Some(Fail));
        assert_eq!(verdicts(&[(threads, CouldNotRun)])[0], Some(CouldNotRun));
    }

    #[test]
    fn a_claim_that_no_section_looked_at_has_no_verdict() {
        assert_eq!(verdicts(&[]), [None, None]);
        assert_eq!(verdicts(&[(SectionId::Soak, Fail)]), [None, None]);
        assert_eq!(verdicts(&[(SectionId::Correctness, Pass)])[1], None);
    }

    /// What this version's claims come to if correctness had these checks and nothing else was run.
    fn by_correctness(checks: &[(&str, Verdict)], claim: &str) -> Option<Verdict> {
        let check = |&(id, verdict): &(&str, Verdict)| {
            let mut check = Check::new(id.to_owned(), "mlp", "a check", "rows");
            check.verdict = verdict;
            check
        };
        let checks: Vec<Check> = checks.iter().map(check).collect();
        let mut report = report(&[]);
        let now = std::time::Instant::now();
        let section = crate::run::conclude(SectionId::Correctness, checks.into(), now);
        report.sections.push(section);
        let records = join(&Ledger::of_this_version().unwrap(), &report);
        let record = records.iter().find(|record| record.claim.id == claim);
        record.unwrap().verdict
    }

    #[test]
    fn what_a_device_cannot_be_asked_is_said_only_of_the_claims_that_it_is_about() {
        let setups = ("correctness/mlp/bits/setups", OutOfReach);
        let gpu = |bits, plain| {
            let checks = [
                ("correctness/mlp/bits", bits),
                setups,
                ("correctness/mlp/plain", plain),
            ];
            [
                "same-bits-rows",
                "canonical-arithmetic",
                "same-bits-isa",
                "same-bits-threads",
            ]
            .map(|claim| by_correctness(&checks, claim).unwrap())
        };
        assert_eq!(gpu(Pass, Pass), [Pass, Pass, OutOfReach, OutOfReach]);
        assert_eq!(gpu(Fail, Pass), [Fail; 4]);
        assert_eq!(gpu(Pass, CouldNotRun), [CouldNotRun; 4]);
        assert_eq!(gpu(Pass, NotDistinguishable), [NotDistinguishable; 4]);
        // Nothing else was looked at.
        assert_eq!(
            by_correctness(&[setups], "same-bits-rows"),
            Some(OutOfReach)
        );
    }

    #[test]
    fn on_a_processor_every_claim_has_the_whole_sections_verdict() {
        for verdict in [Pass, Fail, CouldNotRun, NotDistinguishable, OutOfReach] {
            let checks = [
                ("correctness/mlp/bits/avx2/2", Pass),
                ("correctness/mlp/bits/scalar/2", verdict),
                ("correctness/mlp/plain", Pass),
            ];
            for claim in ["same-bits-rows", "canonical-arithmetic", "same-bits-isa"] {
                assert_eq!(by_correctness(&checks, claim), Some(verdict), "{claim}");
            }
        }
    }

    #[test]
    fn claims_that_something_may_be_out_of_reach_for_exist() {
        let ledger = Ledger::of_this_version().unwrap();
        for claim in OUT_OF_REACH.iter().flat_map(|(_, claims)| *claims) {
            assert!(ledger.claims.iter().any(|c| c.id == *claim), "{claim}");
        }
    }

    #[test]
    fn a_record_keeps_its_claim_in_json() {
        let records = join(&ledger(), &report(&[(SectionId::Correctness, Pass)]));
        let json = serde_json::to_string(&records).unwrap();
        let back: Vec<ClaimRecord> = serde_json::from_str(&json).unwrap();
        assert_eq!(back, records);
    }
}
