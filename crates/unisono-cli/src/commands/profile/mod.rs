//! `unisono profile`: where the time of one request goes, beside what the machine could do.

mod ceiling;
mod chart;
mod groups;
mod report;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use unisono::SessionOptions;

use super::{DeviceArgs, load};
use crate::console::{Progress, plain};
use crate::failure::Failure;
use crate::request::MadeUp;
use crate::request::shapes::GivenShapes;
use ceiling::{Ceiling, disturbed};
use report::Report;

const EXAMPLES: &str = "\
Runs one made-up request again and again with a clock around every step of its plan, alone on the device. Times are the
medians of the runs. Beside each stands what the step achieved of what this machine can do at best, measured before and after
(as bench --roofline does): multiply-adds a second on all threads, and bytes read a second from as many bytes as the run
works on. No step can be faster than the larger of both shares says; what is missing to 100 % is what could be gained. A
step may read faster than that: a small tensor lies in a nearer cache.

Operations and bytes are counted from shapes: what the step cannot do without. A bias, an activation or a product's
scale that is fused into another node has that node's step, which is named after the last of the nodes. Nodes that only
change the shape, and what follows from shapes and constants, take no time and are not listed.

On a GPU a run is a captured graph with both copies, as it is for every request; its steps are timed one by one, by the device's clock,
outside of a graph, where they start further apart. What lies between the steps is the copies and what the processor does.

Examples:
  unisono profile model.onnx
  unisono profile model.onnx --rows 8 --threads 1 --top 40
  unisono profile minilm.onnx --dim sequence_length=128 --int-range 0:30000 --svg minilm.svg
  unisono profile silero_vad.onnx --shapes 'input=1,512' --fill sr=16000
  unisono profile model.onnx --by operator
  unisono profile model.onnx --isa avx2                      what would a smaller machine do?
  unisono profile model.onnx --rows 64 --device cuda:0
  unisono profile model.onnx --json | jq '.steps | max_by(.lost_ms)'

The table:
  share        of the time of the run
  GFLOP/s, of peak  operations a second, and their share of the measured peak
  GB/s, of read     bytes read and written a second, and their share of the measured rate of reading
  thr          threads that worked on it; on a GPU always 1
  by           the kernel, which is told below the table

With --json, one object:
  model, device, threads, isa, seed, shapes, rows, runs   what was measured
  run_ms, run_lowest_ms, run_highest_ms                   a whole run
  steps_ms, between_steps_ms                              all its steps, and what lies between them
  disturbed                                               true if something else seems to have wanted the cores
  unit, gflops_peak, gflops_peak_one_thread               what the machine can do, on all threads and on one (a GPU's
                                                          processors, if unit says so),
  read_gb_per_s, read_bytes, memory_gb_per_s              and how fast it reads so many bytes, and from memory
  roof_share                                              of the run: the time that the roof allows, over the time taken
  time_by_roof_share                                      how much of the time is spent in steps from .. to of the roof
  steps                                                   all, in the order in which they run:
    name, operator, kernel, threads
    ms, lowest_ms, highest_ms, share                      its time, and the share of the run
    flops, input_bytes, output_bytes, weight_bytes        flops is null where it depends on data
    gflops, peak_share, gb_per_s, read_share              what it achieved; shares are of 1
    roof_share, lost_ms                                   the larger share, at most 1; the time above the roof
  operators                                               sums: operator, steps, ms, share, roof_share, lost_ms";

/// Show which steps of a model take the time, and how far each is from what the machine can do
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ProfileArgs {
    /// The ONNX model
    model: PathBuf,

    /// Rows of the request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rows: u32,

    /// How often it is timed, after a first run that is not
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,

    /// Lines of the table
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

    /// What a line of the table is, and by what the chart is grouped: nodes by the path in their names, if they have any
    #[arg(long, value_enum, default_value_t = By::Node)]
    by: By,

    /// Draw a chart: the run, its parts below it, as wide as their times and coloured by how near they are to the roof
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Shapes of inputs, such as 'x=1,3,224,224;y=1,2'; without, the model's own
    #[arg(long, value_name = "SHAPES")]
    shapes: Vec<GivenShapes>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    made_up: MadeUp,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What the time is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Each step
    Node,
    /// All steps of an operator together
    Operator,
}

/// Runs the command.
///
/// # Errors
/// The model or the options do not work, the request failed, or the chart cannot be written.
pub fn profile(args: &ProfileArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let model = load(&args.model)?;
    let given = GivenShapes::merged(&args.shapes)?;
    let mut lengths = args.made_up.assumptions.lengths(&model, &given)?;
    let rows = args.rows as usize;
    if let (Some(why), true) = (lengths.rows_are_fixed_because(), rows != 1) {
        return Err(
            Failure::bad_input(format!("--rows {rows} cannot be made: {why}"))
                .help("leave --rows out, or give whole shapes with --shapes"),
        );
    }
    let request = args.made_up.inputs(&mut lengths, &given, rows, 0)?;
    let device = args.device.build()?;
    let of_model = |error: unisono::Error| Failure::of_model(&error, &args.model);
    let session = model
        .session_with(&device, &SessionOptions::default())
        .map_err(of_model)?;
    // Before anything is measured: what cannot be run is known, and weights are packed.
    let first = session.profile(&request, 1).map_err(of_model)?;

    let info = device.info();
    let mut progress = Progress::new();
    progress.show("measuring what the machine can do");
    let works_on = first.weight_bytes().saturating_add(first.arena_bytes);
    let works_on = usize::try_from(works_on).unwrap_or(usize::MAX / 8);
    let before = device.ceilings(works_on)?;
    progress.show(&format!("running it {} times", args.runs));
    let profile = session
        .profile(&request, args.runs as usize)
        .map_err(of_model)?;
    progress.show("measuring again what the machine can do");
    let after = device.ceilings(works_on)?;
    progress.clear();

    let name = args.model.display().to_string();
    let ports = model.inputs().iter().map(|port| &*port.name);
    let shapes = request.iter().map(|tensor| tensor.shape().to_vec());
    let report = Report::new(
        &name,
        &info,
        args.made_up.seed,
        ports.zip(shapes).collect(),
        &profile,
        Ceiling::of(&before, &after),
        disturbed(&before, &after, &profile.whole),
    );
    if let Some(file) = &args.svg {
        write_chart(file, &chart::svg(&report, args.by))?;
    }
    let defaults = lengths.defaults();
    if args.json {
        if let Some(defaults) = defaults {
            eprintln!("note: lengths that nobody chose: {}", plain(&defaults));
        }
        writeln!(out, "{}", super::json_line(&report)?)?;
        return Ok(());
    }
    text::write(
        &report,
        args.by,
        args.top as usize,
        defaults.as_deref(),
        out,
    )?;
    if let Some(file) = &args.svg {
        writeln!(out, "chart     {}", plain(&file.display().to_string()))?;
    }
    Ok(())
}

fn write_chart(file: &Path, chart: &str) -> Result<(), Failure> {
    std::fs::write(file, chart).map_err(|error| {
        Failure::bad_input(format!("the chart cannot be written: {error}"))
            .at(file.display())
            .help("give --svg a file in a folder that exists and may be written")
    })
}
