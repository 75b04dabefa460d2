//! What the passes evaluate at one position: a term, a cotangent or a gradient of a divergence.

use crate::arithmetic::Arithmetic;
use crate::diverge::Diverge;
use crate::normalize::PerPosition;
use crate::space::Space;
use core::marker::PhantomData;

/// Makes the functions of one position that the passes evaluate.
macro_rules! per_position {
    ($($name:ident { $($total:ident)? } = $method:ident),+ $(,)?) => {$(
        pub(super) struct $name<'a, S, D> { diverge: &'a D, $($total: f64,)? space: PhantomData<S> }

        impl<'a, S, D> $name<'a, S, D> {
            pub(super) fn new(diverge: &'a D $(, $total: f64)?) -> Self {
                Self { diverge, $($total,)? space: PhantomData }
            }
        }

        impl<S: Space, D: Diverge<S>> PerPosition<S> for $name<'_, S, D> {
            #[inline(always)]
            fn at<R: Arithmetic>(&self, point: S::Point<R>) -> R {
                self.diverge.$method(point $(, R::from_f64(self.$total))?)
            }
        }
    )+};
}

per_position! {
    Term {} = term,
    StudentCotangent {} = student_cotangent,
    TeacherCotangent {} = teacher_cotangent,
    StudentGradient { total } = student_gradient,
    TeacherGradient { total } = teacher_gradient,
}
