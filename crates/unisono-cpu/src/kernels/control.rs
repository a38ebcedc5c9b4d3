//! `If`: both bodies are programs of their own, made beforehand, with their arenas inside the node's scratch memory.
//!
//! Bodies whose inner shapes depend on data, and loops, are left to the reference interpreter.

use smallvec::SmallVec;
use unisono_graph::attribute::Subgraph;
use unisono_graph::infer::infer;
use unisono_graph::ops::control::If;
use unisono_graph::{Dim, Fact, Symbol};
use unisono_runtime::program::concretise;
use unisono_runtime::program::staging::Sink;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, TensorMut, TensorRef};

use std::sync::Arc;

use crate::exec::kernel::{Build, Context, Kernel, Known, failed};
use crate::exec::lane::Memory;
use crate::exec::model::Engine;
use crate::exec::program::Program;
use crate::exec::run::execute_in;

/// A body for the shapes at hand, or why it cannot run at these shapes. Exporters write bodies for input sizes that
/// the other body is for; such a body is an error only if it is chosen.
type Body = Result<(Program, Vec<usize>), Error>;

struct IfKernel {
    /// Else, then.
    bodies: [Body; 2],
    engine: Arc<Engine>,
}

/// Builds an `If`, unless a body needs the interpreter.
pub fn build_if(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<If>() else {
        return Ok(None);
    };
    let bodies = [(&op.else_branch, 0), (&op.then_branch, 1)]
        .map(|(body, which)| prepare(build, body, which));
    let interpreted = |body: &Body| {
        body.as_ref()
            .is_ok_and(|(program, _)| program.dynamic_steps() > 0)
    };
    if bodies.iter().any(interpreted) {
        return Ok(None);
    }
    Ok(Some(Box::new(IfKernel {
        bodies,
        engine: Arc::clone(build.engine),
    })))
}

fn prepare(build: &Build<'_>, body: &Subgraph, which: usize) -> Body {
    let mut facts = Vec::new();
    for &index in &body.captures {
        let Some(Known {
            dtype,
            shape: Some(shape),
            integers,
            constant,
            ..
        }) = build.input(index)
        else {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("input {index} of the node is not there"),
            ));
        };
        let mut fact = Fact::new(*dtype, shape.iter().map(|&n| Dim::from(n)).collect());
        fact.integers = integers
            .as_ref()
            .map(|v| v.iter().map(|&n| Dim::from(n)).collect());
        fact.constant.clone_from(constant);
        facts.push(fact);
    }
    let facts = infer(&body.graph, &facts).map_err(|e| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the chosen branch does not fit these shapes: {e}"),
        )
    })?;
    let known = concretise(&facts, &Symbol::new(""), 0);
    let store = build.store.body(build.node, which);
    let program = Program::build(&body.graph, known, &store, build.engine, None)?;
    for (i, port) in program.outputs.iter().enumerate() {
        let Some(wanted) = build.output(i) else {
            continue;
        };
        if port.shape.is_some() && port.shape != wanted.shape {
            return Err(failed(format!(
                "output {i} of the chosen branch has shape {:?}, but the branches together promise {:?}",
                port.shape.as_deref().unwrap_or(&[]),
                wanted.shape.as_deref().unwrap_or(&[])
            )));
        }
    }
    Ok((program, body.captures.clone()))
}

/// A body's outputs are the node's.
struct NodeSink<'a, 'm> {
    outputs: &'a mut [Option<TensorMut<'m>>],
    /// For outputs of the body that nobody wants.
    unwanted: SmallVec<[Memory; 1]>,
}

impl Sink for NodeSink<'_, '_> {
    fn provide(&mut self, index: usize, dtype: DType, shape: &[usize]) -> Result<&mut [u8], Error> {
        if let Some(Some(output)) = self.outputs.get_mut(index) {
            return Ok(output.bytes_mut());
        }
        let bytes = unisono_tensor::element_count(shape)
            .and_then(|n| n.checked_mul(dtype.size()))
            .ok_or_else(|| failed("the size of an unused output overflows"))?;
        let last = self.unwanted.len();
        self.unwanted.push(Memory::default());
        self.unwanted[last].at_least(bytes, bytes)
    }
}

impl Kernel for IfKernel {
    fn describe(&self, _cx: &Context<'_>) -> String {
        "the branch's own steps, not told apart".to_owned()
    }

    fn scratch_len(&self) -> usize {
        let arena = |body: &Body| {
            body.as_ref()
                .map_or(0, |(program, _)| program.arena.div_ceil(4))
        };
        self.bodies.iter().map(arena).max().unwrap_or(0)
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let condition = inputs.first().copied().flatten().map(|t| t.bytes());
        let Some(&[condition]) = condition else {
            return Err(failed("the condition should have exactly one element"));
        };
        let (program, captures) = self.bodies[usize::from(condition != 0)]
            .as_ref()
            .map_err(Clone::clone)?;
        let mut captured: SmallVec<[TensorRef<'_>; 16]> = SmallVec::new();
        for &index in captures {
            let input = inputs.get(index).copied().flatten();
            captured.push(input.ok_or_else(|| failed(format!("input {index} is missing")))?);
        }
        let mut sink = NodeSink {
            outputs,
            unwanted: SmallVec::new(),
        };
        // SAFETY: `scratch` is this call's alone, aligned to a cache line, and as long as `scratch_len` asked, which is
        // at least this body's arena. The body has no steps of data-dependent shape, so it needs no other memory.
        unsafe {
            execute_in(
                program,
                &self.engine,
                cx.team,
                &captured,
                scratch.as_mut_ptr().cast(),
                &mut [],
                &mut Memory::default(),
                &mut sink,
                None,
            )
        }
    }
}
