//! What the device is: read from the environment when it is first used, or set later by name.

/// Names of the environment variables begin so.
const PREFIX: &str = "DENSEKD_DEVICE_";

/// A call that fails on request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) function: String,
    /// Counted from 1.
    pub(super) call: u64,
    pub(super) code: i32,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Compute capability times ten.
    pub(crate) capability: u32,
    /// Version of CUDA times 1000, and its minor times 10.
    pub(crate) driver: i32,
    /// Bytes of global memory.
    pub(crate) memory: u64,
    pub(crate) multiprocessors: i32,
    pub(crate) devices: i32,
    pub(crate) seed: u64,
    /// Most instructions of a warp.
    pub(crate) steps: u64,
    /// Whether a launch itself answers that it failed, as with the real driver's `CUDA_LAUNCH_BLOCKING=1`.
    pub(crate) blocking: bool,
    pub(super) faults: Vec<Fault>,
}

impl Settings {
    pub(crate) fn from_environment() -> Self {
        let mut settings = Self {
            capability: 80,
            driver: 12040,
            memory: 4 << 30,
            multiprocessors: 108,
            devices: 1,
            seed: 1,
            steps: 1 << 26,
            blocking: std::env::var("CUDA_LAUNCH_BLOCKING").is_ok_and(|v| v == "1"),
            faults: Vec::new(),
        };
        for name in ["CAPABILITY", "DRIVER", "MEMORY", "MULTIPROCESSORS", "COUNT", "SEED", "STEPS", "FAULT"] {
            let variable = format!("{PREFIX}{name}");
            let Ok(value) = std::env::var(&variable) else { continue };
            if !settings.set(name, &value) {
                eprintln!("densekd-device: {variable}={value} is not understood and has no effect");
            }
        }
        settings
    }

    /// False: unknown name, or a value that is none.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> bool {
        fn put<T: std::str::FromStr>(to: &mut T, value: &str) -> bool {
            value.parse().map(|v| *to = v).is_ok()
        }
        match name {
            "CAPABILITY" => value
                .split_once('.')
                .and_then(|(major, minor)| Some(major.parse::<u32>().ok()? * 10 + minor.parse::<u32>().ok()?))
                .map(|v| self.capability = v)
                .is_some(),
            "DRIVER" => put(&mut self.driver, value),
            "MEMORY" => put(&mut self.memory, value),
            "MULTIPROCESSORS" => put(&mut self.multiprocessors, value),
            "COUNT" => put(&mut self.devices, value),
            "SEED" => put(&mut self.seed, value),
            "STEPS" => put(&mut self.steps, value),
            "BLOCKING" => put(&mut self.blocking, value),
            "FAULT" => value.split(',').filter(|f| !f.is_empty()).all(|f| match Fault::parse(f) {
                Some(fault) => {
                    self.faults.push(fault);
                    true
                }
                None => false,
            }),
            _ => false,
        }
    }

    /// Most bytes of shared memory that a block may ask for.
    pub(crate) fn shared_opt_in(&self) -> u32 {
        match self.capability {
            0..80 => 96 << 10,
            80 | 87 => 163 << 10,
            86 | 89 | 120.. => 99 << 10,
            _ => 227 << 10,
        }
    }

    /// The newest PTX that the driver takes.
    pub(crate) fn newest_ptx(&self) -> (u32, u32) {
        let (major, minor) = ((self.driver / 1000) as u32, (self.driver % 1000 / 10) as u32);
        match major {
            // 6.0 was of CUDA 9.0, 6.3 of CUDA 10.0; from CUDA 11 on the numbers run in parallel.
            ..=9 => (6, minor),
            10 => (6, 3 + minor),
            _ => (major - 4, minor),
        }
    }
}

impl Fault {
    /// `cuMemAlloc_v2=2@3`: code 2 at the third call; the first where no call is given.
    fn parse(text: &str) -> Option<Self> {
        let (function, rest) = text.split_once('=')?;
        let (code, call) = rest.split_once('@').unwrap_or((rest, "1"));
        Some(Self { function: function.to_owned(), call: call.parse().ok()?, code: code.parse().ok()? })
    }
}
