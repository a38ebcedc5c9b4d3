//! What the machine can do, measured between the rounds of something else.

use std::time::Instant;

use unisono_cpu::gemm::Cores;
#[allow(
    unused_imports,
    reason = "not every program that shares this file needs it"
)]
pub use unisono_cpu::roofline::peak;
use unisono_cpu::simd::Isa;

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
    /// Measures the peak, then `work` so many times.
    #[allow(dead_code, reason = "not every program that shares this file does so")]
    pub fn round(&mut self, cores: Cores<'_>, reps: usize, mut work: impl FnMut()) {
        self.peaks.push(peak(cores.isa, cores.team));
        let start = Instant::now();
        (0..reps).for_each(|_| work());
        self.times.push(start.elapsed().as_secs_f64() / reps as f64);
    }

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
