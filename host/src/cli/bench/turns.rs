//! One loss on one pair of maps, in turns with memory and with the yardstick.

use super::maps::Data;
use super::plain::Plain;
use super::roofline::Roofline;
use super::{Failure, Machine};
use densekd::TermSubmission;
use densekd::core::{Labels, Loss, Norm, Options, Order, Term};
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;

/// A turn lasts at least so long, in seconds: what is shorter is repeated.
const TURN: f64 = 4e-3;

/// No work is repeated more often in a turn.
const REPEATS: usize = 50;

/// What is asked of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Loss,
    LossAndGradient,
}

impl Work {
    pub(super) const ALL: [Self; 2] = [Self::Loss, Self::LossAndGradient];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::LossAndGradient => "loss+gradient",
        }
    }
}

/// Times of several turns.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
}

/// Nanoseconds per element of the student, and ratios within a turn.
#[derive(Debug, Serialize)]
pub(super) struct Times {
    pub(super) loss: Spread,
    pub(super) bound: Spread,
    /// The yardstick's, of channel-wise KL divergence.
    pub(super) plain: Option<Spread>,
    /// Bound / loss: median over the turns.
    pub(super) share: f64,
    /// Loss / bound: median over the turns.
    pub(super) over_bound: f64,
    /// Loss / plain: median over the turns.
    pub(super) over_plain: Option<f64>,
}

/// Times a loss; the first turn warms caches and page tables and is not counted.
pub(super) fn time(
    loss: Loss,
    data: &mut Data,
    work: Work,
    (machine, roofline): (&Machine, &Roofline),
    turns: usize,
) -> Result<Times, Failure> {
    let options = loss.defaults();
    let term = Term::new(options, data.shape, data.shape, Order::Nchw)?;
    let plain = yardstick(&options, data, roofline);
    let (mut own, mut bounds, mut plains) = (Vec::new(), Vec::new(), Vec::new());
    let mut repeats = [1; 3];
    for turn in 0..=turns {
        let mut seconds = [0.0; 3];
        for _ in 0..repeats[0] {
            seconds[0] += bound(data, work, roofline);
        }
        let start = Instant::now();
        for _ in 0..repeats[1] {
            submit(&term, data, work, machine)?;
        }
        seconds[1] = start.elapsed().as_secs_f64();
        let is_plain = (0..repeats[2]).all(|_| match run_plain(plain, data, work, roofline) {
            Some((_, time)) => {
                seconds[2] += time;
                true
            }
            None => false,
        });
        if turn == 0 {
            repeats = seconds.map(repeats_of);
            continue;
        }
        bounds.push(per_element(seconds[0], repeats[0], data));
        own.push(per_element(seconds[1], repeats[1], data));
        plains.extend(is_plain.then(|| per_element(seconds[2], repeats[2], data)));
    }
    let ratio = |over: &[f64], under: &[f64]| {
        let ratios: Vec<f64> = over.iter().zip(under).map(|(a, b)| a / b).collect();
        (!ratios.is_empty()).then(|| spread(ratios).median)
    };
    Ok(Times {
        share: ratio(&bounds, &own).unwrap_or(f64::NAN),
        over_bound: ratio(&own, &bounds).unwrap_or(f64::NAN),
        over_plain: ratio(&own, &plains),
        loss: spread(own),
        bound: spread(bounds),
        plain: (!plains.is_empty()).then(|| spread(plains)),
    })
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number that is not negative"
)]
fn repeats_of(seconds: f64) -> usize {
    ((TURN / seconds).ceil() as usize).clamp(1, REPEATS)
}

#[allow(clippy::cast_precision_loss, reason = "a count of elements in memory")]
fn per_element(seconds: f64, repeats: usize, data: &Data) -> f64 {
    1e9 * seconds / (repeats * data.shape.len()) as f64
}

fn bound(data: &mut Data, work: Work, roofline: &Roofline) -> f64 {
    let Data { teacher, student, gradient, .. } = data;
    match work {
        Work::Loss => roofline.read(teacher, student),
        Work::LossAndGradient => roofline.triad(teacher, student, gradient),
    }
}

