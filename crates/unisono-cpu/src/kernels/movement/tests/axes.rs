//! Axes in another order, cut, repeated, grown.

use unisono_graph::ops::movement::{Pad, PadMode, Slice, SliceBounds, Transpose};
use unisono_graph::ops::shape::Expand;
use unisono_tensor::{DType, Tensor};

use super::{Case, TYPES, assert_none, inputs, list, tensor};

/// All orders of this many axes.
fn permutations(rank: usize) -> Vec<Vec<usize>> {
    let Some(last) = rank.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for shorter in permutations(last) {
        for at in 0..=last {
            let mut longer = shorter.clone();
            longer.insert(at, last);
            all.push(longer);
        }
    }
    all
}

#[test]
fn a_transpose_puts_axes_in_any_order() {
    let shapes: [&[usize]; 9] = [
        &[],
        &[5],
        &[0, 3],
        &[3, 130],
        &[70, 301],
        &[20, 33, 41],
        &[2, 3, 1, 17],
        &[3, 16, 2, 5],
        &[2, 1, 3, 2, 4],
    ];
    for dtype in TYPES {
        for shape in shapes {
            for perm in permutations(shape.len()) {
                let op = Transpose { perm: Some(perm) };
                Case::new(op, inputs([tensor(dtype, shape, 1)])).check();
            }
            let op = Transpose { perm: None };
            Case::new(op, inputs([tensor(dtype, shape, 1)])).check();
        }
    }
}

#[test]
fn a_slice_takes_what_its_bounds_say() {
    type Bounds<'a> = (
        &'a [usize],
        &'a [i64],
        &'a [i64],
        Option<&'a [i64]>,
        Option<&'a [i64]>,
    );
    let far = i64::MAX;
    let cases: [Bounds<'_>; 11] = [
        (&[7, 40], &[2], &[5], None, None),
        (&[7, 40], &[-9], &[far], Some(&[-1]), None),
        (&[300, 301], &[3, 1], &[299, 290], None, None),
        (&[300, 301], &[0, 0], &[far, far], None, Some(&[2, 3])),
        (&[30, 31], &[-1, -1], &[i64::MIN, 2], None, Some(&[-1, -7])),
        (&[4, 5, 6], &[4], &[2], Some(&[1]), None),
        (&[4, 5, 6], &[1], &[2], Some(&[2]), None),
        (&[4, 5, 6], &[3], &[far], Some(&[0]), Some(&[far])),
        (&[100_000], &[5], &[far], None, None),
        (&[100_000], &[5], &[far], None, Some(&[2])),
        (&[0, 5], &[1], &[4], Some(&[1]), None),
    ];
    for dtype in TYPES {
        for (shape, starts, ends, axes, steps) in cases {
            let data = tensor(dtype, shape, 1);
            let inputs = vec![
                Some(data.clone()),
                Some(list(starts)),
                Some(list(ends)),
                axes.map(list),
                steps.map(list),
            ];
            Case::new(Slice { bounds: None }, inputs).fixed(1).check();
            if steps.is_none() {
                let bounds = Some(SliceBounds {
                    starts: starts.to_vec(),
                    ends: ends.to_vec(),
                    axes: axes.map(<[i64]>::to_vec),
                });
                Case::new(Slice { bounds }, vec![Some(data)]).check();
            }
        }
    }
}

#[test]
fn an_expansion_repeats_axes_of_length_one() {
    let cases: [(&[usize], &[i64]); 9] = [
        (&[], &[3, 70_000]),
        (&[1], &[0]),
        (&[5], &[3, 5]),
        (&[5, 1], &[5, 300]),
        (&[1, 70], &[500, 70]),
        (&[2, 1, 3, 1], &[2, 40, 3, 9]),
        (&[4, 1, 3], &[1, 1, 1]),
        (&[4, 1, 3], &[2, 4, 5, 3]),
        (&[3, 1], &[1, 0]),
    ];
    for dtype in TYPES {
        for (shape, wanted) in cases {
            let inputs = inputs([tensor(dtype, shape, 1), list(wanted)]);
            Case::new(Expand, inputs).fixed(1).check();
        }
    }
}

#[test]
fn padding_grows_and_shrinks_every_side() {
    let cases: [(&[usize], &[i64]); 9] = [
        (&[], &[]),
        (&[5], &[2, 3]),
        (&[0], &[2, 3]),
        (&[2, 3, 30, 41], &[0, 0, 1, 1, 0, 0, 1, 2]),
        (&[2, 3, 30, 41], &[1, 0, -2, 3, 0, 2, 1, -4]),
        (&[4, 5], &[-4, 0, 0, 0]),
        (&[4, 5], &[-5, 1, 3, 1]),
        (&[1, 2], &[5, 0, -4, 0]),
        (&[150, 170], &[3, 0, 2, 90]),
    ];
    for dtype in TYPES {
        for (shape, pads) in cases {
            let op = || Pad {
                mode: PadMode::Constant,
                pads: None,
                value: None,
            };
            let data = || tensor(dtype, shape, 1);
            let plain = inputs([data(), list(pads)]);
            Case::new(op(), plain).fixed(1).check();
            let with_value = inputs([data(), list(pads), tensor(dtype, &[], 2)]);
            Case::new(op(), with_value).fixed(1).check();
            let fixed = |value: f32| Pad {
                mode: PadMode::Constant,
                pads: Some(pads.to_vec()),
                value: Some(value),
            };
            let value = if dtype == DType::F32 { -1.5 } else { 0.0 };
            Case::new(fixed(value), inputs([data()])).check();
        }
        let op = Pad {
            mode: PadMode::Constant,
            pads: None,
            value: None,
        };
        let some_axes = vec![
            Some(tensor(dtype, &[4, 5, 6], 1)),
            Some(list(&[1, 2, 3, 4])),
            None,
            Some(list(&[-1, 0])),
        ];
        Case::new(op, some_axes).fixed(1).check();
    }
}

#[test]
fn what_is_only_known_while_running_is_left_to_the_reference() {
    let data = || tensor(DType::F32, &[4, 5], 1);
    let bounds = inputs([data(), list(&[0]), list(&[2])]);
    assert_none(&Case::new(Slice { bounds: None }, bounds), &[&[2, 5]]);
    let pad = |mode, data: Tensor| {
        let op = Pad {
            mode,
            pads: Some(vec![0, 1, 0, 1]),
            value: Some(0.5),
        };
        Case::new(op, inputs([data]))
    };
    assert_none(&pad(PadMode::Edge, data()), &[&[4, 7]]);
    // Its constant would have to be rounded.
    let half = tensor(DType::F16, &[4, 5], 1);
    assert_none(&pad(PadMode::Constant, half), &[&[4, 7]]);
    let mut turned = pad(PadMode::Constant, data());
    turned.channels_last = true;
    assert_none(&turned, &[&[4, 7]]);
    let mut turned = Case::new(Transpose { perm: None }, inputs([data()]));
    turned.channels_last = true;
    assert_none(&turned, &[&[5, 4]]);
}
