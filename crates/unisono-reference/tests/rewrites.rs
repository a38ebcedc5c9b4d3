//! Rewritten graphs compute what they computed before: random graphs out of what rewrites look for, run before and after.
//!
//! In f64, where the order of operations makes no visible difference; what remains are constants that a rewrite has
//! rounded to f32. So the bound is a few roundings of f32, however the graph was rewritten.

use std::sync::Arc;
use unisono_graph::ops::activation::{Activate, Activation, Clip};
use unisono_graph::ops::binary::{
    Binary, BinaryFunction, Compare, Comparison, Variadic, VariadicFunction,
};
use unisono_graph::ops::cast::Cast;
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::indexing::Gather;
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::{Split, SplitParts, Transpose};
use unisono_graph::ops::normalize::{BatchNormalization, Softmax, SoftmaxFunction};
use unisono_graph::ops::reduce::{Reduce, ReduceFunction};
use unisono_graph::ops::shape::{Reshape, Squeeze, Unsqueeze};
use unisono_graph::ops::unary::{Identity, Unary, UnaryFunction};
use unisono_graph::ops::window::{Padding, Window};
use unisono_graph::rewrite::{self, RewriteReport};
use unisono_graph::{Dim, Graph, Operator, Symbol, TensorType, ValueId};
use unisono_reference::interpret::{Interpreter, Precision};
use unisono_tensor::{DType, Tensor};

/// Numbers that look random and are the same on every run (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }

    fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

/// A graph that grows; every value is f32 and has a known shape.
struct Growing {
    graph: Graph,
    random: Random,
    values: Vec<(ValueId, Vec<usize>)>,
    input: Tensor,
}

impl Growing {
    fn new(seed: u64) -> Growing {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut graph = Graph::new("random");
        let shape = vec![2, [3, 4, 8][random.below(3)], 5, [1, 2][random.below(2)]];
        let declared = shape.iter().map(|&n| Dim::from(n)).collect();
        let declared = TensorType {
            dtype: DType::F32,
            shape: Some(declared),
        };
        let x = graph.add_input("x", declared);
        let data: Vec<f32> = (0..shape.iter().product())
            .map(|_| random.float())
            .collect();
        let input = Tensor::from_slice(&shape, &data).unwrap();
        Growing {
            graph,
            random,
            values: vec![(x, shape)],
            input,
        }
    }

    fn pick(&mut self) -> (ValueId, Vec<usize>) {
        // Mostly the newest: patterns are chains.
        let n = self.values.len();
        let at = if self.random.below(4) > 0 {
            n - 1
        } else {
            self.random.below(n)
        };
        self.values[at].clone()
    }

    fn op(&mut self, op: impl Operator, inputs: &[ValueId]) -> ValueId {
        let name = format!("n{}", self.graph.nodes().len());
        self.graph.append(name, Arc::new(op), inputs, 1)[0]
    }

    fn made(&mut self, id: ValueId, shape: Vec<usize>) {
        self.values.push((id, shape));
    }

    fn constant(&mut self, shape: &[usize]) -> ValueId {
        let data: Vec<f32> = (0..shape.iter().product())
            .map(|_| self.random.float())
            .collect();
        let tensor = Tensor::from_slice(shape, &data).unwrap();
        self.graph.add_constant("", tensor)
    }

    fn number(&mut self, x: f32) -> ValueId {
        let shape: &[usize] = [&[][..], &[1], &[1, 1]][self.random.below(3)];
        let tensor = Tensor::from_slice(shape, &[x]).unwrap();
        self.graph.add_constant("", tensor)
    }

    fn ints(&mut self, list: &[i64]) -> ValueId {
        let tensor = Tensor::from_slice(&[list.len()], list).unwrap();
        self.graph.add_constant("", tensor)
    }

    fn binary(&mut self, function: BinaryFunction, a: ValueId, b: ValueId) -> ValueId {
        let (a, b) = match function {
            BinaryFunction::Add | BinaryFunction::Mul if self.random.coin() => (b, a),
            _ => (a, b),
        };
        self.op(Binary { function }, &[a, b])
    }

