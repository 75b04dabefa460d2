//! The golden vectors of rows in `f64` on the CUDA backend, on the simulated device.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd::{Cuda, selftest};
use densekd_tests::backends::ChannelsLast;
use densekd_tests::golden::in_f64;

#[test]
fn the_gpu_passes_the_vectors_of_rows_in_f64() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let cuda = Cuda::open(0).unwrap();
    let rows: Vec<_> = in_f64().into_iter().filter(|case| ["cwd", "pi"].contains(&&case.loss[..])).collect();
    for report in [selftest::run(&cuda, &rows), selftest::run(&ChannelsLast(&cuda), &rows)] {
        let failed: Vec<_> = report.cases.iter().filter(|case| !case.ok).collect();
        assert!(failed.is_empty(), "{failed:?}");
        // Of other divergences there are no kernels.
        assert_eq!((report.passed, report.unsupported.len()), (55, 11), "{:?}", report.unsupported);
    }
}
