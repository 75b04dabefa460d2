//! A call of feature mimicking: where its numbers are kept, and what its passes share.

use super::MimicOptions;
use crate::map::{
    Executor, Maps, Matrix, Moments, PIECE, Shapes, Tile, Tiles, View, cut, cut_mut, head, real, row, row_mut,
};
use crate::normalize::{NormalizeVector, Scaled, Standardise};
use crate::space::Standardised;

/// Numbers of a channel of a tile, with `standardise`: mean and squares of y and of t, then the sums of e^2 and of
/// e z, z that of y and that of t.
pub(super) const SUMS: usize = 4;

/// Numbers of a channel, with `standardise`: mean and squares of y and of t, sums of e z of both.
const CHANNEL: usize = 6;

/// A call: what its passes share.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    options: &'a MimicOptions,
    maps: &'a Maps<'a>,
    pub(super) layout: Layout,
}

/// Where things are in the state: tiles, each with its parts, then the channels.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) tiles: Tiles,
    /// S; e, the difference of y and t; half the gradient to y, where that is not e itself; half the gradient to
    /// S; sums.
    pub(super) parts: [usize; 5],
    pub(super) channels: usize,
}

impl Layout {
    pub(super) fn new(options: &MimicOptions, shapes: &Shapes) -> Self {
        let tiles = Tiles::new(shapes.student);
        let (inputs, outputs) = (shapes.student.channels(), shapes.teacher.channels());
        let (student, teacher) = (inputs * tiles.width(), outputs * tiles.width());
        let (pulled, sums, channel) = if options.standardise { (teacher, SUMS, CHANNEL) } else { (0, 1, 0) };
        Self {
            tiles,
            parts: [student, teacher, pulled, student, outputs * sums],
            channels: outputs * channel,
        }
    }

    /// Numbers of a tile.
    pub(super) fn tile(&self) -> usize {
        self.parts.iter().sum()
    }

    pub(super) fn all_tiles(&self) -> usize {
        self.tiles.count() * self.tile()
    }
}

/// Of y and of t: how a channel is standardised, and the sum of e z over it.
pub(super) struct Channel {
    pub(super) y: (Scaled<Standardised>, f64),
    pub(super) t: (Scaled<Standardised>, f64),
}

impl<'a> Job<'a> {
    pub(super) fn new(options: &'a MimicOptions, maps: &'a Maps<'a>) -> Self {
        let shapes = Shapes { teacher: maps.teacher.shape(), student: maps.student.shape() };
        Self { options, maps, layout: Layout::new(options, &shapes) }
    }

    /// Channels of student and teacher.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.maps.student.shape().channels(), self.maps.teacher.shape().channels()]
    }

    /// y of a tile, as rows of channels; with S as such rows where there is a weight.
    pub(super) fn project(&self, tile: &Tile, students: &mut [f64], outputs: &mut [f64], on: &dyn Executor) {
        let ([inputs, channels], length) = (self.sizes(), tile.positions.len());
        let to = if self.maps.projection.weight.is_some() { &mut *students } else { &mut *outputs };
        let mut buffer = [0.0; PIECE];
        for c in 0..inputs {
            let s = read(self.maps.student, tile, c, &mut buffer);
            row_mut(to, c, length).iter_mut().zip(s).for_each(|(to, s)| *to = *s);
        }
        if let Some(weight) = self.maps.projection.weight {
            let [outputs] = cut_mut(outputs, [channels * length]);
            on.multiply(
                Matrix::new(weight, channels, inputs),
                Matrix::new(students, inputs, length),
                outputs,
            );
        }
        for (o, bias) in self.maps.projection.bias.unwrap_or_default().iter().enumerate() {
            for y in row_mut(outputs, o, length) {
                *y += bias;
            }
        }
    }

    /// Joins the tiles' moments into the channels'.
    pub(super) fn join_moments(&self, tiles: &[f64], channels: &mut [f64]) {
        for (o, channel) in channels.chunks_mut(CHANNEL).enumerate() {
            let mut both = [Moments::default(); 2];
            for (i, state) in tiles.chunks(self.layout.tile().max(1)).enumerate() {
                let [.., sums] = cut(state, self.layout.parts);
                let count = real(self.layout.tiles.tile(i).positions.len());
                if let [mean_y, squares_y, mean_t, squares_t] = *row(sums, o, SUMS) {
                    let [y, t] = both;
                    both = [
                        y.with(Moments::from_numbers([count, mean_y, squares_y])),
                        t.with(Moments::from_numbers([count, mean_t, squares_t])),
                    ];
                }
            }
            let [[_, mean_y, squares_y], [_, mean_t, squares_t]] = both.map(Moments::numbers);
            write(channel, [mean_y, squares_y, mean_t, squares_t]);
        }
    }

    /// Joins the tiles' sums into the channels'; the sum of e^2.
    pub(super) fn join_sums(&self, tiles: &[f64], channels: &mut [f64]) -> f64 {
        let mut sum = 0.0;
        for (o, channel) in channels.chunks_mut(CHANNEL).enumerate() {
            let mut dots = [0.0; 2];
            for state in tiles.chunks(self.layout.tile().max(1)) {
                let [.., sums] = cut(state, self.layout.parts);
                if let [squares, dot_y, dot_t, _] = *row(sums, o, SUMS) {
                    sum += squares;
                    dots = [dots[0] + dot_y, dots[1] + dot_t];
                }
            }
            write(row_mut(channel, 2, 2), dots);
        }
        sum
    }

    pub(super) fn channel(&self, channels: &[f64], o: usize) -> Channel {
        let mut numbers = [f64::NAN; CHANNEL];
        numbers.iter_mut().zip(row(channels, o, CHANNEL)).for_each(|(to, from)| *to = *from);
        let [mean_y, squares_y, mean_t, squares_t, dot_y, dot_t] = numbers;
        let shape = self.maps.student.shape();
        let count = real(shape.images()) * real(shape.positions());
        let scaled = |mean, squares| {
            Standardise::new(self.options.eps).scaled(&Moments::from_numbers([count, mean, squares]))
        };
        Channel { y: (scaled(mean_y, squares_y), dot_y), t: (scaled(mean_t, squares_t), dot_t) }
    }

    /// The rows of half the gradient to y, of a tile's parts.
    pub(super) fn cotangents<'b>(&self, state: &'b [f64]) -> &'b [f64] {
        let [_, e, pulled, ..] = cut(state, self.layout.parts);
        if self.options.standardise { pulled } else { e }
    }

    pub(super) fn tile_states<'b>(&self, state: &'b [f64]) -> impl Iterator<Item = (Tile, &'b [f64])> {
        let (layout, [state]) = (self.layout, cut(state, [self.layout.all_tiles()]));
        state.chunks(layout.tile().max(1)).enumerate().map(move |(i, state)| (layout.tiles.tile(i), state))
    }
}

/// A channel of a tile.
pub(super) fn read<'b>(view: View<'b>, tile: &Tile, c: usize, buffer: &'b mut [f64; PIECE]) -> &'b [f64] {
    view.positions(tile.n, c, tile.positions.start, head(buffer, &tile.positions))
}

pub(super) fn write<const K: usize>(to: &mut [f64], from: [f64; K]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
}
