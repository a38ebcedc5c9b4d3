//! A report made by hand, with everything in it that a report can hold: all verdicts, all kinds of charts, every optional
//! field both present and absent, and names that try to be markup.

use unisono_verify::claims::{Claim, ClaimRecord, Evidence, EvidenceKind, Standing};
use unisono_verify::compare::Difference;
use unisono_verify::report::{
    Axis, Chart, ChartKind, Check, CrashRecord, DeviceRecord, Fate, Header, InputRecord,
    ModelRecord, MutantRecord, MutationRecord, Platform, ProcessEnd, ProcessRecord, Report,
    SCHEMA_VERSION, Scale, Section, SectionDigest, Series, UnbrokenRecord,
};
use unisono_verify::{Effort, SectionId, Verdict};

/// A name as a hostile model file would give it.
pub const HOSTILE: &str =
    "</script><img src=x onerror=alert(1)>|`*_[a](b)\u{1b}[2J\u{0}\u{202e}&amp;]]>\"'";

/// A report of a run in which everything held, with figures as a small machine shows them.
pub fn good() -> Report {
    let sections: Vec<Section> = SectionId::ALL.into_iter().map(section).collect();
    Report {
        schema_version: SCHEMA_VERSION,
        header: Header {
            date: "2026-01-15T09:24:10Z".to_owned(),
            run_id: "20260115T092410Z-1c9a".to_owned(),
            version: "0.1.0".to_owned(),
            commit: Some("0123456789ab".to_owned()),
            compiler: "rustc 1.95.0".to_owned(),
            arithmetic_version: 1,
            platform: Platform {
                os: "linux".to_owned(),
                os_version: "Debian GNU/Linux 12 (bookworm), kernel 6.1.0".to_owned(),
                arch: "x86_64".to_owned(),
                cores: 8,
            },
            device: DeviceRecord {
                id: "cpu".to_owned(),
                name: "A processor with eight cores".to_owned(),
                driver: None,
                state: None,
                threads: 8,
                isa: "avx512".to_owned(),
                available_isas: ["scalar", "avx2", "avx512"].map(str::to_owned).to_vec(),
            },
            seed: 1,
            effort: Effort::Standard,
            sections: SectionId::ALL.to_vec(),
        },
        verdict: Verdict::of_all(sections.iter().map(|section| section.verdict)),
        models: vec![
            model(
                "transformer",
                1_579_520,
                103_000_000,
                Some(("a3f19c02d4b7e856", "5d0c77b1e29f4a38")),
            ),
            model(
                "mlp",
                525_568,
                1_050_000,
                Some(("0b44c1de93a7f215", "c81e5f3a6d2097b4")),
            ),
            model("conv1d", 12_737, 25_900_000, None),
        ],
        sections,
        crashes: Some(CrashRecord {
            ledger: "/home/me/.local/state/unisono/verify-ledger.jsonl".to_owned(),
            runs_before: 12,
            crashes_before: 0,
            crashes_after: 0,
            unended_before: 0,
            trouble: None,
            system_reports_in: vec!["/var/crash".to_owned()],
            system_reports: Vec::new(),
        }),
        claims: claims(),
        mutation: None,
        seconds: 287.4,
    }
}

