use densekd_core::{Hinge, Raw, VectorLoss};

fn main() {
    let _ = VectorLoss::new(Raw, Hinge);
}
