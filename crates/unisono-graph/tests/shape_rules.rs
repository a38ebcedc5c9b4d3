//! What the shape, movement, indexing and generating operators say of their outputs: a table over numbers, symbols and
//! contents, with the errors beside the results.

mod common;

use common::{Attrs, check_all, int, ints, outputs, string};
use unisono_graph::Attribute;
use unisono_tensor::Tensor;

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

#[test]
#[rustfmt::skip] // a case a line
fn shapes_and_views() {
    check(&[
        ("Shape", 13, &[], &["f32[b, 3]"], Ok(&["i64[2]={b, 3}"])),
        ("Shape", 15, &[("start", int(1))], &["f32[b, t, 3]"], Ok(&["i64[2]={t, 3}"])),
        ("Shape", 15, &[("start", int(-9)), ("end", int(-1))], &["f32[b, t]"], Ok(&["i64[1]={b}"])),
        ("Shape", 15, &[("start", int(2)), ("end", int(1))], &["f32[b, t]"], Ok(&["i64[0]={}"])),
        ("Shape", 13, &[("start", int(1))], &["f32[b, t]"], Err("no attribute \"start\" in opset 13")),
        ("Shape", 13, &[], &["f32"], Ok(&["i64[?]"])),
        ("Size", 13, &[], &["f32[b, 3, t]"], Ok(&["i64[]={3*b*t}"])),
        ("Size", 13, &[], &["f32[]"], Ok(&["i64[]={1}"])),
        ("Reshape", 14, &[], &["f32[b, t, 64]", "i64[4]={b, t, 8, -1}"], Ok(&["f32[b, t, 8, 8]"])),
        ("Reshape", 14, &[], &["f32[b, t, 64]", "i64[3]={0, 0, 64}"], Ok(&["f32[b, t, 64]"])),
        ("Reshape", 14, &[], &["f32[b, t, 64]", "i64[2]={-1, 64}"], Ok(&["f32[b*t, 64]"])),
        ("Reshape", 14, &[], &["f32[b, t, 64]", "i64[2]={b, -1}"], Ok(&["f32[b, 64*t]"])),
        ("Reshape", 14, &[], &["f32[b, t, 64]", "i64[2]"], Ok(&["f32[?, ?]"])),
        ("Reshape", 14, &[], &["f32[2, 3]", "i64[2]={4, -1}"], Err("does not have as many elements")),
        ("Reshape", 14, &[], &["f32[2, 3]", "i64[1]={5}"], Err("does not have as many elements")),
        ("Reshape", 14, &[], &["f32[2, 3]", "i64[2]={-1, -1}"], Err("more than one -1")),
        ("Reshape", 14, &[], &["f32[2, 3]", "i64[2]={-2, 3}"], Err("entry -2")),
        ("Reshape", 14, &[], &["f32[6]", "i64[2]={6, 0}"], Err("copies the length of axis 1")),
        ("Reshape", 14, &[("allowzero", int(1))], &["f32[0, 3]", "i64[2]={3, 0}"], Ok(&["f32[3, 0]"])),
        ("Reshape", 14, &[], &["i64[1]={b}", "i64[0]={}"], Ok(&["i64[]={b}"])),
        ("Reshape", 13, &[], &["i64[]={b}", "i64[1]={-1}"], Ok(&["i64[1]={b}"])),
        ("Reshape", 14, &[], &["f32[b+1, b+2]", "i64[2]={-1, b+1}"], Ok(&["f32[b + 2, b + 1]"])),
        ("Flatten", 13, &[], &["f32[b, 3, t]"], Ok(&["f32[b, 3*t]"])),
        ("Flatten", 13, &[("axis", int(0))], &["f32[b, 3, t]"], Ok(&["f32[1, 3*b*t]"])),
        ("Flatten", 13, &[("axis", int(-1))], &["f32[2, 3, 4]"], Ok(&["f32[6, 4]"])),
        ("Flatten", 13, &[("axis", int(4))], &["f32[2, 3, 4]"], Err("the value has 3 axes")),
        ("Squeeze", 12, &[("axes", ints(&[0, -1]))], &["f32[1, b, 1]"], Ok(&["f32[b]"])),
        ("Squeeze", 13, &[], &["f32[1, b, 1]", "i64[1]={0}"], Ok(&["f32[b, 1]"])),
        ("Squeeze", 13, &[], &["f32[1, 3, 1]"], Ok(&["f32[3]"])),
        ("Squeeze", 13, &[], &["f32[1, b, 1]"], Ok(&["f32"])),
        ("Squeeze", 13, &[], &["f32[1, 3]", "i64[1]={1}"], Err("length is 3, not 1")),
        ("Squeeze", 13, &[], &["f32[1, 3]", "i64[2]={0, -2}"], Err("more than once")),
        ("Unsqueeze", 12, &[("axes", ints(&[0, 3]))], &["f32[b, 3]"], Ok(&["f32[1, b, 3, 1]"])),
        ("Unsqueeze", 13, &[], &["f32[b, 3]", "i64[2]={-1, 1}"], Ok(&["f32[b, 1, 3, 1]"])),
        ("Unsqueeze", 13, &[], &["i64[]={b}", "i64[1]={0}"], Ok(&["i64[1]={b}"])),
        ("Unsqueeze", 13, &[], &["f32[b, 3]", "i64[1]={3}"], Err("axes")),
        ("Unsqueeze", 12, &[], &["f32[b, 3]"], Err("\"axes\" is missing")),
        ("Expand", 13, &[], &["f32[1, 3]", "i64[2]={b, 1}"], Ok(&["f32[b, 3]"])),
        ("Expand", 13, &[], &["f32[3]", "i64[3]={b, t, 3}"], Ok(&["f32[b, t, 3]"])),
        ("Expand", 13, &[], &["i64[1]={7}", "i64[1]={3}"], Ok(&["i64[3]={7, 7, 7}"])),
        ("Expand", 13, &[], &["f32[2]", "i64[1]={3}"], Err("do not broadcast")),
        ("Expand", 13, &[], &["f32[2]", "i64[1]={-1}"], Err("negative length")),
    ]);
}

