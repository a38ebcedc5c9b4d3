//! Symbolic dimensions: lengths that are known as expressions before they are known as numbers.
//!
//! The one idea: a [`Dim`] is a polynomial with integer coefficients over *atoms*, kept in a normal form, so that two
//! lengths are equal wherever their normal forms are. An atom is a named symbol of the model (`batch`), an unknown
//! that appears nowhere else, or an opaque function of other lengths such as a floor division.
//!
//! Symbols stand for lengths of at least 1. A model run with an empty axis is inferred with that number instead.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A named length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The symbol with this name. Equal names are equal symbols.
    pub fn new(name: &str) -> Symbol {
        Symbol(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a polynomial is over.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(Symbol),
    /// A length that nothing is known of; equal only to itself.
    Unknown(u64),
    Apply(Function, Arc<(Dim, Dim)>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Function {
    FloorDiv,
    Max,
    Min,
}

/// A product of atoms, sorted, with powers written out (`x * x` holds `x` twice). Empty for the constant term.
type Monomial = Vec<Atom>;

/// A length, or an integer computed from lengths.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Const(i64),
    /// At least one non-constant term; coefficients are never zero; sorted by monomial.
    Poly(Arc<Vec<(Monomial, i64)>>),
}

static NEXT_UNKNOWN: AtomicU64 = AtomicU64::new(0);

impl Dim {
    /// A known number.
    pub const fn constant(n: i64) -> Dim {
        Dim(Repr::Const(n))
    }

    /// A named length.
    pub fn symbol(symbol: &Symbol) -> Dim {
        Dim::atom(Atom::Symbol(symbol.clone()))
    }

    /// A length that nothing is known of, unequal to every other.
    pub fn unknown() -> Dim {
        // Relaxed: only uniqueness matters.
        Dim::atom(Atom::Unknown(NEXT_UNKNOWN.fetch_add(1, Ordering::Relaxed)))
    }

    fn atom(atom: Atom) -> Dim {
        Dim(Repr::Poly(Arc::new(vec![(vec![atom], 1)])))
    }

    /// The number, if it is one.
    pub fn as_const(&self) -> Option<i64> {
        match self.0 {
            Repr::Const(n) => Some(n),
            Repr::Poly(_) => None,
        }
    }

    /// The number as a length: `None` if it is symbolic or negative.
    pub fn as_len(&self) -> Option<usize> {
        self.as_const().and_then(|n| usize::try_from(n).ok())
    }

    /// The symbol, if the whole expression is just one.
    pub fn as_symbol(&self) -> Option<&Symbol> {
        match &self.0 {
            Repr::Poly(terms) => match terms.as_slice() {
                [(m, 1)] => match m.as_slice() {
                    [Atom::Symbol(s)] => Some(s),
                    _ => None,
                },
                _ => None,
            },
            Repr::Const(_) => None,
        }
    }

    fn terms(&self) -> Vec<(Monomial, i64)> {
        match &self.0 {
            Repr::Const(0) => Vec::new(),
            Repr::Const(n) => vec![(Vec::new(), *n)],
            Repr::Poly(terms) => terms.to_vec(),
        }
    }

    /// Normal form of a sum of terms; an unknown if a coefficient overflows.
    fn from_terms(terms: impl IntoIterator<Item = (Monomial, i64)>) -> Dim {
        let mut sum: BTreeMap<Monomial, i64> = BTreeMap::new();
        for (m, c) in terms {
            let slot = sum.entry(m).or_insert(0);
            match slot.checked_add(c) {
                Some(n) => *slot = n,
                None => return Dim::unknown(),
            }
        }
        sum.retain(|_, c| *c != 0);
        match sum.len() {
            0 => Dim::constant(0),
            1 if sum.contains_key(&Vec::new()) => Dim::constant(sum[&Vec::new()]),
            // A polynomial that grew beyond all use is an unknown rather than a cost.
            n if n > 64 => Dim::unknown(),
            _ => Dim(Repr::Poly(Arc::new(sum.into_iter().collect()))),
        }
    }

    /// The product of several lengths; 1 for none.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::constant(1), |p, d| &p * d)
    }

    /// `self / divisor` if that is exact as polynomials, for a divisor that is a single term.
    pub fn div_exact(&self, divisor: &Dim) -> Option<Dim> {
        if let (Some(a), Some(b)) = (self.as_const(), divisor.as_const()) {
            return (b != 0 && a % b == 0).then(|| Dim::constant(a / b));
        }
        if self == divisor {
            return Some(Dim::constant(1));
        }
        let terms = divisor.terms();
        let [(by, coefficient)] = terms.as_slice() else {
            return None;
        };
        let mut quotient = Vec::new();
        for (mut m, c) in self.terms() {
            if c % coefficient != 0 {
                return None;
            }
            for atom in by {
                let at = m.iter().position(|a| a == atom)?;
                m.remove(at);
            }
            quotient.push((m, c / coefficient));
        }
        Some(Dim::from_terms(quotient))
    }

    /// `floor(self / divisor)`; an unknown for a divisor of zero.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if let Some(q) = self.div_exact(divisor) {
            return q;
        }
        match (self.as_const(), divisor.as_const()) {
            (_, Some(0)) => Dim::unknown(),
            (Some(a), Some(b)) => {
                let q = a.wrapping_div(b);
                Dim::constant(if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) {
                    q - 1
                } else {
                    q
                })
            }
            _ => {
                // floor((c*q + r) / c) = q + floor(r / c): peel off what divides, so that equal lengths that were
                // computed by different routes meet in one normal form.
                let (mut whole, mut rest) = (Vec::new(), Vec::new());
                for term in self.terms() {
                    let piece = Dim::from_terms([term.clone()]);
                    match piece.div_exact(divisor) {
                        Some(q) => whole.extend(q.terms()),
                        None => rest.push(term),
                    }
                }
                let rest = Dim::from_terms(rest);
                let rest = match (rest.as_const(), divisor.as_const()) {
                    (Some(_), Some(_)) => rest.floor_div(divisor),
                    _ => Dim::apply(Function::FloorDiv, rest, divisor.clone()),
                };
                &Dim::from_terms(whole) + &rest
            }
        }
    }

    /// `ceil(self / divisor)`.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        let negated = &Dim::constant(0) - self;
        &Dim::constant(0) - &negated.floor_div(divisor)
    }

    /// The larger of two.
    pub fn larger(&self, other: &Dim) -> Dim {
        match (self - other).sign() {
            Some(s) if s >= 0 => self.clone(),
            Some(_) => other.clone(),
            None if (self - other).lower_bound() >= Some(0) => self.clone(),
            None if (other - self).lower_bound() >= Some(0) => other.clone(),
            None => Dim::apply(Function::Max, self.clone(), other.clone()),
        }
    }

    /// The smaller of two.
    pub fn smaller(&self, other: &Dim) -> Dim {
        match (self - other).sign() {
            Some(s) if s <= 0 => self.clone(),
            Some(_) => other.clone(),
            None if (self - other).lower_bound() >= Some(0) => other.clone(),
            None if (other - self).lower_bound() >= Some(0) => self.clone(),
            None => Dim::apply(Function::Min, self.clone(), other.clone()),
        }
    }

    fn sign(&self) -> Option<i64> {
        self.as_const().map(i64::signum)
    }

    fn apply(function: Function, a: Dim, b: Dim) -> Dim {
        // Max and Min commute: order the operands so that both spellings are one atom.
        let (a, b) = match function {
            Function::FloorDiv => (a, b),
            Function::Max | Function::Min if a <= b => (a, b),
            Function::Max | Function::Min => (b, a),
        };
        Dim::atom(Atom::Apply(function, Arc::new((a, b))))
    }

    /// A number that the value is never below, if one follows from every symbol being at least 1.
    pub fn lower_bound(&self) -> Option<i64> {
        let mut bound = 0i64;
        for (m, c) in self.terms() {
            if !m.is_empty() && (c < 0 || !m.iter().all(Atom::is_positive)) {
                return None;
            }
            bound = bound.checked_add(c)?;
        }
        Some(bound)
    }

    /// Are the two the same number whatever the symbols are? `None` if that depends on them.
    pub fn equals(&self, other: &Dim) -> Option<bool> {
        if self == other {
            return Some(true);
        }
        let difference = self - other;
        if difference.as_const().is_some()
            || difference.lower_bound() >= Some(1)
            || (other - self).lower_bound() >= Some(1)
        {
            return Some(false);
        }
        None
    }

    /// Does the expression contain this symbol anywhere, also inside functions?
    pub fn mentions(&self, symbol: &Symbol) -> bool {
        match &self.0 {
            Repr::Const(_) => false,
            Repr::Poly(terms) => terms.iter().any(|(m, _)| {
                m.iter().any(|a| match a {
                    Atom::Symbol(s) => s == symbol,
                    Atom::Unknown(_) => false,
                    Atom::Apply(_, args) => args.0.mentions(symbol) || args.1.mentions(symbol),
                })
            }),
        }
    }

    /// Does it depend on something that is neither a number nor a named symbol?
    pub fn has_unknown(&self) -> bool {
        match &self.0 {
            Repr::Const(_) => false,
            Repr::Poly(terms) => terms.iter().any(|(m, _)| {
                m.iter().any(|a| match a {
                    Atom::Symbol(_) => false,
                    Atom::Unknown(_) => true,
                    Atom::Apply(_, args) => args.0.has_unknown() || args.1.has_unknown(),
                })
            }),
        }
    }

    /// The same expression with symbols replaced by what `lookup` gives for them.
    pub fn substitute(&self, lookup: &impl Fn(&Symbol) -> Option<Dim>) -> Dim {
        let Repr::Poly(terms) = &self.0 else {
            return self.clone();
        };
        terms.iter().fold(Dim::constant(0), |sum, (m, c)| {
            let term = m.iter().fold(Dim::constant(*c), |product, atom| {
                let value = match atom {
                    Atom::Symbol(s) => lookup(s).unwrap_or_else(|| Dim::symbol(s)),
                    Atom::Unknown(_) => Dim::atom(atom.clone()),
                    Atom::Apply(f, args) => {
                        let (a, b) = (args.0.substitute(lookup), args.1.substitute(lookup));
                        match f {
                            Function::FloorDiv => a.floor_div(&b),
                            Function::Max => a.larger(&b),
                            Function::Min => a.smaller(&b),
                        }
                    }
                };
                &product * &value
            });
            &sum + &term
        })
    }
}

