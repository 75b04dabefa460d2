//! The CUDA kernels of densekd and their launch: the row losses, and some losses of whole maps, on NVIDIA GPUs.
//!
//! The driver is found at run time (`libcuda.so.1`, or what the environment variable `DENSEKD_CUDA_LIBRARY` names):
//! everything builds, starts and is tested where there is none, and says [`Error::NoDevice`] with the reason. The
//! kernels are shipped as PTX, which the driver compiles for its device.
//!
//! | to | use |
//! | --- | --- |
//! | run a loss on tensors in host memory | [`Device::submit`] |
//! | run it on device pointers in the order of a stream | [`Device::launch`] |
//! | the same of a loss of whole maps | [`Device::submit_map`], [`Device::launch_map`] |
//! | the same of maps that are resized or projected first | [`Device::submit_adapted`], [`Device::launch_adapted`] |
//! | have labels as classes | [`classes`](fn@classes), [`Device::launch_labels`] |
//! | time it beside a copy | [`Device::time`] |
//! | know what is covered | [`uncovered`], [`uncovered_statistics`], [`uncovered_map`] |
//!
//! The package `densekd` has it behind its `Backend` trait by the feature `cuda`.

mod adapted;
mod adapted_host;
mod adapter;
mod classes;
mod coverage;
mod device;
mod dist;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod driver;
mod energy;
mod enlarged;
mod error;
mod form;
#[cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
    path = "gpu_elsewhere.rs"
)]
mod gpu;
mod ho;
mod host;
mod ifvd;
mod kernel;
mod la;
mod labels;
mod maps;
mod on;
mod pa;
mod project;
mod resize;
mod rkd;
mod states;
mod strategy;
mod task;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod text;
mod timing;
mod vectors;
mod way;

pub use adapted::{AdaptedDeviceCall, AdaptedLoss, AdaptedMap};
pub use adapted_host::{AdaptedHostCall, AdaptedHostLoss, AdaptedHostMap, AdaptedSum};
pub use adapter::AdapterPlan;
pub use coverage::{uncovered, uncovered_statistics};
pub use device::{Device, DeviceCall, KeptStates};
pub use error::Error;
pub use form::uncovered_map;
pub use host::{HostCall, Sum};
pub use labels::{LabelsDeviceCall, classes};
pub use maps::{MapDeviceCall, MapHostCall, MapSum};
pub use timing::Turn;
