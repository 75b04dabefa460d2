//! PA, pair-wise affinity: how alike the directions of any two places of an image are.
//!
//! A map is pooled to K nodes y, u = y / (|y| + eps) or y / max(|y|, eps), G = the K x K products <u(i), u(j)>; then
//! the squared distance of the student's G and the teacher's over N K^2. Channels may differ, H and W may not.
//! Source: arXiv 1903.04197. Cost: one read of both maps, and of the maxima once more, none for a gradient; two products
//! of K x C by C x K a side. G is made in blocks of rows: state is 2 numbers a node and channel, 3 for maxima, and
//! [`SLOTS`] blocks of [`BLOCK`] rows of both G.

mod gram;
mod windows;

use self::gram::{BLOCK, Nodes, SLOTS, Units, block_of, differences, pulls};
use self::windows::{Maximum, Mean, Windows, position};
use super::About;
use crate::loss::{MapOptions, Options};
use crate::map::{At, Executor, Explain, Formula, Maps, Measured, Shapes, Side, View, larger, runs};
use crate::names::choice;
use crate::normalize::UnitLength;
use crate::options::options;
use crate::{Epsilon, Error, Preset, Shape, Share, Weight};
use core::fmt;
use core::num::NonZeroUsize;

choice! {
    /// What pair-wise affinity takes of a window (`pool`).
    ///
    /// ```
    /// assert_eq!("avg".parse(), Ok(densekd_core::PaPool::Avg));
    /// ```
    PaPool, "pool" {
        /// The maximum.
        Max = "max",
        /// The mean.
        Avg = "avg",
    }
}

choice! {
    /// How a node's norm is kept from 0 (`eps_mode`).
    ///
    /// ```
    /// assert_eq!("max".parse(), Ok(densekd_core::PaEpsMode::Max));
    /// ```
    PaEpsMode, "eps_mode" {
        /// |y| + eps.
        Add = "add",
        /// max(|y|, eps).
        Max = "max",
    }
}

