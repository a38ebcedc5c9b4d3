//! Every kernel equals the reference bit for bit, on every instruction set of the machine.

use unisono_reference::arith::{self, Binary, Order, Reduction, Unary, first_difference};

use super::*;
use crate::simd::Isa;

/// Values at which functions have corners.
const SPECIAL: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    88.5,
    -103.5,
    0.875,
    2.5,
    1e-45,
];

/// A small generator of reproducible values (xorshift64*), so that a failure can be had again.
struct Values(u64);

impl Values {
    fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// Values as networks have them, about -8 to 8.
    fn ordinary(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (self.bits() as i32) as f32 / (1u32 << 28) as f32)
            .collect()
    }

    /// Any bits at all, and one in four a special value.
    fn wild(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| match self.bits() {
                bits if bits % 4 == 0 => SPECIAL[(bits >> 8) as usize % SPECIAL.len()],
                _ => f32::from_bits(self.bits()),
            })
            .collect()
    }
}

const LENGTHS: [usize; 16] = [0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 77, 255, 1000];

#[track_caller]
fn assert_same(found: &[f32], expected: &[f32], what: impl FnOnce() -> String) {
    if let Some(difference) = first_difference(found, expected) {
        panic!("{}: {difference}", what());
    }
}

#[test]
fn functions_of_one_value_equal_the_reference_on_wild_and_ordinary_values() {
    let mut values = Values(1);
    let mut functions = Unary::ALL.to_vec();
    functions.extend([
        Unary::Clip {
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
        },
        Unary::Clip {
            low: -0.0,
            high: 0.0,
        },
        Unary::Clip {
            low: 3.0,
            high: -3.0,
        },
        Unary::Clip {
            low: f32::NAN,
            high: 1.0,
        },
        Unary::Celu { alpha: -0.5 },
        Unary::Celu { alpha: 1.0 },
        Unary::HardSigmoid {
            alpha: -1e38,
            beta: f32::INFINITY,
        },
        Unary::Shrink {
            lambda: -1.0,
            bias: f32::NAN,
        },
    ]);
    for n in LENGTHS {
        for (kind, x) in [("wild", values.wild(n)), ("ordinary", values.ordinary(n))] {
            for &f in &functions {
                let expected: Vec<f32> = x.iter().map(|&x| f.eval(x)).collect();
                for isa in Isa::available() {
                    let mut y = vec![f32::NAN; n];
                    unary(isa, f, (&x[..], &mut y[..]));
                    assert_same(&y, &expected, || {
                        format!("{f:?} of {n} {kind} values, {isa}")
                    });
                    let mut y = x.clone();
                    unary(isa, f, &mut y[..]);
                    assert_same(&y, &expected, || format!("{f:?} in place, {isa}"));
                }
            }
        }
    }
}

/// Evidence: canonical-arithmetic, same-bits-isa
#[test]
fn functions_of_one_value_equal_the_reference_across_all_exponents() {
    // Every exponent and sign with 24 mantissas each.
    let x: Vec<f32> = (0..1u64 << 32)
        .step_by((1 << 23) / 24 + 1)
        .map(|bits| f32::from_bits(bits as u32))
        .collect();
    for f in Unary::ALL {
        let expected: Vec<f32> = x.iter().map(|&x| f.eval(x)).collect();
        for isa in Isa::available() {
            let mut y = vec![0.0; x.len()];
            unary(isa, f, (&x[..], &mut y[..]));
            if let Some(arith::Difference::Value {
                index,
                found,
                expected,
            }) = first_difference(&y, &expected)
            {
                panic!("{f:?}({:e}) = {found:e}, not {expected:e}, {isa}", x[index]);
            }
        }
    }
}

