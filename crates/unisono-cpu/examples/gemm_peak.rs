//! How near the matrix product comes to what the machine can do: `cargo run --release -p unisono-cpu --example gemm_peak`.
//!
//! For each shape, rounds of the product alternate with rounds of a loop that does nothing but fused multiply-adds in registers, so
//! that both see the same clock frequency and the same neighbours. Medians are compared with medians and the best with the best (a machine
//! that others use as well is judged by the best). For products with few rows, which are
//! bound by reading the weights, the rate of that reading is printed as well.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use unisono_cpu::gemm::{Cores, Epilogue, MatrixRef, PackedB, gemm, gemm_scratch};
use unisono_cpu::simd::Isa;
use unisono_runtime::team::{Team, TeamOptions};

const SHAPES: [[usize; 3]; 14] = [
    [1024, 1024, 1024],
    [512, 512, 512],
    [256, 1024, 256],
    [256, 256, 1024],
    [128, 512, 128],
    [64, 1024, 512],
    [196, 256, 256],
    [128, 64, 64],
    [16, 1024, 1024],
    [8, 1024, 1024],
    [4, 1024, 1024],
    [1, 1024, 1024],
    [1, 512, 1024],
    [1, 384, 384],
];

fn main() {
    let rounds = 41;
    let only = std::env::args().nth(1);
    let wanted = |isa: &Isa| match &only {
        Some(name) => isa.name() == name,
        None => *isa != Isa::Scalar,
    };
    for isa in Isa::available().filter(wanted) {
        for threads in [1, 2] {
            let team = Team::new(TeamOptions::default().threads(threads)).expect("threads");
            println!("\n{} with {threads} threads", isa.name());
            println!(
                "{:>18} {:^27} {:^27} {:>9}",
                "m x n x k", "median", "best", "weights"
            );
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
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        peaks.push(peak(product.cores.isa, team));
        product.run();
        let start = Instant::now();
        for _ in 0..reps {
            product.run();
        }
        let time = start.elapsed().as_secs_f64() / reps as f64;
        times.push(time);
    }
    times.sort_by(f64::total_cmp);
    peaks.sort_by(f64::total_cmp);
    let (best, time) = (times[0], times[rounds / 2]);
    let (best_peak, peak) = (peaks[rounds - 1], peaks[rounds / 2]);
    println!(
        "{:>18} {:>7.1} us {:>8.1} {:>6.1}% {:>9.1} us {:>8.1} {:>6.1}% {:>4.0} GB/s",
        format!("{m}x{n}x{k}"),
        time * 1e6,
        flops / time / 1e9,
        flops / time / peak * 100.0,
        best * 1e6,
        flops / best / 1e9,
        flops / best / best_peak * 100.0,
        (n * k * 4) as f64 / best / 1e9
    );
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
            b: PackedB::pack(cores.isa, k, n, MatrixRef::row_major(&b, n)),
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

/// Floating-point operations per second of multiply-adds in registers, on all threads of the team, by the clock on the wall.
///
/// The tiles are handed out as a product's are: if a neighbour takes half a core, it takes it from both.
fn peak(isa: Isa, team: &Team) -> f64 {
    const TILES: usize = 32;
    const REPS: usize = 10_000;
    let start = Instant::now();
    team.run(TILES, 1 << 40, |_, _| multiply_adds(isa, REPS));
    let time = start.elapsed().as_secs_f64();
    TILES as f64 * flops_of(isa, REPS) / time
}

fn flops_of(isa: Isa, reps: usize) -> f64 {
    let lanes = match isa {
        Isa::Avx512 => 24 * 16,
        Isa::Avx2 => 12 * 8,
        _ => 64,
    };
    (reps * lanes * 2) as f64
}

#[cfg(target_arch = "x86_64")]
fn multiply_adds(isa: Isa, reps: usize) {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    #[target_feature(enable = "avx512f")]
    fn wide(reps: usize) {
        let x = _mm512_set1_ps(black_box(0.999));
        let mut sums = [x; 24];
        for _ in 0..reps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, x);
            }
        }
        black_box(sums);
    }
    #[target_feature(enable = "avx2,fma")]
    fn narrow(reps: usize) {
        let x = _mm256_set1_ps(black_box(0.999));
        let mut sums = [x; 12];
        for _ in 0..reps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, x);
            }
        }
        black_box(sums);
    }
    // SAFETY: `main` asks only for instruction sets that are available.
    unsafe {
        if isa == Isa::Avx512 {
            wide(reps);
        } else {
            narrow(reps);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_adds(_: Isa, reps: usize) {
    let mut sums = [black_box(0.999_f32); 64];
    for _ in 0..reps {
        for sum in &mut sums {
            *sum = sum.mul_add(0.999, 0.999);
        }
    }
    black_box(sums);
}
