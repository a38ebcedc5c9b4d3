//! Loading a model.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use unisono_graph::contract::{Contract, contract};
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_graph::rewrite::{RewriteReport, optimize};
use unisono_graph::{Fact, Graph};
use unisono_onnx::{
    LoadOptions, ModelBytes, ModelInfo, OnnxModel, SourceFile, load_bytes, load_file,
};
use unisono_reference::interpret::{Interpreter, Precision};
use unisono_runtime::Error;
use unisono_runtime::model::{ModelGraph, Port};
use unisono_runtime::session::SessionOptions;
use unisono_tensor::ForeignBytes;

use crate::error::{of_graph, of_inference, of_onnx};
use crate::loaded::{FromFiles, Loaded};
use crate::{Device, Session, Summary};

/// A model: loaded, checked and rewritten, not yet bound to a device. Cheap to clone.
///
/// Its weights stay in the mapped file, which must not be changed while the model lives.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    graph: Arc<ModelGraph>,
    info: ModelInfo,
    loaded: Summary,
    rewritten: Summary,
    rewrites: RewriteReport,
    /// Kept, so that no other file can take their place: see [`crate::loaded`].
    files: Vec<SourceFile>,
}

impl FromFiles for Inner {
    fn files(&self) -> &[SourceFile] {
        &self.files
    }
}

static LOADED: Loaded<Inner> = Loaded::new();

impl Model {
    /// Loads an ONNX file, with default limits on what it may ask for.
    ///
    /// A file that is loaded already with the same limits and has not been changed since is not loaded again: the model is the same,
    /// and so sessions on one device share their packed weights however often a program loads it.
    ///
    /// # Errors
    /// The file cannot be read, is broken, or needs what is not supported. The error names the node, its operator and
    /// opset where it is about one. A model file may come from anybody: whatever it holds, loading ends.
    pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::load_with(path, &LoadOptions::default())
    }

    /// [`Model::load`] with other limits.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model, Error> {
        let path = path.as_ref();
        if let Some(inner) = LOADED.find(path, options) {
            return Ok(Model(inner));
        }
        let model = Model::build(load_file(path, options).map_err(|e| of_onnx(&e))?)?;
        LOADED.remember(path, options, Arc::downgrade(&model.0));
        Ok(model)
    }

    /// Loads a model from memory: a `Vec<u8>`, a slice (copied), or shared bytes of any owner. It may not refer to other
    /// files.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(bytes: impl Into<ModelBytes>) -> Result<Model, Error> {
        Model::from_bytes_with(bytes, None, &LoadOptions::default())
    }

    /// [`Model::from_bytes`] with other limits, and with the folder in which the model's external data lies, if it has
    /// any.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes_with(
        bytes: impl Into<ModelBytes>,
        folder: Option<&Path>,
        options: &LoadOptions,
    ) -> Result<Model, Error> {
        Model::build(load_bytes(bytes, folder, options).map_err(|e| of_onnx(&e))?)
    }

    fn build(onnx: OnnxModel) -> Result<Model, Error> {
        let OnnxModel {
            mut graph,
            info,
            files,
            ..
        } = onnx;
        graph.check().map_err(|e| of_graph(&e))?;
        let loaded = Summary::of(&graph);
        let rewrites = optimize(&mut graph, &Interpreter::new(Precision::Canonical));
        graph.check().map_err(|e| of_graph(&e))?;
        let rewritten = Summary::of(&graph);
        let contract = contract(&graph);
        let facts = output_facts(&graph)?;
        let graph = Arc::new(ModelGraph::new(graph, contract, &facts)?);
        // Reading the file and folding its constants has touched pages of it all over.
        for file in &files {
            file.map.release(0..file.map.bytes().len());
        }
        Ok(Model(Arc::new(Inner {
            graph,
            info,
            loaded,
            rewritten,
            rewrites,
            files,
        })))
    }

    /// What it is given, in the order in which [`Session::run`] takes tensors without names.
    pub fn inputs(&self) -> &[Port] {
        self.0.graph.inputs()
    }

    /// What it gives back, in the order of [`Outputs`](crate::Outputs).
    pub fn outputs(&self) -> &[Port] {
        self.0.graph.outputs()
    }

    /// The batch contract: the proof that rows of a request do not influence each other, or what stands in its way.
    pub fn contract(&self) -> &Contract {
        self.0.graph.contract()
    }

    /// The rewritten graph, as devices run it.
    pub fn graph(&self) -> &Graph {
        self.0.graph.graph()
    }

    /// What the file says about itself: exporter, opsets, versions.
    pub fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    /// The graph in numbers, as the file has it.
    pub fn summary_as_loaded(&self) -> &Summary {
        &self.0.loaded
    }

    /// The graph in numbers, as devices run it.
    pub fn summary(&self) -> &Summary {
        &self.0.rewritten
    }

    /// What the rewrites did between the two.
    pub fn rewrites(&self) -> &RewriteReport {
        &self.0.rewrites
    }

    /// Binds the model to a device. A second session of one model on one device shares its packed weights.
    ///
    /// # Errors
    /// The device has no kernel for an operator of the model, or not enough memory.
    pub fn session(&self, device: &Device) -> Result<Session, Error> {
        self.session_with(device, &SessionOptions::default())
    }

    /// [`Model::session`] with settings.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn session_with(
        &self,
        device: &Device,
        options: &SessionOptions,
    ) -> Result<Session, Error> {
        Session::new(self, device, options)
    }

    pub(crate) fn shared_graph(&self) -> Arc<ModelGraph> {
        Arc::clone(&self.0.graph)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("graph", &self.graph().name())
            .field("inputs", &self.inputs())
            .field("outputs", &self.outputs())
            .finish_non_exhaustive()
    }
}

/// What is known of the outputs when only the inputs' declared types are.
fn output_facts(graph: &Graph) -> Result<Vec<Option<Fact>>, Error> {
    let facts = infer_partial(graph, &declared_inputs(graph)).map_err(of_inference)?;
    let outputs = graph.outputs().iter();
    Ok(outputs
        .map(|id| facts.get(id.index()).cloned().flatten())
        .collect())
}
