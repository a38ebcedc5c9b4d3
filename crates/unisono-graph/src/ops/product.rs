//! Where the operands of a matrix product lie: the geometry of [`Linear`] in numbers, as every device needs it.
//!
//! The one idea: a product is a batch of matrices with strides, whatever was transposed, broadcast or left out.

use super::linear::Linear;

/// A product of known shapes over dense operands. Strides and offsets count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of each output matrix.
    pub m: usize,
    /// Columns of each output matrix.
    pub n: usize,
    /// How long the sums are.
    pub k: usize,
    /// The strides of `a` along M and K.
    pub a: [usize; 2],
    /// The strides of `b` along K and N.
    pub b: [usize; 2],
    /// The strides of `c` along M and N, 0 where it repeats; `None` without `c`.
    pub c: Option<[usize; 2]>,
    /// The lengths of the leading axes.
    lead: Vec<usize>,
    /// By leading axis: how far a step goes in `a`, in `b` and in `c`; 0 where an operand repeats.
    steps: Vec<[usize; 3]>,
    /// Is `c` as long as the output?
    c_is_full: bool,
}

/// A product whose leading axes all count as rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flat {
    /// All rows.
    pub rows: usize,
    /// The strides of `c` along rows and columns.
    pub c: Option<[usize; 2]>,
}

impl Product {
    /// The geometry for these shapes; `None` if they do not fit each other, or if `c` meets an operand of rank 1 (the output
    /// then lacks an axis to which `c` could be aligned).
    pub fn new(op: &Linear, a: &[usize], b: &[usize], c: Option<&[usize]>) -> Option<Product> {
        if c.is_some() && (a.len() == 1 || b.len() == 1) {
            return None;
        }
        // Operands of rank 1 are a row on the left and a column on the right.
        let a = if let &[k] = a { vec![1, k] } else { a.to_vec() };
        let b = if let &[k] = b { vec![k, 1] } else { b.to_vec() };
        let (a_lead, &[a_rows, a_cols]) = a.split_last_chunk::<2>()?;
        let (b_lead, &[b_rows, b_cols]) = b.split_last_chunk::<2>()?;
        let (m, k, a_strides) = if op.transpose_a {
            (a_cols, a_rows, [1, a_cols])
        } else {
            (a_rows, a_cols, [a_cols, 1])
        };
        let (k_of_b, n, b_strides) = if op.transpose_b {
            (b_cols, b_rows, [1, b_cols])
        } else {
            (b_rows, b_cols, [b_cols, 1])
        };
        let mut lead: Vec<usize> = vec![1; a_lead.len().max(b_lead.len())];
        for shape in [a_lead, b_lead] {
            let missing = lead.len() - shape.len();
            for (slot, &len) in lead[missing..].iter_mut().zip(shape) {
                *slot = if *slot == 1 { len } else { *slot };
            }
        }
        let a_steps = broadcast_strides(a_lead, &lead)?;
        let b_steps = broadcast_strides(b_lead, &lead)?;
        let mut full = lead.clone();
        full.extend([m, n]);
        let c_steps = match c {
            None => vec![0; full.len()],
            Some(shape) => broadcast_strides(shape, &full)?,
        };
        let steps = (0..lead.len()).map(|i| [a_steps[i] * m * k, b_steps[i] * k * n, c_steps[i]]);
        (k == k_of_b).then(|| Product {
            m,
            n,
            k,
            a: a_strides,
            b: b_strides,
            c: c.map(|_| [c_steps[lead.len()], c_steps[lead.len() + 1]]),
            steps: steps.collect(),
            c_is_full: c == Some(&full),
            lead,
        })
    }

    /// How many matrices.
    pub fn batch(&self) -> usize {
        self.lead.iter().product()
    }

    /// By matrix: where its `a`, `b`, output and `c` begin.
    pub fn offsets(&self) -> Vec<[usize; 4]> {
        let mut offsets = Vec::with_capacity(self.batch());
        let mut index = vec![0; self.lead.len()];
        for member in 0..self.batch() {
            let at = |operand: usize| -> usize {
                let steps = self.steps.iter().zip(&index);
                steps.map(|(step, i)| step[operand] * i).sum()
            };
            offsets.push([at(0), at(1), member * self.m * self.n, at(2)]);
            for (i, len) in index.iter_mut().zip(&self.lead).rev() {
                *i += 1;
                if *i < *len {
                    break;
                }
                *i = 0;
            }
        }
        offsets
    }

