//! Broadcasting as numpy and ONNX define it, for lengths, for integer contents, and for the batch.
//!
//! The one idea: shapes align at their last axis, and an axis of length 1 stretches to the other's length. For lengths
//! that are not numbers:
//!
//! | one side | other side | result |
//! | --- | --- | --- |
//! | 1 | anything | the other side |
//! | anything | the same expression | that |
//! | known to be above 1 (a number, `2*b`) | may be anything | the known one: the other is that or 1 |
//! | `min(n, 512)` | `n` | `n`: where they differ, `n` is above 512 and nothing stretches |
//! | a symbol | a different symbol | unknown, unequal to both: either may be 1 |

use crate::{Batch, BatchContext, Blocker, Dim, Fact, OpError};

/// The common length of two aligned axes; `None` if there is none.
fn stretch(a: &Dim, b: &Dim) -> Option<Dim> {
    let one = Dim::constant(1);
    if a == b || *b == one {
        return Some(a.clone());
    }
    if *a == one {
        return Some(b.clone());
    }
    let fixed = |d: &Dim| d.as_const().is_some() || d.lower_bound() >= Some(2);
    match (fixed(a), fixed(b)) {
        (true, true) if a.equals(b) == Some(false) => None,
        (true, _) => Some(a.clone()),
        (_, true) => Some(b.clone()),
        _ if a.is_capped(b) => Some(b.clone()),
        _ if b.is_capped(a) => Some(a.clone()),
        _ => Some(Dim::unknown()),
    }
}

/// The shape that two shapes stretch to.
///
/// # Errors
/// Two aligned lengths differ and neither is 1.
pub fn shapes(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let rank = a.len().max(b.len());
    let one = Dim::constant(1);
    (0..rank)
        .map(|i| {
            let at = |s: &[Dim]| (i + s.len()).checked_sub(rank).map(|j| s[j].clone());
            let (x, y) = (at(a).unwrap_or(one.clone()), at(b).unwrap_or(one.clone()));
            stretch(&x, &y).ok_or_else(|| {
                OpError::new(format!(
                    "shapes {a:?} and {b:?} do not broadcast: {x} against {y} on axis {i}"
                ))
            })
        })
        .collect()
}

/// The shape that many inputs stretch to; unknown if a rank is.
pub fn facts<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Result<Option<Vec<Dim>>, OpError> {
    let mut result: Vec<Dim> = Vec::new();
    for fact in facts {
        match &fact.shape {
            None => return Ok(None),
            Some(shape) => result = shapes(&result, shape)?,
        }
    }
    Ok(Some(result))
}

/// Checks that `from` stretches to exactly `to`, as far as known.
///
/// # Errors
/// It does not; the message calls `from` by `name`.
pub fn stretches_to(from: &[Dim], to: &[Dim], name: &str) -> Result<(), OpError> {
    let fits = from.len() <= to.len()
        && from.iter().rev().zip(to.iter().rev()).all(|(f, t)| {
            // A stretched-to length of 1 cannot take anything longer.
            *f == Dim::constant(1) || f.equals(t) != Some(false)
        });
    if fits {
        return Ok(());
    }
    Err(OpError::new(format!(
        "{name} has shape {from:?}, which does not stretch to {to:?}"
    )))
}

/// Applies a function to the integer contents of several values of rank 0 or 1, stretched to the longest; `None` where
/// contents are not known. The function is given one element of each.
pub fn integers(facts: &[&Fact], f: impl Fn(&[&Dim]) -> Dim) -> Option<Vec<Dim>> {
    let contents: Vec<&Vec<Dim>> = facts
        .iter()
        .map(|fact| fact.integers.as_ref())
        .collect::<Option<_>>()?;
    let length = contents.iter().map(|c| c.len()).find(|&n| n != 1);
    let length = length.unwrap_or(1);
    if contents.iter().any(|c| c.len() != 1 && c.len() != length) {
        return None;
    }
    let mut row: Vec<&Dim> = Vec::with_capacity(contents.len());
    Some(
        (0..length)
            .map(|i| {
                row.clear();
                row.extend(
                    contents
                        .iter()
                        .map(|c| &c[if c.len() == 1 { 0 } else { i }]),
                );
                f(&row)
            })
            .collect(),
    )
}

/// How the batch passes through a function of aligned elements.
///
/// All inputs that have rows must have them on the same axis, counted from the end, folded alike. An input that is the
/// same for every caller must have length 1 there: any other length would fix the batch size.
pub fn batch(cx: &BatchContext<'_>) -> Result<Batch, Blocker> {
    let mut operands = Vec::new();
    for (i, batch) in cx.inputs.iter().enumerate() {
        let (Some(batch), Some(fact)) = (batch, cx.input_facts.get(i).and_then(Option::as_ref))
        else {
            continue;
        };
        let shape = fact
            .shape
            .as_deref()
            .ok_or_else(|| Blocker::new(format!("has an input {i} of unknown rank")))?;
        operands.push(Operand {
            name: format!("input {i}"),
            batch,
            shape,
        });
    }
    combine(&operands)
}

/// One side of an operation on aligned elements.
pub struct Operand<'a> {
    /// What a message calls it.
    pub name: String,
    /// Where its rows are.
    pub batch: &'a Batch,
    /// Its shape.
    pub shape: &'a [Dim],
}

/// The rule of [`batch`] for operands that are not plainly the inputs.
pub fn combine(operands: &[Operand<'_>]) -> Result<Batch, Blocker> {
    let rank = operands.iter().map(|o| o.shape.len()).max().unwrap_or(0);
    let mut rows: Option<(&Operand<'_>, usize, &Dim, &Dim)> = None;
    for operand in operands {
        let Batch::Rows { axis, outer, inner } = operand.batch else {
            continue;
        };
        let Some(from_end) = operand.shape.len().checked_sub(axis + 1) else {
            return Err(Blocker::new(format!(
                "reads {} by a batch axis {axis} that it does not have",
                operand.name
            )));
        };
        match rows {
            None => rows = Some((operand, from_end, outer, inner)),
            Some((first, at, _, _)) if at != from_end => {
                return Err(Blocker::new(format!(
                    "combines rows along axis {} of {} with rows along axis {} of {}",
                    rank - 1 - at,
                    first.name,
                    rank - 1 - from_end,
                    operand.name
                )));
            }
            Some((first, _, o, i)) if o != outer || i != inner => {
                return Err(Blocker::new(format!(
                    "combines {} and {}, whose batch is folded with other axes in different ways",
                    first.name, operand.name
                )));
            }
            Some(_) => {}
        }
    }
    let Some((_, from_end, outer, inner)) = rows else {
        return Ok(Batch::Shared);
    };
    for operand in operands.iter().filter(|o| *o.batch == Batch::Shared) {
        let Some(at) = operand.shape.len().checked_sub(from_end + 1) else {
            continue;
        };
        if operand.shape[at] != Dim::constant(1) {
            return Err(Blocker::new(format!(
                "combines rows with {}, which is the same for all and has length {} on the batch axis",
                operand.name, operand.shape[at]
            )));
        }
    }
    Ok(Batch::Rows {
        axis: rank - 1 - from_end,
        outer: outer.clone(),
        inner: inner.clone(),
    })
}
