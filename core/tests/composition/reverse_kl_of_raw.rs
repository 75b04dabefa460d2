use densekd_core::{Raw, ReverseKl, RowLoss};

fn main() {
    let _ = RowLoss::new(Raw, ReverseKl);
}
