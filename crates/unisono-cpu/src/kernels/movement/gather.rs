//! Slices along an axis, picked by indices.

use unisono_graph::ops::common::resolve_axis;
use unisono_graph::ops::indexing::Gather;
use unisono_reference::eval::EvalError;
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef, element_count};

use crate::exec::kernel::{Access, Build, Context, Kernel, failed};
use crate::kernels::operands::operand;
use crate::kernels::split;
use crate::movement::run::{Copier, MoveRuns, with_copier};

/// Nanoseconds for 16 bytes, roughly; a slice costs as much as [`SLICE`] bytes more.
const COST: usize = 3;
/// See [`COST`].
const SLICE: usize = 16;

/// See the [module](self).
struct GatherKernel {
    /// Slices before the axis, its length, and the bytes of one slice.
    outer: usize,
    len: usize,
    slice: usize,
    /// How many indices there are.
    picks: usize,
}

/// Builds a picking of slices.
pub fn build_gather(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    Ok(gather(build))
}

fn gather(build: &Build<'_>) -> Option<Box<dyn Kernel>> {
    let op = build.op::<Gather>().filter(|_| !build.channels_last)?;
    let (data, indices) = (build.input(0)?, build.input(1)?);
    let output = build.output(0)?;
    let size = data.dtype.size();
    if size == 0 || output.dtype != data.dtype || !matches!(indices.dtype, DType::I32 | DType::I64)
    {
        return None;
    }
    let x = data.shape.as_deref()?;
    let axis = resolve_axis(op.axis, x.len()).ok()?;
    let count = |shape: &[usize]| element_count(shape);
    let outer = count(&x[..axis])?;
    let slice = count(&x[axis + 1..])?.checked_mul(size)?;
    let picks = count(indices.shape.as_deref()?)?;
    let bytes = count(output.shape.as_deref()?)?.checked_mul(size)?;
    if outer.checked_mul(picks)?.checked_mul(slice)? != bytes {
        return None;
    }
    Some(Box::new(GatherKernel {
        outer,
        len: x[axis],
        slice,
        picks,
    }))
}

/// A type of indices.
trait Index: Copy + Sync {
    fn get(self) -> i64;
}

impl Index for i32 {
    fn get(self) -> i64 {
        self.into()
    }
}

impl Index for i64 {
    fn get(self) -> i64 {
        self
    }
}

impl GatherKernel {
    /// The position that an index means, from the end if it is negative.
    #[inline(always)]
    fn position(&self, index: i64) -> Option<usize> {
        let end = if index < 0 { self.len } else { 0 };
        // A negative index is an offset from the end; what is before the front wraps to more than any length.
        let at = end.wrapping_add_signed(isize::try_from(index).ok()?);
        (at < self.len).then_some(at)
    }

    fn gather<I: Index>(
        &self,
        cx: &Context<'_>,
        data: &[u8],
        indices: &[I],
        output: &mut [u8],
    ) -> Result<(), Error> {
        for index in indices {
            if self.position(index.get()).is_none() {
                let outside = EvalError::Index {
                    what: "indices",
                    index: index.get(),
                    limit: self.len,
                };
                return Err(failed(outside.to_string()));
            }
        }
        let slice = self.slice;
        let lengths = (data.len(), indices.len(), output.len());
        let planned = (
            self.outer * self.len * slice,
            self.picks,
            self.outer * self.picks * slice,
        );
        if lengths != planned {
            return Err(failed(
                "operands do not have the sizes that were planned for",
            ));
        }
        split::rows(
            cx.team,
            output,
            slice,
            slice + SLICE,
            COST,
            |first, part| {
                let slices = Slices {
                    plan: self,
                    data,
                    indices,
                    first,
                    part,
                };
                with_copier(slice, slices);
            },
        );
        Ok(())
    }
}

/// The slices from number `first` on, for a part of the output. All indices have been found good, and data has the size that was planned for.
struct Slices<'a, I> {
    plan: &'a GatherKernel,
    data: &'a [u8],
    indices: &'a [I],
    first: usize,
    part: &'a mut [u8],
}

impl<I: Index> MoveRuns for Slices<'_, I> {
    #[inline(always)]
    fn run<C: Copier>(self, copier: C) {
        let plan = self.plan;
        let (mut outer, mut pick) = (self.first / plan.picks, self.first % plan.picks);
        for to in self.part.chunks_exact_mut(plan.slice) {
            let at = plan.position(self.indices[pick].get()).unwrap_or(0);
            let from = (outer * plan.len + at) * plan.slice;
            // SAFETY: the slice is inside of the data, since `at` is below the axis' length and `outer` below the count of what is before it;
            // both sides have `slice` bytes.
            unsafe { copier.copy(self.data.as_ptr().add(from), to.as_mut_ptr()) };
            pick += 1;
            if pick == plan.picks {
                (outer, pick) = (outer + 1, 0);
            }
        }
    }
}

impl Kernel for GatherKernel {
    fn describe(&self, _cx: &Context<'_>) -> String {
        format!("slices of {} bytes", self.slice)
    }

    fn access(&self, index: usize) -> Access {
        // Embedding tables are large and only copied from.
        match index {
            0 => Access::Bytes,
            _ => Access::Typed,
        }
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let Some(data) = inputs.first().copied().flatten() else {
            return Err(failed("input 0 is missing"));
        };
        let Some(Some(output)) = outputs.first_mut() else {
            return Err(failed("output 0 is missing"));
        };
        let output = output.bytes_mut();
        let dtype = inputs.get(1).copied().flatten().map(|t| t.dtype());
        match dtype {
            Some(DType::I32) => self.gather::<i32>(cx, data.bytes(), operand(inputs, 1)?, output),
            _ => self.gather::<i64>(cx, data.bytes(), operand(inputs, 1)?, output),
        }
    }
}
