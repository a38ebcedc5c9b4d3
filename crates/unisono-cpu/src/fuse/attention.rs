//! Attention: a product, perhaps a mask that is added, softmax over the last axis, and a product; with the transposes in front of the
//! operands and behind the result, whose work the kernel does by reading and writing where they would.

use std::sync::Arc;

use smallvec::SmallVec;
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::Transpose;
use unisono_graph::ops::normalize::{Softmax, SoftmaxFunction};
use unisono_graph::{Batch, BatchContext, Blocker, InferContext, OpError, Operator, ValueId};
use unisono_tensor::Shape;

use super::{Groups, Wanted};
use crate::movement::{merge, steps, stretched};

/// How much there is to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Members of the batch.
    pub batch: usize,
    /// Heads of a member.
    pub heads: usize,
    /// Rows of Q and of the result.
    pub rows: usize,
    /// Rows of K and V.
    pub keys: usize,
    /// Columns of Q and K.
    pub width: usize,
    /// Columns of V and of the result.
    pub value_width: usize,
}

/// How far members, heads and rows are apart, in elements. Columns lie side by side.
pub type Steps = [usize; 3];

/// `softmax(alpha * (Q x K') + mask) x V` of operands that lie where the graph's transposes take them from. Inputs: the values whose bytes
/// hold Q, K, V and, if there is one, the mask. Output: the value whose bytes hold the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// The lengths.
    pub extent: Extent,
    /// Scales the products of Q and K.
    pub alpha: f32,
    /// Where the rows of Q lie.
    pub q: Steps,
    /// Those of K.
    pub k: Steps,
    /// Those of V.
    pub v: Steps,
    /// Those of the result.
    pub y: Steps,
    /// How far members, heads, rows and keys of the mask are apart, if there is one; 0 where it repeats.
    pub mask: Option<[usize; 4]>,
}

impl Operator for Attention {
    fn kind(&self) -> &'static str {
        "Attention"
    }

    fn infer(&self, _: &mut InferContext<'_>) -> Result<(), OpError> {
        Err(OpError::new("stands for nodes whose shapes were inferred"))
    }

    fn batch(&self, _: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Err(Blocker::new("stands for nodes whose contract was proven"))
    }
}

/// An operand in whatever memory it is there already.
struct Strided {
    /// The value whose bytes they are.
    source: ValueId,
    /// The operand's shape.
    shape: Shape,
    /// How far it is from one position to the next, by axis.
    steps: SmallVec<[isize; 6]>,
    /// The transpose that is not needed to read it.
    transpose: Option<usize>,
}

impl Strided {
    /// A value, read past the transpose that makes it.
    fn read(groups: &Groups<'_>, value: ValueId) -> Option<Strided> {
        let shape = groups.floats(value)?.clone();
        if let Some((node, op)) = groups.made_by::<Transpose>(value) {
            let source = groups.input(node, 0)?;
            let from = groups.floats(source)?;
            let (perm, dense) = (op.permutation(from.len()).ok()?, steps(from));
            let steps = perm.iter().map(|&axis| dense.get(axis).copied());
            return Some(Strided {
                source,
                shape,
                steps: steps.collect::<Option<_>>()?,
                transpose: Some(node),
            });
        }
        let steps = steps(&shape).iter().copied().collect();
        Some(Strided {
            source: value,
            shape,
            steps,
            transpose: None,
        })
    }

    /// The last two axes, swapped.
    fn swapped(mut self, swap: bool) -> Option<Strided> {
        let rank = self.shape.len();
        if rank < 2 {
            return None;
        }
        if swap {
            self.shape.swap(rank - 2, rank - 1);
            self.steps.swap(rank - 2, rank - 1);
        }
        Some(self)
    }

    /// The lengths of the last two axes and their steps.
    fn matrix(&self) -> Option<([usize; 2], [isize; 2])> {
        Some((*self.shape.last_chunk()?, *self.steps.last_chunk()?))
    }

    /// Steps along leading axes to which the operand is stretched.
    fn lead(&self, lead: &[usize]) -> Option<SmallVec<[isize; 6]>> {
        let own = self.shape.len().checked_sub(2)?;
        let missing = lead.len().checked_sub(own)?;
        let step = |axis: usize| match axis.checked_sub(missing) {
            None => Some(0),
            Some(own) if self.shape[own] == 1 => Some(0),
            Some(own) if self.shape[own] == lead[axis] => Some(self.steps[own]),
            Some(_) => None,
        };
        (0..lead.len()).map(step).collect()
    }
}

