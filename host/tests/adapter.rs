//! Adapters on tensors: gradients against finite differences, memory orders, types, threads.

use densekd::core::{Loss, Options, Order, ResizeMode, Shape, Side, Upstream};
use densekd::io::Values;
use densekd::{AdaptedMap, AdaptedOutcome, AdaptedPair, Adapter, Cpu, Gradients};
use fastrand::Rng;
use half::f16;

const BOTH: Gradients = Gradients { student: true, teacher: true };

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::with_seed(seed);
    (0..count).map(|_| rng.f64() * 4.0 - 2.0).collect()
}

fn shape(dims: [usize; 4]) -> Shape {
    Shape::new(dims).expect("a shape")
}

/// `[N, C, H, W]` with the channels last.
fn last(numbers: &[f64], [n, c, h, w]: [usize; 4]) -> Vec<f64> {
    let m = h * w;
    (0..n * m * c).map(|i| numbers[(i / (m * c) * c + i % c) * m + i / c % m]).collect()
}

/// Some of a case's numbers.
type Numbers = fn(&mut Case) -> &mut Vec<f64>;

/// A student of 3 channels and 3 x 5 under a teacher of 4 channels and 6 x 4: everything differs.
struct Case {
    options: Options,
    mode: ResizeMode,
    side: Side,
    student: Vec<f64>,
    teacher: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

const STUDENT: [usize; 4] = [2, 3, 3, 5];
const TEACHER: [usize; 4] = [2, 4, 6, 4];

impl Case {
    fn new(loss: Loss, mode: ResizeMode, side: Side) -> Self {
        Self {
            options: loss.defaults(),
            mode,
            side,
            student: numbers(2 * 3 * 15, 1),
            teacher: numbers(2 * 4 * 24, 2),
            weight: numbers(12, 3),
            bias: numbers(4, 4),
        }
    }

    fn adapters(&self, order: Order) -> (Adapter, Adapter) {
        let (student, teacher) = (Adapter::new(shape(STUDENT), order), Adapter::new(shape(TEACHER), order));
        let student = student.with_projection(self.weight.clone(), Some(self.bias.clone())).expect("it fits");
        match self.side {
            Side::Student => (student.with_resize(self.mode, [6, 4]).expect("it fits"), teacher),
            Side::Teacher => (student, teacher.with_resize(self.mode, [3, 5]).expect("it fits")),
        }
    }

    fn run(&self, wanted: Gradients) -> AdaptedOutcome {
        let (student, teacher) = self.adapters(Order::Nchw);
        let pair = AdaptedPair {
            teacher: Some(AdaptedMap::new(&self.teacher[..], &teacher)),
            ..AdaptedPair::new(self.options, AdaptedMap::new(&self.student[..], &student))
        };
        pair.evaluate(wanted, &Cpu::new()).expect("a pair that fits")
    }

