//! What the runtime knows of a model: its graph and the shape of its door.

use std::sync::Arc;
use unisono_graph::contract::{Contract, OutputRows, Verdict};
use unisono_graph::infer::declared_inputs;
use unisono_graph::{Batch, Dim, Graph, Symbol};
use unisono_tensor::{DType, Tensor};

use crate::error::{Error, ErrorKind};
use crate::plan::PlanKey;
use crate::stripes::Striped;

/// One named input or output.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name in the model.
    pub name: Arc<str>,
    /// Its element type.
    pub dtype: DType,
    /// Its shape, as far as the model tells; `None` if not even the rank is known.
    pub shape: Option<Vec<Dim>>,
    /// Which axis holds the rows, if the batch contract holds and this port has them.
    pub rows_axis: Option<usize>,
}

/// A loaded, checked and rewritten model, independent of any device.
pub struct ModelGraph {
    graph: Graph,
    contract: Contract,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// One list for each stripe: every answer holds one.
    output_names: Striped<Arc<[Arc<str>]>>,
}

impl ModelGraph {
    /// Takes a graph whose inputs have declared types. Output types are those that inference finds, given as facts in
    /// the order of the graph's outputs.
    ///
    /// # Errors
    /// An input without a declared type.
    pub fn new(
        graph: Graph,
        contract: Contract,
        output_facts: &[Option<unisono_graph::Fact>],
    ) -> Result<ModelGraph, Error> {
        let (input_batches, output_rows): (&[Batch], &[OutputRows]) = match &contract.verdict {
            Verdict::Coalescible { inputs, outputs } => (inputs, outputs),
            Verdict::Alone(_) => (&[], &[]),
        };
        let mut inputs = Vec::new();
        // Not the declarations themselves: a `?` that stands twice is two lengths.
        for (i, (&id, fact)) in graph
            .inputs()
            .iter()
            .zip(declared_inputs(&graph))
            .enumerate()
        {
            let name = &graph.value(id).name;
            let Some(fact) = fact else {
                return Err(Error::new(
                    ErrorKind::InvalidModel,
                    format!("input \"{name}\" has no declared type"),
                ));
            };
            inputs.push(Port {
                name: name.as_str().into(),
                dtype: fact.dtype,
                shape: fact.shape,
                rows_axis: match input_batches.get(i) {
                    Some(Batch::Rows { axis, .. }) => Some(*axis),
                    _ => None,
                },
            });
        }
        let mut outputs = Vec::new();
        for (i, &id) in graph.outputs().iter().enumerate() {
            let value = graph.value(id);
            let Some(fact) = output_facts.get(i).and_then(Option::as_ref) else {
                return Err(Error::new(
                    ErrorKind::InvalidModel,
                    format!("the type of output \"{}\" cannot be inferred", value.name),
                ));
            };
            outputs.push(Port {
                name: value.name.as_str().into(),
                dtype: fact.dtype,
                shape: fact.shape.clone(),
                rows_axis: match output_rows.get(i) {
                    Some(OutputRows::Rows { axis, .. }) => Some(*axis),
                    _ => None,
                },
            });
        }
        let output_names = Striped::new(|| outputs.iter().map(|p| Arc::clone(&p.name)).collect());
        Ok(ModelGraph {
            graph,
            contract,
            inputs,
            outputs,
            output_names,
        })
    }

    /// The graph that devices compile.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The proof that rows do not influence each other, or what stands in its way.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The inputs in the model's order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs in the model's order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    pub(crate) fn output_names(&self) -> &Arc<[Arc<str>]> {
        self.output_names.own()
    }

    /// Checks a request's tensors, in the order of the inputs, and says which plan serves it and with how many rows.
    pub fn admit(&self, tensors: &[Tensor]) -> Result<(PlanKey, usize), Error> {
        // What a symbol was bound to, and by which input, so that the message can name both sides.
        let mut bound: smallvec::SmallVec<[(&Symbol, usize, &Port); 8]> = smallvec::SmallVec::new();
        for (port, tensor) in self.inputs.iter().zip(tensors) {
            let refuse = |what: String| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("input \"{}\" {what}", port.name),
                )
            };
            if tensor.dtype() != port.dtype {
                return Err(refuse(format!(
                    "should be {} but is {}",
                    port.dtype,
                    tensor.dtype()
                )));
            }
            let Some(shape) = &port.shape else { continue };
            let shown = || {
                let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
                format!("[{}]", dims.join(", "))
            };
            if tensor.rank() != shape.len() {
                return Err(refuse(format!(
                    "should have shape {} but has {:?}",
                    shown(),
                    tensor.shape()
                )));
            }
            for (axis, (dim, &len)) in shape.iter().zip(tensor.shape()).enumerate() {
                if let Some(n) = dim.as_len() {
                    if n != len {
                        return Err(refuse(format!(
                            "should have shape {} but has {:?}: axis {axis} should be {n}",
                            shown(),
                            tensor.shape()
                        )));
                    }
                } else if let Some(symbol) = dim.as_symbol() {
                    match bound.iter().find(|(s, _, _)| *s == symbol) {
                        Some(&(_, n, other)) if n != len => {
                            return Err(refuse(format!(
                                "has {} = {len} on axis {axis}, but input \"{}\" has {} = {n}",
                                symbol.name(),
                                other.name,
                                symbol.name()
                            )));
                        }
                        Some(_) => {}
                        None => bound.push((symbol, len, port)),
                    }
                }
            }
        }
        self.key(tensors)
    }

    fn key(&self, tensors: &[Tensor]) -> Result<(PlanKey, usize), Error> {
        let mut rows: Option<(usize, &Port)> = None;
        // Symbols stand for lengths of at least 1; a request with an empty axis gets a plan of its own.
        let by_rows = !tensors.iter().any(Tensor::is_empty);
        if by_rows {
            for (port, tensor) in self.inputs.iter().zip(tensors) {
                let Some(&n) = port.rows_axis.and_then(|a| tensor.shape().get(a)) else {
                    continue;
                };
                match rows {
                    Some((m, other)) if m != n => {
                        return Err(Error::new(
                            ErrorKind::InvalidInput,
                            format!(
                                "input \"{}\" has {n} rows but input \"{}\" has {m}",
                                port.name, other.name
                            ),
                        ));
                    }
                    Some(_) => {}
                    None => rows = Some((n, port)),
                }
            }
        }
        let key = PlanKey::new(
            self.inputs
                .iter()
                .zip(tensors)
                .map(|(port, tensor)| (tensor.shape(), port.rows_axis.filter(|_| rows.is_some()))),
        );
        Ok((key, rows.map_or(1, |(n, _)| n)))
    }
}
