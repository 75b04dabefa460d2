//! How the engine reads tensors and writes gradients: blocks of one row at a time, whatever the stored type,
//! so that the passes exist once an arithmetic and not once a type.

use crate::arithmetic::Arithmetic;
use crate::element::{DType, Element, Tensor, TensorMut};
use crate::isa::{Isa, Kernel, dispatch, dispatch_on};
use crate::simd::{Rounded, Simd, Stored, Vectors, Widened, foresee_page, on};
use core::ops::Range;

/// Where a block of one row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The row.
    pub row: usize,
    /// The first position along the row.
    pub from: usize,
    /// The flat index of that position in the tensor.
    pub index: usize,
    /// Elements from one position to the next.
    pub stride: usize,
}

/// Reads blocks of rows.
pub(crate) trait Load<R>: Sync {
    /// As many entries as the buffer has, from the tensor itself where it can be lent.
    fn load<'b>(&'b self, place: Place, buffer: &'b mut [R]) -> &'b [R];
}

/// Takes blocks of a gradient. Implemented by [`Slab`] for a piece of a tensor; a backend may bring its own.
pub trait Sink: Send {
    /// Stores a block, rounding each number once; whether a finite number became infinite.
    fn store_f32(&mut self, place: Place, values: &[f32]) -> bool;

    /// The same from `f64`.
    fn store_f64(&mut self, place: Place, values: &[f64]) -> bool;

    /// The memory of so many entries that lie side by side, of one row or of rows that lie one after the other, for a
    /// kernel that writes it itself; none where there is no such piece, and one of the functions that store is called.
    fn lend(&mut self, place: Place, len: usize) -> Option<LentCells<'_>> {
        let _ = (place, len);
        None
    }

    /// Stores neighbouring rows of `len` entries that lie together, one after the other from the place on.
    fn store_rows(&mut self, place: Place, len: usize, values: &[f32]) -> bool {
        let mut overflowed = false;
        for (i, row) in values.chunks(len.max(1)).enumerate() {
            let place = Place { row: place.row + i, index: place.index + i * len, ..place };
            overflowed |= self.store_f32(place, row);
        }
        overflowed
    }

    /// Stores one entry of neighbouring rows, from the place's row on: whole runs of memory where rows interleave.
    fn store_neighbours(&mut self, place: Place, values: &[f32]) -> bool {
        let mut overflowed = false;
        for (i, value) in values.iter().enumerate() {
            let place = Place { row: place.row + i, index: place.index + i, ..place };
            overflowed |= self.store_f32(place, core::slice::from_ref(value));
        }
        overflowed
    }
}

/// A piece of a gradient's memory, lent by [`Sink::lend`].
///
/// ```
/// use densekd_core::{Place, Sink, Slab};
/// let mut gradient = [0.0_f32; 4];
/// let mut slab = Slab::new(&mut gradient, 8);
/// let place = Place { row: 4, from: 0, index: 10, stride: 1 };
/// assert_eq!(slab.lend(place, 2).map(|lent| lent.cells.len()), Some(2));
/// assert!(slab.lend(Place { stride: 7, ..place }, 2).is_none());
/// ```
#[derive(Debug)]
pub struct LentCells<'a> {
    /// The entries.
    pub cells: TensorMut<'a>,
    /// Whether to write past the caches, where the CPU can.
    pub streams: bool,
}

/// A contiguous piece of a gradient tensor, from the flat index `first` on.
///
/// ```
/// use densekd_core::{Place, Sink, Slab};
/// let mut gradient = [half::f16::ZERO; 4];
/// let overflowed = Slab::new(&mut gradient, 0)
///     .store_f32(Place { row: 0, from: 0, index: 1, stride: 2 }, &[1.0, 1e6]);
/// assert!(overflowed);
/// assert_eq!(gradient[1].to_f32(), 1.0);
/// ```
#[derive(Debug)]
pub struct Slab<'a, E> {
    data: &'a mut [E],
    first: usize,
    streams: bool,
}

