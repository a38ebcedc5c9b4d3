//! Attention as one step: products of queries and keys, softmax, and the products with the values.
//!
//! The one idea: a thread computes some rows of one head from end to end, so that scores are never further away than its own cache, and
//! reads and writes heads where the graph's transposes would take them from and put them. Each part is what its node computes alone, in
//! the same order.

use unisono_graph::Operator;
use unisono_reference::arith::MatrixRef;
use unisono_runtime::Error;
use unisono_runtime::team::Team;
use unisono_tensor::{TensorMut, TensorRef};

use crate::exec::kernel::{Context, Kernel};
use crate::exec::model::Engine;
use crate::fuse::attention::{Attention, Extent};
use crate::gemm::microkernel::Microkernels;
use crate::gemm::{Alone, Epilogue};
use crate::kernels::operands::{operand, result};
use crate::kernels::rowwise;
use crate::memory::{Seats, SharedMut};
use crate::simd::Isa;

/// Elements of scores that a job has at most, as long as it has a strip of rows: they stay in a second-level cache beside K and V.
const MOST_SCORES: usize = 64 << 10;

/// Jobs per thread that even out what the threads finish with.
const JOBS_PER_THREAD: usize = 4;

/// Work below which a job is not made smaller, in nanoseconds.
const LEAST_JOB_NS: u64 = 5_000;

/// Nanoseconds for 16 scores, roughly: their softmax.
const SOFTMAX_COST: usize = 20;

/// How the rows of a head are cut.
#[derive(Clone, Copy)]
struct Cut {
    /// Parts of each head's rows.
    parts: usize,
    /// Rows of the largest.
    rows: usize,
    estimated_ns: u64,
}

struct AttentionKernel {
    isa: Isa,
    attention: Attention,
    scratch: usize,
}

/// The kernel of a group of nodes.
pub(crate) fn build_attention(op: &dyn Operator, engine: &Engine) -> Option<Box<dyn Kernel>> {
    let attention = *op.downcast_ref::<Attention>()?;
    let Extent {
        batch,
        heads,
        rows,
        keys,
        ..
    } = attention.extent;
    if [batch, heads, rows, keys].contains(&0) {
        return None;
    }
    let mut kernel = AttentionKernel {
        isa: engine.isa,
        attention,
        scratch: 0,
    };
    kernel.scratch = [&engine.team, &engine.solo]
        .map(|team| Seats::scratch_len(team.threads(), kernel.area(kernel.cut(team))))
        .into_iter()
        .max()?;
    Some(Box::new(kernel))
}

impl AttentionKernel {
    fn cut(&self, team: &Team) -> Cut {
        let Extent {
            batch,
            heads,
            rows,
            keys,
            ..
        } = self.attention.extent;
        let heads = batch.saturating_mul(heads);
        let [scores, values] = self.products(rows);
        let softmax = (rows.saturating_mul(keys) / 16).saturating_mul(SOFTMAX_COST) as u64;
        let estimated_ns = scores.estimated_ns() + values.estimated_ns() + softmax;
        let estimated_ns = estimated_ns.saturating_mul(heads as u64);
        let strip = Microkernels::of(self.isa).rows();
        let least = match team.threads() {
            1 => 1,
            threads => {
                let most = (threads * JOBS_PER_THREAD) as u64;
                let wanted = (estimated_ns / LEAST_JOB_NS).clamp(1, most) as usize;
                wanted.div_ceil(heads).min(rows.div_ceil(strip))
            }
        };
        let most_rows = (MOST_SCORES / keys).max(strip);
        let parts = least.max(rows.div_ceil(most_rows)).clamp(1, rows);
        Cut {
            parts,
            rows: rows.div_ceil(parts),
            estimated_ns,
        }
    }

