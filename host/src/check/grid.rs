//! Where the elements of a map stand, whatever its memory order.

use densekd_core::{Norm, Order, Plan, Shape, Tensor};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

/// A map's shape and memory order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    shape: Shape,
    order: Order,
}

impl Grid {
    pub(super) const fn new(shape: Shape, order: Order) -> Self {
        Self { shape, order }
    }

    /// Image, channel and position (y W + x) of an element.
    pub(super) fn place(&self, flat: usize) -> [usize; 3] {
        let (c, m) = (self.shape.channels(), self.shape.positions());
        let (image, rest) = (flat / (c * m), flat % (c * m));
        match self.order {
            Order::Nchw => [image, rest / m, rest % m],
            Order::Nhwc => [image, rest % c, rest / c],
        }
    }

    /// The element at an image, a channel and a position.
    pub(super) fn flat(&self, [image, channel, position]: [usize; 3]) -> usize {
        let (c, m) = (self.shape.channels(), self.shape.positions());
        match self.order {
            Order::Nchw => (image * c + channel) * m + position,
            Order::Nhwc => (image * m + position) * c + channel,
        }
    }

    /// `[n, c, y, x]` of an element.
    pub(super) fn index(&self, flat: usize) -> [usize; 4] {
        let [image, channel, position] = self.place(flat);
        let width = self.shape.dims()[3];
        [image, channel, position / width, position % width]
    }
}

/// The softmax rows of a plan's own map. Their numbers do not depend on the memory order, and are those of
/// the plan's rows unless the map is enlarged.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowGrid {
    grid: Grid,
    shape: Shape,
    rows_are_positions: bool,
}

impl RowGrid {
    pub(super) fn new(plan: &Plan) -> Self {
        let rows_are_positions = plan.recipe().options().norm == Norm::Spatial;
        Self { grid: Grid::new(plan.shape(), plan.order()), shape: plan.shape(), rows_are_positions }
    }

    pub(super) const fn grid(&self) -> &Grid {
        &self.grid
    }

    pub(super) const fn rows_are_positions(&self) -> bool {
        self.rows_are_positions
    }

    pub(super) const fn rows(&self) -> usize {
        self.shape.len() / self.row_len()
    }

    pub(super) const fn row_len(&self) -> usize {
        if self.rows_are_positions { self.shape.channels() } else { self.shape.positions() }
    }

    /// An entry of a row, as an element.
    pub(super) fn element(&self, row: usize, entry: usize) -> usize {
        let (c, m) = (self.shape.channels(), self.shape.positions());
        self.grid.flat(if self.rows_are_positions {
            [row / m, entry, row % m]
        } else {
            [row / c, row % c, entry]
        })
    }

    /// The row of an element, and its entry in it.
    pub(super) fn row(&self, flat: usize) -> (usize, usize) {
        let (c, m) = (self.shape.channels(), self.shape.positions());
        let [image, channel, position] = self.grid.place(flat);
        if self.rows_are_positions {
            (image * m + position, channel)
        } else {
            (image * c + channel, position)
        }
    }

    /// The image and the position `(n H + y) W + x` of an entry.
    pub(super) fn position(&self, row: usize, entry: usize) -> (usize, usize) {
        let (c, m) = (self.shape.channels(), self.shape.positions());
        if self.rows_are_positions { (row / m, row) } else { (row / c, row / c * m + entry) }
    }
}

/// An element as `f64`, exactly; NaN beyond the end.
pub(super) fn element(tensor: Tensor<'_>, flat: usize) -> f64 {
    match tensor {
        Tensor::F32(x) => x.get(flat).map_or(f64::NAN, |&x| f64::from(x)),
        Tensor::F64(x) => x.get(flat).copied().unwrap_or(f64::NAN),
        Tensor::F16(x) => x.get(flat).map_or(f64::NAN, |x| x.to_f64()),
        Tensor::Bf16(x) => x.get(flat).map_or(f64::NAN, |x| x.to_f64()),
    }
}

/// The enlarged coordinates that a coordinate takes part in, and at most one more at each end.
pub(super) fn reach(at: usize, size: usize, enlarged: usize) -> RangeInclusive<usize> {
    let Some(gaps) = NonZeroUsize::new(size - 1) else { return 0..=enlarged - 1 };
    let scaled = |at: usize| at.saturating_mul(enlarged - 1);
    scaled(at.saturating_sub(1)) / gaps..=scaled(at + 1).div_ceil(gaps.get()).min(enlarged - 1)
}
