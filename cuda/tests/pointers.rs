//! Device pointers of the caller's, at any alignment, on the simulated device.
#![allow(unsafe_code, reason = "the driver's functions")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod driver;

use densekd_core::{
    DType, Inputs, Loss, MapInputs, Mask, Order, Outputs, Plan, Recipe, Resize, ResizeMode, RowOptions,
    Shape, Slab, Term, Upstream, run, run_map,
};
use densekd_cuda::{
    AdaptedDeviceCall, AdaptedLoss, AdaptedMap, AdapterPlan, Device, DeviceCall, Error, KeptStates,
    MapDeviceCall,
};
use driver::Driver;
use std::ffi::{c_int, c_uint, c_void};

#[test]
fn tensors_may_lie_anywhere_and_the_context_stays() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    // SAFETY: as above.
    unsafe { std::env::set_var("DENSEKD_DEVICE_COUNT", "2") };
    let device = Device::open(0).unwrap();
    let driver = Driver::open();
    assert!(current(&driver).is_null());
    rows_may_lie_anywhere(&device, &driver);
    maps_may_lie_anywhere(&device, &driver);
    adapted_maps_may_lie_anywhere(&device, &driver);
    // In shared memory that a launch gives: the rows and their sum. In parts: their states, the rows', the gradient, the sum.
    nothing_is_hidden_behind_a_launch(&device, &driver, 20_000, 2);
    nothing_is_hidden_behind_a_launch(&device, &driver, 40_000, 4);
}

fn current(driver: &Driver) -> *mut c_void {
    let mut context = std::ptr::null_mut();
    driver.call("cuCtxGetCurrent", |f: unsafe extern "C" fn(*mut *mut c_void) -> c_int| {
        // SAFETY: `context` outlives the call.
        unsafe { f(&raw mut context) }
    });
    context
}

/// What a launch asks of the driver: the context, where its pointers lie, once a module, how much shared memory a kernel may
/// have, and work in the caller's stream. No memory, no copy, no wait.
const OF_A_LAUNCH: [&str; 7] = [
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuPointerGetAttribute",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuMemsetD32Async",
    "cuLaunchKernel",
];

fn nothing_is_hidden_behind_a_launch(device: &Device, driver: &Driver, width: usize, launches: usize) {
    let simulated = densekd_device::Device::open().unwrap();
    let shape = Shape::new([1, 2, 1, width]).unwrap();
    let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), shape, Order::Nchw).unwrap();
    driver.set_current(driver.context);
    let [teacher, student] = [37, 53].map(|step| driver.copy(&numbers(shape.len(), step)));
    let gradient = driver.allocate(4 * shape.len());
    let workspace = driver.allocate(Device::workspace(&plan, DType::F32).unwrap());
    let (sum, overflowed) = (driver.allocate(8), driver.allocate(4));
    let mut stream = std::ptr::null_mut();
    driver.call("cuStreamCreate", |f: unsafe extern "C" fn(*mut *mut c_void, c_uint) -> c_int| {
        // SAFETY: `stream` outlives the call.
        unsafe { f(&raw mut stream, 1) }
    });
    driver.set_current(std::ptr::null_mut());
    let call = DeviceCall {
        plan: &plan,
        dtype: DType::F32,
        teacher,
        student,
        mask: None,
        factor: 1.0,
        grad_student: Some(gradient),
        grad_teacher: None,
        states: KeptStates::Drop,
        workspace,
        sum,
        overflowed,
        stream,
    };
    for _ in 0..2 {
        let before = simulated.calls().len();
        // SAFETY: all addresses are of allocations above, as long as the plan says, and the stream is of the context.
        unsafe { device.launch(&call) }.unwrap();
        let calls = simulated.calls().split_off(before);
        let other = calls.iter().find(|call| !OF_A_LAUNCH.contains(&call.as_str()));
        assert_eq!(other, None, "{calls:?}");
        assert_eq!(calls.iter().filter(|call| *call == "cuLaunchKernel").count(), launches);
    }
    nothing_is_read_that_lies_elsewhere(device, driver, &call);
    // A stream that is none is refused: it is the caller's that everything is launched on.
    let none = DeviceCall { stream: std::ptr::without_provenance_mut(0x7000), ..call };
    // SAFETY: the simulated driver refuses a stream that it did not make.
    let refused = unsafe { device.launch(&none) };
    assert!(matches!(refused, Err(Error::Driver { code: 400, .. })), "{refused:?}");
}

