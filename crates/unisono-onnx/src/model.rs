//! Loading: from a path or from bytes to an [`OnnxModel`].

use crate::error::{OnnxError, OnnxErrorKind};
use crate::foreign;
use crate::limits::{LoadLimits, LoadOptions, exceeded};
use crate::lower::{self, Constants, ExternalData};
use crate::proto;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unisono_graph::Graph;
use unisono_tensor::{ForeignBytes, MappedFile};

/// A model that has been read and checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OnnxModel {
    /// What it computes. Its constants keep the mapped file alive.
    pub graph: Graph,
    /// What the file says about itself.
    pub info: ModelInfo,
    /// The files that it was read from and that are mapped: the model file first, if it was loaded by its path, then those of its
    /// external data.
    pub files: Vec<SourceFile>,
}

/// A mapped file that a model was read from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceFile {
    /// Its path, as it was given or follows from the model's.
    pub path: PathBuf,
    /// Its bytes.
    pub map: Arc<MappedFile>,
}

/// What a model file says about itself. Nothing here changes what the model computes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Version of the file format.
    pub ir_version: i64,
    /// The exporter.
    pub producer_name: String,
    /// The exporter's version.
    pub producer_version: String,
    /// The model's own name space.
    pub domain: String,
    /// The model's own version.
    pub model_version: i64,
    /// Free text about the model.
    pub doc_string: String,
    /// Free text about the graph.
    pub graph_doc_string: String,
    /// Imported operator sets, in the file's order; the default domain is `ai.onnx`.
    pub opsets: Vec<(String, i64)>,
    /// Free key and value pairs.
    pub metadata: Vec<(String, String)>,
    /// How many functions the model defines.
    pub functions: usize,
    /// Bytes of the model file, without external data.
    pub file_bytes: u64,
}

/// Bytes of a model, in whatever form the caller has them.
///
/// Bytes that are already shared (`Arc<dyn ForeignBytes>`) or owned are used in place, a slice is copied once.
pub struct ModelBytes(Arc<dyn ForeignBytes>);

impl From<Vec<u8>> for ModelBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl From<&[u8]> for ModelBytes {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<Arc<dyn ForeignBytes>> for ModelBytes {
    fn from(bytes: Arc<dyn ForeignBytes>) -> Self {
        Self(bytes)
    }
}

/// Loads a model file. Its weights stay in the file, which is mapped into memory and must not be changed while
/// the model lives (see [`MappedFile`]).
///
/// # Errors
/// An [`OnnxError`] for whatever is wrong with the file, its external data, or what it asks for.
pub fn load_file(path: impl AsRef<Path>, options: &LoadOptions) -> Result<OnnxModel, OnnxError> {
    let path = path.as_ref();
    load_path(path, options).map_err(|error| error.in_file(path.display().to_string()))
}

fn load_path(path: &Path, options: &LoadOptions) -> Result<OnnxModel, OnnxError> {
    let io = |error: std::io::Error| {
        OnnxError::new(OnnxErrorKind::Io, error.to_string())
            .help("check the path and the permissions of the file")
    };
    // Asked before opening, because opening a pipe would wait for somebody to write to it.
    let metadata = path.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(
            OnnxError::new(OnnxErrorKind::Io, "this is not a regular file")
                .help("give the path of the .onnx file itself"),
        );
    }
    check_size(metadata.len(), &options.limits)?;
    let map = Arc::new(MappedFile::open(path).map_err(io)?);
    // The parent of a bare file name is the empty path, which means the current folder.
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut model = load(Arc::<MappedFile>::clone(&map), Some(folder), options)?;
    let path = path.to_owned();
    model.files.insert(0, SourceFile { path, map });
    Ok(model)
}

/// Loads a model from memory. `folder` is where its external data lies, if it has any.
///
/// # Errors
/// An [`OnnxError`] for whatever is wrong with the bytes, the external data, or what they ask for.
///
/// ```
/// use unisono_onnx::{LoadOptions, OnnxErrorKind, load_bytes};
///
/// let error = load_bytes(&b"not a model"[..], None, &LoadOptions::default()).unwrap_err();
/// assert_eq!(error.kind(), OnnxErrorKind::Malformed);
/// ```
pub fn load_bytes(
    bytes: impl Into<ModelBytes>,
    folder: Option<&Path>,
    options: &LoadOptions,
) -> Result<OnnxModel, OnnxError> {
    load(bytes.into().0, folder, options)
}

fn check_size(bytes: u64, limits: &LoadLimits) -> Result<(), OnnxError> {
    if bytes > limits.file_bytes {
        return Err(exceeded(
            "bytes in the model file",
            "file_bytes",
            limits.file_bytes,
        ));
    }
    Ok(())
}

fn load(
    file: Arc<dyn ForeignBytes>,
    folder: Option<&Path>,
    options: &LoadOptions,
) -> Result<OnnxModel, OnnxError> {
    let bytes = file.bytes();
    check_size(bytes.len() as u64, &options.limits)?;
    if bytes.is_empty() {
        return Err(
            OnnxError::new(OnnxErrorKind::Truncated, "the file is empty")
                .help("the file was not written or not copied to its end; fetch it again"),
        );
    }
    let model = proto::Model::read(bytes, &mut proto::Context::new(&options.limits))
        .and_then(|model| match model.graph {
            Some(_) => Ok(model),
            None => Err(lower::missing_graph()),
        })
        .map_err(|error| match (error.kind(), foreign::recognise(bytes)) {
            (
                OnnxErrorKind::Malformed
                | OnnxErrorKind::Truncated
                | OnnxErrorKind::MissingGraph
                | OnnxErrorKind::InvalidUtf8,
                Some(advice),
            ) => error.help(advice),
            _ => error,
        })?;
    let info = info(&model, bytes.len() as u64);
    let external = ExternalData::new(
        folder,
        options.external_root.as_deref(),
        options.external_data,
    );
    let (graph, files) = lower::lower(
        &model,
        &options.limits,
        Constants::new(file.clone(), external),
    )?;
    Ok(OnnxModel { graph, info, files })
}

fn info(model: &proto::Model<'_>, file_bytes: u64) -> ModelInfo {
    ModelInfo {
        ir_version: model.ir_version,
        producer_name: model.producer_name.into(),
        producer_version: model.producer_version.into(),
        domain: model.domain.into(),
        model_version: model.model_version,
        doc_string: model.doc_string.into(),
        graph_doc_string: model
            .graph
            .as_ref()
            .map_or("", |graph| graph.doc_string)
            .into(),
        opsets: model
            .opset_imports
            .iter()
            .map(|import| {
                let domain = if import.domain.is_empty() {
                    "ai.onnx"
                } else {
                    import.domain
                };
                (domain.to_owned(), import.version)
            })
            .collect(),
        metadata: model
            .metadata
            .iter()
            .map(|entry| (entry.key.to_owned(), entry.value.to_owned()))
            .collect(),
        functions: model.functions.len(),
        file_bytes,
    }
}
