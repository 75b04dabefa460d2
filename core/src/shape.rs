//! Shapes and memory orders, and the `[outer, axis, inner]` view that every row pass runs on.

use crate::Error;
use core::fmt;
use core::num::NonZeroUsize;

/// The shape `[N, C, H, W]` of a map: images, channels, height, width, each at least 1, the product within
/// reach of an address. Logits `[N, C]` are `[N, C, 1, 1]`.
///
/// ```
/// use densekd_core::Shape;
/// let shape = Shape::new([8, 19, 128, 256])?;
/// assert_eq!(shape.len(), 8 * 19 * 128 * 256);
/// assert!(Shape::new([8, 0, 128, 256]).is_err());
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [NonZeroUsize; 4],
    len: usize,
}

impl Shape {
    /// Checks the dimensions.
    ///
    /// # Errors
    /// [`Error::EmptyDimension`] where one is 0, [`Error::TooLarge`] where the product overflows.
    pub fn new(shape: [usize; 4]) -> Result<Self, Error> {
        let [n, c, h, w] = shape.map(NonZeroUsize::new);
        let (Some(n), Some(c), Some(h), Some(w)) = (n, c, h, w) else {
            return Err(Error::EmptyDimension { shape });
        };
        let dims = [n, c, h, w];
        let len = dims.iter().try_fold(1_usize, |len, d| len.checked_mul(d.get()));
        // Indices are also computed in isize by slices of 8-byte elements.
        match len {
            Some(len) if len <= isize::MAX.unsigned_abs() / 8 => Ok(Self { dims, len }),
            _ => Err(Error::TooLarge { shape }),
        }
    }

    /// `[N, C, H, W]`.
    pub fn dims(&self) -> [usize; 4] {
        self.dims.map(NonZeroUsize::get)
    }

    /// The one shape of a teacher and a student.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`].
    ///
    /// ```
    /// use densekd_core::Shape;
    /// let (teacher, student) = (Shape::new([1, 19, 64, 64])?, Shape::new([1, 19, 32, 32])?);
    /// assert_eq!(Shape::of_pair(teacher, teacher)?, teacher);
    /// assert_eq!(Shape::of_pair(teacher, student).unwrap_err().code(), "shape_mismatch");
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn of_pair(teacher: Self, student: Self) -> Result<Self, Error> {
        if teacher == student {
            Ok(teacher)
        } else {
            Err(Error::ShapeMismatch { teacher: teacher.dims(), student: student.dims() })
        }
    }

    /// The number of elements.
    #[allow(clippy::len_without_is_empty, reason = "a shape is never empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// N.
    pub const fn images(&self) -> usize {
        self.dims[0].get()
    }

    /// C.
    pub const fn channels(&self) -> usize {
        self.dims[1].get()
    }

    /// The image that a row belongs to, where the map has so many rows.
    pub(crate) fn image_of(&self, row: usize, rows: usize) -> usize {
        let per_image = NonZeroUsize::new(rows / self.dims[0]).unwrap_or(NonZeroUsize::MIN);
        row / per_image
    }

    /// H * W.
    pub const fn positions(&self) -> usize {
        self.dims[2].get() * self.dims[3].get()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// In which order the dimensions of a map lie in memory, the last one fastest.
///
/// ```
/// assert_eq!(densekd_core::Order::Nhwc.name(), "nhwc");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// `[N, C, H, W]`.
    #[default]
    Nchw,
    /// `[N, H, W, C]`, also called channels last.
    Nhwc,
}

impl Order {
    /// The name used in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
        }
    }
}

/// A dense tensor seen as `[outer, axis, inner]`: `outer * inner` rows of `axis` entries, `inner` apart.
///
/// | rows | memory | outer | axis | inner |
/// | --- | --- | --- | --- | --- |
/// | a channel's positions | NCHW | N C | H W | 1 |
/// | a channel's positions | NHWC | N | H W | C |
/// | a position's channels | NCHW | N | C | H W |
/// | a position's channels | NHWC | N H W | C | 1 |
///
/// ```
/// use densekd_core::{Layout, Order, Shape};
/// let shape = Shape::new([2, 3, 4, 5])?;
/// let layout = Layout::channels(shape, Order::Nhwc);
/// assert_eq!((layout.outer(), layout.axis(), layout.inner()), (2, 20, 3));
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    outer: NonZeroUsize,
    axis: NonZeroUsize,
    inner: NonZeroUsize,
}

impl Layout {
    /// Rows of positions, one a channel.
    pub const fn channels(shape: Shape, order: Order) -> Self {
        let [n, c, h, w] = shape.dims;
        let axis = h.saturating_mul(w);
        match order {
            Order::Nchw => Self { outer: n.saturating_mul(c), axis, inner: NonZeroUsize::MIN },
            Order::Nhwc => Self { outer: n, axis, inner: c },
        }
    }

    /// Rows of channels, one a position.
    pub const fn positions(shape: Shape, order: Order) -> Self {
        let [n, axis, h, w] = shape.dims;
        let m = h.saturating_mul(w);
        match order {
            Order::Nchw => Self { outer: n, axis, inner: m },
            Order::Nhwc => Self { outer: n.saturating_mul(m), axis, inner: NonZeroUsize::MIN },
        }
    }

    /// The slowest dimension.
    pub const fn outer(&self) -> usize {
        self.outer.get()
    }

    /// Entries of a row.
    pub const fn axis(&self) -> usize {
        self.axis.get()
    }

    /// The fastest dimension: the distance between neighbours in a row.
    pub const fn inner(&self) -> usize {
        self.inner.get()
    }

    /// How many rows there are.
    pub const fn rows(&self) -> usize {
        self.outer.get() * self.inner.get()
    }

    /// The flat index of a row's position.
    pub(crate) fn index(&self, row: usize, position: usize) -> usize {
        let (outer, column) = (row / self.inner, row % self.inner);
        (outer * self.axis.get() + position) * self.inner.get() + column
    }
}
