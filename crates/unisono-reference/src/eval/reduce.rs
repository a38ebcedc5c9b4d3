//! Reductions, scans and selections along axes.

use super::element::{Float, Number, Wide, with_float, with_int, with_number};
use super::io::{Io, around, axis, concrete, count, ensure, int, ints};
use super::walk::strides;
use super::{Dims, EvalError};
use crate::arith::{self, Order, Reduction};
use smallvec::SmallVec;
use std::cmp::Ordering;
use unisono_graph::Operator;
use unisono_graph::ops::reduce::{
    ArgReduce, Cumulative, CumulativeFunction, Reduce, ReduceFunction, TopK,
};
use unisono_tensor::{DType, TensorMut};

/// The canonical reduction behind an operator.
pub fn canonical_reduction(function: ReduceFunction) -> Reduction {
    match function {
        ReduceFunction::Sum => Reduction::Sum,
        ReduceFunction::Mean => Reduction::Mean,
        ReduceFunction::Max => Reduction::Max,
        ReduceFunction::Min => Reduction::Min,
        ReduceFunction::Prod => Reduction::Prod,
        ReduceFunction::SumSquare => Reduction::SumSquare,
        ReduceFunction::L1 => Reduction::L1,
        ReduceFunction::L2 => Reduction::L2,
        ReduceFunction::LogSum => Reduction::LogSum,
        ReduceFunction::LogSumExp => Reduction::LogSumExp,
    }
}

/// Which elements each output of a reduction is made of.
pub(super) struct Groups {
    /// Lengths and strides of the axes that stay, outermost first.
    kept: Axes,
    /// The same of those that are folded; neighbours that advance as one are merged.
    folded: Axes,
    /// How many elements are folded.
    pub n: usize,
    /// In which order.
    pub order: Order,
}

/// Length and stride of each axis.
type Axes = SmallVec<[(usize, usize); 8]>;

impl Groups {
    /// The groups of a tensor of `shape` along the axes for which `folds` says so.
    pub fn new(shape: &[usize], folds: impl Fn(usize) -> bool) -> Groups {
        let own = strides(shape);
        let (mut kept, mut folded, mut n) = (Axes::new(), Axes::new(), 1usize);
        let (mut is_suffix, mut empty) = (true, false);
        for (a, (&len, &stride)) in shape.iter().zip(&own).enumerate() {
            let stride = stride as usize;
            if !folds(a) {
                kept.push((len, stride));
                // A kept axis behind a folded one; an axis of length 1 is an axis.
                is_suffix &= folded.is_empty();
                continue;
            }
            empty |= len == 0;
            n = n.wrapping_mul(len);
            match folded.last_mut() {
                Some(outer) if outer.1 == len.wrapping_mul(stride) => {
                    *outer = (outer.0.wrapping_mul(len), stride);
                }
                _ => folded.push((len, stride)),
            }
        }
        // Beside an empty axis the product may have wrapped.
        let n = if empty { 0 } else { n };
        let order = if is_suffix {
            Order::Lanes
        } else {
            Order::Slices
        };
        Groups {
            kept,
            folded,
            n,
            order,
        }
    }

    /// Where output `o` begins in the input.
    pub fn base(&self, mut o: usize) -> usize {
        let mut at = 0;
        for &(len, stride) in self.kept.iter().rev() {
            at += o % len * stride;
            o /= len;
        }
        at
    }

    /// The distance of the `i`-th folded element from [`Groups::base`], in row-major order of the folded axes.
    #[inline]
    pub fn offset(&self, mut i: usize) -> usize {
        match *self.folded {
            [] => 0,
            [(_, stride)] => i * stride,
            _ => {
                let mut at = 0;
                for &(len, stride) in self.folded.iter().rev() {
                    at += i % len * stride;
                    i /= len;
                }
                at
            }
        }
    }

    /// An error unless `outputs` outputs read inside of `len` elements.
    fn check(&self, outputs: usize, len: usize) -> Result<(), EvalError> {
        let kept: Dims = self.kept.iter().map(|a| a.0).collect();
        let fits = if kept.contains(&0) {
            outputs == 0
        } else {
            count(&kept) == outputs && (self.n == 0 || outputs.wrapping_mul(self.n) == len)
        };
        ensure(
            fits,
            "a reduction's output should have the axes that are kept",
        )
    }
}

