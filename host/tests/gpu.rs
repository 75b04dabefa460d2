//! The CUDA backend as a library has it, on the simulated device.
#![cfg(feature = "cuda")]
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd::core::{Order, Plan, Recipe, RowOptions, Shape};
use densekd::{Backend, BackendError, Cuda, Submission};
use densekd_device::Device as Simulated;

// One test, as there is one device in a process.
#[test]
fn a_student_is_not_overwritten() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let (cuda, simulated) = (Cuda::open(0).unwrap(), Simulated::open().unwrap());
    let shape = Shape::new([1, 2, 3, 4]).unwrap();
    let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), shape, Order::Nchw).unwrap();
    let (teacher, mut student) = (vec![1.0_f32; shape.len()], vec![0.5_f32; shape.len()]);
    let calls = simulated.calls().len();
    let refused = cuda.submit(Submission::new(&plan, &teacher[..], &mut student[..]));
    let Err(BackendError::Unsupported(why)) = refused else { panic!("{refused:?}") };
    assert_eq!(why.backend, "cuda");
    assert!(why.reason.contains("leave the student as it is"), "{why}");
    // Told before the driver is asked for anything, and nothing is written.
    assert_eq!(simulated.calls().len(), calls);
    assert_eq!(student, [0.5; 24]);
    assert!(cuda.submit(Submission::new(&plan, &teacher[..], &student[..])).is_ok());
}
