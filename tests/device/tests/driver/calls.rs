//! Each function of the driver: what it does, and what it answers to what is wrong.
use crate::cuda::{Cuda, cu};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null_mut;

const SCALE: &str = "
.version 7.0
.target sm_80
.address_size 64
.visible .const .align 4 .b32 factor[1] = {0x40000000};
.visible .entry scale(.param .u64 from, .param .u64 to, .param .u32 count)
.maxntid 256, 1, 1
{
	.reg .pred %p<2>; .reg .b32 %r<6>; .reg .f32 %f<4>; .reg .b64 %rd<8>;
	mov.u32 %r1, %ctaid.x;
	mov.u32 %r2, %ntid.x;
	mov.u32 %r3, %tid.x;
	mad.lo.s32 %r4, %r1, %r2, %r3;
	ld.param.u32 %r5, [count];
	setp.ge.u32 %p1, %r4, %r5;
	@%p1 bra $done;
	ld.param.u64 %rd1, [from];
	ld.param.u64 %rd2, [to];
	mul.wide.u32 %rd3, %r4, 4;
	add.s64 %rd4, %rd1, %rd3;
	add.s64 %rd5, %rd2, %rd3;
	ld.global.f32 %f1, [%rd4];
	ld.const.f32 %f2, [factor];
	mul.f32 %f3, %f1, %f2;
	st.global.f32 [%rd5], %f3;
$done:
	ret;
}
";

/// Launches `scale` on one block: `count` numbers from `from`, doubled, to `to`.
fn scale_by(cuda: &Cuda, function: u64, threads: u32, mut from: u64, mut to: u64, mut count: u32) -> i32 {
    let mut args: [*mut c_void; 3] = [(&raw mut from).cast(), (&raw mut to).cast(), (&raw mut count).cast()];
    cuda.launch(function, [1, 1, 1], [threads, 1, 1], 0, args.as_mut_ptr())
}

#[test]
fn the_whole_way() {
    let cuda = Cuda::ready();
    let module = cuda.module(SCALE).unwrap();
    let scale = cuda.function(module, "scale").unwrap();
    let (from, to) = (cuda.allocate(12).unwrap(), cuda.allocate(12).unwrap());
    assert_eq!(cuda.write(from, &[1.0, 2.5, -3.0]), 0);
    assert_eq!(scale_by(&cuda, scale, 32, from, to, 3), 0);
    assert_eq!(cuda.synchronise(), 0);
    assert_eq!(cuda.read(to, 3).unwrap(), [2.0, 5.0, -6.0]);

    let counters = cuda.device.counters("scale");
    assert_eq!((counters.launches, counters.instructions), (1, 6 * 32 + 29 + 9 * 3 + 32));
    assert_eq!((counters.global_read, counters.global_written), (24, 12));
    assert_eq!(cuda.device.counters("nothing").launches, 0);
    let live = cuda.device.live();
    assert_eq!((live.allocations, live.bytes, live.modules, live.contexts), (3, 28, 1, 1));

    assert_eq!(cu!(cuda, cuMemFree_v2(from => u64)), 0);
    assert_eq!(cu!(cuda, cuMemFree_v2(from => u64)), 1, "freed twice");
    assert_eq!(cu!(cuda, cuMemFree_v2(0 => u64)), 0);
    assert_eq!(cu!(cuda, cuModuleUnload(module => u64)), 0);
    assert_eq!(cuda.function(module, "scale"), Err(400));
    assert_eq!(scale_by(&cuda, scale, 32, to, to, 3), 400);
    assert_eq!(cuda.device.live().allocations, 1);
    assert_eq!(cu!(cuda, cuDevicePrimaryCtxRelease_v2(0 => i32)), 0);
    assert_eq!(cuda.device.live(), densekd_device::Live::default());
}

