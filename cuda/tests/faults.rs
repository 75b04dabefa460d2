//! Each failure of the driver, provoked on the simulated device: its type, and that nothing is left behind.
#![allow(unsafe_code, reason = "a variable of the process's environment, and the driver's functions")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{
    KeptStatistics, Loss, Order, Plan, Recipe, ResizeMode, RowOptions, RowStatistics, Shape, Term,
};
use densekd_cuda::{
    AdaptedHostCall, AdaptedHostLoss, AdaptedHostMap, AdapterPlan, Device, Error, HostCall, MapHostCall,
};
use densekd_device::{Device as Simulated, Live};
use libloading::Library;
use std::ffi::{c_int, c_void};

/// What a use of the device comes to: its numbers, which a failure that is not told must leave as they are.
type Numbers = Vec<f64>;
/// A use of the device.
type Use = fn(&Device) -> Result<Numbers, Error>;

const USES: [(&str, Use); 7] = [
    ("value", |device| rows(device, [1, 2, 3, 4], false)),
    ("gradient", |device| rows(device, [1, 2, 50, 100], true)),
    ("shared memory", |device| rows(device, [1, 2, 1, 16_388], false)),
    ("statistics", statistics),
    ("map", |device| map(device, Loss::At, [1, 2, 5, 10])),
    ("classes", |device| map(device, Loss::Dkd, [1, 3, 2, 5])),
    ("adapted", adapted),
];

fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| f32::from(u8::try_from(i * step % 97).unwrap()) / 32.0).collect()
}

fn cwd(dims: [usize; 4]) -> Plan {
    Plan::new(Recipe::new(RowOptions::CWD).unwrap(), Shape::new(dims).unwrap(), Order::Nchw).unwrap()
}

/// Rows, with a mask; of more than 4096 entries every kind of launch is made.
fn rows(device: &Device, dims: [usize; 4], with_gradients: bool) -> Result<Numbers, Error> {
    let plan = cwd(dims);
    let len = plan.shape().len();
    let (teacher, student, mask) = (numbers(len, 37), numbers(len, 53), vec![1; dims[2] * dims[3]]);
    let (mut to_student, mut to_teacher, mut values) = (vec![0.0_f32; len], vec![0.0_f32; len], [0.0; 2]);
    let done = device.submit(HostCall {
        mask: with_gradients.then_some(&mask),
        grad_student: with_gradients.then(|| (&mut to_student[..]).into()),
        grad_teacher: with_gradients.then(|| (&mut to_teacher[..]).into()),
        row_values: Some(&mut values),
        ..alone(&plan, &teacher, &student, KeptStatistics::Drop)
    })?;
    let gradients = to_student.into_iter().chain(to_teacher).map(f64::from);
    Ok([done.sum].into_iter().chain(values).chain(gradients).collect())
}

/// A call for the value alone.
fn alone<'a>(
    plan: &'a Plan,
    teacher: &'a [f32],
    student: &'a [f32],
    statistics: KeptStatistics<'a>,
) -> HostCall<'a> {
    HostCall {
        plan,
        teacher: teacher.into(),
        student: student.into(),
        mask: None,
        factor: 1.0,
        grad_student: None,
        grad_teacher: None,
        row_values: None,
        statistics,
    }
}

/// The value by one call, the gradient from its statistics by another.
fn statistics(device: &Device) -> Result<Numbers, Error> {
    let plan = cwd([1, 2, 5, 8]);
    let len = plan.shape().len();
    let (teacher, student) = (numbers(len, 37), numbers(len, 53));
    let mut kept = [RowStatistics::default(); 2];
    let mut gradient = vec![0.0_f32; len];
    let value = device.submit(alone(&plan, &teacher, &student, KeptStatistics::Write(&mut kept)))?;
    let call = alone(&plan, &teacher, &student, KeptStatistics::Read(&kept));
    device.submit(HostCall { grad_student: Some((&mut gradient[..]).into()), ..call })?;
    Ok([value.sum].into_iter().chain(gradient.into_iter().map(f64::from)).collect())
}

