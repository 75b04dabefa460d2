use densekd_core::{RowLoss, SmoothL1, Softmax, Temperature};

fn main() {
    let _ = RowLoss::new(Softmax::new(Temperature::ONE), SmoothL1);
}
