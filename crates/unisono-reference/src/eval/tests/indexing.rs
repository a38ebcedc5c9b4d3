//! Operators that read or write where other values say.

use super::*;
use unisono_graph::ops::indexing::{
    Compress, Gather, GatherElements, GatherNd, NonMaxSuppression, NonZero, OneHot,
    ScatterElements, ScatterNd, ScatterReduction, Unique,
};

/// The error of an evaluation, with an output of this shape: inference would refuse small constants before.
fn refuse(op: &dyn Operator, inputs: &[&Tensor], shape: &[usize]) -> EvalError {
    let views: Vec<_> = inputs.iter().map(|t| Some(t.view().unwrap())).collect();
    let mut out = Tensor::zeros(DType::F32, shape).unwrap();
    evaluate(op, &views, &mut [out.view_mut()]).unwrap_err()
}

#[test]
fn gathering() {
    let x = count_up(&[2, 3]);
    check(vec![
        row(
            "rows",
            Gather { axis: 0 },
            &[&x, &longs(&[2], &[-1, 0])],
            floats(&[2, 3], &[3.0, 4.0, 5.0, 0.0, 1.0, 2.0]),
        ),
        row(
            "columns by a scalar",
            Gather { axis: 1 },
            &[&x, &longs(&[], &[1])],
            floats(&[2], &[1.0, 4.0]),
        ),
        row(
            "no index",
            Gather { axis: 1 },
            &[&x, &longs(&[0, 2], &[])],
            floats(&[2, 0, 2], &[]),
        ),
        row(
            "elements",
            GatherElements { axis: 1 },
            &[&x, &longs(&[1, 2], &[2, -3])],
            floats(&[1, 2], &[2.0, 0.0]),
        ),
        row(
            "tuples",
            GatherNd { batch_dims: 0 },
            &[&x, &longs(&[2, 2], &[0, 1, -1, -1])],
            floats(&[2], &[1.0, 5.0]),
        ),
        row(
            "rows by tuples",
            GatherNd { batch_dims: 0 },
            &[&x, &longs(&[1, 1], &[1])],
            floats(&[1, 3], &[3.0, 4.0, 5.0]),
        ),
        row(
            "tuples per batch",
            GatherNd { batch_dims: 1 },
            &[&x, &longs(&[2, 1], &[2, 0])],
            floats(&[2], &[2.0, 3.0]),
        ),
    ]);
    let outside = EvalError::Index {
        what: "indices",
        index: 3,
        limit: 3,
    };
    let refused = [
        refuse(&Gather { axis: 1 }, &[&x, &longs(&[1], &[3])], &[2, 1]),
        refuse(
            &GatherElements { axis: 1 },
            &[&x, &longs(&[1, 1], &[3])],
            &[1, 1],
        ),
        refuse(
            &GatherNd { batch_dims: 0 },
            &[&x, &longs(&[1, 2], &[0, 3])],
            &[1],
        ),
    ];
    for error in refused {
        assert_eq!(error, outside);
    }
}

#[test]
fn scattering() {
    use ScatterReduction as R;
    let x = floats(&[3], &[1.0, 2.0, 3.0]);
    let (at, new) = (longs(&[3], &[1, -1, 1]), floats(&[3], &[10.0, 20.0, 30.0]));
    let elements = |reduction| ScatterElements { axis: 0, reduction };
    let tuples = longs(&[3, 1], &[1, 2, 1]);
    check(vec![
        row(
            "the last one stays",
            elements(R::Replace),
            &[&x, &at, &new],
            floats(&[3], &[1.0, 30.0, 20.0]),
        ),
        row(
            "add",
            elements(R::Add),
            &[&x, &at, &new],
            floats(&[3], &[1.0, 42.0, 23.0]),
        ),
        row(
            "mul",
            elements(R::Mul),
            &[&x, &at, &new],
            floats(&[3], &[1.0, 600.0, 60.0]),
        ),
        row(
            "max",
            elements(R::Max),
            &[&x, &at, &new],
            floats(&[3], &[1.0, 30.0, 20.0]),
        ),
        row(
            "min",
            elements(R::Min),
            &[&x, &at, &new],
            floats(&[3], &[1.0, 2.0, 3.0]),
        ),
        row(
            "tuples",
            ScatterNd { reduction: R::Add },
            &[&x, &tuples, &new],
            floats(&[3], &[1.0, 42.0, 23.0]),
        ),
        row(
            "slices by tuples",
            ScatterNd {
                reduction: R::Replace,
            },
            &[
                &count_up(&[2, 2]),
                &longs(&[1, 1], &[0]),
                &floats(&[1, 2], &[8.0, 9.0]),
            ],
            floats(&[2, 2], &[8.0, 9.0, 2.0, 3.0]),
        ),
    ]);
    let error = refuse(
        &elements(R::Replace),
        &[&x, &longs(&[1], &[-4]), &floats(&[1], &[0.0])],
        &[3],
    );
    let outside = EvalError::Index {
        what: "indices",
        index: -4,
        limit: 3,
    };
    assert_eq!(error, outside);
}

