//! A file that is loaded while a model of it lives is the same model, as long as nothing about the file has changed.
#![cfg(unix)]

use std::path::{Path, PathBuf};

use unisono::onnx::write::{Dim, Graph, Model as File, Node, Tensor as Weights, ValueInfo};
use unisono::{Device, LoadOptions, Model, Resource, Tensor};

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes `y = x w` to `path`, by a new file that takes the place of what is there.
fn write(path: &Path, w: Weights) {
    let graph = Graph::new("g")
        .input(ValueInfo::tensor::<f32>(
            "x",
            [Dim::symbol("batch"), Dim::fixed(2)],
        ))
        .output(ValueInfo::untyped("y"))
        .initializer(w)
        .node(
            Node::new("MatMul")
                .name("product")
                .inputs(["x", "w"])
                .outputs(["y"]),
        );
    replace(path, &File::new(17, graph).to_bytes());
}

fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn inside(w: [f32; 2]) -> Weights {
    Weights::of("w", &[2, 1], &w)
}

fn bytes(w: [f32; 2]) -> Vec<u8> {
    w.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What a model that was just loaded answers, and how many models its device has packed by now.
fn ask(model: &Model, device: &Device) -> (f32, u64) {
    let session = model.session(device).unwrap();
    let x = Tensor::from_slice(&[1, 2], &[1f32, 10.0]).unwrap();
    let y = session.run(&x).unwrap()[0].as_slice::<f32>().unwrap()[0];
    (y, device.census().get(Resource::Model).created)
}

#[test]
fn a_file_that_is_loaded_again_shares_its_packed_weights_until_it_is_replaced() {
    let path = folder("loaded-again").join("model.onnx");
    let device = Device::cpu().unwrap();
    write(&path, inside([1.0, 2.0]));
    let first = Model::load(&path).unwrap();
    let session = first.session(&device).unwrap();
    assert_eq!(ask(&first, &device), (21.0, 1));
    // Through a link as well: it is the file that counts.
    let link = path.with_file_name("link.onnx");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(ask(&Model::load(&link).unwrap(), &device), (21.0, 1));

    // Of the same length, so that nothing but the file itself tells them apart.
    write(&path, inside([3.0, 4.0]));
    let second = Model::load(&path).unwrap();
    assert_eq!(ask(&second, &device), (43.0, 2));
    assert_eq!(ask(&first, &device), (21.0, 2));
    drop(session);
}

#[test]
fn a_model_that_nobody_has_any_more_is_loaded_anew_and_so_is_one_with_other_limits() {
    let path = folder("loaded-anew").join("model.onnx");
    let device = Device::cpu().unwrap();
    write(&path, inside([1.0, 2.0]));
    assert_eq!(ask(&Model::load(&path).unwrap(), &device), (21.0, 1));
    let model = Model::load(&path).unwrap();
    let session = model.session(&device).unwrap();
    assert_eq!(ask(&model, &device), (21.0, 2));
    let mut options = LoadOptions::default();
    options.limits.file_bytes = 10;
    assert!(Model::load_with(&path, &options).is_err());
    options.limits.file_bytes = 10_000;
    let other = Model::load_with(&path, &options).unwrap();
    assert_eq!(ask(&other, &device), (21.0, 3));
    drop(session);
}

#[test]
fn external_data_that_is_replaced_makes_another_model() {
    let folder = folder("loaded-external");
    let (path, data) = (folder.join("model.onnx"), folder.join("w.bin"));
    let device = Device::cpu().unwrap();
    write(&path, Weights::external::<f32>("w", &[2, 1], "w.bin", 0, 8));
    replace(&data, &bytes([1.0, 2.0]));
    let first = Model::load(&path).unwrap();
    let session = first.session(&device).unwrap();
    assert_eq!(ask(&first, &device), (21.0, 1));
    assert_eq!(ask(&Model::load(&path).unwrap(), &device), (21.0, 1));
    replace(&data, &bytes([3.0, 4.0]));
    let second = Model::load(&path).unwrap();
    assert_eq!(ask(&second, &device), (43.0, 2));

    // The same model file beside other data: by a link, which leads to the file but not to the data.
    let elsewhere = folder.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&path, elsewhere.join("model.onnx")).unwrap();
    replace(&elsewhere.join("w.bin"), &bytes([5.0, 6.0]));
    let beside = Model::load(elsewhere.join("model.onnx")).unwrap();
    assert_eq!(ask(&beside, &device).0, 65.0);
    drop(session);
}
