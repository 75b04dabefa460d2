//! Which positions count.

use crate::{Error, Shape};

/// The counted positions `[N, H, W]` of a map: all, or those with a label other than the ignore index, or
/// those where a mask is not 0; with both, those that pass both.
///
/// Borrowed, never copied. Cost of a question: one or two reads.
///
/// ```
/// use densekd_core::{Mask, Shape};
/// let shape = Shape::new([1, 19, 1, 3])?;
/// let mask = Mask::new(shape, Some((&[0, 255, 7], 255)), None)?;
/// assert!(mask.counts(0) && !mask.counts(1));
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Mask<'a> {
    labels: Option<(&'a [i64], i64)>,
    mask: Option<&'a [u8]>,
}

impl<'a> Mask<'a> {
    /// Every position counts.
    pub const ALL: Self = Self { labels: None, mask: None };

    /// Checks the lengths: labels with their ignore index, and a mask, each `[N, H, W]` where given.
    ///
    /// # Errors
    /// [`Error::Length`] where one is not N H W long.
    pub fn new(
        shape: Shape,
        labels: Option<(&'a [i64], i64)>,
        mask: Option<&'a [u8]>,
    ) -> Result<Self, Error> {
        let wanted = shape.images() * shape.positions();
        let found = [("labels", labels.map(|(x, _)| x.len())), ("mask", mask.map(<[u8]>::len))];
        for (buffer, found) in found {
            if let Some(found) = found.filter(|&found| found != wanted) {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        Ok(Self { labels, mask })
    }

    /// Whether every position counts without being asked.
    pub const fn is_all(&self) -> bool {
        self.labels.is_none() && self.mask.is_none()
    }

    /// Whether the position `(n * H + y) * W + x` counts; one beyond the map does not.
    #[inline]
    pub fn counts(&self, position: usize) -> bool {
        let labelled = match self.labels {
            Some((labels, ignored)) => labels.get(position).is_some_and(|&label| label != ignored),
            None => true,
        };
        labelled && self.mask.is_none_or(|mask| mask.get(position).is_some_and(|&m| m != 0))
    }

    /// How many of the positions count, and in how many images one does.
    pub(crate) fn tally(&self, shape: Shape) -> (usize, usize) {
        let m = shape.positions();
        if self.is_all() {
            return (shape.images() * m, shape.images());
        }
        (0..shape.images()).fold((0, 0), |(positions, images), n| {
            let here = (n * m..(n + 1) * m).filter(|&i| self.counts(i)).count();
            (positions + here, images + usize::from(here > 0))
        })
    }
}
