//! Products, convolutions, pooling, normalisations, recurrent layers and interpolation: worked examples, and equal bits with the
//! arithmetic's own definitions.

use super::*;
use crate::arith::{self, ConvShape, Epilogue, MatrixRef, PoolShape, Unary, first_difference};
use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::linear::{Linear, MatMulInteger};
use unisono_graph::ops::normalize::{
    BatchNormalization, GroupNormalization, InstanceNormalization, LayerNormalization,
    LocalResponseNormalization, LpNormalization, MeanVarianceNormalization, RmsNormalization,
    Softmax, SoftmaxFunction,
};
use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_graph::ops::resize::{Coordinates, Interpolation, NearestMode, Resize};
use unisono_graph::ops::window::{Padding, Window};

fn same_as(found: &Tensor, expected: &[f32]) {
    let found = found.as_slice::<f32>().unwrap();
    assert_eq!(first_difference(found, expected), None);
}

#[test]
fn products_broadcast_and_take_vectors() {
    let m = count_up(&[2, 3]);
    let v = floats(&[3], &[1.0, 10.0, 100.0]);
    let w = floats(&[2], &[1.0, 10.0]);
    let stack = count_up(&[2, 1, 1, 3]);
    let gemm = Linear {
        transpose_b: true,
        alpha: 0.5,
        beta: 2.0,
        activation: Some(Activation::Relu),
        gemm: true,
        ..Linear::default()
    };
    let bytes = |shape: &[usize], values: &[u8]| Tensor::from_slice(shape, values).unwrap();
    check(vec![
        row(
            "matrix times vector",
            Linear::default(),
            &[&m, &v],
            floats(&[2], &[210.0, 543.0]),
        ),
        row(
            "vector times matrix",
            Linear::default(),
            &[&w, &m],
            floats(&[3], &[30.0, 41.0, 52.0]),
        ),
        row(
            "vector times vector",
            Linear::default(),
            &[&v, &v],
            floats(&[], &[10101.0]),
        ),
        row(
            "stacks",
            Linear::default(),
            &[&stack, &floats(&[2, 3, 1], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0])],
            floats(&[2, 2, 1, 1], &[0.0, 2.0, 3.0, 5.0]),
        ),
        row(
            "gemm",
            gemm,
            &[
                &m,
                &floats(&[2, 3], &[1.0, 0.0, 0.0, 0.0, 0.0, -1.0]),
                &floats(&[2, 1], &[1.0, 3.0]),
            ],
            floats(&[2, 2], &[2.0, 1.0, 7.5, 3.5]),
        ),
        row(
            "both transposed",
            Linear {
                transpose_a: true,
                transpose_b: true,
                ..Linear::default()
            },
            &[&floats(&[3, 1], &[1.0, 2.0, 3.0]), &m],
            floats(&[1, 2], &[8.0, 26.0]),
        ),
        row(
            "nothing to sum",
            Linear::default(),
            &[&floats(&[2, 0], &[]), &floats(&[0, 2], &[])],
            floats(&[2, 2], &[0.0; 4]),
        ),
        row(
            "integers wrap",
            Linear::default(),
            &[&longs(&[1, 1], &[i64::MAX]), &longs(&[1, 1], &[2])],
            longs(&[1, 1], &[-2]),
        ),
        row(
            "bytes",
            MatMulInteger,
            &[
                &bytes(&[1, 2], &[255, 3]),
                &bytes(&[2, 2], &[255, 1, 2, 2]),
                &bytes(&[1], &[5]),
                &bytes(&[2], &[0, 1]),
            ],
            Tensor::from_slice(&[1, 2], &[250 * 255 - 2 * 2, -2i32]).unwrap(),
        ),
    ]);
    let fault = output(&Linear::default(), &[&m, &m]);
    assert!(matches!(fault, Err(EvalError::Operator(_))));
}

