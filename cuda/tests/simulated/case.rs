//! Cases, and what either machine makes of them.

use crate::device::{device, devices};
use densekd_core::{
    Element, Ignore, Inputs, KeptStatistics, Mask, Order, Outcome, Outputs, Overflowed, Plan, Recipe,
    RowOptions, Shape, Slab, Tensor, TensorMut, Upstream, run,
};
use densekd_cuda::{Device, Error, HostCall, Sum};
use half::{bf16, f16};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) options: RowOptions,
    pub(crate) shape: [usize; 4],
    pub(crate) order: Order,
    pub(crate) masked: bool,
    /// Ask for the gradient to the teacher, too.
    pub(crate) to_teacher: bool,
    pub(crate) distance: f32,
    /// What one entry of each channel differs by, beyond that.
    pub(crate) outlier: f32,
    /// Entries of -inf, and NaN in some rows.
    pub(crate) strange: bool,
}

impl Case {
    pub(crate) const CWD: Self = Self {
        options: RowOptions::CWD,
        shape: [2, 3, 1, 64],
        order: Order::Nchw,
        masked: false,
        to_teacher: false,
        distance: 1.0,
        outlier: 0.0,
        strange: false,
    };

    /// What the terms of a row come to at most where they may cancel, as those of a divergence cannot: no log-ratio is
    /// above twice the distance. Its terms are right to 4e-7 in f32, and so is their sum, beside that.
    pub(crate) fn slack(&self) -> f64 {
        let cancels = self.options.eps.get() > 0.0 || self.options.ignore == Ignore::After;
        if cancels { 4e-7 * 2.0 * f64::from(self.distance) } else { 0.0 }
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan::new(Recipe::new(self.options).unwrap(), Shape::new(self.shape).unwrap(), self.order).unwrap()
    }
}

/// The tensors of a case.
pub(crate) struct Tensors<E> {
    pub(crate) teacher: Vec<E>,
    pub(crate) student: Vec<E>,
    pub(crate) counted: Vec<u8>,
}

impl<E: Element> Tensors<E> {
    pub(crate) fn of(case: Case) -> Self {
        let mut random = fastrand::Rng::with_seed(case.shape.iter().sum::<usize>() as u64);
        let shape = Shape::new(case.shape).unwrap();
        let mut one = |center: f32, spread: f32| center + spread * (2.0 * random.f32() - 1.0);
        let base: Vec<f32> = (0..shape.len()).map(|_| one(0.0, 4.0)).collect();
        let outlier = |i: usize| if i.is_multiple_of(shape.positions()) { case.outlier } else { 0.0 };
        let teacher: Vec<f32> =
            base.iter().enumerate().map(|(i, &x)| one(x + outlier(i), case.distance)).collect();
        let mut narrowed = |x: &f32| match one(0.0, 1.0) {
            0.99.. if case.strange => E::narrow(f32::NAN),
            0.7.. if case.strange => E::narrow(f32::NEG_INFINITY),
            _ => E::narrow(*x),
        };
        let teacher = teacher.iter().map(&mut narrowed).collect();
        let student = base.iter().map(&mut narrowed).collect();
        let counted =
            (0..shape.images() * shape.positions()).map(|_| u8::from(one(0.0, 1.0) > -0.6)).collect();
        Self { teacher, student, counted }
    }
}

/// What either machine makes of a case.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) sum: f64,
    pub(crate) rows: Vec<f64>,
    /// To the student, to the teacher.
    pub(crate) gradients: [Vec<f64>; 2],
    pub(crate) overflowed: Overflowed,
}

pub(crate) fn on_cpu<E: Element>(
    case: Case,
    tensors: &Tensors<E>,
    statistics: KeptStatistics<'_>,
) -> (Answer, f64)
where
    for<'a> Tensor<'a>: From<&'a [E]>,
{
    let plan = case.plan();
    let mask =
        if case.masked { Mask::new(plan.shape(), None, Some(&tensors.counted)).unwrap() } else { Mask::ALL };
    let inputs = Inputs::new(&plan, &tensors.teacher[..], &tensors.student[..], mask).unwrap();
    let mut rows = vec![0.0; plan.rows()];
    let mut gradients = [0; 2].map(|_| vec![0.0_f64; plan.shape().len()]);
    let [student, teacher] = &mut gradients;
    let (mut student, mut teacher) = (Slab::new(student, 0), Slab::new(teacher, 0));
    let outputs = Outputs {
        grad_student: Some(&mut student),
        grad_teacher: if case.to_teacher { Some(&mut teacher) } else { None },
        row_values: Some(&mut rows),
        statistics,
        ..Outputs::default()
    };
    let Outcome { sum, divisor, scale, overflowed } = run(&inputs, Upstream::ONE, outputs).unwrap();
    let factor = if divisor == 0.0 { 0.0 } else { scale / divisor };
    (Answer { sum, rows, gradients, overflowed }, factor)
}