/// Pointers to memory of the host, of another device, freed, or to none are refused before anything is started.
fn nothing_is_read_that_lies_elsewhere(device: &Device, driver: &Driver, call: &DeviceCall<'_>) {
    let bytes = 4 * call.plan.shape().len();
    let on_heap = vec![0.0_f32; call.plan.shape().len()];
    let mut locked = std::ptr::null_mut();
    driver.set_current(driver.context);
    driver.call("cuMemAllocHost_v2", |f: unsafe extern "C" fn(*mut *mut c_void, usize) -> c_int| {
        // SAFETY: `locked` outlives the call.
        unsafe { f(&raw mut locked, bytes) }
    });
    let mut other = std::ptr::null_mut();
    driver.call("cuDevicePrimaryCtxRetain", |f: unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int| {
        // SAFETY: `other` outlives the call.
        unsafe { f(&raw mut other, 1) }
    });
    driver.set_current(other);
    let apart = driver.allocate(bytes);
    driver.set_current(std::ptr::null_mut());
    let [heap, locked] = [on_heap.as_ptr().addr() as u64, locked.addr() as u64];
    for address in [heap, locked, 0] {
        let refused = Error::NotOnDevice { buffer: "student", address };
        // SAFETY: the check refuses the pointer; no other is of another place.
        assert_eq!(unsafe { device.launch(&DeviceCall { student: address, ..*call }) }, Err(refused));
    }
    let refused = Error::OtherDevice { buffer: "grad_student", found: 1, wanted: 0 };
    // SAFETY: as above.
    assert_eq!(unsafe { device.launch(&DeviceCall { grad_student: Some(apart), ..*call }) }, Err(refused));
    driver.call("cuDevicePrimaryCtxRelease_v2", |f: unsafe extern "C" fn(c_int) -> c_int| {
        // SAFETY: it was retained above.
        unsafe { f(1) }
    });
}

fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| f32::from(u8::try_from(i * step % 97).unwrap()) / 16.0).collect()
}

/// Room for tensors of so many bytes, which begin so many numbers after a boundary.
fn places<const K: usize>(driver: &Driver, bytes: usize, skips: [u64; K]) -> [u64; K] {
    skips.map(|skip| driver.allocate(bytes + 16) + 4 * skip)
}

fn maps_may_lie_anywhere(device: &Device, driver: &Driver) {
    let orders = |loss| [(loss, Order::Nchw), (loss, Order::Nhwc)];
    for (loss, order) in [Loss::Pkd, Loss::At, Loss::Dist, Loss::Pa].into_iter().flat_map(orders) {
        for (width, skips) in [(19, [1, 1, 1, 1]), (301, [3, 2, 0, 1]), (4096, [1, 2, 3, 0])] {
            let shape = Shape::new([1, 3, 1, width]).unwrap();
            let Term::Map(plan) = Term::new(loss.defaults(), shape, shape, order).unwrap() else {
                unreachable!()
            };
            let (teacher, student) = (numbers(shape.len(), 37), numbers(shape.len(), 53));
            let [mut to_student, mut to_teacher] = [vec![0.0_f32; shape.len()], vec![0.0_f32; shape.len()]];
            let mut state = vec![0.0; plan.scratch()];
            let inputs = MapInputs::new(&plan, Some(teacher[..].into()), &student[..]).unwrap();
            let (mut student_sink, mut teacher_sink) =
                (Slab::new(&mut to_student, 0), Slab::new(&mut to_teacher, 0));
            let outcome =
                run_map(inputs, Upstream::ONE, &mut state, Some(&mut student_sink), Some(&mut teacher_sink))
                    .unwrap();

            driver.set_current(driver.context);
            let [t, s, gs, gt] = places(driver, 4 * shape.len(), skips);
            driver.upload(t, &teacher);
            driver.upload(s, &student);
            let workspace = driver.allocate(Device::map_workspace(&plan, DType::F32).unwrap());
            let (sum, overflowed) = (driver.allocate(8), driver.allocate(4));
            driver.set_current(std::ptr::null_mut());
            let call = MapDeviceCall {
                plan: &plan,
                dtype: DType::F32,
                teacher: Some(t),
                student: s,
                classes: None,
                upstream: 1.0,
                grad_student: Some(gs),
                grad_teacher: Some(gt),
                workspace,
                sum,
                overflowed,
                stream: std::ptr::null_mut(),
            };
            // SAFETY: all addresses are of allocations above, as long as the plan says.
            assert_eq!(unsafe { device.launch_map(&call) }, Ok(outcome.divisor));
            // SAFETY: the default stream.
            unsafe { device.synchronise(std::ptr::null_mut()) }.unwrap();
            assert!(current(driver).is_null());

            driver.set_current(driver.context);
            let mut found = [0.0_f64];
            driver.download(&mut found, sum);
            assert!(
                (found[0] - outcome.sum).abs() <= 1e-6 * outcome.sum,
                "{loss:?} {width}: {found:?} {outcome:?}"
            );
            for (from, wanted) in [(gs, &to_student), (gt, &to_teacher)] {
                let mut found = vec![0.0_f32; shape.len()];
                driver.download(&mut found, from);
                let largest = wanted.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                for (found, wanted) in found.iter().zip(wanted) {
                    assert!((found - wanted).abs() <= 2e-6 * largest, "{loss:?} {width}: {found} {wanted}");
                }
            }
            driver.set_current(std::ptr::null_mut());
        }
    }
}

