//! What was measured, as a line of a table and as a line of JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use unisono::{Histogram, SessionStats};

use super::open_loop::Offered;
use super::window::Seen;
use crate::console::{grouped, milliseconds, three_digits};

/// What is the same for all lines.
pub struct Circumstances<'a> {
    pub model: &'a str,
    pub device: String,
    pub threads: usize,
    pub isa: &'a str,
    pub seed: u64,
    pub coalesce: bool,
}

/// What the model was loaded with.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Threads, each of which waits for its answer.
    Callers(u16),
    /// Futures in flight, and the threads that keep them.
    InFlight(u16, u16),
    /// Requests that come at random times, so many a second.
    Rate(f64),
}

/// Loads without a thread for each request take turns with so many different ones.
const DIFFERENT: u64 = 16;

/// One measurement.
pub struct Measurement {
    pub load: Load,
    pub rows: u32,
    pub seen: Seen,
    /// What became of what was offered, of a load that does not wait for answers.
    pub offered: Option<Offered>,
    /// What the session did in the window.
    pub stats: SessionStats,
}

/// A line of JSON.
#[derive(Serialize)]
pub struct Line<'a> {
    model: &'a str,
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    callers: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    senders: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    open: Option<OpenLine>,
    rows: u32,
    rows_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    samples: usize,
    secs: f64,
    coalesce: bool,
    batches: u64,
    mean_batch_rows: f64,
    batch_rows_p50: u64,
    batch_rows_max: u64,
    rerun_batches: u64,
    mean_queue_ms: f64,
    mean_run_ms: f64,
    run_p99_ms: f64,
    compiles: u64,
    evictions: u64,
    failed: u64,
    threads: usize,
    isa: &'a str,
    seed: u64,
    shapes: BTreeMap<&'a str, Vec<usize>>,
}

/// What a line of JSON has besides if requests come at a rate.
#[derive(Serialize)]
struct OpenLine {
    offered_per_s: f64,
    achieved_per_s: f64,
    kept_up: bool,
    not_sent: u64,
    unanswered: u64,
    backlog_at_opening: usize,
    backlog_at_end: usize,
    sent_late_p99_ms: f64,
}

impl Measurement {
    /// Requests answered per second of the window.
    fn rate(&self) -> f64 {
        match &self.offered {
            Some(offered) => self.per_s(offered.answered),
            None => self.seen.rate(),
        }
    }

    fn per_s(&self, requests: u64) -> f64 {
        requests as f64 / self.seen.elapsed.as_secs_f64()
    }

    fn rows_per_s(&self) -> f64 {
        self.rate() * f64::from(self.rows)
    }

    /// What has to be said about a load that the machine did not keep up with.
    pub fn trouble(&self) -> Option<String> {
        let offered = self.offered.as_ref().filter(|offered| !offered.kept_up())?;
        let mut text = format!(
            "the machine did not keep up: {} requests/s came, {} were answered",
            per_second(self.per_s(offered.offered)),
            per_second(self.rate())
        );
        if offered.backlog.1 > offered.backlog.0 {
            let (before, after) = offered.backlog;
            text += &format!("; the backlog grew from {before} to {after}");
        }
        if offered.not_sent > 0 {
            let not_sent = grouped(offered.not_sent);
            text += &format!("; {not_sent} could not be sent");
        }
        if offered.unanswered > 0 {
            let unanswered = grouped(offered.unanswered);
            text += &format!("; {unanswered} were given up, so latencies are higher than shown");
        }
        if offered.sent_late > self.seen.quantile(0.99) / 2 {
            let late = milliseconds(offered.sent_late);
            text += &format!("; the sender was up to {late} late itself, and may be the limit");
        }
        Some(text)
    }

