//! Operators that only move elements.

use super::*;
use unisono_graph::ops::movement::{
    BlockOrder, Concat, DepthToSpace, Pad, PadMode, ReverseSequence, Slice, SpaceToDepth, Split,
    SplitParts, Tile, Transpose, Trilu,
};
use unisono_graph::ops::shape;

fn pad(mode: PadMode) -> Pad {
    Pad {
        mode,
        pads: None,
        value: None,
    }
}

#[test]
fn views_and_shapes() {
    let x = count_up(&[2, 3, 4]);
    check(vec![
        row(
            "shape",
            shape::Shape {
                start: 0,
                end: None,
            },
            &[&x],
            longs(&[3], &[2, 3, 4]),
        ),
        row(
            "part of the shape",
            shape::Shape {
                start: -2,
                end: Some(-1),
            },
            &[&x],
            longs(&[1], &[3]),
        ),
        row(
            "no part of the shape",
            shape::Shape {
                start: 5,
                end: Some(1),
            },
            &[&x],
            longs(&[0], &[]),
        ),
        row("size", shape::Size, &[&x], longs(&[], &[24])),
        row(
            "reshape",
            shape::Reshape { allow_zero: false },
            &[&x, &longs(&[3], &[0, -1, 2])],
            count_up(&[2, 6, 2]),
        ),
        row(
            "flatten",
            shape::Flatten { axis: 2 },
            &[&x],
            count_up(&[6, 4]),
        ),
        row(
            "squeeze",
            shape::Squeeze {
                axes: Some(vec![-3]),
            },
            &[&count_up(&[1, 2, 1])],
            count_up(&[2, 1]),
        ),
        row(
            "unsqueeze",
            shape::Unsqueeze { axes: None },
            &[&x, &longs(&[1], &[-1])],
            count_up(&[2, 3, 4, 1]),
        ),
        row(
            "expand both ways",
            shape::Expand,
            &[&floats(&[2, 1], &[1.0, 2.0]), &longs(&[2], &[1, 3])],
            floats(&[2, 3], &[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]),
        ),
    ]);
}

