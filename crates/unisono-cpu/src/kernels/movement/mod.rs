//! Operators that only move data.
//!
//! The one idea: an operator becomes a list of nests, each from one input (or a constant) to one output, which together write every element once.
//! They are made and checked when the kernel is built; running them is the same for all. What does not fit, or is only known while running, is left
//! to the reference implementation.
//!
//! | module | what it holds |
//! | --- | --- |
//! | this one | the list, and the kernel that runs it |
//! | `axes` | `Transpose`, `Slice`, `Expand`, `Pad`: axes in another order, cut, repeated, grown |
//! | `join` | `Concat`, `Split` |
//! | `gather` | `Gather`, whose places are found in an input |

mod axes;
mod gather;
mod join;
#[cfg(test)]
mod tests;

pub use axes::{build_expand, build_pad, build_slice, build_transpose};
pub use gather::build_gather;
pub use join::{build_concat, build_split};

use std::ops::Range;

use unisono_graph::{Dim, Fact};
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef, element_count};

use crate::exec::kernel::{Access, Build, Context, Kernel, failed};
use crate::memory::SharedMut;
use crate::movement::nest::{Nest, Side, Steps, steps};

/// Where a nest reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Input(usize),
    /// [`MoveKernel::value`].
    Value,
}

/// One nest of the list.
struct Move {
    source: Source,
    output: usize,
    nest: Nest,
    /// Its tiles among those of its output.
    tiles: Range<usize>,
}

/// The list while it is made. Methods give `None` where the reference implementation should serve.
struct Moves<'a> {
    build: &'a Build<'a>,
    dtype: DType,
    moves: Vec<Move>,
    /// One element that parts of an output may be filled with.
    value: [u8; 8],
    /// See [`Kernel::keeps_rows`].
    keeps_rows: bool,
}

impl<'a> Moves<'a> {
    /// An empty list for a node whose data is input 0.
    fn new(build: &'a Build<'a>) -> Option<Moves<'a>> {
        let dtype = build.input(0)?.dtype;
        (dtype.size() > 0).then_some(Moves {
            build,
            dtype,
            moves: Vec::new(),
            value: [0; 8],
            keeps_rows: false,
        })
    }

    /// Adds a nest over `shape`. Steps and first elements are given for source and destination.
    fn push(
        &mut self,
        shape: &[usize],
        (source, from_steps, from_first): (Source, &[isize], isize),
        (output, to_steps, to_first): (usize, &[isize], isize),
    ) -> Option<()> {
        let known = self.build.output(output)?;
        let from_len = match source {
            Source::Value => 1,
            Source::Input(input) => {
                let known = self.build.input(input)?;
                if known.dtype != self.dtype {
                    return None;
                }
                element_count(known.shape.as_deref()?)?
            }
        };
        if known.dtype != self.dtype {
            return None;
        }
        let from = Side {
            steps: from_steps,
            first: from_first,
            len: from_len,
        };
        let to = Side {
            steps: to_steps,
            first: to_first,
            len: element_count(known.shape.as_deref()?)?,
        };
        let nest = Nest::new(self.dtype.size(), shape, to, from)?;
        let first = match self.moves.last() {
            Some(last) if last.output == output => last.tiles.end,
            _ => 0,
        };
        let tiles = first..first.checked_add(nest.tiles())?;
        if !tiles.is_empty() {
            self.moves.push(Move {
                source,
                output,
                nest,
                tiles,
            });
        }
        Some(())
    }

    /// The kernel. The moves write every element of every output once.
    fn kernel(self) -> Option<Box<dyn Kernel>> {
        let bytes = |known: Option<&crate::exec::kernel::Known>| {
            let known = known?;
            element_count(known.shape.as_deref()?)?.checked_mul(known.dtype.size())
        };
        let build = self.build;
        Some(Box::new(MoveKernel {
            moves: self.moves,
            value: self.value,
            keeps_rows: self.keeps_rows,
            input_bytes: build.inputs.iter().map(|k| bytes(*k)).collect(),
            output_bytes: build.outputs.iter().map(|k| bytes(*k)).collect(),
        }))
    }
}

