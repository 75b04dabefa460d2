//! Each failure of the driver, provoked on the simulated device: its type, and that nothing is left behind.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{KeptStatistics, Loss, Order, Overflowed, Plan, Recipe, RowOptions, Shape, Term};
use densekd_cuda::{Device, Error, HostCall, MapHostCall, MapSum, Sum};
use densekd_device::Device as Simulated;

/// Rows in parts, so that every kind of launch is made.
fn submit(device: &Device) -> Result<Sum, Error> {
    let shape = Shape::new([1, 2, 50, 100]).unwrap();
    let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), shape, Order::Nchw).unwrap();
    let (teacher, student) = (vec![1.0_f32; shape.len()], vec![0.5_f32; shape.len()]);
    let (mut gradient, mask) = (vec![0.0_f32; shape.len()], vec![1; 5000]);
    device.submit(HostCall {
        plan: &plan,
        teacher: teacher[..].into(),
        student: student[..].into(),
        mask: Some(&mask),
        factor: 1.0,
        grad_student: Some((&mut gradient[..]).into()),
        grad_teacher: None,
        row_values: None,
        statistics: KeptStatistics::Drop,
    })
}

/// A map loss with both gradients.
fn submit_map(device: &Device) -> Result<MapSum, Error> {
    let shape = Shape::new([1, 2, 5, 10]).unwrap();
    let Term::Map(plan) = Term::new(Loss::At.defaults(), shape, shape, Order::Nchw).unwrap() else {
        unreachable!()
    };
    let (teacher, student) = (vec![1.0_f32; shape.len()], vec![0.5_f32; shape.len()]);
    let (mut to_student, mut to_teacher) = (vec![0.0_f32; shape.len()], vec![0.0_f32; shape.len()]);
    device.submit_map(MapHostCall {
        plan: &plan,
        teacher: Some(teacher[..].into()),
        student: student[..].into(),
        classes: None,
        upstream: 1.0,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: Some((&mut to_teacher[..]).into()),
    })
}

fn after(simulated: &Simulated, function: &str, nth: u64, code: i32) -> Result<Sum, Error> {
    after_of(simulated, submit, function, nth, code)
}

/// What one call's failure comes to; the device is whole and empty afterwards.
fn after_of<T>(
    simulated: &Simulated,
    submit: fn(&Device) -> Result<T, Error>,
    function: &str,
    nth: u64,
    code: i32,
) -> Result<T, Error> {
    simulated.reset();
    let device = Device::open(0)?;
    simulated.fault(function, nth, code).unwrap();
    let result = submit(&device);
    assert_eq!(simulated.live().allocations, 0, "{function} {nth}");
    drop(device);
    assert_eq!(simulated.live().modules, 0, "{function} {nth}");
    result
}

// One test, as there is one device in a process.
#[test]
fn every_failure_has_its_type_and_leaves_nothing() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let simulated = Simulated::open().unwrap();

    simulated.set("CAPABILITY", "6.1").unwrap();
    assert!(matches!(Device::open(0), Err(Error::DeviceTooOld { found: (6, 1), .. })));
    simulated.set("CAPABILITY", "8.0").unwrap();
    simulated.set("DRIVER", "9020").unwrap();
    assert!(matches!(Device::open(0), Err(Error::DriverTooOld { found: 9020, .. })));
    simulated.set("DRIVER", "12040").unwrap();
    assert!(matches!(Device::open(7), Err(Error::NoDevice { .. })));

    assert_eq!(submit(&Device::open(0).unwrap()), Ok(Sum { sum: 0.0, overflowed: Overflowed::default() }));
    for allocation in 1..=7 {
        let result = after(&simulated, "cuMemAlloc_v2", allocation, 2);
        assert!(matches!(result, Err(Error::OutOfMemory { .. })), "{result:?}");
    }
    for launch in 1..=4 {
        let result = after(&simulated, "cuLaunchKernel", launch, 701);
        assert!(matches!(result, Err(Error::Launch { code: 701, .. })), "{result:?}");
    }
    for allocation in 1..=7 {
        let result = after_of(&simulated, submit_map, "cuMemAlloc_v2", allocation, 2);
        assert!(matches!(result, Err(Error::OutOfMemory { .. })), "{result:?}");
    }
    // Energies, moments, scales, comparison, values, their sum; slopes and gradient, twice.
    for launch in 1..=11 {
        let result = after_of(&simulated, submit_map, "cuLaunchKernel", launch, 701);
        assert!(matches!(result, Err(Error::Launch { code: 701, .. })), "{launch} {result:?}");
    }
    for (function, nth, code) in
        [("cuModuleLoadDataEx", 1, 218), ("cuMemcpyHtoD_v2", 2, 1), ("cuMemcpyDtoH_v2", 1, 1)]
    {
        let result = after(&simulated, function, nth, code);
        assert!(
            matches!(result, Err(Error::Driver { code: found, .. }) if found == code),
            "{function}: {result:?}"
        );
    }
    let missing = after(&simulated, "cuModuleGetFunction", 1, 801);
    assert!(matches!(missing, Err(Error::MissingFunction { .. })), "{missing:?}");
    // A code that the bindings do not know keeps its number.
    let unknown = after(&simulated, "cuStreamSynchronize", 1, 226);
    assert!(matches!(unknown, Err(Error::Driver { code: 226, .. })), "{unknown:?}");

    simulated.reset();
    let device = Device::open(0).unwrap();
    simulated.fault("cuStreamSynchronize", 1, 700).unwrap();
    for _ in 0..2 {
        // The second is not even tried.
        assert!(matches!(submit(&device), Err(Error::Lost { code: 700, .. })));
    }
}
