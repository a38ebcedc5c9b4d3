use proptest::prelude::*;
use unisono_reference::arith::{self, first_difference};

use super::*;
use crate::conv::tests::pool_cases;
use crate::gemm::tests::{teams, values};
use crate::simd::Isa;

/// N x C x positions as N x positions x C.
fn channels_last(values: &[f32], channels: usize, plane: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(values.len());
    for sample in values.chunks_exact((channels * plane).max(1)) {
        for position in 0..plane {
            turned.extend((0..channels).map(|c| sample[c * plane + position]));
        }
    }
    turned
}

fn check(shape: &PoolShape, channels: usize, seed: u64, special: bool) {
    let [input, output] = [shape.input, shape.output].map(|s| s.iter().product::<usize>());
    let x = values(seed, shape.planes * input, special);
    let turned = channels_last(&x, channels, input);
    let mut expected = vec![0.0; shape.planes * output];
    type Pool<'a> = &'a dyn Fn(Cores<'_>, &mut [f32]);
    let mut compare = |what: &str, reference: &dyn Fn(&mut [f32]), pool: Pool<'_>| {
        reference(&mut expected);
        let expected = channels_last(&expected, channels, output);
        for isa in Isa::available() {
            for team in &teams() {
                let mut y = vec![7.0; expected.len()];
                pool(Cores { isa, team }, &mut y);
                let difference = first_difference(&y, &expected);
                assert_eq!(
                    difference,
                    None,
                    "{what}, {channels} channels, {isa}, {} threads",
                    team.threads()
                );
            }
        }
    };
    let max = |y: &mut [f32]| arith::max_pool(shape, &x, y, None);
    compare("max", &max, &|cores, y| {
        max_pool(cores, shape, channels, &turned, y)
    });
    for padding in [false, true] {
        let average = |y: &mut [f32]| arith::average_pool(shape, padding, &x, y);
        compare("average", &average, &|cores, y| {
            average_pool(cores, shape, channels, padding, &turned, y)
        });
    }
    let whole = PoolShape {
        planes: shape.planes,
        ..whole_planes(&x, &vec![0.0; shape.planes])
    };
    let is_dense = shape.dilations == [1; 3] && shape.pads == [0; 3];
    if shape.kernel == whole.kernel && shape.output == whole.output && is_dense {
        compare("global max", &max, &|cores, y| {
            global_max_pool(cores, channels, &turned, y)
        });
        let average = |y: &mut [f32]| arith::average_pool(shape, false, &x, y);
        compare("global average", &average, &|cores, y| {
            global_average_pool(cores, channels, &turned, y)
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Evidence: canonical-arithmetic, same-bits-isa
    #[test]
    fn every_window_gives_the_references_bits_with_channels_last(
        (shape, _, seed) in pool_cases(),
        channels in prop_oneof![Just(1_usize), Just(3), Just(16), Just(17), Just(40)],
    ) {
        let shape = PoolShape { planes: (1 + seed as usize % 2) * channels, ..shape };
        check(&shape, channels, seed, true);
    }
}

#[test]
fn planes_and_windows_of_several_slices_give_the_references_bits_with_channels_last() {
    for channels in [1, 3, 16, 17, 40, 200] {
        for plane in [1, 49, 256, 257, 600] {
            let whole = PoolShape {
                planes: 2 * channels,
                ..whole_planes(&vec![0.0; plane], &[0.0])
            };
            // Where many values meet, special ones would hide the order of the others.
            for special in [false, true] {
                check(&whole, channels, plane as u64, special);
            }
        }
    }
    // Cuts between slices fall into lines, padding in front of them.
    let large = PoolShape {
        planes: 17,
        input: [2, 19, 21],
        output: [1, 4, 5],
        kernel: [2, 18, 19],
        strides: [1, 2, 2],
        dilations: [1; 3],
        pads: [0, 3, 4],
        pads_end: [0, 2, 2],
    };
    check(&large, 17, 5, false);
}

#[test]
fn few_positions_of_many_channels_are_shared_between_threads() {
    let [channels, plane] = [1500, 130];
    let x = values(1, channels * plane, false);
    let turned = channels_last(&x, channels, plane);
    let shape = PoolShape {
        planes: channels,
        ..whole_planes(&x, &vec![0.0; channels])
    };
    let mut expected = vec![0.0; channels];
    arith::average_pool(&shape, false, &x, &mut expected);
    for team in &teams() {
        let cores = Cores {
            isa: Isa::detect(),
            team,
        };
        let mut y = vec![7.0; channels];
        global_average_pool(cores, channels, &turned, &mut y);
        assert_eq!(first_difference(&y, &expected), None);
    }
}
