//! Decoding of integer and floating-point arithmetic, comparisons and selections.
use super::Decoded;
use super::decode::{Name, exactly};
use super::names::Names;
use super::op::{Approx, Float1, Float2, Int1, Int2, Int3, Logic, Op, Order, Src, Test};
use super::types::Type;

/// None: not of this family.
pub(crate) fn decode(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Option<Decoded<Op>> {
    Some(match name.head {
        "add" => two(names, name, o, Some(Int2::Add), Some(Float2::Add)),
        "sub" => two(names, name, o, Some(Int2::Sub), Some(Float2::Sub)),
        "mul" => mul(names, name, o),
        "div" => div(names, name, o),
        "rem" => two(names, name, o, Some(Int2::Rem), None),
        "min" => extreme(names, name, o, Int2::Min, [Float2::Min, Float2::MinNan]),
        "max" => extreme(names, name, o, Int2::Max, [Float2::Max, Float2::MaxNan]),
        "copysign" => two(names, name, o, None, Some(Float2::CopySign)),
        "and" => logic(names, name, o, Logic::And, Int2::And),
        "or" => logic(names, name, o, Logic::Or, Int2::Or),
        "xor" => logic(names, name, o, Logic::Xor, Int2::Xor),
        "shl" => shift(names, name, o, Int2::ShiftLeft),
        "shr" => shift(names, name, o, Int2::ShiftRight),
        "shf" => funnel(names, name, o),
        "mad" => mad(names, name, o),
        "fma" => fma(names, name, o),
        "bfe" => extract(names, name, o),
        "bfi" => insert(names, name, o),
        "prmt" => permute(names, name, o),
        "lop3" => lut(names, name, o),
        "not" => not(names, name, o),
        "neg" => one(names, name, o, Int1::Negate, Float1::Negate),
        "abs" => one(names, name, o, Int1::Abs, Float1::Abs),
        "popc" => count(names, name, o, Int1::Count),
        "clz" => count(names, name, o, Int1::LeadingZeros),
        "brev" => int1(names, name, o, Int1::Reverse),
        "ex2" => approx(names, name, o, Approx::Exp2),
        "lg2" => approx(names, name, o, Approx::Log2),
        "tanh" => approx(names, name, o, Approx::Tanh),
        "rsqrt" => approx(names, name, o, Approx::ReciprocalSqrt),
        "rcp" => root(names, name, o, Float1::Reciprocal, Approx::Reciprocal),
        "sqrt" => root(names, name, o, Float1::Sqrt, Approx::Sqrt),
        "setp" => compare(names, name, o),
        "selp" => select(names, name, o),
        "slct" => select_by_sign(names, name, o),
        _ => return None,
    })
}

/// f32 and f64; arithmetic in half is refused.
fn float(ty: Type) -> Decoded<u8> {
    match ty {
        Type::Float(bits @ (32 | 64)) => Ok(bits),
        _ => Err("arithmetic of this type is not known".to_owned()),
    }
}

fn integer(ty: Type) -> Decoded<u8> {
    match ty {
        Type::Bits(8) | Type::Unsigned(8) | Type::Signed(8) => Err("no arithmetic in 8 bits".to_owned()),
        ty if ty.is_integer() => Ok(ty.bits()),
        _ => Err("an integer type is expected".to_owned()),
    }
}

fn two(
    names: &Names,
    name: &mut Name<'_>,
    o: &[&str],
    int: Option<Int2>,
    real: Option<Float2>,
) -> Decoded<Op> {
    let ty = name.ty()?;
    let [to, a, b] = exactly(o)?;
    let bits = ty.bits();
    let (to, a, b) = (names.register_of(to, bits)?, names.source(a, bits)?, names.source(b, bits)?);
    if let (true, Some(op)) = (ty.is_integer(), int) {
        integer(ty)?;
        return Ok(Op::Int2 { op, ty, to, a, b });
    }
    let op = real.ok_or("an integer type is expected")?;
    let bits = float(ty)?;
    let rounding = name.take("rn");
    let mut flags = name.flags();
    flags.free = !rounding && !flags.sat;
    Ok(Op::Float2 { op, bits, flags, to, a, b })
}

fn extreme(names: &Names, name: &mut Name<'_>, o: &[&str], int: Int2, real: [Float2; 2]) -> Decoded<Op> {
    let nan = name.take("NaN");
    two(names, name, o, Some(int), Some(real[usize::from(nan)]))
}

fn mul(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    if name.take("wide") {
        let ty = name.ty()?;
        let bits = integer(ty)?;
        let [to, a, b] = exactly(o)?;
        let wide = bits.checked_mul(2).filter(|w| *w <= 64).ok_or("too wide")?;
        let (a, b) = (names.source(a, bits)?, names.source(b, bits)?);
        return Ok(Op::Int2 { op: Int2::MulWide, ty, to: names.register_of(to, wide)?, a, b });
    }
    let (low, high) = (name.take("lo"), name.take("hi"));
    let int = if high { Int2::MulHigh } else { Int2::MulLow };
    two(names, name, o, (low || high).then_some(int), (!low && !high).then_some(Float2::Mul))
}

fn div(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    if name.take("approx") || name.take("full") {
        let flags = name.flags();
        if name.ty()? != Type::Float(32) {
            return Err("an approximate quotient is of f32".to_owned());
        }
        let [to, a, b] = exactly(o)?;
        let (a, b) = (names.source(a, 32)?, names.source(b, 32)?);
        return Ok(Op::DivApprox { flags, to: names.register_of(to, 32)?, a, b });
    }
    two(names, name, o, Some(Int2::Div), Some(Float2::Div))
}

fn logic(names: &Names, name: &mut Name<'_>, o: &[&str], op: Logic, int: Int2) -> Decoded<Op> {
    if name.take("pred") {
        let [to, a, b] = exactly(o)?;
        return Ok(Op::Logic {
            op,
            to: names.predicate_to(to)?,
            a: names.predicate(a)?,
            b: names.predicate(b)?,
        });
    }
    two(names, name, o, Some(int), None)
}

fn not(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    if name.take("pred") {
        let [to, a] = exactly(o)?;
        let mut from = names.predicate(a)?;
        from.negated = !from.negated;
        return Ok(Op::MovePred { to: names.predicate_to(to)?, from });
    }
    int1(names, name, o, Int1::Not)
}

fn shift(names: &Names, name: &mut Name<'_>, o: &[&str], op: Int2) -> Decoded<Op> {
    let ty = name.ty()?;
    let bits = integer(ty)?;
    let [to, a, b] = exactly(o)?;
    let (to, a, b) = (names.register_of(to, bits)?, names.source(a, bits)?, names.source(b, 32)?);
    Ok(Op::Int2 { op, ty, to, a, b })
}

fn three(names: &Names, o: &[&str], ty: Type, op: Int3, widths: [u8; 4]) -> Decoded<Op> {
    let [to, a, b, c] = exactly(o)?;
    Ok(Op::Int3 {
        op,
        ty,
        to: names.register_of(to, widths[0])?,
        a: names.source(a, widths[1])?,
        b: names.source(b, widths[2])?,
        c: names.source(c, widths[3])?,
    })
}

fn funnel(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let (left, right) = (name.take("l"), name.take("r"));
    let (wrap, clamp) = (name.take("wrap"), name.take("clamp"));
    if left == right || wrap == clamp {
        return Err("a funnel shift has a direction and a mode".to_owned());
    }
    let op = if left { Int3::FunnelLeft { wrap } } else { Int3::FunnelRight { wrap } };
    let ty = name.ty()?;
    if ty != Type::Bits(32) {
        return Err("a funnel shift is of b32".to_owned());
    }
    three(names, o, ty, op, [32; 4])
}

fn mad(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let (low, high, wide) = (name.take("lo"), name.take("hi"), name.take("wide"));
    let ty = name.ty()?;
    let bits = integer(ty)?;
    match (low, high, wide) {
        (true, false, false) => three(names, o, ty, Int3::MadLow, [bits; 4]),
        (false, true, false) => three(names, o, ty, Int3::MadHigh, [bits; 4]),
        (false, false, true) if bits <= 32 => {
            three(names, o, ty, Int3::MadWide, [2 * bits, bits, bits, 2 * bits])
        }
        _ => Err("one of lo, hi and wide is expected".to_owned()),
    }
}

fn fma(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    if !name.take("rn") {
        return Err("only rounding to nearest is known".to_owned());
    }
    let flags = name.flags();
    let bits = float(name.ty()?)?;
    let [to, a, b, c] = exactly(o)?;
    let (a, b, c) = (names.source(a, bits)?, names.source(b, bits)?, names.source(c, bits)?);
    Ok(Op::FusedMultiplyAdd { bits, flags, to: names.register_of(to, bits)?, a, b, c })
}

fn extract(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let ty = name.ty()?;
    let bits = integer(ty)?;
    if bits == 16 {
        return Err("bit fields have 32 or 64 bits".to_owned());
    }
    three(names, o, ty, Int3::ExtractBits, [bits, bits, 32, 32])
}

fn insert(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let Type::Bits(bits @ (32 | 64)) = name.ty()? else {
        return Err("bit fields have 32 or 64 bits".to_owned());
    };
    let [to, a, b, start, length] = exactly(o)?;
    Ok(Op::InsertBits {
        bits,
        to: names.register_of(to, bits)?,
        a: names.source(a, bits)?,
        b: names.source(b, bits)?,
        start: names.source(start, 32)?,
        length: names.source(length, 32)?,
    })
}

fn permute(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    match name.ty()? {
        ty @ Type::Bits(32) => three(names, o, ty, Int3::Permute, [32; 4]),
        _ => Err("a permutation is of b32".to_owned()),
    }
}

fn lut(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let ty = name.ty()?;
    let Some((Src::Value(table), rest)) = o
        .split_last()
        .map(|(last, rest)| (names.source(last, 8), rest))
        .and_then(|(t, r)| t.ok().map(|t| (t, r)))
    else {
        return Err("the table is a number".to_owned());
    };
    if ty != Type::Bits(32) {
        return Err("a table is of b32".to_owned());
    }
    three(names, rest, ty, Int3::Lut(table as u8), [32; 4])
}

fn int1(names: &Names, name: &mut Name<'_>, o: &[&str], op: Int1) -> Decoded<Op> {
    let ty = name.ty()?;
    let bits = integer(ty)?;
    let [to, a] = exactly(o)?;
    Ok(Op::Int1 { op, ty, to: names.register_of(to, bits)?, a: names.source(a, bits)? })
}

/// A count of bits has 32 bits, whatever it counts in.
fn count(names: &Names, name: &mut Name<'_>, o: &[&str], op: Int1) -> Decoded<Op> {
    let ty = name.ty()?;
    let bits = integer(ty)?;
    let [to, a] = exactly(o)?;
    Ok(Op::Int1 { op, ty, to: names.register_of(to, 32)?, a: names.source(a, bits)? })
}

fn one(names: &Names, name: &mut Name<'_>, o: &[&str], int: Int1, real: Float1) -> Decoded<Op> {
    let ty = name.ty()?;
    let bits = ty.bits();
    let [to, a] = exactly(o)?;
    let (to, a) = (names.register_of(to, bits)?, names.source(a, bits)?);
    if ty.is_integer() {
        integer(ty)?;
        return Ok(Op::Int1 { op: int, ty, to, a });
    }
    Ok(Op::Float1 { op: real, bits: float(ty)?, flags: name.flags(), to, a })
}

fn approx(names: &Names, name: &mut Name<'_>, o: &[&str], op: Approx) -> Decoded<Op> {
    let flags = name.flags();
    if !name.take("approx") || name.ty()? != Type::Float(32) {
        return Err("only the approximation of f32 is known".to_owned());
    }
    let [to, a] = exactly(o)?;
    Ok(Op::Approx { op, flags, to: names.register_of(to, 32)?, a: names.source(a, 32)? })
}

fn root(names: &Names, name: &mut Name<'_>, o: &[&str], exact: Float1, near: Approx) -> Decoded<Op> {
    if !name.take("rn") {
        return approx(names, name, o, near);
    }
    let flags = name.flags();
    let bits = float(name.ty()?)?;
    let [to, a] = exactly(o)?;
    Ok(Op::Float1 { op: exact, bits, flags, to: names.register_of(to, bits)?, a: names.source(a, bits)? })
}

/// `ty` decides whether the comparison is one of numbers that may be NaN, and the letters of unsigned order.
fn test(text: &str, ty: Type) -> Option<Test> {
    let (order, unordered) = match (text, ty) {
        ("num", Type::Float(_)) => return Some(Test::BothNumbers),
        ("nan", Type::Float(_)) => return Some(Test::EitherNan),
        ("lo" | "ls" | "hi" | "hs", Type::Signed(_)) => return None,
        (_, Type::Float(_)) => match text.strip_suffix('u') {
            Some(order) => (order, true),
            // `ne` is false with a NaN: what IEEE calls not equal is `neu`.
            None => (text, false),
        },
        _ => (text, false),
    };
    let order = match order {
        "eq" => Order::Equal,
        "ne" => Order::NotEqual,
        "lt" | "lo" => Order::Less,
        "le" | "ls" => Order::LessEqual,
        "gt" | "hi" => Order::Greater,
        "ge" | "hs" => Order::GreaterEqual,
        _ => return None,
    };
    Some(Test::Order { order, unordered })
}

fn compare(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let ty = name.ty()?;
    // Halves are compared, which is exact, though never added.
    let bits = match ty {
        Type::Float(bits) => bits,
        ty => integer(ty)?,
    };
    let ftz = name.take("ftz");
    let with = name.take_as(|m| match m {
        "and" => Some(Logic::And),
        "or" => Some(Logic::Or),
        "xor" => Some(Logic::Xor),
        _ => None,
    });
    let test = name.take_as(|m| test(m, ty)).ok_or("an unknown comparison")?;
    let (to, a, b, with) = match with {
        None => {
            let [to, a, b] = exactly(o)?;
            (to, a, b, None)
        }
        Some(logic) => {
            let [to, a, b, c] = exactly(o)?;
            (to, a, b, Some((logic, names.predicate(c)?)))
        }
    };
    let (to, other) = match to.split_once('|') {
        Some((to, other)) => (to, Some(names.predicate_to(other)?)),
        None => (to, None),
    };
    let (a, b) = (names.source(a, bits)?, names.source(b, bits)?);
    Ok(Op::Compare { test, ty, ftz, to: names.predicate_to(to)?, other, with, a, b })
}

fn select(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let bits = name.ty()?.bits();
    let [to, a, b, by] = exactly(o)?;
    let (a, b) = (names.source(a, bits)?, names.source(b, bits)?);
    Ok(Op::Select { to: names.register_of(to, bits)?, a, b, by: names.predicate(by)? })
}

fn select_by_sign(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let sign = name.ty()?;
    let bits = name.ty()?.bits();
    if !matches!(sign, Type::Signed(32) | Type::Float(32)) {
        return Err("the sign is of s32 or f32".to_owned());
    }
    let [to, a, b, by] = exactly(o)?;
    Ok(Op::SelectBySign {
        ty: sign,
        ftz: name.take("ftz"),
        to: names.register_of(to, bits)?,
        a: names.source(a, bits)?,
        b: names.source(b, bits)?,
        by: names.source(by, 32)?,
    })
}
