//! Recurrent layers: `LSTM`, `GRU` and `RNN`.
//!
//! The one idea: they share everything but the cell, so they are one operator with an enum. Rows along the batch axis
//! never meet; time runs along the other.

use super::activation::Activation;
use super::rules::{self, FLOATS};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// The cell and what only it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Gates in the order input, output, forget, cell.
    Lstm {
        /// The forget gate is one minus the input gate.
        input_forget: bool,
    },
    /// Gates in the order update, reset, hidden.
    Gru {
        /// The reset gate multiplies after the recurrent product and its bias instead of before.
        linear_before_reset: bool,
    },
    /// One gate.
    Rnn,
}

impl Cell {
    /// How many gates the weights stack: 4, 3 or 1.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm { .. } => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// How many activations each direction has: 3 (`f`, `g`, `h`), 2 (`f`, `g`) or 1 (`f`).
    pub fn activations(self) -> usize {
        match self {
            Cell::Lstm { .. } => 3,
            Cell::Gru { .. } => 2,
            Cell::Rnn => 1,
        }
    }
}

/// In which direction time is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Reverse,
    /// Both, each with its weights.
    Bidirectional,
}

impl Direction {
    /// How many sets of weights there are: D.
    pub fn count(self) -> usize {
        match self {
            Direction::Forward | Direction::Reverse => 1,
            Direction::Bidirectional => 2,
        }
    }
}

/// A recurrent layer. Kind `Recurrent`. G gates, D directions, H hidden, I input size:
///
/// | input | shape | |
/// | --- | --- | --- |
/// | 0 `x` | T x B x I (B x T x I if `batch_first`) | |
/// | 1 `w` | D x GH x I | |
/// | 2 `r` | D x GH x H | |
/// | 3 `b` | D x 2GH | optional: the biases of `w`, then of `r` |
/// | 4 `sequence_lens` | B, i32 | optional |
/// | 5 `initial_h` | D x B x H (B x D x H if `batch_first`) | optional |
/// | 6 `initial_c` | as `initial_h` | optional, LSTM only |
/// | 7 `p` | D x 3H, peepholes in the order input, output, forget | optional, LSTM only |
///
/// Outputs: `y` T x D x B x H (B x T x D x H), `y_h` and for LSTM `y_c`, both D x B x H (B x D x H). Steps behind a row's sequence length give 0 in `y`
/// and do not touch its state; reverse directions start at the row's own last step.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// In which direction time is walked.
    pub direction: Direction,
    /// The size of the hidden state, if the node says it; else it follows from `r`.
    pub hidden_size: Option<usize>,
    /// [`Cell::activations`] of them per direction.
    pub activations: Vec<Activation>,
    /// Bound on the magnitude of what goes into activations.
    pub clip: Option<f32>,
    /// The batch is axis 0 and time axis 1, instead of the other way round (`layout` 1).
    pub batch_first: bool,
}

const INPUTS: [&str; 8] = [
    "X",
    "W",
    "R",
    "B",
    "sequence_lens",
    "initial_h",
    "initial_c",
    "P",
];

impl Recurrent {
    /// On which axis the batch is in `x`, in the states, and in `y`.
    fn batch_axes(&self) -> (usize, usize, usize) {
        if self.batch_first {
            (0, 0, 0)
        } else {
            (1, 1, 2)
        }
    }

    /// The size of the hidden state: from the attribute, else from `r`.
    fn hidden(&self, r: &Fact) -> Dim {
        match (self.hidden_size, r.shape.as_deref()) {
            (Some(n), _) => Dim::from(n),
            (None, Some([_, _, hidden])) => hidden.clone(),
            (None, _) => Dim::unknown(),
        }
    }
}

/// Checks one input's shape, as far as both are known.
fn check_shape(
    cx: &InferContext<'_>,
    index: usize,
    dtype: DType,
    needed: &[Dim],
) -> Result<(), OpError> {
    let Some(fact) = rules::optional(cx, index, INPUTS[index], &[dtype])? else {
        return Ok(());
    };
    let Some(shape) = &fact.shape else {
        return Ok(());
    };
    let fits = shape.len() == needed.len()
        && shape
            .iter()
            .zip(needed)
            .all(|(a, b)| a.equals(b) != Some(false));
    if fits {
        return Ok(());
    }
    Err(OpError::new(format!(
        "input {index} ({}) has shape {shape:?}; needed: {needed:?}",
        INPUTS[index]
    )))
}

