//! Convolutions as products of packed weights with gathered positions.
//!
//! A *pass* computes a lattice of output positions which all read the same taps: a convolution is one pass over all positions; a
//! transposed one with strides s has one pass for each residue of the (padded) output position modulo s, because a tap reaches only
//! the outputs of one residue. Within a pass, output position q (counted along each axis of the lattice) reads input
//! `in_start + q * in_step + tap`.
//!
//! What a transposed convolution leaves out are products with +0. They never change a chain's total by more than the sign of a zero,
//! and a total is never -0; that holds for finite weights only, so otherwise every pass keeps all taps and the missing ones read zeros.
//! Either way the cuts between slices stay where all taps counted would put them.

use std::ops::Range;

use unisono_tensor::TensorError;

use super::{ConvKind, ConvShape};
use crate::gemm::{PackedA, PackedB, SLICE};
use crate::simd::Isa;

/// The taps and weights for one lattice of outputs.
#[derive(Clone, Debug)]
pub(super) struct Pass<W = PackedA> {
    /// For a transposed convolution: what `(output + pad) % stride` is here.
    residue: [usize; 3],
    /// What a tap adds to the input's position; `None` reads zeros.
    pub taps: Vec<Option<[i32; 3]>>,
    /// The slices of the sum, as ranges of the terms that are kept (all channels of the first tap, of the second, ...).
    pub slices: Vec<Range<usize>>,
    /// By group: output channels x terms.
    pub weights: Vec<W>,
}

impl<W> Pass<W> {
    /// The length of the sums.
    pub fn terms(&self) -> usize {
        self.slices.last().map_or(0, |slice| slice.end)
    }
}

/// How the weights of a group are kept.
pub(super) trait Packed: Sized {
    /// Packs `weight(channel, term)` for so many output channels and terms.
    fn pack(
        isa: Isa,
        channels: usize,
        terms: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Result<Self, TensorError>;
}

impl Packed for PackedA {
    fn pack(
        isa: Isa,
        channels: usize,
        terms: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Result<Self, TensorError> {
        PackedA::pack(isa, channels, terms, weight)
    }
}

impl Packed for PackedB {
    fn pack(
        isa: Isa,
        channels: usize,
        terms: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Result<Self, TensorError> {
        PackedB::from_fn(isa, terms, channels, |term, channel| weight(channel, term))
    }
}

/// Where the positions of a pass lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lattice {
    pub out_start: [usize; 3],
    pub out_step: [usize; 3],
    /// Positions along each axis.
    pub count: [usize; 3],
    pub in_start: [i32; 3],
    pub in_step: [i32; 3],
}

impl Lattice {
    pub fn new<W>(shape: &ConvShape, pass: &Pass<W>, transposed: bool) -> Self {
        let mut lattice = Self {
            out_start: [0; 3],
            out_step: [1; 3],
            count: shape.output,
            // Sizes are below 2^30, as `ConvWeights::check` saw to.
            in_start: shape.pads.map(|pad| -(pad as i32)),
            in_step: shape.strides.map(|stride| stride as i32),
        };
        if transposed {
            for axis in 0..3 {
                let (stride, pad) = (shape.strides[axis], shape.pads[axis]);
                let residue = pass.residue[axis];
                // The first output o with (o + pad) % stride == residue.
                let start = (residue + stride - pad % stride) % stride;
                lattice.out_start[axis] = start;
                lattice.out_step[axis] = stride;
                lattice.count[axis] = shape.output[axis].saturating_sub(start).div_ceil(stride);
                lattice.in_start[axis] = ((start + pad - residue) / stride) as i32;
                lattice.in_step[axis] = 1;
            }
        }
        lattice
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.count.iter().product()
    }

    /// Whether position q is output q.
    pub fn is_whole(&self) -> bool {
        self.out_step == [1; 3]
    }

    /// The coordinates of position `q`.
    pub fn unravel(&self, q: usize) -> [usize; 3] {
        let [_, h, w] = self.count;
        [q / (h * w), q / w % h, q % w]
    }
}

fn unravel(i: usize, size: [usize; 3]) -> [usize; 3] {
    [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]]
}

/// Packs the weights of all passes.
pub(super) fn pack<W: Packed>(
    isa: Isa,
    kind: &ConvKind,
    w: &[f32],
) -> Result<Vec<Pass<W>>, TensorError> {
    if !kind.transposed {
        let reach = |tap| {
            let at = unravel(tap, kind.kernel);
            Some(std::array::from_fn(|axis| {
                (at[axis] * kind.dilations[axis]) as i32
            }))
        };
        let taps: Vec<usize> = (0..kind.taps()).collect();
        return Ok(vec![pack_pass(isa, kind, w, [0; 3], &taps, reach)?]);
    }
    let all_finite = w.iter().all(|w| w.is_finite());
    let residues: usize = kind.strides.iter().product();
    (0..residues)
        .map(|residue| {
            let residue = unravel(residue, kind.strides);
            let reach = |tap| {
                let at = unravel(tap, kind.kernel);
                let mut offset = [0; 3];
                for axis in 0..3 {
                    let back = (at[axis] * kind.dilations[axis]) as i64;
                    let stride = kind.strides[axis] as i64;
                    let distance = residue[axis] as i64 - back;
                    if distance.rem_euclid(stride) != 0 {
                        return None;
                    }
                    offset[axis] = (distance / stride) as i32;
                }
                Some(offset)
            };
            let taps: Vec<usize> = (0..kind.taps())
                .filter(|&tap| !all_finite || reach(tap).is_some())
                .collect();
            pack_pass(isa, kind, w, residue, &taps, reach)
        })
        .collect()
}

fn pack_pass<W: Packed>(
    isa: Isa,
    kind: &ConvKind,
    w: &[f32],
    residue: [usize; 3],
    taps: &[usize],
    reach: impl Fn(usize) -> Option<[i32; 3]>,
) -> Result<Pass<W>, TensorError> {
    let (ins, outs) = (kind.in_per_group(), kind.out_per_group());
    // A new slice begins wherever the place among all terms, those left out included, passes a multiple of the slice's length.
    let mut slices: Vec<Range<usize>> = Vec::new();
    let mut current = None;
    let terms = taps
        .iter()
        .flat_map(|tap| (0..ins).map(move |ci| tap * ins + ci));
    for (kept, place) in terms.enumerate() {
        let slice = place / SLICE;
        match slices.last_mut() {
            Some(last) if current == Some(slice) => last.end = kept + 1,
            _ => slices.push(kept..kept + 1),
        }
        current = Some(slice);
    }
    let weights = (0..kind.groups)
        .map(|group| {
            W::pack(isa, outs, taps.len() * ins, |row, k| {
                w[kind.weight_index(group * outs + row, k % ins, taps[k / ins])]
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Pass {
        residue,
        taps: taps.iter().map(|&tap| reach(tap)).collect(),
        slices,
        weights,
    })
}
