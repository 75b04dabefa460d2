//! What a device keeps between submissions, on the simulated device: its stream, its page-locked memory, its blocks.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{
    Inputs, KeptStatistics, Mask, Order, Outputs, Plan, Recipe, RowOptions, Shape, Slab, Upstream, run,
};
use densekd_cuda::{Device, Error, HostCall};
use densekd_device::Device as Simulated;

fn plan(dims: [usize; 4]) -> Plan {
    Plan::new(Recipe::new(RowOptions::CWD).unwrap(), Shape::new(dims).unwrap(), Order::Nchw).unwrap()
}

fn numbers(plan: &Plan, step: usize) -> Vec<f32> {
    (0..plan.shape().len()).map(|i| f32::from(u8::try_from(i * step % 97).unwrap()) / 32.0).collect()
}

/// A call for value and gradient.
fn call<'a>(
    plan: &'a Plan,
    teacher: &'a [f32],
    student: &'a [f32],
    gradient: &'a mut [f32],
    factor: f64,
) -> HostCall<'a> {
    HostCall {
        plan,
        teacher: teacher.into(),
        student: student.into(),
        mask: None,
        factor,
        grad_student: Some(gradient.into()),
        grad_teacher: None,
        row_values: None,
        statistics: KeptStatistics::Drop,
    }
}

/// The value, and the gradient.
fn submit(device: &Device, dims: [usize; 4]) -> Result<(f64, Vec<f32>), Error> {
    let plan = plan(dims);
    let mut gradient = vec![0.0; plan.shape().len()];
    let done = device.submit(call(&plan, &numbers(&plan, 37), &numbers(&plan, 53), &mut gradient, 1.0))?;
    Ok((done.sum, gradient))
}

fn counted(simulated: &Simulated, function: &str) -> usize {
    simulated.calls().iter().filter(|call| *call == function).count()
}

// One test, as there is one device in a process.
#[test]
fn what_one_submission_leaves_the_next_takes() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let (device, simulated) = (Device::open(0).unwrap(), Simulated::open().unwrap());
    let dims = [2, 3, 8, 8];
    let first = submit(&device, dims).unwrap();
    let made = ["cuMemAlloc_v2", "cuMemAllocHost_v2", "cuStreamCreateWithPriority"];
    let before = made.map(|function| counted(&simulated, function));
    assert_eq!(before[1..], [2, 1]);
    for _ in 0..3 {
        assert_eq!(submit(&device, dims).unwrap(), first);
    }
    assert_eq!(made.map(|function| counted(&simulated, function)), before);
    assert_eq!(counted(&simulated, "cuMemFree_v2"), 0);

    let live = simulated.live();
    assert_eq!((live.allocations, live.host_allocations), (before[0] as u64, 2));
    device.trim().unwrap();
    assert_eq!(simulated.live().allocations, 0);
    assert_eq!(submit(&device, dims).unwrap(), first);

    memory_that_is_kept_is_given_up_where_it_is_missing(&device, &simulated);
    submissions_of_many_threads_are_what_one_makes(&device);
    tensors_of_several_pieces_arrive_in_order(&device);
    no_device_memory_is_touched_but_in_the_stream(&device, &simulated);

    drop(device);
    let live = simulated.live();
    assert_eq!((live.allocations, live.host_allocations, live.streams, live.events), (0, 0, 0, 0));
    assert_eq!((live.contexts, live.modules), (0, 0));
}

fn memory_that_is_kept_is_given_up_where_it_is_missing(device: &Device, simulated: &Simulated) {
    device.trim().unwrap();
    let small = submit(device, [1, 4, 16, 16]).unwrap();
    // Room for the next submission, but not beside what this one has left.
    simulated.set("MEMORY", "125000").unwrap();
    submit(device, [1, 1, 100, 100]).unwrap();
    assert_eq!(submit(device, [1, 4, 16, 16]).unwrap(), small);
    let out = submit(device, [1, 1, 200, 200]);
    assert!(matches!(out, Err(Error::OutOfMemory { total: 125_000, .. })), "{out:?}");
    simulated.set("MEMORY", "4294967296").unwrap();
    assert_eq!(submit(device, [1, 4, 16, 16]).unwrap(), small);
}

fn submissions_of_many_threads_are_what_one_makes(device: &Device) {
    let wanted: Vec<_> = (1..5).map(|channels| submit(device, [1, channels, 9, 7]).unwrap()).collect();
    std::thread::scope(|scope| {
        for (channels, wanted) in (1..5).zip(&wanted) {
            scope.spawn(move || assert_eq!(submit(device, [1, channels, 9, 7]).unwrap(), *wanted));
        }
    });
}

/// Tensors that page-locked memory holds in three parts.
fn tensors_of_several_pieces_arrive_in_order(device: &Device) {
    let plan = plan([1, 82, 160, 160]);
    let (teacher, student) = (numbers(&plan, 37), numbers(&plan, 53));
    let mut wanted = vec![0.0_f32; student.len()];
    assert!(size_of_val(&wanted[..]) > 2 * (4 << 20));
    let inputs = Inputs::new(&plan, &teacher[..], &student[..], Mask::ALL).unwrap();
    let outputs = Outputs { grad_student: Some(&mut Slab::new(&mut wanted, 0)), ..Outputs::default() };
    let outcome = run(&inputs, Upstream::ONE, outputs).unwrap();
    let mut gradient = vec![0.0_f32; student.len()];
    let done = device.submit(call(&plan, &teacher, &student, &mut gradient, outcome.scale / outcome.divisor));
    let sum = done.unwrap().sum;
    assert!((sum - outcome.sum).abs() <= 4e-6 * outcome.sum, "{sum} {}", outcome.sum);
    let largest = wanted.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let far = gradient.iter().zip(&wanted).position(|(x, y)| !((x - y).abs() <= 4e-6 * largest));
    assert_eq!(far, None);
}

fn no_device_memory_is_touched_but_in_the_stream(device: &Device, simulated: &Simulated) {
    let before = simulated.calls().len();
    submit(device, [2, 3, 8, 8]).unwrap();
    let calls = simulated.calls().split_off(before);
    for other in ["cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2", "cuCtxSynchronize", "cuMemFree_v2"] {
        assert!(!calls.iter().any(|call| call == other), "{calls:?}");
    }
}
