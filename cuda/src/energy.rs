//! Energies of maps, compared as vectors over positions: what the kernels of `energy.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::kernel::{Kernel, Typed};
use crate::on::{On, Places, Pulled};
use crate::vectors::Vectors;
use densekd_core::{DType, Order};

/// The parameter of the kernels: the same bytes as `EnergyTask` in `kernels/energy.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct EnergyTask {
    map: u64,
    energies: u64,
    gradient: u64,
    overflowed: u64,
    images: u64,
    channels: u64,
    positions: u64,
    power: u32,
    bit: u32,
}

const _: () = assert!(size_of::<EnergyTask>() == 64 && align_of::<EnergyTask>() == 8);

/// Channels of a block of the gradient, where they are planes.
const CHUNK: u64 = 64;

/// The largest power whose squares stay within `f64`, of all but the largest numbers of `f32`.
pub(crate) const LARGEST_POWER: u32 = 4;

/// Two maps of energies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Energies {
    pub(crate) order: Order,
    pub(crate) images: usize,
    pub(crate) positions: usize,
    pub(crate) teacher_channels: usize,
    pub(crate) student_channels: usize,
    pub(crate) power: u32,
    /// The images' energies as vectors over positions.
    pub(crate) vectors: Vectors,
}

impl Energies {
    /// Bytes of one map of energies.
    fn map(&self) -> usize {
        self.images * self.positions * size_of::<f64>()
    }

    /// Bytes of workspace: the vectors' own, both maps, and a gradient to one.
    pub(crate) fn workspace(&self) -> usize {
        self.vectors.workspace(DType::F64).next_multiple_of(16).saturating_add(3 * self.map())
    }

    /// Where the maps of teacher and student are, and the gradient; the places of their comparison.
    fn places(&self, at: &Places) -> ([u64; 3], Places) {
        let first = at.workspace + self.vectors.workspace(DType::F64).next_multiple_of(16) as u64;
        let maps = [0, 1, 2].map(|i| first + i * self.map() as u64);
        (maps, Places { teacher: maps[0], student: maps[1], ..*at })
    }

    /// A side's kernels and the blocks of both: energies, gradient.
    fn kernels(&self, channels: u64, dtype: DType) -> [(Typed, u64); 2] {
        let (images, positions) = (self.images as u64, self.positions as u64);
        match self.order {
            Order::Nchw => {
                let pack = if dtype == DType::F64 { 1 } else { 16 / dtype.size() as u64 };
                let tiles = images * positions.div_ceil(32 * pack);
                let chunks = channels.div_ceil(CHUNK);
                [(Typed::ENERGY_PLANES, tiles), (Typed::ENERGY_PULL_PLANES, tiles * chunks)]
            }
            Order::Nhwc => {
                let blocks = (images * positions).div_ceil(u64::from(Kernel::THREADS / 32));
                [(Typed::ENERGY_LAST, blocks), (Typed::ENERGY_PULL_LAST, blocks)]
            }
        }
    }

    /// A side's task, with its channels.
    fn task(&self, to_teacher: bool, at: &Places) -> EnergyTask {
        let (map, channels, bit) = if to_teacher {
            (at.teacher, self.teacher_channels, 2)
        } else {
            (at.student, self.student_channels, 1)
        };
        EnergyTask {
            map,
            overflowed: at.overflowed,
            images: self.images as u64,
            channels: channels as u64,
            positions: self.positions as u64,
            power: self.power,
            bit,
            ..EnergyTask::default()
        }
    }

    /// As [`Vectors::measure`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn measure(&self, on: &On<'_>) -> Result<(), Error> {
        let ([of_teacher, of_student, _], places) = self.places(&on.at);
        for (to_teacher, energies) in [(true, of_teacher), (false, of_student)] {
            let task = EnergyTask { energies, ..self.task(to_teacher, &on.at) };
            let [(kernel, pieces), _] = self.kernels(task.channels, on.dtype);
            // SAFETY: the kernel's one parameter is an `EnergyTask`; the map is the caller's, the energies have room
            // in the workspace.
            unsafe { on.run(on.kernel(kernel)?, task, pieces, 1) }?;
        }
        // SAFETY: both maps were just written.
        unsafe { self.vectors.measure(&On { dtype: DType::F64, at: places, ..*on }) }
    }

    /// As [`Vectors::pull`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn pull(&self, on: &On<'_>, to: Pulled) -> Result<(), Error> {
        let ([.., slopes], places) = self.places(&on.at);
        let on_energies = On { dtype: DType::F64, at: places, ..*on };
        // SAFETY: the slopes have room for a map of energies.
        unsafe { self.vectors.pull(&on_energies, Pulled { gradient: slopes, ..to }) }?;
        let task = EnergyTask { energies: slopes, gradient: to.gradient, ..self.task(to.to_teacher, &on.at) };
        let [_, (kernel, pieces)] = self.kernels(task.channels, on.dtype);
        // SAFETY: as in `measure`; the gradient is as long as the map.
        unsafe { on.run(on.kernel(kernel)?, task, pieces, 1) }
    }
}
