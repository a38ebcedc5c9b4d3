//! Recurrent layers and interpolation, by worked examples.

use super::*;
use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::movement::Transpose;
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_graph::ops::resize::{Coordinates, Interpolation, NearestMode, Resize};

/// One unit, one input, all weights given: small enough to compute by hand.
fn unit(cell: Cell, gates: usize, direction: Direction) -> (Recurrent, [Tensor; 2]) {
    let op = Recurrent {
        cell,
        direction,
        hidden_size: Some(1),
        activations: vec![
            Activation::Affine {
                alpha: 1.0,
                beta: 0.0
            };
            cell.activations() * direction.count()
        ],
        clip: None,
        batch_first: false,
    };
    let shape = [direction.count(), gates, 1];
    let ones = vec![1.0; direction.count() * gates];
    (op, [floats(&shape, &ones), floats(&shape, &ones)])
}

#[test]
fn recurrent_layers_with_linear_activations() {
    let x = floats(&[3, 1, 1], &[1.0, 2.0, 3.0]);
    // h = x + h.
    let (rnn, [w, r]) = unit(Cell::Rnn, 1, Direction::Bidirectional);
    let found = outputs(&rnn, &[Some(x.clone()), Some(w), Some(r)], 2).unwrap();
    assert!(same(
        &found[0],
        &floats(&[3, 2, 1, 1], &[1.0, 6.0, 3.0, 5.0, 6.0, 3.0])
    ));
    assert!(same(&found[1], &floats(&[2, 1, 1], &[6.0, 6.0])));
    // A row of length 2: what is behind is 0, and a reverse direction starts at its own end.
    let (rnn, [w, r]) = unit(Cell::Rnn, 1, Direction::Reverse);
    let lens = Tensor::from_slice(&[1], &[2i32]).unwrap();
    let found = outputs(
        &rnn,
        &[Some(x.clone()), Some(w), Some(r), None, Some(lens)],
        2,
    )
    .unwrap();
    assert!(same(&found[0], &floats(&[3, 1, 1, 1], &[3.0, 2.0, 0.0])));
    assert!(same(&found[1], &floats(&[1, 1, 1], &[3.0])));
    // i = o = f = candidate = x + h; c = f c + i candidate; h = o c. First step, from h = 1, c = 2: all gates are 2.
    let (lstm, [w, r]) = unit(
        Cell::Lstm {
            input_forget: false,
        },
        4,
        Direction::Forward,
    );
    let (h, c) = (floats(&[1, 1, 1], &[1.0]), floats(&[1, 1, 1], &[2.0]));
    let one = floats(&[1, 1, 1], &[1.0]);
    let given = [
        Some(one),
        Some(w),
        Some(r),
        None,
        None,
        Some(h.clone()),
        Some(c),
    ];
    let found = outputs(&lstm, &given, 3).unwrap();
    assert_eq!(found[2].as_slice::<f32>().unwrap(), [8.0]);
    assert_eq!(found[1].as_slice::<f32>().unwrap(), [16.0]);
    // Clipped to 1, all gates are 1: c = 2 + 1, which enters its own activation unclipped.
    let clipped = Recurrent {
        clip: Some(1.0),
        ..lstm
    };
    let found = outputs(&clipped, &given, 3).unwrap();
    assert_eq!(found[2].as_slice::<f32>().unwrap(), [3.0]);
    assert_eq!(found[1].as_slice::<f32>().unwrap(), [3.0]);
    // z = r = x + h = 3 from x = 2, h = 1; the candidate is x + r h = 5, or x + r (h + 0) with the reset behind the product.
    for linear_before_reset in [false, true] {
        let (gru, [w, r]) = unit(
            Cell::Gru {
                linear_before_reset,
            },
            3,
            Direction::Forward,
        );
        let two = floats(&[1, 1, 1], &[2.0]);
        let given = [Some(two), Some(w), Some(r), None, None, Some(h.clone())];
        let found = outputs(&gru, &given, 2).unwrap();
        assert_eq!(
            found[1].as_slice::<f32>().unwrap(),
            [3.0 * 1.0 + (1.0 - 3.0) * 5.0]
        );
    }
}

