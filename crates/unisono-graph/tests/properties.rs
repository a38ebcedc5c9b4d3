//! Properties of symbolic lengths and of the rule by which rows pass through a new shape, against arithmetic on numbers.

use proptest::prelude::*;
use unisono_graph::ops::rows::regroup;
use unisono_graph::{Batch, Dim, Symbol};

/// An expression, kept as a tree so that numbers can be put in without any normal form.
#[derive(Clone, Debug)]
enum Tree {
    Number(i64),
    Symbol(usize),
    Add(Box<Tree>, Box<Tree>),
    Sub(Box<Tree>, Box<Tree>),
    Mul(Box<Tree>, Box<Tree>),
    Floor(Box<Tree>, i64),
    Ceil(Box<Tree>, i64),
    Larger(Box<Tree>, Box<Tree>),
    Smaller(Box<Tree>, Box<Tree>),
}

const NAMES: [&str; 3] = ["b", "t", "n"];

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (-9i64..10).prop_map(Tree::Number),
        (0usize..3).prop_map(Tree::Symbol),
        (0usize..3).prop_map(Tree::Symbol),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let two = (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        let by = (inner.prop_map(Box::new), prop_oneof![1i64..7, -5i64..0]);
        prop_oneof![
            two.clone().prop_map(|(a, b)| Tree::Add(a, b)),
            two.clone().prop_map(|(a, b)| Tree::Sub(a, b)),
            two.clone().prop_map(|(a, b)| Tree::Mul(a, b)),
            two.clone().prop_map(|(a, b)| Tree::Larger(a, b)),
            two.prop_map(|(a, b)| Tree::Smaller(a, b)),
            by.clone().prop_map(|(a, c)| Tree::Floor(a, c)),
            by.prop_map(|(a, c)| Tree::Ceil(a, c)),
        ]
    })
}

fn floor_div(a: i64, b: i64) -> i64 {
    let q = a / b;
    if a % b != 0 && (a < 0) != (b < 0) {
        q - 1
    } else {
        q
    }
}

impl Tree {
    fn dim(&self) -> Dim {
        match self {
            Tree::Number(n) => Dim::constant(*n),
            Tree::Symbol(i) => Dim::symbol(&Symbol::new(NAMES[*i])),
            Tree::Add(a, b) => &a.dim() + &b.dim(),
            Tree::Sub(a, b) => &a.dim() - &b.dim(),
            Tree::Mul(a, b) => &a.dim() * &b.dim(),
            Tree::Floor(a, c) => a.dim().floor_div(&Dim::constant(*c)),
            Tree::Ceil(a, c) => a.dim().ceil_div(&Dim::constant(*c)),
            Tree::Larger(a, b) => a.dim().larger(&b.dim()),
            Tree::Smaller(a, b) => a.dim().smaller(&b.dim()),
        }
    }

    fn value(&self, at: &[i64; 3]) -> i64 {
        match self {
            Tree::Number(n) => *n,
            Tree::Symbol(i) => at[*i],
            Tree::Add(a, b) => a.value(at) + b.value(at),
            Tree::Sub(a, b) => a.value(at) - b.value(at),
            Tree::Mul(a, b) => a.value(at) * b.value(at),
            Tree::Floor(a, c) => floor_div(a.value(at), *c),
            Tree::Ceil(a, c) => -floor_div(-a.value(at), *c),
            Tree::Larger(a, b) => a.value(at).max(b.value(at)),
            Tree::Smaller(a, b) => a.value(at).min(b.value(at)),
        }
    }
}

fn number(dim: &Dim, at: &[i64; 3]) -> Option<i64> {
    let lookup = |s: &Symbol| {
        let i = NAMES.iter().position(|n| *n == s.name())?;
        Some(Dim::constant(at[i]))
    };
    dim.substitute(&lookup).as_const()
}

fn lengths() -> impl Strategy<Value = [i64; 3]> {
    [1i64..7, 1i64..7, 1i64..7]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_normal_form_has_the_value_of_the_expression(tree in tree(), at in lengths()) {
        prop_assert_eq!(number(&tree.dim(), &at), Some(tree.value(&at)), "{:?}", tree.dim());
    }

    #[test]
    fn a_lower_bound_is_never_above_the_value(tree in tree(), at in lengths()) {
        if let Some(bound) = tree.dim().lower_bound() {
            prop_assert!(bound <= tree.value(&at), "{:?}", tree.dim());
        }
    }

    #[test]
    fn what_is_decided_about_two_lengths_holds_for_all_numbers(a in tree(), b in tree(), at in lengths()) {
        if let Some(equal) = a.dim().equals(&b.dim()) {
            prop_assert_eq!(equal, a.value(&at) == b.value(&at));
        }
    }

    #[test]
    fn sums_and_products_meet_in_one_normal_form(a in tree(), b in tree(), c in tree()) {
        let (a, b, c) = (a.dim(), b.dim(), c.dim());
        prop_assert_eq!(&(&a + &b) + &c, &a + &(&b + &c));
        prop_assert_eq!(&a * &b, &b * &a);
        let (left, right) = (&(&a + &b) * &c, &(&a * &c) + &(&b * &c));
        if !left.has_unknown() && !right.has_unknown() {
            prop_assert_eq!(left, right);
        }
    }

    #[test]
    fn division_undoes_multiplication(a in tree(), b in tree()) {
        let (a, b) = (a.dim(), b.dim());
        let product = &a * &b;
        prop_assume!(b.as_const() != Some(0) && !product.has_unknown());
        prop_assert_eq!(product.div_exact(&b), Some(a));
    }
}

