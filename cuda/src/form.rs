//! Losses of whole maps as the kernels see them: which they cover, and which kernels one takes.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::classes::{Classes, Of};
use crate::device::Device;
use crate::dist::Dist;
use crate::energy::{Energies, LARGEST_POWER};
use crate::gpu::Entered;
use crate::ho::Scores;
use crate::ifvd::Variation;
use crate::la::Affinity;
use crate::maps::MapDeviceCall;
use crate::on::{On, Places, Pulled};
use crate::pa::Pairwise;
use crate::rkd::Relations;
use crate::vectors::{Scale, Vectors};
use densekd_core::{AtMode, AtOptions, DType, Divisor, MapOptions, MapPlan, Order, Temperature};

/// Why the kernels do not run a map loss on tensors of a type; `None` where they do.
///
/// They cover distillation by Pearson correlation, attention transfer, mimicking of maps of one shape (of others that of a
/// student behind its projection, see [`Device::launch_adapted`](crate::Device::launch_adapted)), correlations of
/// classes and positions, local and pair-wise affinity, relations between images, intra-class variation and a
/// discriminator's scores, of tensors of any one type, with the gradients to both sides; decoupled distillation and smoothed cross-entropy in `f32`, `f16`
/// and `bf16`, with the gradient to the student.
///
/// ```
/// use densekd_core::{DType, Loss, Order, Shape, Term};
/// let shape = Shape::new([2, 16, 8, 8])?;
/// let plan = |loss: Loss| match Term::new(loss.defaults(), shape, shape, Order::Nchw)? {
///     Term::Map(plan) => Ok(plan),
///     Term::Row(_) => unreachable!(),
/// };
/// assert_eq!(densekd_cuda::uncovered_map(&plan(Loss::Pkd)?, DType::F16), None);
/// assert!(densekd_cuda::uncovered_map(&plan(Loss::SmoothCe)?, DType::F64).is_some());
/// # Ok::<(), densekd_core::Error>(())
/// ```
pub fn uncovered_map(plan: &MapPlan, dtype: DType) -> Option<&'static str> {
    Form::on(plan, dtype).err()
}

/// A map loss as the kernels see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    kernels: Kernels,
    /// What the sum is divided by; none where it is how many positions count.
    divisor: Option<f64>,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
enum Kernels {
    Vectors(Vectors),
    Energies(Energies),
    Classes(Classes),
    Dist(Dist),
    Affinity(Affinity),
    Scores(Scores),
    Pairwise(Pairwise),
    Relations(Relations),
    Variation(Variation),
}

