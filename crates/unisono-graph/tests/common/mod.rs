//! Values, nodes and graphs written as short texts, so that a table of cases reads like a table.
#![allow(dead_code)]

use std::sync::Arc;
use unisono_graph::infer::infer_node;
use unisono_graph::ops::{NodeSpec, build};
use unisono_graph::{
    Attribute, Attributes, Dim, Fact, Graph, Node, Operator, Symbol, TensorType, ValueId,
};
use unisono_tensor::{DType, Tensor};

/// `3`, `-1`, `b`, `2*b*t`, `b+1`; `?` is a length that nothing is known of.
pub fn dim(text: &str) -> Dim {
    let text = text.trim();
    if text == "?" {
        return Dim::unknown();
    }
    text.split('+').fold(Dim::constant(0), |sum, term| {
        let product = term.split('*').fold(Dim::constant(1), |product, factor| {
            let factor = factor.trim();
            let factor = match factor.parse::<i64>() {
                Ok(n) => Dim::constant(n),
                Err(_) => Dim::symbol(&Symbol::new(factor)),
            };
            &product * &factor
        });
        &sum + &product
    })
}

pub fn dims(text: &str) -> Vec<Dim> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(dim).collect()
}

/// `f32[b, 3]`, `i64[2]={b, -1}` with contents, `f32` of unknown rank.
pub fn fact(text: &str) -> Fact {
    let (value, contents) = match text.split_once('=') {
        Some((value, contents)) => (value, Some(contents.trim_matches(['{', '}']))),
        None => (text, None),
    };
    let (dtype, shape) = match value.split_once('[') {
        Some((dtype, shape)) => (dtype, Some(dims(shape.trim_end_matches(']')))),
        None => (value, None),
    };
    let mut fact = Fact::of_unknown_rank(DType::from_name(dtype).expect("a type's name"));
    fact.shape = shape;
    fact.integers = contents.map(dims);
    fact
}

/// The same text for what is known of a value.
pub fn text(fact: &Option<Fact>) -> String {
    let Some(fact) = fact else {
        return "nothing".to_owned();
    };
    let mut text = fact.dtype.name().to_owned();
    if let Some(shape) = &fact.shape {
        text += &format!("{shape:?}");
    }
    if let Some(contents) = &fact.integers {
        text += &format!("={contents:?}").replace('[', "{").replace(']', "}");
    }
    text
}

pub type Attrs<'a> = &'a [(&'a str, Attribute)];

pub fn int(n: i64) -> Attribute {
    Attribute::Int(n)
}

pub fn ints(list: &[i64]) -> Attribute {
    Attribute::Ints(list.to_vec())
}

pub fn string(s: &str) -> Attribute {
    Attribute::String(s.as_bytes().to_vec())
}

pub fn operator(
    name: &str,
    opset: i64,
    attrs: Attrs<'_>,
    inputs: &[bool],
    outputs: usize,
) -> Result<Arc<dyn Operator>, String> {
    let mut attributes = Attributes::new();
    for (name, value) in attrs {
        attributes.insert(*name, value.clone());
    }
    let mut spec = NodeSpec {
        attributes: &mut attributes,
        opset,
        inputs,
        output_count: outputs,
    };
    build("", name, &mut spec).map_err(|e| e.to_string())
}

/// What a node makes of inputs written as texts; an empty text is an input left out.
pub fn outputs(
    name: &str,
    opset: i64,
    attrs: Attrs<'_>,
    inputs: &[&str],
    outputs: usize,
) -> Result<Vec<String>, String> {
    let facts: Vec<Option<Fact>> = inputs
        .iter()
        .map(|t| (!t.is_empty()).then(|| fact(t)))
        .collect();
    let present: Vec<bool> = facts.iter().map(Option::is_some).collect();
    let op = operator(name, opset, attrs, &present, outputs)?;
    let mut graph = Graph::new("");
    let ids = facts
        .iter()
        .map(|f| f.is_some().then(|| graph.add_value("", None)))
        .collect();
    let made = (0..outputs)
        .map(|_| Some(graph.add_value("", None)))
        .collect();
    let node = Node {
        name: "n".to_owned(),
        op,
        inputs: ids,
        outputs: made,
    };
    let made = infer_node(&node, &facts).map_err(|e| e.to_string())?;
    Ok(made.iter().map(text).collect())
}

/// Graphs, one line per node.
pub struct Builder {
    pub graph: Graph,
    opset: i64,
    count: usize,
}

impl Builder {
    pub fn new(opset: i64) -> Builder {
        Builder {
            graph: Graph::new("test"),
            opset,
            count: 0,
        }
    }

    pub fn input(&mut self, name: &str, declared: &str) -> ValueId {
        let fact = fact(declared);
        self.graph.add_input(
            name,
            TensorType {
                dtype: fact.dtype,
                shape: fact.shape,
            },
        )
    }

    pub fn ints(&mut self, list: &[i64]) -> ValueId {
        let tensor = Tensor::from_slice(&[list.len()], list).expect("a list");
        self.graph.add_constant("", tensor)
    }

    pub fn scalar(&mut self, n: i64) -> ValueId {
        self.graph.add_constant("", Tensor::scalar(n))
    }

    pub fn weights(&mut self, shape: &[usize]) -> ValueId {
        let tensor = Tensor::zeros(DType::F32, shape).expect("small weights");
        self.graph.add_constant("", tensor)
    }

    pub fn nodes(
        &mut self,
        name: &str,
        attrs: Attrs<'_>,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> Vec<ValueId> {
        let present: Vec<bool> = inputs.iter().map(Option::is_some).collect();
        let op = operator(name, self.opset, attrs, &present, outputs).expect("a node");
        let made: Vec<ValueId> = (0..outputs)
            .map(|_| self.graph.add_value("", None))
            .collect();
        self.graph.add_node(
            format!("{name}_{}", self.count),
            op,
            inputs.to_vec(),
            made.iter().map(|&v| Some(v)).collect(),
        );
        self.count += 1;
        made
    }

    pub fn node(&mut self, name: &str, attrs: Attrs<'_>, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().map(|&v| Some(v)).collect();
        self.nodes(name, attrs, &inputs, 1)[0]
    }

    /// The length of an axis as exporters ask for it: a list of one.
    pub fn length(&mut self, of: ValueId, axis: i64) -> ValueId {
        let shape = self.node("Shape", &[], &[of]);
        let at = self.scalar(axis);
        let length = self.node("Gather", &[("axis", int(0))], &[shape, at]);
        let front = self.ints(&[0]);
        self.node("Unsqueeze", &[], &[length, front])
    }

    pub fn finish(mut self, outputs: &[ValueId]) -> Graph {
        self.graph.set_outputs(outputs.to_vec());
        self.graph.check().expect("a graph that keeps the rules");
        self.graph
    }
}

/// Reports every failing case of a table, not the first.
pub fn check_all(failures: Vec<String>) {
    assert!(
        failures.is_empty(),
        "{} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
