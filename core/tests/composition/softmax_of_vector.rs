use densekd_core::{Kl, Softmax, Temperature, VectorLoss};

fn main() {
    let _ = VectorLoss::new(Softmax::new(Temperature::ONE), Kl);
}
