use densekd_core::{Kl, Raw, RowLoss};

fn main() {
    let _ = RowLoss::new(Raw, Kl);
}