fn rows_may_lie_anywhere(device: &Device, driver: &Driver) {
    for (width, skips) in
        [(19, [1, 1, 1]), (301, [3, 3, 3]), (4093, [1, 2, 3]), (4096, [1, 1, 1]), (5000, [2, 2, 0])]
    {
        let shape = Shape::new([1, 3, 1, width]).unwrap();
        let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), shape, Order::Nchw).unwrap();
        let (teacher, student) = (numbers(shape.len(), 37), numbers(shape.len(), 53));
        let mut wanted = vec![0.0_f32; shape.len()];
        let inputs = Inputs::new(&plan, &teacher[..], &student[..], Mask::ALL).unwrap();
        let outputs = Outputs { grad_student: Some(&mut Slab::new(&mut wanted, 0)), ..Outputs::default() };
        let outcome = run(&inputs, Upstream::ONE, outputs).unwrap();

        driver.set_current(driver.context);
        let bytes = size_of_val(&wanted[..]);
        let [t, s, g] = places(driver, bytes, skips);
        driver.upload(t, &teacher);
        driver.upload(s, &student);
        let workspace = driver.allocate(Device::workspace(&plan, DType::F32).unwrap());
        let (sum, overflowed) = (driver.allocate(8), driver.allocate(4));
        driver.set_current(std::ptr::null_mut());
        let call = DeviceCall {
            plan: &plan,
            dtype: DType::F32,
            teacher: t,
            student: s,
            mask: None,
            factor: outcome.scale / outcome.divisor,
            grad_student: Some(g),
            grad_teacher: None,
            states: KeptStates::Drop,
            workspace,
            sum,
            overflowed,
            stream: std::ptr::null_mut(),
        };
        // SAFETY: all addresses are of allocations above, as long as the plan says.
        unsafe { device.launch(&call) }.unwrap();
        // SAFETY: the default stream.
        unsafe { device.synchronise(std::ptr::null_mut()) }.unwrap();
        assert!(current(driver).is_null());

        driver.set_current(driver.context);
        let (mut found, mut gradient) = ([0.0_f64], vec![0.0_f32; shape.len()]);
        driver.download(&mut found, sum);
        driver.download(&mut gradient, g);
        driver.set_current(std::ptr::null_mut());
        assert!(
            (found[0] - outcome.sum).abs() <= 4e-6 * outcome.sum,
            "{width}: {} {}",
            found[0],
            outcome.sum
        );
        let largest = wanted.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        for (found, wanted) in gradient.iter().zip(&wanted) {
            assert!((found - wanted).abs() <= 4e-6 * largest, "{width}: {found} {wanted}");
        }
    }
}

/// All planes of a map by the core.
fn resized(planes: &[f64], resize: Resize, is_pull: bool) -> Vec<f64> {
    let [from, to] = [resize.from(), resize.to()].map(|[height, width]| height * width);
    let (from, to) = if is_pull { (to, from) } else { (from, to) };
    let mut all = vec![0.0; planes.len() / from * to];
    for (plane, out) in planes.chunks(from).zip(all.chunks_mut(to)) {
        let done = if is_pull { resize.pull(plane, out) } else { resize.forward(plane, out) };
        done.unwrap();
    }
    all
}

