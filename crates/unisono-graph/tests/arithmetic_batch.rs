//! How the batch passes through the arithmetic operators, and what they say where it does not.

mod common;

use common::{Attrs, check_all, fact, int, ints, operator, string};
use unisono_graph::{Attribute, Batch, BatchContext, Dim, Fact, InferContext, Symbol};

/// Operator, opset, attributes, inputs, the batch of each output (or a part of the blocker's text).
///
/// An input is a type and shape, then `@axis` or `@axis:outer:inner` if it has rows; `b` is the number of rows.
type Case<'a> = (
    &'a str,
    i64,
    Attrs<'a>,
    &'a [&'a str],
    Result<&'a [&'a str], &'a str>,
);

fn spelled(batch: &Batch) -> String {
    match batch {
        Batch::Mixed => "mixed".to_owned(),
        Batch::Shared => "shared".to_owned(),
        Batch::Rows { axis, outer, inner }
            if (outer.as_const(), inner.as_const()) == (Some(1), Some(1)) =>
        {
            format!("@{axis}")
        }
        Batch::Rows { axis, outer, inner } => format!("@{axis}:{outer}:{inner}"),
    }
}

fn batch(text: &str) -> Batch {
    let mut parts = text.split(':');
    let axis = parts.next().expect("an axis").parse().expect("a number");
    let factor = |part: Option<&str>| part.map_or(Dim::constant(1), common::dim);
    Batch::Rows {
        axis,
        outer: factor(parts.next()),
        inner: factor(parts.next()),
    }
}

fn pass(case: &Case<'_>) -> Result<Vec<String>, String> {
    let (name, opset, attrs, inputs, expected) = case;
    let outputs = expected.as_ref().map_or(1, |e| e.len());
    let mut facts: Vec<Option<Fact>> = Vec::new();
    let mut batches: Vec<Option<Batch>> = Vec::new();
    for text in *inputs {
        if text.is_empty() {
            facts.push(None);
            batches.push(None);
            continue;
        }
        let (value, rows) = match text.split_once('@') {
            Some((value, rows)) => (value, batch(rows)),
            None => (*text, Batch::Shared),
        };
        facts.push(Some(fact(value.trim())));
        batches.push(Some(rows));
    }
    let present: Vec<bool> = facts.iter().map(Option::is_some).collect();
    let op = operator(name, *opset, attrs, &present, outputs)?;
    let mut cx = InferContext::new(&facts, outputs);
    op.infer(&mut cx).map_err(|e| e.to_string())?;
    let rows = Symbol::new("b");
    let output_facts = cx.into_outputs();
    let cx = BatchContext {
        inputs: &batches,
        input_facts: &facts,
        output_facts: &output_facts,
        rows: &rows,
    };
    let passed = op.batch(&cx).map_err(|blocker| blocker.0)?;
    Ok(passed.iter().map(spelled).collect())
}

