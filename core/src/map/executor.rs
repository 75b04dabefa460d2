//! Who does the work of a map loss: the caller's thread, or a backend's threads and matrix library.

/// A matrix in row-major order, or the transpose of one.
///
/// ```
/// use densekd_core::Matrix;
/// let a = Matrix::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3);
/// assert_eq!((a.rows(), a.columns(), a.at(1, 0)), (2, 3, 4.0));
/// assert_eq!((a.transposed().rows(), a.transposed().at(0, 1)), (3, 4.0));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f64],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` times `columns` numbers, row by row; what lies beyond the data reads as 0.
    pub const fn new(data: &'a [f64], rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose, without a copy.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// The numbers as they lie in memory.
    pub const fn data(&self) -> &'a [f64] {
        self.data
    }

    /// How many rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Distances in memory from one row, and from one column, to the next.
    pub const fn strides(&self) -> [usize; 2] {
        [self.row_stride, self.column_stride]
    }

    /// One entry.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.data.get(row * self.row_stride + column * self.column_stride).copied().unwrap_or(0.0)
    }
}

/// Spreads the independent parts of a map loss, and multiplies matrices.
///
/// Whoever implements it may run the parts in any order and side by side: each part writes its own chunk only,
/// and what is summed over chunks is summed afterwards in their order, so that the bits do not depend on it.
///
/// ```
/// use densekd_core::{Alone, Executor};
/// let mut buffer = [0.0; 5];
/// Alone.chunks(&mut buffer, 2, &|i, chunk| chunk.fill(i as f64));
/// assert_eq!(buffer, [0.0, 0.0, 1.0, 1.0, 2.0]);
/// ```
pub trait Executor: Sync {
    /// Calls `work` with the number of each chunk of `len` numbers (the last may be shorter) and the chunk.
    fn chunks(&self, buffer: &mut [f64], len: usize, work: &(dyn Fn(usize, &mut [f64]) + Sync));

    /// `out = a b`, row by row; `out` holds `a.rows() * b.columns()` numbers. Called from within a chunk, too.
    fn multiply(&self, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f64]) {
        out.fill(0.0);
        self.multiply_add(a, b, out);
    }

    /// `out += a b`, as [`multiply`](Self::multiply): the one to implement.
    fn multiply_add(&self, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f64]) {
        for (row, out) in out.chunks_mut(b.columns().max(1)).enumerate() {
            for (column, out) in out.iter_mut().enumerate() {
                *out += (0..a.columns()).map(|i| a.at(row, i) * b.at(i, column)).sum::<f64>();
            }
        }
    }
}

/// The caller's thread.
///
/// ```
/// use densekd_core::{Alone, Executor, Matrix};
/// let mut product = [0.0; 1];
/// Alone.multiply(Matrix::new(&[1.0, 2.0], 1, 2), Matrix::new(&[3.0, 4.0], 2, 1), &mut product);
/// assert_eq!(product, [11.0]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Executor for Alone {
    fn chunks(&self, buffer: &mut [f64], len: usize, work: &(dyn Fn(usize, &mut [f64]) + Sync)) {
        for (i, chunk) in buffer.chunks_mut(len.max(1)).enumerate() {
            work(i, chunk);
        }
    }
}