impl Form {
    /// On tensors of a type; why not, where there are no kernels for it.
    pub(crate) fn on(plan: &MapPlan, dtype: DType) -> Result<Self, &'static str> {
        match Self::of(plan)? {
            Self { kernels: Kernels::Classes(_), .. } if dtype == DType::F64 => {
                Err("its kernels over classes have no f64")
            }
            form => Ok(form),
        }
    }

    /// By the plan alone.
    fn of(plan: &MapPlan) -> Result<Self, &'static str> {
        let (teacher, student) = (plan.teacher(), plan.student());
        let of_numbers = |vectors| {
            let divisor = Some(real(student.len()));
            Self { kernels: Kernels::Vectors(vectors), divisor }
        };
        match plan.options() {
            MapOptions::Pkd(options) => {
                let scale = Scale::Standardise { eps: options.eps.get() };
                Ok(of_numbers(Vectors { share: 0.5, ..channels(plan, scale) }))
            }
            MapOptions::Mimic(_) if teacher != student => {
                Err("of maps of other channels its kernels take a student behind its projection")
            }
            MapOptions::Mimic(options) if options.standardise => {
                Ok(of_numbers(channels(plan, Scale::Standardise { eps: options.eps.get() })))
            }
            MapOptions::Mimic(_) => {
                let inner = student.len();
                Ok(of_numbers(Vectors { outer: 1, count: 1, inner, ..channels(plan, Scale::Raw) }))
            }
            MapOptions::At(options) if options.p.get() > LARGEST_POWER => Err("its kernels take p up to 4"),
            MapOptions::At(options) => Ok(energies(plan, options)),
            MapOptions::Dkd(options) => {
                let of = Of::Decoupled { target: options.alpha.get(), rest: options.beta.get() };
                let kernels = classes(plan, of, options.tau)?;
                let divisor = match options.divisor {
                    Divisor::BatchPositions => None,
                    Divisor::Batch => Some(real(student.images())),
                    _ => Some(1.0),
                };
                Ok(Self { kernels, divisor })
            }
            MapOptions::SmoothCe(options) => {
                let of = Of::Smoothed { share: options.smoothing.get() };
                Ok(Self { kernels: classes(plan, of, options.tau)?, divisor: None })
            }
            MapOptions::Dist(options) => {
                let dist = Dist { options: *options, shape: student, order: plan.order() };
                Ok(Self { kernels: Kernels::Dist(dist), divisor: Some(1.0) })
            }
            MapOptions::La(options) => {
                let la = Affinity { options: *options, teacher, student, order: plan.order() };
                Ok(Self { divisor: Some(la.divisor()), kernels: Kernels::Affinity(la) })
            }
            MapOptions::Ho(options) => {
                let scores = Scores { options: *options, teacher, student };
                Ok(Self { divisor: Some(scores.divisor()), kernels: Kernels::Scores(scores) })
            }
            MapOptions::Pa(options) => {
                let pa = Pairwise { options: *options, teacher, student, order: plan.order() };
                Ok(Self { divisor: Some(pa.divisor()), kernels: Kernels::Pairwise(pa) })
            }
            MapOptions::Ifvd(options) => {
                let ifvd = Variation { options: *options, teacher, student, order: plan.order() };
                let divisor =
                    options.count_ignored.then(|| real(student.images()) * real(student.positions()));
                Ok(Self { divisor, kernels: Kernels::Variation(ifvd) })
            }
            MapOptions::Rkd(options) => {
                let rkd = Relations { options: *options, shape: student };
                Ok(Self { kernels: Kernels::Relations(rkd), divisor: Some(1.0) })
            }
            #[allow(unreachable_patterns, reason = "a new loss has no kernels at first")]
            _ => Err("it has no kernels for this map loss"),
        }
    }

    /// Bytes of workspace.
    pub(crate) fn workspace(&self, dtype: DType) -> usize {
        match self.kernels {
            Kernels::Vectors(vectors) => vectors.workspace(dtype),
            Kernels::Energies(energies) => energies.workspace(),
            Kernels::Classes(classes) => classes.workspace(),
            Kernels::Dist(dist) => dist.workspace(),
            Kernels::Affinity(la) => la.workspace(),
            Kernels::Scores(scores) => scores.workspace(dtype),
            Kernels::Pairwise(pa) => pa.workspace(),
            Kernels::Relations(rkd) => rkd.workspace(),
            Kernels::Variation(ifvd) => ifvd.workspace(),
        }
    }

    /// What the sum is divided by.
    fn divisor(&self, call: &MapDeviceCall<'_>) -> f64 {
        self.divisor.unwrap_or_else(|| call.classes.map_or(0.0, |(_, counted)| real(counted)))
    }

    /// Starts it; what the sum is to be divided by.
    ///
    /// # Safety
    /// As [`Device::launch_map`].
    pub(crate) unsafe fn start(
        &self,
        device: &Device,
        gpu: &Entered<'_>,
        call: &MapDeviceCall<'_>,
    ) -> Result<f64, Error> {
        let MapDeviceCall { dtype, student, workspace, sum, overflowed, stream, .. } = *call;
        if call.teacher.is_some() != call.plan.takes_teacher()
            || call.classes.is_some() != call.plan.takes_labels()
        {
            return Err(Error::Unsupported {
                reason: "its kernels take teacher and classes where the loss does",
            });
        }
        if call.grad_teacher.is_some() && !call.plan.has_teacher_gradient() {
            return Err(Error::Unsupported { reason: "the loss has no gradient to the teacher" });
        }
        let at =
            Places { teacher: call.teacher.unwrap_or_default(), student, workspace, sum, overflowed, stream };
        let on = On { device, gpu, dtype, at };
        let labels = call.classes.map_or(0, |(address, _)| address);
        let divisor = self.divisor(call);
        let factor = if divisor == 0.0 { 0.0 } else { call.plan.scale() * call.upstream / divisor };
        // SAFETY: `overflowed` is a `u32` of the caller's.
        unsafe { gpu.zero(overflowed, stream) }?;
        match &self.kernels {
            // SAFETY: the caller's promise, and as long a workspace as `workspace` says.
            Kernels::Vectors(vectors) => unsafe { vectors.measure(&on) },
            // SAFETY: the same.
            Kernels::Energies(energies) => unsafe { energies.measure(&on) },
            // SAFETY: the same.
            Kernels::Dist(dist) => unsafe { dist.measure(&on) },
            // SAFETY: the same.
            Kernels::Affinity(la) => unsafe { la.measure(&on) },
            // SAFETY: the same.
            Kernels::Scores(scores) => unsafe { scores.measure(&on) },
            // SAFETY: the same.
            Kernels::Pairwise(pa) => unsafe { pa.measure(&on) },
            // SAFETY: the same.
            Kernels::Relations(rkd) => unsafe { rkd.measure(&on) },
            // SAFETY: the same.
            Kernels::Variation(ifvd) => unsafe { ifvd.measure(&on, labels) },
            // SAFETY: the same.
            Kernels::Classes(classes) => unsafe { classes.start(&on, (labels, call.grad_student, factor)) },
        }?;
        for (gradient, to_teacher) in [(call.grad_student, false), (call.grad_teacher, true)] {
            let Some(gradient) = gradient else { continue };
            let to = Pulled { gradient, to_teacher, factor };
            match &self.kernels {
                // SAFETY: the caller's promise, after `measure`.
                Kernels::Vectors(vectors) => unsafe { vectors.pull(&on, to) },
                // SAFETY: the same.
                Kernels::Energies(energies) => unsafe { energies.pull(&on, to) },
                // SAFETY: the same.
                Kernels::Dist(dist) => unsafe { dist.pull(&on, to) },
                // SAFETY: the same.
                Kernels::Affinity(la) => unsafe { la.pull(&on, to) },
                // SAFETY: the same.
                Kernels::Scores(scores) => unsafe { scores.pull(&on, to) },
                // SAFETY: the same.
                Kernels::Pairwise(pa) => unsafe { pa.pull(&on, to) },
                // SAFETY: the same.
                Kernels::Relations(rkd) => unsafe { rkd.pull(&on, to) },
                // SAFETY: the same.
                Kernels::Variation(ifvd) => unsafe { ifvd.pull(&on, labels, to) },
                // Both were written at once.
                Kernels::Classes(_) => Ok(()),
            }?;
        }
        Ok(divisor)
    }
}

