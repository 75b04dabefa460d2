//! Stored numbers: widened exactly, narrowed to the nearest, once.

use densekd_core::{Arithmetic, DType, Element};
use densekd_tests::draws::config;
use densekd_tests::engine::nearest;
use half::{bf16, f16};
use proptest::prelude::*;

fn narrowed<R: Arithmetic>(dtype: DType, x: R) -> f64 {
    match dtype {
        DType::F16 => f16::narrow(x).widen(),
        DType::Bf16 => bf16::narrow(x).widen(),
        DType::F32 => f32::narrow(x).widen(),
        _ => f64::narrow(x).widen(),
    }
}

const HALVES: [DType; 2] = [DType::F16, DType::Bf16];

/// A number of a half type, the tie above it and what is just beside the tie.
fn beside_ties(dtype: DType, bits: u16) -> Option<(f64, f64)> {
    let value = |bits: u16| -> f64 {
        if dtype == DType::F16 { f16::from_bits(bits).widen() } else { bf16::from_bits(bits).widen() }
    };
    let (low, high) = (value(bits), value(bits.wrapping_add(1)));
    (low.is_finite() && high.is_finite() && low != high).then(|| (low, f64::midpoint(low, high)))
}

#[test]
fn every_half_number_widens_and_narrows_to_itself() {
    for bits in 0..=u16::MAX {
        let (a, b) = (f16::from_bits(bits), bf16::from_bits(bits));
        for same in [f16::narrow(a.widen::<f32>()), f16::narrow(a.widen::<f64>())] {
            assert!(same.to_bits() == bits || (same.is_nan() && a.is_nan()), "f16 {bits:#x}");
        }
        for same in [bf16::narrow(b.widen::<f32>()), bf16::narrow(b.widen::<f64>())] {
            assert!(same.to_bits() == bits || (same.is_nan() && b.is_nan()), "bf16 {bits:#x}");
        }
    }
}

#[test]
fn an_f32_becomes_the_nearest_half() {
    for dtype in HALVES {
        for bits in 0..=u16::MAX {
            let Some((low, tie)) = beside_ties(dtype, bits) else { continue };
            #[allow(clippy::cast_possible_truncation, reason = "ties of halves are exact in f32")]
            let tie = tie as f32;
            for x in [tie, tie.next_up(), tie.next_down()] {
                let want = nearest(dtype, f64::from(x));
                assert_eq!(narrowed(dtype, x).to_bits(), want.to_bits(), "{dtype}: {x:e} after {low:e}");
            }
        }
    }
}

/// A number just above the middle of two halves lies nearer to the upper one, however little it is above.
#[test]
fn an_f64_becomes_the_nearest_half() {
    for dtype in HALVES {
        let mut wrong = Vec::new();
        for bits in 0..=u16::MAX {
            let Some((_, tie)) = beside_ties(dtype, bits) else { continue };
            for x in [tie, tie.next_up(), tie.next_down()] {
                let (got, want) = (narrowed(dtype, x), nearest(dtype, x));
                if got.to_bits() != want.to_bits() {
                    wrong.push(format!("{x:e} becomes {got:e} instead of {want:e}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{dtype}: {} numbers, the first of them {}", wrong.len(), wrong[0]);
    }
}

proptest! {
    #![proptest_config(config(4096))]

    #[test]
    fn any_f32_becomes_the_nearest(x in any::<f32>(), dtype in prop::sample::select(&HALVES[..])) {
        let (got, want) = (narrowed(dtype, x), nearest(dtype, f64::from(x)));
        prop_assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{got:e} {want:e}");
    }

    #[test]
    fn any_f64_becomes_the_nearest_f32(x in any::<f64>()) {
        let (got, want) = (narrowed(DType::F32, x), nearest(DType::F32, x));
        prop_assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{got:e} {want:e}");
    }
}
