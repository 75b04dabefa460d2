//! Devices and their properties.
use super::Driver;
use super::code::{self, Answer};

impl Driver {
    pub(crate) fn device_count(&self) -> Answer<i32> {
        self.initialised().map(|()| self.settings.devices)
    }

    pub(crate) fn device_get(&self, ordinal: i32) -> Answer<i32> {
        self.initialised()?;
        if (0..self.settings.devices).contains(&ordinal) { Ok(ordinal) } else { Err(code::INVALID_DEVICE) }
    }

    pub(crate) fn device_name(&self, device: i32) -> Answer<String> {
        let device = self.device_get(device)?;
        let capability = self.settings.capability;
        Ok(format!("simulated device {device} ({}.{})", capability / 10, capability % 10))
    }

    pub(crate) fn device_memory(&self, device: i32) -> Answer<u64> {
        self.device_get(device).map(|_| self.settings.memory)
    }

    pub(crate) fn device_uuid(&self, device: i32) -> Answer<[u8; 16]> {
        let mut uuid = *b"densekd-device\0\0";
        uuid[15] = self.device_get(device)? as u8;
        Ok(uuid)
    }

    /// `CUdevice_attribute` by number.
    #[expect(clippy::match_same_arms, reason = "attributes of one subject stand together")]
    pub(crate) fn device_attribute(&self, attribute: i32, device: i32) -> Answer<i32> {
        self.device_get(device)?;
        let s = &self.settings;
        let opt_in = s.shared_opt_in() as i32;
        Ok(match attribute {
            // Threads and blocks: most of each.
            1..=3 => 1024,
            4 => 64,
            5 => i32::MAX,
            6 | 7 => 65535,
            39 => 2048,
            106 => 32,
            // Memory: shared by a block, constant, registers, on a multiprocessor, with consent.
            8 => 48 << 10,
            9 => 64 << 10,
            12 | 82 => 65536,
            81 => opt_in + 1024,
            97 => opt_in,
            111 => 1024,
            // Lanes of a warp; pitch; alignments.
            10 => 32,
            11 => i32::MAX,
            14 => 512,
            51 => 32,
            // Clocks in kHz, bits of the bus, bytes of the second level.
            13 => 1_410_000,
            36 => 1_215_000,
            37 => 5120,
            38 => 40 << 20,
            16 => s.multiprocessors,
            75 => s.capability as i32 / 10,
            76 => s.capability as i32 % 10,
            // What it can: map memory of the host, run kernels side by side, copy meanwhile, one address space,
            // priorities, caches, pools.
            19 | 31 | 41 | 78..=80 | 115 => 1,
            40 => 2,
            // What it cannot, or is not: limits of time, integrated, compute modes, ECC, buses, boards, managed
            // memory, cooperation, clusters.
            17 | 18 | 20 | 32..=35 | 50 | 83..=96 | 98..=101 | 120 => 0,
            _ => return Err(code::INVALID_VALUE),
        })
    }
}