#[test]
fn order_of_calls() {
    let cuda = Cuda::new();
    let mut count = 0;
    assert_eq!(cu!(cuda, cuDeviceGetCount(&raw mut count => *mut i32)), 3, "before cuInit");
    assert_eq!(cu!(cuda, cuInit(1 => u32)), 1);
    assert_eq!(cu!(cuda, cuInit(0 => u32)), 0);
    assert_eq!(cu!(cuda, cuDeviceGetCount(&raw mut count => *mut i32)), 0);
    assert_eq!(count, 1);
    assert_eq!(cu!(cuda, cuDeviceGet(&raw mut count => *mut i32, 1 => i32)), 101);
    assert_eq!(cu!(cuda, cuDeviceGetCount(null_mut() => *mut i32)), 1);
    assert_eq!(cuda.allocate(4), Err(201), "no context is current");
    let context = cuda.enter();
    cuda.allocate(4).unwrap();
    assert_eq!(cuda.allocate(0), Err(1));
    std::thread::scope(|s| {
        // Each thread has its own current context.
        s.spawn(|| assert_eq!(cuda.allocate(4), Err(201))).join().unwrap();
    });
    let (mut own, mut now) = (0, 0);
    assert_eq!(cu!(cuda, cuCtxCreate_v2(&raw mut own => *mut u64, 0 => u32, 0 => i32)), 0);
    assert_eq!(cu!(cuda, cuCtxGetCurrent(&raw mut now => *mut u64)), 0);
    assert_eq!(now, own);
    assert_eq!(cu!(cuda, cuCtxPopCurrent_v2(&raw mut now => *mut u64)), 0);
    assert_eq!(cu!(cuda, cuCtxGetCurrent(&raw mut now => *mut u64)), 0);
    assert_eq!(now, context);
    assert_eq!(cu!(cuda, cuCtxPushCurrent_v2(own => u64)), 0);
    let inside = cuda.allocate(4).unwrap();
    assert_eq!(cu!(cuda, cuCtxDestroy_v2(own => u64)), 0);
    assert_eq!(cuda.write(inside, &[0.0]), 1, "its memory is gone with a context");
    assert_eq!(cu!(cuda, cuCtxSetCurrent(own => u64)), 201);
}