#[test]
#[rustfmt::skip] // a case a line
fn movement() {
    let reversed = Attribute::Ints(vec![1, 0]);
    check(&[
        ("Transpose", 13, &[("perm", reversed)], &["f32[b, 3]"], Ok(&["f32[3, b]"])),
        ("Transpose", 13, &[], &["f32[b, t, 3]"], Ok(&["f32[3, t, b]"])),
        ("Transpose", 13, &[("perm", ints(&[0, 0]))], &["f32[b, 3]"], Err("not a permutation")),
        ("Transpose", 13, &[("perm", ints(&[0, 1, 2]))], &["f32[b, 3]"], Err("2 axes")),
        ("Concat", 13, &[("axis", int(-1))], &["f32[b, 3]", "f32[b, t]"], Ok(&["f32[b, t + 3]"])),
        ("Concat", 13, &[("axis", int(0))], &["i64[1]={b}", "i64[2]={-1, 8}"], Ok(&["i64[3]={b, -1, 8}"])),
        ("Concat", 13, &[("axis", int(1))], &["f32[b, 3]", "f32[4, 2]"], Ok(&["f32[4, 5]"])),
        ("Concat", 13, &[("axis", int(1))], &["f32[5, 3]", "f32[4, 2]"], Err("length 4 on axis 0")),
        ("Concat", 13, &[("axis", int(0))], &["f32[5, 3]", "f32[4]"], Err("1 axes")),
        ("Concat", 13, &[("axis", int(0))], &["f32[5]", "i64[4]"], Err("i64")),
        ("Concat", 13, &[], &["f32[5]"], Err("\"axis\" is missing")),
        ("Split", 11, &[("axis", int(1)), ("split", ints(&[1, 2]))], &["f32[b, 3]"], Ok(&["f32[b, 1]", "f32[b, 2]"])),
        ("Split", 11, &[], &["f32[6]"], Ok(&["f32[2]", "f32[2]", "f32[2]"])),
        ("Split", 13, &[], &["i64[3]={b, t, 4}", "i64[2]={1, 2}"], Ok(&["i64[1]={b}", "i64[2]={t, 4}"])),
        ("Split", 13, &[], &["f32[3]", "i64[2]={1, 1}"], Err("cannot cut")),
        ("Split", 18, &[("num_outputs", int(2))], &["f32[7]"], Ok(&["f32[4]", "f32[3]"])),
        ("Split", 18, &[("num_outputs", int(3)), ("axis", int(1))], &["f32[b, 3*t]"], Ok(&["f32[b, t]", "f32[b, t]", "f32[b, t]"])),
        ("Split", 18, &[("num_outputs", int(2))], &["f32[7]"], Ok(&["f32[4]", "f32[3]"])),
        ("Split", 18, &[("num_outputs", int(5))], &["f32[7]"], Err("is 5, but the node has 1")),
        ("Tile", 13, &[], &["f32[b, 3]", "i64[2]={2, t}"], Ok(&["f32[2*b, 3*t]"])),
        ("Tile", 13, &[], &["i64[2]={b, 1}", "i64[1]={2}"], Ok(&["i64[4]={b, 1, b, 1}"])),
        ("Tile", 13, &[], &["f32[2, 3]", "i64[1]={2}"], Err("1 repeats for a value with 2 axes")),
        ("DepthToSpace", 13, &[("blocksize", int(2))], &["f32[b, 12, h, w]"], Ok(&["f32[b, 3, 2*h, 2*w]"])),
        ("DepthToSpace", 13, &[("blocksize", int(2))], &["f32[b, 6, h, w]"], Err("4 does not divide")),
        ("DepthToSpace", 13, &[("blocksize", int(0))], &["f32[b, 6, h, w]"], Err("positive")),
        ("DepthToSpace", 13, &[("blocksize", int(2)), ("mode", string("XYZ"))], &["f32[b, 4, h, w]"], Err("DCR and CRD")),
        ("SpaceToDepth", 13, &[("blocksize", int(2))], &["f32[b, 3, 2*h, 8]"], Ok(&["f32[b, 12, h, 4]"])),
        ("SpaceToDepth", 13, &[("blocksize", int(2)), ("mode", string("CRD"))], &["f32[b, 3, 2, 8]"], Err("mode")),
        ("ReverseSequence", 10, &[], &["f32[t, b, 3]", "i64[b]"], Ok(&["f32[t, b, 3]"])),
        ("ReverseSequence", 10, &[], &["f32[t, 3]", "i64[4]"], Err("needed: [3]")),
        ("Trilu", 14, &[], &["f32[b, t, t]"], Ok(&["f32[b, t, t]"])),
        ("Trilu", 14, &[], &["f32[t]"], Err("two axes")),
        ("Trilu", 13, &[], &["f32[t, t]"], Err("supported are 14 and later")),
    ]);
}

