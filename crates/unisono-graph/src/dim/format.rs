//! Lengths as people write them: `2*batch + 1`, `floor((t + 3)/(4))`, `?` for what is not known.

use super::{Atom, Dim, Function, Repr};
use std::fmt;

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
                    Atom::Apply(Function::FloorDiv, a) => write!(f, "floor(({})/({}))", a.a, a.b)?,
                    Atom::Apply(Function::Max, a) => write!(f, "max({}, {})", a.a, a.b)?,
                    Atom::Apply(Function::Min, a) => write!(f, "min({}, {})", a.a, a.b)?,
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
