//! Pixels and the edges between neighbours: each edge is kept once, by the pixel that comes first.

use crate::Shape;
use crate::map::{PIECE, View};
use core::num::NonZeroUsize;
use core::ops::Range;

/// The neighbours that a pixel keeps the edges to, in rows and columns from it; the other 4 keep theirs.
const FORWARD: [(isize, isize); 4] = [(0, 1), (1, -1), (1, 0), (1, 1)];

/// How many edges a pixel keeps.
pub(super) const EDGES: usize = FORWARD.len();

/// Numbers of a side at a pixel: of its edges, and of itself.
pub(super) const SUMS: usize = EDGES + 1;

/// The rows of all images.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) images: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Some pixels of a row and their neighbours in one direction.
pub(super) struct Neighbours {
    pub(super) columns: Range<usize>,
    /// The neighbours' row and columns.
    pub(super) row: usize,
    pub(super) others: Range<usize>,
    /// Which of a pixel's edges it is.
    pub(super) edge: usize,
    /// The row and columns that keep the edge.
    pub(super) kept: (usize, Range<usize>),
}

impl Grid {
    pub(super) fn new(shape: Shape) -> Self {
        let [images, _, height, width] = shape.dims();
        Self { images, height, width }
    }

    pub(super) const fn rows(self) -> usize {
        self.images * self.height
    }

    /// Image and row of the image.
    pub(super) const fn place(self, row: usize) -> (usize, usize) {
        let height = if self.height == 0 { 1 } else { self.height };
        (row / height, row % height)
    }

    /// [`SUMS`] numbers a pixel and side.
    pub(super) fn edges(self, data: &[f64]) -> Planes<'_> {
        Planes::new(data, 2 * SUMS, self.width)
    }

    /// One number a pixel and side.
    pub(super) fn pixels(self, data: &[f64]) -> Planes<'_> {
        Planes::new(data, 2, self.width)
    }

    /// The row above, or the row itself in the first one of an image.
    pub(super) const fn above(self, row: usize) -> usize {
        if self.place(row).1 > 0 { row - 1 } else { row }
    }

    /// The row below, or the row itself in the last one of an image.
    pub(super) const fn below(self, row: usize) -> usize {
        if self.place(row).1 + 1 < self.height { row + 1 } else { row }
    }

    /// How many pixels have 8 neighbours.
    pub(super) const fn interior(self) -> usize {
        self.images * self.height.saturating_sub(2) * self.width.saturating_sub(2)
    }

    /// How many pairs of neighbours there are, each counted from both sides.
    pub(super) const fn pairs(self) -> usize {
        let (down, right) = (self.height.saturating_sub(1), self.width.saturating_sub(1));
        2 * self.images * (self.height * right + self.width * down + 2 * down * right)
    }

    /// The neighbours of some columns of a row, direction by direction, to which the pixels keep the edges.
    pub(super) fn forward(self, row: usize, columns: Range<usize>) -> impl Iterator<Item = Neighbours> {
        FORWARD.iter().enumerate().filter_map(move |(edge, &step)| {
            let (columns, row_to, others) = self.step(row, &columns, step)?;
            Some(Neighbours { kept: (row, columns.clone()), columns, row: row_to, others, edge })
        })
    }

    /// All neighbours of some columns of a row, direction by direction.
    pub(super) fn all(self, row: usize, columns: Range<usize>) -> impl Iterator<Item = Neighbours> {
        let back = columns.clone();
        let backward = FORWARD.iter().enumerate().filter_map(move |(edge, &(y, x))| {
            let (columns, row_to, others) = self.step(row, &back, (-y, -x))?;
            Some(Neighbours { kept: (row_to, others.clone()), columns, row: row_to, others, edge })
        });
        self.forward(row, columns).chain(backward)
    }

    /// Which of the columns have a neighbour there, and where.
    fn step(
        self,
        row: usize,
        columns: &Range<usize>,
        (y, x): (isize, isize),
    ) -> Option<(Range<usize>, usize, Range<usize>)> {
        let (image, y_from) = self.place(row);
        let y_to = y_from.checked_add_signed(y).filter(|&y| y < self.height)?;
        let from = columns.start.max(usize::from(x < 0));
        let to = columns.end.min(self.width - usize::from(x > 0).min(self.width));
        let others = from.saturating_add_signed(x)..to.saturating_add_signed(x);
        (from < to).then_some((from..to, image * self.height + y_to, others))
    }
}

/// Numbers at pixels: for every row some planes, each a number for every column. Where there is room for some rows only,
/// each stands in the place of the one so many before it.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    data: &'a [f64],
    rows: NonZeroUsize,
    depth: usize,
    width: usize,
}

impl<'a> Planes<'a> {
    fn new(data: &'a [f64], depth: usize, width: usize) -> Self {
        let rows = NonZeroUsize::new(data.len() / (depth * width).max(1)).unwrap_or(NonZeroUsize::MIN);
        Self { data, rows, depth, width }
    }

    pub(super) fn get(&self, row: usize, plane: usize, columns: &Range<usize>) -> &'a [f64] {
        let row = if row < self.rows.get() { row } else { row % self.rows };
        let from = (row * self.depth + plane) * self.width;
        self.data.get(from + columns.start..from + columns.end).unwrap_or_default()
    }
}

/// Columns of a plane of one row.
pub(super) fn plane<'a>(
    row: &'a mut [f64],
    width: usize,
    plane: usize,
    columns: &Range<usize>,
) -> &'a mut [f64] {
    row.get_mut(plane * width + columns.start..plane * width + columns.end).unwrap_or_default()
}

/// Room for the columns of a piece and one more on either side.
pub(super) type Buffer = [f64; PIECE + 2];

/// Some columns of a channel's row and one more on either side, where there is one.
#[derive(Clone, Copy)]
pub(super) struct Near<'a> {
    from: usize,
    x: &'a [f64],
}

impl<'a> Near<'a> {
    /// Nothing where there is no such row in the image.
    pub(super) fn load(
        grid: Grid,
        view: View<'a>,
        (row, c): (usize, usize),
        columns: &Range<usize>,
        buffer: &'a mut Buffer,
    ) -> Self {
        let (n, y) = grid.place(row);
        let (from, to) = (columns.start.saturating_sub(1), (columns.end + 1).min(grid.width));
        let buffer = buffer.get_mut(..to - from.min(to)).unwrap_or_default();
        Self { from, x: view.positions(n, c, y * grid.width + from, buffer) }
    }

    pub(super) fn get(&self, columns: &Range<usize>) -> &'a [f64] {
        self.x
            .get(columns.start.saturating_sub(self.from)..columns.end.saturating_sub(self.from))
            .unwrap_or_default()
    }
}
