use std::sync::Arc;

use unisono_graph::ops::resize::{AspectRatio, Coordinates, Interpolation, NearestMode, Resize};
use unisono_tensor::Tensor;

use crate::gemm::tests::values;
use crate::kernels::layouts::{BOTH, Layout, Node};

const NEAREST: [NearestMode; 4] = [
    NearestMode::RoundPreferFloor,
    NearestMode::RoundPreferCeil,
    NearestMode::Floor,
    NearestMode::Ceil,
];

const COORDINATES: [Coordinates; 6] = [
    Coordinates::HalfPixel,
    Coordinates::HalfPixelSymmetric,
    Coordinates::PytorchHalfPixel,
    Coordinates::AlignCorners,
    Coordinates::Asymmetric,
    Coordinates::TfHalfPixelForNearest,
];

fn image(shape: &[usize]) -> Tensor {
    let seed = shape.iter().sum::<usize>() as u64;
    Tensor::from_slice(shape, &values(seed, shape.iter().product(), true)).unwrap()
}

fn linear(coordinates: Coordinates) -> Resize {
    Resize {
        interpolation: Interpolation::Linear,
        coordinates,
        ..Resize::default()
    }
}

fn by_scales(scales: &[f32]) -> [Option<Tensor>; 3] {
    let scales = Tensor::from_slice(&[scales.len()], scales).unwrap();
    [None, Some(scales), None]
}

fn to_sizes(sizes: &[i64]) -> [Option<Tensor>; 3] {
    let sizes = Tensor::from_slice(&[sizes.len()], sizes).unwrap();
    // Scales that are empty count as left out.
    let empty = Tensor::from_slice::<f32>(&[0], &[]).unwrap();
    [None, Some(empty), Some(sizes)]
}

/// Adds what differs.
fn check(
    failures: &mut Vec<String>,
    op: &Resize,
    shape: &[usize],
    parameters: &[Option<Tensor>],
    layouts: &[Layout],
) {
    let node = Node {
        op: Arc::new(op.clone()),
        image: &image(shape),
        constants: parameters,
    };
    failures.extend(node.differences(&format!("{op:?}"), layouts));
}

fn none(failures: Vec<String>) {
    let few: Vec<_> = failures.iter().take(20).cloned().collect();
    assert!(
        few.is_empty(),
        "{} failures\n{}",
        failures.len(),
        few.join("\n")
    );
}

/// Evidence: canonical-arithmetic, same-bits-isa
#[test]
fn nearest_samples_are_those_of_the_reference() {
    let mut failures = Vec::new();
    for mode in NEAREST {
        for coordinates in COORDINATES {
            let op = Resize {
                interpolation: Interpolation::Nearest(mode),
                coordinates,
                ..Resize::default()
            };
            for scales in [[2.0, 2.0], [3.0, 1.0], [1.0, 4.0], [0.6, 1.7], [1.0, 0.5]] {
                let scales = by_scales(&[1.0, 1.0, scales[0], scales[1]]);
                check(&mut failures, &op, &[2, 3, 7, 9], &scales, &BOTH);
            }
        }
    }
    let op = Resize::default();
    for channels in [1, 16, 17, 40] {
        let scales = by_scales(&[1.0, 1.0, 2.0, 2.0]);
        check(&mut failures, &op, &[1, channels, 13, 26], &scales, &BOTH);
    }
    for (shape, sizes) in [
        (&[2, 3, 5][..], &[2, 3, 11][..]),
        (&[1, 3, 4, 5, 6], &[1, 3, 8, 10, 5]),
        // Along batch and channels too.
        (&[2, 3, 5], &[3, 5, 8]),
        (&[2, 17, 40], &[2, 17, 40]),
    ] {
        check(&mut failures, &op, shape, &to_sizes(sizes), &BOTH);
    }
    none(failures);
}

/// Evidence: canonical-arithmetic, same-bits-isa
#[test]
fn linear_chains_have_the_bits_of_the_reference() {
    let mut failures = Vec::new();
    for coordinates in COORDINATES {
        for scales in [[2.0, 2.0], [3.0, 1.0], [1.0, 4.0], [0.6, 1.7], [0.5, 0.5]] {
            for antialias in [false, true] {
                let op = Resize {
                    antialias,
                    ..linear(coordinates)
                };
                let scales = by_scales(&[1.0, 1.0, scales[0], scales[1]]);
                check(&mut failures, &op, &[2, 3, 7, 9], &scales, &BOTH);
            }
        }
    }
    for channels in [1, 16, 17, 40, 70] {
        for sizes in [[26, 53], [5, 6], [1, 90], [13, 40]] {
            let sizes = to_sizes(&[1, channels, sizes[0], sizes[1]]);
            let shape = [1, channels as usize, 13, 26];
            for coordinates in [Coordinates::HalfPixel, Coordinates::AlignCorners] {
                check(&mut failures, &linear(coordinates), &shape, &sizes, &BOTH);
            }
        }
    }
    for (shape, sizes) in [
        (&[2, 3, 5][..], &[2, 3, 11][..]),
        (&[1, 3, 4, 5, 6], &[1, 3, 8, 9, 5]),
        (&[2, 17, 3, 4, 5], &[2, 17, 2, 9, 10]),
        // The middle axis stays.
        (&[1, 3, 4, 5, 6], &[1, 3, 7, 5, 9]),
        // Several tiles of columns and of rows.
        (&[1, 2, 40, 700], &[1, 2, 70, 1501]),
        (&[1, 40, 30, 50], &[1, 40, 75, 130]),
    ] {
        let op = linear(Coordinates::HalfPixel);
        check(&mut failures, &op, shape, &to_sizes(sizes), &BOTH);
    }
    none(failures);
}

