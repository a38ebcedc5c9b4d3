//! Values joined and cut along an axis.

use unisono_graph::ops::movement::{Concat, Split, SplitParts, Transpose};
use unisono_tensor::{DType, Tensor};

use super::{Case, TYPES, assert_none, inputs, list, tensor};

#[test]
fn values_are_joined_along_an_axis() {
    let cases: [(i64, &[&[usize]]); 6] = [
        (0, &[&[3, 4], &[0, 4], &[1, 4]]),
        (-1, &[&[3, 4], &[3, 1], &[3, 40]]),
        (1, &[&[2, 3, 50], &[2, 7, 50]]),
        (1, &[&[1, 40_000], &[1, 30_001], &[1, 3]]),
        (2, &[&[0, 3, 5], &[0, 3, 2]]),
        (1, &[&[5, 6]]),
    ];
    for dtype in TYPES {
        for (axis, shapes) in cases {
            let inputs = (shapes.iter().enumerate())
                .map(|(i, shape)| Some(tensor(dtype, shape, i)))
                .collect();
            Case::new(Concat { axis }, inputs).check();
        }
    }
}

#[test]
fn a_value_is_cut_along_an_axis() {
    let cases: [(i64, &[usize], &[i64]); 5] = [
        (0, &[7, 5], &[3, 0, 4]),
        (-1, &[7, 90], &[30, 59, 1]),
        (1, &[2, 9, 400], &[2, 7]),
        (0, &[80_000], &[79_998, 2]),
        (1, &[0, 3], &[1, 2]),
    ];
    for dtype in TYPES {
        for (axis, shape, lengths) in cases {
            let data = || tensor(dtype, shape, 1);
            let split = |parts: SplitParts| Split { axis, parts };
            let fixed = split(SplitParts::Lengths(lengths.to_vec()));
            let count = lengths.len();
            Case::new(fixed, inputs([data()])).outputs(count).check();
            let given = Case::new(split(SplitParts::Input), inputs([data(), list(lengths)]));
            given.fixed(1).outputs(count).check();
        }
        let equal = Split {
            axis: 1,
            parts: SplitParts::Equal(3),
        };
        let data = inputs([tensor(dtype, &[2, 8, 3], 1)]);
        Case::new(equal, data).outputs(3).check();
    }
}

/// The same value with its channels last.
fn turned(t: &Tensor) -> Tensor {
    let mut perm: Vec<usize> = (0..t.rank()).collect();
    perm[1..].rotate_left(1);
    let op = Transpose { perm: Some(perm) };
    Case::new(op, inputs([t.clone()])).reference().remove(0)
}

#[test]
fn axes_are_those_of_the_model_where_channels_are_last() {
    for dtype in TYPES {
        for rank in [2usize, 3, 4, 5] {
            for axis in 0..rank {
                let whole = &[2, 6, 4, 3, 5][..rank];
                let mut part = whole.to_vec();
                part[axis] += 3;
                let values = inputs([tensor(dtype, whole, 1), tensor(dtype, &part, 2)]);
                let mut join = Case::new(Concat { axis: axis as i64 }, values);
                let expected: Vec<Tensor> = join.reference().iter().map(turned).collect();
                join.channels_last = true;
                join.inputs = (join.inputs.iter().flatten().map(turned).map(Some)).collect();
                join.check_against(&expected);

                let parts = SplitParts::Lengths(vec![1, whole[axis] as i64 - 1]);
                let split = Split {
                    axis: axis as i64 - rank as i64,
                    parts,
                };
                let mut cut = Case::new(split, inputs([tensor(dtype, whole, 1)])).outputs(2);
                let expected: Vec<Tensor> = cut.reference().iter().map(turned).collect();
                cut.channels_last = true;
                cut.inputs = (cut.inputs.iter().flatten().map(turned).map(Some)).collect();
                cut.check_against(&expected);
            }
        }
    }
}

#[test]
fn lengths_that_are_not_known_are_left_to_the_reference() {
    let split = Split {
        axis: 0,
        parts: SplitParts::Input,
    };
    let lengths = inputs([tensor(DType::F32, &[4, 5], 1), list(&[1, 3])]);
    let case = Case::new(split, lengths).outputs(2);
    assert_none(&case, &[&[1, 5], &[3, 5]]);
}
