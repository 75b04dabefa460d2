//! Which plans the kernels run.

use densekd_core::{DType, Divergence, Ignore, Norm, Plan, Samples};

/// Why the kernels do not run a plan on tensors of a type; `None` where they do.
///
/// They cover KL divergence and cross-entropy of softmaxes over channels or positions, with or without ignored
/// positions, in `f32`, `f16` and `bf16`, and the gradient to the student.
///
/// ```
/// use densekd_core::{DType, Divergence, Order, Plan, Recipe, RowOptions, Shape};
/// let shape = Shape::new([2, 19, 64, 64])?;
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, shape, Order::Nchw)?;
/// assert_eq!(densekd_cuda::uncovered(&plan, DType::F16), None);
/// let js = Recipe::new(RowOptions { divergence: Divergence::Js, ..RowOptions::CWD })?;
/// assert!(densekd_cuda::uncovered(&Plan::new(js, shape, Order::Nchw)?, DType::F32).is_some());
/// # Ok::<(), densekd_core::Error>(())
/// ```
pub fn uncovered(plan: &Plan, dtype: DType) -> Option<&'static str> {
    let options = plan.recipe().options();
    // The exponents are taken in f32.
    let tau = options.tau.get();
    let reasons = [
        (dtype == DType::F64, "its kernels have no f64"),
        (!matches!(options.norm, Norm::Channel | Norm::Spatial), "its kernels have no norm but a softmax"),
        (
            !matches!(options.divergence, Divergence::Kl | Divergence::Ce),
            "its kernels have the divergences kl and ce only",
        ),
        (options.eps.get() > 0.0, "its kernels have no eps"),
        (options.ignore == Ignore::After, "its kernels leave positions out before the softmax only"),
        (options.samples == Samples::First, "its kernels sum all samples"),
        (plan.is_upsampled(), "its kernels do not resize"),
        (!(1e-30..=1e30).contains(&tau), "its kernels take tau from 1e-30 to 1e30"),
    ];
    reasons.into_iter().find_map(|(applies, reason)| applies.then_some(reason))
}
