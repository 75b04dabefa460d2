//! What reaches each kernel: losses on small tensors, and their numbers.

use crate::labels;
use densekd_core::{
    DType, Divergence, Element, KeptStatistics, Loss, MapOptions, Options, Order, Plan, Recipe, ResizeMode,
    RowOptions, RowStatistics, Shape, Tensor, TensorMut, Term,
};
use densekd_cuda::{
    AdaptedHostCall, AdaptedHostLoss, AdaptedHostMap, AdapterPlan, Device, Error, HostCall, MapHostCall,
    uncovered_statistics,
};

/// Numbers that belong together: they are compared relative to the largest.
pub(crate) type Numbers = Vec<Vec<f64>>;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// Rows with ignored positions, the gradients to student and, of all but CWD's own, to the teacher.
    Rows(Order, [usize; 4], RowOptions),
    /// The same of `f64`, with the gradients to both.
    Wide(Order, [usize; 4], RowOptions),
    /// Rows of which all counts, with the gradient to the student.
    Plain(Order, [usize; 4], Maps),
    /// A map loss with every gradient that it has.
    Map(MapOptions, Order, [usize; 4]),
    /// The same of other maps.
    Of(Maps, MapOptions, Order, [usize; 4]),
    /// A loss of a student that is resized, with the gradient to it.
    Resized(Loss, ResizeMode, Order, [usize; 4], [usize; 2]),
    /// Mimicking of a student that is projected to so many channels, with the gradients to all.
    Projected(Order, [usize; 4], usize),
    /// Classes of the positions `[N, H, W]` from labels of some height and width.
    Labels([usize; 3], [usize; 2]),
}

/// What teacher and student have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Maps {
    Nothing,
    /// Most of their numbers.
    Much,
    /// All but a few, of which the teacher's are far smaller.
    ButFew,
    /// Most of their numbers but for a distance, beside which the rest is rounded: no quick form is certain.
    Distance,
    /// Numbers whose squares `f32` does not hold.
    Size,
}

impl Maps {
    /// Teacher and student.
    fn of(self, count: usize) -> [Vec<f32>; 2] {
        let (mut teacher, mut student) = (numbers(count, 37), numbers(count, 53));
        for (i, (t, s)) in teacher.iter_mut().zip(&mut student).enumerate() {
            match self {
                Self::Nothing => {}
                Self::Much => *t = *s + *t / 16.0,
                Self::ButFew => *t = *s + *t / 64.0 - if i % 37 == 0 { 8.0 } else { 0.0 },
                Self::Distance => *t = *s + *t / 64.0 + 100.0,
                Self::Size => (*t, *s) = (*t * 1e30, *s * 1e30),
            }
        }
        [teacher, student]
    }
}

fn numbers(count: usize, step: usize) -> Vec<f32> {
    // Of either sign, near and far, without a pattern that a wrong index would meet again.
    (0..count).map(|i| f32::from(u8::try_from((i * step + i * i % 89) % 251).unwrap()) / 16.0 - 8.0).collect()
}

fn widened(numbers: Vec<f32>) -> Vec<f64> {
    numbers.into_iter().map(f64::from).collect()
}

impl Use {
    pub(crate) fn run(self, device: &Device) -> Result<Numbers, Error> {
        match self {
            Self::Rows(order, dims, options) => rows::<f32>(device, order, dims, options),
            Self::Wide(order, dims, options) => rows::<f64>(device, order, dims, options),
            Self::Plain(order, dims, maps) => plain(device, order, dims, maps),
            Self::Map(options, order, dims) => map(device, Maps::Nothing, options, order, dims),
            Self::Of(maps, options, order, dims) => map(device, maps, options, order, dims),
            Self::Resized(loss, mode, order, dims, size) => {
                let plan = AdapterPlan::new(Shape::new(dims).unwrap(), order);
                adapted(device, loss, plan.with_resize(mode, size).unwrap())
            }
            Self::Projected(order, dims, outputs) => {
                let plan = AdapterPlan::new(Shape::new(dims).unwrap(), order);
                adapted(device, Loss::Mimic, plan.with_projection(outputs).unwrap())
            }
            Self::Labels(positions, size) => labels::classes(device, positions, size),
        }
    }
}

