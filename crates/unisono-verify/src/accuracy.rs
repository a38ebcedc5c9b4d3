//! How far answers may be from the same computation in 64-bit floats.
//!
//! The one idea: the bound is derived from the model, not fitted to what was measured. A sum of `n` products in the
//! canonical order (chains of 256, then the chains' totals) suffers about `L = min(n, 256) + n / 256` roundings in sequence, each of
//! at most half a unit `u = 2^-24`. Roundings behave like a random walk (Higham and Mary, "A new approach to probabilistic rounding error
//! analysis", 2019), so a sum errs by about `sqrt(L) u` of its size. Adding this up over *all* nodes, as if all stood in one chain
//! and all erred in the same direction, gives a bound that is honest for any model and about ten times what is usually
//! measured; a wrong constant in a polynomial, a lost term of a sum or a half-precision detour is far outside of it.

use serde::{Deserialize, Serialize};
use unisono::Tensor;
use unisono::graph::{Fact, Graph, infer};

use crate::compare::{Difference, OutputSpec};

/// Half the distance from 1 to the next f32.
pub(crate) const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// A bound for one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// `max|y - y64| <= relative * max|y64|` for each output.
    pub relative: f64,
    /// The sum of `sqrt(L)` over all nodes.
    pub roundings: f64,
    /// Nodes that turn a small difference into a jump: rounding to integers, choosing. Where there are some, an answer may
    /// rightly differ by a jump.
    pub jumps: Vec<String>,
}

/// Names of operators whose results jump.
const JUMPS: &[&str] = &[
    "ArgMax",
    "ArgMin",
    "Ceil",
    "DynamicQuantizeLinear",
    "Floor",
    "Mod",
    "NonMaxSuppression",
    "NonZero",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Round",
    "Sign",
    "TopK",
];

/// What a graph costs, and how its answers may err, for inputs of these shapes.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: u64,
    /// The bound that follows.
    pub bound: Bound,
}

/// Walks the graph with inputs of which these facts are known.
///
/// # Errors
/// The operator that does not allow such inputs.
pub fn cost(graph: &Graph, inputs: &[Fact]) -> Result<Cost, String> {
    let facts = infer::infer(graph, inputs).map_err(|error| error.to_string())?;
    let fact = |id: Option<unisono::graph::ValueId>| facts.get(id?.index())?.clone();
    let (mut flops, mut roundings, mut jumps) = (0u64, 0.0, Vec::new());
    for node in graph.nodes() {
        let given: Vec<Option<Fact>> = node.inputs.iter().map(|id| fact(*id)).collect();
        let made: Vec<Option<Fact>> = node.outputs.iter().map(|id| fact(*id)).collect();
        // Operations on integers (shapes, indices) are exact.
        let inexact = made.iter().flatten().any(|fact| fact.dtype.is_float());
        if JUMPS.contains(&node.op.name()) && !jumps.contains(&node.op.name().to_owned()) {
            jumps.push(node.op.name().to_owned());
        }
        let Some(work) = node.op.flops(&given, &made) else {
            continue;
        };
        flops = flops.saturating_add(work);
        let elements: u64 = made.iter().flatten().filter_map(Fact::element_count).sum();
        if inexact && work > 0 && elements > 0 {
            roundings += chain(work, elements).sqrt();
        }
    }
    let bound = Bound {
        relative: roundings.max(1.0) * UNIT,
        roundings,
        jumps,
    };
    Ok(Cost { flops, bound })
}

/// How many roundings follow each other in one element, if that many operations make so many elements.
pub(crate) fn chain(work: u64, elements: u64) -> f64 {
    // A product and an addition count as two.
    let terms = (work as f64 / elements.max(1) as f64 / 2.0).max(1.0);
    if terms <= 256.0 {
        terms
    } else {
        256.0 + terms / 256.0
    }
}