impl<'a, E: Element> Slab<'a, E> {
    /// The piece that starts at this flat index of the whole tensor.
    pub fn new(data: &'a mut [E], first: usize) -> Self {
        Self { data, first, streams: false }
    }

    /// The same, written past the caches where the CPU can: for a gradient that no cache would keep until it is
    /// read. Without effect on what is written.
    #[must_use]
    pub fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    fn store<R: Arithmetic>(&mut self, place: Place, values: &[R]) -> bool {
        let start = place.index.saturating_sub(self.first);
        let cells = self.data.get_mut(start..).unwrap_or_default();
        if place.stride == 1 {
            return dispatch(Narrow { cells, values });
        }
        narrow_into(cells.iter_mut().step_by(place.stride.max(1)), values)
    }
}

/// Neighbouring cells, many at a time.
struct Narrow<'a, E, R> {
    cells: &'a mut [E],
    values: &'a [R],
}

impl<E: Element, R: Arithmetic> Kernel for Narrow<'_, E, R> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        narrow_into(self.cells.iter_mut(), self.values)
    }
}

/// Neighbouring cells, a vector at a time, each number rounded to `f32` on its way: the same bits on every
/// instruction set.
struct Round<'a, E, R> {
    cells: &'a mut [E],
    values: &'a [R],
    streams: bool,
}

/// Bytes of a cache line, to which what is streamed is aligned.
pub(crate) const LINE: usize = 64;

impl<E: Stored, R: Rounded> Vectors for Round<'_, E, R> {
    type Output = bool;

    #[inline(always)]
    fn run<L: Simd>(self, l: L) -> bool {
        let overflowed = round_into(l, self.cells, self.values, self.streams);
        if self.streams {
            l.fence();
        }
        overflowed
    }
}

/// Rounds each number into its cell, past the caches where that is asked for, to be ended by [`Simd::fence`]; whether a
/// finite number became infinite.
#[inline(always)]
pub(crate) fn round_into<L: Simd, E: Stored, R: Rounded>(
    l: L,
    cells: &mut [E],
    values: &[R],
    streams: bool,
) -> bool {
    let n = cells.len().min(values.len());
    let (cells, values) = (cells.get_mut(..n).unwrap_or_default(), values.get(..n).unwrap_or_default());
    if E::IS_HALF || !streams {
        return round::<L, E, R, false>(l, cells, values);
    }
    let ahead = cells.as_ptr().align_offset(LINE).min(n);
    let (head, cells) = cells.split_at_mut_checked(ahead).unwrap_or_default();
    let (first, rest) = values.split_at_checked(ahead).unwrap_or_default();
    round::<L, E, R, false>(l, head, first) | round::<L, E, R, true>(l, cells, rest)
}

#[inline(always)]
fn round<L: Simd, E: Stored, R: Rounded, const STREAMS: bool>(l: L, cells: &mut [E], values: &[R]) -> bool {
    let mut small = l.first(L::WIDTH);
    let mut both = (cells.chunks_exact_mut(L::WIDTH), values.chunks_exact(L::WIDTH));
    for (cells, values) in (&mut both.0).zip(&mut both.1) {
        foresee_page(l, cells);
        small = l.and(small, round_vector::<L, E, R, STREAMS>(l, cells, values));
    }
    let (cells, rest) = (both.0.into_remainder(), both.1.remainder());
    if !rest.is_empty() {
        small = l.and(small, round_vector::<L, E, R, STREAMS>(l, cells, rest));
    }
    l.any(l.not(small)) && overflows::<E, R>(values)
}

