//! A loss on a shape: what is to be done, without the data.

use crate::access::Place;
use crate::mask::Mask;
use crate::recipe::{Ignore, Norm, Recipe, Samples};
use crate::row::{are_short, kept_room};
use crate::segments::Segments;
use crate::shape::{Layout, Order, Shape};
use crate::{Divisor, Error};
use core::ops::Range;

/// Neighbouring rows that are walked together where they interleave in memory: a cache line of `f32`.
pub(crate) const TILE: usize = 16;

/// Entries up to which a row is taken as a whole: far more than merging what two segments found costs.
const SEGMENT: usize = 1 << 17;

/// The same of rows that interleave, a tile of which is taken together.
const SEGMENT_OF_TILE: usize = 1 << 15;

/// Entries up to which rows of neighbours are taken together.
const SHORT: usize = 2048;

/// Elements of a job: enough that the cost of handing one out does not show.
const JOB: usize = 1 << 16;

/// A recipe on a shape in a memory order: plain checked data, made once and used for every batch.
///
/// Whoever holds a plan cannot meet a shape error; backends read it and ask nothing else.
///
/// ```
/// use densekd_core::{Order, Plan, Recipe, RowOptions, Shape};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([8, 19, 128, 256])?, Order::Nchw)?;
/// assert_eq!((plan.rows(), plan.row_len(), plan.scratch()), (8 * 19, 128 * 256, 0));
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    recipe: Recipe,
    shape: Shape,
    /// The shape that rows are taken of: the enlarged one under `upsample`.
    virtual_shape: Shape,
    order: Order,
    layout: Layout,
}

impl Plan {
    /// Lays the recipe out on a shape.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where the enlarged map of `upsample` does not fit an address.
    pub fn new(recipe: Recipe, shape: Shape, order: Order) -> Result<Self, Error> {
        let factor = recipe.options().upsample.get();
        let [n, c, h, w] = shape.dims();
        let enlarged = [n, c, h.saturating_mul(factor), w.saturating_mul(factor)];
        let virtual_shape = Shape::new(enlarged)?;
        let layout = match recipe.options().norm {
            Norm::Spatial => Layout::positions(virtual_shape, order),
            Norm::Channel | Norm::ChannelMean | Norm::None => Layout::channels(virtual_shape, order),
        };
        Ok(Self { recipe, shape, virtual_shape, order, layout })
    }

    /// The recipe.
    pub const fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The shape of teacher, student and gradients.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The memory order of teacher, student and gradients.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The view that rows are taken of.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The map that positions are counted in: the shape, or the enlarged one under `upsample`.
    pub const fn counted_shape(&self) -> Shape {
        self.virtual_shape
    }

    /// How many rows there are: the length of per-row values and of kept statistics.
    pub const fn rows(&self) -> usize {
        self.layout.rows()
    }

    /// Entries of a row.
    pub const fn row_len(&self) -> usize {
        self.layout.axis()
    }

    /// Numbers of `f64` scratch that a gradient needs from the caller: C H W under `upsample`, else 0.
    pub fn scratch(&self) -> usize {
        if self.is_upsampled() { self.shape.channels() * self.shape.positions() } else { 0 }
    }