/// The same with whatever can go wrong, and hostile names wherever a model file's names can come.
pub fn bad() -> Report {
    let mut report = good();
    report.header.commit = None;
    report.header.device.driver = Some("driver 570.1".to_owned());
    report.models[2].name = HOSTILE.to_owned();
    report.models[2].source = HOSTILE.to_owned();
    report.models[2].rows_are_independent = false;
    report.models[2].inputs[0].name = HOSTILE.to_owned();
    report.models[2].inputs[0].rows_axis = None;
    report.models[2].default_lengths = vec![(HOSTILE.to_owned(), 16)];
    for section in &mut report.sections {
        match section.id {
            SectionId::Correctness => {
                let mut check = Check::new(
                    format!("correctness/{HOSTILE}/bits/avx512/1"),
                    HOSTILE,
                    "same bits, avx512, 1 thread",
                    "rows",
                );
                check.conclude(2_176, 256);
                check.notes.push(format!("the model {HOSTILE} was asked"));
                for i in 0..7 {
                    check.differences.push(Difference {
                        during: format!("avx512, 1 thread; caller {i}, request 5 of {HOSTILE}"),
                        output: HOSTILE.to_owned(),
                        row: (i > 0).then_some(6),
                        index: vec![0, 17],
                        found: "1.250000119e-1 (0x3e000001)".to_owned(),
                        expected: "1.250000000e-1 (0x3e000000)".to_owned(),
                        extent: (i > 0).then_some((1, 256)),
                    });
                }
                section.charts.push(Chart {
                    id: format!("correctness/{HOSTILE}"),
                    title: HOSTILE.to_owned(),
                    caption: HOSTILE.to_owned(),
                    kind: ChartKind::Bars,
                    x: axis(HOSTILE, Scale::Log2),
                    y: axis(HOSTILE, Scale::Log10),
                    series: vec![series(HOSTILE, &[(1.0, 2.0), (0.0, 7.0), (4.0, 0.0)])],
                });
                section.checks.push(check);
                section.verdict = Verdict::Fail;
            }
            SectionId::Soak => {
                section.checks.clear();
                section.verdict = Verdict::CouldNotRun;
                section.process = Some(ProcessRecord {
                    end: ProcessEnd::Signal,
                    what: "killed by signal 11 (SIGSEGV)".to_owned(),
                    core_dumped: true,
                    last_words: format!("thread '{HOSTILE}' panicked\nat the disco"),
                    peak_resident_bytes: None,
                });
            }
            SectionId::Churn => {
                let check = Check::new("churn/pool", "", "more callers than lanes", "threads");
                section
                    .checks
                    .push(check.could_not_run("the system refuses to start a thread"));
                section.verdict = Verdict::CouldNotRun;
            }
            SectionId::Leak => {
                section.checks.clear();
                section.charts.clear();
                section.verdict = Verdict::CouldNotRun;
            }
            _ => {}
        }
    }
    report.mutation = Some(mutation());
    report.crashes = report.crashes.map(|crashes| CrashRecord {
        trouble: Some(format!("line 3 is no record: {HOSTILE}")),
        system_reports: vec!["core.unisono".to_owned()],
        ..crashes
    });
    report.verdict = Verdict::of_all(report.sections.iter().map(|section| section.verdict));
    report
}

fn claims() -> Vec<ClaimRecord> {
    let evidence = |kind, name: &str| Evidence {
        kind,
        name: name.to_owned(),
        path: "crates/unisono-runtime/tests/loom.rs".to_owned(),
    };
    let claim = |id: &str, contract: &str, text: &str, standing, evidence| Claim {
        id: id.to_owned(),
        contract: contract.to_owned(),
        text: text.to_owned(),
        standing,
        evidence,
    };
    let bits = vec![
        evidence(EvidenceKind::LoomModel, "a_batch_is_published_whole"),
        evidence(
            EvidenceKind::PropertyTest,
            "products_have_the_bits_of_the_reference",
        ),
        evidence(EvidenceKind::Section, "correctness"),
    ];
    vec![
        ClaimRecord {
            claim: claim(
                "same-bits",
                "C1",
                "A row of an answer has the same bits in any company.",
                Standing::Guaranteed,
                bits,
            ),
            verdict: Some(Verdict::Pass),
            looked_at_by: vec![(SectionId::Correctness, Verdict::Pass)],
        },
        ClaimRecord {
            claim: claim(
                "fork",
                "C6",
                "A fork does not hang the child.",
                Standing::Guaranteed,
                Vec::new(),
            ),
            verdict: None,
            looked_at_by: Vec::new(),
        },
        ClaimRecord {
            claim: claim("neon", "C1", "NEON on hardware.", Standing::Gap, Vec::new()),
            verdict: None,
            looked_at_by: Vec::new(),
        },
        ClaimRecord {
            claim: claim(
                "f64",
                "",
                "Equal bits of f64 tensors across platforms.",
                Standing::NotGuaranteed,
                Vec::new(),
            ),
            verdict: None,
            looked_at_by: Vec::new(),
        },
    ]
}