/// Where no number is rounded to infinity.
#[inline(always)]
fn round_vector<L: Simd, E: Stored, R: Rounded, const STREAMS: bool>(
    l: L,
    cells: &mut [E],
    values: &[R],
) -> L::M {
    let v = R::load_rounded(l, values);
    if STREAMS {
        E::stream(l, v, cells);
    } else {
        E::store(l, v, cells);
    }
    if E::DTYPE.size() < size_of::<R>() {
        // From here on one may be.
        let limit = l.splat(if E::DTYPE == DType::F16 { 65_520.0 } else { 3.38e38 });
        l.less(l.abs(v), limit)
    } else {
        l.first(L::WIDTH)
    }
}

/// Whether a finite number becomes infinite.
#[cold]
fn overflows<E: Element, R: Arithmetic>(values: &[R]) -> bool {
    values.iter().any(|&x| x.is_finite() && !E::narrow(x).widen::<R>().is_finite())
}

/// Neighbouring elements, many at a time.
struct Widen<'a, E, R> {
    cells: &'a [E],
    buffer: &'a mut [R],
}

impl<E: Element, R: Arithmetic> Kernel for Widen<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (to, from) in self.buffer.iter_mut().zip(self.cells) {
            *to = from.widen();
        }
    }
}

/// The same in `f64` by a vector at a time.
struct WidenVectors<'a, E> {
    cells: &'a [E],
    buffer: &'a mut [f64],
}

impl<E: Widened> Vectors for WidenVectors<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<L: Simd>(self, l: L) {
        let mut both = (self.buffer.chunks_exact_mut(L::WIDTH), self.cells.chunks_exact(L::WIDTH));
        for (to, from) in (&mut both.0).zip(&mut both.1) {
            let (low, high) = to.split_at_mut_checked(L::WIDTH / 2).unwrap_or_default();
            let [x, y] = E::load_wide(l, from);
            l.store_f64(x, low);
            l.store_f64(y, high);
        }
        for (to, from) in both.0.into_remainder().iter_mut().zip(both.1.remainder()) {
            *to = from.widen();
        }
    }
}

/// Asks for elements that will be read soon.
pub(crate) fn prefetch(isa: Isa, cells: Tensor<'_>, range: Range<usize>) {
    match cells {
        Tensor::F32(x) => on(isa, Prefetch(x.get(range).unwrap_or_default())),
        Tensor::F64(x) => on(isa, Prefetch(x.get(range).unwrap_or_default())),
        Tensor::F16(x) => on(isa, Prefetch(x.get(range).unwrap_or_default())),
        Tensor::Bf16(x) => on(isa, Prefetch(x.get(range).unwrap_or_default())),
    }
}

struct Prefetch<'a, E>(&'a [E]);

impl<E> Vectors for Prefetch<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<L: Simd>(self, l: L) {
        for line in self.0.chunks((LINE / size_of::<E>()).max(1)) {
            l.prefetch(line, 0);
        }
    }
}

/// Rounds each value into its cell; whether a finite number became infinite.
#[inline(always)]
pub fn narrow_into<'a, E: Element, R: Arithmetic>(
    cells: impl Iterator<Item = &'a mut E>,
    values: &[R],
) -> bool {
    let mut overflowed = false;
    for (cell, &value) in cells.zip(values) {
        *cell = E::narrow(value);
        // f32 from f32 arithmetic cannot overflow here; for the others one comparison says it.
        if E::DTYPE.size() < size_of::<R>() {
            overflowed |= value.is_finite() & !cell.widen::<R>().is_finite();
        }
    }
    overflowed
}

