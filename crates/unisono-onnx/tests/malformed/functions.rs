//! Model-local functions.

use crate::table::{Table, with_node};
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{Attribute, AttributeValue, Function, Model, Node};

#[test]
fn functions_that_are_wrong_are_refused() {
    let call = |op: &str| {
        Node::new(op)
            .domain("f")
            .name("call")
            .inputs(["x"])
            .outputs(["y"])
    };
    let model = |function: Function| {
        Model::new(17, with_node(call("F")))
            .import("f", 1)
            .function(function)
    };
    let f = || Function::new("f", "F", 17).inputs(["a"]).outputs(["b"]);
    let mut table = Table::default();
    table.model(
        "function that calls itself",
        &model(f().node(Node::new("F").domain("f").inputs(["a"]).outputs(["b"]))),
        Kind::InvalidFunction,
        "\"f.F\" -> \"f.F\"",
    );
    table.model(
        "functions that call each other",
        &model(f().node(Node::new("G").domain("f").inputs(["a"]).outputs(["b"]))).function(
            Function::new("f", "G", 17)
                .inputs(["a"])
                .outputs(["b"])
                .node(Node::new("F").domain("f").inputs(["a"]).outputs(["b"])),
        ),
        Kind::InvalidFunction,
        "\"f.F\" -> \"f.G\" -> \"f.F\"",
    );
    table.model(
        "reference to an attribute that the function does not have",
        &model(
            f().node(
                Node::new("LeakyRelu")
                    .inputs(["a"])
                    .outputs(["b"])
                    .attribute("alpha", AttributeValue::Reference("slope".into(), 1)),
            ),
        ),
        Kind::InvalidFunction,
        "\"slope\", which is no attribute of the function",
    );
    table.model(
        "reference to an attribute of another type",
        &model(
            f().attribute_default(Attribute::new("slope", 1i64)).node(
                Node::new("LeakyRelu")
                    .inputs(["a"])
                    .outputs(["b"])
                    .attribute("alpha", AttributeValue::Reference("slope".into(), 1)),
            ),
        ),
        Kind::InvalidAttribute,
        "wants FLOAT, but the function was called with INT",
    );
    table.model(
        "attribute that an operator needs and the call leaves out",
        &model(
            f().attribute("type").node(
                Node::new("Cast")
                    .name("cast")
                    .inputs(["a"])
                    .outputs(["b"])
                    .attribute("to", AttributeValue::Reference("type".into(), 2)),
            ),
        ),
        Kind::InvalidAttribute,
        "function \"f.F\".node[0] \"cast\" (Cast, opset 17)",
    );
    table.model(
        "call with an attribute that the function does not have",
        &Model::new(17, with_node(call("F").attribute("speed", 1i64)))
            .import("f", 1)
            .function(f().node(Node::new("Relu").inputs(["a"]).outputs(["b"]))),
        Kind::InvalidAttribute,
        "has no such attribute",
    );
    table.model(
        "call with too many inputs",
        &Model::new(17, with_node(call("F").inputs(["x"])))
            .import("f", 1)
            .function(f().node(Node::new("Relu").inputs(["a"]).outputs(["b"]))),
        Kind::InvalidNode,
        "is called with 2 and 1",
    );
    table.model(
        "function that does not make its output",
        &model(f().node(Node::new("Relu").inputs(["a"]).outputs(["c"]))),
        Kind::UndefinedValue,
        "no node of the function makes its output \"b\"",
    );
    table.model(
        "function that reads its caller's values",
        &model(f().node(Node::new("Add").inputs(["a", "x"]).outputs(["b"]))),
        Kind::UndefinedValue,
        "input 1 is \"x\"",
    );
    table.model(
        "function that is defined twice",
        &model(f()).function(f()),
        Kind::DuplicateName,
        "\"f.F\" is defined twice",
    );
    table.model(
        "two inputs of a function with one name",
        &model(f().inputs(["a"])),
        Kind::DuplicateName,
        "two inputs of \"f.F\" are called \"a\"",
    );
    table.model(
        "cycle inside a function",
        &model(
            f().node(Node::new("Relu").inputs(["b"]).outputs(["c"]))
                .node(Node::new("Relu").inputs(["c"]).outputs(["b"])),
        ),
        Kind::Cycle,
        "function \"f.F\"",
    );
    table.model(
        "function for an opset that is too new",
        &model(Function::new("f", "F", 99).inputs(["a"]).outputs(["b"])),
        Kind::UnsupportedOpset,
        "functions[0]",
    );
    table.model(
        "overload that does not exist",
        &Model::new(17, with_node(call("F").overload("fast")))
            .import("f", 1)
            .function(f()),
        Kind::UnsupportedOperator,
        "F (f, opset 1)",
    );
    table.check();
}
