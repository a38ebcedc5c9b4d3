//! What a batch of requests with different sequence lengths gains:
//! `cargo run --release -p unisono --example ragged_speed [MODEL [ROUNDS [LENGTH...]]]`.
//!
//! Eight requests of one sequence each, with lengths drawn anew in every round, are answered in turn
//!
//! * as one batch, on a team of all cores,
//! * one after the other, on the same team,
//! * by as many threads as there are cores, each of which takes the next request and computes it alone.
//!
//! Printed are the medians over the rounds, of the times and of the ratios within a round.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use unisono::{Model, Tensor};
use unisono_cpu::{CpuOptions, backend};
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Backend, Executable, Group, Member};

const REQUESTS: usize = 8;

struct Bench {
    backend: Box<dyn Backend>,
    executable: Arc<dyn Executable>,
    model: Arc<ModelGraph>,
}

impl Bench {
    fn new(model: &Arc<ModelGraph>, threads: usize) -> Bench {
        let mut options = CpuOptions::default();
        options.threads = threads;
        let backend = backend(&options).expect("the machine has threads");
        let executable = backend
            .prepare(Arc::clone(model))
            .expect("the device has the model's kernels");
        Bench {
            backend,
            executable,
            model: Arc::clone(model),
        }
    }

    fn lane(&self) -> Box<dyn Lane> {
        self.backend.new_lane().expect("a lane")
    }

    fn member(&self, length: usize) -> Member {
        let ids: Vec<i64> = (0..length as i64).map(|i| 1000 + i * 37 % 20_000).collect();
        let tensor = |values: &[i64]| Tensor::from_slice(&[1, length], values).expect("one row");
        let inputs = self.model.inputs().iter().map(|port| match &*port.name {
            "input_ids" => tensor(&ids),
            "attention_mask" => tensor(&vec![1; length]),
            _ => tensor(&vec![0; length]),
        });
        let inputs: Vec<Tensor> = inputs.collect();
        let (key, rows) = self.model.admit(&inputs).expect("the model's inputs");
        Member {
            plan: self.executable.compile(&key).expect("a plan"),
            rows,
            inputs: inputs.into_iter().collect(),
            outputs: vec![None; self.model.outputs().len()],
        }
    }
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

fn run(member: &mut Member, lane: &mut dyn Lane) {
    member
        .plan
        .run(lane, member.rows, &member.inputs, &mut member.outputs)
        .expect("the request is good");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or("models/minilm.onnx".to_owned());
    let rounds = args.next().map_or(31, |n| n.parse().expect("a number"));
    let fixed: Vec<usize> = args.map(|n| n.parse().expect("a length")).collect();

    let loaded = Model::load(&path).expect("the model loads");
    let graph = loaded.graph();
    let facts = infer_partial(graph, &declared_inputs(graph)).expect("shapes that fit");
    let outputs: Vec<_> = graph
        .outputs()
        .iter()
        .map(|id| facts[id.index()].clone())
        .collect();
    let model = ModelGraph::new(graph.clone(), loaded.contract().clone(), &outputs);
    let model = Arc::new(model.expect("the loaded model is good"));

    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (team, solo) = (Bench::new(&model, cores), Bench::new(&model, 1));
    let mut lane = team.lane();
    let mut lanes: Vec<_> = (0..cores).map(|_| solo.lane()).collect();

    let mut state = 12_345_u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        8 + (state >> 33) as usize % 121
    };
    let mut times: [Vec<f64>; 3] = Default::default();
    let mut tokens = 0;
    for round in 0..rounds {
        let lengths: Vec<usize> = match fixed.as_slice() {
            [] => (0..REQUESTS).map(|_| draw()).collect(),
            fixed => fixed.to_vec(),
        };
        tokens += lengths.iter().sum::<usize>();
        let mut together: Vec<Member> = lengths.iter().map(|&n| team.member(n)).collect();
        let mut in_turn: Vec<Member> = lengths.iter().map(|&n| team.member(n)).collect();
        let mut apart: Vec<_> = lengths
            .iter()
            .map(|&n| std::sync::Mutex::new(solo.member(n)))
            .collect();
        let groups: Vec<Group> = (0..lengths.len())
            .map(|i| Group {
                members: i..i + 1,
                rows: 1,
            })
            .collect();

        let mut lent: Vec<&mut Member> = together.iter_mut().collect();
        let mut batch = || {
            team.executable
                .run_batch(&mut *lane, &mut lent, &groups)
                .expect("the batch is good");
        };
        batch();
        let batch = milliseconds(batch);

        let mut one_after_the_other = || in_turn.iter_mut().for_each(|m| run(m, &mut *lane));
        one_after_the_other();
        let one_after_the_other = milliseconds(one_after_the_other);

        let mut side_by_side = || {
            let next = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for lane in &mut lanes {
                    let (next, apart) = (&next, &apart);
                    scope.spawn(move || {
                        while let Some(m) = apart.get(next.fetch_add(1, Ordering::Relaxed)) {
                            run(&mut m.lock().expect("nobody panics"), &mut **lane);
                        }
                    });
                }
            });
        };
        side_by_side();
        let side_by_side = milliseconds(side_by_side);

        for ((a, b), c) in together.iter().zip(&in_turn).zip(&mut apart) {
            let c = c.get_mut().expect("nobody panics");
            for ((a, b), c) in a.outputs.iter().zip(&b.outputs).zip(&c.outputs) {
                let bytes = |t: &Option<Tensor>| t.as_ref().expect("an output").bytes().to_vec();
                assert!(bytes(a) == bytes(b) && bytes(b) == bytes(c), "other bits");
            }
        }
        if round > 0 {
            for (times, time) in times
                .iter_mut()
                .zip([batch, one_after_the_other, side_by_side])
            {
                times.push(time);
            }
        }
    }
    let mean = tokens as f64 / rounds as f64;
    println!("{path}: {REQUESTS} requests, {mean:.0} tokens on average, {cores} cores");
    let batch = times[0].clone();
    let ratio = |others: &[f64]| {
        let mut ratios: Vec<f64> = others.iter().zip(&batch).map(|(o, b)| o / b).collect();
        median(&mut ratios)
    };
    let ratios = times.each_ref().map(|t| ratio(t));
    let names = ["one batch", "one after the other", "side by side"];
    for ((name, times), ratio) in names.iter().zip(&mut times).zip(ratios) {
        let median = median(times);
        println!("{name:>20} {median:>8.2} ms  {ratio:>5.2} times the batch's");
    }
}
