//! The batch contract of graphs as exporters write them, and of graphs that must not be coalesced.

mod common;

use common::{Attrs, Builder, check_all, fact, int, ints};
use unisono_graph::attribute::Subgraph;
use unisono_graph::contract::contract_with;
use unisono_graph::{Attribute, Graph, OutputRows, ValueId, Verdict, contract};

/// The verdict in short: `x:0 s:1 sr:- -> 0 1 -`, or the obstacle.
fn verdict(graph: &Graph) -> String {
    let found = contract(graph);
    let (inputs, outputs) = match &found.verdict {
        Verdict::Alone(obstacle) => return format!("alone: {obstacle}"),
        Verdict::Coalescible { inputs, outputs } => (inputs, outputs),
    };
    let name = |id: &ValueId| graph.value(*id).name.clone();
    let inputs: Vec<String> = graph
        .inputs()
        .iter()
        .zip(inputs)
        .map(|(id, batch)| match batch {
            unisono_graph::Batch::Rows { axis, .. } => format!("{}:{axis}", name(id)),
            _ => format!("{}:-", name(id)),
        })
        .collect();
    let outputs: Vec<String> = outputs
        .iter()
        .map(|output| match output {
            OutputRows::Rows { axis, inner } if inner.as_const() == Some(1) => axis.to_string(),
            OutputRows::Rows { axis, inner } => format!("{axis}*{inner}"),
            OutputRows::Shared => "-".to_owned(),
            OutputRows::Counted { contents, .. } => format!("{contents:?}"),
        })
        .collect();
    format!("{} -> {}", inputs.join(" "), outputs.join(" "))
}

/// Projections, heads by `Shape -> Gather -> Unsqueeze -> Concat -> Reshape`, the batch folded with the heads, scores,
/// softmax, and back.
fn attention(g: &mut Builder, x: ValueId, time_first: bool) -> ValueId {
    let (t, b) = if time_first { (0, 1) } else { (1, 0) };
    let (rows, time) = (g.length(x, b), g.length(x, t));
    let (heads, size, minus, whole) = (g.ints(&[8]), g.ints(&[8]), g.ints(&[-1]), g.ints(&[64]));
    let project = |g: &mut Builder| {
        let w = g.weights(&[64, 64]);
        let y = g.node("MatMul", &[], &[x, w]);
        if time_first {
            // [t, b, 64] -> [t, b*8, 8] -> [b*8, t, 8]
            let folded = g.node("Mul", &[], &[rows, heads]);
            let shape = g.node("Concat", &[("axis", int(0))], &[time, folded, size]);
            let y = g.node("Reshape", &[], &[y, shape]);
            g.node("Transpose", &[("perm", ints(&[1, 0, 2]))], &[y])
        } else {
            // [b, t, 64] -> [b, t, 8, 8] -> [b, 8, t, 8] -> [b*8, t, 8]
            let shape = g.node("Concat", &[("axis", int(0))], &[rows, time, heads, minus]);
            let y = g.node("Reshape", &[], &[y, shape]);
            let y = g.node("Transpose", &[("perm", ints(&[0, 2, 1, 3]))], &[y]);
            let shape = g.node("Concat", &[("axis", int(0))], &[minus, time, size]);
            g.node("Reshape", &[], &[y, shape])
        }
    };
    let (q, k, v) = (project(g), project(g), project(g));
    let k = g.node("Transpose", &[("perm", ints(&[0, 2, 1]))], &[k]);
    let scores = g.node("MatMul", &[], &[q, k]);
    let weights = g.node("Softmax", &[("axis", int(-1))], &[scores]);
    let y = g.node("MatMul", &[], &[weights, v]);
    if time_first {
        let y = g.node("Transpose", &[("perm", ints(&[1, 0, 2]))], &[y]);
        let shape = g.node("Concat", &[("axis", int(0))], &[time, rows, whole]);
        g.node("Reshape", &[], &[y, shape])
    } else {
        let shape = g.node("Concat", &[("axis", int(0))], &[rows, heads, time, size]);
        let y = g.node("Reshape", &[], &[y, shape]);
        let y = g.node("Transpose", &[("perm", ints(&[0, 2, 1, 3]))], &[y]);
        let shape = g.node("Concat", &[("axis", int(0))], &[rows, time, whole]);
        g.node("Reshape", &[], &[y, shape])
    }
}