fn adapted_maps_may_lie_anywhere(device: &Device, driver: &Driver) {
    let simulated = densekd_device::Device::open().unwrap();
    let mode = ResizeMode::Bilinear { align_corners: false };
    for (width, skips) in [(5, [1, 1, 1]), (19, [3, 0, 2]), (64, [1, 2, 3])] {
        let (small, large) = ([1, 3, 2, width], [1, 3, 5, 2 * width - 1]);
        let adapter = AdapterPlan::new(Shape::new(small).unwrap(), Order::Nchw);
        let adapter = adapter.with_resize(mode, [large[2], large[3]]).unwrap();
        let resize = adapter.resize().unwrap();
        let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), adapter.to(), Order::Nchw).unwrap();
        let (teacher, student) = (numbers(adapter.to().len(), 37), numbers(adapter.from().len(), 53));
        let enlarged = resized(&student.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), resize, false);
        let mut slopes = vec![0.0_f64; enlarged.len()];
        let inputs = Inputs::new(&plan, &teacher[..], &enlarged[..], Mask::ALL).unwrap();
        let outputs = Outputs { grad_student: Some(&mut Slab::new(&mut slopes, 0)), ..Outputs::default() };
        let outcome = run(&inputs, Upstream::ONE, outputs).unwrap();
        let wanted = resized(&slopes, resize, true);

        driver.set_current(driver.context);
        let [t, s, g] = places(driver, size_of_val(&teacher[..]), skips);
        driver.upload(t, &teacher);
        driver.upload(s, &student);
        let of_teacher = AdaptedMap::new(AdapterPlan::new(adapter.to(), Order::Nchw), DType::F32, t);
        let factor = outcome.scale / outcome.divisor;
        let loss = AdaptedLoss::Rows { plan: &plan, mask: None, factor, states: KeptStates::Drop };
        let mut call = AdaptedDeviceCall {
            loss,
            teacher: Some(of_teacher),
            student: AdaptedMap {
                gradient: Some((g, DType::F32)),
                ..AdaptedMap::new(adapter, DType::F32, s)
            },
            workspace: 0,
            sum: driver.allocate(8),
            overflowed: driver.allocate(4),
            stream: std::ptr::null_mut(),
        };
        call.workspace = driver.allocate(Device::adapted_workspace(&call).unwrap());
        driver.set_current(std::ptr::null_mut());
        let before = simulated.calls().len();
        // SAFETY: all addresses are of allocations above, as long as adapter and plan say.
        assert_eq!(unsafe { device.launch_adapted(&call) }, Ok(None));
        let calls = simulated.calls().split_off(before);
        let of_a_launch =
            |call: &&String| OF_A_LAUNCH.contains(&call.as_str()) || *call == "cuModuleLoadDataEx";
        assert!(calls.iter().all(|call| of_a_launch(&call)), "{calls:?}");
        // SAFETY: the default stream.
        unsafe { device.synchronise(std::ptr::null_mut()) }.unwrap();
        assert!(current(driver).is_null());

        driver.set_current(driver.context);
        let (mut found, mut gradient) = ([0.0_f64], vec![0.0_f32; student.len()]);
        driver.download(&mut found, call.sum);
        driver.download(&mut gradient, g);
        driver.set_current(std::ptr::null_mut());
        assert!((found[0] - outcome.sum).abs() <= 4e-6 * outcome.sum, "{width}: {found:?} {outcome:?}");
        let largest = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        for (found, wanted) in gradient.iter().zip(&wanted) {
            assert!((f64::from(*found) - wanted).abs() <= 4e-6 * largest, "{width}: {found} {wanted}");
        }
        let elsewhere = AdaptedMap { map: student.as_ptr().addr() as u64, ..call.student };
        // SAFETY: the check refuses the pointer.
        let refused = unsafe { device.launch_adapted(&AdaptedDeviceCall { student: elsewhere, ..call }) };
        assert!(matches!(refused, Err(Error::NotOnDevice { buffer: "student", .. })), "{refused:?}");
    }
}