pub(super) fn reduce(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Reduce>(op)?;
    let x = io.input(0)?;
    let rank = x.rank();
    let axes = match (&op.axes, io.optional(1)) {
        (Some(axes), _) => axes.as_slice().into(),
        (None, Some(t)) => ints(t)?,
        (None, None) => super::io::Ints::new(),
    };
    let mut folds: SmallVec<[bool; 8]> = SmallVec::from_elem(
        axes.is_empty() && !op.noop_with_empty_axes && op.axes.is_none(),
        rank,
    );
    if axes.is_empty() && op.axes.is_some() {
        folds.fill(!op.noop_with_empty_axes);
    }
    for &a in &axes {
        folds[axis(a, rank)?] = true;
    }
    let groups = Groups::new(x.shape(), |a| folds[a]);
    let mut out = io.output(0)?;
    groups.check(out.len(), x.len())?;
    let function = canonical_reduction(op.function);
    if x.dtype().is_float() {
        return with_float!(x.dtype(), "a reduced tensor", T => {
            let x = x.as_slice::<T>()?;
            for (o, slot) in out.as_slice_mut::<T>()?.iter_mut().enumerate() {
                let base = groups.base(o);
                *slot = T::narrow(arith::reduce(function, groups.order, groups.n, |i| {
                    x[base + groups.offset(i)].widen()
                }));
            }
            Ok(())
        });
    }
    if x.dtype() == DType::Bool {
        ensure(
            matches!(function, Reduction::Max | Reduction::Min),
            "booleans have no other reductions than the largest and the smallest",
        )?;
        let x = x.as_slice::<u8>()?;
        for (o, slot) in out.as_slice_mut::<u8>()?.iter_mut().enumerate() {
            let base = groups.base(o);
            let mut values = (0..groups.n).map(|i| x[base + groups.offset(i)] != 0);
            *slot = u8::from(match function {
                Reduction::Max => values.any(|v| v),
                _ => values.all(|v| v),
            });
        }
        return Ok(());
    }
    with_int!(x.dtype(), "a reduced tensor", T => {
        let x = x.as_slice::<T>()?;
        for (o, slot) in out.as_slice_mut::<T>()?.iter_mut().enumerate() {
            let base = groups.base(o);
            let values = (0..groups.n).map(|i| x[base + groups.offset(i)]);
            let sum = |values: &mut dyn Iterator<Item = T>| values.fold(0, |s: T, v| s.wrapping_add(v));
            *slot = match function {
                Reduction::Sum => sum(&mut values.into_iter()),
                Reduction::Mean => {
                    Wide::div(sum(&mut values.into_iter()), <T as Wide>::counted(groups.n))
                        .ok_or(EvalError::DivisionByZero)?
                }
                Reduction::SumSquare => sum(&mut values.map(|v| v.wrapping_mul(v))),
                Reduction::L1 => sum(&mut values.map(Wide::abs)),
                Reduction::Prod => values.fold(1, |p: T, v| p.wrapping_mul(v)),
                Reduction::Max => values.max().unwrap_or(T::MIN),
                Reduction::Min => values.min().unwrap_or(T::MAX),
                // Through f64, then as every float that becomes an integer.
                Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp => {
                    arith::reduce(function, groups.order, groups.n, |i| x[base + groups.offset(i)] as f64) as T
                }
            };
        }
        Ok(())
    })
}

/// Does `a` come before `b` when the largest (or smallest) comes first? NaN comes before everything.
fn rank<T: PartialOrd>(a: T, b: T, largest: bool) -> Ordering {
    match a.partial_cmp(&b) {
        Some(order) if largest => order.reverse(),
        Some(order) => order,
        // Only NaN is unequal to itself.
        None => a
            .partial_cmp(&a)
            .is_some()
            .cmp(&b.partial_cmp(&b).is_some()),
    }
}

pub(super) fn arg_reduce(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<ArgReduce>(op)?;
    let x = io.input(0)?;
    let at = axis(op.axis, x.rank())?;
    let [outer, n, inner] = around(x.shape(), at);
    let mut out = io.output(0)?;
    ensure(
        out.is_empty() || (n > 0 && out.len() == outer * inner),
        "the position of an extreme element needs an axis that is not empty",
    )?;
    let out = out.as_slice_mut::<i64>()?;
    with_number!(x.dtype(), "a searched tensor", T => {
        let x = x.as_slice::<T>()?;
        for (o, slot) in out.iter_mut().enumerate() {
            let base = o / inner * n * inner + o % inner;
            let mut best = 0;
            for i in 1..n {
                match rank(x[base + i * inner], x[base + best * inner], op.largest) {
                    Ordering::Less => best = i,
                    Ordering::Equal if op.select_last_index => best = i,
                    _ => {}
                }
            }
            *slot = best as i64;
        }
        Ok(())
    })
}

/// One chain per line, from 0 or 1, in the direction of the scan.
pub(super) fn cumulative(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<Cumulative>(op)?;
    let x = io.input(0)?;
    let at = axis(int(io.input(1)?)?, x.rank())?;
    let [_, n, inner] = around(x.shape(), at);
    let mut out = io.output(0)?;
    ensure(out.len() == x.len(), "a scan keeps the shape")?;
    if x.is_empty() {
        return Ok(());
    }
    with_number!(x.dtype(), "a scanned tensor", T => {
        let (x, out) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        for line in 0..x.len() / n {
            let base = line / inner * n * inner + line % inner;
            let mut chain = match op.function {
                CumulativeFunction::Sum => <T as Number>::Wide::ZERO,
                CumulativeFunction::Prod => <T as Number>::Wide::ONE,
            };
            for step in 0..n {
                let i = if op.reverse { n - 1 - step } else { step };
                let at = base + i * inner;
                let before = chain;
                chain = match op.function {
                    CumulativeFunction::Sum => chain.add(x[at].load()),
                    CumulativeFunction::Prod => chain.mul(x[at].load()),
                };
                out[at] = T::store(if op.exclusive { before } else { chain });
            }
        }
        Ok(())
    })
}

