//! What the subcommands do when all is well.

mod common;

use common::{Folder, f32s, npy, read_npy};

#[test]
fn inspect_tells_ports_costs_operators_and_the_batch_contract() {
    let folder = Folder::with_model();
    let report = folder
        .unisono(&["inspect", "model.onnx", "--json"])
        .ok()
        .json();
    assert_eq!(report["inputs"][0]["name"], "x");
    assert_eq!(report["inputs"][0]["type"], "f32");
    assert_eq!(
        report["inputs"][0]["shape"],
        serde_json::json!(["batch", 3])
    );
    assert_eq!(report["inputs"][0]["rows_axis"], 0);
    assert_eq!(report["outputs"][1]["name"], "layer/relu:0");
    assert_eq!(report["opsets"]["ai.onnx"], 17);
    assert_eq!(report["parameters"], 8);
    assert_eq!(report["parameter_bytes"], 32);
    assert_eq!(
        report["operators"]["loaded"],
        serde_json::json!({"Gemm": 1, "Relu": 1})
    );
    assert_eq!(report["contract"]["coalescible"], true);
    assert_eq!(report["contract"]["outputs"][0]["axis"], 0);
    assert_eq!(report["cost"]["bytes_per_row"]["inputs"], 12);
    assert_eq!(report["cost"]["bytes_per_row"]["outputs"], 16);
    // 3 x 2 multiplications with additions; adding the bias and the ReLU may count.
    let flops = report["cost"]["flops_per_row"].as_u64().expect("a number");
    assert!((12..=18).contains(&flops), "{flops}");
    let text = folder.unisono(&["inspect", "model.onnx"]).ok().out;
    for expected in ["f32[batch, 3]", "8 parameters", "coalescible", "Gemm"] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

#[test]
fn inspect_tells_how_many_rows_it_pays_to_batch_and_what_running_did() {
    let folder = Folder::with_model();
    let plan = |report: &serde_json::Value| report["plan"].clone();
    let looked = folder
        .unisono(&["inspect", "model.onnx", "--json"])
        .ok()
        .json();
    assert!(looked.get("session").is_none(), "nothing ran: {looked}");
    let limit = plan(&looked)["row_limit"].as_u64().expect("a number");
    assert!(plan(&looked)["shares"] == true && limit > 1, "{looked}");
    assert_eq!(plan(&looked)["cache_bytes"], 256 << 20);
    assert!(plan(&looked)["bytes"].as_u64().is_some_and(|n| n > 0));
    assert!(plan(&looked)["fixed_us"].as_f64().is_some_and(|n| n > 0.0));

    let line = ["inspect", "model.onnx", "--run", "7", "--json"];
    let ran = folder.unisono(&line).ok().json();
    assert_eq!(plan(&ran), plan(&looked));
    let session = &ran["session"];
    for (key, value) in [
        ("requests", 7),
        ("rows", 7),
        ("batches", 7),
        ("compiles", 1),
    ] {
        assert_eq!(session[key], value, "{key} in {session}");
    }
    assert_eq!(session["hits"], 7);
    assert!(session["mean_run_us"].as_f64().is_some_and(|n| n > 0.0));

    let text = folder.unisono(&["inspect", "model.onnx", "--run"]).ok().out;
    for expected in [
        "batches pay up to",
        "of plans",
        "after 10 requests",
        "1 compiled",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    folder.write("mixing.onnx", &common::softmax_over_rows());
    let text = folder.unisono(&["inspect", "mixing.onnx"]).ok().out;
    assert!(text.contains("requests are not batched"), "{text}");
}

#[test]
fn inspect_names_the_node_that_stands_in_the_way_of_batches() {
    let folder = Folder::new();
    folder.write("mixing.onnx", &common::softmax_over_rows());
    let report = folder
        .unisono(&["inspect", "mixing.onnx", "--json"])
        .ok()
        .json();
    assert_eq!(report["contract"]["coalescible"], false);
    assert_eq!(report["contract"]["obstacle"]["node"], "mixer");
    assert_eq!(report["contract"]["obstacle"]["operator"], "Softmax");
    assert_eq!(report["inputs"][0]["rows_axis"], serde_json::Value::Null);
    let text = folder.unisono(&["inspect", "mixing.onnx"]).ok().out;
    assert!(
        text.contains("not coalescible") && text.contains("\"mixer\" (Softmax)"),
        "{text}"
    );
}

#[test]
fn the_cost_of_a_branch_follows_from_what_is_known_of_its_condition() {
    let folder = Folder::new();
    folder.write("branches.onnx", &common::branches());
    let flops = |more: &[&str]| {
        let line = ["inspect", "branches.onnx", "--json"];
        let report = folder.unisono(&[&line[..], more].concat()).ok().json();
        assert_eq!(report["cost"]["nodes_not_counted"], 0);
        report["cost"]["flops_per_row"].as_u64().expect("a number")
    };
    let (product, relu) = (flops(&["--fill", "flag=1"]), flops(&["--fill", "flag=0"]));
    assert!(product >= 128 && relu <= 8, "{product} and {relu}");
    assert_eq!(flops(&[]), product, "the dearer one if nothing is known");
}

#[test]
fn run_reads_arrays_and_writes_one_file_for_each_output() {
    let folder = Folder::with_model();
    folder.write(
        "x.npy",
        &npy("<f4", "(2, 3)", &f32s(&[1.0, 2.0, 3.0, -1.0, 0.0, 1.0])),
    );
    let ran = folder
        .unisono(&[
            "run",
            "model.onnx",
            "--input",
            "x=x.npy",
            "--output-dir",
            "a/b",
        ])
        .ok();
    assert!(
        ran.out.contains("f32[2, 3]") && ran.out.contains("layer/relu:0"),
        "{}",
        ran.out
    );
    let index: serde_json::Value =
        serde_json::from_slice(&folder.read("a/b/outputs.json")).unwrap();
    assert_eq!(
        index,
        serde_json::json!({"y": "y.npy", "layer/relu:0": "layer_relu_0.npy"})
    );
    let (header, y) = read_npy(&folder.read("a/b/y.npy"));
    assert!(
        header.contains("'descr': '<f4'") && header.contains("'shape': (2, 2)"),
        "{header}"
    );
    assert_eq!(y, [14.5, -13.75, 2.5, -1.75]);
    let (_, relu) = read_npy(&folder.read("a/b/layer_relu_0.npy"));
    assert_eq!(relu, [14.5, 0.0, 2.5, 0.0]);
}

#[test]
fn arrays_in_other_orders_mean_the_same() {
    let folder = Folder::with_model();
    let values = [1.0f32, 2.0, 3.0, -1.0, 0.0, 1.0];
    let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
    folder.write("big.npy", &npy(">f4", "(2, 3)", &big));
    let columns = [1.0f32, -1.0, 2.0, 0.0, 3.0, 1.0];
    let header = npy("<f4", "(2, 3)", &f32s(&columns));
    let text = String::from_utf8_lossy(&header).into_owned();
    let at = text.find("False").expect("the header says so") - 2; // the lossy text has 2 more bytes for \x93
    let mut fortran = header;
    fortran[at..at + 5].copy_from_slice(b"True ");
    folder.write("fortran.npy", &fortran);
    for file in ["big", "fortran"] {
        let input = format!("x={file}.npy");
        folder
            .unisono(&["run", "model.onnx", "--input", &input, "--output-dir", file])
            .ok();
        let (_, y) = read_npy(&folder.read(&format!("{file}/y.npy")));
        assert_eq!(y, [14.5, -13.75, 2.5, -1.75], "{file}");
    }
}

#[test]
fn made_up_inputs_follow_from_the_seed_and_nothing_else() {
    let folder = Folder::new();
    folder.write("lookup.onnx", &common::lookup());
    let run = |dir: &str, more: &[&str]| {
        let shapes = "ids=2,5;scale=";
        let line = [
            "run",
            "lookup.onnx",
            "--random",
            shapes,
            "--int-range",
            "0:9",
            "--output-dir",
            dir,
        ];
        folder.unisono(&[&line[..], more].concat()).ok();
        folder.read(&format!("{dir}/y.npy"))
    };
    let first = run("a", &[]);
    assert_eq!(first, run("b", &["--threads", "1"]));
    assert_eq!(first, run("c", &["--isa", "scalar", "--seed", "1"]));
    assert_ne!(first, run("d", &["--seed", "2"]));
    let filled = run("e", &["--fill", "ids=3", "--fill", "scale=2"]);
    assert_eq!(read_npy(&filled).1, [12.0, 14.0].repeat(10));
}

#[test]
fn run_needs_no_inputs_to_show_what_a_model_does() {
    let folder = Folder::new();
    folder.write("lookup.onnx", &common::lookup());
    let ran = folder
        .unisono(&["run", "lookup.onnx", "--dim", "length=7"])
        .ok();
    assert!(
        ran.out.contains("i64[1, 7]") && ran.out.contains("f32[1, 7, 2]"),
        "{}",
        ran.out
    );
    let ran = folder.unisono(&["run", "lookup.onnx"]).ok();
    assert!(
        ran.err.contains("length="),
        "the default is not said: {}",
        ran.err
    );
    folder.write(
        "ids.npy",
        &npy(
            "<i8",
            "(1, 2)",
            &[3i64.to_le_bytes(), 9i64.to_le_bytes()].concat(),
        ),
    );
    let some = folder.unisono(&["run", "lookup.onnx", "--input", "ids=ids.npy"]);
    assert_eq!(some.code, Some(2));
    assert!(some.err.contains("\"scale\" is missing"), "{}", some.err);
    folder
        .unisono(&[
            "run",
            "lookup.onnx",
            "--input",
            "ids=ids.npy",
            "--fill",
            "scale=1",
        ])
        .ok();
}

#[test]
fn bench_gives_one_json_object_a_line() {
    let folder = Folder::with_model();
    let line = [
        "bench",
        "model.onnx",
        "--callers",
        "1,3",
        "--rows",
        "1,4",
        "--secs",
        "0.05",
        "--json",
    ];
    let ran = folder.unisono(&line).ok();
    let lines: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let measured: Vec<_> = lines
        .iter()
        .map(|l| (l["callers"].as_u64(), l["rows"].as_u64()))
        .collect();
    assert_eq!(
        measured,
        [(1, 1), (3, 1), (1, 4), (3, 4)].map(|(c, r)| (Some(c), Some(r)))
    );
    for line in &lines {
        assert_eq!(line["model"], "model.onnx");
        assert_eq!(line["device"], "cpu");
        let number = |key: &str| {
            line[key]
                .as_f64()
                .unwrap_or_else(|| panic!("no {key} in {line}"))
        };
        assert!(number("rows_per_s") > 0.0 && number("samples") >= 1.0);
        assert!(0.0 < number("p50_ms") && number("p50_ms") <= number("p99_ms"));
        assert!(number("p99_ms") <= number("max_ms"));
        // Every sample is rows rows, in the time that is stated.
        let rows = number("samples") * number("rows") / number("secs");
        assert!((rows / number("rows_per_s") - 1.0).abs() < 1e-6, "{line}");
        assert_eq!(line["shapes"]["x"], serde_json::json!([line["rows"], 3]));
        assert_eq!(line["coalesce"], true);
        assert!(number("batches") >= 1.0 && number("mean_queue_ms") >= 0.0);
        assert!(number("mean_run_ms") > 0.0 && number("run_p99_ms") > 0.0);
        assert_eq!((number("evictions"), number("failed")), (0.0, 0.0));
        // Its shape was seen while it warmed up.
        assert_eq!(number("compiles"), 0.0, "{line}");
        let (mean, most) = (number("mean_batch_rows"), number("batch_rows_max"));
        // Told sizes are rounded down, by at most a fifth.
        // And the mean is read while requests run, when sum and count may be apart by those under way.
        assert!(
            mean >= number("rows") * 0.98 && mean <= most * 1.27,
            "{line}"
        );
        assert!(number("batch_rows_p50") <= most, "{line}");
    }
}

#[test]
fn bench_without_coalescing_runs_every_request_alone() {
    let folder = Folder::with_model();
    let line = "bench model.onnx --callers 4 --rows 3 --secs 0.05 --no-coalesce --json";
    let line: Vec<&str> = line.split(' ').collect();
    let report = folder.unisono(&line).ok().json();
    assert_eq!(report["coalesce"], false);
    // The mean is read while requests run, when sum and count may be apart by those under way; the largest is exact.
    let mean = report["mean_batch_rows"].as_f64().expect("a number");
    assert!((mean - 3.0).abs() < 0.05, "{report}");
    assert_eq!(report["batch_rows_max"], 3);
}

#[test]
fn bench_keeps_futures_in_flight_from_one_thread() {
    let folder = Folder::with_model();
    let line = "bench model.onnx --in-flight 3,2000 --rows 1 --secs 0.05 --json";
    let line: Vec<&str> = line.split(' ').collect();
    let ran = folder.unisono(&line).ok();
    let reports: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    for (report, in_flight) in reports.iter().zip([3, 2000]) {
        assert_eq!(report["in_flight"], in_flight);
        assert!(report.get("callers").is_none());
        assert!(report["samples"].as_u64() >= Some(in_flight), "{report}");
        assert!(report["p50_ms"].as_f64() > Some(0.0), "{report}");
    }
    assert_eq!(reports.len(), 2);
}

#[test]
fn bench_shares_futures_among_threads_of_which_none_is_idle() {
    let folder = Folder::with_model();
    let line = "bench model.onnx --in-flight 2,6 --senders 3 --rows 1 --secs 0.05";
    let line: Vec<&str> = line.split(' ').collect();
    let table = folder.unisono(&line).ok().out;
    assert!(
        table.contains("2 by 2 ") && table.contains("6 by 3 "),
        "{table}"
    );
    let json: Vec<&str> = [&line[..], &["--json"]].concat();
    let lines = folder.unisono(&json).ok().out;
    for (line, (in_flight, senders)) in lines.lines().zip([(2, 2), (6, 3)]) {
        let report: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(report["in_flight"], in_flight);
        assert_eq!(report["senders"], senders);
    }
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn bench_sends_requests_at_a_rate() {
    let folder = Folder::new();
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../unisono/examples/classifier.onnx"
    );
    let line = ["bench", model, "--rate", "400", "--rows", "2"];
    let short = ["--secs", "0.25"];
    let report = folder
        .unisono(&[&line[..], &short, &["--json"]].concat())
        .ok()
        .json();
    let number = |key: &str| {
        report[key]
            .as_f64()
            .unwrap_or_else(|| panic!("no {key} in {report}"))
    };
    assert_eq!(number("rate"), 400.0);
    // About 100 come; the seed settles how many, but for one at each edge of the window.
    let offered = number("offered_per_s") * number("secs");
    assert!((60.0..140.0).contains(&offered), "{report}");
    assert!((offered - number("samples") - number("not_sent")).abs() < 0.01);
    assert!(number("p50_ms") <= number("p99_ms") && number("p99_ms") <= number("max_ms"));
    assert!((number("rows_per_s") - 2.0 * number("achieved_per_s")).abs() < 0.01);
    assert!(report["kept_up"].is_boolean() && report.get("callers").is_none());
    let text = folder.unisono(&[&line[..], &short].concat()).ok().out;
    assert!(
        text.contains("offered/s") && text.contains("achieved/s"),
        "{text}"
    );
}

#[test]
fn bench_says_if_the_machine_did_not_keep_up() {
    let folder = Folder::with_model();
    // Beyond the bandwidth of memory: 280 GB a second, by one thread.
    let line = "bench model.onnx --rate 1000000 --rows 10000 --secs 0.1 --threads 1";
    let line: Vec<&str> = line.split(' ').collect();
    let text = folder.unisono(&line).ok().out;
    assert!(text.contains("the machine did not keep up"), "{text}");
}

#[test]
fn bench_says_why_rows_are_not_batched() {
    let folder = Folder::new();
    folder.write("mixing.onnx", &common::softmax_over_rows());
    let line = ["bench", "mixing.onnx", "--callers", "2", "--secs", "0.05"];
    let why = "rows are not batched: node \"mixer\" (Softmax)";
    let ran = folder.unisono(&line).ok();
    assert!(ran.out.contains(why), "{}", ran.out);
    let ran = folder.unisono(&[&line[..], &["--json"]].concat()).ok();
    assert!(ran.err.contains(why), "{}", ran.err);
    let ran = folder
        .unisono(&[&line[..], &["--no-coalesce"]].concat())
        .ok();
    assert!(!ran.out.contains("not batched"), "{}", ran.out);
}

#[test]
fn bench_shows_a_table_and_says_why_rows_cannot_be_chosen() {
    let folder = Folder::with_model();
    let line = [
        "bench",
        "model.onnx",
        "--callers",
        "2",
        "--secs",
        "0.05",
        "--shapes",
        "5,3",
    ];
    let ran = folder.unisono(&line).ok();
    assert!(
        ran.out.contains("rows/s") && ran.out.contains("p99"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("--shapes fixes the rows"), "{}", ran.err);
}

#[test]
fn devices_lists_the_cpu_and_says_why_there_is_no_gpu() {
    let folder = Folder::new();
    // On a machine that has some, the driver then shows none.
    let run = |arguments: &[&str]| {
        let output = folder
            .command(arguments)
            .env("CUDA_VISIBLE_DEVICES", "")
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let text = run(&["devices", "--json"]);
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    let [device, absent] = &lines[..] else {
        panic!("the CPU, and why there is no GPU: {text}");
    };
    assert_eq!(device["device"], "cpu");
    assert!(device["threads"].as_u64() >= Some(1));
    let isas = device["available_isas"].as_array().expect("a list");
    assert!(isas.contains(&device["isa"]) && isas.contains(&"scalar".into()));
    assert_eq!(absent["absent"], "cuda");
    assert!(
        absent["why"]
            .as_str()
            .is_some_and(|why| why.contains("CUDA")),
        "{absent}"
    );

    let text = run(&["devices"]);
    assert!(text.contains("cpu"), "{text}");
    let why: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("no CUDA device: "))
        .collect();
    assert_eq!(why.len(), 1, "{text}");
}

/// Every command that runs something takes `--device`, and a GPU that is not there is told in the same way by all.
#[test]
fn a_gpu_that_is_not_there_is_bad_input_that_says_what_to_do() {
    let folder = Folder::with_model();
    let commands: [&[&str]; 5] = [
        &["run", "model.onnx"],
        &["inspect", "model.onnx"],
        &["bench", "model.onnx", "--secs", "0.05"],
        &["verify", "--quick", "--section", "churn", "--quiet"],
        &["verify", "--model", "model.onnx", "--quiet"],
    ];
    let mut wrong = Vec::new();
    for command in commands {
        for name in ["cuda:0", "cuda", "cuda:1234567"] {
            let line = [command, &["--device", name]].concat();
            let output = folder
                .command(&line)
                .env("CUDA_VISIBLE_DEVICES", "")
                .output()
                .expect("the program starts");
            let err = String::from_utf8_lossy(&output.stderr);
            let said =
                err.contains("error:") && err.contains("CUDA") && err.contains("what to do:");
            if output.status.code() != Some(2) || !said || err.contains("panicked") {
                wrong.push(format!("{line:?}: {:?}\n{err}", output.status.code()));
            }
        }
        let help = folder.unisono(&[command[0], "--help"]).ok().out;
        if !(help.contains("--device <DEVICE>") && help.contains("cuda:0")) {
            wrong.push(format!("{} --help does not teach --device", command[0]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bench_measures_the_ceilings_of_the_machine_without_a_model() {
    let folder = Folder::new();
    let out = folder
        .unisono(&["bench", "--roofline", "--json", "--threads", "1"])
        .ok()
        .out;
    assert!(!out.is_empty());
    for line in out.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for field in [
            "gflops",
            "gflops_one_thread",
            "weights_gb_per_s",
            "memory_gb_per_s",
        ] {
            let rate = line[field].as_f64().expect("a number");
            assert!(rate > 0.0, "{field}: {line}");
        }
    }
}

/// Two layers with paths for names, and one without.
fn layers() -> Vec<u8> {
    use unisono::onnx::write::{Dim, Graph, Model, Node, Tensor, ValueInfo};
    let info = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(64)]);
    let product = |name, x, y| Node::new("MatMul").name(name).inputs([x, "w"]).outputs([y]);
    let graph = Graph::new("layers")
        .input(info("x"))
        .initializer(Tensor::of("w", &[64, 64], &[0.01f32; 64 * 64]))
        .node(product("/net/layer.0/<MatMul> & \"co\"", "x", "a"))
        .node(
            Node::new("Softmax")
                .name("/net/layer.0/Softmax")
                .inputs(["a"])
                .outputs(["b"]),
        )
        .node(product("/net/layer.1/MatMul", "b", "c"))
        .node(
            Node::new("Tanh")
                .name("ending")
                .inputs(["c"])
                .outputs(["y"]),
        )
        .output(info("y"));
    Model::new(17, graph).to_bytes()
}

#[test]
fn profile_tells_steps_by_time_and_what_they_reach_in_100_columns() {
    let folder = Folder::new();
    folder.write("layers.onnx", &layers());
    let line = ["profile", "layers.onnx", "--rows", "4", "--runs", "3"];
    let out = folder.unisono(&line).ok().out;
    for text in [
        "4 rows, 3 runs",
        "MatMul",
        "ending",
        "weights packed once",
        "between the steps",
        "roofline",
        "of the roof",
    ] {
        assert!(out.contains(text), "{text:?} is missing in\n{out}");
    }
    for line in out.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let top = folder.unisono(&[&line[..], &["--top", "1"]].concat()).ok();
    assert!(top.out.contains("2 more"), "{}", top.out);
    let sums = folder
        .unisono(&[&line[..], &["--by", "operator"]].concat())
        .ok();
    assert!(!sums.out.contains("layer.0"), "{}", sums.out);
    assert!(sums.out.contains("Softmax"), "{}", sums.out);
}

#[test]
fn profile_gives_one_json_object_whose_parts_are_less_than_the_whole() {
    let folder = Folder::new();
    folder.write("layers.onnx", &layers());
    let line = ["profile", "layers.onnx", "--runs", "4", "--json"];
    let report = folder.unisono(&line).ok().json();
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    assert_eq!((&report["rows"], &report["runs"]), (&1.into(), &4.into()));
    assert_eq!(report["shapes"]["x"], serde_json::json!([1, 64]));
    assert!(number(&report["steps_ms"]) <= number(&report["run_ms"]));
    assert!(number(&report["gflops_peak"]) > 0.0 && number(&report["read_gb_per_s"]) > 0.0);
    let steps = report["steps"].as_array().expect("a list");
    let operators: Vec<_> = steps.iter().map(|step| &step["operator"]).collect();
    assert_eq!(operators, ["MatMul", "Softmax", "MatMul"]);
    // The activation is fused, and the product has its name.
    assert_eq!(steps[2]["name"], "ending");
    let first = &steps[0];
    assert_eq!(first["flops"], 2 * 64 * 64);
    assert_eq!(first["weight_bytes"], 64 * 64 * 4);
    assert_eq!(
        (&first["input_bytes"], &first["output_bytes"]),
        (&256.into(), &256.into())
    );
    for step in steps {
        let share = number(&step["roof_share"]);
        assert!((0.0..=1.0).contains(&share), "{step}");
        assert!(number(&step["lost_ms"]) <= number(&step["ms"]), "{step}");
    }
    let classes = report["time_by_roof_share"].as_array().expect("a list");
    let sum: f64 = classes.iter().map(|class| number(&class["share"])).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
}

#[test]
fn profile_draws_a_chart_that_is_well_formed_and_stands_alone() {
    let folder = Folder::new();
    folder.write("layers.onnx", &layers());
    for by in ["node", "operator"] {
        let line = [
            "profile",
            "layers.onnx",
            "--runs",
            "2",
            "--by",
            by,
            "--svg",
            "chart.svg",
        ];
        assert!(folder.unisono(&line).ok().out.contains("chart.svg"));
        let chart = String::from_utf8(folder.read("chart.svg")).expect("text");
        let document = roxmltree::Document::parse(&chart).expect("well-formed XML");
        let root = document.root_element();
        assert_eq!(
            root.tag_name().namespace(),
            Some("http://www.w3.org/2000/svg")
        );
        let elements = || root.descendants().filter(|node| node.is_element());
        assert!(elements().all(|node| node.tag_name().name() != "script"));
        let mut attributes = elements().flat_map(|node| node.attributes());
        assert!(attributes.all(|a| a.name() != "href" && !a.name().starts_with("on")));
        let bars = elements().filter(|node| node.attribute("class") == Some("part"));
        let tips: Vec<&str> = bars
            .map(|bar| bar.first_element_child().and_then(|tip| tip.text()))
            .map(|text| text.expect("every bar has a tooltip"))
            .collect();
        assert!(tips.iter().any(|tip| tip.starts_with("the whole run")));
        assert!(
            tips.iter()
                .any(|tip| tip.starts_with("/net/layer.0/<MatMul> & \"co\"")),
            "{tips:?}"
        );
        // The run's own width holds all others.
        let number = |node: roxmltree::Node<'_, '_>, name| -> f64 {
            let value = node.attribute(name).expect("a length");
            value.parse().expect("a number")
        };
        let rects = elements().filter(|node| node.tag_name().name() == "rect");
        let rects: Vec<_> = rects.filter(|r| r.attribute("x").is_some()).collect();
        for rect in rects {
            assert!(number(rect, "x") + number(rect, "width") <= 1184.5);
        }
    }
}
