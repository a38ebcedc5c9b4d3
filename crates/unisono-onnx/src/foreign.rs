//! Files that people take for ONNX models, known by their first bytes.
//!
//! Asked only when reading has failed, to say something more useful than that byte 0 is wrong.

/// What the file is and what to do about it, if it is a known other thing.
pub(crate) fn recognise(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: &[(&[u8], &str)] = &[
        (
            b"version https://git-lfs",
            "this is a Git LFS pointer, not the model itself; fetch it with `git lfs pull`",
        ),
        (
            b"PK\x03\x04",
            "this is a zip archive, perhaps a PyTorch or Keras checkpoint; unpack it, or export the model to ONNX",
        ),
        (
            b"\x1f\x8b",
            "this file is compressed with gzip; decompress it",
        ),
        (
            b"\x28\xb5\x2f\xfd",
            "this file is compressed with zstd; decompress it",
        ),
        (
            b"\x89HDF",
            "this is an HDF5 file, perhaps a Keras model; export the model to ONNX",
        ),
        (b"GGUF", "this is a GGUF model; Unisono reads ONNX"),
        (
            b"\x80\x02",
            "this is a Python pickle, perhaps a PyTorch checkpoint; export the model to ONNX",
        ),
        (
            b"<",
            "this is a web page or XML, perhaps what a failed download left; fetch the model again",
        ),
        (b"{", "this is JSON; give the path of the .onnx file"),
    ];
    if let Some((_, advice)) = STARTS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some(advice);
    }
    match bytes.get(4..8) {
        Some(b"TFL3") => Some("this is a TensorFlow Lite model; convert it to ONNX"),
        Some(b"ORTM") => Some(
            "this is a model in ONNX Runtime's own format; use the .onnx file it was made from",
        ),
        // Safetensors begin with the length of a JSON header.
        _ if bytes.get(8) == Some(&b'{') => Some(
            "this looks like safetensors, which hold weights without a model; export the model to ONNX",
        ),
        _ => None,
    }
}
