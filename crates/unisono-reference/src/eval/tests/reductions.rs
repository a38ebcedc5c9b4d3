//! Reductions, positions of extremes, scans, the largest elements.

use super::*;
use crate::arith::{self, Order, Reduction};
use unisono_graph::ops::reduce::{
    ArgReduce, Cumulative, CumulativeFunction, Reduce, ReduceFunction, TopK,
};

fn reduce(function: ReduceFunction, axes: Option<Vec<i64>>) -> Reduce {
    Reduce {
        function,
        axes,
        keepdims: false,
        noop_with_empty_axes: false,
    }
}

#[test]
fn reductions_of_small_tensors() {
    use ReduceFunction as F;
    let x = floats(&[2, 3], &[1.0, -2.0, 3.0, 4.0, 5.0, -6.0]);
    let none = floats(&[2, 0], &[]);
    let i = Tensor::from_slice(&[4], &[7i32, -8, 2, 0]).unwrap();
    let kept = Reduce {
        keepdims: true,
        ..reduce(F::Sum, None)
    };
    let each = Reduce {
        noop_with_empty_axes: true,
        ..reduce(F::SumSquare, None)
    };
    check(vec![
        row(
            "sum of rows",
            reduce(F::Sum, Some(vec![-1])),
            &[&x],
            floats(&[2], &[2.0, 3.0]),
        ),
        row(
            "sum of columns, axes as an input",
            reduce(F::Sum, None),
            &[&x, &longs(&[1], &[0])],
            floats(&[3], &[5.0, 3.0, -3.0]),
        ),
        row("sum of all", kept, &[&x], floats(&[1, 1], &[5.0])),
        row(
            "no axes, nothing folded",
            each,
            &[&x, &longs(&[0], &[])],
            floats(&[2, 3], &[1.0, 4.0, 9.0, 16.0, 25.0, 36.0]),
        ),
        row(
            "mean",
            reduce(F::Mean, Some(vec![1])),
            &[&x],
            floats(&[2], &[2.0 / 3.0, 1.0]),
        ),
        row(
            "l1",
            reduce(F::L1, Some(vec![1])),
            &[&x],
            floats(&[2], &[6.0, 15.0]),
        ),
        row(
            "l2",
            reduce(F::L2, Some(vec![0])),
            &[&floats(&[2, 1], &[3.0, 4.0])],
            floats(&[1], &[5.0]),
        ),
        row(
            "max propagates nan",
            reduce(F::Max, None),
            &[&floats(&[2], &[f32::NAN, 1.0])],
            floats(&[], &[f32::NAN]),
        ),
        row(
            "sum of nothing",
            reduce(F::Sum, Some(vec![1])),
            &[&none],
            floats(&[2], &[0.0, 0.0]),
        ),
        row(
            "product of nothing",
            reduce(F::Prod, Some(vec![1])),
            &[&none],
            floats(&[2], &[1.0, 1.0]),
        ),
        row(
            "max of nothing",
            reduce(F::Max, Some(vec![1])),
            &[&none],
            floats(&[2], &[f32::NEG_INFINITY; 2]),
        ),
        row(
            "no rows",
            reduce(F::Sum, Some(vec![0])),
            &[&none],
            floats(&[0], &[]),
        ),
        row(
            "mean of integers",
            reduce(F::Mean, None),
            &[&i],
            Tensor::scalar(0i32),
        ),
        row(
            "min of integers",
            reduce(F::Min, None),
            &[&i],
            Tensor::scalar(-8i32),
        ),
        row(
            "l2 of integers",
            reduce(F::L2, None),
            &[&Tensor::from_slice(&[2], &[3i32, 4]).unwrap()],
            Tensor::scalar(5i32),
        ),
        row(
            "any",
            reduce(F::Max, None),
            &[&bools(&[2], &[false, true])],
            bools(&[], &[true]),
        ),
        row(
            "all",
            reduce(F::Min, None),
            &[&bools(&[2], &[false, true])],
            bools(&[], &[false]),
        ),
    ]);
}

