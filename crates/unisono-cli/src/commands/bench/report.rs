//! What was measured, as a line of a table and as a line of JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use unisono::{Histogram, SessionStats};

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
    /// Futures that one thread keeps in flight.
    InFlight(u16),
}

/// Loads without a thread for each request take turns with so many different ones.
const DIFFERENT: u64 = 16;

/// One measurement.
pub struct Measurement {
    pub load: Load,
    pub rows: u32,
    pub seen: Seen,
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
    mean_queue_ms: f64,
    threads: usize,
    isa: &'a str,
    seed: u64,
    shapes: BTreeMap<&'a str, Vec<usize>>,
}

impl Measurement {
    fn rows_per_s(&self) -> f64 {
        self.seen.rate() * f64::from(self.rows)
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
                Load::InFlight(_) => None,
            },
            in_flight: match self.load {
                Load::InFlight(n) => Some(n),
                Load::Callers(_) => None,
            },
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
            mean_queue_ms: ms(self.stats.mean_queue_time()),
            threads: around.threads,
            isa: around.isa,
            seed: around.seed,
            shapes,
        }
    }

    /// The row of the table under [`Load::head`].
    pub fn row(&self) -> String {
        let (Load::Callers(n) | Load::InFlight(n)) = self.load;
        format!(
            "{n:>9} {:>5} {:>12} {:>11} {:>11} {:>10} {:>9}",
            self.rows,
            grouped(self.rows_per_s().round() as u64),
            milliseconds(self.seen.quantile(0.5)),
            milliseconds(self.seen.quantile(0.99)),
            three_digits(self.stats.mean_batch_rows()),
            self.seen.requests()
        )
    }
}

impl Load {
    /// How many different requests it is made of.
    pub fn requests(self) -> u64 {
        match self {
            Load::Callers(n) => n.into(),
            Load::InFlight(n) => DIFFERENT.min(n.into()),
        }
    }

    /// The head of the table.
    pub fn head(self) -> String {
        let load = match self {
            Load::Callers(_) => "callers",
            Load::InFlight(_) => "in flight",
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
            Load::InFlight(n) => write!(f, "{n} in flight"),
        }
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
