//! z = (x - mean) / (sd + eps) of a channel over images and positions, sd with K - 1.

use super::case::{Map, count};
use super::vectors::{Vector, centred, dot, is_zero};
use super::{Number, number};

/// z; 0 for a channel of one value or of equal values.
fn channel(x: &[Number], eps: &Number) -> Vector {
    let centred = centred(x);
    if x.len() == 1 || is_zero(&centred) {
        return if x.iter().all(Number::is_finite) { vec![number(0.0); x.len()] } else { centred };
    }
    let sd = (dot(&centred, &centred) / count(x.len() - 1)).sqrt();
    centred.iter().map(|x| x / (&sd + eps)).collect()
}

/// The channels of a map, each standardised.
pub(super) fn channels(map: &Map, eps: &Number) -> Vec<Vector> {
    (0..map.channels).map(|c| channel(&map.channel(c), eps)).collect()
}
