//! Row pairs for properties, fuzzing, searches and tables: ordinary ones and contrived ones.

use fastrand::Rng;

/// A teacher row and a student row, exact in `f32`, and a temperature.
#[derive(Clone, Debug)]
pub struct RowPair {
    /// The teacher's logits.
    pub teacher: Vec<f32>,
    /// The student's logits.
    pub student: Vec<f32>,
    /// The temperature.
    pub tau: f64,
}

/// How many numbers describe a [`RowPair`] to a search.
pub const GENES: usize = 16;

/// A point in the space of row pairs: every coordinate in 0..1, every point a valid pair.
///
/// The coordinates are length, student's spread, noise between the two, shift, outliers on either side, steps,
/// waves, temperature, teacher's scale, rounding to `f16`, a far plateau; the last one seeds the noise.
pub type Genome = [f64; GENES];

/// A number between `low` and `high`, on a logarithmic scale.
fn log_between(gene: f64, low: f64, high: f64) -> f64 {
    low * (high / low).powf(gene)
}

fn normal(rng: &mut Rng) -> f64 {
    // The sum of twelve uniform numbers: close enough to normal, and the same on every machine.
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

/// The pair at a point.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "genes are small and not negative"
)]
pub fn decode(genome: &Genome) -> RowPair {
    let g = |i: usize| genome[i].clamp(0.0, 1.0);
    let mut rng = Rng::with_seed((g(15) * 1e15) as u64);
    let length = log_between(g(0), 1.0, 1500.0) as usize;
    let spread = if g(1) < 0.1 { 0.0 } else { log_between(g(1), 1e-3, 1e3) };
    let noise = if g(2) < 0.05 { 0.0 } else { log_between(g(2), 1e-14, 1e2) };
    let shift = if g(3) < 0.5 { 0.0 } else { (g(3) - 0.75) * 4e3 };
    let scale = if g(10) < 0.7 { 1.0 } else { 1.0 + (g(10) - 0.85) * 4.0 };
    let step = if g(7) < 0.5 { 0.0 } else { log_between((g(7) - 0.5) * 2.0, 1e-8, 1e2) };
    let wave = if g(8) < 0.5 { 0.0 } else { log_between((g(8) - 0.5) * 2.0, 1e-8, 1e1) };
    let tau = if g(9) < 0.3 { 1.0 } else { log_between((g(9) - 0.3) / 0.7, 0.05, 30.0) };
    let plateau = if g(12) < 0.6 { 0.0 } else { (g(12) - 0.6) * 250.0 };
    let edge = (g(13) * length as f64) as usize;
    let (mut teacher, mut student) = (Vec::with_capacity(length), Vec::with_capacity(length));
    for i in 0..length {
        let mut s = spread * normal(&mut rng);
        if i >= edge {
            s -= plateau * tau;
        }
        let s32 = s as f32;
        let mut t = f64::from(s32) * scale + noise * normal(&mut rng) + wave * (i as f64 * 0.05).sin();
        if i >= edge {
            t += step;
        }
        teacher.push(t);
        student.push(f64::from(s32));
    }
    let outliers = |row: &mut Vec<f64>, count: f64, size: f64, rng: &mut Rng| {
        if count > 0.5 && size.abs() > 0.0 {
            for _ in 0..(count * 4.0) as usize {
                let at = rng.usize(0..row.len());
                row[at] += size;
            }
        }
    };
    outliers(&mut teacher, g(4), (g(5) - 0.5) * 400.0 * tau, &mut rng);
    outliers(&mut student, g(6), (g(14) - 0.5) * 400.0 * tau, &mut rng);
    for t in &mut teacher {
        *t += shift;
    }
    let stored = |x: f64| {
        let x = x as f32;
        if g(11) > 0.7 { half::f16::from_f32(x.clamp(-60000.0, 60000.0)).to_f32() } else { x }
    };
    RowPair {
        teacher: teacher.into_iter().map(stored).collect(),
        student: student.into_iter().map(stored).collect(),
        tau,
    }
}

/// A random point.
pub fn random_genome(rng: &mut Rng) -> Genome {
    std::array::from_fn(|_| rng.f64())
}

/// A point nearby: some coordinates moved a little, or one drawn anew.
pub fn mutate(genome: &Genome, rng: &mut Rng) -> Genome {
    let mut next = *genome;
    if rng.f64() < 0.3 {
        next[rng.usize(0..GENES)] = rng.f64();
        return next;
    }
    let size = 10.0_f64.powf(-1.0 - 3.0 * rng.f64());
    for gene in &mut next {
        if rng.f64() < 0.3 {
            *gene = (*gene + size * normal(rng)).clamp(0.0, 1.0);
        }
    }
    next
}

/// An ordinary pair: a student map of spread 2 and a teacher about `noise` away, shifted.
#[allow(clippy::cast_possible_truncation, reason = "logits are stored in f32")]
pub fn ordinary(rng: &mut Rng, length: usize, noise: f64, shift: f64) -> RowPair {
    let student: Vec<f32> = (0..length).map(|_| (2.0 * normal(rng)) as f32).collect();
    let teacher = student.iter().map(|&s| (f64::from(s) + noise * normal(rng) + shift) as f32).collect();
    RowPair { teacher, student, tau: 1.0 }
}
