//! What follows from the numbers, in words: each finding with the number that it rests on and the way out.

use super::Report;
use super::case::ratio;
use super::side::{Found, Side};
use super::text::{percent, show};
use serde::Serialize;

/// A finding and what to do about it.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// assert!(report.advice.iter().any(|advice| advice.code == "constant_student_channels"));
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// One of [`Advice::CODES`], for machines.
    pub code: &'static str,
    /// For people.
    pub text: String,
}

impl Advice {
    /// Every code, the gravest first.
    ///
    /// ```
    /// assert_eq!(densekd::doctor::Advice::CODES.last(), Some(&"nothing_wrong"));
    /// ```
    pub const CODES: &'static [&'static str] = &[
        "nothing_counted",
        "nan",
        "plus_inf",
        "minus_inf",
        "shared_minus_inf",
        "usual_form_fails",
        "student_equals_teacher",
        "constant_student_channels",
        "teacher_uniform",
        "gradient_underflow",
        "f16_overflow",
        "one_channel",
        "spread",
        "nothing_wrong",
    ];
}

/// Mean KL divergence of a channel map, in nats, below which `f32` codes see rounding alone.
const EQUAL: f64 = 1e-8;
/// Entropy relative to a uniform distribution's above which a teacher says next to nothing.
const UNIFORM: f64 = 0.999;
/// Share of the loss in one channel.
const MOST: f64 = 0.5;
/// Share of gradient entries lost in `f16`.
const LOST: f64 = 0.01;
/// Quotient of standard deviations.
const SPREAD: f64 = 10.0;

/// What follows from a report whose channel maps' divergences at tau = 4 add up to `sum`.
pub(super) fn advise(report: &Report, sum: f64) -> Vec<Advice> {
    let findings = [
        ("nothing_counted", nothing_counted(report)),
        ("nan", nan(report)),
        ("plus_inf", plus_inf(report)),
        ("minus_inf", minus_inf(report)),
        ("shared_minus_inf", shared_minus_inf(report)),
        ("usual_form_fails", usual_form_fails(report)),
        ("student_equals_teacher", student_equals_teacher(report, sum)),
        ("constant_student_channels", constant_student_channels(report)),
        ("teacher_uniform", teacher_uniform(report)),
        ("gradient_underflow", gradient_underflow(report)),
        ("f16_overflow", f16_overflow(report)),
        ("one_channel", one_channel(report)),
        ("spread", spread(report)),
    ];
    let found = findings.into_iter().filter_map(|(code, text)| text.map(|text| Advice { code, text }));
    let mut advice: Vec<Advice> = found.collect();
    if advice.is_empty() {
        let text = format!(
            "nothing wrong found: the loss at tau 4 is {}; if nothing is learnt, look at its weight beside the \
             task's loss, and at whether its gradient reaches the student",
            report.usual.last().map_or_else(String::new, |usual| show(usual.value)),
        );
        advice.push(Advice { code: "nothing_wrong", text });
    }
    advice
}

fn nothing_counted(report: &Report) -> Option<String> {
    (report.counted == 0).then(|| {
        format!(
            "0 of {} positions count, so the loss is 0: look at the mask, and whether the ignore index is \
             what the labels use",
            report.positions
        )
    })
}