impl Operator for Recurrent {
    fn kind(&self) -> &'static str {
        "Recurrent"
    }

    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Lstm { .. } => "LSTM",
            Cell::Gru { .. } => "GRU",
            Cell::Rnn => "RNN",
        }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, INPUTS[0], FLOATS)?;
        let w = rules::typed(cx, 1, INPUTS[1], &[x.dtype])?;
        let r = rules::typed(cx, 2, INPUTS[2], &[x.dtype])?;
        let hidden = self.hidden(r);
        let directions = Dim::from(self.direction.count());
        let gates = &Dim::from(self.cell.gates()) * &hidden;
        let (steps, rows, size) = match x.shape.as_deref() {
            Some([a, b, size]) if self.batch_first => (b.clone(), a.clone(), size.clone()),
            Some([a, b, size]) => (a.clone(), b.clone(), size.clone()),
            Some(shape) => {
                return Err(OpError::new(format!(
                    "input 0 (X) has shape {shape:?}; needed: three axes"
                )));
            }
            None => (
                Dim::unknown(),
                Dim::unknown(),
                match w.shape.as_deref() {
                    Some([_, _, size]) => size.clone(),
                    _ => Dim::unknown(),
                },
            ),
        };
        let d = || directions.clone();
        check_shape(cx, 1, x.dtype, &[d(), gates.clone(), size])?;
        check_shape(cx, 2, x.dtype, &[d(), gates.clone(), hidden.clone()])?;
        check_shape(cx, 3, x.dtype, &[d(), &gates + &gates])?;
        check_shape(cx, 4, DType::I32, std::slice::from_ref(&rows))?;
        let state = if self.batch_first {
            [rows.clone(), d(), hidden.clone()]
        } else {
            [d(), rows.clone(), hidden.clone()]
        };
        check_shape(cx, 5, x.dtype, &state)?;
        check_shape(cx, 6, x.dtype, &state)?;
        check_shape(cx, 7, x.dtype, &[d(), &Dim::constant(3) * &hidden])?;
        let y = if self.batch_first {
            vec![rows, steps, d(), hidden]
        } else {
            vec![steps, d(), rows, hidden]
        };
        cx.set(0, Fact::new(x.dtype, y));
        cx.set(1, Fact::new(x.dtype, state.to_vec()));
        cx.set(2, Fact::new(x.dtype, state.to_vec()));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (own, state, y) = self.batch_axes();
        let expected = [
            Some(own),
            None,
            None,
            None,
            Some(0),
            Some(state),
            Some(state),
            None,
        ];
        let mut rows: Option<&Batch> = None;
        let mut shared: Option<usize> = None;
        for (i, expected) in expected.into_iter().enumerate() {
            let batch = match cx.inputs.get(i) {
                Some(Some(batch)) => batch,
                _ => continue,
            };
            let Batch::Rows { axis, outer, inner } = batch else {
                if expected.is_some() {
                    shared = shared.or(Some(i));
                }
                continue;
            };
            let name = INPUTS[i];
            let Some(expected) = expected else {
                return Err(Blocker::new(format!(
                    "has an input {i} ({name}) that depends on the batch"
                )));
            };
            if *axis != expected {
                let is_time = i == 0 && *axis == 1 - own;
                return Err(Blocker::new(if is_time {
                    format!("walks along axis {axis} of {name} step by step: that axis is time")
                } else {
                    format!(
                        "keeps rows of {name} apart on axis {expected}, but the batch is axis {axis}"
                    )
                }));
            }
            match rows {
                Some(Batch::Rows {
                    outer: o, inner: n, ..
                }) if o != outer || n != inner => {
                    return Err(Blocker::new(
                        "combines inputs whose batch is folded with other axes in different ways",
                    ));
                }
                _ => rows = Some(batch),
            }
        }
        let Some(rows) = rows else {
            return Err(Blocker::new("depends on the batch in no way that is known"));
        };
        // An input with a place for the batch that is the same for every caller fixes the batch size.
        if let Some(i) = shared {
            return Err(Blocker::new(format!(
                "has an input {i} ({}) that is the same for all but has the batch as an axis",
                INPUTS[i]
            )));
        }
        let outputs = [y, state, state];
        Ok(outputs
            .into_iter()
            .take(cx.output_facts.len())
            .map(|axis| rules::moved(rows, axis))
            .collect())
    }

    /// Two per product and sum of both matrices, and five per gate and cell for what comes after.
    fn flops(&self, inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        let x = inputs.first()?.as_ref()?.concrete_shape()?;
        let r = inputs.get(2)?.as_ref()?.concrete_shape()?;
        let _ = outputs;
        let [steps, rows, size] = x.as_slice().try_into().ok()?;
        let [directions, gates, hidden] = r.as_slice().try_into().ok()?;
        let (size, hidden): (usize, usize) = (size, hidden);
        let each = size.checked_add(hidden)?.checked_mul(2)?.checked_add(5)?;
        [steps, rows, directions, gates, each]
            .into_iter()
            .try_fold(1u64, |n, f: usize| n.checked_mul(f as u64))
    }
}