#[test]
fn functions_of_two_values_equal_the_reference_in_every_broadcast() {
    let mut values = Values(2);
    for [rows, n] in [
        [1, 1],
        [3, 5],
        [2, 33],
        [7, 16],
        [1, 100],
        [4, 0],
        [0, 4],
        [5, 1],
    ] {
        for wild in [false, true] {
            let mut take = |len| {
                if wild {
                    values.wild(len)
                } else {
                    values.ordinary(len)
                }
            };
            let full = [take(rows * n), take(rows * n)];
            let row = [take(n), take(n)];
            let column = [take(rows), take(rows)];
            let scalar = [take(1)[0], 2.0, -1.0, 0.5, 3.0];
            let mut pairs = Vec::new();
            let kinds = |i: usize| {
                [
                    Operand::Full(&full[i]),
                    Operand::Row(&row[i]),
                    Operand::Column(&column[i]),
                ]
            };
            for a in kinds(0) {
                pairs.extend(kinds(1).map(|b| (a, b)));
                pairs.extend(scalar.map(|b| (a, Operand::Scalar(b))));
                pairs.extend(scalar.map(|b| (Operand::Scalar(b), a)));
            }
            let at = |operand: Operand<'_>, i: usize, j: usize| match operand {
                Operand::Full(x) => x[i * n + j],
                Operand::Row(x) => x[j],
                Operand::Column(x) => x[i],
                Operand::Scalar(x) => x,
            };
            for f in Binary::ALL {
                for &(a, b) in &pairs {
                    let expected: Vec<f32> = (0..rows * n)
                        .map(|i| f.eval(at(a, i / n, i % n), at(b, i / n, i % n)))
                        .collect();
                    for isa in Isa::available() {
                        let mut y = vec![0.0; rows * n];
                        binary(isa, f, [rows, n], a, b, &mut y);
                        assert_same(&y, &expected, || format!("{f:?} of {a:?} and {b:?}, {isa}"));
                        if let Operand::Full(x) = a {
                            let mut y = x.to_vec();
                            binary_in_place(isa, f, [rows, n], &mut y, b, false);
                            assert_same(&y, &expected, || {
                                format!("{f:?} in place with {b:?}, {isa}")
                            });
                        }
                        if let Operand::Full(x) = b {
                            let mut y = x.to_vec();
                            binary_in_place(isa, f, [rows, n], &mut y, a, true);
                            assert_same(&y, &expected, || {
                                format!("{f:?} in place, swapped, {isa}")
                            });
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn functions_of_two_values_equal_the_reference_on_every_pair_of_corners() {
    let a: Vec<f32> = SPECIAL.iter().flat_map(|&a| [a; SPECIAL.len()]).collect();
    let b = SPECIAL.repeat(SPECIAL.len());
    for f in Binary::ALL {
        let expected: Vec<f32> = a.iter().zip(&b).map(|(&a, &b)| f.eval(a, b)).collect();
        for isa in Isa::available() {
            let mut y = vec![0.0; a.len()];
            binary(
                isa,
                f,
                [1, a.len()],
                Operand::Full(&a),
                Operand::Full(&b),
                &mut y,
            );
            assert_same(&y, &expected, || format!("{f:?}, {isa}"));
            for (row, &b) in SPECIAL.iter().enumerate() {
                let expected: Vec<f32> = SPECIAL.iter().map(|&a| f.eval(a, b)).collect();
                let y = &mut y[..SPECIAL.len()];
                let [a, b] = [Operand::Full(&SPECIAL), Operand::Scalar(b)];
                binary(isa, f, [1, SPECIAL.len()], a, b, y);
                assert_same(y, &expected, || format!("{f:?} with corner {row}, {isa}"));
            }
        }
    }
}

/// Evidence: canonical-arithmetic, same-bits-isa
#[test]
fn reductions_equal_the_reference_in_both_orders() {
    let mut values = Values(3);
    for n in [
        0, 1, 2, 7, 16, 31, 32, 33, 47, 64, 100, 255, 256, 257, 520, 1023, 1024, 1025, 1056, 2100,
    ] {
        for (rows, wild) in [(1, false), (3, false), (2, true)] {
            let x = if wild {
                values.wild(rows * n)
            } else {
                values.ordinary(rows * n)
            };
            for reduction in Reduction::ALL {
                let expected: Vec<f32> = (0..rows)
                    .map(|r| arith::reduce_last(reduction, &x[r * n..(r + 1) * n]))
                    .collect();
                for isa in Isa::available() {
                    let mut out = vec![0.0; rows];
                    reduce_rows(isa, reduction, n, &x, &mut out);
                    assert_same(&out, &expected, || {
                        format!("{reduction:?} of rows of {n}, {isa}")
                    });
                }
            }
        }
    }
    for [outer, n, inner] in [
        [2, 5, 3],
        [1, 257, 1],
        [3, 0, 4],
        [2, 300, 21],
        [1, 9, 64],
        [1, 17, 133],
        [2, 3, 0],
    ] {
        for wild in [false, true] {
            let len = outer * n * inner;
            let x = if wild {
                values.wild(len)
            } else {
                values.ordinary(len)
            };
            for reduction in Reduction::ALL {
                let expected: Vec<f32> = (0..outer * inner)
                    .map(|i| {
                        let first = i / inner * n * inner + i % inner;
                        arith::reduce_strided(reduction, &x, first, inner, n)
                    })
                    .collect();
                for isa in Isa::available() {
                    let mut out = vec![0.0; outer * inner];
                    reduce_middle(isa, reduction, [outer, n, inner], &x, &mut out);
                    assert_same(&out, &expected, || {
                        format!("{reduction:?} of {outer} x {n} x {inner}, {isa}")
                    });
                }
            }
        }
    }
}

#[test]
fn global_averages_equal_the_reference() {
    let mut values = Values(4);
    for (rows, n) in [(1, 49), (7, 1), (16, 32), (21, 300), (33, 5), (4, 0)] {
        let x = values.ordinary(rows * n);
        let expected: Vec<f32> = (0..rows)
            .map(|r| arith::reduce_strided(Reduction::Mean, &x, r * n, 1, n))
            .collect();
        for isa in Isa::available() {
            let mut out = vec![0.0; rows];
            average_rows_in_slices(isa, n, &x, &mut out);
            assert_same(&out, &expected, || {
                format!("mean of {rows} rows of {n}, {isa}")
            });
        }
    }
}

/// Runs a kernel out of place and in place on every instruction set.
fn check_in_out(x: &[f32], expected: &[f32], what: &str, mut kernel: impl FnMut(Isa, InOut<'_>)) {
    for isa in Isa::available() {
        let mut y = vec![0.0; x.len()];
        kernel(isa, (x, &mut y[..]).into());
        assert_same(&y, expected, || format!("{what}, {isa}"));
        let mut y = x.to_vec();
        kernel(isa, y.as_mut_slice().into());
        assert_same(&y, expected, || format!("{what} in place, {isa}"));
    }
}

#[test]
fn softmax_equals_the_reference() {
    let mut values = Values(5);
    for n in LENGTHS.into_iter().chain([128, 1024, 1100]) {
        for (rows, wild) in [(3, false), (2, true)] {
            let mut x = if wild {
                values.wild(rows * n)
            } else {
                values.ordinary(rows * n)
            };
            if n > 4 && !wild {
                // A masked row, as attention has them.
                x[1..n / 2].fill(f32::NEG_INFINITY);
            }
            let (mut soft, mut log) = (vec![0.0; rows * n], vec![0.0; rows * n]);
            for r in 0..rows {
                let row = r * n..(r + 1) * n;
                arith::softmax_row(&x[row.clone()], &mut soft[row.clone()]);
                arith::log_softmax_row(&x[row.clone()], &mut log[row]);
            }
            check_in_out(&x, &soft, &format!("softmax of {n}"), |isa, data| {
                softmax_rows(isa, n, data)
            });
            check_in_out(&x, &log, &format!("log softmax of {n}"), |isa, data| {
                log_softmax_rows(isa, n, data)
            });
        }
    }
    for [outer, n, inner] in [[2, 5, 3], [1, 300, 17], [3, 4, 40], [2, 0, 3]] {
        let x = values.ordinary(outer * n * inner);
        let mut expected = vec![0.0; x.len()];
        for i in 0..outer * inner {
            let first = i / inner * n * inner + i % inner;
            arith::softmax(Order::Slices, n, |k| first + k * inner, &x, &mut expected);
        }
        check_in_out(&x, &expected, "softmax over a middle axis", |isa, data| {
            softmax_middle(isa, [outer, n, inner], data);
        });
    }
}

#[test]
fn normalisations_equal_the_reference() {
    let mut values = Values(6);
    for n in [1, 3, 16, 31, 33, 64, 100, 384, 1024, 1500] {
        for (rows, wild) in [(3, false), (2, true)] {
            let x = if wild {
                values.wild(rows * n)
            } else {
                values.ordinary(rows * n)
            };
            let (scale, bias) = (values.ordinary(n), values.ordinary(n));
            for bias in [None, Some(&bias[..])] {
                let mut expected = vec![0.0; x.len()];
                let mut moments = [Vec::new(), Vec::new()];
                for r in 0..rows {
                    let row = r * n..(r + 1) * n;
                    let (mean, inverse) = arith::layer_norm_row(
                        &x[row.clone()],
                        &scale,
                        bias,
                        1e-5,
                        &mut expected[row],
                    );
                    moments[0].push(mean);
                    moments[1].push(inverse);
                }
                let mut found = [vec![0.0; rows], vec![0.0; rows]];
                check_in_out(&x, &expected, &format!("layer norm of {n}"), |isa, data| {
                    let [mean, inverse] = &mut found;
                    layer_norm_rows(isa, &scale, bias, 1e-5, data, Some([mean, inverse]));
                });
                assert_same(&found[0], &moments[0], || "means".to_owned());
                assert_same(&found[1], &moments[1], || "inverse deviations".to_owned());
            }
            let mut expected = vec![0.0; x.len()];
            for r in 0..rows {
                let row = r * n..(r + 1) * n;
                arith::rms_norm_row(&x[row.clone()], &scale, 1e-6, &mut expected[row]);
            }
            check_in_out(&x, &expected, &format!("rms norm of {n}"), |isa, data| {
                rms_norm_rows(isa, &scale, 1e-6, data);
            });
        }
    }
    for (samples, channels, groups, plane) in
        [(2, 6, 3, 5), (1, 4, 4, 49), (2, 3, 1, 1), (3, 8, 2, 100)]
    {
        let x = values.ordinary(samples * channels * plane);
        let (scale, bias) = (values.ordinary(channels), values.ordinary(channels));
        let (mut normal, mut shifted) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let group = channels / groups * plane;
        for (i, x) in x.chunks(plane).enumerate() {
            let row = i * plane..(i + 1) * plane;
            let c = i % channels;
            for (y, &x) in shifted[row].iter_mut().zip(x) {
                *y = arith::fma_f32(x, scale[c], bias[c]);
            }
        }
        for (i, row) in x.chunks(plane).enumerate() {
            let first = i * plane / group * group;
            let moments = arith::moments(&x[first..first + group], 1e-5);
            let c = i % channels;
            let place = i * plane..(i + 1) * plane;
            arith::instance_norm_row(row, moments, scale[c], bias[c], &mut normal[place]);
        }
        check_in_out(&x, &normal, "group norm", |isa, data| {
            group_norm(isa, groups, plane, &scale, &bias, 1e-5, data);
        });
        check_in_out(&x, &shifted, "batch norm", |isa, data| {
            scale_shift_planes(isa, plane, &scale, &bias, data);
        });
    }
}

#[test]
fn steps_of_recurrent_cells_equal_the_reference() {
    use arith::{gate_input, gru_candidate_after_product, gru_state, lstm_output, lstm_state};
    let sigmoid = |x: f32| Unary::Sigmoid.eval(x);
    let tanh = |x: f32| Unary::Tanh.eval(x);
    let mut values = Values(7);
    for n in LENGTHS {
        let mut take = |len| values.ordinary(len);
        let (xw, hr, bias, wb, rb) = (take(4 * n), take(4 * n), take(4 * n), take(n), take(n));
        let (c, h) = (take(n), take(n));
        for bias in [None, Some(&bias[..])] {
            // Gate after gate, as many as the cell has.
            let input = |gate: usize, j: usize| {
                let at = gate * n + j;
                gate_input(xw[at], hr[at], bias.map(|b| b[at]))
            };
            let gates = |from: usize, to: usize| Gates {
                xw: &xw[from * n..to * n],
                hr: &hr[from * n..to * n],
                bias: bias.map(|b| &b[from * n..to * n]),
            };
            let state: Vec<f32> = (0..n)
                .map(|j| {
                    let [i, f] = [0, 2].map(|gate| sigmoid(input(gate, j)));
                    lstm_state(i, f, tanh(input(3, j)), c[j])
                })
                .collect();
            let output: Vec<f32> = (0..n)
                .map(|j| lstm_output(sigmoid(input(1, j)), tanh(state[j])))
                .collect();
            let reset: Vec<f32> = (0..n).map(|j| sigmoid(input(1, j)) * h[j]).collect();
            let updated: Vec<f32> = (0..n)
                .map(|j| gru_state(sigmoid(input(0, j)), tanh(input(2, j)), h[j]))
                .collect();
            let biases = bias.map(|_| [&wb[..], &rb[..]]);
            let linear: Vec<f32> = (0..n)
                .map(|j| {
                    let [w, r] = biases.map_or([0.0; 2], |b| b.map(|b| b[j]));
                    let reset = sigmoid(input(1, j));
                    let (xw, hr) = (xw[2 * n + j], hr[2 * n + j]);
                    let candidate = gru_candidate_after_product(xw, w, hr, r, reset);
                    gru_state(sigmoid(input(0, j)), tanh(candidate), h[j])
                })
                .collect();
            for isa in Isa::available() {
                let (mut found_c, mut found_h) = (c.clone(), h.clone());
                lstm_step(isa, gates(0, 4), &mut found_c, &mut found_h);
                assert_same(&found_c, &state, || format!("LSTM's state of {n}, {isa}"));
                assert_same(&found_h, &output, || format!("LSTM's output of {n}, {isa}"));
                let mut found = vec![0.0; n];
                gru_reset_state(isa, gates(1, 2), &h, &mut found);
                assert_same(&found, &reset, || {
                    format!("GRU's reset state of {n}, {isa}")
                });
                let mut found = h.clone();
                gru_update(isa, gates(0, 1), gates(2, 3), &mut found);
                assert_same(&found, &updated, || format!("GRU's update of {n}, {isa}"));
                let mut found = h.clone();
                gru_step_linear_before_reset(isa, gates(0, 3), biases, &mut found);
                assert_same(&found, &linear, || {
                    format!("GRU's linear step of {n}, {isa}")
                });
            }
        }
    }
}
