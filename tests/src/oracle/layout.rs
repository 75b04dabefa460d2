//! Which elements of a tensor make a row, and what the rows are divided by.

use super::case::{Divisor, Ignore, Norm, Options, Samples};
use super::number::Number;

/// A tensor's shape and which of its positions are counted.
pub(super) struct Layout<'a> {
    /// `[N, C, H, W]`.
    pub(super) shape: [usize; 4],
    /// `[N, H, W]`.
    pub(super) counted: Option<&'a [bool]>,
}

impl Layout<'_> {
    /// H W.
    fn positions(&self) -> usize {
        let [_, _, h, w] = self.shape;
        h * w
    }

    /// Whether the position of an element is counted.
    pub(super) fn is_counted(&self, element: usize) -> bool {
        let m = self.positions();
        let sample = element / (self.shape[1] * m);
        self.counted.is_none_or(|counted| counted[sample * m + element % m])
    }

    /// The elements of every row: one row for each sample and position if the norm is over channels, else
    /// for each sample and channel. Left out are samples that are not summed and, if they are ignored before
    /// the normalisation, positions that are not counted, so that a row may be empty.
    pub(super) fn rows(&self, options: &Options) -> Vec<Vec<usize>> {
        let [n, c, ..] = self.shape;
        let m = self.positions();
        let element = |sample: usize, channel: usize, position: usize| (sample * c + channel) * m + position;
        let whole: Vec<Vec<usize>> = match options.norm {
            Norm::Spatial => (0..n * m)
                .map(|row| (0..c).map(|channel| element(row / m, channel, row % m)).collect())
                .collect(),
            Norm::Channel | Norm::ChannelMean | Norm::None => (0..n * c)
                .map(|row| (0..m).map(|position| element(row / c, row % c, position)).collect())
                .collect(),
        };
        let stays = |&element: &usize| {
            let summed = options.samples == Samples::All || element < c * m;
            summed && (options.ignore == Ignore::After || self.is_counted(element))
        };
        whole.into_iter().map(|row| row.into_iter().filter(stays).collect()).collect()
    }

    /// The divisor D. Positions ignored after the softmax stay counted in it.
    pub(super) fn divisor(&self, options: &Options) -> Number {
        let [n, c, ..] = self.shape;
        let m = self.positions();
        let c = options.divisor_channels.unwrap_or(c);
        let counted = self.counted.filter(|_| options.ignore == Ignore::Before);
        let counted_positions = counted.map_or(n * m, |x| x.iter().filter(|&&x| x).count());
        let counted_images = counted.map_or(n, |x| x.chunks(m).filter(|x| x.contains(&true)).count());
        Number::from(match options.divisor {
            Divisor::Sum => 1,
            Divisor::Batch => n,
            Divisor::Positions => m,
            Divisor::BatchChannels => c * counted_images,
            Divisor::BatchPositions => counted_positions,
            Divisor::Elements => c * counted_positions,
        })
    }
}
