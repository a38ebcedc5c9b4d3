//! Inference over whole graphs: bodies, what is not known, errors that say where.

mod common;

use common::{Builder, dim, fact, int, text};
use unisono_graph::attribute::Subgraph;
use unisono_graph::infer::{declared_inputs, infer, infer_partial};
use unisono_graph::ops::{lookup, supported};
use unisono_graph::{Attribute, Fact, Graph};
use unisono_tensor::Tensor;

/// What is known of the outputs for inputs as they are declared.
fn outputs(graph: &Graph) -> Vec<String> {
    let facts = infer_partial(graph, &declared_inputs(graph)).unwrap_or_else(|e| panic!("{e}"));
    let outputs = graph.outputs().iter();
    outputs.map(|o| text(&facts[o.index()])).collect()
}

#[test]
fn an_error_names_the_node_the_operator_and_its_inputs() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, 3]");
    let y = g.node("Relu", &[], &[x]);
    let w = g.weights(&[4, 5]);
    let z = g.node("MatMul", &[], &[y, w]);
    let graph = g.finish(&[z]);
    let error = infer(&graph, &[fact("f32[b, 3]")]).unwrap_err();
    assert_eq!(error.node.as_deref(), Some("MatMul_1"));
    let said = error.to_string();
    for part in [
        "node \"MatMul_1\" (MatMul): ",
        "inputs: f32[b, 3], f32[4, 5]",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let said = infer(&graph, &[]).unwrap_err().to_string();
    assert_eq!(said, "the graph has 1 inputs, but 0 were described");
}

#[test]
fn exporters_computed_shapes_resolve_for_symbols_and_for_numbers() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, t, 64]");
    let (rows, time) = (g.length(x, 0), g.length(x, 1));
    let (heads, minus) = (g.ints(&[8]), g.ints(&[-1]));
    let shape = g.node("Concat", &[("axis", int(0))], &[rows, time, heads, minus]);
    let y = g.node("Reshape", &[], &[x, shape]);
    let graph = g.finish(&[y]);
    assert_eq!(outputs(&graph), ["f32[b, t, 8, 8]"]);
    let facts = infer(&graph, &[fact("f32[2, 5, 64]")]).unwrap();
    assert_eq!(text(&facts[graph.outputs()[0].index()]), "f32[2, 5, 8, 8]");
}

#[test]
fn lengths_left_open_are_named_after_their_input() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[?, 3, -1]");
    let y = g.node("Relu", &[], &[x]);
    assert_eq!(outputs(&g.finish(&[y])), ["f32[x[0], 3, x[2]]"]);
}

#[test]
fn what_follows_from_nothing_is_nothing_and_no_error() {
    let mut g = Builder::new(17);
    let x = g.input("x", "f32[b, 3]");
    let y = g.node("Relu", &[], &[x]);
    let z = g.node("Add", &[], &[y, x]);
    let graph = g.finish(&[z]);
    let facts = infer_partial(&graph, &[None]).unwrap();
    assert!(facts[z.index()].is_none());
    let facts = infer(&graph, &[fact("f32")]).unwrap();
    assert_eq!(text(&facts[z.index()]), "f32");
}

/// A body with one captured input.
fn branch(
    build: impl Fn(&mut Builder, unisono_graph::ValueId) -> unisono_graph::ValueId,
) -> Attribute {
    let mut b = Builder::new(17);
    let x = b.input("captured", "f32");
    let y = build(&mut b, x);
    Attribute::Graph(Subgraph {
        graph: b.finish(&[y]),
        captures: vec![1],
    })
}

fn choice(
    condition: Option<bool>,
    then: Attribute,
    otherwise: Attribute,
) -> Result<Vec<String>, String> {
    let mut g = Builder::new(17);
    let c = match condition {
        None => g.input("c", "bool[]"),
        Some(flag) => g
            .graph
            .add_constant("", Tensor::from_bools(&[], &[flag]).unwrap()),
    };
    let x = g.input("x", "f32[b, 4]");
    let y = g.node(
        "If",
        &[("then_branch", then), ("else_branch", otherwise)],
        &[c, x],
    );
    let graph = g.finish(&[y]);
    infer_partial(&graph, &declared_inputs(&graph))
        .map(|facts| vec![text(&facts[y.index()])])
        .map_err(|e| e.to_string())
}

