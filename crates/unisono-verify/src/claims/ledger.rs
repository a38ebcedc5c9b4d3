//! The ledger as it is carried in the program.

use serde::{Deserialize, Serialize};

/// What `cargo xtask claims` wrote.
const TEXT: &str = include_str!("ledger.json");

/// All claims of the documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// In the documentation's order.
    pub claims: Vec<Claim>,
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// A name that stays the same from version to version: `same-bits-rows`, the anchor in `docs/guarantees.md`.
    pub id: String,
    /// The contract that it is a part of, `C1` to `C8`; empty for what is not guaranteed.
    pub contract: String,
    /// What is claimed.
    pub text: String,
    /// How it stands.
    pub standing: Standing,
    /// What there is to show for it, strongest first.
    pub evidence: Vec<Evidence>,
}

/// How a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is guaranteed, and there is evidence.
    Guaranteed,
    /// It does not hold yet, or nothing looks at it.
    Gap,
    /// The documentation says that it is not guaranteed.
    NotGuaranteed,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What kind of thing it is.
    pub kind: EvidenceKind,
    /// The test's, section's or file's name.
    pub name: String,
    /// The file in which it stands.
    pub path: String,
}

/// Kinds of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// Every interleaving of a small program, by the model checker.
    LoomModel,
    /// Thousands of random schedules of whole sessions.
    ShuttleTest,
    /// Random arguments.
    PropertyTest,
    /// Bytes from a fuzzer.
    FuzzTarget,
    /// A test of the public interface.
    IntegrationTest,
    /// A test beside the code.
    UnitTest,
    /// An example that measures.
    Example,
    /// A section of this verification.
    Section,
}

impl EvidenceKind {
    /// All of them, strongest first.
    pub const ALL: [EvidenceKind; 8] = [
        EvidenceKind::LoomModel,
        EvidenceKind::ShuttleTest,
        EvidenceKind::PropertyTest,
        EvidenceKind::FuzzTarget,
        EvidenceKind::IntegrationTest,
        EvidenceKind::UnitTest,
        EvidenceKind::Example,
        EvidenceKind::Section,
    ];

    /// What one is called.
    pub const fn name(self) -> &'static str {
        match self {
            EvidenceKind::LoomModel => "loom model",
            EvidenceKind::ShuttleTest => "shuttle test",
            EvidenceKind::PropertyTest => "property test",
            EvidenceKind::FuzzTarget => "fuzz target",
            EvidenceKind::IntegrationTest => "integration test",
            EvidenceKind::UnitTest => "unit test",
            EvidenceKind::Example => "example",
            EvidenceKind::Section => "section",
        }
    }
}

impl Ledger {
    /// The ledger of this version.
    ///
    /// # Errors
    /// None in a build whose tests pass.
    pub fn of_this_version() -> Result<Ledger, serde_json::Error> {
        Ledger::parse(TEXT)
    }

    pub(super) fn parse(text: &str) -> Result<Ledger, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl Claim {
    /// The evidence in numbers: `2 loom models, 1 section`.
    pub fn evidence_in_numbers(&self) -> String {
        let count = |kind| self.evidence.iter().filter(|e| e.kind == kind).count();
        let counted = EvidenceKind::ALL.map(|kind| (kind, count(kind)));
        let words = counted.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| {
            let plural = if *n == 1 { "" } else { "s" };
            format!("{n} {}{plural}", kind.name())
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::SectionId;

    #[test]
    fn the_ledger_of_this_version_can_be_read_and_covers_all_contracts() {
        let ledger = Ledger::of_this_version().unwrap();
        for contract in ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"] {
            let own = ledger.claims.iter().filter(|c| c.contract == contract);
            assert!(own.clone().count() > 0, "{contract}");
        }
        for claim in &ledger.claims {
            let needs = claim.standing == Standing::Guaranteed;
            assert!(!needs || !claim.evidence.is_empty(), "{}", claim.id);
            assert!(!claim.text.is_empty(), "{}", claim.id);
        }
    }

    #[test]
    fn sections_in_the_ledger_exist() {
        let ledger = Ledger::of_this_version().unwrap();
        let evidence = ledger.claims.iter().flat_map(|c| &c.evidence);
        let sections = evidence.filter(|e| e.kind == EvidenceKind::Section);
        let mut any = false;
        for section in sections {
            assert!(
                SectionId::from_name(&section.name).is_some(),
                "{}",
                section.name
            );
            any = true;
        }
        assert!(any);
    }

    #[test]
    fn a_ledger_with_an_unknown_kind_or_without_a_field_cannot_be_read() {
        let good =
            r#"{"claims":[{"id":"a","contract":"C1","text":"x","standing":"gap","evidence":[]}]}"#;
        assert!(Ledger::parse(good).is_ok());
        assert!(Ledger::parse(&good.replace("gap", "maybe")).is_err());
        assert!(Ledger::parse(&good.replace(r#""contract":"C1","#, "")).is_err());
    }

    #[test]
    fn evidence_is_counted_by_kind() {
        let piece = |kind| Evidence {
            kind,
            name: String::new(),
            path: String::new(),
        };
        let claim = Claim {
            id: String::new(),
            contract: String::new(),
            text: String::new(),
            standing: Standing::Guaranteed,
            evidence: [
                EvidenceKind::Section,
                EvidenceKind::LoomModel,
                EvidenceKind::LoomModel,
            ]
            .map(piece)
            .to_vec(),
        };
        assert_eq!(claim.evidence_in_numbers(), "2 loom models, 1 section");
    }
}
