//! Weights from a seed, scaled as PyTorch scales new layers.

use unisono::onnx::write::Tensor;

use crate::random::{Random, name_step};

/// Draws named tensors; the name decides the values, not the order in which they are asked for.
pub(super) struct Weights {
    seed: u64,
}

impl Weights {
    pub fn new(seed: u64) -> Weights {
        Weights { seed }
    }

    /// Uniform within `bound` either way.
    pub fn uniform(&self, name: &str, dims: &[i64], bound: f32) -> Tensor {
        self.around(name, dims, 0.0, bound)
    }

    /// Uniform within `bound` of a centre.
    pub fn around(&self, name: &str, dims: &[i64], centre: f32, bound: f32) -> Tensor {
        let mut random = Random::new(self.seed, &[name_step(name)]);
        let count: i64 = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|_| centre + random.unit() * bound).collect();
        Tensor::of(name, dims, &values)
    }

    /// A layer's weights and bias as PyTorch draws those of `Linear` and `Conv`: within `1 / sqrt(fan_in)`, where the fan is
    /// the number of products in one output.
    pub fn layer(&self, name: &str, dims: &[i64], fan_in: u16) -> [Tensor; 2] {
        // A square root and a division are exact to the last bit on every machine.
        let bound = 1.0 / f32::from(fan_in).sqrt();
        let outputs = dims.first().copied().unwrap_or(0);
        [
            self.uniform(&format!("{name}.weight"), dims, bound),
            self.uniform(&format!("{name}.bias"), &[outputs], bound),
        ]
    }
}