/// A map loss at its defaults with every gradient that it has.
fn map(device: &Device, loss: Loss, dims: [usize; 4]) -> Result<Numbers, Error> {
    let shape = Shape::new(dims).unwrap();
    let Term::Map(plan) = Term::new(loss.defaults(), shape, shape, Order::Nchw).unwrap() else {
        unreachable!()
    };
    let (teacher, student) = (numbers(shape.len(), 37), numbers(shape.len(), 53));
    let classes = vec![1; shape.images() * shape.positions()];
    let (mut to_student, mut to_teacher) = (vec![0.0_f32; shape.len()], vec![0.0_f32; shape.len()]);
    let done = device.submit_map(MapHostCall {
        plan: &plan,
        teacher: Some(teacher[..].into()),
        student: student[..].into(),
        classes: plan.takes_labels().then_some(&classes),
        upstream: 1.0,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: plan.has_teacher_gradient().then(|| (&mut to_teacher[..]).into()),
    })?;
    Ok([done.sum].into_iter().chain(to_student.into_iter().chain(to_teacher).map(f64::from)).collect())
}

/// A student that is projected and enlarged, and a teacher that is reduced, with every gradient.
fn adapted(device: &Device) -> Result<Numbers, Error> {
    let of = |dims| AdapterPlan::new(Shape::new(dims).unwrap(), Order::Nchw);
    let (nearest, area) = (ResizeMode::Nearest, ResizeMode::Area);
    let student = of([1, 3, 2, 5]).with_projection(2).unwrap().with_resize(nearest, [4, 5]).unwrap();
    let teacher = of([1, 2, 8, 9]).with_resize(area, [4, 5]).unwrap();
    let plan = cwd([1, 2, 4, 5]);
    let maps = [student, teacher].map(|adapter| numbers(adapter.from().len(), 37));
    let (weight, bias) = (numbers(6, 11).into_iter().map(f64::from).collect::<Vec<_>>(), [0.5, 0.25]);
    let mut gradients = [vec![0.0_f32; 30], vec![0.0_f32; 144]];
    let (mut to_weight, mut to_bias) = ([0.0; 6], [0.0; 2]);
    let [to_student, to_teacher] = &mut gradients;
    let done = device.submit_adapted(AdaptedHostCall {
        loss: AdaptedHostLoss::Rows { plan: &plan, mask: Some(&[1; 20]), factor: 1.0 },
        teacher: Some(AdaptedHostMap {
            gradient: Some((&mut to_teacher[..]).into()),
            ..AdaptedHostMap::new(teacher, &maps[1][..])
        }),
        student: AdaptedHostMap {
            weight: Some(&weight),
            bias: Some(&bias),
            gradient: Some((&mut to_student[..]).into()),
            grad_weight: Some(&mut to_weight),
            grad_bias: Some(&mut to_bias),
            ..AdaptedHostMap::new(student, &maps[0][..])
        },
    })?;
    let gradients = gradients.concat().into_iter().map(f64::from);
    Ok([done.sum].into_iter().chain(gradients).chain(to_weight).chain(to_bias).collect())
}

/// Another user of the device in the process, as `PyTorch` is: its share of the primary context keeps alive what we would
/// leave behind.
struct Other(Library);

impl Other {
    fn new() -> Self {
        // SAFETY: the simulated driver runs nothing when it is loaded.
        let other = Self(unsafe { Library::new(densekd_device::library()) }.unwrap());
        // SAFETY: the driver's functions have these types.
        let init = unsafe { other.0.get::<extern "C" fn(u32) -> c_int>(b"cuInit\0") }.unwrap();
        assert_eq!(init(0), 0);
        // SAFETY: as above.
        let retain = unsafe {
            other.0.get::<extern "C" fn(*mut *mut c_void, c_int) -> c_int>(b"cuDevicePrimaryCtxRetain\0")
        };
        assert_eq!((retain.unwrap())(&mut std::ptr::null_mut(), 0), 0);
        other
    }

    /// Whether no context is current on this thread.
    fn none_is_current(&self) -> bool {
        // SAFETY: the driver's function has this type.
        let current =
            unsafe { self.0.get::<extern "C" fn(*mut *mut c_void) -> c_int>(b"cuCtxGetCurrent\0") }.unwrap();
        let mut context = std::ptr::null_mut();
        assert_eq!(current(&raw mut context), 0);
        context.is_null()
    }
}

/// What one use comes to on a new device beside another user, one call of which fails: the result, all calls, and what
/// is alive afterwards beyond the other's context. On a thread of its own, which no context is current on.
struct Run {
    result: Result<Numbers, Error>,
    calls: Vec<String>,
    /// Calls until the device was given back.
    until_dropped: usize,
    left: Live,
    none_is_current: bool,
}

