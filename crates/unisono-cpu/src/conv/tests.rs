use proptest::prelude::*;
use unisono_reference::arith::{self, first_difference};

use std::sync::Arc;

use super::last::{LastConv, LastWeights};
use super::*;
use crate::gemm::tests::{teams, values};

type Sizes = ([usize; 3], [usize; 3], [usize; 3], [usize; 3], [usize; 3]);

fn sizes() -> impl Strategy<Value = Sizes> {
    // Input, kernel, strides, dilations, pads: mostly two axes, sometimes one or three.
    let deep = prop_oneof![5 => Just(1_usize), 1 => 2..=4_usize];
    (
        (
            deep,
            prop_oneof![1 => Just(1_usize), 4 => 1..=12_usize],
            1..=40_usize,
        ),
        (1..=4_usize, 1..=4_usize, 1..=5_usize),
        (1..=2_usize, 1..=3_usize, 1..=3_usize),
        (1..=2_usize, 1..=2_usize, 1..=3_usize),
        (0..=1_usize, 0..=3_usize, 0..=4_usize),
    )
        .prop_map(|(input, kernel, strides, dilations, pads)| {
            let flat = |t: (usize, usize, usize)| [t.0, t.1, t.2];
            let (input, mut kernel) = (flat(input), flat(kernel));
            let (mut strides, mut pads) = (flat(strides), flat(pads));
            if input[0] == 1 {
                (kernel[0], strides[0], pads[0]) = (1, 1, 0);
            }
            (input, kernel, strides, flat(dilations), pads)
        })
}

#[derive(Clone, Debug)]
struct Case {
    shape: ConvShape,
    transposed: bool,
    bias: bool,
    residual: bool,
    activation: Option<Unary>,
    special_input: bool,
    special_weights: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let channels = (
        1..=2_usize,
        prop_oneof![3 => 1..=3_usize, 1 => Just(4_usize), 2 => 8..=40_usize],
        prop_oneof![3 => 1..=6_usize, 1 => 20..=90_usize],
        prop_oneof![2 => 1..=3_usize, 2 => 4..=15_usize, 1 => Just(32_usize)],
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let end = (0..=2_usize, 0..=2_usize, 0..=2_usize);
    (
        channels,
        sizes(),
        flags,
        end,
        prop_oneof![
            2 => Just(None),
            2 => Just(Some(Unary::Relu)),
            1 => Just(Some(Unary::HardSwish)),
            1 => Just(Some(Unary::Clip { low: 0.0, high: 6.0 })),
            1 => Just(Some(Unary::Sigmoid)),
        ],
        any::<bool>(),
        any::<u64>(),
    )
        .prop_filter_map(
            "an output",
            |(
                (batch, groups, ins, outs),
                (input, kernel, strides, dilations, pads),
                flags,
                end,
                activation,
                special_weights,
                seed,
            )| {
                let (transposed, bias, residual, special_input) = flags;
                // Most convolutions with many groups are depthwise.
                let (ins, outs) = match groups >= 8 && !seed.is_multiple_of(4) {
                    true => (1, 1),
                    false => (ins, outs),
                };
                let end = [end.0, end.1, end.2];
                let mut output = [0; 3];
                for axis in 0..3 {
                    let reach = (kernel[axis] - 1) * dilations[axis] + 1;
                    output[axis] = if transposed {
                        ((input[axis] - 1) * strides[axis] + reach + end[axis])
                            .checked_sub(pads[axis])?
                    } else {
                        (input[axis] + pads[axis] + end[axis]).checked_sub(reach)? / strides[axis]
                            + 1
                    };
                }
                let shape = ConvShape {
                    batch,
                    in_channels: groups * ins,
                    out_channels: groups * outs,
                    groups,
                    input,
                    output,
                    kernel,
                    strides,
                    dilations,
                    pads,
                };
                // The reference needs a while for large ones.
                (shape.output_len() * shape.terms() < 300_000).then_some(Case {
                    shape,
                    transposed,
                    bias,
                    residual: residual && !transposed,
                    activation,
                    special_input,
                    special_weights,
                    seed,
                })
            },
        )
}

impl Case {
    fn check(&self) {
        let shape = &self.shape;
        let x = values(self.seed, shape.input_len(), self.special_input);
        let w = values(self.seed ^ 1, shape.weight_len(), self.special_weights);
        self.check_values(&x, &w);
    }

