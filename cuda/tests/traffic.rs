//! What the kernels do with memory, counted by the simulated device.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{Divergence, KeptStatistics, Order, Plan, Recipe, RowOptions, Shape};
use densekd_cuda::{Device, HostCall};
use densekd_device::Device as Simulated;

/// Runs a kernel for rows on chip: with one gradient, or with both.
fn a_row_is_read_once(
    device: &Device,
    simulated: &Simulated,
    kernel: &str,
    dims: [usize; 4],
    options: RowOptions,
) {
    let shape = Shape::new(dims).unwrap();
    let plan = Plan::new(Recipe::new(options).unwrap(), shape, Order::Nchw).unwrap();
    let (teacher, student) = (vec![1.0_f32; shape.len()], vec![0.5_f32; shape.len()]);
    let (mut to_student, mut to_teacher) = (vec![0.0_f32; shape.len()], vec![0.0_f32; shape.len()]);
    let both = kernel.contains("terms");
    let call = HostCall {
        plan: &plan,
        teacher: teacher[..].into(),
        student: student[..].into(),
        mask: None,
        factor: 1.0,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: both.then(|| (&mut to_teacher[..]).into()),
        row_values: None,
        statistics: KeptStatistics::Drop,
    };
    device.submit(call).unwrap();
    let counted = simulated.counters(kernel);
    let tensor = 4 * shape.len() as u64;
    let written = if both { 2 * tensor } else { tensor };
    assert_eq!(counted.launches, 1, "{kernel}");
    assert_eq!(counted.global_read, 2 * tensor, "{kernel}");
    assert_eq!(counted.global_written, written + 8 * plan.rows() as u64, "{kernel}");
    assert_eq!(counted.wide_accesses, (2 * tensor + written) / 16, "{kernel}");
    assert_eq!((counted.bank_conflicts, counted.local_bytes, counted.atomics), (0, 0, 0), "{kernel}");
    assert_eq!(counted.sectors, counted.ideal_sectors, "{kernel}");
}

#[test]
fn a_row_on_chip_is_read_once_in_whole_sectors() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let (device, simulated) = (Device::open(0).unwrap(), Simulated::open().unwrap());
    for (team, dims, divergence) in [
        ("lanes8", [4, 16, 8, 8], Divergence::Js),
        ("lanes32", [1, 16, 16, 32], Divergence::Kl),
        ("block", [1, 4, 64, 64], Divergence::ReverseKl),
    ] {
        let cwd = RowOptions::CWD;
        a_row_is_read_once(&device, &simulated, &format!("densekd_rows_{team}_f32"), dims, cwd);
        let options = RowOptions { divergence, ..cwd };
        a_row_is_read_once(&device, &simulated, &format!("densekd_terms_rows_{team}_f32"), dims, options);
    }
}
