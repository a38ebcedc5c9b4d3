//! Every kernel against the reference implementation of its operator, bit for bit, on every instruction set that the
//! machine has and on one and two threads.

use std::sync::Arc;

use smallvec::SmallVec;
use unisono_graph::ops::activation::{Activate, Activation};
use unisono_graph::ops::binary::{Binary, BinaryFunction, Variadic, VariadicFunction};
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::normalize::{
    BatchNormalization, LayerNormalization, RmsNormalization, Softmax, SoftmaxFunction,
};
use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_graph::ops::reduce::{Reduce, ReduceFunction};
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_graph::ops::window::{Padding, Window};
use unisono_graph::{Dim, Fact, InferContext, Operator};
use unisono_reference::arith::first_difference;
use unisono_reference::eval;
use unisono_runtime::team::{Team, TeamOptions};
use unisono_tensor::{DType, Shape, Tensor, TensorMut, TensorRef};

use crate::exec::kernel::{Build, Context, Known};
use crate::exec::model::{Engine, Store};
use crate::simd::Isa;

/// One operator with its inputs' shapes; those in `constants` are known when the kernel is built.
struct Case {
    name: &'static str,
    op: Arc<dyn Operator>,
    inputs: Vec<Option<Vec<usize>>>,
    constants: &'static [usize],
}

fn case<const N: usize>(
    name: &'static str,
    op: impl Operator,
    inputs: [&[usize]; N],
    constants: &'static [usize],
) -> Case {
    let inputs = inputs.iter().map(|s| Some(s.to_vec())).collect();
    Case {
        name,
        op: Arc::new(op),
        inputs,
        constants,
    }
}

/// Numbers that a sum's order can be seen in, with a few special ones among them.
fn numbers(seed: u64, n: usize, special: bool) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..n)
        .map(|_| {
            let bits = next();
            if special && bits.is_multiple_of(97) {
                return [f32::NAN, f32::INFINITY, -0.0, 1e-41, f32::MIN_POSITIVE]
                    [(bits >> 32) as usize % 5];
            }
            let unit = (bits >> 40) as f32 / (1u64 << 24) as f32;
            (unit - 0.5) * [4.0, 0.01, 100.0][(bits % 3) as usize]
        })
        .collect()
}

fn window(kernel: &[usize], strides: &[usize], dilations: &[usize], pads: &[usize]) -> Window {
    Window {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        padding: Padding::Explicit(pads.to_vec()),
        ceil_mode: false,
    }
}

fn lstm(direction: Direction) -> Recurrent {
    Recurrent {
        cell: Cell::Lstm {
            input_forget: false,
        },
        direction,
        hidden_size: None,
        activations: [Activation::Sigmoid, Activation::Tanh, Activation::Tanh]
            .repeat(direction.count()),
        clip: None,
        batch_first: false,
    }
}

