//! ONNX's messages to a [`Graph`]: names become values, functions are inlined, bodies of control flow are closed.
//!
//! The one idea: a *scope* maps names to values, a *building* collects the nodes of one graph. The model's graph and each
//! body of control flow have both; a function that is inlined has a scope of its own but builds into its caller's
//! graph. A name that a body does not define is looked up one scope further out. A constant found there is shared with
//! the body, so that its users still see a constant; any other value becomes one more input of the body (a *capture*).
//!
//! Whatever grows beyond the file (inlining) is charged to [`LoadLimits`](crate::LoadLimits). Recursion is bounded by
//! the nesting limit. Operators that Unisono does not have are all collected before the model is refused.

mod budget;
mod constants;
mod external;
mod functions;
mod node;
mod opsets;
mod order;
mod scope;
mod types;
mod unsupported;

pub(crate) use constants::Constants;
pub(crate) use external::ExternalData;
pub use opsets::OPSETS;

use crate::error::{Located, OnnxError, OnnxErrorKind, quoted};
use crate::limits::{LoadLimits, exceeded};
use crate::model::SourceFile;
use crate::proto;
use budget::Budget;
use functions::{Definition, Functions};
use opsets::Imports;
use scope::{Building, Scope, Site};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use types::Declared;
use unisono_graph::attribute::Subgraph;
use unisono_graph::{Graph, ValueId};
use unsupported::Unsupported;

/// Turns one model into a graph.
pub(crate) struct Lowerer<'p> {
    limits: &'p LoadLimits,
    budget: Budget<'p>,
    constants: Constants<'p>,
    functions: Functions<'p>,
    unsupported: Unsupported,
    /// What names mean here.
    scope: Scope<'p>,
    /// The scopes around it, innermost last.
    outer_scopes: Vec<Scope<'p>>,
    /// The graph that nodes go into.
    building: Building,
    /// The graphs around it, innermost last; a scope names its building by position.
    outer_buildings: Vec<Building>,
    /// Functions that are being inlined, outermost first.
    calls: Vec<Rc<Definition<'p>>>,
}

/// The error for a file that is sound protobuf and no model.
pub(crate) fn missing_graph() -> OnnxError {
    OnnxError::new(
        OnnxErrorKind::MissingGraph,
        "no field of the file is a graph",
    )
    .help(
        "check that the file is an ONNX model (.onnx), not weights or a model of another framework",
    )
}

/// Lowers the model's graph. Gives the files of external data that were read as well.
pub(crate) fn lower<'p>(
    model: &'p proto::Model<'p>,
    limits: &'p LoadLimits,
    constants: Constants<'p>,
) -> Result<(Graph, Vec<SourceFile>), OnnxError> {
    let graph = model.graph.as_ref().ok_or_else(missing_graph)?;
    let imports = Rc::new(Imports::new(&model.opset_imports)?);
    let mut lowerer = Lowerer {
        limits,
        budget: Budget::new(limits),
        constants,
        functions: Functions::new(&model.functions, &imports)?,
        unsupported: Unsupported::default(),
        scope: Scope::model(imports),
        outer_scopes: Vec::new(),
        building: Building::new(graph.name),
        outer_buildings: Vec::new(),
        calls: Vec::new(),
    };
    lowerer.fill(graph).within("graph")?;
    lowerer.unsupported.into_result()?;
    let graph = lowerer.building.graph;
    graph.check().map_err(|error| {
        OnnxError::new(OnnxErrorKind::InvalidGraph, error.to_string())
            .within("graph")
            .help("this graph passed the reader's own checks; please report the model")
    })?;
    Ok((graph, lowerer.constants.into_files().collect()))
}

impl<'p> Lowerer<'p> {
    /// Runs `inner` in a new scope, one level deeper, and comes back to this one whatever happens.
    fn scoped(
        &mut self,
        scope: Scope<'p>,
        inner: impl FnOnce(&mut Self) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        if self.outer_scopes.len() >= self.limits.deepest() {
            return Err(exceeded(
                "levels of nesting",
                "nesting",
                self.limits.deepest(),
            ));
        }
        self.outer_scopes
            .push(std::mem::replace(&mut self.scope, scope));
        let result = inner(self);
        if let Some(outer) = self.outer_scopes.pop() {
            self.scope = outer;
        }
        result
    }

