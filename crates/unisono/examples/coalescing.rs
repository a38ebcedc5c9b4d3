//! What coalescing costs and gains on this machine: `cargo run --release -p unisono --example coalescing [ROUNDS [MINILM]]`.
//!
//! A multi-layer perceptron (512-1024-1024-512) is asked by closed-loop callers. Everything is measured in turn in
//! every round, so that all sides see the same machine, and told as the median over rounds with the lowest and the highest.
//! Every answer of every measurement is compared bit for bit with the same request run alone.
//!
//! With the path of a MiniLM model (`models/minilm.onnx`), 8 callers also ask for texts of 8 to 128 tokens, with and without
//! coalescing.
//!
//! Evidence: no-timer

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use unisono::onnx::write::{self, Dim, Graph, Node, ValueInfo};
use unisono::{Device, Error, Model, RunFuture, Session, SessionOptions, Tensor};

const WIDTHS: [i64; 4] = [512, 1024, 1024, 512];
const WINDOW: Duration = Duration::from_millis(500);

/// A repeatable number from -1 to 1.
fn noise(i: u64) -> f32 {
    let mut x = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x >> 40) as f32 / (1 << 23) as f32) - 1.0
}

fn mlp() -> Result<Model, Error> {
    let info =
        |name, width| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(width)]);
    let mut graph = Graph::new("mlp").input(info("x", WIDTHS[0]));
    let mut x = "x".to_owned();
    for (layer, pair) in WIDTHS.windows(2).enumerate() {
        let (k, n) = (pair[0], pair[1]);
        let values = |count: i64, scale: f32| -> Vec<f32> {
            (0..count)
                .map(|i| noise(layer as u64 * 10_000_000 + i as u64) * scale)
                .collect()
        };
        let (w, b) = (format!("w{layer}"), format!("b{layer}"));
        let (sum, last) = (format!("h{layer}"), layer + 2 == WIDTHS.len());
        let out = if last {
            "y".to_owned()
        } else {
            format!("r{layer}")
        };
        let made = if last { &out } else { &sum };
        graph = graph
            .initializer(write::Tensor::of(
                &w,
                &[k, n],
                &values(k * n, 1.0 / (k as f32).sqrt()),
            ))
            .initializer(write::Tensor::of(&b, &[n], &values(n, 0.1)))
            .node(Node::new("Gemm").inputs([&*x, &*w, &*b]).outputs([&**made]));
        if !last {
            graph = graph.node(Node::new("Relu").inputs([&*sum]).outputs([&*out]));
        }
        x = out;
    }
    Model::from_bytes(write::Model::new(17, graph.output(info("y", WIDTHS[3]))).to_bytes())
}

fn row(seed: u64, rows: usize) -> Result<Tensor, Error> {
    let width = WIDTHS[0] as usize;
    let data: Vec<f32> = (0..rows * width)
        .map(|i| noise(seed * 1_000_003 + i as u64))
        .collect();
    Ok(Tensor::from_slice(&[rows, width], &data)?)
}

/// A request and the answer that it gets alone.
struct Case {
    inputs: Vec<Tensor>,
    alone: Vec<u8>,
}

impl Case {
    fn new(session: &Session, inputs: Vec<Tensor>) -> Result<Case, Error> {
        let alone = session.run(&inputs)?[0].bytes().to_vec();
        Ok(Case { inputs, alone })
    }

    fn check(&self, answer: &Tensor) {
        assert!(
            answer.bytes() == self.alone,
            "an answer has other bits than alone"
        );
    }
}

