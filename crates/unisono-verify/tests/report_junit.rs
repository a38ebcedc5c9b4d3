//! `report.junit.xml` has the structure of `docs/junit.xsd`, and no verdict looks better in it than it is.
//!
//! The schema is read and applied here, as far as it uses XML Schema: elements by reference, sequences, choices, attributes,
//! a handful of types. What this reader does not know makes it panic, so that the schema cannot say more than is checked.

mod common;

use roxmltree::{Document, Node};
use unisono_verify::Verdict;
use unisono_verify::report::{Report, junit};

const XSD: &str = include_str!("../../../docs/junit.xsd");

fn elements<'a, 'i>(node: Node<'a, 'i>) -> Vec<Node<'a, 'i>> {
    node.children().filter(Node::is_element).collect()
}

fn tag<'a>(node: Node<'a, '_>) -> &'a str {
    node.tag_name().name()
}

fn has_type(value: &str, name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match name {
        "xs:string" => true,
        "xs:nonNegativeInteger" => digits(value),
        "xs:decimal" => value
            .split_once('.')
            .map_or(digits(value), |(a, b)| digits(a) && digits(b)),
        // 2026-01-15T09:24:10
        "xs:dateTime" => {
            value.len() == 19
                && value.bytes().enumerate().all(|(i, b)| match i {
                    4 | 7 => b == b'-',
                    10 => b == b'T',
                    13 | 16 => b == b':',
                    _ => b.is_ascii_digit(),
                })
        }
        other => panic!("the schema has the type {other}"),
    }
}

fn occurs(particle: Node<'_, '_>) -> (usize, usize) {
    let number = |name: &str| match particle.attribute(name) {
        None => 1,
        Some("unbounded") => usize::MAX,
        Some(n) => n.parse().unwrap(),
    };
    (number("minOccurs"), number("maxOccurs"))
}

/// How many of the children, from `at` on, one particle takes; an error if too few.
fn take(particle: Node<'_, '_>, children: &[Node<'_, '_>], mut at: usize) -> Result<usize, String> {
    let names: Vec<&str> = match tag(particle) {
        "element" => vec![particle.attribute("ref").expect("elements by reference")],
        "choice" => elements(particle)
            .iter()
            .map(|e| e.attribute("ref").expect("elements by reference"))
            .collect(),
        other => panic!("the schema has the particle {other}"),
    };
    let (least, most) = occurs(particle);
    let mut taken = 0;
    while taken < most
        && children
            .get(at)
            .is_some_and(|child| names.contains(&tag(*child)))
    {
        taken += 1;
        at += 1;
    }
    if taken < least {
        return Err(format!("{taken} of {names:?}"));
    }
    Ok(at)
}

fn check(schema: &Document<'_>, node: Node<'_, '_>) -> Result<(), String> {
    let name = tag(node);
    let known = elements(schema.root_element());
    let declared = known.iter().find(|e| e.attribute("name") == Some(name));
    let declared = declared.ok_or_else(|| format!("<{name}> is not in the schema"))?;
    let children = elements(node);
    let has_text = node
        .children()
        .any(|c| c.is_text() && !c.text().unwrap_or_default().trim().is_empty());
    if let Some(simple) = declared.attribute("type") {
        return match children.is_empty() && node.attributes().len() == 0 && simple == "xs:string" {
            true => Ok(()),
            false => Err(format!("<{name}> is more than text")),
        };
    }
    let [complex] = elements(*declared)[..] else {
        panic!("{name} has no type")
    };
    if has_text && complex.attribute("mixed") != Some("true") {
        return Err(format!("<{name}> holds text"));
    }
    let mut attributes = Vec::new();
    let mut at = 0;
    for part in elements(complex) {
        match tag(part) {
            "sequence" => {
                for particle in elements(part) {
                    at = take(particle, &children, at).map_err(|why| format!("<{name}>: {why}"))?;
                }
            }
            "attribute" => {
                let of = part.attribute("name").unwrap();
                match node.attribute(of) {
                    None if part.attribute("use") == Some("required") => {
                        return Err(format!("<{name}> has no {of}"));
                    }
                    Some(value) if !has_type(value, part.attribute("type").unwrap()) => {
                        return Err(format!("<{name} {of}=\"{value}\">"));
                    }
                    _ => attributes.push(of),
                }
            }
            other => panic!("the schema has {other}"),
        }
    }
    if let Some(child) = children.get(at) {
        return Err(format!("<{}> has no place here in <{name}>", tag(*child)));
    }
    if let Some(unknown) = node.attributes().find(|a| !attributes.contains(&a.name())) {
        return Err(format!("<{name}> has {}", unknown.name()));
    }
    children
        .into_iter()
        .try_for_each(|child| check(schema, child))
}

