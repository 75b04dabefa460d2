//! The maps that are timed: shapes by name, and numbers in them.

use clap::ValueEnum;
use densekd::core::{DType, Shape};
use densekd::io::Values;
use std::f64::consts::TAU;

/// A shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Map {
    /// 8x19x128x256, logits of a segmentation network
    Logits,
    /// 2x512x64x64, features of one
    Features,
    /// 2x256x100x136, a level of a detector
    Detection,
    /// 8x19x256x512, logits that no usual cache holds
    Large,
    /// 1x19x128x256, logits of one image, which most last-level caches hold
    Cached,
    /// 64x256x7x7, rows of 49
    Rows49,
    /// 4x256x32x32, rows of 1024
    Rows1024,
    /// 1x4x1024x2048, four long rows
    Long,
}

impl Map {
    /// Those of networks.
    pub(super) const NETWORKS: &[Self] = &[Self::Logits, Self::Features, Self::Detection];

    /// Its name.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// N, C, H, W, height and width divided.
    pub(super) fn dims(self, shrink: usize) -> [usize; 4] {
        let [n, c, h, w] = match self {
            Self::Logits => [8, 19, 128, 256],
            Self::Features => [2, 512, 64, 64],
            Self::Detection => [2, 256, 100, 136],
            Self::Large => [8, 19, 256, 512],
            Self::Cached => [1, 19, 128, 256],
            Self::Rows49 => [64, 256, 7, 7],
            Self::Rows1024 => [4, 256, 32, 32],
            Self::Long => [1, 4, 1024, 2048],
        };
        let shrunk = |side: usize| (side / shrink).max(4.min(side));
        [n, c, shrunk(h), shrunk(w)]
    }
}

/// How much the student has learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Student {
    /// Hardly anything: the KL divergence of a row is near 1
    Far,
    /// A good part: 1e-2
    Half,
    /// All but a little: 1e-6
    Near,
}

impl Student {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Far => "far",
            Self::Half => "half",
            Self::Near => "near",
        }
    }

    const fn divergence(self) -> f64 {
        match self {
            Self::Far => 1.0,
            Self::Half => 1e-2,
            Self::Near => 1e-6,
        }
    }
}

/// A pair of maps, labels, and room for a gradient.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) shape: Shape,
    pub(super) dtype: DType,
    pub(super) teacher: Values,
    pub(super) student: Values,
    pub(super) gradient: Values,
    pub(super) labels: Vec<i64>,
}

impl Data {
    /// A teacher of standard normals times tau, and a student that differs by normals.
    ///
    /// Where all differ by a normal of deviation e in units of tau, the softmax's KL divergence is e^2 / 2.
    pub(super) fn new(shape: Shape, dtype: DType, student: Student, tau: f64) -> Self {
        let mut normals = Normals::default();
        let teacher: Vec<f64> = (0..shape.len()).map(|_| tau * normals.draw()).collect();
        let noise = tau * (2.0 * student.divergence()).sqrt();
        let student: Vec<f64> = teacher.iter().map(|t| t + noise * normals.draw()).collect();
        let classes = i64::try_from(shape.channels().min(19)).unwrap_or(1);
        Self {
            shape,
            dtype,
            teacher: Values::from_f64(dtype, &teacher),
            student: Values::from_f64(dtype, &student),
            gradient: Values::zeros(dtype, shape.len()),
            labels: (0..)
                .map(|i: i64| i * 7 / 50 % classes)
                .take(shape.images() * shape.positions())
                .collect(),
        }
    }
}

/// Normals by Box and Muller, whose far tails are right: they decide how deep a row is. The same ones each time.
struct Normals {
    seed: u64,
    second: Option<f64>,
}

impl Default for Normals {
    fn default() -> Self {
        Self { seed: 0x9E37_79B9_7F4A_7C15, second: None }
    }
}

impl Normals {
    fn draw(&mut self) -> f64 {
        if let Some(second) = self.second.take() {
            return second;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (TAU * self.uniform()).sin_cos();
        self.second = Some(radius * sin);
        radius * cos
    }

    /// Above 0, at most 1.
    #[allow(clippy::cast_precision_loss, reason = "32 bits fit")]
    fn uniform(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        ((self.seed >> 32) + 1) as f64 / (f64::from(u32::MAX) + 1.0)
    }
}
