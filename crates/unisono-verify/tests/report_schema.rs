//! `report.json` is what `docs/report.schema.json` says, nothing less and nothing more.

mod common;

use jsonschema::Validator;
use serde_json::{Value, json};
use unisono_verify::progress::Silent;
use unisono_verify::report::Report;
use unisono_verify::seed::SeedModel;
use unisono_verify::{Effort, Options, SectionId, run};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../docs/report.schema.json")).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::meta::validate(&schema()).unwrap();
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn value(report: &Report) -> Value {
    serde_json::from_str(&report.to_json().unwrap()).unwrap()
}

#[track_caller]
fn assert_valid(report: &Report) {
    let errors: Vec<String> = validator()
        .iter_errors(&value(report))
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn reports_of_all_verdicts_with_and_without_what_is_optional_are_valid() {
    assert_valid(&common::good());
    assert_valid(&common::bad());
    let mut least = common::good();
    least.models.clear();
    least.sections.clear();
    least.claims.clear();
    least.crashes = None;
    assert_valid(&least);
    let mut gpu = common::good();
    gpu.header.device.driver = Some("CUDA 13.0".to_owned());
    gpu.header.device.state = Some("works".to_owned());
    assert_valid(&gpu);
    let text = unisono_verify::report::markdown(&gpu);
    assert!(
        text.contains("device state") && text.contains("works"),
        "{text}"
    );
}

#[test]
fn the_report_of_a_real_run_is_valid() {
    let name = format!("unisono-schema-{}.onnx", std::process::id());
    let model = std::env::temp_dir().join(name);
    std::fs::write(&model, SeedModel::Mlp.to_bytes()).unwrap();
    let mut options = Options::default();
    options.effort = Effort::Quick;
    options.models = vec![model.clone()];
    options.sections = vec![SectionId::ThreadSafety, SectionId::Status];
    let report = run(&options, &mut Silent);
    std::fs::remove_file(&model).unwrap();
    assert_valid(&report.unwrap());
}

/// Every object of a report, as a pointer to it.
fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(at.to_owned());
            for (name, field) in fields {
                objects(field, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                objects(item, &format!("{at}/{i}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn no_field_can_come_go_or_change_its_type() {
    let validator = validator();
    let good = value(&common::bad());
    let mut places = Vec::new();
    objects(&good, "", &mut places);
    // One of each kind is enough: numbers out of the places.
    let kind =
        |place: &String| -> String { place.chars().filter(|c| !c.is_ascii_digit()).collect() };
    places.sort_by_key(kind);
    places.dedup_by_key(|place| kind(place));
    assert!(places.len() > 15, "{places:?}");
    for place in places {
        let fields: Vec<String> = good
            .pointer(&place)
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let changed = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut report = good.clone();
            change(report.pointer_mut(&place).unwrap().as_object_mut().unwrap());
            validator.is_valid(&report)
        };
        assert!(
            !changed(&|object| drop(object.insert("novelty".to_owned(), json!(1)))),
            "{place}"
        );
        for field in fields {
            assert!(
                !changed(&|object| drop(object.remove(&field))),
                "{place}/{field} is not required"
            );
            let wrong = json!({ "an object": "nowhere" });
            assert!(
                !changed(&|object| drop(object.insert(field.clone(), wrong.clone()))),
                "{place}/{field}"
            );
        }
    }
}

#[test]
fn words_that_are_no_verdict_no_section_and_no_date_are_invalid() {
    let validator = validator();
    for (place, wrong) in [
        ("/verdict", json!("PASSED")),
        ("/schema_version", json!(2)),
        ("/header/date", json!("yesterday")),
        ("/sections/0/id", json!("siesta")),
        ("/sections/1/checks/0/trials", json!(-1)),
        ("/sections/2/charts/0/x/scale", json!("log3")),
        ("/sections/2/charts/0/series/0/points/0", json!([1.0])),
        ("/models/0/answers_digest", json!("xyz")),
    ] {
        let mut report = value(&common::good());
        *report.pointer_mut(place).unwrap() = wrong;
        assert!(!validator.is_valid(&report), "{place}");
    }
}
