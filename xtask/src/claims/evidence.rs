//! Finds evidence where it stands: above a test, above a section's description, or at the head of a file.

use std::fs;
use std::path::Path;

use super::quoted;
use crate::shell;

/// What kind of thing it is, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Loom,
    Shuttle,
    Property,
    Fuzz,
    Integration,
    Unit,
    Example,
    Section,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Loom => "loom-model",
            Kind::Shuttle => "shuttle-test",
            Kind::Property => "property-test",
            Kind::Fuzz => "fuzz-target",
            Kind::Integration => "integration-test",
            Kind::Unit => "unit-test",
            Kind::Example => "example",
            Kind::Section => "section",
        }
    }
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evidence {
    pub kind: Kind,
    pub path: String,
    /// The test's, the section's, or the file's.
    pub name: String,
    pub claims: Vec<String>,
}

impl Evidence {
    pub fn json(&self) -> String {
        format!(
            "{{ \"kind\": {}, \"name\": {}, \"path\": {} }}",
            quoted(self.kind.word()),
            quoted(&self.name),
            quoted(&self.path)
        )
    }
}

const MARK: &str = "Evidence: ";

/// All evidence in the Rust files of a folder of the repository.
///
/// # Errors
/// If a file cannot be read, or holds a line of evidence that belongs to nothing.
pub fn of_folder(folder: &str, found: &mut Vec<Evidence>) -> Result<(), String> {
    let at = shell::root().join(folder);
    let failed = |error: std::io::Error| format!("{folder}: {error}");
    let mut names = Vec::new();
    for entry in fs::read_dir(&at).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        names.push((entry.file_name().to_string_lossy().into_owned(), is_folder));
    }
    names.sort();
    for (name, is_folder) in names {
        let path = format!("{folder}/{name}");
        if is_folder {
            if name != "target" {
                of_folder(&path, found)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(at.join(&name)).map_err(failed)?;
            found.extend(of_text(&path, &text)?);
        }
    }
    Ok(())
}

/// The evidence in one file.
///
/// # Errors
/// If a line of evidence belongs to nothing.
pub fn of_text(path: &str, text: &str) -> Result<Vec<Evidence>, String> {
    let mut found = Vec::new();
    // What waits for the test that it stands above.
    let mut waiting: Vec<String> = Vec::new();
    let (mut in_loom, mut section) = (false, None::<Vec<String>>);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[cfg(") && line.contains("test") {
            in_loom = line.contains("loom") && !line.contains("not(");
        }
        if let Some(claims) = line
            .strip_prefix("//! ")
            .and_then(|rest| rest.strip_prefix(MARK))
        {
            found.push(Evidence {
                kind: kind(path, "", in_loom),
                path: path.to_owned(),
                name: stem(path),
                claims: list(claims),
            });
        } else if let Some(comment) = line.strip_prefix("///").or(line.strip_prefix("//")) {
            if let Some(claims) = comment.trim_start().strip_prefix(MARK) {
                waiting.extend(list(claims));
            }
        } else if let (Some(claims), Some(name)) = (&section, quoted_name(line)) {
            found.push(Evidence {
                kind: Kind::Section,
                path: path.to_owned(),
                name,
                claims: claims.clone(),
            });
            section = None;
        } else if line.contains("const DESCRIPTION") && !waiting.is_empty() {
            section = Some(std::mem::take(&mut waiting));
        } else if let (Some(name), false) = (function(line), waiting.is_empty()) {
            found.push(Evidence {
                kind: kind(path, text_from(text, line), in_loom),
                path: path.to_owned(),
                name,
                claims: std::mem::take(&mut waiting),
            });
        } else if !line.starts_with("#[") && !waiting.is_empty() {
            break;
        }
    }
    match waiting.is_empty() && section.is_none() {
        true => Ok(found),
        false => Err(format!(
            "{path}: evidence for {} belongs to no test",
            waiting.join(", ")
        )),
    }
}

fn list(claims: &str) -> Vec<String> {
    let claims = claims.trim_end_matches('.').split(',');
    claims.map(|claim| claim.trim().to_owned()).collect()
}

