//! Which axes of which inputs might be the batch.
//!
//! The one idea: a name is evidence. A length that several inputs call `batch` is tried first, on its own and together with
//! open lengths of inputs that do not know the name; then everything that is open is combined. Choices that take in more
//! inputs come before those that take in fewer, low axes before high ones.

use crate::infer::anonymous_name;
use crate::{Dim, Fact, Graph, Symbol};
use std::collections::BTreeSet;

/// The most choices that are tried.
const MAX_CANDIDATES: usize = 64;

/// Nodes that are walked in all, so that the time for a huge graph stays in proportion to its size: no real model of this
/// size needs more than a few choices.
const MAX_NODES: usize = 1 << 19;

/// One choice: the batch axis of each input, or none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) axes: Vec<Option<usize>>,
}

impl Candidate {
    /// The first axis of the first input?
    pub(super) fn is_plain(&self) -> bool {
        self.axes.first() == Some(&Some(0))
    }

    /// More inputs first, then lower axes, then the first inputs first.
    fn order(&self) -> (usize, usize, Vec<usize>) {
        let chosen = self.axes.iter().flatten();
        let without = self.axes.len() - chosen.clone().count();
        let keys = self.axes.iter().map(|a| a.map_or(usize::MAX, |a| a));
        (
            without,
            chosen.fold(0usize, |s, &a| s.saturating_add(a)),
            keys.collect(),
        )
    }
}

/// A symbol that no input mentions.
pub(super) fn fresh_symbol(inputs: &[Option<Fact>]) -> Symbol {
    let mentioned = |symbol: &Symbol| {
        let mut shapes = inputs.iter().flatten().filter_map(|f| f.shape.as_ref());
        shapes.any(|s| s.iter().any(|d| d.mentions(symbol)))
    };
    let mut name = "rows".to_owned();
    loop {
        let symbol = Symbol::new(&name);
        if !mentioned(&symbol) {
            return symbol;
        }
        name.push('\'');
    }
}

/// One open length of an input.
struct Open {
    axis: usize,
    symbol: Symbol,
    /// The model gives it a name.
    named: bool,
}

/// Choices in the order in which they are tried.
pub(super) fn candidates(graph: &Graph, inputs: &[Option<Fact>]) -> Vec<Candidate> {
    let open: Vec<Vec<Open>> = graph
        .inputs()
        .iter()
        .zip(inputs)
        .map(|(&id, fact)| {
            let name = graph
                .values()
                .get(id.index())
                .map_or("", |v| v.name.as_str());
            let shape = fact
                .as_ref()
                .and_then(|f| f.shape.as_deref())
                .unwrap_or(&[]);
            open_lengths(name, shape)
        })
        .collect();
    let names: BTreeSet<&Symbol> = open
        .iter()
        .flatten()
        .filter(|o| o.named)
        .map(|o| &o.symbol)
        .collect();
    let mut result = Vec::new();
    let mut add = |mut some: Vec<Candidate>| {
        some.retain(|c| c.axes.iter().any(Option::is_some) && !result.contains(c));
        some.sort_by_key(Candidate::order);
        result.extend(some);
    };
    // A name fixes the axis where it stands; where it does not, lengths without a name may be the same thing.
    let mut by_name = Vec::new();
    for name in names {
        let options: Vec<Vec<Option<usize>>> = open
            .iter()
            .map(|lengths| {
                let mut at = lengths.iter().filter(|o| o.symbol == *name);
                match (at.next(), at.next()) {
                    (Some(only), None) => vec![Some(only.axis)],
                    // The batch cannot be two axes of one value.
                    (Some(_), Some(_)) => Vec::new(),
                    (None, _) => or_none(lengths.iter().filter(|o| !o.named)),
                }
            })
            .collect();
        by_name.extend(combinations(&options));
    }
    add(by_name);
    let all: Vec<Vec<Option<usize>>> = open.iter().map(|o| or_none(o.iter())).collect();
    add(combinations(&all));
    let affordable = MAX_NODES / graph.nodes().len().max(1);
    result.truncate(affordable.clamp(4, MAX_CANDIDATES));
    result
}

fn open_lengths(input: &str, shape: &[Dim]) -> Vec<Open> {
    let lengths = shape.iter().enumerate();
    lengths
        .filter_map(|(axis, length)| {
            let symbol = length.as_symbol()?.clone();
            let named = symbol.name() != anonymous_name(input, axis);
            Some(Open {
                axis,
                symbol,
                named,
            })
        })
        .collect()
}

fn or_none<'a>(lengths: impl Iterator<Item = &'a Open>) -> Vec<Option<usize>> {
    lengths.map(|o| Some(o.axis)).chain([None]).collect()
}

/// All ways to take one option for each input, but no more than a few hundred: where there are more, those come first in
/// which every input takes its option of the same number.
fn combinations(options: &[Vec<Option<usize>>]) -> Vec<Candidate> {
    if options.is_empty() || options.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let most = options.iter().map(Vec::len).max().unwrap_or(0);
    let mut result: Vec<Candidate> = (0..most)
        .map(|k| Candidate {
            axes: options.iter().map(|o| o[k.min(o.len() - 1)]).collect(),
        })
        .collect();
    let mut digits = vec![0usize; options.len()];
    'count: for _ in 0..4 * MAX_CANDIDATES {
        result.push(Candidate {
            axes: options.iter().zip(&digits).map(|(o, &d)| o[d]).collect(),
        });
        for (digit, option) in digits.iter_mut().zip(options).rev() {
            *digit += 1;
            if *digit < option.len() {
                continue 'count;
            }
            *digit = 0;
        }
        break;
    }
    result
}
