use proptest::prelude::*;
use unisono_reference::arith::{self, first_difference};
use unisono_runtime::team::TeamOptions;

use super::*;

/// Values that tell orders of operations apart, and a few that break careless kernels.
pub(crate) fn values(seed: u64, len: usize, special: bool) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            match (state & 0xff, special) {
                (0, true) => -0.0,
                (1, true) => f32::from_bits((state >> 32) as u32 & 0x007f_ffff),
                (2, true) => f32::MIN_POSITIVE * x,
                (3, true) => f32::INFINITY,
                (4, true) => f32::NAN,
                (5, true) => 1e30 * x,
                _ => x,
            }
        })
        .collect()
}

pub(crate) fn teams() -> [Team; 2] {
    [1, 2].map(|threads| Team::new(TeamOptions::default().threads(threads)).expect("threads"))
}

/// A matrix with the given strides that covers rows x cols.
fn matrix_len(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 {
        0
    } else {
        (rows - 1) * row_stride + (cols - 1) * col_stride + 1
    }
}

#[derive(Clone, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    a_by_columns: bool,
    b_by_columns: bool,
    pad: usize,
    alpha: f32,
    beta: f32,
    bias: Option<(usize, usize)>,
    residual: bool,
    activation: Option<Unary>,
    special: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let size = |most: usize| prop_oneof![3 => 1..=5_usize, 3 => 1..=most, 1 => Just(0_usize)];
    let k = prop_oneof![
        1 => Just(0_usize),
        4 => 1..=40_usize,
        2 => 250..=260_usize,
        2 => 500..=530_usize,
        1 => Just(2100_usize)
    ];
    let activation = prop_oneof![
        Just(None),
        Just(Some(Unary::Relu)),
        Just(Some(Unary::LeakyRelu { alpha: 0.1 })),
        Just(Some(Unary::Clip {
            low: 0.0,
            high: 6.0
        })),
        Just(Some(Unary::HardSwish)),
        Just(Some(Unary::Sigmoid)),
        Just(Some(Unary::Tanh)),
    ];
    let shape = (
        size(60),
        size(150),
        k,
        any::<bool>(),
        any::<bool>(),
        0..3_usize,
    );
    let finish = (
        prop_oneof![Just(1.0_f32), Just(0.3)],
        prop_oneof![Just(1.0_f32), Just(-0.7)],
        proptest::option::of((0..=1_usize, 0..=2_usize)),
        any::<bool>(),
        activation,
    );
    (shape, finish, any::<bool>(), any::<u64>()).prop_map(
        |(
            (m, n, k, a_by_columns, b_by_columns, pad),
            (alpha, beta, bias, residual, activation),
            special,
            seed,
        )| Case {
            m,
            n,
            k,
            a_by_columns,
            b_by_columns,
            pad,
            alpha,
            beta,
            bias,
            residual,
            activation,
            special,
            seed,
        },
    )
}

fn strides(by_columns: bool, rows: usize, cols: usize, pad: usize) -> (usize, usize) {
    if by_columns {
        (1, rows + pad)
    } else {
        (cols + pad, 1)
    }
}

impl Case {
    /// The case through every way that leads to a product, against the reference.
    fn check(&self) {
        let &Case { m, n, k, pad, .. } = self;
        let (ar, ac) = strides(self.a_by_columns, m, k, pad);
        let (br, bc) = strides(self.b_by_columns, k, n, pad);
        let a = values(self.seed, matrix_len(m, k, ar, ac), self.special);
        let b = values(self.seed ^ 1, matrix_len(k, n, br, bc), self.special);
        let (bias_row, bias_col) = self.bias.unwrap_or_default();
        let bias = values(
            self.seed ^ 2,
            matrix_len(m, n, bias_row * 3 * n, bias_col),
            false,
        );
        let residual = values(self.seed ^ 3, m * n, false);
        let matrix = |data, row_stride, col_stride| MatrixRef {
            data,
            row_stride,
            col_stride,
        };
        let a = matrix(&a, ar, ac);
        let b = matrix(&b, br, bc);
        let bias = self.bias.map(|_| matrix(&bias, bias_row * 3 * n, bias_col));
        let epilogue = Epilogue {
            alpha: self.alpha,
            beta: self.beta,
            bias,
            residual: self.residual.then(|| matrix(&residual, n, 1)),
            activation: self.activation,
        };

        let mut expected = vec![0.0; m * n];
        let before_residual = arith::Epilogue {
            alpha: self.alpha,
            beta: self.beta,
            bias,
            activation: self.activation.filter(|_| !self.residual),
        };
        arith::gemm([m, n, k], a, b, &before_residual, &mut expected);
        if self.residual {
            for (y, r) in expected.iter_mut().zip(&residual) {
                *y += r;
                *y = self.activation.map_or(*y, |f| f.eval(*y));
            }
        }

        for isa in Isa::available() {
            for team in &teams() {
                let cores = Cores { isa, team };
                let c_step = n + pad;
                let pack = PackedB::pack(isa, k, n, b).unwrap();
                let mut c = vec![7.0; m * c_step];
                let mut scratch = vec![f32::NAN; gemm_scratch(cores, m, n, k)];
                gemm(cores, m, a, &pack, &mut c, c_step, &epilogue, &mut scratch);
                self.compare(&c, c_step, &expected, &format!("{isa:?} packed"));

                let shape = BatchShape { batch: 1, m, n, k };
                let mut c = vec![7.0; m * c_step];
                let mut scratch = vec![f32::NAN; gemm_batched_scratch(cores, shape)];
                // SAFETY: there is one C.
                unsafe {
                    gemm_batched(
                        cores,
                        shape,
                        a,
                        b,
                        &mut c,
                        c_step,
                        &|_| [0; 3],
                        &|_| epilogue,
                        &mut scratch,
                    );
                }
                self.compare(&c, c_step, &expected, &format!("{isa:?} dense"));
            }
        }
    }

