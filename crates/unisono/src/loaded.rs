//! Models that are loaded from files and still in use, so that a program that loads one file twice has its weights once.
//!
//! The one idea: a file that is mapped cannot have become another one. Its number on the device is taken as long as the map is
//! there, and a change leaves its time behind; so whether a path still leads to what was loaded is asked of the system, without
//! reading. In doubt the answer is no, and the file is loaded anew.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, Weak};

use unisono_onnx::{LoadOptions, SourceFile};

/// A list of models: a process has few.
pub(crate) struct Loaded<T>(Mutex<Vec<Entry<T>>>);

struct Entry<T> {
    path: PathBuf,
    options: LoadOptions,
    model: Weak<T>,
}

/// A model that knows its files.
pub(crate) trait FromFiles {
    /// The model file first, then those of its external data.
    fn files(&self) -> &[SourceFile];
}

impl<T: FromFiles> Loaded<T> {
    pub(crate) const fn new() -> Loaded<T> {
        Loaded(Mutex::new(Vec::new()))
    }

    /// The model that loading this file would give again.
    pub(crate) fn find(&self, path: &Path, options: &LoadOptions) -> Option<std::sync::Arc<T>> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|entry| entry.model.strong_count() > 0);
        list.iter()
            .filter(|entry| entry.options == *options)
            .find_map(|entry| {
                let model = entry.model.upgrade()?;
                let [file, external @ ..] = model.files() else {
                    return None;
                };
                // External data is looked for beside the path by which the model is loaded, not beside the file that it leads to.
                let same = file.map.is_at(path)
                    && (external.is_empty() || entry.path == path)
                    && external.iter().all(|file| file.map.is_at(&file.path));
                same.then_some(model)
            })
    }

    /// Remembers a model as long as somebody has it.
    pub(crate) fn remember(&self, path: &Path, options: &LoadOptions, model: Weak<T>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(Entry {
            path: path.to_owned(),
            options: options.clone(),
            model,
        });
    }
}
