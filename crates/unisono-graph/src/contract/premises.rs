//! What a proof supposes about a request's lengths.
//!
//! The one idea: a proof over symbols holds for the numbers that may be put in for them, and for no others. Equal names must
//! be equal numbers, fixed lengths what they are, and every length at least 1 and below 10^9 (see [`crate::dim`]). A
//! request that breaks one of these is not wrong for that; it runs alone.

use crate::{Dim, Fact, Symbol};
use smallvec::SmallVec;

/// The longest axis that a proof speaks of.
const MAX_LENGTH: usize = 999_999_999;

/// The inputs' shapes that a proof is about.
#[derive(Clone, Debug)]
pub(super) struct Premises {
    /// For each input its lengths; `None` for an input of which the proof supposes nothing.
    inputs: Vec<Option<Vec<Length>>>,
    /// Names in the order of [`Length::Named`].
    names: Vec<Symbol>,
}

#[derive(Clone, Debug)]
enum Length {
    Fixed(usize),
    Named(usize),
    Computed(Dim),
}

/// The lengths of one request, by the names that the proof gives them.
#[derive(Clone, Debug)]
pub struct Lengths<'a> {
    names: &'a [Symbol],
    values: SmallVec<[usize; 8]>,
    rows: usize,
}

impl Lengths<'_> {
    /// How many rows the request has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What an expression of the verdict is for this request; `None` if it mentions something that no input says, or
    /// overflows.
    pub fn value(&self, expression: &Dim) -> Option<i64> {
        if let Some(n) = expression.as_const() {
            return Some(n);
        }
        let lookup = |s: &Symbol| {
            let at = self.names.iter().position(|n| n == s)?;
            Some(Dim::from(*self.values.get(at)?))
        };
        expression.substitute(&lookup).as_const()
    }
}

impl Premises {
    /// Those of a proof over these inputs.
    pub(super) fn new(inputs: &[Option<Fact>]) -> Premises {
        let mut names: Vec<Symbol> = Vec::new();
        let mut length = |d: &Dim| match (d.as_len(), d.as_symbol()) {
            (Some(n), _) => Length::Fixed(n),
            (_, Some(symbol)) => {
                let known = names.iter().position(|n| n == symbol);
                Length::Named(known.unwrap_or_else(|| {
                    names.push(symbol.clone());
                    names.len() - 1
                }))
            }
            _ => Length::Computed(d.clone()),
        };
        let inputs = inputs
            .iter()
            .map(|f| {
                let shape = f.as_ref()?.shape.as_ref()?;
                Some(shape.iter().map(&mut length).collect())
            })
            .collect();
        Premises { inputs, names }
    }

    /// The lengths of a request with these shapes, in the order of the inputs; `None` if the proof is not about it.
    pub(super) fn lengths<'a, 's>(
        &'a self,
        shapes: impl IntoIterator<Item = &'s [usize]>,
        rows: &Symbol,
    ) -> Option<Lengths<'a>> {
        let mut shapes = shapes.into_iter();
        let mut values: SmallVec<[usize; 8]> = SmallVec::from_elem(0, self.names.len());
        let mut computed: SmallVec<[(&Dim, usize); 2]> = SmallVec::new();
        for premise in &self.inputs {
            let shape = shapes.next()?;
            let Some(lengths) = premise else {
                continue;
            };
            if lengths.len() != shape.len() {
                return None;
            }
            for (length, &n) in lengths.iter().zip(shape) {
                match length {
                    Length::Fixed(fixed) if *fixed != n => return None,
                    Length::Fixed(_) => {}
                    Length::Named(_) if n == 0 || n > MAX_LENGTH => return None,
                    Length::Named(at) => match values.get_mut(*at)? {
                        slot @ 0 => *slot = n,
                        known if *known != n => return None,
                        _ => {}
                    },
                    Length::Computed(expression) => computed.push((expression, n)),
                }
            }
        }
        let at = self.names.iter().position(|n| n == rows)?;
        let lengths = Lengths {
            names: &self.names,
            rows: *values.get(at)?,
            values,
        };
        let holds =
            |(expression, n): &(&Dim, usize)| lengths.value(expression) == i64::try_from(*n).ok();
        let all_hold = shapes.next().is_none() && computed.iter().all(holds);
        all_hold.then_some(lengths)
    }
}
