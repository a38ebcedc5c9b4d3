//! The bits of this version of the arithmetic, pinned.
//!
//! A change that alters one of these fingerprints alters users' answers: it raises [`ARITHMETIC_VERSION`](super::ARITHMETIC_VERSION) and
//! replaces the fingerprints, or it is a mistake. They are the same on every platform; that is what the tests of other targets show.

use super::*;

/// FNV-1a over the bits of values, every NaN counted as the same.
struct Fingerprint(u64);

impl Fingerprint {
    fn new() -> Self {
        Fingerprint(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, values: &[f32]) {
        for v in values {
            let bits = if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() };
            for byte in bits.to_le_bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
}

fn of(values: impl IntoIterator<Item = f32>) -> u64 {
    let mut fingerprint = Fingerprint::new();
    for v in values {
        fingerprint.add(&[v]);
    }
    fingerprint.0
}

/// Floats of every sign and exponent.
fn all_kinds(step: usize) -> impl Iterator<Item = f32> + Clone {
    (0..1u64 << 32)
        .step_by(step)
        .map(|bits| f32::from_bits(bits as u32))
}

/// Values as networks have them, exact in f32.
fn ordinary(n: usize, salt: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 7919 + salt * 104_729) % 8191) as f32 / 512.0 - 8.0)
        .collect()
}

#[test]
fn the_bits_of_this_version_are_pinned() {
    let mut found: Vec<(String, u64)> = Vec::new();
    for f in Unary::ALL {
        found.push((format!("{f:?}"), of(all_kinds(262_139).map(|x| f.eval(x)))));
    }
    for f in Binary::ALL {
        let pairs = all_kinds(33_554_393).flat_map(|a| all_kinds(35_651_587).map(move |b| (a, b)));
        let powers = ordinary(999, 1).into_iter().zip(ordinary(999, 2));
        let powers = powers.map(|(a, b)| (a.abs(), b));
        found.push((
            format!("{f:?}"),
            of(pairs.chain(powers).map(|(a, b)| f.eval(a, b))),
        ));
    }
    for y in [2.0, 3.0, -1.0, 0.5] {
        let powers = all_kinds(1_048_573).map(|x| Binary::Pow.eval(x, y));
        found.push((format!("Pow by {y}"), of(powers)));
    }
    let lengths = [1, 2, 31, 32, 33, 255, 256, 257, 1023, 1024, 1025, 2600];
    for reduction in Reduction::ALL {
        let rows = lengths.map(|n| {
            let x = ordinary(n, n);
            let lanes = reduce_last(reduction, &x);
            [lanes, reduce(reduction, Order::Slices, n, |i| x[i])]
        });
        found.push((
            format!("Reduce{reduction:?}"),
            of(rows.into_iter().flatten()),
        ));
    }
    let sums = lengths.map(|n| dot(&ordinary(n, 1), &ordinary(n, 2)));
    found.push(("dot".to_owned(), of(sums)));
    for (name, kind) in [
        ("softmax", 0),
        ("log softmax", 1),
        ("layer norm", 2),
        ("rms norm", 3),
    ] {
        let mut fingerprint = Fingerprint::new();
        for n in lengths {
            let (x, scale, bias) = (ordinary(n, 3), ordinary(n, 4), ordinary(n, 5));
            let mut y = vec![0.0; n];
            match kind {
                0 => softmax_row(&x, &mut y),
                1 => log_softmax_row(&x, &mut y),
                2 => {
                    let (mean, r) = layer_norm_row(&x, &scale, Some(&bias), 1e-5, &mut y);
                    fingerprint.add(&[mean, r]);
                }
                _ => rms_norm_row(&x, &scale, 1e-6, &mut y),
            }
            fingerprint.add(&y);
        }
        found.push((name.to_owned(), fingerprint.0));
    }
    let shape = ConvShape {
        batch: 1,
        in_channels: 48,
        out_channels: 4,
        groups: 2,
        input: [1, 5, 6],
        output: [1, 3, 6],
        kernel: [1, 3, 5],
        strides: [1, 2, 1],
        dilations: [1, 1, 1],
        pads: [0, 1, 2],
    };
    let (x, w) = (
        ordinary(shape.input_len(), 6),
        ordinary(shape.weight_len(), 7),
    );
    let mut y = vec![0.0; shape.output_len()];
    let bias = [0.5, -0.25, 0.0, 3.0];
    conv(&shape, &x, &w, Some(&bias), Some(Unary::HardSwish), &mut y);
    found.push(("conv".to_owned(), of(y)));
    let transposed = ConvShape {
        input: shape.output,
        output: shape.input,
        ..shape
    };
    let (x, mut y) = (
        ordinary(transposed.input_len(), 8),
        vec![0.0; transposed.output_len()],
    );
    conv_transpose(&transposed, &x, &w, Some(&bias), None, &mut y);
    found.push(("conv transpose".to_owned(), of(y)));

    let expected = PINNED.map(|(name, value)| (name.to_owned(), value));
    let changed: String = found
        .iter()
        .filter(|pair| !expected.contains(pair))
        .map(|(name, value)| format!("    (\"{name}\", {value:#018x}),\n"))
        .collect();
    assert!(
        changed.is_empty() && found.len() == expected.len(),
        "version {ARITHMETIC_VERSION} has other bits than it was pinned with:\n{changed}"
    );
}

