//! What `unisono inspect` says, for people.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::contract::Contract;
use super::report::{PortReport, Report};
use crate::console::{Table, bytes, grouped, plain, short};

/// Writes the report.
pub fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", plain(&report.model))?;
    let opsets: Vec<String> = report
        .opsets
        .iter()
        .map(|(d, v)| format!("{d} {v}"))
        .collect();
    let producer = if report.producer.is_empty() {
        "unknown"
    } else {
        &report.producer
    };
    writeln!(
        out,
        "  made by {}, opset {}, IR version {}, {}",
        plain(producer),
        plain(&opsets.join(", ")),
        report.ir_version,
        bytes(report.file_bytes)
    )?;
    writeln!(
        out,
        "  {} parameters, {}",
        grouped(report.parameters),
        bytes(report.parameter_bytes)
    )?;
    ports("inputs", &report.inputs, out)?;
    ports("outputs", &report.outputs, out)?;
    contract(&report.contract, out)?;
    cost(report, out)?;
    plan(report, out)?;
    operators(report, out)
}

fn ports(title: &str, ports: &[PortReport<'_>], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{title}")?;
    let mut table = Table::new(&["name", "type", "rows on axis"]);
    for port in ports {
        let axis = port
            .rows_axis
            .map_or("-".to_owned(), |axis| axis.to_string());
        table.row([plain(port.name), plain(&port.type_and_shape()), axis]);
    }
    table.write(out, "  ")
}

fn contract(contract: &Contract, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nbatch contract")?;
    for line in contract.lines() {
        writeln!(out, "  {}", plain(&line))?;
    }
    Ok(())
}

fn cost(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Some(cost) = &report.cost else {
        let why = report.cost_unknown.as_deref().unwrap_or("unknown");
        return writeln!(out, "\ncost of one row: not known, because {}", plain(why));
    };
    let assumed: Vec<String> = cost
        .assumed
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    match assumed.is_empty() {
        true => writeln!(out, "\ncost of one row")?,
        false => writeln!(
            out,
            "\ncost of one row, with {} (set with --dim)",
            plain(&assumed.join(", "))
        )?,
    }
    let row = &cost.bytes_per_row;
    writeln!(out, "  {} FLOPs", short(cost.flops_per_row))?;
    writeln!(
        out,
        "  {} in, {} out, {} made by nodes; {} of weights for any number of rows",
        bytes(row.inputs),
        bytes(row.outputs),
        bytes(row.made),
        bytes(cost.weight_bytes)
    )?;
    match cost.nodes_not_counted {
        0 => Ok(()),
        n => writeln!(
            out,
            "  {n} nodes are not counted: loops, or shapes that depend on data"
        ),
    }
}

fn plan(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    match (&report.plan, &report.plan_unknown) {
        (Some(plan), _) => {
            writeln!(out, "\nplan for one row on {}", plain(&plan.device))?;
            for line in plan.lines() {
                writeln!(out, "  {line}")?;
            }
        }
        (None, why) => {
            let why = why.as_deref().unwrap_or("unknown");
            writeln!(out, "\nplan: not known, because {}", plain(why))?;
        }
    }
    let Some(runs) = &report.session else {
        return Ok(());
    };
    writeln!(out, "\nafter {} requests", grouped(runs.requests))?;
    for line in runs.lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn operators(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (loaded, rewritten) = (report.operators.loaded, report.operators.rewritten);
    let sum = |counts: &std::collections::BTreeMap<&str, usize>| counts.values().sum::<usize>();
    writeln!(
        out,
        "\noperators: {} in the file, {} after rewrites",
        sum(loaded),
        sum(rewritten)
    )?;
    if !report.rewrites.is_empty() {
        let applied: Vec<String> = report
            .rewrites
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        writeln!(out, "  rewrites applied: {}", applied.join(", "))?;
    }
    let mut table = Table::new(&["operator", ">file", ">run"]);
    let mut names: Vec<&str> = loaded
        .keys()
        .chain(rewritten.keys())
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let count = |name: &str| loaded.get(name).max(rewritten.get(name)).copied();
    names.sort_by_key(|name| std::cmp::Reverse(count(name)));
    for name in names {
        let shown = |counts: &std::collections::BTreeMap<&str, usize>| {
            counts.get(name).map_or("-".to_owned(), usize::to_string)
        };
        table.row([name.to_owned(), shown(loaded), shown(rewritten)]);
    }
    table.write(out, "  ")
}
