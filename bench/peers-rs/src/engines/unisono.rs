//! Unisono by its defaults, as its front page shows it, on the device that `BENCH_DEVICE` names.

use std::path::Path;

use unisono::roofline::RooflineProbe;
use unisono::{Device, DeviceId, Isa, Model, Outputs, Session, Tensor};

use super::{Caller, Engine, Library, said, version_of};
use crate::request::{Request, Values};

struct Unisono {
    model: Model,
    session: Session,
}

struct On(Device);

pub fn open() -> Result<Box<dyn Library>, String> {
    let name = std::env::var("BENCH_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    Ok(Box::new(On(name.parse().map_err(said)?)))
}

impl Library for On {
    fn load(&self, model: &Path) -> Result<Box<dyn Engine>, String> {
        let model = Model::load(model).map_err(said)?;
        let session = model.session(&self.0).map_err(said)?;
        Ok(Box::new(Unisono { model, session }))
    }

    fn version(&self) -> String {
        version_of("unisono")
    }

    fn device(&self) -> Option<String> {
        let info = self.0.info();
        (info.id != DeviceId::Cpu).then_some(info.name)
    }
}

impl Engine for Unisono {
    fn share(&self) -> Result<Box<dyn Engine>, String> {
        let model = self.model.clone();
        let session = model.session(self.session.device()).map_err(said)?;
        Ok(Box::new(Unisono { model, session }))
    }

    fn caller<'a>(
        &'a self,
        request: &'a Request,
        _: usize,
    ) -> Result<Box<dyn Caller + 'a>, String> {
        let mut inputs = Vec::new();
        for port in self.model.inputs() {
            let input = request
                .inputs
                .iter()
                .find(|input| *input.name == *port.name)
                .ok_or_else(|| format!("the request lacks {}", port.name))?;
            let tensor = match &input.values {
                Values::F32(values) => Tensor::from_slice(&input.shape, values),
                Values::I32(values) => Tensor::from_slice(&input.shape, values),
                Values::I64(values) => Tensor::from_slice(&input.shape, values),
            };
            inputs.push(tensor.map_err(said)?);
        }
        Ok(Box::new(Asking {
            session: &self.session,
            inputs,
            outputs: Outputs::new(),
        }))
    }

    fn gflops(&self) -> Result<f64, String> {
        let probe = RooflineProbe::new(Isa::detect(), self.session.device().info().threads)
            .map_err(said)?;
        Ok((0..5).map(|_| probe.peak()).fold(0.0, f64::max) / 1e9)
    }
}

struct Asking<'a> {
    session: &'a Session,
    inputs: Vec<Tensor>,
    outputs: Outputs,
}

impl Caller for Asking<'_> {
    fn ask(&mut self) -> Result<(), String> {
        self.outputs = self.session.run(&self.inputs).map_err(said)?;
        Ok(())
    }

    fn answer(&mut self) -> Result<Vec<Vec<f32>>, String> {
        let floats = |tensor: &Tensor| {
            let floats = tensor
                .to_f64s()
                .map(|all| all.iter().map(|value| *value as f32).collect());
            floats.or_else(|| {
                tensor
                    .to_i64s()
                    .map(|all| all.iter().map(|value| *value as f32).collect())
            })
        };
        let outputs = self.outputs.iter().map(|(name, tensor)| {
            floats(tensor).ok_or_else(|| format!("output {name} has no numbers"))
        });
        outputs.collect()
    }
}
