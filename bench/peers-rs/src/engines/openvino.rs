//! OpenVINO from its Python package's libraries, without Python. It is told what a user would tell it: that one caller
//! wants low latency and several want throughput, and that 32-bit floats are wanted. Every caller has a request object. The model is
//! compiled for one of the two at a time, as in a program that knows how many callers it has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use openvino::{
    CompiledModel, Core, DeviceType, ElementType, InferRequest, RwPropertyKey, Shape, Tensor,
};

use super::{Caller, Engine, Library, library, said};
use crate::request::{Request, Values};

struct Opened(Arc<Mutex<Core>>);

struct OpenVino {
    core: Arc<Mutex<Core>>,
    path: PathBuf,
    model: Mutex<CompiledModel>,
    /// Which of the two it is compiled for.
    several_callers: bool,
    outputs: usize,
}

pub fn open() -> Result<Box<dyn Library>, String> {
    openvino_sys::library::load_from(library("BENCH_OPENVINO_C")?)?;
    let core = Core::new().map_err(said)?;
    Ok(Box::new(Opened(Arc::new(Mutex::new(core)))))
}

impl Library for Opened {
    fn load(&self, model: &Path) -> Result<Box<dyn Engine>, String> {
        let (compiled, outputs) = compile(&self.0, model, false)?;
        Ok(Box::new(OpenVino {
            core: Arc::clone(&self.0),
            path: model.to_owned(),
            model: Mutex::new(compiled),
            several_callers: false,
            outputs,
        }))
    }

    fn version(&self) -> String {
        openvino::version().build_number
    }
}

/// The compiled model, and how many outputs it has.
fn compile(
    core: &Mutex<Core>,
    path: &Path,
    several_callers: bool,
) -> Result<(CompiledModel, usize), String> {
    let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
    let path = path.to_str().ok_or("the model's path is not UTF-8")?;
    let model = core.read_model_from_file(path, "").map_err(said)?;
    let outputs = model.get_outputs_len().map_err(said)?;
    let hint = ["LATENCY", "THROUGHPUT"][usize::from(several_callers)];
    let settings = [
        (RwPropertyKey::HintPerformanceMode, hint),
        (RwPropertyKey::HintInferencePrecision, "f32"),
    ];
    for (key, value) in settings {
        core.set_property(&DeviceType::CPU, &key, value)
            .map_err(said)?;
    }
    let compiled = core.compile_model(&model, DeviceType::CPU).map_err(said)?;
    Ok((compiled, outputs))
}

impl Engine for OpenVino {
    fn prepare(&mut self, _request: &Request, callers: usize) -> Result<(), String> {
        let several_callers = callers > 1;
        if several_callers != self.several_callers {
            self.model = Mutex::new(compile(&self.core, &self.path, several_callers)?.0);
            self.several_callers = several_callers;
        }
        Ok(())
    }

    fn caller<'a>(
        &'a self,
        request: &'a Request,
        _: usize,
    ) -> Result<Box<dyn Caller + 'a>, String> {
        let mut asking = self
            .model
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .create_infer_request()
            .map_err(said)?;
        let mut inputs = Vec::new();
        for input in &request.inputs {
            let lengths: Vec<i64> = input.shape.iter().map(|length| *length as i64).collect();
            let shape = Shape::new(&lengths).map_err(said)?;
            let tensor = match &input.values {
                Values::F32(values) => tensor(ElementType::F32, &shape, values),
                Values::I32(values) => tensor(ElementType::I32, &shape, values),
                Values::I64(values) => tensor(ElementType::I64, &shape, values),
            }?;
            asking.set_tensor(&input.name, &tensor).map_err(said)?;
            inputs.push(tensor);
        }
        Ok(Box::new(Asking {
            request: asking,
            outputs: self.outputs,
            _inputs: inputs,
        }))
    }
}

fn tensor<T: Copy>(kind: ElementType, shape: &Shape, values: &[T]) -> Result<Tensor, String> {
    let mut tensor = Tensor::new(kind, shape).map_err(said)?;
    tensor
        .get_data_mut::<T>()
        .map_err(said)?
        .copy_from_slice(values);
    Ok(tensor)
}

struct Asking {
    request: InferRequest,
    outputs: usize,
    _inputs: Vec<Tensor>,
}

impl Caller for Asking {
    fn ask(&mut self) -> Result<(), String> {
        self.request.infer().map_err(said)
    }

    fn answer(&mut self) -> Result<Vec<Vec<f32>>, String> {
        let output = |i| {
            let tensor = self.request.get_output_tensor_by_index(i).map_err(said)?;
            match tensor.get_element_type().map_err(said)? {
                ElementType::F32 => Ok(tensor.get_data::<f32>().map_err(said)?.to_vec()),
                ElementType::I64 => Ok(tensor
                    .get_data::<i64>()
                    .map_err(said)?
                    .iter()
                    .map(|value| *value as f32)
                    .collect()),
                other => Err(format!("an output of type {other}")),
            }
        };
        (0..self.outputs).map(output).collect()
    }
}