    fn unary(&mut self, function: UnaryFunction, x: ValueId) -> ValueId {
        self.op(Unary { function }, &[x])
    }

    fn activate(&mut self, function: Activation, x: ValueId) -> ValueId {
        self.op(Activate { function }, &[x])
    }

    fn mean(&mut self, x: ValueId, axes: &[i64]) -> ValueId {
        let op = Reduce {
            function: ReduceFunction::Mean,
            axes: Some(axes.to_vec()),
            keepdims: true,
            noop_with_empty_axes: false,
        };
        self.op(op, &[x])
    }

    /// A constant that stretches to the shape: some axes of length 1, perhaps some missing in front.
    fn stretching(&mut self, shape: &[usize]) -> ValueId {
        let drop = self.random.below(shape.len() + 1);
        let shape: Vec<usize> = shape[drop..]
            .iter()
            .map(|&n| if self.random.below(3) == 0 { n } else { 1 })
            .collect();
        let c = self.constant(&shape);
        if self.random.coin() {
            return c;
        }
        // As often as not the constant is one that must be computed first.
        let other = self.constant(&shape);
        self.op(
            Binary {
                function: BinaryFunction::Mul,
            },
            &[c, other],
        )
    }

    /// Adds one step or one pattern.
    fn grow(&mut self) {
        use BinaryFunction::{Add, Div, Mul, Pow, Sub};
        let (x, shape) = self.pick();
        let rank = shape.len();
        match self.random.below(17) {
            0 => {
                let f = [
                    Activation::Relu,
                    Activation::Tanh,
                    Activation::Sigmoid,
                    Activation::HardSwish,
                    Activation::Clip {
                        low: -0.5,
                        high: 0.5,
                    },
                    Activation::LeakyRelu { alpha: 0.1 },
                ];
                let f = f[self.random.below(f.len())];
                let y = self.activate(f, x);
                self.made(y, shape);
            }
            1 => {
                let c = self.stretching(&shape);
                let f = [Add, Sub, Mul][self.random.below(3)];
                let y = self.binary(f, x, c);
                self.made(y, shape);
            }
            2 => {
                let c = [1.0, 2.0, 0.5, 3.0][self.random.below(4)];
                let c = self.number(c);
                let f = if self.random.coin() { Mul } else { Div };
                let y = self.binary(f, x, c);
                self.made(y, self.stretched(&shape, c));
            }
            3 => {
                // Layouts around products, as attention has them.
                let (mut y, mut to) = self.transposed(x, &shape, 0);
                if self.random.coin() {
                    (y, to) = self.split_or_joined(y, &to);
                }
                if self.random.coin() {
                    let k = to[to.len() - 1];
                    let w = self.constant(&[k, 6]);
                    y = self.op(Linear::default(), &[y, w]);
                    let last = to.len() - 1;
                    to[last] = 6;
                    if self.random.coin() {
                        let c = self.constant(&[6]);
                        y = self.binary(Add, y, c);
                    }
                }
                if self.random.coin() {
                    (y, to) = self.split_or_joined(y, &to);
                }
                (y, to) = self.transposed(y, &to, 0);
                if self.random.below(3) == 0 && to.len() > 2 {
                    // Two parts of it, each moved on its own, meet again.
                    let axis = self.random.below(to.len());
                    let op = Gather { axis: axis as i64 };
                    let mut parts = Vec::new();
                    for index in [0, to[axis] - 1] {
                        let index = Tensor::scalar(index as i64);
                        let index = self.graph.add_constant("", index);
                        let part = self.op(op, &[y, index]);
                        parts.push(self.op(Transpose { perm: None }, &[part]));
                    }
                    to.remove(axis);
                    to.reverse();
                    y = self.binary(Add, parts[0], parts[1]);
                }
                self.made(y, to);
            }
            4 => {
                let columns = [3, 4][self.random.below(2)];
                let k = shape[rank - 1];
                let (w, transpose_b) = if self.random.coin() {
                    (self.constant(&[k, columns]), false)
                } else {
                    (self.constant(&[columns, k]), true)
                };
                let op = Linear {
                    transpose_b,
                    ..Linear::default()
                };
                let y = self.op(op, &[x, w]);
                let mut to = shape;
                to[rank - 1] = columns;
                self.made(y, to);
            }
            5 if rank >= 3 => self.convolution(x, &shape),
            6 => {
                // Axes 1 and 2 become one, or one axis becomes two.
                let rest: usize = shape[1..].iter().product();
                let (to, target) = if self.random.coin() && rank > 2 {
                    (vec![shape[0], rest], vec![0, -1])
                } else {
                    (vec![shape[0], rest, 1, 1], vec![-1, rest as i64, 1, 1])
                };
                let target = self.ints(&target);
                let y = self.op(Reshape { allow_zero: false }, &[x, target]);
                self.made(y, to);
            }
            7 => {
                // x / 2 * (1 + erf(x / sqrt 2))
                let root = self.number(std::f32::consts::SQRT_2);
                let z = self.op(Binary { function: Div }, &[x, root]);
                let e = self.unary(UnaryFunction::Erf, z);
                let one = self.number(1.0);
                let gate = self.binary(Add, e, one);
                let half = self.number(0.5);
                let y = if self.random.coin() {
                    let y = self.binary(Mul, x, gate);
                    self.binary(Mul, y, half)
                } else {
                    let y = self.binary(Mul, x, half);
                    self.binary(Mul, y, gate)
                };
                let to = self.stretched(&self.stretched(&self.stretched(&shape, root), one), half);
                self.made(y, to);
            }
            8 => {
                let s = self.activate(Activation::Sigmoid, x);
                let y = self.binary(Mul, x, s);
                self.made(y, shape);
            }
            9 => {
                // A layer norm by hand.
                let m = self.mean(x, &[-1]);
                let d = self.op(Binary { function: Sub }, &[x, m]);
                let two = self.number(2.0);
                let squares = if self.random.coin() {
                    self.op(Binary { function: Pow }, &[d, two])
                } else {
                    self.op(Binary { function: Mul }, &[d, d])
                };
                let v = self.mean(squares, &[-1]);
                let epsilon = self.number(0.01);
                let v = self.binary(Add, v, epsilon);
                let s = self.unary(UnaryFunction::Sqrt, v);
                let y = self.op(Binary { function: Div }, &[d, s]);
                let scale = self.constant(&shape[rank - 1..]);
                let y = self.binary(Mul, y, scale);
                let bias = self.constant(&shape[rank - 1..]);
                let y = self.binary(Add, y, bias);
                let to = self.stretched(&self.stretched(&shape, two), epsilon);
                self.made(y, to);
            }
            10 => {
                let bounds = [self.scalar(-0.7), self.scalar(0.6)];
                let y = self.op(Clip, &[x, bounds[0], bounds[1]]);
                self.made(y, shape);
            }
            11 => {
                // x * clip(x + 3, 0, 6) / 6
                let three = self.number(3.0);
                let sum = self.binary(Add, x, three);
                let bounds = [self.scalar(0.0), self.scalar(6.0)];
                let c = self.op(Clip, &[sum, bounds[0], bounds[1]]);
                let y = self.binary(Mul, x, c);
                let six = self.number(6.0);
                let y = self.op(Binary { function: Div }, &[y, six]);
                let to = self.stretched(&self.stretched(&shape, three), six);
                self.made(y, to);
            }
            12 => {
                let (other, other_shape) = self.pick();
                if other_shape == shape {
                    let f = VariadicFunction::Sum;
                    let y = self.op(Variadic { function: f }, &[x, other]);
                    self.made(y, shape);
                }
            }
            13 => {
                let y = self.op(Identity, &[x]);
                let y = self.op(Cast { to: DType::F32 }, &[y]);
                self.made(y, shape);
            }
            14 if rank < 5 => {
                let axes = Some(vec![rank as i64]);
                let y = self.op(Unsqueeze { axes }, &[x]);
                let mut to = shape;
                to.push(1);
                self.made(y, to);
            }
            15 if rank > 2 && shape[rank - 1] == 1 => {
                let axes = Some(vec![-1]);
                let y = self.op(Squeeze { axes }, &[x]);
                self.made(y, shape[..rank - 1].to_vec());
            }
            _ => self.product_of_two(x, &shape),
        }
    }

