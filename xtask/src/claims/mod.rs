//! `cargo xtask claims`: which guarantee of the documentation has which evidence.
//!
//! One idea: nobody types the ledger. A guarantee is tagged where it is made (an anchor in `docs/guarantees.md`), evidence
//! where it stands (a line `Evidence: same-bits, …` in its comment), and this chore joins the two into a file that the program
//! carries. A guarantee that nothing looks at, and evidence for a guarantee that nobody makes, are failures.

mod evidence;
mod guarantees;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use crate::args::Args;
use crate::shell;

use evidence::Evidence;
use guarantees::{Guarantees, Standing};

pub const HELP: &str = "\
usage: cargo xtask claims [--check]

Writes crates/unisono-verify/src/claims/ledger.json: every guarantee of docs/guarantees.md with its evidence.

A guarantee has an anchor in front of it: <a id=\"same-bits\"></a>, or, if it does not hold or nothing looks at
it, <a id=\"same-bits\" class=\"gap\"></a>. Its evidence names it in a comment: `/// Evidence: same-bits` above a test or
a section's DESCRIPTION, `//! Evidence: same-bits` for a whole file.

  --check   write nothing; fail if the file is not up to date

The exit code is 0 only if every guarantee has evidence or is marked as a gap, and all evidence names guarantees.
";

const GUARANTEES: &str = "docs/guarantees.md";
const LEDGER: &str = "crates/unisono-verify/src/claims/ledger.json";
/// Where evidence may stand.
const SOURCES: [&str; 2] = ["crates", "fuzz/fuzz_targets"];

/// Makes the ledger, or sees whether it is up to date.
///
/// # Errors
/// If there are other arguments, a file cannot be read, or guarantees and evidence do not fit.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let mut args = Args::new(arguments);
    let check = args.switch("--check");
    args.finish()?;
    let read = |path: &str| {
        fs::read_to_string(shell::root().join(path)).map_err(|error| format!("{path}: {error}"))
    };
    let guarantees = guarantees::read(&read(GUARANTEES)?)?;
    let mut found = Vec::new();
    for folder in SOURCES {
        evidence::of_folder(folder, &mut found)?;
    }
    let ledger = join(&guarantees, &found)?;
    if !check {
        let path = shell::root().join(LEDGER);
        fs::write(path, &ledger).map_err(|error| format!("{LEDGER}: {error}"))?;
        println!(
            "{} claims, {} pieces of evidence",
            guarantees.claims.len(),
            found.len()
        );
        return Ok(ExitCode::SUCCESS);
    }
    if read(LEDGER)? == ledger {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!(
        "{LEDGER} is not up to date: run `cargo xtask claims`"
    ))
}

/// The ledger as JSON.
fn join(guarantees: &Guarantees, found: &[Evidence]) -> Result<String, String> {
    let mut by_claim: BTreeMap<&str, Vec<&Evidence>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for evidence in found {
        for claim in &evidence.claims {
            if guarantees.claims.iter().any(|known| known.id == *claim) {
                by_claim.entry(claim).or_default().push(evidence);
            } else {
                let Evidence { path, name, .. } = evidence;
                wrong.push(format!(
                    "{path}: {name} is evidence for \"{claim}\", which {GUARANTEES} does not claim"
                ));
            }
        }
    }
    let mut claims = Vec::new();
    for claim in &guarantees.claims {
        let mut own = by_claim.remove(&*claim.id).unwrap_or_default();
        own.sort();
        if own.is_empty() && claim.standing == Standing::Guaranteed {
            wrong.push(format!(
                "{GUARANTEES}: \"{}\" has no evidence and is not marked as a gap",
                claim.id
            ));
        }
        let own: Vec<String> = own.into_iter().map(Evidence::json).collect();
        let list = match own.is_empty() {
            true => "[]".to_owned(),
            false => format!("[\n        {}\n      ]", own.join(",\n        ")),
        };
        claims.push(format!(
            "    {{\n      \"id\": {},\n      \"contract\": {},\n      \"text\": {},\n      \"standing\": {},\n      \"evidence\": {list}\n    }}",
            quoted(&claim.id),
            quoted(&claim.contract),
            quoted(&claim.text),
            quoted(claim.standing.word()),
        ));
    }
    if wrong.is_empty() {
        Ok(format!(
            "{{\n  \"claims\": [\n{}\n  ]\n}}\n",
            claims.join(",\n")
        ))
    } else {
        Err(wrong.join("\n"))
    }
}

/// A string as JSON writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarantees() -> Guarantees {
        let text = "## Guarantees\n\n### C1. Same bits\n\n<a id=\"bits\"></a>Equal \"bits\".\n\n<a id=\"time\" class=\"gap\"></a>In time.\n";
        guarantees::read(text).unwrap()
    }

    fn evidence(claim: &str) -> Evidence {
        let text = format!("/// Evidence: {claim}\n#[test]\nfn they_are_equal() {{}}\n");
        evidence::of_text("crates/a/tests/b.rs", &text)
            .unwrap()
            .remove(0)
    }

    #[test]
    fn a_guarantee_and_its_evidence_meet_and_a_gap_needs_none() {
        let ledger = join(&guarantees(), &[evidence("bits")]).unwrap();
        assert!(ledger.contains("they_are_equal"));
        assert!(ledger.contains(r#""text": "Equal \"bits\".""#), "{ledger}");
        assert!(ledger.contains(r#""standing": "gap""#));
    }

    #[test]
    fn a_guarantee_without_evidence_is_a_failure() {
        let why = join(&guarantees(), &[]).unwrap_err();
        assert!(why.contains("\"bits\" has no evidence"), "{why}");
        assert!(!why.contains("time"));
    }

    #[test]
    fn evidence_for_what_nobody_claims_is_a_failure() {
        let found = [evidence("bits"), evidence("speed")];
        let why = join(&guarantees(), &found).unwrap_err();
        assert!(
            why.contains("they_are_equal is evidence for \"speed\""),
            "{why}"
        );
    }

    #[test]
    fn the_ledger_is_up_to_date() {
        assert_eq!(run(&["--check".to_owned()]), Ok(ExitCode::SUCCESS));
    }
}