/// The name in `fn name(`.
fn function(line: &str) -> Option<String> {
    let (before, rest) = line.split_once("fn ")?;
    let is_start = before
        .split_whitespace()
        .all(|word| matches!(word, "pub" | "async" | "pub(crate)"));
    is_start.then(|| rest.split(['(', '<']).next().unwrap_or_default().to_owned())
}

/// The name in `name: "name",`.
fn quoted_name(line: &str) -> Option<String> {
    let name = line.strip_prefix("name: \"")?;
    Some(name.split('"').next().unwrap_or_default().to_owned())
}

/// The text from this line on.
fn text_from<'a>(text: &'a str, line: &str) -> &'a str {
    text.find(line).map_or("", |at| &text[at..])
}

fn stem(path: &str) -> String {
    let stem = Path::new(path).file_stem();
    stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// What kind of test begins here.
fn kind(path: &str, body: &str, in_loom: bool) -> Kind {
    let stem = stem(path);
    // A property test draws its arguments: `fn holds(x in 0..9) {`.
    let arguments = body.split('{').next().unwrap_or_default();
    match () {
        () if path.starts_with("fuzz/") => Kind::Fuzz,
        () if path.contains("/examples/") => Kind::Example,
        () if stem.contains("loom") || in_loom => Kind::Loom,
        () if stem.starts_with("shuttle") => Kind::Shuttle,
        () if arguments.contains(" in ") => Kind::Property,
        () if path.contains("/tests/") && !path.contains("/src/") => Kind::Integration,
        () => Kind::Unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(path: &str, text: &str) -> Vec<(Kind, String)> {
        let found = of_text(path, text).unwrap();
        found.into_iter().map(|e| (e.kind, e.name)).collect()
    }

    #[test]
    fn evidence_belongs_to_the_test_that_it_stands_above() {
        let text = "/// Why.\n/// Evidence: a, b-c\n#[test]\nfn it_holds() {}\n\n#[test]\nfn another() {}\n";
        let found = of_text("crates/x/tests/y.rs", text).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].claims, ["a", "b-c"]);
        assert_eq!(
            (found[0].kind, &*found[0].name),
            (Kind::Integration, "it_holds")
        );
    }

    #[test]
    fn kinds_follow_from_place_and_form() {
        let loom = "#[cfg(all(test, loom))]\nmod models {\n    /// Evidence: a\n    #[test]\n    fn m() {}\n}\n";
        assert_eq!(
            kinds("crates/x/src/y.rs", loom),
            [(Kind::Loom, "m".to_owned())]
        );
        let unit = "#[cfg(all(test, not(loom)))]\nmod tests {\n    // Evidence: a\n    #[test]\n    fn u() {}\n}\n";
        assert_eq!(
            kinds("crates/x/src/y.rs", unit),
            [(Kind::Unit, "u".to_owned())]
        );
        let property = "/// Evidence: a\n#[test]\nfn p(\n    x in 0..9,\n) {\n}\n";
        assert_eq!(
            kinds("crates/x/src/y.rs", property),
            [(Kind::Property, "p".to_owned())]
        );
        let section = "/// Evidence: a\npub const DESCRIPTION: Description = Description {\n    name: \"soak\",\n";
        assert_eq!(
            kinds("crates/x/src/y.rs", section),
            [(Kind::Section, "soak".to_owned())]
        );
        let file = "//! Any bytes.\n//!\n//! Evidence: a\n";
        assert_eq!(
            kinds("fuzz/fuzz_targets/load.rs", file),
            [(Kind::Fuzz, "load".to_owned())]
        );
        assert_eq!(
            kinds("crates/x/tests/shuttle_y.rs", file),
            [(Kind::Shuttle, "shuttle_y".to_owned())]
        );
    }

    #[test]
    fn evidence_that_belongs_to_nothing_is_a_failure() {
        for text in [
            "/// Evidence: a\n",
            "/// Evidence: a\nstruct X;\nfn y() {}\n",
        ] {
            assert!(of_text("crates/x/src/y.rs", text).is_err(), "{text}");
        }
    }
}
