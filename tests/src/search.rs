//! Hill-climbing for the engine's weakest rows.

use crate::error::RowError;
use crate::rows::{Genome, RowPair, decode, mutate, random_genome};
use fastrand::Rng;

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many rows were tried.
    pub tried: usize,
    /// How many had a value error above 1e-6.
    pub above_1e6: usize,
    /// How many had a value error above 1e-5.
    pub above_1e5: usize,
    /// The row with the largest value error.
    pub worst_value: (Genome, RowError),
    /// The row with the largest gradient error.
    pub worst_gradient: (Genome, RowError),
    /// The row with the largest gradient sum.
    pub worst_sum: (Genome, RowError),
}

/// Climbs from random rows towards larger errors, restarting where a climb gets stuck. The same seed finds the
/// same rows.
pub fn search(tries: usize, seed: u64, measure: fn(&RowPair) -> RowError) -> Found {
    let mut rng = Rng::with_seed(seed);
    let start = random_genome(&mut rng);
    let none = (start, RowError::default());
    let mut found = Found {
        tried: 0,
        above_1e6: 0,
        above_1e5: 0,
        worst_value: none,
        worst_gradient: none,
        worst_sum: none,
    };
    let mut at = start;
    let mut height = 0.0;
    let mut stuck = 0;
    // Each climb goes for one of the three errors.
    let mut goal = 0;
    while found.tried < tries {
        let next = if stuck > 60 {
            stuck = 0;
            height = 0.0;
            goal = (goal + 1) % 3;
            random_genome(&mut rng)
        } else {
            mutate(&at, &mut rng)
        };
        let error = measure(&decode(&next));
        found.tried += 1;
        found.above_1e6 += usize::from(!(error.value <= 1e-6));
        found.above_1e5 += usize::from(!(error.value <= 1e-5));
        let measures = [error.value, error.gradient, error.sum];
        let records = [&mut found.worst_value, &mut found.worst_gradient, &mut found.worst_sum];
        let best = [records[0].1.value, records[1].1.gradient, records[2].1.sum];
        for ((record, measure), best) in records.into_iter().zip(measures).zip(best) {
            if !(measure <= best) {
                *record = (next, error);
            }
        }
        if measures[goal] > height {
            (at, height, stuck) = (next, measures[goal], 0);
        } else {
            stuck += 1;
        }
    }
    found
}
