//! A case of a small model whose sessions are made by the test.

use std::path::PathBuf;
use std::time::Duration;

use unisono::{DType, Tensor};
use unisono_verify::accuracy::Bound;
use unisono_verify::case::{Case, Machine, Parts};
use unisono_verify::compare::{OutputRows, OutputSpec};
use unisono_verify::oracle::Oracle;
use unisono_verify::progress::Silent;
use unisono_verify::report::{Check, ModelRecord};
use unisono_verify::requests::{InputPlan, RequestMaker, Role, Values};
use unisono_verify::sections::Context;
use unisono_verify::subject::Lab;
use unisono_verify::{Effort, Options, Verdict};

/// The model's answer to one request.
pub type Model = fn(&[Tensor]) -> Vec<Tensor>;

struct Plain(Model);

impl Oracle for Plain {
    fn canonical(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok((self.0)(inputs))
    }

    fn float64(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok((self.0)(inputs))
    }

    fn scattered(&self, inputs: &[Tensor], _: u64) -> Result<Vec<Tensor>, String> {
        Ok((self.0)(inputs))
    }
}

/// Inputs of these names and this shape, whose first axis is the rows', and one output `y` of such rows.
pub fn case(name: &str, inputs: &[&str], shape: &[usize], model: Model, lab: Box<dyn Lab>) -> Case {
    let plan = |name: &&str| InputPlan {
        name: (*name).to_owned(),
        dtype: DType::F32,
        shape: shape.to_vec(),
        role: Role::Rows(0),
        values: Values::Normal,
        picks_from: None,
    };
    // As much as a small dense network's, so that as many requests are made.
    let flops_per_row = 1_000_000;
    let mut case = Case::new(Parts {
        maker: RequestMaker::new(1, inputs.iter().map(plan).collect()),
        outputs: vec![OutputSpec {
            name: "y".into(),
            rows: OutputRows::Along(0),
        }],
        flops_per_row,
        bound: Bound {
            relative: 1e-6,
            roundings: 4.0,
            jumps: Vec::new(),
        },
        lab,
        oracle: Box::new(Plain(model)),
        machine: machine(),
        record: ModelRecord {
            name: name.into(),
            source: "a test".into(),
            parameters: 0,
            flops_per_row,
            rows_are_independent: true,
            inputs: Vec::new(),
            default_lengths: Vec::new(),
            requests_digest: None,
            answers_digest: None,
        },
    });
    case.patience = Duration::from_millis(700);
    case
}

fn machine() -> Machine {
    Machine {
        threads: 2,
        isas: Vec::new(),
    }
}

/// What `section` finds in a quick run.
pub fn quick(section: impl FnOnce(&mut Context<'_>) -> Vec<Check>) -> Vec<Check> {
    let mut options = Options::default();
    options.effort = Effort::Quick;
    // As if these were a user's models: no others are looked for.
    options.models = vec![PathBuf::from("a test")];
    let machine = machine();
    section(&mut Context {
        options: &options,
        machine: &machine,
        progress: &mut Silent,
    })
}

/// A fault, the check that must be red, and a text that it must show.
pub type Caught<F> = (F, &'static str, &'static str);

/// Every fault turns its check red, every check is turned red by a fault, and the honest subject passes them all.
#[allow(dead_code, reason = "not every test program has only such checks")]
pub fn every_fault_is_caught<F: Copy + PartialEq + std::fmt::Debug>(
    honest: F,
    caught: &[Caught<F>],
    verify: impl Fn(F) -> Vec<Check>,
) {
    every_fault_is_caught_but_for_time(honest, caught, verify, &[]);
}

/// The same where some checks need not pass for the honest subject, because they depend on time.
pub fn every_fault_is_caught_but_for_time<F: Copy + PartialEq + std::fmt::Debug>(
    honest: F,
    caught: &[Caught<F>],
    verify: impl Fn(F) -> Vec<Check>,
    timed: &[&str],
) {
    let passed = verify(honest);
    for check in passed.iter().filter(|check| !timed.contains(&&*check.id)) {
        let shown = (&check.id, &check.notes, &check.differences);
        assert_eq!(check.verdict, Verdict::Pass, "{shown:?}");
        assert!(check.trials > 0, "{shown:?}");
        let red = caught.iter().any(|(_, id, _)| *id == check.id);
        assert!(red, "no fault makes {} fail", check.id);
    }
    let mut missed = Vec::new();
    let mut last: Option<(F, Vec<Check>)> = None;
    for (fault, id, text) in caught {
        let checks = match last.take() {
            Some((known, checks)) if known == *fault => checks,
            _ => verify(*fault),
        };
        let (_, checks) = last.insert((*fault, checks));
        let Some(check) = checks.iter().find(|check| check.id == *id) else {
            missed.push(format!("{fault:?}: there is no {id}"));
            continue;
        };
        let shown = format!("{:?} {:?}", check.differences, check.notes);
        let ok = check.verdict == Verdict::Fail && check.failures > 0 && shown.contains(text);
        if !ok || check.rate_bound.is_some() {
            missed.push(format!(
                "{fault:?}: {id} is {:?} and does not show {text:?}: {shown}",
                check.verdict
            ));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