/// What a row owns: `(axis, outer, inner)` for numbers.
fn owner(
    index: usize,
    shape: &[usize],
    axis: usize,
    outer: usize,
    rows: usize,
    inner: usize,
) -> usize {
    let behind: usize = shape[axis + 1..].iter().product();
    let at = index / behind % shape[axis];
    assert_eq!(shape[axis], outer * rows * inner);
    at / inner % rows
}

/// Factors of a shape, and where to cut them into axes.
fn layout() -> impl Strategy<Value = (Vec<usize>, usize, Vec<bool>, Vec<bool>)> {
    (1usize..6).prop_flat_map(|n| {
        (
            prop::collection::vec(1usize..4, n),
            0..n,
            prop::collection::vec(any::<bool>(), n - 1),
            prop::collection::vec(any::<bool>(), n - 1),
        )
    })
}

/// Joins neighbouring factors into axes where there is no cut. Each axis is the range of its factors.
fn axes(count: usize, cuts: &[bool]) -> Vec<std::ops::Range<usize>> {
    let mut axes = Vec::new();
    let mut start = 0;
    for at in 1..=count {
        if at == count || cuts[at - 1] {
            axes.push(start..at);
            start = at;
        }
    }
    axes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Random factors, one of them the batch, joined into axes in two ways: the rule must find the rows in the second
    /// shape, and every element must belong to the row that it belonged to in the first.
    #[test]
    fn rows_keep_their_elements_in_a_new_shape((factors, batch, from, to) in layout()) {
        let rows = Symbol::new("rows");
        let symbolic = |range: &std::ops::Range<usize>| {
            range.clone().fold(Dim::constant(1), |p, i| {
                let factor = if i == batch { Dim::symbol(&rows) } else { Dim::from(factors[i]) };
                &p * &factor
            })
        };
        let numbers = |range: &std::ops::Range<usize>, b: usize| -> usize {
            range.clone().map(|i| if i == batch { b } else { factors[i] }).product()
        };
        let (from, to) = (axes(factors.len(), &from), axes(factors.len(), &to));
        let axis = from.iter().position(|r| r.contains(&batch)).unwrap();
        let outer: usize = factors[from[axis].start..batch].iter().product();
        let inner: usize = factors[batch + 1..from[axis].end].iter().product();
        let start = Batch::Rows { axis, outer: Dim::from(outer), inner: Dim::from(inner) };
        let from_dims: Vec<Dim> = from.iter().map(symbolic).collect();
        let to_dims: Vec<Dim> = to.iter().map(symbolic).collect();
        let found = regroup(&start, &from_dims, &to_dims, &rows);
        let Ok(Batch::Rows { axis: to_axis, outer: o, inner: i }) = found else {
            return Err(TestCaseError::fail(format!("{found:?}")));
        };
        let (o, i) = (o.as_len().unwrap(), i.as_len().unwrap());
        for b in 1..4 {
            let from: Vec<usize> = from.iter().map(|r| numbers(r, b)).collect();
            let to: Vec<usize> = to.iter().map(|r| numbers(r, b)).collect();
            for index in 0..from.iter().product::<usize>() {
                prop_assert_eq!(
                    owner(index, &from, axis, outer, b, inner),
                    owner(index, &to, to_axis, o, b, i)
                );
            }
        }
    }

    /// Any two shapes with as many elements: whatever the rule accepts must be right.
    #[test]
    fn rows_that_are_found_are_whole(
        shape in prop::collection::vec((1i64..5, any::<bool>()), 1..4),
        target in prop::collection::vec(1i64..5, 0..3),
        axis in 0usize..4,
    ) {
        let rows = Symbol::new("rows");
        let axis = axis % shape.len();
        let length = |at: usize, n: i64| {
            let n = Dim::constant(n);
            if at == axis { &n * &Dim::symbol(&rows) } else { n }
        };
        let from: Vec<Dim> = shape.iter().enumerate().map(|(i, (n, _))| length(i, *n)).collect();
        let total = Dim::product(&from);
        // The last axis takes what is left, as -1 does.
        let mut to: Vec<Dim> = target.iter().map(|&n| Dim::constant(n)).collect();
        let Some(rest) = total.div_exact(&Dim::product(&to)) else {
            return Ok(());
        };
        to.push(rest);
        let (outer, inner) = match shape[axis] {
            (n, true) => (n, 1),
            (n, false) => (1, n),
        };
        let start = Batch::Rows { axis, outer: Dim::constant(outer), inner: Dim::constant(inner) };
        if let Ok(Batch::Rows { axis: at, outer: o, inner: i }) = regroup(&start, &from, &to, &rows) {
            let (o, i) = (o.as_len().unwrap(), i.as_len().unwrap());
            for b in 1..4i64 {
                let put = |dims: &[Dim]| -> Vec<usize> {
                    dims.iter()
                        .map(|d| d.substitute(&|_| Some(Dim::constant(b))).as_len().unwrap())
                        .collect()
                };
                let (from, to) = (put(&from), put(&to));
                for index in 0..from.iter().product::<usize>() {
                    prop_assert_eq!(
                        owner(index, &from, axis, outer as usize, b as usize, inner as usize),
                        owner(index, &to, at, o, b as usize, i)
                    );
                }
            }
        }
    }
}