#[test]
#[rustfmt::skip] // a case a line
fn slices() {
    let far = "i64[1]={9223372036854775807}";
    let near = "i64[1]={-9223372036854775808}";
    check(&[
        ("Slice", 9, &[("starts", ints(&[1])), ("ends", ints(&[3])), ("axes", ints(&[1]))], &["f32[b, 5]"], Ok(&["f32[b, 2]"])),
        ("Slice", 9, &[("starts", ints(&[1])), ("ends", ints(&[-1]))], &["f32[5, b]"], Ok(&["f32[3, b]"])),
        ("Slice", 13, &[], &["f32[5]", "i64[1]={0}", far], Ok(&["f32[5]"])),
        ("Slice", 13, &[], &["f32[t]", "i64[1]={0}", far], Ok(&["f32[t]"])),
        ("Slice", 13, &[], &["f32[t]", "i64[1]={0}", "i64[1]={2147483647}"], Ok(&["f32[t]"])),
        ("Slice", 13, &[], &["f32[t]", "i64[1]={1}", far], Ok(&["f32[t - 1]"])),
        ("Slice", 13, &[], &["f32[t]", "i64[1]={0}", "i64[1]={-1}"], Ok(&["f32[t - 1]"])),
        ("Slice", 13, &[], &["f32[t]", "i64[1]={-1}", far], Ok(&["f32[1]"])),
        ("Slice", 13, &[], &["f32[512, 4]", "i64[1]={0}", "i64[1]={t}", "i64[1]={0}"], Ok(&["f32[min(512, t), 4]"])),
        ("Slice", 13, &[], &["f32[5]", "i64[1]={9}", far], Ok(&["f32[0]"])),
        ("Slice", 13, &[], &["f32[5]", "i64[1]={-9}", "i64[1]={2}"], Ok(&["f32[2]"])),
        ("Slice", 13, &[], &["f32[5]", "i64[1]={4}", near, "", "i64[1]={-1}"], Ok(&["f32[5]"])),
        ("Slice", 13, &[], &["f32[5]", "i64[1]={-1}", "i64[1]={-6}", "", "i64[1]={-2}"], Ok(&["f32[3]"])),
        ("Slice", 13, &[], &["f32[t]", "i64[1]={-1}", near, "i64[1]={0}", "i64[1]={-1}"], Ok(&["f32[t]"])),
        ("Slice", 13, &[], &["f32[2*t]", "i64[1]={0}", far, "i64[1]={0}", "i64[1]={2}"], Ok(&["f32[t]"])),
        ("Slice", 13, &[], &["i64[3]={b, t, 8}", "i64[1]={-2}", far], Ok(&["i64[2]={t, 8}"])),
        ("Slice", 13, &[], &["i64[3]={b, t, 8}", "i64[1]={2}", near, "", "i64[1]={-1}"], Ok(&["i64[3]={8, t, b}"])),
        ("Slice", 13, &[], &["f32[5]", "i64[1]={0}", far, "", "i64[1]={0}"], Err("step along axis 0 is 0")),
        ("Slice", 13, &[], &["f32[5]", "i64[2]={0, 0}", "i64[1]={1}"], Err("as many")),
        ("Slice", 13, &[], &["f32[5]", "i64[1]={0}", "i64[1]={1}", "i64[1]={1}"], Err("1 axes")),
        ("Slice", 13, &[], &["f32[5, 6]", "i64[2]={0, 0}", "i64[2]={1, 1}", "i64[2]={1, -1}"], Err("more than once")),
        ("Slice", 13, &[], &["f32[4611686018427387904]", "i64[1]={0}", far, "", "i64[1]={9223372036854775807}"], Ok(&["f32[1]"])),
        ("Slice", 13, &[], &["f32[5]", "i64[1]", "i64[1]={1}"], Ok(&["f32[?]"])),
    ]);
}

