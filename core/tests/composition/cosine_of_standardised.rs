use densekd_core::{Cosine, Epsilon, Standardise, VectorLoss};

fn main() {
    let _ = VectorLoss::new(Standardise::new(Epsilon::ZERO), Cosine);
}
