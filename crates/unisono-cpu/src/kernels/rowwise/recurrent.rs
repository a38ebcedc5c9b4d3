//! One step of a recurrent cell for one row, once its products are there.
//!
//! The products `x W` and `h R` are long sums and come from the matrix product; what follows is elementwise over the hidden units, with the
//! default activations of ONNX (sigmoid and tanh). Cells with other activations, peepholes or clipping are the reference's.

use crate::simd::{Isa, Kernel, Simd, dispatch, sigmoid, tanh};

/// The gates' inputs of one step: `xw`, `hr` and, if there is one, `bias = Wb + Rb`, each as many gates times the hidden size, gate after gate.
#[derive(Clone, Copy, Debug)]
pub struct Gates<'a> {
    /// The products with the input.
    pub xw: &'a [f32],
    /// The products with the state.
    pub hr: &'a [f32],
    /// The sum of both biases, rounded once.
    pub bias: Option<&'a [f32]>,
}

impl Gates<'_> {
    fn check(&self, len: usize) {
        let fits = |values: &[f32]| values.len() == len;
        assert!(
            fits(self.xw) && fits(self.hr) && self.bias.is_none_or(fits),
            "the gates should have {len} inputs"
        );
    }

    /// `(xw + hr) + bias` of the hidden units from `at` on.
    #[inline(always)]
    fn input<S: Simd>(&self, s: S, gate: usize, hidden: usize, at: usize) -> S::F {
        let sum = s.add(
            load(s, self.xw, gate, hidden, at),
            load(s, self.hr, gate, hidden, at),
        );
        match self.bias {
            Some(bias) => s.add(sum, load(s, bias, gate, hidden, at)),
            None => sum,
        }
    }
}

#[inline(always)]
fn load<S: Simd>(s: S, values: &[f32], gate: usize, hidden: usize, at: usize) -> S::F {
    let row = &values[gate * hidden + at..(gate + 1) * hidden];
    if row.len() >= S::LANES {
        s.load(row)
    } else {
        s.load_part(row)
    }
}

/// An LSTM's step: gates in ONNX's order input, output, forget, candidate; `c` becomes the new cell state, `h` the new output. The state that
/// entered `gates.hr` is not needed any more, so `h` may be where it was.
///
/// # Panics
///
/// If `h` is not as long as `c` or a part of `gates` not four times as long.
pub fn lstm_step(isa: Isa, gates: Gates<'_>, c: &mut [f32], h: &mut [f32]) {
    assert_eq!(c.len(), h.len(), "the two states of an LSTM");
    gates.check(4 * c.len());
    dispatch(isa, LstmStep { gates, c, h });
}

struct LstmStep<'a> {
    gates: Gates<'a>,
    c: &'a mut [f32],
    h: &'a mut [f32],
}

impl Kernel for LstmStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.c.len();
        for at in (0..n).step_by(S::LANES) {
            let [i, o, f, g] = [0, 1, 2, 3].map(|gate| self.gates.input(s, gate, n, at));
            let update = s.mul(sigmoid(s, i), tanh(s, g));
            let c = s.fma(sigmoid(s, f), load(s, self.c, 0, n, at), update);
            s.store_part(c, &mut self.c[at..]);
            s.store_part(s.mul(sigmoid(s, o), tanh(s, c)), &mut self.h[at..]);
        }
    }
}

/// The first half of a GRU's step without `linear_before_reset`: `reset_state = r * h`, which then enters the product with the candidate's
/// weights. `gates` holds the inputs of the reset gate alone.
///
/// # Panics
///
/// If the lengths differ.
pub fn gru_reset_state(isa: Isa, gates: Gates<'_>, h: &[f32], reset_state: &mut [f32]) {
    assert_eq!(h.len(), reset_state.len(), "a GRU's state");
    gates.check(h.len());
    dispatch(
        isa,
        GruReset {
            gates,
            h,
            reset_state,
        },
    );
}

struct GruReset<'a> {
    gates: Gates<'a>,
    h: &'a [f32],
    reset_state: &'a mut [f32],
}

impl Kernel for GruReset<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.h.len();
        for at in (0..n).step_by(S::LANES) {
            let r = sigmoid(s, self.gates.input(s, 0, n, at));
            let y = s.mul(r, load(s, self.h, 0, n, at));
            s.store_part(y, &mut self.reset_state[at..]);
        }
    }
}

/// The second half: `h = fma(z, h, (1 - z) * g)`. `update` holds the inputs of the update gate, `candidate` those of the candidate, whose
/// `hr` is the product with the reset state.
///
/// # Panics
///
/// If the lengths differ.
pub fn gru_update(isa: Isa, update: Gates<'_>, candidate: Gates<'_>, h: &mut [f32]) {
    update.check(h.len());
    candidate.check(h.len());
    dispatch(
        isa,
        GruUpdate {
            update,
            candidate,
            h,
        },
    );
}

struct GruUpdate<'a> {
    update: Gates<'a>,
    candidate: Gates<'a>,
    h: &'a mut [f32],
}

/// `fma(z, h, (1 - z) * tanh(candidate))`.
#[inline(always)]
fn gru_state<S: Simd>(s: S, z: S::F, candidate: S::F, h: S::F) -> S::F {
    let fresh = s.mul(s.sub(s.splat(1.0), z), tanh(s, candidate));
    s.fma(z, h, fresh)
}

impl Kernel for GruUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.h.len();
        for at in (0..n).step_by(S::LANES) {
            let z = sigmoid(s, self.update.input(s, 0, n, at));
            let candidate = self.candidate.input(s, 0, n, at);
            let h = gru_state(s, z, candidate, load(s, self.h, 0, n, at));
            s.store_part(h, &mut self.h[at..]);
        }
    }
}

/// A GRU's step with `linear_before_reset`: gates in ONNX's order update, reset, candidate. Of the candidate `gates.bias` is not used; its
/// biases are given apart, `fma(r, hr + rb, xw + wb)`.
///
/// # Panics
///
/// If a part of `gates` is not three times as long as `h` or a bias of the candidate not as long.
pub fn gru_step_linear_before_reset(
    isa: Isa,
    gates: Gates<'_>,
    candidate_biases: Option<[&[f32]; 2]>,
    h: &mut [f32],
) {
    gates.check(3 * h.len());
    assert!(
        candidate_biases.is_none_or(|biases| biases.iter().all(|b| b.len() == h.len())),
        "the candidate's biases should have {} values",
        h.len()
    );
    dispatch(
        isa,
        GruStep {
            gates,
            candidate_biases,
            h,
        },
    );
}

struct GruStep<'a> {
    gates: Gates<'a>,
    candidate_biases: Option<[&'a [f32]; 2]>,
    h: &'a mut [f32],
}

impl Kernel for GruStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.h.len();
        for at in (0..n).step_by(S::LANES) {
            let z = sigmoid(s, self.gates.input(s, 0, n, at));
            let r = sigmoid(s, self.gates.input(s, 1, n, at));
            let [wb, rb] = match self.candidate_biases {
                Some(biases) => biases.map(|b| load(s, b, 0, n, at)),
                None => [s.zero(); 2],
            };
            let hr = s.add(load(s, self.gates.hr, 2, n, at), rb);
            let xw = s.add(load(s, self.gates.xw, 2, n, at), wb);
            let h = gru_state(s, z, s.fma(r, hr, xw), load(s, self.h, 0, n, at));
            s.store_part(h, &mut self.h[at..]);
        }
    }
}