fn reduce(function: ReduceFunction, axes: &[i64]) -> Reduce {
    Reduce {
        function,
        axes: Some(axes.to_vec()),
        keepdims: false,
        noop_with_empty_axes: false,
    }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(
            "packed product",
            Linear::default(),
            [&[3, 5, 300], &[300, 37]],
            &[1],
        ),
        case(
            "variable product",
            Linear::default(),
            [&[2, 3, 7, 33], &[2, 3, 33, 9]],
            &[],
        ),
        case(
            "broadcast product",
            Linear::default(),
            [&[2, 1, 7, 33], &[3, 33, 9]],
            &[],
        ),
        case(
            "row times matrix",
            Linear::default(),
            [&[600], &[600, 9]],
            &[1],
        ),
        case(
            "matrix times column",
            Linear::default(),
            [&[4, 600], &[600]],
            &[],
        ),
        case(
            "Gemm with everything",
            Linear {
                transpose_a: true,
                transpose_b: true,
                alpha: 0.5,
                beta: 2.0,
                activation: Some(Activation::Tanh),
                gemm: true,
            },
            [&[270, 13], &[21, 270], &[21]],
            &[1, 2],
        ),
        case(
            "bias by column",
            Linear {
                gemm: true,
                ..Linear::default()
            },
            [&[6, 40], &[40, 5], &[6, 1]],
            &[1],
        ),
        case(
            "bias of every row",
            Linear::default(),
            [&[2, 6, 40], &[40, 5], &[2, 6, 5]],
            &[1],
        ),
        case(
            "bias of a batch",
            Linear::default(),
            [&[2, 6, 40], &[2, 40, 5], &[2, 1, 5]],
            &[],
        ),
        case(
            "fused product",
            Linear {
                activation: Some(Activation::GeluErf),
                ..Linear::default()
            },
            [&[9, 64], &[64, 50], &[50]],
            &[1, 2],
        ),
        case(
            "convolution",
            Conv {
                window: window(&[3, 3], &[1, 1], &[1, 1], &[1, 1, 1, 1]),
                ..Conv::default()
            },
            [&[2, 40, 9, 11], &[17, 40, 3, 3], &[17]],
            &[1, 2],
        ),
        case(
            "strided convolution with activation",
            Conv {
                window: window(&[5], &[2], &[2], &[3, 4]),
                activation: Some(Activation::HardSwish),
                ..Conv::default()
            },
            [&[2, 6, 50], &[8, 6, 5]],
            &[1],
        ),
        case(
            "pointwise convolution",
            Conv::default(),
            [&[3, 300, 5, 7], &[12, 300, 1, 1], &[12]],
            &[1, 2],
        ),
        case(
            "depthwise convolution",
            Conv {
                groups: 20,
                window: window(&[5, 5], &[2, 2], &[1, 1], &[2, 2, 2, 2]),
                activation: None,
            },
            [&[2, 20, 13, 17], &[20, 1, 5, 5], &[20]],
            &[1, 2],
        ),
        case(
            "grouped convolution",
            Conv {
                groups: 3,
                window: window(&[3], &[1], &[1], &[1, 1]),
                activation: None,
            },
            [&[1, 24, 19], &[30, 8, 3]],
            &[1],
        ),
        case(
            "transposed convolution",
            ConvTranspose {
                strides: vec![2, 2],
                ..ConvTranspose::default()
            },
            [&[2, 24, 5, 6], &[24, 10, 2, 2], &[10]],
            &[1, 2],
        ),
        case(
            "transposed convolution with overlaps",
            ConvTranspose {
                strides: vec![2],
                padding: Padding::Explicit(vec![1, 1]),
                output_padding: vec![1],
                ..ConvTranspose::default()
            },
            [&[2, 5, 9], &[5, 4, 3]],
            &[1],
        ),
        case(
            "max pooling",
            Pool {
                function: PoolFunction::Max {
                    column_major_indices: false,
                },
                window: window(&[3, 3], &[2, 2], &[1, 1], &[1, 1, 1, 1]),
            },
            [&[2, 3, 11, 12]],
            &[],
        ),
        case(
            "average pooling",
            Pool {
                function: PoolFunction::Average {
                    count_include_pad: false,
                },
                window: window(&[3, 2], &[2, 1], &[1, 1], &[1, 0, 1, 1]),
            },
            [&[2, 3, 11, 12]],
            &[],
        ),
        case(
            "average pooling with padding",
            Pool {
                function: PoolFunction::Average {
                    count_include_pad: true,
                },
                window: window(&[4], &[3], &[1], &[2, 1]),
            },
            [&[2, 3, 31]],
            &[],
        ),
        case(
            "global average",
            GlobalPool {
                function: PoolFunction::Average {
                    count_include_pad: false,
                },
            },
            [&[2, 11, 17, 19]],
            &[],
        ),
        case(
            "global maximum",
            GlobalPool {
                function: PoolFunction::Max {
                    column_major_indices: false,
                },
            },
            [&[2, 11, 17, 19]],
            &[],
        ),
        case(
            "softmax",
            Softmax {
                function: SoftmaxFunction::Softmax,
                axis: -1,
                flatten: false,
            },
            [&[5, 3, 1100]],
            &[],
        ),
        case(
            "softmax in the middle",
            Softmax {
                function: SoftmaxFunction::Softmax,
                axis: 1,
                flatten: false,
            },
            [&[5, 300, 7]],
            &[],
        ),
        case(
            "softmax over an axis in front of one of length 1",
            Softmax {
                function: SoftmaxFunction::Softmax,
                axis: 1,
                flatten: false,
            },
            [&[5, 300, 1]],
            &[],
        ),
        case(
            "flattening softmax",
            Softmax {
                function: SoftmaxFunction::Softmax,
                axis: 1,
                flatten: true,
            },
            [&[5, 30, 7]],
            &[],
        ),
        case(
            "log-softmax",
            Softmax {
                function: SoftmaxFunction::LogSoftmax,
                axis: -1,
                flatten: false,
            },
            [&[9, 77]],
            &[],
        ),
        case(
            "layer norm",
            LayerNormalization {
                axis: -1,
                epsilon: 1e-5,
                stash: DType::F32,
            },
            [&[7, 3, 384], &[384], &[384]],
            &[1, 2],
        ),
        case(
            "layer norm without bias over two axes",
            LayerNormalization {
                axis: 1,
                epsilon: 1e-5,
                stash: DType::F32,
            },
            [&[7, 3, 50], &[3, 50]],
            &[],
        ),
        case(
            "rms norm",
            RmsNormalization {
                axis: -1,
                epsilon: 1e-6,
            },
            [&[7, 1030], &[1030]],
            &[],
        ),
        case(
            "sums of rows",
            reduce(ReduceFunction::Sum, &[2]),
            [&[4, 5, 1500]],
            &[],
        ),
        case(
            "means of everything",
            reduce(ReduceFunction::Mean, &[0, 1, 2]),
            [&[4, 5, 60]],
            &[],
        ),
        case(
            "norms in the middle",
            reduce(ReduceFunction::L2, &[1]),
            [&[4, 500, 6]],
            &[],
        ),
        case(
            "maxima in front",
            reduce(ReduceFunction::Max, &[0, 1]),
            [&[4, 50, 6]],
            &[],
        ),
        case(
            "sums in front of an axis of length 1",
            reduce(ReduceFunction::Sum, &[1]),
            [&[4, 700, 1]],
            &[],
        ),
        case(
            "sum of two",
            Variadic {
                function: VariadicFunction::Sum,
            },
            [&[4, 5], &[4, 5]],
            &[],
        ),
        case(
            "larger of two",
            Variadic {
                function: VariadicFunction::Max,
            },
            [&[4, 5], &[5]],
            &[],
        ),
        case(
            "forward LSTM",
            lstm(Direction::Forward),
            [&[6, 3, 20], &[1, 68, 20], &[1, 68, 17], &[1, 136]],
            &[1, 2, 3],
        ),
        case(
            "bidirectional LSTM without bias",
            lstm(Direction::Bidirectional),
            [&[5, 2, 20], &[2, 68, 20], &[2, 68, 17]],
            &[1, 2],
        ),
    ];
    let mut stateful = case(
        "reverse LSTM with states",
        lstm(Direction::Reverse),
        [
            &[4, 1, 300],
            &[1, 32, 300],
            &[1, 32, 8],
            &[1, 64],
            &[],
            &[1, 1, 8],
            &[1, 1, 8],
        ],
        &[1, 2, 3],
    );
    stateful.inputs[4] = None;
    cases.push(stateful);
    for (a, b) in [
        (&[4, 3, 50][..], &[4, 3, 50][..]),
        (&[4, 3, 50], &[50]),
        (&[4, 3, 50], &[3, 1]),
        (&[4, 3, 50], &[4, 1, 1]),
        (&[], &[4, 3, 50]),
        (&[3, 50], &[4, 3, 50]),
        (&[5, 1], &[1, 6]),
        (&[9000], &[1]),
        (&[3, 9000], &[9000]),
        (&[2, 5, 6, 7], &[1, 5, 1, 1]),
    ] {
        for function in [
            BinaryFunction::Add,
            BinaryFunction::Sub,
            BinaryFunction::Div,
            BinaryFunction::Pow,
        ] {
            cases.push(case("binary", Binary { function }, [a, b], &[]));
        }
    }
    for function in [
        UnaryFunction::Exp,
        UnaryFunction::Erf,
        UnaryFunction::Sqrt,
        UnaryFunction::Sin,
        UnaryFunction::Round,
    ] {
        cases.push(case("unary", Unary { function }, [&[3, 7001]], &[]));
    }
    for function in [
        Activation::Relu,
        Activation::GeluErf,
        Activation::Sigmoid,
        Activation::Clip {
            low: -1.0,
            high: 1.0,
        },
    ] {
        cases.push(case("activation", Activate { function }, [&[3, 7001]], &[]));
    }
    cases
}

