//! Adapters on the CUDA backend, on the simulated device: the same pairs by the CPU, whose adapters are `f64`.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd::core::{
    DType, Labels, Loss, MimicOptions, Options, Order, Plan, Projection, Recipe, ResizeMode, RowOptions,
    Shape, Tensor, Term, Upstream,
};
use densekd::io::Values;
use densekd::{
    AdaptedMap, AdaptedOutcome, AdaptedPair, Adapter, Backend, Cpu, Cuda, Gradient, Gradients, Pulled,
    Submission, TermSubmission,
};
use densekd_core::{AtOptions, MapOptions};
use densekd_tests::draws::config;
use fastrand::Rng;
use proptest::prelude::*;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::OnceLock;

const BOTH: Gradients = Gradients { student: true, teacher: true };
const MODES: [ResizeMode; 4] = [
    ResizeMode::Nearest,
    ResizeMode::Bilinear { align_corners: false },
    ResizeMode::Bilinear { align_corners: true },
    ResizeMode::Area,
];
const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];
/// Of maps of which all losses but those over classes are taken.
const ALL: [DType; 4] = [DType::F32, DType::F16, DType::Bf16, DType::F64];
const ORDERS: [Order; 2] = [Order::Nchw, Order::Nhwc];
/// Of losses in `f64`, relative to the value and to a gradient's largest entry.
const WIDE: f64 = 1e-6;
/// Of rows and classes, whose adapted maps are `f32`.
const SINGLE: f64 = 4e-6;

fn cuda() -> &'static Cuda {
    static CUDA: OnceLock<Cuda> = OnceLock::new();
    let cuda = CUDA.get_or_init(|| {
        // SAFETY: every test comes here first, and the others wait: nobody reads the environment meanwhile.
        unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
        Cuda::open(0).unwrap()
    });
    // Memory of before has values and room that would hide what is wrong.
    cuda.device().trim().unwrap();
    cuda
}

fn numbers(count: usize, rng: &mut Rng) -> Vec<f64> {
    (0..count).map(|_| 4.0 * rng.f64() - 2.0).collect()
}

fn stored(dtype: DType, numbers: &[f64]) -> Values {
    Values::rounded(dtype, numbers).0
}

fn tolerance(options: Options) -> f64 {
    match options {
        Options::Map(MapOptions::Dkd(_) | MapOptions::SmoothCe(_)) => SINGLE,
        Options::Map(_) => WIDE,
        _ => SINGLE,
    }
}

/// Relative to the largest entry, or to the largest of what the entries are sums of.
fn close(
    what: &str,
    found: &[f64],
    wanted: &[f64],
    terms: &[f64],
    tolerance: f64,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), wanted.len(), "{}", what);
    let all = wanted.iter().chain(terms);
    let largest = all.filter(|x| x.is_finite()).fold(0.0_f64, |most, x| most.max(x.abs()));
    for (found, wanted) in found.iter().zip(wanted) {
        // Numbers of 1 that cancel leave what f64 rounds off.
        let same = (found - wanted).abs() <= tolerance * largest + 1e-14 || found.is_nan() && wanted.is_nan();
        prop_assert!(same, "{}: {:e}, not {:e}", what, found, wanted);
    }
    Ok(())
}

