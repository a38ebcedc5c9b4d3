//! What the arithmetic operators say of their outputs, over numbers, symbols and contents, with the errors beside the
//! results. Figures of convolutions, pooling and interpolation are those of the operators' own documentation.

mod common;

use common::{Attrs, check_all, int, ints, outputs, string};
use unisono_graph::Attribute;

/// Operator, opset, attributes, inputs, outputs (or a part of the error's text).
type Case<'a> = (
    &'a str,
    i64,
    Attrs<'a>,
    &'a [&'a str],
    Result<&'a [&'a str], &'a str>,
);

fn check(cases: &[Case<'_>]) {
    let mut failures = Vec::new();
    for (name, opset, attrs, inputs, expected) in cases {
        let count = expected.as_ref().map_or(1, |e| e.len());
        let found = outputs(name, *opset, attrs, inputs, count);
        let right = match (&found, expected) {
            (Ok(found), Ok(expected)) => found
                .iter()
                .map(String::as_str)
                .eq(expected.iter().copied()),
            (Err(found), Err(part)) => found.contains(part),
            _ => false,
        };
        if !right {
            failures.push(format!(
                "{name}-{opset} {attrs:?} {inputs:?}: {found:?}, not {expected:?}"
            ));
        }
    }
    check_all(failures);
}

fn float(x: f32) -> Attribute {
    Attribute::Float(x)
}

fn strings(list: &[&str]) -> Attribute {
    Attribute::Strings(list.iter().map(|s| s.as_bytes().to_vec()).collect())
}

#[rustfmt::skip]
#[test]
fn functions_of_one_value() {
    check(&[
        ("Abs", 13, &[], &["f32[b, 3]"], Ok(&["f32[b, 3]"])),
        ("Abs", 13, &[], &["bool[3]"], Err("input 0 (x) is bool; allowed: f32, f64, f16, bf16, i8")),
        ("Sqrt", 13, &[], &["i32[3]"], Err("input 0 (x) is i32; allowed: f32, f64, f16, bf16")),
        ("Not", 13, &[], &["bool[2]={0, 1}"], Ok(&["bool[2]={1, 0}"])),
        ("Not", 13, &[], &["f32[2]"], Err("allowed: bool")),
        ("Neg", 13, &[], &["i64[2]={b, 3}"], Ok(&["i64[2]={-b, -3}"])),
        ("Neg", 13, &[], &["u8[2]"], Err("input 0 (x) is u8")),
        ("IsNaN", 13, &[], &["f16[b]"], Ok(&["bool[b]"])),
        ("IsInf", 20, &[("detect_negative", int(0))], &["f32[b]"], Ok(&["bool[b]"])),
        ("Round", 11, &[], &["f32"], Ok(&["f32"])),
        ("Round", 10, &[], &["f32"], Err("opset 10")),
        ("Identity", 13, &[], &["string[b]"], Ok(&["string[b]"])),
        ("Dropout", 13, &[], &["f32[b, 3]", "f32[]", "bool[]={0}"], Ok(&["f32[b, 3]", "bool[b, 3]"])),
        ("Dropout", 13, &[], &["f32[b, 3]", "f32[]", "bool[]={1}"], Err("only inference is supported")),
        ("Dropout", 13, &[], &["f32[b, 3]", "f32[]", "bool[]"], Err("not a constant false")),
        ("Dropout", 7, &[("ratio", float(0.5))], &["f32[b]"], Ok(&["f32[b]", "f32[b]"])),
        ("Relu", 14, &[], &["i32[b]={-1, 4}"], Ok(&["i32[b]={0, 4}"])),
        ("Tanh", 13, &[], &["i32[b]"], Err("input 0 (x) is i32")),
        ("Gelu", 20, &[("approximate", string("tanh"))], &["f32[b]"], Ok(&["f32[b]"])),
        ("Gelu", 20, &[("approximate", string("fast"))], &["f32[b]"], Err("should be \"none\" or \"tanh\" but is \"fast\"")),
        ("Relu", 14, &[("alpha", float(1.0))], &["f32[b]"], Err("no attribute \"alpha\"")),
        ("Clip", 7, &[("max", float(6.0))], &["f32[b]"], Ok(&["f32[b]"])),
        ("Clip", 12, &[], &["i64[2]={b, 9}", "i64[]={2}", "i64[]={8}"], Ok(&["i64[2]={min(8, max(2, b)), 8}"])),
        ("Clip", 12, &[], &["f32[b]", "i64[]"], Err("input 1 (min) is i64")),
        ("Clip", 12, &[], &["f32[b]", "", "f32[2]"], Err("input 2 (max) should be a scalar")),
        ("Clip", 12, &[("max", float(6.0))], &["f32[b]"], Err("no attribute \"max\"")),
    ]);
}

#[rustfmt::skip]
#[test]
fn functions_of_several_values() {
    check(&[
        ("Add", 14, &[], &["f32[b, 1, 4]", "f32[3, 1]"], Ok(&["f32[b, 3, 4]"])),
        ("Add", 14, &[], &["f32[b, t]", "f32[b, t]"], Ok(&["f32[b, t]"])),
        ("Add", 14, &[], &["f32[b]", "f32[7]"], Ok(&["f32[7]"])),
        ("Add", 14, &[], &["f32[2*b]", "f32[c]"], Ok(&["f32[2*b]"])),
        ("Add", 14, &[], &["f32[b]", "f32[c]"], Ok(&["f32[?]"])),
        ("Add", 14, &[], &["f32[b]", "f32[?]"], Ok(&["f32[?]"])),
        ("Add", 14, &[], &["f32[0]", "f32[1]"], Ok(&["f32[0]"])),
        ("Add", 14, &[], &["f32[3]", "f32[4]"], Err("[3] and [4] do not broadcast: 3 against 4 on axis 0")),
        ("Add", 14, &[], &["f32[3]", "i64[3]"], Err("input 1 (b) is i64; allowed: f32")),
        ("Add", 14, &[], &["bool[3]", "bool[3]"], Err("input 0 (a) is bool")),
        ("Add", 14, &[], &["f32", "f32[3]"], Ok(&["f32"])),
        ("Add", 14, &[], &["i64[2]={b, 3}", "i64[]={4}"], Ok(&["i64[2]={b + 4, 7}"])),
        ("Sub", 14, &[], &["i64[]={b}", "i64[1]={1}"], Ok(&["i64[1]={b - 1}"])),
        ("Mul", 14, &[], &["i64[2]={b, t}", "i64[2]={4, b}"], Ok(&["i64[2]={4*b, b*t}"])),
        ("Div", 14, &[], &["i64[3]={8*b, 7, -7}", "i64[]={2}"], Ok(&["i64[3]={4*b, 3, -3}"])),
        ("Div", 14, &[], &["i64[1]={b}", "i64[]={2}"], Ok(&["i64[1]={floor((b)/(2))}"])),
        ("Div", 14, &[], &["i64[1]={7}", "i64[]={0}"], Ok(&["i64[1]={?}"])),
        ("Mod", 13, &[], &["i64[3]={-7, 7, 4*b}", "i64[]={4}"], Ok(&["i64[3]={1, 3, 0}"])),
        ("Mod", 13, &[("fmod", int(1))], &["i64[2]={-7, 7}", "i64[]={4}"], Ok(&["i64[2]={-3, 3}"])),
        ("Pow", 15, &[], &["f32[b]", "i64[]"], Ok(&["f32[b]"])),
        ("Pow", 15, &[], &["u8[b]", "i64[]"], Err("input 0 (base) is u8")),
        ("BitShift", 11, &[("direction", string("UP"))], &["u8[b]", "u8[]"], Err("should be \"LEFT\" or \"RIGHT\"")),
        ("BitShift", 11, &[], &["u8[b]", "u8[]"], Err("\"direction\" is missing")),
        ("And", 7, &[], &["bool[2]={0, 1}", "bool[2]"], Ok(&["bool[2]"])),
        ("And", 7, &[], &["bool[2]={0, 1}", "bool[]={1}"], Ok(&["bool[2]={0, 1}"])),
        ("PRelu", 16, &[], &["f32[b, 3, 4]", "f32[3, 1]"], Ok(&["f32[b, 3, 4]"])),
        ("PRelu", 16, &[], &["f32[3, 1]", "f32[b, 3, 4]"], Err("does not stretch to")),
        ("Equal", 13, &[], &["i64[3]={b, -1, 4}", "i64[]={-1}"], Ok(&["bool[3]={0, 1, 0}"])),
        ("Equal", 13, &[], &["i64[1]={b}", "i64[]={3}"], Ok(&["bool[1]={?}"])),
        ("Equal", 13, &[], &["string[b]", "string[1]"], Ok(&["bool[b]"])),
        ("Less", 13, &[], &["i64[2]={b, 0}", "i64[]={1}"], Ok(&["bool[2]={0, 1}"])),
        ("Less", 13, &[], &["string[b]", "string[b]"], Err("input 0 (a) is string")),
        ("GreaterOrEqual", 16, &[], &["i64[2]={b, 0}", "i64[]={1}"], Ok(&["bool[2]={1, 0}"])),
        ("Max", 13, &[], &["i64[1]={b}", "i64[1]={1}", "i64[1]={0}"], Ok(&["i64[1]={b}"])),
        ("Min", 13, &[], &["i64[1]={b}", "i64[1]={1}"], Ok(&["i64[1]={1}"])),
        ("Sum", 13, &[], &["f32[b, 1]", "f32[4]", "f32[1, 1]"], Ok(&["f32[b, 4]"])),
        ("Sum", 13, &[], &["i64[b]", "i64[b]"], Err("input 0 (data_0) is i64")),
        ("Where", 16, &[], &["bool[2]={1, 0}", "i64[2]={b, 5}", "i64[2]={7, t}"], Ok(&["i64[2]={b, t}"])),
        ("Where", 16, &[], &["bool[b, 1]", "f32[4]", "f32[]"], Ok(&["f32[b, 4]"])),
        ("Where", 16, &[], &["bool[b]", "f32[b]", "f64[b]"], Err("input 2 (y) is f64")),
        ("Where", 16, &[], &["f32[b]", "f32[b]", "f32[b]"], Err("input 0 (condition) is f32; allowed: bool")),
        ("Cast", 13, &[("to", int(6))], &["i64[2]={b, 3}"], Ok(&["i32[2]={b, 3}"])),
        ("Cast", 13, &[("to", int(9))], &["i64[3]={b, 0, 3}"], Ok(&["bool[3]={1, 0, 1}"])),
        ("Cast", 13, &[("to", int(3))], &["i64[1]={300}"], Ok(&["i8[1]"])),
        ("Cast", 13, &[("to", int(1))], &["i64[2]={b, 3}"], Ok(&["f32[2]"])),
        ("Cast", 19, &[("to", int(17)), ("saturate", int(0))], &["f32[b]"], Err("is 17, an 8-bit float; supported: f32")),
        ("Cast", 13, &[("to", int(99))], &["f32[b]"], Err("no element type that is known")),
        ("Cast", 13, &[], &["f32[b]"], Err("\"to\" is missing")),
        ("CastLike", 15, &[], &["i64[b]", "f16"], Ok(&["f16[b]"])),
    ]);
}

#[rustfmt::skip]
#[test]
fn folds_along_axes() {
    check(&[
        ("ReduceSum", 11, &[("axes", ints(&[-1]))], &["f32[b, t, 4]"], Ok(&["f32[b, t, 1]"])),
        ("ReduceSum", 11, &[("axes", ints(&[1])), ("keepdims", int(0))], &["f32[b, t, 4]"], Ok(&["f32[b, 4]"])),
        ("ReduceSum", 13, &[("keepdims", int(0))], &["f32[b, t, 4]", "i64[2]={0, -1}"], Ok(&["f32[t]"])),
        ("ReduceSum", 13, &[], &["f32[b, t]", "i64[?]"], Ok(&["f32[?, ?]"])),
        ("ReduceSum", 13, &[("keepdims", int(0))], &["f32[b, t]", "i64[?]"], Ok(&["f32"])),
        ("ReduceSum", 13, &[("keepdims", int(0))], &["f32[b, t]"], Ok(&["f32[]"])),
        ("ReduceSum", 13, &[("noop_with_empty_axes", int(1))], &["f32[b, t]", "i64[0]={}"], Ok(&["f32[b, t]"])),
        ("ReduceMean", 17, &[], &["f32[b, t]", "i64[1]={0}"], Err("only since opset 18")),
        ("ReduceMean", 18, &[("axes", ints(&[0]))], &["f32[b]"], Err("no attribute \"axes\"")),
        ("ReduceMax", 13, &[("axes", ints(&[2]))], &["f32[b, t]"], Err("axes")),
        ("ReduceMax", 13, &[("axes", ints(&[0, 0]))], &["f32[b, t]"], Err("more than once")),
        ("ReduceMax", 20, &[], &["bool[b]"], Ok(&["bool[1]"])),
        ("ReduceL2", 13, &[], &["bool[b]"], Err("input 0 (data) is bool")),
        ("ReduceProd", 13, &[("keepdims", int(0))], &["i64[3]={b, t, 4}"], Ok(&["i64[]={4*b*t}"])),
        ("ReduceSum", 13, &[], &["i64[2]={b, 4}", "i64[1]={0}"], Ok(&["i64[1]={b + 4}"])),
        ("ArgMax", 13, &[("axis", int(-1)), ("keepdims", int(0))], &["f32[b, 10]"], Ok(&["i64[b]"])),
        ("ArgMax", 13, &[("axis", int(1))], &["f32[b, 10]"], Ok(&["i64[b, 1]"])),
        ("ArgMin", 13, &[("axis", int(1))], &["f32[b, 0]"], Err("empty along axis 1")),
        ("CumSum", 14, &[], &["f32[b, t]", "i64[]={1}"], Ok(&["f32[b, t]"])),
        ("CumSum", 14, &[], &["f32[b, t]", "i64[]={2}"], Err("axis")),
        ("TopK", 11, &[], &["f32[b, 10]", "i64[1]={3}"], Ok(&["f32[b, 3]", "i64[b, 3]"])),
        ("TopK", 7, &[("k", int(3)), ("axis", int(0))], &["f32[10, b]"], Ok(&["f32[3, b]", "i64[3, b]"])),
        ("TopK", 11, &[], &["f32[b, 10]", "i64[1]={11}"], Err("k is 11, but axis 1 has 10 elements")),
        ("TopK", 11, &[], &["f32[b, 10]", "i64[1]"], Ok(&["f32[b, ?]", "i64[b, ?]"])),
    ]);
}

#[rustfmt::skip]
#[test]
fn normalisations() {
    check(&[
        ("Softmax", 13, &[], &["f32[b, 10]"], Ok(&["f32[b, 10]"])),
        ("Softmax", 13, &[("axis", int(2))], &["f32[b, 10]"], Err("axis")),
        ("Softmax", 11, &[("axis", int(2))], &["f32[b, 10]"], Ok(&["f32[b, 10]"])),
        ("Softmax", 13, &[], &["i64[b, 10]"], Err("input 0 (input) is i64")),
        ("BatchNormalization", 15, &[], &["f32[b, 3, h, w]", "f32[3]", "f32[3]", "f32[3]", "f32[3]"], Ok(&["f32[b, 3, h, w]"])),
        ("BatchNormalization", 15, &[], &["f32[b, 3, h, w]", "f32[3]", "f32[3]", "f32[4]", "f32[3]"], Err("input 3 (mean) has shape [4]; needed: [3]")),
        ("BatchNormalization", 15, &[("training_mode", int(1))], &["f32[b, 3]", "f32[3]", "f32[3]", "f32[3]", "f32[3]"], Err("only inference is supported")),
        ("BatchNormalization", 7, &[("spatial", int(0))], &["f32[b, 3]", "f32[3]", "f32[3]", "f32[3]", "f32[3]"], Err("\"spatial\" is 0")),
        ("LayerNormalization", 17, &[], &["f32[b, t, 64]", "f32[64]", "f32[64]"], Ok(&["f32[b, t, 64]", "f32[b, t, 1]", "f32[b, t, 1]"])),
        ("LayerNormalization", 17, &[("axis", int(1))], &["f16[b, t, 64]", "f16[t, 64]"], Ok(&["f16[b, t, 64]", "f32[b, 1, 1]"])),
        ("LayerNormalization", 17, &[], &["f32[b, t, 64]", "f32[65]"], Err("input 1 (scale) has shape [65], which does not stretch")),
        ("LayerNormalization", 17, &[("stash_type", int(7))], &["f32[b, 64]", "f32[64]"], Err("\"stash_type\" should be 1 (f32)")),
        ("RMSNormalization", 23, &[], &["f32[b, 64]", "f32[64]"], Ok(&["f32[b, 64]"])),
        ("InstanceNormalization", 6 + 1, &[], &["f32[b, 3, t]", "f32[3]", "f32[3]"], Ok(&["f32[b, 3, t]"])),
        ("InstanceNormalization", 7, &[], &["f32[b, 3]", "f32[3]", "f32[3]"], Err("at least one spatial axis")),
        ("GroupNormalization", 18, &[("num_groups", int(2))], &["f32[b, 4, t]", "f32[2]", "f32[2]"], Ok(&["f32[b, 4, t]"])),
        ("GroupNormalization", 21, &[("num_groups", int(2))], &["f32[b, 4, t]", "f32[2]", "f32[2]"], Err("input 1 (scale) has shape [2]; needed: [4]")),
        ("GroupNormalization", 21, &[("num_groups", int(3))], &["f32[b, 4, t]", "f32[4]", "f32[4]"], Err("is 3, which does not divide 4 channels")),
        ("GroupNormalization", 21, &[("num_groups", int(0))], &["f32[b, 4, t]", "f32[4]", "f32[4]"], Err("should be positive but is 0")),
        ("LpNormalization", 7, &[("p", int(3))], &["f32[b, 4]"], Err("\"p\" should be 1 or 2 but is 3")),
        ("LRN", 13, &[("size", int(5))], &["f32[b, 8, h, w]"], Ok(&["f32[b, 8, h, w]"])),
        ("LRN", 13, &[("size", int(0))], &["f32[b, 8, h, w]"], Err("\"size\" should be positive")),
        ("MeanVarianceNormalization", 13, &[], &["f32[b, 8, h, w]"], Ok(&["f32[b, 8, h, w]"])),
        ("MeanVarianceNormalization", 13, &[], &["f32[b, 8, h]"], Err("axes")),
    ]);
}

#[rustfmt::skip]
#[test]
fn products() {
    check(&[
        ("MatMul", 13, &[], &["f32[b, t, 64]", "f32[64, 10]"], Ok(&["f32[b, t, 10]"])),
        ("MatMul", 13, &[], &["f32[b, 4, t, 64]", "f32[b, 4, 64, s]"], Ok(&["f32[b, 4, t, s]"])),
        ("MatMul", 13, &[], &["f32[4, t, 64]", "f32[b, 1, 64, s]"], Ok(&["f32[b, 4, t, s]"])),
        ("MatMul", 13, &[], &["f32[64]", "f32[64, 10]"], Ok(&["f32[10]"])),
        ("MatMul", 13, &[], &["f32[b, t, 64]", "f32[64]"], Ok(&["f32[b, t]"])),
        ("MatMul", 13, &[], &["f32[64]", "f32[64]"], Ok(&["f32[]"])),
        ("MatMul", 13, &[], &["f32[64]", "f32[b, 64, s]"], Ok(&["f32[b, s]"])),
        ("MatMul", 13, &[], &["f32[b, 64]", "f32[63, 10]"], Err("do not multiply: 64 columns against 63 rows")),
        ("MatMul", 13, &[], &["f32[]", "f32[64, 10]"], Err("input 0 (a) has 0 axes; needed: at least 1")),
        ("MatMul", 13, &[], &["i8[b, 64]", "i8[64, 10]"], Err("input 0 (a) is i8")),
        ("MatMul", 13, &[], &["i64[b, 64]", "i64[64, 10]"], Ok(&["i64[b, 10]"])),
        ("Gemm", 13, &[("transB", int(1))], &["f32[b, 64]", "f32[10, 64]", "f32[10]"], Ok(&["f32[b, 10]"])),
        ("Gemm", 13, &[("transA", int(1))], &["f32[64, b]", "f32[64, 10]"], Ok(&["f32[b, 10]"])),
        ("Gemm", 13, &[], &["f32[b, 64]", "f32[64, 10]", "f32[3, 1, 10]"], Err("input 2 (c) has shape [3, 1, 10], which does not stretch to [b, 10]")),
        ("Gemm", 13, &[], &["f32[b, t, 64]", "f32[64, 10]"], Err("input 0 (a) has 3 axes; needed: 2")),
        ("Gemm", 13, &[], &["f32", "f32[64, 10]"], Ok(&["f32[?, ?]"])),
        ("MatMulInteger", 10, &[], &["u8[b, 64]", "i8[64, 10]", "u8[]", "i8[10]"], Ok(&["i32[b, 10]"])),
        ("MatMulInteger", 10, &[], &["u8[b, 64]", "i8[64, 10]", "i8[]"], Err("input 2 (a_zero_point) is i8; allowed: u8")),
    ]);
}

#[rustfmt::skip]
#[test]
fn convolutions_and_pooling() {
    let k3 = || ("kernel_shape", ints(&[3, 3]));
    let s2 = || ("strides", ints(&[2, 2]));
    check(&[
        // test_basic_conv_with_padding, _without_padding, test_conv_with_strides_* of the ONNX backend tests.
        ("Conv", 22, &[k3(), ("pads", ints(&[1, 1, 1, 1]))], &["f32[1, 1, 5, 5]", "f32[1, 1, 3, 3]"], Ok(&["f32[1, 1, 5, 5]"])),
        ("Conv", 22, &[k3()], &["f32[1, 1, 5, 5]", "f32[1, 1, 3, 3]"], Ok(&["f32[1, 1, 3, 3]"])),
        ("Conv", 22, &[k3(), s2(), ("pads", ints(&[1, 1, 1, 1]))], &["f32[1, 1, 7, 5]", "f32[1, 1, 3, 3]"], Ok(&["f32[1, 1, 4, 3]"])),
        ("Conv", 22, &[k3(), s2(), ("pads", ints(&[1, 0, 1, 0]))], &["f32[1, 1, 7, 5]", "f32[1, 1, 3, 3]"], Ok(&["f32[1, 1, 4, 2]"])),
        ("Conv", 22, &[k3(), s2(), ("auto_pad", string("SAME_LOWER"))], &["f32[1, 1, 5, 5]", "f32[1, 1, 3, 3]"], Ok(&["f32[1, 1, 3, 3]"])),
        ("Conv", 11, &[], &["f32[b, 8, t]", "f32[16, 8, 5]", "f32[16]"], Ok(&["f32[b, 16, t - 4]"])),
        ("Conv", 11, &[("pads", ints(&[2, 2]))], &["f32[b, 8, t]", "f32[16, 8, 5]"], Ok(&["f32[b, 16, t]"])),
        ("Conv", 11, &[("dilations", ints(&[2])), ("strides", ints(&[2]))], &["f32[b, 8, 2*t]", "f32[16, 8, 3]"], Ok(&["f32[b, 16, t - 2]"])),
        ("Conv", 11, &[("group", int(4))], &["f32[b, 8, 5, 5, 5]", "f32[16, 2, 3, 3, 3]"], Ok(&["f32[b, 16, 3, 3, 3]"])),
        ("Conv", 11, &[], &["f32[b, 8, t]", "f32[16, 4, 5]"], Err("x has 8 channels, but w takes 4 (4 in each of 1 groups)")),
        ("Conv", 11, &[("group", int(3))], &["f32[b, 8, t]", "f32[16, 4, 5]"], Err("is 3, which does not divide 8 input channels")),
        ("Conv", 11, &[], &["f32[b, 8, 4]", "f32[16, 8, 5]"], Err("a window of 5 does not fit into axis 2 of length 4")),
        ("Conv", 11, &[("strides", ints(&[0]))], &["f32[b, 8, 4]", "f32[16, 8, 3]"], Err("\"strides\" holds 0; allowed: 1 to")),
        ("Conv", 11, &[("pads", ints(&[1]))], &["f32[b, 8, 4]", "f32[16, 8, 3]"], Err("\"pads\" has 1 entries; needed: 2 for 1 spatial axes")),
        ("Conv", 11, &[("kernel_shape", ints(&[5]))], &["f32[b, 8, 9]", "f32[16, 8, 3]"], Err("but the weights have the kernel [3]")),
        ("Conv", 11, &[], &["f32[b, 8]", "f32[16, 8]"], Err("two axes and one to three spatial ones")),
        ("Conv", 11, &[], &["f32[b, 8, 9]", "f32[16, 8, 3]", "f32[8]"], Err("input 2 (b) has shape [8]; needed: [16]")),
        ("Conv", 11, &[("auto_pad", string("SAME"))], &["f32[b, 8, 9]", "f32[16, 8, 3]"], Err("should be NOTSET, VALID, SAME_UPPER or SAME_LOWER")),
        // test_convtranspose, _pads, _output_shape, _autopad_same, _dilations.
        ("ConvTranspose", 22, &[], &["f32[1, 1, 3, 3]", "f32[1, 2, 3, 3]"], Ok(&["f32[1, 2, 5, 5]"])),
        ("ConvTranspose", 22, &[("strides", ints(&[3, 2])), ("pads", ints(&[1, 2, 1, 2]))], &["f32[1, 1, 3, 3]", "f32[1, 2, 3, 3]"], Ok(&["f32[1, 2, 7, 3]"])),
        ("ConvTranspose", 22, &[("strides", ints(&[3, 2])), ("output_shape", ints(&[10, 8]))], &["f32[1, 1, 3, 3]", "f32[1, 2, 3, 3]"], Ok(&["f32[1, 2, 10, 8]"])),
        ("ConvTranspose", 22, &[s2(), ("auto_pad", string("SAME_UPPER"))], &["f32[1, 1, 3, 3]", "f32[1, 2, 3, 3]"], Ok(&["f32[1, 2, 6, 6]"])),
        ("ConvTranspose", 22, &[("dilations", ints(&[2, 2]))], &["f32[1, 1, 3, 3]", "f32[1, 1, 2, 2]"], Ok(&["f32[1, 1, 5, 5]"])),
        ("ConvTranspose", 11, &[("strides", ints(&[2])), ("group", int(2))], &["f32[b, 4, t]", "f32[4, 3, 2]"], Ok(&["f32[b, 6, 2*t]"])),
        ("ConvTranspose", 11, &[], &["f32[b, 4, t]", "f32[3, 3, 2]"], Err("x has 4 channels, but w takes 3")),
        // test_maxpool_2d_default, _pads, _strides, _ceil, _same_upper, _dilations; test_averagepool_2d_ceil_last_window_starts_on_pad.
        ("MaxPool", 22, &[("kernel_shape", ints(&[2, 2]))], &["f32[1, 3, 32, 32]"], Ok(&["f32[1, 3, 31, 31]"])),
        ("MaxPool", 22, &[k3(), ("pads", ints(&[2, 2, 2, 2]))], &["f32[1, 3, 28, 28]"], Ok(&["f32[1, 3, 30, 30]", "i64[1, 3, 30, 30]"])),
        ("MaxPool", 22, &[("kernel_shape", ints(&[5, 5])), ("strides", ints(&[3, 3]))], &["f32[1, 3, 32, 32]"], Ok(&["f32[1, 3, 10, 10]"])),
        ("MaxPool", 22, &[k3(), s2(), ("ceil_mode", int(1))], &["f32[1, 1, 4, 4]"], Ok(&["f32[1, 1, 2, 2]"])),
        ("MaxPool", 22, &[("kernel_shape", ints(&[2, 2])), ("auto_pad", string("SAME_UPPER"))], &["f32[1, 3, 32, 32]"], Ok(&["f32[1, 3, 32, 32]"])),
        ("MaxPool", 22, &[("kernel_shape", ints(&[2, 2])), ("dilations", ints(&[2, 2]))], &["f32[1, 1, 4, 4]"], Ok(&["f32[1, 1, 2, 2]"])),
        ("MaxPool", 22, &[("kernel_shape", ints(&[1])), ("strides", ints(&[2])), ("ceil_mode", int(1))], &["f32[1, 1, 2]"], Ok(&["f32[1, 1, 1]"])),
        ("AveragePool", 22, &[k3(), ("strides", ints(&[3, 3])), ("pads", ints(&[1, 1, 1, 1])), ("ceil_mode", int(1)), ("count_include_pad", int(1))], &["f32[1, 3, 2, 2]"], Ok(&["f32[1, 3, 1, 1]"])),
        ("MaxPool", 12, &[k3(), s2(), ("pads", ints(&[1, 1, 1, 1]))], &["f32[b, 64, 112, w]"], Ok(&["f32[b, 64, 56, floor((w + 1)/(2))]"])),
        ("MaxPool", 7, &[k3(), ("ceil_mode", int(1))], &["f32[b, 3, 8, 8]"], Err("no attribute \"ceil_mode\"")),
        ("AveragePool", 11, &[k3(), ("dilations", ints(&[2, 2]))], &["f32[b, 3, 8, 8]"], Err("no attribute \"dilations\"")),
        ("MaxPool", 12, &[], &["f32[b, 3, 8, 8]"], Err("\"kernel_shape\" is missing")),
        ("MaxPool", 12, &[k3()], &["i64[b, 3, 8, 8]"], Err("input 0 (x) is i64")),
        ("GlobalAveragePool", 13, &[], &["f32[b, 64, h, w]"], Ok(&["f32[b, 64, 1, 1]"])),
        ("GlobalMaxPool", 13, &[], &["f32[b, 64]"], Err("one to")),
    ]);
}

#[rustfmt::skip]
#[test]
fn interpolation_and_quantisation() {
    let scales = |s: &[f32]| ("scales", Attribute::Floats(s.to_vec()));
    check(&[
        ("Upsample", 7, &[scales(&[1.0, 1.0, 2.0, 3.0])], &["f32[b, 3, h, 5]"], Ok(&["f32[b, 3, 2*h, 15]"])),
        ("Upsample", 7, &[scales(&[1.0, 1.0, 0.5, 0.6])], &["f32[b, 3, 2*h, 10]"], Ok(&["f32[b, 3, h, 6]"])),
        ("Upsample", 7, &[scales(&[1.0, 1.0, 1.7])], &["f32[b, 3, t]"], Ok(&["f32[b, 3, ?]"])),
        ("Upsample", 7, &[scales(&[1.0, 2.0])], &["f32[b, 3, t]"], Err("has 2 scales or sizes for 3 axes")),
        ("Upsample", 7, &[scales(&[1.0, 0.0])], &["f32[b, 3]"], Err("scale 0 of axis 1 is not a positive number")),
        // test_resize_upsample_sizes_nearest, _axes_2_3, test_resize_upsample_sizes_nearest_not_smaller, _not_larger.
        ("Resize", 19, &[], &["f32[1, 1, 2, 2]", "", "", "i64[4]={1, 1, 7, 8}"], Ok(&["f32[1, 1, 7, 8]"])),
        ("Resize", 19, &[("axes", ints(&[2, 3]))], &["f32[1, 1, 2, 2]", "", "", "i64[2]={7, 8}"], Ok(&["f32[1, 1, 7, 8]"])),
        ("Resize", 19, &[("axes", ints(&[3, 2]))], &["f32[1, 1, 2, 2]", "", "", "i64[2]={8, 7}"], Ok(&["f32[1, 1, 7, 8]"])),
        ("Resize", 19, &[("axes", ints(&[2, 3])), ("keep_aspect_ratio_policy", string("not_larger"))], &["f32[1, 1, 2, 2]", "", "", "i64[2]={7, 8}"], Ok(&["f32[1, 1, 7, 7]"])),
        ("Resize", 19, &[("axes", ints(&[2, 3])), ("keep_aspect_ratio_policy", string("not_smaller"))], &["f32[1, 1, 2, 2]", "", "", "i64[2]={7, 8}"], Ok(&["f32[1, 1, 8, 8]"])),
        ("Resize", 13, &[], &["f32[b, 3, h, w]", "", "", "i64[4]={b, 3, 2*h, 64}"], Ok(&["f32[b, 3, 2*h, 64]"])),
        ("Resize", 13, &[], &["f32[b, 3, 4, 4]", "", "f32[4]"], Ok(&["f32[?, ?, ?, ?]"])),
        ("Resize", 13, &[], &["f32[b, 3, 4, 4]"], Err("neither scales nor sizes")),
        ("Resize", 13, &[("mode", string("area"))], &["f32[b]", "", "f32[1]"], Err("should be one of nearest, linear, cubic but is \"area\"")),
        ("Resize", 13, &[("antialias", int(1))], &["f32[b]", "", "f32[1]"], Err("no attribute \"antialias\"")),
        ("QuantizeLinear", 13, &[], &["f32[b, 3]", "f32[]", "i8[]"], Ok(&["i8[b, 3]"])),
        ("QuantizeLinear", 13, &[], &["f32[b, 3]", "f32[]"], Ok(&["u8[b, 3]"])),
        ("QuantizeLinear", 13, &[], &["f32[b, 3]", "f32[3]", "i8[3]"], Ok(&["i8[b, 3]"])),
        ("QuantizeLinear", 13, &[], &["f32[b, 3]", "f32[4]", "i8[4]"], Err("input 1 (scale) has shape [4]; needed: 3 along axis 1")),
        ("QuantizeLinear", 21, &[("output_dtype", int(4))], &["f32[b, 3]", "f32[]"], Ok(&["u16[b, 3]"])),
        ("QuantizeLinear", 21, &[("block_size", int(2))], &["f32[b, 6]", "f32[b, 3]"], Ok(&["u8[b, 6]"])),
        ("QuantizeLinear", 21, &[("block_size", int(2))], &["f32[b, 6]", "f32[3]"], Err("block quantisation needs 2")),
        ("DequantizeLinear", 13, &[("axis", int(0))], &["i8[64, 3]", "f32[64]", "i8[64]"], Ok(&["f32[64, 3]"])),
        ("DequantizeLinear", 19, &[], &["i8[64, 3]", "f16[]"], Ok(&["f16[64, 3]"])),
        ("DequantizeLinear", 13, &[], &["i8[64, 3]", "f32[]", "u8[]"], Err("input 2 (zero_point) is u8; allowed: i8")),
        ("DynamicQuantizeLinear", 11, &[], &["f32[b, 3]"], Ok(&["u8[b, 3]", "f32[]", "u8[]"])),
    ]);
}

#[rustfmt::skip]
#[test]
fn recurrent_layers() {
    let h = || ("hidden_size", int(5));
    check(&[
        ("LSTM", 14, &[h()], &["f32[t, b, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]"], Ok(&["f32[t, 1, b, 5]", "f32[1, b, 5]", "f32[1, b, 5]"])),
        ("LSTM", 14, &[h(), ("layout", int(1))], &["f32[b, t, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]"], Ok(&["f32[b, t, 1, 5]", "f32[b, 1, 5]", "f32[b, 1, 5]"])),
        ("LSTM", 7, &[h(), ("layout", int(1))], &["f32[b, t, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]"], Err("no attribute \"layout\"")),
        ("LSTM", 14, &[("direction", string("bidirectional"))], &["f32[t, b, 3]", "f32[2, 20, 3]", "f32[2, 20, 5]", "f32[2, 40]"], Ok(&["f32[t, 2, b, 5]"])),
        ("LSTM", 14, &[h()], &["f32[t, b, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]", "f32[1, 20]"], Err("input 3 (B) has shape [1, 20]; needed: [1, 40]")),
        ("LSTM", 14, &[h()], &["f32[t, b, 3]", "f32[1, 20, 4]", "f32[1, 20, 5]"], Err("input 1 (W) has shape [1, 20, 4]; needed: [1, 20, 3]")),
        ("LSTM", 14, &[h()], &["f32[t, b, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]", "", "i32[7]", "f32[1, b, 5]"], Ok(&["f32[t, 1, b, 5]"])),
        ("LSTM", 14, &[h()], &["f32[t, 2, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]", "", "", "f32[1, 3, 5]"], Err("input 5 (initial_h) has shape [1, 3, 5]; needed: [1, 2, 5]")),
        ("LSTM", 14, &[h()], &["f32[b, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]"], Err("needed: three axes")),
        ("LSTM", 14, &[h(), ("activations", strings(&["Sigmoid", "Tanh"]))], &["f32[t, b, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]"], Err("holds 2 names; needed: 3")),
        ("LSTM", 14, &[h(), ("activations", strings(&["Sigmoid", "Tanh", "Cosine"]))], &["f32[t, b, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]"], Err("holds \"Cosine\"; supported: Relu, Tanh")),
        ("LSTM", 14, &[h(), ("direction", string("up"))], &["f32[t, b, 3]", "f32[1, 20, 3]", "f32[1, 20, 5]"], Err("should be forward, reverse or bidirectional")),
        ("GRU", 14, &[h(), ("linear_before_reset", int(1))], &["f32[t, b, 3]", "f32[1, 15, 3]", "f32[1, 15, 5]"], Ok(&["f32[t, 1, b, 5]", "f32[1, b, 5]"])),
        ("RNN", 14, &[h(), ("activations", strings(&["Tanh", "Tanh"]))], &["f32[t, b, 3]", "f32[1, 5, 3]", "f32[1, 5, 5]"], Ok(&["f32[t, 1, b, 5]", "f32[1, b, 5]"])),
    ]);
}
