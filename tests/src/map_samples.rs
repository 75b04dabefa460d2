//! Questions to the losses of whole maps, drawn at random: shapes, every setting, maps without ties.

use crate::engine::nearest;
use crate::oracle::maps::{MapCase, Setting};
use crate::samples::{log_between, normal};
use Setting::{Flag, Integer, Name, Null, Number, Pair};
use densekd_core::DType;
use fastrand::Rng;
use std::collections::HashSet;

/// Numbers of a type, no two of one magnitude and none near 0, where losses with a kink have it; those of `bf16`
/// are also numbers of `f16`.
pub fn distinct(rng: &mut Rng, dtype: DType, len: usize) -> Vec<f64> {
    let spread = log_between(rng, 0.5, 3.0);
    let mut seen = HashSet::new();
    let mut numbers = Vec::with_capacity(len);
    while numbers.len() < len {
        let x = nearest(dtype, spread * normal(rng));
        if x.abs() > 0.01 && seen.insert(x.abs().to_bits()) {
            numbers.push(x);
        }
    }
    numbers
}

/// One of several.
fn choose<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())]
}

fn weight(rng: &mut Rng) -> (&'static str, Setting) {
    ("weight", Number(choose(rng, &[1.0, 25.0, 0.001, -3.0])))
}

fn tau(rng: &mut Rng) -> (&'static str, Setting) {
    ("tau", Number(choose(rng, &[1.0, 4.0, 0.5])))
}

