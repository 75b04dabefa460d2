//! Decoding of loads, stores, atomics and fences.
use super::Decoded;
use super::decode::{Name, exactly};
use super::moves::space;
use super::names::Names;
use super::op::{Access, AtomicOp, Op, Space, Src};
use super::types::Type;

/// None: not of this family.
pub(crate) fn decode(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Option<Decoded<Op>> {
    Some(match name.head {
        "ld" => load(names, name, o),
        "st" => store(names, name, o),
        "atom" => atomic(names, name, o, true),
        "red" => atomic(names, name, o, false),
        "membar" | "fence" => fence(name, o),
        _ => return None,
    })
}

/// Order and scope, which one thread at a time makes true, and hints to caches.
const OF_NO_EFFECT: [&str; 27] = [
    "volatile",
    "weak",
    "relaxed",
    "acquire",
    "release",
    "acq_rel",
    "sc",
    "cta",
    "gpu",
    "gl",
    "sys",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "mmio",
];

fn drop_hints(name: &mut Name<'_>) {
    while name.take_as(|m| OF_NO_EFFECT.contains(&m).then_some(())).is_some() {}
}

/// The registers of a vector, or the one.
fn vector<'a>(name: &mut Name<'_>, text: &'a str) -> Decoded<Vec<&'a str>> {
    let count = match (name.take("v2"), name.take("v4")) {
        (true, false) => 2,
        (false, true) => 4,
        _ => 1,
    };
    let list: Vec<&str> = match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        Some(inner) => inner.split(',').collect(),
        None => vec![text],
    };
    if list.len() == count { Ok(list) } else { Err(format!("{count} elements are expected")) }
}

fn access(names: &Names, name: &mut Name<'_>, address: &str) -> Decoded<Access> {
    let ty = name.ty()?;
    let non_coherent = name.take("nc");
    drop_hints(name);
    let space = name.take_as(space).unwrap_or(Space::Generic);
    if ty.bits() < 8 || (non_coherent && space != Space::Global) {
        return Err("no such access".to_owned());
    }
    Ok(Access { address: names.address(address, space)?, ty, non_coherent })
}

fn load(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let [to, address] = exactly(o)?;
    let list = vector(name, to)?;
    let access = access(names, name, address)?;
    wide_enough(access.ty, list.len())?;
    let to = list.iter().map(|r| names.register_from(r, access.ty.bits())).collect::<Decoded<_>>()?;
    Ok(Op::Load { access, to })
}

fn store(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let [address, from] = exactly(o)?;
    let list = vector(name, from)?;
    let access = access(names, name, address)?;
    wide_enough(access.ty, list.len())?;
    if access.address.space == Space::Param || access.non_coherent {
        return Err("this memory is not written".to_owned());
    }
    let from = list.iter().map(|r| names.source_from(r, access.ty.bits())).collect::<Decoded<_>>()?;
    Ok(Op::Store { access, from })
}

fn wide_enough(ty: Type, elements: usize) -> Decoded<()> {
    if ty.bytes() * elements <= 16 { Ok(()) } else { Err("an access has 16 bytes at most".to_owned()) }
}

/// Integers only: sums of floating-point numbers by atomics have no order.
fn atomic(names: &Names, name: &mut Name<'_>, o: &[&str], result: bool) -> Decoded<Op> {
    let ty = name.ty()?;
    drop_hints(name);
    let space = name.take_as(space).unwrap_or(Space::Generic);
    let op = name.take_as(|m| {
        Some(match m {
            "add" => AtomicOp::Add,
            "inc" => AtomicOp::Inc,
            "dec" => AtomicOp::Dec,
            "exch" => AtomicOp::Exchange,
            "cas" => AtomicOp::CompareSwap,
            "min" => AtomicOp::Min,
            "max" => AtomicOp::Max,
            "and" => AtomicOp::And,
            "or" => AtomicOp::Or,
            "xor" => AtomicOp::Xor,
            _ => return None,
        })
    });
    let op = op.ok_or("an unknown atomic operation")?;
    if !ty.is_integer() || ty.bits() < 32 || !matches!(space, Space::Generic | Space::Global | Space::Shared)
    {
        return Err(
            "an atomic operation is of 32 or 64 bits of an integer in global or shared memory".to_owned()
        );
    }
    let bits = ty.bits();
    let (to, rest) = match (result, o) {
        (true, [to, rest @ ..]) => (Some(names.register_of(to, bits)?), rest),
        (_, rest) => (None, rest),
    };
    let (address, b, c) = match (op, rest) {
        (AtomicOp::CompareSwap, [address, b, c]) => (address, names.source(b, bits)?, names.source(c, bits)?),
        (AtomicOp::CompareSwap, _) => return Err("two values are expected".to_owned()),
        (_, [address, b]) => (address, names.source(b, bits)?, Src::Value(0)),
        _ => return Err("one value is expected".to_owned()),
    };
    Ok(Op::Atomic { op, ty, address: names.address(address, space)?, to, b, c })
}

fn fence(name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    exactly::<0>(o)?;
    drop_hints(name);
    Ok(Op::Fence)
}
