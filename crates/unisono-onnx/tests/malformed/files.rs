//! Files that are no ONNX models at all, or only the beginning of one.

use crate::common::{rich, small};
use crate::table::Table;
use std::path::Path;
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::Encoder;
use unisono_onnx::{LoadOptions, load_bytes, load_file};

/// Evidence: hostile-files
#[test]
fn files_that_are_not_onnx_are_refused() {
    let mut table = Table::default();
    table.bytes(
        "empty file",
        Vec::new(),
        Kind::Truncated,
        "the file is empty",
    );
    table.bytes(
        "text",
        b"hello, world, this is no model".to_vec(),
        Kind::Malformed,
        "what to do",
    );
    for (name, start, text) in [
        (
            "zip archive",
            &b"PK\x03\x04\x14\x00"[..],
            "is a zip archive",
        ),
        (
            "Git LFS pointer",
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00", "compressed with gzip"),
        ("web page", b"<!DOCTYPE html><html>", "is a web page"),
        ("GGUF", b"GGUF\x03\x00\x00\x00", "is a GGUF model"),
        (
            "TensorFlow Lite",
            b"\x1c\x00\x00\x00TFL3\x14\x00",
            "TensorFlow Lite",
        ),
    ] {
        table.bytes(name, start.to_vec(), Kind::Malformed, text);
    }
    table.bytes(
        "pickle",
        b"\x80\x02}q\x00".to_vec(),
        Kind::Truncated,
        "Python pickle",
    );
    table.bytes(
        "safetensors",
        b"\x10\x00\x00\x00\x00\x00\x00\x00{\"a\":{}}".to_vec(),
        Kind::Malformed,
        "safetensors",
    );
    table.bytes("zeros", vec![0; 64], Kind::Malformed, "field number 0");
    table.bytes(
        "all ones",
        vec![0xff; 64],
        Kind::Malformed,
        "does not fit in 64 bits",
    );
    let mut overflow = vec![0x08];
    overflow.extend([0xff; 9]);
    overflow.push(0x7f);
    table.bytes(
        "integer of more than 64 bits",
        overflow,
        Kind::Malformed,
        "does not fit in 64 bits",
    );
    table.bytes("group", vec![0x3b, 0x3c], Kind::Malformed, "is a group");
    table.bytes(
        "unknown wire type",
        vec![0x3e],
        Kind::Malformed,
        "unknown wire type 6",
    );
    table.bytes(
        "field number 0",
        vec![0x02, 0x00],
        Kind::Malformed,
        "field number 0",
    );
    table.bytes(
        "graph as a number",
        vec![0x38, 0x01],
        Kind::Malformed,
        "where a length and bytes is expected",
    );
    table.bytes(
        "length beyond the file",
        vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        Kind::Truncated,
        "are left",
    );
    let mut absurd = vec![0x3a];
    absurd.extend([0xff; 9]);
    absurd.push(0x01);
    table.bytes("length of 2^64 - 1", absurd, Kind::Truncated, "are left");
    table.bytes(
        "only unknown fields",
        vec![0xf8, 0x07, 0x01],
        Kind::MissingGraph,
        "no field of the file is a graph",
    );
    let mut twice = small().to_bytes();
    twice.extend(small().to_bytes());
    table.bytes(
        "two models joined",
        twice,
        Kind::Malformed,
        "`graph` occurs twice",
    );
    let mut out = Encoder::new();
    out.bytes(2, b"pytorch \xff\xfe");
    table.bytes(
        "producer that is not UTF-8",
        out.into_bytes(),
        Kind::InvalidUtf8,
        "producer_name",
    );
    table.check();
}

/// Evidence: hostile-files
#[test]
fn every_truncation_of_a_model_is_refused() {
    let mut table = Table::default();
    for (name, model) in [("small", small()), ("rich", rich())] {
        let bytes = model.to_bytes();
        for length in 1..bytes.len() {
            let Err(error) = load_bytes(&bytes[..length], None, &LoadOptions::default()) else {
                // The rich model ends with its function, which is called: every cut before that is seen.
                panic!("{name} cut at {length} of {} was accepted", bytes.len());
            };
            assert!(error.advice().is_some(), "{name} cut at {length}: {error}");
        }
        table.bytes(
            &format!("{name} without its last byte"),
            bytes[..bytes.len() - 1].to_vec(),
            Kind::Truncated,
            "are left",
        );
    }
    table.check();
}

#[test]
fn paths_that_are_no_models_are_refused() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let missing =
        load_file(folder.join("no-such-model.onnx"), &LoadOptions::default()).unwrap_err();
    assert_eq!(missing.kind(), Kind::Io);
    assert!(
        missing.to_string().contains("no-such-model.onnx"),
        "{missing}"
    );
    let error = load_file(folder, &LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let empty = folder.join("empty.onnx");
    std::fs::write(&empty, []).unwrap();
    let error = load_file(&empty, &LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Truncated);
}
