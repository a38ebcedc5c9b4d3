//! Files that are sound as protobuf and senseless as models: the fuzzer's bytes choose operators, names from a small pool
//! (so that they collide and refer to each other), attributes, tensors, bodies and functions.

use arbitrary::{Arbitrary, Result, Unstructured};
use unisono_onnx::LoadOptions;
use unisono_onnx::write::{
    Attribute, AttributeValue, Data, Dim, Function, Graph, Model, Node, Tensor, Type, ValueInfo,
};

const NAMES: [&str; 10] = ["", "x", "y", "a", "b", "c", "w", "f/a", "F_0/a", "cond"];
const ATTRIBUTES: [&str; 14] = [
    "value",
    "value_ints",
    "then_branch",
    "else_branch",
    "body",
    "axis",
    "axes",
    "pads",
    "to",
    "perm",
    "alpha",
    "kernel_shape",
    "num_scan_inputs",
    "",
];
const FUNCTIONS: [&str; 3] = ["F", "G", "H"];

fn name(u: &mut Unstructured<'_>) -> Result<&'static str> {
    u.choose(&NAMES).copied()
}

fn tensor(u: &mut Unstructured<'_>) -> Result<Tensor> {
    let dims: Vec<i64> = (0..u.int_in_range(0..=4)?)
        .map(|_| {
            if u.ratio(15, 16)? {
                u.int_in_range(0..=4)
            } else {
                i64::arbitrary(u)
            }
        })
        .collect::<Result<_>>()?;
    let code = u.int_in_range(0..=30)?;
    let count = dims
        .iter()
        .fold(1i64, |n, d| n.wrapping_mul(*d))
        .clamp(0, 64) as usize;
    let data = match u.int_in_range(0..=8)? {
        0 => Data::None,
        1 => Data::Floats(vec![f32::arbitrary(u)?; count]),
        2 => Data::Int32s(vec![i32::arbitrary(u)?; count]),
        3 => Data::Int64s(vec![i64::arbitrary(u)?; count]),
        4 => Data::Doubles(vec![f64::arbitrary(u)?; count]),
        5 => Data::Uint64s(vec![u64::arbitrary(u)?; count]),
        6 => Data::Strings(vec![
            <&[u8]>::arbitrary(u)?.iter().copied().take(8).collect();
            count
        ]),
        7 => Data::External(vec![("location".into(), String::arbitrary(u)?)]),
        _ => {
            let size = unisono_onnx::write::data_type_of(code).map_or(1, |dtype| dtype.size());
            Data::Raw(vec![u8::arbitrary(u)?; count * size])
        }
    };
    Ok(Tensor::new(name(u)?, code, &dims, data))
}

fn attribute(u: &mut Unstructured<'_>, depth: u32) -> Result<Attribute> {
    let attribute_name = *u.choose(&ATTRIBUTES)?;
    let wants_graph = matches!(attribute_name, "then_branch" | "else_branch" | "body");
    let value = match u.int_in_range(0..=7)? {
        _ if wants_graph && depth > 0 => AttributeValue::Graph(graph(u, depth - 1)?),
        0 => AttributeValue::Float(f32::arbitrary(u)?),
        1 => AttributeValue::Int(if u.arbitrary()? {
            u.int_in_range(-4..=16)?
        } else {
            i64::arbitrary(u)?
        }),
        2 => AttributeValue::String(<Vec<u8>>::arbitrary(u)?),
        3 => AttributeValue::Floats(<Vec<f32>>::arbitrary(u)?),
        4 => AttributeValue::Ints(
            (0..u.int_in_range(0..=6)?)
                .map(|_| u.int_in_range(-3..=5))
                .collect::<Result<_>>()?,
        ),
        5 => AttributeValue::Strings(<Vec<Vec<u8>>>::arbitrary(u)?),
        6 => AttributeValue::Reference((*u.choose(&ATTRIBUTES)?).into(), u.int_in_range(0..=15)?),
        _ => AttributeValue::Tensor(tensor(u)?),
    };
    Ok(Attribute::new(attribute_name, value))
}

fn node(u: &mut Unstructured<'_>, depth: u32) -> Result<Node> {
    let mut node = if u.ratio(1, 5)? {
        Node::new(u.choose(&FUNCTIONS)?).domain("f")
    } else if u.ratio(1, 5)? {
        Node::new(u.choose(&["If", "Loop", "Scan", "Constant"])?)
    } else {
        let all: Vec<_> = unisono_graph::ops::supported().collect();
        let definition = u.choose(&all)?;
        Node::new(definition.name).domain(definition.domain)
    };
    node.name = name(u)?.into();
    for _ in 0..u.int_in_range(0..=4)? {
        node.inputs.push(name(u)?.into());
    }
    for _ in 0..u.int_in_range(0..=2)? {
        node.outputs.push(name(u)?.into());
    }
    for _ in 0..u.int_in_range(0..=3)? {
        node.attributes.push(attribute(u, depth)?);
    }
    Ok(node)
}

fn info(u: &mut Unstructured<'_>) -> Result<ValueInfo> {
    let mut dims = Vec::new();
    for _ in 0..u.int_in_range(0..=4)? {
        dims.push(match u.int_in_range(0..=3)? {
            0 => Dim::symbol(name(u)?),
            1 => Dim::Unknown,
            2 => Dim::fixed(i64::arbitrary(u)?),
            _ => Dim::fixed(u.int_in_range(0..=8)?),
        });
    }
    let element = u.int_in_range(0..=17)?;
    Ok(match u.int_in_range(0..=15)? {
        0 => ValueInfo::untyped(name(u)?),
        1 => ValueInfo::of_type(
            name(u)?,
            Type::Sequence(Box::new(Type::Tensor(element, None))),
        ),
        2 => ValueInfo::of_type(name(u)?, Type::Tensor(element, None)),
        _ => ValueInfo::of_type(name(u)?, Type::Tensor(element, Some(dims))),
    })
}

fn graph(u: &mut Unstructured<'_>, depth: u32) -> Result<Graph> {
    let mut graph = Graph::new(name(u)?);
    for _ in 0..u.int_in_range(0..=3)? {
        graph.inputs.push(info(u)?);
    }
    for _ in 0..u.int_in_range(0..=2)? {
        graph.initializers.push(tensor(u)?);
    }
    for _ in 0..u.int_in_range(0..=5)? {
        graph.nodes.push(node(u, depth)?);
    }
    for _ in 0..u.int_in_range(0..=2)? {
        graph.outputs.push(info(u)?);
    }
    Ok(graph)
}

/// A model made of the fuzzer's choices.
pub fn model(u: &mut Unstructured<'_>) -> Result<Model> {
    let mut model = Model::new(u.int_in_range(6..=29)?, graph(u, 2)?)
        .import("f", 1)
        .import("ai.onnx.ml", 2)
        .import("com.microsoft", 1);
    for function_name in FUNCTIONS {
        if u.arbitrary()? {
            let mut function = Function::new("f", function_name, 17)
                .inputs([name(u)?])
                .outputs([name(u)?]);
            if u.arbitrary()? {
                function = function.attribute(u.choose(&ATTRIBUTES)?);
            }
            if u.arbitrary()? {
                function = function.attribute_default(attribute(u, 1)?);
            }
            for _ in 0..u.int_in_range(0..=3)? {
                function.nodes.push(node(u, 1)?);
            }
            model = model.function(function);
        }
    }
    Ok(model)
}

/// Limits that keep a run short.
pub fn options() -> LoadOptions {
    let mut options = LoadOptions::default();
    options.limits.nodes = 10_000;
    options.limits.copied_bytes = 64 << 20;
    options
}