#[test]
#[rustfmt::skip] // a case a line
fn padding() {
    check(&[
        ("Pad", 10, &[("pads", ints(&[0, 1, 0, 2]))], &["f32[b, 3]"], Ok(&["f32[b, 6]"])),
        ("Pad", 13, &[], &["f32[b, t]", "i64[4]={0, 1, 0, 1}"], Ok(&["f32[b, t + 2]"])),
        ("Pad", 18, &[], &["f32[b, t]", "i64[2]={1, 1}", "", "i64[1]={-1}"], Ok(&["f32[b, t + 2]"])),
        ("Pad", 13, &[], &["f32[5]", "i64[2]={-1, -2}"], Ok(&["f32[2]"])),
        ("Pad", 13, &[], &["f32[5]", "i64[2]={-4, -2}"], Err("negative length")),
        ("Pad", 13, &[], &["f32[5]", "i64[3]={0, 1, 0}"], Err("3 entries")),
        ("Pad", 13, &[("mode", string("reflect"))], &["f32[3]", "i64[2]={2, 0}"], Ok(&["f32[5]"])),
        ("Pad", 13, &[("mode", string("reflect"))], &["f32[3]", "i64[2]={3, 0}"], Err("cannot add 3 elements")),
        ("Pad", 18, &[("mode", string("wrap"))], &["f32[3]", "i64[2]={3, 0}"], Err("supported are constant, reflect, edge")),
        ("Pad", 19, &[("mode", string("wrap"))], &["f32[3]", "i64[2]={3, 0}"], Ok(&["f32[6]"])),
        ("Pad", 13, &[], &["i64[2]={b, 2}", "i64[2]={1, 0}"], Ok(&["i64[3]={0, b, 2}"])),
        ("Pad", 13, &[], &["f32[5]", "i64[2]={0, 0}", "f64[]"], Err("the data is f32")),
    ]);
}

