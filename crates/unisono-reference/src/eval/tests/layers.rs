//! Products, convolutions and pooling: worked examples, and equal bits with the
//! arithmetic's own definitions.

use super::*;
use crate::arith::{self, ConvShape, Epilogue, MatrixRef, PoolShape, Unary};
use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::linear::{Linear, MatMulInteger};
use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::window::{Padding, Window};

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