/// What became of mutants, all fates.
pub fn mutation() -> MutationRecord {
    let mutant = |name: &str, fate, killed_by: &[&str]| MutantRecord {
        name: name.to_owned(),
        broken: "a bell that is rung wakes nobody".to_owned(),
        fate,
        killed_by: killed_by.iter().map(|id| (*id).to_owned()).collect(),
        how: format!("the answer <{HOSTILE}> was another"),
        sections: vec![SectionId::ThreadSafety],
        seconds: 3.5,
    };
    MutationRecord {
        total: 3,
        killed: 1,
        mutants: vec![
            mutant(
                "forgotten-wake-up",
                Fate::Killed,
                &["thread-safety/mlp/callers", "soak/mlp"],
            ),
            mutant("rows-swapped", Fate::Survived, &[]),
            mutant("padding-reads-input", Fate::CouldNotRun, &[]),
            mutant("relaxed-signal", Fate::NotDistinguishable, &[]),
        ],
        sections: vec![UnbrokenRecord {
            section: SectionId::ThreadSafety,
            checks: 12,
            trouble: Some("not green".to_owned()),
            seconds: 2.0,
        }],
        vacuous: vec!["thread-safety/mlp/refused".to_owned()],
        seconds: 60.0,
    }
}

fn axis(label: &str, scale: Scale) -> Axis {
    Axis {
        label: label.to_owned(),
        scale,
    }
}

fn series(name: &str, points: &[(f64, f64)]) -> Series {
    Series {
        name: name.to_owned(),
        points: points.to_vec(),
        band: None,
        dashed: false,
    }
}

fn model(name: &str, parameters: u64, flops: u64, digests: Option<(&str, &str)>) -> ModelRecord {
    ModelRecord {
        name: name.to_owned(),
        source: "built in".to_owned(),
        parameters,
        flops_per_row: flops,
        rows_are_independent: true,
        inputs: vec![InputRecord {
            name: "x".to_owned(),
            dtype: "f32".to_owned(),
            shape: vec![1, 256],
            rows_axis: Some(0),
            values: "normal, mean 0, deviation 1".to_owned(),
        }],
        default_lengths: Vec::new(),
        requests_digest: digests.map(|(requests, _)| requests.to_owned()),
        answers_digest: digests.map(|(_, answers)| answers.to_owned()),
    }
}

fn passed(section: SectionId, id: &str, model: &str, what: &str, unit: &str, trials: u64) -> Check {
    let mut check = Check::new(format!("{section}/{id}"), model, what, unit);
    check.conclude(trials, 0);
    check.seconds = 0.3 + trials as f64 / 40_000.0;
    check
}

fn concluded(section: SectionId, id: &str, what: &str, verdict: Verdict, note: &str) -> Check {
    let mut check = Check::new(format!("{section}/{id}"), "", what, "");
    check.verdict = verdict;
    check.notes.push(note.to_owned());
    check
}

fn section(id: SectionId) -> Section {
    let about = id.description();
    let (checks, charts) = contents(id);
    let digests = match id {
        SectionId::ThreadSafety | SectionId::Correctness => vec![SectionDigest {
            model: "mlp".to_owned(),
            requests: "0b44c1de93a7f215".to_owned(),
            answers: "c81e5f3a6d2097b4".to_owned(),
        }],
        _ => Vec::new(),
    };
    Section {
        id,
        title: about.title.to_owned(),
        proves: about.proves.to_owned(),
        cannot: about.cannot.to_owned(),
        verdict: Verdict::of_all(checks.iter().map(|check| check.verdict)),
        seconds: checks.iter().map(|check| check.seconds).sum::<f64>() + 0.1,
        checks,
        charts,
        digests,
        process: (id == SectionId::ThreadSafety).then(|| ProcessRecord {
            end: ProcessEnd::Good,
            what: "ended by itself".to_owned(),
            core_dumped: false,
            last_words: String::new(),
            peak_resident_bytes: Some(61_000_000),
        }),
    }
}

