//! Portable Rust, for plain tokens and for those whose compiler makes vectors of it unasked; no unsafe code. Written out
//! lane by lane, as the vectors of `f32` are.

use super::{Doubles, EIGHT};
#[cfg(all(feature = "simd", target_arch = "aarch64"))]
use crate::simd::neon::Neon;
use crate::simd::plain::Plain;
use core::ops::{Add, Div, Mul, Sub};

#[derive(Clone, Copy)]
pub(crate) struct F64s([f64; EIGHT]);

#[derive(Clone, Copy)]
pub(crate) struct Truths([bool; EIGHT]);

#[inline(always)]
fn each<T>(
    f: impl Fn(f64, f64) -> T,
    F64s([a, b, c, d, e, g, h, i]): F64s,
    F64s([j, k, l, m, n, o, p, q]): F64s,
) -> [T; EIGHT] {
    [f(a, j), f(b, k), f(c, l), f(d, m), f(e, n), f(g, o), f(h, p), f(i, q)]
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:tt;)+) => {$(
        impl $trait for F64s {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(each(|a, b| a $op b, self, other))
            }
        }
    )+};
}

operators! {
    Add add +;
    Sub sub -;
    Mul mul *;
    Div div /;
}

/// 2^n for an integer n up to 1023; 0 from -1023 down.
#[inline(always)]
fn power(n: f64) -> f64 {
    // 2^52 and the bias: the low bits of the sum are those of n + 1023.
    const MAGIC: f64 = 4_503_599_627_370_496.0 + 1023.0;
    let n = if n > -1023.0 { n } else { -1023.0 };
    f64::from_bits((n + MAGIC).to_bits() << 52)
}

macro_rules! portable {
    ($token:ident) => {
        impl Doubles for $token {
            #[cfg(test)]
            const FUSED: bool = false;
            type D = F64s;
            type T = Truths;

            #[inline(always)]
            fn splat(self, x: f64) -> F64s {
                F64s([x; EIGHT])
            }

            #[inline(always)]
            fn load(self, from: &[f64; EIGHT]) -> F64s {
                F64s(*from)
            }

            #[inline(always)]
            fn store(self, v: F64s, to: &mut [f64; EIGHT]) {
                *to = v.0;
            }

            #[inline(always)]
            fn fma(self, a: F64s, b: F64s, c: F64s) -> F64s {
                a * b + c
            }

            #[inline(always)]
            fn above(self, a: F64s, b: F64s) -> F64s {
                F64s(each(|a, b| if a > b { a } else { b }, a, b))
            }

            #[inline(always)]
            fn sqrt(self, x: F64s) -> F64s {
                F64s(each(|x, _| libm::sqrt(x), x, x))
            }

            #[inline(always)]
            fn nearest(self, x: F64s) -> F64s {
                // 1.5 * 2^52: adding it rounds to an integer.
                let magic = self.splat(6_755_399_441_055_744.0);
                (x + magic) - magic
            }

            #[inline(always)]
            fn scale(self, p: F64s, n: F64s) -> F64s {
                F64s(each(|p, n| p * power(n), p, n))
            }

            #[inline(always)]
            fn less(self, a: F64s, b: F64s) -> Truths {
                Truths(each(|a, b| a < b, a, b))
            }

            #[inline(always)]
            fn equal(self, a: F64s, b: F64s) -> Truths {
                Truths(each(|a, b| a == b, a, b))
            }

            #[inline(always)]
            fn all(self, Truths([a, b, c, d, e, f, g, h]): Truths) -> bool {
                a & b & c & d & e & f & g & h
            }

            #[inline(always)]
            fn select(self, Truths(m): Truths, a: F64s, b: F64s) -> F64s {
                let chosen = each(|a, b| [b, a], a, b);
                let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (chosen, m);
                let of = |[no, yes]: [f64; 2], m: bool| if m { yes } else { no };
                F64s([of(a, i), of(b, j), of(c, k), of(d, l), of(e, m), of(f, n), of(g, o), of(h, p)])
            }
        }
    };
}

portable!(Plain);
#[cfg(all(feature = "simd", target_arch = "aarch64"))]
portable!(Neon);
