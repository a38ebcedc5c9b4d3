//! `unisono bench`: how many rows a second a model answers, and how long each request takes.

mod closed_loop;
mod executor;
mod in_flight;
mod open_loop;
mod report;
mod roofline;
mod threads;
mod window;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use unisono::{Isa, Session, SessionOptions, SessionStats, Tensor};

use super::{DeviceArgs, load};
use crate::console::{Progress, grouped, plain};
use crate::failure::Failure;
use crate::request::MadeUp;
use crate::request::shapes::{GivenShapes, Lengths};
use closed_loop::closed_loop;
use in_flight::in_flight;
use open_loop::{Arrivals, open_loop};
use report::{Circumstances, Load, Measurement};
use threads::LoopError;
use window::{Watcher, Window};

const EXAMPLES: &str = "\
Three kinds of load:
  --callers    Threads, each of which sends its next request when the last one is answered. What a server with a
               thread for each client sees. The slower the answers, the fewer the requests.
  --in-flight  The same with futures, from one thread or as many as --senders says: what an asynchronous server sees.
  --rate       Requests come at random times (a Poisson process from the seed), however slow the answers are: what
               clients see who do not know of each other. Latency counts from when a request was to start, so a
               stall is felt by all that should have started meanwhile. Raise the rate until the machine does not
               keep up; a good place to work is well below that.

Requests are made up from the seed; each caller has its own, the other loads take turns with 16. A row is one entry
along the batch axis: --rows 8 puts 8 into each request. Requests that wait together share batches if the model's
rows are independent (unisono inspect tells); rows/batch shows how many rows did, and --no-coalesce what it is worth.

Examples:
  unisono bench model.onnx
  unisono bench model.onnx --callers 1,8 --rows 1,8 --secs 5
  unisono bench model.onnx --callers 32 --rows 1 --no-coalesce
  unisono bench model.onnx --in-flight 64,1024 --rows 1
  unisono bench model.onnx --in-flight 1024 --senders 4 --rows 1
  unisono bench model.onnx --rate 100,1000,10000 --rows 1
  unisono bench minilm.onnx --dim sequence_length=128 --int-range 0:30000
  unisono bench silero_vad.onnx --shapes 'input=1,512' --fill sr=16000
  unisono bench model.onnx --json | jq .rows_per_s
  unisono bench --roofline

With --json, one object a line:
  model, device, rows            what was measured
  callers, in_flight or rate     the load; with in_flight also senders, the threads that keep them
  rows_per_s                     rows answered per second, all requests together
  p50_ms, p99_ms, max_ms         time from a request to its answer
  samples                        requests that these are of
  coalesce                       false with --no-coalesce
  batches, mean_batch_rows       batches run meanwhile, and the rows of one in the mean
  batch_rows_p50, batch_rows_max rows of batches, rounded down by at most a fifth
  rerun_batches                  batches that failed as a whole and ran again, request by request
  mean_queue_ms                  time from a request's arrival to the start of its batch
  mean_run_ms, run_p99_ms        time that a batch ran
  compiles, evictions            plans made and forgotten meanwhile: 0 once all shapes have been seen
  failed                         requests that ended with an error meanwhile
  secs                           how long that was
  threads, isa, seed, shapes     the circumstances
and with --rate:
  offered_per_s, achieved_per_s  requests that came, and that were answered, while measured
  kept_up                        false if answers were missing or the backlog grew, beyond chance
  not_sent                       could not be sent: the queue was full and 4096 more waited, or the sender too slow
  unanswered                     given up; their time until then counts in the latencies
  backlog_at_opening, ..._at_end outstanding when the measurement began, and at least in its last quarter
  sent_late_p99_ms               how late the sender was; if much of p50_ms, the sender is what was measured
and with --roofline, one object for each instruction set:
  gflops, gflops_one_thread      multiply-adds in registers, f32, each two operations; where unit is
                                 processor, a thread is one of the GPU's
  weights_gb_per_s               reading weight_bytes over and over, all threads, each its part
  memory_gb_per_s                reading what no cache holds
  ..._median                     the median of the rounds of which the others are the best";

