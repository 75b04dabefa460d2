//! Decoding of moves, packing, conversions of numbers and of addresses.
use super::Decoded;
use super::decode::{Name, exactly};
use super::names::Names;
use super::op::{Axis, Conversion, Int2, Op, Reg, Round, Space, Special, Src};
use super::types::Type;
use crate::exec::{LOCAL_WINDOW, SHARED_WINDOW};

/// None: not of this family.
pub(crate) fn decode(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Option<Decoded<Op>> {
    Some(match name.head {
        "mov" => mov(names, name, o),
        "cvt" => convert(names, name, o),
        "cvta" => convert_address(names, name, o),
        _ => return None,
    })
}

fn special(text: &str) -> Option<Special> {
    let (base, axis) = match text.rsplit_once('.') {
        Some((base, "x")) => (base, Axis::X),
        Some((base, "y")) => (base, Axis::Y),
        Some((base, "z")) => (base, Axis::Z),
        _ => (text, Axis::X),
    };
    Some(match base {
        "%tid" => Special::Thread(axis),
        "%ntid" => Special::Threads(axis),
        "%ctaid" => Special::Block(axis),
        "%nctaid" => Special::Blocks(axis),
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%lanemask_eq" => Special::LanesEqual,
        "%lanemask_lt" => Special::LanesBelow,
        "%lanemask_le" => Special::LanesUpTo,
        "%lanemask_gt" => Special::LanesAbove,
        "%lanemask_ge" => Special::LanesFrom,
        "%dynamic_smem_size" => Special::DynamicShared,
        _ => return None,
    })
}

/// The parts between braces.
fn parts(text: &str) -> Option<Vec<&str>> {
    Some(text.strip_prefix('{')?.strip_suffix('}')?.split(',').collect())
}

fn mov(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let ty = name.ty()?;
    let [to, from] = exactly(o)?;
    if ty == Type::Pred {
        let to = names.predicate_to(to)?;
        return Ok(match from {
            "0" => Op::SetPred { to, value: false },
            "1" | "-1" => Op::SetPred { to, value: true },
            _ => Op::MovePred { to, from: names.predicate(from)? },
        });
    }
    let bits = ty.bits();
    if let Some(list) = parts(from) {
        let each = bits / list.len() as u8;
        let from = list.iter().map(|p| names.source(p, each)).collect::<Decoded<_>>()?;
        return Ok(Op::Pack { to: names.register_of(to, bits)?, from, bits: each });
    }
    if let Some(list) = parts(to) {
        let each = bits / list.len() as u8;
        let one = |p: &&str| match *p {
            "_" => Ok(None),
            p => names.register_of(p, each).map(Some),
        };
        let to = list.iter().map(one).collect::<Decoded<_>>()?;
        return Ok(Op::Unpack { to, from: names.source(from, bits)?, bits: each });
    }
    let to = names.register_of(to, bits)?;
    if let Some(which) = special(from) {
        return if bits == 32 {
            Ok(Op::Special { to, which })
        } else {
            Err("a special register has 32 bits".into())
        };
    }
    if let Some(symbol) = names.symbols.get(from) {
        return if bits == 64 {
            Ok(Op::Move { to, from: Src::Value(symbol.address) })
        } else {
            Err("an address has 64 bits".into())
        };
    }
    Ok(Op::Move { to, from: names.source(from, bits)? })
}

fn convert(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let from = name.ty()?;
    for (pair, to_half) in [("f16x2", Type::Float(16)), ("bf16x2", Type::Bf16)] {
        if name.take(pair) {
            let [to, a, b] = exactly(o)?;
            if from != Type::Float(32) || !name.take("rn") {
                return Err("a pair is rounded to nearest from f32".to_owned());
            }
            let (a, b) = (names.source(a, 32)?, names.source(b, 32)?);
            return Ok(Op::ConvertPair { to_half, to: names.register_of(to, 32)?, a, b });
        }
    }
    let to_ty = name.ty()?;
    let flags = name.flags();
    let round = name.take_as(|m| match m {
        "rn" => Some(Round::Nearest),
        "rni" => Some(Round::WholeNearest),
        "rzi" => Some(Round::WholeZero),
        "rmi" => Some(Round::WholeDown),
        "rpi" => Some(Round::WholeUp),
        _ => None,
    });
    let real = |ty: Type| matches!(ty, Type::Float(_) | Type::Bf16);
    let whole = !matches!(round, None | Some(Round::Nearest));
    let narrower = real(from) && real(to_ty) && (to_ty.bits() < from.bits());
    let fits = match (real(from), real(to_ty)) {
        (true, false) => whole,
        (true, true) if to_ty == from => whole || round.is_none(),
        (of_real, true) if narrower || !of_real => round == Some(Round::Nearest),
        _ => round.is_none(),
    };
    if !fits || from == Type::Pred || to_ty == Type::Pred {
        return Err("this rounding does not go with these types".to_owned());
    }
    let how = Conversion { to: to_ty, from, round: round.unwrap_or(Round::Nearest), flags };
    let [to, a] = exactly(o)?;
    let wide = |ty: Type| {
        if real(ty) { names.register_of(to, ty.bits()) } else { names.register_from(to, ty.bits()) }
    };
    Ok(Op::Convert { how, to: wide(to_ty)?, a: names.source_from(a, from.bits())? })
}

fn convert_address(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let to_space = name.take("to");
    if name.ty()? != Type::Unsigned(64) {
        return Err("an address is of u64".to_owned());
    }
    let window = name.take_as(|m| match m {
        "global" | "const" => Some(0),
        "shared" => Some(SHARED_WINDOW),
        "local" => Some(LOCAL_WINDOW),
        _ => None,
    });
    let window = window.ok_or("an unknown space")?;
    let [to, a] = exactly(o)?;
    let to: Reg = names.register_of(to, 64)?;
    let a = match names.symbols.get(a) {
        Some(symbol) => Src::Value(symbol.address),
        None => names.source(a, 64)?,
    };
    let op = if to_space { Int2::Sub } else { Int2::Add };
    Ok(match window {
        0 => Op::Move { to, from: a },
        _ => Op::Int2 { op, ty: Type::Unsigned(64), to, a, b: Src::Value(window) },
    })
}

/// The space that a modifier names; constants lie in global memory.
pub(crate) fn space(text: &str) -> Option<Space> {
    Some(match text {
        "global" | "const" => Space::Global,
        "shared" => Space::Shared,
        "local" => Space::Local,
        "param" => Space::Param,
        _ => return None,
    })
}
