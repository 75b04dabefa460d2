//! Small maps for the edges of the map losses' definitions, and answers that every way gives.

use densekd_core::DType;
use densekd_tests::backends::{ChannelsLast, Sequential};
use densekd_tests::engine::cpu;
use densekd_tests::maps::{MapGot, MapWay, ask};
use densekd_tests::oracle::maps::{MapCase, Setting};
use densekd_tests::samples::normal;
use fastrand::Rng;

use Setting::{Flag, Integer, Name, Number, Pair};

/// The settings of a loss that its definition names first.
fn settings(loss: &str) -> Vec<(&'static str, Setting)> {
    let mut settings = match loss {
        "at" => vec![("mode", Name("code")), ("p", Integer(2)), ("eps", Number(1e-12))],
        "la" => vec![
            ("mode", Name("l2")),
            ("squared", Flag(true)),
            ("border", Name("interior")),
            ("eps", Number(1e-8)),
        ],
        "pa" => vec![
            ("pool", Name("max")),
            ("kernel", Pair([1, 1])),
            ("pool_scale", Number(0.5)),
            ("eps_mode", Name("max")),
            ("eps", Number(1e-12)),
            ("detach_norm", Flag(false)),
        ],
        "ifvd" => {
            vec![("num_classes", Integer(2)), ("ignore_index", Integer(255)), ("count_ignored", Flag(true))]
        }
        "mimic" => vec![("standardise", Flag(false)), ("eps", Number(1e-6))],
        "pkd" => vec![("eps", Number(1e-6))],
        "dist" => vec![
            ("tau", Number(1.0)),
            ("tau_square", Flag(true)),
            ("inter_weight", Number(1.0)),
            ("intra_weight", Number(1.0)),
            ("eps", Number(1e-8)),
        ],
        "dkd" => vec![
            ("tau", Number(4.0)),
            ("tau_square", Flag(true)),
            ("alpha", Number(1.0)),
            ("beta", Number(8.0)),
            ("divisor", Name("batch_positions")),
            ("ignore_index", Integer(255)),
        ],
        "rkd" => {
            vec![("normalize", Flag(true)), ("distance_weight", Number(25.0)), ("angle_weight", Number(50.0))]
        }
        "smooth_ce" => vec![("tau", Number(1.0)), ("smoothing", Number(0.1)), ("ignore_index", Integer(255))],
        "ho" => vec![("role", Name("gradient_penalty")), ("adversary", Name("wgan-gp"))],
        other => panic!("{other} is no loss of maps"),
    };
    settings.push(("weight", Number(1.0)));
    settings
}

/// Random maps, labels 0 and 1.
pub(crate) fn case(loss: &str, shape: [usize; 4]) -> MapCase {
    let mut rng = Rng::with_seed(9);
    let [n, c, h, w] = shape;
    let mut map = || (0..n * c * h * w).map(|_| normal(&mut rng)).collect::<Vec<f64>>();
    let (student, teacher) = (map(), map());
    let teacher = (!["ho", "smooth_ce"].contains(&loss)).then_some(teacher);
    let labels = (0..n * h * w).map(|i| i64::from(i % 2 == 1 && c > 1)).collect();
    let labelled = ["ifvd", "dkd", "smooth_ce"].contains(&loss);
    MapCase {
        settings: settings(loss),
        labels: labelled.then_some((labels, [h, w])),
        ..MapCase::new(loss, shape, student, teacher)
    }
}

/// The answer in `f64`, which every other way gives, too.
pub(crate) fn run(case: &MapCase) -> MapGot {
    let way = MapWay { dtype: DType::F64, backend: &Sequential, upstream: 1.0 };
    let ask = |way| ask(case, way).unwrap_or_else(|error| panic!("{error}: {case:?}"));
    let got = ask(way);
    let kinds = |got: &MapGot| {
        let all = [got.value].into_iter().chain(got.grad_student.iter().chain(&got.grad_teacher).copied());
        all.map(|x| {
            if x.is_finite() {
                0
            } else if x.is_nan() {
                1
            } else {
                2
            }
        })
        .collect::<Vec<_>>()
    };
    for backend in [cpu(2) as &dyn densekd::Backend, &ChannelsLast(cpu(2))] {
        assert_eq!(kinds(&ask(MapWay { backend, ..way })), kinds(&got), "{case:?}");
    }
    got
}

pub(crate) fn zero(x: &[f64]) -> bool {
    x.iter().all(|x| *x == 0.0)
}

/// Index of an element.
pub(crate) fn at([_, c, h, w]: [usize; 4], n: usize, channel: usize, i: usize) -> usize {
    (n * c + channel) * h * w + i
}

pub(crate) fn pixel(x: &[f64], shape: [usize; 4], n: usize, i: usize) -> Vec<f64> {
    (0..shape[1]).map(|c| x[at(shape, n, c, i)]).collect()
}
