//! Requests out of a seed, for any model.
//!
//! The one idea: every *row* is made alone, from its own seed, and a request of several rows is their concatenation along
//! each input's rows axis. So a row is the same row in whatever request it stands, at whatever position, beside whatever
//! neighbours, and its answer can be compared with that of the row alone. Inputs that all rows share are the same in every
//! request. A model whose rows are not proven independent gets requests that are one row, which nobody looks into.

mod inputs;
mod values;

pub use inputs::{DefaultLengths, InputPlan, Role, open_lengths, plan};
pub use values::Values;

use std::fmt;

use unisono::{Error, ErrorKind, Tensor};

use crate::random::{Random, name_step};

/// What a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowKind {
    /// Numbers like those of data.
    Ordinary,
    /// Zeros everywhere.
    Zeros,
    /// Infinities, NaNs and the largest numbers among ordinary ones.
    Poisoned,
}

/// Names a row: equal ids are equal rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// What it holds.
    pub kind: RowKind,
    /// Which of its kind.
    pub number: u32,
}

impl RowId {
    /// An ordinary row.
    pub const fn ordinary(number: u32) -> RowId {
        RowId {
            kind: RowKind::Ordinary,
            number,
        }
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RowKind::Ordinary => write!(f, "{}", self.number),
            RowKind::Zeros => f.write_str("zeros"),
            RowKind::Poisoned => write!(f, "poison {}", self.number),
        }
    }
}

/// One request: its rows and its tensors in the model's order.
#[derive(Clone, Debug)]
pub struct Request {
    /// The rows, in their order.
    pub rows: Vec<RowId>,
    /// The inputs.
    pub tensors: Vec<Tensor>,
}

/// Makes the requests of one run for one model.
#[derive(Clone, Debug)]
pub struct RequestMaker {
    seed: u64,
    inputs: Vec<InputPlan>,
}

impl RequestMaker {
    /// A maker for these inputs.
    pub fn new(seed: u64, inputs: Vec<InputPlan>) -> RequestMaker {
        RequestMaker { seed, inputs }
    }

    /// The inputs.
    pub fn inputs(&self) -> &[InputPlan] {
        &self.inputs
    }

    /// May a request have several rows?
    pub fn has_rows(&self) -> bool {
        self.inputs.iter().any(|input| input.rows_axis().is_some())
    }

    /// Can a row of this kind be told from an ordinary one? Only floats can be poisoned.
    pub fn can_make(&self, kind: RowKind) -> bool {
        let mut own = self.inputs.iter().filter(|input| !input.is_shared());
        match kind {
            RowKind::Ordinary => true,
            RowKind::Zeros => own.any(|input| input.can_vary()),
            RowKind::Poisoned => own.any(|input| input.can_vary() && input.dtype.is_float()),
        }
    }

    /// A request with these rows.
    ///
    /// # Errors
    /// A type without made-up values, or memory that cannot be had.
    pub fn request(&self, rows: &[RowId]) -> Result<Request, Error> {
        let tensors = self.inputs.iter().map(|input| self.tensor(input, rows));
        Ok(Request {
            rows: rows.to_vec(),
            tensors: tensors.collect::<Result<_, _>>()?,
        })
    }

    fn tensor(&self, input: &InputPlan, rows: &[RowId]) -> Result<Tensor, Error> {
        let Some(axis) = input.rows_axis() else {
            // Shared inputs depend on the seed alone; the inputs of an indivisible request on what it is.
            let row = if input.is_shared() {
                RowId::ordinary(0)
            } else {
                one_row(rows)?
            };
            return self.row(input, row);
        };
        if let [row] = rows {
            return self.row(input, *row);
        }
        let pieces: Vec<Tensor> = rows
            .iter()
            .map(|row| self.row(input, *row))
            .collect::<Result<_, _>>()?;
        concatenate(&pieces, axis)
    }

    fn row(&self, input: &InputPlan, row: RowId) -> Result<Tensor, Error> {
        let kind = if input.is_shared() {
            RowKind::Ordinary
        } else {
            row.kind
        };
        let path = [name_step(&input.name), kind as u64, row.number.into()];
        input.one_row(&mut Random::new(self.seed, &path), kind)
    }
}

fn one_row(rows: &[RowId]) -> Result<RowId, Error> {
    match rows {
        [row] => Ok(*row),
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "a request of {} rows for a model without proven rows",
                rows.len()
            ),
        )),
    }
}