fn run(simulated: &Simulated, work: Use, fault: Option<(&str, u64, i32)>) -> Run {
    simulated.reset();
    // Page-locked memory is the host's, and outlives a device.
    let held = simulated.live().host_allocations;
    let other = Other::new();
    let own = simulated.calls().len();
    if let Some((function, nth, code)) = fault {
        simulated.fault(function, nth, code).unwrap();
    }
    let worked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let opened = Device::open(0);
                let result = match &opened {
                    Ok(device) => work(device),
                    Err(error) => Err(error.clone()),
                };
                let until_dropped = simulated.calls().len() - own;
                drop(opened);
                let calls = simulated.calls().split_off(own);
                (result, until_dropped, calls, other.none_is_current())
            })
            .join()
            .unwrap()
    });
    let (result, until_dropped, calls, none_is_current) = worked;
    let live = simulated.live();
    let (contexts, host_allocations) = (live.contexts - 1, live.host_allocations - held);
    Run { result, calls, until_dropped, left: Live { contexts, host_allocations, ..live }, none_is_current }
}

/// The call at `at` as the device counts it: function and number.
fn nth(calls: &[String], at: usize) -> (&str, u64) {
    let function = calls[at].as_str();
    (function, calls[..=at].iter().filter(|call| *call == function).count() as u64)
}

/// Whether an error says what a function's failure is.
fn is_type_of(error: &Error, function: &str, code: i32) -> bool {
    match error {
        Error::Lost { code: found, .. } => code == 700 && *found == code,
        Error::MissingFunction { function: named } => code == 801 && function.starts_with(named),
        Error::OutOfMemory { wanted, free, total } => {
            code == 2 && function == "cuMemAlloc_v2" && *wanted > 0 && free <= total
        }
        Error::Launch { code: found, .. } => function == "cuLaunchKernel" && *found == code,
        Error::Driver { function: named, code: found, .. } => function.starts_with(named) && *found == code,
        _ => false,
    }
}

/// Functions that give something back: a failure has nobody to be told, and the one thing stays.
const GIVE_BACK: [&str; 6] = [
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuStreamDestroy_v2",
    "cuEventDestroy_v2",
    "cuModuleUnload",
    "cuDevicePrimaryCtxRelease_v2",
];

fn every_call_fails_once(simulated: &Simulated, name: &str, work: Use) {
    let whole = run(simulated, work, None);
    let numbers = whole.result.unwrap();
    assert_eq!(whole.left, Live::default(), "{name}");
    assert!(whole.none_is_current, "{name}");
    for at in 0..whole.calls.len() {
        let (function, nth) = nth(&whole.calls, at);
        let code = match function {
            "cuMemAlloc_v2" => 2,
            _ => [1, 700, 801][at % 3],
        };
        let failed = run(simulated, work, Some((function, nth, code)));
        let what = format!("{name}: call {at}, {function} {nth} answers {code}: {:?}", failed.result);
        // Contexts of before come back, and what is given back goes, after the answer is known.
        let is_late = at >= whole.until_dropped
            || GIVE_BACK.contains(&function)
            || (function == "cuCtxSetCurrent" && failed.result.is_ok());
        // Memory that is out is asked for once more, where some was kept that could be given up.
        let is_late = is_late || (function == "cuMemAlloc_v2" && failed.calls.len() > whole.calls.len());
        match &failed.result {
            Ok(found) => assert!(is_late && *found == numbers, "{what}"),
            Err(error) => assert!(is_type_of(error, function, code), "{what}"),
        }
        assert!(failed.none_is_current, "{what}");
        assert_eq!(failed.left.contexts, 0, "{what}");
        let counted = |function: &str| failed.calls.iter().filter(|call| *call == function).count() as u64;
        let stays = |one: &str| u64::from(function == one);
        let retained = counted("cuDevicePrimaryCtxRetain") - stays("cuDevicePrimaryCtxRetain");
        assert_eq!(counted("cuDevicePrimaryCtxRelease_v2"), retained, "{what}");
        // Without the context there is no way to what is in it.
        if function == "cuCtxSetCurrent" && at >= whole.until_dropped && failed.left.modules > 0 {
            continue;
        }
        let left = Live {
            allocations: stays("cuMemFree_v2"),
            modules: stays("cuModuleUnload"),
            host_allocations: stays("cuMemFreeHost"),
            streams: stays("cuStreamDestroy_v2"),
            events: stays("cuEventDestroy_v2"),
            ..Live::default()
        };
        assert_eq!(Live { bytes: 0, ..failed.left }, left, "{what}");
    }
}

