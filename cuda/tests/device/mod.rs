//! The device that the tests of a file share.

use densekd_cuda::Device;
use std::sync::OnceLock;

/// The simulated one, or that of the driver which `cargo xtask gpu` names.
pub(crate) fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let device = DEVICE.get_or_init(|| {
        if std::env::var_os("DENSEKD_CUDA_LIBRARY").is_none() {
            // SAFETY: every test comes here first, and the others wait: nobody reads the environment meanwhile.
            unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
        }
        Device::open(0).unwrap()
    });
    // Memory of before has values and room that would hide what is wrong.
    device.trim().unwrap();
    device
}