    /// Numbers of `f32` in which a job keeps what its sweep has left of entries until their gradient is made of it
    /// ([`Outputs::room`](crate::Outputs::room)): two an entry of the rows that are worked on together, at most 2^18 + 16; 0
    /// for rows that interleave, that are cut, or of up to 64 entries.
    ///
    /// ```
    /// use densekd_core::{Order, Plan, Recipe, RowOptions, Shape};
    /// let plan = |order| Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([8, 19, 128, 256])?, order);
    /// assert_eq!(plan(Order::Nchw)?.room(), 2 * 128 * 256 + 16);
    /// assert_eq!(plan(Order::Nhwc)?.room(), 0);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn room(&self) -> usize {
        let rows_lie_together = self.layout.inner() == 1 && !self.is_upsampled();
        if !rows_lie_together || self.is_cut() || are_short(self.row_len()) {
            return 0;
        }
        kept_room(self.rows_together(), self.row_len())
    }

    /// Rows that are worked on together: those that interleave, and short ones, whose cost is the row; others one by one,
    /// while they are in cache.
    pub(crate) fn rows_together(&self) -> usize {
        if self.layout.inner() == 1 && self.row_len() > SHORT { 1 } else { TILE }
    }

    /// Whether rows are taken of an enlarged map.
    pub const fn is_upsampled(&self) -> bool {
        self.recipe.options().upsample.get() > 1
    }

    /// What the sum over rows is divided by, under this mask; 0 where no position counts.
    ///
    /// Cost: one read of the mask where there is one.
    #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
    pub fn divisor(&self, mask: &Mask<'_>) -> f64 {
        let options = self.recipe.options();
        let after = options.ignore == Ignore::After;
        let (positions, images) = if after { Mask::ALL } else { *mask }.tally(self.virtual_shape);
        let channels =
            options.divisor_channels.map_or(self.shape.channels(), core::num::NonZeroUsize::get) as f64;
        let (positions, images) = (positions as f64, images as f64);
        match options.divisor {
            Divisor::Sum => 1.0,
            Divisor::Batch => self.shape.images() as f64,
            Divisor::Positions => self.virtual_shape.positions() as f64,
            Divisor::BatchChannels => channels * images,
            Divisor::BatchPositions => positions,
            Divisor::Elements => channels * positions,
        }
    }

    /// The rows in pieces that can be run side by side; their partial sums, added in this order, give the same
    /// bits for any number of threads. Depends on the shape alone.
    pub fn jobs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let inner = self.layout.inner();
        let rows = self.rows();
        // Rows of one image are kept together under upsample, since their gradients meet in the same cells.
        let (block, most) = if self.is_upsampled() {
            (self.virtual_shape.positions(), self.virtual_shape.positions())
        } else {
            let most = (JOB >> self.row_len().ilog2()).max(1);
            if inner == 1 { (rows, most) } else { (inner, most.next_multiple_of(TILE)) }
        };
        (0..rows).step_by(block.max(1)).flat_map(move |start| {
            let end = (start + block).min(rows);
            (start..end).step_by(most.max(1)).map(move |at| at..(at + most).min(end))
        })
    }

    /// The entries of a row in pieces that can be run side by side, too: one of all but for long rows. What the
    /// pieces find, put together in this order, gives the same bits whoever ran them. Depends on the shape alone.
    pub fn segments(&self) -> Segments {
        let entries = self.row_len();
        let most = if self.layout.inner() == 1 { SEGMENT } else { SEGMENT_OF_TILE };
        let pieces = if self.is_upsampled() { 1 } else { entries.div_ceil(most).max(1) };
        // Whole blocks of every kernel, but for the last.
        let size = if pieces == 1 { entries } else { entries.div_ceil(pieces).next_multiple_of(1024) };
        Segments::new(entries, size)
    }

    /// Whether rows are cut into segments.
    pub fn is_cut(&self) -> bool {
        self.segments().len() > 1
    }

    /// Rows of a job of long ones, at most.
    pub(crate) fn rows_of_a_long_job(&self) -> usize {
        if self.layout.inner() == 1 { 1 } else { TILE }
    }

    /// How many elements a copy takes of what a job, or a segment of a long row, has of the student, where the
    /// gradient can [take the student's place](crate::InPlace).
    ///
    /// At most 65536, or a row where that is longer, of at most 131072.
    ///
    /// # Errors
    /// [`Error::InPlace`] for rows that interleave in memory and for `upsample`.
    ///
    /// ```
    /// use densekd_core::{Order, Plan, Recipe, RowOptions, Shape};
    /// let plan = |order| Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 19, 64, 64])?, order);
    /// assert_eq!(plan(Order::Nchw)?.in_place(), Ok(16 * 64 * 64));
    /// assert_eq!(plan(Order::Nhwc)?.in_place().unwrap_err().code(), "in_place");
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn in_place(&self) -> Result<usize, Error> {
        if self.is_upsampled() {
            Err(Error::InPlace { asked: "upsample" })
        } else if self.layout.inner() > 1 {
            Err(Error::InPlace { asked: "rows that interleave in memory" })
        } else if self.is_cut() {
            Ok(self.segments().longest())
        } else {
            Ok(self.jobs().next().map_or(0, |job| job.len() * self.row_len()))
        }
    }

    /// Where a block of a row stands.
    pub(crate) fn place(&self, row: usize, from: usize) -> Place {
        Place { row, from, index: self.layout.index(row, from), stride: self.layout.inner() }
    }

    /// The image a row belongs to.
    fn image(&self, row: usize) -> usize {
        self.shape.image_of(row, self.rows())
    }

    /// Whether a row is summed at all.
    pub(crate) fn is_summed(&self, row: usize) -> bool {
        self.recipe.options().samples == Samples::All || self.image(row) == 0
    }

    /// The counted position at the head of a block, and whether the row's entries are positions (else the
    /// whole row is one).
    pub(crate) fn position(&self, row: usize, from: usize) -> (usize, bool) {
        let m = self.virtual_shape.positions();
        match self.recipe.options().norm {
            // Rows are positions, in order, in either memory order.
            Norm::Spatial => (row, false),
            Norm::Channel | Norm::ChannelMean | Norm::None => (self.image(row) * m + from, true),
        }
    }
}