/// Runs one case on one device; an error text where it differs from the reference.
fn check(case: &Case, special: bool, isa: Isa, threads: usize) -> Result<(), String> {
    let tensors: Vec<Option<Tensor>> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(i, shape)| {
            let shape = shape.as_ref()?;
            // Weights stay finite: what infinite ones do in padding is another test's matter.
            let special = special && !case.constants.contains(&i);
            let data = numbers(i as u64 + 1, shape.iter().product(), special);
            Some(Tensor::from_slice(shape, &data).unwrap())
        })
        .collect();
    let facts: Vec<Option<Fact>> = tensors
        .iter()
        .map(|t| {
            let shape = t.as_ref()?.shape().iter().map(|&n| Dim::from(n)).collect();
            Some(Fact::new(DType::F32, shape))
        })
        .collect();
    // Recurrent layers have three outputs, all others one.
    let count = if case.op.kind() == "Recurrent" { 3 } else { 1 };
    let mut cx = InferContext::new(&facts, count);
    case.op.infer(&mut cx).map_err(|e| e.to_string())?;
    let known = |value: usize, shape: &[usize], constant: Option<Tensor>| Known {
        dtype: DType::F32,
        shape: Some(Shape::from_slice(shape)),
        integers: None,
        constant,
        value,
    };
    let inputs: Vec<Option<Known>> = tensors
        .iter()
        .enumerate()
        .map(|(i, t)| {
            let t = t.as_ref()?;
            Some(known(
                i,
                t.shape(),
                case.constants.contains(&i).then(|| t.clone()),
            ))
        })
        .collect();
    let outputs: Vec<Option<Known>> = cx
        .into_outputs()
        .iter()
        .map(|f| Some(known(99, &f.as_ref()?.concrete_shape()?, None)))
        .collect();
    let engine = Arc::new(Engine {
        team: Team::new(TeamOptions::default().threads(threads)).unwrap(),
        solo: Team::solo(),
        isa,
        arena_limit: 1 << 30,
        near_bytes: crate::exec::cost::NEAR_BYTES,
    });
    let (known_in, known_out): (Vec<Option<&Known>>, Vec<Option<&Known>>) = (
        inputs.iter().map(Option::as_ref).collect(),
        outputs.iter().map(Option::as_ref).collect(),
    );
    let build = Build {
        op: &case.op,
        inputs: &known_in,
        outputs: &known_out,
        node: 0,
        store: &Store::default(),
        engine: &engine,
        channels_last: false,
    };
    let kernel = super::own(&build).map_err(|e| e.to_string())?;
    // BatchNormalization and the rest of the table say which; a case without a kernel of our own would test nothing.
    let kernel = kernel.ok_or("there is no kernel of our own for it")?;
    let zeros = || -> Vec<Tensor> {
        outputs
            .iter()
            .flatten()
            .map(|k| Tensor::zeros(DType::F32, k.shape.as_deref().unwrap()).unwrap())
            .collect()
    };
    let (mut expected, mut found) = (zeros(), zeros());
    // What is there before must not matter.
    for t in &mut found {
        t.as_slice_mut::<f32>().unwrap().fill(f32::NAN);
    }
    let refs: Vec<Option<TensorRef<'_>>> = tensors
        .iter()
        .map(|t| t.as_ref().map(|t| t.view().unwrap()))
        .collect();
    let muts = |tensors: &mut [Tensor], run: &mut dyn FnMut(&mut [Option<TensorMut<'_>>])| {
        let mut views: SmallVec<[Option<TensorMut<'_>>; 4]> =
            tensors.iter_mut().map(|t| t.view_mut()).collect();
        run(&mut views);
    };
    muts(&mut expected, &mut |views| {
        eval::evaluate(&*case.op, &refs, views).unwrap()
    });
    let mut scratch = vec![f32::NAN; kernel.scratch_len()];
    let cx = Context {
        team: &engine.team,
        isa,
    };
    muts(&mut found, &mut |views| {
        kernel.run(&cx, &refs, views, &mut scratch).unwrap()
    });
    for (i, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let (expected, found) = (
            expected.as_slice::<f32>().unwrap(),
            found.as_slice::<f32>().unwrap(),
        );
        if let Some(difference) = first_difference(expected, found) {
            return Err(format!("output {i}: {difference:?}"));
        }
    }
    Ok(())
}

/// Evidence: canonical-arithmetic, same-bits-isa
#[test]
fn every_kernel_gives_the_bits_of_the_reference() {
    let mut cases = cases();
    // The parameters of a batch normalisation must be such that the variance is not negative.
    let norm = BatchNormalization { epsilon: 1e30 };
    cases.push(case(
        "batch norm",
        norm,
        [&[3, 7, 5, 9], &[7], &[7], &[7], &[7]],
        &[1, 2, 3, 4],
    ));
    let mut failures = Vec::new();
    for case in &cases {
        for isa in Isa::available() {
            for (threads, special) in [(1, false), (2, true)] {
                if let Err(e) = check(case, special, isa, threads) {
                    let shapes = &case.inputs;
                    failures.push(format!(
                        "{} {shapes:?} on {isa}, {threads} threads: {e}",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
