//! The whole way from options to a report, on real sessions.

use std::path::PathBuf;

use unisono_verify::progress::{Progress, Silent};
use unisono_verify::report::{Check, Report, summary};
use unisono_verify::requests::Values;
use unisono_verify::seed::SeedModel;
use unisono_verify::{Effort, Options, SectionId, Verdict, VerifyError, run};

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("unisono-verify-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn quick(models: Vec<PathBuf>) -> Options {
    let mut options = Options::default();
    options.effort = Effort::Quick;
    options.models = models;
    // Those that break nothing on purpose in this process, which other tests share.
    options.sections = vec![SectionId::ThreadSafety, SectionId::Correctness];
    options
}

/// Remembers what it hears.
#[derive(Default)]
struct Heard {
    sections: Vec<String>,
    finished: Vec<String>,
}

impl Progress for Heard {
    fn section(&mut self, title: &str) {
        self.sections.push(title.to_owned());
    }

    fn step(&mut self, _: &str, _: &str, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
    }

    fn finished(&mut self, check: &Check) {
        self.finished.push(check.id.clone());
    }
}

#[test]
fn a_model_file_is_verified_and_the_report_survives_its_json() {
    let folder = Folder::new("mlp");
    let model = folder.file("net.onnx", &SeedModel::Mlp.to_bytes());
    let mut heard = Heard::default();
    let report = run(&quick(vec![model]), &mut heard).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{}", summary(&report));
    assert!(report.is_acceptable());
    assert_eq!(
        heard.sections,
        ["Chapter 1: thread safety", "Chapter 4: correctness"]
    );
    let ids: Vec<String> = report.checks().map(|check| check.id.clone()).collect();
    assert_eq!(heard.finished, ids);
    assert!(
        ids.contains(&"correctness/net/bits/scalar/1".to_owned())
            || report.header.device.threads > 1
    );

    let files = report.write(&folder.0.join("deep/report")).unwrap();
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let read: Report = serde_json::from_str(&text).unwrap();
    // All but the times, which may lose their last bit on the way back from decimal notation.
    assert_eq!(
        (&read.header, &read.models),
        (&report.header, &report.models)
    );
    let checked = |report: &Report| -> Vec<(String, Verdict, u64, Vec<String>)> {
        let checks = report.checks().cloned();
        checks
            .map(|check| (check.id, check.verdict, check.trials, check.notes))
            .collect()
    };
    assert_eq!(checked(&read), checked(&report));

    let shown = summary(&report);
    for line in shown.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(shown.contains("0 wrong"), "{shown}");
}

#[test]
fn equal_seeds_give_equal_digests_and_other_seeds_others() {
    let digests = |seed, threads| {
        let folder = Folder::new(&format!("digest-{seed}-{threads}"));
        let mut options = quick(vec![folder.file("net.onnx", &SeedModel::Mlp.to_bytes())]);
        options.sections = vec![SectionId::ThreadSafety];
        options.seed = seed;
        options.threads = Some(threads);
        let report = run(&options, &mut Silent).unwrap();
        assert_eq!(report.verdict, Verdict::Pass, "{}", summary(&report));
        let model = &report.models[0];
        (
            model.requests_digest.clone().unwrap(),
            model.answers_digest.clone().unwrap(),
        )
    };
    let first = digests(1, 1);
    // Another number of threads, the same bits.
    assert_eq!(first, digests(1, 2));
    let other = digests(2, 1);
    assert!(first.0 != other.0 && first.1 != other.1);
}

#[test]
fn a_file_that_is_no_model_could_not_run_and_others_are_verified_still() {
    let folder = Folder::new("broken");
    let broken = folder.file("broken.onnx", b"not a model");
    let net = folder.file("net.onnx", &SeedModel::Mlp.to_bytes());
    let mut options = quick(vec![broken, net]);
    options.sections = vec![SectionId::ThreadSafety];
    let report = run(&options, &mut Silent).unwrap();
    assert_eq!(report.verdict, Verdict::CouldNotRun);
    assert!(!report.is_acceptable());
    let verdicts: Vec<Verdict> = report.checks().map(|check| check.verdict).collect();
    assert_eq!(verdicts[0], Verdict::CouldNotRun);
    assert!(verdicts.len() > 1 && verdicts[1..].iter().all(|v| *v == Verdict::Pass));
    assert!(summary(&report).contains("COULD-NOT-RUN thread-safety/broken/load"));
}

#[test]
fn options_that_no_model_understands_are_refused_with_what_there_is() {
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = quick(Vec::new());
        change(&mut options);
        match run(&options, &mut Silent) {
            Err(VerifyError::Options(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let input = refused(&|o| o.inputs.values = vec![("z".to_owned(), Values::Constant(1.0))]);
    assert!(input.contains("\"z\"") && input.contains("x"), "{input}");
    let length = refused(&|o| o.inputs.lengths = vec![("sequence".to_owned(), 3)]);
    assert!(length.contains("\"sequence\""), "{length}");
    // The number of rows is what verification chooses itself.
    let rows = refused(&|o| o.inputs.lengths = vec![("batch".to_owned(), 3)]);
    assert!(rows.contains("\"batch\""), "{rows}");
}
