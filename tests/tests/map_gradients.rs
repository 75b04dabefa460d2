//! The map losses on random shapes with random settings, in every stored type: values against the oracle,
//! gradients against central differences of the oracle's value, and every way through the library against every
//! other.

use densekd::Backend;
use densekd_core::DType;
use densekd_tests::backends::{ChannelsLast, Sequential};
use densekd_tests::engine::{DTYPES, cpu, nearest};
use densekd_tests::map_samples::draw;
use densekd_tests::maps::{MapGot, MapWay, ask, has_teacher_gradient};
use densekd_tests::oracle::maps::{MapCase, Setting, Variable, derivative, gradient, value};
use densekd_tests::tolerance::{SLACK, of_maps, stored};
use fastrand::Rng;

const CASES: usize = 50;

/// How many entries of a tensor are compared one by one; the rest along a direction.
const ENTRIES: usize = 12;

/// Values, and gradients, below these shares of the loss's scale are 0 but for the rounding of numbers around 1, or
/// what an eps leaves: how close they are to each other says nothing.
const NO_VALUE: f64 = 1e-10;
const NO_GRADIENT: f64 = 1e-5;

/// How large the rounding may be.
const FLOOR: f64 = 1e-14;

/// Losses that multiply matrices, which the CPU backend leaves to a library that adds in another order.
const MULTIPLY: [&str; 2] = ["pa", "mimic"];

/// The true derivatives of a tensor.
struct Truth {
    of: Variable,
    entries: Vec<usize>,
    derivatives: Vec<f64>,
    /// Through every entry, each by 1 or -1.
    direction: Vec<f64>,
    along: f64,
}

impl Truth {
    fn new(case: &MapCase, of: Variable, len: usize, rng: &mut Rng) -> Self {
        let mut entries: Vec<usize> = (0..len).collect();
        rng.shuffle(&mut entries);
        entries.truncate(ENTRIES);
        let direction: Vec<f64> = (0..len).map(|_| if rng.bool() { 1.0 } else { -1.0 }).collect();
        let derivatives = gradient(case, of, entries.iter().copied());
        let along = derivative(case, of, &direction);
        Self { of, entries, derivatives, direction, along }
    }

    fn all(case: &MapCase, rng: &mut Rng) -> Vec<Self> {
        let [student, teacher] = [case.shape, case.teacher_shape].map(|shape| shape.iter().product());
        let mut all = vec![Self::new(case, Variable::Student, student, rng)];
        if has_teacher_gradient(case) {
            all.push(Self::new(case, Variable::Teacher, teacher, rng));
        }
        if let Some(weight) = &case.weight {
            all.push(Self::new(case, Variable::Weight, weight.len(), rng));
        }
        if let Some(bias) = &case.bias {
            all.push(Self::new(case, Variable::Bias, bias.len(), rng));
        }
        all
    }

    fn of<'a>(&self, got: &'a MapGot) -> &'a [f64] {
        match self.of {
            Variable::Student => &got.grad_student,
            Variable::Teacher => &got.grad_teacher,
            Variable::Weight => &got.grad_weight,
            Variable::Bias => &got.grad_bias,
        }
    }
}

fn number(case: &MapCase, name: &str) -> f64 {
    match case.settings.iter().find(|(known, _)| *known == name) {
        Some((_, Setting::Number(x))) => *x,
        _ => 0.0,
    }
}

/// The weight, and what else multiplies the whole loss.
fn scale(case: &MapCase) -> f64 {
    let parts = ["alpha", "beta", "inter_weight", "intra_weight", "distance_weight", "angle_weight", "tau"];
    let largest = parts.iter().fold(1.0_f64, |largest, name| largest.max(number(case, name).powi(2)));
    number(case, "weight").abs() * largest
}

/// What a value is a sum of: itself, but where terms of both signs meet.
fn terms(case: &MapCase, value: f64) -> f64 {
    let mean =
        |x: &[f64]| x.iter().map(|x| x.abs()).sum::<f64>() / f64::from(u32::try_from(x.len()).unwrap_or(1));
    let of_scores = mean(&case.student) + case.teacher.as_deref().map_or(0.0, mean);
    if case.loss == "dist" {
        // 1 - r, whatever is left of it.
        let tau = if case.setting("tau_square") == Setting::Flag(true) { number(case, "tau") } else { 1.0 };
        let of_rows_and_columns = number(case, "inter_weight") + number(case, "intra_weight");
        return number(case, "weight").abs() * tau * tau * of_rows_and_columns;
    }
    let signed = case.loss == "ho" && case.setting("role") != Setting::Name("gradient_penalty");
    if signed { scale(case) * of_scores } else { value.abs() }
}

/// The largest errors seen, as the table has them.
#[derive(Default)]
struct Worst {
    value: f64,
    gradient: f64,
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}

