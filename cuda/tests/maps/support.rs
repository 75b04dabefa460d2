//! Cases, and what device and core make of them.

use crate::device::device;
use densekd_core::{
    Element, Labels, MapInputs, MapOptions, Mask, Options, Order, Outcome, Shape, Slab, Tensor, TensorMut,
    Term, Upstream, run_map,
};
use densekd_cuda::MapHostCall;
use half::{bf16, f16};

/// Relative to the value and to the largest entry of a gradient; half gradients are rounded once more.
pub(crate) const VALUE: f64 = 1e-6;
pub(crate) const GRADIENT: f64 = 1e-6;

/// What rounding to the stored type adds: its unit roundoff, and half its smallest number.
pub(crate) const F32: (f64, f64) = (0.0, 7.1e-46);

/// What is compared: a loss on shapes, and how its maps are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) options: MapOptions,
    pub(crate) student: [usize; 4],
    pub(crate) teacher: [usize; 4],
    pub(crate) order: Order,
    /// What the student's numbers are about.
    pub(crate) offset: f32,
    /// How far the teacher is from the student, where they are of one shape.
    pub(crate) distance: f32,
    /// What all numbers are multiplied by.
    pub(crate) unit: f32,
}

impl Case {
    pub(crate) const fn new(options: MapOptions, shape: [usize; 4], order: Order) -> Self {
        Self { options, student: shape, teacher: shape, order, offset: 0.0, distance: 1.0, unit: 1.0 }
    }

    /// Labels of positions, one in four of no class, and their classes, where the loss takes any.
    fn classes(&self) -> (Option<Vec<i64>>, Option<Vec<i32>>) {
        let MapOptions::Ifvd(options) = self.options else { return (None, None) };
        let [images, _, height, width] = self.student;
        let mut random = fastrand::Rng::with_seed(3);
        let count = i64::try_from(options.num_classes.get()).unwrap();
        let label = |_| if random.u8(..) < 64 { 255 } else { random.i64(0..count) };
        let labels: Vec<i64> = (0..images * height * width).map(label).collect();
        let of = Labels::new(&labels, images, height, width).unwrap();
        let classes = options.classes(of, Mask::ALL, Shape::new(self.student).unwrap());
        let classes = classes.map(|class| class.map_or(-1, |class| i32::try_from(class).unwrap())).collect();
        (Some(labels), Some(classes))
    }

    /// Teacher and student.
    pub(crate) fn maps<E: Element>(&self) -> (Vec<E>, Vec<E>) {
        let mut random = fastrand::Rng::with_seed(self.student.iter().sum::<usize>() as u64);
        let mut numbers = |count: usize| -> Vec<f32> {
            (0..count).map(|_| self.offset + 2.0 * random.f32() - 1.0).collect()
        };
        let student = numbers(self.student.iter().product());
        let noise = numbers(self.teacher.iter().product());
        let stored = |x: f32| E::narrow(x * self.unit);
        let teacher = noise.iter().enumerate().map(|(i, &noise)| {
            let base = if self.student == self.teacher { student[i] } else { 0.0 };
            stored(base + self.distance * (noise - self.offset))
        });
        (teacher.collect(), student.iter().map(|&x| stored(x)).collect())
    }
}

pub(crate) struct Found<E> {
    pub(crate) value: f64,
    pub(crate) student: Vec<E>,
    pub(crate) teacher: Vec<E>,
}

/// The device's answer and the core's, whose gradients are not rounded to the stored type.
pub(crate) fn both<E: Element>(case: &Case, teacher: &[E], student: &[E]) -> (Found<E>, Found<f64>)
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    let shapes = [case.student, case.teacher].map(|dims| Shape::new(dims).unwrap());
    let Term::Map(plan) = Term::new(Options::Map(case.options), shapes[0], shapes[1], case.order).unwrap()
    else {
        unreachable!()
    };
    let (takes, gives) = (plan.takes_teacher(), plan.has_teacher_gradient());
    let inputs = MapInputs::new(&plan, takes.then_some(teacher.into()), student).unwrap();
    let mut state = vec![0.0; plan.scratch()];
    let mut wanted =
        Found { value: 0.0, student: vec![0.0; student.len()], teacher: vec![0.0; teacher.len()] };
    let (labels, classes) = case.classes();
    let labels = labels.as_ref().map(|labels| {
        let [images, _, height, width] = case.student;
        Labels::new(labels, images, height, width).unwrap()
    });
    let inputs = labels.map_or(inputs, |labels| inputs.with_labels(labels).unwrap());
    let upstream = Upstream::new(1.5).unwrap();
    let mut to_teacher = Slab::new(&mut wanted.teacher, 0);
    let outcome: Outcome = run_map(
        inputs,
        upstream,
        &mut state,
        Some(&mut Slab::new(&mut wanted.student, 0)),
        gives.then_some(&mut to_teacher),
    )
    .unwrap();
    wanted.value = outcome.value();
    let mut found = Found {
        value: 0.0,
        student: vec![E::default(); student.len()],
        teacher: vec![E::default(); teacher.len()],
    };
    let done = device()
        .submit_map(MapHostCall {
            plan: &plan,
            teacher: takes.then_some(teacher.into()),
            student: student.into(),
            classes: classes.as_deref(),
            upstream: upstream.get(),
            grad_student: Some((&mut found.student[..]).into()),
            grad_teacher: gives.then_some((&mut found.teacher[..]).into()),
        })
        .unwrap();
    assert_eq!(done.divisor, outcome.divisor, "{case:?}");
    found.value = plan.scale() * done.sum / done.divisor;
    (found, wanted)
}

pub(crate) fn compare<E: Element>(case: Case, (half, subnormal): (f64, f64))
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    let (teacher, student) = case.maps::<E>();
    let (found, wanted) = both(&case, &teacher, &student);
    let close = |what: &str, found: f64, wanted: f64, tolerance: f64| {
        assert!((found - wanted).abs() <= tolerance, "{case:?} {}: {what} {found:e} {wanted:e}", E::DTYPE);
    };
    close("value", found.value, wanted.value, VALUE * wanted.value.abs());
    for (what, found, wanted) in
        [("student", &found.student, &wanted.student), ("teacher", &found.teacher, &wanted.teacher)]
    {
        let largest = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        for (&found, &wanted) in found.iter().zip(wanted) {
            close(what, found.widen(), wanted, GRADIENT * largest + half * wanted.abs() + subnormal);
        }
    }
}

pub(crate) fn all_types(case: Case) {
    compare::<f32>(case, F32);
    compare::<f16>(case, (2.0_f64.powi(-11), 2.0_f64.powi(-25)));
    compare::<bf16>(case, (2.0_f64.powi(-8), 2.0_f64.powi(-134)));
    compare::<f64>(case, (0.0, 0.0));
}