#[test]
fn a_branch_says_what_both_agree_about_or_what_the_chosen_one_says() {
    let relu = || branch(|b, x| b.node("Relu", &[], &[x]));
    let flat = || branch(|b, x| b.node("Flatten", &[("axis", int(0))], &[x]));
    let wider = || branch(|b, x| b.node("Concat", &[("axis", int(1))], &[x, x]));
    let front = || {
        branch(|b, x| {
            let axes = b.ints(&[0]);
            b.node("Unsqueeze", &[], &[x, axes])
        })
    };
    let impossible = || {
        branch(|b, x| {
            let shape = b.ints(&[7, 7]);
            let x = b.node("Gather", &[], &[x, shape]);
            let w = b.weights(&[9, 9]);
            b.node("MatMul", &[], &[x, w])
        })
    };
    let ok = |s: &str| Ok(vec![s.to_owned()]);
    assert_eq!(choice(None, relu(), relu()), ok("f32[b, 4]"));
    assert_eq!(choice(None, relu(), wider()), ok("f32[b, ?]"));
    assert_eq!(choice(None, relu(), front()), ok("f32"));
    assert_eq!(choice(Some(true), relu(), flat()), ok("f32[b, 4]"));
    assert_eq!(choice(Some(false), relu(), flat()), ok("f32[1, 4*b]"));
    assert_eq!(choice(None, relu(), impossible()), ok("f32[b, 4]"));
    let error = choice(Some(false), relu(), impossible()).unwrap_err();
    assert!(
        error.contains("(If)")
            && error.contains("in its else-branch")
            && error.contains("(MatMul)"),
        "{error}"
    );
}

/// A loop that carries one value and collects another.
fn repeated(
    body: impl Fn(&mut Builder, unisono_graph::ValueId) -> unisono_graph::ValueId,
    start: &str,
) -> Vec<String> {
    let mut b = Builder::new(17);
    b.input("i", "i64[]");
    let c = b.input("c", "bool[]");
    let h = b.input("h", "f32");
    let go_on = b.node("Identity", &[], &[c]);
    let next = body(&mut b, h);
    let kept = b.node("Identity", &[], &[next]);
    let body = Subgraph {
        graph: b.finish(&[go_on, next, kept]),
        captures: vec![],
    };
    let mut g = Builder::new(17);
    let (n, h) = (g.scalar(5), g.input("h", start));
    let made = g.nodes(
        "Loop",
        &[("body", Attribute::Graph(body))],
        &[Some(n), None, Some(h)],
        2,
    );
    outputs(&g.finish(&made))
}

#[test]
fn a_loop_keeps_the_lengths_that_every_round_keeps() {
    let same = repeated(|b, h| b.node("Relu", &[], &[h]), "f32[b, 4]");
    assert_eq!(same, ["f32[b, 4]", "f32[?, b, 4]"]);
    let grows = repeated(
        |b, h| b.node("Concat", &[("axis", int(1))], &[h, h]),
        "f32[b, 4]",
    );
    assert_eq!(grows, ["f32[b, ?]", "f32[?, b, 2*?]"]);
    let turns = repeated(|b, h| b.node("Transpose", &[], &[h]), "f32[b, 4]");
    assert_eq!(turns, ["f32[?, ?]", "f32[?, ?, ?]"]);
    let deepens = repeated(
        |b, h| {
            let axes = b.ints(&[0]);
            b.node("Unsqueeze", &[], &[h, axes])
        },
        "f32[b, 4]",
    );
    assert_eq!(deepens, ["f32", "f32"]);
}

#[test]
fn contents_copied_without_end_are_no_longer_followed() {
    let mut g = Builder::new(17);
    let mut value = g.ints(&vec![7; 1000]);
    for _ in 0..4000 {
        value = g.node("Identity", &[], &[value]);
    }
    let graph = g.finish(&[value]);
    let facts = infer(&graph, &[]).unwrap();
    let kept: usize = facts
        .iter()
        .flatten()
        .filter_map(|f: &Fact| f.integers.as_ref())
        .map(Vec::len)
        .sum();
    assert!(kept < 3_000_000, "{kept}");
    assert_eq!(
        facts[value.index()].as_ref().unwrap().shape,
        Some(vec![dim("1000")])
    );
}

#[test]
fn no_opset_of_an_operator_has_two_meanings() {
    let all: Vec<_> = supported().collect();
    for (i, a) in all.iter().enumerate() {
        assert!(
            a.opsets.0 <= a.opsets.1 && a.inputs.0 <= a.inputs.1 && a.outputs.0 <= a.outputs.1,
            "{}",
            a.name
        );
        for b in &all[i + 1..] {
            let apart = a.opsets.1 < b.opsets.0 || b.opsets.1 < a.opsets.0;
            assert!(
                (a.domain, a.name) != (b.domain, b.name) || apart,
                "{} is there twice",
                a.name
            );
        }
        assert!(lookup(a.domain, a.name, a.opsets.0).is_some());
    }
    assert!(lookup("ai.onnx", "Reshape", 13).is_some_and(|d| d.opsets == (5, 13)));
}