    /// The axes from `first` on in another order.
    fn transposed(&mut self, x: ValueId, shape: &[usize], first: usize) -> (ValueId, Vec<usize>) {
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        for i in (first + 1..perm.len()).rev() {
            let j = first + self.random.below(i + 1 - first);
            perm.swap(i, j);
        }
        let to = perm.iter().map(|&a| shape[a]).collect();
        (self.op(Transpose { perm: Some(perm) }, &[x]), to)
    }

    /// Two axes next to each other as one, or one axis as two.
    fn split_or_joined(&mut self, x: ValueId, shape: &[usize]) -> (ValueId, Vec<usize>) {
        let at = self.random.below(shape.len());
        let mut to = shape.to_vec();
        if shape[at].is_multiple_of(2) && shape.len() < 5 {
            to[at] = 2;
            to.insert(at + 1, shape[at] / 2);
        } else if at + 1 < shape.len() && shape.len() > 2 {
            to[at] *= to.remove(at + 1);
        }
        let target: Vec<i64> = to.iter().map(|&n| n as i64).collect();
        let target = self.ints(&target);
        (self.op(Reshape { allow_zero: false }, &[x, target]), to)
    }

    fn scalar(&mut self, x: f32) -> ValueId {
        self.graph.add_constant("", Tensor::scalar(x))
    }