/// The first k of a line in the order of [`rank`], then of position. The output of positions is the heap in which they are found, so there
/// is no other memory.
pub(super) fn top_k(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<TopK>(op)?;
    let x = io.input(0)?;
    let at = axis(op.axis, x.rank())?;
    let [outer, n, inner] = around(x.shape(), at);
    let (mut values, rest) = io.split_first()?;
    let k = values.shape().get(at).copied().unwrap_or(0);
    let lines = outer.wrapping_mul(inner);
    ensure(
        values.is_empty() || (k <= n && values.len() == lines * k),
        "no more elements can be picked than the axis has",
    )?;
    if values.is_empty() {
        return Ok(());
    }
    let positions = rest.first_mut().and_then(Option::as_mut);
    with_number!(x.dtype(), "a searched tensor", T => {
        let source = x.as_slice::<T>()?;
        let values = values.as_slice_mut::<T>()?;
        let Some(positions) = positions else {
            return first_values(source, values, [n, k, inner], op.largest);
        };
        ensure(positions.len() == values.len(), "values and positions should be equally many")?;
        let positions = TensorMut::as_slice_mut::<i64>(positions)?;
        for line in 0..lines {
            let (from, to) = (
                line / inner * n * inner + line % inner,
                line / inner * k * inner + line % inner,
            );
            let before = |a: i64, b: i64| {
                let value = |i: i64| source[from + i as usize * inner];
                rank(value(a), value(b), op.largest).then(a.cmp(&b)) == Ordering::Less
            };
            let mut heap = Heap { slots: &mut *positions, base: to, step: inner, len: 0 };
            for i in 0..n as i64 {
                if heap.len < k {
                    heap.push(i, &before);
                } else if before(i, heap.get(0)) {
                    heap.set(0, i);
                    heap.sink(0, &before);
                }
            }
            heap.sort(&before);
            for j in 0..k {
                let position = positions[to + j * inner];
                values[to + j * inner] = source[from + position as usize * inner];
            }
        }
        Ok(())
    })
}

/// A binary heap in every `step`-th slot, the last in order on top.
struct Heap<'a> {
    slots: &'a mut [i64],
    base: usize,
    step: usize,
    len: usize,
}

impl Heap<'_> {
    fn get(&self, i: usize) -> i64 {
        self.slots[self.base + i * self.step]
    }

    fn set(&mut self, i: usize, value: i64) {
        self.slots[self.base + i * self.step] = value;
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.slots
            .swap(self.base + a * self.step, self.base + b * self.step);
    }

    fn push(&mut self, value: i64, before: &impl Fn(i64, i64) -> bool) {
        let mut i = self.len;
        self.len += 1;
        self.set(i, value);
        while i > 0 && before(self.get((i - 1) / 2), self.get(i)) {
            self.swap(i, (i - 1) / 2);
            i = (i - 1) / 2;
        }
    }

    fn sink(&mut self, mut i: usize, before: &impl Fn(i64, i64) -> bool) {
        loop {
            let mut last = i;
            for child in [2 * i + 1, 2 * i + 2] {
                if child < self.len && before(self.get(last), self.get(child)) {
                    last = child;
                }
            }
            if last == i {
                return;
            }
            self.swap(i, last);
            i = last;
        }
    }

    fn sort(&mut self, before: &impl Fn(i64, i64) -> bool) {
        while self.len > 1 {
            self.len -= 1;
            let end = self.len;
            self.swap(0, end);
            self.sink(0, before);
        }
    }
}

/// The values alone, where nobody wants their positions: each is inserted behind all that do not come after it.
fn first_values<T: Copy + PartialOrd>(
    x: &[T],
    out: &mut [T],
    [n, k, inner]: [usize; 3],
    largest: bool,
) -> Result<(), EvalError> {
    for line in 0..out.len() / k {
        let (from, to) = (
            line / inner * n * inner + line % inner,
            line / inner * k * inner + line % inner,
        );
        let mut held = 0;
        for i in 0..n {
            let value = x[from + i * inner];
            let mut slot = held;
            while slot > 0 && rank(value, out[to + (slot - 1) * inner], largest) == Ordering::Less {
                if slot < k {
                    out[to + slot * inner] = out[to + (slot - 1) * inner];
                }
                slot -= 1;
            }
            if slot < k {
                out[to + slot * inner] = value;
                held = (held + 1).min(k);
            }
        }
    }
    Ok(())
}
