//! What was weighed, every round of it, as it is written to `results.json`; tables and the chart are made from nothing else.

use serde::{Deserialize, Serialize};

use crate::bench::results::{Engine, Machine, OURS, Refusal};
use crate::bench::stats::Spread;

/// A second session must cost less than this share of the first.
pub const SECOND: f64 = 0.1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// UTC, `2026-01-31`.
    pub date: String,
    pub commit: String,
    /// Whether there were changes that no commit has.
    pub uncommitted_changes: bool,
    pub machine: Machine,
    pub rounds: usize,
    /// Callers of the larger load, and requests of each.
    pub callers: usize,
    pub requests: usize,
    pub engines: Vec<Engine>,
    pub models: Vec<Model>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub about: String,
    pub file_bytes: u64,
    /// Engines that could not run the model, or whose answers were wrong, and why.
    pub refused: Vec<Refusal>,
    pub series: Vec<Series>,
}

/// One engine's rounds with a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    pub engine: String,
    pub rounds: Vec<Measured>,
    /// Why a round is missing.
    #[serde(default)]
    pub failed: Option<String>,
}

/// What a process has, at one moment of its life after the other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The engine is there, no model yet.
    pub library: Resident,
    pub loaded: Resident,
    /// After one caller's requests.
    pub one: Resident,
    /// After several callers' requests.
    pub several: Resident,
    /// What a second session, made by loading the file again, had added after as many requests. May be below zero.
    pub second_of_file: Change,
    /// The same of a session that shares the loaded model, where an engine has such.
    pub second_shared: Option<Change>,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resident {
    /// What no file backs.
    pub anon_kib: u64,
    /// Pages of files, such as a mapped model.
    pub file_kib: u64,
    /// Pages of the program and of libraries.
    pub code_kib: u64,
    /// The most that all of it ever was.
    pub peak_kib: u64,
}

/// What resident memory has changed by, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub anon_kib: i64,
    pub file_kib: i64,
}

impl Resident {
    /// What has come since, without code: how much of a library is in memory says what was called and not what is kept.
    pub fn since(&self, earlier: &Resident) -> Change {
        let change = |now: u64, then: u64| now.cast_signed().saturating_sub(then.cast_signed());
        Change {
            anon_kib: change(self.anon_kib, earlier.anon_kib),
            file_kib: change(self.file_kib, earlier.file_kib),
        }
    }
}

impl Change {
    pub fn mib(&self) -> f64 {
        (self.anon_kib + self.file_kib) as f64 / 1024.0
    }
}

impl Measured {
    /// What the model has added by then, with its session, arenas and answers.
    pub fn cost(&self, then: &Resident) -> Change {
        then.since(&self.library)
    }

    /// The most that the process ever had above what it has without a model, code included, in MiB.
    pub fn peak_mib(&self) -> f64 {
        let base = self.library.anon_kib + self.library.file_kib + self.library.code_kib;
        self.several.peak_kib.saturating_sub(base) as f64 / 1024.0
    }

    pub fn in_words(&self) -> String {
        let mib = |change: Change| change.mib();
        format!(
            "{:.1} MiB loaded, {:.1} after one caller, {:.1} after several; a second session {:+.1}, shared {}",
            mib(self.cost(&self.loaded)),
            mib(self.cost(&self.one)),
            mib(self.cost(&self.several)),
            mib(self.second_of_file),
            self.second_shared
                .map_or("-".to_owned(), |change| format!("{:+.1}", mib(change))),
        )
    }
}

impl Series {
    pub fn new(engine: &str) -> Series {
        Series {
            engine: engine.to_owned(),
            rounds: Vec::new(),
            failed: None,
        }
    }

    /// A figure of every round that has it.
    pub fn spread(&self, figure: impl Fn(&Measured) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(figure))
    }

    /// What the model costs after several callers' requests, in MiB.
    pub fn cost(&self) -> Option<Spread> {
        self.spread(|round| Some(round.cost(&round.several).mib()))
    }

    /// What a second session costs as a share of the first: of the file, and sharing the loaded model.
    pub fn second(&self) -> [Option<Spread>; 2] {
        let share = |round: &Measured, second: Change| {
            let first = round.cost(&round.several).mib();
            (first > 0.0).then(|| second.mib() / first)
        };
        [
            self.spread(|round| share(round, round.second_of_file)),
            self.spread(|round| share(round, round.second_shared?)),
        ]
    }
}

