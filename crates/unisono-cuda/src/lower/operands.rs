//! What most lowerings ask of their operands.
//!
//! The one idea: a lowering first decides from types and shapes alone, without asking the site for anything, and only then puts constants
//! onto the device and emits launches. So a refusal leaves nothing behind.

use unisono_cpu::movement::{Side, steps};
use unisono_graph::{Dim, Fact};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape};

use super::Lowering;
use crate::launch::{Buffer, Launch};

/// The shape of a dense operand as one side of a copy.
pub(super) struct Dense {
    steps: unisono_cpu::movement::Steps,
    len: usize,
}

impl Dense {
    /// `None` if the shape has too many elements for any memory.
    pub fn new(shape: &[usize]) -> Option<Dense> {
        Some(Dense {
            steps: steps(shape),
            len: unisono_tensor::element_count(shape)?,
        })
    }

    /// The whole operand.
    pub fn side(&self) -> Side<'_> {
        self.at(&self.steps, 0)
    }

    /// The operand by other steps.
    pub fn at<'a>(&self, steps: &'a [isize], first: isize) -> Side<'a> {
        Side {
            steps,
            first,
            len: self.len,
        }
    }
}

impl Lowering<'_> {
    /// The shape of an input.
    pub(super) fn shape(&self, index: usize) -> Option<Shape> {
        self.input(index).map(|operand| operand.shape.clone())
    }

    /// The shape of an output.
    pub(super) fn output_shape(&self, index: usize) -> Option<Shape> {
        self.output(index).map(|operand| operand.shape.clone())
    }

    /// Are all inputs and outputs that are there of this type?
    pub(super) fn all_of(&self, dtype: DType) -> bool {
        let mut operands = self.inputs.iter().chain(&self.outputs).flatten();
        operands.all(|operand| operand.dtype == dtype)
    }

    /// Have the first input and the first output the type?
    pub(super) fn maps(&self, dtype: DType) -> bool {
        [self.input(0), self.output(0)]
            .iter()
            .all(|operand| operand.is_some_and(|operand| operand.dtype == dtype))
    }

    /// Is there nothing to write?
    pub(super) fn is_empty(&self) -> bool {
        let mut outputs = self.outputs.iter().flatten();
        outputs.all(|operand| operand.shape.contains(&0))
    }

    /// Where a required input is.
    pub(super) fn read(&mut self, index: usize) -> Result<Buffer, Error> {
        let buffer = self.buffer(index)?;
        buffer.ok_or_else(|| missing("input", index))
    }

    /// Where a wanted output is.
    pub(super) fn write(&self, index: usize) -> Result<Buffer, Error> {
        let buffer = self.output(index).and_then(|operand| operand.buffer);
        buffer.ok_or_else(|| missing("output", index))
    }

    /// Emits what a constructor made, if it made something.
    pub(super) fn emit(&mut self, launches: impl IntoIterator<Item = Launch>) -> bool {
        let before = self.launches.len();
        self.launches.extend(launches);
        self.launches.len() > before
    }

    /// Contents of a small integer input, if they are known.
    pub(super) fn integers(&self, index: usize) -> Option<Vec<i64>> {
        let operand = self.input(index)?;
        match &operand.integers {
            Some(values) => Some(values.clone()),
            None => operand.constant.as_ref()?.to_i64s(),
        }
    }

    /// The inputs as facts, with the contents of those `wanted`: what the operators' own shape rules read. `None` if contents are not known.
    pub(super) fn parameters(&self, wanted: &[usize]) -> Option<Vec<Option<Fact>>> {
        let fact = |index: usize| {
            let Some(operand) = self.input(index).filter(|_| wanted.contains(&index)) else {
                return Some(None);
            };
            let shape = operand.shape.iter().map(|&n| Dim::from(n));
            let mut fact = Fact::new(operand.dtype, shape.collect());
            let contents = self.integers(index)?;
            fact.integers = Some(contents.into_iter().map(Dim::constant).collect());
            Some(Some(fact))
        };
        (0..self.inputs.len()).map(fact).collect()
    }
}

fn missing(what: &str, index: usize) -> Error {
    Error::new(ErrorKind::Device, format!("{what} {index} has no place"))
}
