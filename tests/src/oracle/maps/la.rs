//! Local affinity: distances or cosines of a pixel and its 8 neighbours.

use super::Number;
use super::case::{Inputs, Map, MapCase, count};
use super::vectors::{cosine, dot, minus, norm, square};

/// The centres, each with its neighbours; with `interior` only those that have all 8.
fn neighbourhoods(map: &Map, case: &MapCase) -> Vec<(usize, Vec<usize>)> {
    let (h, w) = (map.height, map.width);
    let near = |a: usize, b: usize| a.abs_diff(b) <= 1;
    let neighbours = |i: usize| -> Vec<usize> {
        (0..h * w).filter(|&j| j != i && near(i / w, j / w) && near(i % w, j % w)).collect()
    };
    let all = (0..h * w).map(|i| (i, neighbours(i)));
    all.filter(|(_, neighbours)| case.is("border", "clip") || neighbours.len() == 8).collect()
}

/// `l2`: the mean over centres of `(A_s - A_t)^2`, A the sum of (squared) distances; `cos`: the mean over pairs.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let Inputs { student, teacher, .. } = inputs;
    let eps = case.number("eps");
    let distance = |map: &Map, n: usize, i: usize, j: usize| {
        let d = minus(&map.pixel(n, i), &map.pixel(n, j));
        if case.flag("squared") { dot(&d, &d) } else { norm(&d) }
    };
    let similarity =
        |map: &Map, n: usize, i: usize, j: usize| cosine(&map.pixel(n, i), &map.pixel(n, j), &eps);
    let centres = neighbourhoods(student, case);
    let mut terms = Vec::new();
    for n in 0..student.images {
        for (i, neighbours) in &centres {
            if case.is("mode", "l2") {
                let affinity = |map| neighbours.iter().map(|&j| distance(map, n, *i, j)).sum::<Number>();
                terms.push(square(&(affinity(student) - affinity(teacher))));
            } else {
                let pairs = neighbours
                    .iter()
                    .map(|&j| square(&(similarity(student, n, *i, j) - similarity(teacher, n, *i, j))));
                terms.extend(pairs);
            }
        }
    }
    let n = count(terms.len());
    terms.into_iter().sum::<Number>() / n
}
