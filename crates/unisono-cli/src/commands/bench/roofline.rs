//! `unisono bench --roofline`: what the processor can do at best, to set measured speeds beside it.

use std::io::Write;

use serde::Serialize;
use unisono::Isa;
use unisono::roofline::{MEMORY_STREAM_BYTES, Rate, Roofline, RooflineProbe};

use super::super::json_line;
use crate::console::{Progress, Table, bytes, three_digits};
use crate::failure::Failure;

/// Of whom the ceilings are.
pub struct Subject<'a> {
    pub isas: Vec<Isa>,
    pub threads: usize,
    /// Whose weights are read.
    pub model: &'a str,
    pub weight_bytes: usize,
}

/// A line of JSON. Rates are the best of some rounds, medians stand beside them.
#[derive(Serialize)]
struct Line<'a> {
    isa: &'static str,
    threads: usize,
    gflops_one_thread: f64,
    gflops_one_thread_median: f64,
    gflops: f64,
    gflops_median: f64,
    memory_gb_per_s: f64,
    memory_gb_per_s_median: f64,
    weights_gb_per_s: f64,
    weights_gb_per_s_median: f64,
    weights: &'a str,
    weight_bytes: usize,
}

const GIGA: f64 = 1e9;

fn line<'a>(roofline: &Roofline, model: &'a str) -> Line<'a> {
    let giga = |rate: &Rate| (rate.best / GIGA, rate.median / GIGA);
    let (gflops_one_thread, gflops_one_thread_median) = giga(&roofline.one_thread);
    let (gflops, gflops_median) = giga(&roofline.all_threads);
    let (memory_gb_per_s, memory_gb_per_s_median) = giga(&roofline.memory);
    let (weights_gb_per_s, weights_gb_per_s_median) = giga(&roofline.weights);
    Line {
        isa: roofline.isa.name(),
        threads: roofline.threads,
        gflops_one_thread,
        gflops_one_thread_median,
        gflops,
        gflops_median,
        memory_gb_per_s,
        memory_gb_per_s_median,
        weights_gb_per_s,
        weights_gb_per_s_median,
        weights: model,
        weight_bytes: roofline.weight_bytes,
    }
}

/// Measures and prints.
///
/// # Errors
/// The machine lacks the instructions, threads or memory; standard output cannot be written.
pub fn roofline(subject: &Subject<'_>, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let mut found = Vec::new();
    for &isa in &subject.isas {
        progress.show(&format!("roofline of {isa}"));
        let probe = RooflineProbe::new(isa, subject.threads)?;
        found.push(probe.measure(subject.weight_bytes)?);
    }
    progress.clear();
    if json {
        for roofline in &found {
            writeln!(out, "{}", json_line(&line(roofline, subject.model))?)?;
        }
        return Ok(());
    }
    let all = format!(">{} threads", subject.threads);
    let mut table = Table::new(&["isa", ">1 thread", &all, ">weights", ">memory"]);
    for roofline in &found {
        let cell = |rate: &Rate, unit: &str| {
            let [best, median] = [rate.best, rate.median].map(|r| three_digits(r / GIGA));
            format!("{best} {unit} ({median})")
        };
        table.row([
            roofline.isa.name().to_owned(),
            cell(&roofline.one_thread, "GFLOP/s"),
            cell(&roofline.all_threads, "GFLOP/s"),
            cell(&roofline.weights, "GB/s"),
            cell(&roofline.memory, "GB/s"),
        ]);
    }
    table.write(out, "")?;
    writeln!(
        out,
        "Best of some rounds, with the median in parentheses. FLOP/s: multiply-adds in registers, f32, each two operations.\n\
         GB/s: all threads read, over and over, as much as the weights of {} ({}), and {} of memory.",
        subject.model,
        bytes(subject.weight_bytes as u64),
        bytes(MEMORY_STREAM_BYTES as u64),
    )?;
    Ok(())
}
