//! What `unisono profile` says, for people: lines of at most 100 columns.

use std::io::{self, Write};

use super::By;
use super::ceiling::{CLASSES, ratio};
use super::report::{Report, Step};
use crate::console::{Table, bytes, microseconds, plain, short, shortened, three_digits};

/// Columns that names may take, so that a line has no more than 100.
const OPERATOR: usize = 14;
const NODE: usize = 29;

/// Operators of which sums are shown below the table of nodes.
const OPERATORS: usize = 8;

/// Writes the report.
pub fn write(
    report: &Report<'_>,
    by: By,
    top: usize,
    defaults: Option<&str>,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{} on {} ({} threads, {}), {}, {} runs",
        plain(report.model),
        report.device,
        report.threads,
        report.isa,
        match report.rows {
            1 => "1 row".to_owned(),
            n => format!("{n} rows"),
        },
        report.runs
    )?;
    if let Some(defaults) = defaults {
        let defaults = plain(defaults);
        writeln!(
            out,
            "lengths that nobody chose: {defaults} (set with --dim)"
        )?;
    }
    writeln!(out)?;
    match by {
        By::Node => {
            nodes(report, top, out)?;
            writeln!(out)?;
            operators(report, OPERATORS, out)?;
        }
        By::Operator => operators(report, top, out)?,
    }
    writeln!(out)?;
    total(report, out)
}

fn nodes(report: &Report<'_>, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut slowest: Vec<&Step<'_>> = report.steps.iter().collect();
    slowest.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let rest = slowest.split_off(top.min(slowest.len()));
    let mut kernels: Vec<&str> = Vec::new();
    let mut table = Table::new(&[
        ">share", ">time", "operator", "node", ">GFLOP/s", ">peak", ">GB/s", ">read", ">thr", ">by",
    ]);
    for step in slowest {
        let kernel = kernels.iter().position(|k| *k == step.kernel);
        let kernel = kernel.unwrap_or_else(|| {
            kernels.push(step.kernel);
            kernels.len() - 1
        });
        let flops = step.flops.filter(|flops| *flops > 0);
        table.row([
            percent(step.share, 1),
            time(step.ms),
            shortened(&plain(step.operator), OPERATOR),
            shortened(&plain(step.name), NODE),
            flops.map_or("-".to_owned(), |_| three_digits(step.gflops)),
            flops.map_or("-".to_owned(), |_| percent(step.peak_share, 0)),
            three_digits(step.gb_per_s),
            percent(step.read_share, 0),
            step.threads.to_string(),
            (kernel + 1).to_string(),
        ]);
    }
    if !rest.is_empty() {
        let share: f64 = rest.iter().map(|step| step.share).sum();
        let ms = rest.iter().map(|step| step.ms).sum();
        let more = format!("{} more", rest.len());
        table.row([percent(share, 1), time(ms), String::new(), more]);
    }
    table.write(out, "")?;
    writeln!(out, "\nby")?;
    for (i, kernel) in kernels.iter().enumerate() {
        writeln!(out, "  {:2}  {}", i + 1, shortened(&plain(kernel), 94))?;
    }
    Ok(())
}

fn operators(report: &Report<'_>, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&[
        ">share", ">time", "operator", ">steps", ">GFLOP/s", ">GB/s", ">roof", ">lost",
    ]);
    for sum in report.operators.iter().take(top) {
        let rate = |amount: u64| three_digits(ratio(amount as f64, sum.work.ns));
        let gflops = Some(sum.work.flops).filter(|flops| *flops > 0).map(rate);
        table.row([
            percent(sum.share, 1),
            time(sum.ms),
            shortened(&plain(sum.operator), 28),
            sum.steps.to_string(),
            gflops.unwrap_or_else(|| "-".to_owned()),
            rate(sum.work.bytes),
            percent(sum.roof_share, 0),
            time(sum.lost_ms),
        ]);
    }
    let rest = report.operators.get(top..).unwrap_or_default();
    if !rest.is_empty() {
        let sum = |of: fn(&super::report::Sum<'_>) -> f64| rest.iter().map(of).sum::<f64>();
        let steps: usize = rest.iter().map(|sum| sum.steps).sum();
        table.row([
            percent(sum(|s| s.share), 1),
            time(sum(|s| s.ms)),
            format!("{} more", rest.len()),
            steps.to_string(),
            String::new(),
            String::new(),
            String::new(),
            time(sum(|s| s.lost_ms)),
        ]);
    }
    table.write(out, "")
}

fn total(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let flops: u64 = report.steps.iter().map(|step| step.work.flops).sum();
    let moved: u64 = report.steps.iter().map(|step| step.work.bytes).sum();
    writeln!(
        out,
        "total     {} ({} to {}), of which {} between the steps ({})",
        time(report.run_ms),
        time(report.run_lowest_ms),
        time(report.run_highest_ms),
        time(report.between_steps_ms),
        percent(ratio(report.between_steps_ms, report.run_ms), 1),
    )?;
    writeln!(
        out,
        "work      {} FLOPs, {} read and written by {} steps",
        short(flops),
        bytes(moved),
        report.steps.len()
    )?;
    writeln!(
        out,
        "roofline  {} GFLOP/s (one {} {}), {} GB/s read from {} (from memory {} GB/s)",
        three_digits(report.gflops_peak),
        report.unit,
        three_digits(report.gflops_peak_one_thread),
        three_digits(report.read_gb_per_s),
        bytes(report.read_bytes as u64),
        three_digits(report.memory_gb_per_s),
    )?;
    let classes = CLASSES.iter().zip(&report.time_by_roof_share).rev();
    let classes: Vec<String> = classes
        .filter(|(_, class)| class.share >= 0.0005)
        .map(|((_, words), class)| format!("{words}: {}", percent(class.share, 1)))
        .collect();
    writeln!(
        out,
        "reached   {} of the roof; of the time of the steps is spent at",
        percent(report.roof_share, 0),
    )?;
    writeln!(out, "          {}", classes.join(", "))?;
    if report.disturbed {
        writeln!(
            out,
            "note      the speed of the cores moved meanwhile: something else is running here"
        )?;
    }
    Ok(())
}

fn time(ms: f64) -> String {
    microseconds(ms * 1e3)
}

fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$}%", share * 100.0)
}
