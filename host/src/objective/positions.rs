//! Which positions of a term count: its labels and its mask.

use super::ObjectiveTerm;
use super::error::{ObjectiveError, Problem};
use super::tensors::{Tensors, is_missing};
use crate::io;
use densekd_core::{Error, Labels, Shape};

/// What was read of a term's labels and mask.
pub(super) struct Positions {
    labels: Option<(io::Labels, [usize; 3])>,
    mask: Option<Vec<u8>>,
}

impl Positions {
    pub(super) fn labels(&self) -> Result<Option<Labels<'_>>, Error> {
        let labels = self.labels.as_ref();
        labels.map(|(labels, [n, h, w])| Labels::new(&labels.values, *n, *h, *w)).transpose()
    }

    pub(super) fn mask(&self) -> Option<&[u8]> {
        self.mask.as_deref()
    }
}

impl ObjectiveTerm {
    /// Refuses labels and masks that the loss has no use for.
    pub(super) fn check_positions(&self) -> Result<(), ObjectiveError> {
        let given = [("labels", "labels", &self.labels), ("mask", "a mask", &self.mask)];
        for (key, input, _) in given.into_iter().filter(|(.., name)| name.is_some()) {
            let error = match self.options.row() {
                Some(options) if options.upsample.get() > 1 => Error::MaskWithUpsample,
                _ if !self.options.takes_mask() => Error::Unused { input },
                _ => continue,
            };
            return Err(self.fault(key, Problem::Request(error)));
        }
        Ok(())
    }

    /// Reads both, from the first tensors that have them, for an adapted map.
    pub(super) fn positions(&self, from: [&Tensors; 2], map: Shape) -> Result<Positions, ObjectiveError> {
        // Losses that take classes read labels of another resolution; the others leave positions out by them.
        let any_size = self.options.takes_labels();
        let labels = self.labels.as_ref().map(|name| self.grid("labels", (name, from), map, any_size));
        let mask = self.mask.as_ref().map(|name| {
            let (mask, [_, h, w]) = self.grid("mask", (name, from), map, false)?;
            mask.to_mask().map_err(|(found, i)| {
                let position = [i / (h * w), i / w % h, i % w];
                self.fault("mask", Problem::MaskValue { name: name.clone(), found, position })
            })
        });
        Ok(Positions { labels: labels.transpose()?, mask: mask.transpose()? })
    }

    /// Whole numbers with `[N, H, W]`.
    fn grid(
        &self,
        key: &'static str,
        (name, [first, second]): (&str, [&Tensors; 2]),
        map: Shape,
        any_size: bool,
    ) -> Result<(io::Labels, [usize; 3]), ObjectiveError> {
        let found = match first.labels(name) {
            Err(problem) if is_missing(&problem) => second.labels(name).map_err(|_| problem),
            found => found,
        };
        let found = found.map_err(|problem| self.fault(key, problem))?;
        let Some(dims) = found.fit(map, any_size) else {
            let [n, _, h, w] = map.dims();
            let wanted = if any_size {
                format!("a map of {map} wants [{n}, H, W], with any H and W")
            } else {
                format!("a map of {map} wants {:?} ([N, H, W])", [n, h, w])
            };
            let (name, found) = (name.to_owned(), found.shape);
            return Err(self.fault(key, Problem::Shape { name, found, wanted }));
        };
        Ok((found, dims))
    }
}
