//! Symbolic dimensions: lengths that are known as expressions before they are known as numbers.
//!
//! The one idea: a [`Dim`] is a polynomial with integer coefficients over *atoms*, kept in a normal form, so that two
//! lengths are equal wherever their normal forms are. An atom is a named symbol of the model (`batch`), an unknown
//! that appears nowhere else, or an opaque function of other lengths such as a floor division.
//!
//! Symbols stand for lengths of at least 1, and no length is taken to reach 10^9. A model run with an empty axis, or one so
//! long, is inferred with that number instead.
//!
//! Arithmetic never fails: what overflows, or grows beyond any use, becomes an unknown. A hostile graph can therefore
//! make lengths unknown, but neither wrong nor expensive.

mod divide;
mod format;

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
    Apply(Function, Arc<Operands>),
}

/// What an opaque function is applied to, and how large that is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Operands {
    /// Atoms in both expressions, functions written out.
    weight: usize,
    a: Dim,
    b: Dim,
}

/// The largest weight of an expression. Walks over one take time in proportion to it, so this bounds what a chain of
/// functions that each mention the last one twice can cost.
const MAX_WEIGHT: usize = 1 << 10;

/// The largest number of terms.
const MAX_TERMS: usize = 64;

/// The largest degree.
const MAX_DEGREE: usize = 32;

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
            n if n > MAX_TERMS => Dim::unknown(),
            _ if sum.keys().map(weight).sum::<usize>() > MAX_WEIGHT => Dim::unknown(),
            _ => Dim(Repr::Poly(Arc::new(sum.into_iter().collect()))),
        }
    }

    /// The product of several lengths; 1 for none.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::constant(1), |p, d| &p * d)
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
        let weight = a.weight().saturating_add(b.weight()).saturating_add(1);
        if weight > MAX_WEIGHT {
            return Dim::unknown();
        }
        Dim::atom(Atom::Apply(function, Arc::new(Operands { weight, a, b })))
    }

    fn weight(&self) -> usize {
        match &self.0 {
            Repr::Const(_) => 0,
            Repr::Poly(terms) => terms.iter().map(|(m, _)| weight(m)).sum(),
        }
    }

    /// A number that the value is never below, if one follows from every symbol being at least 1.
    pub fn lower_bound(&self) -> Option<i64> {
        let mut bound = 0i64;
        let terms = match &self.0 {
            Repr::Const(n) => return Some(*n),
            Repr::Poly(terms) => terms,
        };
        for (m, c) in terms.iter() {
            let mut least = *c;
            for atom in m {
                // A product of what is not negative is least where each factor is.
                let factor = atom.lower_bound().filter(|&l| l >= 0)?;
                least = least.checked_mul(factor)?;
            }
            if !m.is_empty() && *c < 0 {
                return None;
            }
            bound = bound.checked_add(least)?;
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
                    Atom::Apply(_, args) => args.a.mentions(symbol) || args.b.mentions(symbol),
                })
            }),
        }
    }

    /// Is it `min(other, cap)` for a cap of at least 2? A slice of that many elements out of a table is (`table[:n]`).
    pub fn is_capped(&self, other: &Dim) -> bool {
        let Repr::Poly(terms) = &self.0 else {
            return false;
        };
        let [(m, 1)] = terms.as_slice() else {
            return false;
        };
        match m.as_slice() {
            [Atom::Apply(Function::Min, operands)] => {
                let cap = |d: &Dim| d.lower_bound() >= Some(2);
                (operands.a == *other && cap(&operands.b))
                    || (operands.b == *other && cap(&operands.a))
            }
            _ => false,
        }
    }

    /// Is it nothing but an unknown?
    pub fn is_unknown(&self) -> bool {
        match &self.0 {
            Repr::Poly(terms) => {
                matches!(terms.as_slice(), [(m, 1)] if matches!(m.as_slice(), [Atom::Unknown(_)]))
            }
            Repr::Const(_) => false,
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
                    Atom::Apply(_, args) => args.a.has_unknown() || args.b.has_unknown(),
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
                        let (a, b) = (args.a.substitute(lookup), args.b.substitute(lookup));
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
    /// A number that the value is never below.
    fn lower_bound(&self) -> Option<i64> {
        match self {
            Atom::Symbol(_) => Some(1),
            Atom::Unknown(_) => None,
            Atom::Apply(function, args) => {
                let (a, b) = (args.a.lower_bound(), args.b.lower_bound());
                match function {
                    Function::FloorDiv => match args.b.as_const() {
                        Some(c) if c > 0 => Some(a?.div_euclid(c)),
                        _ => (a? >= 0 && b? >= 1).then_some(0),
                    },
                    Function::Max => a.max(b),
                    Function::Min => Some(a?.min(b?)),
                }
            }
        }
    }
}

/// Atoms in a monomial, functions written out.
fn weight(m: &Monomial) -> usize {
    m.iter()
        .map(|atom| match atom {
            Atom::Symbol(_) | Atom::Unknown(_) => 1,
            Atom::Apply(_, operands) => operands.weight,
        })
        .sum()
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
        match (self.as_const(), other.as_const()) {
            (Some(a), Some(b)) => a.checked_add(b).map_or_else(Dim::unknown, Dim::constant),
            (Some(0), None) => other.clone(),
            (None, Some(0)) => self.clone(),
            _ => Dim::from_terms(self.terms().into_iter().chain(other.terms())),
        }
    }
}

impl Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), other.as_const()) {
            return a.checked_sub(b).map_or_else(Dim::unknown, Dim::constant);
        }
        if self == other {
            return Dim::constant(0);
        }
        self + &(&Dim::constant(-1) * other)
    }
}

impl Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: &Dim) -> Dim {
        match (self.as_const(), other.as_const()) {
            (Some(a), Some(b)) => {
                return a.checked_mul(b).map_or_else(Dim::unknown, Dim::constant);
            }
            (Some(0), _) | (_, Some(0)) => return Dim::constant(0),
            (Some(1), _) => return other.clone(),
            (_, Some(1)) => return self.clone(),
            _ => {}
        }
        let (left, right) = (self.terms(), other.terms());
        if left.len() * right.len() > MAX_TERMS * MAX_TERMS / 4 {
            return Dim::unknown();
        }
        let mut terms = Vec::with_capacity(left.len() * right.len());
        for (ma, ca) in &left {
            for (mb, cb) in &right {
                let Some(c) = ca.checked_mul(*cb) else {
                    return Dim::unknown();
                };
                let mut m = Vec::with_capacity(ma.len() + mb.len());
                m.extend(ma.iter().chain(mb).cloned());
                if m.len() > MAX_DEGREE {
                    return Dim::unknown();
                }
                m.sort_unstable();
                terms.push((m, c));
            }
        }
        match terms.as_slice() {
            [(m, c)] if !m.is_empty() && weight(m) <= MAX_WEIGHT && *c != 0 => {
                Dim(Repr::Poly(Arc::new(terms)))
            }
            _ => Dim::from_terms(terms),
        }
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
