//! What the map losses do not see (scale, shift, rotation, order), what they are 0 for, and what they are linear in.

use densekd_core::DType;
use densekd_tests::backends::Sequential;
use densekd_tests::map_samples::draw;
use densekd_tests::maps::{LOSSES, MapGot, MapWay, ask};
use densekd_tests::oracle;
use densekd_tests::oracle::maps::{MapCase, Setting};
use densekd_tests::samples::{log_between, normal};
use fastrand::Rng;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// So many cases, the same ones on every run and every machine.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(20), failure_persistence: None, ..Default::default() }
}

fn run(case: &MapCase) -> MapGot {
    run_under(case, 1.0)
}

fn run_under(case: &MapCase, upstream: f64) -> MapGot {
    let way = MapWay { dtype: DType::F64, backend: &Sequential, upstream };
    ask(case, way).unwrap_or_else(|error| panic!("{error}: {case:?}"))
}

fn of(loss: &str, seed: u64) -> (MapCase, Rng) {
    let mut rng = Rng::with_seed(seed);
    let case = draw(&mut rng, loss, DType::F64);
    (case, rng)
}

/// Both values to the rounding of what a change does to the numbers, which are around 1.
fn same(case: &MapCase, changed: &MapCase) {
    let (before, after) = (run(case).value, run(changed).value);
    let scale = before.abs() + 1e-3 * weight(case);
    assert!((before - after).abs() <= 1e-10 * scale, "{before:e} became {after:e}: {case:?} {changed:?}");
}

fn weight(case: &MapCase) -> f64 {
    let Setting::Number(weight) = case.setting("weight") else { panic!("no weight") };
    weight.abs()
}

type Edit<'a> = &'a mut dyn FnMut([usize; 4], &mut [f64]);

/// The same change to both maps.
fn both(case: &MapCase, edit: Edit<'_>) -> MapCase {
    let mut changed = case.clone();
    edit(changed.shape, &mut changed.student);
    if let Some(teacher) = &mut changed.teacher {
        edit(changed.teacher_shape, teacher);
    }
    changed
}

fn scaled(rng: &mut Rng) -> impl FnMut([usize; 4], &mut [f64]) {
    let mut rng = rng.fork();
    move |_, x| {
        let factor = log_between(&mut rng, 0.1, 10.0);
        for x in x.iter_mut() {
            *x *= factor;
        }
    }
}

/// Every vector of channels turned by the same plane rotations.
fn turned(rng: &mut Rng) -> impl FnMut([usize; 4], &mut [f64]) {
    let mut rng = rng.fork();
    move |[n, c, h, w], x| {
        let m = h * w;
        for a in 1..c {
            let (sin, cos) = (6.3 * rng.f64()).sin_cos();
            for image in 0..n {
                for i in 0..m {
                    let (p, q) = ((image * c + a - 1) * m + i, (image * c + a) * m + i);
                    (x[p], x[q]) = (cos * x[p] - sin * x[q], sin * x[p] + cos * x[q]);
                }
            }
        }
    }
}

/// A number added to each channel.
fn shifted(rng: &mut Rng) -> impl FnMut([usize; 4], &mut [f64]) {
    let mut rng = rng.fork();
    move |[_, c, h, w], x| {
        let by: Vec<f64> = (0..c).map(|_| normal(&mut rng)).collect();
        x.iter_mut().enumerate().for_each(|(i, x)| *x += by[i / (h * w) % c]);
    }
}

/// A number added to all channels of each position.
fn raised(rng: &mut Rng) -> impl FnMut([usize; 4], &mut [f64]) {
    let mut rng = rng.fork();
    move |[n, c, h, w], x| {
        let m = h * w;
        let by: Vec<f64> = (0..n * m).map(|_| normal(&mut rng)).collect();
        x.iter_mut().enumerate().for_each(|(i, x)| *x += by[i / (c * m) * m + i % m]);
    }
}

/// Elements of `[outer, len, inner]` in another order along `len`.
fn reordered<T: Copy>(x: &[T], order: &[usize], inner: usize) -> Vec<T> {
    let block = order.len() * inner;
    (0..x.len()).map(|i| x[i / block * block + order[i % block / inner] * inner + i % inner]).collect()
}

