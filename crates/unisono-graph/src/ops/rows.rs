//! How the batch passes where elements keep their order but not their axes.
//!
//! The one idea: in row-major order, a value whose batch is `Rows { axis, outer, inner }` is `before` blocks of `B` rows of
//! `after` elements each, where `before` is `outer` times the lengths in front of the axis, and `after` is `inner` times those
//! behind it. A new shape keeps the rows apart if some axis of it falls between the same two numbers.

use crate::{Batch, Blocker, Dim, Symbol};

/// The batch of the same elements in another shape.
///
/// # Errors
/// No axis of the new shape holds the rows, or the new shape is not known well enough to say.
pub fn regroup(batch: &Batch, from: &[Dim], to: &[Dim], rows: &Symbol) -> Result<Batch, Blocker> {
    let Batch::Rows { axis, outer, inner } = batch else {
        return Ok(batch.clone());
    };
    let Some((in_front, behind)) = from.split_at_checked(*axis).and_then(|(front, rest)| {
        let (_, behind) = rest.split_first()?;
        Some((front, behind))
    }) else {
        return Err(Blocker::new("reads rows along an axis that does not exist"));
    };
    let before = outer * &Dim::product(in_front);
    let after = inner * &Dim::product(behind);
    let b = Dim::symbol(rows);
    let one = Dim::constant(1);
    let mut found: Option<Batch> = None;
    for (axis, length) in to.iter().enumerate() {
        if !length.mentions(rows) {
            continue;
        }
        // Both shapes have as many elements in every run that succeeds, so one side settles the other.
        let by_front = before.div_exact(&Dim::product(&to[..axis])).and_then(|o| {
            let i = length.div_exact(&(&o * &b))?;
            Some((o, i))
        });
        let by_back = || {
            let i = after.div_exact(&Dim::product(&to[axis + 1..]))?;
            let o = length.div_exact(&(&i * &b))?;
            Some((o, i))
        };
        let Some((outer, inner)) = by_front.or_else(by_back) else {
            continue;
        };
        if outer.mentions(rows) || inner.mentions(rows) {
            continue;
        }
        let plain = outer == one && inner == one;
        if plain || found.is_none() {
            found = Some(Batch::Rows { axis, outer, inner });
        }
        if plain {
            break;
        }
    }
    found.ok_or_else(|| {
        let reason = if to.iter().any(Dim::has_unknown) {
            "its shape is not known before it runs"
        } else {
            "no axis of the result holds whole rows"
        };
        Blocker::new(format!("turns {from:?} into {to:?}, and {reason}"))
    })
}

/// The batch of a value whose elements do not depend on any row, and of which each row owns an equal copy along the one
/// axis whose length is a multiple of the number of rows. `Shared` if there is no such axis.
///
/// # Errors
/// More than one axis depends on the number of rows, or one depends on it in another way.
pub fn repeated(shape: &[Dim], rows: &Symbol) -> Result<Batch, Blocker> {
    let mut axes = (0..shape.len()).filter(|&i| shape[i].mentions(rows));
    let Some(axis) = axes.next() else {
        return Ok(Batch::Shared);
    };
    if let Some(other) = axes.next() {
        return Err(Blocker::new(format!(
            "makes the lengths of axes {axis} and {other} depend on the number of rows"
        )));
    }
    match shape[axis].div_exact(&Dim::symbol(rows)) {
        Some(inner) if !inner.mentions(rows) => Ok(Batch::Rows {
            axis,
            outer: Dim::constant(1),
            inner,
        }),
        _ => Err(Blocker::new(format!(
            "makes axis {axis} of length {}, which is not a multiple of the number of rows",
            shape[axis]
        ))),
    }
}
