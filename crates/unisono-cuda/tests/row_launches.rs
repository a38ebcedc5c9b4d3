//! Every node of the row and moving families has launches that their kernels take. No device is needed for that.

mod rows;

use std::collections::HashMap;

use unisono_cuda::driver::ptx::entries;
use unisono_cuda::kernels::SOURCES;
use unisono_tensor::Tensor;

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
