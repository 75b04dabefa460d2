//! The classes of positions that are samples of a softmax over channels.

use super::{Labels, Maps, real};
use crate::{Error, Mask, Shape};
use core::ops::Range;

/// The class of every position, at the map's own resolution.
#[derive(Clone, Copy)]
pub(crate) struct Targets<'a> {
    labels: Option<Labels<'a>>,
    mask: Mask<'a>,
    ignore_index: i64,
}

impl<'a> Targets<'a> {
    /// Those of maps, checked.
    pub(crate) fn checked(maps: &Maps<'a>, ignore_index: i64) -> Result<Self, Error> {
        Self::new(maps.labels, maps.mask, maps.student.shape(), ignore_index)
    }

    /// Checks that there is a label for every position, and that those of counted positions are classes.
    pub(crate) fn new(
        labels: Option<Labels<'a>>,
        mask: Mask<'a>,
        shape: Shape,
        ignore_index: i64,
    ) -> Result<Self, Error> {
        let Some(labels) = labels else { return Err(Error::LabelsMissing) };
        let ([_, classes, _, w], [_, width]) = (shape.dims(), labels.size());
        let lengths = [
            ("labels", labels.data().len(), shape.images() * shape.positions()),
            ("a row of labels", width, w),
        ];
        for (buffer, found, wanted) in lengths {
            if found != wanted {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        let targets = Self { labels: Some(labels), mask, ignore_index };
        for (position, &found) in labels.data().iter().enumerate() {
            let class = usize::try_from(found).is_ok_and(|class| class < classes);
            if !class && targets.counts(position, found) {
                return Err(Error::Label { found, position, classes });
            }
        }
        Ok(targets)
    }

    fn counts(&self, position: usize, label: i64) -> bool {
        label != self.ignore_index && self.mask.counts(position)
    }

    /// The class of one of the N H W positions; none where it is ignored.
    fn at(&self, position: usize) -> Option<usize> {
        let label = *self.labels.as_ref()?.data().get(position)?;
        if self.counts(position, label) { usize::try_from(label).ok() } else { None }
    }

    /// The classes of some positions as numbers, -1 where a position is ignored.
    pub(crate) fn fill(&self, positions: Range<usize>, classes: &mut [f64]) {
        for (to, position) in classes.iter_mut().zip(positions) {
            *to = self.at(position).map_or(-1.0, real);
        }
    }

    /// The class of every position, none where it is ignored.
    pub(crate) fn all(self) -> impl Iterator<Item = Option<usize>> + use<'a> {
        let positions = self.labels.map_or(0, |labels| labels.data().len());
        (0..positions).map(move |position| self.at(position))
    }

    /// How many positions count.
    pub(crate) fn count(&self) -> usize {
        self.all().flatten().count()
    }
}
