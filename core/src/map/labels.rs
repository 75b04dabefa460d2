//! Classes of positions.

use super::Targets;
use crate::{Error, Mask, Shape};

/// Classes of positions: `[N, HL, WL]`, which may be another resolution than the map's.
///
/// ```
/// use densekd_core::Labels;
/// let labels = Labels::new(&[0, 1, 2, 255], 1, 2, 2)?;
/// assert_eq!(labels.at(0, 1, 0), 2);
/// assert!(Labels::new(&[0, 1, 2], 1, 2, 2).is_err());
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    data: &'a [i64],
    height: usize,
    width: usize,
}

impl<'a> Labels<'a> {
    /// Checks the length.
    ///
    /// # Errors
    /// [`Error::Length`] where there are not `images * height * width` labels, [`Error::EmptyDimension`].
    pub fn new(data: &'a [i64], images: usize, height: usize, width: usize) -> Result<Self, Error> {
        let wanted = Shape::new([images, 1, height, width])?.len();
        if data.len() != wanted {
            return Err(Error::Length { buffer: "labels", found: data.len(), wanted });
        }
        Ok(Self { data, height, width })
    }

    /// The labels, row by row.
    pub const fn data(&self) -> &'a [i64] {
        self.data
    }

    /// H and W of the labels.
    pub const fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// How many images there are labels of.
    pub fn images(&self) -> usize {
        self.data.len() / (self.height * self.width).max(1)
    }

    /// The class of every position of a map of this shape, whose channels are the classes, in the order of the labels; none
    /// where the position is left out.
    ///
    /// # Errors
    /// [`Error::Length`] for labels of another size than the map's, [`Error::Label`] for one that is no channel of it.
    ///
    /// ```
    /// use densekd_core::{Labels, Mask, Shape};
    /// let labels = Labels::new(&[1, 255], 1, 1, 2)?;
    /// let classes = labels.classes(Mask::ALL, Shape::new([1, 3, 1, 2])?, 255)?;
    /// assert_eq!(classes.collect::<Vec<_>>(), [Some(1), None]);
    /// # Ok::<(), densekd_core::Error>(())
    /// ```
    pub fn classes(
        self,
        mask: Mask<'a>,
        shape: Shape,
        ignore_index: i64,
    ) -> Result<impl Iterator<Item = Option<usize>> + use<'a>, Error> {
        Ok(Targets::new(Some(self), mask, shape, ignore_index)?.all())
    }

    /// The label at a row and a column of an image; -1 beyond them.
    pub fn at(&self, n: usize, y: usize, x: usize) -> i64 {
        self.data.get((n * self.height + y) * self.width + x).copied().unwrap_or(-1)
    }
}
