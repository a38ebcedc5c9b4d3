//! onnxruntime from its Python package's library, without Python, through its C interface.
//!
//! All callers run one session: the C interface documents `Run` as safe from several threads at once, and so do programs use it.
//! The Rust wrapper has another opinion and asks for `&mut`; it makes the session here, and `Run` is called below it.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr::{self, NonNull};

use ort::AsPointer;
use ort::environment::Environment;
use ort::session::Session;
use ort::sys::{OrtStatus, OrtValue};
use ort::value::{DynValue, Tensor, TensorElementType};

use super::{Caller, Engine, Library, library, said};
use crate::request::{Request, Values};

struct OnnxRuntime {
    session: Session,
    outputs: Vec<CString>,
}

struct Opened {
    environment: Environment,
    threads: usize,
    version: String,
}

pub fn open(threads: usize) -> Result<Box<dyn Library>, String> {
    let path = library("BENCH_ONNXRUNTIME")?;
    let environment = ort::init_from(&path).map_err(said)?.build().map_err(said)?;
    // The file is called libonnxruntime.so.1.31.1, or libonnxruntime.1.31.1.dylib.
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let version = name.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    Ok(Box::new(Opened {
        environment,
        threads,
        version,
    }))
}

impl Library for Opened {
    fn load(&self, model: &Path) -> Result<Box<dyn Engine>, String> {
        let session = Session::builder(&self.environment)
            .map_err(said)?
            .with_intra_threads(self.threads)
            .map_err(said)?
            .commit_from_file(model)
            .map_err(said)?;
        let names = session
            .outputs()
            .iter()
            .map(|output| CString::new(output.name()).map_err(said));
        let outputs = names.collect::<Result<_, _>>()?;
        Ok(Box::new(OnnxRuntime { session, outputs }))
    }

    fn version(&self) -> String {
        self.version.clone()
    }
}

impl Engine for OnnxRuntime {
    fn caller<'a>(
        &'a self,
        request: &'a Request,
        _: usize,
    ) -> Result<Box<dyn Caller + 'a>, String> {
        let mut names = Vec::new();
        let mut inputs = Vec::new();
        for input in &request.inputs {
            let shape = input.shape.clone();
            inputs.push(match &input.values {
                Values::F32(values) => Tensor::from_array((shape, values.clone()))
                    .map_err(said)?
                    .into_dyn(),
                Values::I32(values) => Tensor::from_array((shape, values.clone()))
                    .map_err(said)?
                    .into_dyn(),
                Values::I64(values) => Tensor::from_array((shape, values.clone()))
                    .map_err(said)?
                    .into_dyn(),
            });
            names.push(CString::new(input.name.as_str()).map_err(said)?);
        }
        let count = self.outputs.len();
        Ok(Box::new(Asking {
            engine: self,
            names,
            inputs,
            outputs: vec![ptr::null_mut(); count],
        }))
    }
}

struct Asking<'a> {
    engine: &'a OnnxRuntime,
    names: Vec<CString>,
    inputs: Vec<DynValue>,
    /// Owned; null where there is none.
    outputs: Vec<*mut OrtValue>,
}

impl Asking<'_> {
    fn forget_outputs(&mut self) {
        for output in &mut self.outputs {
            let output = std::mem::replace(output, ptr::null_mut());
            if !output.is_null() {
                // SAFETY: `Run` made this value for us, and the null left in its place keeps it from being freed again.
                unsafe { (ort::api().ReleaseValue)(output) };
            }
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.forget_outputs();
    }
}

impl Caller for Asking<'_> {
    fn ask(&mut self) -> Result<(), String> {
        // With a null in its place an output is allocated by the engine, as for the other engines.
        self.forget_outputs();
        let names: Vec<*const c_char> = self.names.iter().map(|name| name.as_ptr()).collect();
        let values: Vec<*const OrtValue> = self.inputs.iter().map(|value| value.ptr()).collect();
        let outputs: Vec<*const c_char> = self
            .engine
            .outputs
            .iter()
            .map(|name| name.as_ptr())
            .collect();
        // SAFETY: the lists are as long as the lengths beside them, names end with a zero, and all of them, the input
        // values and the session live until the call returns. `Run` may be called by several threads at once.
        let status = unsafe {
            (ort::api().Run)(
                self.engine.session.inner().ptr().cast_mut(),
                ptr::null(),
                names.as_ptr(),
                values.as_ptr(),
                values.len(),
                outputs.as_ptr(),
                outputs.len(),
                self.outputs.as_mut_ptr(),
            )
        };
        if status.0.is_null() {
            Ok(())
        } else {
            Err(message(status.0))
        }
    }

    fn answer(&mut self) -> Result<Vec<Vec<f32>>, String> {
        let mut answers = Vec::new();
        for output in &mut self.outputs {
            let owned = NonNull::new(std::mem::replace(output, ptr::null_mut()))
                .ok_or("an output is missing")?;
            // SAFETY: `Run` made this value for us, and nobody else frees it.
            let value = unsafe { DynValue::from_ptr(owned, Some(self.engine.session.allocator())) };
            answers.push(match value.dtype().tensor_type() {
                Some(TensorElementType::Float32) => {
                    value.try_extract_tensor::<f32>().map_err(said)?.1.to_vec()
                }
                Some(TensorElementType::Int64) => {
                    let (_, integers) = value.try_extract_tensor::<i64>().map_err(said)?;
                    integers.iter().map(|value| *value as f32).collect()
                }
                other => return Err(format!("an output of type {other:?}")),
            });
        }
        Ok(answers)
    }
}

/// What the status says; it is freed.
fn message(status: *mut OrtStatus) -> String {
    // SAFETY: the status is not null and ours; its text ends with a zero and is copied before the status is freed.
    unsafe {
        let text = CStr::from_ptr((ort::api().GetErrorMessage)(status))
            .to_string_lossy()
            .into_owned();
        (ort::api().ReleaseStatus)(status);
        text
    }
}