impl Model {
    pub fn series(&self, engine: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.engine == engine)
    }

    /// onnxruntime as it takes the least: with threads of its own or without.
    pub fn least_onnxruntime(&self) -> Option<(&Series, Spread)> {
        let both = ["ort", "ort1"]
            .into_iter()
            .filter_map(|name| self.series(name));
        let weighed = both.filter_map(|series| Some((series, series.cost()?)));
        weighed.min_by(|a, b| a.1.median.total_cmp(&b.1.median))
    }

    /// Ours over onnxruntime's; must be at most 1.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.series(OURS)?.cost()?.median / self.least_onnxruntime()?.1.median)
    }

    /// Whether each of our ways to a second session costs less than [`SECOND`] of the first.
    pub fn second_is_cheap(&self) -> Option<bool> {
        let ways = self.series(OURS)?.second();
        let mut known = ways.iter().flatten().peekable();
        known.peek()?;
        Some(known.all(|share| share.median < SECOND))
    }
}

#[cfg(test)]
pub mod sample {
    use super::*;

    pub fn resident(anon_kib: u64, file_kib: u64) -> Resident {
        Resident {
            anon_kib,
            file_kib,
            code_kib: 5000,
            peak_kib: anon_kib + file_kib + 9000,
        }
    }

    /// A process that has 1,000 KiB without a model.
    pub fn measured(anon_kib: u64, file_kib: u64, second: i64, shared: Option<i64>) -> Measured {
        let change = |anon_kib| Change {
            anon_kib,
            file_kib: 0,
        };
        Measured {
            library: resident(1000, 0),
            loaded: resident(1000 + anon_kib / 2, file_kib),
            one: resident(1000 + anon_kib, file_kib),
            several: resident(1000 + anon_kib, file_kib),
            second_of_file: change(second),
            second_shared: shared.map(change),
        }
    }

    /// Made up: one model with three engines.
    pub fn results() -> Results {
        let speeds = crate::bench::results::sample::results();
        let series = |engine: &str, round| Series {
            engine: engine.to_owned(),
            rounds: vec![round; 3],
            failed: None,
        };
        Results {
            date: speeds.date,
            commit: speeds.commit,
            uncommitted_changes: false,
            machine: speeds.machine,
            rounds: 3,
            callers: 8,
            requests: 20,
            engines: speeds.engines,
            models: vec![Model {
                name: "mlp".to_owned(),
                about: "a perceptron".to_owned(),
                file_bytes: 8 << 20,
                refused: speeds.models[0].refused.clone(),
                series: vec![
                    series(OURS, measured(8192, 2048, 512, Some(10))),
                    series("ort", measured(20480, 0, 18000, None)),
                    series("ort1", measured(16384, 0, 16384, None)),
                ],
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_costs_what_came_after_the_library_and_mapped_pages_count() {
        let round = sample::measured(8192, 2048, 0, None);
        assert_eq!(round.cost(&round.several).mib(), 10.0);
        assert_eq!(round.peak_mib(), (10240.0 + 4000.0) / 1024.0);
    }

    #[test]
    fn ours_is_held_against_the_leaner_onnxruntime() {
        let mut model = sample::results().models.remove(0);
        assert_eq!(model.least_onnxruntime().unwrap().0.engine, "ort1");
        assert_eq!(model.ratio(), Some(10.0 / 16.0));
        model.series.truncate(1);
        assert_eq!(model.ratio(), None);
    }

    #[test]
    fn a_second_session_must_be_cheap_in_every_way_that_there_is() {
        let mut model = sample::results().models.remove(0);
        assert_eq!(model.second_is_cheap(), Some(true));
        model.series[0].rounds = vec![sample::measured(8192, 2048, 1100, Some(10))];
        assert_eq!(model.second_is_cheap(), Some(false));
        model.series[0].rounds.clear();
        assert_eq!(model.second_is_cheap(), None);
    }

    #[test]
    fn results_survive_being_written_and_read() {
        let text = serde_json::to_string(&sample::results()).unwrap();
        let read: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