fn contents(id: SectionId) -> (Vec<Check>, Vec<Chart>) {
    let models = ["transformer", "mlp", "conv1d"];
    match id {
        SectionId::Platform => platform(id),
        SectionId::ThreadSafety => {
            let of = |model: &&str| {
                let mut row = passed(
                    id,
                    &format!("{model}/original"),
                    model,
                    "8 callers x 20 requests",
                    "answers",
                    160,
                );
                row.warnings.push(
                    "the original's callers took turns behind a semaphore; these do not".to_owned(),
                );
                [
                    passed(
                        id,
                        &format!("{model}/callers"),
                        model,
                        "1 to 64 callers at once",
                        "answers",
                        10_240,
                    ),
                    row,
                    passed(
                        id,
                        &format!("{model}/refused"),
                        model,
                        "beside refused requests",
                        "answers",
                        1_280,
                    ),
                ]
            };
            (models.iter().flat_map(of).collect(), Vec::new())
        }
        SectionId::Efficiency => efficiency(id),
        SectionId::Batching => batching(id),
        SectionId::Correctness => {
            let isas = ["scalar", "avx2", "avx512"];
            let bits = models.iter().flat_map(|model| {
                isas.map(|isa| {
                    let (name, what) = (
                        format!("{model}/bits/{isa}/8"),
                        format!("same bits, {isa}, 8 threads"),
                    );
                    passed(id, &name, model, &what, "rows", 17_408)
                })
            });
            let mut checks: Vec<Check> = bits.collect();
            let mut float = passed(id, "mlp/f64", "mlp", "64-bit floats", "rows", 64);
            float.figure("measured", 4.4e-7, "of max|y|");
            float.figure("bound", 2.9e-6, "of max|y|");
            checks.push(float);
            (checks, Vec::new())
        }
        SectionId::Soak => soak(id),
        SectionId::SuccessMetrics => {
            let metric = |id: &str,
                          what: &str,
                          verdict,
                          measured: (f64, &str),
                          target: (f64, &str),
                          note: &str| {
                let mut check = concluded(SectionId::SuccessMetrics, id, what, verdict, note);
                check.figure_within(
                    "measured",
                    measured.0,
                    measured.1,
                    (measured.0 * 0.97, measured.0 * 1.03),
                );
                check.figure("target", target.0, target.1);
                check
            };
            let reach = "The model needs 103 M operations a row; 8 threads of 116 GFLOP/s at most do 9,010 rows a second.";
            let checks = vec![
                metric(
                    "throughput",
                    "throughput",
                    Verdict::OutOfReach,
                    (3_612.0, "samples/s"),
                    (50_000.0, "samples/s"),
                    reach,
                ),
                metric(
                    "crashes",
                    "crash rate",
                    Verdict::Pass,
                    (0.0, "%"),
                    (0.0, "%"),
                    "0 of 15 processes ended badly.",
                ),
                metric(
                    "memory",
                    "memory growth",
                    Verdict::Pass,
                    (0.41, "MB/h"),
                    (100.0, "MB/h"),
                    "Regression over the soak.",
                ),
                metric(
                    "latency",
                    "p99 latency, one caller",
                    Verdict::Pass,
                    (1.38, "ms"),
                    (50.0, "ms"),
                    "160 calls.",
                ),
                metric(
                    "latency-load",
                    "p99 latency, 8 callers",
                    Verdict::Pass,
                    (9.2, "ms"),
                    (50.0, "ms"),
                    "1,600 calls.",
                ),
            ];
            (checks, Vec::new())
        }
        SectionId::Status => {
            let claim = |id: &str, what: &str, note: &str| {
                concluded(SectionId::Status, id, what, Verdict::Pass, note)
            };
            let checks = vec![
                claim(
                    "same-bits",
                    "same bits in any company",
                    "This run: 214,000 rows. Model checker: 14 models of the runtime.",
                ),
                claim(
                    "every-call-ends",
                    "every call ends",
                    "This run: 96 injected faults. Model checker: wake-ups.",
                ),
                claim("mutants", "mutation score", "killed 16 of 16"),
            ];
            (checks, Vec::new())
        }
        _ => {
            let checks = models.map(|model| {
                let mut check = passed(id, model, model, "all of it, whole", "answers", 3_200);
                check.figure_within("throughput", 4_926.0, "ops/s", (4_890.0, 4_961.0));
                check.figure("bytes held in the end", 0.0, "bytes");
                check
            });
            (checks.to_vec(), Vec::new())
        }
    }
}

