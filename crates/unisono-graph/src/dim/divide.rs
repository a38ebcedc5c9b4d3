//! Division of lengths, exact and rounded.
//!
//! The one idea: exact division is long division of polynomials; rounded division first takes out everything that divides, so
//! that two lengths which exporters computed by different routes meet in one normal form.

use super::{Atom, Dim, Function, MAX_TERMS, Monomial};

impl Dim {
    /// `self / divisor` if that is exact as polynomials; `None` for a divisor of zero.
    pub fn div_exact(&self, divisor: &Dim) -> Option<Dim> {
        if let (Some(a), Some(b)) = (self.as_const(), divisor.as_const()) {
            return (a.checked_rem(b)? == 0)
                .then(|| a.checked_div(b))
                .flatten()
                .map(Dim::constant);
        }
        if divisor.as_const() == Some(1) {
            return Some(self.clone());
        }
        if self == divisor {
            return Some(Dim::constant(1));
        }
        let by = divisor.terms();
        if let [term] = by.as_slice() {
            let quotient = self.terms().into_iter().map(|t| divide(t, term));
            return Some(Dim::from_terms(quotient.collect::<Option<Vec<_>>>()?));
        }
        // Long division by the leading term. The order of monomials is graded, so every step lowers the leading term
        // of what remains and the division ends.
        let lead = by.iter().max_by(|a, b| graded(&a.0, &b.0))?;
        let (mut rest, mut quotient) = (self.clone(), Dim::constant(0));
        for _ in 0..MAX_TERMS {
            let terms = rest.terms();
            let Some(highest) = terms.into_iter().max_by(|a, b| graded(&a.0, &b.0)) else {
                return Some(quotient);
            };
            let step = Dim::from_terms([divide(highest, lead)?]);
            rest = &rest - &(&step * divisor);
            quotient = &quotient + &step;
        }
        None
    }

    /// `floor(self / divisor)`; an unknown for a divisor of zero.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if let Some(q) = self.div_exact(divisor) {
            return q;
        }
        match divisor.as_const() {
            Some(0) => Dim::unknown(),
            Some(c) if c < 0 => match c.checked_neg() {
                Some(c) => (&Dim::constant(0) - self).floor_div(&Dim::constant(c)),
                None => Dim::unknown(),
            },
            Some(c) => self.floor_div_const(c),
            None => {
                // floor((d*q + r) / d) = q + floor(r / d): peel off what divides, so that equal lengths that were
                // computed by different routes meet in one normal form.
                let (mut whole, mut rest) = (Vec::new(), Vec::new());
                for term in self.terms() {
                    let piece = Dim::from_terms([term.clone()]);
                    match piece.div_exact(divisor) {
                        Some(q) => whole.extend(q.terms()),
                        None => rest.push(term),
                    }
                }
                let rest = Dim::apply(Function::FloorDiv, Dim::from_terms(rest), divisor.clone());
                &Dim::from_terms(whole) + &rest
            }
        }
    }

    /// `floor(self / c)` for a positive number.
    fn floor_div_const(&self, c: i64) -> Dim {
        // Coefficients are reduced to 0..c, what that takes away is whole; then common factors go, and a floor within
        // the floor: floor((floor(a / b) + k) / c) = floor((a + k*b) / (b*c)).
        let (mut whole, mut rest) = (Vec::new(), Vec::new());
        let mut common = c;
        for (m, k) in self.terms() {
            let (q, r) = (k.div_euclid(c), k.rem_euclid(c));
            if q != 0 {
                whole.push((m.clone(), q));
            }
            if r != 0 {
                common = gcd(common, r);
                rest.push((m, r));
            }
        }
        let whole = Dim::from_terms(whole);
        rest.iter_mut().for_each(|(_, r)| *r /= common);
        let c = c / common;
        let inner = match rest.as_slice() {
            [] => return whole,
            [(m, _)] if m.is_empty() => return whole,
            _ if c == 1 => Some((Dim::from_terms(rest.clone()), 1)),
            [(m, 1)] => within_floor(m, 0, c),
            [(one, k), (m, 1)] if one.is_empty() => within_floor(m, *k, c),
            _ => None,
        };
        let part = match inner {
            Some((a, 1)) => a,
            Some((a, c)) => a.floor_div_const(c),
            None => Dim::apply(Function::FloorDiv, Dim::from_terms(rest), Dim::constant(c)),
        };
        &whole + &part
    }

    /// `ceil(self / divisor)`.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        match divisor.as_const() {
            // The form in which convolutions write it, so that both meet.
            Some(c) if c > 0 => (self + &Dim::constant(c - 1)).floor_div(divisor),
            _ => {
                let negated = &Dim::constant(0) - self;
                &Dim::constant(0) - &negated.floor_div(divisor)
            }
        }
    }
}

/// One term by another, if that is exact.
fn divide((mut m, c): (Monomial, i64), (by, k): &(Monomial, i64)) -> Option<(Monomial, i64)> {
    if c.checked_rem(*k)? != 0 {
        return None;
    }
    for atom in by {
        let at = m.iter().position(|a| a == atom)?;
        m.remove(at);
    }
    Some((m, c.checked_div(*k)?))
}

/// An order of monomials that multiplication keeps: by degree, then the one with more of the first atom.
fn graded(a: &Monomial, b: &Monomial) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| b.cmp(a))
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// `(floor(a / b) + k) / c` as `(a + k*b) / (b*c)`, if the monomial is such a floor by a positive number.
fn within_floor(m: &Monomial, k: i64, c: i64) -> Option<(Dim, i64)> {
    let [Atom::Apply(Function::FloorDiv, operands)] = m.as_slice() else {
        return None;
    };
    let b = operands.b.as_const().filter(|&b| b > 0)?;
    let shift = Dim::constant(k.checked_mul(b)?);
    Some((&operands.a + &shift, b.checked_mul(c)?))
}
