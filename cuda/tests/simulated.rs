//! The whole way on the simulated device: driver, module, launch, the shipped kernels, against the core.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod device;

use densekd_core::{
    Divergence, Element, Epsilon, Ignore, Inputs, KeptStatistics, Mask, Norm, Order, Outcome, Outputs,
    Overflowed, Plan, Recipe, RowOptions, RowStatistics, Samples, Shape, Slab, Temperature, Tensor,
    TensorMut, Upstream, run,
};
use densekd_cuda::{Device, Error, HostCall, Sum};
use device::{device, devices};
use half::{bf16, f16};

#[derive(Clone, Copy, Debug)]
struct Case {
    options: RowOptions,
    shape: [usize; 4],
    order: Order,
    masked: bool,
    /// Ask for the gradient to the teacher, too.
    to_teacher: bool,
    distance: f32,
    /// What one entry of each channel differs by, beyond that.
    outlier: f32,
    /// Entries of -inf, and NaN in some rows.
    strange: bool,
}

impl Case {
    const CWD: Self = Self {
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
    fn slack(&self) -> f64 {
        let cancels = self.options.eps.get() > 0.0 || self.options.ignore == Ignore::After;
        if cancels { 4e-7 * 2.0 * f64::from(self.distance) } else { 0.0 }
    }

    fn plan(&self) -> Plan {
        Plan::new(Recipe::new(self.options).unwrap(), Shape::new(self.shape).unwrap(), self.order).unwrap()
    }
}

/// The tensors of a case.
struct Tensors<E> {
    teacher: Vec<E>,
    student: Vec<E>,
    counted: Vec<u8>,
}

impl<E: Element> Tensors<E> {
    fn of(case: Case) -> Self {
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
struct Answer {
    sum: f64,
    rows: Vec<f64>,
    /// To the student, to the teacher.
    gradients: [Vec<f64>; 2],
    overflowed: Overflowed,
}

fn on_cpu<E: Element>(case: Case, tensors: &Tensors<E>, statistics: KeptStatistics<'_>) -> (Answer, f64)
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

fn on_gpu<E: Element>(
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

fn on<E: Element>(
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
struct Beyond {
    /// A share of the value, and of a row's largest gradient.
    share: f64,
    /// A share of each entry of a gradient, where it is rounded to a half; and that of the least numbers.
    half: f64,
    gradient: f64,
    value: f64,
}

const F32: Beyond = Beyond { share: 4e-6, half: 0.0, gradient: 0.0, value: 0.0 };
const F16: Beyond = Beyond { half: 1.0 / 2048.0, gradient: 1.0 / 33_554_432.0, ..F32 };
const BF16: Beyond = Beyond { half: 1.0 / 256.0, ..F32 };
const F64: Beyond = Beyond { share: 1e-12, ..F32 };

fn agree(what: &str, case: Case, found: &Answer, wanted: &Answer, beyond: Beyond) {
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

fn compare<E: Element>(case: Case, beyond: Beyond)
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

fn all_types(case: Case) {
    compare::<f32>(case, F32);
    compare::<f16>(case, F16);
    compare::<bf16>(case, BF16);
}

#[test]
fn rows_of_every_length_agree_with_the_core() {
    for width in [1, 2, 19, 64, 65, 300, 1001, 4096, 4097, 8193, 13_000] {
        for distance in [3.0, 1e-3] {
            for masked in [false, true] {
                all_types(Case { shape: [2, 3, 1, width], masked, distance, ..Case::CWD });
            }
        }
    }
}

#[test]
fn plain_rows_agree_with_the_core_whether_they_are_certain_or_not() {
    let one = Temperature::ONE;
    for width in [16, 64, 200, 1000, 1024, 2048, 4096, 8200] {
        let options = RowOptions { tau: one, ..RowOptions::CWD };
        let case = Case { options, shape: [1, 3, 1, width], ..Case::CWD };
        for distance in [8.0, 3.0, 1.0, 0.3, 0.1, 1e-2, 1e-4, 0.0] {
            all_types(Case { distance, ..case });
        }
        for (distance, outlier) in [(1e-3, 3.6), (0.1, 30.0), (1.0, -200.0)] {
            all_types(Case { distance, outlier, ..case });
        }
        compare::<f32>(Case { strange: true, ..case }, F32);
        compare::<f16>(Case { strange: true, ..case }, F16);
    }
}

#[test]
fn columns_of_every_length_agree_with_the_core() {
    for (options, order, shape) in [
        (RowOptions::PI, Order::Nchw, [2, 19, 5, 9]),
        (RowOptions::PI, Order::Nchw, [1, 150, 3, 3]),
        (RowOptions::PI, Order::Nhwc, [2, 19, 5, 9]),
        (RowOptions::CWD, Order::Nhwc, [2, 5, 20, 20]),
        (RowOptions::CWD, Order::Nhwc, [3, 3, 7, 7]),
    ] {
        for masked in [false, true] {
            all_types(Case { options, shape, order, masked, ..Case::CWD });
        }
    }
}

/// Kernels of their own, four reads of a row by a thread, a warp or a block.
#[test]
fn rows_of_f64_agree_with_the_core() {
    for divergence in [Divergence::Kl, Divergence::Ce] {
        let with = |norm| RowOptions { norm, divergence, ..RowOptions::CWD };
        for (norm, shape, order) in [
            (Norm::Channel, [2, 3, 1, 1], Order::Nchw),
            (Norm::Channel, [2, 5, 4, 5], Order::Nchw),
            (Norm::Channel, [1, 3, 32, 32], Order::Nchw),
            (Norm::Channel, [1, 2, 41, 61], Order::Nchw),
            (Norm::Spatial, [2, 19, 5, 9], Order::Nchw),
            (Norm::Spatial, [2, 19, 5, 9], Order::Nhwc),
            (Norm::Channel, [2, 7, 12, 15], Order::Nhwc),
        ] {
            let case = Case { options: with(norm), shape, order, to_teacher: true, ..Case::CWD };
            for (masked, strange) in [(false, false), (true, false), (false, true), (true, true)] {
                // Where entries are missing the core takes a mean off slopes that are near it, and up to 1: both are
                // rounded, and the factor is at most 2.
                let gradient = if strange { 2.0 * f64::EPSILON } else { 0.0 };
                for distance in [3.0, 1e-3, 1e-6, 0.0] {
                    compare::<f64>(Case { masked, distance, strange, ..case }, Beyond { gradient, ..F64 });
                }
            }
            let options = RowOptions { samples: Samples::First, ..case.options };
            compare::<f64>(Case { options, ..case }, F64);
        }
    }
}

#[test]
fn other_rows_of_f64_are_refused() {
    let refused = |options, statistics| {
        let case = Case { options, ..Case::CWD };
        let answer = on_gpu(case, &Tensors::<f64>::of(case), 1.0, statistics);
        let Err(Error::Unsupported { reason }) = answer else { panic!("{options:?}") };
        reason
    };
    let js = RowOptions { divergence: Divergence::Js, ..RowOptions::CWD };
    assert!(refused(js, KeptStatistics::Drop).contains("kl and ce"));
    let after = RowOptions { ignore: Ignore::After, ..RowOptions::CWD };
    assert!(refused(after, KeptStatistics::Drop).contains("ignore after"));
    let mut kept = vec![RowStatistics::default(); Case::CWD.plan().rows()];
    assert!(refused(RowOptions::CWD, KeptStatistics::Write(&mut kept)).contains("statistics of f64"));
}

#[test]
fn cross_entropy_agrees_with_the_core() {
    let tau = Temperature::new(0.7).unwrap();
    for norm in [Norm::Channel, Norm::Spatial] {
        let options = RowOptions { divergence: Divergence::Ce, norm, tau, ..RowOptions::CWD };
        for shape in [[2, 19, 6, 7], [1, 2, 70, 70]] {
            all_types(Case { options, shape, masked: true, distance: 2.0, ..Case::CWD });
        }
    }
}

#[test]
fn a_bad_first_guess_of_the_log_ratio_is_made_good() {
    // Close rows but for one entry, so that the middle of all differences is off by half of its.
    for width in [19, 300, 1001, 5000] {
        all_types(Case { shape: [2, 3, 1, width], distance: 1e-3, outlier: 3.6, ..Case::CWD });
    }
}

/// Every pair of a normalisation and a divergence that there is, at tau = 1.
fn all_options() -> Vec<RowOptions> {
    let with = |norm, divergence| RowOptions { norm, divergence, tau: Temperature::ONE, ..RowOptions::CWD };
    let mut all = Vec::new();
    for norm in [Norm::Channel, Norm::Spatial] {
        for divergence in
            [Divergence::Kl, Divergence::Ce, Divergence::ReverseKl, Divergence::Js, Divergence::Mse]
        {
            all.push(with(norm, divergence));
        }
        for divergence in [Divergence::Kl, Divergence::Ce] {
            let eps = Epsilon::new(1e-5).unwrap();
            all.push(RowOptions { eps, ..with(norm, divergence) });
            all.push(RowOptions { ignore: Ignore::After, ..with(norm, divergence) });
        }
    }
    all.push(with(Norm::ChannelMean, Divergence::Mse));
    all.push(with(Norm::None, Divergence::Mse));
    all
}

#[test]
fn every_divergence_and_both_gradients_agree_with_the_core() {
    for options in all_options() {
        // Rows of 8 lanes, of a warp, of a block, in parts; and the same apart.
        for (shape, order) in [
            ([2, 5, 4, 5], Order::Nchw),
            ([1, 2, 10, 20], Order::Nchw),
            ([1, 2, 30, 30], Order::Nchw),
            ([1, 2, 45, 97], Order::Nchw),
            ([2, 7, 9, 9], Order::Nhwc),
            ([1, 3, 15, 20], Order::Nhwc),
            ([1, 131, 3, 3], Order::Nchw),
        ] {
            for (masked, distance) in [(false, 3.0), (true, 1.0), (false, 1e-2)] {
                all_types(Case { options, shape, order, masked, to_teacher: true, distance, ..Case::CWD });
            }
        }
    }
}

#[test]
fn what_is_not_finite_means_what_it_means_to_the_core() {
    for options in all_options() {
        for shape in
            [[2, 2, 1, 1], [2, 3, 1, 2], [2, 3, 1, 19], [1, 9, 10, 20], [1, 2, 45, 97], [1, 9, 64, 65]]
        {
            for masked in [false, true] {
                let case = Case { options, shape, masked, to_teacher: true, strange: true, ..Case::CWD };
                compare::<f32>(case, F32);
                compare::<f16>(case, F16);
            }
        }
    }
}

#[test]
fn samples_but_the_first_count_for_nothing() {
    for options in all_options() {
        let options = RowOptions { samples: Samples::First, ..options };
        for (shape, order) in
            [([3, 5, 4, 5], Order::Nchw), ([2, 2, 65, 65], Order::Nchw), ([2, 4, 12, 12], Order::Nhwc)]
        {
            compare::<f32>(Case { options, shape, order, to_teacher: true, masked: true, ..Case::CWD }, F32);
        }
    }
}

#[test]
fn either_machine_reads_the_statistics_of_the_other() {
    let softmax = |options: &RowOptions| matches!(options.norm, Norm::Channel | Norm::Spatial);
    for options in all_options().into_iter().filter(softmax) {
        for (shape, distance, masked) in [
            ([2, 5, 4, 5], 1.0, true),
            ([1, 2, 45, 97], 1e-2, true),
            ([1, 131, 3, 3], 3.0, true),
            // Plain, of which either side is close to the other or not.
            ([1, 2, 10, 20], 1.0, false),
            ([1, 2, 10, 20], 8.0, false),
            ([1, 2, 45, 96], 3.0, false),
            // Rows of one entry among them.
            ([1, 1, 45, 96], 1.0, false),
        ] {
            for to_teacher in [false, true] {
                let case = Case { options, shape, masked, to_teacher, distance, ..Case::CWD };
                let tensors = Tensors::<f32>::of(case);
                let mut kept = vec![RowStatistics::default(); case.plan().rows()];
                let (wanted, factor) = on_cpu(case, &tensors, KeptStatistics::Write(&mut kept));
                let found = on_gpu(case, &tensors, factor, KeptStatistics::Read(&kept)).unwrap();
                agree("of the CPU's", case, &found, &wanted, F32);

                let mut kept = vec![RowStatistics::default(); case.plan().rows()];
                on_gpu(case, &tensors, factor, KeptStatistics::Write(&mut kept)).unwrap();
                let (found, _) = on_cpu(case, &tensors, KeptStatistics::Read(&kept));
                // Its sums are right to 2e-7: so is the logarithm of one in a cross-entropy, and so are the shares'
                // sum, to which slopes that have a part in common keep it.
                let value = if options.divergence == Divergence::Ce { 2e-7 } else { 0.0 };
                let gradient = if case.slack() > 0.0 { 4e-7 * factor } else { 0.0 };
                agree("of the GPU's", case, &found, &wanted, Beyond { gradient, value, ..F32 });
                let found = on_gpu(case, &tensors, factor, KeptStatistics::Read(&kept)).unwrap();
                agree("of its own", case, &found, &wanted, F32);
            }
        }
    }
}