fn validity(xml: &str) -> Result<(), String> {
    let document = Document::parse(xml).map_err(|error| error.to_string())?;
    match tag(document.root_element()) {
        "testsuites" => check(&Document::parse(XSD).unwrap(), document.root_element()),
        other => Err(format!("<{other}> at the root")),
    }
}

#[test]
fn reports_of_all_verdicts_are_valid() {
    assert_eq!(validity(&junit(&common::good())), Ok(()));
    assert_eq!(validity(&junit(&common::bad())), Ok(()));
}

#[test]
fn what_the_schema_does_not_have_is_invalid() {
    let good = junit(&common::bad());
    for (from, to) in [
        ("<properties>", "<properties><novelty/>"),
        ("<testcase name=", "<testcase novelty=\"1\" name="),
        (" classname=", " class="),
        ("timestamp=\"2026-", "timestamp=\"26-"),
        (" tests=\"", " tests=\"-"),
        ("</testcase>", "<properties/></testcase>"),
        ("<failure message=", "<failure note="),
        ("</testsuite>", "text</testsuite>"),
        (
            "</testsuites>",
            "<testcase name=\"\" classname=\"\" time=\"0\"/></testsuites>",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(
            validity(&good.replacen(from, to, 1)).is_err(),
            "{from} -> {to}"
        );
    }
}

/// Counts of suites are those of their cases, and each verdict has its element.
fn counts(report: &Report) -> [usize; 4] {
    let xml = junit(report);
    let document = Document::parse(&xml).unwrap();
    let count =
        |node: Node<'_, '_>, tag: &str| node.descendants().filter(|n| n.has_tag_name(tag)).count();
    let told =
        |node: Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse::<usize>().unwrap();
    for suite in document
        .descendants()
        .filter(|n| matches!(tag(*n), "testsuites" | "testsuite"))
    {
        for (name, element) in [
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ] {
            assert_eq!(
                told(suite, name),
                count(suite, element),
                "{name} of {:?}",
                suite.attribute("name")
            );
        }
    }
    ["testcase", "failure", "error", "skipped"].map(|tag| count(document.root_element(), tag))
}

#[test]
fn every_verdict_has_its_element() {
    let good = common::good();
    let checks = good.checks().count();
    let soft = good.checks().filter(|c| c.verdict != Verdict::Pass).count();
    assert_eq!(counts(&good), [checks, 0, 0, soft]);

    // Five checks that the bad report has less or more; two sections without checks; four mutants.
    let bad = common::bad();
    let of = |verdict| bad.checks().filter(|c| c.verdict == verdict).count();
    let [cases, failures, errors, skipped] = counts(&bad);
    assert_eq!(cases, bad.checks().count() + 2 + 4);
    assert_eq!(failures, of(Verdict::Fail) + 1);
    assert_eq!(errors, of(Verdict::CouldNotRun) + 2 + 1);
    assert_eq!(skipped, soft + 1);
}

#[test]
fn a_section_whose_process_died_before_any_check_is_an_error_with_its_last_words() {
    let xml = junit(&common::bad());
    let document = Document::parse(&xml).unwrap();
    let soak = document
        .descendants()
        .find(|n| n.attribute("name") == Some("Soak"))
        .unwrap();
    let error = soak
        .descendants()
        .find(|n| n.has_tag_name("error"))
        .unwrap();
    assert!(error.attribute("message").unwrap().contains("SIGSEGV"));
    assert!(error.text().unwrap().contains("at the disco"));
}

#[test]
fn names_survive_as_text_and_control_characters_as_escapes() {
    let xml = junit(&common::bad());
    let document = Document::parse(&xml).unwrap();
    let values: Vec<&str> = document
        .descendants()
        .filter_map(|n| n.attribute("value"))
        .collect();
    let shown = common::HOSTILE
        .replace('\u{1b}', "\\u{1b}")
        .replace('\0', "\\u{0}")
        .replace('\u{202e}', "\\u{202e}");
    assert!(values.contains(&&*shown), "{values:?}");
}
