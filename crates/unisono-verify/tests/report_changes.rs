//! Comparing two reports: what is worse is seen, what must not differ stands first, and nothing is made up.

mod common;

use unisono_verify::report::{Changes, ReadError, Report};
use unisono_verify::{Effort, SectionId, Verdict};

fn section(report: &mut Report, id: SectionId) -> &mut unisono_verify::report::Section {
    report.sections.iter_mut().find(|s| s.id == id).unwrap()
}

#[test]
fn a_report_has_not_changed_from_itself() {
    let report = common::good();
    let changes = Changes::between(&report, &report);
    assert!(!changes.worse);
    assert!(changes.header.is_empty() && changes.verdicts.is_empty() && changes.figures.is_empty());
    assert!(changes.only_in_a.is_empty() && changes.only_in_b.is_empty());
    assert_eq!(
        changes.to_text().lines().last(),
        Some("nothing is worse in B")
    );
}

#[test]
fn other_answers_to_the_same_requests_break_the_contract_and_stand_first() {
    let a = common::good();
    let mut b = common::good();
    b.header.platform.arch = "aarch64".to_owned();
    section(&mut b, SectionId::Correctness).digests[0].answers = "0000000000000000".to_owned();
    let changes = Changes::between(&a, &b);
    assert!(changes.worse);
    assert_eq!(changes.broken_contract.len(), 1);
    assert!(changes.to_text().starts_with("BROKEN CONTRACT"));
    // Other requests for the same seed are one, too.
    section(&mut b, SectionId::Correctness).digests[0].requests = "0000000000000001".to_owned();
    assert_eq!(Changes::between(&a, &b).broken_contract.len(), 1);
}

#[test]
fn digests_that_may_differ_are_no_fault() {
    let a = common::good();
    let changed: [&dyn Fn(&mut Report); 5] = [
        &|b| b.header.seed = 2,
        &|b| b.header.effort = Effort::Quick,
        &|b| b.header.arithmetic_version = 2,
        &|b| b.models[1].parameters += 1,
        &|b| b.models[1].inputs[0].values = "7 everywhere".to_owned(),
    ];
    for change in changed {
        let mut b = common::good();
        change(&mut b);
        section(&mut b, SectionId::Correctness).digests[0].answers = "0000000000000000".to_owned();
        let changes = Changes::between(&a, &b);
        assert!(!changes.worse, "{}", changes.to_text());
        assert_eq!(changes.not_comparable.len(), 1);
    }
}

#[test]
fn verdicts_that_got_worse_come_first_and_better_ones_harm_nobody() {
    let (a, b) = (common::good(), common::bad());
    let worse = Changes::between(&a, &b);
    assert!(worse.worse);
    let ids: Vec<&str> = worse.verdicts.iter().map(|v| &*v.id).collect();
    for id in ["correctness", "soak", "leak", "churn"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    assert!(
        worse
            .only_in_a
            .contains(&"soak/matmul-128/answers".to_owned())
    );
    assert!(worse.only_in_b.contains(&"churn/pool".to_owned()));
    let better = Changes::between(&b, &a);
    assert!(!better.worse && !better.verdicts.is_empty());

    let mut mixed = common::good();
    section(&mut mixed, SectionId::Platform).checks[7].verdict = Verdict::Pass;
    section(&mut mixed, SectionId::Stress).checks[0].verdict = Verdict::Fail;
    let changes = Changes::between(&a, &mixed);
    let order: Vec<(&str, bool)> = changes.verdicts.iter().map(|v| (&*v.id, v.worse)).collect();
    assert_eq!(
        order,
        [("stress/transformer", true), ("platform/a008", false)]
    );
    assert!(changes.worse);
    for line in changes.to_text().lines().chain(worse.to_text().lines()) {
        assert!(
            line.chars().count() <= 100 && !line.contains('\u{1b}'),
            "{line}"
        );
    }
}

#[test]
fn a_figure_has_changed_only_if_the_intervals_have_nothing_in_common() {
    let a = common::good();
    let mut b = common::good();
    let figures = &mut section(&mut b, SectionId::Batching).checks[0].figures;
    // 4,280 (4,190 to 4,371): overlaps.
    (figures[0].value, figures[0].interval) = (4_400.0, Some((4_371.0, 4_500.0)));
    // 3,952 (3,840 to 4,066): does not.
    (figures[1].value, figures[1].interval) = (1_976.0, Some((1_900.0, 2_050.0)));
    // Without an interval nothing is known.
    (figures[2].value, figures[2].interval) = (10.0, None);
    let changes = Changes::between(&a, &b);
    let [only] = &changes.figures[..] else {
        panic!("{:?}", changes.figures)
    };
    assert_eq!(
        (&*only.name, only.better, only.ratio),
        ("8 callers, coalesced", Some(false), Some(0.5))
    );
    assert!(
        !changes.worse,
        "whether it suffices is a verdict's business"
    );
}

#[test]
fn the_runs_differences_are_told() {
    let a = common::good();
    let mut b = common::good();
    b.header.device.driver = Some("570.1".to_owned());
    b.header.version = "0.2.0".to_owned();
    let changes = Changes::between(&a, &b);
    let names: Vec<&str> = changes.header.iter().map(|h| &*h.name).collect();
    assert_eq!(names, ["unisono", "driver"]);
    assert_eq!(changes.header[1].values.a, "none");
}

#[test]
fn what_is_no_report_is_refused_with_the_reason() {
    let good = common::good().to_json().unwrap();
    assert!(Report::from_json(&good).is_ok());
    let refused = |text: &str| Report::from_json(text).unwrap_err();
    assert!(matches!(refused("<html>"), ReadError::NotJson(_)));
    assert_eq!(refused("{\"a\": 1}"), ReadError::NotAReport);
    assert_eq!(refused("[]"), ReadError::NotAReport);
    assert_eq!(
        refused(&good.replacen("\"schema_version\": 1", "\"schema_version\": 9", 1)),
        ReadError::OtherSchema(9)
    );
    let broken = refused(&good.replacen("\"run_id\"", "\"walk_id\"", 1)).to_string();
    assert!(
        broken.contains("run_id") && broken.contains("line"),
        "{broken}"
    );
}