    /// All leading axes as rows of one product, if `b` has no batch of its own and the rows of `a` and `c` then lie evenly.
    pub fn flat(&self) -> Option<Flat> {
        let batch = self.batch();
        let repeats = |operand: usize| {
            let mut steps = self.steps.iter().zip(&self.lead);
            steps.all(|(step, &len)| len == 1 || step[operand] == 0)
        };
        // A batch to which `a` is stretched has no rows of its own.
        let a_is_full = batch == 1
            || self.a[1] == 1
                && self
                    .steps
                    .iter()
                    .zip(&self.lead)
                    .all(|(s, &len)| len == 1 || s[0] != 0);
        if !repeats(1) || !a_is_full {
            return None;
        }
        let c = match self.c {
            None => None,
            Some(strides) if batch == 1 => Some(strides),
            Some([0, col]) if repeats(2) => Some([0, col]),
            Some(_) if self.c_is_full => Some([self.n, 1]),
            Some(_) => return None,
        };
        Some(Flat {
            rows: batch * self.m,
            c,
        })
    }
}

/// The strides of a broadcast of `shape` to `out`, both right-aligned: 0 where it repeats.
fn broadcast_strides(shape: &[usize], out: &[usize]) -> Option<Vec<usize>> {
    let missing = out.len().checked_sub(shape.len())?;
    let mut strides = vec![0; out.len()];
    let mut step = 1;
    for (i, &len) in shape.iter().enumerate().rev() {
        if len != 1 {
            if len != out[missing + i] {
                return None;
            }
            strides[missing + i] = step;
        }
        step *= len;
    }
    Some(strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Linear {
        Linear::default()
    }

    #[test]
    fn a_batch_without_one_on_the_right_is_rows() {
        let p = Product::new(&plain(), &[3, 4, 5], &[5, 6], Some(&[6])).unwrap();
        let flat = Flat {
            rows: 12,
            c: Some([0, 1]),
        };
        assert_eq!(
            (p.m, p.n, p.k, p.batch(), p.flat()),
            (4, 6, 5, 3, Some(flat))
        );
        // One c per matrix does not lie evenly beside all rows, a whole one does.
        assert_eq!(
            Product::new(&plain(), &[3, 4, 5], &[5, 6], Some(&[3, 1, 6]))
                .unwrap()
                .flat(),
            None
        );
        let full = Product::new(&plain(), &[3, 4, 5], &[5, 6], Some(&[3, 4, 6])).unwrap();
        assert_eq!(
            full.flat(),
            Some(Flat {
                rows: 12,
                c: Some([6, 1])
            })
        );
        // Rows that lie one apart do not follow each other across matrices.
        let transposed = Linear {
            transpose_a: true,
            ..plain()
        };
        assert_eq!(
            Product::new(&transposed, &[3, 5, 4], &[5, 6], None)
                .unwrap()
                .flat(),
            None
        );
        assert!(
            Product::new(&transposed, &[1, 5, 4], &[5, 6], None)
                .unwrap()
                .flat()
                .is_some()
        );
    }

    #[test]
    fn leading_axes_broadcast_both_ways() {
        let p = Product::new(&plain(), &[2, 1, 4, 5], &[3, 5, 6], Some(&[3, 1, 1])).unwrap();
        assert_eq!(p.flat(), None);
        let expected = [
            [0, 0, 0, 0],
            [0, 30, 24, 1],
            [0, 60, 48, 2],
            [20, 0, 72, 0],
            [20, 30, 96, 1],
            [20, 60, 120, 2],
        ];
        assert_eq!(p.offsets(), expected);
        assert_eq!(p.c, Some([0, 0]));
    }

    #[test]
    fn a_row_on_the_left_and_a_column_on_the_right_have_rank_one() {
        let p = Product::new(&plain(), &[5], &[2, 5, 6], None).unwrap();
        assert_eq!(
            (p.m, p.n, p.k, p.offsets()),
            (1, 6, 5, vec![[0, 0, 0, 0], [0, 30, 6, 0]])
        );
        let p = Product::new(&plain(), &[4, 5], &[5], None).unwrap();
        assert_eq!((p.m, p.n, p.b), (4, 1, [1, 1]));
        assert_eq!(Product::new(&plain(), &[5], &[5, 6], Some(&[6])), None);
    }

    #[test]
    fn shapes_that_do_not_fit_have_no_geometry() {
        for (a, b, c) in [
            (&[4, 5][..], &[6, 7][..], None),
            (&[2, 4, 5], &[3, 5, 6], None),
            (&[4, 5], &[5, 6], Some(&[2, 4, 6][..])),
            (&[], &[5, 6], None),
        ] {
            assert_eq!(Product::new(&plain(), a, b, c), None, "{a:?} {b:?} {c:?}");
        }
    }
}
