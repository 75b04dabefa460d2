//! What is said where there is no driver.
#![allow(unsafe_code, reason = "a variable of the process's environment")]

use densekd_cuda::{Device, Error};

#[test]
fn no_driver_is_no_device_with_the_reason() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", "libcuda-that-is-not-there.so") };
    for error in [Device::open(0).map(|_| ()), Device::count().map(|_| ())] {
        let Err(Error::NoDevice { reason }) = error else { panic!("{error:?}") };
        assert!(reason.contains("libcuda-that-is-not-there.so"), "{reason}");
    }
}
