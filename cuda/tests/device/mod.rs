//! The devices that the tests of a file share.

use densekd_cuda::Device;
use densekd_device::Device as Simulated;
use std::sync::OnceLock;

/// The simulated one, or that of the driver which `cargo xtask gpu` names.
pub(crate) fn device() -> &'static Device {
    devices().0
}

/// The same, and a simulated one of before compute capability 8.0, which other kernels are for.
pub(crate) fn devices() -> (&'static Device, Option<&'static Device>) {
    let (device, older) = opened();
    (fresh(device), older.as_ref().map(fresh))
}

fn opened() -> &'static (Device, Option<Device>) {
    static DEVICES: OnceLock<(Device, Option<Device>)> = OnceLock::new();
    DEVICES.get_or_init(|| {
        if std::env::var_os("DENSEKD_CUDA_LIBRARY").is_some() {
            return (Device::open(0).unwrap(), None);
        }
        // SAFETY: every test comes here first, and the others wait: nobody reads the environment meanwhile.
        unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
        let simulated = Simulated::open().unwrap();
        let [older, newer] = ["7.0", "8.0"].map(|capability| {
            simulated.set("CAPABILITY", capability).unwrap();
            Device::open(0).unwrap()
        });
        assert_eq!([older.kernels(), newer.kernels()], ["sm_70", "sm_80"]);
        (newer, Some(older))
    })
}

/// Without memory of before, which has values and room that would hide what is wrong.
fn fresh(device: &Device) -> &Device {
    device.trim().unwrap();
    device
}
