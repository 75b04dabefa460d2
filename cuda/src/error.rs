//! Why a GPU did not do it.

/// A failure of the device or the driver.
///
/// ```
/// let error = densekd_cuda::Error::NoDevice { reason: "the driver counts 0 devices".into() };
/// assert_eq!(error.code(), "no_device");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No driver, or none with such a device.
    #[error("no CUDA device: {reason}")]
    NoDevice {
        /// What was looked for and not found.
        reason: String,
    },
    /// A driver that cannot read the kernels.
    #[error(
        "the CUDA driver is too old: it is of CUDA {}.{}, the kernels want {}.{}; install a newer NVIDIA driver",
        .found / 1000, .found % 1000 / 10, .wanted / 1000, .wanted % 1000 / 10
    )]
    DriverTooOld {
        /// 1000 times the major version and 10 times the minor one.
        found: i32,
        /// The least that does.
        wanted: i32,
    },
    /// A device that the kernels are not made for.
    #[error(
        "{name} has compute capability {}.{}, the kernels want {}.{} or later", .found.0, .found.1, .wanted.0, .wanted.1
    )]
    DeviceTooOld {
        /// The device.
        name: String,
        /// Its compute capability, major and minor.
        found: (i32, i32),
        /// The least that does.
        wanted: (i32, i32),
    },
    /// A function that the driver lacks.
    #[error("the installed CUDA driver has no {function}: install a newer NVIDIA driver")]
    MissingFunction {
        /// Its name.
        function: &'static str,
    },
    /// Not enough memory.
    #[error(
        "out of device memory: {wanted} bytes were asked for, {free} of {total} are free; use a smaller batch"
    )]
    OutOfMemory {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes free just after.
        free: usize,
        /// Bytes of the device.
        total: usize,
    },
    /// A kernel that could not be started.
    #[error("kernel {kernel} could not be launched: {text} (CUDA error {code})")]
    Launch {
        /// The kernel.
        kernel: &'static str,
        /// The driver's code.
        code: i32,
        /// The driver's words.
        text: String,
    },
    /// A fault that ends the device's context: nothing runs on it any more in this process.
    #[error("the CUDA context is lost: {text} (CUDA error {code}); start the process again")]
    Lost {
        /// The driver's code.
        code: i32,
        /// The driver's words.
        text: String,
    },
    /// Anything else that the driver answered.
    #[error("{function} failed: {text} (CUDA error {code})")]
    Driver {
        /// The function.
        function: &'static str,
        /// The driver's code.
        code: i32,
        /// The driver's words.
        text: String,
    },
    /// A loss or a size that the kernels do not cover.
    #[error("the CUDA kernels do not cover this: {reason}")]
    Unsupported {
        /// What is not covered.
        reason: &'static str,
    },
    /// Kept statistics that were never filled.
    #[error(
        "the kept statistics of row {row} were never filled: run the value with statistics to write first"
    )]
    Statistics {
        /// The first such row.
        row: usize,
    },
    /// An address that is not of the device's memory: of the host's, page-locked or not, freed, or null.
    #[error(
        "{buffer}: {address:#x} is no memory of the device: copy it there first, or submit it from the host"
    )]
    NotOnDevice {
        /// Which.
        buffer: &'static str,
        /// The address.
        address: u64,
    },
    /// An address in the memory of another device.
    #[error("{buffer} lies on device {found}, the call is one of device {wanted}")]
    OtherDevice {
        /// Which.
        buffer: &'static str,
        /// The device that it lies on.
        found: i32,
        /// The device of the call.
        wanted: i32,
    },
    /// A buffer of another length than the plan asks for.
    #[error("{buffer}: the length is {found}, but the plan wants {wanted}")]
    Length {
        /// Which.
        buffer: &'static str,
        /// Its length.
        found: usize,
        /// The length that would do.
        wanted: usize,
    },
}

impl Error {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoDevice { .. } => "no_device",
            Self::DriverTooOld { .. } => "driver_too_old",
            Self::DeviceTooOld { .. } => "device_too_old",
            Self::MissingFunction { .. } => "missing_function",
            Self::OutOfMemory { .. } => "out_of_device_memory",
            Self::Launch { .. } => "launch",
            Self::Lost { .. } => "device_lost",
            Self::Driver { .. } => "driver",
            Self::Unsupported { .. } => "unsupported",
            Self::Statistics { .. } => "statistics",
            Self::NotOnDevice { .. } => "not_on_device",
            Self::OtherDevice { .. } => "other_device",
            Self::Length { .. } => "length",
        }
    }
}