#[test]
fn products_have_the_bits_of_the_definition() {
    let mut numbers = Numbers(5);
    let (m, n, k) = (3, 5, 700);
    let (a, b, c) = (
        numbers.floats(&[k, m]),
        numbers.floats(&[n, k]),
        numbers.floats(&[n]),
    );
    let op = Linear {
        transpose_a: true,
        transpose_b: true,
        alpha: 1.5,
        beta: 0.5,
        activation: Some(Activation::GeluErf),
        gemm: true,
    };
    let mut expected = vec![0.0; m * n];
    let (p, q) = (a.as_slice().unwrap(), b.as_slice().unwrap());
    let epilogue = Epilogue {
        alpha: 1.5,
        beta: 0.5,
        bias: Some(MatrixRef::repeat_row(c.as_slice().unwrap())),
        activation: Some(Unary::Gelu),
    };
    let (p, q) = (
        MatrixRef::row_major(p, m).transposed(),
        MatrixRef::row_major(q, k).transposed(),
    );
    arith::gemm([m, n, k], p, q, &epilogue, &mut expected);
    same_as(&output(&op, &[&a, &b, &c]).unwrap(), &expected);
}

#[test]
fn convolutions_have_the_bits_of_the_definition() {
    let mut numbers = Numbers(6);
    let window = |strides: [usize; 2], dilations: [usize; 2], padding| Window {
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        padding,
        ..Window::default()
    };
    let explicit = Padding::Explicit(vec![1, 0, 0, 2]);
    for (groups, window, pads, output_size) in [
        (1, window([1, 1], [1, 1], explicit.clone()), [1, 0], [6, 8]),
        (2, window([2, 1], [1, 2], explicit), [1, 0], [3, 6]),
        (
            4,
            window([2, 2], [1, 1], Padding::SameUpper),
            [0, 0],
            [3, 4],
        ),
        (
            1,
            window([2, 2], [1, 1], Padding::SameLower),
            [0, 1],
            [3, 4],
        ),
    ] {
        let (x, w, b) = (
            numbers.floats(&[2, 8, 6, 8]),
            numbers.floats(&[4, 8 / groups, 2, 3]),
            numbers.floats(&[4]),
        );
        let at = |list: &[usize]| [1, list[0], list[1]];
        let shape = ConvShape {
            batch: 2,
            in_channels: 8,
            out_channels: 4,
            groups,
            input: [1, 6, 8],
            output: at(&output_size),
            kernel: [1, 2, 3],
            strides: at(&window.strides),
            dilations: at(&window.dilations),
            pads: [0, pads[0], pads[1]],
        };
        let op = Conv {
            groups,
            window,
            activation: Some(Activation::Relu),
        };
        let found = output(&op, &[&x, &w, &b]).unwrap();
        assert_eq!(found.shape(), [2, 4, output_size[0], output_size[1]]);
        let (x, w, b) = (
            x.as_slice().unwrap(),
            w.as_slice().unwrap(),
            b.as_slice().unwrap(),
        );
        let mut expected = vec![0.0; shape.output_len()];
        arith::conv(&shape, x, w, Some(b), Some(Unary::Relu), &mut expected);
        same_as(&found, &expected);
    }
    // The transpose, with groups, strides and what is cut off the beginning.
    let (x, w) = (numbers.floats(&[2, 4, 3, 3]), numbers.floats(&[4, 3, 2, 3]));
    let op = ConvTranspose {
        groups: 2,
        strides: vec![2, 1],
        dilations: vec![1, 2],
        padding: Padding::Explicit(vec![1, 0, 0, 2]),
        output_padding: vec![1, 0],
        ..ConvTranspose::default()
    };
    let shape = ConvShape {
        batch: 2,
        in_channels: 4,
        out_channels: 6,
        groups: 2,
        input: [1, 3, 3],
        output: [1, 6, 5],
        kernel: [1, 2, 3],
        strides: [1, 2, 1],
        dilations: [1, 1, 2],
        pads: [0, 1, 0],
    };
    let found = output(&op, &[&x, &w]).unwrap();
    assert_eq!(found.shape(), [2, 6, 6, 5]);
    let mut expected = vec![0.0; shape.output_len()];
    arith::conv_transpose(
        &shape,
        x.as_slice().unwrap(),
        w.as_slice().unwrap(),
        None,
        None,
        &mut expected,
    );
    same_as(&found, &expected);
}