    fn compare(&self, c: &[f32], c_step: usize, expected: &[f32], what: &str) {
        for i in 0..self.m {
            let (row, between) = c[i * c_step..(i + 1) * c_step].split_at(self.n);
            if let Some(difference) = first_difference(row, &expected[i * self.n..][..self.n]) {
                panic!("{what}, row {i}: {difference}");
            }
            assert!(
                between.iter().all(|&x| x == 7.0),
                "{what} wrote between rows"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Evidence: canonical-arithmetic, same-bits-isa, same-bits-threads
    #[test]
    fn every_instruction_set_and_thread_count_gives_the_references_bits(case in cases()) {
        case.check();
    }

    /// Evidence: same-bits-rows
    #[test]
    fn a_row_has_the_same_bits_alone_and_in_any_batch(m in 1..70_usize, n in 1..140_usize, k in 1..600_usize, seed: u64) {
        let a = values(seed, m * k, false);
        let b = values(seed ^ 1, k * n, false);
        for isa in Isa::available() {
            let team = Team::solo();
            let cores = Cores { isa, team: &team };
            let pack = PackedB::pack(isa, k, n, MatrixRef::row_major(&b, n)).unwrap();
            let mut scratch = vec![0.0; gemm_scratch(cores, m, n, k)];
            let mut all = vec![0.0; m * n];
            let none = Epilogue::default();
            gemm(cores, m, MatrixRef::row_major(&a, k), &pack, &mut all, n, &none, &mut scratch);
            for i in [0, m / 2, m - 1] {
                let mut one = vec![0.0; n];
                gemm(cores, 1, MatrixRef::row_major(&a[i * k..], k), &pack, &mut one, n, &none, &mut scratch);
                prop_assert_eq!(first_difference(&one, &all[i * n..][..n]), None);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn segments_of_a_joint_product_have_the_bits_of_products_of_their_own(
        rows in proptest::collection::vec((0..60_usize, any::<bool>(), 0..3_usize), 0..20),
        (n, k) in (prop_oneof![1..200_usize, Just(0_usize)], prop_oneof![0..40_usize, 250..260_usize, Just(700_usize)]),
        activation in prop_oneof![Just(None), Just(Some(Unary::Relu)), Just(Some(Unary::Tanh))],
        seed: u64,
    ) {
        let b = values(seed, k * n, false);
        let bias = values(seed ^ 1, n, false);
        let epilogue = Epilogue {
            bias: Some(MatrixRef { data: &bias, row_stride: 0, col_stride: 1 }),
            activation,
            ..Epilogue::default()
        };
        let sides: Vec<_> = rows.iter().enumerate().map(|(i, &(m, by_columns, pad))| {
            let (row, col) = strides(by_columns, m, k, pad);
            (m, [row, col], n + pad, values(seed ^ (i as u64 + 2), matrix_len(m, k, row, col), false))
        }).collect();
        fn a_of((_, [row_stride, col_stride], _, data): &(usize, [usize; 2], usize, Vec<f32>)) -> MatrixRef<'_, f32> {
            MatrixRef {
            data,
            row_stride: *row_stride,
            col_stride: *col_stride,
            }
        }
        for isa in Isa::available() {
            for team in &teams() {
                let cores = Cores { isa, team };
                let pack = PackedB::pack(isa, k, n, MatrixRef::row_major(&b, n)).unwrap();
                let mut results: Vec<Vec<f32>> = sides.iter().map(|s| vec![7.0; s.0 * s.2]).collect();
                let segments = sides.iter().zip(&mut results).map(|(side, c)| Segment {
                    m: side.0,
                    a: a_of(side),
                    c,
                    c_step: side.2,
                    epilogue,
                });
                let len = gemm_joint_scratch(cores, sides.iter().map(|s| s.0), n, k);
                gemm_joint(cores, &pack, segments.collect(), &mut vec![f32::NAN; len]);
                for (side, c) in sides.iter().zip(&results) {
                    let &(m, _, c_step, _) = side;
                    let mut alone = vec![7.0; m * c_step];
                    let mut scratch = vec![f32::NAN; gemm_scratch(cores, m, n, k)];
                    gemm(cores, m, a_of(side), &pack, &mut alone, c_step, &epilogue, &mut scratch);
                    prop_assert_eq!(first_difference(c, &alone), None);
                }
            }
        }
    }
}

#[test]
fn sizes_at_which_tiles_and_groups_change_give_the_references_bits() {
    // Large enough for several tiles on every axis and for several groups of slices.
    for (m, n, k) in [
        (130, 200, 300),
        (1, 700, 513),
        (3, 300, 2305),
        (260, 33, 2049),
        (97, 129, 70),
    ] {
        Case {
            m,
            n,
            k,
            a_by_columns: false,
            b_by_columns: false,
            pad: 0,
            alpha: 1.0,
            beta: 1.0,
            bias: Some((0, 1)),
            residual: false,
            activation: Some(Unary::Relu),
            special: false,
            seed: 5,
        }
        .check();
    }
}

/// A sum whose products are all too small is -0; the total it is added to is +0, and so is what follows.
#[test]
fn a_total_of_nothing_is_plus_zero_whatever_is_added() {
    // Whole and part tiles, and few rows of several panels side by side.
    for (m, n) in [(13, 40), (2, 140)] {
        check_totals_of_nothing(m, n);
    }
}

fn check_totals_of_nothing(m: usize, n: usize) {
    let nothing = vec![-0.0; m * n];
    let activations = [
        None,
        Some(Unary::Relu),
        Some(Unary::Clip {
            low: 0.0,
            high: 6.0,
        }),
        Some(Unary::HardSwish),
    ];
    for k in [1, 300] {
        let (a, b) = (vec![-1e-30; m * k], vec![1e-30; k * n]);
        let (left, right) = (MatrixRef::row_major(&a, k), MatrixRef::row_major(&b, n));
        for activation in activations {
            // None, one for each column, one for each row, one for each element; and with a residual, or without.
            for bias in [None, Some((0, 1)), Some((1, 0)), Some((n, 1))] {
                for residual in [false, true] {
                    let matrix = |(row_stride, col_stride)| MatrixRef {
                        data: &nothing,
                        row_stride,
                        col_stride,
                    };
                    let epilogue = Epilogue {
                        bias: bias.map(matrix),
                        residual: residual.then(|| matrix((n, 1))),
                        activation,
                        ..Epilogue::default()
                    };
                    let zero = activation.map_or(0.0, |f| f.eval(0.0_f32));
                    for isa in Isa::available() {
                        let team = Team::solo();
                        let cores = Cores { isa, team: &team };
                        let pack = PackedB::pack(isa, k, n, right).unwrap();
                        let mut c = vec![7.0; m * n];
                        let mut scratch = vec![f32::NAN; gemm_scratch(cores, m, n, k)];
                        gemm(cores, m, left, &pack, &mut c, n, &epilogue, &mut scratch);
                        assert_eq!(
                            first_difference(&c, &vec![zero; m * n]),
                            None,
                            "{isa:?}, {k} terms, bias {bias:?}, residual {residual}, {activation:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn members_of_a_batch_are_computed_at_their_offsets() {
    let shape = BatchShape {
        batch: 6,
        m: 9,
        n: 20,
        k: 33,
    };
    let BatchShape { batch, m, n, k } = shape;
    let a = values(1, batch * m * k, false);
    let b = values(2, batch / 2 * k * n, false);
    // Two members share one B, as broadcasting does.
    let offsets = |i: usize| [i * m * k, i / 2 * k * n, i * m * n];
    let scale = |i: usize| Epilogue {
        alpha: 1.0 + i as f32,
        ..Epilogue::default()
    };
    for isa in Isa::available() {
        for team in &teams() {
            let cores = Cores { isa, team };
            let mut c = vec![0.0; batch * m * n];
            let mut scratch = vec![0.0; gemm_batched_scratch(cores, shape)];
            let (left, right) = (MatrixRef::row_major(&a, k), MatrixRef::row_major(&b, n));
            // SAFETY: each member has its own m x n elements of C.
            unsafe {
                gemm_batched(
                    cores,
                    shape,
                    left,
                    right,
                    &mut c,
                    n,
                    &offsets,
                    &scale,
                    &mut scratch,
                );
            }
            for i in 0..batch {
                let [a0, b0, c0] = offsets(i);
                let mut expected = vec![0.0; m * n];
                let finish = arith::Epilogue {
                    alpha: 1.0 + i as f32,
                    ..arith::Epilogue::default()
                };
                let (left, right) = (
                    MatrixRef::row_major(&a[a0..], k),
                    MatrixRef::row_major(&b[b0..], n),
                );
                arith::gemm([m, n, k], left, right, &finish, &mut expected);
                assert_eq!(first_difference(&c[c0..][..m * n], &expected), None);
            }
        }
    }
}
