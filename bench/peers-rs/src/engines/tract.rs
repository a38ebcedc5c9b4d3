//! tract, with a plan for each shape, since it optimises for shapes that it knows. Each caller computes on its own thread.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tract_onnx::prelude::*;

use super::{Caller, Engine, Library, said, version_of};
use crate::request::{Request, Values};

type Plan = Box<dyn Fn(TVec<TValue>) -> TractResult<TVec<TValue>> + Send + Sync>;

struct Tract {
    model: PathBuf,
    /// By the number of rows: the names of the inputs, in order, and the plan.
    plans: HashMap<usize, (Vec<String>, Plan)>,
}

/// It needs nothing before its first model.
struct Linked;

pub fn open() -> Result<Box<dyn Library>, String> {
    Ok(Box::new(Linked))
}

impl Library for Linked {
    fn load(&self, model: &Path) -> Result<Box<dyn Engine>, String> {
        Ok(Box::new(Tract {
            model: model.to_owned(),
            plans: HashMap::new(),
        }))
    }

    fn version(&self) -> String {
        version_of("tract-onnx")
    }
}

impl Engine for Tract {
    fn prepare(&mut self, request: &Request, _callers: usize) -> Result<(), String> {
        if self.plans.contains_key(&request.rows) {
            return Ok(());
        }
        let mut model = tract_onnx::onnx()
            .model_for_path(&self.model)
            .map_err(said)?;
        let outlets = model.input_outlets().map_err(said)?.to_vec();
        let mut names = Vec::new();
        for (i, outlet) in outlets.iter().enumerate() {
            let name = model.node(outlet.node).name.clone();
            let input = request
                .inputs
                .iter()
                .find(|input| input.name == name)
                .ok_or_else(|| format!("the request lacks {name}"))?;
            let kind = match input.values {
                Values::F32(_) => f32::datum_type(),
                Values::I32(_) => i32::datum_type(),
                Values::I64(_) => i64::datum_type(),
            };
            model = model
                .with_input_fact(i, InferenceFact::dt_shape(kind, &input.shape))
                .map_err(said)?;
            names.push(name);
        }
        let plan = model
            .into_optimized()
            .and_then(|model| model.into_runnable())
            .map_err(said)?;
        self.plans.insert(
            request.rows,
            (names, Box::new(move |inputs| plan.run(inputs))),
        );
        Ok(())
    }

    fn caller<'a>(
        &'a self,
        request: &'a Request,
        _: usize,
    ) -> Result<Box<dyn Caller + 'a>, String> {
        let (names, plan) = self
            .plans
            .get(&request.rows)
            .ok_or("no plan for so many rows")?;
        let mut inputs = TVec::new();
        for name in names {
            let input = request
                .inputs
                .iter()
                .find(|input| input.name == *name)
                .ok_or("an input is missing")?;
            let tensor = match &input.values {
                Values::F32(values) => Tensor::from_shape(&input.shape, values),
                Values::I32(values) => Tensor::from_shape(&input.shape, values),
                Values::I64(values) => Tensor::from_shape(&input.shape, values),
            };
            inputs.push(TValue::from(tensor.map_err(said)?));
        }
        Ok(Box::new(Asking {
            plan,
            inputs,
            outputs: TVec::new(),
        }))
    }
}

struct Asking<'a> {
    plan: &'a Plan,
    /// Counted references.
    inputs: TVec<TValue>,
    outputs: TVec<TValue>,
}

impl Caller for Asking<'_> {
    fn ask(&mut self) -> Result<(), String> {
        self.outputs = (self.plan)(self.inputs.clone()).map_err(said)?;
        Ok(())
    }

    fn answer(&mut self) -> Result<Vec<Vec<f32>>, String> {
        let floats = |value: &TValue| {
            let floats = value.cast_to::<f32>().map_err(said)?;
            Ok(floats
                .to_plain_array_view::<f32>()
                .map_err(said)?
                .iter()
                .copied()
                .collect())
        };
        self.outputs.iter().map(floats).collect()
    }
}
