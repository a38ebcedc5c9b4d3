//! Every kernel that moves data against the reference implementation of its operator, byte for byte, on every instruction set that the
//! machine has and on one and two threads.

mod axes;
mod gather;
mod join;

use std::sync::Arc;

use unisono_graph::{Dim, Fact, InferContext, Operator};
use unisono_reference::eval;
use unisono_runtime::team::{Team, TeamOptions};
use unisono_tensor::{DType, Shape, Tensor, TensorMut, TensorRef};

use crate::exec::kernel::{Access, Build, Context, Kernel, Known};
use crate::exec::model::{Engine, Store};
use crate::simd::Isa;

/// One of every size that an element can have.
const TYPES: [DType; 4] = [DType::U8, DType::BF16, DType::F32, DType::I64];

/// A tensor whose bytes all differ from their neighbours; `seed` tells tensors apart.
fn tensor(dtype: DType, shape: &[usize], seed: usize) -> Tensor {
    let len = shape.iter().product::<usize>() * dtype.size();
    let bytes: Vec<u8> = (0..len)
        .map(|i| ((i + seed * 7919).wrapping_mul(0x9E37_79B9) >> 13) as u8)
        .collect();
    Tensor::from_bytes(dtype, shape, &bytes).unwrap()
}

fn list(values: &[i64]) -> Tensor {
    Tensor::from_slice(&[values.len()], values).unwrap()
}

fn inputs<const N: usize>(tensors: [Tensor; N]) -> Vec<Option<Tensor>> {
    tensors.into_iter().map(Some).collect()
}

struct Case {
    op: Arc<dyn Operator>,
    inputs: Vec<Option<Tensor>>,
    /// Inputs from this number on are known when the kernel is built.
    fixed: usize,
    outputs: usize,
    channels_last: bool,
}

impl Case {
    /// An operator with data alone, and one output.
    fn new(op: impl Operator, inputs: Vec<Option<Tensor>>) -> Case {
        Case {
            op: Arc::new(op),
            inputs,
            fixed: usize::MAX,
            outputs: 1,
            channels_last: false,
        }
    }

    /// With parameters that are known from input `first` on.
    fn fixed(self, first: usize) -> Case {
        Case {
            fixed: first,
            ..self
        }
    }

    fn outputs(self, outputs: usize) -> Case {
        Case { outputs, ..self }
    }

    fn is_fixed(&self, index: usize) -> bool {
        index >= self.fixed
    }

    /// Zeros for the outputs, as inference says.
    fn zeros(&self) -> Vec<Tensor> {
        let fact = |t: &Tensor| {
            let shape = t.shape().iter().map(|&n| Dim::from(n)).collect();
            Fact::new(t.dtype(), shape)
        };
        let facts: Vec<Option<Fact>> = (self.inputs.iter().enumerate())
            .map(|(i, t)| {
                let t = t.as_ref()?;
                Some(match self.is_fixed(i) {
                    true => Fact::constant(t),
                    false => fact(t),
                })
            })
            .collect();
        let mut cx = InferContext::new(&facts, self.outputs);
        self.op.infer(&mut cx).unwrap();
        let zeros = |f: &Option<Fact>| {
            let f = f.as_ref().unwrap();
            Tensor::zeros(f.dtype, &f.concrete_shape().unwrap()).unwrap()
        };
        cx.into_outputs().iter().map(zeros).collect()
    }

