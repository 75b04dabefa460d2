//! What the types allow and what they forbid: losses that have no meaning do not compile, and the compiler says
//! which trait is missing.

use densekd_core::{
    CrossEntropy, JensenShannon, Kl, MaskedKl, MeanOverPositions, Mse, Raw, ReverseKl, RowLoss, Softmax,
    Temperature,
};

#[test]
fn what_has_no_meaning_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/composition/*.rs");
}

/// The pairs that have a meaning, by the same call: the others fail for want of a divergence alone.
#[test]
fn what_has_a_meaning_compiles_and_knows_equal_rows() {
    let row = [0.5_f64, -1.0, 2.0];
    let (softmax, mean) = (Softmax::new(Temperature::ONE), MeanOverPositions::new(Temperature::ONE));
    let distances = [
        RowLoss::new(softmax, Kl).value(&row, &row),
        RowLoss::new(softmax, ReverseKl).value(&row, &row),
        RowLoss::new(softmax, JensenShannon).value(&row, &row),
        RowLoss::new(softmax, MaskedKl).value(&row, &row),
        RowLoss::new(softmax, Mse).value(&row, &row),
        RowLoss::new(mean, Mse).value(&row, &row),
        RowLoss::new(Raw, Mse).value(&row, &row),
    ];
    assert_eq!(distances.map(f64::to_bits), [0; 7]);
    assert!(RowLoss::new(softmax, CrossEntropy).value(&row, &row) > 0.5);
}