#[rustfmt::skip]
const PINNED: [(&str, u64); 73] = [
    ("Abs", 0x8ce11fc9c110c940),
    ("Neg", 0x554c50829f6030c0),
    ("Reciprocal", 0xc9fe7fbdbe186c40),
    ("Square", 0xcf220a3a582c6fae),
    ("Sqrt", 0xe61f7957317f64a0),
    ("Rsqrt", 0xefef33a65aed0e6f),
    ("Sign", 0xa98c7386962213f5),
    ("Floor", 0x1ed6d466a5310d85),
    ("Ceil", 0xd17069082b18cdf0),
    ("Round", 0x8c346584802dbd68),
    ("Exp", 0x491a02207cdba5d9),
    ("Log", 0x8f00e062774116db),
    ("Sin", 0x6feecdb026a5870c),
    ("Cos", 0xa05f4e11029dda6a),
    ("Tan", 0x1f7735a8e88e2b74),
    ("Asin", 0x8796ef92af8c54aa),
    ("Acos", 0x5de1a5e12b875776),
    ("Atan", 0x0806f175cad2444d),
    ("Sinh", 0x01631cca85fc7bbf),
    ("Cosh", 0xaa42bd0d3c65757d),
    ("Tanh", 0x438d77337c0f7106),
    ("Asinh", 0x4b82bcd8638ca9fb),
    ("Acosh", 0x7ad16d2248cf52d2),
    ("Atanh", 0x4f7217453286f85a),
    ("Erf", 0xf1d8f0b09ff29ab3),
    ("Sigmoid", 0x2e5179a746302fb7),
    ("Relu", 0xc2284e98d46c15b5),
    ("LeakyRelu { alpha: 0.01 }", 0x62d93cf3530c8dd9),
    ("ThresholdedRelu { alpha: 1.0 }", 0x227c4e516ec0fed5),
    ("Elu { alpha: 1.0 }", 0x4b8d8818c97731fc),
    ("Selu { alpha: 1.6732632, gamma: 1.050701 }", 0x9f34b4512b28d5a2),
    ("Celu { alpha: 2.0 }", 0xa7cc9880f6684d91),
    ("Clip { low: 0.0, high: 6.0 }", 0x098920fafcae2055),
    ("HardSigmoid { alpha: 0.2, beta: 0.5 }", 0x060161ccd8dd6670),
    ("HardSwish", 0xcbc7a28898e5daf6),
    ("Shrink { lambda: 0.5, bias: 0.1 }", 0xe6e3449f4a801883),
    ("Softplus", 0x5e3fb7619e52bb8a),
    ("Softsign", 0x08a5eee60a6b6ca7),
    ("Swish { alpha: 1.0 }", 0x70cee3e18f3bc874),
    ("Swish { alpha: 1.702 }", 0xe2ee03427fd85e1b),
    ("Mish", 0xcc7c29e4ce582ef6),
    ("Gelu", 0xaac0efc21beb4eb6),
    ("GeluTanh", 0x7bbc34c3343e461e),
    ("Add", 0xa62f9149398d9297),
    ("Sub", 0x5d17ab4d4ebc593a),
    ("Mul", 0x2f08aab790b351c4),
    ("Div", 0x2a1dfc7a493dd15a),
    ("Max", 0x965d74f90174e6c9),
    ("Min", 0xbb2ff698a51ab457),
    ("Pow", 0x77c3d641b38f19f6),
    ("Fmod", 0x309b5d9821eb70cc),
    ("PRelu", 0xbb610579e5cb38c8),
    ("Pow by 2", 0xc500d46ba357540d),
    ("Pow by 3", 0xd0288faddebab3d4),
    ("Pow by -1", 0xf1b21cecd4944c0e),
    ("Pow by 0.5", 0x0f66d115add6faa9),
    ("ReduceSum", 0xec4bd2dedd6843b9),
    ("ReduceMean", 0xe217cdb95d055dfd),
    ("ReduceSumSquare", 0x644b475e7acb8860),
    ("ReduceL1", 0x52a58d2805a49f55),
    ("ReduceL2", 0xd646f3a80c3d83af),
    ("ReduceLogSum", 0xf529ed47371f740d),
    ("ReduceLogSumExp", 0x5e1232e69470e65a),
    ("ReduceProd", 0xffab186894687d3b),
    ("ReduceMax", 0x4bc61ff6f4188139),
    ("ReduceMin", 0xd512c9bd6b2ecb95),
    ("dot", 0x513e5de476698360),
    ("softmax", 0xd473d56b71a1e104),
    ("log softmax", 0x3316ac0bfd9505bf),
    ("layer norm", 0xdeb3f74bc6060a06),
    ("rms norm", 0x95465da922cf3ade),
    ("conv", 0x20779c8a8684d6d0),
    ("conv transpose", 0xc41e14f133d95b97),
];