pub(crate) fn on_gpu<E: Element>(
    case: Case,
    tensors: &Tensors<E>,
    factor: f64,
    statistics: KeptStatistics<'_>,
) -> Result<Answer, Error>
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    on(device(), case, tensors, factor, statistics)
}

pub(crate) fn on<E: Element>(
    device: &Device,
    case: Case,
    tensors: &Tensors<E>,
    factor: f64,
    statistics: KeptStatistics<'_>,
) -> Result<Answer, Error>
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    let plan = case.plan();
    let mut rows = vec![-1.0; plan.rows()];
    let mut gradients = [0; 2].map(|_| vec![E::default(); plan.shape().len()]);
    let [student, teacher] = &mut gradients;
    let call = HostCall {
        plan: &plan,
        teacher: tensors.teacher[..].into(),
        student: tensors.student[..].into(),
        mask: case.masked.then_some(&tensors.counted[..]),
        factor,
        grad_student: Some((&mut student[..]).into()),
        grad_teacher: case.to_teacher.then(|| (&mut teacher[..]).into()),
        row_values: Some(&mut rows),
        statistics,
    };
    let Sum { sum, overflowed } = device.submit(call)?;
    let gradients = gradients.map(|x| x.iter().map(|x| x.widen()).collect());
    Ok(Answer { sum, rows, gradients, overflowed })
}

/// What may be off.
#[derive(Clone, Copy)]
pub(crate) struct Beyond {
    /// A share of the value, and of a row's largest gradient.
    pub(crate) share: f64,
    /// A share of each entry of a gradient, where it is rounded to a half; and that of the least numbers.
    pub(crate) half: f64,
    pub(crate) gradient: f64,
    pub(crate) value: f64,
}

pub(crate) const F32: Beyond = Beyond { share: 4e-6, half: 0.0, gradient: 0.0, value: 0.0 };
pub(crate) const F16: Beyond = Beyond { half: 1.0 / 2048.0, gradient: 1.0 / 33_554_432.0, ..F32 };
pub(crate) const BF16: Beyond = Beyond { half: 1.0 / 256.0, ..F32 };
pub(crate) const F64: Beyond = Beyond { share: 1e-12, ..F32 };

pub(crate) fn agree(what: &str, case: Case, found: &Answer, wanted: &Answer, beyond: Beyond) {
    let slack = case.slack() + beyond.value;
    let what = format!("{case:?} {what}");
    assert_eq!(found.overflowed, wanted.overflowed, "{what}");
    let close = |of: &str, found: f64, wanted: f64, tolerance: f64| {
        let same = found == wanted || (found.is_nan() && wanted.is_nan());
        let near = wanted.is_finite() && (found - wanted).abs() <= tolerance;
        assert!(same || near, "{what}: {of} {found} {wanted}");
    };
    close(
        "sum",
        found.sum,
        wanted.sum,
        beyond.share * wanted.sum.abs() + wanted.rows.iter().map(|_| slack).sum::<f64>(),
    );
    for (&found, &wanted) in found.rows.iter().zip(&wanted.rows) {
        close("row", found, wanted, beyond.share * wanted.abs() + slack + 1e-30);
    }
    for (of, found, wanted) in [
        ("gradient to the student", &found.gradients[0], &wanted.gradients[0]),
        ("gradient to the teacher", &found.gradients[1], &wanted.gradients[1]),
    ] {
        let finite = wanted.iter().filter(|x| x.is_finite());
        let largest = finite.fold(0.0_f64, |most, x| most.max(x.abs()));
        for (&found, &wanted) in found.iter().zip(wanted) {
            close(of, found, wanted, beyond.share * largest + beyond.half * wanted.abs() + beyond.gradient);
        }
    }
}

pub(crate) fn compare<E: Element>(case: Case, beyond: Beyond)
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    let tensors = Tensors::<E>::of(case);
    let (wanted, factor) = on_cpu(case, &tensors, KeptStatistics::Drop);
    let found = on_gpu(case, &tensors, factor, KeptStatistics::Drop).unwrap();
    agree(&E::DTYPE.to_string(), case, &found, &wanted, beyond);
    // Numbers of 16 bits have a second text.
    if let (2, (_, Some(older))) = (size_of::<E>(), devices()) {
        let found = on(older, case, &tensors, factor, KeptStatistics::Drop).unwrap();
        agree(&format!("{} on an older device", E::DTYPE), case, &found, &wanted, beyond);
    }
}

pub(crate) fn all_types(case: Case) {
    compare::<f32>(case, F32);
    compare::<f16>(case, F16);
    compare::<bf16>(case, BF16);
}
