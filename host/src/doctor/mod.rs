//! What to look at when the loss is NaN, or when nothing is learnt.
//!
//! [`examine`] takes a teacher and a student map and says what they hold, what the loss is under every
//! published setting, what the usual ways of writing it would have made of it, and what to do:
//!
//! ```
//! use densekd::core::{Mask, Order, Shape};
//! use densekd::{Cpu, doctor};
//! let teacher: Vec<f32> = (0..48).map(|i| ((i * 7) % 11) as f32).collect();
//! let mut student: Vec<f32> = (0..48).map(|i| ((i * 5) % 13) as f32).collect();
//! student[30] = f32::NAN;
//! let report = doctor::examine(
//!     &Cpu::new(),
//!     Shape::new([1, 3, 4, 4])?,
//!     Order::Nchw,
//!     teacher.as_slice().into(),
//!     student.as_slice().into(),
//!     Mask::ALL,
//! )?;
//! assert_eq!(report.student.nan.first, Some([0, 1, 3, 2]));
//! assert_eq!(report.advice[0].code, "nan");
//! # Ok::<(), densekd::BackendError>(())
//! ```

mod advice;
mod case;
mod confidence;
mod gradient;
mod presets;
mod share;
mod side;
mod text;
mod usual;

pub use advice::Advice;
pub use confidence::Confidence;
pub use gradient::Gradient;
pub use presets::PresetValue;
pub use share::ChannelShare;
pub use side::{Common, Found, Side};
pub use usual::Usual;

use crate::backend::{Backend, BackendError};
use case::Case;
use densekd_core::{Inputs, Mask, Order, Plan, Recipe, RowOptions, Shape, Temperature, Tensor};
use serde::Serialize;

/// What [`examine`] found. In JSON, numbers that JSON does not have are `"nan"`, `"inf"`, `"-inf"`; as text,
/// aligned lines.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// assert_eq!((report.positions, report.counted), (2, 2));
/// assert!(report.to_string().starts_with("shape [1, 2, 1, 2]"));
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
    /// Name of the memory order.
    pub order: &'static str,
    /// Name of the backend that ran the losses.
    pub backend: &'static str,
    /// Positions N H W.
    pub positions: usize,
    /// Those that count; the rest is left out of everything below.
    pub counted: usize,
    /// The teacher's map.
    pub teacher: Side,
    /// The student's map.
    pub student: Side,
    /// The two together.
    pub common: Common,
    /// The teacher's standard deviation over the student's.
    #[serde(serialize_with = "text::number")]
    pub sd_ratio: f64,
    /// The teacher's entropy, at tau = 1 and 4.
    pub confidence: Vec<Confidence>,
    /// Channel-wise distillation in the usual forms, at tau = 1 and 4.
    pub usual: Vec<Usual>,
    /// What each channel adds at tau = 4, the largest first.
    pub channels: Vec<ChannelShare>,
    /// The student's gradient at tau = 4.
    pub gradient: Gradient,
    /// The loss under every preset.
    pub presets: Vec<PresetValue>,
    /// What follows, the gravest first; never empty.
    pub advice: Vec<Advice>,
}

/// Examines two maps of a shape in a memory order, at the positions that count.
///
/// Memory: one gradient, and a few numbers for each row. Cost: some thirty reads of both maps, and as much as
/// 64 more for the preset that enlarges them by 8 in H and W.
///
/// # Errors
/// [`BackendError::Request`] where a tensor does not have the shape's length, and whatever keeps the backend
/// from running channel-wise or pixel-wise distillation. What a preset alone refuses is said in the report.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (teacher, student) = ([0.0_f32, -120.0, 1.0, 3.0], [0.0_f32, -110.0, 2.0, 1.0]);
/// let report = doctor::examine(
///     &Cpu::new(),
///     Shape::new([1, 1, 2, 2])?,
///     Order::Nchw,
///     teacher.as_slice().into(),
///     student.as_slice().into(),
///     Mask::ALL,
/// )?;
/// assert!(report.usual[0].softmax_log.is_nan() && report.usual[0].value.is_finite());
/// assert!(report.to_string().contains("usual_form_fails"));
/// # Ok::<(), densekd::BackendError>(())
/// ```
pub fn examine(
    backend: &dyn Backend,
    shape: Shape,
    order: Order,
    teacher: Tensor<'_>,
    student: Tensor<'_>,
    mask: Mask<'_>,
) -> Result<Report, BackendError> {
    let cwd = Plan::new(Recipe::new(RowOptions::CWD)?, shape, order)?;
    Inputs::new(&cwd, teacher, student, mask)?;
    let case = Case { backend, shape, order, teacher, student, mask };
    let (one, four) = (RowOptions::PI.tau, RowOptions::CWD.tau);
    let counted = case.counted();
    let confidence = |tau: Temperature| Confidence::of(case, &counted, tau);
    let (usual_one, ..) = Usual::of(case, one)?;
    let (usual_four, outcome, rows) = Usual::of(case, four)?;
    let (teacher, student) = (Side::of(case, teacher), Side::of(case, student));
    let mut report = Report {
        shape: shape.dims(),
        order: order.name(),
        backend: backend.name(),
        positions: shape.images() * shape.positions(),
        counted: counted.iter().sum(),
        sd_ratio: teacher.sd / student.sd,
        teacher,
        student,
        common: Common::of(case),
        confidence: vec![confidence(one)?, confidence(four)?],
        usual: vec![usual_one, usual_four],
        channels: share::shares(outcome, &rows, shape.channels()),
        gradient: Gradient::of(case)?,
        presets: presets::values(case),
        advice: Vec::new(),
    };
    report.advice = advice::advise(&report, outcome.sum);
    Ok(report)
}