fn platform(id: SectionId) -> (Vec<Check>, Vec<Chart>) {
    let rows = [
        ("a001", "A.001 shared-event atomicity", 64_000),
        ("a002", "A.002 queue thread safety", 800),
        ("a003", "A.003 sequential consistency", 50_000),
        ("a004", "A.004 host-device memory", 2_048),
        ("a005", "A.005 scoped release", 300),
        ("a006", "A.006 stream isolation", 200),
        ("a007", "A.007 mutex acquire/release", 10_000),
    ];
    let mut checks: Vec<Check> = rows
        .into_iter()
        .map(|(name, what, rounds)| passed(id, name, "", what, "rounds", rounds))
        .collect();
    let mut weak = concluded(
        id,
        "a008",
        "A.008 release/acquire message passing",
        Verdict::NotDistinguishable,
        "The relaxed twin was never seen to go wrong in 200,000 rounds: on this processor every store behaves as a release, \
         so a pass would prove nothing. The model checker's tests show it.",
    );
    weak.conclude(200_000, 0);
    weak.verdict = Verdict::NotDistinguishable;
    checks.push(weak);
    (checks, Vec::new())
}

fn efficiency(id: SectionId) -> (Vec<Check>, Vec<Chart>) {
    let callers = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    let curve = |most: f64, half: f64| -> Vec<(f64, f64)> {
        callers.map(|n: f64| (n, most * n / (n + half))).to_vec()
    };
    let band = |points: &[(f64, f64)]| points.iter().map(|(_, y)| (y * 0.93, y * 1.06)).collect();
    let (shared, apart, law) = (
        curve(4_100.0, 3.1),
        curve(2_350.0, 2.0),
        curve(4_150.0, 3.2),
    );
    let measured = Series {
        band: Some(band(&shared)),
        ..series("coalesced", &shared)
    };
    let alone = Series {
        band: Some(band(&apart)),
        ..series("each alone", &apart)
    };
    let fit = Series {
        dashed: true,
        ..series("scalability law, fitted", &law)
    };
    let most: Vec<(f64, f64)> = callers.map(|n| (n, 4_400.0)).to_vec();
    let ceiling = Series {
        dashed: true,
        ..series("explicit batch of 64", &most)
    };
    let throughput = Chart {
        id: "efficiency/transformer/throughput".to_owned(),
        title: "Callers against throughput, transformer".to_owned(),
        caption: "More callers, more samples a second, until the device's own capacity is reached."
            .to_owned(),
        kind: ChartKind::Lines,
        x: axis("callers", Scale::Log2),
        y: axis("samples/s", Scale::Linear),
        series: vec![measured, alone, fit, ceiling],
    };
    let share = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points
            .iter()
            .map(|(n, y)| (*n, 100.0 * y / 4_400.0))
            .collect()
    };
    let efficiency = Chart {
        id: "efficiency/transformer/efficiency".to_owned(),
        title: "Callers against efficiency, transformer".to_owned(),
        caption: "Throughput as a share of what one caller with the best explicit batch gets."
            .to_owned(),
        kind: ChartKind::Lines,
        x: axis("callers", Scale::Log2),
        y: axis("% of the device's batch capacity", Scale::Linear),
        series: vec![
            series("coalesced", &share(&shared)),
            series("each alone", &share(&apart)),
            Series {
                dashed: true,
                ..series("target", &callers.map(|n| (n, 75.0)))
            },
        ],
    };
    let mut check = passed(
        id,
        "transformer/curve",
        "transformer",
        "1 to 64 callers, throughput",
        "answers",
        12_700,
    );
    check.figure_within(
        "throughput at 64 callers",
        3_911.0,
        "samples/s",
        (3_802.0, 4_020.0),
    );
    check.figure_within("efficiency at 64 callers", 88.9, "%", (86.4, 91.4));
    (vec![check], vec![throughput, efficiency])
}

