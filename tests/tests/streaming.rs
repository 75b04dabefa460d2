//! The state of a row pair: pushed in any pieces, merged in any order, it is the row's.

use densekd_core::{Arithmetic, Kl, RowLoss, RowState, Softmax, Temperature};
use densekd_tests::draws::config;
use densekd_tests::oracle::fast;
use densekd_tests::rows::{decode, ordinary, random_genome};
use fastrand::Rng;
use proptest::prelude::*;

/// Cuts a row at random places, pushes the pieces into states of their own and merges those in random order.
fn scattered<R: Arithmetic>(
    tau: Temperature,
    teacher: &[R],
    student: &[R],
    pieces: usize,
    rng: &mut Rng,
) -> RowState {
    let mut states = vec![RowState::new(); pieces];
    let mut from = 0;
    while from < teacher.len() {
        let to = (from + rng.usize(1..=400)).min(teacher.len());
        let state = rng.usize(0..pieces);
        states[state].push(tau, &teacher[from..to], &student[from..to]);
        from = to;
    }
    while states.len() > 1 {
        let taken = states.swap_remove(rng.usize(0..states.len()));
        let into = rng.usize(0..states.len());
        states[into].merge(tau, &taken);
    }
    states[0]
}

fn is_the_rows<R: Arithmetic>(
    (teacher, student): (&[R], &[R]),
    tau: f64,
    pieces: usize,
    rng: &mut Rng,
    bound: f64,
    floor: f64,
) -> Result<(), TestCaseError> {
    let wide = |x: &[R]| x.iter().map(|x| x.to_double()).collect::<Vec<f64>>();
    let want = fast::kl_row(&wide(teacher), &wide(student), tau);
    let tau = Temperature::new(tau).expect("a temperature");
    let got = scattered(tau, teacher, student, pieces, rng).finish(tau).kl_divergence();
    let mut whole = RowState::new();
    whole.push(tau, teacher, student);
    let at_once = whole.finish(tau).kl_divergence();
    for got in [got, at_once] {
        prop_assert!(got >= 0.0);
        prop_assert!(
            want < floor || (got - want).abs() <= bound * want,
            "{got:e} for {want:e} in {pieces} pieces"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn any_split_merged_in_any_order_is_the_row(seed: u64, length in 1..1500_usize, pieces in 1..9_usize) {
        let mut rng = Rng::with_seed(seed);
        let noise = 10.0_f64.powf(2.0 - 6.0 * rng.f64());
        let shift = [0.0, 30.0, 1000.0][rng.usize(0..3)];
        let pair = ordinary(&mut rng, length, noise, shift);
        is_the_rows((&pair.teacher, &pair.student), pair.tau, pieces, &mut rng, 1e-6, 1e-26)?;
    }

    #[test]
    fn any_split_of_a_contrived_row_is_the_row(seed: u64, pieces in 1..9_usize) {
        let mut rng = Rng::with_seed(seed);
        let pair = decode(&random_genome(&mut rng));
        is_the_rows((&pair.teacher, &pair.student), pair.tau, pieces, &mut rng, 1e-5, 1e-26)?;
    }

    #[test]
    fn any_split_in_f64_is_the_row(seed: u64, pieces in 1..9_usize) {
        let mut rng = Rng::with_seed(seed);
        let pair = decode(&random_genome(&mut rng));
        let wide = |x: &[f32]| x.iter().copied().map(f64::from).collect::<Vec<f64>>();
        let (teacher, student) = (wide(&pair.teacher), wide(&pair.student));
        is_the_rows((&teacher[..], &student[..]), pair.tau, pieces, &mut rng, 1e-9, 1e-26)?;
    }
}

#[test]
fn a_state_of_nothing_changes_nothing() {
    let tau = Temperature::ONE;
    let (teacher, student) = ([0.5_f32, 2.0, -1.0], [1.0_f32, 0.0, 0.5]);
    let mut state = RowState::new();
    state.push(tau, &teacher, &student);
    let want = state.finish(tau);
    state.merge(tau, &RowState::new());
    assert_eq!(state.finish(tau), want);
    let mut from_nothing = RowState::new();
    from_nothing.push::<f32>(tau, &[], &[]);
    assert_eq!(from_nothing.finish(tau).kl_divergence().to_bits(), 0.0_f64.to_bits());
    from_nothing.merge(tau, &state);
    assert!((from_nothing.finish(tau).kl_divergence() / want.kl_divergence() - 1.0).abs() < 1e-15);
}

#[test]
fn the_longer_slice_is_not_read_to_its_end() {
    let tau = Temperature::ONE;
    let (teacher, student) = ([0.5_f32, 2.0, -1.0], [1.0_f32, 0.0, 0.5]);
    let mut short = RowState::new();
    short.push(tau, &teacher[..2], &student[..2]);
    for (teacher, student) in [(&teacher[..2], &student[..]), (&teacher[..], &student[..2])] {
        let mut state = RowState::new();
        state.push(tau, teacher, student);
        assert_eq!(state.finish(tau), short.finish(tau));
    }
}

/// What is not finite is found in whichever part it stands.
#[test]
fn merged_states_know_what_is_not_finite() {
    let tau = Temperature::ONE;
    let none = f32::NEG_INFINITY;
    let parts: [(&[f32], &[f32]); 5] = [
        (&[0.5, 1.0, -0.5], &[1.0, 0.25, 0.0]),
        (&[none, 1.0], &[none, 2.0]),
        (&[none], &[3.0]),
        (&[2.0], &[none]),
        (&[f32::NAN], &[0.0]),
    ];
    let loss = RowLoss::new(Softmax::new(tau), Kl);
    for choice in 1..32_usize {
        let taken: Vec<_> = (0..5).filter(|i| choice >> i & 1 == 1).map(|i| parts[i]).collect();
        let teacher: Vec<f32> = taken.iter().flat_map(|part| part.0.iter().copied()).collect();
        let student: Vec<f32> = taken.iter().flat_map(|part| part.1.iter().copied()).collect();
        let want = loss.value(&teacher, &student);
        for backwards in [false, true] {
            let mut states: Vec<RowState> = taken
                .iter()
                .map(|part| {
                    let mut state = RowState::new();
                    state.push(tau, part.0, part.1);
                    state
                })
                .collect();
            if backwards {
                states.reverse();
            }
            let merged = states.into_iter().reduce(|mut a, b| {
                a.merge(tau, &b);
                a
            });
            let got = merged.expect("a part is taken").finish(tau).kl_divergence();
            let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            assert!(same || (got - want).abs() <= 1e-6 * want, "{choice:b} {backwards}: {got} for {want}");
        }
    }
}