fn rows<E: Element>(
    device: &Device,
    order: Order,
    dims: [usize; 4],
    options: RowOptions,
) -> Result<Numbers, Error>
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    let plan = Plan::new(Recipe::new(options).unwrap(), Shape::new(dims).unwrap(), order).unwrap();
    let len = plan.shape().len();
    let [mut teacher, mut student] =
        [37, 53].map(|step| numbers(len, step).into_iter().map(E::narrow).collect::<Vec<_>>());
    // One row of a teacher that has nothing to say, which is no distribution.
    let (silent, apart) = (plan.layout().axis(), plan.layout().inner());
    if plan.rows() > 1 {
        teacher.iter_mut().step_by(apart).take(silent).for_each(|x| *x = E::narrow(f32::NEG_INFINITY));
    }
    // And one of a student that has nothing, by the divergence that is finite there.
    if plan.rows() > 2 && options.divergence == Divergence::Js {
        student.iter_mut().rev().step_by(apart).take(silent).for_each(|x| *x = E::narrow(f32::NEG_INFINITY));
    }
    let mask: Vec<u8> =
        (0..dims[0] * dims[2] * dims[3]).map(|i| u8::from((i * i + i / 3) % 5 != 0)).collect();
    let both = options != RowOptions::CWD || E::DTYPE == DType::F64;
    let [mut to_student, mut to_teacher] = [0; 2].map(|_| vec![E::default(); len]);
    let mut values = vec![0.0; plan.rows()];
    let mut kept = vec![RowStatistics::default(); plan.rows()];
    let has_statistics = uncovered_statistics(&plan, E::DTYPE).is_none();
    let done = device.submit(HostCall {
        plan: &plan,
        teacher: teacher[..].into(),
        student: student[..].into(),
        mask: Some(&mask),
        factor: 1.5,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: both.then(|| (&mut to_teacher[..]).into()),
        row_values: Some(&mut values),
        statistics: if has_statistics { KeptStatistics::Write(&mut kept) } else { KeptStatistics::Drop },
    })?;
    let gradients = [to_student, to_teacher].map(|gradient| gradient.iter().map(|x| x.widen()).collect());
    Ok([vec![done.sum], values].into_iter().chain(gradients).collect())
}

fn plain(device: &Device, order: Order, dims: [usize; 4], maps: Maps) -> Result<Numbers, Error> {
    let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), Shape::new(dims).unwrap(), order).unwrap();
    let [teacher, student] = maps.of(plan.shape().len());
    let mut gradient = vec![0.0_f32; student.len()];
    let mut kept = vec![RowStatistics::default(); plan.rows()];
    let mut values = vec![0.0; plan.rows()];
    let done = device.submit(HostCall {
        plan: &plan,
        teacher: teacher[..].into(),
        student: student[..].into(),
        mask: None,
        factor: 1.5,
        grad_student: Some((&mut gradient[..]).into()),
        grad_teacher: None,
        row_values: Some(&mut values),
        statistics: KeptStatistics::Write(&mut kept),
    })?;
    Ok(vec![vec![done.sum], values, widened(gradient)])
}

fn map(
    device: &Device,
    maps: Maps,
    options: MapOptions,
    order: Order,
    dims: [usize; 4],
) -> Result<Numbers, Error> {
    let shape = Shape::new(dims).unwrap();
    let Term::Map(plan) = Term::new(Options::Map(options), shape, shape, order).unwrap() else {
        unreachable!()
    };
    let [teacher, student] = maps.of(shape.len());
    let classes: Vec<i32> = (0..shape.images() * shape.positions())
        .map(|i| if i % 5 == 2 { -1 } else { i32::try_from(i % shape.channels()).unwrap() })
        .collect();
    let (mut to_student, mut to_teacher) = (vec![0.0_f32; shape.len()], vec![0.0_f32; shape.len()]);
    let done = device.submit_map(MapHostCall {
        plan: &plan,
        teacher: plan.takes_teacher().then(|| teacher[..].into()),
        student: student[..].into(),
        classes: plan.takes_labels().then_some(&classes),
        upstream: 1.5,
        grad_student: Some((&mut to_student[..]).into()),
        grad_teacher: plan.has_teacher_gradient().then(|| (&mut to_teacher[..]).into()),
    })?;
    Ok(vec![vec![done.sum], widened(to_student), widened(to_teacher)])
}

fn adapted(device: &Device, loss: Loss, adapter: AdapterPlan) -> Result<Numbers, Error> {
    let (from, to) = (adapter.from(), adapter.to());
    let term = Term::new(loss.defaults(), to, to, adapter.order()).unwrap();
    let (teacher, student) = (numbers(to.len(), 37), numbers(from.len(), 53));
    let projects = adapter.outputs().is_some();
    let parameters = if projects { from.channels() * to.channels() } else { 0 };
    let [weight, bias] = [parameters, to.channels()].map(|count| widened(numbers(count, 29)));
    let (mut gradient, mut to_weight, mut to_bias) =
        (vec![0.0_f32; from.len()], vec![0.0; parameters], vec![0.0; to.channels()]);
    let loss = match &term {
        Term::Row(plan) => AdaptedHostLoss::Rows { plan, mask: None, factor: 1.5 },
        Term::Map(plan) => AdaptedHostLoss::Map { plan, classes: None, upstream: 1.5 },
    };
    let done = device.submit_adapted(AdaptedHostCall {
        loss,
        teacher: Some(AdaptedHostMap::new(AdapterPlan::new(to, adapter.order()), &teacher[..])),
        student: AdaptedHostMap {
            weight: projects.then_some(&weight),
            bias: projects.then_some(&bias),
            gradient: Some((&mut gradient[..]).into()),
            grad_weight: projects.then_some(&mut to_weight),
            grad_bias: projects.then_some(&mut to_bias),
            ..AdaptedHostMap::new(adapter, &student[..])
        },
    })?;
    Ok(vec![vec![done.sum], widened(gradient), to_weight, to_bias])
}