    /// The kernel for these outputs, on some machine.
    fn kernel(
        &self,
        outputs: &[Tensor],
        isa: Isa,
        threads: usize,
    ) -> (Option<Box<dyn Kernel>>, Arc<Engine>) {
        let known = |t: &Tensor, value: usize, fixed: bool| Known {
            dtype: t.dtype(),
            shape: Some(Shape::from_slice(t.shape())),
            integers: None,
            constant: fixed.then(|| t.clone()),
            value,
        };
        let known_in: Vec<Option<Known>> = (self.inputs.iter().enumerate())
            .map(|(i, t)| Some(known(t.as_ref()?, i, self.is_fixed(i))))
            .collect();
        let known_out: Vec<Known> = outputs.iter().map(|t| known(t, 99, false)).collect();
        let refs_in: Vec<Option<&Known>> = known_in.iter().map(Option::as_ref).collect();
        let refs_out: Vec<Option<&Known>> = known_out.iter().map(Some).collect();
        let engine = Arc::new(Engine {
            team: Team::new(TeamOptions::default().threads(threads)).unwrap(),
            solo: Team::solo(),
            isa,
            arena_limit: 1 << 30,
            near_bytes: crate::exec::cost::NEAR_BYTES,
        });
        let build = Build {
            op: &self.op,
            inputs: &refs_in,
            outputs: &refs_out,
            node: 0,
            store: &Store::default(),
            engine: &engine,
            channels_last: self.channels_last,
        };
        (crate::kernels::own(&build).unwrap(), engine)
    }

    /// Runs the kernel on memory that held something else. Inputs that it does not read are not given.
    fn run(&self, outputs: &mut [Tensor], isa: Isa, threads: usize) -> Result<(), String> {
        let (kernel, engine) = self.kernel(outputs, isa, threads);
        let kernel = kernel.ok_or("there is no kernel of our own for it")?;
        let refs: Vec<Option<TensorRef<'_>>> = (self.inputs.iter().enumerate())
            .map(|(i, t)| match kernel.access(i) {
                Access::Unused if self.is_fixed(i) => None,
                _ => t.as_ref().map(|t| t.view().unwrap()),
            })
            .collect();
        let cx = Context {
            team: &engine.team,
            isa,
        };
        for output in outputs.iter_mut() {
            output.bytes_mut().unwrap().fill(0xA5);
        }
        let mut views: Vec<Option<TensorMut<'_>>> =
            outputs.iter_mut().map(Tensor::view_mut).collect();
        kernel
            .run(&cx, &refs, &mut views, &mut [])
            .map_err(|e| e.message().to_owned())
    }

    fn reference(&self) -> Vec<Tensor> {
        let mut outputs = self.zeros();
        let refs: Vec<Option<TensorRef<'_>>> = (self.inputs.iter())
            .map(|t| t.as_ref().map(|t| t.view().unwrap()))
            .collect();
        let mut views: Vec<Option<TensorMut<'_>>> =
            outputs.iter_mut().map(Tensor::view_mut).collect();
        eval::evaluate(&*self.op, &refs, &mut views).unwrap();
        outputs
    }

    /// The kernel's outputs are those of the reference, on every instruction set and on one and two threads.
    fn check(&self) {
        self.check_against(&self.reference());
    }

    fn check_against(&self, expected: &[Tensor]) {
        let shapes = || -> Vec<_> {
            let shape = |t: &Option<Tensor>| t.as_ref().map(|t| t.shape().to_vec());
            self.inputs.iter().map(shape).collect()
        };
        for isa in Isa::available() {
            for threads in [1, 2] {
                let mut found: Vec<Tensor> = expected
                    .iter()
                    .map(|t| Tensor::zeros(t.dtype(), t.shape()).unwrap())
                    .collect();
                if let Err(e) = self.run(&mut found, isa, threads) {
                    panic!("{:?} of {:?}: {e}", self.op, shapes());
                }
                for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                    assert!(
                        found.bytes() == expected.bytes(),
                        "output {i} of {:?} of {:?} on {isa}, {threads} threads",
                        self.op,
                        shapes()
                    );
                }
            }
        }
    }
}

/// There is no kernel of our own for the case, whose outputs have these shapes.
fn assert_none(case: &Case, outputs: &[&[usize]]) {
    let dtype = case.inputs[0].as_ref().unwrap().dtype();
    let outputs: Vec<Tensor> = outputs
        .iter()
        .map(|shape| Tensor::zeros(dtype, shape).unwrap())
        .collect();
    let (kernel, _) = case.kernel(&outputs, Isa::Scalar, 1);
    assert!(kernel.is_none(), "{:?}", case.op);
}