/// Evidence: coalesce-on-proof
#[test]
fn attention_is_seen_through_where_heads_and_time_are_folded_with_the_batch() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[batch, time, 64]");
    let y = attention(&mut g, x, false);
    let y = attention(&mut g, y, false);
    assert_eq!(verdict(&g.finish(&[y])), "x:0 -> 0");

    // The batch is not the first axis inside, and the name says nothing.
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[?, ?, 64]");
    let y = g.node("Transpose", &[("perm", ints(&[1, 0, 2]))], &[x]);
    let y = attention(&mut g, y, true);
    let y = g.node("Transpose", &[("perm", ints(&[1, 0, 2]))], &[y]);
    assert_eq!(verdict(&g.finish(&[y])), "x:0 -> 0");
}

#[test]
fn masks_expanded_to_the_rows_belong_to_the_rows() {
    // Shape -> ConstantOfShape -> Mul -> Equal -> Where -> Expand, as exporters write `mask.expand(b, 1, t, t)`.
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, t, 4]");
    let mask = g.weights(&[1, 1, 1]);
    let (rows, time, one) = (g.length(x, 0), g.length(x, 1), g.ints(&[1]));
    let wanted = g.node("Concat", &[("axis", int(0))], &[rows, time, one]);
    let rank = g.node("Shape", &[], &[wanted]);
    let ones = g.node(
        "ConstantOfShape",
        &[(
            "value",
            Attribute::Tensor(unisono_tensor::Tensor::from_slice(&[1], &[1i64]).unwrap()),
        )],
        &[rank],
    );
    let minus = g.scalar(-1);
    let minus = g.node("Mul", &[], &[ones, minus]);
    let open = g.node("Equal", &[], &[wanted, minus]);
    let shape = g.node("Where", &[], &[open, ones, wanted]);
    let mask = g.node("Expand", &[], &[mask, shape]);
    let y = g.node("Add", &[], &[x, mask]);
    assert_eq!(verdict(&g.finish(&[y])), "x:0 -> 0");

    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, t, 4]");
    let shape = g.node("Shape", &[], &[x]);
    let zeros = g.node("ConstantOfShape", &[], &[shape]);
    let y = g.node("Concat", &[("axis", int(2))], &[zeros, x]);
    assert_eq!(verdict(&g.finish(&[y])), "x:0 -> 0");
}

#[test]
fn positions_along_time_are_shared_and_positions_along_the_batch_are_not() {
    let build = |axis: i64, declared: &str| {
        let mut g = Builder::new(17);
        let x = g.input("x", declared);
        let shape = g.node("Shape", &[], &[x]);
        let (at, zero, one) = (g.scalar(axis), g.scalar(0), g.scalar(1));
        let length = g.node("Gather", &[], &[shape, at]);
        let positions = g.node("Range", &[], &[zero, length, one]);
        let table = g.weights(&[512, 4]);
        let rows = g.node("Gather", &[], &[table, positions]);
        let front = g.ints(&[if axis == 0 { 1 } else { 0 }]);
        let rows = g.node("Unsqueeze", &[], &[rows, front]);
        let y = g.node("Add", &[], &[x, rows]);
        verdict(&g.finish(&[y]))
    };
    assert_eq!(build(1, "f32[b, t, 4]"), "x:0 -> 0");
    let alone = build(0, "f32[b, 7, 4]");
    assert!(
        alone.contains("depends on how many rows there are"),
        "{alone}"
    );
}

#[test]
fn state_on_another_axis_and_a_scalar_without_batch() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[batch, 64]");
    let state = g.input("state", "f32[2, batch, 64]");
    let rate = g.input("sr", "i64[]");
    let at = g.scalar(0);
    let first = g.node("Gather", &[("axis", int(0))], &[state, at]);
    let y = g.node("Add", &[], &[x, first]);
    let front = g.ints(&[0]);
    let row = g.node("Unsqueeze", &[], &[y, front]);
    let next = g.node("Concat", &[("axis", int(0))], &[row, row]);
    let rate = g.node("Identity", &[], &[rate]);
    assert_eq!(
        verdict(&g.finish(&[y, next, rate])),
        "x:0 state:1 sr:- -> 0 1 -"
    );
}

