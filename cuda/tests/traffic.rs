//! What the kernels do with memory, counted by the simulated device.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{Order, Plan, Recipe, RowOptions, Shape};
use densekd_cuda::{Device, HostCall};
use densekd_device::Device as Simulated;

#[test]
fn a_row_on_chip_is_read_once_in_whole_sectors() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let (device, simulated) = (Device::open(0).unwrap(), Simulated::open().unwrap());
    for (kernel, dims) in [
        ("densekd_rows_lanes8_f32", [4, 16, 8, 8]),
        ("densekd_rows_lanes32_f32", [1, 16, 16, 32]),
        ("densekd_rows_block_f32", [1, 4, 64, 64]),
    ] {
        let shape = Shape::new(dims).unwrap();
        let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), shape, Order::Nchw).unwrap();
        let (teacher, student) = (vec![1.0_f32; shape.len()], vec![0.5_f32; shape.len()]);
        let mut gradient = vec![0.0_f32; shape.len()];
        let call = HostCall {
            plan: &plan,
            teacher: teacher[..].into(),
            student: student[..].into(),
            mask: None,
            factor: 1.0,
            gradient: Some((&mut gradient[..]).into()),
            row_values: None,
        };
        device.submit(call).unwrap();
        let counted = simulated.counters(kernel);
        let tensor = 4 * shape.len() as u64;
        assert_eq!(counted.global_read, 2 * tensor, "{kernel}");
        assert_eq!(counted.global_written, tensor + 8 * plan.rows() as u64, "{kernel}");
        assert_eq!(counted.wide_accesses, 3 * tensor / 16, "{kernel}");
        assert_eq!((counted.bank_conflicts, counted.local_bytes, counted.atomics), (0, 0, 0), "{kernel}");
        assert_eq!(counted.sectors, counted.ideal_sectors, "{kernel}");
    }
}