/// See the [module](self).
struct MoveKernel {
    /// By rising output.
    moves: Vec<Move>,
    value: [u8; 8],
    keeps_rows: bool,
    input_bytes: Vec<Option<usize>>,
    output_bytes: Vec<Option<usize>>,
}

impl MoveKernel {
    /// The bytes that a move reads.
    fn source<'a>(
        &'a self,
        source: Source,
        inputs: &[Option<TensorRef<'a>>],
    ) -> Result<&'a [u8], Error> {
        let Source::Input(index) = source else {
            return Ok(&self.value);
        };
        let bytes = inputs.get(index).copied().flatten().map(|t| t.bytes());
        let expected = self.input_bytes.get(index).copied().flatten();
        match bytes {
            Some(bytes) if Some(bytes.len()) == expected => Ok(bytes),
            _ => Err(failed(format!(
                "input {index} does not have the size that was planned for"
            ))),
        }
    }
}

impl Kernel for MoveKernel {
    fn keeps_rows(&self) -> bool {
        self.keeps_rows
    }

    fn estimated_ns(&self) -> u64 {
        self.moves.iter().map(|m| m.nest.estimated_ns()).sum()
    }

    fn describe(&self, cx: &Context<'_>) -> String {
        let largest = self.moves.iter().max_by_key(|m| m.nest.estimated_ns());
        match largest {
            Some(largest) => format!("{}, {}", largest.nest.describe(), cx.isa),
            None => "nothing to move".to_owned(),
        }
    }

    fn access(&self, index: usize) -> Access {
        match self.moves.iter().any(|m| m.source == Source::Input(index)) {
            true => Access::Bytes,
            false => Access::Unused,
        }
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        for moves in self.moves.chunk_by(|a, b| a.output == b.output) {
            let (Some(first), Some(last)) = (moves.first(), moves.last()) else {
                continue;
            };
            let index = first.output;
            let output = outputs.get_mut(index).and_then(Option::as_mut);
            let expected = self.output_bytes.get(index).copied().flatten();
            let to = match output.map(TensorMut::bytes_mut) {
                Some(bytes) if Some(bytes.len()) == expected => SharedMut::new(bytes),
                _ => {
                    return Err(failed(format!(
                        "output {index} does not have the size that was planned for"
                    )));
                }
            };
            for m in moves {
                self.source(m.source, inputs)?;
            }
            let estimated_ns = moves.iter().map(|m| m.nest.estimated_ns()).sum();
            cx.team.run(last.tiles.end, estimated_ns, |tile, _| {
                let at = moves.partition_point(|m| m.tiles.end <= tile);
                let Some((m, from)) = moves
                    .get(at)
                    .and_then(|m| Some((m, self.source(m.source, inputs).ok()?)))
                else {
                    return;
                };
                let tile = tile - m.tiles.start;
                // SAFETY: both sides have the lengths for which the nest was built, and outputs are never inputs; no two nests of an output
                // and no two positions of a nest write the same element.
                unsafe { m.nest.tile(cx.isa, tile, from.as_ptr(), to.ptr()) };
            });
        }
        Ok(())
    }
}

/// What inference says of the inputs from number 1 on, for operators whose parameters are inputs. `None` if contents are not known.
fn parameters(build: &Build<'_>, wanted: &[usize]) -> Option<Vec<Option<Fact>>> {
    (0..build.inputs.len())
        .map(|index| {
            let Some(known) = build.input(index).filter(|_| wanted.contains(&index)) else {
                return Some(None);
            };
            let shape = known.shape.as_deref()?.iter().map(|&n| Dim::from(n));
            let mut fact = Fact::new(known.dtype, shape.collect());
            let contents = build.integers(index)?;
            fact.integers = Some(contents.into_iter().map(Dim::constant).collect());
            Some(Some(fact))
        })
        .collect()
}
