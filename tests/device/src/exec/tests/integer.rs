//! Integer instructions.
use super::check;

/// Checks that `$op` of each integer type is what `$of` makes of two of them.
macro_rules! two {
    ($($op:literal: $($ty:ident $suffix:literal)*, |$a:ident, $b:ident| $of:expr;)*) => {$($({
        let of = |$a: $ty, $b: $ty| -> $ty { $of };
        let line = concat!($op, ".", $suffix, " $d, $a, $b;");
        let bits = concat!("b", "", $suffix);
        let bits = format!("b{}", &bits[2..]);
        check(line, &bits, &[&bits, &bits], |v| cut(of(v[0] as $ty, v[1] as $ty) as i128, $ty::BITS));
    })*)*};
}

fn cut(x: i128, bits: u32) -> u64 {
    (x as u64) & (u64::MAX >> (64 - bits))
}

#[test]
pub(super) fn sums_products_and_quotients() {
    two! {
        "add": u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64" i64 "s64", |a, b| a.wrapping_add(b);
        "sub": u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64" i64 "s64", |a, b| a.wrapping_sub(b);
        "mul.lo": u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64" i64 "s64", |a, b| a.wrapping_mul(b);
        "min": u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64" i64 "s64", |a, b| a.min(b);
        "max": u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64" i64 "s64", |a, b| a.max(b);
        "div": u16 "u16" u32 "u32" u64 "u64", |a, b| a.checked_div(b).unwrap_or(!0);
        "div": i16 "s16" i32 "s32" i64 "s64", |a, b| if b == 0 { -1 } else { a.wrapping_div(b) };
        "rem": u16 "u16" u32 "u32" u64 "u64", |a, b| a.checked_rem(b).unwrap_or(a);
        "rem": i16 "s16" i32 "s32" i64 "s64", |a, b| if b == 0 { a } else { a.wrapping_rem(b) };
        "and": u16 "b16" u32 "b32" u64 "b64", |a, b| a & b;
        "or": u16 "b16" u32 "b32" u64 "b64", |a, b| a | b;
        "xor": u16 "b16" u32 "b32" u64 "b64", |a, b| a ^ b;
    }
    check("mul.hi.u32 $d, $a, $b;", "b32", &["b32"; 2], |v| (v[0] * v[1]) >> 32);
    check("mul.hi.s32 $d, $a, $b;", "b32", &["b32"; 2], |v| {
        u64::from(((i64::from(v[0] as i32) * i64::from(v[1] as i32)) >> 32) as u32)
    });
    check("mul.hi.u64 $d, $a, $b;", "b64", &["b64"; 2], |v| {
        ((u128::from(v[0]) * u128::from(v[1])) >> 64) as u64
    });
    check("mul.hi.s64 $d, $a, $b;", "b64", &["b64"; 2], |v| {
        ((i128::from(v[0] as i64) * i128::from(v[1] as i64)) >> 64) as u64
    });
    check("mul.wide.u32 $d, $a, $b;", "b64", &["b32"; 2], |v| v[0] * v[1]);
    check("mul.wide.s32 $d, $a, $b;", "b64", &["b32"; 2], |v| {
        (i64::from(v[0] as i32) * i64::from(v[1] as i32)) as u64
    });
    check("mul.wide.u16 $d, $a, $b;", "b32", &["b16"; 2], |v| v[0] * v[1]);
    check("mul.wide.s16 $d, $a, $b;", "b32", &["b16"; 2], |v| {
        u64::from((i32::from(v[0] as i16) * i32::from(v[1] as i16)) as u32)
    });
    check("mad.lo.s32 $d, $a, $b, $c;", "b32", &["b32"; 3], |v| {
        u64::from((v[0] as u32).wrapping_mul(v[1] as u32).wrapping_add(v[2] as u32))
    });
    check("mad.lo.s64 $d, $a, $b, $c;", "b64", &["b64"; 3], |v| v[0].wrapping_mul(v[1]).wrapping_add(v[2]));
    check("mad.hi.u32 $d, $a, $b, $c;", "b32", &["b32"; 3], |v| (((v[0] * v[1]) >> 32) + v[2]) & 0xffff_ffff);
    check("mad.wide.u32 $d, $a, $b, $c;", "b64", &["b32", "b32", "b64"], |v| {
        (v[0] * v[1]).wrapping_add(v[2])
    });
    check("mad.wide.s32 $d, $a, $b, $c;", "b64", &["b32", "b32", "b64"], |v| {
        (i64::from(v[0] as i32) * i64::from(v[1] as i32)).wrapping_add(v[2] as i64) as u64
    });
}

