//! rten by its defaults (all cores), with weights packed when the model is loaded.

use std::path::Path;

use rten::{Model, ModelOptions, NodeId, Value, ValueOrView, ValueView};

use super::{Caller, Engine, Library, said, version_of};
use crate::request::{Request, Values};

struct Rten {
    model: Model,
}

/// It needs nothing before its first model.
struct Linked;

pub fn open() -> Result<Box<dyn Library>, String> {
    Ok(Box::new(Linked))
}

impl Library for Linked {
    fn load(&self, model: &Path) -> Result<Box<dyn Engine>, String> {
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load_file(model)
            .map_err(said)?;
        Ok(Box::new(Rten { model }))
    }

    fn version(&self) -> String {
        version_of("rten")
    }
}

impl Engine for Rten {
    fn caller<'a>(
        &'a self,
        request: &'a Request,
        _: usize,
    ) -> Result<Box<dyn Caller + 'a>, String> {
        let mut inputs = Vec::new();
        for input in &request.inputs {
            let value = match &input.values {
                Values::F32(values) => {
                    Value::from_shape(&input.shape, values.clone()).map_err(said)
                }
                Values::I32(values) => {
                    Value::from_shape(&input.shape, values.clone()).map_err(said)
                }
                // Its integers have 32 bits; it reads models of 64 as if they had those.
                Values::I64(values) => {
                    let narrow: Vec<i32> = values.iter().map(|value| *value as i32).collect();
                    Value::from_shape(&input.shape, narrow).map_err(said)
                }
            };
            inputs.push((self.model.node_id(&input.name).map_err(said)?, value?));
        }
        Ok(Box::new(Asking {
            model: &self.model,
            inputs,
            outputs: Vec::new(),
        }))
    }
}

struct Asking<'a> {
    model: &'a Model,
    inputs: Vec<(NodeId, Value)>,
    outputs: Vec<Value>,
}

impl Caller for Asking<'_> {
    fn ask(&mut self) -> Result<(), String> {
        let inputs = self
            .inputs
            .iter()
            .map(|(id, value)| (*id, ValueOrView::from(value)))
            .collect();
        self.outputs = self
            .model
            .run(inputs, self.model.output_ids(), None)
            .map_err(said)?;
        Ok(())
    }

    fn answer(&mut self) -> Result<Vec<Vec<f32>>, String> {
        let floats = |value: &Value| match ValueView::from(value) {
            ValueView::FloatTensor(tensor) => Ok(tensor.iter().copied().collect()),
            ValueView::Int32Tensor(tensor) => {
                Ok(tensor.iter().map(|value| *value as f32).collect())
            }
            _ => Err("an output is neither f32 nor an integer of 32 bits".to_owned()),
        };
        self.outputs.iter().map(floats).collect()
    }
}
