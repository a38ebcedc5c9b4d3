//! Nodes to hold a device against the reference: every family with odd shapes and the values that tell arithmetics apart.

use std::sync::Arc;

use unisono_graph::Operator;
use unisono_graph::ops::activation::{Activate, Activation, Clip};
use unisono_graph::ops::binary::{
    Binary, BinaryFunction, Compare, Comparison, Variadic, VariadicFunction, Where,
};
use unisono_graph::ops::cast::Cast;
use unisono_graph::ops::indexing::{Gather, GatherElements};
use unisono_graph::ops::movement::{
    BlockOrder, Concat, DepthToSpace, Pad, PadMode, Slice, SpaceToDepth, Split, SplitParts, Tile,
    Transpose,
};
use unisono_graph::ops::normalize::{
    BatchNormalization, GroupNormalization, InstanceNormalization, LayerNormalization,
    RmsNormalization, Softmax, SoftmaxFunction,
};
use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_graph::ops::reduce::{
    ArgReduce, Cumulative, CumulativeFunction, Reduce, ReduceFunction,
};
use unisono_graph::ops::resize::{Coordinates, Interpolation, NearestMode, Resize};
use unisono_graph::ops::shape::Expand;
use unisono_graph::ops::unary::{Identity, Unary, UnaryFunction};
use unisono_graph::ops::window::{Padding, Window};
use unisono_tensor::{DType, Tensor};

/// A node with its inputs.
pub struct Case {
    /// The operator.
    pub op: Arc<dyn Operator>,
    /// Its inputs.
    pub inputs: Vec<Option<Tensor>>,
    /// Which of them are constants of the model.
    pub constants: Vec<usize>,
    /// How many outputs it has.
    pub outputs: usize,
}

/// Numbers that repeat on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Mostly of everyday size, a few of any bits at all.
    fn float(&mut self, wild: bool) -> f32 {
        const SPECIAL: [f32; 8] = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MIN_POSITIVE / 4.0,
            1.0,
            -1.0,
        ];
        let bits = self.next();
        match bits % 8 {
            0 if wild => SPECIAL[(bits >> 8) as usize % SPECIAL.len()],
            1 if wild => f32::from_bits((bits >> 16) as u32),
            _ => ((bits >> 16) as u32 as f32 / u32::MAX as f32 - 0.5) * 8.0,
        }
    }

    fn floats(&mut self, shape: &[usize]) -> Tensor {
        self.of(shape, false)
    }

    fn wild(&mut self, shape: &[usize]) -> Tensor {
        self.of(shape, true)
    }

    fn of(&mut self, shape: &[usize], wild: bool) -> Tensor {
        let n = shape.iter().product();
        let data: Vec<f32> = (0..n).map(|_| self.float(wild)).collect();
        Tensor::from_slice(shape, &data).unwrap()
    }

    /// Integers in `-limit .. limit`, of this type.
    fn integers(&mut self, dtype: DType, shape: &[usize], limit: i64) -> Tensor {
        let n = shape.iter().product();
        let data: Vec<i64> = (0..n)
            .map(|_| (self.next() >> 8) as i64 % (2 * limit) - limit)
            .collect();
        match dtype {
            DType::I64 => Tensor::from_slice(shape, &data),
            DType::I32 => {
                let data: Vec<i32> = data.iter().map(|&x| x as i32).collect();
                Tensor::from_slice(shape, &data)
            }
            DType::U8 => {
                let data: Vec<u8> = data.iter().map(|&x| x as u8).collect();
                Tensor::from_slice(shape, &data)
            }
            _ => {
                let data: Vec<bool> = data.iter().map(|&x| x % 2 == 0).collect();
                Tensor::from_bools(shape, &data)
            }
        }
        .unwrap()
    }
}

fn list(values: &[i64]) -> Tensor {
    Tensor::from_slice(&[values.len()], values).unwrap()
}

/// The cases and the numbers that they are made of.
struct Cases {
    numbers: Numbers,
    cases: Vec<Case>,
}

impl Cases {
    fn add(&mut self, op: impl Operator, inputs: Vec<Tensor>, constants: &[usize]) {
        self.with_outputs(op, inputs, constants, 1);
    }

