//! Comparison by bits, row by row.
//!
//! The one idea: a row of an answer is cut out along each output's rows axis and must hold the very bits of the same row
//! asked for alone. All NaNs count as one value, as in the canonical arithmetic; +0 and -0 are two. What differs is named:
//! output, row, element, both values.

use serde::{Deserialize, Serialize};
use unisono::{DType, Tensor};

/// An output of the model, as the comparison needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// Its name.
    pub name: String,
    /// What it is to the rows of a request.
    pub rows: OutputRows,
}

/// What an output is to the rows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputRows {
    /// Rows lie along this axis, each as long as in the answer to the row alone.
    Along(usize),
    /// The same for all rows.
    Shared,
    /// Tells how many rows there are, so it is compared in whole answers only.
    Counted,
}

/// The first place at which an answer is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which request, under which circumstances.
    pub during: String,
    /// The output's name.
    pub output: String,
    /// The row of the request, from 0; none for what is not about a row.
    pub row: Option<usize>,
    /// Position within the row, one index per axis; the rows axis stays in place.
    pub index: Vec<usize>,
    /// What was there: bits and decimal.
    pub found: String,
    /// What should have been.
    pub expected: String,
    /// How many elements of the row differ, of how many.
    pub extent: Option<(usize, usize)>,
}

impl Difference {
    /// Something other than a value: an error, a wrong shape, a missing output.
    pub fn of_kind(
        output: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Difference {
        Difference {
            during: String::new(),
            output: output.to_owned(),
            row: None,
            index: Vec::new(),
            found: found.into(),
            expected: expected.into(),
            extent: None,
        }
    }

    /// The same with its circumstances.
    pub fn during(mut self, circumstances: impl Into<String>) -> Difference {
        self.during = circumstances.into();
        self
    }
}

/// A tensor seen as `outer` blocks of `rows` pieces of `piece` elements.
struct Rows {
    outer: usize,
    rows: usize,
    piece: usize,
}

impl Rows {
    /// `None` if the axis does not exist or its length is no multiple of the rows.
    fn of(shape: &[usize], axis: usize, rows: usize) -> Option<Rows> {
        let length = *shape.get(axis)?;
        if rows == 0 || !length.is_multiple_of(rows) {
            return None;
        }
        let inner: usize = shape[axis + 1..].iter().product();
        Some(Rows {
            outer: shape[..axis].iter().product(),
            rows,
            piece: length / rows * inner,
        })
    }

