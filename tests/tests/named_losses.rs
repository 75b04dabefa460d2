//! Losses by name are compositions by type: the same numbers from a normalisation and a divergence put together on
//! plain vectors.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use densekd_core::{
    CentredUnitLength, Cosine, CrossEntropy, DivergeVector, Epsilon, Euclidean, HalfMse, Kl, Labels, Loss,
    MapInputs, Mse, NormalizeVector, OptionValue, Options, Order, Raw, RowLoss, Shape, Slab, SmoothL1,
    Softmax, Standardise, Temperature, Term, UnitLength, Upstream, VectorLoss, run_map,
};
use fastrand::Rng;

type Map = Vec<f64>;

const SHAPE: [usize; 4] = [2, 3, 4, 5];

fn pair(seed: u64, shape: [usize; 4]) -> (Map, Map) {
    let mut rng = Rng::with_seed(seed);
    let teacher: Map = (0..shape.iter().product()).map(|_| 4.0 * rng.f64() - 2.0).collect();
    let student = teacher.iter().map(|x| x + rng.f64()).collect();
    (teacher, student)
}

fn with(loss: Loss, settings: &[(&str, OptionValue<'_>)]) -> Options {
    let mut options = loss.defaults();
    for &(name, value) in settings {
        options.set(name, value).unwrap();
    }
    options
}

/// Value and gradient to the student of a named loss.
fn named(options: Options, shape: [usize; 4], (teacher, student): (&Map, &Map)) -> (f64, Map) {
    let shape = Shape::new(shape).unwrap();
    let Term::Map(plan) = Term::new(options, shape, shape, Order::Nchw).unwrap() else {
        panic!("a row loss")
    };
    let inputs = MapInputs::new(&plan, Some(teacher[..].into()), &student[..]).unwrap();
    let (mut gradient, mut state) = (vec![0.0; student.len()], vec![0.0; plan.scratch()]);
    let mut sink = Slab::new(&mut gradient, 0);
    let outcome = run_map(inputs, Upstream::ONE, &mut state, Some(&mut sink), None).unwrap();
    (outcome.value(), gradient)
}

/// Value and gradient of a composition over vectors, each `scale` times.
fn composed<N: NormalizeVector, D: DivergeVector<N::Space>>(
    loss: VectorLoss<N, D>,
    scale: f64,
    vectors: impl IntoIterator<Item = (Map, Map)>,
) -> (f64, Vec<Map>) {
    let (mut value, mut gradients) = (0.0, Vec::new());
    for (teacher, student) in vectors {
        let mut gradient = vec![0.0; student.len()];
        let upstream = Upstream::new(scale).unwrap();
        value += scale * loss.gradient(&teacher, &student, upstream, &mut gradient).unwrap();
        gradients.push(gradient);
    }
    (value, gradients)
}

#[track_caller]
fn same(value: f64, want: f64, gradient: &[f64], wanted: &[f64]) {
    assert!((value - want).abs() <= 1e-13 * want.abs(), "{value} {want}");
    let largest = wanted.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.0);
    for (got, want) in gradient.iter().zip(wanted) {
        assert!((got - want).abs() <= 1e-12 * largest, "{got} {want}");
    }
}

fn number(x: f64) -> OptionValue<'static> {
    OptionValue::Number(x)
}

/// A map's vectors: each channel of each image.
fn channels(map: &Map, [_, _, h, w]: [usize; 4]) -> Vec<Map> {
    map.chunks(h * w).map(<[f64]>::to_vec).collect()
}

fn squares(map: &Map) -> Map {
    map.iter().map(|x| x * x).collect()
}