    fn with_outputs(
        &mut self,
        op: impl Operator,
        inputs: Vec<Tensor>,
        constants: &[usize],
        outputs: usize,
    ) {
        self.cases.push(Case {
            op: Arc::new(op),
            inputs: inputs.into_iter().map(Some).collect(),
            constants: constants.to_vec(),
            outputs,
        });
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut all = Cases {
        numbers: Numbers(0x9e37_79b9_7f4a_7c15),
        cases: Vec::new(),
    };
    unary(&mut all);
    binary(&mut all);
    others(&mut all);
    rows(&mut all);
    reductions(&mut all);
    pools(&mut all);
    resizes(&mut all);
    moves(&mut all);
    recurrent(&mut all);
    all.cases
}

fn unary(all: &mut Cases) {
    use UnaryFunction as F;
    let functions = [
        F::Abs,
        F::Neg,
        F::Ceil,
        F::Floor,
        F::Round,
        F::Sign,
        F::Sqrt,
        F::Reciprocal,
        F::Exp,
        F::Log,
        F::Sin,
        F::Cos,
        F::Tan,
        F::Asin,
        F::Acos,
        F::Atan,
        F::Sinh,
        F::Cosh,
        F::Asinh,
        F::Acosh,
        F::Atanh,
        F::Erf,
    ];
    for function in functions {
        let x = all.numbers.wild(&[3, 1001]);
        all.add(Unary { function }, vec![x], &[]);
    }
    let activations = [
        Activation::Relu,
        Activation::LeakyRelu { alpha: 0.01 },
        Activation::Elu { alpha: 1.5 },
        Activation::Selu {
            alpha: 1.673_263_2,
            gamma: 1.050_701,
        },
        Activation::Celu { alpha: 2.0 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        Activation::HardSwish,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::Swish { alpha: 1.0 },
        Activation::Swish { alpha: 1.702 },
        Activation::Mish,
        Activation::Softplus,
        Activation::Softsign,
        Activation::ThresholdedRelu { alpha: 1.0 },
        Activation::Shrink {
            bias: 0.1,
            lambd: 0.5,
        },
        Activation::Clip {
            low: 0.0,
            high: 6.0,
        },
    ];
    for function in activations {
        let x = all.numbers.wild(&[1022]);
        all.add(Activate { function }, vec![x], &[]);
    }
    let x = all.numbers.integers(DType::Bool, &[67], 9);
    let function = F::Not;
    all.add(Unary { function }, vec![x], &[]);
}

/// Shapes that are stretched to each other: the same, scalars, vectors, channels, and what is none of these.
const PAIRS: [(&[usize], &[usize]); 11] = [
    (&[4, 3, 5, 7], &[4, 3, 5, 7]),
    (&[4, 3, 5, 8], &[]),
    (&[1], &[3, 5]),
    (&[6, 5, 8], &[8]),
    (&[6, 5, 7], &[7]),
    (&[2, 3, 7, 7], &[2, 3, 1, 1]),
    (&[2, 3, 4, 8], &[3, 1, 1]),
    (&[3, 1, 5], &[1, 4, 1]),
    (&[2, 1, 3, 1, 2, 1, 2], &[1, 2, 1, 3, 1, 2, 2]),
    (&[3, 1], &[1, 6]),
    (&[0, 4], &[1, 4]),
];

fn binary(all: &mut Cases) {
    use BinaryFunction as F;
    for function in [
        F::Add,
        F::Sub,
        F::Mul,
        F::Div,
        F::Pow,
        F::Mod,
        F::Fmod,
        F::PRelu,
    ] {
        for (a, b) in PAIRS {
            // A slope is stretched to the data, not the other way round.
            if function == F::PRelu && (a.len() < b.len() || a.contains(&1)) {
                continue;
            }
            let inputs = vec![all.numbers.wild(a), all.numbers.wild(b)];
            all.add(Binary { function }, inputs, &[]);
        }
    }
    for exponent in [2.0f32, 3.0, 0.5, -1.0, 0.0, 2.5] {
        let x = all.numbers.wild(&[513]);
        let inputs = vec![x, Tensor::scalar(exponent)];
        all.add(Binary { function: F::Pow }, inputs, &[1]);
    }
    let inputs = vec![all.numbers.wild(&[77]), Tensor::scalar(2i64)];
    all.add(Binary { function: F::Pow }, inputs, &[1]);
    for dtype in [DType::I64, DType::I32] {
        for function in [F::Add, F::Sub, F::Mul, F::Div, F::Mod, F::Fmod] {
            let (a, b) = PAIRS[7];
            let a = all.numbers.integers(dtype, a, 1 << 40);
            let b = match function {
                F::Div | F::Mod | F::Fmod => Tensor::zeros(dtype, &[]).unwrap(),
                _ => all.numbers.integers(dtype, b, 1 << 40),
            };
            let b = match (b.rank(), dtype) {
                (0, DType::I64) => Tensor::scalar(-7i64),
                (0, _) => Tensor::scalar(-7i32),
                _ => b,
            };
            all.add(Binary { function }, vec![a, b], &[]);
        }
    }
    for function in [F::And, F::Or, F::Xor] {
        let (a, b) = PAIRS[3];
        let inputs = vec![
            all.numbers.integers(DType::Bool, a, 9),
            all.numbers.integers(DType::Bool, b, 9),
        ];
        all.add(Binary { function }, inputs, &[]);
    }
}

fn others(all: &mut Cases) {
    use Comparison as C;
    let comparisons = [
        C::Equal,
        C::Less,
        C::LessOrEqual,
        C::Greater,
        C::GreaterOrEqual,
    ];
    for comparison in comparisons {
        for (a, b) in [PAIRS[0], PAIRS[7]] {
            let inputs = vec![all.numbers.wild(a), all.numbers.wild(b)];
            all.add(Compare { comparison }, inputs, &[]);
            for dtype in [DType::I64, DType::I32, DType::U8] {
                let a = all.numbers.integers(dtype, a, 3);
                let b = all.numbers.integers(dtype, b, 3);
                all.add(Compare { comparison }, vec![a, b], &[]);
            }
        }
    }
    for (a, b) in PAIRS {
        let c = all.numbers.integers(DType::Bool, a, 9);
        let inputs = vec![c, all.numbers.wild(b), all.numbers.wild(a)];
        all.add(Where, inputs, &[]);
        let c = all.numbers.integers(DType::Bool, b, 9);
        let x = all.numbers.integers(DType::I64, a, 99);
        all.add(Where, vec![c, x, Tensor::scalar(5i64)], &[]);
    }
    use VariadicFunction as V;
    for function in [V::Min, V::Max, V::Sum, V::Mean] {
        for inputs in 1..4 {
            let shapes: [&[usize]; 3] = [&[3, 1, 5], &[4, 1], &[3, 4, 5]];
            let inputs = shapes[..inputs].iter().map(|s| all.numbers.wild(s));
            let inputs = inputs.collect();
            all.add(Variadic { function }, inputs, &[]);
        }
    }
    let types = [
        DType::F32,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U32,
        DType::U16,
        DType::U8,
        DType::Bool,
    ];
    for to in types {
        let x = all.numbers.wild(&[999]);
        all.add(Cast { to }, vec![x], &[]);
        for from in [DType::I64, DType::I32, DType::U8, DType::Bool] {
            let x = all.numbers.integers(from, &[99], 1 << 40);
            all.add(Cast { to }, vec![x], &[]);
        }
    }
    let inputs = vec![
        all.numbers.wild(&[9, 9]),
        Tensor::scalar(-1.0f32),
        Tensor::scalar(2.0f32),
    ];
    all.add(Clip, inputs, &[1, 2]);
    let inputs = vec![
        all.numbers.integers(DType::I64, &[99], 9),
        Tensor::scalar(-1i64),
    ];
    all.add(Clip, inputs, &[]);
    for shape in [&[2, 3, 7, 7][..], &[2, 8], &[3, 5, 16]] {
        let channels = [shape[1]];
        let mut inputs = vec![all.numbers.wild(shape)];
        inputs.extend((0..3).map(|_| all.numbers.floats(&channels)));
        let var: Vec<f32> = (0..shape[1]).map(|c| 0.5 + c as f32).collect();
        inputs.push(Tensor::from_slice(&channels, &var).unwrap());
        let epsilon = 1e-5;
        all.add(BatchNormalization { epsilon }, inputs, &[1, 2, 3, 4]);
    }
}

/// Lengths of rows around those at which the work is cut otherwise.
const LENGTHS: [usize; 14] = [
    1, 2, 31, 32, 33, 127, 128, 129, 384, 512, 513, 1024, 1025, 2500,
];

fn rows(all: &mut Cases) {
    use SoftmaxFunction::{LogSoftmax, Softmax as Plain};
    for function in [Plain, LogSoftmax] {
        for n in LENGTHS.into_iter().chain([65_536]) {
            let rows = if n > 10_000 { 2 } else { 5 };
            let x = all.numbers.floats(&[rows, n]);
            let op = Softmax {
                function,
                axis: -1,
                flatten: false,
            };
            all.add(op, vec![x], &[]);
        }
        for (shape, axis, flatten) in [
            (&[3, 7, 5][..], 1, false),
            (&[2, 300, 1], 1, false),
            (&[3, 7, 5], 1, true),
            (&[600, 3], 0, false),
        ] {
            let x = all.numbers.floats(shape);
            let op = Softmax {
                function,
                axis,
                flatten,
            };
            all.add(op, vec![x], &[]);
        }
        // Rows that become NaN.
        let x = all.numbers.wild(&[40, 60]);
        let op = Softmax {
            function,
            axis: 1,
            flatten: false,
        };
        all.add(op, vec![x], &[]);
    }
    for n in LENGTHS {
        let norm = LayerNormalization {
            axis: -1,
            epsilon: 1e-5,
            stash: DType::F32,
        };
        let x = all.numbers.floats(&[5, n]);
        let (scale, bias) = (all.numbers.floats(&[n]), all.numbers.floats(&[n]));
        let statistics = if n % 2 == 0 { 3 } else { 1 };
        all.with_outputs(
            norm,
            vec![x.clone(), scale.clone(), bias],
            &[1, 2],
            statistics,
        );
        all.add(norm, vec![x.clone(), scale.clone()], &[]);
        let epsilon = 1e-6;
        all.add(RmsNormalization { axis: -1, epsilon }, vec![x, scale], &[1]);
    }
    let norm = LayerNormalization {
        axis: 1,
        epsilon: 1e-5,
        stash: DType::F32,
    };
    let inputs = vec![
        all.numbers.floats(&[3, 5, 8]),
        all.numbers.floats(&[8]),
        all.numbers.floats(&[1, 8]),
    ];
    all.add(norm, inputs, &[]);
    for shape in [&[2, 6, 5, 7][..], &[1, 6, 40, 40]] {
        let mut inputs = vec![all.numbers.floats(shape)];
        inputs.extend((0..2).map(|_| all.numbers.floats(&[6])));
        let epsilon = 1e-5;
        all.add(InstanceNormalization { epsilon }, inputs.clone(), &[1, 2]);
        let per_channel = true;
        let groups = 3;
        let op = GroupNormalization {
            groups,
            epsilon,
            per_channel,
        };
        all.add(op, inputs, &[1, 2]);
    }
}

fn reductions(all: &mut Cases) {
    use ReduceFunction as R;
    let functions = [
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
    ];
    let reduce = |function, axes: &[i64]| Reduce {
        function,
        axes: Some(axes.to_vec()),
        keepdims: true,
        noop_with_empty_axes: false,
    };
    for function in functions {
        for n in [1, 33, 1000, 1024, 1025, 5000] {
            let x = all.numbers.floats(&[5, n]);
            all.add(reduce(function, &[-1]), vec![x], &[]);
        }
        let shapes: [(&[usize], &[i64]); 8] = [
            (&[3, 300, 5], &[1]),
            (&[700, 3], &[0]),
            (&[3, 5, 7, 40], &[1, 3]),
            (&[3, 5, 7, 4], &[0, 2]),
            (&[3, 5, 7, 4], &[2, 3]),
            (&[3, 5, 1], &[1]),
            (&[5, 2100, 2], &[1]),
            (&[2, 0, 3], &[1]),
        ];
        for (shape, axes) in shapes {
            let x = all.numbers.floats(shape);
            all.add(reduce(function, axes), vec![x], &[]);
        }
        let x = all.numbers.wild(&[6, 50]);
        all.add(reduce(function, &[1]), vec![x], &[]);
    }
    for dtype in [DType::I64, DType::I32] {
        for function in [R::Sum, R::Max, R::Min] {
            let x = all.numbers.integers(dtype, &[3, 7, 5], 1 << 40);
            all.add(reduce(function, &[1]), vec![x], &[]);
        }
    }
    for shape in [&[5, 70][..], &[3, 40, 4]] {
        for (largest, select_last_index) in [(true, false), (true, true), (false, false)] {
            let op = ArgReduce {
                largest,
                axis: 1,
                keepdims: true,
                select_last_index,
            };
            let numbers = all
                .numbers
                .integers(DType::I64, shape, 4)
                .to_i64s()
                .unwrap();
            let equal: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
            let equal = Tensor::from_slice(shape, &equal).unwrap();
            all.add(op, vec![equal], &[]);
            let x = all.numbers.wild(shape);
            all.add(op, vec![x], &[]);
        }
        for (function, exclusive, reverse) in [
            (CumulativeFunction::Sum, false, false),
            (CumulativeFunction::Sum, true, true),
            (CumulativeFunction::Prod, false, true),
        ] {
            let op = Cumulative {
                function,
                exclusive,
                reverse,
            };
            let x = all.numbers.floats(shape);
            all.add(op, vec![x, Tensor::scalar(1i64)], &[1]);
        }
    }
}

fn pools(all: &mut Cases) {
    let window = |kernel: &[usize], strides: &[usize], pads: &[usize], ceil_mode| Window {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: Vec::new(),
        padding: Padding::Explicit(pads.to_vec()),
        ceil_mode,
    };
    let mut dilated = window(&[2, 3], &[1, 2], &[1, 1, 0, 2], false);
    dilated.dilations = vec![2, 3];
    let mut same = window(&[3, 2], &[2, 2], &[], false);
    same.padding = Padding::SameUpper;
    let windows: [(&[usize], Window); 7] = [
        (
            &[2, 3, 11, 13],
            window(&[3, 3], &[2, 2], &[1, 1, 1, 1], false),
        ),
        (
            &[2, 3, 12, 12],
            window(&[3, 3], &[2, 2], &[0, 0, 1, 1], true),
        ),
        (&[2, 3, 9, 14], dilated),
        (&[1, 2, 7, 9], same),
        (
            &[1, 2, 20, 20],
            window(&[17, 18], &[1, 1], &[2, 2, 2, 2], false),
        ),
        (&[2, 3, 30], window(&[4], &[3], &[1, 1], false)),
        (
            &[1, 2, 5, 6, 7],
            window(&[2, 3, 2], &[1, 2, 2], &[0, 1, 0, 1, 1, 1], false),
        ),
    ];
    for (shape, window) in windows {
        for count_include_pad in [false, true] {
            let function = PoolFunction::Average { count_include_pad };
            let window = window.clone();
            let x = all.numbers.floats(shape);
            all.add(Pool { function, window }, vec![x], &[]);
        }
        for (column_major_indices, outputs) in [(false, 1), (false, 2), (true, 2)] {
            let function = PoolFunction::Max {
                column_major_indices,
            };
            let window = window.clone();
            let x = all.numbers.wild(shape);
            all.with_outputs(Pool { function, window }, vec![x], &[], outputs);
        }
    }
    let average = PoolFunction::Average {
        count_include_pad: false,
    };
    let max = PoolFunction::Max {
        column_major_indices: false,
    };
    for function in [average, max] {
        for shape in [
            &[3, 50, 7, 7][..],
            &[1, 2, 1, 1],
            &[2, 33, 16, 16],
            &[2, 5, 17, 16],
            &[1, 3, 60, 71],
            &[2, 4, 100],
        ] {
            let x = all.numbers.floats(shape);
            all.add(GlobalPool { function }, vec![x], &[]);
        }
    }
}

fn resizes(all: &mut Cases) {
    use Coordinates as C;
    let interpolations = [
        Interpolation::Nearest(NearestMode::RoundPreferFloor),
        Interpolation::Linear,
        Interpolation::Cubic { a: -0.75 },
    ];
    for interpolation in interpolations {
        for coordinates in [C::HalfPixel, C::Asymmetric, C::AlignCorners] {
            for to in [
                &[2, 3, 10, 14][..],
                &[2, 3, 8, 5],
                &[2, 3, 5, 7],
                &[2, 3, 4, 7],
            ] {
                let op = Resize {
                    interpolation,
                    coordinates,
                    roi_input: None,
                    scales_input: None,
                    sizes_input: Some(1),
                    ..Resize::default()
                };
                let sizes: Vec<i64> = to.iter().map(|&n| n as i64).collect();
                let x = all.numbers.floats(&[2, 3, 5, 7]);
                all.add(op, vec![x, list(&sizes)], &[1]);
            }
        }
    }
}

fn moves(all: &mut Cases) {
    let transposes: [(&[usize], &[usize]); 10] = [
        (&[7, 9], &[1, 0]),
        (&[40, 70], &[1, 0]),
        (&[5, 33, 65], &[0, 2, 1]),
        (&[2, 10, 4, 32], &[0, 2, 1, 3]),
        (&[2, 10, 4, 32], &[0, 2, 3, 1]),
        (&[3, 4, 5, 6], &[3, 1, 0, 2]),
        (&[2, 3, 40, 50], &[3, 0, 1, 2]),
        (&[2, 3, 2, 3, 2, 3], &[5, 3, 1, 4, 2, 0]),
        (&[9, 1, 12], &[2, 1, 0]),
        (&[3, 0, 2], &[2, 1, 0]),
    ];
    for (shape, perm) in transposes {
        let perm = Some(perm.to_vec());
        let x = all.numbers.wild(shape);
        all.add(Transpose { perm: perm.clone() }, vec![x], &[]);
        for dtype in [DType::I64, DType::U8] {
            let x = all.numbers.integers(dtype, shape, 100);
            all.add(Transpose { perm: perm.clone() }, vec![x], &[]);
        }
    }
    for axis in [0, 1, -1] {
        let mut shapes = [[2, 3, 4]; 3];
        let at = usize::try_from(axis).unwrap_or(2);
        for (shape, len) in shapes.iter_mut().zip([2, 5, 1]) {
            shape[at] = len;
        }
        let inputs = shapes.iter().map(|s| all.numbers.floats(s)).collect();
        all.add(Concat { axis }, inputs, &[]);
        let x = all.numbers.floats(&[6, 6, 6]);
        let op = Split {
            axis,
            parts: SplitParts::Lengths(vec![1, 2, 3]),
        };
        all.with_outputs(op, vec![x], &[], 3);
    }
    for (starts, ends, steps) in [
        ([1, 2], [7, 9], [1, 1]),
        ([0, 0], [100, 100], [2, 3]),
        ([-1, 8], [-100, 2], [-1, -2]),
        ([0, 4], [10, 8], [1, 1]),
        ([3, 3], [3, 9], [1, 1]),
    ] {
        let x = all.numbers.floats(&[8, 12, 4]);
        let parameters = [&starts, &ends, &[0, 1], &steps].map(|v| list(v));
        let inputs = [x].into_iter().chain(parameters).collect();
        all.add(Slice { bounds: None }, inputs, &[1, 2, 3, 4]);
    }
    for (from, to) in [
        (&[3, 1, 5][..], &[2, 3, 4, 5][..]),
        (&[1], &[7, 9]),
        (&[4, 8], &[4, 8]),
    ] {
        let to: Vec<i64> = to.iter().map(|&n| n as i64).collect();
        let x = all.numbers.floats(from);
        all.add(Expand, vec![x, list(&to)], &[1]);
    }
    let x = all.numbers.floats(&[2, 3, 4]);
    all.add(Tile, vec![x.clone(), list(&[2, 1, 3])], &[1]);
    all.add(Identity, vec![x], &[]);
    for order in [BlockOrder::DepthLast, BlockOrder::DepthFirst] {
        let block = 2;
        let x = all.numbers.floats(&[2, 12, 3, 5]);
        all.add(DepthToSpace { block, order }, vec![x], &[]);
        let x = all.numbers.floats(&[2, 3, 6, 10]);
        all.add(SpaceToDepth { block, order }, vec![x], &[]);
    }
    for mode in [
        PadMode::Constant,
        PadMode::Reflect,
        PadMode::Edge,
        PadMode::Wrap,
    ] {
        let pads = [0, 1, 2, 3, 0, 2, 3, 0];
        let op = || Pad {
            mode,
            pads: None,
            value: None,
        };
        let x = all.numbers.floats(&[2, 3, 4, 5]);
        all.add(op(), vec![x.clone(), list(&pads)], &[1]);
        all.add(op(), vec![x, list(&pads), Tensor::scalar(2.5f32)], &[1]);
        let x = all.numbers.integers(DType::I64, &[3, 4], 99);
        all.add(op(), vec![x, list(&[1, 2, 1, 0])], &[1]);
    }
    let op = Pad {
        mode: PadMode::Constant,
        pads: Some(vec![-1, 2, 1, -2]),
        value: Some(1.5),
    };
    let x = all.numbers.floats(&[4, 6]);
    all.add(op, vec![x], &[]);
    for (shape, axis) in [(&[50, 32][..], 0), (&[3, 20, 5], 1), (&[4, 7], -1)] {
        for dtype in [DType::I64, DType::I32] {
            let indices = all.numbers.integers(dtype, &[3, 4], 7);
            let x = all.numbers.floats(shape);
            all.add(Gather { axis }, vec![x.clone(), indices], &[0]);
            let mut of_elements = shape.to_vec();
            of_elements[0] -= 1;
            let indices = all.numbers.integers(dtype, &of_elements, 4);
            all.add(GatherElements { axis }, vec![x, indices], &[]);
        }
    }
}

/// Layers around the edges of what registers, shared memory and a slice hold.
fn recurrent(all: &mut Cases) {
    let directions = [
        Direction::Forward,
        Direction::Reverse,
        Direction::Bidirectional,
    ];
    let sizes = [
        (1, 1, 3, 1),
        (1, 3, 128, 5),
        (7, 1, 3, 64),
        (3, 1, 576, 128),
        (2, 3, 20, 127),
        (2, 200, 7, 9),
        (1, 2, 3, 129),
        (3, 1, 128, 200),
        (2, 5, 3, 260),
    ];
    for (n, (time, batch, input, hidden)) in sizes.into_iter().enumerate() {
        for direction in directions {
            for (biased, stateful) in [(true, true), (n % 2 == 0, n % 2 != 0)] {
                let count = direction.count();
                let state = [count, batch, hidden];
                // So small that gates are open, and sums do not all end at the same bound.
                let mut weights = |shape: &[usize]| {
                    let scale = 1.0 / (shape[shape.len() - 1] as f32).sqrt();
                    let values = all.numbers.floats(shape);
                    let values = values.as_slice::<f32>().unwrap().iter();
                    let values: Vec<f32> = values.map(|x| x * scale).collect();
                    Some(Tensor::from_slice(shape, &values).unwrap())
                };
                let w = weights(&[count, 4 * hidden, input]);
                let r = weights(&[count, 4 * hidden, hidden]);
                let mut optional =
                    |wanted: bool, shape: &[usize]| wanted.then(|| all.numbers.floats(shape));
                let x = optional(true, &[time, batch, input]);
                let b = optional(biased, &[count, 8 * hidden]);
                let (h, c) = (optional(stateful, &state), optional(stateful, &state));
                let activations = [Activation::Sigmoid, Activation::Tanh, Activation::Tanh];
                let op = Recurrent {
                    cell: Cell::Lstm {
                        input_forget: false,
                    },
                    direction,
                    hidden_size: None,
                    activations: activations.repeat(count),
                    clip: None,
                    batch_first: false,
                };
                all.cases.push(Case {
                    op: Arc::new(op),
                    inputs: vec![x, w, r, b, None, h, c],
                    constants: vec![1, 2, 3],
                    outputs: 3,
                });
            }
        }
    }
}
