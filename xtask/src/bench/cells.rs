//! What is measured: models, how many callers ask with how many rows, and what Unisono must reach there.
//!
//! One idea: a target is a factor on the best peer of the same run, since machines differ and drift; no absolute speed is one.

use std::fmt;

/// A model of the benchmark.
pub struct Model {
    pub name: &'static str,
    pub about: &'static str,
    /// Built by `tools/bench_models.py`; otherwise a file that must be in `models/`.
    pub built: bool,
    /// Floating-point operations of a row, a multiply-add being two; 0 where nobody counted.
    pub flops: f64,
    pub cells: &'static [(Cell, Option<Target>)],
}

/// So many callers, each with so many rows in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub callers: usize,
    pub rows: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.callers, self.rows)
    }
}

impl Cell {
    /// `8x1` is 8 callers with a row each.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Cell, String> {
        let count = |word: &str| word.parse().ok().filter(|count| *count > 0);
        text.split_once('x')
            .and_then(|(callers, rows)| {
                Some(Cell {
                    callers: count(callers)?,
                    rows: count(rows)?,
                })
            })
            .ok_or_else(|| format!("`{text}` is no cell; write CALLERSxROWS, such as 8x1"))
    }
}

/// What must be reached in a cell: all of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Rows per second, as a multiple of the best peer's.
    pub factor: f64,
    /// The slowest hundredth of the requests, in milliseconds. Of the machine that the targets were set on: 2 cores with AVX-512.
    pub p99_ms: Option<f64>,
    /// The share of what the processor can do at best.
    pub of_peak: Option<f64>,
}

const fn cell(callers: usize, rows: usize, target: Option<Target>) -> (Cell, Option<Target>) {
    (Cell { callers, rows }, target)
}

const fn factor(factor: f64) -> Option<Target> {
    Some(Target {
        factor,
        p99_ms: None,
        of_peak: None,
    })
}

const fn within(factor: f64, p99_ms: f64) -> Option<Target> {
    Some(Target {
        factor,
        p99_ms: Some(p99_ms),
        of_peak: None,
    })
}

/// On the processor.
pub const CPU_MODELS: &[Model] = &[
    Model {
        name: "mlp",
        about: "perceptron 512-1024-1024-512, ReLU",
        built: true,
        flops: 4.19e6,
        cells: &[
            cell(1, 1, factor(1.1)),
            cell(8, 1, within(2.2, 0.5)),
            cell(32, 1, within(2.5, 1.2)),
            cell(1, 8, factor(1.15)),
            cell(
                1,
                64,
                Some(Target {
                    factor: 1.0,
                    p99_ms: None,
                    of_peak: Some(0.85),
                }),
            ),
        ],
    },
    Model {
        name: "transformer",
        about: "2 encoder layers, d 256, 4 heads, feed-forward 1024, 32 positions",
        built: true,
        flops: 103e6,
        cells: &[
            cell(1, 1, factor(1.2)),
            cell(8, 1, within(1.1, 4.0)),
            cell(32, 1, within(1.15, 16.0)),
            cell(1, 8, factor(1.25)),
        ],
    },
    Model {
        name: "conv1d",
        about: "two Conv1d 64-128-128 of kernel 3 over 128 steps, mean, Linear 128-64",
        built: true,
        flops: 18.9e6,
        cells: &[
            cell(1, 1, factor(1.1)),
            cell(8, 1, within(1.15, 0.8)),
            cell(1, 8, factor(1.1)),
        ],
    },
    Model {
        name: "resnet50",
        about: "ResNet-50 at 224x224, batch norms folded",
        built: true,
        flops: 8.2e9,
        cells: &[cell(1, 1, factor(1.0)), cell(8, 1, within(0.95, 240.0))],
    },
    Model {
        name: "mobilenet_v3_large",
        about: "MobileNetV3-Large at 224x224, batch norms folded",
        built: true,
        flops: 0.44e9,
        cells: &[cell(1, 1, factor(1.1)), cell(8, 1, within(1.2, 20.0))],
    },
    Model {
        name: "minilm",
        about: "paraphrase-MiniLM-L3-v2, 16 tokens",
        built: false,
        flops: 0.0,
        cells: &[cell(1, 1, None), cell(8, 1, None)],
    },
    Model {
        name: "ppocr_det",
        about: "PP-OCRv4 text detection at 160x160",
        built: false,
        flops: 0.0,
        cells: &[cell(1, 1, None), cell(8, 1, None)],
    },
    Model {
        name: "magika",
        about: "magika v3.3, file types from 2,048 bytes",
        built: false,
        flops: 0.0,
        cells: &[cell(1, 1, None), cell(8, 1, None)],
    },
];

