//! How fast the kernels along rows are, one thread, data in the first-level cache.
//!
//! ```text
//! cargo run --release -p unisono-cpu --example rowwise_speed
//! ```
//!
//! Prints nanoseconds per 1,000 values, the best of many repetitions, for each instruction set of the machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

use unisono_cpu::kernels::rowwise::{
    Operand, average_rows_in_slices, binary, layer_norm_rows, log_softmax_rows, reduce_middle,
    reduce_rows, softmax_middle, softmax_rows, unary,
};
use unisono_cpu::simd::Isa;
use unisono_reference::arith::{Binary, Reduction, Unary};

/// Values per repetition.
const N: usize = 3072;

fn best(mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(40) {
        let start = Instant::now();
        for _ in 0..8 {
            work();
        }
        best = best.min(start.elapsed());
    }
    best.as_nanos() as f64 / 8.0 / N as f64 * 1000.0
}

/// What is measured: input and output have [`N`] values.
type Work<'a> = &'a mut dyn FnMut(Isa, &[f32], &mut [f32]);

fn main() {
    let x: Vec<f32> = (0..N)
        .map(|i| (i * 7919 % 2003) as f32 / 200.0 - 5.0)
        .collect();
    let scale = vec![0.5; 384];
    let mut y = vec![0.0; N];
    print!("{:24}", "ns per 1000 values");
    Isa::available().for_each(|isa| print!("{isa:>10}"));
    println!();
    let mut line = |name: &str, work: Work<'_>| {
        print!("{name:24}");
        for isa in Isa::available() {
            print!(
                "{:10.0}",
                best(|| work(isa, black_box(&x), black_box(&mut y)))
            );
        }
        println!();
    };
    let functions = [
        Unary::Relu,
        Unary::Clip {
            low: 0.0,
            high: 6.0,
        },
        Unary::HardSwish,
        Unary::Exp,
        Unary::Log,
        Unary::Tanh,
        Unary::Erf,
        Unary::Sigmoid,
        Unary::Swish { alpha: 1.0 },
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Sin,
    ];
    for f in functions {
        let name = format!("{f:?}");
        line(name.split(' ').next().unwrap_or(&name), &mut |isa, x, y| {
            unary(isa, f, (x, y))
        });
    }
    for f in [Binary::Add, Binary::Div, Binary::Max] {
        line(&format!("{f:?}"), &mut |isa, x, y| {
            binary(isa, f, [1, N], Operand::Full(x), Operand::Full(x), y);
        });
    }
    line("Add a row of 384", &mut |isa, x, y| {
        binary(
            isa,
            Binary::Add,
            [N / 384, 384],
            Operand::Full(x),
            Operand::Row(&scale),
            y,
        );
    });
    for n in [32, 128, 1024] {
        line(&format!("softmax of {n}"), &mut |isa, x, y| {
            softmax_rows(isa, n, (x, y))
        });
    }
    line("log softmax of 128", &mut |isa, x, y| {
        log_softmax_rows(isa, 128, (x, y))
    });
    line("softmax 4 x 24 x 32", &mut |isa, x, y| {
        softmax_middle(isa, [4, 24, 32], (x, y))
    });
    line("layer norm of 384", &mut |isa, x, y| {
        layer_norm_rows(isa, &scale, Some(&scale), 1e-5, (x, y), None);
    });
    for reduction in [Reduction::Sum, Reduction::Max] {
        for n in [32, 1024] {
            line(&format!("{reduction:?} of {n}"), &mut |isa, x, y| {
                reduce_rows(isa, reduction, n, x, &mut y[..N / n]);
            });
        }
        line(
            &format!("{reduction:?} of 4 x 12 x 64"),
            &mut |isa, x, y| {
                reduce_middle(isa, reduction, [4, 12, 64], x, &mut y[..256]);
            },
        );
    }
    line("global average of 48", &mut |isa, x, y| {
        average_rows_in_slices(isa, 48, x, &mut y[..N / 48]);
    });
}