#[test]
fn the_order_of_a_sum_follows_from_the_axes() {
    let mut numbers = Numbers(3);
    let x = numbers.floats(&[3, 40, 50]);
    let values = x.as_slice::<f32>().unwrap();
    // The last two axes: lanes over 2,000 neighbours.
    let rows = output(&reduce(ReduceFunction::Sum, Some(vec![2, 1])), &[&x]).unwrap();
    for (i, &found) in rows.as_slice::<f32>().unwrap().iter().enumerate() {
        let expected = arith::reduce_last(Reduction::Sum, &values[i * 2000..][..2000]);
        assert!(arith::same_bits(found, expected));
    }
    // The first and the last: slices, in row-major order of the folded axes.
    let columns = output(&reduce(ReduceFunction::Sum, Some(vec![0, 2])), &[&x]).unwrap();
    for (j, &found) in columns.as_slice::<f32>().unwrap().iter().enumerate() {
        let at = |i: usize| values[i / 50 * 2000 + j * 50 + i % 50];
        let expected = arith::reduce(Reduction::Sum, Order::Slices, 150, at);
        assert!(arith::same_bits(found, expected));
    }
    // An axis of length 1 is an axis: [1000, 1] over axis 0 is not the suffix.
    let column = numbers.floats(&[1000, 1]);
    let values = column.as_slice::<f32>().unwrap();
    let found = output(&reduce(ReduceFunction::Sum, Some(vec![0])), &[&column]).unwrap();
    let expected = arith::reduce_strided(Reduction::Sum, values, 0, 1, 1000);
    assert!(arith::same_bits(
        found.as_slice::<f32>().unwrap()[0],
        expected
    ));
    assert!(!arith::same_bits(
        expected,
        arith::reduce_last(Reduction::Sum, values)
    ));
}

#[test]
fn positions_scans_and_selections() {
    let nan = f32::NAN;
    let arg = |largest, select_last_index| ArgReduce {
        largest,
        axis: 1,
        keepdims: false,
        select_last_index,
    };
    let scan = |function, exclusive, reverse| Cumulative {
        function,
        exclusive,
        reverse,
    };
    let x = floats(&[2, 4], &[3.0, 1.0, 3.0, 1.0, 2.0, nan, 0.0, nan]);
    let (y, zero) = (floats(&[4], &[1.0, 2.0, 3.0, 4.0]), longs(&[], &[0]));
    check(vec![
        row(
            "first largest",
            arg(true, false),
            &[&x],
            longs(&[2], &[0, 1]),
        ),
        row("last largest", arg(true, true), &[&x], longs(&[2], &[2, 3])),
        row(
            "first smallest",
            arg(false, false),
            &[&x],
            longs(&[2], &[1, 1]),
        ),
        row(
            "running sum",
            scan(CumulativeFunction::Sum, false, false),
            &[&y, &zero],
            floats(&[4], &[1.0, 3.0, 6.0, 10.0]),
        ),
        row(
            "without itself",
            scan(CumulativeFunction::Sum, true, false),
            &[&y, &zero],
            floats(&[4], &[0.0, 1.0, 3.0, 6.0]),
        ),
        row(
            "backwards",
            scan(CumulativeFunction::Sum, true, true),
            &[&y, &zero],
            floats(&[4], &[9.0, 7.0, 4.0, 0.0]),
        ),
        row(
            "running product",
            scan(CumulativeFunction::Prod, false, false),
            &[&y, &zero],
            floats(&[4], &[1.0, 2.0, 6.0, 24.0]),
        ),
    ]);
    let top = |largest| TopK {
        axis: -1,
        largest,
        k: None,
    };
    let found = outputs(&top(true), &[Some(x.clone()), Some(longs(&[1], &[3]))], 2).unwrap();
    assert!(same(
        &found[0],
        &floats(&[2, 3], &[3.0, 3.0, 1.0, nan, nan, 2.0])
    ));
    assert_eq!(found[1].to_i64s().unwrap(), [0, 2, 1, 1, 3, 0]);
    let found = outputs(&top(false), &[Some(y), Some(longs(&[1], &[0]))], 2).unwrap();
    assert_eq!(found[0].shape(), [0]);
}

#[test]
fn the_largest_elements_are_those_of_a_stable_sort() {
    let mut numbers = Numbers(4);
    for (n, k) in [(1, 1), (50, 7), (50, 50), (300, 120)] {
        let values: Vec<f32> = (0..3 * n).map(|_| numbers.below(40) as f32).collect();
        for (shape, axis, step, start) in [([3, n], 1, 1, n), ([n, 3], 0, 3, 1)] {
            for largest in [true, false] {
                let op = TopK {
                    axis,
                    largest,
                    k: Some(k as i64),
                };
                let x = floats(&shape, &values);
                let found = outputs(&op, &[Some(x.clone())], 2).unwrap();
                let alone = outputs(&op, &[Some(x)], 1).unwrap();
                assert!(
                    same(&found[0], &alone[0]),
                    "the values do not depend on who wants the positions"
                );
                let (best, at) = (
                    found[0].as_slice::<f32>().unwrap(),
                    found[1].to_i64s().unwrap(),
                );
                for line in 0..3 {
                    let value = |i: usize| values[line * start + i * step];
                    let mut order: Vec<usize> = (0..n).collect();
                    order.sort_by(|&a, &b| {
                        let rising = value(a).total_cmp(&value(b));
                        if largest { rising.reverse() } else { rising }
                    });
                    for (j, &i) in order[..k].iter().enumerate() {
                        let place = if axis == 1 {
                            line * k + j
                        } else {
                            j * 3 + line
                        };
                        assert_eq!((best[place], at[place]), (value(i), i as i64));
                    }
                }
            }
        }
    }
}