/// Measure throughput and latency under load
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The ONNX model
    #[arg(required_unless_present = "roofline")]
    model: Option<PathBuf>,

    /// Measure instead what the device can do at best: multiply-adds a second, and bytes read a second from memory
    /// and from where the model's weights lie (those of a small transformer if no model is given)
    #[arg(long, conflicts_with_all = ["callers", "in_flight", "rate", "rows", "no_coalesce", "shapes"])]
    roofline: bool,

    /// Numbers of concurrent callers to measure
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,2,8,32",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    callers: Vec<u16>,

    /// Numbers of requests that are kept in flight as futures, instead of callers; the queue has room for all
    #[arg(long, value_name = "N,N", value_delimiter = ',', conflicts_with = "callers",
          value_parser = clap::value_parser!(u16).range(1..=16384))]
    in_flight: Vec<u16>,

    /// Threads that keep the requests of --in-flight, each its share
    #[arg(long, value_name = "N", default_value = "1", requires = "in_flight",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    senders: u16,

    /// Requests per second that come at random times, whether or not earlier ones are answered, instead of callers
    #[arg(long, value_name = "R,R", value_delimiter = ',', conflicts_with_all = ["callers", "in_flight"],
          value_parser = rate)]
    rate: Vec<f64>,

    /// Rows per request to measure
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,8",
          value_parser = clap::value_parser!(u32).range(1..))]
    rows: Vec<u32>,

    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    secs: f64,

    /// Let every request run alone, to see what sharing batches is worth
    #[arg(long)]
    no_coalesce: bool,

    /// Say on standard error what requests wait for that make no progress for so long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    stall_watchdog: Option<f64>,

    /// Shapes of inputs, such as 'x=1,3,224,224;y=1,2'; without, the model's own
    #[arg(long, value_name = "SHAPES")]
    shapes: Vec<GivenShapes>,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    made_up: MadeUp,

    #[command(flatten)]
    device: DeviceArgs,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(secs) if (0.01..=86_400.0).contains(&secs) => Ok(secs),
        _ => Err("should be a number of seconds from 0.01 to 86400".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1e6).contains(&rate) => Ok(rate),
        _ => Err("should be a number of requests per second from 0.01 to 1000000".to_owned()),
    }
}

/// Beyond those that the queue holds, so many requests of a load that does not wait may be outstanding.
const OUTSIDE: usize = 4096;

/// Runs the command.
///
/// # Errors
/// The model or the options do not work, or a request failed.
pub fn bench(args: &BenchArgs, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.model {
        _ if args.roofline => ceilings(args, out),
        Some(path) => bench_model(args, path, out),
        None => Err(Failure::bad_input("there is no model to measure")),
    }
}

/// What the device can do at best.
fn ceilings(args: &BenchArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let (name, parameters) = match &args.model {
        Some(path) => {
            let parameters = load(path)?.summary_as_loaded().parameters;
            (path.display().to_string(), parameters)
        }
        // The model of the verification's story.
        None => ("a small transformer".to_owned(), 1_579_520),
    };
    let subject = roofline::Subject {
        isas: match args.device.isa() {
            Some(isa) => vec![isa],
            None if !args.device.is_cpu() => Vec::new(),
            // Without vectors only where there are none.
            None => Isa::available()
                .filter(|isa| *isa != Isa::Scalar || Isa::detect() == Isa::Scalar)
                .collect(),
        },
        device: args.device.build()?,
        model: &plain(&name),
        weight_bytes: usize::try_from(parameters).unwrap_or(usize::MAX / 8) * size_of::<f32>(),
    };
    roofline::roofline(&subject, args.json, out)
}

fn bench_model(args: &BenchArgs, path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let model = load(path)?;
    let given = GivenShapes::merged(&args.shapes)?;
    let mut lengths = args.made_up.assumptions.lengths(&model, &given)?;
    let rows = choose_rows(args, &lengths, &given);
    let device = args.device.build()?;
    let info = device.info();
    let options = args.options();
    let session = model
        .session_with(&device, &options)
        .map_err(|e| Failure::of_model(&e, path))?;
    let loads = args.loads();

    // Made once before the head is printed, so that what cannot be made up is known, and the defaults are.
    args.made_up.inputs(&mut lengths, &given, 1, 0)?;
    let name = path.display().to_string();
    let around = Circumstances {
        model: &name,
        device: info.id.to_string(),
        threads: info.threads,
        isa: &info.isa,
        seed: args.made_up.seed,
        coalesce: !args.no_coalesce,
    };
    if args.json {
        if let Some(defaults) = lengths.defaults() {
            eprintln!("note: lengths that nobody chose: {}", plain(&defaults));
        }
    } else {
        writeln!(
            out,
            "{} on {} ({} threads, {})",
            plain(&name),
            info.id,
            info.threads,
            info.isa
        )?;
        if let Some(defaults) = lengths.defaults() {
            writeln!(
                out,
                "lengths that nobody chose: {} (set with --dim)",
                plain(&defaults)
            )?;
        }
        if let Some(first) = loads.first() {
            writeln!(out, "{}", first.head())?;
        }
    }

    for &rows in &rows {
        for &load in &loads {
            let requests: Vec<Vec<Tensor>> = (0..load.requests())
                .map(|caller| {
                    args.made_up
                        .inputs(&mut lengths, &given, rows as usize, caller)
                })
                .collect::<Result<_, _>>()?;
            let measured = measure(&session, load, &requests, rows, args)?;
            if args.json {
                let ports = model.inputs().iter().map(|port| &*port.name);
                let shapes = requests[0].iter().map(|tensor| tensor.shape().to_vec());
                let line = measured.line(&around, ports.zip(shapes).collect());
                writeln!(out, "{}", super::json_line(&line)?)?;
            } else {
                writeln!(out, "{}", measured.row())?;
                if let Some(trouble) = measured.trouble() {
                    writeln!(out, "          {trouble}")?;
                }
            }
            out.flush()?;
        }
    }
    if let (Some(obstacle), true) = (model.contract().obstacle(), around.coalesce) {
        let note = format!("rows are not batched: {}", plain(&obstacle.to_string()));
        match args.json {
            true => eprintln!("note: {note}"),
            false => writeln!(out, "{note}")?,
        }
    }
    Ok(())
}