    /// The derivative by one number of the case, by central differences.
    fn slope(&mut self, numbers: Numbers, i: usize) -> f64 {
        let (x, step) = (numbers(self)[i], 1e-5);
        let mut value = |x| {
            numbers(self)[i] = x;
            self.run(Gradients::default()).outcome.value()
        };
        let slope = (value(x + step) - value(x - step)) / (2.0 * step);
        numbers(self)[i] = x;
        slope
    }
}

#[test]
fn gradients_are_the_slopes_of_the_value() {
    let modes = [
        ResizeMode::Nearest,
        ResizeMode::Bilinear { align_corners: false },
        ResizeMode::Bilinear { align_corners: true },
        ResizeMode::Area,
    ];
    for (mode, loss, side) in modes.into_iter().flat_map(|mode| {
        [(mode, Loss::Cwd, Side::Student), (mode, Loss::Pi, Side::Teacher), (mode, Loss::At, Side::Student)]
    }) {
        let mut case = Case::new(loss, mode, side);
        let done = case.run(BOTH);
        let (student, teacher) =
            (done.student.expect("asked for").exact, done.teacher.expect("asked for").exact);
        let gradients: [(&[f64], Numbers); 4] = [
            (&student.map, |case| &mut case.student),
            (&student.weight, |case| &mut case.weight),
            (&student.bias, |case| &mut case.bias),
            (&teacher.map, |case| &mut case.teacher),
        ];
        for (gradient, numbers) in gradients {
            assert_eq!(gradient.len(), numbers(&mut case).len());
            let scale = gradient.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            for i in (0..gradient.len()).step_by(7) {
                let (got, want) = (gradient[i], case.slope(numbers, i));
                assert!(
                    (got - want).abs() <= 1e-7 * scale + 1e-10,
                    "{loss} {mode:?} [{i}]: {got:e}, not {want:e}"
                );
            }
        }
        assert!(teacher.weight.is_empty() && teacher.bias.is_empty());
    }
}

#[test]
fn either_memory_order_gives_the_same_and_the_orders_may_differ() {
    let case = Case::new(Loss::Cwd, ResizeMode::Area, Side::Student);
    let plain = case.run(BOTH);
    let (student, teacher) = case.adapters(Order::Nhwc);
    let (_, teacher_first) = case.adapters(Order::Nchw);
    let student_map = last(&case.student, STUDENT);
    let teacher_map = last(&case.teacher, TEACHER);
    let pairs = [(&teacher_map, &teacher, Order::Nhwc), (&case.teacher, &teacher_first, Order::Nchw)];
    for (map, adapter, order) in pairs {
        let pair = AdaptedPair {
            teacher: Some(AdaptedMap::new(&map[..], adapter)),
            ..AdaptedPair::new(case.options, AdaptedMap::new(&student_map[..], &student))
        };
        let done = pair.evaluate(BOTH, &Cpu::new()).expect("a pair that fits");
        let close = |a: &[f64], b: &[f64]| {
            assert_eq!(a.len(), b.len());
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12), "{a:?} is not {b:?}");
        };
        close(&[done.outcome.value()], &[plain.outcome.value()]);
        let (got, want) =
            (done.student.expect("asked for").exact, plain.student.clone().expect("asked for").exact);
        close(&got.map, &last(&want.map, STUDENT));
        close(&got.weight, &want.weight);
        let (got, want) =
            (done.teacher.expect("asked for").exact, plain.teacher.clone().expect("asked for").exact);
        close(&got.map, &if order == Order::Nhwc { last(&want.map, TEACHER) } else { want.map });
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let case = Case::new(Loss::Pi, ResizeMode::Bilinear { align_corners: false }, Side::Student);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| case.run(BOTH))
    };
    let one = on(1);
    for threads in [2, 3, 5] {
        assert_eq!(on(threads), one);
    }
}

#[test]
fn a_gradient_has_the_type_of_its_map_and_upstream_is_applied_before_rounding() {
    let map: Vec<f16> = numbers(4, 5).into_iter().map(f16::from_f64).collect();
    let teacher: Vec<f32> = vec![0.0, 1.0, 2.0, 3.0];
    let same = Adapter::new(shape([1, 1, 2, 2]), Order::Nchw);
    let run = |upstream| {
        let pair = AdaptedPair {
            teacher: Some(AdaptedMap::new(&teacher[..], &same)),
            upstream: Upstream::new(upstream).expect("finite"),
            ..AdaptedPair::new(Loss::Cwd.defaults(), AdaptedMap::new(&map[..], &same))
        };
        let done = pair.evaluate(Gradients { student: true, teacher: false }, &Cpu::new()).expect("a pair");
        assert!(done.teacher.is_none());
        done.student.expect("asked for").values()
    };
    let (Values::F16(tiny), false) = run(1e-9) else { panic!("f16 without overflow") };
    assert!(tiny.iter().all(|x| *x == f16::ZERO || x.to_f32().abs() < 1e-7));
    let (Values::F16(large), false) = run(1000.0) else { panic!("f16 without overflow") };
    assert!(large.iter().any(|x| x.to_f32().abs() > 1.0));
    assert!(run(1e9).1, "an overflow is reported");
}

#[test]
fn what_does_not_fit_is_refused() {
    let same = || Adapter::new(shape([1, 2, 2, 2]), Order::Nchw);
    assert!(same().with_projection(vec![1.0; 5], None).is_err());
    assert!(same().with_projection(vec![], None).is_err());
    assert!(same().with_projection(vec![1.0; 4], Some(vec![0.0; 3])).is_err());
    assert!(same().with_resize(ResizeMode::Area, [0, 2]).is_err());
    assert!(same().adapt([0.0_f32; 7][..].into(), Order::Nchw).is_err());
    assert!(same().pull([0.0_f32; 8][..].into(), &[0.0; 7], Order::Nchw).is_err());
    // Adapted maps that still differ.
    let (small, map) = (Adapter::new(shape([1, 2, 1, 1]), Order::Nchw), [0.0_f32; 8]);
    let large = same();
    let pair = AdaptedPair {
        teacher: Some(AdaptedMap::new(&map[..], &large)),
        ..AdaptedPair::new(Loss::Cwd.defaults(), AdaptedMap::new(&map[..2], &small))
    };
    let error = pair.evaluate(BOTH, &Cpu::new()).expect_err("shapes differ");
    assert!(error.to_string().contains("resize one of them first"), "{error}");
}