#[test]
fn copies_and_fills() {
    let cuda = Cuda::ready();
    let (a, b) = (cuda.allocate(16).unwrap(), cuda.allocate(16).unwrap());
    assert_eq!(cu!(cuda, cuMemsetD32_v2(a => u64, 0x3f80_0000 => u32, 4 => usize)), 0);
    assert_eq!(cu!(cuda, cuMemsetD16_v2(a + 4 => u64, 0 => u16, 2 => usize)), 0);
    assert_eq!(cu!(cuda, cuMemsetD8_v2(a + 12 => u64, 0 => u8, 4 => usize)), 0);
    assert_eq!(cu!(cuda, cuMemsetD32_v2(a + 2 => u64, 0 => u32, 1 => usize)), 1, "not aligned");
    assert_eq!(cu!(cuda, cuMemsetD32_v2(a => u64, 0 => u32, 5 => usize)), 1, "too long");
    assert_eq!(cu!(cuda, cuMemcpyDtoD_v2(b => u64, a => u64, 16 => usize)), 0);
    assert_eq!(cuda.read(b, 4).unwrap(), [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(cuda.read(b, 5), Err(1));
    assert_eq!(cuda.write(b + 8, &[0.0; 3]), 1);
    assert_eq!(cuda.write(7, &[0.0; 3]), 1);
    assert_eq!(cuda.write(7, &[]), 0);
    let fresh = cuda.allocate(8).unwrap();
    cuda.read(fresh, 2).unwrap();
    assert_eq!(cuda.device.live().unknown_copied, 8);

    let (mut free, mut total) = (0, 0);
    assert_eq!(cu!(cuda, cuMemGetInfo_v2(&raw mut free => *mut usize, &raw mut total => *mut usize)), 0);
    assert_eq!(total - free, 40);
    let (mut locked, bytes) = (0, 64_usize);
    assert_eq!(cu!(cuda, cuMemAllocHost_v2(&raw mut locked => *mut u64, bytes => usize)), 0);
    assert_eq!(cu!(cuda, cuMemcpyDtoH_v2(locked => u64, b => u64, 16 => usize)), 0);
    assert_eq!(cuda.device.live().host_allocations, 1);
    assert_eq!(cu!(cuda, cuMemFreeHost(locked => u64)), 0);
    assert_eq!(cu!(cuda, cuMemFreeHost(locked => u64)), 1);
}

#[test]
fn a_violation_loses_the_context() {
    let cuda = Cuda::ready();
    let scale = cuda.function(cuda.module(SCALE).unwrap(), "scale").unwrap();
    let short = cuda.allocate(8).unwrap();
    assert_eq!(cuda.write(short, &[1.0, 2.0]), 0);
    assert_eq!(scale_by(&cuda, scale, 32, short, short, 3), 0, "a launch does not wait");
    for _ in 0..2 {
        assert_eq!(cuda.synchronise(), 700);
        assert_eq!(cuda.allocate(4), Err(700));
        assert_eq!(cu!(cuda, cuMemFree_v2(short => u64)), 700);
    }
    let report = cuda.device.report();
    for part in [
        "illegal address in kernel scale",
        "byte 8 of the 8 bytes",
        "PTX line 22: ld.global.f32 %f1, [%rd4];",
        "thread (2, 0, 0)",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert_eq!(cu!(cuda, cuDevicePrimaryCtxReset_v2(0 => i32)), 0);
    assert_eq!(cuda.allocate(4), Err(709), "the current context is gone");
    cuda.enter();
    cuda.allocate(4).unwrap();

    cuda.device.set("BLOCKING", "true").unwrap();
    let scale = cuda.function(cuda.module(SCALE).unwrap(), "scale").unwrap();
    assert_eq!(scale_by(&cuda, scale, 32, 2, 2, 3), 716);
}

#[test]
fn sizes_of_a_launch() {
    let cuda = Cuda::ready();
    let scale = cuda.function(cuda.module(SCALE).unwrap(), "scale").unwrap();
    let (mut address, mut count) = (0_u64, 0_u32);
    let mut args: [*mut c_void; 3] =
        [(&raw mut address).cast(), (&raw mut address).cast(), (&raw mut count).cast()];
    let args = args.as_mut_ptr();
    assert_eq!(cuda.launch(scale, [3, 2, 1], [16, 4, 2], 0, args), 0);
    assert_eq!(cuda.launch(scale, [0, 1, 1], [16, 1, 1], 0, args), 1);
    assert_eq!(cuda.launch(scale, [1, 65536, 1], [16, 1, 1], 0, args), 1);
    assert_eq!(cuda.launch(scale, [1, 1, 1], [0, 1, 1], 0, args), 1);
    assert_eq!(cuda.launch(scale, [1, 1, 1], [257, 1, 1], 0, args), 1, "beyond .maxntid");
    assert_eq!(cuda.launch(scale, [1, 1, 1], [16, 1, 1], (48 << 10) + 1, args), 1);
    assert_eq!(cuda.launch(scale, [1, 1, 1], [16, 1, 1], 0, null_mut()), 1);
    assert_eq!(cu!(cuda, cuFuncSetAttribute(scale => u64, 8 => i32, 100 << 10 => i32)), 0);
    assert_eq!(cuda.launch(scale, [1, 1, 1], [16, 1, 1], 100 << 10, args), 0);
    assert_eq!(cu!(cuda, cuFuncSetAttribute(scale => u64, 8 => i32, 200 << 10 => i32)), 1);
    let mut value = 0;
    assert_eq!(cu!(cuda, cuFuncGetAttribute(&raw mut value => *mut i32, 0 => i32, scale => u64)), 0);
    assert_eq!(value, 256);
    assert_eq!(cuda.synchronise(), 0);
}

#[test]
fn modules_that_are_refused() {
    let cuda = Cuda::ready();
    assert_eq!(cuda.module("nonsense"), Err(218));
    let unknown = SCALE.replace("mul.f32 %f3", "mul.f16 %f3");
    assert_eq!(cuda.module(&unknown), Err(218));
    assert!(cuda.device.report().contains("PTX line 24"), "{}", cuda.device.report());
    assert_eq!(cuda.module(&SCALE.replace("sm_80", "sm_90")), Err(218), "the device is 8.0");
    assert_eq!(
        cuda.module(&SCALE.replace(".version 7.0", ".version 8.5")),
        Err(222),
        "the driver is of 12.4"
    );
    assert_eq!(cuda.device.live().allocations, 0, "variables of refused modules are gone");
    cuda.device.set("CAPABILITY", "9.0").unwrap();
    let module = cuda.module(&SCALE.replace("sm_80", "sm_90")).unwrap();
    assert_eq!(cuda.function(module, "other"), Err(500));

    // The driver's log says why.
    let (mut log, text) = ([0_u8; 200], CString::new(unknown).unwrap());
    let options = [5_i32, 6];
    let values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(log.len())];
    let mut module = 0;
    let code = cu!(cuda, cuModuleLoadDataEx(
        &raw mut module => *mut u64, text.as_ptr() => *const c_char, 2 => u32, options.as_ptr() => *const i32,
        values.as_ptr() => *const *mut c_void
    ));
    assert_eq!(code, 218);
    let text = CStr::from_bytes_until_nul(&log).unwrap().to_str().unwrap();
    assert!(text.contains("mul.f16 %f3, %f1, %f2"), "{text}");
}

#[test]
fn properties_and_memory() {
    let cuda = Cuda::ready();
    for (name, value) in [("MEMORY", "1000"), ("CAPABILITY", "12.0"), ("MULTIPROCESSORS", "7")] {
        cuda.device.set(name, value).unwrap();
    }
    assert_eq!(cuda.device.set("COLOUR", "7"), Err(densekd_device::Code(1)));
    assert_eq!(cuda.device.set("MEMORY", "much"), Err(densekd_device::Code(1)));
    let attribute = |which| {
        let mut value = 0;
        assert_eq!(cu!(cuda, cuDeviceGetAttribute(&raw mut value => *mut i32, which => i32, 0 => i32)), 0);
        value
    };
    assert_eq!([75, 76, 16, 10, 97].map(attribute), [12, 0, 7, 32, 99 << 10]);
    assert_eq!(cuda.allocate(1001), Err(2));
    let kept = cuda.allocate(600).unwrap();
    assert_eq!(cuda.allocate(500), Err(2));
    assert_eq!(cu!(cuda, cuMemFree_v2(kept => u64)), 0);
    cuda.allocate(500).unwrap();
    let mut name = [0_u8; 64];
    assert_eq!(cu!(cuda, cuDeviceGetName(name.as_mut_ptr() => *mut u8, 64 => i32, 0 => i32)), 0);
    assert!(name.starts_with(b"simulated device 0 (12.0)\0"));

    cuda.device.reset();
    cuda.device.set("COUNT", "0").unwrap();
    assert_eq!(cu!(cuda, cuInit(0 => u32)), 100);
}

#[test]
fn faults_come_when_asked_for() {
    let cuda = Cuda::ready();
    cuda.device.fault("cuMemAlloc_v2", 2, 2).unwrap();
    cuda.device.fault("cuCtxSynchronize", 1, 719).unwrap();
    let got: Vec<bool> = (0..4).map(|_| cuda.allocate(4).is_ok()).collect();
    assert_eq!(got, [true, false, true, true]);
    assert_eq!([cuda.synchronise(), cuda.synchronise()], [719, 0]);
    cuda.device.set("FAULT", "cuMemGetInfo_v2=999").unwrap();
    let (mut free, mut total) = (0, 0);
    let mut info = || cu!(cuda, cuMemGetInfo_v2(&raw mut free => *mut usize, &raw mut total => *mut usize));
    assert_eq!([info(), info()], [999, 0]);
}

#[test]
fn streams_and_events() {
    let cuda = Cuda::ready();
    let (mut stream, mut start, mut end) = (0, 0, 0);
    assert_eq!(cu!(cuda, cuStreamCreateWithPriority(&raw mut stream => *mut u64, 1 => u32, -99 => i32)), 0);
    let mut priority = 0;
    assert_eq!(cu!(cuda, cuStreamGetPriority(stream => u64, &raw mut priority => *mut i32)), 0);
    assert_eq!(priority, -5);
    assert_eq!(cu!(cuda, cuEventCreate(&raw mut start => *mut u64, 0 => u32)), 0);
    assert_eq!(cu!(cuda, cuEventCreate(&raw mut end => *mut u64, 0 => u32)), 0);
    let mut time = 0.0;
    let elapsed =
        |time: &mut f32| cu!(cuda, cuEventElapsedTime(&raw mut *time => *mut f32, start => u64, end => u64));
    assert_eq!(elapsed(&mut time), 400, "nothing is recorded");
    assert_eq!(cu!(cuda, cuEventRecord(start => u64, stream => u64)), 0);
    let scale = cuda.function(cuda.module(SCALE).unwrap(), "scale").unwrap();
    let buffer = cuda.allocate(128).unwrap();
    assert_eq!(cuda.write(buffer, &[1.0; 32]), 0);
    assert_eq!(scale_by(&cuda, scale, 32, buffer, buffer, 32), 0);
    assert_eq!(cu!(cuda, cuEventRecord(end => u64, stream => u64)), 0);
    assert_eq!(cu!(cuda, cuStreamWaitEvent(stream => u64, end => u64, 0 => u32)), 0);
    assert_eq!(elapsed(&mut time), 0);
    assert!(time > 0.0);
    let live = cuda.device.live();
    assert_eq!((live.streams, live.events), (1, 2));
    assert_eq!(cu!(cuda, cuEventDestroy_v2(start => u64)), 0);
    assert_eq!(cu!(cuda, cuEventDestroy_v2(start => u64)), 400);
    assert_eq!(cu!(cuda, cuStreamDestroy_v2(stream => u64)), 0);
    assert_eq!(cu!(cuda, cuStreamSynchronize(stream => u64)), 400);
    assert_eq!(cu!(cuda, cuStreamSynchronize(0 => u64)), 0);
}

#[test]
fn errors_have_names() {
    let cuda = Cuda::new();
    let [name, sentence] = cuda.error(700).unwrap();
    assert_eq!(
        (name.as_str(), sentence.as_str()),
        ("CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered")
    );
    for code in [0, 1, 2, 3, 100, 101, 201, 218, 222, 400, 500, 702, 709, 716, 719, 801, 999] {
        assert!(cuda.error(code).is_some(), "{code}");
    }
    assert_eq!(cuda.error(12345), None);
}

/// Run by the test below in a process of its own, whose environment it reads.
#[test]
#[ignore = "wants an environment"]
fn in_an_environment() {
    let cuda = Cuda::by_name();
    assert_eq!([0; 3].map(|flags| cu!(cuda, cuInit(flags => u32))), [0, 803, 0]);
    cuda.enter();
    assert_eq!(cuda.allocate(1001), Err(2));
    cuda.allocate(1000).unwrap();
    let mut major = 0;
    assert_eq!(cu!(cuda, cuDeviceGetAttribute(&raw mut major => *mut i32, 75 => i32, 0 => i32)), 0);
    assert_eq!(major, 9);
}

/// Properties come from the environment, and the library is found by the driver's own name.
#[test]
fn the_environment() {
    let run = |memory: &str| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "calls::in_an_environment"]).env("DENSEKD_DEVICE_MEMORY", memory);
        child.env("DENSEKD_DEVICE_CAPABILITY", "9.0").env("DENSEKD_DEVICE_FAULT", "cuInit=803@2");
        child.env("LD_LIBRARY_PATH", densekd_device::library().parent().unwrap());
        child.output().unwrap().status.success()
    };
    assert!(run("1000"));
    assert!(!run("999"), "the child asserts what it is told");
}