fn order(rng: &mut Rng, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    rng.shuffle(&mut order);
    order
}

fn close(got: &[f64], want: &[f64], case: &MapCase) {
    let largest = want.iter().fold(1e-3 * weight(case), |largest, x| largest.max(x.abs()));
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-10 * largest, "{got:e} for {want:e}: {case:?}");
    }
}

fn images_in_another_order(case: &MapCase, rng: &mut Rng) {
    let [n, c, h, w] = case.shape;
    let order = order(rng, n);
    let mut changed = case.clone();
    changed.student = reordered(&case.student, &order, c * h * w);
    changed.teacher =
        case.teacher.as_ref().map(|teacher| reordered(teacher, &order, case.teacher_shape[1] * h * w));
    changed.labels = case.labels.as_ref().map(|(x, [hl, wl])| (reordered(x, &order, hl * wl), [*hl, *wl]));
    changed.counted = case.counted.as_ref().map(|x| reordered(x, &order, h * w));
    same(case, &changed);
    close(&run(&changed).grad_student, &reordered(&run(case).grad_student, &order, c * h * w), case);
}

fn positions_in_another_order(case: &MapCase, rng: &mut Rng) {
    let [_, _, h, w] = case.shape;
    if case.labels.as_ref().is_some_and(|(_, size)| *size != [h, w]) {
        return;
    }
    let order = order(rng, h * w);
    let mut changed = case.clone();
    changed.student = reordered(&case.student, &order, 1);
    changed.teacher = case.teacher.as_ref().map(|teacher| reordered(teacher, &order, 1));
    changed.labels = case.labels.as_ref().map(|(x, size)| (reordered(x, &order, 1), *size));
    changed.counted = case.counted.as_ref().map(|x| reordered(x, &order, 1));
    same(case, &changed);
    close(&run(&changed).grad_student, &reordered(&run(case).grad_student, &order, 1), case);
}

/// Losses that are 0 for equal maps, whatever their settings.
const OF_EQUAL_MAPS: [&str; 9] = ["at", "la", "pa", "ifvd", "mimic", "pkd", "dist", "dkd", "rkd"];

