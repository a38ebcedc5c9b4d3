//! Nodes lowered without a device, and what the reference says of them.

pub mod cases;

use unisono_cuda::launch::{Buffer, Launch, Place};
use unisono_cuda::lower::{Lowering, Operand, Site, lower};
use unisono_reference::eval::{evaluate, output_types};
use unisono_runtime::Error;
use unisono_tensor::Tensor;

use cases::Case;

/// The memory of one node.
#[derive(Default)]
pub struct Memory {
    /// The contents of `Place::Constant`.
    pub constants: Vec<Vec<u8>>,
    /// The bytes of `Place::Arena`.
    pub scratch: Vec<usize>,
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
        let bytes = make()?;
        self.table(bytes)
    }

    fn table(&mut self, bytes: Vec<u8>) -> Result<Buffer, Error> {
        self.constants.push(bytes);
        Ok(Buffer::at(Place::Constant(self.constants.len() - 1)))
    }
}

impl Case {
    /// The operator and its operands, for messages.
    pub fn name(&self) -> String {
        let operands = self.inputs.iter().flatten();
        let operands: Vec<String> = operands
            .map(|t| format!("{}{:?}", t.dtype(), t.shape()))
            .collect();
        format!("{:?} of {}", self.op, operands.join(", "))
    }

    /// What the reference computes.
    pub fn expected(&self) -> Vec<Option<Tensor>> {
        let views = self
            .inputs
            .iter()
            .map(|t| Some(t.as_ref()?.view().unwrap()));
        let inputs: Vec<_> = views.collect();
        let types = output_types(&*self.op, &inputs, self.outputs).unwrap();
        let zeros = types.iter().map(|t| {
            let (dtype, shape) = t.as_ref()?;
            Some(Tensor::zeros(*dtype, shape).unwrap())
        });
        let mut outputs: Vec<Option<Tensor>> = zeros.collect();
        let mut written: Vec<_> = outputs
            .iter_mut()
            .map(|t| Some(t.as_mut()?.view_mut().unwrap()))
            .collect();
        evaluate(&*self.op, &inputs, &mut written).unwrap();
        outputs
    }

    /// Its launches for a device with so many processors, and the memory that they want; `None` if it is refused.
    pub fn lowered(
        &self,
        expected: &[Option<Tensor>],
        processors: u32,
    ) -> Option<(Vec<Launch>, Memory)> {
        let mut memory = Memory::default();
        let operand = |tensor: &Tensor, value: usize, place: Option<Place>| Operand {
            dtype: tensor.dtype(),
            shape: tensor.shape().into(),
            buffer: place.map(Buffer::at),
            constant: place.is_none().then(|| tensor.clone()),
            integers: None,
            value,
        };
        let inputs = self.inputs.iter().enumerate().map(|(n, tensor)| {
            let is_constant = self.constants.contains(&n);
            let place = (!is_constant).then_some(Place::Input(n));
            Some(operand(tensor.as_ref()?, n, place))
        });
        let outputs = expected.iter().enumerate().map(|(n, tensor)| {
            let value = self.inputs.len() + n;
            Some(operand(tensor.as_ref()?, value, Some(Place::Output(n))))
        });
        let mut cx = Lowering {
            op: &self.op,
            inputs: inputs.collect(),
            outputs: outputs.collect(),
            processors,
            site: &mut memory,
            launches: Vec::new(),
        };
        let done = lower(&mut cx).unwrap();
        let launches = cx.launches;
        if !done {
            assert!(launches.is_empty(), "{}: left launches", self.name());
            assert!(
                memory.constants.is_empty(),
                "{}: left constants",
                self.name()
            );
        }
        done.then_some((launches, memory))
    }
}
