//! Inputs and outputs that fit neither each other nor the operator: errors, never panics.

use super::super::{FUNCTIONS, supports};
use super::*;
use std::collections::BTreeSet;
use unisono_graph::ops::{
    activation, binary, cast, conv, generate, indexing, linear, movement, normalize, pool,
    quantize, recurrent, reduce, resize, shape, unary, window,
};
use unisono_tensor::{TensorMut, TensorRef};

/// At least one operator of every kind, with ordinary and with odd attributes.
fn every_operator() -> Vec<Box<dyn Operator>> {
    let mut all: Vec<Box<dyn Operator>> = Vec::new();
    macro_rules! add { ($($op:expr),* $(,)?) => { $( all.push(Box::new($op)); )* } }
    use activation::Activation;
    for function in [
        Activation::Relu,
        Activation::Celu { alpha: 0.0 },
        Activation::Affine {
            alpha: 2.0,
            beta: f32::NAN,
        },
        Activation::Shrink {
            bias: 1e30,
            lambd: -1.0,
        },
    ] {
        add!(activation::Activate { function });
    }
    use binary::BinaryFunction as B;
    for function in [
        B::Add,
        B::Sub,
        B::Mul,
        B::Div,
        B::Pow,
        B::Mod,
        B::Fmod,
        B::ShiftLeft,
        B::ShiftRight,
        B::And,
        B::Or,
        B::Xor,
        B::BitwiseAnd,
        B::BitwiseOr,
        B::BitwiseXor,
        B::PRelu,
    ] {
        add!(binary::Binary { function });
    }
    use unary::UnaryFunction as U;
    for function in [
        U::Abs,
        U::Neg,
        U::Sign,
        U::Sin,
        U::Not,
        U::BitwiseNot,
        U::IsNaN,
        U::Erf,
    ] {
        add!(unary::Unary { function });
    }
    add!(
        activation::Clip,
        binary::Compare {
            comparison: binary::Comparison::Less
        },
        binary::Variadic {
            function: binary::VariadicFunction::Mean
        },
        binary::Variadic {
            function: binary::VariadicFunction::Max
        },
        binary::Where,
        cast::Cast { to: DType::F16 },
        cast::Cast { to: DType::I8 },
        cast::CastLike,
        conv::Conv::default(),
        conv::Conv {
            groups: 2,
            window: window::Window {
                kernel: vec![2],
                strides: vec![usize::MAX],
                dilations: vec![usize::MAX],
                padding: window::Padding::Explicit(vec![usize::MAX, usize::MAX]),
                ceil_mode: true,
            },
            activation: Some(Activation::Tanh),
        },
        conv::Conv {
            window: window::Window {
                padding: window::Padding::SameLower,
                ..Default::default()
            },
            ..Default::default()
        },
        conv::ConvTranspose::default(),
        conv::ConvTranspose {
            strides: vec![3, 0],
            dilations: vec![usize::MAX],
            output_padding: vec![usize::MAX],
            output_shape: vec![5],
            ..Default::default()
        },
        generate::Range,
        generate::ConstantOfShape {
            value: longs(&[1], &[7])
        },
        generate::ConstantOfShape {
            value: longs(&[0], &[])
        },
        generate::EyeLike {
            dtype: None,
            k: i64::MAX
        },
        generate::EyeLike {
            dtype: Some(DType::F32),
            k: -1
        },
        indexing::Compress { axis: None },
        indexing::Compress { axis: Some(-1) },
        indexing::Gather { axis: 1 },
        indexing::Gather { axis: -1 },
        indexing::GatherElements { axis: 0 },
        indexing::GatherNd { batch_dims: 0 },
        indexing::GatherNd { batch_dims: 1 },
        indexing::NonMaxSuppression {
            center_point_box: true
        },
        indexing::NonZero,
        indexing::OneHot { axis: -1 },
        indexing::Unique {
            axis: None,
            sorted: true
        },
        indexing::Unique {
            axis: Some(0),
            sorted: false
        },
        linear::Linear::default(),
        linear::Linear {
            transpose_a: true,
            transpose_b: true,
            alpha: 0.5,
            beta: 2.0,
            ..Default::default()
        },
        linear::MatMulInteger,
        movement::Concat { axis: -1 },
        movement::DepthToSpace {
            block: 2,
            order: movement::BlockOrder::DepthFirst
        },
        movement::SpaceToDepth {
            block: 2,
            order: movement::BlockOrder::DepthLast
        },
        movement::ReverseSequence {
            batch_axis: 1,
            time_axis: 0
        },
        movement::ReverseSequence {
            batch_axis: 7,
            time_axis: 9
        },
        movement::Slice { bounds: None },
        movement::Slice {
            bounds: Some(movement::SliceBounds {
                starts: vec![i64::MIN, i64::MAX],
                ends: vec![i64::MAX, i64::MIN],
                axes: None,
            }),
        },
        movement::Split {
            axis: 0,
            parts: movement::SplitParts::Input
        },
        movement::Split {
            axis: 0,
            parts: movement::SplitParts::Equal(3)
        },
        movement::Split {
            axis: -1,
            parts: movement::SplitParts::Lengths(vec![1, -1, i64::MAX])
        },
        movement::Tile,
        movement::Transpose { perm: None },
        movement::Transpose {
            perm: Some(vec![1, 1])
        },
        movement::Transpose {
            perm: Some(vec![1, 0])
        },
        movement::Trilu { upper: false },
        normalize::BatchNormalization { epsilon: 0.0 },
        normalize::GroupNormalization {
            groups: 2,
            epsilon: 0.0,
            per_channel: true
        },
        normalize::GroupNormalization {
            groups: -1,
            epsilon: 0.0,
            per_channel: false
        },
        normalize::InstanceNormalization { epsilon: 1e-5 },
        normalize::LayerNormalization {
            axis: -1,
            epsilon: 1e-5,
            stash: DType::F32
        },
        normalize::LocalResponseNormalization {
            alpha: 1.0,
            beta: 0.5,
            bias: 1.0,
            size: usize::MAX
        },
        normalize::LocalResponseNormalization {
            alpha: 1.0,
            beta: 0.5,
            bias: 1.0,
            size: 0
        },
        normalize::LpNormalization { axis: -1, p: 2 },
        normalize::MeanVarianceNormalization { axes: vec![0, -1] },
        normalize::RmsNormalization {
            axis: -1,
            epsilon: 1e-5
        },
        quantize::DequantizeLinear {
            axis: 1,
            block_size: 2,
            output: None
        },
        quantize::DynamicQuantizeLinear,
        quantize::QuantizeLinear {
            axis: 1,
            block_size: 0,
            output: DType::U8
        },
        quantize::QuantizeLinear {
            axis: 0,
            block_size: usize::MAX,
            output: DType::I16
        },
        reduce::ArgReduce {
            largest: true,
            axis: 0,
            keepdims: true,
            select_last_index: true
        },
        reduce::TopK {
            axis: -1,
            largest: false,
            k: None
        },
        reduce::TopK {
            axis: 0,
            largest: true,
            k: Some(2)
        },
        resize::Resize::default(),
        shape::Expand,
        shape::Flatten { axis: 1 },
        shape::Reshape { allow_zero: false },
        shape::Shape {
            start: i64::MIN,
            end: Some(i64::MAX)
        },
        shape::Shape {
            start: 2,
            end: Some(-2)
        },
        shape::Size,
        shape::Squeeze { axes: None },
        shape::Unsqueeze {
            axes: Some(vec![0])
        },
        unary::Dropout { boolean_mask: true },
        unary::Dropout {
            boolean_mask: false
        },
        unary::Identity,
    );
    for mode in [
        movement::PadMode::Constant,
        movement::PadMode::Reflect,
        movement::PadMode::Edge,
        movement::PadMode::Wrap,
    ] {
        add!(
            movement::Pad {
                mode,
                pads: None,
                value: None
            },
            movement::Pad {
                mode,
                pads: Some(vec![1, -1]),
                value: Some(0.5)
            },
            movement::Pad {
                mode,
                pads: Some(vec![i64::MIN, i64::MAX, 0]),
                value: None
            },
        );
    }
    use indexing::ScatterReduction as S;
    for reduction in [S::Replace, S::Add, S::Mul, S::Min, S::Max] {
        add!(
            indexing::ScatterElements {
                axis: -1,
                reduction
            },
            indexing::ScatterNd { reduction },
        );
    }
    use normalize::SoftmaxFunction as F;
    for function in [F::Softmax, F::LogSoftmax, F::Hardmax] {
        add!(
            normalize::Softmax {
                function,
                axis: -1,
                flatten: false
            },
            normalize::Softmax {
                function,
                axis: 1,
                flatten: true
            },
        );
    }
    use pool::PoolFunction as P;
    for function in [
        P::Max {
            column_major_indices: true,
        },
        P::Average {
            count_include_pad: true,
        },
        P::Lp { p: 0 },
    ] {
        let window = |pad: usize| window::Window {
            kernel: vec![2],
            strides: vec![1],
            dilations: vec![1],
            padding: window::Padding::Explicit(vec![pad, pad]),
            ceil_mode: true,
        };
        add!(
            pool::GlobalPool { function },
            pool::Pool {
                function,
                window: window(1)
            },
            pool::Pool {
                function,
                window: window(usize::MAX)
            },
            pool::Pool {
                function,
                window: window::Window::default()
            },
        );
    }
    use reduce::ReduceFunction as R;
    for function in [
        R::Sum,
        R::Mean,
        R::Max,
        R::Min,
        R::Prod,
        R::SumSquare,
        R::L1,
        R::L2,
        R::LogSum,
        R::LogSumExp,
    ] {
        add!(
            reduce::Reduce {
                function,
                axes: None,
                keepdims: false,
                noop_with_empty_axes: false
            },
            reduce::Reduce {
                function,
                axes: Some(vec![0]),
                keepdims: true,
                noop_with_empty_axes: true
            },
        );
    }
    for function in [
        reduce::CumulativeFunction::Sum,
        reduce::CumulativeFunction::Prod,
    ] {
        add!(reduce::Cumulative {
            function,
            exclusive: true,
            reverse: true
        });
    }
    for cell in [
        recurrent::Cell::Lstm { input_forget: true },
        recurrent::Cell::Gru {
            linear_before_reset: true,
        },
        recurrent::Cell::Gru {
            linear_before_reset: false,
        },
        recurrent::Cell::Rnn,
    ] {
        for direction in [
            recurrent::Direction::Reverse,
            recurrent::Direction::Bidirectional,
        ] {
            add!(recurrent::Recurrent {
                cell,
                direction,
                hidden_size: None,
                activations: vec![Activation::Tanh; 2 * cell.activations()],
                clip: Some(-1.0),
                batch_first: true,
            });
        }
    }
    for interpolation in [
        resize::Interpolation::Linear,
        resize::Interpolation::Cubic { a: f32::NAN },
        resize::Interpolation::Nearest(resize::NearestMode::Ceil),
    ] {
        add!(resize::Resize {
            interpolation,
            coordinates: resize::Coordinates::TfCropAndResize,
            antialias: true,
            exclude_outside: true,
            axes: Some(vec![0]),
            aspect_ratio: resize::AspectRatio::NotLarger,
            ..Default::default()
        });
    }
    all
}

