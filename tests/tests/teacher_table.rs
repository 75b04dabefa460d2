//! A prepared teacher's file: what it costs is what is stated, and what is none is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use densekd::core::single::{Polynomial, Row, RowKl, Stored, TableError, TeacherTable};
use densekd::core::{Norm, Order, Plan, Recipe, RowOptions, Shape, Temperature};
use densekd::rows::{Precision, encode};
use densekd_tests::oracle::fast;
use fastrand::Rng;

const DIMS: [usize; 4] = [2, 5, 3, 7];

fn plan(norm: Norm, order: Order, tau: f64) -> Plan {
    let options = RowOptions { norm, tau: Temperature::new(tau).unwrap(), ..RowOptions::CWD };
    Plan::new(Recipe::new(options).unwrap(), Shape::new(DIMS).unwrap(), order).unwrap()
}

fn numbers(rng: &mut Rng, spread: f32) -> Vec<f32> {
    (0..DIMS.iter().product()).map(|_| (rng.f32() - 0.5) * spread + 40.0).collect()
}

/// Where an entry of a row lies in the map.
fn index(norm: Norm, order: Order, row: usize, entry: usize) -> usize {
    let [_, c, h, w] = DIMS;
    let positions = h * w;
    let (n, channel, position) = match norm {
        Norm::Channel => (row / c, row % c, entry),
        _ => (row / positions, entry, row % positions),
    };
    match order {
        Order::Nchw => (n * c + channel) * positions + position,
        Order::Nhwc => (n * positions + position) * c + channel,
    }
}

/// Rows of the file, in the file's order, as they were before: for channels last the rows of channels are interleaved too.
fn row_of(map: &[f32], norm: Norm, order: Order, row: usize, len: usize) -> Vec<f32> {
    (0..len).map(|entry| map[index(norm, order, row, entry)]).collect()
}

fn softmax(row: &[f64], tau: f64) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all: Vec<f64> = row.iter().map(|x| ((x - top) / tau).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter().map(|x| x / sum).collect()
}

#[test]
fn a_table_costs_what_it_states() {
    let mut rng = Rng::with_seed(4);
    for (norm, order, precision, spread, tau) in [
        (Norm::Channel, Order::Nchw, Precision::F16, 20.0, 4.0),
        (Norm::Channel, Order::Nhwc, Precision::U8, 20.0, 4.0),
        (Norm::Spatial, Order::Nchw, Precision::U8, 9.0, 1.0),
        (Norm::Spatial, Order::Nhwc, Precision::F16, 3.0, 0.5),
    ] {
        let (teacher, student) = (numbers(&mut rng, spread), numbers(&mut rng, spread));
        let plan = plan(norm, order, tau);
        let bytes = encode(&plan, (&teacher[..]).into(), precision).unwrap();
        let table = TeacherTable::new(&bytes).unwrap();
        assert_eq!((table.rows(), table.entries()), (plan.rows(), plan.row_len()));
        let loss = RowKl::<Polynomial>::new(table.tau()).unwrap();
        for i in 0..table.rows() {
            let [t, s] = [&teacher, &student].map(|map| row_of(map, norm, order, i, table.entries()));
            let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
            let (t64, s64) = (wide(&t), wide(&s));
            let top = t64.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lowest = t64.iter().copied().fold(f64::INFINITY, f64::min);
            let off = match table.stored() {
                Stored::F16 => (top - lowest) * 2_f64.powi(-11),
                Stored::U8 { step } => f64::from(step) / 2.0,
            } / tau;
            let row = table.row(i).unwrap();
            for (stored, x) in row.values(row.entries()).zip(&t64) {
                assert!(
                    (f64::from(stored) - (x - top)).abs() <= off * tau * 1.0001,
                    "{stored} for {}",
                    x - top
                );
            }
            let (kl, want) = (fast::kl_row(&t64, &s64, tau), fast::kl_row_gradient(&t64, &s64, tau));
            let (p, q) = (softmax(&t64, tau), softmax(&s64, tau));
            let share = (2.0 * off).exp_m1();
            let spread: f64 = p.iter().zip(&q).map(|(p, q)| p * ((p / q).ln() - kl).abs()).sum();
            let mut gradient = vec![0.0; t.len()];
            let got = f64::from(loss.gradient(&row, &s[..], 1.0, &mut gradient));
            let bound = off * off / 2.0 + share * spread + 2e-6 * kl;
            assert!((got - kl).abs() <= bound, "{precision:?}: {got}, not {kl} to {bound:e}");
            let largest = want.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
            for ((&got, want), p) in gradient.iter().zip(&want).zip(&p) {
                assert!((f64::from(got) - want).abs() <= share * p / tau + 2e-6 * largest, "{got} {want}");
            }
        }
        assert!(table.row(table.rows()).is_none());
    }
}

#[test]
fn no_mass_stays_none_in_either_precision() {
    let mut teacher = vec![0.0_f32; DIMS.iter().product()];
    teacher[0] = f32::NEG_INFINITY;
    teacher[1] = -100.0;
    let plan = plan(Norm::Channel, Order::Nchw, 1.0);
    for precision in Precision::ALL {
        let bytes = encode(&plan, (&teacher[..]).into(), precision).unwrap();
        let row = TeacherTable::new(&bytes).unwrap().row(0).unwrap();
        let stored: Vec<f32> = row.values(3).collect();
        assert_eq!(stored[0], f32::NEG_INFINITY);
        assert_eq!(stored[1], if precision == Precision::F16 { -100.0 } else { f32::NEG_INFINITY });
        assert_eq!(stored[2], 0.0);
    }
}

#[test]
fn the_examples_table_is_what_its_teacher_gives() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples");
    let path = densekd::io::TensorPath::new(folder.join("data/teacher.safetensors"), Some("logits")).unwrap();
    let teacher = densekd::io::read(&path).unwrap();
    let options = RowOptions { norm: Norm::Spatial, tau: Temperature::new(2.0).unwrap(), ..RowOptions::CWD };
    let shape = Shape::new(teacher.dims(Order::Nchw).unwrap()).unwrap();
    let plan = Plan::new(Recipe::new(options).unwrap(), shape, Order::Nchw).unwrap();
    let bytes = encode(&plan, teacher.as_tensor(), Precision::U8).unwrap();
    assert!(bytes == std::fs::read(folder.join("firmware/data/teacher.rows")).unwrap());
}

#[test]
fn bytes_that_are_no_table_are_refused() {
    let plan = plan(Norm::Channel, Order::Nchw, 2.0);
    let teacher = vec![1.0_f32; DIMS.iter().product()];
    let bytes = encode(&plan, (&teacher[..]).into(), Precision::U8).unwrap();
    assert!(TeacherTable::new(&bytes).is_ok());
    let with = |at: usize, word: u32| {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        TeacherTable::new(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 0), TableError::Header);
    assert_eq!(with(8, 2), TableError::Version);
    assert_eq!(with(12, u32::MAX), TableError::Length);
    assert_eq!(with(16, 20), TableError::Length);
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(with(20, bad.to_bits()), TableError::Number);
    }
    assert_eq!(with(24, f32::NAN.to_bits()), TableError::Number);
    for len in 0..TeacherTable::HEADER {
        assert_eq!(TeacherTable::new(&bytes[..len]).unwrap_err(), TableError::Header, "{len}");
    }
    assert_eq!(TeacherTable::new(&bytes[..bytes.len() - 1]).unwrap_err(), TableError::Length);
}