/// Joins tensors that differ in nothing but their contents.
fn concatenate(pieces: &[Tensor], axis: usize) -> Result<Tensor, Error> {
    let broken = || Error::new(ErrorKind::InvalidInput, "rows of different shapes");
    let first = pieces.first().ok_or_else(broken)?;
    let mut shape = first.shape().to_vec();
    let own: usize = *shape.get(axis).ok_or_else(broken)?;
    let inner: usize = shape[axis + 1..].iter().product();
    let piece = own * inner * first.dtype().size();
    let outer: usize = shape[..axis].iter().product();
    shape[axis] = own * pieces.len();
    let mut joined = Tensor::zeros(first.dtype(), &shape)?;
    let bytes = joined.bytes_mut().ok_or_else(broken)?;
    let places = bytes.chunks_exact_mut(piece.max(1));
    for (i, place) in places.enumerate().take(outer * pieces.len()) {
        let (block, which) = (i / pieces.len(), i % pieces.len());
        place.copy_from_slice(&pieces[which].bytes()[block * piece..(block + 1) * piece]);
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono::DType;

    fn maker() -> RequestMaker {
        let plan = |name: &str, dtype, shape: &[usize], role, values| InputPlan {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            role,
            values,
            picks_from: None,
        };
        RequestMaker::new(
            5,
            vec![
                plan("x", DType::F32, &[1, 3], Role::Rows(0), Values::Normal),
                plan(
                    "state",
                    DType::F32,
                    &[2, 1, 2],
                    Role::Rows(1),
                    Values::Normal,
                ),
                plan(
                    "ids",
                    DType::I64,
                    &[1, 3],
                    Role::Rows(0),
                    Values::Integers { low: 0, high: 99 },
                ),
                plan(
                    "rate",
                    DType::I64,
                    &[],
                    Role::Shared,
                    Values::Constant(16_000.0),
                ),
            ],
        )
    }

    #[test]
    fn a_row_is_the_same_in_every_request() {
        let maker = maker();
        let rows = [4, 7, 2].map(RowId::ordinary);
        let together = maker.request(&rows).unwrap().tensors;
        assert_eq!(together[0].shape(), [3, 3]);
        assert_eq!(together[1].shape(), [2, 3, 2]);
        for (i, row) in rows.iter().enumerate() {
            let alone = maker.request(&[*row]).unwrap().tensors;
            let x = together[0].as_slice::<f32>().unwrap();
            assert_eq!(&x[3 * i..3 * i + 3], alone[0].as_slice::<f32>().unwrap());
            let state = together[1].as_slice::<f32>().unwrap();
            let own = alone[1].as_slice::<f32>().unwrap();
            assert_eq!(&state[2 * i..2 * i + 2], &own[..2]);
            assert_eq!(&state[6 + 2 * i..6 + 2 * i + 2], &own[2..]);
            assert_eq!(together[3].bytes(), alone[3].bytes());
        }
    }

    #[test]
    fn kinds_of_rows_hold_what_they_are_called_after() {
        let maker = maker();
        let of = |kind| maker.request(&[RowId { kind, number: 1 }]).unwrap().tensors;
        let zeros = of(RowKind::Zeros);
        assert!(zeros[..3].iter().all(|t| t.bytes().iter().all(|&b| b == 0)));
        let values: Vec<f32> = (0..64)
            .flat_map(|number| {
                let row = RowId {
                    kind: RowKind::Poisoned,
                    number,
                };
                let tensors = maker.request(&[row]).unwrap().tensors;
                tensors[0].as_slice::<f32>().unwrap().to_vec()
            })
            .collect();
        assert!(values.iter().any(|v| v.is_nan()));
        assert!(values.contains(&f32::INFINITY) && values.contains(&f32::NEG_INFINITY));
        assert!(values.iter().any(|v| v.is_subnormal()));
        assert!(maker.can_make(RowKind::Poisoned) && maker.can_make(RowKind::Zeros));
    }

    #[test]
    fn another_seed_gives_other_rows() {
        let row = [RowId::ordinary(0)];
        let other = RequestMaker::new(6, maker().inputs().to_vec());
        let bytes = |maker: &RequestMaker| maker.request(&row).unwrap().tensors[0].bytes().to_vec();
        assert_eq!(bytes(&maker()), bytes(&maker()));
        assert_ne!(bytes(&maker()), bytes(&other));
    }

    #[test]
    fn a_model_without_rows_gets_requests_of_one() {
        let whole = InputPlan {
            role: Role::Whole,
            ..maker().inputs()[0].clone()
        };
        let maker = RequestMaker::new(5, vec![whole]);
        assert!(!maker.has_rows());
        let first = maker.request(&[RowId::ordinary(0)]).unwrap();
        let second = maker.request(&[RowId::ordinary(1)]).unwrap();
        assert_ne!(first.tensors[0].bytes(), second.tensors[0].bytes());
        assert!(
            maker
                .request(&[RowId::ordinary(0), RowId::ordinary(1)])
                .is_err()
        );
    }
}