fn any_shape(numbers: &mut Numbers) -> Vec<usize> {
    let rank = numbers.below(5);
    (0..rank)
        .map(|_| [1, 2, 3, 4, 0][numbers.below(20).min(19) / 4 % 5])
        .collect()
}

/// What `evaluate` says; a panic is noted instead, so that one run shows all operators that have one.
fn caught(
    op: &dyn Operator,
    inputs: &[Option<TensorRef<'_>>],
    outputs: &mut [Option<TensorMut<'_>>],
    panics: &mut BTreeSet<String>,
) -> Option<Result<(), EvalError>> {
    let run = std::panic::AssertUnwindSafe(|| evaluate(op, inputs, outputs));
    match std::panic::catch_unwind(run) {
        Ok(result) => Some(result),
        Err(_) => {
            panics.insert(format!("{op:?}"));
            None
        }
    }
}

#[test]
fn every_operator_of_the_table_is_among_those_tested() {
    let tested: BTreeSet<&str> = every_operator().iter().map(|op| op.kind()).collect();
    let table: BTreeSet<&str> = FUNCTIONS.iter().map(|f| f.0).collect();
    assert_eq!(tested, table);
    assert!(FUNCTIONS.is_sorted_by_key(|f| f.0));
    assert!(every_operator().iter().all(|op| supports(&**op)));
}

#[test]
fn senseless_inputs_and_outputs_are_errors_or_answers_but_never_panics() {
    let mut numbers = Numbers(1);
    let types: Vec<DType> = DType::ALL.into_iter().filter(|d| d.size() > 0).collect();
    let (mut refused, mut answered, mut panics) = (0, 0, BTreeSet::new());
    for op in every_operator() {
        for _ in 0..150 {
            let main = types[numbers.below(types.len())];
            let common = any_shape(&mut numbers);
            let tensor = |numbers: &mut Numbers| {
                let dtype = match numbers.below(4) {
                    0 => DType::I64,
                    1 => types[numbers.below(types.len())],
                    _ => main,
                };
                let shape = if numbers.below(2) == 0 {
                    common.clone()
                } else {
                    any_shape(numbers)
                };
                anything(numbers, dtype, &shape)
            };
            let inputs: Vec<Option<Tensor>> = (0..numbers.below(7))
                .map(|_| (numbers.below(8) > 0).then(|| tensor(&mut numbers)))
                .collect();
            let mut made: Vec<Option<Tensor>> = (0..numbers.below(4))
                .map(|_| (numbers.below(8) > 0).then(|| tensor(&mut numbers)))
                .collect();
            let views: Vec<Option<TensorRef<'_>>> = inputs
                .iter()
                .map(|t| t.as_ref().map(|t| t.view().unwrap()))
                .collect();
            let mut out: Vec<Option<TensorMut<'_>>> = made
                .iter_mut()
                .map(|t| t.as_mut().and_then(Tensor::view_mut))
                .collect();
            match caught(&*op, &views, &mut out, &mut panics) {
                Some(Ok(())) => answered += 1,
                _ => refused += 1,
            }
        }
    }
    assert!(panics.is_empty(), "{panics:#?}");
    assert!(
        refused > 500 && answered > 500,
        "{refused} refused, {answered} answered"
    );
}

#[test]
fn inputs_that_inference_accepts_are_computed_or_refused_but_never_panic() {
    let mut numbers = Numbers(2);
    let types: Vec<DType> = DType::ALL.into_iter().filter(|d| d.size() > 0).collect();
    let (mut answered, mut panics) = (BTreeSet::new(), BTreeSet::new());
    for op in every_operator() {
        for _ in 0..400 {
            let main =
                [DType::F32, DType::I64, types[numbers.below(types.len())]][numbers.below(3)];
            let common = any_shape(&mut numbers);
            let count = 1 + numbers.below(6);
            let inputs: Vec<Option<Tensor>> = (0..count)
                .map(|i| {
                    let dtype = if i > 0 && numbers.below(2) == 0 {
                        DType::I64
                    } else {
                        main
                    };
                    let shape = match numbers.below(3) {
                        0 => common.clone(),
                        1 => vec![common.len()],
                        _ => any_shape(&mut numbers),
                    };
                    (i == 0 || numbers.below(8) > 0).then(|| anything(&mut numbers, dtype, &shape))
                })
                .collect();
            let views: Vec<Option<TensorRef<'_>>> = inputs
                .iter()
                .map(|t| t.as_ref().map(|t| t.view().unwrap()))
                .collect();
            let Ok(types) = output_types(&*op, &views, 3) else {
                continue;
            };
            let sizes = types
                .iter()
                .flatten()
                .map(|(_, s)| unisono_tensor::element_count(s));
            // Shapes that wild contents ask for may be astronomical.
            if sizes.into_iter().any(|n| n.is_none_or(|n| n > 1 << 16)) {
                continue;
            }
            let mut made: Vec<Option<Tensor>> = types
                .into_iter()
                .map(|t| t.map(|(dtype, shape)| Tensor::zeros(dtype, &shape).unwrap()))
                .collect();
            let mut out: Vec<Option<TensorMut<'_>>> = made
                .iter_mut()
                .map(|t| t.as_mut().and_then(Tensor::view_mut))
                .collect();
            if let Some(Ok(())) = caught(&*op, &views, &mut out, &mut panics) {
                answered.insert(op.kind());
            }
        }
    }
    assert!(panics.is_empty(), "{panics:#?}");
    // Most kinds are simple enough to be met by chance; the others have examples of their own.
    assert!(answered.len() > 40, "only {answered:?}");
}