#[test]
pub(super) fn one_operand() {
    check("not.b16 $d, $a;", "b16", &["b16"], |v| v[0] ^ 0xffff);
    check("not.b32 $d, $a;", "b32", &["b32"], |v| v[0] ^ 0xffff_ffff);
    check("not.b64 $d, $a;", "b64", &["b64"], |v| !v[0]);
    check("neg.s32 $d, $a;", "b32", &["b32"], |v| u64::from((v[0] as u32).wrapping_neg()));
    check("neg.s64 $d, $a;", "b64", &["b64"], |v| v[0].wrapping_neg());
    check("abs.s16 $d, $a;", "b16", &["b16"], |v| u64::from((v[0] as i16).wrapping_abs() as u16));
    check("abs.s32 $d, $a;", "b32", &["b32"], |v| u64::from((v[0] as i32).wrapping_abs() as u32));
    check("abs.s64 $d, $a;", "b64", &["b64"], |v| (v[0] as i64).wrapping_abs() as u64);
    check("popc.b32 $d, $a;", "b32", &["b32"], |v| u64::from(v[0].count_ones()));
    check("popc.b64 $d, $a;", "b32", &["b64"], |v| u64::from(v[0].count_ones()));
    check("clz.b32 $d, $a;", "b32", &["b32"], |v| u64::from((v[0] as u32).leading_zeros()));
    check("clz.b64 $d, $a;", "b32", &["b64"], |v| u64::from(v[0].leading_zeros()));
    check("brev.b32 $d, $a;", "b32", &["b32"], |v| u64::from((v[0] as u32).reverse_bits()));
    check("brev.b64 $d, $a;", "b64", &["b64"], |v| v[0].reverse_bits());
}

#[test]
pub(super) fn shifts_stop_at_the_width() {
    for (bits, keep) in [(16, 0xffff), (32, 0xffff_ffff), (64, u64::MAX)] {
        let ty = format!("b{bits}");
        let ins = [ty.as_str(), "b32"];
        check(&format!("shl.b{bits} $d, $a, $b;"), &ty, &ins, |v| {
            if v[1] >= bits { 0 } else { v[0] << v[1] & keep }
        });
        check(
            &format!("shr.u{bits} $d, $a, $b;"),
            &ty,
            &ins,
            |v| if v[1] >= bits { 0 } else { v[0] >> v[1] },
        );
        check(&format!("shr.s{bits} $d, $a, $b;"), &ty, &ins, |v| {
            let wide = ((v[0] << (64 - bits)) as i64 >> (64 - bits)) >> v[1].min(63);
            wide as u64 & keep
        });
    }
    for (mode, most) in [("wrap", 31), ("clamp", 32)] {
        let by = move |c: u64| if most == 31 { c & 31 } else { c.min(32) };
        check(&format!("shf.l.{mode}.b32 $d, $a, $b, $c;"), "b32", &["b32"; 3], |v| {
            let all = u128::from(v[1]) << 32 | u128::from(v[0]);
            (all << by(v[2]) >> 32) as u64 & 0xffff_ffff
        });
        check(&format!("shf.r.{mode}.b32 $d, $a, $b, $c;"), "b32", &["b32"; 3], |v| {
            let all = u128::from(v[1]) << 32 | u128::from(v[0]);
            (all >> by(v[2])) as u64 & 0xffff_ffff
        });
    }
}

/// The loop over bits that the description of PTX gives.
fn extracted(a: u64, start: u64, length: u64, bits: u64, signed: bool) -> u64 {
    let (start, length, top) = (start & 255, length & 255, bits - 1);
    let bit = |n: u64| a >> n & 1;
    let sign = if signed && length > 0 { bit((start + length - 1).min(top)) } else { 0 };
    (0..bits).fold(0, |d, i| d | (if i < length && start + i <= top { bit(start + i) } else { sign }) << i)
}

#[test]
pub(super) fn fields_of_bits() {
    for bits in [32, 64] {
        let ty = format!("b{bits}");
        for (letter, signed) in [("u", false), ("s", true)] {
            check(&format!("bfe.{letter}{bits} $d, $a, $b, $c;"), &ty, &[&ty, "b32", "b32"], |v| {
                extracted(v[0], v[1], v[2], bits, signed)
            });
        }
        for (start, length) in [(0, 0), (0, bits), (3, 5), (bits - 1, 9), (bits, 4), (7, 255)] {
            check(&format!("bfi.b{bits} $d, $a, $b, {start}, {length};"), &ty, &[&ty, &ty], |v| {
                let inside = |n: u64| n >= start && n - start < length;
                (0..bits).fold(0, |d, n| {
                    d | (if inside(n) { v[0] >> (n - start) & 1 } else { v[1] >> n & 1 }) << n
                })
            });
        }
    }
    check("prmt.b32 $d, $a, $b, $c;", "b32", &["b32"; 3], |v| {
        let byte = |n: u64| (if n < 4 { v[0] >> (8 * n) } else { v[1] >> (8 * (n - 4)) }) & 255;
        (0..4).fold(0, |d, n| {
            let selector = v[2] >> (4 * n) & 15;
            let plain = byte(selector & 7);
            d | (if selector < 8 { plain } else { 255 * (plain >> 7) }) << (8 * n)
        })
    });
    check("lop3.b32 $d, $a, $b, $c, 0x96;", "b32", &["b32"; 3], |v| v[0] ^ v[1] ^ v[2]);
    check("lop3.b32 $d, $a, $b, $c, 0xca;", "b32", &["b32"; 3], |v| v[0] & v[1] | !v[0] & v[2] & 0xffff_ffff);
}