#[test]
fn attention_transfer_is_a_distance_of_unit_vectors() {
    let shape = [3, 1, 4, 5];
    let (teacher, student) = pair(1, shape);
    let maps = channels(&squares(&teacher), shape).into_iter().zip(channels(&squares(&student), shape));
    let length = UnitLength::at_least(Epsilon::new(1e-12).unwrap());
    let through = |gradients: Vec<Map>| -> Map {
        gradients.concat().iter().zip(&student).map(|(g, x)| 2.0 * x * g).collect()
    };

    let (value, gradient) = named(Loss::At.defaults(), shape, (&teacher, &student));
    let (want, gradients) = composed(VectorLoss::new(length, Mse), 1.0 / 60.0, maps.clone());
    same(value, want, &gradient, &through(gradients));

    let paper = with(Loss::At, &[("mode", OptionValue::Name("paper"))]);
    let (value, gradient) = named(paper, shape, (&teacher, &student));
    let (want, gradients) = composed(VectorLoss::new(length, Euclidean), 1.0 / 3.0, maps);
    same(value, want, &gradient, &through(gradients));
}

#[test]
fn pkd_is_half_the_squared_distance_of_standardised_channels() {
    let shape = [1, 3, 4, 5];
    let (teacher, student) = pair(2, shape);
    let (value, gradient) = named(Loss::Pkd.defaults(), shape, (&teacher, &student));
    let loss = VectorLoss::new(Standardise::new(Epsilon::new(1e-6).unwrap()), HalfMse);
    let vectors = channels(&teacher, shape).into_iter().zip(channels(&student, shape));
    let (want, gradients) = composed(loss, 1.0 / 60.0, vectors);
    same(value, want, &gradient, &gradients.concat());
}

#[test]
fn mimicking_is_the_squared_distance_of_numbers_or_of_standardised_channels() {
    let shape = [1, 3, 4, 5];
    let (teacher, student) = pair(3, shape);
    let vectors = || channels(&teacher, shape).into_iter().zip(channels(&student, shape));
    let (value, gradient) = named(Loss::Mimic.defaults(), shape, (&teacher, &student));
    let (want, gradients) = composed(VectorLoss::new(Raw, Mse), 1.0 / 60.0, vectors());
    same(value, want, &gradient, &gradients.concat());

    let standardise = with(Loss::Mimic, &[("standardise", OptionValue::Flag(true))]);
    let (value, gradient) = named(standardise, shape, (&teacher, &student));
    let loss = VectorLoss::new(Standardise::new(Epsilon::new(1e-6).unwrap()), Mse);
    let (want, gradients) = composed(loss, 1.0 / 60.0, vectors());
    same(value, want, &gradient, &gradients.concat());
}

fn softmax(x: &[f64]) -> Map {
    let sum: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / sum).collect()
}

/// Where a channel of a position stands, the positions counted over all images.
fn place(i: usize, c: usize, [_, channels, h, w]: [usize; 4]) -> usize {
    (i / (h * w) * channels + c) * h * w + i % (h * w)
}

/// Of each position its channels.
fn positions(map: &Map, shape: [usize; 4]) -> Vec<Map> {
    let [n, channels, h, w] = shape;
    (0..n * h * w).map(|i| (0..channels).map(|c| map[place(i, c, shape)]).collect()).collect()
}

#[test]
fn dist_is_the_cosine_distance_of_centred_rows_and_columns() {
    let (teacher, student) = pair(4, SHAPE);
    let rows = |map| positions(map, SHAPE).iter().map(|x| softmax(x)).collect::<Vec<_>>();
    let (of_t, of_s) = (rows(&teacher), rows(&student));
    let column = |rows: &[Map], c: usize| rows.iter().map(|row| row[c]).collect::<Map>();
    let columns = (0..3).map(|c| (column(&of_t, c), column(&of_s, c)));
    let loss = VectorLoss::new(CentredUnitLength, Cosine);
    let (inter, of_rows) = composed(loss, 1.0 / 40.0, of_t.iter().cloned().zip(of_s.iter().cloned()));
    let (intra, of_columns) = composed(loss, 1.0 / 3.0, columns);

    let (value, gradient) = named(with(Loss::Dist, &[("eps", number(0.0))]), SHAPE, (&teacher, &student));
    let mut wanted = vec![0.0; student.len()];
    for (i, q) in of_s.iter().enumerate() {
        let g: Map = (0..3).map(|c| of_rows[i][c] + of_columns[c][i]).collect();
        let total: f64 = g.iter().zip(q).map(|(g, q)| g * q).sum();
        (0..3).for_each(|c| wanted[place(i, c, SHAPE)] = q[c] * (g[c] - total));
    }
    same(value, inter + intra, &gradient, &wanted);
}