options! {
    /// Options of pair-wise affinity. Channels may differ; images, height and width may not.
    ///
    /// ```
    /// use densekd_core::PaOptions;
    /// assert_eq!(PaOptions::DEFAULT.pool_scale.get(), 0.5);
    /// ```
    PaOptions {
        /// Maximum or mean of a window.
        pool: PaPool = PaPool::Max,
        /// Height and width of a window, in place of `pool_scale`.
        kernel: Option<[NonZeroUsize; 2]> = None,
        /// The same as a share of the map's, rounded down, at least 1.
        pool_scale: Share = Share::literal(0.5),
        /// Keeps the norms from 0.
        eps: Epsilon = Epsilon::literal(1e-8),
        /// Added to the norms, or the smallest norm.
        eps_mode: PaEpsMode = PaEpsMode::Add,
        /// Whether the gradient takes the norms as constants.
        detach_norm: bool = false,
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// What is kept of a side, a number for every node and channel each.
struct Kept<'a> {
    /// y, then u.
    units: &'a mut [f64],
    /// The gradient to u, then to y.
    pulls: &'a mut [f64],
    /// Where the maximum stands.
    chosen: &'a mut [f64],
    /// Two a node: what y is divided by, and the share of the pull along u that is lost.
    scales: &'a mut [f64],
}

impl PaOptions {
    pub(crate) const ABOUT: About = About {
        name: "pa",
        summary: "pair-wise affinity: squared distance of the cosines of all pairs of pooled places",
        source: "arXiv 1903.04197",
    };

    pub(crate) const PRESETS: &[Preset] = &[
        Preset {
            name: "skd-pa",
            options: Options::Map(MapOptions::Pa(Self { detach_norm: true, ..Self::DEFAULT })),
            repository: "irfanICMLL/structure_knowledge_distillation",
            source: "utils/utils.py, sim_dis_compute",
        },
        Preset {
            name: "cirkd-pa",
            options: Options::Map(MapOptions::Pa(Self {
                kernel: Some([NonZeroUsize::new(2).unwrap(); 2]),
                eps: Epsilon::literal(1e-12),
                eps_mode: PaEpsMode::Max,
                weight: Weight::literal(10.0),
                ..Self::DEFAULT
            })),
            repository: "winycg/CIRKD",
            source: "losses/skd.py",
        },
    ];

    fn nodes(&self, shape: Shape) -> Nodes {
        let windows = Windows::new(self, shape);
        Nodes { windows, images: shape.images(), count: windows.count() }
    }

    /// Numbers for every node and channel: where maxima stand, u, and the gradient.
    const fn planes(&self) -> usize {
        match self.pool {
            PaPool::Max => 3,
            PaPool::Avg => 2,
        }
    }

    const fn side(&self, nodes: usize, channels: usize) -> usize {
        nodes * (self.planes() * channels + 2)
    }

    fn split<'a>(&self, mut state: &'a mut [f64], nodes: usize, channels: usize) -> Kept<'a> {
        let mut part = |len: usize| state.split_off_mut(..len).unwrap_or_default();
        let (units, pulls) = (part(nodes * channels), part(nodes * channels));
        let (chosen, scales) = (part((self.planes() - 2) * nodes * channels), part(2 * nodes));
        Kept { units, pulls, chosen, scales }
    }

    /// What y is divided by, and the share of the pull along u that is lost.
    fn direction(&self, y: &[f64]) -> [f64; 2] {
        let unit = y.iter().fold(0.0, |unit, &y| larger(unit, y));
        let norm = if unit == 0.0 {
            0.0
        } else {
            unit * libm::sqrt(y.iter().map(|y| (y / unit) * (y / unit)).sum())
        };
        let length = match self.eps_mode {
            PaEpsMode::Add => UnitLength::plus(self.eps),
            PaEpsMode::Max => UnitLength::at_least(self.eps),
        };
        let length = if self.detach_norm { length.detached() } else { length };
        let (divisor, lost) = length.divisor(norm);
        [divisor, lost]
    }

    /// The nodes' directions.
    fn pool(&self, nodes: Nodes, view: View<'_>, kept: &mut Kept<'_>, on: &dyn Executor) {
        let Kept { units, chosen, scales, .. } = kept;
        let channels = view.shape().channels();
        let row = nodes.windows.columns.get() * channels;
        match self.pool {
            PaPool::Max => {
                on.chunks(chosen, row, &|i, out| nodes.windows.pool::<Maximum>(view, i, out));
                on.chunks(units, row, &|i, out| {
                    let chosen = chosen.get(i * row..).unwrap_or_default();
                    let n = i * nodes.windows.columns.get() / nodes.count.max(1);
                    for c in 0..channels {
                        let of_channel = out.iter_mut().zip(chosen).skip(c).step_by(channels.max(1));
                        of_channel.for_each(|(y, &at)| *y = view.at(n, c, position(at)));
                    }
                });
            }
            PaPool::Avg => on.chunks(units, row, &|i, out| nodes.windows.pool::<Mean>(view, i, out)),
        }
        on.chunks(scales, 2 * BLOCK, &|block, out| {
            let y = units.get(block * BLOCK * channels..).unwrap_or_default().chunks(channels.max(1));
            for (out, y) in out.chunks_mut(2).zip(y) {
                out.iter_mut().zip(self.direction(y)).for_each(|(out, of)| *out = of);
            }
        });
        on.chunks(units, BLOCK * channels, &|block, out| {
            let scales = scales.get(block * BLOCK * 2..).unwrap_or_default();
            for (y, divisor) in out.chunks_mut(channels.max(1)).zip(scales.iter().step_by(2)) {
                for y in y {
                    *y /= divisor;
                }
            }
        });
    }
}