#[test]
fn open_lengths_are_told_apart_and_combined() {
    // Nothing is named, and what is declared of the output is a lie.
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[?, 64]");
    let state = g.input("state", "f32[2, ?, 64]");
    let at = g.scalar(1);
    let last = g.node("Gather", &[("axis", int(0))], &[state, at]);
    let y = g.node("Add", &[], &[x, last]);
    assert_eq!(verdict(&g.finish(&[y])), "x:0 state:1 -> 0");

    // Two names for one length.
    let mut g = Builder::new(17);
    let a = g.input("a", "f32[batch, 4]");
    let b = g.input("b", "f32[batch_size, 4]");
    let y = g.node("Mul", &[], &[a, b]);
    assert_eq!(verdict(&g.finish(&[y])), "a:0 b:0 -> 0");

    let mut g = Builder::new(17);
    let a = g.input("a", "f32[1, 4]");
    let y = g.node("Relu", &[], &[a]);
    assert_eq!(
        verdict(&g.finish(&[y])),
        "alone: every input has a fixed shape"
    );
}

#[test]
fn a_shape_among_the_outputs_is_counted_for_each_request() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, t, 4]");
    let y = g.node("Relu", &[], &[x]);
    let shape = g.node("Shape", &[], &[x]);
    let time = g.length(x, 1);
    assert_eq!(
        verdict(&g.finish(&[y, shape, time])),
        "x:0 -> 0 [rows, t, 4] -"
    );
}

/// Evidence: coalesce-on-proof, obstacle-named
#[test]
fn what_mixes_rows_runs_alone_and_is_named() {
    let far = i64::MAX;
    let cases: &[(&str, Attrs<'_>, &[&[i64]], &str)] = &[
        ("Softmax", &[("axis", int(0))], &[], "(Softmax)"),
        (
            "NonZero",
            &[],
            &[],
            "(NonZero) lists the elements of all rows",
        ),
        ("Transpose", &[], &[], "4 -> 1"),
        (
            "Gather",
            &[],
            &[&[0]],
            "(Gather) picks along axis 0, which is the batch",
        ),
        (
            "Slice",
            &[],
            &[&[1], &[far], &[0]],
            "(Slice) cuts axis 0, which is the batch",
        ),
        ("Slice", &[], &[&[0], &[far], &[0], &[-1]], "(Slice)"),
        ("Slice", &[], &[&[0], &[far], &[0]], "-> 0"),
        ("Slice", &[], &[&[1], &[far], &[1]], "-> 0"),
        ("Pad", &[], &[&[0, 1, 0, 0]], "-> 0"),
        (
            "Pad",
            &[],
            &[&[1, 0, 0, 0]],
            "(Pad) pads axis 0, which is the batch",
        ),
        ("Reshape", &[], &[&[-1]], "-> 0*4"),
        (
            "Reshape",
            &[],
            &[&[2, -1]],
            "(Reshape) turns [rows, 4] into [2, 2*rows]",
        ),
        (
            "Reshape",
            &[],
            &[&[4, -1]],
            "(Reshape) turns [rows, 4] into [4, rows]",
        ),
        ("Flatten", &[("axis", int(0))], &[], "-> 1*4"),
        ("Tile", &[], &[&[1, 3]], "-> 0"),
        (
            "Tile",
            &[],
            &[&[3, 1]],
            "output \"\" has the batch folded behind 3",
        ),
        ("Split", &[("axis", int(1))], &[], "-> 0"),
        ("Expand", &[], &[&[5, 1, 1]], "-> 1"),
        ("EyeLike", &[], &[], "(EyeLike)"),
        ("Trilu", &[], &[], "(Trilu)"),
        ("Unique", &[], &[], "(Unique)"),
        ("ReduceMax", &[("axes", ints(&[0]))], &[], "(ReduceMax)"),
        ("ReduceMax", &[("axes", ints(&[1]))], &[], "-> 0"),
    ];
    let mut failures = Vec::new();
    for (name, attrs, lists, expected) in cases {
        let mut g = Builder::new(17);
        let x = g.input("x", "f32[n, 4]");
        let mut inputs = vec![x];
        for list in *lists {
            inputs.push(g.ints(list));
        }
        let y = g.node(name, attrs, &inputs);
        let found = verdict(&g.finish(&[y]));
        let expected = if *expected == "4 -> 1" {
            "x:0 -> 1"
        } else {
            expected
        };
        if !found.contains(expected) {
            failures.push(format!(
                "{name} {attrs:?} {lists:?}: {found}, not {expected}"
            ));
        }
    }
    check_all(failures);
}

/// Evidence: coalesce-on-proof
#[test]
fn the_number_of_rows_must_not_reach_data() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, 4]");
    let count = g.length(x, 0);
    let count = g.node("Cast", &[("to", int(1))], &[count]);
    let y = g.node("Div", &[], &[x, count]);
    let found = verdict(&g.finish(&[y]));
    assert!(
        found
            .contains("(Div) combines rows with input 1, which depends on how many rows there are"),
        "{found}"
    );
}