    /// The shape after stretching against a constant.
    fn stretched(&self, shape: &[usize], constant: ValueId) -> Vec<usize> {
        let rank = self.graph.constant(constant).map_or(0, Tensor::rank);
        let mut to = vec![1; rank.saturating_sub(shape.len())];
        to.extend(shape);
        to
    }

    /// `(x s) (x s)^T`, as attention has it.
    fn product_of_two(&mut self, x: ValueId, shape: &[usize]) {
        let rank = shape.len();
        if rank < 2 {
            return;
        }
        let s = self.scalar(0.35);
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        if rank == 2 {
            // The batch would meet itself.
            return;
        }
        let a = self.binary(BinaryFunction::Mul, x, s);
        let t = self.op(Transpose { perm: Some(perm) }, &[x]);
        let b = self.binary(BinaryFunction::Mul, t, s);
        let y = self.op(Linear::default(), &[a, b]);
        let mut to = shape.to_vec();
        to[rank - 1] = shape[rank - 2];
        self.made(y, to);
    }

    /// A convolution with kernel 1 or 3, perhaps batch norm or a constant per channel behind it.
    fn convolution(&mut self, x: ValueId, shape: &[usize]) {
        let spatial = shape.len() - 2;
        if spatial > 3 {
            return;
        }
        let groups = if shape[1].is_multiple_of(2) && self.random.coin() {
            2
        } else {
            1
        };
        let channels = 4;
        let kernel = if self.random.coin() { 3 } else { 1 };
        let padded = kernel == 3;
        let pads = vec![usize::from(padded); 2 * spatial];
        let mut y = if self.random.below(3) > 0 {
            let mut w = vec![channels, shape[1] / groups];
            w.extend(vec![kernel; spatial]);
            let w = self.constant(&w);
            let mut inputs = vec![x, w];
            if self.random.coin() {
                inputs.push(self.constant(&[channels]));
            }
            let window = Window {
                padding: Padding::Explicit(pads),
                ..Window::default()
            };
            let op = Conv {
                groups,
                window,
                activation: None,
            };
            self.op(op, &inputs)
        } else {
            let mut w = vec![shape[1], channels / groups];
            w.extend(vec![kernel; spatial]);
            let w = self.constant(&w);
            let op = ConvTranspose {
                groups,
                padding: Padding::Explicit(pads),
                ..ConvTranspose::default()
            };
            self.op(op, &[x, w])
        };
        let mut to = shape.to_vec();
        to[1] = channels;
        match self.random.below(3) {
            0 => {
                let parameters: Vec<ValueId> = (0..3).map(|_| self.constant(&[channels])).collect();
                let variance: Vec<f32> = (0..channels).map(|_| self.random.float().abs()).collect();
                let variance = Tensor::from_slice(&[channels], &variance).unwrap();
                let variance = self.graph.add_constant("", variance);
                let op = BatchNormalization { epsilon: 0.1 };
                y = self.op(
                    op,
                    &[y, parameters[0], parameters[1], parameters[2], variance],
                );
            }
            1 => {
                let mut c = vec![1; shape.len() - 1];
                c[0] = channels;
                let c = self.constant(&c);
                y = self.binary(BinaryFunction::Mul, y, c);
            }
            _ => {}
        }
        self.made(y, to);
    }

