use super::*;
use crate::report::tests::{process, report, section};
use crate::report::{ModelRecord, Section};

/// What a run has measured.
struct Run {
    rate: (f64, f64, f64),
    peak: f64,
    p99: (f64, f64, f64),
    calls: f64,
    growth: (f64, f64, f64),
    soak: Verdict,
}

/// A machine on which everything is met: 10 TFLOP/s.
const GOOD: Run = Run {
    rate: (61_000.0, 60_000.0, 62_000.0),
    peak: 10_000.0,
    p99: (1.0, 0.9, 1.1),
    calls: 1_000.0,
    growth: (2.0, -5.0, 9.0),
    soak: Verdict::Pass,
};

fn within(check: &mut Check, name: &str, (value, low, high): (f64, f64, f64), unit: &str) {
    check.figure_within(name, value, unit, (low, high));
}

fn transformer() -> ModelRecord {
    ModelRecord {
        name: "transformer".to_owned(),
        source: "built in: 2 layers".to_owned(),
        parameters: 1_579_520,
        flops_per_row: 100_000_000,
        rows_are_independent: true,
        inputs: Vec::new(),
        default_lengths: Vec::new(),
        requests_digest: None,
        answers_digest: None,
    }
}

fn efficiency(run: &Run) -> Section {
    let mut curve = Check::new(
        "efficiency/transformer/callers",
        "transformer",
        "curve",
        "answers",
    );
    curve.conclude(5_000, 0);
    within(&mut curve, figures::BEST_RATE, run.rate, "samples/s");
    within(&mut curve, &figures::rate(8), run.rate, "samples/s");
    curve.figure(figures::PEAK, run.peak, "GFLOP/s");
    for name in [figures::P99_ALONE, figures::P99_LOADED] {
        within(&mut curve, name, run.p99, "ms");
        curve.figure(&figures::samples_of(name), run.calls, "calls");
    }
    Section {
        checks: vec![curve],
        ..section(SectionId::Efficiency)
    }
}

fn soaked(run: &Run) -> Section {
    let mut memory = Check::new("soak/matmul-128/memory", "matmul-128", "memory", "samples");
    memory.verdict = run.soak;
    within(&mut memory, soak::GROWTH, run.growth, "MB/h");
    Section {
        checks: vec![memory],
        ..section(SectionId::Soak)
    }
}

fn of(run: &Run) -> Report {
    Report {
        models: vec![transformer()],
        sections: vec![efficiency(run), soaked(run)],
        ..report()
    }
}

/// The verdicts by id.
fn verdicts(report: &Report) -> Vec<(String, Verdict)> {
    let checks = check(report).checks;
    let short = |check: &Check| check.id.replace("success-metrics/", "");
    checks
        .iter()
        .map(|check| (short(check), check.verdict))
        .collect()
}

fn verdict(report: &Report, id: &str) -> Verdict {
    let all = verdicts(report);
    all.iter().find(|(found, _)| found == id).unwrap().1
}

#[test]
fn a_machine_that_meets_all_targets_passes_all() {
    let found = verdicts(&of(&GOOD));
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|(_, v)| *v == Verdict::Pass), "{found:?}");
}

#[test]
fn a_target_that_was_missed_is_not_ticked() {
    // The original's own figure.
    let run = Run {
        rate: (48_000.0, 47_500.0, 48_500.0),
        ..GOOD
    };
    assert_eq!(verdict(&of(&run), "throughput/best"), Verdict::Fail);
    assert_eq!(verdict(&of(&run), "throughput/callers"), Verdict::Fail);
    let close = Run {
        rate: (50_100.0, 49_000.0, 51_000.0),
        ..GOOD
    };
    assert_eq!(
        verdict(&of(&close), "throughput/best"),
        Verdict::NotDistinguishable
    );
}

#[test]
fn what_the_peak_does_not_allow_is_out_of_reach_with_the_arithmetic() {
    let run = Run {
        rate: (1_100.0, 1_000.0, 1_200.0),
        peak: 230.0,
        ..GOOD
    };
    let found = check(&of(&run)).checks;
    assert_eq!(found[0].verdict, Verdict::OutOfReach);
    assert!(
        found[0].notes[0].contains("230.0 GFLOP/s"),
        "{:?}",
        found[0].notes
    );
    assert!(
        found[0].notes[0].contains("= 2300 samples/s"),
        "{:?}",
        found[0].notes
    );
}

#[test]
fn a_peak_that_was_measured_beside_a_neighbour_excuses_nothing() {
    let run = Run {
        rate: (1_100.0, 1_000.0, 1_200.0),
        peak: 230.0,
        ..GOOD
    };
    let mut report = of(&run);
    report.header.device.threads = 64;
    let curve = &mut report.sections[0].checks[0];
    curve.figure(figures::PEAK_OF_ONE, 120.0, "GFLOP/s");
    assert_eq!(verdict(&report, "throughput/best"), Verdict::Fail);
}

#[test]
fn a_crash_is_counted_whatever_else_is_well() {
    let mut report = of(&GOOD);
    report.sections[1].process = Some(process(ProcessEnd::Signal));
    assert_eq!(verdict(&report, "crash-rate"), Verdict::Fail);
    report.sections[1].process = Some(process(ProcessEnd::Good));
    let crash_rate = &check(&report).checks[2];
    assert_eq!(
        (crash_rate.verdict, crash_rate.trials),
        (Verdict::Pass, 5_000)
    );
    assert!(crash_rate.rate_bound.is_some());
}

#[test]
fn growth_must_be_certainly_below_and_certainly_above() {
    for (growth, soak, expected) in [
        ((150.0, 120.0, 180.0), Verdict::Fail, Verdict::Fail),
        (
            (150.0, 120.0, 180.0),
            Verdict::NotDistinguishable,
            Verdict::NotDistinguishable,
        ),
        (
            (50.0, -100.0, 200.0),
            Verdict::NotDistinguishable,
            Verdict::NotDistinguishable,
        ),
        ((50.0, 10.0, 99.0), Verdict::Pass, Verdict::Pass),
    ] {
        let run = Run {
            growth,
            soak,
            ..GOOD
        };
        assert_eq!(verdict(&of(&run), "growth"), expected, "{growth:?}");
    }
}

#[test]
fn latency_needs_its_samples_and_its_target() {
    let slow = Run {
        p99: (70.0, 60.0, 80.0),
        ..GOOD
    };
    let unsure = Run {
        p99: (45.0, 40.0, 55.0),
        ..GOOD
    };
    let few = Run {
        calls: 999.0,
        ..GOOD
    };
    for id in ["p99/alone", "p99/load"] {
        assert_eq!(verdict(&of(&slow), id), Verdict::Fail);
        assert_eq!(verdict(&of(&unsure), id), Verdict::NotDistinguishable);
        assert_eq!(verdict(&of(&few), id), Verdict::CouldNotRun);
    }
}

#[test]
fn alone_it_says_which_sections_it_needs() {
    let found = check(&report()).checks;
    assert!(
        found
            .iter()
            .all(|check| check.verdict == Verdict::CouldNotRun)
    );
    let notes: Vec<&String> = found.iter().flat_map(|check| &check.notes).collect();
    for advice in ["--section efficiency", "--section soak"] {
        assert!(notes.iter().any(|note| note.contains(advice)), "{notes:?}");
    }
}

#[test]
fn the_targets_on_speed_are_not_a_users_models() {
    let mut report = of(&GOOD);
    report.models[0].source = "/home/user/net.onnx".to_owned();
    let ids: Vec<String> = verdicts(&report).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["crash-rate", "growth"]);
}
