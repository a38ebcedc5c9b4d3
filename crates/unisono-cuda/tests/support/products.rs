//! Cases of matrix products and convolutions, around every edge of tiles, slices, panels and quads.

use std::sync::Arc;

use unisono_cuda::lower::{conv, linear};
use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::window::{Padding, Window};

use crate::support::{Case, Input};

fn product(
    op: Linear,
    a: &[usize],
    b: (&[usize], bool),
    c: Option<&[usize]>,
    output: &[usize],
) -> Case {
    let kind = if b.1 { "packed" } else { "variable" };
    Case {
        name: format!("{a:?} x {:?} ({kind}) + {c:?}, {op:?}", b.0),
        op: Arc::new(op),
        lower: linear::linear,
        inputs: vec![
            Some(Input::new(a, 1, false)),
            Some(Input::new(b.0, 2, b.1)),
            c.map(|c| Input::new(c, 3, true)),
        ],
        output: output.to_vec(),
    }
}

/// Matrix products.
pub fn products() -> Vec<Case> {
    let plain = Linear::default();
    let relu = Linear {
        activation: Some(Activation::Relu),
        ..plain
    };
    let scaled = Linear {
        alpha: 0.125,
        beta: -1.5,
        activation: Some(Activation::GeluErf),
        ..plain
    };
    let mut cases = Vec::new();
    for m in [1, 2, 3, 5, 8, 13, 16, 17, 33, 64, 100, 130, 256] {
        for (n, k) in [
            (8, 1),
            (33, 255),
            (40, 256),
            (1000, 257),
            (64, 1024),
            (136, 2600),
            (24, 63),
        ] {
            cases.push(product(relu, &[m, k], (&[k, n], true), Some(&[n]), &[m, n]));
            if m % 3 != 0 {
                cases.push(product(
                    scaled,
                    &[m, k],
                    (&[k, n], false),
                    Some(&[m, 1]),
                    &[m, n],
                ));
            }
        }
    }
    for (transpose_a, transpose_b) in [(false, true), (true, false), (true, true)] {
        let op = Linear {
            transpose_a,
            transpose_b,
            gemm: true,
            ..plain
        };
        let a = if transpose_a { [70, 45] } else { [45, 70] };
        let b = if transpose_b { [52, 70] } else { [70, 52] };
        cases.push(product(op, &a, (&b, true), None, &[45, 52]));
        cases.push(product(op, &a, (&b, false), Some(&[45, 52]), &[45, 52]));
    }
    let attention = Linear {
        transpose_b: true,
        alpha: 0.125,
        ..plain
    };
    cases.push(product(
        attention,
        &[3, 4, 32, 64],
        (&[3, 4, 32, 64], false),
        None,
        &[3, 4, 32, 32],
    ));
    cases.push(product(
        plain,
        &[3, 4, 32, 32],
        (&[3, 4, 32, 64], false),
        None,
        &[3, 4, 32, 64],
    ));
    cases.push(product(
        plain,
        &[2, 1, 5, 7],
        (&[3, 7, 6], true),
        Some(&[3, 1, 6]),
        &[2, 3, 5, 6],
    ));
    cases.push(product(
        plain,
        &[6, 11, 20],
        (&[20, 30], true),
        Some(&[6, 11, 30]),
        &[6, 11, 30],
    ));
    cases.push(product(plain, &[50], (&[50, 9], true), None, &[9]));
    cases.push(product(plain, &[4, 50], (&[50], true), None, &[4]));
    cases.push(product(relu, &[3, 0], (&[0, 5], true), Some(&[5]), &[3, 5]));
    // Enough blocks for the largest tiles.
    cases.push(product(
        relu,
        &[2100, 300],
        (&[300, 1100], true),
        Some(&[1100]),
        &[2100, 1100],
    ));
    // Several slices on one processor: totals that outlive a slice, then bias alone or a function.
    for function in [plain, scaled] {
        cases.push(product(
            function,
            &[250, 516],
            (&[516, 254], true),
            Some(&[254]),
            &[250, 254],
        ));
        cases.push(product(
            function,
            &[250, 600],
            (&[600, 254], true),
            Some(&[254]),
            &[250, 254],
        ));
    }
    cases
}

/// The spatial part of a convolution: input, kernel, strides, dilations, pads.
type Spatial<'a> = (
    &'a [usize],
    &'a [usize],
    &'a [usize],
    &'a [usize],
    &'a [usize],
);

