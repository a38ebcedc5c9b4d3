//! What a good file becomes.

mod common;

use common::{rich, small, x_to_y};
use std::path::Path;
use std::sync::Arc;
use unisono_graph::{Dim as Length, Graph as Lowered, Symbol, ValueId};
use unisono_onnx::write::{
    Attribute, AttributeValue, Data, Dim, Function, Graph, Model, Node, Tensor, Type, ValueInfo,
};
use unisono_onnx::{LoadOptions, OnnxModel, load_bytes, load_file};
use unisono_tensor::{DType, ForeignBytes, Tensor as Made};

fn load(model: &Model) -> OnnxModel {
    load_bytes(model.to_bytes(), None, &LoadOptions::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn named(graph: &Lowered, name: &str) -> ValueId {
    let mut found = graph.value_ids().filter(|id| graph.value(*id).name == name);
    let id = found.next().unwrap_or_else(|| panic!("no value {name}"));
    assert!(found.next().is_none(), "two values {name}");
    id
}

fn constant<'g>(graph: &'g Lowered, name: &str) -> &'g Made {
    graph
        .constant(named(graph, name))
        .unwrap_or_else(|| panic!("{name} is no constant"))
}

fn node_names(graph: &Lowered) -> Vec<&str> {
    graph
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .collect()
}

/// A model that only holds this initializer, as its output.
fn holding(tensor: Tensor) -> OnnxModel {
    let graph = Graph::new("g")
        .output(ValueInfo::untyped(&tensor.name))
        .initializer(tensor);
    load(&Model::new(17, graph))
}

#[test]
fn names_types_and_metadata_arrive() {
    let mut model = small();
    model.metadata.push(("author".into(), "nobody".into()));
    let loaded = load(&model);
    let graph = &loaded.graph;
    assert_eq!(graph.name(), "g");
    assert_eq!(node_names(graph), ["add", "relu"]);
    assert!(format!("{:?}", graph.nodes()[0].op).contains("Add"));
    let x = graph.value(graph.inputs()[0]);
    assert_eq!(x.name, "x");
    let shape = x.declared.as_ref().unwrap().shape.as_ref().unwrap();
    assert_eq!(shape[0].as_symbol(), Some(&Symbol::new("batch")));
    assert_eq!(shape[1], Length::from(4usize));
    assert_eq!(graph.value(graph.outputs()[0]).name, "y");
    assert_eq!(
        constant(graph, "w").as_slice::<f32>().unwrap(),
        [0.5, -1.0, 2.0, 0.0]
    );
    assert_eq!(loaded.info.opsets, [("ai.onnx".to_owned(), 17)]);
    assert_eq!(loaded.info.producer_name, "unisono");
    assert_eq!(
        loaded.info.metadata,
        [("author".to_owned(), "nobody".to_owned())]
    );
}

#[test]
fn lengths_that_an_exporter_left_open_are_unknown() {
    let graph = Graph::new("g")
        .input(ValueInfo::tensor::<f32>(
            "x",
            [Dim::fixed(-1), Dim::Unknown, Dim::symbol(""), Dim::fixed(4)],
        ))
        .output(ValueInfo::untyped("x"));
    let loaded = load(&Model::new(17, graph));
    let x = loaded.graph.value(loaded.graph.inputs()[0]);
    let shape = x.declared.clone().unwrap().shape.unwrap();
    assert!(shape[..3].iter().all(Length::has_unknown));
    assert_ne!(shape[0], shape[1]);
    assert_eq!(shape[3], Length::from(4usize));
}

#[test]
fn an_initializer_that_is_also_an_input_is_a_constant() {
    let graph = x_to_y()
        .input(ValueInfo::tensor::<f32>("w", [4i64]))
        .initializer(Tensor::of("w", &[4], &[1f32; 4]))
        .node(Node::new("Add").inputs(["x", "w"]).outputs(["y"]));
    let loaded = load(&Model::new(7, graph));
    assert_eq!(loaded.graph.inputs().len(), 1);
    assert_eq!(constant(&loaded.graph, "w").len(), 4);
}

#[test]
fn nodes_in_the_wrong_order_are_sorted() {
    let relu = |from: &'static str, to: &'static str| {
        Node::new("Relu").name(to).inputs([from]).outputs([to])
    };
    let graph = x_to_y()
        .node(relu("b", "y"))
        .node(relu("x", "a"))
        .node(relu("x", "unused"))
        .node(relu("a", "b"));
    let loaded = load(&Model::new(17, graph));
    assert_eq!(node_names(&loaded.graph), ["a", "unused", "b", "y"]);
    loaded.graph.check().unwrap();
}

