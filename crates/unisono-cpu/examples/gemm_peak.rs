//! How near the matrix product comes to what the machine can do: `cargo run --release -p unisono-cpu --example gemm_peak [ISA]`.
//!
//! For each shape, rounds of the product alternate with rounds of a loop that does nothing but fused multiply-adds in registers, so
//! that both see the same clock frequency and the same neighbours. Medians are compared with medians and the best with the best (a machine
//! that others use as well is judged by the best). For products with few rows, which are
//! bound by reading the weights, the rate of that reading is printed as well. A chain is a product up and one back down, each reading what the
//! other wrote, with weights that change: what a network does. Between two threads it shows what their cores pay for reading from each other.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use unisono_cpu::gemm::{
    BatchShape, Cores, Epilogue, MatrixRef, PackedB, gemm, gemm_batched, gemm_batched_scratch,
    gemm_scratch,
};
use unisono_runtime::team::{Team, TeamOptions};

#[path = "support/peak.rs"]
mod support;

const SHAPES: [[usize; 3]; 17] = [
    [1024, 1024, 1024],
    [512, 512, 512],
    [256, 1024, 256],
    [256, 256, 1024],
    [128, 512, 128],
    [64, 1024, 512],
    [32, 256, 256],
    [32, 1024, 256],
    [32, 256, 1024],
    [196, 256, 256],
    [128, 64, 64],
    [16, 1024, 1024],
    [8, 1024, 1024],
    [4, 1024, 1024],
    [1, 1024, 1024],
    [1, 512, 1024],
    [1, 384, 384],
];

/// Rows, and columns below and above.
const CHAINS: [[usize; 3]; 2] = [[32, 256, 1024], [16, 256, 1024]];

/// Weights that take turns in a chain, in each direction.
const TURNS: usize = 4;

/// Heads, rows, columns, length of the sums, and whether B comes transposed: the two products of an attention.
const ATTENTION: [(usize, [usize; 3], bool); 4] = [
    (12, [128, 128, 32], true),
    (12, [128, 32, 128], false),
    (12, [16, 16, 64], true),
    (8, [512, 512, 64], true),
];

fn main() {
    let rounds = 41;
    for isa in support::instruction_sets() {
        for threads in [1, 2] {
            let team = Team::new(TeamOptions::default().threads(threads)).expect("threads");
            println!("\n{} with {threads} threads", isa.name());
            println!(
                "{:>18} {:^27} {:^27} {:>9}",
                "m x n x k", "median", "best", "weights"
            );
            for shape in ATTENTION {
                attention(Cores { isa, team: &team }, shape, rounds);
            }
            for shape in CHAINS {
                chain(Cores { isa, team: &team }, shape, rounds);
            }
            for [m, n, k] in SHAPES {
                let product = Product::new(Cores { isa, team: &team }, m, n, k);
                report(product, &team, rounds);
            }
        }
    }
}

fn report(mut product: Product<'_>, team: &Team, rounds: usize) {
    let [m, n, k] = product.shape;
    let flops = 2.0 * (m * n * k) as f64;
    let reps = ((3e8 / flops) as usize).clamp(1, 2000);
    let mut rates = support::Rates::default();
    for _ in 0..rounds {
        rates.peaks.push(support::peak(product.cores.isa, team));
        product.run();
        let start = Instant::now();
        for _ in 0..reps {
            product.run();
        }
        rates
            .times
            .push(start.elapsed().as_secs_f64() / reps as f64);
    }
    let summary = rates.summary(flops);
    let weights = (n * k * 4) as f64 / rates.best() / 1e9;
    println!(
        "{:>18} {summary} {weights:>4.0} GB/s",
        format!("{m}x{n}x{k}")
    );
}

