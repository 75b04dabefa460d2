fn evaluates<R: densekd_core::Arithmetic>() {}

fn main() {
    evaluates::<half::f16>();
}
