//! Steps whose shapes depend on data.

use std::sync::Arc;

use smallvec::SmallVec;
use unisono_reference::eval;
use unisono_runtime::team::Team;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{Shape, Tensor, TensorMut, TensorRef, fault};

use super::{Frame, Muts, RawOutput, Sink, fail, misplaced};
use crate::exec::kernel::{Context, Kernel, Known, failed};
use crate::exec::lane::{Dynamic, Memory};
use crate::exec::model::Engine;
use crate::exec::program::{Place, Program, Step, build_kernel};
use crate::kernels::reference::interpret;

impl Frame<'_> {
    /// A step whose shapes depend on data: shapes first, then memory, then a kernel built for them.
    pub(super) fn dynamic(
        &mut self,
        step: &Step,
        op: &Arc<dyn unisono_graph::Operator>,
        dynamic: &mut [Dynamic],
        scratch: &mut Memory,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let engine = self.engine;
        // SAFETY: nothing is written until the views are gone.
        let inputs = unsafe { self.refs(step, dynamic)? };
        let count = step.outputs.len();
        if let Some(why) = fault!(node) {
            return Err(fail(&failed(why), step, &inputs));
        }
        // A node with bodies tells its shapes by running.
        let results = match op.subgraphs().is_empty() {
            true => None,
            false => Some(interpret(&**op, &inputs, count).map_err(|e| fail(&e, step, &inputs))?),
        };
        let shapes = match &results {
            Some(results) => results
                .iter()
                .map(|t| {
                    t.as_ref()
                        .map_or_else(Shape::new, |t| Shape::from_slice(t.shape()))
                })
                .collect(),
            None => eval::output_shapes(&**op, &inputs, count)
                .map_err(|e| fail(&failed(e.to_string()), step, &inputs))?,
        };
        drop(inputs);
        // Places for the outputs. New memory for a dynamic output never moves the step's inputs: a value has its own.
        let mut places: SmallVec<[Option<RawOutput>; 4]> = SmallVec::new();
        for (operand, shape) in step.outputs.iter().zip(&shapes) {
            let Some(operand) = operand else {
                places.push(None);
                continue;
            };
            if operand.shape.as_ref().is_some_and(|s| s != shape) {
                return Err(Error::at_node(
                    ErrorKind::Execution,
                    format!(
                        "its output has shape {:?}, but {:?} was inferred",
                        shape.as_slice(),
                        operand.shape.as_deref().unwrap_or(&[])
                    ),
                    step.name.clone(),
                    Vec::new(),
                ));
            }
            places.push(Some(match operand.place {
                Place::Arena(offset) => RawOutput {
                    // SAFETY: the layout keeps the offset within the arena.
                    start: unsafe { self.arena.add(offset) },
                    bytes: operand.bytes,
                },
                Place::Output(i) => {
                    if operand.shape.is_none() {
                        let memory = sink.provide(i, operand.dtype, shape)?;
                        self.outputs[i] = RawOutput {
                            start: memory.as_mut_ptr(),
                            bytes: memory.len(),
                        };
                        self.output_shapes[i] = Some(shape.clone());
                    }
                    self.outputs[i]
                }
                Place::Dynamic(i) => {
                    let value = &mut dynamic[i];
                    value.set(operand.dtype, shape, engine.arena_limit)?;
                    let bytes = value.bytes().len();
                    RawOutput {
                        start: value.start(),
                        bytes,
                    }
                }
                _ => return Err(misplaced(step)),
            }));
        }
        // SAFETY: the outputs made above are other values' memory than the inputs'.
        let inputs = unsafe { self.refs(step, dynamic)? };
        let mut outputs = Muts::new();
        for ((operand, shape), place) in step.outputs.iter().zip(&shapes).zip(&places) {
            outputs.push(match (operand, place) {
                (Some(operand), Some(raw)) => {
                    // SAFETY: memory made or found above for this output alone.
                    let bytes = unsafe { std::slice::from_raw_parts_mut(raw.start, raw.bytes) };
                    Some(TensorMut::new(operand.dtype, shape, bytes)?)
                }
                _ => None,
            });
        }
        if let Some(results) = &results {
            for (result, output) in results.iter().zip(&mut outputs) {
                if let (Some(result), Some(output)) = (result, output) {
                    if result.dtype() != output.dtype() {
                        return Err(misplaced(step));
                    }
                    output.bytes_mut().copy_from_slice(result.bytes());
                }
            }
            return Ok(());
        }
        run_unplanned(
            self.program,
            engine,
            self.team,
            step,
            op,
            &inputs,
            &mut outputs,
            scratch,
        )
        .map_err(|e| fail(&e, step, &inputs))
    }
}

/// Builds a kernel for what is there now, and runs it.
#[expect(
    clippy::too_many_arguments,
    reason = "a run needs that many kinds of memory"
)]
fn run_unplanned(
    program: &Program,
    engine: &Arc<Engine>,
    team: &Team,
    step: &Step,
    op: &Arc<dyn unisono_graph::Operator>,
    inputs: &[Option<TensorRef<'_>>],
    outputs: &mut [Option<TensorMut<'_>>],
    scratch: &mut Memory,
) -> Result<(), Error> {
    let known_inputs: SmallVec<[Option<Known>; 8]> = step
        .inputs
        .iter()
        .zip(inputs)
        .enumerate()
        .map(|(i, (operand, view))| {
            let (operand, view) = (operand.as_ref()?, view.as_ref()?);
            let constant = match operand.place {
                Place::Constant(c) => Some(program.constants[c].clone()),
                _ => None,
            };
            // Contents that the kernel may take as parameters are fixed for this run only.
            let integers = (op.shape_inputs().contains(&i) && constant.is_none())
                .then(|| {
                    Tensor::from_bytes(view.dtype(), view.shape(), view.bytes())
                        .ok()?
                        .to_i64s()
                })
                .flatten();
            Some(Known {
                dtype: view.dtype(),
                shape: Some(Shape::from_slice(view.shape())),
                integers,
                constant,
                value: operand.value,
            })
        })
        .collect();
    let known_outputs: SmallVec<[Option<Known>; 8]> = step
        .outputs
        .iter()
        .zip(&*outputs)
        .map(|(operand, view)| {
            let (operand, view) = (operand.as_ref()?, view.as_ref()?);
            Some(Known {
                dtype: view.dtype(),
                shape: Some(Shape::from_slice(view.shape())),
                integers: None,
                constant: None,
                value: operand.value,
            })
        })
        .collect();
    let node = *step.nodes.first().ok_or_else(|| misplaced(step))?;
    let kernel: Box<dyn Kernel> = build_kernel(
        op,
        &known_inputs,
        &known_outputs,
        node,
        &program.store,
        engine,
    )?;
    let len = kernel.scratch_len();
    let bytes = len
        .checked_mul(4)
        .ok_or_else(|| Error::new(ErrorKind::Limit, "scratch overflows"))?;
    let memory = scratch.at_least(bytes, engine.arena_limit)?;
    // SAFETY: cache-line aligned bytes, at least 4 * len of them; any bits are f32s.
    let scratch = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), len) };
    let cx = Context {
        team,
        isa: engine.isa,
    };
    kernel.run(&cx, inputs, outputs, scratch)
}
