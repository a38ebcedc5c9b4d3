//! Groups of nodes that are one launch on a GPU, held against the processor, which runs every node by itself. `cargo xtask gpu-test`
//! runs them.

mod devices;

use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::Transpose;
use unisono_graph::ops::normalize::{
    LayerNormalization, RmsNormalization, Softmax, SoftmaxFunction,
};
use unisono_graph::{Graph, ValueId};
use unisono_tensor::{DType, Tensor};

use devices::{Bench, input, node, numbers};

/// [`numbers`] with a few that no sum survives.
fn with_specials(shape: &[usize], seed: usize) -> Tensor {
    let mut values = numbers(shape, seed).as_slice::<f32>().unwrap().to_vec();
    let len = values.len();
    for (n, special) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 3e38]
        .into_iter()
        .enumerate()
    {
        values[(seed * 31 + n * 257) % len] = special;
    }
    Tensor::from_slice(shape, &values).unwrap()
}

const ADD: Binary = Binary {
    function: BinaryFunction::Add,
};

/// Numbers that a mask adds: some of them shut a key out.
fn mask(shape: &[usize], seed: usize) -> Tensor {
    let values = numbers(shape, seed).as_slice::<f32>().unwrap().to_vec();
    let masked = |x: f32| if x > 0.3 { f32::NEG_INFINITY } else { x };
    let values: Vec<f32> = values.into_iter().map(masked).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

/// Lengths of attention.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    heads: usize,
    rows: usize,
    keys: usize,
    width: usize,
}

fn strings(lengths: &[usize]) -> Vec<String> {
    lengths.iter().map(usize::to_string).collect()
}

/// An input whose first axis has the rows of the batch.
fn batched(graph: &mut Graph, name: &str, lengths: &[usize]) -> ValueId {
    let lengths = strings(lengths);
    let mut shape = vec!["rows"];
    shape.extend(lengths.iter().map(String::as_str));
    input(graph, name, DType::F32, &shape)
}

/// Attention as exporters write it, over values as projections lay them out. `mask` has the lengths behind the batch of a mask, `moved`
/// says whether the result goes back to where the operands came from.
fn attention(of: Lengths, mask: Option<&[usize]>, moved: bool) -> Graph {
    let Lengths {
        heads,
        rows,
        keys,
        width,
    } = of;
    let mut graph = Graph::new("attention");
    let perm = || Transpose {
        perm: Some(vec![0, 2, 1, 3]),
    };
    let operands = [("q", rows), ("k", keys), ("v", keys)].map(|(name, len)| {
        let x = batched(&mut graph, name, &[len, heads, width]);
        node(&mut graph, perm(), &[x])
    });
    let product = Linear {
        transpose_b: true,
        alpha: 0.3,
        ..Linear::default()
    };
    let mut scores = node(&mut graph, product, &operands[..2]);
    if let Some(lengths) = mask {
        let mask = batched(&mut graph, "mask", lengths);
        scores = node(&mut graph, ADD, &[scores, mask]);
    }
    let softmax = Softmax {
        function: SoftmaxFunction::Softmax,
        axis: -1,
        flatten: false,
    };
    let weights = node(&mut graph, softmax, &[scores]);
    let mut y = node(&mut graph, Linear::default(), &[weights, operands[2]]);
    if moved {
        y = node(&mut graph, perm(), &[y]);
    }
    graph.set_outputs(vec![y]);
    graph
}

