use densekd_core::{JensenShannon, MeanOverPositions, RowLoss, Temperature};

fn main() {
    let _ = RowLoss::new(MeanOverPositions::new(Temperature::ONE), JensenShannon);
}