    /// The graph with its newest value and perhaps another one as outputs.
    fn finish(mut self) -> (Graph, Tensor) {
        let newest = self.values[self.values.len() - 1].0;
        let mut outputs = vec![newest];
        let other = self.random.below(self.values.len());
        let other = self.values[other].0;
        if self.random.coin() && other != newest {
            outputs.push(other);
        }
        for (i, &id) in outputs.iter().enumerate() {
            if self.graph.value(id).name.is_empty() {
                self.graph.value_mut(id).name = format!("out_{i}");
            }
        }
        self.graph.set_outputs(outputs);
        (self.graph, self.input)
    }
}

fn names(graph: &Graph) -> Vec<String> {
    let outputs = graph.outputs().iter();
    outputs.map(|&o| graph.value(o).name.clone()).collect()
}

/// What a rewrite broke, if it did.
fn compare(graph: &Graph, input: &Tensor) -> Result<RewriteReport, String> {
    let mut rewritten = graph.clone();
    let report = rewrite::optimize(&mut rewritten, &Interpreter::new(Precision::Canonical));
    rewritten.check().map_err(|e| e.to_string())?;
    if names(graph) != names(&rewritten) {
        return Err(format!("outputs {:?}", names(&rewritten)));
    }
    let run = |g: &Graph| {
        let inputs = std::slice::from_ref(input);
        let outputs = Interpreter::new(Precision::Float64).run(g, inputs);
        outputs.map_err(|e| e.to_string())
    };
    let (before, after) = (run(graph)?, run(&rewritten)?);
    for (i, (a, b)) in before.iter().zip(&after).enumerate() {
        if a.shape() != b.shape() {
            return Err(format!(
                "output {i}: {:?} became {:?}",
                a.shape(),
                b.shape()
            ));
        }
        let (a, b) = (a.to_f64s().unwrap(), b.to_f64s().unwrap());
        let largest = a.iter().fold(0.1f64, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(&b) {
            if (a - b).abs() > 2e-5 * largest {
                return Err(format!("output {i}: {a} became {b}"));
            }
        }
    }
    Ok(report)
}

#[test]
fn random_graphs_compute_the_same_before_and_after() {
    let mut failures = Vec::new();
    let mut applied = RewriteReport::default();
    for seed in 0..400 {
        let mut growing = Growing::new(seed);
        for _ in 0..2 + seed as usize % 12 {
            growing.grow();
        }
        let (graph, input) = growing.finish();
        match compare(&graph, &input) {
            Err(why) => {
                let nodes: Vec<&str> = graph.nodes().iter().map(|n| n.op.name()).collect();
                failures.push(format!("seed {seed}: {why} ({nodes:?})"));
            }
            Ok(report) => {
                for (name, count) in report.applied {
                    match applied.applied.iter_mut().find(|(n, _)| *n == name) {
                        Some((_, sum)) => *sum += count,
                        None => applied.applied.push((name, count)),
                    }
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} graphs differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    // A check of rewrites that never apply would check nothing.
    for name in [
        "noop",
        "fold",
        "plain",
        "gelu",
        "hard",
        "layer_norm",
        "views",
        "transpose",
        "layout",
        "linear",
        "conv",
    ] {
        assert!(
            applied.count(name) >= 5,
            "{name} applied {} times",
            applied.count(name)
        );
    }
}

#[test]
fn an_embedding_by_one_hot_product_has_equal_bits_as_a_lookup() {
    let mut random = Random(7);
    let ids: Vec<i32> = vec![-3, -1, 0, 1, 5, 8, 9, 10, 1000, i32::MIN];
    let mut graph = Graph::new("embedding");
    let declared = TensorType {
        dtype: DType::I32,
        shape: Some(vec![Dim::symbol(&Symbol::new("b")), Dim::constant(1)]),
    };
    let x = graph.add_input("ids", declared);
    let list: Vec<i32> = (0..10).collect();
    let list = graph.add_constant("", Tensor::from_slice(&[10], &list).unwrap());
    let mut weights: Vec<f32> = (0..30).map(|_| random.float()).collect();
    // Zeros of both signs and numbers that are none: the table must say of them what the product says.
    weights[4] = -0.0;
    weights[11] = f32::INFINITY;
    let weights = graph.add_constant("", Tensor::from_slice(&[10, 3], &weights).unwrap());
    let bias = graph.add_constant("", Tensor::from_slice(&[3], &[0.0f32, -0.0, 1.0]).unwrap());
    let comparison = Comparison::Equal;
    let equal = graph.append("equal", Arc::new(Compare { comparison }), &[x, list], 1)[0];
    let cast = Arc::new(Cast { to: DType::F32 });
    let encoded = graph.append("cast", cast, &[equal], 1)[0];
    let product = graph.append(
        "product",
        Arc::new(Linear::default()),
        &[encoded, weights],
        1,
    )[0];
    let function = BinaryFunction::Add;
    let sum = graph.append("bias", Arc::new(Binary { function }), &[product, bias], 1);
    graph.set_outputs(sum);
    let ids = Tensor::from_slice(&[ids.len(), 1], &ids).unwrap();

    let mut rewritten = graph.clone();
    let interpreter = Interpreter::new(Precision::Canonical);
    let report = rewrite::optimize(&mut rewritten, &interpreter);
    assert_eq!(report.count("one_hot"), 1);
    let inputs = std::slice::from_ref(&ids);
    let before = interpreter.run(&graph, inputs).unwrap();
    let after = interpreter.run(&rewritten, inputs).unwrap();
    let (before, after) = (
        before[0].as_slice::<f32>().unwrap(),
        after[0].as_slice::<f32>().unwrap(),
    );
    assert!(
        before.iter().any(|v| v.is_nan()),
        "the infinite weight shows"
    );
    for (i, (a, b)) in before.iter().zip(after).enumerate() {
        assert!(
            unisono_reference::arith::same_bits(*a, *b),
            "element {i}: {a} became {b}"
        );
    }
}

/// Attention as PyTorch exports it: positions in front, one product for queries, keys and values, batch and heads one axis.
fn exported_attention(random: &mut Random, batch: Dim) -> Graph {
    const POSITIONS: i64 = 5;
    const WIDTH: i64 = 64;
    const HEAD: i64 = 16;
    let mut graph = Graph::new("attention");
    let declared = TensorType {
        dtype: DType::F32,
        shape: Some(vec![batch, Dim::constant(POSITIONS), Dim::constant(WIDTH)]),
    };
    let x = graph.add_input("x", declared);
    let mut constant = |graph: &mut Graph, shape: &[usize]| {
        let n = shape.iter().product();
        let data: Vec<f32> = (0..n).map(|_| random.float()).collect();
        graph.add_constant("", Tensor::from_slice(shape, &data).unwrap())
    };
    let weights = constant(&mut graph, &[WIDTH as usize, 3 * WIDTH as usize]);
    let bias = constant(&mut graph, &[3 * WIDTH as usize]);
    let out = constant(&mut graph, &[WIDTH as usize, WIDTH as usize]);
    let transpose = |graph: &mut Graph, x: ValueId, perm: [usize; 3]| {
        let perm = Some(perm.to_vec());
        graph.append("transpose", Arc::new(Transpose { perm }), &[x], 1)[0]
    };
    let reshape = |graph: &mut Graph, x: ValueId, to: &[i64]| {
        let to = Tensor::from_slice(&[to.len()], to).unwrap();
        let to = graph.add_constant("", to);
        let op = Arc::new(Reshape { allow_zero: false });
        graph.append("reshape", op, &[x, to], 1)[0]
    };
    let product = |graph: &mut Graph, inputs: &[ValueId]| {
        graph.append("product", Arc::new(Linear::default()), inputs, 1)[0]
    };
    let first = transpose(&mut graph, x, [1, 0, 2]);
    let all = product(&mut graph, &[first, weights, bias]);
    let split = Split {
        axis: -1,
        parts: SplitParts::Lengths(vec![WIDTH; 3]),
    };
    let parts = graph.append("split", Arc::new(split), &[all], 3);
    let heads: Vec<ValueId> = parts
        .iter()
        .zip([[1, 0, 2], [1, 2, 0], [1, 0, 2]])
        .map(|(&part, perm)| {
            let part = reshape(&mut graph, part, &[POSITIONS, -1, HEAD]);
            transpose(&mut graph, part, perm)
        })
        .collect();
    let scores = product(&mut graph, &heads[..2]);
    let softmax = Softmax {
        function: SoftmaxFunction::Softmax,
        axis: -1,
        flatten: false,
    };
    let scores = graph.append("softmax", Arc::new(softmax), &[scores], 1)[0];
    let mixed = product(&mut graph, &[scores, heads[2]]);
    let mixed = transpose(&mut graph, mixed, [1, 0, 2]);
    let mixed = reshape(&mut graph, mixed, &[-1, WIDTH]);
    let y = product(&mut graph, &[mixed, out]);
    let y = reshape(&mut graph, y, &[POSITIONS, -1, WIDTH]);
    let y = transpose(&mut graph, y, [1, 0, 2]);
    graph.set_outputs(vec![y]);
    graph
}

#[test]
fn exported_attention_becomes_four_transposes_and_keeps_its_bits() {
    for batch in [Dim::symbol(&Symbol::new("b")), Dim::constant(3)] {
        let mut random = Random(11);
        let graph = exported_attention(&mut random, batch);
        let data: Vec<f32> = (0..3 * 5 * 64).map(|_| random.float()).collect();
        let x = [Tensor::from_slice(&[3, 5, 64], &data).unwrap()];
        let mut rewritten = graph.clone();
        let interpreter = Interpreter::new(Precision::Canonical);
        let report = rewrite::optimize(&mut rewritten, &interpreter);
        assert_eq!((report.count("parts"), report.count("leads")), (1, 3));
        let kinds: Vec<&str> = rewritten.nodes().iter().map(|n| n.op.name()).collect();
        let transposes = kinds.iter().filter(|kind| **kind == "Transpose").count();
        assert_eq!(transposes, 4, "{kinds:?}");
        assert!(!kinds.contains(&"Split"), "{kinds:?}");
        let before = interpreter.run(&graph, &x).unwrap();
        let after = interpreter.run(&rewritten, &x).unwrap();
        assert_eq!(before[0].shape(), after[0].shape());
        assert_eq!(before[0].bytes(), after[0].bytes());
    }
}
