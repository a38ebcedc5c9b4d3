//! How near convolutions come to what the machine can do: `cargo run --release -p unisono-cpu --example conv_peak [ISA [LAYER]]`.
//!
//! In the model's layout and, on the line below, with channels last. As `gemm_peak`, for the layers of well-known networks: rounds of a layer alternate with rounds of multiply-adds in registers.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use unisono_cpu::conv::last::{LastConv, LastWeights};
use unisono_cpu::conv::{ConvEpilogue, ConvKind, ConvShape, ConvWeights, conv, conv_scratch};
use unisono_cpu::gemm::{Cores, Unary};
use unisono_runtime::team::{Team, TeamOptions};

#[path = "support/peak.rs"]
mod support;

/// Name, channels in and out, groups, input size, kernel, stride; padding is half a kernel.
const LAYERS: [(&str, [usize; 6]); 19] = [
    ("resnet stem 7x7/2", [3, 64, 1, 224, 7, 2]),
    ("resnet 1x1 56", [64, 256, 1, 56, 1, 1]),
    ("resnet 3x3 56", [64, 64, 1, 56, 3, 1]),
    ("resnet 3x3/2 56", [128, 128, 1, 56, 3, 2]),
    ("resnet 3x3 28", [128, 128, 1, 28, 3, 1]),
    ("resnet 3x3 14", [256, 256, 1, 14, 3, 1]),
    ("resnet 1x1 14", [1024, 256, 1, 14, 1, 1]),
    ("resnet 3x3 7", [512, 512, 1, 7, 3, 1]),
    ("resnet 1x1 7", [512, 2048, 1, 7, 1, 1]),
    ("mobile 1x1 112", [16, 64, 1, 112, 1, 1]),
    ("mobile 1x1 14", [80, 480, 1, 14, 1, 1]),
    ("depthwise 3x3 56", [72, 72, 72, 56, 3, 1]),
    ("depthwise 3x3/2 112", [64, 64, 64, 112, 3, 2]),
    ("depthwise 3x3 112", [16, 16, 16, 112, 3, 1]),
    ("depthwise 3x3 14", [480, 480, 480, 14, 3, 1]),
    ("depthwise 5x5 28", [120, 120, 120, 28, 5, 1]),
    ("depthwise 5x5 14", [480, 480, 480, 14, 5, 1]),
    ("depthwise 5x5 7", [960, 960, 960, 7, 5, 1]),
    ("depthwise 5x5 2", [512, 512, 512, 2, 5, 1]),
];

fn main() {
    let rounds = 31;
    let only = std::env::args().nth(2).unwrap_or_default();
    for isa in support::instruction_sets() {
        for threads in [1, 2] {
            let team = Team::new(TeamOptions::default().threads(threads)).expect("threads");
            println!("\n{} with {threads} threads", isa.name());
            println!("{:>20} {:^27} {:^27}", "layer", "median", "best");
            for (name, layer) in LAYERS.into_iter().filter(|l| l.0.contains(&only)) {
                report(name, layer, Cores { isa, team: &team }, rounds);
            }
        }
    }
}

fn report(name: &str, layer: [usize; 6], cores: Cores<'_>, rounds: usize) {
    let [in_channels, out_channels, groups, size, kernel, stride] = layer;
    let pad = kernel / 2;
    let output = (size + 2 * pad - kernel) / stride + 1;
    let shape = ConvShape {
        batch: 1,
        in_channels,
        out_channels,
        groups,
        input: [1, size, size],
        output: [1, output, output],
        kernel: [1, kernel, kernel],
        strides: [1, stride, stride],
        dilations: [1; 3],
        pads: [0, pad, pad],
    };
    let value = |i: usize| (i % 17) as f32 / 8.0 - 1.0;
    let x: Vec<f32> = (0..shape.input_len()).map(value).collect();
    let w: Vec<f32> = (0..shape.weight_len()).map(value).collect();
    let bias = vec![0.5; out_channels];
    let weights = ConvWeights::pack(cores.isa, ConvKind::of(&shape, false), &w)
        .expect("memory for the weights");
    let mut y = vec![0.0; shape.output_len()];
    let mut scratch = vec![0.0; conv_scratch(cores, &shape, &weights)];
    let epilogue = ConvEpilogue {
        bias: Some(&bias),
        residual: None,
        activation: Some(Unary::Relu),
    };
    let last_weights = LastWeights::pack(cores.isa, ConvKind::of(&shape, false), &w)
        .expect("memory for the weights");
    let last = LastConv::new(&Arc::new(last_weights), &shape);
    let mut last_scratch = vec![0.0; last.scratch_len(cores)];
    let flops = 2.0 * (shape.output_len() * shape.terms()) as f64;
    let reps = ((1e8 / flops) as usize).clamp(1, 1000);
    let (mut first, mut second) = (support::Rates::default(), support::Rates::default());
    for _ in 0..rounds {
        first.round(cores, reps, || {
            let y = black_box(&mut y);
            conv(cores, &shape, &x, &weights, y, &epilogue, &mut scratch);
        });
        second.round(cores, reps, || {
            last.run(cores, &x, black_box(&mut y), &epilogue, &mut last_scratch);
        });
    }
    println!("{name:>20} {}", first.summary(flops));
    println!("{:>20} {}", "channels last", second.summary(flops));
}