/// A loss over classes, where `f32` holds its exponents.
fn classes(plan: &MapPlan, of: Of, tau: Temperature) -> Result<Kernels, &'static str> {
    if !(1e-30..=1e30).contains(&tau.get()) {
        return Err("its kernels take tau from 1e-30 to 1e30");
    }
    Ok(Kernels::Classes(Classes { of, tau, shape: plan.student(), order: plan.order() }))
}

/// Attention transfer: the images' energies as vectors over positions.
fn energies(plan: &MapPlan, options: &AtOptions) -> Form {
    let (teacher, student) = (plan.teacher(), plan.student());
    let (images, positions) = (student.images(), student.positions());
    let has_root = options.mode == AtMode::Paper;
    // Energies are sums where the definition has means.
    let eps_of = |channels| options.eps.get() * real(channels);
    let scale = Scale::UnitLength {
        eps_of_teacher: eps_of(teacher.channels()),
        eps_of_student: eps_of(student.channels()),
    };
    let energies = Energies {
        order: plan.order(),
        images,
        positions,
        teacher_channels: teacher.channels(),
        student_channels: student.channels(),
        power: options.p.get(),
        vectors: Vectors { outer: 1, count: images, inner: positions, scale, share: 1.0, has_root },
    };
    let divisor = if has_root { real(images) } else { real(images) * real(positions) };
    Form { kernels: Kernels::Energies(energies), divisor: Some(divisor) }
}

/// The channels as vectors, over images and positions.
fn channels(plan: &MapPlan, scale: Scale) -> Vectors {
    let shape = plan.student();
    let (outer, inner) = match plan.order() {
        Order::Nchw => (shape.images(), shape.positions()),
        Order::Nhwc => (shape.images() * shape.positions(), 1),
    };
    Vectors { outer, count: shape.channels(), inner, scale, share: 1.0, has_root: false }
}

#[allow(clippy::cast_precision_loss, reason = "sizes of tensors in memory are below 2^53")]
pub(crate) const fn real(count: usize) -> f64 {
    count as f64
}
