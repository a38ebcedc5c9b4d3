//! What a run found, every round of it, as it is written to `results.json`; tables and charts are made from nothing else.

use serde::{Deserialize, Serialize};

use super::device::Device;
use super::stats::{self, Spread};

/// Our own engine's name; all others are peers.
pub const OURS: &str = "unisono";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    #[serde(default)]
    pub device: Device,
    /// UTC, `2026-01-31`.
    pub date: String,
    pub commit: String,
    /// Whether there were changes that no commit has.
    pub uncommitted_changes: bool,
    pub machine: Machine,
    pub rounds: usize,
    pub seconds: f64,
    pub engines: Vec<Engine>,
    pub models: Vec<Model>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub isa: String,
    /// The device's name, if it is another than the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Multiply-adds in registers on all cores, in 10^9 operations a second: the best that a probe has seen.
    pub gflops: Option<f64>,
    /// Cores that other programs kept busy just before the first measurement; should be near 0.
    pub busy_cores: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Engine {
    pub name: String,
    pub version: String,
    pub about: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub about: String,
    /// Engines that could not run the model, or whose answers were wrong, and why.
    pub refused: Vec<Refusal>,
    /// How far answers were from onnxruntime's, as a share of what is allowed.
    pub agreement: Vec<Agreement>,
    pub cells: Vec<Cell>,
    /// Where the time goes, for the rows of what missed its target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Profile>,
}

/// What `unisono profile` says of a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    pub rows: usize,
    pub lines: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    pub engine: String,
    pub why: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Agreement {
    pub engine: String,
    pub rows: usize,
    pub error_of_allowed: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    pub callers: usize,
    pub rows: usize,
    pub series: Vec<Series>,
}

/// One engine's rounds in a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    pub engine: String,
    pub rounds: Vec<Measured>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub rows_per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub requests: u64,
    /// Cores that other programs kept busy meanwhile; should be near 0.
    #[serde(default)]
    pub busy_cores: Option<f64>,
}

impl Results {
    /// How busy other programs were during the measurements.
    pub fn busy_cores(&self) -> Option<Spread> {
        let cells = self.models.iter().flat_map(|model| &model.cells);
        let rounds = cells
            .flat_map(|cell| &cell.series)
            .flat_map(|series| &series.rounds);
        Spread::of(rounds.filter_map(|round| round.busy_cores))
    }
}

impl Series {
    fn rates(&self) -> Vec<f64> {
        self.rounds.iter().map(|round| round.rows_per_s).collect()
    }

    /// Rows per second.
    pub fn rate(&self) -> Option<Spread> {
        Spread::of(self.rates())
    }

    /// The rounds' 99th percentiles, in milliseconds.
    pub fn p99_ms(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|round| round.p99_ms))
    }
}

impl Cell {
    pub fn series(&self, engine: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.engine == engine)
    }

    /// The peer with the highest median.
    pub fn best_peer(&self) -> Option<&Series> {
        let peers = self.series.iter().filter(|series| series.engine != OURS);
        let rated = peers.filter_map(|series| Some((series.rate()?.median, series)));
        rated
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, series)| series)
    }

    /// Ours over the best peer's, round by round.
    pub fn ratio(&self) -> Option<Spread> {
        stats::ratio(&self.series(OURS)?.rates(), &self.best_peer()?.rates())
    }
}

#[cfg(test)]
pub mod sample {
    use super::*;

    pub fn series(engine: &str, rates: &[f64], p99_ms: f64) -> Series {
        let measured = |rate: &f64| Measured {
            rows_per_s: *rate,
            p50_ms: p99_ms / 2.0,
            p99_ms,
            requests: 100,
            busy_cores: Some(0.25),
        };
        Series {
            engine: engine.to_owned(),
            rounds: rates.iter().map(measured).collect(),
        }
    }

    /// Made up: eight callers of the perceptron, two engines and one that was refused.
    pub fn results() -> Results {
        let engine = |name: &str| Engine {
            name: name.to_owned(),
            version: "1.0".to_owned(),
            about: "made <up> & \"quoted\"".to_owned(),
        };
        let cell = |callers, rows, ours: &[f64], ort: &[f64]| Cell {
            callers,
            rows,
            series: vec![series(OURS, ours, 0.4), series("ort", ort, 12.0)],
        };
        Results {
            device: Device::Cpu,
            date: "2026-01-31".to_owned(),
            commit: "0123456789abcdef".to_owned(),
            uncommitted_changes: false,
            machine: Machine {
                cpu: "A & B <CPU>".to_owned(),
                cores: 2,
                isa: "AVX-512".to_owned(),
                gpu: None,
                gflops: Some(450.0),
                busy_cores: Some(0.02),
            },
            rounds: 3,
            seconds: 1.5,
            engines: vec![engine(OURS), engine("ort"), engine("rten")],
            models: vec![Model {
                name: "mlp".to_owned(),
                about: "a perceptron".to_owned(),
                refused: vec![Refusal {
                    engine: "rten".to_owned(),
                    why: "operator <X> | is missing".to_owned(),
                }],
                agreement: vec![Agreement {
                    engine: OURS.to_owned(),
                    rows: 1,
                    error_of_allowed: 0.02,
                }],
                cells: vec![
                    cell(8, 1, &[50_000.0, 40_000.0, 45_000.0], &[20_000.0; 3]),
                    cell(1, 64, &[90_000.0; 3], &[91_000.0; 3]),
                    cell(2, 2, &[1.0; 3], &[2.0; 3]),
                ],
                profiles: vec![Profile {
                    rows: 64,
                    lines: vec!["share  operator".to_owned(), "99 %  MatMul".to_owned()],
                }],
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_being_written_and_read() {
        let text = serde_json::to_string(&sample::results()).unwrap();
        let read: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn the_best_peer_has_the_highest_median_and_is_never_ours() {
        let mut cell = sample::results().models[0].cells[0].clone();
        cell.series.push(sample::series(
            "lucky",
            &[90_000.0, 10_000.0, 11_000.0],
            1.0,
        ));
        assert_eq!(cell.best_peer().unwrap().engine, "ort");
        let ratio = cell.ratio().unwrap();
        assert_eq!(
            (ratio.lowest, ratio.median, ratio.highest),
            (2.0, 2.25, 2.5)
        );
    }
}