#[test]
fn a_node_waits_for_what_its_bodies_read() {
    let body = |name: &str| {
        Graph::new(name)
            .node(Node::new("Relu").inputs(["late"]).outputs(["v"]))
            .output(ValueInfo::untyped("v"))
    };
    let graph = x_to_y()
        .input(ValueInfo::of_type("flag", Type::Tensor(9, Some(vec![]))))
        .node(
            Node::new("If")
                .name("if")
                .inputs(["flag"])
                .outputs(["y"])
                .attribute("then_branch", body("t"))
                .attribute("else_branch", body("e")),
        )
        .node(
            Node::new("Relu")
                .name("late")
                .inputs(["x"])
                .outputs(["late"]),
        );
    let loaded = load(&Model::new(17, graph));
    assert_eq!(node_names(&loaded.graph), ["late", "if"]);
}

#[test]
fn bodies_are_closed_and_share_constants_and_captures() {
    let loaded = load(&rich());
    let graph = &loaded.graph;
    graph.check().unwrap();
    let choose = graph
        .nodes()
        .iter()
        .find(|node| node.name == "choose")
        .unwrap();
    // The condition, and `s` once although both branches read it.
    assert_eq!(
        choose.inputs,
        [Some(named(graph, "flag")), Some(named(graph, "s"))]
    );
    let bodies = choose.op.subgraphs();
    assert_eq!(bodies.len(), 2);
    for body in bodies {
        body.graph.check().unwrap();
        assert_eq!(body.captures, [1]);
        assert_eq!(body.graph.inputs().len(), 1);
        assert_eq!(body.graph.value(body.graph.inputs()[0]).name, "s");
        assert_eq!(
            constant(&body.graph, "half").as_slice::<f32>().unwrap(),
            [0.5]
        );
        assert!(
            body.graph.nodes()[0].name.starts_with("choose/"),
            "{:?}",
            node_names(&body.graph)
        );
    }
}

#[test]
fn a_constant_of_an_outer_graph_is_a_constant_inside() {
    let inner = Graph::new("inner")
        .node(Node::new("Add").inputs(["x", "w"]).outputs(["v"]))
        .output(ValueInfo::untyped("v"));
    let other = || Graph::new("other").output(ValueInfo::untyped("x"));
    let outer = Graph::new("outer")
        .node(
            Node::new("If")
                .inputs(["flag"])
                .outputs(["u"])
                .attribute("then_branch", inner)
                .attribute("else_branch", other()),
        )
        .output(ValueInfo::untyped("u"));
    let graph = x_to_y()
        .input(ValueInfo::of_type("flag", Type::Tensor(9, Some(vec![]))))
        .initializer(Tensor::of("w", &[4], &[1f32; 4]))
        .node(
            Node::new("If")
                .inputs(["flag"])
                .outputs(["y"])
                .attribute("then_branch", outer)
                .attribute("else_branch", other()),
        );
    let loaded = load(&Model::new(17, graph));
    let outer_if = &loaded.graph.nodes()[0];
    let outer = outer_if.op.subgraphs()[0];
    // Both levels capture x; the outer body also needs the condition for the inner node.
    let names: Vec<_> = outer
        .graph
        .inputs()
        .iter()
        .map(|id| outer.graph.value(*id).name.clone())
        .collect();
    assert_eq!(names, ["flag", "x"]);
    let inner = outer.graph.nodes()[0].op.subgraphs()[0];
    assert_eq!(inner.graph.inputs().len(), 1);
    assert_eq!(
        constant(&inner.graph, "w").as_slice::<f32>().unwrap(),
        [1.0; 4]
    );
    // No copy was made on the way.
    let (here, there) = (
        constant(&inner.graph, "w").bytes().as_ptr(),
        constant(&loaded.graph, "w").bytes().as_ptr(),
    );
    assert_eq!(here, there);
}