#[test]
fn distances_between_images_are_compared_by_the_smooth_absolute_difference() {
    let shape = [4, 2, 1, 3];
    let (teacher, student) = pair(5, shape);
    let relative = |map: &Map| {
        let images: Vec<&[f64]> = map.chunks(6).collect();
        let apart =
            |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        let all: Map = images.iter().flat_map(|a| images.iter().map(|b| apart(a, b))).collect();
        let mean = all.iter().sum::<f64>() / 12.0;
        all.iter().map(|d| d / mean).collect::<Map>()
    };
    let settings = [("normalize", OptionValue::Flag(false)), ("angle_weight", number(0.0))];
    let (value, _) = named(with(Loss::Rkd, &settings), shape, (&teacher, &student));
    let want = VectorLoss::new(Raw, SmoothL1).value(&relative(&teacher), &relative(&student));
    assert!((value - 25.0 / 16.0 * want).abs() < 1e-13 * value, "{value} {want}");
}

/// Value and gradient of a named loss of classes; each position's class is its number modulo 3.
fn of_classes(options: Options, teacher: Option<&Map>, student: &Map) -> (f64, Map) {
    let shape = Shape::new(SHAPE).unwrap();
    let Term::Map(plan) = Term::new(options, shape, shape, Order::Nchw).unwrap() else {
        panic!("a row loss")
    };
    let labels: Vec<i64> = (0..40).map(|i| i % 3).collect();
    let teacher = teacher.map(|teacher| teacher[..].into());
    let inputs = MapInputs::new(&plan, teacher, &student[..]).unwrap();
    let inputs = inputs.with_labels(Labels::new(&labels, 2, 4, 5).unwrap()).unwrap();
    let (mut gradient, mut state) = (vec![0.0; student.len()], vec![0.0; plan.scratch()]);
    let mut sink = Slab::new(&mut gradient, 0);
    let outcome = run_map(inputs, Upstream::ONE, &mut state, Some(&mut sink), None).unwrap();
    (outcome.value(), gradient)
}

#[test]
fn dkd_is_the_divergence_of_two_softmaxes() {
    let (teacher, student) = pair(7, SHAPE);
    let tau = Temperature::new(2.0).unwrap();
    let loss = RowLoss::new(Softmax::new(tau), Kl);
    let mut want = 0.0;
    let mut wanted = vec![0.0; student.len()];
    for (i, (t, s)) in positions(&teacher, SHAPE).iter().zip(positions(&student, SHAPE)).enumerate() {
        let class = i % 3;
        let rest = |x: &[f64]| -> Map { (0..3).filter(|&c| c != class).map(|c| x[c]).collect() };
        // The target beside all else together.
        let two = |x: &[f64]| vec![x[class], 2.0 * rest(x).iter().map(|x| (x / 2.0).exp()).sum::<f64>().ln()];
        let (mut of_target, mut of_rest) = (vec![0.0; 2], vec![0.0; 2]);
        want += loss.gradient(&two(t), &two(&s), Upstream::ONE, &mut of_target).unwrap();
        want += 8.0 * loss.gradient(&rest(t), &rest(&s), Upstream::ONE, &mut of_rest).unwrap();
        let share = softmax(&rest(&s).iter().map(|x| x / 2.0).collect::<Map>());
        wanted[place(i, class, SHAPE)] = of_target[0];
        for (k, c) in (0..3).filter(|&c| c != class).enumerate() {
            wanted[place(i, c, SHAPE)] = share[k] * of_target[1] + 8.0 * of_rest[k];
        }
    }
    let scale = 4.0 / 40.0;
    for x in &mut wanted {
        *x *= scale;
    }
    let options = with(Loss::Dkd, &[("tau", number(2.0))]);
    let (value, gradient) = of_classes(options, Some(&teacher), &student);
    same(value, scale * want, &gradient, &wanted);
}

