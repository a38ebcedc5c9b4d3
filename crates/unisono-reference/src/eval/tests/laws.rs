//! Laws that hold for all data: what undoes what, what equals what, and that narrow floats are rounded once.

use super::super::supports;
use super::*;
use proptest::prelude::*;
use unisono_graph::ops::activation::{Activate, Activation};
use unisono_graph::ops::binary::{Binary, BinaryFunction, Variadic, VariadicFunction};
use unisono_graph::ops::cast::Cast;
use unisono_graph::ops::conv::Conv;
use unisono_graph::ops::indexing::{Gather, GatherElements, ScatterElements, ScatterReduction};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::{
    Concat, Pad, PadMode, Slice, Split, SplitParts, Tile, Transpose,
};
use unisono_graph::ops::normalize::{LayerNormalization, Softmax, SoftmaxFunction};
use unisono_graph::ops::reduce::{ArgReduce, Reduce, ReduceFunction};
use unisono_graph::ops::shape::Expand;
use unisono_graph::ops::unary::{Unary, UnaryFunction};

fn shapes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..5, 1..5)
}

fn filled(shape: &[usize], seed: u64) -> Tensor {
    Numbers(seed).floats(shape)
}

fn longs_of(values: impl IntoIterator<Item = i64>) -> Tensor {
    let values: Vec<i64> = values.into_iter().collect();
    longs(&[values.len()], &values)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_transpose_and_its_inverse_cancel(shape in shapes(), seed: u64) {
        let x = filled(&shape, seed);
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        let mut numbers = Numbers(seed);
        for i in (1..perm.len()).rev() {
            perm.swap(i, numbers.below(i + 1));
        }
        let mut inverse = vec![0; perm.len()];
        for (i, &p) in perm.iter().enumerate() {
            inverse[p] = i;
        }
        let there = output(&Transpose { perm: Some(perm.clone()) }, &[&x]).unwrap();
        // Every element is where the permutation says.
        let (from, to) = (x.as_slice::<f32>().unwrap(), there.as_slice::<f32>().unwrap());
        for (i, &found) in to.iter().enumerate() {
            let (mut rest, mut at) = (i, vec![0; shape.len()]);
            for a in (0..shape.len()).rev() {
                at[perm[a]] = rest % there.shape()[a];
                rest /= there.shape()[a];
            }
            let source = at.iter().zip(&shape).fold(0, |s, (&i, &len)| s * len + i);
            prop_assert_eq!(found, from[source]);
        }
        let back = output(&Transpose { perm: Some(inverse) }, &[&there]).unwrap();
        prop_assert!(same(&back, &x));
    }

    #[test]
    fn large_transposes_move_every_element(a in 14usize..40, b in 14usize..40, c in 1usize..4, front: bool) {
        let x = count_up(&[a, c, b]);
        let perm = if front { vec![2, 0, 1] } else { vec![2, 1, 0] };
        let y = output(&Transpose { perm: Some(perm) }, &[&x]).unwrap();
        let y = y.as_slice::<f32>().unwrap();
        for (i, j, k) in [(0, 0, 0), (a - 1, c - 1, b - 1), (a / 2, c / 2, b / 3), (a - 1, 0, 1)] {
            let place = if front { (k * a + i) * c + j } else { (k * c + j) * a + i };
            prop_assert_eq!(y[place], ((i * c + j) * b + k) as f32);
        }
        let mut all: Vec<u32> = y.iter().map(|&v| v as u32).collect();
        all.sort_unstable();
        prop_assert!(all.iter().enumerate().all(|(i, &v)| i as u32 == v));
    }

    #[test]
    fn parts_joined_are_the_whole(shape in shapes(), seed: u64) {
        let x = filled(&shape, seed);
        let axis = Numbers(seed).below(shape.len());
        let first = Numbers(!seed).below(shape[axis] + 1) as i64;
        let rest = shape[axis] as i64 - first;
        let split = Split { axis: axis as i64, parts: SplitParts::Lengths(vec![first, rest]) };
        let parts = outputs(&split, &[Some(x.clone())], 2).unwrap();
        let whole = output(&Concat { axis: axis as i64 }, &[&parts[0], &parts[1]]).unwrap();
        prop_assert!(same(&whole, &x));
        let slice = |from: i64, to: i64| {
            let (from, to, axis) = (longs_of([from]), longs_of([to]), longs_of([axis as i64]));
            output(&Slice { bounds: None }, &[&x, &from, &to, &axis]).unwrap()
        };
        prop_assert!(same(&slice(0, first), &parts[0]));
        prop_assert!(same(&slice(first, i64::MAX), &parts[1]));
    }

    #[test]
    fn what_is_padded_can_be_cut_off(shape in shapes(), seed: u64, mode in 0usize..4) {
        let x = filled(&shape, seed);
        let mode = [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap][mode];
        let mut numbers = Numbers(seed);
        let mut amounts = |most: fn(usize) -> usize| -> Vec<i64> {
            shape.iter().map(|&n| numbers.below(most(n)) as i64).collect()
        };
        let (before, behind) = (amounts(|n| n), amounts(|n| n));
        let pads = longs_of(before.iter().chain(&behind).copied());
        let padded = output(&Pad { mode, pads: None, value: None }, &[&x, &pads]).unwrap();
        let ends = longs_of(before.iter().zip(&shape).map(|(&b, &n)| b + n as i64));
        let back = output(&Slice { bounds: None }, &[&padded, &longs_of(before), &ends]).unwrap();
        prop_assert!(same(&back, &x));
    }

    #[test]
    fn stretching_equals_tiling_and_adding_zeros(shape in shapes(), seed: u64) {
        let mut numbers = Numbers(seed);
        let narrow: Vec<usize> = shape.iter().map(|&n| if numbers.below(2) == 0 { 1 } else { n }).collect();
        let x = filled(&narrow, seed);
        let wide = output(&Expand, &[&x, &longs_of(shape.iter().map(|&n| n as i64))]).unwrap();
        let repeats = longs_of(shape.iter().zip(&narrow).map(|(&n, &m)| (n / m) as i64));
        prop_assert!(same(&wide, &output(&Tile, &[&x, &repeats]).unwrap()));
        let zeros = Tensor::zeros(DType::F32, &shape).unwrap();
        let sum = output(&Binary { function: BinaryFunction::Add }, &[&x, &zeros]).unwrap();
        prop_assert!(same(&wide, &sum));
        let three = Variadic { function: VariadicFunction::Sum };
        prop_assert!(same(&wide, &output(&three, &[&zeros, &x, &zeros]).unwrap()));
    }

    #[test]
    fn scattering_what_was_gathered_changes_nothing(shape in shapes(), seed: u64) {
        let x = filled(&shape, seed);
        let mut numbers = Numbers(seed);
        let axis = numbers.below(shape.len());
        let indices: Vec<i64> = (0..x.len())
            .map(|_| numbers.below(2 * shape[axis]) as i64 - shape[axis] as i64)
            .collect();
        let indices = longs(&shape, &indices);
        let axis = axis as i64;
        let found = output(&GatherElements { axis }, &[&x, &indices]).unwrap();
        let op = ScatterElements { axis, reduction: ScatterReduction::Replace };
        prop_assert!(same(&output(&op, &[&x, &indices, &found]).unwrap(), &x));
        // All indices in order gather the whole.
        let all = longs_of(0..shape[axis as usize] as i64);
        let gather = Gather { axis };
        prop_assert!(same(&output(&gather, &[&x, &all]).unwrap(), &x));
    }

    #[test]
    fn the_largest_is_where_its_position_says(shape in shapes(), seed: u64) {
        let x = filled(&shape, seed);
        let axis = Numbers(seed).below(shape.len()) as i64;
        let at = ArgReduce { largest: true, axis, keepdims: true, select_last_index: false };
        let at = output(&at, &[&x]).unwrap();
        let found = output(&GatherElements { axis }, &[&x, &at]).unwrap();
        let max = Reduce { function: ReduceFunction::Max, axes: Some(vec![axis]), keepdims: true, noop_with_empty_axes: false };
        prop_assert!(same(&found, &output(&max, &[&x]).unwrap()));
    }

    #[test]
    fn narrow_floats_are_computed_in_f32_and_rounded_once(seed: u64, which in 0usize..9, bf16: bool) {
        let op: Box<dyn Operator> = match which {
            0 => Box::new(Unary { function: UnaryFunction::Log }),
            1 => Box::new(Activate { function: Activation::GeluTanh }),
            2 => Box::new(Binary { function: BinaryFunction::Div }),
            3 => Box::new(Linear::default()),
            4 => Box::new(Softmax { function: SoftmaxFunction::Softmax, axis: -1, flatten: false }),
            5 => Box::new(LayerNormalization { axis: -1, epsilon: 1e-5, stash: DType::F32 }),
            6 => Box::new(Reduce { function: ReduceFunction::L2, axes: Some(vec![0]), keepdims: true, noop_with_empty_axes: false }),
            7 => Box::new(Variadic { function: VariadicFunction::Mean }),
            _ => Box::new(Conv::default()),
        };
        prop_assert!(supports(&*op));
        let narrow = if bf16 { DType::BF16 } else { DType::F16 };
        let shapes: &[&[usize]] = match which {
            0 | 1 | 4 | 6 => &[&[6, 7]],
            2 => &[&[6, 7], &[7]],
            3 => &[&[6, 300], &[300, 2]],
            5 => &[&[6, 7], &[7], &[7]],
            7 => &[&[6, 7], &[7], &[6, 1]],
            _ => &[&[1, 2, 9], &[3, 2, 4], &[3]],
        };
        let cast = |t: &Tensor, to: DType| output(&Cast { to }, &[t]).unwrap();
        let given: Vec<Tensor> = shapes.iter().enumerate().map(|(i, s)| cast(&filled(s, seed ^ i as u64), narrow)).collect();
        let wide: Vec<Tensor> = given.iter().map(|t| cast(t, DType::F32)).collect();
        let found = output(&*op, &given.iter().collect::<Vec<_>>()).unwrap();
        let expected = cast(&output(&*op, &wide.iter().collect::<Vec<_>>()).unwrap(), narrow);
        prop_assert!(same(&found, &expected));
    }
}
