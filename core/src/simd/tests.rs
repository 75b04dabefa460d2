//! Every implementation that this CPU has against plain Rust, lane by lane.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "numbers are rounded to the type that is tested on purpose"
)]

use super::{Line, Rounded, Simd, Stored, Vectors, Widened, on};
use crate::Isa;
use half::{bf16, f16};

/// Runs a check on every instruction set of this CPU.
fn on_each(check: impl Vectors<Output = ()> + Copy) {
    let mut seen = 0;
    for isa in Isa::available() {
        on(isa, check);
        seen += 1;
    }
    assert!(seen > 0);
}

/// What is checked, a vector at a time.
macro_rules! check {
    ($name:ident, $l:ident => $body:block) => {
        #[test]
        fn $name() {
            #[derive(Clone, Copy)]
            struct Check;
            impl Vectors for Check {
                type Output = ();
                #[inline(always)]
                fn run<L: Simd>(self, $l: L) $body
            }
            on_each(Check);
        }
    };
}

/// The lanes of a vector.
fn array<L: Simd>(l: L, v: L::V) -> [f32; 16] {
    let mut out = [f32::NAN; 16];
    l.store_f32(v, &mut out);
    out
}

/// Numbers of both signs and many sizes.
fn numbers(n: usize, seed: u32) -> impl Iterator<Item = f32> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from_bits(0x3f80_0000 | (state >> 41) as u32) - 1.0
    };
    (0..n).map(move |_| (next() - 0.5) * (24.0 * (next() - 0.5)).exp2_for_tests())
}

trait Exp2 {
    fn exp2_for_tests(self) -> f32;
}

impl Exp2 for f32 {
    fn exp2_for_tests(self) -> f32 {
        libm::exp2f(self)
    }
}

fn filled(seed: u32) -> [f32; 16] {
    let mut out = [0.0; 16];
    out.iter_mut().zip(numbers(16, seed)).for_each(|(to, from)| *to = from);
    out
}

check! { arithmetic_is_that_of_each_lane, l => {
    for seed in 0..100 {
        let (a, b, c) = (filled(3 * seed), filled(3 * seed + 1), filled(3 * seed + 2));
        let (x, y, z) = (l.load_f32(&a), l.load_f32(&b), l.load_f32(&c));
        let results = [x + y, x - y, x * y, l.max(x, y), l.abs(x), l.max_abs(x, y), l.fma(x, y, z)];
        let results = results.map(|v| array(l, v));
        for i in 0..L::WIDTH {
            let (a, b, c) = (a[i], b[i], c[i]);
            let fma = if L::FUSED { libm::fmaf(a, b, c) } else { a * b + c };
            let want = [a + b, a - b, a * b, a.max(b), a.abs(), a.abs().max(b.abs()), fma];
            assert_eq!(results.map(|v| v[i].to_bits()), want.map(f32::to_bits));
        }
    }
}}

/// The lanes of a vector of `f64`.
fn wide<L: Simd>(l: L, w: L::W) -> [f64; 8] {
    let mut out = [f64::NAN; 8];
    l.store_f64(w, &mut out);
    out
}

check! { wide_arithmetic_is_that_of_each_lane, l => {
    let half = L::WIDTH / 2;
    for seed in 0..100 {
        let (a, b, c) = (filled(3 * seed), filled(3 * seed + 1), filled(3 * seed + 2));
        let [x, y, z] = [&a, &b, &c].map(|x| f32::load_wide(l, x));
        for (part, ((x, y), z)) in x.into_iter().zip(y).zip(z).enumerate() {
            let results = [x, x + y, x - y, x * y, l.fma_f64(x, y, z), l.splat_f64(0.1)].map(|w| wide(l, w));
            for i in 0..half {
                let [a, b, c] = [a, b, c].map(|x| f64::from(x[part * half + i]));
                let fma = if L::FUSED { libm::fma(a, b, c) } else { a * b + c };
                let want = [a, a + b, a - b, a * b, fma, 0.1];
                assert_eq!(results.map(|w| w[i].to_bits()), want.map(f64::to_bits));
            }
            let lanes = &a[part * half..(part + 1) * half];
            let (sum, size) = (lanes.iter().map(|&x| f64::from(x)).sum::<f64>(), f64::from(half as u8));
            assert!((l.sum_f64(x) - sum).abs() <= 1e-12 * size);
        }
        assert_eq!(array(l, l.narrow(x))[..L::WIDTH], a[..L::WIDTH]);
    }
}}