fn chain(cores: Cores<'_>, [m, low, high]: [usize; 3], rounds: usize) {
    let product =
        |n, k| -> Vec<Product<'_>> { (0..TURNS).map(|_| Product::new(cores, m, n, k)).collect() };
    let (mut up, mut down) = (product(high, low), product(low, high));
    let flops = 2.0 * (m * low * high) as f64;
    let reps = ((3e8 / flops) as usize).clamp(1, 2000);
    let mut rates = support::Rates::default();
    for _ in 0..rounds {
        rates.peaks.push(support::peak(cores.isa, cores.team));
        let start = Instant::now();
        for turn in (0..TURNS).cycle().take(reps) {
            let next = (turn + 1) % TURNS;
            up[turn].run();
            std::mem::swap(&mut up[turn].c, &mut down[turn].a);
            down[turn].run();
            std::mem::swap(&mut down[turn].c, &mut up[next].a);
        }
        // A product of the two, on average.
        let both = start.elapsed().as_secs_f64() / reps as f64;
        rates.times.push(both / 2.0);
    }
    println!(
        "{:>18} {}",
        format!("{m} {low}..{high}"),
        rates.summary(flops)
    );
}

fn attention(
    cores: Cores<'_>,
    (batch, [m, n, k], transposed): (usize, [usize; 3], bool),
    rounds: usize,
) {
    let value = |i: usize| (i % 17) as f32 / 8.0 - 1.0;
    let a: Vec<f32> = (0..batch * m * k).map(value).collect();
    let b: Vec<f32> = (0..batch * k * n).map(value).collect();
    let mut c = vec![0.0; batch * m * n];
    let shape = BatchShape { batch, m, n, k };
    let mut scratch = vec![0.0; gemm_batched_scratch(cores, shape)];
    // Heads lie side by side in the rows of A and B, as projections leave them.
    let (wide_a, wide_b) = (batch * k, if transposed { batch * k } else { batch * n });
    let left = MatrixRef {
        data: &a,
        row_stride: wide_a,
        col_stride: 1,
    };
    let right = MatrixRef {
        data: &b,
        row_stride: if transposed { 1 } else { wide_b },
        col_stride: if transposed { wide_b } else { 1 },
    };
    let step_b = if transposed { k } else { n };
    let flops = 2.0 * (batch * m * n * k) as f64;
    let reps = ((1e8 / flops) as usize).clamp(1, 2000);
    let mut rates = support::Rates::default();
    for _ in 0..rounds {
        rates.peaks.push(support::peak(cores.isa, cores.team));
        let start = Instant::now();
        for _ in 0..reps {
            let offsets = |i: usize| [i * k, i * step_b, i * m * n];
            // SAFETY: every head has its own m x n elements of C.
            unsafe {
                gemm_batched(
                    cores,
                    shape,
                    left,
                    right,
                    black_box(&mut c),
                    n,
                    &offsets,
                    &|_| Epilogue::default(),
                    &mut scratch,
                );
            }
        }
        rates
            .times
            .push(start.elapsed().as_secs_f64() / reps as f64);
    }
    let name = format!(
        "{batch} of {m}x{n}x{k}{}",
        if transposed { "t" } else { "" }
    );
    println!("{name:>18} {}", rates.summary(flops));
}

struct Product<'a> {
    cores: Cores<'a>,
    shape: [usize; 3],
    a: Vec<f32>,
    b: PackedB,
    c: Vec<f32>,
    scratch: Vec<f32>,
}

impl<'a> Product<'a> {
    fn new(cores: Cores<'a>, m: usize, n: usize, k: usize) -> Self {
        let value = |i: usize| (i % 17) as f32 / 8.0 - 1.0;
        let b: Vec<f32> = (0..k * n).map(value).collect();
        Self {
            cores,
            shape: [m, n, k],
            a: (0..m * k).map(value).collect(),
            b: PackedB::pack(cores.isa, k, n, MatrixRef::row_major(&b, n)).expect("memory for B"),
            c: vec![0.0; m * n],
            scratch: vec![0.0; gemm_scratch(cores, m, n, k)],
        }
    }

    fn run(&mut self) {
        let [m, n, k] = self.shape;
        let a = MatrixRef::row_major(&self.a, k);
        let none = Epilogue::default();
        gemm(
            self.cores,
            m,
            a,
            &self.b,
            black_box(&mut self.c),
            n,
            &none,
            &mut self.scratch,
        );
    }
}