/// What one measurement saw.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Requests answered per second.
    rate: f64,
    p50: f64,
    p99: f64,
    mean_rows: f64,
    /// Microseconds that a batch ran, mean.
    run: f64,
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Closed-loop callers, each a thread that goes through its own cases.
fn callers(session: &Session, cases: &[Vec<Case>]) -> Seen {
    let (go, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let requests = AtomicU64::new(0);
    let mut before = session.stats();
    let mut elapsed = Duration::ZERO;
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = cases
            .iter()
            .map(|own| {
                let (go, stop, requests) = (&go, &stop, &requests);
                scope.spawn(move || {
                    let mut times = Vec::with_capacity(1 << 16);
                    for case in own.iter().cycle() {
                        let asked = Instant::now();
                        let answer = session.run(&case.inputs);
                        let took = asked.elapsed();
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        case.check(&answer.expect("an answer")[0]);
                        if go.load(Ordering::Relaxed) {
                            times.push(took.as_secs_f64() * 1e6);
                            requests.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    times
                })
            })
            .collect();
        std::thread::sleep(WINDOW / 5);
        before = session.stats();
        go.store(true, Ordering::Relaxed);
        let opened = Instant::now();
        std::thread::sleep(WINDOW);
        stop.store(true, Ordering::Relaxed);
        elapsed = opened.elapsed();
        threads
            .into_iter()
            .flat_map(|t| t.join().expect("a caller"))
            .collect()
    });
    times.sort_unstable_by(f64::total_cmp);
    let seen = session.stats().since(&before);
    Seen {
        rate: requests.into_inner() as f64 / elapsed.as_secs_f64(),
        p50: quantile(&times, 0.5),
        p99: quantile(&times, 0.99),
        mean_rows: seen.mean_batch_rows(),
        run: seen.run_ns.mean() / 1e3,
    }
}

struct Flag {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Futures in flight from one thread.
fn futures(session: &Session, cases: &[Case]) -> Seen {
    let flags: Vec<Arc<Flag>> = cases
        .iter()
        .map(|_| {
            Arc::new(Flag {
                woken: AtomicBool::new(true),
                thread: std::thread::current(),
            })
        })
        .collect();
    let wakers: Vec<Waker> = flags.iter().map(|f| Waker::from(Arc::clone(f))).collect();
    let mut flying: Vec<(RunFuture, Instant)> = cases
        .iter()
        .map(|c| (session.run_async(&c.inputs), Instant::now()))
        .collect();
    let mut times = Vec::with_capacity(1 << 16);
    let started = Instant::now();
    let mut opened = None;
    let mut before = session.stats();
    loop {
        if opened.is_none() && started.elapsed() > WINDOW / 5 {
            before = session.stats();
            opened = Some(Instant::now());
            times.clear();
        }
        if opened.is_some_and(|o| o.elapsed() > WINDOW) {
            break;
        }
        let mut idle = true;
        for (i, case) in cases.iter().enumerate() {
            if !flags[i].woken.swap(false, Ordering::Acquire) {
                continue;
            }
            idle = false;
            let (future, asked) = &mut flying[i];
            if let Poll::Ready(answer) = Pin::new(future).poll(&mut Context::from_waker(&wakers[i]))
            {
                times.push(asked.elapsed().as_secs_f64() * 1e6);
                case.check(&answer.expect("an answer")[0]);
                flying[i] = (session.run_async(&case.inputs), Instant::now());
                flags[i].woken.store(true, Ordering::Relaxed);
            }
        }
        if idle {
            std::thread::park();
        }
    }
    let elapsed = opened.expect("the window opened").elapsed();
    times.sort_unstable_by(f64::total_cmp);
    let seen = session.stats().since(&before);
    Seen {
        rate: times.len() as f64 / elapsed.as_secs_f64(),
        p50: quantile(&times, 0.5),
        p99: quantile(&times, 0.99),
        mean_rows: seen.mean_batch_rows(),
        run: seen.run_ns.mean() / 1e3,
    }
}

/// Median, lowest and highest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (
        quantile(&values, 0.5),
        quantile(&values, 0.0),
        quantile(&values, 1.0),
    )
}