fn submit(term: &Term, data: &mut Data, work: Work, machine: &Machine) -> Result<f64, Failure> {
    let [n, _, h, w] = data.shape.dims();
    let (takes_teacher, takes_labels) = match term {
        Term::Row(_) => (true, false),
        Term::Map(plan) => (plan.takes_teacher(), plan.takes_labels()),
    };
    let labels = takes_labels.then(|| Labels::new(&data.labels, n, h, w)).transpose()?;
    let teacher = takes_teacher.then(|| data.teacher.as_tensor());
    let submission = TermSubmission {
        labels,
        grad_student: (work == Work::LossAndGradient).then(|| data.gradient.as_tensor_mut()),
        ..TermSubmission::new(term, teacher, data.student.as_tensor())
    };
    let outcome = submission.submit(&*machine.backend)?;
    machine.backend.synchronise()?;
    Ok(outcome.value())
}

/// The yardstick of the loss, where it has one: the KL divergence of channels.
fn yardstick(options: &Options, data: &Data, roofline: &Roofline) -> Option<Plain> {
    let options = options.row().filter(|options| options.norm == Norm::Channel)?;
    #[allow(clippy::cast_possible_truncation, reason = "the yardstick is written in f32")]
    let tau = options.tau.get() as f32;
    #[allow(clippy::cast_precision_loss, reason = "a count of rows in memory")]
    let rows = (data.shape.images() * data.shape.channels()) as f32;
    let bytes = data.shape.len() * data.dtype.size();
    Some(Plain { row: data.shape.positions(), tau, scale: tau / rows, streams: bytes > roofline.cache() })
}

/// The yardstick's sum and its seconds.
fn run_plain(plain: Option<Plain>, data: &mut Data, work: Work, roofline: &Roofline) -> Option<(f64, f64)> {
    let plain = plain?;
    let (teacher, student) = (data.teacher.as_tensor(), data.student.as_tensor());
    let gradient = (work == Work::LossAndGradient).then(|| data.gradient.as_tensor_mut());
    let (sum, seconds) = roofline.timed(|| black_box(plain.run(teacher, student, gradient)));
    Some((sum?, seconds))
}

fn spread(mut numbers: Vec<f64>) -> Spread {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN);
    Spread { median: middle, min: numbers.first().copied().unwrap_or(f64::NAN) }
}

#[cfg(test)]
mod tests {
    use super::super::maps::{Data, Student};
    use super::{Order, Plain, Roofline, Term, Work, run_plain, yardstick};
    use densekd::core::{DType, Loss, Shape};
    use densekd::{Cpu, TermSubmission};

    /// Tolerances of a plain sum in f32: what is timed beside the loss is the loss.
    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn the_yardstick_does_the_same_work() {
        let roofline = Roofline::new(2).unwrap();
        for dims in [[3, 5, 7, 7], [2, 3, 40, 50], [1, 2, 300, 311]] {
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 1e-3), (DType::Bf16, 1e-2)] {
                for streams in [false, true] {
                    let shape = Shape::new(dims).unwrap();
                    let mut data = Data::new(shape, dtype, Student::Far, 4.0);
                    let options = Loss::Cwd.defaults();
                    let term = Term::new(options, shape, shape, Order::Nchw).unwrap();
                    let mut wanted = data.gradient.clone();
                    let submission = TermSubmission {
                        grad_student: Some(wanted.as_tensor_mut()),
                        ..TermSubmission::new(&term, Some(data.teacher.as_tensor()), data.student.as_tensor())
                    };
                    let value = submission.submit(&Cpu::new()).unwrap().value();
                    let plain = yardstick(&options, &data, &roofline).map(|plain| Plain { streams, ..plain });
                    let Some((sum, _)) = run_plain(plain, &mut data, Work::LossAndGradient, &roofline) else {
                        assert_ne!(dtype, DType::F32, "every CPU has a form for f32");
                        continue;
                    };
                    let rows = f64::from(u32::try_from(dims[0] * dims[1]).unwrap());
                    assert!((16.0 * sum / rows / value - 1.0).abs() < 1e-4, "{dims:?} {dtype}: {value}");
                    let (found, wanted) = (data.gradient.to_f64(), wanted.to_f64());
                    let top = wanted.iter().fold(0.0_f64, |top, x| top.max(x.abs()));
                    let off = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(off <= tolerance * top, "{dims:?} {dtype}: {off} of {top}");
                }
            }
        }
    }
}
