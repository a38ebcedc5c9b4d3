//! The batch contract held against arithmetic: whatever it lets be coalesced is run coalesced and alone, and every output
//! must have the same bits.
//!
//! Each operator is tried with every choice of batch axes that its inputs allow, then random chains of operators are. A rule
//! that blocks too much is no error here (the tables in `unisono-graph` see to that), one that lets too much through is.

use std::sync::Arc;
use unisono_graph::contract::{Contract, OutputRows, Verdict, contract_with};
use unisono_graph::ops::{NodeSpec, build};
use unisono_graph::{
    Attribute, Attributes, Batch, Dim, Fact, Graph, Operator, Symbol, TensorType, ValueId,
};
use unisono_reference::interpret::{Interpreter, Precision};
use unisono_tensor::{DType, Tensor};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }
}

/// An input of a case.
#[derive(Clone, Copy, Debug)]
enum In {
    /// Random floats of this shape.
    F(&'static [usize]),
    /// Random indices below a number.
    I(&'static [usize], i64),
    /// Random booleans.
    B(&'static [usize]),
    /// A constant list.
    L(&'static [i64]),
    /// A constant scalar.
    S(i64),
    /// Constant random floats.
    W(&'static [usize]),
    /// Left out.
    None,
}
use In::{B, F, I, L, S, W};

fn floats(shape: &[usize], random: &mut Random) -> Tensor {
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n)
        .map(|_| random.below(2001) as f32 / 500.0 - 2.0)
        .collect();
    Tensor::from_slice(shape, &data).expect("floats")
}

fn sample(input: In, shape: &[usize], random: &mut Random) -> Tensor {
    let n: usize = shape.iter().product();
    match input {
        I(_, limit) => {
            let data: Vec<i64> = (0..n)
                .map(|_| random.below(limit as usize) as i64)
                .collect();
            Tensor::from_slice(shape, &data).expect("indices")
        }
        B(_) => {
            let data: Vec<bool> = (0..n).map(|_| random.below(2) == 1).collect();
            Tensor::from_bools(shape, &data).expect("booleans")
        }
        _ => floats(shape, random),
    }
}

fn operator(
    name: &str,
    opset: i64,
    attrs: &[(&str, Attribute)],
    inputs: &[bool],
    outputs: usize,
) -> Arc<dyn Operator> {
    let mut attributes = Attributes::new();
    for (name, value) in attrs {
        attributes.insert(*name, value.clone());
    }
    let mut spec = NodeSpec {
        attributes: &mut attributes,
        opset,
        inputs,
        output_count: outputs,
    };
    build("", name, &mut spec).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Values along an axis, one behind the other.
fn joined(parts: &[&Tensor], axis: usize) -> Tensor {
    let first = parts[0];
    let mut shape = first.shape().to_vec();
    shape[axis] = parts.iter().map(|p| p.shape()[axis]).sum();
    let blocks: usize = shape[..axis].iter().product();
    let mut bytes = Vec::new();
    for block in 0..blocks {
        for part in parts {
            let size = part.bytes().len() / blocks;
            bytes.extend_from_slice(&part.bytes()[block * size..(block + 1) * size]);
        }
    }
    Tensor::from_bytes(first.dtype(), &shape, &bytes).expect("joined")
}

/// The part of an axis that starts at one index and ends before another.
fn cut(tensor: &Tensor, axis: usize, from: usize, to: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    let blocks: usize = shape[..axis].iter().product();
    let unit = tensor.bytes().len() / blocks.max(1) / shape[axis].max(1);
    let size = tensor.bytes().len() / blocks.max(1);
    shape[axis] = to - from;
    let mut bytes = Vec::new();
    for block in 0..blocks {
        let start = block * size;
        bytes.extend_from_slice(&tensor.bytes()[start + from * unit..start + to * unit]);
    }
    Tensor::from_bytes(tensor.dtype(), &shape, &bytes).expect("a part")
}

/// All NaNs count as one.
fn same(a: &Tensor, b: &Tensor) -> bool {
    if a.shape() != b.shape() || a.dtype() != b.dtype() {
        return false;
    }
    match (a.as_slice::<f32>(), b.as_slice::<f32>()) {
        (Ok(a), Ok(b)) => a
            .iter()
            .zip(b)
            .all(|(x, y)| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())),
        _ => a.bytes() == b.bytes(),
    }
}

/// Rows of the requests that are coalesced.
const REQUESTS: [usize; 3] = [1, 3, 2];

/// Runs requests alone and together. `sample` makes an input with a number of rows. What is wrong, if anything is.
fn compare(
    graph: &Graph,
    found: &Contract,
    mut sample: impl FnMut(usize, Option<(usize, usize)>) -> Tensor,
) -> Result<(), String> {
    let Verdict::Coalescible { inputs, outputs } = &found.verdict else {
        return Ok(());
    };
    let reference = Interpreter::new(Precision::Canonical);
    let mut requests: Vec<Vec<Tensor>> = vec![Vec::new(); REQUESTS.len()];
    for (i, batch) in inputs.iter().enumerate() {
        let shared = sample(i, None);
        for (request, rows) in requests.iter_mut().zip(REQUESTS) {
            request.push(match batch {
                Batch::Rows { axis, .. } => sample(i, Some((*axis, rows))),
                _ => shared.clone(),
            });
        }
    }
    let together: Vec<Tensor> = inputs
        .iter()
        .enumerate()
        .map(|(i, batch)| match batch {
            Batch::Rows { axis, .. } => {
                let parts: Vec<&Tensor> = requests.iter().map(|r| &r[i]).collect();
                joined(&parts, *axis)
            }
            _ => requests[0][i].clone(),
        })
        .collect();
    let alone: Vec<Vec<Tensor>> = requests
        .iter()
        .map(|r| reference.run(graph, r).map_err(|e| format!("alone: {e}")))
        .collect::<Result<_, _>>()?;
    let together = reference
        .run(graph, &together)
        .map_err(|e| format!("together: {e}"))?;
    let mut row = 0;
    for (request, rows) in alone.iter().zip(REQUESTS) {
        for (i, output) in outputs.iter().enumerate() {
            let expected = match output {
                OutputRows::Rows { axis, inner } => {
                    let inner = inner.as_len().expect("a number");
                    cut(&together[i], *axis, row * inner, (row + rows) * inner)
                }
                OutputRows::Shared => together[i].clone(),
                OutputRows::Counted { contents, .. } => {
                    let own = |s: &Symbol| (*s == found.rows).then(|| Dim::from(rows));
                    let numbers: Option<Vec<i64>> = contents
                        .iter()
                        .map(|d| d.substitute(&own).as_const())
                        .collect();
                    if request[i].to_i64s() != numbers {
                        return Err(format!("output {i} is {:?}, not {numbers:?}", request[i]));
                    }
                    continue;
                }
            };
            if !same(&expected, &request[i]) {
                return Err(format!(
                    "output {i} differs for the request of {rows} rows: alone {:?}, together {expected:?}",
                    request[i]
                ));
            }
        }
        row += rows;
    }
    Ok(())
}

struct Case {
    name: &'static str,
    opset: i64,
    attrs: Vec<(&'static str, Attribute)>,
    inputs: Vec<In>,
    outputs: usize,
}

fn case(name: &'static str, attrs: Vec<(&'static str, Attribute)>, inputs: &[In]) -> Case {
    Case {
        name,
        opset: 18,
        attrs,
        inputs: inputs.to_vec(),
        outputs: 1,
    }
}

fn int(n: i64) -> Attribute {
    Attribute::Int(n)
}

fn ints(list: &[i64]) -> Attribute {
    Attribute::Ints(list.to_vec())
}

fn text(s: &str) -> Attribute {
    Attribute::String(s.as_bytes().to_vec())
}

fn cases() -> Vec<Case> {
    const FAR: i64 = i64::MAX;
    let mut all = Vec::new();
    let mut add = |name, attrs, inputs: &[In]| all.push(case(name, attrs, inputs));
    for name in ["Relu", "Exp", "Neg", "Identity", "Sigmoid"] {
        add(name, vec![], &[F(&[2, 3])]);
    }
    for name in ["Add", "Mul", "Sub", "Max", "Pow"] {
        add(name, vec![], &[F(&[2, 3]), F(&[2, 3])]);
        add(name, vec![], &[F(&[2, 3]), F(&[3])]);
        add(name, vec![], &[F(&[2, 1]), F(&[1, 3])]);
    }
    add("Where", vec![], &[B(&[2, 3]), F(&[2, 3]), F(&[1, 3])]);
    add("Less", vec![], &[F(&[2, 3]), F(&[2, 3])]);
    add("MatMul", vec![], &[F(&[2, 3]), F(&[3, 4])]);
    add("MatMul", vec![], &[F(&[2, 3, 4]), F(&[2, 4, 3])]);
    add("MatMul", vec![], &[F(&[2, 3, 4]), F(&[4, 2])]);
    add("MatMul", vec![], &[F(&[4]), F(&[2, 4, 3])]);
    add(
        "Gemm",
        vec![("transA", int(1))],
        &[F(&[3, 2]), F(&[3, 4]), F(&[2, 4])],
    );
    add(
        "Gemm",
        vec![("transB", int(1))],
        &[F(&[2, 3]), F(&[4, 3]), F(&[4])],
    );
    for axis in [0, 1, 2] {
        add("Softmax", vec![("axis", int(axis))], &[F(&[2, 3, 4])]);
        add("LogSoftmax", vec![("axis", int(axis))], &[F(&[2, 3, 4])]);
        add("ReduceSum", vec![], &[F(&[2, 3, 4]), L(&[0, 2])]);
        add(
            "ReduceMax",
            vec![("keepdims", int(0))],
            &[F(&[2, 3, 4]), L(&[1])],
        );
        add(
            "ArgMax",
            vec![("axis", int(axis)), ("keepdims", int(0))],
            &[F(&[2, 3, 4])],
        );
        add("CumSum", vec![], &[F(&[2, 3, 4]), S(axis)]);
        add(
            "Concat",
            vec![("axis", int(axis))],
            &[F(&[2, 3, 4]), F(&[2, 3, 4])],
        );
        add(
            "Gather",
            vec![("axis", int(axis))],
            &[F(&[2, 3, 4]), I(&[2, 2], 2)],
        );
        add(
            "GatherElements",
            vec![("axis", int(axis))],
            &[F(&[2, 3, 4]), I(&[2, 3, 4], 2)],
        );
        add(
            "ScatterElements",
            vec![("axis", int(axis)), ("reduction", text("add"))],
            &[F(&[2, 3, 4]), I(&[2, 3, 4], 2), F(&[2, 3, 4])],
        );
        add(
            "LayerNormalization",
            vec![("axis", int(axis))],
            &[F(&[2, 3, 4]), W(&[4])],
        );
        add(
            "OneHot",
            vec![("axis", int(axis))],
            &[I(&[2, 3], 5), S(5), W(&[2])],
        );
        add(
            "Compress",
            vec![("axis", int(axis))],
            &[F(&[2, 3, 4]), B(&[2])],
        );
    }
    for perm in [[0, 1, 2], [1, 2, 0], [2, 1, 0]] {
        add("Transpose", vec![("perm", ints(&perm))], &[F(&[2, 3, 4])]);
    }
    for list in [
        &[-1][..],
        &[0, -1],
        &[-1, 4],
        &[-1, 2],
        &[2, -1],
        &[3, 2, -1],
        &[0, 0, 2, -1],
        &[-1, 3, 2],
    ] {
        add("Reshape", vec![], &[F(&[2, 3, 4]), L(list)]);
    }
    for axis in 0..3 {
        add("Flatten", vec![("axis", int(axis))], &[F(&[2, 3, 4])]);
    }
    add("Squeeze", vec![], &[F(&[2, 1, 3]), L(&[1])]);
    add("Unsqueeze", vec![], &[F(&[2, 3]), L(&[0, 2])]);
    add("Expand", vec![], &[F(&[2, 1]), L(&[5, 1, 3])]);
    add("Tile", vec![], &[F(&[2, 3]), L(&[1, 2])]);
    add("Tile", vec![], &[F(&[2, 3]), L(&[2, 1])]);
    add("Slice", vec![], &[F(&[2, 3]), L(&[1]), L(&[FAR]), L(&[1])]);
    add("Slice", vec![], &[F(&[2, 3]), L(&[0]), L(&[FAR]), L(&[0])]);
    add(
        "Slice",
        vec![],
        &[F(&[2, 3]), L(&[-1]), L(&[i64::MIN]), L(&[0]), L(&[-1])],
    );
    add(
        "Slice",
        vec![],
        &[F(&[2, 3]), L(&[-1]), L(&[i64::MIN]), L(&[1]), L(&[-1])],
    );
    add("Pad", vec![], &[F(&[2, 3]), L(&[0, 1, 0, 2])]);
    add(
        "Pad",
        vec![("mode", text("edge"))],
        &[F(&[2, 3]), L(&[1, 0, 0, 0])],
    );
    add(
        "DepthToSpace",
        vec![("blocksize", int(2))],
        &[F(&[2, 4, 1, 3])],
    );
    add(
        "SpaceToDepth",
        vec![("blocksize", int(2))],
        &[F(&[2, 1, 2, 4])],
    );
    add("ReverseSequence", vec![], &[F(&[3, 2, 2]), I(&[2], 3)]);
    add(
        "ReverseSequence",
        vec![("batch_axis", int(0)), ("time_axis", int(1))],
        &[F(&[2, 3, 2]), I(&[2], 3)],
    );
    add("Trilu", vec![], &[F(&[2, 3, 3])]);
    add("GatherND", vec![], &[F(&[2, 3, 4]), I(&[5, 1], 2)]);
    add(
        "GatherND",
        vec![("batch_dims", int(1))],
        &[F(&[2, 3, 4]), I(&[2, 2, 1], 3)],
    );
    add(
        "ScatterND",
        vec![],
        &[F(&[2, 3, 4]), I(&[2, 1], 2), F(&[2, 3, 4])],
    );
    add("EyeLike", vec![], &[F(&[2, 3])]);
    add("NonZero", vec![], &[F(&[2, 3])]);
    add("Unique", vec![], &[F(&[2, 3])]);
    add("Shape", vec![], &[F(&[2, 3])]);
    add("Size", vec![], &[F(&[2, 3])]);
    add(
        "Conv",
        vec![("pads", ints(&[1, 1]))],
        &[F(&[2, 3, 5]), F(&[4, 3, 3]), F(&[4])],
    );
    add("ConvTranspose", vec![], &[F(&[2, 3, 5]), F(&[3, 2, 3])]);
    add(
        "MaxPool",
        vec![("kernel_shape", ints(&[2]))],
        &[F(&[2, 3, 5])],
    );
    add(
        "AveragePool",
        vec![("kernel_shape", ints(&[2]))],
        &[F(&[2, 3, 5])],
    );
    add("GlobalAveragePool", vec![], &[F(&[2, 3, 5])]);
    // A negative variance gives NaNs, which is as good as anything.
    add(
        "BatchNormalization",
        vec![],
        &[F(&[2, 3, 5]), W(&[3]), W(&[3]), W(&[3]), W(&[3])],
    );
    add(
        "InstanceNormalization",
        vec![],
        &[F(&[2, 3, 5]), W(&[3]), W(&[3])],
    );
    add("DynamicQuantizeLinear", vec![], &[F(&[2, 3])]);
    add("Cast", vec![("to", int(7))], &[F(&[2, 3])]);
    add("Clip", vec![], &[F(&[2, 3])]);
    add("TopK", vec![("axis", int(1))], &[F(&[2, 3]), L(&[2])]);
    add(
        "LSTM",
        vec![("hidden_size", int(2))],
        &[
            F(&[3, 2, 4]),
            W(&[1, 8, 4]),
            W(&[1, 8, 2]),
            In::None,
            In::None,
            F(&[1, 2, 2]),
            F(&[1, 2, 2]),
        ],
    );
    add(
        "GRU",
        vec![("hidden_size", int(2))],
        &[F(&[3, 2, 4]), W(&[1, 6, 4]), W(&[1, 6, 2])],
    );
    let mut split = case("Split", vec![("axis", int(1))], &[F(&[2, 4])]);
    split.opset = 13;
    split.outputs = 2;
    all.push(split);
    for c in &mut all {
        c.outputs = match c.name {
            "TopK" => 2,
            "LSTM" => 3,
            "GRU" => 2,
            "DynamicQuantizeLinear" => 3,
            _ => c.outputs,
        };
    }
    all
}

fn shape_of(input: In) -> Option<(&'static [usize], DType)> {
    match input {
        F(shape) => Some((shape, DType::F32)),
        I(shape, _) => Some((shape, DType::I64)),
        B(shape) => Some((shape, DType::Bool)),
        _ => None,
    }
}

/// The case as a graph, and which of its inputs are the graph's.
fn graph_of(case: &Case, random: &mut Random) -> (Graph, Vec<In>) {
    let mut graph = Graph::new(case.name);
    let mut open = Vec::new();
    let ids: Vec<Option<ValueId>> =
        case.inputs
            .iter()
            .enumerate()
            .map(|(i, &input)| {
                Some(match input {
                    L(list) => graph
                        .add_constant("", Tensor::from_slice(&[list.len()], list).expect("a list")),
                    S(n) => graph.add_constant("", Tensor::scalar(n)),
                    W(shape) => graph.add_constant("", floats(shape, random)),
                    In::None => return None,
                    F(_) | I(..) | B(_) => {
                        let (shape, dtype) = shape_of(input)?;
                        open.push(input);
                        let shape = shape.iter().map(|&n| Dim::from(n)).collect();
                        let declared = TensorType {
                            dtype,
                            shape: Some(shape),
                        };
                        graph.add_input(format!("x{i}"), declared)
                    }
                })
            })
            .collect();
    let present: Vec<bool> = ids.iter().map(Option::is_some).collect();
    let op = operator(case.name, case.opset, &case.attrs, &present, case.outputs);
    let made: Vec<ValueId> = (0..case.outputs)
        .map(|_| graph.add_value("", None))
        .collect();
    graph.add_node(case.name, op, ids, made.iter().map(|&v| Some(v)).collect());
    graph.set_outputs(made);
    (graph, open)
}

/// Facts of inputs in which the chosen axes are open, by one name.
fn opened(inputs: &[In], axes: &[Option<usize>]) -> Vec<Option<Fact>> {
    inputs
        .iter()
        .zip(axes)
        .map(|(&input, axis)| {
            let (shape, dtype) = shape_of(input)?;
            let mut shape: Vec<Dim> = shape.iter().map(|&n| Dim::from(n)).collect();
            if let Some(axis) = axis {
                shape[*axis] = Dim::symbol(&Symbol::new("n"));
            }
            Some(Fact::new(dtype, shape))
        })
        .collect()
}

/// Every choice of one axis or none for each input.
fn choices(inputs: &[In]) -> Vec<Vec<Option<usize>>> {
    let mut all: Vec<Vec<Option<usize>>> = vec![Vec::new()];
    for &input in inputs {
        let rank = shape_of(input).map_or(0, |(s, _)| s.len());
        all = all
            .into_iter()
            .flat_map(|choice| {
                [None]
                    .into_iter()
                    .chain((0..rank).map(Some))
                    .map(move |axis| {
                        let mut choice = choice.clone();
                        choice.push(axis);
                        choice
                    })
            })
            .collect();
    }
    all
}

/// Evidence: coalesce-on-proof
#[test]
fn what_an_operator_lets_be_coalesced_has_the_same_bits_alone() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut failures) = (0, Vec::new());
    for case in cases() {
        let (graph, inputs) = graph_of(&case, &mut random);
        for axes in choices(&inputs) {
            let found = contract_with(&graph, &opened(&inputs, &axes));
            if !found.is_coalescible() {
                continue;
            }
            accepted += 1;
            let wrong = compare(&graph, &found, |i, rows| {
                let mut shape = shape_of(inputs[i]).expect("a graph's input").0.to_vec();
                if let Some((axis, rows)) = rows {
                    shape[axis] = rows;
                }
                sample(inputs[i], &shape, &mut random)
            });
            if let Err(what) = wrong {
                failures.push(format!(
                    "{} {:?} along {axes:?}: {what}",
                    case.name, case.attrs
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    // So that the test cannot pass by refusing everything.
    assert!(accepted > 200, "only {accepted} choices were accepted");
}

/// A step of a random chain, chosen for a value of this shape (in which one axis may be a multiple of the rows).
fn step(graph: &mut Graph, x: ValueId, shape: &mut Vec<usize>, random: &mut Random) -> ValueId {
    let rank = shape.len();
    let node = |graph: &mut Graph, name: &str, attrs: &[(&str, Attribute)], inputs: &[ValueId]| {
        let op = operator(name, 17, attrs, &vec![true; inputs.len()], 1);
        graph.append(name, op, inputs, 1)[0]
    };
    let list = |graph: &mut Graph, list: &[i64]| {
        graph.add_constant("", Tensor::from_slice(&[list.len()], list).expect("a list"))
    };
    match random.below(8) {
        0 | 1 => {
            let mut perm: Vec<i64> = (0..rank as i64).collect();
            for i in (1..rank).rev() {
                perm.swap(i, random.below(i + 1));
            }
            *shape = perm.iter().map(|&a| shape[a as usize]).collect();
            node(graph, "Transpose", &[("perm", Attribute::Ints(perm))], &[x])
        }
        // Two neighbouring axes become one, or one becomes two; -1 stands where the batch may be.
        2 | 3 if rank > 1 => {
            let at = random.below(rank - 1);
            let joined = shape[at] * shape[at + 1];
            shape.splice(at..at + 2, [joined]);
            let target = list(graph, &open(shape));
            node(graph, "Reshape", &[], &[x, target])
        }
        4 | 5 if shape.iter().any(|n| n.is_multiple_of(2)) => {
            let even: Vec<usize> = (0..rank).filter(|&i| shape[i].is_multiple_of(2)).collect();
            let at = even[random.below(even.len())];
            let half = shape[at] / 2;
            shape.splice(
                at..=at,
                if random.below(2) == 0 {
                    [2, half]
                } else {
                    [half, 2]
                },
            );
            let target = list(graph, &open(shape));
            node(graph, "Reshape", &[], &[x, target])
        }
        6 => {
            let axis = random.below(rank) as i64;
            node(graph, "Softmax", &[("axis", Attribute::Int(axis))], &[x])
        }
        _ => {
            let axis = random.below(rank);
            shape[axis] *= 2;
            let attrs = [("axis", Attribute::Int(axis as i64))];
            node(graph, "Concat", &attrs, &[x, x])
        }
    }
}

/// A shape as a target of `Reshape`: the axis whose length is a multiple of 7, which stands for the rows, is left open.
fn open(shape: &[usize]) -> Vec<i64> {
    shape
        .iter()
        .map(|&n| if n.is_multiple_of(7) { -1 } else { n as i64 })
        .collect()
}

/// Evidence: coalesce-on-proof
#[test]
fn what_a_random_chain_lets_be_coalesced_has_the_same_bits_alone() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut accepted, mut folded) = (0, 0);
    for chain in 0..600 {
        let mut graph = Graph::new("chain");
        // 7 stands for the rows while the chain is made.
        let mut start = vec![7, 2, 3, 2];
        start.rotate_right(random.below(4));
        let axis = start.iter().position(|&n| n == 7).expect("rows");
        let lengths: Vec<Dim> = start
            .iter()
            .map(|&n| match n {
                7 => Dim::symbol(&Symbol::new("n")),
                n => Dim::from(n),
            })
            .collect();
        let declared = TensorType {
            dtype: DType::F32,
            shape: Some(lengths.clone()),
        };
        let mut value = graph.add_input("x", declared);
        let mut shape = start.clone();
        for _ in 0..3 + random.below(5) {
            value = step(&mut graph, value, &mut shape, &mut random);
        }
        graph.set_outputs(vec![value]);
        let found = contract_with(&graph, &[Some(Fact::new(DType::F32, lengths))]);
        let Verdict::Coalescible { outputs, .. } = &found.verdict else {
            continue;
        };
        accepted += 1;
        let plain = |o: &OutputRows| matches!(o, OutputRows::Rows { inner, .. } if inner.as_const() == Some(1));
        folded += usize::from(!outputs.iter().all(plain));
        let wrong = compare(&graph, &found, |_, rows| {
            let mut shape = start.clone();
            shape[axis] = rows.map_or(1, |(_, rows)| rows);
            floats(&shape, &mut random)
        });
        assert_eq!(wrong, Ok(()), "chain {chain}: {graph:?}");
    }
    assert!(
        accepted > 100 && folded > 20,
        "{accepted} accepted, {folded} folded"
    );
}
