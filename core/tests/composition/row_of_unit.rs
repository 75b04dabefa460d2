use densekd_core::{Epsilon, Mse, RowLoss, UnitLength};

fn main() {
    let _ = RowLoss::new(UnitLength::at_least(Epsilon::ZERO), Mse);
}