fn check(cases: &[Case<'_>]) {
    let mut failures = Vec::new();
    for case in cases {
        let found = pass(case);
        let right = match (&found, &case.4) {
            (Ok(found), Ok(expected)) => found
                .iter()
                .map(String::as_str)
                .eq(expected.iter().copied()),
            (Err(found), Err(part)) => found.contains(part),
            _ => false,
        };
        if !right {
            failures.push(format!(
                "{}-{} {:?} {:?}: {found:?}, not {:?}",
                case.0, case.1, case.2, case.3, case.4
            ));
        }
    }
    check_all(failures);
}

#[rustfmt::skip]
#[test]
fn element_by_element() {
    check(&[
        ("Relu", 14, &[], &["f32[3, b, 4]@1"], Ok(&["@1"])),
        ("Relu", 14, &[], &["f32[12*b, 4]@0:3:4"], Ok(&["@0:3:4"])),
        ("Cast", 13, &[("to", int(7))], &["f32[b]@0"], Ok(&["@0"])),
        ("Dropout", 13, &[], &["f32[b, 4]@0"], Ok(&["@0", "@0"])),
        ("Add", 14, &[], &["f32[b, t, 4]@0", "f32[b, t, 4]@0"], Ok(&["@0"])),
        ("Add", 14, &[], &["f32[b, t, 4]@0", "f32[4]"], Ok(&["@0"])),
        ("Add", 14, &[], &["f32[b, t, 4]@0", "f32[1, t, 4]"], Ok(&["@0"])),
        ("Add", 14, &[], &["f32[b, t, 4]@0", "f32[2, b, 1, 1]@1"], Ok(&["@1"])),
        ("Add", 14, &[], &["f32[b, t, 4]@0", "f32[b, 4]@0"], Err("combines rows along axis 0 of input 0 with rows along axis 1 of input 1")),
        ("Add", 14, &[], &["f32[b, t, 4]@0", "f32[7, t, 4]"], Err("input 1, which is the same for all and has length 7 on the batch axis")),
        ("Add", 14, &[], &["f32[4*b, 4]@0:1:4", "f32[4*b, 4]@0:4:1"], Err("folded with other axes in different ways")),
        ("Add", 14, &[], &["f32[4*b, 4]@0:1:4", "f32[4*b, 4]@0:1:4"], Ok(&["@0:1:4"])),
        ("Add", 14, &[], &["f32@0", "f32[4]"], Err("unknown rank")),
        ("Max", 13, &[], &["f32[b, 4]@0", "f32[]", "f32[b, 1]@0"], Ok(&["@0"])),
        ("Where", 16, &[], &["bool[b, 1, t]@0", "f32[]", "f32[b, 4, t]@0"], Ok(&["@0"])),
        ("Less", 13, &[], &["f32[b]@0", "f32[b]@0"], Ok(&["@0"])),
        ("PRelu", 16, &[], &["f32[b, 8, t]@0", "f32[8, 1]"], Ok(&["@0"])),
        ("Clip", 12, &[], &["f32[b]@0", "f32[]"], Ok(&["@0"])),
    ]);
}

#[rustfmt::skip]
#[test]
fn along_an_axis() {
    let axes = |a: &[i64]| ("axes", ints(a));
    check(&[
        ("ReduceSum", 11, &[axes(&[-1])], &["f32[b, t, 4]@0"], Ok(&["@0"])),
        ("ReduceSum", 11, &[axes(&[0]), ("keepdims", int(0))], &["f32[t, b, 4]@1"], Ok(&["@0"])),
        ("ReduceSum", 11, &[axes(&[0, 2])], &["f32[t, 6*b, 4]@1:2:3"], Ok(&["@1:2:3"])),
        ("ReduceSum", 11, &[axes(&[0])], &["f32[b, t]@0"], Err("folds the batch axis 0 of its input, which has 2 axes")),
        ("ReduceSum", 11, &[], &["f32[b, t]@0"], Err("folds the batch axis 0")),
        ("ReduceSum", 13, &[], &["f32[b, t]@0", "i64[1]"], Err("only known when it runs")),
        ("ReduceSum", 13, &[], &["f32[b, t]@0", "i64[1]={1}"], Ok(&["@0"])),
        ("ArgMax", 13, &[("axis", int(0)), ("keepdims", int(0))], &["f32[t, b]@1"], Ok(&["@0"])),
        ("ArgMax", 13, &[("axis", int(0))], &["f32[b, t]@0"], Err("looks for the best along the batch axis 0")),
        ("CumSum", 14, &[], &["f32[b, t]@0", "i64[]={1}"], Ok(&["@0"])),
        ("CumSum", 14, &[], &["f32[b, t]@0", "i64[]={0}"], Err("accumulates along the batch axis 0")),
        ("TopK", 11, &[], &["f32[b, 10]@0", "i64[1]={3}"], Ok(&["@0", "@0"])),
        ("TopK", 11, &[("axis", int(0))], &["f32[b, 10]@0", "i64[1]={3}"], Err("sorts along the batch axis 0")),
        ("Softmax", 13, &[], &["f32[b, 10]@0"], Ok(&["@0"])),
        ("Softmax", 13, &[("axis", int(0))], &["f32[b, 10]@0"], Err("softmax runs over the batch axis 0")),
        ("Softmax", 11, &[("axis", int(1))], &["f32[t, 10, b]@2"], Err("softmax runs over the batch axis 2")),
        ("Softmax", 13, &[("axis", int(1))], &["f32[t, 10, b]@2"], Ok(&["@2"])),
        ("LayerNormalization", 17, &[], &["f32[b, t, 4]@0", "f32[4]", "f32[4]"], Ok(&["@0", "@0", "@0"])),
        ("LayerNormalization", 17, &[("axis", int(0))], &["f32[b, 4]@0", "f32[4]"], Err("layer norm runs over the batch axis 0")),
        ("BatchNormalization", 15, &[], &["f32[b, 3, t]@0", "f32[3]", "f32[3]", "f32[3]", "f32[3]"], Ok(&["@0"])),
        ("BatchNormalization", 15, &[], &["f32[t, b]@1", "f32[?]", "f32[?]", "f32[?]", "f32[?]"], Err("which is the batch")),
        ("InstanceNormalization", 7, &[], &["f32[b, 3, t]@0", "f32[3]", "f32[3]"], Ok(&["@0"])),
        ("InstanceNormalization", 7, &[], &["f32[4, 3, b]@2", "f32[3]", "f32[3]"], Err("keeps axis 0 apart, but the batch is axis 2")),
        ("LRN", 13, &[("size", int(5))], &["f32[b, 8, t]@0"], Ok(&["@0"])),
    ]);
}

#[rustfmt::skip]
#[test]
fn products() {
    check(&[
        ("MatMul", 13, &[], &["f32[b, 64]@0", "f32[64, 10]"], Ok(&["@0"])),
        ("MatMul", 13, &[], &["f32[b, t, 64]@0", "f32[64, 10]"], Ok(&["@0"])),
        ("MatMul", 13, &[], &["f32[t, 6*b, 64]@1:2:3", "f32[64, 10]"], Ok(&["@1:2:3"])),
        ("MatMul", 13, &[], &["f32[64, b]@1", "f32[b, 10]@0"], Err("sums over the batch axis 1 of input 0 (a)")),
        ("MatMul", 13, &[], &["f32[64, 7]", "f32[7, b]@1"], Ok(&["@1"])),
        ("MatMul", 13, &[], &["f32[4*b, t, 64]@0:1:4", "f32[4*b, 64, t]@0:1:4"], Ok(&["@0:1:4"])),
        ("MatMul", 13, &[], &["f32[b, 4, t, 64]@0", "f32[b, 4, 64, t]@0"], Ok(&["@0"])),
        ("MatMul", 13, &[], &["f32[4, t, 64]", "f32[b, 4, 64, t]@0"], Ok(&["@0"])),
        ("MatMul", 13, &[], &["f32[b, 4, t, 64]@0", "f32[7, 4, 64, t]"], Err("the same for all and has length 7 on the batch axis")),
        ("MatMul", 13, &[], &["f32[b, 64]@0", "f32[64, b]@1"], Err("every row of one operand with every row of the other")),
        ("MatMul", 13, &[], &["f32[b, t, 64]@0", "f32[64]"], Ok(&["@0"])),
        ("MatMul", 13, &[], &["f32[64]", "f32[b, 64, t]@0"], Ok(&["@0"])),
        ("MatMul", 13, &[], &["f32[b]@0", "f32[b, t]@0"], Err("sums over the batch axis 0 of input 0 (a)")),
        ("Gemm", 13, &[("transB", int(1))], &["f32[b, 64]@0", "f32[10, 64]", "f32[10]"], Ok(&["@0"])),
        ("Gemm", 13, &[("transA", int(1))], &["f32[64, b]@1", "f32[64, 10]", "f32[1, 10]"], Ok(&["@0"])),
        ("Gemm", 13, &[("transA", int(1))], &["f32[b, 64]@0", "f32[b, 10]@0"], Err("sums over the batch axis 0 of input 0 (a)")),
        ("Gemm", 13, &[], &["f32[b, 64]@0", "f32[64, 10]", "f32[b, 10]@0"], Ok(&["@0"])),
        ("Gemm", 13, &[], &["f32[b, 64]@0", "f32[64, 10]", "f32[7, 1]"], Err("the same for all and has length 7 on the batch axis")),
        ("MatMulInteger", 10, &[], &["u8[b, 64]@0", "i8[64, 10]", "u8[]", "i8[10]"], Ok(&["@0"])),
        ("MatMulInteger", 10, &[], &["u8[b, 64]@0", "i8[64, 10]", "u8[7]"], Err("more than one zero point")),
    ]);
}

#[rustfmt::skip]
#[test]
fn samples_and_planes() {
    let scales = |s: &[f32]| ("scales", Attribute::Floats(s.to_vec()));
    let k2 = || ("kernel_shape", ints(&[2]));
    check(&[
        ("Conv", 11, &[], &["f32[6*b, 8, t]@0:2:3", "f32[16, 8, 3]", "f32[16]"], Ok(&["@0:2:3"])),
        ("Conv", 11, &[], &["f32[4, b, t]@1", "f32[16, b, 3]"], Err("sums over the batch axis 1")),
        ("Conv", 11, &[], &["f32[4, 8, b]@2", "f32[16, 8, 3]"], Err("slides along the batch axis 2")),
        ("Conv", 11, &[], &["f32[1, 8, t]", "f32[b, 8, 3]@0"], Err("input 1 (w) that depends on the batch")),
        ("ConvTranspose", 11, &[], &["f32[b, 8, t]@0", "f32[8, 4, 3]"], Ok(&["@0"])),
        ("MaxPool", 12, &[k2()], &["f32[b, 8, t]@0"], Ok(&["@0"])),
        ("MaxPool", 12, &[k2()], &["f32[8, b, t]@1"], Ok(&["@1"])),
        ("MaxPool", 12, &[k2()], &["f32[8, 4, b]@2"], Err("pools along the batch axis 2")),
        ("MaxPool", 12, &[k2()], &["f32[b, 8, t]@0"], Ok(&["@0"])),
        ("GlobalAveragePool", 13, &[], &["f32[b, 8, t]@0"], Ok(&["@0"])),
        ("Upsample", 7, &[scales(&[1.0, 1.0, 2.0])], &["f32[b, 8, t]@0"], Ok(&["@0"])),
        ("Upsample", 7, &[scales(&[2.0, 1.0, 2.0])], &["f32[b, 8, t]@0"], Err("interpolates along the batch axis 0")),
        ("Resize", 13, &[], &["f32[b, 8, t]@0", "", "", "i64[3]={b, 8, 64}"], Ok(&["@0"])),
        ("Resize", 13, &[], &["f32[b, 8, t]@0", "", "", "i64[3]={4, 8, 64}"], Err("interpolates along the batch axis 0")),
        ("Resize", 18, &[("axes", ints(&[2]))], &["f32[b, 8, t]@0", "", "", "i64[1]={64}"], Ok(&["@0"])),
        ("Resize", 18, &[("coordinate_transformation_mode", string("tf_crop_and_resize"))], &["f32[b, 8, t]@0", "f32[6]", "", "i64[3]={b, 8, 64}"], Err("interpolates along the batch axis 0")),
        ("QuantizeLinear", 13, &[], &["f32[b, 3]@0", "f32[]", "u8[]"], Ok(&["@0"])),
        ("QuantizeLinear", 13, &[], &["f32[b, 3]@0", "f32[3]", "u8[3]"], Ok(&["@0"])),
        ("QuantizeLinear", 13, &[("axis", int(0))], &["f32[b, 3]@0", "f32[?]"], Err("one scale per index of axis 0, which is the batch")),
        ("DynamicQuantizeLinear", 11, &[], &["f32[b, 3]@0"], Err("smallest and largest value over the whole batch")),
    ]);
}

#[rustfmt::skip]
#[test]
fn recurrent_layers() {
    let w = "f32[1, 20, 3]";
    let r = "f32[1, 20, 5]";
    let b = "f32[1, 40]";
    check(&[
        ("LSTM", 14, &[], &["f32[t, b, 3]@1", w, r, b], Ok(&["@2", "@1", "@1"])),
        ("LSTM", 14, &[], &["f32[t, b, 3]@1", w, r, b, "", "f32[1, b, 5]@1", "f32[1, b, 5]@1"], Ok(&["@2", "@1", "@1"])),
        ("LSTM", 14, &[("layout", int(1))], &["f32[b, t, 3]@0", w, r, b], Ok(&["@0", "@0", "@0"])),
        ("LSTM", 14, &[], &["f32[t, 6*b, 3]@1:2:3", w, r], Ok(&["@2:2:3"])),
        ("LSTM", 14, &[], &["f32[b, 4, 3]@0", w, r], Err("walks along axis 0 of X step by step: that axis is time")),
        ("LSTM", 14, &[("layout", int(1))], &["f32[4, b, 3]@1", w, r], Err("walks along axis 1 of X step by step: that axis is time")),
        ("LSTM", 14, &[], &["f32[t, b, 3]@1", w, r, b, "", "f32[1, ?, 5]"], Err("input 5 (initial_h) that is the same for all")),
        ("LSTM", 14, &[], &["f32[t, b, 3]@1", w, r, "f32[b, 40]@0"], Err("input 3 (B) that depends on the batch")),
        ("GRU", 14, &[], &["f32[t, b, 3]@1", "f32[1, 15, 3]", "f32[1, 15, 5]", "", "i32[b]@0"], Ok(&["@2", "@1"])),
    ]);
}

#[test]
fn positions_of_the_largest_count_across_rows() {
    let mut failures = Vec::new();
    for (outputs, blocked) in [(1, false), (2, true)] {
        let expected: &[&str] = if outputs == 1 { &["@0"] } else { &["@0", "@0"] };
        let case: Case<'_> = (
            "MaxPool",
            12,
            &[("kernel_shape", ints(&[2]))],
            &["f32[b, 8, t]@0"],
            Ok(expected),
        );
        let found = pass(&case);
        if found.is_err() != blocked {
            failures.push(format!("{outputs} outputs: {found:?}"));
        }
    }
    check_all(failures);
}