    /// Lowers a body of control flow; gives its graph and the values of the current graph that it captures. `prefix` is
    /// its node's name.
    fn body(
        &mut self,
        graph: &'p proto::Graph<'p>,
        prefix: String,
        site: Site<'p>,
    ) -> Result<(Graph, Vec<ValueId>), OnnxError> {
        let outer = std::mem::replace(&mut self.building, Building::new(graph.name));
        self.outer_buildings.push(outer);
        let scope = self.scope.body(self.outer_buildings.len(), prefix, site);
        let result = self.scoped(scope, |this| this.fill(graph));
        let inner = match self.outer_buildings.pop() {
            Some(outer) => std::mem::replace(&mut self.building, outer),
            None => Building::new(""),
        };
        result?;
        Ok((inner.graph, inner.captures))
    }

    fn fill(&mut self, graph: &'p proto::Graph<'p>) -> Result<(), OnnxError> {
        let defined = self.definitions(graph)?;
        let is_model = self.outer_scopes.is_empty();

        let initializers: HashSet<&str> = graph
            .initializers
            .iter()
            .map(|tensor| tensor.name)
            .collect();
        for (index, input) in graph.inputs.iter().enumerate() {
            // Before IR version 4 every initializer had to be an input too. Both spellings mean a constant here.
            if !initializers.contains(input.name) {
                self.input(input, is_model).map_err(|error| {
                    error.within(format!("input[{index}] {}", quoted(input.name)))
                })?;
            }
        }
        for (index, tensor) in graph.initializers.iter().enumerate() {
            let constant = self
                .constants
                .tensor(tensor, &mut self.budget)
                .map_err(|error| {
                    error.within(format!("initializer[{index}] {}", quoted(tensor.name)))
                })?;
            self.define_constant(tensor.name, constant)?;
        }

        let mut declared = HashMap::new();
        for info in graph.value_infos.iter().chain(&graph.outputs) {
            if let Some(value_type) = &info.value_type {
                declared.insert(info.name, value_type);
            }
        }
        self.scope.declared = declared;

        self.nodes(&graph.nodes, &defined)?;
        self.outputs(graph)
    }