impl Formula for PaOptions {
    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        shapes.same_positions()
    }

    fn state(&self, shapes: &Shapes) -> usize {
        let nodes = self.nodes(shapes.student);
        let (teacher, student) = (shapes.teacher.channels(), shapes.student.channels());
        let sides = self.side(nodes.total(), teacher) + self.side(nodes.total(), student);
        sides + nodes.images + nodes.slots() * nodes.slot()
    }

    #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
    fn measure(&self, maps: &Maps<'_>, mut state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let nodes = self.nodes(maps.student.shape());
        let channels = [maps.teacher, maps.student].map(|view| view.shape().channels());
        let mut kept = |channels| {
            let side = state.split_off_mut(..self.side(nodes.total(), channels)).unwrap_or_default();
            self.split(side, nodes.total(), channels)
        };
        let [mut teacher, mut student] = channels.map(&mut kept);
        let images = state.split_off_mut(..nodes.images).unwrap_or_default();
        self.pool(nodes, maps.teacher, &mut teacher, on);
        self.pool(nodes, maps.student, &mut student, on);
        let count = nodes.count;
        let [of_teacher, of_student] = channels;
        let of_teacher = Units { data: teacher.units, channels: of_teacher, count };
        let of_student = Units { data: student.units, channels: of_student, count };
        images.fill(0.0);
        let blocks = nodes.total().div_ceil(BLOCK);
        for first in (0..blocks).step_by(SLOTS) {
            let slots = state.get_mut(..SLOTS.min(blocks - first) * nodes.slot()).unwrap_or_default();
            on.chunks(slots, nodes.slot(), &|i, slot| {
                differences(nodes, [of_teacher, of_student], first + i, slot, on);
            });
            for (i, slot) in slots.chunks(nodes.slot()).enumerate() {
                let mut sums = slot.get(2 * BLOCK * count..).unwrap_or_default();
                for (n, rows) in runs(block_of(nodes, first + i), count) {
                    let sum: f64 = sums.split_off(..rows.len()).unwrap_or_default().iter().sum();
                    if let Some(image) = images.get_mut(n) {
                        *image += sum;
                    }
                }
            }
            let slots = &*slots;
            let sides = [
                (&mut *teacher.pulls, of_teacher, &*teacher.scales, -1.0),
                (&mut *student.pulls, of_student, &*student.scales, 1.0),
            ];
            for (out, units, scales, sign) in sides {
                let len = BLOCK * units.channels;
                let out = out.get_mut(first * len..).unwrap_or_default();
                let out_len = out.len().min(SLOTS * len);
                let out = out.get_mut(..out_len).unwrap_or_default();
                on.chunks(out, len, &|i, out| {
                    let slot = slots.get(i * nodes.slot()..).unwrap_or_default();
                    pulls(nodes, (units, scales, sign), (first + i, slot), out, on);
                });
            }
        }
        let sum = images.iter().sum();
        Ok(Measured { sum, divisor: nodes.images as f64 * (nodes.count as f64 * nodes.count as f64) })
    }

    #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
    fn pull(&self, maps: &Maps<'_>, mut state: &[f64], at: &At, out: &mut [f64]) {
        let nodes = self.nodes(maps.student.shape());
        let [teacher, student] =
            [maps.teacher, maps.student].map(|view| self.side(nodes.total(), view.shape().channels()));
        let teacher = state.split_off(..teacher).unwrap_or_default();
        let student = state.split_off(..student).unwrap_or_default();
        if state.get(at.n).is_some_and(|image| image.is_nan()) {
            out.fill(f64::NAN);
            return;
        }
        let (state, channels) = match at.side {
            Side::Teacher => (teacher, maps.teacher.shape().channels()),
            Side::Student => (student, maps.student.shape().channels()),
        };
        let plane = |i: usize| state.get(i * nodes.total() * channels..).unwrap_or_default();
        let (pulls, chosen) = (plane(1), plane(2));
        let mut rest = out;
        for (node, positions) in nodes.windows.parts(at.positions.clone()) {
            let out = rest.split_off_mut(..positions.len()).unwrap_or_default();
            let from = (at.n * nodes.count + node) * channels + at.c;
            let pull = pulls.get(from).copied().unwrap_or(0.0);
            match self.pool {
                PaPool::Avg => out.fill(pull / nodes.windows.cells(node) as f64),
                PaPool::Max => {
                    let chosen = chosen.get(from).map_or(usize::MAX, |&at| position(at));
                    out.fill(0.0);
                    if let Some(out) = chosen.checked_sub(positions.start).and_then(|i| out.get_mut(i)) {
                        *out = pull;
                    }
                }
            }
        }
    }
}

impl Explain for PaOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pool, eps, weight) = (self.pool, self.eps.get(), self.weight.get());
        match (self.kernel, self.pool_scale.get()) {
            (Some([h, w]), _) => writeln!(f, "y = {pool} over windows of {h} x {w}")?,
            (None, share) => {
                writeln!(f, "y = {pool} over windows of {share} H x {share} W (rounded down, at least 1)")?;
            }
        }
        match self.eps_mode {
            PaEpsMode::Add => write!(f, "u = y / (|y|_2 + {eps:e})")?,
            PaEpsMode::Max => write!(f, "u = y / max(|y|_2, {eps:e})")?,
        }
        writeln!(f, ",  G = the K x K products <u_i, u_j> of an image's K nodes")?;
        write!(f, "loss = {weight} / (N K^2) * sum_nij (G_s - G_t)^2")
    }
}
