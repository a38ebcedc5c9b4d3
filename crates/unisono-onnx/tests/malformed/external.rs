//! Data in other files.

use crate::table::{Table, with_weight};
use std::path::Path;
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{Data, Model, Tensor};

/// Evidence: hostile-files
#[test]
fn external_data_is_bounded_by_its_file_and_its_folder() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("malformed-external");
    let folder = root.join("model");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("weights.bin"), vec![0; 64]).unwrap();
    std::fs::write(folder.join("empty.bin"), []).unwrap();
    std::fs::write(root.join("secret.bin"), vec![0; 64]).unwrap();
    let external = |location: &str, offset: u64, length: u64| {
        Tensor::external::<f32>("w", &[4], location, offset, length)
    };
    let entries = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        Tensor::new("w", 1, &[4], Data::External(pairs))
    };
    let mut table = Table::default();
    let t = &mut table;
    t.in_folder(
        "missing",
        &folder,
        external("gone.bin", 0, 16),
        Kind::ExternalData,
        "\"gone.bin\"",
    );
    t.in_folder(
        "past the end",
        &folder,
        external("weights.bin", 52, 16),
        Kind::ExternalData,
        "which has 64",
    );
    t.in_folder(
        "empty file",
        &folder,
        external("empty.bin", 0, 16),
        Kind::ExternalData,
        "which has 0",
    );
    t.in_folder(
        "offset that overflows",
        &folder,
        external("weights.bin", u64::MAX - 4, 16),
        Kind::ExternalData,
        "which has 64",
    );
    t.in_folder(
        "length that is not the tensor's",
        &folder,
        external("weights.bin", 0, 12),
        Kind::ExternalData,
        "has length 12",
    );
    t.in_folder(
        "with ..",
        &folder,
        external("../secret.bin", 0, 16),
        Kind::ExternalDataEscapes,
        "..",
    );
    t.in_folder(
        "with .. inside",
        &folder,
        external("sub/../../secret.bin", 0, 16),
        Kind::ExternalDataEscapes,
        "..",
    );
    t.in_folder(
        "with .. of another system",
        &folder,
        external("..\\secret.bin", 0, 16),
        Kind::ExternalDataEscapes,
        "..",
    );
    t.in_folder(
        "absolute",
        &folder,
        external("/etc/passwd", 0, 16),
        Kind::ExternalDataEscapes,
        "absolute",
    );
    t.in_folder(
        "absolute on another system",
        &folder,
        external("C:\\secret.bin", 0, 16),
        Kind::ExternalDataEscapes,
        "absolute",
    );
    t.in_folder(
        "folder",
        &folder,
        external("sub", 0, 16),
        Kind::ExternalData,
        "not a regular file",
    );
    t.in_folder(
        "empty location",
        &folder,
        external("", 0, 16),
        Kind::ExternalData,
        "location of the external data is empty",
    );
    t.in_folder(
        "name with a zero byte",
        &folder,
        external("a\0b", 0, 16),
        Kind::ExternalData,
        "cannot read",
    );
    t.in_folder(
        "no location",
        &folder,
        entries(&[("offset", "0")]),
        Kind::ExternalData,
        "without a location",
    );
    t.in_folder(
        "negative offset",
        &folder,
        entries(&[("location", "weights.bin"), ("offset", "-4")]),
        Kind::ExternalData,
        "the offset",
    );
    t.in_folder(
        "length in words",
        &folder,
        entries(&[("location", "weights.bin"), ("length", "all")]),
        Kind::ExternalData,
        "the length",
    );
    let strings = Tensor {
        data_type: 8,
        ..entries(&[("location", "weights.bin")])
    };
    t.in_folder(
        "strings",
        &folder,
        strings,
        Kind::InvalidTensor,
        "external data",
    );
    t.graph(
        "no folder",
        with_weight(external("weights.bin", 0, 16)),
        Kind::ExternalData,
        "without a folder",
    );
    let bytes = Model::new(17, with_weight(external("weights.bin", 0, 16))).to_bytes();
    t.limited(
        "switched off",
        bytes,
        |options| options.external_data = false,
        Kind::ExternalData,
        "switched off",
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.bin", folder.join("link.bin")).unwrap();
        std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
        t.in_folder(
            "link that leaves",
            &folder,
            external("link.bin", 0, 16),
            Kind::ExternalDataEscapes,
            "is a link",
        );
        t.in_folder(
            "folder that leaves",
            &folder,
            external("up/secret.bin", 0, 16),
            Kind::ExternalDataEscapes,
            "is a link",
        );
    }
    table.check();
}
