//! Interpolations that only pick samples: of the nearest ones, and of any that falls on its samples.
//!
//! One idea: a line of the output is made from one line of the input, so lines that have the same source are copies of each other.

use unisono_runtime::Error;
use unisono_tensor::{TensorMut, TensorRef};

use super::Layout;
use crate::exec::kernel::{Context, Kernel};
use crate::kernels::operands::{operand, result};
use crate::kernels::split;

/// Nanoseconds for 16 elements, roughly: more than a copy takes, since it is memory that limits.
const COST: usize = 8;

/// How a line is made.
#[derive(Clone, Copy)]
enum Line {
    /// Every sample twice.
    Doubled,
    /// Samples anywhere.
    Picked,
    /// Runs of neighbours, from anywhere.
    Runs,
}

pub(super) struct Copy {
    layout: Layout,
    line: Line,
}

impl Copy {
    pub fn new(layout: Layout) -> Copy {
        let line = match (layout.inner, layout.axes[2].repeats()) {
            (1, Some(2)) => Line::Doubled,
            (1, _) => Line::Picked,
            _ => Line::Runs,
        };
        Copy { layout, line }
    }

    /// Makes one line.
    fn line(&self, from: &[f32], to: &mut [f32]) {
        let Layout { axes, inner, .. } = &self.layout;
        let (positions, ..) = axes[2].from(0, 0);
        match self.line {
            Line::Doubled => {
                for (pair, &value) in to.as_chunks_mut::<2>().0.iter_mut().zip(from) {
                    *pair = [value; 2];
                }
            }
            Line::Picked => {
                for (to, &at) in to.iter_mut().zip(positions) {
                    *to = from[at as usize];
                }
            }
            Line::Runs => {
                for (to, &at) in to.chunks_exact_mut(*inner).zip(positions) {
                    to.copy_from_slice(&from[at as usize * inner..][..*inner]);
                }
            }
        }
    }
}

impl Kernel for Copy {
    fn describe(&self, _cx: &Context<'_>) -> String {
        let words = match self.line {
            Line::Doubled => "lines with every sample twice",
            Line::Picked => "lines with samples picked",
            Line::Runs => "lines of copied runs",
        };
        format!("nearest, {words}")
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let x: &[f32] = operand(inputs, 0)?;
        let [depth, rows, cols] = &self.layout.axes;
        let (from_len, len) = (
            cols.input * self.layout.inner,
            cols.output * self.layout.inner,
        );
        // The line of the input from which a line of the output is made.
        let source = |line: usize| {
            let (row, plane) = (line % rows.output, line / rows.output);
            let (z, outer) = (plane % depth.output, plane / depth.output);
            (outer * depth.input + depth.position(z, 0)) * rows.input + rows.position(row, 0)
        };
        split::rows(
            cx.team,
            result(outputs)?,
            len,
            len,
            COST,
            |first, part: &mut [f32]| {
                let mut made: Option<usize> = None;
                for i in 0..part.len() / len {
                    let (done, rest) = part.split_at_mut(i * len);
                    let (to, from) = (&mut rest[..len], source(first + i));
                    match made.replace(from) {
                        Some(before) if before == from => {
                            to.copy_from_slice(&done[done.len() - len..]);
                        }
                        _ => self.line(&x[from * from_len..][..from_len], to),
                    }
                }
            },
        );
        Ok(())
    }
}
