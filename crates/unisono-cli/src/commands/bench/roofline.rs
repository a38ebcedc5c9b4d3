//! `unisono bench --roofline`: what the device can do at best, to set measured speeds beside it.

use std::io::Write;

use serde::Serialize;
use unisono::roofline::{Ceilings, Rate, RooflineProbe};
use unisono::{Device, Isa};

use super::super::json_line;
use crate::console::{Progress, Table, bytes, three_digits};
use crate::failure::Failure;

/// Of whom the ceilings are.
pub struct Subject<'a> {
    pub device: Device,
    /// Instruction sets of the processor that are measured one by one; none, if the device has no choice.
    pub isas: Vec<Isa>,
    /// Whose weights are read.
    pub model: &'a str,
    pub weight_bytes: usize,
}

/// A line of JSON. Rates are the best of some rounds, medians stand beside them.
#[derive(Serialize)]
struct Line<'a> {
    device: String,
    isa: &'a str,
    unit: &'static str,
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

fn line<'a>(found: &'a Ceilings, subject: &Subject<'a>) -> Line<'a> {
    let giga = |rate: &Rate| (rate.best / GIGA, rate.median / GIGA);
    let (gflops_one_thread, gflops_one_thread_median) = giga(&found.one_unit);
    let (gflops, gflops_median) = giga(&found.all_units);
    let (memory_gb_per_s, memory_gb_per_s_median) = giga(&found.memory);
    let (weights_gb_per_s, weights_gb_per_s_median) = giga(&found.weights);
    Line {
        device: subject.device.info().id.to_string(),
        isa: &found.isa,
        unit: found.unit,
        threads: found.units,
        gflops_one_thread,
        gflops_one_thread_median,
        gflops,
        gflops_median,
        memory_gb_per_s,
        memory_gb_per_s_median,
        weights_gb_per_s,
        weights_gb_per_s_median,
        weights: subject.model,
        weight_bytes: found.weight_bytes,
    }
}

/// Measures and prints.
///
/// # Errors
/// The machine lacks the instructions, threads or memory; standard output cannot be written.
pub fn roofline(subject: &Subject<'_>, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let mut found = Vec::new();
    let info = subject.device.info();
    for &isa in &subject.isas {
        progress.show(&format!("roofline of {isa}"));
        let probe = RooflineProbe::new(isa, info.threads)?;
        found.push(Ceilings::from(probe.measure(subject.weight_bytes)?));
    }
    if subject.isas.is_empty() {
        progress.show(&format!("roofline of {}", info.id));
        found.push(subject.device.ceilings(subject.weight_bytes)?);
    }
    progress.clear();
    if json {
        for roofline in &found {
            writeln!(out, "{}", json_line(&line(roofline, subject))?)?;
        }
        return Ok(());
    }
    let Some(first) = found.first() else {
        return Ok(());
    };
    let (unit, memory_bytes) = (first.unit, first.memory_bytes);
    let (one, all) = (format!(">1 {unit}"), format!(">{} {unit}s", first.units));
    let mut table = Table::new(&["isa", &one, &all, ">weights", ">memory"]);
    for roofline in &found {
        let cell = |rate: &Rate, unit: &str| {
            let [best, median] = [rate.best, rate.median].map(|r| three_digits(r / GIGA));
            format!("{best} {unit} ({median})")
        };
        table.row([
            roofline.isa.clone(),
            cell(&roofline.one_unit, "GFLOP/s"),
            cell(&roofline.all_units, "GFLOP/s"),
            cell(&roofline.weights, "GB/s"),
            cell(&roofline.memory, "GB/s"),
        ]);
    }
    table.write(out, "")?;
    writeln!(
        out,
        "Best of some rounds, with the median in parentheses. FLOP/s: multiply-adds in registers, f32, each two operations.\n\
         GB/s: all {unit}s read, over and over, as much as the weights of {} ({}), and {} of memory.",
        subject.model,
        bytes(first.weight_bytes as u64),
        bytes(memory_bytes as u64),
    )?;
    Ok(())
}
