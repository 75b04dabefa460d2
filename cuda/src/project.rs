//! 1x1 convolutions of maps in device memory: what the kernels of `project.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::LACKS_TYPE;
use crate::kernel::{Kernel, Typed};
use crate::on::{Layout, On, Room};
use crate::resize::Numbers;
use densekd_core::{Order, Shape};

/// The parameter of the kernels: the same bytes as `ProjectTask` in `kernels/project.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ProjectTask {
    map: u64,
    projected: u64,
    weight: u64,
    bias: u64,
    gradient: u64,
    parts: u64,
    to_weight: u64,
    to_bias: u64,
    overflowed: u64,
    images: u64,
    from: Layout,
    to: Layout,
    images_of_part: u64,
    positions_of_part: u64,
    bit: u64,
}

const _: () = assert!(size_of::<ProjectTask>() == 168 && align_of::<ProjectTask>() == 8);

/// Rows and columns of a tile, as in `kernels/project.cu`.
const TILE: u64 = 64;
/// Positions of an image that a part of the gradients to the parameters takes.
const POSITIONS: u64 = 4096;
/// Parts of all images, about.
const PARTS: u64 = 64;

/// The parameters in device memory, or their gradients, numbers of `f64`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Parameters {
    /// `[C_out, C_in]`; without one the convolution is the identity.
    pub(crate) weight: Option<u64>,
    /// `[C_out]`.
    pub(crate) bias: Option<u64>,
}

/// A 1x1 convolution of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Projecting {
    task: ProjectTask,
    /// Columns of the parameters' gradients: of the weight's none where there is none, and the bias's.
    columns: u64,
}

impl Projecting {
    /// Of maps of a shape to so many channels, from one memory order to another.
    pub(crate) fn new(shape: Shape, outputs: usize, [from, to]: [Order; 2], parameters: Parameters) -> Self {
        let [images, _, height, width] = shape.dims();
        let images = images as u64;
        let positions = (height * width) as u64;
        let of_map = Layout::new(shape, from);
        let outputs = outputs as u64;
        let (across, along) = if to == Order::Nchw { (positions, 1) } else { (1, outputs) };
        let of_projected = Layout { channels: outputs, positions, across, along };
        // Where channels are last, positions are no matter of images.
        let (images, from, to) = if of_map.is_last() && of_projected.is_last() {
            (1, of_map.of_all(images), of_projected.of_all(images))
        } else {
            (images, of_map, of_projected)
        };
        let chunks = from.positions.div_ceil(POSITIONS);
        let columns = parameters.weight.map_or(0, |_| from.channels) + 1;
        let [weight, bias] = [parameters.weight, parameters.bias].map(Option::unwrap_or_default);
        let (images_of_part, positions_of_part) = ((images * chunks).div_ceil(PARTS).max(1), POSITIONS);
        let task = ProjectTask {
            weight,
            bias,
            images,
            from,
            to,
            images_of_part,
            positions_of_part,
            ..ProjectTask::default()
        };
        Self { task, columns }
    }

    /// Numbers of the projected map.
    pub(crate) const fn projected(&self) -> u64 {
        self.task.images * self.task.to.channels * self.task.to.positions
    }

    /// Of the parameters' gradients: parts, rows, columns.
    const fn parts(&self) -> [u64; 3] {
        let ProjectTask { images, images_of_part, positions_of_part, from, to, .. } = self.task;
        let parts = images.div_ceil(images_of_part) * from.positions.div_ceil(positions_of_part);
        [parts, to.channels, self.columns]
    }

    /// Room for the parts of the parameters' gradients.
    pub(crate) fn room(&self, room: &mut Room) -> u64 {
        room.take(self.parts().into_iter().product(), size_of::<f64>())
    }

    const fn tiles(parts: u64, rows: u64, columns: u64) -> u64 {
        parts * rows.div_ceil(TILE) * columns.div_ceil(TILE)
    }

    /// Starts the projected map, of `f64`.
    ///
    /// # Safety
    /// The addresses are of device memory for as many numbers, until the stream has come by.
    pub(crate) unsafe fn forward(&self, on: &On<'_>, map: Numbers, projected: u64) -> Result<(), Error> {
        let to = self.task.to;
        let typed = if to.is_last() { Typed::PROJECT_LAST } else { Typed::PROJECT_PLANES };
        let kernel = typed.of(map.dtype).ok_or(LACKS_TYPE)?;
        let task = ProjectTask { map: map.address, projected, ..self.task };
        // SAFETY: the kernel's one parameter is a `ProjectTask`; maps and parameters are the caller's.
        unsafe { on.run(kernel, task, Self::tiles(task.images, to.channels, to.positions), 1) }
    }

    /// Starts the gradient to the map, of that to the projected one, of `f64`; `bit` is set where a finite number became
    /// infinite.
    ///
    /// # Safety
    /// As [`forward`](Self::forward).
    pub(crate) unsafe fn pull(
        &self,
        on: &On<'_>,
        projected: u64,
        gradient: Numbers,
        bit: u32,
    ) -> Result<(), Error> {
        let from = self.task.from;
        let typed = if from.is_last() { Typed::PROJECT_PULL_LAST } else { Typed::PROJECT_PULL_PLANES };
        let kernel = typed.of(gradient.dtype).ok_or(LACKS_TYPE)?;
        let (gradient, overflowed, bit) = (gradient.address, on.at.overflowed, u64::from(bit));
        let task = ProjectTask { projected, gradient, overflowed, bit, ..self.task };
        // SAFETY: as in `forward`.
        unsafe { on.run(kernel, task, Self::tiles(task.images, from.channels, from.positions), 1) }
    }

    /// Starts the gradients to the parameters that are wanted, of the map and the gradient to the projected one. `parts` is where [`room`](Self::room) was taken.
    ///
    /// # Safety
    /// As [`forward`](Self::forward).
    pub(crate) unsafe fn pull_parameters(
        &self,
        on: &On<'_>,
        (map, projected): (Numbers, u64),
        parts: u64,
        to: Parameters,
    ) -> Result<(), Error> {
        let kernel = Typed::PROJECT_WEIGHTS.of(map.dtype).ok_or(LACKS_TYPE)?;
        let [count, rows, columns] = self.parts();
        let [to_weight, to_bias] = [to.weight, to.bias].map(Option::unwrap_or_default);
        let task = ProjectTask { map: map.address, projected, parts, to_weight, to_bias, ..self.task };
        let started = [
            (kernel, Self::tiles(count, rows, columns), 1),
            (Kernel::PROJECT_CLOSE, rows * columns, u64::from(Kernel::THREADS)),
        ];
        // SAFETY: as in `forward`.
        unsafe { on.run_each(&task, started) }
    }
}