impl Atom {
    /// Known to be at least 1?
    fn is_positive(&self) -> bool {
        match self {
            Atom::Symbol(_) => true,
            Atom::Unknown(_) => false,
            Atom::Apply(Function::FloorDiv, _) => false,
            Atom::Apply(Function::Max, args) => {
                args.0.lower_bound() >= Some(1) || args.1.lower_bound() >= Some(1)
            }
            Atom::Apply(Function::Min, args) => {
                args.0.lower_bound() >= Some(1) && args.1.lower_bound() >= Some(1)
            }
        }
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim::constant(n)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        i64::try_from(n).map_or_else(|_| Dim::unknown(), Dim::constant)
    }
}

impl Add for &Dim {
    type Output = Dim;
    fn add(self, other: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), other.as_const()) {
            return a.checked_add(b).map_or_else(Dim::unknown, Dim::constant);
        }
        Dim::from_terms(self.terms().into_iter().chain(other.terms()))
    }
}

impl Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: &Dim) -> Dim {
        self + &(&Dim::constant(-1) * other)
    }
}

impl Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), other.as_const()) {
            return a.checked_mul(b).map_or_else(Dim::unknown, Dim::constant);
        }
        let right = other.terms();
        let mut terms = Vec::new();
        for (ma, ca) in self.terms() {
            for (mb, cb) in &right {
                let Some(c) = ca.checked_mul(*cb) else {
                    return Dim::unknown();
                };
                let mut m = ma.clone();
                m.extend(mb.iter().cloned());
                if m.len() > 32 {
                    return Dim::unknown();
                }
                m.sort();
                terms.push((m, c));
            }
        }
        Dim::from_terms(terms)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = match &self.0 {
            Repr::Const(n) => return write!(f, "{n}"),
            Repr::Poly(terms) => terms,
        };
        // The constant term sorts first; people write it last.
        let (constants, rest): (Vec<_>, Vec<_>) = terms.iter().partition(|(m, _)| m.is_empty());
        for (i, (m, c)) in rest.into_iter().chain(constants).enumerate() {
            match (i, *c < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let magnitude = c.unsigned_abs();
            if m.is_empty() {
                write!(f, "{magnitude}")?;
                continue;
            }
            if magnitude != 1 {
                write!(f, "{magnitude}*")?;
            }
            for (j, atom) in m.iter().enumerate() {
                if j > 0 {
                    f.write_str("*")?;
                }
                match atom {
                    Atom::Symbol(s) => f.write_str(s.name())?,
                    Atom::Unknown(_) => f.write_str("?")?,
                    Atom::Apply(Function::FloorDiv, a) => write!(f, "floor(({})/({}))", a.0, a.1)?,
                    Atom::Apply(Function::Max, a) => write!(f, "max({}, {})", a.0, a.1)?,
                    Atom::Apply(Function::Min, a) => write!(f, "min({}, {})", a.0, a.1)?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sym(name: &str) -> Dim {
        Dim::symbol(&Symbol::new(name))
    }

    #[test]
    fn equal_lengths_computed_by_different_routes_have_one_normal_form() {
        let (b, t) = (sym("b"), sym("t"));
        assert_eq!(&(&b * &t) * &4i64.into(), &(&t * &Dim::from(4i64)) * &b);
        assert_eq!(
            (&(&b * &t) * &4i64.into()).div_exact(&(&t * &2i64.into())),
            Some(&b * &2i64.into())
        );
        assert_eq!(
            (&(&t * &2i64.into()) + &1i64.into()).floor_div(&2i64.into()),
            t
        );
        assert_eq!(b.ceil_div(&1i64.into()), b);
    }

    #[test]
    fn comparisons_are_decided_only_where_every_value_agrees() {
        let b = sym("b");
        assert_eq!(b.equals(&(-1i64).into()), Some(false));
        assert_eq!(b.equals(&1i64.into()), None);
        assert_eq!(b.equals(&b), Some(true));
        assert_eq!(b.larger(&1i64.into()), b);
        assert_eq!(Dim::unknown().equals(&Dim::unknown()), None);
    }

    #[test]
    fn substitution_evaluates_functions() {
        let b = sym("b");
        let e = &(&b + &5i64.into()).floor_div(&2i64.into()) * &b;
        let at = |n: i64| e.substitute(&|_| Some(Dim::constant(n))).as_const();
        assert_eq!(at(1), Some(3));
        assert_eq!(at(4), Some(16));
        assert_eq!(
            Dim::constant(-7).floor_div(&2i64.into()).as_const(),
            Some(-4)
        );
        assert_eq!(Dim::constant(7).ceil_div(&2i64.into()).as_const(), Some(4));
    }
}
