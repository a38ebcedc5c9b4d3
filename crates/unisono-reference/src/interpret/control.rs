//! Control flow: a choice and two loops over bodies.
//!
//! One idea: a body is a graph like any other. Here is only what goes in and comes out of it: which values are carried, cut and collected.

use super::{Failure, Interpreter, Reason, Value, input};
use crate::eval::{self, EvalError};
use unisono_graph::Graph;
use unisono_graph::attribute::Subgraph;
use unisono_graph::ops::control::{If, Loop, Scan, ScanAxis};
use unisono_tensor::{Shape, Tensor};

impl Interpreter {
    pub(super) fn chosen<'a>(
        &self,
        op: &'a If,
        inputs: &[Option<Value>],
    ) -> Result<&'a Subgraph, Reason> {
        let condition = input(inputs, 0)?;
        Ok(if truth(condition)? {
            &op.then_branch
        } else {
            &op.else_branch
        })
    }

    pub(super) fn run_loop(
        &self,
        op: &Loop,
        inputs: &[Option<Value>],
        count: usize,
        left: &mut u64,
        fail: &dyn Fn(Reason) -> Failure,
        inside: &dyn Fn(Failure) -> Failure,
    ) -> Result<Vec<Option<Value>>, Failure> {
        let given = |i: usize| inputs.get(i).and_then(Option::as_ref);
        let trips = given(0).map(integer).transpose().map_err(fail)?;
        let mut goes_on = given(1)
            .map(truth)
            .transpose()
            .map_err(fail)?
            .unwrap_or(true);
        let mut carried = (0..op.carried)
            .map(|i| input(inputs, 2 + i).cloned())
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        let captures = captured(&op.body, inputs).map_err(fail)?;
        let collected = count.saturating_sub(op.carried);
        let mut parts: Vec<Vec<Value>> = vec![Vec::new(); collected];
        let mut iteration = 0i64;
        while goes_on && trips.is_none_or(|n| iteration < n) {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| fail(Reason::Budget { nodes: self.budget }))?;
            let number = self.enter(&Tensor::scalar(iteration)).map_err(fail)?;
            let go = Tensor::from_bools(&[], &[goes_on]).map_err(|e| fail(e.into()))?;
            let mut given = vec![number, self.enter(&go).map_err(fail)?];
            given.append(&mut carried);
            given.extend(captures.iter().cloned());
            let mut made = self.graph(&op.body.graph, given, left).map_err(inside)?;
            if made.len() < 1 + op.carried + collected {
                return Err(fail(Reason::NotMade));
            }
            let tail = made.split_off(1 + op.carried);
            goes_on = truth(&made[0]).map_err(fail)?;
            carried = made.split_off(1);
            for (list, value) in parts.iter_mut().zip(tail) {
                list.push(value);
            }
            iteration = iteration.saturating_add(1);
        }
        let mut outputs: Vec<Option<Value>> = carried.into_iter().map(Some).collect();
        let front = ScanAxis {
            axis: 0,
            reverse: false,
        };
        for (i, list) in parts.iter().enumerate() {
            let declared = &op.body.graph.outputs().get(1 + op.carried + i);
            let joined = self.join(list, front, &op.body.graph, declared.copied());
            outputs.push(Some(joined.map_err(fail)?));
        }
        Ok(outputs)
    }

    pub(super) fn run_scan(
        &self,
        op: &Scan,
        inputs: &[Option<Value>],
        count: usize,
        left: &mut u64,
        fail: &dyn Fn(Reason) -> Failure,
        inside: &dyn Fn(Failure) -> Failure,
    ) -> Result<Vec<Option<Value>>, Failure> {
        let mut carried = (0..op.carried)
            .map(|i| input(inputs, i).cloned())
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        let cut = (0..op.inputs.len())
            .map(|i| input(inputs, op.carried + i).cloned())
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        let captures = captured(&op.body, inputs).map_err(fail)?;
        let length = |(value, axis): (&Value, &ScanAxis)| {
            let at = eval::resolve_axis(axis.axis, value.tensor.rank())?;
            Ok::<usize, EvalError>(value.tensor.shape()[at])
        };
        let mut steps = 0;
        for (i, pair) in cut.iter().zip(&op.inputs).enumerate() {
            let n = length(pair).map_err(|e| fail(e.into()))?;
            if i > 0 && n != steps {
                return Err(fail(Reason::Eval(EvalError::Shape {
                    what: "all scanned inputs should be equally long",
                })));
            }
            steps = n;
        }
        let joined = count.saturating_sub(op.carried).min(op.outputs.len());
        let mut parts: Vec<Vec<Value>> = vec![Vec::new(); joined];
        for step in 0..steps {
            let mut given = std::mem::take(&mut carried);
            for (value, axis) in cut.iter().zip(&op.inputs) {
                let at = if axis.reverse { steps - 1 - step } else { step };
                given.push(self.cut(value, axis.axis, at).map_err(fail)?);
            }
            given.extend(captures.iter().cloned());
            let mut made = self.graph(&op.body.graph, given, left).map_err(inside)?;
            if made.len() < op.carried + joined {
                return Err(fail(Reason::NotMade));
            }
            let tail = made.split_off(op.carried);
            carried = made;
            for (list, value) in parts.iter_mut().zip(tail) {
                list.push(value);
            }
        }
        let mut outputs: Vec<Option<Value>> = carried.into_iter().map(Some).collect();
        for (i, list) in parts.iter().enumerate() {
            let declared = op.body.graph.outputs().get(op.carried + i).copied();
            let value = self.join(list, op.outputs[i], &op.body.graph, declared);
            outputs.push(Some(value.map_err(fail)?));
        }
        Ok(outputs)
    }

    /// Slice number `at` along an axis, without the axis.
    fn cut(&self, value: &Value, axis: i64, at: usize) -> Result<Value, Reason> {
        let mut shape = Shape::from_slice(value.tensor.shape());
        let axis = eval::resolve_axis(axis, shape.len())?;
        shape.remove(axis);
        let mut tensor = self.make(value.tensor.dtype(), &shape)?;
        if let Some(mut out) = tensor.view_mut() {
            eval::cut(value.tensor.view()?, &mut out, axis, at)?;
        }
        Ok(Value {
            tensor,
            dtype: value.dtype,
        })
    }

    /// The slices side by side along a new axis. Without any, the body's declaration says type and shape as far as it does.
    fn join(
        &self,
        parts: &[Value],
        axis: ScanAxis,
        body: &Graph,
        declared: Option<unisono_graph::ValueId>,
    ) -> Result<Value, Reason> {
        let Some(first) = parts.first() else {
            let declared = declared
                .and_then(|id| body.values().get(id.index()))
                .and_then(|v| v.declared.as_ref())
                .ok_or(Reason::NotMade)?;
            let lens = declared.shape.iter().flatten();
            // Lengths that nobody knows are as good as any: there are no elements.
            let mut shape: Shape = lens.map(|d| d.as_len().unwrap_or(0)).collect();
            let at = eval::resolve_axis(axis.axis, shape.len() + 1)?;
            shape.insert(at, 0);
            return Ok(Value {
                tensor: self.make(self.stored(declared.dtype), &shape)?,
                dtype: declared.dtype,
            });
        };
        let mut shape = Shape::from_slice(first.tensor.shape());
        let at = eval::resolve_axis(axis.axis, shape.len() + 1)?;
        if parts.iter().any(|p| p.tensor.shape() != shape.as_slice()) {
            return Err(Reason::Eval(EvalError::Shape {
                what: "what iterations collect should have the same shape in each",
            }));
        }
        shape.insert(at, parts.len());
        let mut tensor = self.make(first.tensor.dtype(), &shape)?;
        if let Some(mut out) = tensor.view_mut() {
            for (i, part) in parts.iter().enumerate() {
                let i = if axis.reverse { parts.len() - 1 - i } else { i };
                eval::insert(part.tensor.view()?, &mut out, at, i)?;
            }
        }
        Ok(Value {
            tensor,
            dtype: first.dtype,
        })
    }
}

pub(super) fn captured(body: &Subgraph, inputs: &[Option<Value>]) -> Result<Vec<Value>, Reason> {
    body.captures
        .iter()
        .map(|&i| input(inputs, i).cloned())
        .collect()
}

/// The only element of an integer or boolean tensor.
fn integer(value: &Value) -> Result<i64, Reason> {
    match value.tensor.to_i64s().as_deref() {
        Some(&[n]) => Ok(n),
        _ => Err(Reason::Eval(EvalError::Shape {
            what: "a trip count or condition should be one integer or boolean",
        })),
    }
}

fn truth(value: &Value) -> Result<bool, Reason> {
    integer(value).map(|n| n != 0)
}