    /// Where the pieces of a row start.
    fn starts(&self, row: usize) -> impl Iterator<Item = usize> + use<> {
        let (rows, piece) = (self.rows, self.piece);
        (0..self.outer).map(move |o| (o * rows + row) * piece)
    }
}

/// Compares row `row` of an answer to a request of `rows` rows with the answer to that row alone. Outputs without rows are
/// compared whole.
pub fn row_difference(
    outputs: &[OutputSpec],
    answer: &[Tensor],
    row: usize,
    rows: usize,
    alone: &[Tensor],
) -> Option<Difference> {
    if answer.len() != outputs.len() || alone.len() != outputs.len() {
        let count = |n: usize| format!("{n} outputs");
        return Some(Difference::of_kind(
            "",
            count(answer.len()),
            count(outputs.len()),
        ));
    }
    let pairs = answer.iter().zip(alone);
    outputs
        .iter()
        .zip(pairs)
        .find_map(|(spec, (found, expected))| match spec.rows {
            OutputRows::Along(axis) => piece_difference(spec, axis, found, row, rows, expected),
            OutputRows::Shared => tensor_difference(&spec.name, found, expected),
            OutputRows::Counted => None,
        })
}

/// Compares an answer with the answer to the same request alone, whole.
pub fn answer_difference(
    outputs: &[OutputSpec],
    answer: &[Tensor],
    alone: &[Tensor],
) -> Option<Difference> {
    if answer.len() != alone.len() {
        let count = |n: usize| format!("{n} outputs");
        return Some(Difference::of_kind(
            "",
            count(answer.len()),
            count(alone.len()),
        ));
    }
    let name = |i: usize| outputs.get(i).map_or("", |spec| &*spec.name);
    let mut pairs = answer.iter().zip(alone).enumerate();
    pairs.find_map(|(i, (found, expected))| tensor_difference(name(i), found, expected))
}

fn piece_difference(
    spec: &OutputSpec,
    axis: usize,
    found: &Tensor,
    row: usize,
    rows: usize,
    expected: &Tensor,
) -> Option<Difference> {
    if let Some(wrong) = kind_difference(&spec.name, found, expected) {
        return Some(wrong);
    }
    let mut fitting = expected.shape().to_vec();
    if let Some(length) = fitting.get_mut(axis) {
        *length *= rows;
    }
    let shape_is = format!("shape {:?}", found.shape());
    if found.shape() != fitting {
        return Some(Difference::of_kind(
            &spec.name,
            shape_is,
            format!("shape {fitting:?}"),
        ));
    }
    let (Some(there), Some(here)) = (
        Rows::of(found.shape(), axis, rows),
        Rows::of(expected.shape(), axis, 1),
    ) else {
        let wanted = format!("{rows} rows along axis {axis}");
        return Some(Difference::of_kind(&spec.name, shape_is, wanted));
    };
    let starts = there.starts(row).zip(here.starts(0));
    let difference = scan(found, expected, starts, here.piece)?;
    Some(Difference {
        row: Some(row),
        ..difference.at(&spec.name, expected.shape())
    })
}

/// Compares two whole tensors.
pub fn tensor_difference(name: &str, found: &Tensor, expected: &Tensor) -> Option<Difference> {
    if let Some(wrong) = kind_difference(name, found, expected) {
        return Some(wrong);
    }
    if found.shape() != expected.shape() {
        let shape = |t: &Tensor| format!("shape {:?}", t.shape());
        return Some(Difference::of_kind(name, shape(found), shape(expected)));
    }
    let difference = scan(found, expected, std::iter::once((0, 0)), expected.len())?;
    Some(difference.at(name, expected.shape()))
}

fn kind_difference(name: &str, found: &Tensor, expected: &Tensor) -> Option<Difference> {
    (found.dtype() != expected.dtype())
        .then(|| Difference::of_kind(name, found.dtype().name(), expected.dtype().name()))
}

/// What a scan found: position in the expected tensor, and the values.
struct Found {
    at: usize,
    found: String,
    expected: String,
    wrong: usize,
    of: usize,
}

impl Found {
    fn at(self, name: &str, shape: &[usize]) -> Difference {
        let mut rest = self.at;
        let mut index: Vec<usize> = shape
            .iter()
            .rev()
            .map(|&n| {
                let i = rest % n.max(1);
                rest /= n.max(1);
                i
            })
            .collect();
        index.reverse();
        Difference {
            during: String::new(),
            output: name.to_owned(),
            row: None,
            index,
            found: self.found,
            expected: self.expected,
            extent: Some((self.wrong, self.of)),
        }
    }
}

/// Compares pieces of `piece` elements that start at pairs of positions.
fn scan(
    found: &Tensor,
    expected: &Tensor,
    starts: impl Iterator<Item = (usize, usize)>,
    piece: usize,
) -> Option<Found> {
    let mut first: Option<Found> = None;
    let mut of = 0;
    for (there, here) in starts {
        of += piece;
        let same = match (found.strings(), expected.strings()) {
            (Some(f), Some(e)) => f[there..there + piece] == e[here..here + piece],
            _ => {
                let size = found.dtype().size();
                let f = &found.bytes()[there * size..(there + piece) * size];
                f == &expected.bytes()[here * size..(here + piece) * size]
            }
        };
        if same {
            continue;
        }
        // Rare: bytes differ somewhere, perhaps only by the payload of a NaN.
        for i in 0..piece {
            if same_element(found, there + i, expected, here + i) {
                continue;
            }
            let known = first.get_or_insert_with(|| Found {
                at: here + i,
                found: show(found, there + i),
                expected: show(expected, here + i),
                wrong: 0,
                of: 0,
            });
            known.wrong += 1;
        }
    }
    first.map(|f| Found { of, ..f })
}

/// The bits of an element, least significant byte first, as a number; `None` for strings.
fn bits(tensor: &Tensor, at: usize) -> Option<u64> {
    let size = tensor.dtype().size();
    let bytes = tensor.bytes().get(at * size..(at + 1) * size)?;
    (size > 0).then(|| bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

fn as_float(dtype: DType, bits: u64) -> Option<f64> {
    match dtype {
        DType::F32 => Some(f32::from_bits(bits as u32).into()),
        DType::F64 => Some(f64::from_bits(bits)),
        DType::F16 => Some(unisono::f16::from_bits(bits as u16).into()),
        DType::BF16 => Some(unisono::bf16::from_bits(bits as u16).into()),
        _ => None,
    }
}

fn same_element(a: &Tensor, i: usize, b: &Tensor, j: usize) -> bool {
    match (bits(a, i), bits(b, j)) {
        (Some(x), Some(y)) => {
            let is_nan = |bits| as_float(a.dtype(), bits).is_some_and(f64::is_nan);
            x == y || (is_nan(x) && is_nan(y))
        }
        _ => {
            let text = |t: &Tensor, at: usize| t.strings().and_then(|s| s.get(at).cloned());
            text(a, i) == text(b, j)
        }
    }
}

/// A value for people: decimal, and for floats the bits.
fn show(tensor: &Tensor, at: usize) -> String {
    let Some(bits) = bits(tensor, at) else {
        let text = tensor.strings().and_then(|s| s.get(at));
        return text.map_or_else(String::new, |text| format!("{text:?}"));
    };
    let width = 2 * tensor.dtype().size();
    match (tensor.dtype(), as_float(tensor.dtype(), bits)) {
        // Nine digits tell every f32 from its neighbours.
        (DType::F32, Some(value)) => format!("{value:.9e} (0x{bits:0width$x})"),
        (_, Some(value)) => format!("{value:e} (0x{bits:0width$x})"),
        (DType::Bool, None) => format!("{}", bits != 0),
        (_, None) => {
            let signed = matches!(
                tensor.dtype(),
                DType::I8 | DType::I16 | DType::I32 | DType::I64
            );
            let shift = 64 - 8 * tensor.dtype().size() as u32;
            if signed {
                format!("{}", ((bits << shift) as i64) >> shift)
            } else {
                bits.to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(axis: Option<usize>) -> [OutputSpec; 1] {
        let rows = axis.map_or(OutputRows::Shared, OutputRows::Along);
        [OutputSpec {
            name: "y".into(),
            rows,
        }]
    }

    fn floats(shape: &[usize], values: &[f32]) -> Vec<Tensor> {
        vec![Tensor::from_slice(shape, values).unwrap()]
    }

    #[test]
    fn a_row_is_cut_out_along_any_axis() {
        // Rows along axis 1 of [2, 3, 2]: row r owns the pairs that start at 2r and 6 + 2r.
        let answer = floats(
            &[2, 3, 2],
            &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.],
        );
        let alone = |a: [f32; 4]| floats(&[2, 1, 2], &a);
        let rows = [[0., 1., 6., 7.], [2., 3., 8., 9.], [4., 5., 10., 11.]];
        for (r, row) in rows.into_iter().enumerate() {
            assert_eq!(
                row_difference(&spec(Some(1)), &answer, r, 3, &alone(row)),
                None
            );
        }
        let wrong =
            row_difference(&spec(Some(1)), &answer, 1, 3, &alone([2., 3., 8., 9.5])).unwrap();
        assert_eq!((wrong.row, &*wrong.index), (Some(1), &[1, 0, 1][..]));
        assert_eq!(wrong.found, "9.000000000e0 (0x41100000)");
        assert_eq!(wrong.expected, "9.500000000e0 (0x41180000)");
        assert_eq!(wrong.extent, Some((1, 4)));
    }

    #[test]
    fn a_row_may_be_several_entries_of_its_axis() {
        // Axis 0 has two entries per row.
        let answer = floats(&[4, 1], &[1., 2., 3., 4.]);
        assert_eq!(
            row_difference(&spec(Some(0)), &answer, 1, 2, &floats(&[2, 1], &[3., 4.])),
            None
        );
        let wrong = row_difference(&spec(Some(0)), &answer, 0, 2, &floats(&[2, 1], &[3., 4.]));
        assert_eq!(wrong.unwrap().extent, Some((2, 2)));
    }

    #[test]
    fn nans_are_one_value_and_zeros_are_two() {
        let odd_nan = f32::from_bits(0xffc1_2345);
        let same = row_difference(
            &spec(Some(0)),
            &floats(&[1], &[odd_nan]),
            0,
            1,
            &floats(&[1], &[f32::NAN]),
        );
        assert_eq!(same, None);
        let zeros = row_difference(
            &spec(Some(0)),
            &floats(&[1], &[-0.0]),
            0,
            1,
            &floats(&[1], &[0.0]),
        );
        assert!(zeros.unwrap().found.contains("0x80000000"));
        let lost = row_difference(
            &spec(Some(0)),
            &floats(&[1], &[1.0]),
            0,
            1,
            &floats(&[1], &[f32::NAN]),
        );
        assert!(lost.unwrap().expected.contains("NaN"));
    }

    #[test]
    fn shapes_types_and_counts_are_compared_first() {
        let y = floats(&[2], &[1., 2.]);
        let x = vec![Tensor::from_slice(&[2], &[1i32, 2]).unwrap()];
        let difference =
            |a: &[Tensor], b: &[Tensor]| row_difference(&spec(None), a, 0, 1, b).unwrap();
        assert_eq!(difference(&y, &x).found, "f32");
        assert_eq!(
            difference(&y, &floats(&[2, 1], &[1., 2.])).found,
            "shape [2]"
        );
        assert_eq!(difference(&[], &y).found, "0 outputs");
        let rows = row_difference(&spec(Some(0)), &y, 0, 2, &floats(&[2], &[1., 2.])).unwrap();
        assert_eq!(rows.expected, "shape [4]");
    }

    #[test]
    fn integers_and_strings_are_shown_as_they_are_read() {
        let a = Tensor::from_slice(&[2], &[1i8, -2]).unwrap();
        let b = Tensor::from_slice(&[2], &[1i8, 3]).unwrap();
        let wrong = tensor_difference("y", &a, &b).unwrap();
        assert_eq!(
            (&*wrong.found, &*wrong.expected, &*wrong.index),
            ("-2", "3", &[1][..])
        );
        let text = |s: &str| Tensor::from_strings(&[1], vec![s.into()]).unwrap();
        assert_eq!(tensor_difference("y", &text("a"), &text("a")), None);
        assert_eq!(
            tensor_difference("y", &text("a"), &text("b"))
                .unwrap()
                .found,
            "\"a\""
        );
    }
}