/// The activation of a gate by ONNX's name, with its parameters taken from the lists, which hold only those of
/// activations that have some.
fn gate_activation(
    name: &str,
    alphas: &mut std::vec::IntoIter<f32>,
    betas: &mut std::vec::IntoIter<f32>,
) -> Result<Activation, OpError> {
    let mut alpha = |default: f32| alphas.next().unwrap_or(default);
    let mut beta = |default: f32| betas.next().unwrap_or(default);
    // Names are compared without regard to case, as the standard says.
    Ok(match name.to_ascii_lowercase().as_str() {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "affine" => Activation::Affine {
            alpha: alpha(1.0),
            beta: beta(0.0),
        },
        "leakyrelu" => Activation::LeakyRelu { alpha: alpha(0.01) },
        "thresholdedrelu" => Activation::ThresholdedRelu { alpha: alpha(1.0) },
        "scaledtanh" => Activation::ScaledTanh {
            alpha: alpha(1.0),
            beta: beta(1.0),
        },
        "hardsigmoid" => Activation::HardSigmoid {
            alpha: alpha(0.2),
            beta: beta(0.5),
        },
        "elu" => Activation::Elu { alpha: alpha(1.0) },
        "softsign" => Activation::Softsign,
        "softplus" => Activation::Softplus,
        _ => {
            return Err(OpError::attribute(
                "activations",
                format!(
                    "holds \"{name}\"; supported: Relu, Tanh, Sigmoid, Affine, LeakyRelu, ThresholdedRelu, ScaledTanh, HardSigmoid, Elu, Softsign, Softplus"
                ),
            ));
        }
    })
}

fn recurrent(
    spec: &mut NodeSpec<'_>,
    cell: Cell,
    defaults: &[Activation],
) -> Result<Arc<dyn Operator>, OpError> {
    let attributes = &mut *spec.attributes;
    let direction = match attributes.string("direction")?.as_deref() {
        None | Some("forward") => Direction::Forward,
        Some("reverse") => Direction::Reverse,
        Some("bidirectional") => Direction::Bidirectional,
        Some(other) => {
            return Err(OpError::attribute(
                "direction",
                format!("should be forward, reverse or bidirectional but is \"{other}\""),
            ));
        }
    };
    let needed = cell.activations() * direction.count();
    let alphas = attributes.floats("activation_alpha")?.unwrap_or_default();
    let betas = attributes.floats("activation_beta")?.unwrap_or_default();
    let activations = match attributes.strings("activations")? {
        None => defaults.iter().copied().cycle().take(needed).collect(),
        // RNN's default names one for each of two directions even where there is one.
        Some(mut names) if names.len() >= needed => {
            if names.len() > needed && cell != Cell::Rnn {
                return Err(wrong_count(names.len(), needed));
            }
            names.truncate(needed);
            let (mut alphas, mut betas) = (alphas.into_iter(), betas.into_iter());
            names
                .iter()
                .map(|name| gate_activation(name, &mut alphas, &mut betas))
                .collect::<Result<Vec<_>, _>>()?
        }
        Some(names) => return Err(wrong_count(names.len(), needed)),
    };
    let hidden_size = match attributes.int("hidden_size")? {
        None => None,
        Some(n) => Some(usize::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| {
            OpError::attribute("hidden_size", format!("should be positive but is {n}"))
        })?),
    };
    let clip = attributes.float("clip")?;
    if clip.is_some_and(|c| c.is_nan() || c < 0.0) {
        return Err(OpError::attribute("clip", "should not be negative"));
    }
    let batch_first = match spec.opset {
        ..14 => false,
        _ => attributes.flag("layout", false)?,
    };
    Ok(Arc::new(Recurrent {
        cell,
        direction,
        hidden_size,
        activations,
        clip,
        batch_first,
    }))
}

fn wrong_count(found: usize, needed: usize) -> OpError {
    OpError::attribute(
        "activations",
        format!("holds {found} names; needed: {needed}"),
    )
}

fn lstm(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let input_forget = spec.attributes.flag("input_forget", false)?;
    let defaults = [Activation::Sigmoid, Activation::Tanh, Activation::Tanh];
    recurrent(spec, Cell::Lstm { input_forget }, &defaults)
}

fn gru(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let linear_before_reset = spec.attributes.flag("linear_before_reset", false)?;
    let defaults = [Activation::Sigmoid, Activation::Tanh];
    recurrent(
        spec,
        Cell::Gru {
            linear_before_reset,
        },
        &defaults,
    )
}

const fn line(
    name: &'static str,
    build: fn(&mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError>,
    inputs: (usize, usize),
    outputs: usize,
) -> Definition {
    Definition {
        domain: "",
        name,
        opsets: (7, i64::MAX),
        build,
        inputs,
        outputs: (0, outputs),
    }
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    line("LSTM", lstm, (3, 8), 3),
    line("GRU", gru, (3, 6), 2),
    line(
        "RNN",
        |s| recurrent(s, Cell::Rnn, &[Activation::Tanh]),
        (3, 6),
        2,
    ),
];
