//! Slices picked by indices.

use unisono_graph::ops::indexing::Gather;
use unisono_reference::eval;
use unisono_tensor::{DType, Tensor, TensorMut, TensorRef};

use super::{Case, TYPES, inputs, list, tensor};
use crate::simd::Isa;

#[test]
fn slices_are_gathered_by_indices_of_both_types_from_both_ends() {
    for dtype in TYPES {
        for (shape, axis, len) in [
            (&[9, 3][..], 0, 9),
            (&[9, 300], 0, 9),
            (&[4, 9, 5], 1, 9),
            (&[4, 5, 9], -1, 9),
            (&[9], 0, 9),
            (&[2, 9, 0], 1, 9),
            (&[3, 40_000], 0, 3),
        ] {
            for picks in [&[] as &[usize], &[0], &[7], &[3, 5], &[60, 11]] {
                if picks == [60, 11] && shape == [3, 40_000] {
                    continue;
                }
                let n = picks.iter().product::<usize>() as i64;
                let indices: Vec<i64> = (0..n).map(|i| i * 7919 % (2 * len) - len).collect();
                let narrow: Vec<i32> = indices.iter().map(|&i| i as i32).collect();
                let data = || tensor(dtype, shape, 1);
                let wide = Tensor::from_slice(picks, &indices).unwrap();
                Case::new(Gather { axis }, inputs([data(), wide])).check();
                let narrow = Tensor::from_slice(picks, &narrow).unwrap();
                Case::new(Gather { axis }, inputs([data(), narrow])).check();
            }
        }
    }
}

#[test]
fn an_index_outside_of_its_axis_is_refused_in_the_words_of_the_reference() {
    for (shape, bad) in [
        (&[4, 3][..], 4),
        (&[4, 3], -5),
        (&[4, 3], i64::MIN),
        (&[4, 3], i64::MAX),
        (&[0, 3], 0),
        (&[4, 0], 4),
    ] {
        let indices = if shape[0] == 0 {
            vec![bad]
        } else {
            vec![0, bad]
        };
        let data = inputs([tensor(DType::F32, shape, 1), list(&indices)]);
        let case = Case::new(Gather { axis: 0 }, data);
        let refs: Vec<Option<TensorRef<'_>>> = (case.inputs.iter())
            .map(|t| t.as_ref().map(|t| t.view().unwrap()))
            .collect();
        let mut outputs = case.zeros();
        let found = case.run(&mut outputs, Isa::Scalar, 1).unwrap_err();
        let mut views: Vec<Option<TensorMut<'_>>> =
            outputs.iter_mut().map(Tensor::view_mut).collect();
        let expected = eval::evaluate(&*case.op, &refs, &mut views).unwrap_err();
        assert_eq!(found, expected.to_string());
        assert!(found.contains(&bad.to_string()), "{found}");
    }
}
