//! What the machine can do: multiply-adds in registers, measured between the rounds of something else.

use std::hint::black_box;
use std::time::Instant;

use unisono_cpu::simd::Isa;
use unisono_runtime::team::Team;

/// The instruction set that the first argument names, or all vector ones that this machine has.
pub fn instruction_sets() -> impl Iterator<Item = Isa> {
    let only = std::env::args().nth(1);
    Isa::available().filter(move |isa| match &only {
        Some(name) => isa.name() == name,
        None => *isa != Isa::Scalar,
    })
}

/// Times of a kernel and peaks measured between them.
#[derive(Default)]
pub struct Rates {
    pub times: Vec<f64>,
    pub peaks: Vec<f64>,
}

impl Rates {
    /// The shortest time.
    #[allow(
        dead_code,
        reason = "not every program that shares this file prints it"
    )]
    pub fn best(&self) -> f64 {
        self.times.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Time, rate and share of the peak: the medians, then the best.
    pub fn summary(&mut self, flops: f64) -> String {
        self.times.sort_by(f64::total_cmp);
        self.peaks.sort_by(f64::total_cmp);
        let (times, peaks) = (&self.times, &self.peaks);
        let column = |time: f64, peak: f64| {
            let rate = flops / time;
            format!(
                "{:>7.1} us {:>8.1} {:>6.1}%",
                time * 1e6,
                rate / 1e9,
                rate / peak * 100.0
            )
        };
        let median = column(times[times.len() / 2], peaks[peaks.len() / 2]);
        format!("{median}  {}", column(times[0], peaks[peaks.len() - 1]))
    }
}

/// Floating-point operations per second of multiply-adds in registers, on all threads of the team, by the clock on the wall.
///
/// The tiles are handed out as a product's are: if a neighbour takes half a core, it takes it from both.
pub fn peak(isa: Isa, team: &Team) -> f64 {
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