    fn check_values(&self, x: &[f32], w: &[f32]) {
        let shape = &self.shape;
        let bias = values(self.seed ^ 2, shape.out_channels, false);
        let bias = self.bias.then_some(bias.as_slice());
        let residual = values(self.seed ^ 3, shape.output_len(), false);
        let residual = self.residual.then_some(residual.as_slice());
        let mut expected = vec![0.0; shape.output_len()];
        let early = self.activation.filter(|_| !self.residual);
        if self.transposed {
            arith::conv_transpose(shape, x, w, bias, early, &mut expected);
        } else {
            arith::conv(shape, x, w, bias, early, &mut expected);
        }
        if let Some(residual) = residual {
            for (y, r) in expected.iter_mut().zip(residual) {
                *y += r;
                *y = self.activation.map_or(*y, |f| f.eval(*y));
            }
        }
        let epilogue = ConvEpilogue {
            bias,
            residual,
            activation: self.activation,
        };
        self.check_channels_last(x, w, &epilogue, &expected);
        for isa in Isa::available() {
            let weights = ConvWeights::pack(isa, ConvKind::of(shape, self.transposed), w).unwrap();
            for team in &teams() {
                let cores = Cores { isa, team };
                let mut y = vec![f32::NAN; shape.output_len()];
                let mut scratch = vec![f32::NAN; conv_scratch(cores, shape, &weights)];
                conv(cores, shape, x, &weights, &mut y, &epilogue, &mut scratch);
                assert_eq!(
                    first_difference(&y, &expected),
                    None,
                    "{isa:?}, {} threads",
                    team.threads()
                );
            }
        }
    }
}

impl Case {
    /// The same with the channels last, where there is a kernel for that.
    fn check_channels_last(
        &self,
        x: &[f32],
        w: &[f32],
        epilogue: &ConvEpilogue<'_>,
        expected: &[f32],
    ) {
        let shape = &self.shape;
        let kind = ConvKind::of(shape, self.transposed);
        if !LastWeights::serve(&kind, w) {
            return;
        }
        let plane = |size: [usize; 3]| size.iter().product::<usize>();
        let turned = |values: &[f32], channels: usize, plane: usize| {
            let mut turned = vec![0.0; values.len()];
            for (i, &value) in values.iter().enumerate() {
                let (image, channel, at) =
                    (i / (channels * plane), i / plane % channels, i % plane);
                turned[(image * plane + at) * channels + channel] = value;
            }
            turned
        };
        let x = turned(x, shape.in_channels, plane(shape.input));
        let expected = turned(expected, shape.out_channels, plane(shape.output));
        let residual = epilogue.residual;
        let residual = residual.map(|r| turned(r, shape.out_channels, plane(shape.output)));
        let epilogue = &ConvEpilogue {
            residual: residual.as_deref(),
            ..*epilogue
        };
        for isa in Isa::available() {
            let weights = Arc::new(LastWeights::pack(isa, kind, w).unwrap());
            let last = LastConv::new(&weights, shape);
            if epilogue.residual.is_some() && !last.takes_residual() {
                return;
            }
            for team in &teams() {
                let cores = Cores { isa, team };
                let mut y = vec![f32::NAN; shape.output_len()];
                let mut scratch = vec![f32::NAN; last.scratch_len(cores)];
                last.run(cores, &x, &mut y, epilogue, &mut scratch);
                assert_eq!(
                    first_difference(&y, &expected),
                    None,
                    "channels last, {isa:?}, {} threads",
                    team.threads()
                );
            }
        }
    }
}

pub(super) fn pool_cases() -> impl Strategy<Value = (PoolShape, bool, u64)> {
    let end = (0..=1_usize, 0..=2_usize, 0..=3_usize);
    (1..=5_usize, sizes(), end, any::<bool>(), any::<u64>()).prop_filter_map(
        "an output",
        |(planes, (input, kernel, strides, dilations, pads), end, flag, seed)| {
            let pads_end = [end.0, end.1, end.2];
            let mut output = [0; 3];
            for axis in 0..3 {
                let reach = (kernel[axis] - 1) * dilations[axis] + 1;
                let room = (input[axis] + pads[axis] + pads_end[axis]).checked_sub(reach)?;
                // Sometimes rounded up, so that the last window reaches beyond the padding.
                output[axis] =
                    (room + if flag { strides[axis] - 1 } else { 0 }) / strides[axis] + 1;
            }
            let shape = PoolShape {
                planes,
                input,
                output,
                kernel,
                strides,
                dilations,
                pads,
                pads_end,
            };
            Some((shape, flag, seed))
        },
    )
}

fn check_pools(shape: &PoolShape, seed: u64) {
    let inputs = shape.planes * shape.input.iter().product::<usize>();
    let outputs = shape.planes * shape.output.iter().product::<usize>();
    let x = values(seed, inputs, true);
    let mut expected = vec![0.0; outputs];
    for isa in Isa::available() {
        for team in &teams() {
            let cores = Cores { isa, team };
            let mut y = vec![7.0; outputs];
            arith::max_pool(shape, &x, &mut expected, None);
            max_pool(cores, shape, &x, &mut y);
            assert_eq!(first_difference(&y, &expected), None, "max, {isa:?}");
            for count_padding in [false, true] {
                arith::average_pool(shape, count_padding, &x, &mut expected);
                average_pool(cores, shape, count_padding, &x, &mut y);
                assert_eq!(first_difference(&y, &expected), None, "average, {isa:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    /// Evidence: canonical-arithmetic, same-bits-isa
    #[test]
    fn every_geometry_gives_the_references_bits(case in cases()) {
        case.check();
    }

    #[test]
    fn every_window_gives_the_references_bits((shape, _, seed) in pool_cases()) {
        check_pools(&shape, seed);
    }
}

fn square(
    channels: [usize; 3],
    size: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
) -> ConvShape {
    let [in_channels, out_channels, groups] = channels;
    let output = (size + 2 * pad - kernel) / stride + 1;
    ConvShape {
        batch: 1,
        in_channels,
        out_channels,
        groups,
        input: [1, size, size],
        output: [1, output, output],
        kernel: [1, kernel, kernel],
        strides: [1, stride, stride],
        dilations: [1; 3],
        pads: [0, pad, pad],
    }
}

#[test]
fn the_layers_of_known_networks_give_the_references_bits() {
    for shape in [
        // Several slices, several strips, several tiles.
        square([64, 40, 1], 9, 3, 1, 1),
        square([3, 16, 1], 33, 7, 2, 3),
        square([300, 50, 1], 7, 1, 1, 0),
        square([24, 24, 24], 40, 5, 2, 2),
        square([20, 2, 1], 12, 3, 1, 1),
        // Weights that do not stay near, so that several panels share a passage of the strips.
        square([200, 100, 1], 8, 3, 1, 1),
    ] {
        for residual in [false, true] {
            let case = Case {
                shape,
                transposed: false,
                bias: true,
                residual,
                activation: Some(Unary::Relu),
                special_input: false,
                special_weights: false,
                seed: 11,
            };
            case.check();
        }
    }
}

#[test]
fn copied_edges_give_the_references_bits() {
    let shape = |channels: [usize; 2], input: [usize; 3], kernel: [usize; 3]| ConvShape {
        batch: 2,
        in_channels: channels[0],
        out_channels: channels[1],
        groups: 1,
        input,
        output: input,
        kernel,
        strides: [1; 3],
        dilations: [1; 3],
        pads: kernel.map(|taps| taps / 2),
    };
    let along_a_line = shape([24, 40], [1, 1, 128], [1, 1, 3]);
    let wide = shape([5, 33], [1, 40, 300], [1, 3, 3]);
    let cases = [
        along_a_line,
        // More taps than a tile has positions, and several slices.
        shape([20, 70], [1, 1, 1200], [1, 1, 31]),
        // Padding on one side alone, and more of it than the kernel has taps.
        ConvShape {
            pads: [0, 0, 2],
            ..along_a_line
        },
        ConvShape {
            output: [1, 1, 135],
            pads: [0, 0, 9],
            ..along_a_line
        },
        ConvShape {
            output: [1, 1, 64],
            strides: [1, 1, 2],
            ..along_a_line
        },
        ConvShape {
            dilations: [1, 1, 3],
            pads: [0, 0, 3],
            ..along_a_line
        },
        wide,
        ConvShape {
            output: [1, 20, 100],
            strides: [1, 2, 3],
            ..wide
        },
        ConvShape {
            output: [1, 36, 300],
            dilations: [1, 2, 1],
            pads: [0, 0, 1],
            ..wide
        },
        shape([3, 8], [2, 40, 300], [1, 3, 3]),
    ];
    for (seed, shape) in cases.into_iter().enumerate() {
        for isa in Isa::available() {
            let kind = ConvKind::of(&shape, false);
            let weights = vec![0.0; shape.weight_len()];
            let weights = Arc::new(LastWeights::pack(isa, kind, &weights).unwrap());
            let words = LastConv::new(&weights, &shape).in_words();
            assert!(words.contains("edges copied"), "{shape:?}, {isa}: {words}");
        }
        for residual in [false, true] {
            let case = Case {
                shape,
                transposed: false,
                bias: true,
                residual,
                activation: Some(Unary::Relu),
                special_input: seed % 2 == 0,
                special_weights: false,
                seed: seed as u64,
            };
            case.check();
        }
    }
}

#[test]
fn rows_that_are_shorter_than_a_tile_sees_give_the_references_bits() {
    // Kernels of several rows, or planes, far apart: patches would be little to copy, but their rows would overlap.
    let wide_steps = ConvShape {
        batch: 2,
        in_channels: 8,
        out_channels: 40,
        groups: 1,
        input: [1, 161, 5],
        output: [1, 10, 5],
        kernel: [1, 2, 3],
        strides: [1, 16, 1],
        dilations: [1; 3],
        pads: [0, 0, 1],
    };
    let deep_steps = ConvShape {
        input: [161, 2, 40],
        output: [10, 2, 40],
        kernel: [2, 3, 1],
        strides: [16, 1, 1],
        pads: [0, 1, 0],
        ..wide_steps
    };
    for (seed, shape) in [wide_steps, deep_steps].into_iter().enumerate() {
        let case = Case {
            shape,
            transposed: false,
            bias: true,
            residual: false,
            activation: None,
            special_input: false,
            special_weights: false,
            seed: seed as u64,
        };
        case.check();
    }
}

#[test]
fn sums_of_whole_panels_give_the_references_bits() {
    for shape in [
        square([64, 96, 1], 9, 3, 1, 1),
        square([20, 64, 1], 13, 3, 2, 1),
        square([300, 32, 1], 7, 1, 1, 0),
    ] {
        let weights = vec![0.0; shape.weight_len()];
        for isa in Isa::available() {
            let kind = ConvKind::of(&shape, false);
            let weights = Arc::new(LastWeights::pack(isa, kind, &weights).unwrap());
            assert!(LastConv::new(&weights, &shape).takes_residual(), "{isa:?}");
        }
        let functions = [
            None,
            Some(Unary::Relu),
            Some(Unary::HardSwish),
            Some(Unary::Sigmoid),
        ];
        for (seed, activation) in functions.into_iter().enumerate() {
            let case = Case {
                shape: ConvShape { batch: 2, ..shape },
                transposed: false,
                bias: seed % 3 > 0,
                residual: true,
                activation,
                special_input: seed % 2 == 0,
                special_weights: false,
                seed: seed as u64,
            };
            case.check();
        }
    }
}

fn depthwise(channels: usize, size: usize, kernel: usize, stride: usize, pad: usize) -> ConvShape {
    square([channels; 3], size, kernel, stride, pad)
}

#[test]
fn depthwise_layers_of_every_width_give_the_references_bits() {
    for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (4, 1), (3, 3)] {
        for (size, pad) in [(7, kernel / 2), (8, 0), (14, 1), (19, kernel / 2), (33, 2)] {
            for channels in [8, 16, 40] {
                let case = Case {
                    shape: depthwise(channels, size, kernel, stride, pad),
                    transposed: false,
                    bias: size % 2 == 0,
                    residual: false,
                    activation: (size % 3 == 0).then_some(Unary::HardSwish),
                    special_input: true,
                    special_weights: false,
                    seed: 5,
                };
                case.check();
            }
        }
    }
}

#[test]
fn products_that_vanish_leave_no_negative_zero() {
    for shape in [
        square([16, 8, 1], 9, 3, 1, 1),
        square([3, 2, 1], 9, 3, 1, 1),
        depthwise(24, 9, 3, 1, 1),
        depthwise(24, 9, 5, 2, 2),
        depthwise(24, 9, 4, 1, 1),
        depthwise(3, 9, 3, 1, 1),
    ] {
        for transposed in [false, true] {
            let shape = match transposed {
                true => ConvShape {
                    input: shape.output,
                    output: shape.input,
                    ..shape
                },
                false => shape,
            };
            let case = Case {
                shape,
                transposed,
                bias: false,
                residual: false,
                activation: None,
                special_input: false,
                special_weights: false,
                seed: 0,
            };
            let x = vec![1e-30; shape.input_len()];
            let w = vec![-1e-30; shape.weight_len()];
            case.check_values(&x, &w);
        }
    }
}

#[test]
fn a_transposed_layer_with_many_channels_gives_the_references_bits() {
    for special_weights in [false, true] {
        let shape = ConvShape {
            batch: 2,
            in_channels: 90,
            out_channels: 24,
            groups: 1,
            input: [1, 5, 6],
            output: [1, 10, 12],
            kernel: [1, 2, 2],
            strides: [1, 2, 2],
            dilations: [1; 3],
            pads: [0; 3],
        };
        let case = Case {
            shape,
            transposed: true,
            bias: true,
            residual: false,
            activation: None,
            special_input: false,
            special_weights,
            seed: 12,
        };
        case.check();
    }
}

#[test]
fn global_pools_and_large_windows_give_the_references_bits() {
    for (planes, plane) in [(1, 1), (9, 49), (3, 600), (20, 257)] {
        let x = values(3, planes * plane, true);
        let shape = PoolShape {
            planes,
            input: [1, 1, plane],
            output: [1; 3],
            kernel: [1, 1, plane],
            strides: [1; 3],
            dilations: [1; 3],
            pads: [0; 3],
            pads_end: [0; 3],
        };
        check_pools(&shape, 3);
        let (mut greatest, mut mean) = (vec![0.0; planes], vec![0.0; planes]);
        arith::max_pool(&shape, &x, &mut greatest, None);
        arith::average_pool(&shape, false, &x, &mut mean);
        for team in &teams() {
            let cores = Cores {
                isa: Isa::detect(),
                team,
            };
            let mut y = vec![0.0; planes];
            global_max_pool(cores, &x, &mut y);
            assert_eq!(first_difference(&y, &greatest), None);
            global_average_pool(cores, &x, &mut y);
            assert_eq!(first_difference(&y, &mean), None);
        }
    }
}

/// Evidence: same-bits-rows
#[test]
fn an_image_has_the_same_bits_alone_and_in_a_batch() {
    let mut shape = square([12, 20, 1], 15, 3, 2, 1);
    let w = values(1, shape.weight_len(), false);
    shape.batch = 5;
    let x = values(2, shape.input_len(), false);
    for isa in Isa::available() {
        for team in &teams() {
            let cores = Cores { isa, team };
            let weights = ConvWeights::pack(isa, ConvKind::of(&shape, false), &w).unwrap();
            let run = |shape: &ConvShape, x: &[f32]| {
                let mut y = vec![0.0; shape.output_len()];
                let mut scratch = vec![0.0; conv_scratch(cores, shape, &weights)];
                conv(
                    cores,
                    shape,
                    x,
                    &weights,
                    &mut y,
                    &ConvEpilogue::default(),
                    &mut scratch,
                );
                y
            };
            let all = run(&shape, &x);
            let one = ConvShape { batch: 1, ..shape };
            for image in 0..5 {
                let alone = run(&one, &x[image * one.input_len()..][..one.input_len()]);
                let there = &all[image * one.output_len()..][..one.output_len()];
                assert_eq!(first_difference(&alone, there), None);
            }
        }
    }
}