/// What the numbers of a pair's gradients are sums of, without signs: they are right to a share of that, as a sum over a
/// row, which is 0, shows. Of student and teacher, whose adapters are given with parameters without signs.
fn terms(pair: &AdaptedPair<'_>, [student, teacher]: [&Adapter; 2]) -> [Pulled; 2] {
    let (own, Some(other)) = (pair.student, pair.teacher) else { unreachable!("pairs have two maps") };
    let order = own.adapter.order();
    let adapted = [own, other].map(|of| of.adapter.adapt(of.map, order).unwrap());
    let as_they_are = [own, other].map(|of| Adapter::new(of.adapter.to(), order));
    let plain = AdaptedPair {
        teacher: Some(AdaptedMap::new(&adapted[1][..], &as_they_are[1])),
        student: AdaptedMap::new(&adapted[0][..], &as_they_are[0]),
        ..*pair
    };
    let done = plain.evaluate(BOTH, &Cpu::new()).unwrap();
    let magnitudes = |x: &[f64]| x.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let pull = |of: AdaptedMap<'_>, adapter: &Adapter, gradient: Option<Gradient>| {
        let slopes = magnitudes(&gradient.unwrap().exact.map);
        let map = magnitudes(&widened(of.map));
        adapter.pull(map[..].into(), &slopes, order).unwrap()
    };
    [pull(own, student, done.student), pull(other, teacher, done.teacher)]
}

fn widened(map: Tensor<'_>) -> Vec<f64> {
    match map {
        Tensor::F32(x) => x.iter().map(|&x| x.into()).collect(),
        Tensor::F64(x) => x.to_vec(),
        Tensor::F16(x) => x.iter().map(|&x| x.into()).collect(),
        Tensor::Bf16(x) => x.iter().map(|&x| x.into()).collect(),
    }
}