impl<E: Element> Sink for Slab<'_, E> {
    fn store_f32(&mut self, place: Place, values: &[f32]) -> bool {
        let (streams, isa) = (self.streams, Isa::detect());
        if place.stride == 1 && isa.has_vectors() {
            let start = place.index.saturating_sub(self.first);
            let cells = self.data.get_mut(start..).unwrap_or_default();
            match E::tensor_mut(cells) {
                TensorMut::F32(cells) => return on(isa, Round { cells, values, streams }),
                TensorMut::F16(cells) => return on(isa, Round { cells, values, streams }),
                TensorMut::Bf16(cells) => return on(isa, Round { cells, values, streams }),
                TensorMut::F64(_) => {}
            }
        }
        self.store(place, values)
    }

    fn store_f64(&mut self, place: Place, values: &[f64]) -> bool {
        let (streams, isa) = (self.streams, Isa::detect());
        if place.stride == 1 && isa.has_vectors() {
            let start = place.index.saturating_sub(self.first);
            // Halves are rounded once, not to f32 first.
            if let TensorMut::F32(cells) = E::tensor_mut(self.data.get_mut(start..).unwrap_or_default()) {
                return on(isa, Round { cells, values, streams });
            }
        }
        self.store(place, values)
    }

    fn lend(&mut self, place: Place, len: usize) -> Option<LentCells<'_>> {
        let start = place.index.saturating_sub(self.first);
        let cells = self.data.get_mut(start..start.saturating_add(len)).filter(|_| place.stride == 1)?;
        Some(LentCells { cells: E::tensor_mut(cells), streams: self.streams })
    }

    fn store_rows(&mut self, place: Place, _len: usize, values: &[f32]) -> bool {
        self.store_f32(place, values)
    }

    fn store_neighbours(&mut self, place: Place, values: &[f32]) -> bool {
        self.store(Place { stride: 1, ..place }, values)
    }
}

/// A tensor's elements at the places that a layout names.
struct Elements<'a, E>(&'a [E]);

impl<E: Element, R: Arithmetic> Load<R> for Elements<'_, E> {
    fn load<'b>(&'b self, place: Place, buffer: &'b mut [R]) -> &'b [R] {
        load(Isa::detect(), self.0, place, buffer)
    }
}

#[inline]
fn load<'b, E: Element, R: Arithmetic>(
    isa: Isa,
    cells: &'b [E],
    place: Place,
    buffer: &'b mut [R],
) -> &'b [R] {
    let cells = cells.get(place.index..).unwrap_or_default();
    if place.stride == 1 {
        if let Some(lent) = R::lend(cells).and_then(|cells| cells.get(..buffer.len())) {
            return lent;
        }
        dispatch_on(isa, Widen { cells, buffer });
    } else {
        for (to, from) in buffer.iter_mut().zip(cells.iter().step_by(place.stride.max(1))) {
            *to = from.widen();
        }
    }
    buffer
}

/// As many entries as the buffer has, from the tensor itself where it can be lent.
pub(crate) fn load_f64<'b>(isa: Isa, cells: Tensor<'b>, place: Place, buffer: &'b mut [f64]) -> &'b [f64] {
    if place.stride == 1 && isa.has_vectors() {
        match cells.tail(place.index) {
            Tensor::F32(cells) => return widen(isa, cells, buffer),
            Tensor::F16(cells) => return widen(isa, cells, buffer),
            Tensor::Bf16(cells) => return widen(isa, cells, buffer),
            Tensor::F64(_) => {}
        }
    }
    match cells {
        Tensor::F32(x) => load(isa, x, place, buffer),
        Tensor::F64(x) => load(isa, x, place, buffer),
        Tensor::F16(x) => load(isa, x, place, buffer),
        Tensor::Bf16(x) => load(isa, x, place, buffer),
    }
}

fn widen<'b, E: Widened>(isa: Isa, cells: &[E], buffer: &'b mut [f64]) -> &'b [f64] {
    let cells = cells.get(..buffer.len()).unwrap_or_default();
    on(isa, WidenVectors { cells, buffer: &mut *buffer });
    buffer
}

/// Runs `f` on a reader of the tensor, whatever its type.
pub(crate) fn with_reader<R: Arithmetic, T>(tensor: Tensor<'_>, f: impl FnOnce(&dyn Load<R>) -> T) -> T {
    match tensor {
        Tensor::F32(x) => f(&Elements(x)),
        Tensor::F64(x) => f(&Elements(x)),
        Tensor::F16(x) => f(&Elements(x)),
        Tensor::Bf16(x) => f(&Elements(x)),
    }
}
