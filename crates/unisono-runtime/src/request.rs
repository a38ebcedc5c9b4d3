//! What goes into `run` and what comes out.

use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Instant;
use unisono_tensor::Tensor;

use crate::error::{Error, ErrorKind};
use crate::model::ModelGraph;

/// The tensors of one request, by name or in the model's order.
///
/// Made by `Into` from a tensor (for models with one input), a slice or array of tensors (in order), or a slice or
/// array of `(name, tensor)` pairs. Tensors are reference-counted, so nothing is copied.
#[derive(Clone, Debug, Default)]
pub struct Inputs<'a> {
    entries: SmallVec<[(Option<&'a str>, Tensor); 4]>,
}

impl<'a> Inputs<'a> {
    /// No inputs yet.
    pub fn new() -> Inputs<'a> {
        Inputs::default()
    }

    /// Adds an input by name.
    #[must_use]
    pub fn with(mut self, name: &'a str, tensor: &Tensor) -> Inputs<'a> {
        self.entries.push((Some(name), tensor.clone()));
        self
    }

    /// The tensors in the model's order.
    pub(crate) fn arrange(self, model: &ModelGraph) -> Result<SmallVec<[Tensor; 4]>, Error> {
        let ports = model.inputs();
        let names = || {
            let names: Vec<String> = ports.iter().map(|p| format!("\"{}\"", p.name)).collect();
            names.join(", ")
        };
        let refuse = |what: String| Err(Error::new(ErrorKind::InvalidInput, what));
        if self.entries.len() != ports.len() {
            return refuse(format!(
                "the model has {} inputs ({}) but {} were given",
                ports.len(),
                names(),
                self.entries.len()
            ));
        }
        if self.entries.iter().all(|(name, _)| name.is_none()) {
            return Ok(self.entries.into_iter().map(|(_, tensor)| tensor).collect());
        }
        let mut arranged = SmallVec::new();
        for port in ports {
            let mut found = self
                .entries
                .iter()
                .filter(|(name, _)| *name == Some(&*port.name));
            match (found.next(), found.next()) {
                (Some((_, tensor)), None) => arranged.push(tensor.clone()),
                (None, _) => {
                    let given: Vec<&str> = self.entries.iter().filter_map(|(n, _)| *n).collect();
                    return refuse(format!(
                        "input \"{}\" is missing; given: {given:?}, the model has {}",
                        port.name,
                        names()
                    ));
                }
                (Some(_), Some(_)) => {
                    return refuse(format!("input \"{}\" is given twice", port.name));
                }
            }
        }
        Ok(arranged)
    }
}

impl From<&Tensor> for Inputs<'_> {
    fn from(tensor: &Tensor) -> Self {
        Inputs {
            entries: SmallVec::from_iter([(None, tensor.clone())]),
        }
    }
}

impl From<&[Tensor]> for Inputs<'_> {
    fn from(tensors: &[Tensor]) -> Self {
        Inputs {
            entries: tensors.iter().map(|t| (None, t.clone())).collect(),
        }
    }
}

impl From<&Vec<Tensor>> for Inputs<'_> {
    fn from(tensors: &Vec<Tensor>) -> Self {
        tensors.as_slice().into()
    }
}

impl<const N: usize> From<&[Tensor; N]> for Inputs<'_> {
    fn from(tensors: &[Tensor; N]) -> Self {
        tensors.as_slice().into()
    }
}

impl<'a> From<&[(&'a str, &Tensor)]> for Inputs<'a> {
    fn from(entries: &[(&'a str, &Tensor)]) -> Self {
        Inputs {
            entries: entries
                .iter()
                .map(|(n, t)| (Some(*n), (*t).clone()))
                .collect(),
        }
    }
}

impl<'a, const N: usize> From<[(&'a str, &Tensor); N]> for Inputs<'a> {
    fn from(entries: [(&'a str, &Tensor); N]) -> Self {
        entries.as_slice().into()
    }
}

/// How one request is to be run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// When the answer is no longer wanted. A request that is late before it starts is not run. One that runs by then is
    /// not interrupted; its answer is then an error of kind `DeadlineExceeded` too. Default: none.
    pub deadline: Option<Instant>,
    /// The request joins no batch of more rows than this. Default: only what the session sets.
    pub max_batch_rows: Option<usize>,
}

impl RunOptions {
    /// The defaults.
    pub fn new() -> RunOptions {
        RunOptions::default()
    }

    /// Sets the deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> RunOptions {
        self.deadline = Some(deadline);
        self
    }

    /// Sets how many rows a batch may have that the request joins.
    #[must_use]
    pub fn max_batch_rows(mut self, rows: usize) -> RunOptions {
        self.max_batch_rows = Some(rows);
        self
    }
}

/// The answer to one request: the model's outputs in its order, each with an allocation of its own.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// None until a model has said. An empty list would be one that the whole process shares, with its count of owners.
    pub(crate) names: Option<Arc<[Arc<str>]>>,
    pub(crate) tensors: Vec<Option<Tensor>>,
}

impl Outputs {
    /// An empty holder for `Session::run_into`, which fills it and reuses its tensors from then on.
    pub fn new() -> Outputs {
        Outputs::default()
    }

    /// Makes room for a model's outputs; what is there already stays.
    pub(crate) fn prepare(&mut self, model: &ModelGraph) {
        let names = model.output_names();
        if !self
            .names
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, names))
        {
            self.names = Some(Arc::clone(names));
        }
        self.tensors.resize_with(model.outputs().len(), || None);
    }

    fn names(&self) -> &[Arc<str>] {
        self.names.as_deref().unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The output of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        let index = self.names().iter().position(|n| **n == *name)?;
        self.at(index)
    }

    /// The output at this place in the model's order.
    pub fn at(&self, index: usize) -> Option<&Tensor> {
        self.tensors.get(index)?.as_ref()
    }

    /// Names and tensors.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.names()
            .iter()
            .zip(&self.tensors)
            .filter_map(|(n, t)| Some((&**n, t.as_ref()?)))
    }
}

impl std::ops::Index<usize> for Outputs {
    type Output = Tensor;

    /// The output at this place.
    ///
    /// # Panics
    /// If there are not so many; [`Outputs::at`] does not.
    fn index(&self, index: usize) -> &Tensor {
        match self.at(index) {
            Some(tensor) => tensor,
            None => panic!("there are {} outputs, none at {index}", self.len()),
        }
    }
}

impl std::ops::Index<&str> for Outputs {
    type Output = Tensor;

    /// The output of this name.
    ///
    /// # Panics
    /// If there is none; [`Outputs::get`] does not.
    fn index(&self, name: &str) -> &Tensor {
        match self.get(name) {
            Some(tensor) => tensor,
            None => panic!("there is no output {name:?}; there are {:?}", self.names()),
        }
    }
}