/// What a function's first failure comes to.
fn first(simulated: &Simulated, work: Use, function: &str, code: i32) -> Result<Numbers, Error> {
    run(simulated, work, Some((function, 1, code))).result
}

// One test, as there is one device in a process.
#[test]
fn every_failure_has_its_type_and_leaves_nothing() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let simulated = Simulated::open().unwrap();
    for (name, work) in USES {
        every_call_fails_once(&simulated, name, work);
    }
    driver_and_device_must_do(&simulated);
    codes_keep_their_numbers(&simulated);
    a_lost_context_stays_lost(&simulated);
}

fn driver_and_device_must_do(simulated: &Simulated) {
    simulated.reset();
    simulated.set("CAPABILITY", "6.1").unwrap();
    assert!(matches!(Device::open(0), Err(Error::DeviceTooOld { found: (6, 1), .. })));
    // The best of the kernels, for what is there.
    for (capability, driver, kernels) in [
        ("7.0", "10000", "sm_70"),
        ("7.5", "12040", "sm_70"),
        ("8.0", "10020", "sm_70"),
        ("8.0", "11000", "sm_80"),
        ("9.0", "12040", "sm_80"),
        ("12.0", "12080", "sm_80"),
    ] {
        simulated.set("CAPABILITY", capability).unwrap();
        simulated.set("DRIVER", driver).unwrap();
        let device = Device::open(0).unwrap();
        assert_eq!(device.kernels(), kernels, "{capability}");
        a_row_of_halves(&device).unwrap();
    }
    simulated.set("CAPABILITY", "8.0").unwrap();
    simulated.set("DRIVER", "9020").unwrap();
    assert!(matches!(Device::open(0), Err(Error::DriverTooOld { found: 9020, .. })));
    simulated.set("DRIVER", "12040").unwrap();
    assert!(matches!(Device::open(7), Err(Error::NoDevice { .. })));
    simulated.set("COUNT", "0").unwrap();
    assert!(matches!(Device::open(0), Err(Error::NoDevice { .. })));
}

/// By kernels of which there are two texts.
fn a_row_of_halves(device: &Device) -> Result<(), Error> {
    let plan = cwd([1, 2, 2, 4]);
    let (teacher, student) = ([half::bf16::ONE; 16], [half::bf16::ZERO; 16]);
    device.submit(HostCall {
        plan: &plan,
        teacher: teacher[..].into(),
        student: student[..].into(),
        mask: None,
        factor: 1.0,
        grad_student: None,
        grad_teacher: None,
        row_values: None,
        statistics: KeptStatistics::Drop,
    })?;
    Ok(())
}

fn codes_keep_their_numbers(simulated: &Simulated) {
    let (_, gradient) = USES[1];
    for (function, code) in [("cuModuleLoadDataEx", 218), ("cuMemsetD32Async", 1), ("cuDeviceGet", 3)] {
        let result = first(simulated, gradient, function, code);
        assert!(matches!(&result, Err(error) if is_type_of(error, function, code)), "{result:?}");
    }
    let launch = first(simulated, gradient, "cuLaunchKernel", 701);
    assert!(matches!(launch, Err(Error::Launch { code: 701, .. })), "{launch:?}");
    // A code that the bindings do not know keeps its number.
    let unknown = first(simulated, gradient, "cuStreamSynchronize", 226);
    assert!(matches!(unknown, Err(Error::Driver { code: 226, .. })), "{unknown:?}");
}

fn a_lost_context_stays_lost(simulated: &Simulated) {
    let (_, gradient) = USES[1];
    simulated.reset();
    let device = Device::open(0).unwrap();
    simulated.fault("cuStreamSynchronize", 1, 700).unwrap();
    for _ in 0..2 {
        // The second is not even tried.
        let calls = simulated.calls();
        assert!(matches!(gradient(&device), Err(Error::Lost { code: 700, .. })));
        let more = simulated.calls().split_off(calls.len());
        assert!(calls.iter().any(|call| call == "cuLaunchKernel") == more.is_empty(), "{more:?}");
    }
}