impl BenchArgs {
    fn options(&self) -> SessionOptions {
        let options = SessionOptions::default().coalesce(!self.no_coalesce);
        // All that are in flight have room: one that waits for room may be passed by later ones as long as there are any.
        let longest = self.in_flight.iter().copied().max().unwrap_or(0);
        let capacity = options.queue_capacity.max(longest.into());
        let options = options.queue_capacity(capacity);
        match self.stall_watchdog {
            Some(secs) => options.stall_watchdog(Duration::from_secs_f64(secs)),
            None => options,
        }
    }

    /// What to measure, all of one kind.
    fn loads(&self) -> Vec<Load> {
        if !self.rate.is_empty() {
            return self.rate.iter().map(|&rate| Load::Rate(rate)).collect();
        }
        match &self.in_flight[..] {
            [] => self.callers.iter().map(|&n| Load::Callers(n)).collect(),
            numbers => numbers
                .iter()
                .map(|&n| Load::InFlight(n, self.senders.min(n)))
                .collect(),
        }
    }
}

/// The numbers of rows that can be measured: all that are asked for, or 1 with the reason why no others.
fn choose_rows(args: &BenchArgs, lengths: &Lengths<'_>, given: &GivenShapes) -> Vec<u32> {
    let fixed = lengths.rows_are_fixed_because().or_else(|| {
        let fixes = |port: &&unisono::Port| given.get(&port.name).is_some();
        let port = lengths.inputs().iter().find(fixes)?;
        Some(format!("--shapes fixes the rows of \"{}\"", port.name))
    });
    match fixed {
        Some(why) if args.rows != [1] => {
            eprintln!(
                "note: {}: measured as given, which is called 1 row",
                plain(&why)
            );
            vec![1]
        }
        Some(_) => vec![1],
        None => args.rows.clone(),
    }
}

/// Puts one load on the session, made of these requests.
fn measure(
    session: &Session,
    load: Load,
    requests: &[Vec<Tensor>],
    rows: u32,
    args: &BenchArgs,
) -> Result<Measurement, Failure> {
    let window = Window {
        warm_up: Duration::from_secs_f64((args.secs / 4.0).clamp(0.05, 1.0)),
        measured: Duration::from_secs_f64(args.secs),
    };
    let mut watch = Watch {
        session,
        what: format!("{load} x {rows} rows"),
        secs: args.secs,
        stats: SessionStats::default(),
        line: Progress::new(),
    };
    let mut offered = None;
    let failure = |error| match error {
        LoopError::Call(error) => Failure::from(error),
        LoopError::Thread(error) => {
            Failure::internal(format!("a caller's thread cannot be started: {error}"))
                .help("measure fewer callers, or use --in-flight, which needs few threads")
        }
    };
    let seen = match load {
        Load::Callers(callers) => {
            let call = |caller: usize| session.run(&requests[caller]).map(drop);
            closed_loop(callers.into(), window, call, &mut watch).map_err(failure)?
        }
        Load::InFlight(count, threads) => {
            let send = |place: usize| session.run_async(&requests[place % requests.len()]);
            in_flight(count.into(), threads.into(), window, send, &mut watch).map_err(failure)?
        }
        Load::Rate(rate) => {
            let send = |number: usize| session.run_async(&requests[number % requests.len()]);
            let arrivals = Arrivals::new(rate, args.made_up.seed);
            let most = args.options().queue_capacity + OUTSIDE;
            let (seen, became) = open_loop(arrivals, window, most, send, &mut watch)?;
            offered = Some(became);
            seen
        }
    };
    Ok(Measurement {
        load,
        rows,
        seen,
        offered,
        stats: watch.stats,
    })
}

/// Looks at the session when the window opens and closes, and shows progress between.
struct Watch<'a> {
    session: &'a Session,
    what: String,
    secs: f64,
    /// At the opening, what the session had done; from the closing on, what it did in the window.
    stats: SessionStats,
    line: Progress,
}

impl Watcher for Watch<'_> {
    fn opened(&mut self) {
        self.stats = self.session.stats();
    }

    fn progress(&mut self, answered: u64, open: Duration) {
        self.line.show(&format!(
            "{}: {} requests in {:.1} of {} s",
            self.what,
            grouped(answered),
            open.as_secs_f64(),
            self.secs
        ));
    }

    fn closed(&mut self) {
        self.stats = self.session.stats().since(&self.stats);
        self.line.clear();
    }
}