fn equal(loss: &str, seed: u64) -> MapCase {
    let (mut case, _) = of(loss, seed);
    case.teacher_shape = case.shape;
    case.teacher = Some(case.student.clone());
    (case.weight, case.bias) = (None, None);
    // What eps keeps from 1 is no rounding.
    if loss == "dist" { case.with("eps", Setting::Number(0.0)) } else { case }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn at_sees_no_scale_and_no_sign(seed: u64) {
        let (case, mut rng) = of("at", seed);
        let case = case.with("eps", Setting::Number(1e-12));
        same(&case, &both(&case, &mut scaled(&mut rng)));
        same(&case, &both(&case, &mut |_, x| x.iter_mut().for_each(|x| *x = -*x)));
    }

    #[test]
    fn la_sees_no_shift_and_no_rotation(seed: u64) {
        let (case, mut rng) = of("la", seed);
        let distances = case.clone().with("mode", Setting::Name("l2"));
        same(&distances, &both(&distances, &mut shifted(&mut rng)));
        same(&case, &both(&case, &mut turned(&mut rng)));
        let cosines = case.with("mode", Setting::Name("cos")).with("eps", Setting::Number(1e-8));
        same(&cosines, &both(&cosines, &mut scaled(&mut rng)));
    }

    #[test]
    fn pa_sees_no_rotation_of_its_nodes(seed: u64) {
        let (case, mut rng) = of("pa", seed);
        let averages = case.clone().with("pool", Setting::Name("avg"));
        same(&averages, &both(&averages, &mut turned(&mut rng)));
        let pixels = case.with("kernel", Setting::Pair([1, 1]));
        same(&pixels, &both(&pixels, &mut turned(&mut rng)));
        let directions = pixels.with("eps", Setting::Number(1e-12)).with("eps_mode", Setting::Name("max"));
        same(&directions, &both(&directions, &mut scaled(&mut rng)));
        positions_in_another_order(&directions, &mut rng);
    }

    #[test]
    fn ifvd_sees_no_scale_and_no_rotation(seed: u64) {
        let (case, mut rng) = of("ifvd", seed);
        same(&case, &both(&case, &mut scaled(&mut rng)));
        same(&case, &both(&case, &mut turned(&mut rng)));
    }

    #[test]
    fn pkd_sees_no_affine_map_of_a_channel(seed: u64) {
        let (case, mut rng) = of("pkd", seed);
        let case = case.with("eps", Setting::Number(0.0));
        same(&case, &both(&case, &mut scaled(&mut rng)));
        same(&case, &both(&case, &mut shifted(&mut rng)));
    }

    #[test]
    fn rkd_sees_no_similarity(seed: u64) {
        let (case, mut rng) = of("rkd", seed);
        same(&case, &both(&case, &mut scaled(&mut rng)));
        same(&case, &both(&case, &mut turned(&mut rng)));
        let raw = case.with("normalize", Setting::Flag(false));
        same(&raw, &both(&raw, &mut shifted(&mut rng)));
    }

    #[test]
    fn losses_of_logits_see_no_shift_of_a_position(seed: u64) {
        for loss in ["dist", "dkd", "smooth_ce"] {
            let (case, mut rng) = of(loss, seed);
            same(&case, &both(&case, &mut raised(&mut rng)));
            let got = run(&case).grad_student;
            let [n, c, h, w] = case.shape;
            let m = h * w;
            for row in 0..n * m {
                let entries = (0..c).map(|c_| got[(row / m * c + c_) * m + row % m]);
                let (sum, size) = entries.fold((0.0_f64, 0.0_f64), |(sum, size), x| (sum + x, size + x.abs()));
                assert!(sum.abs() <= 1e-12 * size + 1e-13 * weight(&case) * 100.0, "{sum:e} of {size:e}: {case:?}");
            }
        }
    }

    /// r is 1 where the student's probabilities are an affine map of the teacher's.
    #[test]
    fn dist_is_0_for_probabilities_mixed_with_a_uniform(seed: u64) {
        let (mut case, mut rng) = of("dist", seed);
        let [n, c, h, w] = case.shape;
        prop_assume!(c > 1 && n * h * w > 1);
        case = case.with("tau", Setting::Number(1.0)).with("eps", Setting::Number(0.0));
        let share = 0.1 + 0.8 * rng.f64();
        let teacher = case.teacher.clone().expect("a teacher");
        let m = h * w;
        let classes = f64::from(u32::try_from(c).expect("few classes"));
        for i in 0..teacher.len() {
            let row = |c_: usize| teacher[(i / (c * m) * c + c_) * m + i % m].exp();
            let p = teacher[i].exp() / (0..c).map(row).sum::<f64>();
            case.student[i] = (share * p + (1.0 - share) / classes).ln();
        }
        let value = run(&case).value;
        assert!(value.abs() <= 1e-14 * weight(&case), "{value:e}: {case:?}");
    }

    /// Near the teacher the loss is a square, and keeps its digits.
    #[test]
    fn close_maps_keep_their_digits(seed: u64) {
        for loss in OF_EQUAL_MAPS {
            let mut case = equal(loss, seed);
            let mut rng = Rng::with_seed(seed);
            // What is added is added exactly, and small against every number.
            for (s, t) in case.student.iter_mut().zip(case.teacher.iter_mut().flatten()) {
                *t = (*t * 1_048_576.0).round() / 1_048_576.0;
                *s = *t + (normal(&mut rng) * 1024.0).round() / 2.0_f64.powi(34);
            }
            let (got, want) = (run(&case).value, oracle::maps::value(&case));
            let nothing = 1e-20 * weight(&case);
            assert!((got - want).abs() <= 1e-6 * want.abs() + nothing, "{got:e}, not {want:e}: {case:?}");
        }
    }

    #[test]
    fn equal_maps_have_no_loss_and_no_gradient(seed: u64) {
        for loss in OF_EQUAL_MAPS {
            let case = equal(loss, seed);
            if case.loss == "dist" && (case.shape[1] == 1 || case.shape[0] * case.shape[2] * case.shape[3] == 1) {
                continue;
            }
            let got = run(&case);
            assert_eq!(got.value, 0.0, "{case:?}");
            assert!(got.grad_student.iter().chain(&got.grad_teacher).all(|x| *x == 0.0), "{got:?} {case:?}");
        }
    }

    #[test]
    fn weight_and_upstream_multiply_everything(seed: u64) {
        for loss in LOSSES {
            let (case, _) = of(loss, seed);
            let Setting::Number(weight) = case.setting("weight") else { panic!("no weight") };
            let got = run(&case);
            // Powers of 2 round nothing.
            let heavier = run(&case.clone().with("weight", Setting::Number(-4.0 * weight)));
            let scaled = run_under(&case, -4.0);
            assert_eq!(heavier.value, -4.0 * got.value, "{case:?}");
            assert_eq!(scaled.value, got.value, "{case:?}");
            let four = |x: &[f64]| x.iter().map(|x| -4.0 * x).collect::<Vec<_>>();
            for more in [&heavier, &scaled] {
                assert_eq!(more.grad_student, four(&got.grad_student), "{case:?}");
                assert_eq!(more.grad_teacher, four(&got.grad_teacher), "{case:?}");
                assert_eq!(more.grad_weight, four(&got.grad_weight), "{case:?}");
                assert_eq!(more.grad_bias, four(&got.grad_bias), "{case:?}");
            }
            let none = run(&case.clone().with("weight", Setting::Number(0.0)));
            assert_eq!(none.value, 0.0, "{case:?}");
            assert!(none.grad_student.iter().chain(&none.grad_teacher).all(|x| *x == 0.0), "{case:?}");
        }
    }

    #[test]
    fn images_have_no_order(seed: u64) {
        for loss in LOSSES {
            let (case, mut rng) = of(loss, seed);
            images_in_another_order(&case, &mut rng);
        }
    }

    #[test]
    fn positions_have_no_order_where_no_neighbourhood_counts(seed: u64) {
        for loss in ["at", "ifvd", "mimic", "pkd", "dist", "dkd", "rkd", "smooth_ce", "ho"] {
            let (case, mut rng) = of(loss, seed);
            positions_in_another_order(&case, &mut rng);
        }
    }
}

