//! Height and width: `torch.nn.functional.interpolate`, and its transpose.
//!
//! Output cell i of an axis from h to h' cells is made of
//!
//! ```text
//! nearest                    floor(i h / h')
//! bilinear                   the two cells around max(0, (i + 1/2) h / h' - 1/2)
//! bilinear, corners aligned  the two cells around i (h - 1) / (h' - 1)
//! area                       the mean of floor(i h / h') up to ceil((i + 1) h / h')
//! ```
//!
//! in exact integers. torch rounds h / h' to `f32`, so that its nearest takes the cell before in some places where
//! i h / h' is whole, as at i = 41 from 2 cells to 82. No mode smooths before it reduces but area.
//! Cost: a multiply-add for each cell that an output cell is made of.

use super::axis::{Axis, MAX_EXTENT, Taps};
use crate::Error;

/// Columns whose weights are kept at once.
const BLOCK: usize = 64;

/// How a map is resized, as `torch.nn.functional.interpolate` names it.
///
/// ```
/// use densekd_core::ResizeMode;
/// assert_eq!(ResizeMode::Bilinear { align_corners: true }.name(), "bilinear");
/// assert_eq!(ResizeMode::NAMES, ["nearest", "bilinear", "area"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeMode {
    /// One cell.
    Nearest,
    /// The four cells around a point.
    Bilinear {
        /// Whether the centres of the corner cells, rather than the corners of the map, stay where they are.
        align_corners: bool,
    },
    /// The mean over the cells that an output cell covers: adaptive average pooling.
    Area,
}

impl ResizeMode {
    /// Every name.
    pub const NAMES: [&'static str; 3] = ["nearest", "bilinear", "area"];

    /// The name used in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearest => Self::NAMES[0],
            Self::Bilinear { .. } => Self::NAMES[1],
            Self::Area => Self::NAMES[2],
        }
    }
}

/// A resize of planes from one height and width to another.
///
/// ```
/// use densekd_core::{Resize, ResizeMode};
/// let resize = Resize::new(ResizeMode::Bilinear { align_corners: true }, [1, 2], [1, 3])?;
/// let (mut plane, mut gradient) = ([0.0; 3], [0.0; 2]);
/// resize.forward(&[1.0, 3.0], &mut plane)?;
/// assert_eq!(plane, [1.0, 2.0, 3.0]);
/// resize.pull(&[1.0, 1.0, 1.0], &mut gradient)?;
/// assert_eq!(gradient, [1.5, 1.5]);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    mode: ResizeMode,
    from: [usize; 2],
    to: [usize; 2],
}

impl Resize {
    /// From a height and width to another.
    ///
    /// # Errors
    /// [`Error::EmptyDimension`] where one is 0, [`Error::TooLarge`] above 2^30, or where a plane does not fit an
    /// address.
    pub fn new(mode: ResizeMode, from: [usize; 2], to: [usize; 2]) -> Result<Self, Error> {
        for [h, w] in [from, to] {
            crate::Shape::new([1, 1, h, w])?;
            if h.max(w) > MAX_EXTENT {
                return Err(Error::TooLarge { shape: [1, 1, h, w] });
            }
        }
        Ok(Self { mode, from, to })
    }

    /// The mode.
    pub const fn mode(&self) -> ResizeMode {
        self.mode
    }

    /// Height and width before.
    pub const fn from(&self) -> [usize; 2] {
        self.from
    }

    /// Height and width after.
    pub const fn to(&self) -> [usize; 2] {
        self.to
    }

    /// Resizes a plane.
    ///
    /// # Errors
    /// [`Error::Length`] where a plane has another length than its height times its width.
    ///
    /// ```
    /// use densekd_core::{Resize, ResizeMode};
    /// let resize = Resize::new(ResizeMode::Area, [2, 2], [1, 1])?;
    /// let mut mean = [0.0];
    /// resize.forward(&[1.0, 2.0, 3.0, 6.0], &mut mean)?;
    /// assert_eq!(mean, [3.0]);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn forward(&self, from: &[f64], to: &mut [f64]) -> Result<(), Error> {
        self.check(from.len(), to.len())?;
        let wide = self.from[1];
        self.each(|out, rows, columns| {
            let mut sum = 0.0;
            for (y, wy) in rows.iter() {
                for (x, wx) in columns.iter() {
                    sum += wy * wx * from.get(y * wide + x).copied().unwrap_or_default();
                }
            }
            if let Some(to) = to.get_mut(out) {
                *to = sum;
            }
        });
        Ok(())
    }

    /// Brings a gradient back: the transpose of [`forward`](Self::forward).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// ```
    /// use densekd_core::{Resize, ResizeMode};
    /// let resize = Resize::new(ResizeMode::Nearest, [1, 2], [1, 4])?;
    /// let mut gradient = [0.0; 2];
    /// resize.pull(&[1.0, 2.0, 3.0, 4.0], &mut gradient)?;
    /// assert_eq!(gradient, [3.0, 7.0]);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn pull(&self, gradient_to: &[f64], gradient_from: &mut [f64]) -> Result<(), Error> {
        self.check(gradient_from.len(), gradient_to.len())?;
        gradient_from.fill(0.0);
        let wide = self.from[1];
        self.each(|out, rows, columns| {
            let gradient = gradient_to.get(out).copied().unwrap_or_default();
            for (y, wy) in rows.iter() {
                for (x, wx) in columns.iter() {
                    if let Some(sum) = gradient_from.get_mut(y * wide + x) {
                        *sum += wy * wx * gradient;
                    }
                }
            }
        });
        Ok(())
    }

    /// Calls `f` with every output cell and its taps, in an order that the sizes alone fix.
    fn each(&self, mut f: impl FnMut(usize, Taps, Taps)) {
        let [[h, w], [high, wide]] = [self.from, self.to];
        let (rows, columns) = (Axis::new(h, high, self.mode), Axis::new(w, wide, self.mode));
        let mut taps = [Taps::default(); BLOCK];
        for from in (0..wide).step_by(BLOCK) {
            let taps = taps.get_mut(..BLOCK.min(wide - from)).unwrap_or_default();
            taps.iter_mut().enumerate().for_each(|(k, taps)| *taps = columns.taps(from + k));
            for y in 0..high {
                let row = rows.taps(y);
                taps.iter().enumerate().for_each(|(k, &column)| f(y * wide + from + k, row, column));
            }
        }
    }

    fn check(&self, from: usize, to: usize) -> Result<(), Error> {
        let area = |[h, w]: [usize; 2]| h * w;
        for (buffer, found, wanted) in
            [("plane", from, area(self.from)), ("resized plane", to, area(self.to))]
        {
            if found != wanted {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        Ok(())
    }
}