/// An error as a share of what it is in, or as one of the scale where there is nothing but rounding.
fn share(error: f64, (of, nothing): (f64, f64), scale: f64, bound: f64) -> f64 {
    if of > nothing * scale {
        error / of
    } else if error <= FLOOR * scale {
        0.0
    } else {
        bound + error / scale
    }
}

fn see(case: &MapCase, want: f64, truths: &[Truth], got: &MapGot, dtype: DType, worst: &mut Worst) {
    let line = of_maps(&case.loss);
    let scale = scale(case);
    let error = share((got.value - want).abs(), (terms(case, want), NO_VALUE), scale, line.value);
    assert!(error <= line.value, "value {:e}, not {want:e} ({error:e}), {dtype}: {case:?}", got.value);
    worst.value = worst.value.max(error);
    for truth in truths {
        let is_map = matches!(truth.of, Variable::Student | Variable::Teacher);
        let dtype = if is_map { dtype } else { DType::F64 };
        let (ulp, least) = stored(dtype);
        let (gradient, of) = (truth.of(got), truth.of);
        let largest = largest(gradient);
        for (&i, &want) in truth.entries.iter().zip(&truth.derivatives) {
            let (got, rounded) = (gradient[i], nearest(dtype, want));
            if rounded.is_infinite() {
                assert_eq!(got, rounded, "{of:?}[{i}], {dtype}: {case:?}");
                continue;
            }
            let error = ((got - want).abs() - (ulp * want.abs() + least)).max(0.0);
            let error = share(error, (largest, NO_GRADIENT), scale, line.gradient);
            assert!(
                error <= line.gradient,
                "{of:?}[{i}] {got:e}, not {want:e} ({error:e}), {dtype}: {case:?}"
            );
            worst.gradient = worst.gradient.max(error);
        }
        if largest.is_finite() {
            let along: f64 = gradient.iter().zip(&truth.direction).map(|(g, d)| g * d).sum();
            let of_entry =
                |g: &f64| FLOOR * scale + least + (ulp + line.gradient) * g.abs().max(1e-3 * largest);
            let size: f64 = gradient.iter().map(of_entry).sum();
            let error = (along - truth.along).abs();
            assert!(error <= size, "{of:?} along: {along:e}, not {:e}, {dtype}: {case:?}", truth.along);
        }
    }
}

/// Memory order and threads change no bit; a matrix library changes the last ones.
fn every_way_agrees(case: &MapCase, way: MapWay<'_>, got: &MapGot) {
    let ask = |backend: &dyn Backend| {
        let got = ask(case, MapWay { backend, ..way });
        got.unwrap_or_else(|error| panic!("{error}: {case:?}"))
    };
    let one = ask(cpu(1));
    let bits = one.bits();
    for threads in [2, 3] {
        assert_eq!(ask(cpu(threads)).bits(), bits, "{threads} threads, {}: {case:?}", way.dtype);
    }
    assert_eq!(ask(&ChannelsLast(cpu(2))).bits(), bits, "NHWC, {}: {case:?}", way.dtype);
    if MULTIPLY.contains(&case.loss.as_str()) {
        let error = (one.value - got.value).abs();
        assert!(error <= 1e-12 * got.value.abs() + FLOOR * scale(case), "{error:e}: {case:?}");
    } else {
        assert_eq!(got.bits(), bits, "one thread and none, {}: {case:?}", way.dtype);
    }
}

fn holds(loss: &str) {
    let mut rng = Rng::with_seed(20);
    let mut worst = Worst::default();
    for i in 0..CASES {
        // Numbers of bf16 are numbers of every type, and one truth is that of all.
        let (numbers, dtypes) =
            if i % 2 == 0 { (DType::Bf16, &DTYPES[..]) } else { (DType::F32, &[DType::F32, DType::F64][..]) };
        let case = draw(&mut rng, loss, numbers);
        let (want, truths) = (value(&case), Truth::all(&case, &mut rng));
        for &dtype in dtypes {
            for backend in [&Sequential as &dyn Backend, cpu(2)] {
                let way = MapWay { dtype, backend, upstream: 1.0 };
                let got = ask(&case, way).unwrap_or_else(|error| panic!("{error}: {case:?}"));
                see(&case, want, &truths, &got, dtype, &mut worst);
                every_way_agrees(&case, way, &got);
            }
        }
    }
    let line = of_maps(loss);
    println!("{loss}: value {:e}, gradient {:e}", worst.value, worst.gradient);
    assert!(line.value <= SLACK * worst.value, "{loss}: value {:e} of {:e}", worst.value, line.value);
    let gradient = worst.gradient;
    assert!(line.gradient <= SLACK * gradient, "{loss}: gradient {gradient:e} of {:e}", line.gradient);
}

macro_rules! losses {
    ($($loss:ident),*) => {$(
        #[test]
        fn $loss() {
            holds(stringify!($loss));
        }
    )*};
}

losses!(at, la, pa, ifvd, mimic, pkd, dist, dkd, rkd, smooth_ce, ho);