#[test]
fn functions_are_inlined_under_the_names_of_their_calls() {
    let loaded = load(&rich());
    let names = node_names(&loaded.graph);
    for name in [
        "first/Add_0",
        "first/Relu_1",
        "second/Add_0",
        "second/Relu_1",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for name in ["first/sum", "second/sum", "q", "r"] {
        named(&loaded.graph, name);
    }
}

#[test]
fn attribute_references_take_the_calls_value_or_the_default() {
    let function = Function::new("f", "Scale", 17)
        .inputs(["a"])
        .outputs(["b"])
        .attribute_default(Attribute::new("by", 2f32))
        .node(
            Node::new("Constant")
                .outputs(["k"])
                .attribute("value_float", AttributeValue::Reference("by".into(), 1)),
        )
        .node(Node::new("Mul").inputs(["a", "k"]).outputs(["b"]));
    let graph = x_to_y()
        .node(
            Node::new("Scale")
                .domain("f")
                .name("plain")
                .inputs(["x"])
                .outputs(["m"]),
        )
        .node(
            Node::new("Scale")
                .domain("f")
                .name("given")
                .inputs(["m"])
                .outputs(["y"])
                .attribute("by", 5f32),
        );
    let loaded = load(&Model::new(17, graph).import("f", 1).function(function));
    assert_eq!(
        constant(&loaded.graph, "plain/k")
            .as_slice::<f32>()
            .unwrap(),
        [2.0]
    );
    assert_eq!(
        constant(&loaded.graph, "given/k")
            .as_slice::<f32>()
            .unwrap(),
        [5.0]
    );
}

#[test]
fn functions_call_functions_and_overloads_are_told_apart() {
    let leaf = |overload: &str, op: &str| {
        Function::new("f", "Leaf", 17)
            .overload(overload)
            .inputs(["a"])
            .outputs(["b"])
            .node(Node::new(op).inputs(["a"]).outputs(["b"]))
    };
    let outer = Function::new("f", "Outer", 17)
        .inputs(["a"])
        .outputs(["b"])
        .node(
            Node::new("Leaf")
                .domain("f")
                .name("one")
                .inputs(["a"])
                .outputs(["m"]),
        )
        .node(
            Node::new("Leaf")
                .domain("f")
                .overload("neg")
                .name("two")
                .inputs(["m"])
                .outputs(["b"]),
        );
    let graph = x_to_y().node(
        Node::new("Outer")
            .domain("f")
            .name("call")
            .inputs(["x"])
            .outputs(["y"]),
    );
    let model = Model::new(17, graph).import("f", 1);
    let loaded = load(
        &model
            .function(outer)
            .function(leaf("", "Relu"))
            .function(leaf("neg", "Neg")),
    );
    assert_eq!(
        node_names(&loaded.graph),
        ["call/one/Relu_0", "call/two/Neg_0"]
    );
    assert_eq!(loaded.graph.value(loaded.graph.outputs()[0]).name, "y");
}

#[test]
fn a_function_may_hand_an_input_through() {
    let function = Function::new("f", "Nothing", 17)
        .inputs(["a"])
        .outputs(["a"]);
    let graph = x_to_y().node(
        Node::new("Nothing")
            .domain("f")
            .name("call")
            .inputs(["x"])
            .outputs(["y"]),
    );
    let loaded = load(&Model::new(17, graph).import("f", 1).function(function));
    assert_eq!(loaded.graph.nodes()[0].op.kind(), "Identity");
    assert_eq!(loaded.graph.value(loaded.graph.outputs()[0]).name, "y");
}

#[test]
fn made_up_names_stay_unique() {
    // The file has a value called as the inlined one would be.
    let function = Function::new("f", "F", 17)
        .inputs(["a"])
        .outputs(["b"])
        .node(Node::new("Relu").inputs(["a"]).outputs(["t"]))
        .node(Node::new("Relu").inputs(["t"]).outputs(["b"]));
    let graph = x_to_y()
        .node(
            Node::new("F")
                .domain("f")
                .name("call")
                .inputs(["x"])
                .outputs(["m"]),
        )
        .node(Node::new("Relu").inputs(["m"]).outputs(["call/t"]))
        .node(
            Node::new("F")
                .domain("f")
                .name("call")
                .inputs(["call/t"])
                .outputs(["y"]),
        );
    let loaded = load(&Model::new(17, graph).import("f", 1).function(function));
    let mut names: Vec<_> = loaded
        .graph
        .values()
        .iter()
        .map(|value| value.name.clone())
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

#[test]
fn optional_inputs_and_outputs_may_be_left_out() {
    let function = Function::new("f", "Limit", 17)
        .inputs(["a", "low", "high"])
        .outputs(["b"])
        .node(
            Node::new("Clip")
                .name("clip")
                .inputs(["a", "low", "high"])
                .outputs(["b"]),
        );
    let graph = x_to_y()
        .initializer(Tensor::scalar("six", 6f32))
        .node(
            Node::new("Limit")
                .domain("f")
                .name("all")
                .inputs(["x", "", "six"])
                .outputs(["m"]),
        )
        .node(
            Node::new("Limit")
                .domain("f")
                .name("none")
                .inputs(["m"])
                .outputs(["y"]),
        );
    let loaded = load(&Model::new(17, graph).import("f", 1).function(function));
    let inputs: Vec<usize> = loaded
        .graph
        .nodes()
        .iter()
        .map(|node| node.inputs.len())
        .collect();
    assert_eq!(inputs, [3, 1]);
    assert_eq!(loaded.graph.nodes()[0].inputs[1], None);
}

#[test]
fn every_element_type_is_read_from_raw_data_and_from_its_typed_list() {
    let cases: Vec<(i32, DType, Vec<u8>, Data)> = vec![
        (
            1,
            DType::F32,
            1.5f32.to_le_bytes().to_vec(),
            Data::Floats(vec![1.5]),
        ),
        (2, DType::U8, vec![200], Data::Int32s(vec![200])),
        (3, DType::I8, vec![0xfe], Data::Int32s(vec![-2])),
        (
            4,
            DType::U16,
            60_000u16.to_le_bytes().to_vec(),
            Data::Int32s(vec![60_000]),
        ),
        (
            5,
            DType::I16,
            (-300i16).to_le_bytes().to_vec(),
            Data::Int32s(vec![-300]),
        ),
        (
            6,
            DType::I32,
            (-70_000i32).to_le_bytes().to_vec(),
            Data::Int32s(vec![-70_000]),
        ),
        (
            7,
            DType::I64,
            (-1i64 << 40).to_le_bytes().to_vec(),
            Data::Int64s(vec![-1 << 40]),
        ),
        (9, DType::Bool, vec![1], Data::Int32s(vec![1])),
        (
            10,
            DType::F16,
            0x3e00u16.to_le_bytes().to_vec(),
            Data::Int32s(vec![0x3e00]),
        ),
        (
            11,
            DType::F64,
            1.5f64.to_le_bytes().to_vec(),
            Data::Doubles(vec![1.5]),
        ),
        (
            12,
            DType::U32,
            u32::MAX.to_le_bytes().to_vec(),
            Data::Uint64s(vec![u32::MAX.into()]),
        ),
        (
            13,
            DType::U64,
            u64::MAX.to_le_bytes().to_vec(),
            Data::Uint64s(vec![u64::MAX]),
        ),
        (
            16,
            DType::BF16,
            0x3fc0u16.to_le_bytes().to_vec(),
            Data::Int32s(vec![0x3fc0]),
        ),
    ];
    for (code, dtype, bytes, typed) in cases {
        for data in [Data::Raw(bytes.clone()), typed] {
            let loaded = holding(Tensor::new("w", code, &[1], data.clone()));
            let made = constant(&loaded.graph, "w");
            assert_eq!(made.dtype(), dtype);
            assert_eq!(made.bytes(), bytes, "{dtype} from {data:?}");
            assert!(made.is_aligned());
        }
    }
    let loaded = holding(Tensor::strings("w", &[2], &["ä", ""]));
    assert_eq!(constant(&loaded.graph, "w").strings().unwrap(), ["ä", ""]);
}

#[test]
fn booleans_become_zero_or_one() {
    let loaded = holding(Tensor::new("w", 9, &[3], Data::Raw(vec![0, 1, 255])));
    assert_eq!(constant(&loaded.graph, "w").bytes(), [0, 1, 1]);
}

#[test]
fn tensors_without_elements_need_no_data() {
    for code in [1, 8] {
        let loaded = holding(Tensor::new("w", code, &[0, 3], Data::None));
        assert_eq!(constant(&loaded.graph, "w").shape(), [0, 3]);
    }
}

#[test]
fn every_form_of_constant_node_is_read() {
    let forms: Vec<(&str, AttributeValue, DType, Vec<usize>)> = vec![
        (
            "value",
            Tensor::of("", &[2], &[1i64, 2]).into(),
            DType::I64,
            vec![2],
        ),
        ("value_float", 1f32.into(), DType::F32, vec![]),
        ("value_floats", [1f32, 2.0].into(), DType::F32, vec![2]),
        ("value_int", 1i64.into(), DType::I64, vec![]),
        ("value_ints", [1i64, 2, 3].into(), DType::I64, vec![3]),
        ("value_string", "a".into(), DType::String, vec![]),
        ("value_strings", ["a", "b"].into(), DType::String, vec![2]),
    ];
    for (name, value, dtype, shape) in forms {
        let graph = Graph::new("g")
            .node(Node::new("Constant").outputs(["c"]).attribute(name, value))
            .output(ValueInfo::untyped("c"));
        let loaded = load(&Model::new(17, graph));
        let made = constant(&loaded.graph, "c");
        assert_eq!(
            (made.dtype(), made.shape()),
            (dtype, shape.as_slice()),
            "{name}"
        );
        assert!(loaded.graph.nodes().is_empty());
    }
}

/// Bytes at an address whose remainder by 8 is known.
struct At {
    padded: Vec<u8>,
    start: usize,
}

impl ForeignBytes for At {
    fn bytes(&self) -> &[u8] {
        &self.padded[self.start..]
    }
}

#[test]
fn large_weights_stay_in_the_file_and_small_ones_are_copied() {
    let big = Tensor::of("big", &[20_000], &vec![1.25f32; 20_000]);
    let small = Tensor::of("small", &[4], &[1.0f32, 2.0, 3.0, 4.0]);
    let graph = Graph::new("g")
        .output(ValueInfo::untyped("big"))
        .initializer(big)
        .initializer(small);
    let bytes = Model::new(17, graph).to_bytes();
    for shift in 0..8 {
        let mut padded = vec![0; 8 + shift];
        let start = padded.len();
        padded.extend_from_slice(&bytes);
        let file: Arc<dyn ForeignBytes> = Arc::new(At { padded, start });
        let range = file.bytes().as_ptr_range();
        let loaded = load_bytes(file.clone(), None, &LoadOptions::default()).unwrap();
        let big = constant(&loaded.graph, "big");
        assert!(
            range.contains(&big.bytes().as_ptr()),
            "the large tensor was copied"
        );
        assert_eq!(
            big.to_aligned().unwrap().as_slice::<f32>().unwrap()[19_999],
            1.25
        );
        let small = constant(&loaded.graph, "small");
        assert!(!range.contains(&small.bytes().as_ptr()));
        assert_eq!(small.as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }
}

#[test]
fn external_data_is_mapped_from_the_models_folder() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lowering-external");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let values: Vec<u8> = [9f32, 1.0, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    std::fs::write(folder.join("data/w.bin"), values).unwrap();
    let whole = Tensor::new(
        "rest",
        1,
        &[5],
        Data::External(vec![("location".into(), "data/w.bin".into())]),
    );
    let graph = Graph::new("g")
        .output(ValueInfo::untyped("w"))
        .initializer(Tensor::external::<f32>("w", &[4], "data/w.bin", 4, 16))
        .initializer(whole);
    let path = folder.join("model.onnx");
    std::fs::write(&path, Model::new(17, graph).to_bytes()).unwrap();
    let loaded =
        load_file(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        constant(&loaded.graph, "w").as_slice::<f32>().unwrap(),
        [1.0, 2.0, 3.0, 4.0]
    );
    assert_eq!(
        constant(&loaded.graph, "rest").as_slice::<f32>().unwrap()[0],
        9.0
    );
}

#[cfg(unix)]
#[test]
fn a_cache_of_links_can_be_allowed() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lowering-cache");
    let _ = std::fs::remove_dir_all(&cache);
    std::fs::create_dir_all(cache.join("blobs")).unwrap();
    std::fs::create_dir_all(cache.join("snapshot")).unwrap();
    std::fs::write(cache.join("blobs/abc"), 7f32.to_le_bytes()).unwrap();
    std::os::unix::fs::symlink("../blobs/abc", cache.join("snapshot/w.bin")).unwrap();
    let graph = Graph::new("g")
        .output(ValueInfo::untyped("w"))
        .initializer(Tensor::external::<f32>("w", &[1], "w.bin", 0, 4));
    let path = cache.join("snapshot/model.onnx");
    std::fs::write(&path, Model::new(17, graph).to_bytes()).unwrap();
    assert!(load_file(&path, &LoadOptions::default()).is_err());
    let mut options = LoadOptions::default();
    options.external_root = Some(cache.clone());
    let loaded = load_file(&path, &options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        constant(&loaded.graph, "w").as_slice::<f32>().unwrap(),
        [7.0]
    );
}

#[test]
fn declared_types_of_inner_values_arrive_however_wrong() {
    let graph = x_to_y()
        .node(Node::new("Relu").inputs(["x"]).outputs(["m"]))
        .node(Node::new("Relu").inputs(["m"]).outputs(["y"]))
        .value_info(ValueInfo::tensor::<i64>("m", [7i64]));
    let loaded = load(&Model::new(17, graph));
    let declared = loaded
        .graph
        .value(named(&loaded.graph, "m"))
        .declared
        .clone()
        .unwrap();
    assert_eq!(declared.dtype, DType::I64);
}

#[test]
fn unused_attributes_are_not_lost_silently() {
    // The registry's own rule, seen from a file.
    let graph = x_to_y().node(
        Node::new("Relu")
            .inputs(["x"])
            .outputs(["y"])
            .attribute("mystery", 1i64),
    );
    let error = load_bytes(
        Model::new(17, graph).to_bytes(),
        None,
        &LoadOptions::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("mystery"), "{error}");
}