#[test]
#[rustfmt::skip] // a case a line
fn indexing() {
    check(&[
        ("Gather", 13, &[], &["f32[1000, 8]", "i64[b, t]"], Ok(&["f32[b, t, 8]"])),
        ("Gather", 13, &[("axis", int(1))], &["f32[b, t, 8]", "i64[]"], Ok(&["f32[b, 8]"])),
        ("Gather", 13, &[], &["i64[3]={b, t, 8}", "i64[]={-1}"], Ok(&["i64[]={8}"])),
        ("Gather", 13, &[], &["i64[3]={b, t, 8}", "i64[2]={1, 0}"], Ok(&["i64[2]={t, b}"])),
        ("Gather", 13, &[], &["i64[3]={b, t, 8}", "i64[]={3}"], Err("index 3 is outside of axis 0")),
        ("Gather", 13, &[("axis", int(2))], &["f32[2, 2]", "i64[]"], Err("2 axes")),
        ("GatherElements", 13, &[("axis", int(1))], &["f32[b, 9]", "i64[b, 3]"], Ok(&["f32[b, 3]"])),
        ("GatherElements", 13, &[("axis", int(1))], &["f32[2, 9]", "i64[3, 3]"], Err("length 3 on axis 0")),
        ("GatherND", 13, &[], &["f32[4, 5, b]", "i64[t, 2]"], Ok(&["f32[t, b]"])),
        ("GatherND", 13, &[("batch_dims", int(1))], &["f32[b, 5, 6]", "i64[b, 1]"], Ok(&["f32[b, 6]"])),
        ("GatherND", 13, &[], &["f32[4, 5]", "i64[t, 3]"], Err("tuples of 3")),
        ("GatherND", 13, &[("batch_dims", int(-1))], &["f32[4, 5]", "i64[t, 3]"], Err("not be negative")),
        ("ScatterElements", 18, &[("axis", int(1))], &["f32[b, 9]", "i64[b, 3]", "f32[b, 3]"], Ok(&["f32[b, 9]"])),
        ("ScatterElements", 18, &[("reduction", string("avg"))], &["f32[4]", "i64[3]", "f32[3]"], Err("none, add, mul, min, max")),
        ("ScatterElements", 13, &[("reduction", string("add"))], &["f32[4]", "i64[3]", "f32[3]"], Err("no attribute")),
        ("Scatter", 9, &[], &["f32[4]", "i64[3]", "f32[2]"], Err("differ in shape")),
        ("Scatter", 11, &[], &["f32[4]", "i64[3]", "f32[3]"], Err("supported are 9 to 10")),
        ("ScatterND", 18, &[], &["f32[4, b]", "i64[t, 1]", "f32[t, b]"], Ok(&["f32[4, b]"])),
        ("ScatterND", 18, &[], &["f32[4, 5]", "i64[3, 1]", "f32[3, 6]"], Err("differ")),
        ("OneHot", 11, &[], &["i64[b]", "i64[]={10}", "f32[2]"], Ok(&["f32[b, 10]"])),
        ("OneHot", 11, &[("axis", int(0))], &["i64[b]", "i64[1]={10}", "f32[2]"], Ok(&["f32[10, b]"])),
        ("OneHot", 11, &[], &["i64[b]", "i64[]", "f32[2]"], Ok(&["f32[b, ?]"])),
        ("OneHot", 11, &[], &["i64[b]", "i64[]={-3}", "f32[2]"], Err("negative")),
        ("OneHot", 11, &[], &["i64[b]", "i64[]={3}", "f32[3]"], Err("off and on")),
        ("NonZero", 13, &[], &["f32[b, 3]"], Ok(&["i64[2, ?]"])),
        ("Compress", 11, &[("axis", int(1))], &["f32[b, 3]", "bool[3]={1, 0, 1}"], Ok(&["f32[b, 2]"])),
        ("Compress", 11, &[], &["f32[b, 3]", "bool[3]"], Ok(&["f32[?]"])),
        ("Unique", 11, &[], &["f32[b, 3]"], Ok(&["f32[?]", "i64[?]", "i64[3*b]", "i64[?]"])),
        ("NonMaxSuppression", 11, &[], &["f32[b, n, 4]", "f32[b, c, n]"], Ok(&["i64[?, 3]"])),
    ]);
}