#[test]
fn what_no_output_needs_prevents_nothing() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, 4]");
    g.node("NonZero", &[], &[x]);
    let y = g.node("Relu", &[], &[x]);
    assert_eq!(verdict(&g.finish(&[y])), "x:0 -> 0");
}

/// A body that adds what it captures to itself, or flattens it.
fn branch(operator: &str) -> Attribute {
    let mut b = Builder::new(17);
    let x = b.input("captured", "f32");
    let y = match operator {
        "Add" => b.node("Add", &[], &[x, x]),
        other => b.node(other, &[], &[x]),
    };
    Attribute::Graph(Subgraph {
        graph: b.finish(&[y]),
        captures: vec![1],
    })
}

fn choice(condition: &str, otherwise: &str) -> String {
    let mut g = Builder::new(17);
    let c = g.input("c", condition);
    let x = g.input("x", "f32[b, 4]");
    let attrs = [
        ("then_branch", branch("Add")),
        ("else_branch", branch(otherwise)),
    ];
    let y = g.node("If", &attrs, &[c, x]);
    verdict(&g.finish(&[y]))
}

#[test]
fn branches_must_agree_and_be_chosen_for_all_rows_alike() {
    assert_eq!(choice("bool[]", "Relu"), "c:- x:0 -> 0");
    let found = choice("bool[]", "Transpose");
    assert!(
        found.contains("(If) has branches that hold the batch in different ways"),
        "{found}"
    );
    let found = choice("bool[]", "NonZero");
    assert!(
        found.contains("(NonZero)") || found.contains("(If)"),
        "{found}"
    );

    // A condition out of the rows' data.
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, 4]");
    let largest = g.node("ReduceMax", &[("keepdims", int(0))], &[x]);
    let limit = g.weights(&[]);
    let c = g.node("Greater", &[], &[largest, limit]);
    let attrs = [
        ("then_branch", branch("Add")),
        ("else_branch", branch("Relu")),
    ];
    let y = g.node("If", &attrs, &[c, x]);
    let found = verdict(&g.finish(&[y]));
    assert!(found.contains("(ReduceMax)"), "{found}");
}

#[test]
fn a_branch_that_is_known_not_to_run_does_not_matter() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, 4]");
    let c = g.graph.add_constant(
        "",
        unisono_tensor::Tensor::from_bools(&[], &[true]).unwrap(),
    );
    let attrs = [
        ("then_branch", branch("Add")),
        ("else_branch", branch("NonZero")),
    ];
    let y = g.node("If", &attrs, &[c, x]);
    assert_eq!(verdict(&g.finish(&[y])), "x:0 -> 0");
}