#[test]
fn pooling() {
    let window = |kernel: usize, pads: [usize; 2], ceil_mode| Window {
        kernel: vec![kernel],
        strides: vec![2],
        padding: Padding::Explicit(pads.to_vec()),
        ceil_mode,
        ..Window::default()
    };
    let average = |count_include_pad| PoolFunction::Average { count_include_pad };
    let largest = PoolFunction::Max {
        column_major_indices: false,
    };
    let pool = |function, window| Pool { function, window };
    let x = floats(&[1, 1, 4], &[1.0, 4.0, 2.0, 8.0]);
    check(vec![
        row(
            "max",
            pool(largest, window(3, [1, 0], false)),
            &[&x],
            floats(&[1, 1, 2], &[4.0, 8.0]),
        ),
        row(
            "max, rounded up",
            pool(largest, window(3, [0, 0], true)),
            &[&x],
            floats(&[1, 1, 2], &[4.0, 8.0]),
        ),
        row(
            "average of what is there",
            pool(average(false), window(3, [1, 1], false)),
            &[&x],
            floats(&[1, 1, 2], &[2.5, 14.0 / 3.0]),
        ),
        row(
            "average with padding",
            pool(average(true), window(3, [1, 1], false)),
            &[&x],
            floats(&[1, 1, 2], &[5.0 / 3.0, 14.0 / 3.0]),
        ),
        row(
            "rounding up adds no padding",
            pool(average(true), window(3, [0, 0], true)),
            &[&x],
            floats(&[1, 1, 2], &[7.0 / 3.0, 5.0]),
        ),
        row(
            "norm",
            pool(PoolFunction::Lp { p: 2 }, window(2, [0, 0], false)),
            &[&floats(&[1, 1, 2], &[3.0, 4.0])],
            floats(&[1, 1, 1], &[5.0]),
        ),
        row(
            "whole planes",
            GlobalPool {
                function: average(false),
            },
            &[&x],
            floats(&[1, 1, 1], &[3.75]),
        ),
        row(
            "largest of planes",
            GlobalPool { function: largest },
            &[&x],
            floats(&[1, 1, 1], &[8.0]),
        ),
    ]);
    let square = Window {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        ..Window::default()
    };
    let plane = floats(&[1, 1, 2, 4], &[0.0, 1.0, 2.0, 9.0, 5.0, 3.0, 4.0, 4.0]);
    for (column_major_indices, expected) in [(false, [4, 3]), (true, [1, 6])] {
        let op = pool(
            PoolFunction::Max {
                column_major_indices,
            },
            square.clone(),
        );
        let found = outputs(&op, &[Some(plane.clone())], 2).unwrap();
        assert_eq!(found[1].to_i64s().unwrap(), expected);
    }
    let mut numbers = Numbers(7);
    let x = numbers.floats(&[2, 3, 9, 10]);
    let op = Pool {
        function: average(true),
        window: Window {
            kernel: vec![3, 4],
            strides: vec![2, 3],
            padding: Padding::Explicit(vec![1, 2, 1, 1]),
            ..Window::default()
        },
    };
    let found = output(&op, &[&x]).unwrap();
    let shape = PoolShape {
        planes: 6,
        input: [1, 9, 10],
        output: [1, 5, 4],
        kernel: [1, 3, 4],
        strides: [1, 2, 3],
        dilations: [1; 3],
        pads: [0, 1, 2],
        pads_end: [0, 1, 1],
    };
    let mut expected = vec![0.0; 120];
    arith::average_pool(&shape, true, x.as_slice().unwrap(), &mut expected);
    same_as(&found, &expected);
}

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

/// One unit, one input, all weights given: small enough to compute by hand.
fn unit(cell: Cell, gates: usize, direction: Direction) -> (Recurrent, [Tensor; 2]) {
    let op = Recurrent {
        cell,
        direction,
        hidden_size: Some(1),
        activations: vec![
            Activation::Affine {
                alpha: 1.0,
                beta: 0.0
            };
            cell.activations() * direction.count()
        ],
        clip: None,
        batch_first: false,
    };
    let shape = [direction.count(), gates, 1];
    let ones = vec![1.0; direction.count() * gates];
    (op, [floats(&shape, &ones), floats(&shape, &ones)])
}

