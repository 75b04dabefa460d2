use densekd_core::{Euclidean, Raw, VectorLoss};

fn main() {
    let _ = VectorLoss::new(Raw, Euclidean);
}