/// Every setting of a loss, at random.
fn settings(rng: &mut Rng, loss: &str) -> Vec<(&'static str, Setting)> {
    let weight = weight(rng);
    let flag = |rng: &mut Rng, name| (name, Flag(rng.bool()));
    let name = |rng: &mut Rng, option, names: &[&'static str]| (option, Name(choose(rng, names)));
    let number = |rng: &mut Rng, option, numbers: &[f64]| (option, Number(choose(rng, numbers)));
    let mut settings = match loss {
        "at" => vec![
            name(rng, "mode", &["code", "paper"]),
            ("p", Integer(rng.i64(1..=5))),
            number(rng, "eps", &[1e-12, 1e-3, 30.0]),
        ],
        "la" => vec![
            name(rng, "mode", &["l2", "cos"]),
            flag(rng, "squared"),
            name(rng, "border", &["interior", "clip"]),
            number(rng, "eps", &[1e-8, 1e-8, 2.0]),
        ],
        "pa" => {
            // A kernel stands in for the share.
            let kernel = if rng.bool() { Pair([rng.i64(1..=3), rng.i64(1..=3)]) } else { Null };
            vec![
                name(rng, "pool", &["max", "avg"]),
                ("kernel", kernel),
                number(rng, "pool_scale", &[0.5, 0.3, 1.0]),
                name(rng, "eps_mode", &["add", "max"]),
                number(rng, "eps", &[1e-8, 1e-12, 2.0]),
                flag(rng, "detach_norm"),
            ]
        }
        "ifvd" => vec![
            ("num_classes", Integer(rng.i64(1..=4))),
            ("ignore_index", Integer(choose(rng, &[255, 0, -1]))),
            flag(rng, "count_ignored"),
        ],
        "mimic" => vec![flag(rng, "standardise"), number(rng, "eps", &[1e-6, 0.1])],
        "pkd" => vec![number(rng, "eps", &[1e-6, 0.1])],
        "dist" => vec![
            tau(rng),
            flag(rng, "tau_square"),
            number(rng, "inter_weight", &[1.0, 0.0, 2.5]),
            number(rng, "intra_weight", &[1.0, 0.0, 0.5]),
            number(rng, "eps", &[1e-8, 0.01]),
        ],
        "dkd" => vec![
            tau(rng),
            flag(rng, "tau_square"),
            number(rng, "alpha", &[1.0, 0.0, 2.5]),
            number(rng, "beta", &[8.0, 0.0, 0.5]),
            name(rng, "divisor", &["sum", "batch", "batch_positions"]),
            ("ignore_index", Integer(choose(rng, &[255, 0, -1]))),
        ],
        "rkd" => vec![
            flag(rng, "normalize"),
            number(rng, "distance_weight", &[25.0, 0.0, 1.0]),
            number(rng, "angle_weight", &[50.0, 0.0, 1.0]),
        ],
        "smooth_ce" => vec![
            tau(rng),
            number(rng, "smoothing", &[0.1, 0.0, 0.5, 1.0]),
            ("ignore_index", Integer(choose(rng, &[255, 0, -1]))),
        ],
        "ho" => vec![
            name(rng, "role", &["generator", "discriminator", "gradient_penalty"]),
            name(rng, "adversary", &["wgan-gp", "hinge"]),
        ],
        other => panic!("{other} is no loss of maps"),
    };
    settings.push(weight);
    settings
}

fn shape(rng: &mut Rng, loss: &str, interior: bool) -> [usize; 4] {
    match loss {
        "la" if interior => [rng.usize(1..=2), rng.usize(1..=4), rng.usize(3..=4), rng.usize(3..=5)],
        "la" => [rng.usize(1..=2), rng.usize(1..=4), rng.usize(1..=4), rng.usize(2..=4)],
        "rkd" => [rng.usize(1..=4), rng.usize(1..=4), rng.usize(1..=2), rng.usize(1..=3)],
        "dist" | "dkd" | "smooth_ce" => {
            [rng.usize(1..=3), rng.usize(1..=5), rng.usize(1..=2), rng.usize(1..=3)]
        }
        _ => [rng.usize(1..=3), rng.usize(1..=4), rng.usize(1..=4), rng.usize(1..=5)],
    }
}

fn with_labels(rng: &mut Rng, case: &mut MapCase) {
    let [n, c, h, w] = case.shape;
    let ignored = case.setting("ignore_index");
    let Integer(ignored) = ignored else { panic!("ignore_index is {ignored:?}") };
    if case.loss == "ifvd" {
        let size = if rng.bool() { [h, w] } else { [rng.usize(1..=9), rng.usize(1..=9)] };
        let any = |rng: &mut Rng| choose(rng, &[-2, 0, 0, 1, 1, 2, 3, 4, 255, i64::MAX, i64::MIN]);
        case.labels = Some(((0..n * size[0] * size[1]).map(|_| any(rng)).collect(), size));
    } else {
        let classes = i64::try_from(c).expect("few channels");
        let any = |rng: &mut Rng| if rng.u8(0..5) == 0 { ignored } else { rng.i64(0..classes) };
        case.labels = Some(((0..n * h * w).map(|_| any(rng)).collect(), [h, w]));
    }
    if rng.u8(0..3) == 0 {
        case.counted = Some((0..n * h * w).map(|_| rng.f64() < 0.7).collect());
    }
}

/// A question with maps of numbers of a type.
pub fn draw(rng: &mut Rng, loss: &str, dtype: DType) -> MapCase {
    let settings = settings(rng, loss);
    let is =
        |name: &str| settings.iter().any(|(_, setting)| matches!(setting, Name(known) if *known == name));
    let shape = shape(rng, loss, is("interior"));
    let mut teacher_shape = shape;
    if ["at", "la", "pa", "ifvd"].contains(&loss) && rng.bool() {
        teacher_shape[1] = rng.usize(1..=4);
    }
    let has_teacher = loss != "smooth_ce" && !is("generator") && !is("gradient_penalty");
    let mut case = MapCase::new(loss, shape, Vec::new(), None);
    case.settings = settings;
    if loss == "mimic" && rng.u8(0..4) > 0 {
        let (inputs, outputs) = (shape[1], rng.usize(1..=4));
        teacher_shape[1] = outputs;
        case.weight = Some((0..inputs * outputs).map(|_| normal(rng)).collect());
    }
    if loss == "mimic" && rng.bool() {
        case.bias = Some((0..teacher_shape[1]).map(|_| normal(rng)).collect());
    }
    case.teacher_shape = teacher_shape;
    let (own, other) = (shape.iter().product(), teacher_shape.iter().product());
    case.student = distinct(rng, dtype, own);
    case.teacher = has_teacher.then(|| distinct(rng, dtype, other));
    if ["ifvd", "dkd", "smooth_ce"].contains(&loss) {
        with_labels(rng, &mut case);
    }
    case
}