fn batching(id: SectionId) -> (Vec<Check>, Vec<Chart>) {
    let sizes = [
        (1.0, 31.0),
        (2.0, 12.0),
        (3.0, 20.0),
        (4.0, 55.0),
        (5.0, 92.0),
        (6.0, 240.0),
        (7.0, 611.0),
        (8.0, 905.0),
    ];
    let histogram = Chart {
        id: "batching/transformer/rows".to_owned(),
        title: "Rows of a batch, transformer".to_owned(),
        caption: "How many rows were computed together while 8 callers asked for one row each."
            .to_owned(),
        kind: ChartKind::Bars,
        x: axis("rows in a batch", Scale::Linear),
        y: axis("batches", Scale::Linear),
        series: vec![series("batches", &sizes)],
    };
    let many: Vec<(f64, f64)> = (1..=64)
        .map(f64::from)
        .map(|n| (n, 400.0 * (-(n - 47.0).powi(2) / 90.0).exp()))
        .collect();
    let wide = Chart {
        id: "batching/mlp/rows".to_owned(),
        title: "Rows of a batch, mlp, 64 callers".to_owned(),
        caption: "The same with 64 callers.".to_owned(),
        series: vec![series("batches", &many)],
        ..histogram.clone()
    };
    let mut check = passed(
        id,
        "transformer/legs",
        "transformer",
        "three legs, equally warm",
        "answers",
        7_200,
    );
    check.figure_within(
        "explicit batch of 8",
        4_280.0,
        "samples/s",
        (4_190.0, 4_371.0),
    );
    check.figure_within(
        "8 callers, coalesced",
        3_952.0,
        "samples/s",
        (3_840.0, 4_066.0),
    );
    check.figure_within(
        "8 callers, each alone",
        1_870.0,
        "samples/s",
        (1_801.0, 1_938.0),
    );
    (vec![check], vec![histogram, wide])
}

fn soak(id: SectionId) -> (Vec<Check>, Vec<Chart>) {
    let over = |base: f64, swing: f64| -> Vec<(f64, f64)> {
        // Something that looks like noise and is the same on every machine.
        let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 22) / 1024.0;
        (0..60)
            .map(|i| (f64::from(i), base + swing * noise(i)))
            .collect()
    };
    let latency = Chart {
        id: "soak/matmul-128/latency".to_owned(),
        title: "Latency over the soak".to_owned(),
        caption: "What a caller waited, second by second, with 8 callers.".to_owned(),
        kind: ChartKind::Lines,
        x: axis("s", Scale::Linear),
        y: axis("ms", Scale::Log10),
        series: vec![
            series("p50", &over(0.72, 0.12)),
            series("p99", &over(2.1, 0.9)),
            series("p99.9", &over(4.4, 5.0)),
        ],
    };
    let line: Vec<(f64, f64)> = [(0.0, 41.22), (59.0, 41.227)].to_vec();
    let memory = Chart {
        id: "soak/matmul-128/memory".to_owned(),
        title: "Memory over the soak".to_owned(),
        caption: "Resident memory of the process, and the line through it.".to_owned(),
        kind: ChartKind::Lines,
        x: axis("s", Scale::Linear),
        y: axis("MiB", Scale::LinearFromLowest),
        series: vec![
            series("resident", &over(41.2, 0.05)),
            Series {
                dashed: true,
                ..series("regression", &line)
            },
        ],
    };
    let mut check = passed(
        id,
        "matmul-128/answers",
        "matmul-128",
        "8 callers for 60 s",
        "answers",
        488_570,
    );
    check.figure_within("rate", 8_141.0, "ops/s", (8_102.0, 8_180.0));
    check.figure_within("memory slope", 0.41, "MB/h", (-0.22, 1.04));
    check.figure("smallest leak that would be seen", 1.3, "MB/h");
    (vec![check], vec![latency, memory])
}
