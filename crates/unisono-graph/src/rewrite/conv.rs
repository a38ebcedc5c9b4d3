//! Lets a convolution carry what stands around it.
//!
//! | before | after |
//! | --- | --- |
//! | a convolution, then batch norm | weights `w * s`, bias `(b - mean) * s + shift`, with `s = scale / sqrt(var + epsilon)` |
//! | a convolution times a constant per channel | weights and bias times it |
//! | a convolution plus a constant per channel | bias plus it |
//! | an activation of a convolution | the convolution with that activation |
//! | a convolution of a value times a constant per channel | weights times it |
//! | a convolution without padding of a value plus a constant per channel | bias plus what the weights make of it |
//!
//! The first four for transposed convolutions too. Pays everywhere: each step was a pass over the output's memory. Absorbing a bias where there was none, and an
//! activation, leaves values in f32 and f64 equal. Scaled weights round differently: they are computed in f64 and rounded once, and
//! the sum is then over other numbers. Only f32 and f64 weights are scaled: narrower types would lose digits by it.
//!
//! Weights and parameters must be constants.

use super::edit::{self, Edit, Input};
use super::linear::absorbable;
use super::view::{View, input, operands};
use crate::ops::activation::{Activate, Activation};
use crate::ops::binary::{Binary, BinaryFunction};
use crate::ops::conv::{Conv, ConvTranspose};
use crate::ops::normalize::BatchNormalization;
use crate::ops::window::Padding;
use crate::{Graph, Node, NodeId, ValueId};
use std::sync::Arc;
use unisono_tensor::{DType, Tensor};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::until_settled(graph, |view, _, node| {
        normalised(view, node)
            .or_else(|| affine(view, node))
            .or_else(|| activated(view, node))
            .or_else(|| affine_input(view, node))
    })
}

/// Either kind of convolution.
#[derive(Clone, Copy)]
enum Kind<'g> {
    Forward(&'g Conv),
    Transposed(&'g ConvTranspose),
}

/// A private convolution without activation.
struct Found<'g> {
    id: NodeId,
    node: &'g Node,
    kind: Kind<'g>,
    /// Channels of the output.
    channels: usize,
}

