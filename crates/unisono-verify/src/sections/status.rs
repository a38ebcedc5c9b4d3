//! Verification status: the documentation's claims, their evidence, and what this run says of each.
//!
//! The one idea: a claim fails here if any section that is evidence for it failed in this run. One that this run looked at
//! nothing of is named as such, and neither passes nor fails: evidence from elsewhere is listed, not repeated.

use super::{Description, Findings, Scope, SectionId};
use crate::claims::{ClaimRecord, Ledger, Standing, join};
use crate::report::{Check, Report};
use crate::verdict::Verdict;

/// What it says of itself.
pub const DESCRIPTION: Description = Description {
    name: "status",
    title: "Verification status",
    scope: Scope::Report,
    proves: "Which claims of the documentation have which evidence, and what this run says of each.",
    claim: "no documented claim that this run looked at is contradicted",
    cannot: "More than its evidence: tests other than this run's sections are named, not repeated. What this run looked at nothing of, the open \
             gaps, and what is not guaranteed are listed.",
    checks: &[
        (
            "every guarantee has evidence",
            "each guarantee of docs/guarantees.md has a test, a model or a section that looks at it, or is listed as a gap",
        ),
        (
            "claim",
            "the verdicts of this run's sections that are evidence for it; the gravest counts",
        ),
    ],
};

/// Concludes from what the report has so far.
pub fn check(report: &Report) -> Findings {
    match Ledger::of_this_version() {
        Ok(ledger) => checks(&join(&ledger, report)).into(),
        Err(error) => {
            let check = ledger_check().could_not_run(format!("the ledger cannot be read: {error}"));
            vec![check].into()
        }
    }
}

fn ledger_check() -> Check {
    let id = format!("{}/ledger", SectionId::Status.name());
    Check::new(id, "", "every guarantee has evidence", "guarantees")
}

fn checks(claims: &[ClaimRecord]) -> Vec<Check> {
    let mut checks = vec![ledger(claims)];
    checks.extend(claims.iter().filter_map(claim));
    checks
}

/// The whole ledger, and all of it that this run says nothing of.
fn ledger(claims: &[ClaimRecord]) -> Check {
    let standing = |standing: Standing| claims.iter().filter(move |c| c.claim.standing == standing);
    let names = |claims: &mut dyn Iterator<Item = &ClaimRecord>| {
        claims.map(|c| &*c.claim.id).collect::<Vec<_>>().join(", ")
    };
    let mut check = ledger_check();
    let bare = |c: &&ClaimRecord| c.claim.evidence.is_empty();
    let guaranteed = standing(Standing::Guaranteed).count();
    let without = standing(Standing::Guaranteed).filter(bare).count();
    check.conclude(guaranteed as u64, without as u64);
    // It looks at all of them: there is no rate to bound.
    check.rate_bound = None;
    let pieces: usize = claims.iter().map(|c| c.claim.evidence.len()).sum();
    check.figure("guarantees", guaranteed as f64, "");
    check.figure("pieces of evidence", pieces as f64, "");
    let seen = standing(Standing::Guaranteed).filter(|c| c.verdict.is_some());
    check.figure(
        "guarantees that this run looked at",
        seen.count() as f64,
        "",
    );
    let lists = [
        (
            "without evidence",
            names(&mut standing(Standing::Guaranteed).filter(bare)),
        ),
        (
            "not looked at in this run",
            names(&mut standing(Standing::Guaranteed).filter(|c| c.verdict.is_none())),
        ),
        ("open gaps", names(&mut standing(Standing::Gap))),
        (
            "not guaranteed",
            names(&mut standing(Standing::NotGuaranteed)),
        ),
    ];
    let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
    check
        .notes
        .extend(lists.map(|(what, names)| format!("{what}: {names}")));
    check
}

/// One claim that this run has looked at.
fn claim(record: &ClaimRecord) -> Option<Check> {
    let verdict = record.verdict?;
    let claim = &record.claim;
    let id = format!("{}/{}", SectionId::Status.name(), claim.id);
    let what = format!("claim {} {}", claim.contract, claim.id);
    let mut check = Check::new(id, "", what, "sections");
    let failed = record
        .looked_at_by
        .iter()
        .filter(|(_, v)| *v == Verdict::Fail);
    check.conclude(record.looked_at_by.len() as u64, failed.count() as u64);
    check.verdict = verdict;
    check.rate_bound = None;
    check.notes.push(claim.text.clone());
    let seen = record.looked_at_by.iter();
    let seen: Vec<String> = seen.map(|(id, v)| format!("{id} {v}")).collect();
    check
        .notes
        .push(format!("in this run: {}", seen.join(", ")));
    check.notes.push(format!(
        "{} pieces of evidence: {}",
        claim.evidence.len(),
        claim.evidence_in_numbers()
    ));
    Some(check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{Claim, Evidence, EvidenceKind};

    fn record(id: &str, standing: Standing, looked: &[(SectionId, Verdict)]) -> ClaimRecord {
        let evidence = Evidence {
            kind: EvidenceKind::LoomModel,
            name: "a_model".to_owned(),
            path: "a.rs".to_owned(),
        };
        ClaimRecord {
            claim: Claim {
                id: id.to_owned(),
                contract: "C1".to_owned(),
                text: "It holds.".to_owned(),
                standing,
                evidence: vec![evidence],
            },
            verdict: (!looked.is_empty()).then(|| Verdict::of_all(looked.iter().map(|l| l.1))),
            looked_at_by: looked.to_vec(),
        }
    }

    #[test]
    fn a_claim_with_a_failed_section_fails_and_says_which() {
        let sections = [
            (SectionId::Correctness, Verdict::Pass),
            (SectionId::Soak, Verdict::Fail),
        ];
        let checks = checks(&[record("bits", Standing::Guaranteed, &sections)]);
        let claim = &checks[1];
        assert_eq!((&*claim.id, claim.verdict), ("status/bits", Verdict::Fail));
        assert_eq!((claim.trials, claim.failures), (2, 1));
        assert!(
            claim
                .notes
                .contains(&"in this run: correctness PASS, soak FAIL".to_owned())
        );
    }

    #[test]
    fn a_claim_that_nothing_looked_at_is_named_and_does_not_fail() {
        let checks = checks(&[
            record("files", Standing::Guaranteed, &[]),
            record("callers", Standing::Gap, &[]),
            record("timing", Standing::NotGuaranteed, &[]),
        ]);
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].verdict, Verdict::Pass);
        let notes = [
            "not looked at in this run: files",
            "open gaps: callers",
            "not guaranteed: timing",
        ];
        assert_eq!(checks[0].notes, notes);
    }

    #[test]
    fn a_guarantee_without_evidence_fails() {
        let mut bare = record("files", Standing::Guaranteed, &[]);
        bare.claim.evidence.clear();
        let checks = checks(&[bare]);
        assert_eq!(checks[0].verdict, Verdict::Fail);
        let note = "without evidence: files".to_owned();
        assert!(checks[0].notes.contains(&note));
    }
}
