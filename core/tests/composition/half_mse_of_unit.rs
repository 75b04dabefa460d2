use densekd_core::{Epsilon, HalfMse, UnitLength, VectorLoss};

fn main() {
    let _ = VectorLoss::new(UnitLength::at_least(Epsilon::ZERO), HalfMse);
}