#[test]
fn transposes_slices_and_pieces() {
    let x = count_up(&[2, 3]);
    let slice = || Slice { bounds: None };
    let (first, last) = (longs(&[1], &[i64::MAX]), longs(&[1], &[i64::MIN]));
    let (axis, back) = (longs(&[1], &[-1]), longs(&[1], &[-1]));
    check(vec![
        row(
            "transpose",
            Transpose { perm: None },
            &[&x],
            floats(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        ),
        row(
            "permute",
            Transpose {
                perm: Some(vec![1, 2, 0]),
            },
            &[&count_up(&[2, 1, 2])],
            floats(&[1, 2, 2], &[0.0, 2.0, 1.0, 3.0]),
        ),
        row(
            "a slice backwards",
            slice(),
            &[&x, &first, &last, &axis, &back],
            floats(&[2, 3], &[2.0, 1.0, 0.0, 5.0, 4.0, 3.0]),
        ),
        row(
            "a slice with a step",
            slice(),
            &[
                &x,
                &longs(&[1], &[-3]),
                &longs(&[1], &[100]),
                &axis,
                &longs(&[1], &[2]),
            ],
            floats(&[2, 2], &[0.0, 2.0, 3.0, 5.0]),
        ),
        row(
            "an empty slice",
            slice(),
            &[&x, &longs(&[1], &[2]), &longs(&[1], &[1]), &axis],
            floats(&[2, 0], &[]),
        ),
        row(
            "concat",
            Concat { axis: -1 },
            &[&x, &floats(&[2, 0], &[]), &floats(&[2, 1], &[7.0, 8.0])],
            floats(&[2, 4], &[0.0, 1.0, 2.0, 7.0, 3.0, 4.0, 5.0, 8.0]),
        ),
        row(
            "tile",
            Tile,
            &[&floats(&[2], &[1.0, 2.0]), &longs(&[1], &[2])],
            floats(&[4], &[1.0, 2.0, 1.0, 2.0]),
        ),
        row(
            "tile to nothing",
            Tile,
            &[&x, &longs(&[2], &[2, 0])],
            floats(&[4, 0], &[]),
        ),
    ]);
    let thirds = Split {
        axis: 1,
        parts: SplitParts::Input,
    };
    let parts = outputs(
        &thirds,
        &[Some(x.clone()), Some(longs(&[3], &[1, 0, 2]))],
        3,
    )
    .unwrap();
    assert!(same(&parts[0], &floats(&[2, 1], &[0.0, 3.0])));
    assert!(same(&parts[1], &floats(&[2, 0], &[])));
    assert!(same(&parts[2], &floats(&[2, 2], &[1.0, 2.0, 4.0, 5.0])));
    let equal = Split {
        axis: 0,
        parts: SplitParts::Equal(2),
    };
    let parts = outputs(&equal, &[Some(count_up(&[3]))], 2).unwrap();
    assert!(same(&parts[0], &count_up(&[2])) && same(&parts[1], &floats(&[1], &[2.0])));
}

#[test]
fn padding_and_blocks() {
    let x = count_up(&[3]);
    let two = longs(&[2], &[2, 1]);
    let plane = count_up(&[1, 4, 1, 2]);
    let (last, first) = (BlockOrder::DepthLast, BlockOrder::DepthFirst);
    check(vec![
        row(
            "zeros",
            pad(PadMode::Constant),
            &[&x, &two],
            floats(&[6], &[0.0, 0.0, 0.0, 1.0, 2.0, 0.0]),
        ),
        row(
            "a value",
            pad(PadMode::Constant),
            &[&x, &two, &Tensor::scalar(9f32)],
            floats(&[6], &[9.0, 9.0, 0.0, 1.0, 2.0, 9.0]),
        ),
        row(
            "less than nothing",
            pad(PadMode::Constant),
            &[&x, &longs(&[2], &[-1, 1]), &Tensor::scalar(9f32)],
            floats(&[3], &[1.0, 2.0, 9.0]),
        ),
        row(
            "one of two axes",
            pad(PadMode::Constant),
            &[
                &count_up(&[1, 2]),
                &longs(&[2], &[1, 0]),
                &Tensor::scalar(9f32),
                &longs(&[1], &[0]),
            ],
            floats(&[2, 2], &[9.0, 9.0, 0.0, 1.0]),
        ),
        row(
            "reflect",
            pad(PadMode::Reflect),
            &[&x, &two],
            floats(&[6], &[2.0, 1.0, 0.0, 1.0, 2.0, 1.0]),
        ),
        row(
            "edge",
            pad(PadMode::Edge),
            &[&x, &two],
            floats(&[6], &[0.0, 0.0, 0.0, 1.0, 2.0, 2.0]),
        ),
        row(
            "wrap",
            pad(PadMode::Wrap),
            &[&x, &two],
            floats(&[6], &[1.0, 2.0, 0.0, 1.0, 2.0, 0.0]),
        ),
        row(
            "fixed by the node",
            Pad {
                mode: PadMode::Constant,
                pads: Some(vec![0, 1]),
                value: Some(-1.0),
            },
            &[&x],
            floats(&[4], &[0.0, 1.0, 2.0, -1.0]),
        ),
        row(
            "depth to space",
            DepthToSpace {
                block: 2,
                order: last,
            },
            &[&plane],
            floats(&[1, 1, 2, 4], &[0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]),
        ),
        row(
            "blocks of two depths",
            DepthToSpace {
                block: 1,
                order: first,
            },
            &[&plane],
            plane.clone(),
        ),
        row(
            "upper triangle",
            Trilu { upper: true },
            &[&count_up(&[2, 3]), &longs(&[], &[1])],
            floats(&[2, 3], &[0.0, 1.0, 2.0, 0.0, 0.0, 5.0]),
        ),
        row(
            "lower triangle",
            Trilu { upper: false },
            &[&count_up(&[3, 2])],
            floats(&[3, 2], &[0.0, 0.0, 2.0, 3.0, 4.0, 5.0]),
        ),
        row(
            "reverse sequences",
            ReverseSequence {
                batch_axis: 1,
                time_axis: 0,
            },
            &[&count_up(&[3, 2]), &longs(&[2], &[2, 3])],
            floats(&[3, 2], &[2.0, 5.0, 0.0, 3.0, 4.0, 1.0]),
        ),
    ]);
    // Both orders are undone by their reverse, and differ where there are several depths.
    let x = count_up(&[2, 8, 2, 3]);
    let mut moved = Vec::new();
    for order in [last, first] {
        let there = output(&DepthToSpace { block: 2, order }, &[&x]).unwrap();
        assert_eq!(there.shape(), [2, 2, 4, 6]);
        let back = output(&SpaceToDepth { block: 2, order }, &[&there]).unwrap();
        assert!(same(&back, &x));
        moved.push(there);
    }
    assert!(!same(&moved[0], &moved[1]));
}