/// The group around the softmax with this number.
pub fn wanted(groups: &Groups<'_>, index: usize) -> Option<Wanted> {
    let softmax = groups.op::<Softmax>(index)?;
    let (x, weights) = (groups.input(index, 0)?, groups.output(index)?);
    let shape = groups.floats(x)?;
    let is_last = softmax.resolve_axes(shape.len()).ok()? == [shape.len().checked_sub(1)?];
    if softmax.function != SoftmaxFunction::Softmax || !is_last {
        return None;
    }
    // In front of it: the product, with a mask that it adds itself or a sum behind it.
    let (sum, scores, mut mask) = match groups.made_by::<Binary>(x) {
        Some((node, op)) if op.function == BinaryFunction::Add => {
            let (a, b) = (groups.input(node, 0)?, groups.input(node, 1)?);
            let is_product = |value| groups.made_by::<Linear>(value).is_some();
            match is_product(a) && groups.floats(a)? == shape {
                true => (Some(node), a, Some(b)),
                false => (Some(node), b, Some(a)),
            }
        }
        _ => (None, x, None),
    };
    let (first, product) = groups.made_by::<Linear>(scores)?;
    if let Some(added) = groups.input(first, 2) {
        if mask.is_some() || product.beta != 1.0 {
            return None;
        }
        mask = Some(added);
    }
    if groups.floats(scores)? != shape || product.activation.is_some() {
        return None;
    }
    // Behind it: the product with V, and what moves the result to where the next product wants it.
    let second = groups.only_reader(weights, 0)?;
    let last = groups.op::<Linear>(second)?;
    let is_plain = !last.transpose_a && last.alpha == 1.0 && last.activation.is_none();
    if !is_plain || groups.input(second, 2).is_some() {
        return None;
    }
    let result = groups.output(second)?;
    let behind = groups.only_reader(result, 0);
    let behind = behind.and_then(|node| Some((node, groups.op::<Transpose>(node)?)));

    let q = Strided::read(groups, groups.input(first, 0)?)?.swapped(product.transpose_a)?;
    let k = Strided::read(groups, groups.input(first, 1)?)?.swapped(!product.transpose_b)?;
    let v = Strided::read(groups, groups.input(second, 1)?)?.swapped(last.transpose_b)?;
    let of_result = groups.floats(result)?;
    let (y, y_steps) = match behind {
        Some((node, op)) => {
            let y = groups.output(node)?;
            let (perm, dense) = (
                op.permutation(of_result.len()).ok()?,
                steps(groups.floats(y)?),
            );
            let mut steps: SmallVec<[isize; 6]> = SmallVec::from_elem(0, of_result.len());
            for (&axis, &step) in perm.iter().zip(dense.iter()) {
                *steps.get_mut(axis)? = step;
            }
            (y, steps)
        }
        None => (result, steps(of_result).iter().copied().collect()),
    };
    let y = Strided {
        source: y,
        shape: of_result.clone(),
        steps: y_steps,
        transpose: behind.map(|(node, _)| node),
    };
    let attention = attention(groups, shape, product.alpha, [&q, &k, &v, &y], mask)?;

    let core = [Some(first), sum, Some(index), Some(second), y.transpose];
    let mut nodes: Vec<usize> = core.into_iter().flatten().collect();
    for operand in [&q, &k, &v] {
        // A transpose that others read as well goes on being made.
        let private = operand.transpose.filter(|&node| {
            let value = groups.output(node);
            value.is_some_and(|value| groups.is_read_by_these(value, &nodes))
        });
        nodes.extend(private);
    }
    nodes.sort_unstable();
    nodes.dedup();
    Some(Wanted {
        turn: *nodes.last()?,
        nodes,
        op: Arc::new(attention),
        inputs: vec![Some(q.source), Some(k.source), Some(v.source), mask],
        outputs: vec![Some(y.source)],
    })
}

/// Lengths and steps for scores of this shape.
fn attention(
    groups: &Groups<'_>,
    scores: &Shape,
    alpha: f32,
    [q, k, v, y]: [&Strided; 4],
    mask: Option<ValueId>,
) -> Option<Attention> {
    let (lead, &[rows, keys]) = scores.split_last_chunk::<2>()?;
    let ([q_rows, width], q_steps) = q.matrix()?;
    let ([k_rows, k_width], k_steps) = k.matrix()?;
    let ([v_rows, value_width], v_steps) = v.matrix()?;
    let (y_lengths, y_steps) = y.matrix()?;
    let agrees = (q_rows, k_rows, v_rows, k_width) == (rows, keys, keys, width)
        && y_lengths == [rows, value_width]
        && y.shape.len() == scores.len()
        && y.shape.starts_with(lead);
    let is_dense = |steps: [isize; 2], width: usize| width == 1 || steps[1] == 1;
    let all_dense = is_dense(q_steps, width)
        && is_dense(k_steps, width)
        && is_dense(v_steps, value_width)
        && is_dense(y_steps, value_width);
    if !agrees || !all_dense {
        return None;
    }
    let of_mask = match mask {
        Some(mask) => Some(stretched(groups.floats(mask)?, scores)?),
        None => None,
    };
    let none = vec![0; lead.len()];
    let mask_lead = of_mask
        .as_ref()
        .map_or(&none[..], |steps| &steps[..lead.len()]);
    let leads = [q.lead(lead)?, k.lead(lead)?, v.lead(lead)?, y.lead(lead)?];
    let [q_lead, k_lead, v_lead, y_lead] = &leads;
    let axes = merge(lead, [q_lead, k_lead, v_lead, y_lead, mask_lead])?;
    // Innermost first: heads, and what they are repeated for.
    let axis = |n: usize| {
        axes.get(n)
            .map_or((1, [0; 5]), |axis| (axis.len, axis.steps))
    };
    let ((heads, by_head), (batch, by_member)) = (axis(0), axis(1));
    if axes.len() > 2 {
        return None;
    }
    let step = |step: isize| usize::try_from(step).ok();
    let all = |operand: usize, row: isize| -> Option<Steps> {
        Some([
            step(by_member[operand])?,
            step(by_head[operand])?,
            step(row)?,
        ])
    };
    let mask = match &of_mask {
        Some(steps) => {
            let [row, key] = *steps.last_chunk::<2>()?;
            Some([
                step(by_member[4])?,
                step(by_head[4])?,
                step(row)?,
                step(key)?,
            ])
        }
        None => None,
    };
    Some(Attention {
        extent: Extent {
            batch,
            heads,
            rows,
            keys,
            width,
            value_width,
        },
        alpha,
        q: all(0, q_steps[0])?,
        k: all(1, k_steps[0])?,
        v: all(2, v_steps[0])?,
        y: all(3, y_steps[0])?,
        mask,
    })
}