fn check_attention(of: Lengths, masked: Option<&[usize]>, moved: bool, batches: &[usize]) {
    let bench = Bench::new(attention(of, masked, moved));
    for &batch in batches {
        for specials in [false, true] {
            let make = if specials { with_specials } else { numbers };
            let (q, k) = (
                [batch, of.rows, of.heads, of.width],
                [batch, of.keys, of.heads, of.width],
            );
            let mut inputs = vec![make(&q, 1), make(&k, 2), make(&k, 3)];
            if let Some(lengths) = masked {
                inputs.push(mask(&[&[batch], lengths].concat(), 4));
            }
            bench.check_all(&inputs);
            let kernels = bench.kernels(&inputs);
            assert!(
                kernels.len() == 1 && kernels[0].starts_with("unisono_attention"),
                "{of:?}: {kernels:?}"
            );
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn attention_of_any_lengths_has_the_bits_of_its_nodes() {
    for rows in [1, 31, 32, 33, 257] {
        for keys in [1, 32, 33, 257, 300] {
            for width in [8, 64, 100] {
                let of = Lengths {
                    heads: 3,
                    rows,
                    keys,
                    width,
                };
                check_attention(of, None, (rows + keys + width) % 2 == 0, &[1, 7]);
            }
        }
    }
    // Widths of several slices, of no whole quad, and many blocks, so that tiles are large.
    for (heads, rows, keys, width) in [
        (2, 5, 7, 300),
        (2, 40, 40, 3),
        (1, 40, 65, 129),
        (12, 128, 128, 32),
        (4, 32, 32, 64),
        (2, 16, 1100, 16),
    ] {
        let of = Lengths {
            heads,
            rows,
            keys,
            width,
        };
        check_attention(of, None, true, &[1, 2, 33]);
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn masks_are_repeated_along_whatever_axes_they_lack() {
    for (rows, keys) in [(33, 33), (32, 300)] {
        for mask in [
            &[3, rows, keys][..],
            &[1, rows, keys],
            &[1, 1, keys],
            &[3, 1, keys],
            &[3, rows, 1],
            &[1, 1, 1],
        ] {
            for width in [64, 30] {
                let of = Lengths {
                    heads: 3,
                    rows,
                    keys,
                    width,
                };
                check_attention(of, Some(mask), true, &[1, 5]);
            }
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_normalised_sum_has_the_bits_of_its_nodes_and_so_has_the_sum() {
    for n in [1, 8, 100, 384, 512, 513, 768, 1024, 1025, 5000] {
        for (is_layer, is_read) in [(true, false), (true, true), (false, false), (false, true)] {
            for repeated in [false, true] {
                let mut graph = Graph::new("norm");
                let a = batched(&mut graph, "a", &[3, n]);
                let b = match repeated {
                    true => input(&mut graph, "b", DType::F32, &["3", &n.to_string()]),
                    false => batched(&mut graph, "b", &[3, n]),
                };
                let sum = node(&mut graph, ADD, &[b, a]);
                let scale = graph.add_constant("scale", numbers(&[n], 5));
                let bias = graph.add_constant("bias", numbers(&[n], 6));
                let y = match is_layer {
                    true => {
                        let norm = LayerNormalization {
                            axis: -1,
                            epsilon: 1e-5,
                            stash: DType::F32,
                        };
                        node(&mut graph, norm, &[sum, scale, bias])
                    }
                    false => {
                        let norm = RmsNormalization {
                            axis: -1,
                            epsilon: 1e-5,
                        };
                        node(&mut graph, norm, &[sum, scale])
                    }
                };
                let outputs = if is_read { vec![y, sum] } else { vec![y] };
                graph.set_outputs(outputs);
                let bench = Bench::new(graph);
                for batch in [1, 50] {
                    for make in [numbers, with_specials] {
                        let b = if repeated {
                            vec![3, n]
                        } else {
                            vec![batch, 3, n]
                        };
                        let inputs = [make(&[batch, 3, n], 1), make(&b, 2)];
                        bench.check_all(&inputs);
                        let kernels = bench.kernels(&inputs);
                        let is_one = kernels.len() == 1 && kernels[0].starts_with("unisono_add");
                        assert!(is_one, "{n}: {kernels:?}");
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn products_that_share_a_launch_have_the_bits_of_each_alone() {
    for (k, n) in [
        (64, 64),
        (300, 36),
        (63, 64),
        (1024, 8),
        (256, 256),
        (20, 7),
    ] {
        for biased in [false, true] {
            for count in [2, 3, 5] {
                let mut graph = Graph::new("products");
                let x = batched(&mut graph, "x", &[k]);
                let mut outputs = Vec::new();
                for seed in 0..count {
                    let weights = graph.add_constant("w", numbers(&[k, n], seed));
                    let bias = graph.add_constant("b", numbers(&[n], 10 + seed));
                    let inputs: &[ValueId] = match biased {
                        true => &[x, weights, bias],
                        false => &[x, weights],
                    };
                    outputs.push(node(&mut graph, Linear::default(), inputs));
                }
                graph.set_outputs(outputs);
                let bench = Bench::new(graph);
                for rows in [1, 2, 4, 7, 16, 32, 100, 700] {
                    bench.check(&with_specials(&[rows, k], rows));
                    bench.check(&numbers(&[rows, k], rows));
                }
                let kernels = bench.kernels(&[numbers(&[32, k], 1)]);
                assert_eq!(kernels.len(), count.div_ceil(3), "{kernels:?}");
            }
        }
    }
}
