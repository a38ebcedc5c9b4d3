//! How the program talks: help, usage errors, bad input, exit codes.

mod common;

use common::{Folder, f32s, npy};

#[test]
fn help_teaches_with_examples_and_exit_codes() {
    let folder = Folder::new();
    let help = folder.unisono(&["--help"]).ok().out;
    for text in [
        "Examples:",
        "unisono inspect model.onnx",
        "Exit codes:",
        "bench",
        "completions",
    ] {
        assert!(help.contains(text), "--help does not say {text:?}:\n{help}");
    }
    for command in ["inspect", "run", "bench", "profile", "completions"] {
        let help = folder.unisono(&[command, "--help"]).ok().out;
        assert!(
            help.contains("Examples:"),
            "{command} --help has no examples:\n{help}"
        );
        assert!(help.contains(&format!("unisono {command} ")), "{help}");
    }
    let version = folder.unisono(&["--version"]).ok().out;
    assert!(version.starts_with("unisono "), "{version}");
}

#[test]
fn completions_are_made_for_shells() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.unisono(&["completions", shell]).ok().out;
        assert!(
            script.contains("unisono") && script.contains("inspect"),
            "{shell}"
        );
    }
}

/// A line that does not work, and what standard error must say about it.
type Row<'a> = (&'a [&'a str], &'a [&'a str]);

#[test]
fn what_is_wrong_with_the_input_is_said_without_a_backtrace_and_ends_with_2() {
    let folder = Folder::with_model();
    folder.write("mixing.onnx", &common::softmax_over_rows());
    folder.write("lookup.onnx", &common::lookup());
    folder.write("garbage.onnx", b"this is no model, whatever its name says");
    folder.write("empty.onnx", b"");
    folder.write("good.npy", &npy("<f4", "(1, 3)", &f32s(&[1.0, 2.0, 3.0])));
    folder.write("wide.npy", &npy("<f4", "(1, 4)", &f32s(&[0.0; 4])));
    folder.write("double.npy", &npy("<f8", "(1, 3)", &[0; 24]));
    folder.write("cut.npy", &npy("<f4", "(2, 3)", &[0; 23]));
    folder.write("complex.npy", &npy("<c8", "(1,)", &[0; 8]));
    let table: &[Row<'_>] = &[
        // Usage.
        (&[], &["Usage:"]),
        (&["frobnicate"], &["unrecognized subcommand"]),
        (&["run"], &["MODEL"]),
        (&["run", "model.onnx", "--no-such"], &["--no-such"]),
        (&["bench", "model.onnx", "--callers", "0"], &["--callers"]),
        (&["bench", "model.onnx", "--rows", "two"], &["--rows"]),
        (&["bench", "model.onnx", "--secs", "0"], &["--secs"]),
        (
            &["bench", "model.onnx", "--callers", "2", "--in-flight", "2"],
            &["cannot be used with", "--in-flight"],
        ),
        (
            &["bench", "model.onnx", "--rate", "9", "--in-flight", "2"],
            &["cannot be used with", "--in-flight"],
        ),
        (&["bench", "model.onnx", "--senders", "2"], &["--in-flight"]),
        (&["bench", "model.onnx", "--rate", "inf"], &["--rate"]),
        (&["profile"], &["MODEL"]),
        (&["profile", "model.onnx", "--runs", "0"], &["--runs"]),
        (&["profile", "model.onnx", "--top", "0"], &["--top"]),
        (
            &["profile", "model.onnx", "--by", "color"],
            &["--by", "node, operator"],
        ),
        (
            &["profile", "model.onnx", "--dim", "sequence=3"],
            &["sequence", "the names are batch"],
        ),
        (
            &["profile", "model.onnx", "--dim", "batch=3", "--rows", "2"],
            &["--rows 2", "--dim batch=3", "what to do"],
        ),
        (
            &[
                "profile",
                "model.onnx",
                "--runs",
                "1",
                "--threads",
                "1",
                "--svg",
                "no/such.svg",
            ],
            &["no/such.svg", "what to do"],
        ),
        (
            &["run", "model.onnx", "--isa", "mmx"],
            &["scalar, neon, avx2, avx512"],
        ),
        (&["run", "model.onnx", "--threads", "0"], &["--threads"]),
        (&["run", "model.onnx", "--input", "x"], &["NAME=FILE.npy"]),
        (&["run", "model.onnx", "--int-range", "9:1"], &["LOW:HIGH"]),
        (
            &["run", "model.onnx", "--random", "x=1,b"],
            &["1,3,224,224"],
        ),
        (&["completions", "tcsh2"], &["tcsh2"]),
        // Models.
        (&["inspect", "missing.onnx"], &["error:", "missing.onnx"]),
        (&["inspect", "."], &["error:", "not a regular file"]),
        (&["inspect", "garbage.onnx"], &["error:", "garbage.onnx"]),
        (&["inspect", "empty.onnx"], &["empty", "what to do:"]),
        (&["inspect", "good.npy"], &["error:", "good.npy"]),
        (
            &["inspect", "model.onnx", "--dim", "sequence=3"],
            &["\"sequence\"", "batch"],
        ),
        // Devices.
        (
            &["run", "model.onnx", "--device", "cuda:0", "--threads", "2"],
            &["--threads", "for the CPU", "cuda:0", "--device cpu"],
        ),
        (
            &["run", "model.onnx", "--device", "cuda:0", "--isa", "scalar"],
            &["--isa", "for the CPU", "cuda:0"],
        ),
        (
            &["verify", "--device", "cuda:0", "--threads", "2"],
            &["--threads", "for the CPU", "cuda:0"],
        ),
        (
            &["run", "model.onnx", "--device", "cuda:x"],
            &["no device \"cuda:x\"", "cuda:0", "\"cpu\""],
        ),
        (
            &["verify", "--device", "abacus"],
            &["no device \"abacus\"", "\"cpu\""],
        ),
        (
            &["run", "model.onnx", "--device", "abacus"],
            &["abacus", "\"cpu\""],
        ),
        // Inputs.
        (
            &["run", "model.onnx", "--input", "x=missing.npy"],
            &["missing.npy"],
        ),
        (
            &["run", "model.onnx", "--input", "x=model.onnx"],
            &["not an .npy file", "model.onnx", "numpy.save"],
        ),
        (
            &["run", "model.onnx", "--input", "x=cut.npy"],
            &["24 bytes", "23", "cut.npy"],
        ),
        (
            &["run", "model.onnx", "--input", "x=complex.npy"],
            &["<c8", "astype"],
        ),
        (
            &["run", "model.onnx", "--input", "x=double.npy"],
            &["should be f32 but the array is f64", "astype(\"float32\")"],
        ),
        (
            &["run", "model.onnx", "--input", "x=wide.npy"],
            &["[batch, 3]", "[1, 4]"],
        ),
        (
            &["run", "model.onnx", "--input", "z=good.npy"],
            &["no input \"z\"", "\"x\""],
        ),
        (
            &[
                "run",
                "model.onnx",
                "--input",
                "x=good.npy",
                "--input",
                "x=good.npy",
            ],
            &["twice"],
        ),
        (
            &[
                "run",
                "model.onnx",
                "--input",
                "x=good.npy",
                "--random",
                "x=1,3",
            ],
            &["--input and by --random"],
        ),
        (
            &["run", "model.onnx", "--random", "y=1,3"],
            &["no input \"y\""],
        ),
        (&["run", "model.onnx", "--random", "1,4"], &["[batch, 3]"]),
        (&["run", "model.onnx", "--fill", "x=much"], &["NAME=NUMBER"]),
        (
            &["run", "lookup.onnx", "--random", "1,2"],
            &["\"ids\", \"scale\""],
        ),
        (
            &["run", "lookup.onnx", "--fill", "ids=0.5"],
            &["0.5 is no i64", "\"ids\""],
        ),
        (
            &["run", "lookup.onnx", "--fill", "ids=10"],
            &["error:", "embed"],
        ),
        (
            &[
                "bench",
                "lookup.onnx",
                "--secs",
                "0.05",
                "--callers",
                "2",
                "--int-range",
                "10:10",
            ],
            &["embed"],
        ),
        // Outputs.
        (
            &["run", "model.onnx", "--output-dir", "good.npy"],
            &["good.npy"],
        ),
    ];
    let mut wrong = Vec::new();
    for (arguments, says) in table {
        let ran = folder.unisono(arguments);
        if ran.code != Some(2) {
            wrong.push(format!(
                "{}: exit code {:?}\n{}",
                ran.line, ran.code, ran.err
            ));
        }
        for text in ["backtrace", "panicked", "RUST_BACKTRACE"] {
            if ran.err.contains(text) {
                wrong.push(format!("{}: shows {text:?}\n{}", ran.line, ran.err));
            }
        }
        for text in *says {
            if !ran.err.contains(text) {
                wrong.push(format!("{}: does not say {text:?}\n{}", ran.line, ran.err));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::with_model();
    for arguments in [
        &["inspect", "model.onnx"][..],
        &["run", "model.onnx"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = folder
            .command(arguments)
            .stdout(writer)
            .output()
            .expect("the program starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        assert_eq!(err, "", "{arguments:?}");
    }
}

#[cfg(not(feature = "mutants"))]
#[test]
fn a_build_without_mutants_says_how_to_make_one_that_has() {
    let folder = Folder::new();
    let ran = folder.unisono(&["verify", "--mutants"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    for text in [
        "this build has no mutants",
        "cargo run --release --features mutants -- verify --mutants",
    ] {
        assert!(ran.err.contains(text), "{}", ran.err);
    }
}

#[test]
fn reports_are_written_as_four_files_and_compared() {
    let folder = Folder::new();
    // The section that runs nothing of its own and is always at hand.
    let arguments = ["verify", "--section", "crash-status", "--quiet", "--out"];
    let line = |out: &'static str| [&arguments[..], &[out, "--ledger", "ledger"]].concat();
    folder.unisono(&line("a"));
    folder.unisono(&line("b"));
    for name in [
        "report.json",
        "report.md",
        "report.html",
        "report.junit.xml",
    ] {
        assert!(folder.path("a").join(name).is_file(), "{name}");
    }
    let compare = ["verify", "compare", "a/report.json", "b/report.json"];
    let same = folder.unisono(&compare).ok();
    assert!(
        same.out.ends_with("nothing is worse in B\n"),
        "{}",
        same.out
    );
    assert_eq!(
        folder
            .unisono(&[&compare[..], &["--json"]].concat())
            .ok()
            .json()["worse"],
        false
    );

    let report = String::from_utf8(folder.read("b/report.json")).expect("text");
    let failed = report
        .replace("\"PASS\"", "\"FAIL\"")
        .replace("\"COULD-NOT-RUN\"", "\"FAIL\"");
    folder.write("b/report.json", failed.as_bytes());
    let worse = folder.unisono(&compare);
    assert_eq!(worse.code, Some(1), "{}{}", worse.out, worse.err);
    assert!(worse.out.contains("-> FAIL"), "{}", worse.out);

    folder.write(
        "b/report.json",
        report
            .replacen("\"schema_version\": 1", "\"schema_version\": 7", 1)
            .as_bytes(),
    );
    let other = folder.unisono(&compare);
    assert_eq!(other.code, Some(2), "{}", other.err);
    for text in ["schema version 7", "b/report.json", "what to do"] {
        assert!(other.err.contains(text), "{}", other.err);
    }
    folder.write("b/report.json", b"{}");
    assert!(folder.unisono(&compare).err.contains("not a report"));
}