    /// The line of JSON, for inputs of these shapes.
    pub fn line<'a>(
        &self,
        around: &'a Circumstances<'a>,
        shapes: BTreeMap<&'a str, Vec<usize>>,
    ) -> Line<'a> {
        let quantile = |share| ms(self.seen.quantile(share));
        Line {
            model: around.model,
            device: &around.device,
            callers: match self.load {
                Load::Callers(n) => Some(n),
                _ => None,
            },
            in_flight: match self.load {
                Load::InFlight(n, _) => Some(n),
                _ => None,
            },
            senders: match self.load {
                Load::InFlight(_, threads) => Some(threads),
                _ => None,
            },
            rate: match self.load {
                Load::Rate(rate) => Some(rate),
                _ => None,
            },
            open: self.offered.as_ref().map(|offered| OpenLine {
                offered_per_s: self.per_s(offered.offered),
                achieved_per_s: self.rate(),
                kept_up: offered.kept_up(),
                not_sent: offered.not_sent,
                unanswered: offered.unanswered,
                backlog_at_opening: offered.backlog.0,
                backlog_at_end: offered.backlog.1,
                sent_late_p99_ms: ms(offered.sent_late),
            }),
            rows: self.rows,
            rows_per_s: self.rows_per_s(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
            samples: self.seen.requests(),
            secs: self.seen.elapsed.as_secs_f64(),
            coalesce: around.coalesce,
            batches: self.stats.batches,
            mean_batch_rows: self.stats.mean_batch_rows(),
            batch_rows_p50: least(&self.stats.batch_rows, 0.5),
            batch_rows_max: least(&self.stats.batch_rows, 1.0),
            rerun_batches: self.stats.rerun_batches,
            mean_queue_ms: ms(self.stats.mean_queue_time()),
            mean_run_ms: self.stats.run_ns.mean() / 1e6,
            run_p99_ms: ms(Duration::from_nanos(self.stats.run_ns.quantile(0.99))),
            compiles: self.stats.plans.compiles,
            evictions: self.stats.plans.evictions,
            failed: self.stats.failed,
            threads: around.threads,
            isa: around.isa,
            seed: around.seed,
            shapes,
        }
    }

    /// The row of the table under [`Load::head`].
    pub fn row(&self) -> String {
        let load = match self.load {
            Load::Callers(n) => n.to_string(),
            Load::InFlight(n, 1) => n.to_string(),
            Load::InFlight(n, threads) => format!("{n} by {threads}"),
            Load::Rate(rate) => per_second(rate),
        };
        let rows_per_s = grouped(self.rows_per_s().round() as u64);
        let quantile = |share| milliseconds(self.seen.quantile(share));
        let (p50, p99) = (quantile(0.5), quantile(0.99));
        let batch = three_digits(self.stats.mean_batch_rows());
        let (rows, requests) = (self.rows, self.seen.requests());
        let reruns = told(self.stats.rerun_batches);
        let Some(offered) = &self.offered else {
            return format!(
                "{load:>9} {rows:>5} {rows_per_s:>12} {p50:>11} {p99:>11} {batch:>10} {requests:>9}{reruns}"
            );
        };
        let came = per_second(self.per_s(offered.offered));
        let achieved = per_second(self.rate());
        let max = quantile(1.0);
        format!(
            "{load:>9} {rows:>5} {came:>10} {achieved:>10} {p50:>11} {p99:>11} {max:>11} {batch:>10} {requests:>9}{reruns}"
        )
    }
}

/// What stands behind a line if batches failed as a whole: their requests were answered, but slowly.
fn told(reruns: u64) -> String {
    match reruns {
        0 => String::new(),
        n => format!("  {n} batches ran again, request by request"),
    }
}

impl Load {
    /// How many different requests it is made of.
    pub fn requests(self) -> u64 {
        match self {
            Load::Callers(n) => n.into(),
            Load::InFlight(n, _) => DIFFERENT.min(n.into()),
            Load::Rate(_) => DIFFERENT,
        }
    }

    /// The head of the table.
    pub fn head(self) -> String {
        let load = match self {
            Load::Callers(_) => "callers",
            Load::InFlight(..) => "in flight",
            Load::Rate(_) => {
                return format!(
                    "{:>9} {:>5} {:>10} {:>10} {:>11} {:>11} {:>11} {:>10} {:>9}",
                    "rate/s",
                    "rows",
                    "offered/s",
                    "achieved/s",
                    "p50",
                    "p99",
                    "max",
                    "rows/batch",
                    "requests"
                );
            }
        };
        format!(
            "{load:>9} {:>5} {:>12} {:>11} {:>11} {:>10} {:>9}",
            "rows", "rows/s", "p50", "p99", "rows/batch", "requests"
        )
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Callers(n) => write!(f, "{n} callers"),
            Load::InFlight(n, 1) => write!(f, "{n} in flight"),
            Load::InFlight(n, threads) => write!(f, "{n} in flight by {threads} threads"),
            Load::Rate(rate) => write!(f, "{rate} requests/s"),
        }
    }
}

/// A rate in three digits, or whole.
fn per_second(rate: f64) -> String {
    match rate {
        r if r < 999.5 => three_digits(r),
        r => grouped(r.round() as u64),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The least value of the bucket in which a quantile lies. [`Histogram::quantile`] gives the largest, but sizes of batches are
/// mostly powers of two, which are where buckets begin.
fn least(sizes: &Histogram, share: f64) -> u64 {
    let largest = sizes.quantile(share);
    let bucket = sizes.buckets().find(|(_, most, _)| *most == largest);
    bucket.map_or(0, |(least, _, _)| least)
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn batches_that_failed_as_a_whole_are_told_and_others_are_not() {
        assert_eq!(told(0), "");
        assert!(told(847).contains("847 batches ran again"));
    }
}
