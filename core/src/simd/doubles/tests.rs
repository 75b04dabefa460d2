//! Every instruction set's eight numbers against what each lane should be.

use super::{Doubles, EIGHT};
use crate::arithmetic::Arithmetic as _;
use crate::isa::Isa;
use crate::simd::{Simd, Vectors, on};

/// A test of a token, run on every instruction set that this CPU has.
macro_rules! check {
    ($name:ident, $l:ident => $body:block) => {
        #[test]
        fn $name() {
            struct Check;
            impl Vectors for Check {
                type Output = ();
                #[inline(always)]
                fn run<L: Simd>(self, l: L) {
                    check(l.doubles());
                }
            }
            #[inline(always)]
            fn check<L: Doubles>($l: L) {
                $body
            }
            Isa::available().for_each(|isa| on(isa, Check));
        }
    };
}

fn numbers(seed: u32) -> [f64; EIGHT] {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    core::array::from_fn(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state >> 8) / 8_388_608.0 - 1.0) * 40.0
    })
}

check! { arithmetic_is_that_of_each_lane, l => {
    for seed in 0..100 {
        let (a, b, c) = (numbers(3 * seed), numbers(3 * seed + 1), numbers(3 * seed + 2));
        let (x, y, z) = (l.load(&a), l.load(&b), l.load(&c));
        let results = [x + y, x - y, x * y, x / y, l.above(x, y), l.abs(x), l.fma(x, y, z), l.nearest(x)];
        let roots = l.lanes(l.sqrt(x * x));
        let chosen = [l.select(l.less(x, y), x, z), l.select(l.equal(x, x), x, z), l.select(l.equal(x, y), x, z)];
        let (results, chosen) = (results.map(|v| l.lanes(v)), chosen.map(|v| l.lanes(v)));
        for i in 0..EIGHT {
            let (a, b, c) = (a[i], b[i], c[i]);
            let fma = if L::FUSED { libm::fma(a, b, c) } else { a * b + c };
            let want = [a + b, a - b, a * b, a / b, a.max(b), a.abs(), fma, libm::rint(a)];
            assert_eq!(results.map(|v| v[i]), want);
            assert_eq!(roots[i], libm::sqrt(a * a));
            assert_eq!(chosen.map(|v| v[i]), [if a < b { a } else { c }, a, c]);
        }
        assert!((l.sum(x) - a.iter().sum::<f64>()).abs() < 1e-12);
        assert_eq!(l.sum(l.splat(a[0])), 8.0 * a[0]);
        assert!(l.all(l.equal(x, x)) && (0..EIGHT).all(|i| {
            let mut b = a;
            b[i] += 1.0;
            !l.all(l.equal(x, l.load(&b)))
        }));
    }
}}

check! { what_is_no_number_compares_with_nothing, l => {
    let (nan, one) = (l.splat(f64::NAN), l.splat(1.0));
    assert_eq!(l.lanes(l.above(nan, one)), [1.0; EIGHT]);
    assert!(l.lanes(l.above(one, nan)).iter().all(|x| x.is_nan()));
    for m in [l.less(nan, one), l.less(one, nan), l.equal(nan, nan)] {
        assert_eq!(l.lanes(l.select(m, nan, one)), [1.0; EIGHT]);
    }
}}

check! { exponentials_keep_their_bound, l => {
    for i in 0..100_000 {
        let x = f64::from(i) * 0.014_1 - 705.0;
        let [got, ..] = l.lanes(l.exp(l.splat(x)));
        assert!((got / libm::exp(x) - 1.0).abs() < 3e-16, "{x}: {got:e}");
        let x = f64::from(i) * 2e-5 - 1.0;
        let [got, ..] = l.lanes(l.expm1_rest(l.splat(x)));
        assert!((got / x.expm1_rest() - 1.0).abs() < 5e-16, "{x}: {got:e}");
    }
}}

check! { exponentials_at_the_edges, l => {
    let exp = |x: f64| l.lanes(l.exp(l.splat(x)))[3];
    assert!(exp(f64::NAN).is_nan() && !exp(f64::INFINITY).is_finite());
    assert_eq!(exp(0.0), 1.0);
    for x in [f64::NEG_INFINITY, f64::MIN, -1e9, -800.0, -750.0, -746.0] {
        assert_eq!(exp(x).to_bits(), 0, "{x}");
    }
    for i in 0..400 {
        let x = -706.0 - f64::from(i) * 0.1;
        assert!((0.0..3e-307).contains(&exp(x)), "{x}");
    }
}}
