//! What a map loss reads, checked against its plan.

use super::{Labels, MapPlan, Maps, View};
use crate::element::Tensor;
use crate::isa::Isa;
use crate::{Error, Mask};

/// A 1x1 convolution that brings the student's channels to the teacher's: y = W s + b.
///
/// ```
/// let identity = densekd_core::Projection::default();
/// assert!(identity.weight.is_none() && identity.bias.is_none());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Projection<'a> {
    /// `[C_t, C_s]`; the identity where absent.
    pub weight: Option<&'a [f64]>,
    /// `[C_t]`; 0 where absent.
    pub bias: Option<&'a [f64]>,
}

/// What a map loss reads, checked against its plan.
///
/// ```
/// use densekd_core::{Error, Loss, MapInputs, Order, Shape, Term};
/// let shape = Shape::new([1, 1, 2, 2])?;
/// let Term::Map(plan) = Term::new(Loss::At.defaults(), shape, shape, Order::Nchw)? else { unreachable!() };
/// let map = [1.0_f32, 2.0, 3.0, 4.0];
/// assert_eq!(MapInputs::new(&plan, None, &map[..]).unwrap_err(), Error::TeacherMissing);
/// assert!(MapInputs::new(&plan, Some(map[..].into()), &map[..]).is_ok());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MapInputs<'a> {
    pub(super) plan: &'a MapPlan,
    teacher: Option<Tensor<'a>>,
    student: Tensor<'a>,
    labels: Option<Labels<'a>>,
    mask: Mask<'a>,
    projection: Projection<'a>,
}

impl<'a> MapInputs<'a> {
    /// A pair of maps.
    ///
    /// # Errors
    /// [`Error::TeacherMissing`] where the loss compares with one, [`Error::Unused`] where it does not,
    /// [`Error::Length`] for another number of elements than the plan's.
    pub fn new(
        plan: &'a MapPlan,
        teacher: Option<Tensor<'a>>,
        student: impl Into<Tensor<'a>>,
    ) -> Result<Self, Error> {
        let student = student.into();
        match (plan.takes_teacher(), teacher) {
            (true, None) => return Err(Error::TeacherMissing),
            (false, Some(_)) => return Err(Error::Unused { input: "a teacher" }),
            _ => {}
        }
        let found = [
            ("teacher", teacher.map(|teacher| teacher.len()), plan.teacher().len()),
            ("student", Some(student.len()), plan.student().len()),
        ];
        check_lengths(found)?;
        Ok(Self { plan, teacher, student, labels: None, mask: Mask::ALL, projection: Projection::default() })
    }

    /// With classes of positions.
    ///
    /// # Errors
    /// [`Error::Unused`] where the loss takes none, [`Error::Length`] for another number of images.
    pub fn with_labels(self, labels: Labels<'a>) -> Result<Self, Error> {
        if !self.plan.takes_labels() {
            return Err(Error::Unused { input: "labels" });
        }
        check_lengths([("labels", Some(labels.images()), self.plan.student().images())])?;
        Ok(Self { labels: Some(labels), ..self })
    }

    /// With positions left out, of a loss that takes labels.
    ///
    /// # Errors
    /// [`Error::Unused`] where the loss takes no labels.
    pub fn with_mask(self, mask: Mask<'a>) -> Result<Self, Error> {
        if !self.plan.takes_labels() && !mask.is_all() {
            return Err(Error::Unused { input: "a mask" });
        }
        Ok(Self { mask, ..self })
    }

    /// With a 1x1 convolution of the student.
    ///
    /// # Errors
    /// [`Error::Unused`] where the loss takes none, [`Error::Length`] for other sizes than the plan's channels,
    /// [`Error::ShapeMismatch`] where there is no weight and the channels differ.
    pub fn with_projection(self, projection: Projection<'a>) -> Result<Self, Error> {
        if !self.plan.takes_projection() {
            return Err(Error::Unused { input: "a projection" });
        }
        let (inputs, outputs) = (self.plan.student().channels(), self.plan.teacher().channels());
        check_lengths([
            ("projection", projection.weight.map(<[f64]>::len), inputs * outputs),
            ("bias", projection.bias.map(<[f64]>::len), outputs),
        ])?;
        Ok(Self { projection, ..self })
    }

    /// The plan.
    pub const fn plan(&self) -> &'a MapPlan {
        self.plan
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.plan.takes_labels() && self.labels.is_none() {
            return Err(Error::LabelsMissing);
        }
        let aligned = self.projection.weight.is_some() || self.plan.shapes().same().is_ok();
        if self.plan.takes_projection() && !aligned {
            self.plan.shapes().same()?;
        }
        Ok(())
    }

    pub(super) fn maps(&self, isa: Isa) -> Maps<'a> {
        let order = self.plan.order();
        let student = View::new(self.student, self.plan.student(), order, isa);
        let teacher = self.teacher.map(|teacher| View::new(teacher, self.plan.teacher(), order, isa));
        Maps {
            teacher: teacher.unwrap_or(student),
            student,
            labels: self.labels,
            mask: self.mask,
            projection: self.projection,
            isa,
        }
    }
}

pub(super) fn check_lengths<const K: usize>(
    lengths: [(&'static str, Option<usize>, usize); K],
) -> Result<(), Error> {
    for (buffer, found, wanted) in lengths {
        if let Some(found) = found.filter(|&found| found != wanted) {
            return Err(Error::Length { buffer, found, wanted });
        }
    }
    Ok(())
}