#[test]
fn a_batch_in_front_gives_the_bits_of_a_batch_behind() {
    let mut numbers = Numbers(9);
    let (time, batch, input, hidden) = (5, 3, 4, 2);
    let (x, w, r) = (
        numbers.floats(&[time, batch, input]),
        numbers.floats(&[1, 4 * hidden, input]),
        numbers.floats(&[1, 4 * hidden, hidden]),
    );
    let (b, p) = (
        numbers.floats(&[1, 8 * hidden]),
        numbers.floats(&[1, 3 * hidden]),
    );
    let mut op = Recurrent {
        cell: Cell::Lstm {
            input_forget: false,
        },
        direction: Direction::Forward,
        hidden_size: None,
        activations: vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        clip: Some(0.7),
        batch_first: false,
    };
    let flip = |t: &Tensor| {
        output(
            &Transpose {
                perm: Some(
                    (0..t.rank())
                        .map(|i| [1, 0].get(i).copied().unwrap_or(i))
                        .collect(),
                ),
            },
            &[t],
        )
        .unwrap()
    };
    let given = |x: Tensor| {
        [
            Some(x),
            Some(w.clone()),
            Some(r.clone()),
            Some(b.clone()),
            None,
            None,
            None,
            Some(p.clone()),
        ]
    };
    let behind = outputs(&op, &given(x.clone()), 3).unwrap();
    op.batch_first = true;
    let front = outputs(&op, &given(flip(&x)), 3).unwrap();
    assert_eq!(front[0].shape(), [batch, time, 1, hidden]);
    let y = output(
        &Transpose {
            perm: Some(vec![2, 0, 1, 3]),
        },
        &[&behind[0]],
    )
    .unwrap();
    assert_eq!(y.bytes(), front[0].bytes());
    assert_eq!(flip(&behind[1]).bytes(), front[1].bytes());
    assert_eq!(flip(&behind[2]).bytes(), front[2].bytes());
}

#[test]
fn interpolation() {
    let scales = |s: &[f32]| floats(&[s.len()], s);
    let none = floats(&[0], &[]);
    let x = floats(&[3], &[1.0, 2.0, 4.0]);
    let linear = |coordinates| Resize {
        interpolation: Interpolation::Linear,
        coordinates,
        ..Resize::default()
    };
    let nearest = |mode, coordinates| Resize {
        interpolation: Interpolation::Nearest(mode),
        coordinates,
        ..Resize::default()
    };
    let by = |op: Resize, s: f32, expected: &[f32], name| {
        row(
            name,
            op,
            &[&x, &none, &scales(&[s])],
            floats(&[expected.len()], expected),
        )
    };
    let cubic = Resize {
        interpolation: Interpolation::Cubic { a: -0.75 },
        ..Resize::default()
    };
    let excluded = Resize {
        exclude_outside: true,
        ..cubic.clone()
    };
    let smooth = Resize {
        antialias: true,
        ..linear(Coordinates::HalfPixel)
    };
    let crop = Resize {
        extrapolation_value: -1.0,
        ..linear(Coordinates::TfCropAndResize)
    };
    check(vec![
        by(
            nearest(NearestMode::Floor, Coordinates::Asymmetric),
            2.0,
            &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
            "repeated",
        ),
        by(
            nearest(NearestMode::RoundPreferFloor, Coordinates::HalfPixel),
            2.0,
            &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
            "nearest centre",
        ),
        by(
            nearest(NearestMode::RoundPreferCeil, Coordinates::AlignCorners),
            2.0,
            &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
            "nearest between corners",
        ),
        by(
            linear(Coordinates::HalfPixel),
            2.0,
            &[1.0, 1.25, 1.75, 2.5, 3.5, 4.0],
            "linear",
        ),
        by(
            linear(Coordinates::AlignCorners),
            5.0 / 3.0,
            &[1.0, 1.5, 2.0, 3.0, 4.0],
            "linear between corners",
        ),
        by(
            linear(Coordinates::Asymmetric),
            2.0,
            &[1.0, 1.5, 2.0, 3.0, 4.0, 4.0],
            "linear from the left",
        ),
        by(
            linear(Coordinates::HalfPixel),
            1.0,
            &[1.0, 2.0, 4.0],
            "nothing to do",
        ),
        by(cubic, 1.0, &[1.0, 2.0, 4.0], "cubic at the samples"),
        by(
            excluded,
            1.0,
            &[1.0, 2.0, 4.0],
            "cubic at the samples, edges left out",
        ),
        row(
            "smoothed when shrinking",
            smooth,
            &[
                &floats(&[4], &[0.0, 8.0, 8.0, 16.0]),
                &none,
                &scales(&[0.5]),
            ],
            floats(&[2], &[4.0, 12.0]),
        ),
        row(
            "two axes, by sizes",
            linear(Coordinates::AlignCorners),
            &[&count_up(&[2, 2]), &none, &none, &longs(&[2], &[3, 2])],
            floats(&[3, 2], &[0.0, 1.0, 1.0, 2.0, 2.0, 3.0]),
        ),
        row(
            "a region beyond the edge",
            crop,
            &[&x, &floats(&[2], &[0.5, 1.5]), &none, &longs(&[1], &[3])],
            floats(&[3], &[2.0, 4.0, -1.0]),
        ),
    ]);
}
