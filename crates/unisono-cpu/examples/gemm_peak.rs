//! How near the matrix product comes to what the machine can do: `cargo run --release -p unisono-cpu --example gemm_peak`.
//!
//! For each shape, rounds of the product alternate with rounds of a loop that does nothing but fused multiply-adds in registers, so
//! that both see the same clock frequency and the same neighbours; the medians are compared. For products with few rows, which are
//! bound by reading the weights, the rate of that reading is printed as well.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

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
    let rounds = 9;
    for isa in Isa::available().filter(|&isa| isa != Isa::Scalar) {
        for threads in [1, 2] {
            let team = Team::new(TeamOptions::default().threads(threads)).expect("threads");
            println!("\n{} with {threads} threads", isa.name());
            println!(
                "{:>18} {:>10} {:>9} {:>7} {:>9}",
                "m x n x k", "time", "GFLOP/s", "peak", "weights"
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
    let reps = ((2e9 / flops) as usize).clamp(4, 5000);
    let (mut times, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let peak = peak(product.cores.isa, team);
        product.run();
        let start = Instant::now();
        for _ in 0..reps {
            product.run();
        }
        let time = start.elapsed().as_secs_f64() / reps as f64;
        times.push(time);
        shares.push(flops / time / peak);
    }
    let (time, share) = (median(times), median(shares));
    println!(
        "{:>18} {:>7.1} us {:>9.1} {:>6.1}% {:>4.0} GB/s",
        format!("{m}x{n}x{k}"),
        time * 1e6,
        flops / time / 1e9,
        share * 100.0,
        (n * k * 4) as f64 / time / 1e9
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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

/// Floating-point operations per second of multiply-adds in registers, on all threads of the team.
fn peak(isa: Isa, team: &Team) -> f64 {
    const REPS: usize = 40_000;
    let tiles = team.threads();
    // Keep every thread at it until the last one has begun, so that they overlap.
    let start = Instant::now();
    let begun = std::sync::atomic::AtomicUsize::new(0);
    let flops: Vec<_> = (0..tiles)
        .map(|_| std::sync::Mutex::new((0.0, Duration::ZERO)))
        .collect();
    team.run(tiles, 1 << 40, |tile, _| {
        begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        while begun.load(std::sync::atomic::Ordering::Relaxed) < tiles
            && start.elapsed() < Duration::from_millis(20)
        {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        let done = multiply_adds(isa, REPS);
        *flops[tile].lock().expect("no panic") = (done, start.elapsed());
    });
    flops
        .iter()
        .map(|f| f.lock().expect("no panic"))
        .map(|f| f.0 / f.1.as_secs_f64())
        .sum()
}

#[cfg(target_arch = "x86_64")]
fn multiply_adds(isa: Isa, reps: usize) -> f64 {
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
            (reps * 24 * 16 * 2) as f64
        } else {
            narrow(reps);
            (reps * 12 * 8 * 2) as f64
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_adds(_: Isa, reps: usize) -> f64 {
    let mut sums = [black_box(0.999_f32); 64];
    for _ in 0..reps {
        for sum in &mut sums {
            *sum = sum.mul_add(0.999, 0.999);
        }
    }
    black_box(sums);
    (reps * 64 * 2) as f64
}