fn convolution(
    batch: usize,
    [ci, co]: [usize; 2],
    groups: usize,
    spatial: Spatial<'_>,
    constant: bool,
) -> Case {
    let (input, kernel, strides, dilations, pads) = spatial;
    let op = Conv {
        groups,
        window: Window {
            kernel: kernel.to_vec(),
            strides: strides.to_vec(),
            dilations: dilations.to_vec(),
            padding: Padding::Explicit(pads.to_vec()),
            ceil_mode: false,
        },
        activation: Some(Activation::HardSwish),
    };
    let axes = op.window.place(input, kernel).unwrap();
    let output: Vec<usize> = [batch, co]
        .into_iter()
        .chain(axes.iter().map(|a| a.output))
        .collect();
    let (x, w) = (
        [&[batch, ci], input].concat(),
        [&[co, ci / groups], kernel].concat(),
    );
    Case {
        name: format!("{x:?} with {w:?}, {op:?}, constant {constant}"),
        op: Arc::new(op),
        lower: conv::conv,
        inputs: vec![
            Some(Input::new(&x, 1, false)),
            Some(Input::new(&w, 2, constant)),
            Some(Input::new(&[co], 3, true)),
        ],
        output,
    }
}

fn transposed(batch: usize, [ci, co]: [usize; 2], groups: usize, spatial: Spatial<'_>) -> Case {
    let (input, kernel, strides, dilations, pads) = spatial;
    let op = ConvTranspose {
        groups,
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        padding: Padding::Explicit(pads.to_vec()),
        ..ConvTranspose::default()
    };
    let axes = op.place(input, kernel).unwrap();
    let output: Vec<usize> = [batch, co]
        .into_iter()
        .chain(axes.iter().map(|a| a.output))
        .collect();
    let (x, w) = (
        [&[batch, ci], input].concat(),
        [&[ci, co / groups], kernel].concat(),
    );
    Case {
        name: format!("{x:?} with {w:?}, {op:?}"),
        op: Arc::new(op),
        lower: conv::conv_transpose,
        inputs: vec![
            Some(Input::new(&x, 1, false)),
            Some(Input::new(&w, 2, true)),
        ],
        output,
    }
}

/// Convolutions.
pub fn convolutions() -> Vec<Case> {
    let one = &[1, 1][..];
    vec![
        convolution(
            1,
            [3, 16],
            1,
            (&[33, 31], &[3, 3], &[2, 2], one, &[1, 1, 1, 1]),
            true,
        ),
        convolution(
            3,
            [3, 64],
            1,
            (&[30, 30], &[7, 7], &[2, 2], one, &[3, 3, 3, 3]),
            true,
        ),
        convolution(
            2,
            [64, 128],
            1,
            (&[14, 14], &[3, 3], one, one, &[1, 1, 1, 1]),
            true,
        ),
        convolution(
            1,
            [32, 64],
            1,
            (&[40, 39], &[3, 3], one, one, &[1, 1, 1, 1]),
            true,
        ),
        convolution(
            1,
            [512, 100],
            1,
            (&[7, 7], &[1, 1], one, one, &[0, 0, 0, 0]),
            true,
        ),
        convolution(
            1,
            [300, 40],
            1,
            (&[7, 7], &[3, 3], one, one, &[1, 1, 1, 1]),
            true,
        ),
        convolution(
            9,
            [16, 130],
            1,
            (&[12, 12], &[1, 1], &[2, 1], one, &[0, 0, 0, 0]),
            true,
        ),
        convolution(
            2,
            [10, 34],
            2,
            (&[9, 8], &[3, 2], one, &[1, 2], &[0, 1, 1, 0]),
            true,
        ),
        convolution(
            2,
            [24, 24],
            24,
            (&[15, 15], &[5, 5], &[2, 2], one, &[2, 2, 2, 2]),
            true,
        ),
        convolution(
            1,
            [12, 12],
            4,
            (&[6, 7], &[3, 3], one, one, &[1, 1, 1, 1]),
            true,
        ),
        convolution(4, [64, 128], 1, (&[128], &[3], &[1], &[1], &[1, 1]), true),
        convolution(2, [128, 24], 1, (&[50], &[5], &[2], &[3], &[4, 7]), true),
        convolution(
            1,
            [5, 9],
            1,
            (&[8, 8], &[3, 3], one, one, &[1, 1, 1, 1]),
            false,
        ),
        // More than a slice, one output per thread.
        convolution(
            1,
            [100, 6],
            1,
            (&[6, 5], &[3, 3], one, one, &[1, 1, 1, 1]),
            true,
        ),
        transposed(
            2,
            [7, 9],
            1,
            (&[5, 6], &[3, 3], &[2, 2], one, &[1, 1, 1, 1]),
        ),
        transposed(
            1,
            [64, 32],
            1,
            (&[8, 8], &[4, 4], &[2, 2], one, &[1, 1, 1, 1]),
        ),
        transposed(
            1,
            [32, 32],
            2,
            (&[4, 5], &[4, 3], &[2, 3], one, &[1, 0, 1, 0]),
        ),
        transposed(3, [20, 16], 1, (&[30], &[4], &[2], &[2], &[1, 2])),
    ]
}