fn scores(role: &'static str, adversary: &'static str, student: &[f64], teacher: Option<&[f64]>) -> MapGot {
    let settings = vec![
        ("role", Setting::Name(role)),
        ("adversary", Setting::Name(adversary)),
        ("weight", Setting::Number(2.0)),
    ];
    let shape = [student.len() / 2, 2, 1, 1];
    run(&MapCase { settings, ..MapCase::new("ho", shape, student.to_vec(), teacher.map(<[f64]>::to_vec)) })
}

#[test]
fn ho_has_closed_values() {
    for adversary in ["wgan-gp", "hinge"] {
        assert_eq!(scores("generator", adversary, &[0.25; 4], None).value, -0.5);
        assert_eq!(scores("generator", adversary, &[0.25; 4], None).grad_student, [-0.5; 4]);
        // Two samples of length 5 and 1: (4^2 + 0) / 2.
        let penalty = scores("gradient_penalty", adversary, &[3.0, 4.0, 0.0, 1.0], None);
        assert_eq!(penalty.value, 16.0);
        let off = penalty.grad_student.iter().zip([4.8, 6.4, 0.0, 0.0]).map(|(got, want)| (got - want).abs());
        assert!(off.fold(0.0, f64::max) < 1e-14, "{penalty:?}");
    }
    let wgan = scores("discriminator", "wgan-gp", &[0.5; 4], Some(&[0.25; 4]));
    assert_eq!((wgan.value, wgan.grad_student, wgan.grad_teacher), (0.5, vec![0.5; 4], vec![-0.5; 4]));
    let certain = scores("discriminator", "hinge", &[-1.0, -2.0, -1.0, -9.0], Some(&[1.0, 2.0, 1.0, 9.0]));
    assert_eq!(
        (certain.value, certain.grad_student, certain.grad_teacher),
        (0.0, vec![0.0; 4], vec![0.0; 4])
    );
    let unsure = scores("discriminator", "hinge", &[0.0; 4], Some(&[0.0; 4]));
    assert_eq!((unsure.value, unsure.grad_student, unsure.grad_teacher), (4.0, vec![0.5; 4], vec![-0.5; 4]));
}