#[test]
fn recurrent_layers_with_linear_activations() {
    let x = floats(&[3, 1, 1], &[1.0, 2.0, 3.0]);
    // h = x + h.
    let (rnn, [w, r]) = unit(Cell::Rnn, 1, Direction::Bidirectional);
    let found = outputs(&rnn, &[Some(x.clone()), Some(w), Some(r)], 2).unwrap();
    assert!(same(
        &found[0],
        &floats(&[3, 2, 1, 1], &[1.0, 6.0, 3.0, 5.0, 6.0, 3.0])
    ));
    assert!(same(&found[1], &floats(&[2, 1, 1], &[6.0, 6.0])));
    // A row of length 2: what is behind is 0, and a reverse direction starts at its own end.
    let (rnn, [w, r]) = unit(Cell::Rnn, 1, Direction::Reverse);
    let lens = Tensor::from_slice(&[1], &[2i32]).unwrap();
    let found = outputs(
        &rnn,
        &[Some(x.clone()), Some(w), Some(r), None, Some(lens)],
        2,
    )
    .unwrap();
    assert!(same(&found[0], &floats(&[3, 1, 1, 1], &[3.0, 2.0, 0.0])));
    assert!(same(&found[1], &floats(&[1, 1, 1], &[3.0])));
    // i = o = f = candidate = x + h; c = f c + i candidate; h = o c. First step, from h = 1, c = 2: all gates are 2.
    let (lstm, [w, r]) = unit(
        Cell::Lstm {
            input_forget: false,
        },
        4,
        Direction::Forward,
    );
    let (h, c) = (floats(&[1, 1, 1], &[1.0]), floats(&[1, 1, 1], &[2.0]));
    let one = floats(&[1, 1, 1], &[1.0]);
    let given = [
        Some(one),
        Some(w),
        Some(r),
        None,
        None,
        Some(h.clone()),
        Some(c),
    ];
    let found = outputs(&lstm, &given, 3).unwrap();
    assert_eq!(found[2].as_slice::<f32>().unwrap(), [8.0]);
    assert_eq!(found[1].as_slice::<f32>().unwrap(), [16.0]);
    // z = r = x + h = 3 from x = 2, h = 1; the candidate is x + r h = 5, or x + r (h + 0) with the reset behind the product.
    for linear_before_reset in [false, true] {
        let (gru, [w, r]) = unit(
            Cell::Gru {
                linear_before_reset,
            },
            3,
            Direction::Forward,
        );
        let two = floats(&[1, 1, 1], &[2.0]);
        let given = [Some(two), Some(w), Some(r), None, None, Some(h.clone())];
        let found = outputs(&gru, &given, 2).unwrap();
        assert_eq!(
            found[1].as_slice::<f32>().unwrap(),
            [3.0 * 1.0 + (1.0 - 3.0) * 5.0]
        );
    }
}

#[test]
fn a_batch_in_front_gives_the_bits_of_a_batch_behind() {
    let mut numbers = Numbers(9);
    let (time, batch, input, hidden) = (5, 3, 4, 2);
    let (x, w, r) = (
        numbers.floats(&[time, batch, input]),
        numbers.floats(&[1, 4 * hidden, input]),
        numbers.floats(&[1, 4 * hidden, hidden]),
    );
    let (b, p) = (
        numbers.floats(&[1, 8 * hidden]),
        numbers.floats(&[1, 3 * hidden]),
    );
    let mut op = Recurrent {
        cell: Cell::Lstm {
            input_forget: false,
        },
        direction: Direction::Forward,
        hidden_size: None,
        activations: vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        clip: Some(0.7),
        batch_first: false,
    };
    let flip = |t: &Tensor| {
        output(
            &unisono_graph::ops::movement::Transpose {
                perm: Some(
                    (0..t.rank())
                        .map(|i| [1, 0].get(i).copied().unwrap_or(i))
                        .collect(),
                ),
            },
            &[t],
        )
        .unwrap()
    };
    let given = |x: Tensor| {
        [
            Some(x),
            Some(w.clone()),
            Some(r.clone()),
            Some(b.clone()),
            None,
            None,
            None,
            Some(p.clone()),
        ]
    };
    let behind = outputs(&op, &given(x.clone()), 3).unwrap();
    op.batch_first = true;
    let front = outputs(&op, &given(flip(&x)), 3).unwrap();
    assert_eq!(front[0].shape(), [batch, time, 1, hidden]);
    let y = output(
        &unisono_graph::ops::movement::Transpose {
            perm: Some(vec![2, 0, 1, 3]),
        },
        &[&behind[0]],
    )
    .unwrap();
    assert_eq!(y.bytes(), front[0].bytes());
    assert_eq!(flip(&behind[1]).bytes(), front[1].bytes());
    assert_eq!(flip(&behind[2]).bytes(), front[2].bytes());
}