#[test]
#[rustfmt::skip] // a case a line
fn generating() {
    let two = Attribute::Tensor(Tensor::from_slice(&[1], &[2i64]).expect("one element"));
    let many = Attribute::Tensor(Tensor::from_slice(&[2], &[2i64, 3]).expect("two elements"));
    check(&[
        ("Range", 11, &[], &["i64[]={0}", "i64[]={t}", "i64[]={1}"], Ok(&["i64[t]"])),
        ("Range", 11, &[], &["i64[]={1}", "i64[]={6}", "i64[]={2}"], Ok(&["i64[3]={1, 3, 5}"])),
        ("Range", 11, &[], &["i64[]={10}", "i64[]={4}", "i64[]={-2}"], Ok(&["i64[3]={10, 8, 6}"])),
        ("Range", 11, &[], &["i64[]={0}", "i64[]={4}", "i64[]={-2}"], Ok(&["i64[0]={}"])),
        ("Range", 11, &[], &["i64[]={0}", "i64[]={4}", "i64[]={0}"], Err("step is 0")),
        ("Range", 11, &[], &["f32[]", "f32[]", "f32[]"], Ok(&["f32[?]"])),
        ("Range", 11, &[], &["f32[]", "f32[2]", "f32[]"], Err("no scalar")),
        ("ConstantOfShape", 9, &[], &["i64[2]={b, 3}"], Ok(&["f32[b, 3]"])),
        ("ConstantOfShape", 9, &[("value", two)], &["i64[1]={3}"], Ok(&["i64[3]={2, 2, 2}"])),
        ("ConstantOfShape", 9, &[("value", many)], &["i64[1]={3}"], Err("2 elements")),
        ("ConstantOfShape", 9, &[], &["i64[1]={-3}"], Err("negative")),
        ("ConstantOfShape", 9, &[], &["i64[0]={}"], Ok(&["f32[]"])),
        ("EyeLike", 9, &[("dtype", int(7))], &["f32[b, 3]"], Ok(&["i64[b, 3]"])),
        ("EyeLike", 9, &[("dtype", int(99))], &["f32[b, 3]"], Err("is 99")),
    ]);
}

#[test]
#[rustfmt::skip] // a case a line
fn what_is_not_supported_says_what_is() {
    check(&[
        ("Reshap", 14, &[], &["f32[1]"], Err("similar names are Reshape")),
        ("Frobnicate", 14, &[], &["f32[1]"], Err("operator Frobnicate is not supported")),
        ("Trilu", 9, &[], &["f32[1, 1]"], Err("not supported in opset 9; supported are 14 and later")),
        ("Gather", 13, &[], &["f32[1]"], Err("takes 2 inputs but has 1")),
        ("Gather", 13, &[], &["f32[1]", "i64[]", "i64[]"], Err("takes 2 inputs but has 3")),
        ("Gather", 13, &[("axes", int(1))], &["f32[1]", "i64[]"], Err("no attribute \"axes\" in opset 13")),
        ("Gather", 13, &[("axis", string("x"))], &["f32[1]", "i64[]"], Err("should be int but is string")),
    ]);
}

#[test]
fn lengths_beyond_all_memory_neither_panic_nor_wrap() {
    let huge = "f32[4611686018427387904, 4611686018427387904]";
    for (name, attrs, inputs) in [
        ("Size", &[] as Attrs<'_>, vec![huge]),
        ("Flatten", &[], vec![huge]),
        ("Reshape", &[], vec![huge, "i64[1]={-1}"]),
        ("Concat", &[("axis", int(0))], vec![huge, huge]),
        ("Tile", &[], vec![huge, "i64[2]={9223372036854775807, 2}"]),
        (
            "Pad",
            &[],
            vec![
                huge,
                "i64[4]={9223372036854775807, 0, 9223372036854775807, 0}",
            ],
        ),
        (
            "Slice",
            &[],
            vec![
                huge,
                "i64[1]={-9223372036854775808}",
                "i64[1]={9223372036854775807}",
                "",
                "i64[1]={-9223372036854775808}",
            ],
        ),
        ("Gather", &[], vec![huge, "i64[1]={9223372036854775807}"]),
        (
            "Expand",
            &[],
            vec![
                "f32[1]",
                "i64[2]={4611686018427387904, 9223372036854775807}",
            ],
        ),
        (
            "Range",
            &[],
            vec![
                "i64[]={-9223372036854775808}",
                "i64[]={9223372036854775807}",
                "i64[]={1}",
            ],
        ),
    ] {
        // Any answer will do that is an answer.
        let _ = outputs(name, 18, attrs, &inputs, 1);
    }
}
