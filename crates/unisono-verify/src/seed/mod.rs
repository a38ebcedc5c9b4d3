//! The models that the original verification used, built here as ONNX files, byte for byte the same everywhere.
//!
//! The one idea: the suite needs no download. It writes the files that PyTorch's exporter would write, with the
//! structure that makes them hard (a batch folded with heads and with time), and reads them through the same door as any
//! model of a user. The weights are drawn from a fixed seed, not the user's `--seed`, so that a report names one model.
//!
//! Unlike a new PyTorch layer, no bias is zero and no gain is one: a kernel that forgot one would not be seen.

mod conv1d;
mod matmul;
mod mlp;
mod transformer;
mod weights;

/// The seed of all weights.
const WEIGHTS_SEED: u64 = 20_251_225;
/// The operator set that the models use.
const OPSET: i64 = 17;

/// One of the seed's models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedModel {
    /// The story's: two transformer encoder layers, input `x` `[batch, 32, 256]`.
    Transformer,
    /// 256-512-512-256 with ReLU, input `x` `[batch, 256]`.
    Mlp,
    /// Three convolutions 1-64-64-1 of width 3 over length 1024, input `x` `[batch, 1, 1024]`.
    Conv1d,
    /// One product of an `n x n` matrix with a weight of that size, input `x` `[batch, n, n]`.
    Matmul(u16),
    /// The same with ReLU.
    MatmulRelu(u16),
    /// Product of two square matrices of any size, and ReLU; inputs `a` and `b` `[batch, n, n]`.
    MatmulAny,
}

impl SeedModel {
    /// Those that stand for real models, in the order of the original report.
    pub const STORY: [SeedModel; 3] = [SeedModel::Transformer, SeedModel::Mlp, SeedModel::Conv1d];

    /// Its name in reports.
    pub fn name(self) -> String {
        match self {
            SeedModel::Transformer => "transformer".to_owned(),
            SeedModel::Mlp => "mlp".to_owned(),
            SeedModel::Conv1d => "conv1d".to_owned(),
            SeedModel::Matmul(n) => format!("matmul-{n}"),
            SeedModel::MatmulRelu(n) => format!("matmul-relu-{n}"),
            SeedModel::MatmulAny => "matmul-any".to_owned(),
        }
    }

    /// What it is, in words.
    pub fn describe(self) -> String {
        match self {
            SeedModel::Transformer => {
                "2 transformer encoder layers, d 256, 4 heads, FF 1,024, 32 tokens a row".to_owned()
            }
            SeedModel::Mlp => "3 dense layers 256-512-512-256 with ReLU".to_owned(),
            SeedModel::Conv1d => {
                "3 convolutions 1-64-64-1 of width 3 over 1,024 samples".to_owned()
            }
            SeedModel::Matmul(n) => format!("a {n} x {n} matrix times a weight of that size"),
            SeedModel::MatmulRelu(n) => {
                format!("a {n} x {n} matrix times a weight of that size, ReLU")
            }
            SeedModel::MatmulAny => "a product of two square matrices of any size, ReLU".to_owned(),
        }
    }

    /// The ONNX file.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            SeedModel::Transformer => transformer::build(),
            SeedModel::Mlp => mlp::build(),
            SeedModel::Conv1d => conv1d::build(),
            SeedModel::Matmul(n) => matmul::build(n, false),
            SeedModel::MatmulRelu(n) => matmul::build(n, true),
            SeedModel::MatmulAny => matmul::build_any(),
        }
        .to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn parameters(model: &unisono::onnx::write::Model) -> i64 {
        let graph = model.graph.as_ref().unwrap();
        let weights = graph
            .initializers
            .iter()
            .filter(|t| t.data_type == 1 && !t.dims.is_empty());
        weights.map(|t| t.dims.iter().product::<i64>()).sum()
    }

    #[test]
    fn the_models_have_the_original_number_of_parameters() {
        assert_eq!(parameters(&transformer::build()), 1_579_520);
        assert_eq!(
            parameters(&mlp::build()),
            256 * 512 + 512 + 512 * 512 + 512 + 512 * 256 + 256
        );
        assert_eq!(
            parameters(&conv1d::build()),
            3 * 64 + 64 + 3 * 64 * 64 + 64 + 3 * 64 + 1
        );
    }

    #[test]
    fn the_files_have_the_same_bytes_on_every_machine() {
        let digests = SeedModel::STORY.map(|model| {
            let mut digest = Digest::new();
            digest.bytes(&model.to_bytes());
            format!("{} {digest}", model.name())
        });
        assert_eq!(
            digests,
            [
                "transformer 91a9f0231e9f60c4",
                "mlp 11f1a6e65ca4a974",
                "conv1d 113f7e5e33d8d430",
            ]
        );
    }
}
