//! Tensor data in other files.
//!
//! A model names such a file by a path relative to its own folder. The path must stay inside: it has no `..`, is not
//! absolute, and after all links are followed it still leads into the folder. Files are mapped once each.
//!
//! Format: <https://github.com/onnx/onnx/blob/main/docs/ExternalData.md>.

use crate::error::{OnnxError, OnnxErrorKind, quoted};
use crate::model::SourceFile;
use crate::proto::StringStringEntry;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use unisono_tensor::{ForeignBytes, MappedFile};

/// The files that hold a model's external data.
pub(crate) struct ExternalData<'p> {
    /// What paths are relative to; `None` if the model has no folder.
    base: Option<PathBuf>,
    /// What paths must stay in.
    root: Option<PathBuf>,
    allowed: bool,
    by_location: HashMap<&'p str, SourceFile>,
}

fn bad(what: String) -> OnnxError {
    OnnxError::new(OnnxErrorKind::ExternalData, what)
}

fn escapes(location: &str, why: &str) -> OnnxError {
    OnnxError::new(
        OnnxErrorKind::ExternalDataEscapes,
        format!("the external data file {} {why}", quoted(location)),
    )
    .help("a model may only read files in its own folder; copy the data there, or set `LoadOptions::external_root` if you trust the model")
}

impl<'p> ExternalData<'p> {
    pub(crate) fn new(base: Option<&Path>, root: Option<&Path>, allowed: bool) -> Self {
        Self {
            base: base.map(Path::to_path_buf),
            root: root.or(base).map(Path::to_path_buf),
            allowed,
            by_location: HashMap::new(),
        }
    }

    /// The file that holds a tensor's `bytes` bytes, and where in it they begin.
    pub(super) fn range(
        &mut self,
        entries: &[StringStringEntry<'p>],
        bytes: usize,
    ) -> Result<(Arc<dyn ForeignBytes>, usize), OnnxError> {
        let (mut location, mut offset, mut length) = (None, None, None);
        for entry in entries {
            match entry.key {
                "location" => location = Some(entry.value),
                "offset" => offset = Some(number("offset", entry.value)?),
                "length" => length = Some(number("length", entry.value)?),
                // A checksum of the file says nothing that its map would not.
                _ => {}
            }
        }
        let location = location.ok_or_else(|| {
            bad("the tensor has external data without a location".into())
                .help("export the model again")
        })?;
        let offset = offset.unwrap_or(0);
        if let Some(length) = length
            && length != bytes as u64
        {
            return Err(bad(format!(
                "the tensor needs {bytes} bytes, its external data in {} has length {length}",
                quoted(location)
            ))
            .help("model and data do not belong together; export the model again"));
        }
        let file = self.file(location)?;
        let size = file.bytes().len() as u64;
        let end = offset.checked_add(bytes as u64);
        match (end, usize::try_from(offset)) {
            (Some(end), Ok(start)) if end <= size => Ok((file, start)),
            _ => Err(bad(format!(
                "the tensor needs {bytes} bytes at {offset} of {}, which has {size}",
                quoted(location)
            ))
            .help("the data file was cut off or belongs to another model; fetch both again")),
        }
    }

    fn file(&mut self, location: &'p str) -> Result<Arc<dyn ForeignBytes>, OnnxError> {
        if let Some(file) = self.by_location.get(location) {
            return Ok(file.map.clone());
        }
        if !self.allowed {
            return Err(
                bad(format!("the model keeps data in {}", quoted(location))).help(
                    "external data is switched off; set `LoadOptions::external_data` to allow it",
                ),
            );
        }
        let (Some(base), Some(root)) = (&self.base, &self.root) else {
            return Err(bad(format!(
                "the model keeps data in {}, and it was loaded without a folder",
                quoted(location)
            ))
            .help("load the model by its path, or give the folder of its data"));
        };
        check_location(location)?;
        let missing = |error: std::io::Error| {
            bad(format!(
                "cannot read the external data file {}: {error}",
                quoted(location)
            ))
            .help("put the data file into the model's folder under this name")
        };
        let root = root.canonicalize().map_err(missing)?;
        let path = base.join(location).canonicalize().map_err(missing)?;
        if !path.starts_with(&root) {
            return Err(escapes(
                location,
                "is a link that leaves the model's folder",
            ));
        }
        // Asked before opening, because opening a pipe would wait for somebody to write to it.
        if !path.metadata().map_err(missing)?.is_file() {
            return Err(bad(format!(
                "the external data file {} is not a regular file",
                quoted(location)
            ))
            .help("put the data file into the model's folder under this name"));
        }
        let map = Arc::new(MappedFile::open(&path).map_err(missing)?);
        let file = SourceFile {
            path: base.join(location),
            map: Arc::clone(&map),
        };
        self.by_location.insert(location, file);
        Ok(map)
    }

    /// The files that were read.
    pub(super) fn into_files(self) -> impl Iterator<Item = SourceFile> {
        self.by_location.into_values()
    }
}

/// Refuses paths that leave the folder as they are written. Backslashes count as separators on every system, so that a
/// model is not harmless on one and harmful on another.
fn check_location(location: &str) -> Result<(), OnnxError> {
    if location.is_empty() {
        return Err(
            bad("the location of the external data is empty".into()).help("export the model again")
        );
    }
    let portable = location.replace('\\', "/");
    let has_drive = portable.as_bytes().get(1) == Some(&b':');
    if portable.starts_with('/') || has_drive || Path::new(location).is_absolute() {
        return Err(escapes(location, "has an absolute path"));
    }
    for component in Path::new(&portable).components() {
        match component {
            Component::Normal(_) | Component::CurDir => {}
            Component::ParentDir => {
                return Err(escapes(location, "leads out of the folder with \"..\""));
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err(escapes(location, "has an absolute path"));
            }
        }
    }
    Ok(())
}

fn number(key: &str, text: &str) -> Result<u64, OnnxError> {
    text.parse().map_err(|_| {
        bad(format!(
            "the {key} of the external data is {}, not a number of bytes",
            quoted(text)
        ))
        .help("export the model again")
    })
}
