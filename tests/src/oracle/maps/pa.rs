//! Pair-wise affinity: the cosines of pooled nodes.

use super::Number;
use super::case::{Inputs, Map, MapCase, Setting, count};
use super::vectors::{Vector, dot, is_zero, mean, norm, over, square};

/// Height and width of a window: `kernel`, or a share of the teacher's size.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sizes"
)]
fn window(teacher: &Map, case: &MapCase) -> [usize; 2] {
    case.pair("kernel").unwrap_or_else(|| {
        let Setting::Number(share) = case.setting("pool_scale") else { panic!("no window") };
        [teacher.height, teacher.width].map(|size| ((size as f64 * share).floor() as usize).max(1))
    })
}

/// The nodes of an image, as vectors over channels; windows at the end may be ragged.
fn nodes(map: &Map, n: usize, [kh, kw]: [usize; 2], case: &MapCase) -> Vec<Vector> {
    let (rows, columns) = (map.height.div_ceil(kh), map.width.div_ceil(kw));
    let node = |node: usize| -> Vector {
        let (y, x) = (node / columns * kh, node % columns * kw);
        let inside = |y: usize| (x..(x + kw).min(map.width)).map(move |x| y * map.width + x);
        let cells: Vec<usize> = (y..(y + kh).min(map.height)).flat_map(inside).collect();
        let pooled = |c| {
            let values: Vector = cells.iter().map(|&cell| map.at(n, c, cell).clone()).collect();
            if case.is("pool", "max") {
                values.iter().fold(Number::MINUS_INFINITY, Number::max)
            } else {
                mean(&values)
            }
        };
        (0..map.channels).map(pooled).collect()
    };
    (0..rows * columns).map(node).collect()
}

/// The nodes as directions; with `detach_norm` their lengths are those of the map where it stands.
fn directions(map: &Map, unmoved: &Map, n: usize, window: [usize; 2], case: &MapCase) -> Vec<Vector> {
    let eps = case.number("eps");
    let lengths = nodes(if case.flag("detach_norm") { unmoved } else { map }, n, window, case);
    let divisor = |y: &Vector| if case.is("eps_mode", "add") { norm(y) + &eps } else { norm(y).max(&eps) };
    let nodes = nodes(map, n, window, case);
    let unit = |(y, length): (&Vector, &Vector)| {
        if is_zero(length) { length.clone() } else { over(y, &divisor(length)) }
    };
    nodes.iter().zip(&lengths).map(unit).collect()
}

/// `sum (G_s - G_t)^2 / (N K^2)`.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let Inputs { student, teacher, unmoved: [unmoved_teacher, unmoved_student], .. } = inputs;
    let window = window(teacher, case);
    let image = |n: usize| -> Number {
        let s = directions(student, unmoved_student, n, window, case);
        let t = directions(teacher, unmoved_teacher, n, window, case);
        let pairs = (0..s.len()).flat_map(|i| (0..s.len()).map(move |j| (i, j)));
        let sum: Number = pairs.map(|(i, j)| square(&(dot(&s[i], &s[j]) - dot(&t[i], &t[j])))).sum();
        sum / count(s.len() * s.len())
    };
    (0..student.images).map(image).sum::<Number>() / count(student.images)
}