impl<'g> Found<'g> {
    fn new(view: &View<'g>, value: ValueId) -> Option<Found<'g>> {
        if !view.is_private(value) {
            return None;
        }
        let (id, node, kind, activation) = if let Some((id, node, op)) = view.made_by::<Conv>(value)
        {
            (id, node, Kind::Forward(op), op.activation)
        } else {
            let (id, node, op) = view.made_by::<ConvTranspose>(value)?;
            (id, node, Kind::Transposed(op), op.activation)
        };
        let channels = view.shape(value)?.get(1)?.as_len()?;
        activation.is_none().then_some(Found {
            id,
            node,
            kind,
            channels,
        })
    }

    fn with_activation(&self, activation: Option<Activation>) -> Arc<dyn crate::Operator> {
        match self.kind {
            Kind::Forward(op) => Arc::new(Conv {
                activation,
                ..op.clone()
            }),
            Kind::Transposed(op) => Arc::new(ConvTranspose {
                activation,
                ..op.clone()
            }),
        }
    }

    /// The convolution with its output times `scale` plus `shift`, per channel.
    fn scaled(&self, view: &View<'_>, scale: Option<&[f64]>, shift: &[f64]) -> Option<Edit> {
        let (x, w) = (input(self.node, 0)?, input(self.node, 1)?);
        let dtype = view.fact(w)?.dtype;
        let old = input(self.node, 2);
        if (scale.is_some() || old.is_some()) && !matches!(dtype, DType::F32 | DType::F64) {
            return None;
        }
        let weights = match scale {
            None => w.into(),
            Some(scale) => Input::New(self.scaled_weights(view.constant(w)?, scale)?),
        };
        let bias = match old {
            None => shift.to_vec(),
            Some(old) => {
                let old = view.constant(old)?.to_f64s()?;
                if old.len() != self.channels {
                    return None;
                }
                let scale = |i: usize| scale.map_or(1.0, |s| s[i]);
                (0..old.len())
                    .map(|i| old[i] * scale(i) + shift[i])
                    .collect()
            }
        };
        let bias = Input::New(floats(dtype, &[self.channels], &bias)?);
        Some(Edit {
            before: Vec::new(),
            op: self.with_activation(None),
            inputs: vec![Some(x.into()), Some(weights), Some(bias)],
            absorbed: vec![self.id],
        })
    }

    fn scaled_weights(&self, weights: &Tensor, scale: &[f64]) -> Option<Tensor> {
        let mut values = weights.to_f64s()?;
        let shape = weights.shape();
        let &[first, second, ..] = shape else {
            return None;
        };
        let taps = shape[2..].iter().product::<usize>();
        if taps == 0 || second == 0 {
            return None;
        }
        // M x C/groups x kernel for a convolution; C x M/groups x kernel for a transposed one, whose rows of input channels
        // belong to one group each.
        let channel = |i: usize| match self.kind {
            Kind::Forward(_) => i / (second * taps),
            Kind::Transposed(op) => {
                let (row, column) = (i / (second * taps), i / taps % second);
                row / (first / op.groups).max(1) * second + column
            }
        };
        for (i, value) in values.iter_mut().enumerate() {
            *value *= scale.get(channel(i))?;
        }
        floats(weights.dtype(), shape, &values)
    }
}

fn floats(dtype: DType, shape: &[usize], values: &[f64]) -> Option<Tensor> {
    match dtype {
        DType::F64 => Tensor::from_slice(shape, values).ok(),
        DType::F32 => {
            let narrow: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            Tensor::from_slice(shape, &narrow).ok()
        }
        DType::F16 => {
            let narrow: Vec<_> = values
                .iter()
                .map(|&v| unisono_tensor::f16::from_f64(v))
                .collect();
            Tensor::from_slice(shape, &narrow).ok()
        }
        DType::BF16 => {
            let narrow: Vec<_> = values
                .iter()
                .map(|&v| unisono_tensor::bf16::from_f64(v))
                .collect();
            Tensor::from_slice(shape, &narrow).ok()
        }
        _ => None,
    }
}

fn normalised(view: &View<'_>, node: &Node) -> Option<Edit> {
    let norm = node.op.downcast_ref::<BatchNormalization>()?;
    let conv = Found::new(view, input(node, 0)?)?;
    let parameter = |index| {
        let values = view.constant(input(node, index)?)?.to_f64s()?;
        (values.len() == conv.channels).then_some(values)
    };
    let (scale, bias) = (parameter(1)?, parameter(2)?);
    let (mean, variance) = (parameter(3)?, parameter(4)?);
    let factors: Vec<f64> = (0..conv.channels)
        .map(|i| scale[i] / (variance[i] + f64::from(norm.epsilon)).sqrt())
        .collect();
    // A variance that is negative or a broken parameter: let the norm itself say so.
    if !factors.iter().all(|f| f.is_finite()) {
        return None;
    }
    let shift: Vec<f64> = (0..conv.channels)
        .map(|i| bias[i] - mean[i] * factors[i])
        .collect();
    conv.scaled(view, Some(&factors), &shift)
}

/// A product or sum with a constant per channel.
fn affine(view: &View<'_>, node: &Node) -> Option<Edit> {
    let function = node.op.downcast_ref::<Binary>()?.function;
    let [a, b] = operands(node)?;
    [(a, b), (b, a)].into_iter().find_map(|(value, constant)| {
        let constant = view.constant(constant)?;
        let conv = Found::new(view, value)?;
        let rank = view.shape(value)?.len();
        let per_channel = per_channel(constant, rank, conv.channels)?;
        match function {
            BinaryFunction::Mul if per_channel.iter().all(|f| f.is_finite()) => {
                let zeros = vec![0.0; conv.channels];
                let has_bias = input(conv.node, 2).is_some();
                let mut edit = conv.scaled(view, Some(&per_channel), &zeros)?;
                if !has_bias {
                    edit.inputs.truncate(2);
                }
                Some(edit)
            }
            BinaryFunction::Add => conv.scaled(view, None, &per_channel),
            _ => None,
        }
    })
}

/// The constant as one number per channel of a value of this rank, if it is that or one number for all.
fn per_channel(constant: &Tensor, rank: usize, channels: usize) -> Option<Vec<f64>> {
    let values = constant.to_f64s()?;
    if constant.rank() > rank {
        return None;
    }
    if values.len() == 1 {
        return Some(vec![values[0]; channels]);
    }
    // Aligned at the end: axis 1 of `rank` is at position `rank() - (rank - 1)`.
    let at = (constant.rank() + 1).checked_sub(rank)?;
    let fits = constant
        .shape()
        .iter()
        .enumerate()
        .all(|(i, &n)| if i == at { n == channels } else { n == 1 });
    fits.then_some(values)
}

fn activated(view: &View<'_>, node: &Node) -> Option<Edit> {
    let function = node.op.downcast_ref::<Activate>()?.function;
    let conv = Found::new(view, input(node, 0)?)?;
    Some(Edit {
        before: Vec::new(),
        op: conv.with_activation(Some(absorbable(function)?)),
        inputs: conv
            .node
            .inputs
            .iter()
            .map(|i| i.map(Input::Value))
            .collect(),
        absorbed: vec![conv.id],
    })
}

/// A product or sum with a constant per channel in front of a convolution. Behind padding a sum is another one at the
/// edges, so it stays there.
fn affine_input(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = node.op.downcast_ref::<Conv>()?;
    let (x, w) = (input(node, 0)?, input(node, 1)?);
    let (id, _, binary) = view.private::<Binary>(x)?;
    let [a, b] = operands(view.graph().node(id))?;
    let weights = view.constant(w)?;
    let dtype = weights.dtype();
    let &[rows, columns, ..] = weights.shape() else {
        return None;
    };
    if !matches!(dtype, DType::F32 | DType::F64) || op.groups == 0 {
        return None;
    }
    let taps = weights.shape()[2..].iter().product::<usize>();
    let (channels, per_group) = (columns * op.groups, rows / op.groups);
    if taps == 0 || columns == 0 || per_group == 0 {
        return None;
    }
    // Weights are M x C/groups x kernel: to which channel of the input one belongs.
    let channel = |i: usize| i / (columns * taps) / per_group * columns + i / taps % columns;
    let rank = view.shape(x)?.len();
    [(a, b), (b, a)].into_iter().find_map(|(source, constant)| {
        if view.shape(source)? != view.shape(x)? {
            return None;
        }
        let constant = per_channel(view.constant(constant)?, rank, channels)?;
        if !constant.iter().all(|c| c.is_finite()) {
            return None;
        }
        let mut values = weights.to_f64s()?;
        let mut inputs: Vec<Option<Input>> =
            node.inputs.iter().map(|i| i.map(Input::Value)).collect();
        inputs[0] = Some(source.into());
        match binary.function {
            BinaryFunction::Mul => {
                for (i, value) in values.iter_mut().enumerate() {
                    *value *= constant[channel(i)];
                }
                inputs[1] = Some(floats(dtype, weights.shape(), &values)?.into());
            }
            BinaryFunction::Add if is_unpadded(&op.window.padding) => {
                let mut bias = match input(node, 2) {
                    None => vec![0.0; rows],
                    Some(old) => view.constant(old)?.to_f64s()?,
                };
                for (i, value) in values.iter().enumerate() {
                    *bias.get_mut(i / (columns * taps))? += value * constant[channel(i)];
                }
                inputs.truncate(2);
                inputs.push(Some(floats(dtype, &[rows], &bias)?.into()));
            }
            _ => return None,
        }
        Some(Edit::new(op.clone(), inputs, vec![id]))
    })
}

fn is_unpadded(padding: &Padding) -> bool {
    matches!(padding, Padding::Explicit(pads) if pads.iter().all(|&p| p == 0))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;
    use crate::ops::window::Window;

    fn contents(g: &Graph, input: usize) -> Vec<f64> {
        let id = g.nodes()[0].inputs[input].unwrap();
        g.constant(id).unwrap().to_f64s().unwrap()
    }

    fn batch_norm(b: &mut Builder, x: ValueId) -> ValueId {
        // s = 6 / sqrt(3.75 + 0.25) = 3 and 1 / sqrt(0.75 + 0.25) = 1.
        let scale = b.floats(&[2], &[6.0, 1.0]);
        let bias = b.floats(&[2], &[1.0, 2.0]);
        let mean = b.floats(&[2], &[0.5, -1.0]);
        let variance = b.floats(&[2], &[3.75, 0.75]);
        let op = BatchNormalization { epsilon: 0.25 };
        b.op(op, &[x, scale, bias, mean, variance])
    }

    fn conv(b: &mut Builder, bias: bool) -> ValueId {
        let x = b.input("x", &["n", "1", "8", "8"]);
        let w = b.floats(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        let mut inputs = vec![x, w];
        if bias {
            inputs.push(b.floats(&[2], &[10.0, 20.0]));
        }
        b.op(Conv::default(), &inputs)
    }

    #[test]
    fn batch_norm_and_activation_are_absorbed() {
        for bias in [false, true] {
            let mut b = Builder::new();
            let y = conv(&mut b, bias);
            let y = batch_norm(&mut b, y);
            let y = b.relu(y);
            let mut g = b.finish(&[y]);
            let _ = optimize(&mut g, &NoFolding);
            g.check().unwrap();
            assert_eq!(kinds(&g), ["Conv"]);
            assert_eq!(only::<Conv>(&g).activation, Some(Activation::Relu));
            assert_eq!(contents(&g, 1), [3.0, 6.0, 3.0, 4.0]);
            // bias - mean * s, plus the old bias times s.
            let shift = if bias { [29.5, 23.0] } else { [-0.5, 3.0] };
            assert_eq!(contents(&g, 2), shift, "bias {bias}");
            assert_eq!(output_names(&g), ["out_0"]);
        }
    }

    #[test]
    fn scales_and_shifts_per_channel_are_absorbed() {
        let mut b = Builder::new();
        let y = conv(&mut b, false);
        let scale = b.floats(&[1, 2, 1, 1], &[2.0, 0.5]);
        let y = b.mul(y, scale);
        let shift = b.floats(&[2, 1, 1], &[5.0, 6.0]);
        let y = b.add(shift, y);
        let mut g = b.finish(&[y]);
        let _ = optimize(&mut g, &NoFolding);
        assert_eq!(kinds(&g), ["Conv"]);
        assert_eq!(contents(&g, 1), [2.0, 4.0, 1.5, 2.0]);
        assert_eq!(contents(&g, 2), [5.0, 6.0]);
    }

    #[test]
    fn the_channels_of_a_grouped_transposed_convolution_are_scaled_in_their_groups() {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "4", "8"]);
        // C = 4 in two groups, M/groups = 1: rows 0 and 1 make channel 0, rows 2 and 3 channel 1.
        let w = b.floats(&[4, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
        let op = ConvTranspose {
            groups: 2,
            ..ConvTranspose::default()
        };
        let y = b.op(op, &[x, w]);
        let y = batch_norm(&mut b, y);
        let y = b.activate(Activation::Sigmoid, y);
        let mut g = b.finish(&[y]);
        let _ = optimize(&mut g, &NoFolding);
        g.check().unwrap();
        assert_eq!(kinds(&g), ["ConvTranspose"]);
        assert_eq!(contents(&g, 1), [3.0, 6.0, 3.0, 4.0]);
        assert_eq!(contents(&g, 2), [-0.5, 3.0]);
    }

    #[test]
    fn scales_and_shifts_in_front_of_a_convolution_are_absorbed_where_padding_allows() {
        for (pads, left) in [
            (vec![], &["Relu", "Conv"][..]),
            (vec![0, 1, 0, 1], &["Relu", "Mul", "Add", "Conv"][..]),
        ] {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "4", "1", "8"]);
            let x = b.relu(x);
            let scale = b.floats(&[1, 4, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
            let y = b.mul(x, scale);
            let shift = b.floats(&[1], &[10.0]);
            let y = b.add(y, shift);
            // Two groups of two channels, one output each.
            let w = b.floats(&[2, 2, 1, 1], &[1.0, 1.0, 1.0, -2.0]);
            let op = Conv {
                groups: 2,
                window: Window {
                    padding: Padding::Explicit(pads),
                    ..Window::default()
                },
                activation: None,
            };
            let y = b.op(op, &[y, w]);
            let mut g = b.finish(&[y]);
            let _ = optimize(&mut g, &NoFolding);
            g.check().unwrap();
            assert_eq!(kinds(&g), left);
            if left.len() == 2 {
                let contents = |i: usize| {
                    let id = g.nodes()[1].inputs[i].unwrap();
                    g.constant(id).unwrap().to_f64s().unwrap()
                };
                assert_eq!(contents(1), [1.0, 2.0, 3.0, -8.0]);
                assert_eq!(contents(2), [20.0, -10.0]);
            }
        }
    }

    #[test]
    fn what_is_no_epilogue_of_this_convolution_stays() {
        type Tail = fn(&mut Builder, ValueId) -> Vec<ValueId>;
        let rows: &[(&str, Tail)] = &[
            ("read twice", |b, y| {
                let z = b.relu(y);
                vec![b.mul(y, z)]
            }),
            ("an output", |b, y| vec![b.relu(y), y]),
            ("a shift per column", |b, y| {
                let c = b.floats(&[7], &[0.0; 7]);
                vec![b.add(y, c)]
            }),
            ("a shift that is an input", |b, y| {
                let c = b.input("c", &["1", "2", "1", "1"]);
                vec![b.add(y, c)]
            }),
            ("a shift that adds an axis", |b, y| {
                let c = b.floats(&[1, 1, 2, 1, 1], &[0.0; 2]);
                vec![b.add(y, c)]
            }),
            ("a broken variance", |b, y| {
                let one = b.floats(&[2], &[1.0; 2]);
                let negative = b.floats(&[2], &[-4.0; 2]);
                let op = BatchNormalization { epsilon: 0.25 };
                vec![b.op(op, &[y, one, one, one, negative])]
            }),
        ];
        let mut failures = Vec::new();
        for (name, tail) in rows {
            let mut b = Builder::new();
            let y = conv(&mut b, false);
            let outputs = tail(&mut b, y);
            let mut g = b.finish(&outputs);
            if apply(&mut g) != 0 {
                failures.push(*name);
            }
        }
        assert!(failures.is_empty(), "{failures:?}");
    }

    #[test]
    fn weights_that_are_no_constant_are_not_scaled() {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "1", "8", "8"]);
        let w = b.input("w", &["2", "1", "1", "2"]);
        let window = Window {
            padding: Padding::SameUpper,
            ..Window::default()
        };
        let op = Conv {
            window,
            ..Conv::default()
        };
        let y = b.op(op, &[x, w]);
        let y = batch_norm(&mut b, y);
        let mut g = b.finish(&[y]);
        assert_eq!(apply(&mut g), 0);
    }
}