check! { wide_moves_touch_what_they_name, l => {
    let half = L::WIDTH / 2;
    let from: [f64; 32] = core::array::from_fn(|i| 1.0 + f64::from(i as u8));
    for offset in 0..10 {
        for n in 0..=L::WIDTH + 3 {
            let source = &from[offset..offset + n];
            for (part, w) in f64::load_wide(l, source).into_iter().enumerate() {
                for (i, lane) in wide(l, w).iter().take(half).enumerate() {
                    assert_eq!(*lane, source.get(part * half + i).copied().unwrap_or(0.0));
                }
            }
            let mut stored = [-1.5; 32];
            l.store_f64(l.splat_f64(2.0), &mut stored[offset..offset + n]);
            for (i, x) in stored.iter().enumerate() {
                assert_eq!(*x, if (offset..offset + n.min(half)).contains(&i) { 2.0 } else { -1.5 });
            }
            let rounded = array(l, f64::load_rounded(l, source));
            for (i, lane) in rounded.iter().take(L::WIDTH).enumerate() {
                assert_eq!(f64::from(*lane), source.get(i).copied().unwrap_or(0.0));
            }
        }
    }
}}

check! { truths_select_lanes, l => {
    for seed in 0..50 {
        let (a, b) = (filled(seed), filled(seed + 1000));
        let (x, y) = (l.load_f32(&a), l.load_f32(&b));
        let less = l.less(x, y);
        for n in 0..=L::WIDTH {
            let first = l.first(n);
            let chosen = array(l, l.select(l.and(less, first), x, y));
            let others = array(l, l.select(l.not(first), x, y));
            for i in 0..L::WIDTH {
                assert_eq!(chosen[i], if a[i] < b[i] && i < n { a[i] } else { b[i] });
                assert_eq!(others[i], if i < n { b[i] } else { a[i] });
            }
            assert_eq!(l.any(first), n > 0);
            assert_eq!(l.any(l.and(less, first)), (0..n).any(|i| a[i] < b[i]));
        }
    }
    let nan = l.splat(f32::NAN);
    assert!(!l.any(l.less(nan, l.splat(1.0))) && !l.any(l.less(l.splat(1.0), nan)));
}}

