use densekd_core::{Epsilon, Kl, UnitLength, VectorLoss};

fn main() {
    let _ = VectorLoss::new(UnitLength::at_least(Epsilon::ZERO), Kl);
}