#[test]
fn interpolation() {
    let scales = |s: &[f32]| floats(&[s.len()], s);
    let none = floats(&[0], &[]);
    let x = floats(&[3], &[1.0, 2.0, 4.0]);
    let linear = |coordinates| Resize {
        interpolation: Interpolation::Linear,
        coordinates,
        ..Resize::default()
    };
    let nearest = |mode, coordinates| Resize {
        interpolation: Interpolation::Nearest(mode),
        coordinates,
        ..Resize::default()
    };
    let by = |op: Resize, s: f32, expected: &[f32], name| {
        row(
            name,
            op,
            &[&x, &none, &scales(&[s])],
            floats(&[expected.len()], expected),
        )
    };
    let cubic = Resize {
        interpolation: Interpolation::Cubic { a: -0.75 },
        ..Resize::default()
    };
    let excluded = Resize {
        exclude_outside: true,
        ..cubic.clone()
    };
    let smooth = Resize {
        antialias: true,
        ..linear(Coordinates::HalfPixel)
    };
    let crop = Resize {
        extrapolation_value: -1.0,
        ..linear(Coordinates::TfCropAndResize)
    };
    check(vec![
        by(
            nearest(NearestMode::Floor, Coordinates::Asymmetric),
            2.0,
            &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
            "repeated",
        ),
        by(
            nearest(NearestMode::RoundPreferFloor, Coordinates::HalfPixel),
            2.0,
            &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
            "nearest centre",
        ),
        by(
            nearest(NearestMode::RoundPreferCeil, Coordinates::AlignCorners),
            2.0,
            &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
            "nearest between corners",
        ),
        by(
            linear(Coordinates::HalfPixel),
            2.0,
            &[1.0, 1.25, 1.75, 2.5, 3.5, 4.0],
            "linear",
        ),
        by(
            linear(Coordinates::AlignCorners),
            5.0 / 3.0,
            &[1.0, 1.5, 2.0, 3.0, 4.0],
            "linear between corners",
        ),
        by(
            linear(Coordinates::Asymmetric),
            2.0,
            &[1.0, 1.5, 2.0, 3.0, 4.0, 4.0],
            "linear from the left",
        ),
        by(
            linear(Coordinates::HalfPixel),
            1.0,
            &[1.0, 2.0, 4.0],
            "nothing to do",
        ),
        by(cubic, 1.0, &[1.0, 2.0, 4.0], "cubic at the samples"),
        by(
            excluded,
            1.0,
            &[1.0, 2.0, 4.0],
            "cubic at the samples, edges left out",
        ),
        row(
            "smoothed when shrinking",
            smooth,
            &[
                &floats(&[4], &[0.0, 8.0, 8.0, 16.0]),
                &none,
                &scales(&[0.5]),
            ],
            floats(&[2], &[4.0, 12.0]),
        ),
        row(
            "two axes, by sizes",
            linear(Coordinates::AlignCorners),
            &[&count_up(&[2, 2]), &none, &none, &longs(&[2], &[3, 2])],
            floats(&[3, 2], &[0.0, 1.0, 1.0, 2.0, 2.0, 3.0]),
        ),
        row(
            "a region beyond the edge",
            crop,
            &[&x, &floats(&[2], &[0.5, 1.5]), &none, &longs(&[1], &[3])],
            floats(&[3], &[2.0, 4.0, -1.0]),
        ),
    ]);
}