#[test]
fn cubic_chains_have_the_bits_of_the_reference() {
    let mut failures = Vec::new();
    for coordinates in COORDINATES {
        for (antialias, exclude_outside) in [(false, false), (true, false), (false, true)] {
            let op = Resize {
                interpolation: Interpolation::Cubic { a: -0.75 },
                antialias,
                exclude_outside,
                ..linear(coordinates)
            };
            let scales = by_scales(&[1.0, 1.0, 1.7, 0.6]);
            check(&mut failures, &op, &[2, 17, 7, 9], &scales, &BOTH);
        }
    }
    none(failures);
}

#[test]
fn attributes_speak_of_the_models_axes_in_both_layouts() {
    let mut failures = Vec::new();
    for interpolation in [
        Interpolation::Linear,
        Interpolation::Nearest(NearestMode::RoundPreferFloor),
    ] {
        let op = Resize {
            interpolation,
            ..Resize::default()
        };
        // In another order, and counted from behind.
        let some = Resize {
            axes: Some(vec![-1, 2]),
            ..op.clone()
        };
        check(
            &mut failures,
            &some,
            &[2, 5, 6, 8],
            &by_scales(&[0.7, 3.0]),
            &BOTH,
        );
        check(
            &mut failures,
            &some,
            &[2, 5, 6, 8],
            &to_sizes(&[11, 9]),
            &BOTH,
        );
        for aspect_ratio in [AspectRatio::NotLarger, AspectRatio::NotSmaller] {
            let kept = Resize {
                aspect_ratio,
                ..some.clone()
            };
            check(
                &mut failures,
                &kept,
                &[2, 5, 6, 8],
                &to_sizes(&[21, 10]),
                &BOTH,
            );
        }
        let fixed = Resize {
            scales: Some(vec![1.0, 1.0, 2.0, 1.5]),
            roi_input: None,
            scales_input: None,
            sizes_input: None,
            ..op.clone()
        };
        check(&mut failures, &fixed, &[2, 5, 6, 8], &[], &BOTH);
    }
    // A scale that keeps the length and yet moves the samples.
    let scales = by_scales(&[1.0, 1.0, 1.1, 1.0]);
    check(
        &mut failures,
        &linear(Coordinates::HalfPixel),
        &[1, 3, 5, 6],
        &scales,
        &BOTH,
    );
    none(failures);
}

#[test]
fn chains_over_batch_and_channels_lie_outside_of_those_over_space() {
    let (mut failures, op) = (Vec::new(), linear(Coordinates::HalfPixel));
    let sizes = to_sizes(&[3, 7, 9]);
    check(
        &mut failures,
        &op,
        &[2, 5, 6],
        &sizes,
        &[Layout::ChannelsFirst],
    );
    none(failures);
    let node = Node {
        op: Arc::new(op),
        image: &image(&[2, 5, 6]),
        constants: &sizes,
    };
    assert!(node.is_left_to_the_reference(Layout::ChannelsLast));
}

#[test]
fn regions_of_interest_are_left_to_the_reference() {
    let op = Resize {
        coordinates: Coordinates::TfCropAndResize,
        ..Resize::default()
    };
    let mut constants = by_scales(&[1.0, 1.0, 2.0, 2.0]);
    let region = [0.0, 0.0, 0.1, 0.1, 1.0, 1.0, 0.9, 0.9];
    constants[0] = Some(Tensor::from_slice(&[8], &region).unwrap());
    let node = Node {
        op: Arc::new(op),
        image: &image(&[1, 2, 6, 6]),
        constants: &constants,
    };
    assert!(node.is_left_to_the_reference(Layout::ChannelsFirst));
}

#[test]
fn doubling_an_image_copies_lines() {
    let node = Node {
        op: Arc::new(Resize::default()),
        image: &image(&[1, 5, 6, 8]),
        constants: &by_scales(&[1.0, 1.0, 2.0, 2.0]),
    };
    assert!(node.description(Layout::ChannelsFirst).contains("twice"));
    assert!(node.description(Layout::ChannelsLast).contains("runs"));
}