/// A model of the processor's, in cells of which none has a target.
const fn untargeted(model: &Model, cells: &'static [(Cell, Option<Target>)]) -> Model {
    Model {
        name: model.name,
        about: model.about,
        built: model.built,
        flops: model.flops,
        cells,
    }
}

/// Where a request alone is milliseconds of work.
const ALONE_AND_EIGHT: &[(Cell, Option<Target>)] = &[cell(1, 1, None), cell(8, 1, None)];

/// On a GPU. What a caller gets through in microseconds is asked by many.
pub const CUDA_MODELS: &[Model] = &[
    untargeted(
        &CPU_MODELS[0],
        &[
            cell(1, 1, None),
            cell(8, 1, None),
            cell(64, 1, None),
            cell(256, 1, None),
            cell(1, 64, None),
            cell(1, 256, None),
        ],
    ),
    untargeted(
        &CPU_MODELS[1],
        &[
            cell(1, 1, None),
            cell(8, 1, None),
            cell(64, 1, None),
            cell(1, 64, None),
        ],
    ),
    untargeted(
        &CPU_MODELS[2],
        &[
            cell(1, 1, None),
            cell(8, 1, None),
            cell(64, 1, None),
            cell(1, 64, None),
        ],
    ),
    untargeted(&CPU_MODELS[3], ALONE_AND_EIGHT),
    untargeted(&CPU_MODELS[4], ALONE_AND_EIGHT),
    untargeted(&CPU_MODELS[5], ALONE_AND_EIGHT),
    untargeted(&CPU_MODELS[6], ALONE_AND_EIGHT),
    untargeted(&CPU_MODELS[7], ALONE_AND_EIGHT),
];

impl Model {
    /// The model's cells, or those asked for, each with its target if it has one.
    pub fn chosen(&self, asked: &[Cell]) -> Vec<(Cell, Option<Target>)> {
        if asked.is_empty() {
            return self.cells.to_vec();
        }
        let with_target = |cell: &Cell| (*cell, self.target(*cell));
        asked.iter().map(with_target).collect()
    }

    /// What must be reached there.
    pub fn target(&self, cell: Cell) -> Option<Target> {
        let known = self.cells.iter().find(|(known, _)| *known == cell);
        known.and_then(|(_, target)| *target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::device::Device;

    #[test]
    fn a_cell_is_read_as_it_is_written() {
        let cell = Cell {
            callers: 32,
            rows: 8,
        };
        assert_eq!(Cell::parse(&cell.to_string()), Ok(cell));
        for wrong in ["", "8", "x", "0x1", "1x0", "8x1x1", "ax1"] {
            assert!(Cell::parse(wrong).is_err(), "`{wrong}`");
        }
    }

    #[test]
    fn cells_that_are_asked_for_keep_their_targets() {
        let (asked, other) = (
            Cell {
                callers: 8,
                rows: 1,
            },
            Cell {
                callers: 3,
                rows: 5,
            },
        );
        let chosen = Device::Cpu.model("mlp").unwrap().chosen(&[asked, other]);
        assert_eq!(chosen[0].1.unwrap().factor, 2.2);
        assert_eq!(chosen[1], (other, None));
    }
}