fn agree(
    pair: &AdaptedPair<'_>,
    wanted: Gradients,
    terms: Option<&[Pulled; 2]>,
) -> Result<(), TestCaseError> {
    let on_cpu = pair.evaluate(wanted, &Cpu::new()).unwrap();
    let done = cuda().submit_adapted(pair, wanted).unwrap();
    let Some(on_gpu) = done else { return Err(TestCaseError::fail("it was left to the CPU")) };
    let (found, expected) = (&on_gpu.outcome, &on_cpu.outcome);
    prop_assert_eq!((found.divisor, found.scale), (expected.divisor, expected.scale));
    let tolerance = tolerance(pair.options);
    close("value", &[found.value()], &[expected.value()], &[], tolerance)?;
    let gradients = |of: AdaptedOutcome| [of.student, of.teacher];
    for (i, (found, expected)) in gradients(on_gpu).into_iter().zip(gradients(on_cpu)).enumerate() {
        prop_assert_eq!(found.is_some(), expected.is_some());
        let (Some(Gradient { exact: found, .. }), Some(Gradient { exact: expected, .. })) = (found, expected)
        else {
            continue;
        };
        let sizes = terms.map(|terms| terms[i].clone()).unwrap_or_default();
        close("map", &found.map, &expected.map, &sizes.map, tolerance)?;
        close("weight", &found.weight, &expected.weight, &sizes.weight, tolerance)?;
        close("bias", &found.bias, &expected.bias, &sizes.bias, tolerance)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn adapted_maps_give_what_they_give_on_the_cpu(
        loss in prop::sample::select(&[Loss::Cwd, Loss::Pi, Loss::Mimic, Loss::Pkd, Loss::At, Loss::Dist, Loss::Rkd][..]),
        mode in prop::sample::select(&MODES[..]),
        orders in [prop::sample::select(&ORDERS[..]), prop::sample::select(&ORDERS[..])],
        dtypes in [prop::sample::select(&ALL[..]), prop::sample::select(&ALL[..])],
        images in 1_usize..4,
        channels in [1_usize..11, 1_usize..11],
        small in [1_usize..9, 1_usize..15],
        large in [1_usize..13, 1_usize..23],
        [projects, has_bias, of_teacher, masked] in any::<[bool; 4]>(),
        seed: u64,
    ) {
        let mut rng = Rng::with_seed(seed);
        let [inputs, outputs] = if projects { channels } else { [channels[1]; 2] };
        let (student, teacher) =
            (Shape::new([images, inputs, small[0], small[1]]).unwrap(), Shape::new([images, outputs, large[0], large[1]]).unwrap());
        let (mut of_student, mut at_teacher) = (Adapter::new(student, orders[0]), Adapter::new(teacher, orders[1]));
        let mut unsigned = of_student.clone();
        if projects {
            let (weight, bias) = (numbers(inputs * outputs, &mut rng), has_bias.then(|| numbers(outputs, &mut rng)));
            let without_sign = weight.iter().map(|x| x.abs()).collect();
            of_student = of_student.with_projection(weight, bias.clone()).unwrap();
            unsigned = unsigned.with_projection(without_sign, bias).unwrap();
        }
        if of_teacher {
            at_teacher = at_teacher.with_resize(mode, small).unwrap();
        } else {
            of_student = of_student.with_resize(mode, large).unwrap();
            unsigned = unsigned.with_resize(mode, large).unwrap();
        }
        let maps = [stored(dtypes[0], &numbers(student.len(), &mut rng)), stored(dtypes[1], &numbers(teacher.len(), &mut rng))];
        let to = of_student.to();
        let mask: Vec<u8> = (0..images * to.positions()).map(|_| u8::from(rng.u8(..) < 180)).collect();
        let is_row = loss.defaults().row().is_some();
        let pair = AdaptedPair {
            teacher: Some(AdaptedMap::new(maps[1].as_tensor(), &at_teacher)),
            mask: (masked && is_row).then_some(&mask[..]),
            upstream: Upstream::new(1.5).unwrap(),
            ..AdaptedPair::new(loss.defaults(), AdaptedMap::new(maps[0].as_tensor(), &of_student))
        };
        let terms = terms(&pair, [&unsigned, &at_teacher]);
        agree(&pair, BOTH, Some(&terms))?;
    }

    #[test]
    fn mimicking_with_a_projection_gives_what_it_gives_on_the_cpu(
        standardise: bool,
        order in prop::sample::select(&ORDERS[..]),
        dtypes in [prop::sample::select(&DTYPES[..]), prop::sample::select(&DTYPES[..])],
        dims in [1_usize..4, 1_usize..40, 1_usize..9, 1_usize..20],
        outputs in 1_usize..70,
        [has_weight, has_bias] in any::<[bool; 2]>(),
        seed: u64,
    ) {
        let mut rng = Rng::with_seed(seed);
        let options = MapOptions::Mimic(MimicOptions { standardise, ..MimicOptions::DEFAULT });
        let outputs = if has_weight { outputs } else { dims[1] };
        let student = Shape::new(dims).unwrap();
        let teacher = Shape::new([dims[0], outputs, dims[2], dims[3]]).unwrap();
        let term = Term::new(Options::Map(options), student, teacher, order).unwrap();
        let (weight, bias) = (numbers(dims[1] * outputs, &mut rng), numbers(outputs, &mut rng));
        let maps = [stored(dtypes[0], &numbers(student.len(), &mut rng)), stored(dtypes[1], &numbers(teacher.len(), &mut rng))];
        let run = |backend: &dyn Backend| {
            let mut to = [vec![0.0; student.len()], vec![0.0; teacher.len()], vec![7.0; weight.len()], vec![7.0; outputs]];
            let [to_student, to_teacher, to_weight, to_bias] = &mut to;
            let submission = TermSubmission {
                projection: Projection { weight: has_weight.then_some(&weight[..]), bias: has_bias.then_some(&bias[..]) },
                grad_student: Some(to_student[..].as_mut().into()),
                grad_teacher: Some(to_teacher[..].as_mut().into()),
                grad_projection: Some((to_weight, to_bias)),
                ..TermSubmission::new(&term, Some(maps[1].as_tensor()), maps[0].as_tensor())
            };
            (submission.submit(backend).unwrap(), to)
        };
        let ((found, of_gpu), (wanted, of_cpu)) = (run(cuda()), run(&Cpu::new()));
        prop_assert_eq!((found.divisor, found.scale), (wanted.divisor, wanted.scale));
        close("value", &[found.value()], &[wanted.value()], &[], WIDE)?;
        for (what, (found, wanted)) in ["student", "teacher", "weight", "bias"].iter().zip(of_gpu.iter().zip(&of_cpu)) {
            // With standardise a channel of one number, or the sum over a channel, is 0 to rounding.
            let floor = if standardise { 1e-12 } else { 0.0 };
            let is_zero = wanted.iter().all(|x| x.abs() <= floor);
            if is_zero { prop_assert!(found.iter().all(|x| x.abs() <= 1e-12), "{}", what) } else { close(what, found, wanted, &[], WIDE)? }
        }
    }

    #[test]
    fn rows_of_enlarged_maps_give_what_they_give_on_the_cpu(
        factor in 2_usize..5,
        order in prop::sample::select(&ORDERS[..]),
        dtype in prop::sample::select(&DTYPES[..]),
        dims in [1_usize..3, 1_usize..9, 1_usize..6, 1_usize..7],
        seed: u64,
    ) {
        let mut rng = Rng::with_seed(seed);
        let options = RowOptions { upsample: NonZeroUsize::new(factor).unwrap(), ..RowOptions::PI };
        let plan = Plan::new(Recipe::new(options).unwrap(), Shape::new(dims).unwrap(), order).unwrap();
        let maps = [0; 2].map(|_| stored(dtype, &numbers(plan.shape().len(), &mut rng)));
        let run = |backend: &dyn Backend| {
            let mut to = [vec![0.0_f64; plan.shape().len()], vec![0.0_f64; plan.shape().len()]];
            let mut rows = vec![0.0; plan.rows()];
            let [to_student, to_teacher] = &mut to;
            let submission = Submission {
                grad_student: Some(to_student[..].as_mut().into()),
                grad_teacher: Some(to_teacher[..].as_mut().into()),
                row_values: Some(&mut rows),
                ..Submission::new(&plan, maps[0].as_tensor(), maps[1].as_tensor())
            };
            let outcome = backend.submit(submission).unwrap();
            (outcome, to, rows)
        };
        let ((found, of_gpu, rows), (wanted, of_cpu, wanted_rows)) = (run(cuda()), run(&Cpu::new()));
        close("value", &[found.value()], &[wanted.value()], &[], SINGLE)?;
        close("rows", &rows, &wanted_rows, &[], SINGLE)?;
        for (found, wanted) in of_gpu.iter().zip(&of_cpu) {
            close("gradient", found, wanted, &[], SINGLE)?;
        }
    }
}

#[test]
fn losses_with_labels_are_taken_of_adapted_maps() {
    let mut rng = Rng::with_seed(9);
    let (small, large) = (Shape::new([2, 5, 4, 3]).unwrap(), Shape::new([2, 5, 7, 6]).unwrap());
    let (student, teacher) = (
        stored(DType::F32, &numbers(small.len(), &mut rng)),
        stored(DType::F16, &numbers(large.len(), &mut rng)),
    );
    let enlarged = Adapter::new(small, Order::Nchw).with_resize(MODES[1], [7, 6]).unwrap();
    let as_it_is = Adapter::new(large, Order::Nhwc);
    let classes: Vec<i64> = (0..84).map(|i| if i % 9 == 4 { 255 } else { i % 5 }).collect();
    let labels = Labels::new(&classes, 2, 7, 6).unwrap();
    let mask: Vec<u8> = (0..84).map(|i| u8::from(i % 7 > 0)).collect();
    for loss in [Loss::Dkd, Loss::SmoothCe, Loss::Ifvd, Loss::Pi] {
        let teacher = AdaptedMap::new(teacher.as_tensor(), &as_it_is);
        let pair = AdaptedPair {
            teacher: (loss != Loss::SmoothCe).then_some(teacher),
            labels: Some(labels),
            mask: Some(&mask),
            ..AdaptedPair::new(loss.defaults(), AdaptedMap::new(student.as_tensor(), &enlarged))
        };
        let wanted = Gradients { student: true, teacher: loss == Loss::Ifvd };
        agree(&pair, wanted, None).unwrap();
    }
}

/// What has no share in a number cannot spoil it; what has spoils it.
#[test]
fn what_is_not_finite_goes_where_it_goes_on_the_cpu() {
    let mut rng = Rng::with_seed(3);
    let (small, large) = (Shape::new([1, 3, 3, 4]).unwrap(), Shape::new([1, 2, 5, 7]).unwrap());
    let teacher = stored(DType::F32, &numbers(large.len(), &mut rng));
    let same = numbers(small.len(), &mut rng);
    let as_it_is = Adapter::new(large, Order::Nchw);
    for (mode, junk) in MODES
        .into_iter()
        .flat_map(|mode| [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|junk| (mode, junk)))
    {
        let mut student = same.clone();
        student[5] = junk;
        let student = stored(DType::F32, &student);
        for order in ORDERS {
            let adapter = Adapter::new(small, order).with_resize(mode, [5, 7]).unwrap();
            let adapter = adapter.with_projection(numbers(6, &mut Rng::with_seed(4)), None).unwrap();
            let pair = AdaptedPair {
                teacher: Some(AdaptedMap::new(teacher.as_tensor(), &as_it_is)),
                ..AdaptedPair::new(Loss::Mimic.defaults(), AdaptedMap::new(student.as_tensor(), &adapter))
            };
            let [cpu, gpu] =
                [&Cpu::new() as &dyn Backend, cuda()].map(|backend| pair.evaluate(BOTH, backend).unwrap());
            assert_eq!(cpu.outcome.value().is_nan(), gpu.outcome.value().is_nan(), "{mode:?} {junk}");
            for (cpu, gpu) in [(cpu.student, gpu.student), (cpu.teacher, gpu.teacher)] {
                let (cpu, gpu) = (cpu.unwrap().exact, gpu.unwrap().exact);
                for (wanted, found) in cpu.map.iter().zip(&gpu.map).chain(cpu.weight.iter().zip(&gpu.weight))
                {
                    assert_eq!(wanted.is_finite(), found.is_finite(), "{mode:?} {junk}: {found} {wanted}");
                }
            }
        }
    }
}

/// What the checks of a loss refuse they refuse on this backend, too, with their own reasons.
#[test]
fn what_is_refused_on_the_cpu_is_refused_for_the_same_reason() {
    let shape = Shape::new([1, 2, 3, 4]).unwrap();
    let (map, adapter) = (vec![1.0_f32; 24], Adapter::new(shape, Order::Nchw));
    let of = AdaptedMap::new(&map[..], &adapter);
    let short = AdaptedMap::new(&map[..23], &adapter);
    let pairs = [
        AdaptedPair::new(Loss::Cwd.defaults(), of),
        AdaptedPair { teacher: Some(of), ..AdaptedPair::new(Loss::Dkd.defaults(), of) },
        AdaptedPair { teacher: Some(of), mask: Some(&[1; 12]), ..AdaptedPair::new(Loss::At.defaults(), of) },
        AdaptedPair { teacher: Some(short), ..AdaptedPair::new(Loss::Cwd.defaults(), of) },
    ];
    for pair in pairs {
        let [cpu, gpu] = [&Cpu::new() as &dyn Backend, cuda()]
            .map(|backend| pair.evaluate(Gradients::default(), backend).unwrap_err().to_string());
        assert_eq!(cpu, gpu);
    }
    // What has no kernels is left to the CPU by who may choose, and refused by name by who may not.
    let p = NonZeroU32::new(5).unwrap();
    let options = Options::Map(MapOptions::At(AtOptions { p, ..AtOptions::DEFAULT }));
    let pair = AdaptedPair { teacher: Some(of), ..AdaptedPair::new(options, of) };
    assert!(cuda().submit_adapted(&pair, Gradients::default()).unwrap().is_none());
    assert!(pair.evaluate(Gradients::default(), cuda()).unwrap_err().to_string().contains("backend cuda"));
}
