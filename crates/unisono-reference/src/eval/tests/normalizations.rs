//! Softmax and normalisations: worked examples, and equal bits with the arithmetic's own definitions.

use super::*;
use crate::arith::{self};
use unisono_graph::ops::normalize::{
    BatchNormalization, GroupNormalization, InstanceNormalization, LayerNormalization,
    LocalResponseNormalization, LpNormalization, MeanVarianceNormalization, RmsNormalization,
    Softmax, SoftmaxFunction,
};

#[test]
fn normalisations_have_the_bits_of_the_definition() {
    let mut numbers = Numbers(8);
    let (rows, n) = (3, 1500);
    let (x, scale, bias) = (
        numbers.floats(&[rows, n]),
        numbers.floats(&[n]),
        numbers.floats(&[n]),
    );
    let (xs, scales, biases) = (
        x.as_slice::<f32>().unwrap(),
        scale.as_slice().unwrap(),
        bias.as_slice().unwrap(),
    );
    let mut expected = vec![0.0; rows * n];
    let mut by_row = |f: &mut dyn FnMut(&[f32], &mut [f32])| {
        for (x, y) in xs.chunks(n).zip(expected.chunks_mut(n)) {
            f(x, y);
        }
        expected.clone()
    };
    let softmax = |function, axis| Softmax {
        function,
        axis,
        flatten: false,
    };
    let soft = by_row(&mut |x, y| arith::softmax_row(x, y));
    same_as(
        &output(&softmax(SoftmaxFunction::Softmax, -1), &[&x]).unwrap(),
        &soft,
    );
    let log = by_row(&mut |x, y| arith::log_softmax_row(x, y));
    same_as(
        &output(&softmax(SoftmaxFunction::LogSoftmax, 1), &[&x]).unwrap(),
        &log,
    );
    let layer = by_row(&mut |x, y| {
        arith::layer_norm_row(x, scales, Some(biases), 1e-5, y);
    });
    let op = LayerNormalization {
        axis: -1,
        epsilon: 1e-5,
        stash: DType::F32,
    };
    let found = outputs(
        &op,
        &[Some(x.clone()), Some(scale.clone()), Some(bias.clone())],
        3,
    )
    .unwrap();
    same_as(&found[0], &layer);
    let moments: Vec<(f32, f32)> = xs.chunks(n).map(|x| arith::moments(x, 1e-5)).collect();
    assert_eq!(found[1].shape(), [rows, 1]);
    same_as(&found[1], &moments.iter().map(|m| m.0).collect::<Vec<_>>());
    same_as(&found[2], &moments.iter().map(|m| m.1).collect::<Vec<_>>());
    let rms = by_row(&mut |x, y| arith::rms_norm_row(x, scales, 1e-5, y));
    same_as(
        &output(
            &RmsNormalization {
                axis: 1,
                epsilon: 1e-5,
            },
            &[&x, &scale],
        )
        .unwrap(),
        &rms,
    );
    // Softmax over an axis that is not the last goes by slices.
    let mut columns = vec![0.0; rows * n];
    for j in 0..n {
        arith::softmax(arith::Order::Slices, rows, |i| i * n + j, xs, &mut columns);
    }
    same_as(
        &output(&softmax(SoftmaxFunction::Softmax, 0), &[&x]).unwrap(),
        &columns,
    );
}

#[test]
fn normalisations_of_channels() {
    let x = floats(&[1, 2, 2], &[1.0, 3.0, 10.0, 30.0]);
    let (two, zero) = (floats(&[2], &[2.0, 2.0]), floats(&[2], &[0.0, 1.0]));
    let (mean, var) = (floats(&[2], &[1.0, 10.0]), floats(&[2], &[4.0, 100.0]));
    let group = |per_channel| GroupNormalization {
        groups: 1,
        epsilon: 0.0,
        per_channel,
    };
    let pair = floats(&[1, 2, 1], &[1.0, 3.0]);
    let hard = Softmax {
        function: SoftmaxFunction::Hardmax,
        axis: 1,
        flatten: true,
    };
    check(vec![
        row(
            "batch",
            BatchNormalization { epsilon: 0.0 },
            &[&x, &two, &zero, &mean, &var],
            floats(&[1, 2, 2], &[0.0, 2.0, 1.0, 5.0]),
        ),
        row(
            "instance",
            InstanceNormalization { epsilon: 0.0 },
            &[&x, &two, &zero],
            floats(&[1, 2, 2], &[-2.0, 2.0, -1.0, 3.0]),
        ),
        row(
            "groups, parameters by channel",
            group(true),
            &[&pair, &two, &zero],
            floats(&[1, 2, 1], &[-2.0, 3.0]),
        ),
        row(
            "groups, parameters by group",
            group(false),
            &[&pair, &floats(&[1], &[2.0]), &floats(&[1], &[1.0])],
            floats(&[1, 2, 1], &[-1.0, 3.0]),
        ),
        row(
            "l2",
            LpNormalization { axis: -1, p: 2 },
            &[&floats(&[2, 2], &[3.0, 4.0, 0.0, 0.0])],
            floats(&[2, 2], &[0.6, 0.8, 0.0, 0.0]),
        ),
        row(
            "l1",
            LpNormalization { axis: 0, p: 1 },
            &[&floats(&[2], &[1.0, -3.0])],
            floats(&[2], &[0.25, -0.75]),
        ),
        row(
            "mean and variance",
            MeanVarianceNormalization { axes: vec![0, 2] },
            &[&floats(&[2, 1, 1], &[1.0, 3.0])],
            floats(&[2, 1, 1], &[-1.0, 1.0]),
        ),
        row(
            "local response",
            LocalResponseNormalization {
                alpha: 2.0,
                beta: 1.0,
                bias: 1.0,
                size: 2,
            },
            &[&floats(&[1, 3], &[1.0, 2.0, 3.0])],
            floats(&[1, 3], &[1.0 / 6.0, 2.0 / 14.0, 0.3]),
        ),
        row(
            "hardmax flattens",
            hard,
            &[&floats(&[1, 2, 2], &[1.0, 5.0, 5.0, 2.0])],
            floats(&[1, 2, 2], &[0.0, 1.0, 0.0, 0.0]),
        ),
    ]);
}
