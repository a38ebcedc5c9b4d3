//! Single operators as cases: lowered without a device, and what the reference says of them.
//!
//! The one idea: a lowered case is data (launches, and the bytes of all places), so that whatever can execute launches can be held
//! against the reference. `poisoned` memory makes an output that nobody wrote a NaN.

use std::sync::Arc;

use smallvec::SmallVec;
use unisono_cuda::launch::{Buffer, Launch, Place};
use unisono_cuda::lower::{Lower, Lowering, Operand, Site};
use unisono_graph::Operator;
use unisono_reference::eval::evaluate;
use unisono_runtime::Error;
use unisono_tensor::{DType, Shape, Tensor};

/// An operator, its operands, and the shape of its result.
pub struct Case {
    pub name: String,
    pub op: Arc<dyn Operator>,
    pub lower: Lower,
    pub inputs: Vec<Option<Input>>,
    pub output: Vec<usize>,
}

/// An operand of `f32`.
pub struct Input {
    pub tensor: Tensor,
    /// Is it a constant of the model?
    pub constant: bool,
}

/// What a case becomes on a device.
pub struct Lowered {
    pub launches: Vec<Launch>,
    /// The contents of `Place::Constant`.
    pub constants: Vec<Vec<u8>>,
    /// The bytes of `Place::Arena`.
    pub scratch: Vec<usize>,
}

/// Values of both signs, no two products alike, that tell orders of summation apart.
pub fn values(count: usize, seed: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed as u64 + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

impl Input {
    pub fn new(shape: &[usize], seed: usize, constant: bool) -> Input {
        let data = values(shape.iter().product(), seed);
        Input {
            tensor: Tensor::from_slice(shape, &data).unwrap(),
            constant,
        }
    }
}

impl Case {
    /// What the reference computes.
    pub fn expected(&self) -> Vec<f32> {
        let mut out = Tensor::zeros(DType::F32, &self.output).unwrap();
        let inputs: Vec<_> = self
            .inputs
            .iter()
            .map(|input| input.as_ref().map(|i| i.tensor.view().unwrap()))
            .collect();
        evaluate(&*self.op, &inputs, &mut [out.view_mut()]).unwrap();
        out.as_slice::<f32>().unwrap().to_vec()
    }

    /// Lowers it for a device with so many processors; `None` if it has no launches.
    pub fn lowered(&self, processors: u32) -> Option<Lowered> {
        let mut memory = Memory::default();
        let inputs = self.inputs.iter().enumerate().map(|(number, input)| {
            let input = input.as_ref()?;
            Some(Operand {
                dtype: DType::F32,
                shape: Shape::from_slice(input.tensor.shape()),
                buffer: (!input.constant).then(|| Buffer::at(Place::Input(number))),
                constant: input.constant.then(|| input.tensor.clone()),
                integers: None,
                value: number,
            })
        });
        let output = Operand {
            dtype: DType::F32,
            shape: Shape::from_slice(&self.output),
            buffer: Some(Buffer::at(Place::Output(0))),
            constant: None,
            integers: None,
            value: self.inputs.len(),
        };
        let mut lowering = Lowering {
            op: &self.op,
            inputs: inputs.collect(),
            outputs: SmallVec::from_iter([Some(output)]),
            processors,
            site: &mut memory,
            launches: Vec::new(),
        };
        let done = (self.lower)(&mut lowering).unwrap();
        let launches = lowering.launches;
        done.then_some(Lowered {
            launches,
            constants: memory.constants,
            scratch: memory.scratch,
        })
    }
}

/// Keeps what a lowering asks for.
#[derive(Default)]
struct Memory {
    constants: Vec<Vec<u8>>,
    scratch: Vec<usize>,
}

impl Site for Memory {
    fn scratch(&mut self, bytes: usize) -> Result<Buffer, Error> {
        self.scratch.push(bytes);
        Ok(Buffer::at(Place::Arena(self.scratch.len() - 1)))
    }

    fn constant(
        &mut self,
        _value: usize,
        _key: &'static str,
        make: &mut dyn FnMut() -> Result<Vec<u8>, Error>,
    ) -> Result<Buffer, Error> {
        self.table(make()?)
    }

    fn table(&mut self, bytes: Vec<u8>) -> Result<Buffer, Error> {
        self.constants.push(bytes);
        Ok(Buffer::at(Place::Constant(self.constants.len() - 1)))
    }

    fn shared_limit(&self) -> u32 {
        227 * 1024
    }
}