    /// The names of inputs and initializers, which must differ from each other; all names of the graph are reserved.
    fn definitions(&mut self, graph: &'p proto::Graph<'p>) -> Result<HashSet<&'p str>, OnnxError> {
        let duplicate = |what: &str, name: &str| {
            OnnxError::new(
                OnnxErrorKind::DuplicateName,
                format!("two {what} have the name {}", quoted(name)),
            )
            .help("names of a graph's values must be unique; export the model again with a current exporter")
        };
        let unnamed = |what: &str| {
            OnnxError::new(OnnxErrorKind::InvalidGraph, format!("{what} has no name"))
                .help("export the model again with a current exporter")
        };
        let mut inputs = HashSet::new();
        for (index, input) in graph.inputs.iter().enumerate() {
            if input.name.is_empty() {
                return Err(unnamed("a graph input").within_item("input", index));
            }
            if !inputs.insert(input.name) {
                return Err(duplicate("graph inputs", input.name).within_item("input", index));
            }
        }
        let mut initializers = HashSet::new();
        for (index, tensor) in graph.initializers.iter().enumerate() {
            if tensor.name.is_empty() {
                return Err(unnamed("an initializer").within_item("initializer", index));
            }
            if !initializers.insert(tensor.name) {
                return Err(
                    duplicate("initializers", tensor.name).within_item("initializer", index)
                );
            }
        }
        inputs.extend(initializers);
        let outputs = graph.nodes.iter().flat_map(|node| &node.outputs);
        for name in inputs.iter().chain(outputs) {
            self.budget.charge(name.len())?;
            self.building.reserve(name);
        }
        Ok(inputs)
    }

    fn input(&mut self, input: &'p proto::ValueInfo<'p>, is_model: bool) -> Result<(), OnnxError> {
        let declared = types::declared(input.value_type.as_ref(), self.limits)?;
        let name = input.name;
        let graph = &mut self.building.graph;
        let id = match declared {
            Declared::Tensor(tensor) => graph.add_input(name, tensor),
            // The inputs of a body have the types of what its node passes.
            Declared::Nothing if !is_model => {
                let id = graph.add_value(name, None);
                graph.push_input(id);
                id
            }
            Declared::Nothing => {
                return Err(OnnxError::new(
                    OnnxErrorKind::InvalidGraph,
                    "the graph input has no element type",
                )
                .help(
                    "export the model again; every input of the model must declare a tensor type",
                ));
            }
            Declared::Other(what) => {
                return Err(OnnxError::new(
                    OnnxErrorKind::UnsupportedType,
                    format!("the graph input is {what}"),
                )
                .help("export the model so that its inputs are dense tensors of supported types"));
            }
        };
        self.scope.values.insert(name, Some(id));
        Ok(())
    }

    fn outputs(&mut self, graph: &'p proto::Graph<'p>) -> Result<(), OnnxError> {
        let mut outputs = Vec::with_capacity(graph.outputs.len());
        let mut names = HashSet::new();
        for (index, info) in graph.outputs.iter().enumerate() {
            let place =
                |error: OnnxError| error.within(format!("output[{index}] {}", quoted(info.name)));
            if let Declared::Other(what) =
                types::declared(info.value_type.as_ref(), self.limits).map_err(place)?
            {
                return Err(place(
                    OnnxError::new(
                        OnnxErrorKind::UnsupportedType,
                        format!("the graph output is {what}"),
                    )
                    .help(
                        "export the model so that its outputs are dense tensors of supported types",
                    ),
                ));
            }
            // A body may give one value twice; a model's outputs are found by name.
            if !names.insert(info.name) && self.outer_scopes.is_empty() {
                return Err(place(
                    OnnxError::new(
                        OnnxErrorKind::DuplicateName,
                        format!("two graph outputs have the name {}", quoted(info.name)),
                    )
                    .help("give every output its own name when exporting"),
                ));
            }
            match self.resolve(info.name)? {
                Some(Some(id)) => outputs.push(id),
                _ => {
                    return Err(place(
                        OnnxError::new(
                            OnnxErrorKind::UndefinedValue,
                            "no node, initializer or input produces the graph output",
                        )
                        .help("the model is incomplete; export it again"),
                    ));
                }
            }
        }
        if outputs.is_empty() && self.outer_scopes.is_empty() {
            return Err(
                OnnxError::new(OnnxErrorKind::InvalidGraph, "the graph has no outputs")
                    .help("a model must compute something; export it again"),
            );
        }
        self.building.graph.set_outputs(outputs);
        Ok(())
    }

    /// Lowers nodes in an order in which each comes after those that it reads.
    fn nodes(
        &mut self,
        nodes: &'p [proto::Node<'p>],
        defined: &HashSet<&'p str>,
    ) -> Result<(), OnnxError> {
        for index in order::execution_order(nodes, defined)? {
            if let Some(node) = nodes.get(index) {
                self.node(node, index)?;
            }
        }
        Ok(())
    }
}

/// Joins the captures of a node's bodies to the node's inputs.
#[derive(Default)]
struct Captures {
    /// The input that carries each captured value, so that two bodies that read the same value share it.
    carried: HashMap<ValueId, usize>,
}

impl Captures {
    fn attach(
        &mut self,
        graph: Graph,
        captured: &[ValueId],
        inputs: &mut Vec<Option<ValueId>>,
    ) -> Subgraph {
        let captures = captured
            .iter()
            .map(|&id| {
                *self.carried.entry(id).or_insert_with(|| {
                    inputs.push(Some(id));
                    inputs.len() - 1
                })
            })
            .collect();
        Subgraph { graph, captures }
    }
}