#[test]
pub(super) fn comparisons_and_selections() {
    let answer = |line: &str| format!("{line}\nselp.b32 $d, 1, 0, %p1;");
    macro_rules! orders {
        ($($suffix:literal $ty:ident $bits:literal)*) => {$(
            for (name, of) in [
                ("eq", (|a, b| a == b) as fn($ty, $ty) -> bool),
                ("ne", |a, b| a != b),
                ("lt", |a, b| a < b),
                ("le", |a, b| a <= b),
                ("gt", |a, b| a > b),
                ("ge", |a, b| a >= b),
            ] {
                let line = answer(&format!("setp.{name}.{} %p1, $a, $b;", $suffix));
                check(&line, "b32", &[$bits; 2], |v| u64::from(of(v[0] as $ty, v[1] as $ty)));
            }
        )*};
    }
    orders! { "u16" u16 "b16" "s16" i16 "b16" "u32" u32 "b32" "s32" i32 "b32" "u64" u64 "b64" "s64" i64 "b64" }
    for (name, of) in [("lo", (|a, b| a < b) as fn(u64, u64) -> bool), ("hs", |a, b| a >= b)] {
        check(&answer(&format!("setp.{name}.u32 %p1, $a, $b;")), "b32", &["b32"; 2], |v| {
            u64::from(of(v[0], v[1]))
        });
    }
    let both = "setp.lt.u32 %p2, $b, $c;\nsetp.eq.and.u32 %p1|%p3, $a, $b, !%p2;\nselp.b32 %r1, 2, 0, %p3;";
    check(&format!("{both}\nselp.b32 $d, 1, 0, %p1;\nor.b32 $d, $d, %r1;"), "b32", &["b32"; 3], |v| {
        let (equal, not_less) = (v[0] == v[1], v[1] >= v[2]);
        u64::from(equal && not_less) | u64::from(!equal && not_less) << 1
    });
    let logic = "setp.lt.u32 %p2, $a, $b;\nsetp.lt.u32 %p3, $b, $c;\n";
    for (line, of) in [
        ("and.pred %p1, %p2, %p3;", (|a, b| a && b) as fn(bool, bool) -> bool),
        ("or.pred %p1, %p2, !%p3;", |a, b| a || !b),
        ("xor.pred %p1, %p2, %p3;", |a, b| a != b),
        ("not.pred %p1, %p2;", |a, _| !a),
        ("mov.pred %p1, %p3;", |_, b| b),
        ("mov.pred %p1, -1;", |_, _| true),
        ("mov.pred %p1, 0;", |_, _| false),
    ] {
        check(&answer(&format!("{logic}{line}")), "b32", &["b32"; 3], |v| {
            u64::from(of(v[0] < v[1], v[1] < v[2]))
        });
    }
    check("slct.b32.s32 $d, $a, $b, $c;", "b32", &["b32"; 3], |v| if v[2] >> 31 == 0 { v[0] } else { v[1] });
    check("slct.b64.f32 $d, $a, $b, $c;", "b64", &["b64", "b64", "f32"], |v| {
        if f32::from_bits(v[2] as u32) >= 0.0 { v[0] } else { v[1] }
    });
}

#[test]
pub(super) fn moves_and_packs() {
    check("mov.b64 $d, {$a, $b};", "b64", &["b32"; 2], |v| v[1] << 32 | v[0]);
    check("mov.b64 {%r1, $d}, $a;", "b32", &["b64"], |v| v[0] >> 32);
    check("mov.b64 {$d, _}, $a;", "b32", &["b64"], |v| v[0] & 0xffff_ffff);
    check("mov.b32 {%h1, $d}, $a;", "b16", &["b32"], |v| v[0] >> 16);
    check("{ .reg .b16 tmp; mov.b32 {tmp, $d}, $a; }", "b16", &["b32"], |v| v[0] >> 16);
    check("mov.b64 $d, {$a, $b, $c, $a};", "b64", &["b16"; 3], |v| {
        v[0] | v[1] << 16 | v[2] << 32 | v[0] << 48
    });
    check(
        "@%p1 mov.b32 $d, 7;\nmov.b32 $d, $a;\nsetp.lt.s32 %p1, $a, -5;\n@!%p1 mov.b32 $d, -1;",
        "b32",
        &["b32"],
        |v| {
            if (0x8000_0000..0xffff_fffb).contains(&v[0]) { v[0] } else { 0xffff_ffff }
        },
    );
}