/// `12 in the teacher, first at [0, 1, 2, 3]`, for each map that has some.
fn places(report: &Report, found: impl Fn(&Side) -> Found) -> Option<String> {
    let one = |name, side: &Side| {
        let Found { count, first } = found(side);
        first.map(|first| format!("{count} in the {name}, first at [n, c, y, x] = {first:?}"))
    };
    let all: Vec<String> =
        [one("teacher", &report.teacher), one("student", &report.student)].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn nan(report: &Report) -> Option<String> {
    let places = places(report, |side| side.nan)?;
    Some(format!(
        "NaN in the maps: {places}. No loss can mend this: look for the layer that makes it, or leave these \
         positions out with a mask"
    ))
}

fn plus_inf(report: &Report) -> Option<String> {
    let places = places(report, |side| side.plus_inf)?;
    Some(format!(
        "+inf in the maps: {places}. A softmax of it is not defined: look for an overflow in half precision or \
         a division by 0, or clamp the maps"
    ))
}

fn minus_inf(report: &Report) -> Option<String> {
    let shared = report.common.minus_inf.count;
    let alone = |side: &Side| side.minus_inf.count - shared.min(side.minus_inf.count);
    let (teacher, student) = (alone(&report.teacher), alone(&report.student));
    let places = places(report, |side| side.minus_inf).filter(|_| teacher + student > 0)?;
    Some(format!(
        "-inf in one map alone, {teacher} times in the teacher and {student} times in the student (all -inf: \
         {places}). Where the student alone has it the divergence is infinite: fill both maps with the same \
         finite number, or use a mask"
    ))
}

fn shared_minus_inf(report: &Report) -> Option<String> {
    let Found { count, first } = report.common.minus_inf;
    first.map(|first| {
        format!(
            "{count} elements are -inf in both maps, first at [n, c, y, x] = {first:?}. They add 0 here, but \
             0 * (inf - inf) = NaN in the usual forms: use a mask, or fill with -1e4 there"
        )
    })
}

fn usual_form_fails(report: &Report) -> Option<String> {
    let usual = report.usual.iter().max_by_key(|usual| usual.failed).filter(|usual| usual.failed > 0)?;
    let at = usual.first_failed.map_or_else(String::new, |at| format!(", first [n, c] = {at:?}"));
    Some(format!(
        "softmax first and its logarithm after, in f32, fails in {} of {} channel maps at tau {}{at} (NaN {}, \
         infinite {}, below 0 {}): it would have printed {}, and the loss is {}. Take the value of this library, \
         or log_softmax where the loss is not close to 0",
        usual.failed,
        usual.maps,
        usual.tau,
        usual.nan,
        usual.infinite,
        usual.negative,
        show(usual.softmax_log),
        show(usual.value),
    ))
}

fn student_equals_teacher(report: &Report, sum: f64) -> Option<String> {
    let maps = report.usual.first().map_or(0, |usual| usual.maps);
    let mean = sum * ratio(1, maps);
    (report.counted > 0 && (report.common.identical || mean < EQUAL)).then(|| {
        let same = if report.common.identical { "the maps are identical, and " } else { "" };
        format!(
            "{same}the mean KL divergence of a channel map at tau 4 is {} nats: the student equals the teacher. \
             Look at whether the same tensor was passed twice, or whether there is nothing left to learn here \
             (largest difference {})",
            show(mean),
            show(report.common.largest_difference),
        )
    })
}

fn constant_student_channels(report: &Report) -> Option<String> {
    let Side { constant_maps: Found { count, first }, constant_channels, .. } = &report.student;
    let [n, c, ..] = report.shape;
    first.map(|[image, channel, ..]| {
        format!(
            "{count} of {} channel maps of the student have the same number everywhere, first [n, c] = \
             {:?}, and {} of {c} channels in every image: dead units after a ReLU? Take the map before the \
             activation, or look at the student's last layers",
            n * c,
            [image, channel],
            constant_channels.len(),
        )
    })
}

fn teacher_uniform(report: &Report) -> Option<String> {
    let here = report.confidence.last().filter(|confidence| confidence.channels > UNIFORM)?;
    let sharper = report.confidence.first().map_or(f64::NAN, |confidence| confidence.channels);
    Some(format!(
        "the teacher is nearly uniform at tau {}: its channel maps have {} of the largest entropy ({} at tau 1), \
         so that gradients vanish. Lower tau, or take logits rather than normalised features",
        here.tau,
        percent(here.channels),
        percent(sharper),
    ))
}

fn gradient_underflow(report: &Report) -> Option<String> {
    let gradient = &report.gradient;
    let scale = gradient.loss_scale.filter(|_| gradient.f16_underflow > LOST)?;
    Some(format!(
        "{} of the gradient's nonzero entries are 0 or subnormal in f16 (the largest is {}). Under f16, scale \
         before the cast: a loss scale of {} brings the largest to about 2^10 and leaves {} lost; bf16 needs none",
        percent(gradient.f16_underflow),
        show(gradient.largest),
        show_power(scale),
        percent(gradient.f16_underflow_scaled),
    ))
}

fn f16_overflow(report: &Report) -> Option<String> {
    let (name, side) = [("teacher", &report.teacher), ("student", &report.student)]
        .into_iter()
        .filter(|(_, side)| side.f16_headroom < 1.0)
        .max_by(|(_, a), (_, b)| a.largest().total_cmp(&b.largest()))?;
    Some(format!(
        "the {name} holds a number of size {}, beyond the 65504 of f16: under autocast it becomes infinite. \
         Keep this map in f32 or bf16",
        show(side.largest())
    ))
}

fn one_channel(report: &Report) -> Option<String> {
    let first = report.channels.first()?;
    // With one or two channels, one always does.
    (report.channels.len() > 2 && first.share > MOST).then(|| {
        format!(
            "channel {} alone carries {} of the loss at tau 4: look at its maps in both networks (a missing \
             normalisation, a class that one of them does not know)",
            first.channel,
            percent(first.share),
        )
    })
}

fn spread(report: &Report) -> Option<String> {
    let ratio = report.sd_ratio;
    (ratio > SPREAD || ratio < SPREAD.recip()).then(|| {
        format!(
            "the spreads differ: the teacher's standard deviation is {} times the student's ({} against {}). \
             Normalise both maps, or align them by a trained 1x1 convolution",
            show(ratio),
            show(report.teacher.sd),
            show(report.student.sd),
        )
    })
}

/// A power of two by its exponent.
pub(super) fn show_power(x: f64) -> String {
    format!("2^{}", x.log2())
}