/// `h = relu(h + x_t)` for each step of a `Scan`, all `h` collected.
fn scan(axis: i64) -> String {
    let mut body = Builder::new(17);
    let h = body.input("h", "f32");
    let x = body.input("x_t", "f32");
    let sum = body.node("Add", &[], &[h, x]);
    let next = body.node("Relu", &[], &[sum]);
    let again = body.node("Identity", &[], &[next]);
    let body = Subgraph {
        graph: body.finish(&[next, again]),
        captures: vec![],
    };
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[a, c, 4]");
    let shape = g.node("Shape", &[], &[x]);
    let (start, end) = if axis == 0 {
        (g.ints(&[1]), g.ints(&[3]))
    } else {
        (g.ints(&[0]), g.ints(&[1]))
    };
    let mut shape = g.node("Slice", &[], &[shape, start, end]);
    if axis == 1 {
        let four = g.ints(&[4]);
        shape = g.node("Concat", &[("axis", int(0))], &[shape, four]);
    }
    let h = g.node("ConstantOfShape", &[], &[shape]);
    let attrs = [
        ("body", Attribute::Graph(body)),
        ("num_scan_inputs", int(1)),
        ("scan_input_axes", ints(&[axis])),
        ("scan_output_axes", ints(&[axis])),
    ];
    let made = g.nodes("Scan", &attrs, &[Some(h), Some(x)], 2);
    verdict(&g.finish(&made))
}

#[test]
fn a_scan_over_time_keeps_rows_apart_and_a_scan_over_rows_does_not() {
    assert_eq!(scan(1), "x:0 -> 0 0");
    // Axis 0 is time here: rows are along axis 1, and nothing says so but the proof.
    assert_eq!(scan(0), "x:1 -> 0 1");
}

/// Evidence: coalesce-on-proof
#[test]
fn a_recurrent_layer_whose_first_axis_is_time_runs_alone() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[steps, 8]");
    let one = g.ints(&[1]);
    let x1 = g.node("Unsqueeze", &[], &[x, one]);
    let (w, r) = (g.weights(&[1, 64, 8]), g.weights(&[1, 64, 16]));
    let made = g.nodes(
        "LSTM",
        &[("hidden_size", int(16))],
        &[Some(x1), Some(w), Some(r)],
        3,
    );
    let found = verdict(&g.finish(&made));
    assert!(
        found.starts_with("alone: node \"LSTM_1\" (LSTM)"),
        "{found}"
    );
}

#[test]
fn more_knowledge_of_the_inputs_gives_a_sharper_verdict() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, h, 4]");
    // Equal to nothing unless h is 3.
    let shape = g.ints(&[0, 3, 4]);
    let y = g.node("Reshape", &[], &[x, shape]);
    let graph = g.finish(&[y]);
    let known = contract_with(&graph, &[Some(fact("f32[b, 3, 4]"))]);
    assert!(known.is_coalescible());
    let wrong = contract_with(&graph, &[Some(fact("f32[b, 5, 4]"))]);
    assert!(
        wrong
            .obstacle()
            .unwrap()
            .to_string()
            .contains("does not have as many elements")
    );
}

#[test]
fn a_proof_speaks_of_lengths_that_fit_its_names_and_no_others() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[batch, time, 4]");
    let state = g.input("state", "f32[2, batch, 4]");
    let mask = g.input("mask", "f32[batch, time]");
    let y = g.node("Relu", &[], &[x]);
    let flat = g.ints(&[-1, 4]);
    let flat = g.node("Reshape", &[], &[x, flat]);
    let state = g.node("Relu", &[], &[state]);
    let mask = g.node("Relu", &[], &[mask]);
    let found = contract(&g.finish(&[y, flat, state, mask]));
    let ask = |x: &[usize], state: &[usize], mask: &[usize]| {
        let lengths = found.lengths([x, state, mask])?;
        let Verdict::Coalescible { outputs, .. } = &found.verdict else {
            return None;
        };
        let OutputRows::Rows { inner, .. } = &outputs[1] else {
            return None;
        };
        Some((lengths.rows(), lengths.value(inner)?))
    };
    assert_eq!(ask(&[3, 7, 4], &[2, 3, 4], &[3, 7]), Some((3, 7)));
    // Other rows, another time, an empty axis, another fixed length, another rank.
    assert_eq!(ask(&[3, 7, 4], &[2, 2, 4], &[3, 7]), None);
    assert_eq!(ask(&[3, 7, 4], &[2, 3, 4], &[3, 1]), None);
    assert_eq!(ask(&[0, 7, 4], &[2, 0, 4], &[0, 7]), None);
    assert_eq!(ask(&[3, 0, 4], &[2, 3, 4], &[3, 0]), None);
    assert_eq!(ask(&[3, 7, 5], &[2, 3, 4], &[3, 7]), None);
    assert_eq!(ask(&[3, 7], &[2, 3, 4], &[3, 7]), None);
}
