//! How far the canonical functions are from the exact ones, in units in the last place.
//!
//! ```text
//! cargo run --release -p unisono-cpu --example ulp -- [--stride N] [FUNCTION ...]
//! ```
//!
//! Sweeps every N-th of the 2^32 floats (1 for all of them; 97 unless told) and compares with f64. One line per function: the greatest error
//! over the arguments whose result is a normal number, where it is, and the greatest error over subnormal results. The f64 functions
//! are themselves off by some 1e-9 of these units.

use std::num::NonZero;

use unisono_cpu::kernels::rowwise::unary;
use unisono_cpu::simd::Isa;
use unisono_reference::arith::{ARITHMETIC_VERSION, Unary};

/// The functions of the table. Those that cancel by their definition (`Gelu` for negative arguments, `HardSwish` near -3) are bounded by
/// absolute error instead, and stand in the second group.
const RELATIVE: [Unary; 25] = [
    Unary::Exp,
    Unary::Log,
    Unary::Tanh,
    Unary::Erf,
    Unary::Sigmoid,
    Unary::Rsqrt,
    Unary::Sqrt,
    Unary::Reciprocal,
    Unary::Softplus,
    Unary::Softsign,
    Unary::Mish,
    Unary::Swish { alpha: 1.0 },
    Unary::Elu { alpha: 1.0 },
    Unary::Sin,
    Unary::Cos,
    Unary::Tan,
    Unary::Asin,
    Unary::Acos,
    Unary::Atan,
    Unary::Sinh,
    Unary::Cosh,
    Unary::Asinh,
    Unary::Acosh,
    Unary::Atanh,
    Unary::Square,
];
const ABSOLUTE: [Unary; 3] = [Unary::HardSwish, Unary::Gelu, Unary::GeluTanh];

/// The greatest error seen and the argument that shows it.
#[derive(Clone, Copy, Default)]
struct Worst {
    error: f64,
    at: f32,
}

impl Worst {
    fn see(&mut self, error: f64, at: f32) {
        if error > self.error {
            *self = Worst { error, at };
        }
    }

    fn join(self, other: Worst) -> Worst {
        if other.error > self.error {
            other
        } else {
            self
        }
    }
}

/// The weight of the last place of an f32 with the magnitude of `exact`.
fn last_place(exact: f64) -> f64 {
    let exponent = (exact.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    f64::from_bits(((exponent.max(-126) - 23 + 1023) as u64) << 52)
}

/// The error of `found` in ulp; a wrong special value counts as infinite.
fn ulps(found: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if !nearest.is_finite() || !found.is_finite() {
        let overflow = f64::from(f32::MAX) + last_place(f64::from(f32::MAX));
        let same = found == nearest || (found.is_nan() && nearest.is_nan());
        // At the edge of overflow, infinity stands for the next power of two.
        return if same {
            0.0
        } else if found.is_infinite() && nearest.is_finite() && !nearest.is_nan() {
            (overflow - exact.abs()) / last_place(f64::from(f32::MAX))
        } else if nearest.is_infinite() && found.is_finite() {
            (exact.abs() - f64::from(found.abs())) / last_place(f64::from(f32::MAX))
        } else {
            f64::INFINITY
        };
    }
    (f64::from(found) - exact).abs() / last_place(exact)
}

/// Arguments that go through a kernel together.
const CHUNK: usize = 4096;

/// Hands every `stride`-th float but NaN to `see`, with the canonical value of `f` there. The values come from the fastest kernel of this
/// machine, which has the bits of every other.
fn sweep(stride: usize, f: Unary, see: impl Fn(f32, f32, &mut [Worst; 2]) + Sync) -> [Worst; 2] {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let (see, isa) = (&see, Isa::detect());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|t| {
                scope.spawn(move || {
                    let mut worst = [Worst::default(); 2];
                    let (mut x, mut y) = (Vec::with_capacity(CHUNK), vec![0.0; CHUNK]);
                    let mut all = (t as u64 * stride as u64..1 << 32).step_by(stride * threads);
                    loop {
                        x.clear();
                        x.extend(
                            all.by_ref()
                                .take(CHUNK)
                                .map(|bits| f32::from_bits(bits as u32)),
                        );
                        if x.is_empty() {
                            return worst;
                        }
                        let y = &mut y[..x.len()];
                        unary(isa, f, (&x[..], &mut *y));
                        for (&x, &y) in x.iter().zip(&*y).filter(|(x, _)| !x.is_nan()) {
                            see(x, y, &mut worst);
                        }
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .fold([Worst::default(); 2], |sum, worker| {
                let found = worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                [sum[0].join(found[0]), sum[1].join(found[1])]
            })
    })
}

fn main() -> Result<(), String> {
    let mut stride = 97;
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--stride" {
            let value = arguments.next().ok_or("--stride needs a number")?;
            stride = value
                .parse()
                .map_err(|_| format!("--stride {value}: not a number"))?;
            if stride == 0 {
                return Err("--stride must be at least 1".to_owned());
            }
        } else {
            wanted.push(argument.to_lowercase());
        }
    }
    let chosen = |f: &Unary| {
        let name = format!("{f:?}").to_lowercase();
        wanted.is_empty() || wanted.iter().any(|w| name.split(' ').next() == Some(w))
    };
    println!(
        "canonical arithmetic {ARITHMETIC_VERSION}, every {stride}th of the 2^32 floats against f64"
    );
    println!(
        "{:28} {:>9} {:>16} {:>13}",
        "function", "max ulp", "at", "if subnormal"
    );
    for f in RELATIVE.iter().copied().filter(chosen) {
        // A product with a subnormal sigmoid has only its few digits, though it may itself be normal.
        let lowest = if matches!(f, Unary::Swish { .. } | Unary::Mish) {
            -87.0
        } else {
            f32::NEG_INFINITY
        };
        let [normal, subnormal] = sweep(stride, f, |x, found, worst| {
            if x < lowest {
                return;
            }
            let exact = f.eval(f64::from(x));
            let error = ulps(found, exact);
            worst[usize::from(exact.abs() < f64::from(f32::MIN_POSITIVE))].see(error, x);
        });
        println!(
            "{:28} {:9.4} {:16.8e} {:13.4}",
            format!("{f:?}"),
            normal.error,
            normal.at,
            subnormal.error
        );
    }
    if !ABSOLUTE.iter().any(chosen) {
        return Ok(());
    }
    println!("\nabsolute error over max(|x|, 1), where a definition cancels, and ulp for x > 0");
    for f in ABSOLUTE.iter().copied().filter(chosen) {
        let [absolute, positive] = sweep(stride, f, |x, found, worst| {
            let exact = f.eval(f64::from(x));
            if x.is_finite() {
                worst[0].see(
                    (f64::from(found) - exact).abs() / f64::from(x.abs().max(1.0)),
                    x,
                );
            }
            if x >= f32::MIN_POSITIVE * 4.0 && exact.abs() < f64::from(f32::MAX) {
                worst[1].see(ulps(found, exact), x);
            }
        });
        println!(
            "{:28} {:9.2e} {:16.8e} {:13.4}",
            format!("{f:?}"),
            absolute.error,
            absolute.at,
            positive.error
        );
    }
    Ok(())
}
