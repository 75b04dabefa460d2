//! The short way: slices in, value and gradient out, on all cores.

use crate::backend::{Backend, BackendError, Submission};
use crate::cpu::Cpu;
use densekd_core::{Element, Order, Plan, Recipe, RowOptions, Shape};

/// The loss of a student map under a teacher map, both `[N, C, H, W]` in this memory order.
///
/// For masks, channels-last maps, kept statistics or buffers of your own, make a [`Plan`] and submit to a
/// [`Backend`]. Cost: one read of both maps for the KL divergence.
///
/// # Errors
/// [`BackendError::Request`] where the options do not go together or a slice does not have the shape's length.
///
/// ```
/// use densekd::core::RowOptions;
/// let teacher: Vec<f32> = (0..24).map(|i| (i % 5) as f32).collect();
/// let student: Vec<f32> = (0..24).map(|i| (i % 7) as f32).collect();
/// let value = densekd::loss(RowOptions::CWD, [1, 2, 3, 4], &teacher, &student)?;
/// assert!(value > 0.0);
/// # Ok::<(), densekd::BackendError>(())
/// ```
pub fn loss<E: Element>(
    options: RowOptions,
    shape: [usize; 4],
    teacher: &[E],
    student: &[E],
) -> Result<f64, BackendError> {
    let plan = Plan::new(Recipe::new(options)?, Shape::new(shape)?, Order::Nchw)?;
    Ok(Cpu::new().submit(Submission::new(&plan, teacher, student))?.value())
}

/// The loss and its gradient to the student. Cost: two reads of both maps, one write of the gradient.
///
/// # Errors
/// As [`loss`].
///
/// ```
/// use densekd::core::RowOptions;
/// let (teacher, student) = (vec![0.0_f32, 1.0, 2.0, 3.0], vec![3.0_f32, 2.0, 1.0, 0.0]);
/// let (value, gradient) = densekd::loss_and_gradient(RowOptions::CWD, [1, 1, 2, 2], &teacher, &student)?;
/// assert!(value > 0.0 && gradient[0] > 0.0);
/// # Ok::<(), densekd::BackendError>(())
/// ```
pub fn loss_and_gradient<E: Element>(
    options: RowOptions,
    shape: [usize; 4],
    teacher: &[E],
    student: &[E],
) -> Result<(f64, Vec<E>), BackendError> {
    let plan = Plan::new(Recipe::new(options)?, Shape::new(shape)?, Order::Nchw)?;
    let mut gradient = vec![E::default(); plan.shape().len()];
    let submission = Submission {
        grad_student: Some(gradient.as_mut_slice().into()),
        ..Submission::new(&plan, teacher, student)
    };
    let outcome = Cpu::new().submit(submission)?;
    Ok((outcome.value(), gradient))
}