/// How far one output is from its reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// `max|y - y64| / max|y64|`; infinite where one is a number and the other is not.
    pub relative: f64,
    /// The worst element, described.
    pub worst: Difference,
}

/// Compares one answer with its reference. Outputs that hold no floats are left out.
pub fn errors(outputs: &[OutputSpec], answer: &[Tensor], reference: &[Tensor]) -> Vec<Error> {
    let pairs = outputs.iter().zip(answer.iter().zip(reference));
    pairs
        .filter_map(|(spec, (y, y64))| output_error(&spec.name, y, y64))
        .collect()
}

fn output_error(name: &str, y: &Tensor, y64: &Tensor) -> Option<Error> {
    if !y.dtype().is_float() {
        return None;
    }
    let wrong = |found: String, expected: String| {
        let worst = Difference::of_kind(name, found, expected);
        Some(Error {
            relative: f64::INFINITY,
            worst,
        })
    };
    let (Some(found), Some(expected)) = (y.to_f64s(), y64.to_f64s()) else {
        return wrong(y.dtype().to_string(), y64.dtype().to_string());
    };
    if y.shape() != y64.shape() {
        return wrong(
            format!("shape {:?}", y.shape()),
            format!("shape {:?}", y64.shape()),
        );
    }
    let size = expected
        .iter()
        .filter(|v| v.is_finite())
        .fold(0f64, |m, v| m.max(v.abs()));
    let distance = |a: f64, b: f64| match () {
        () if a == b || (a.is_nan() && b.is_nan()) => 0.0,
        () if a.is_finite() && b.is_finite() => (a - b).abs(),
        () => f64::INFINITY,
    };
    let each = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| distance(*a, *b))
        .enumerate();
    let (at, worst) = each.fold(
        (0, 0f64),
        |best, (i, d)| if d > best.1 { (i, d) } else { best },
    );
    // An output of nothing but zeros must be met exactly.
    let relative = if worst == 0.0 { 0.0 } else { worst / size };
    let show = |values: &[f64]| {
        values
            .get(at)
            .map_or_else(String::new, |v| format!("{v:.17e}"))
    };
    let worst = Difference {
        index: vec![at],
        ..Difference::of_kind(name, show(&found), show(&expected))
    };
    Some(Error { relative, worst })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::OutputRows;

    fn relative(found: &[f32], expected: &[f64]) -> f64 {
        let spec = [OutputSpec {
            name: "y".into(),
            rows: OutputRows::Along(0),
        }];
        let y = Tensor::from_slice(&[found.len()], found).unwrap();
        let y64 = Tensor::from_slice(&[expected.len()], expected).unwrap();
        errors(&spec, &[y], &[y64]).first().unwrap().relative
    }

    #[test]
    fn errors_are_relative_to_the_largest_value() {
        assert_eq!(relative(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(relative(&[1.5, 4.0], &[1.0, 4.0]), 0.125);
        assert_eq!(relative(&[f32::NAN, 1.0], &[f64::NAN, 1.0]), 0.0);
        assert_eq!(relative(&[f32::INFINITY], &[1.0]), f64::INFINITY);
        assert_eq!(relative(&[1.0], &[f64::NAN]), f64::INFINITY);
        assert_eq!(relative(&[1e-30], &[0.0]), f64::INFINITY);
        assert_eq!(relative(&[0.0], &[0.0]), 0.0);
    }

    #[test]
    fn the_worst_element_is_named() {
        let spec = [OutputSpec {
            name: "y".into(),
            rows: OutputRows::Along(0),
        }];
        let y = Tensor::from_slice(&[3], &[1f32, 2.5, 3.0]).unwrap();
        let y64 = Tensor::from_slice(&[3], &[1f64, 2.0, 3.0]).unwrap();
        let error = &errors(&spec, &[y], &[y64])[0];
        assert_eq!(error.worst.index, [1]);
        assert!(error.worst.found.starts_with("2.5"));
    }
}