#[test]
fn marking_and_selecting() {
    let values = floats(&[2], &[0.0, 1.0]);
    let x = floats(&[2, 2], &[0.0, f32::NAN, -0.0, 3.0]);
    check(vec![
        row(
            "one hot",
            OneHot { axis: -1 },
            &[&longs(&[3], &[1, -1, 7]), &longs(&[], &[2]), &values],
            floats(&[3, 2], &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]),
        ),
        row(
            "one hot in front",
            OneHot { axis: 0 },
            &[&longs(&[2], &[1, 0]), &longs(&[], &[2]), &values],
            floats(&[2, 2], &[0.0, 1.0, 1.0, 0.0]),
        ),
        row("non zero", NonZero, &[&x], longs(&[2, 2], &[0, 1, 1, 1])),
        row(
            "nothing is non zero",
            NonZero,
            &[&floats(&[3], &[0.0; 3])],
            longs(&[1, 0], &[]),
        ),
        row(
            "compress rows",
            Compress { axis: Some(0) },
            &[&count_up(&[3, 2]), &bools(&[3], &[false, true, true])],
            floats(&[2, 2], &[2.0, 3.0, 4.0, 5.0]),
        ),
        row(
            "compress elements",
            Compress { axis: None },
            &[&count_up(&[3, 2]), &bools(&[2], &[false, true])],
            floats(&[1], &[1.0]),
        ),
    ]);
}

#[test]
fn different_elements() {
    let x = floats(&[6], &[2.0, 1.0, 1.0, 3.0, 4.0, 3.0]);
    let sorted = outputs(
        &Unique {
            axis: None,
            sorted: true,
        },
        &[Some(x.clone())],
        4,
    )
    .unwrap();
    let expected = [vec![1, 0, 3, 4], vec![1, 0, 0, 2, 3, 2], vec![2, 1, 2, 1]];
    assert_eq!(sorted[0].as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    for (found, expected) in sorted[1..].iter().zip(&expected) {
        assert_eq!(&found.to_i64s().unwrap(), expected);
    }
    let met = outputs(
        &Unique {
            axis: None,
            sorted: false,
        },
        &[Some(x)],
        3,
    )
    .unwrap();
    assert_eq!(met[0].as_slice::<f32>().unwrap(), [2.0, 1.0, 3.0, 4.0]);
    assert_eq!(met[2].to_i64s().unwrap(), [0, 1, 1, 2, 3, 2]);
    let rows = floats(&[3, 2], &[1.0, 0.0, 0.0, 5.0, 1.0, 0.0]);
    let rows = outputs(
        &Unique {
            axis: Some(0),
            sorted: true,
        },
        &[Some(rows)],
        2,
    )
    .unwrap();
    assert!(same(&rows[0], &floats(&[2, 2], &[0.0, 5.0, 1.0, 0.0])));
    assert_eq!(rows[1].to_i64s().unwrap(), [1, 0]);
}

#[test]
fn boxes_that_overlap_are_left_out() {
    let op = NonMaxSuppression {
        center_point_box: false,
    };
    // Box 1 nearly covers box 0; box 2 is elsewhere, and given by its other corners.
    let boxes = floats(
        &[1, 3, 4],
        &[
            0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 11.0, 11.0, 10.0, 10.0,
        ],
    );
    let scores = floats(&[1, 1, 3], &[0.9, 0.95, 0.3]);
    let run = |most: i64, iou: f32, score: f32| {
        let limits = [
            longs(&[], &[most]),
            floats(&[], &[iou]),
            floats(&[], &[score]),
        ];
        let inputs = [&boxes, &scores, &limits[0], &limits[1], &limits[2]];
        output(&op, &inputs).unwrap().to_i64s().unwrap()
    };
    assert_eq!(run(3, 0.5, 0.0), [0, 0, 1, 0, 0, 2]);
    assert_eq!(run(3, 0.9, 0.0), [0, 0, 1, 0, 0, 0, 0, 0, 2]);
    assert_eq!(run(3, 0.5, 0.5), [0, 0, 1]);
    assert_eq!(run(1, 0.5, 0.0), [0, 0, 1]);
    assert!(run(0, 0.5, 0.0).is_empty());
}