    /// The product of queries and keys, and that with the values, of so many rows.
    fn products(&self, rows: usize) -> [Alone; 2] {
        let Extent {
            keys,
            width,
            value_width,
            ..
        } = self.attention.extent;
        [
            Alone::new(self.isa, rows, keys, width),
            Alone::new(self.isa, rows, value_width, keys),
        ]
    }

    /// Elements of a seat: scores, and what the products need behind them.
    fn area(&self, cut: Cut) -> usize {
        let [scores, values] = self.products(cut.rows).map(|product| product.area());
        cut.rows * self.attention.extent.keys + scores.max(values)
    }
}

impl Kernel for AttentionKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        let Extent { batch, heads, .. } = self.attention.extent;
        let tile = Microkernels::of(cx.isa).in_words(cx.isa);
        format!("{} heads, each from end to end, {tile}", batch * heads)
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let Attention {
            extent,
            alpha,
            q: q_steps,
            k: k_steps,
            v: v_steps,
            y: y_steps,
            mask: mask_steps,
        } = self.attention;
        let [q, k, v] = [0, 1, 2].map(|index| operand::<f32>(inputs, index));
        let (q, k, v) = (q?, k?, v?);
        let mask = mask_steps.map(|steps| Ok::<_, Error>((operand::<f32>(inputs, 3)?, steps)));
        let mask = mask.transpose()?;
        let y = result::<f32>(outputs)?;
        let last = [extent.batch, extent.heads, extent.rows].map(|n| n - 1);
        let end = last
            .iter()
            .zip(y_steps)
            .map(|(at, step)| at * step)
            .sum::<usize>();
        assert!(
            end + extent.value_width <= y.len(),
            "the result has no room"
        );
        let y = SharedMut::new(y);
        let cut = self.cut(cx.team);
        let seats = Seats::new(scratch, cx.team.threads(), self.area(cut));
        let jobs = extent.batch * extent.heads * cut.parts;
        cx.team.run(jobs, cut.estimated_ns, |job, seat| {
            let (head, part) = (job / cut.parts, job % cut.parts);
            let (member, head) = (head / extent.heads, head % extent.heads);
            let first = part * extent.rows / cut.parts;
            let rows = (part + 1) * extent.rows / cut.parts - first;
            let place = |[by_member, by_head, _]: [usize; 3]| member * by_member + head * by_head;
            // SAFETY: a seat has one holder at a time.
            let area = unsafe { seats.area(seat) };
            let (scores, area) = area.split_at_mut(rows * extent.keys);
            let [queries, values] = self.products(rows);
            let epilogue = Epilogue {
                alpha,
                bias: mask.map(|(mask, [by_member, by_head, row, key])| MatrixRef {
                    data: &mask[member * by_member + head * by_head + first * row..],
                    row_stride: row,
                    col_stride: key,
                }),
                ..Epilogue::default()
            };
            let a = MatrixRef {
                data: &q[place(q_steps) + first * q_steps[2]..],
                row_stride: q_steps[2],
                col_stride: 1,
            };
            let b = MatrixRef {
                data: &k[place(k_steps)..],
                row_stride: 1,
                col_stride: k_steps[2],
            };
            // SAFETY: the scores are this seat's; the set is the engine's.
            unsafe {
                let c = (scores.as_mut_ptr(), extent.keys);
                queries.run([a, b], c, &epilogue, area);
            }
            rowwise::softmax_rows(cx.isa, extent.keys, &mut *scores);
            let a = MatrixRef {
                data: scores,
                row_stride: extent.keys,
                col_stride: 1,
            };
            let b = MatrixRef {
                data: &v[place(v_steps)..],
                row_stride: v_steps[2],
                col_stride: 1,
            };
            // SAFETY: the last row of the last head fits, as asserted; jobs have rows or heads of their own, which are apart in
            // the result, since they are what a transpose makes of rows and heads.
            unsafe {
                let c = y.ptr().add(place(y_steps) + first * y_steps[2]);
                values.run([a, b], (c, y_steps[2]), &Epilogue::default(), area);
            }
        });
        Ok(())
    }
}