fn show(what: &str, unit: &str, values: impl Iterator<Item = f64>) {
    let (median, low, high) = spread(values.collect());
    println!("  {what:<44} {median:>10.2} {unit:<8} ({low:.2} to {high:.2})");
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(7);
    let minilm = arguments.next();
    let device = Device::cpu()?;
    println!(
        "{} ({}), {} threads, {rounds} rounds",
        device.info().name,
        device.info().isa,
        device.info().threads
    );

    let model = mlp()?;
    let on = model.session(&device)?;
    let off = model.session_with(&device, &SessionOptions::default().coalesce(false))?;

    println!("\na lone caller (1 row)");
    let one = [vec![Case::new(&off, vec![row(0, 1)?])?]];
    let pairs: Vec<(Seen, Seen)> = (0..rounds)
        .map(|_| (callers(&on, &one), callers(&off, &one)))
        .collect();
    show("p50 with coalescing", "us", pairs.iter().map(|p| p.0.p50));
    show("p50 without", "us", pairs.iter().map(|p| p.1.p50));
    show("difference", "us", pairs.iter().map(|p| p.0.p50 - p.1.p50));

    for count in [8usize, 32, 256] {
        println!("\n{count} callers x 1 row against one caller x {count} rows");
        let many: Vec<Vec<Case>> = (0..count)
            .map(|i| Ok(vec![Case::new(&off, vec![row(i as u64, 1)?])?]))
            .collect::<Result<_, Error>>()?;
        let batch = [vec![Case::new(&off, vec![row(7, count)?])?]];
        let mut seen = Vec::new();
        for _ in 0..rounds {
            seen.push((
                callers(&on, &batch),
                callers(&on, &many),
                callers(&off, &many),
            ));
        }
        let cycle = |s: &Seen| count as f64 / s.rate * 1e6;
        show("explicit batch", "us", seen.iter().map(|s| 1e6 / s.0.rate));
        show("coalesced cycle", "us", seen.iter().map(|s| cycle(&s.1)));
        show(
            "longer by",
            "us",
            seen.iter().map(|s| cycle(&s.1) - 1e6 / s.0.rate),
        );
        show("of that its run, mean", "us", seen.iter().map(|s| s.1.run));
        show("rows/s coalesced", "", seen.iter().map(|s| s.1.rate));
        show(
            "rows/s without coalescing",
            "",
            seen.iter().map(|s| s.2.rate),
        );
        show(
            "rows of a batch, mean",
            "",
            seen.iter().map(|s| s.1.mean_rows),
        );
        show("p50", "us", seen.iter().map(|s| s.1.p50));
        show("p99", "us", seen.iter().map(|s| s.1.p99));
        show("p99 / p50", "", seen.iter().map(|s| s.1.p99 / s.1.p50));
    }

    println!("\n32 futures in flight from one thread against one caller x 32 rows");
    let many: Vec<Case> = (0..32)
        .map(|i| Case::new(&off, vec![row(i, 1)?]))
        .collect::<Result<_, Error>>()?;
    let batch = [vec![Case::new(&off, vec![row(7, 32)?])?]];
    let seen: Vec<(Seen, Seen)> = (0..rounds)
        .map(|_| (callers(&on, &batch), futures(&on, &many)))
        .collect();
    show("explicit batch", "us", seen.iter().map(|s| 1e6 / s.0.rate));
    show(
        "cycle of futures",
        "us",
        seen.iter().map(|s| 32e6 / s.1.rate),
    );
    show(
        "longer by",
        "%",
        seen.iter()
            .map(|s| (32.0 / s.1.rate * s.0.rate - 1.0) * 100.0),
    );
    show(
        "rows of a batch, mean",
        "",
        seen.iter().map(|s| s.1.mean_rows),
    );
    show("p99 / p50", "", seen.iter().map(|s| s.1.p99 / s.1.p50));

    if let Some(path) = minilm {
        println!("\nMiniLM, 8 callers, 8 to 128 tokens");
        let model = Model::load(&path)?;
        let on = model.session(&device)?;
        let off = model.session_with(&device, &SessionOptions::default().coalesce(false))?;
        let mut cases = Vec::new();
        for caller in 0..8u64 {
            let mut own = Vec::new();
            for turn in 0..16u64 {
                let length = 8 + ((noise(caller * 100 + turn) + 1.0) * 60.5) as usize;
                let tokens = |scale: f32, least: i64| -> Result<Tensor, Error> {
                    let at =
                        |i: usize| least + ((noise(turn * 1000 + i as u64) + 1.0) * scale) as i64;
                    let data: Vec<i64> = (0..length.min(128)).map(at).collect();
                    Ok(Tensor::from_slice(&[1, data.len()], &data)?)
                };
                let inputs = model.inputs().iter().map(|port| match &*port.name {
                    "attention_mask" => tokens(0.0, 1),
                    "token_type_ids" => tokens(0.0, 0),
                    _ => tokens(14_000.0, 100),
                });
                own.push(Case::new(&off, inputs.collect::<Result<_, _>>()?)?);
            }
            cases.push(own);
        }
        let seen: Vec<(Seen, Seen)> = (0..rounds)
            .map(|_| (callers(&on, &cases), callers(&off, &cases)))
            .collect();
        show("texts/s coalesced", "", seen.iter().map(|s| s.0.rate));
        show("texts/s without", "", seen.iter().map(|s| s.1.rate));
        show("ratio", "", seen.iter().map(|s| s.0.rate / s.1.rate));
        show(
            "texts of a batch, mean",
            "",
            seen.iter().map(|s| s.0.mean_rows),
        );
        show("p99 coalesced", "us", seen.iter().map(|s| s.0.p99));
        show("p99 without", "us", seen.iter().map(|s| s.1.p99));
    }
    println!("\nevery answer had the bits of its lone run");
    Ok(())
}
