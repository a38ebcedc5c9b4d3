//! Every node of the row and moving families has launches that their kernels take. No device is needed for that.

mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use unisono_cuda::driver::ptx::entries;
use unisono_cuda::kernels::SOURCES;
use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_tensor::{DType, Tensor};

use rows::cases::Case;

#[test]
fn every_launch_has_the_arguments_that_its_kernel_declares_and_a_grid_that_devices_take() {
    let declared: HashMap<_, _> = SOURCES
        .iter()
        .flat_map(|source| entries(source.ptx))
        .map(|entry| (entry.name.clone(), entry))
        .collect();
    for case in rows::cases::cases() {
        let expected = case.expected();
        for processors in [1, 132] {
            let Some((launches, _)) = case.lowered(&expected, processors) else {
                panic!("{}: refused", case.name());
            };
            let is_empty = expected.iter().flatten().all(Tensor::is_empty);
            assert_eq!(launches.is_empty(), is_empty, "{}", case.name());
            for launch in launches {
                let entry = &declared[launch.kernel];
                entry.check(&launch).unwrap();
                let threads: u32 = launch.block.iter().product();
                assert!((1..=1024).contains(&threads), "{launch:?}");
                let [x, y, z] = launch.grid;
                assert!((1..=i32::MAX as u32).contains(&x), "{launch:?}");
                assert!((1..=65_535).contains(&y) && z == 1, "{launch:?}");
            }
        }
    }
}

/// Makes a layer another one.
type Change = fn(&mut Recurrent);

/// A layer of zeros, for as many gates as its cell has.
fn layer(op: Recurrent, time: usize, hidden: usize) -> Case {
    let (batch, input, gates) = (2, 4, op.cell.gates() * hidden);
    let zeros = |shape: &[usize]| Some(Tensor::zeros(DType::F32, shape).unwrap());
    let x = match op.batch_first {
        true => [batch, time, input],
        false => [time, batch, input],
    };
    Case {
        outputs: if matches!(op.cell, Cell::Lstm { .. }) {
            3
        } else {
            2
        },
        op: Arc::new(op),
        inputs: vec![
            zeros(&x),
            zeros(&[1, gates, input]),
            zeros(&[1, gates, hidden]),
        ],
        constants: vec![1, 2],
    }
}

#[test]
fn recurrent_layers_that_the_processor_leaves_to_the_reference_stay_there_and_leave_nothing_behind()
{
    let usual = || Recurrent {
        cell: Cell::Lstm {
            input_forget: false,
        },
        direction: Direction::Forward,
        hidden_size: None,
        activations: vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        clip: None,
        batch_first: false,
    };
    let is_lowered = |case: &Case| case.lowered(&case.expected(), 132).is_some();
    let changed = |change: Change| {
        let mut op = usual();
        change(&mut op);
        layer(op, 3, 8)
    };
    assert!(is_lowered(&changed(|_| ())));
    let operators: [(&str, Change); 5] = [
        ("bounds", |op| op.clip = Some(3.0)),
        ("rows first", |op| op.batch_first = true),
        ("another activation", |op| {
            op.activations[1] = Activation::Relu;
        }),
        ("one gate less", |op| {
            op.cell = Cell::Lstm { input_forget: true };
        }),
        ("another cell", |op| {
            op.cell = Cell::Gru {
                linear_before_reset: false,
            };
            op.activations = vec![Activation::Sigmoid, Activation::Tanh];
        }),
    ];
    for (what, change) in operators {
        assert!(!is_lowered(&changed(change)), "{what}");
    }
    let lengths = Tensor::from_slice(&[2], &[3i32, 1]).unwrap();
    let peepholes = Tensor::zeros(DType::F32, &[1, 24]).unwrap();
    for (index, given) in [(4, lengths), (7, peepholes)] {
        let mut case = layer(usual(), 3, 8);
        case.inputs.resize(index + 1, None);
        case.inputs[index] = Some(given);
        assert!(!is_lowered(&case), "input {index}");
    }
    for constant in [1, 2] {
        let mut case = layer(usual(), 3, 8);
        case.constants = vec![constant];
        assert!(!is_lowered(&case), "one constant");
    }
    assert!(!is_lowered(&layer(usual(), 0, 8)), "no steps");
    // The states of a row find no room in shared memory.
    assert!(!is_lowered(&layer(usual(), 1, 5000)), "wide");
}
