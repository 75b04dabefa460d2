//! Which plans the kernels run.

use crate::task::How;
use densekd_core::{DType, Ignore, Plan};

/// Why the kernels do not run a plan on tensors of a type; `None` where they do.
///
/// They cover every row loss in `f32`, `f16` and `bf16`, with or without ignored positions, and the gradients to both
/// sides; enlarged maps (`upsample`) are made in `f32` first. In `f64` they cover KL divergence and cross-entropy, without
/// `eps` and of softmaxes of what counts.
///
/// ```
/// use densekd_core::{DType, Divergence, Order, Plan, Recipe, RowOptions, Shape};
/// let shape = Shape::new([2, 19, 64, 64])?;
/// let js = Recipe::new(RowOptions { divergence: Divergence::Js, ..RowOptions::CWD })?;
/// let plan = Plan::new(js, shape, Order::Nchw)?;
/// assert_eq!(densekd_cuda::uncovered(&plan, DType::F16), None);
/// assert!(densekd_cuda::uncovered(&plan, DType::F64).is_some());
/// # Ok::<(), densekd_core::Error>(())
/// ```
pub fn uncovered(plan: &Plan, dtype: DType) -> Option<&'static str> {
    let options = plan.recipe().options();
    // Exponents are taken in f32, and so are sums with eps.
    let fits = |x: f64| (1e-30..=1e30).contains(&x);
    let reasons = [
        (
            dtype == DType::F64 && !is_wide(plan),
            "its kernels for f64 take kl and ce of softmaxes, without eps and ignore after",
        ),
        (!fits(options.tau.get()), "its kernels take tau from 1e-30 to 1e30"),
        (options.eps.get() > 0.0 && !fits(options.eps.get()), "its kernels take eps from 1e-30 to 1e30"),
    ];
    reasons.into_iter().find_map(|(applies, reason)| applies.then_some(reason))
}

/// Whether there are kernels for `f64`.
fn is_wide(plan: &Plan) -> bool {
    matches!(How::of(plan), How::Kl | How::Ce) && plan.recipe().options().ignore == Ignore::Before
}

/// Why no statistics of a plan's rows of a type are kept between two calls; `None` where they are.
///
/// ```
/// use densekd_core::{DType, Divergence, Norm, Order, Plan, Recipe, RowOptions, Shape};
/// let shape = Shape::new([2, 19, 64, 64])?;
/// let plan = |options| Plan::new(Recipe::new(options)?, shape, Order::Nchw);
/// assert_eq!(densekd_cuda::uncovered_statistics(&plan(RowOptions::CWD)?, DType::F16), None);
/// let none = RowOptions { norm: Norm::None, divergence: Divergence::Mse, ..RowOptions::CWD };
/// assert!(densekd_cuda::uncovered_statistics(&plan(none)?, DType::F16).is_some());
/// # Ok::<(), densekd_core::Error>(())
/// ```
pub fn uncovered_statistics(plan: &Plan, dtype: DType) -> Option<&'static str> {
    let reasons = [
        (
            How::of(plan).is_of_numbers(),
            "it keeps no statistics of rows without a softmax: ask for value and gradient in one call",
        ),
        (dtype == DType::F64, "it keeps no statistics of f64 rows: ask for value and gradient in one call"),
    ];
    reasons.into_iter().find_map(|(applies, reason)| applies.then_some(reason))
}