#[test]
fn smoothed_cross_entropy_is_one_of_a_softmax() {
    let (_, student) = pair(8, SHAPE);
    let loss = RowLoss::new(Softmax::new(Temperature::ONE), CrossEntropy);
    let mut want = 0.0;
    let mut wanted = vec![0.0; student.len()];
    for (i, s) in positions(&student, SHAPE).iter().enumerate() {
        let smoothed = |c| 0.1 / 3.0 + if c == i % 3 { 0.9 } else { 0.0 };
        let teacher: Map = (0..3).map(|c| f64::ln(smoothed(c))).collect();
        let mut of_position = vec![0.0; 3];
        want += loss.gradient(&teacher, s, Upstream::ONE, &mut of_position).unwrap();
        (0..3).for_each(|c| wanted[place(i, c, SHAPE)] = of_position[c] / 40.0);
    }
    let (value, gradient) = of_classes(Loss::SmoothCe.defaults(), None, &student);
    same(value, want / 40.0, &gradient, &wanted);
}

/// The gradient of each composition, against central differences of its value.
#[test]
fn gradients_of_compositions_are_those_of_their_values() {
    fn holds<N: NormalizeVector, D: DivergeVector<N::Space>>(normalize: N, diverge: D) {
        let loss = VectorLoss::new(normalize, diverge);
        let (teacher, student) = pair(6, [1, 1, 3, 4]);
        let mut gradient = vec![0.0; student.len()];
        let value = loss.gradient(&teacher, &student, Upstream::ONE, &mut gradient).unwrap();
        assert_eq!(value.to_bits(), loss.value(&teacher, &student).to_bits());
        let largest = gradient.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        for (i, got) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut student = student.clone();
                student[i] += by;
                loss.value(&teacher, &student)
            };
            let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((got - want).abs() < 1e-8 * largest, "{got} {want}");
        }
    }
    let eps = Epsilon::new(0.25).unwrap();
    holds(UnitLength::at_least(eps), Mse);
    holds(UnitLength::plus(eps), Mse);
    holds(UnitLength::plus(eps), Euclidean);
    holds(UnitLength::at_least(eps), Cosine);
    holds(Standardise::new(eps), Mse);
    holds(Standardise::new(eps), HalfMse);
    holds(CentredUnitLength, Cosine);
    holds(Raw, Mse);
    holds(Raw, SmoothL1);
}

/// What has no direction has no gradient, and is as far from any vector as the formula says.
#[test]
fn vectors_without_direction() {
    let (zero, x) = ([0.0; 3], [1.0, 2.0, 2.0]);
    let length = UnitLength::at_least(Epsilon::new(1e-12).unwrap());
    let mut gradient = [1.0; 3];
    for (teacher, student) in [(&zero, &x), (&x, &zero)] {
        let cosine = VectorLoss::new(length, Cosine);
        assert_eq!(cosine.gradient(teacher, student, Upstream::ONE, &mut gradient), Ok(1.0));
        assert!(gradient.iter().all(|g| g.abs() < 1e-16), "{gradient:?}");
        let squared = VectorLoss::new(length, Mse).value(teacher, student);
        assert!((squared - 1.0).abs() < 1e-15);
    }
    let constant = [5.0; 3];
    let correlation = VectorLoss::new(CentredUnitLength, Cosine);
    assert_eq!(correlation.gradient(&x, &constant, Upstream::ONE, &mut gradient), Ok(1.0));
    assert_eq!(gradient, [0.0; 3]);
    assert!(correlation.value(&x, &zero[..2]).is_nan());
    assert!(correlation.gradient(&x, &zero[..2], Upstream::ONE, &mut gradient).is_err());
}