check! { lanes_are_summed_and_compared, l => {
    for seed in 0..50 {
        let a = filled(seed);
        let x = l.load_f32(&a);
        let lanes = &a[..L::WIDTH];
        let want: f64 = lanes.iter().copied().map(f64::from).sum();
        assert!((l.sum(x) - want).abs() <= 1e-12 * lanes.iter().map(|x| f64::from(x.abs())).sum::<f64>());
        assert_eq!(l.largest(x), lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    }
    assert!(l.sum(l.splat(f32::NAN)).is_nan());
}}

check! { rows_are_transposed_and_truths_counted, l => {
    let mut from = [0.0; 400];
    from.iter_mut().zip(numbers(400, 3)).for_each(|(to, from)| *to = from);
    for pitch in [1, 7, 16, 19, 25] {
        for end in [400, 300, 30, 5] {
            for n in [0, 1, 7, 16] {
                let mut to = [Line([9.0; 16]); 16];
                l.transpose(&from[..end], pitch, &mut to[..n]);
                for (j, line) in to.iter().enumerate() {
                    for i in 0..L::WIDTH {
                        let want = from[..end].get(i * pitch + j).copied().unwrap_or_default();
                        assert_eq!(line.0[i], if j < n.min(L::WIDTH) { want } else { 9.0 });
                    }
                }
            }
        }
    }
    for seed in 0..20 {
        let (a, b) = (filled(seed), filled(seed + 100));
        let bits = l.bits(l.less(l.load_f32(&a), l.load_f32(&b)));
        let want = (0..L::WIDTH).map(|i| u32::from(a[i] < b[i]) << i).sum::<u32>();
        assert_eq!(bits, want);
    }
}}

check! { lines_become_rows_again, l => {
    let mut lines = [Line::ZERO; 20];
    lines.iter_mut().zip(0..).for_each(|(line, seed)| line.0 = filled(seed));
    for n in [0, 1, 7, 16, 20] {
        for pitch in [n.min(L::WIDTH), 19, 49] {
            let mut to = [9.0; 16 * 49];
            l.transpose_back(&lines[..n], &mut to, pitch);
            for i in 0..L::WIDTH {
                for (j, line) in lines[..n].iter().enumerate().take(L::WIDTH) {
                    assert_eq!(to[i * pitch + j], line.0[i]);
                }
            }
        }
    }
}}

check! { powers_of_two_keep_their_bound, l => {
    let mut worst = 0.0_f64;
    for i in 0..30_000_i16 {
        let x = f32::from(i) * (252.9 / 30_000.0) - 125.9;
        let got = array(l, l.exp2(l.splat(x)));
        let want = libm::exp2(f64::from(x));
        for got in &got[..L::WIDTH] {
            worst = worst.max((f64::from(*got) / want - 1.0).abs());
        }
    }
    assert!(worst < 1.5e-7, "{worst}");
}}

check! { powers_of_two_at_the_edges, l => {
    let exp2 = |x: f32| array(l, l.exp2(l.splat(x)))[0];
    assert!(exp2(f32::NAN).is_nan());
    assert!(exp2(128.0) >= 3.4e38);
    for x in [129.0, 300.0, 1e9, 3e38] {
        assert_eq!(exp2(x), f32::INFINITY, "{x}");
    }
    for x in [-126.5, -127.0, -128.0, -300.0, -1e9, -3e38] {
        let got = exp2(x);
        assert!((0.0..=1.2e-38).contains(&got), "{x}: {got}");
    }
    for n in -126_i16..=127 {
        let got = exp2(f32::from(n));
        assert!((f64::from(got) / libm::exp2(f64::from(n)) - 1.0).abs() < 1e-7, "{n}");
    }
    let fraction = |x: f32| array(l, l.fraction(l.splat(x)))[0];
    for (x, want) in [(1.25, 0.25), (-1.25, 0.75), (0.0, 0.0), (-7.0, 0.0), (100.5, 0.5)] {
        assert_eq!(fraction(x), want);
    }
}}

/// Loads, stores and streams of every length at every offset.
#[inline(always)]
fn moves<L: Simd, E: Stored>(l: L) {
    let mut from = [E::default(); 64];
    from.iter_mut().zip(numbers(64, 7)).for_each(|(to, x)| *to = E::narrow(x));
    for offset in 0..20 {
        for n in 0..=L::WIDTH + 3 {
            let source = &from[offset..offset + n];
            let v = E::load(l, source);
            let lanes = array(l, v);
            for (i, lane) in lanes.iter().take(L::WIDTH).enumerate() {
                let want = source.get(i).map_or(0.0, |x| x.widen::<f32>());
                assert_eq!(lane.to_bits(), want.to_bits());
            }
            let mark = E::narrow(-1.5_f32);
            let (mut stored, mut streamed) = ([mark; 64], [mark; 64]);
            E::store(l, v, &mut stored[offset..offset + n]);
            E::stream(l, v, &mut streamed[offset..offset + n]);
            l.fence();
            for i in 0..64 {
                let inside = (offset..offset + n.min(L::WIDTH)).contains(&i);
                let want = if inside { from[i] } else { mark };
                assert_eq!(stored[i].widen::<f32>().to_bits(), want.widen::<f32>().to_bits());
                assert_eq!(streamed[i].widen::<f32>().to_bits(), want.widen::<f32>().to_bits());
            }
        }
    }
}

check! { moves_touch_what_they_name, l => {
    l.prefetch(&[0.0_f32; 4], 1 << 40);
    moves::<L, f32>(l);
    moves::<L, f16>(l);
    moves::<L, bf16>(l);
}}

check! { half_precision_is_rounded_once, l => {
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let step = if cfg!(miri) { 70_001 } else { 1009 };
    for high in (0..=u32::MAX).step_by(step * 16) {
        let bits = high ^ (high << 7);
        for x in [f32::from_bits(bits), f32::from_bits(bits & !0x1fff | 0x1000), f32::from_bits(bits & !0xffff | 0x8000)] {
            let (mut a, mut b) = ([f16::ZERO; 16], [bf16::ZERO; 16]);
            l.store_f16(l.splat(x), &mut a);
            l.store_bf16(l.splat(x), &mut b);
            assert!(same(a[0].to_f32(), f16::from_f32(x).to_f32()), "{x:e}");
            assert!(same(b[0].to_f32(), bf16::from_f32(x).to_f32()), "{x:e}");
        }
    }
    for bits in 0..=u16::MAX {
        let (a, b) = (f16::from_bits(bits), bf16::from_bits(bits));
        assert!(same(array(l, l.load_f16(&[a; 16]))[0], a.to_f32()));
        assert!(same(array(l, l.load_bf16(&[b; 16]))[0], b.to_f32()));
    }
}}

#[test]
fn a_missing_instruction_set_is_the_plain_one() {
    struct Width;
    impl Vectors for Width {
        type Output = usize;
        fn run<L: Simd>(self, _l: L) -> usize {
            L::WIDTH
        }
    }
    for &isa in Isa::ALL {
        let want = match isa {
            Isa::Avx512 => 16,
            Isa::Avx2 => 8,
            Isa::Neon | Isa::Plain => 4,
        };
        assert_eq!(on(isa, Width), if isa.is_available() { want } else { 4 });
    }
}
