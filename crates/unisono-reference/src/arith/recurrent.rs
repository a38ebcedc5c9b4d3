//! Recurrent cells, element by element.
//!
//! The products `x W` and `h R` are long sums of their own; everything after them is written here once. Peepholes, clipping and the choice of
//! activations follow ONNX; clipping applies to what enters an activation.

use super::Real;

/// What enters a gate: `(xW + hR) + b` with `b = Wb + Rb` rounded once (leave the last addition out if there is no bias).
#[inline]
pub fn gate_input<R: Real>(xw: R, hr: R, bias: Option<R>) -> R {
    match bias {
        Some(b) => (xw + hr) + b,
        None => xw + hr,
    }
}

/// A peephole adds `fma(p, c, gate)`.
#[inline]
pub fn peephole<R: Real>(gate: R, p: R, c: R) -> R {
    p.fma(c, gate)
}

/// The new cell state of an LSTM, `fma(f, c, i * candidate)`.
#[inline]
pub fn lstm_state<R: Real>(i: R, f: R, candidate: R, c: R) -> R {
    f.fma(c, i * candidate)
}

/// The new output of an LSTM, `o * h(c)` with the activated state.
#[inline]
pub fn lstm_output<R: Real>(o: R, activated_c: R) -> R {
    o * activated_c
}

/// What enters the candidate of a GRU with `linear_before_reset`: `fma(r, hR + Rb, xW + Wb)`, with both biases 0 if absent. Without
/// `linear_before_reset` it is [`gate_input`] of `xW`, `(r * h) R` and the biases.
#[inline]
pub fn gru_candidate_after_product<R: Real>(xw: R, wb: R, hr: R, rb: R, r: R) -> R {
    r.fma(hr + rb, xw + wb)
}

/// The new state of a GRU, `fma(z, h, (1 - z) * candidate)`.
#[inline]
pub fn gru_state<R: Real>(z: R, candidate: R, h: R) -> R {
    z.fma(h, (R::ONE - z) * candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_follow_their_formulas() {
        assert_eq!(gate_input(1.0f32, 2.0, Some(4.0)), 7.0);
        assert_eq!(gate_input(1.0f32, 2.0, None), 3.0);
        assert_eq!(peephole(1.0f32, 3.0, 5.0), 16.0);
        assert_eq!(lstm_state(0.5f32, 0.25, 4.0, 8.0), 4.0);
        assert_eq!(lstm_output(0.5f32, 3.0), 1.5);
        assert_eq!(gru_candidate_after_product(1.0f32, 2.0, 3.0, 4.0, 0.5), 6.5);
        assert_eq!(gru_state(0.25f32, 8.0, 4.0), 7.0);
    }
}
