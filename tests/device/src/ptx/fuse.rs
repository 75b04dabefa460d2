//! Products and sums that a device's compiler may fuse.
//!
//! PTX allows it where neither names its rounding, and compilers do it: a sum whose product stands before it in the
//! same stretch of code becomes one operation with one rounding. Which of them do is drawn from the seed when the
//! kernel runs, so that nothing can rest on either.
use super::op::{Float2, Instruction, Op, Reg, Src, Sync, VoteTarget};
use std::collections::{HashMap, HashSet};

/// Marks the sums of `code` that may be fused.
pub(super) fn mark(code: &mut [Instruction]) {
    let targets: HashSet<usize> = code.iter().flat_map(|i| targets(&i.op)).collect();
    let mut products: HashMap<u32, (Src, Src)> = HashMap::new();
    for (at, instruction) in code.iter_mut().enumerate() {
        if targets.contains(&at) {
            products.clear();
        }
        if let Some(fused) = fused(&instruction.op, at as u32, &products) {
            instruction.op = fused;
        }
        for gone in written(&instruction.op) {
            let is = |s: &Src| matches!(s, Src::Reg(r) if r.at == gone.at);
            products.retain(|to, (a, b)| *to != gone.at && !is(a) && !is(b));
        }
        match &instruction.op {
            Op::Float2 { op: Float2::Mul, flags, to, a, b, .. }
                if flags.free && instruction.guard.is_none() =>
            {
                let is_factor = [a, b].contains(&&Src::Reg(*to));
                if !is_factor {
                    products.insert(to.at, (*a, *b));
                }
            }
            Op::Branch { .. } | Op::BranchTable { .. } => products.clear(),
            _ => {}
        }
    }
}

/// The sum `op`, with what its product is of.
fn fused(op: &Op, place: u32, products: &HashMap<u32, (Src, Src)>) -> Option<Op> {
    let Op::Float2 { op: sum @ (Float2::Add | Float2::Sub), bits, flags, to, a, b } = *op else {
        return None;
    };
    let product = |s: Src| match s {
        Src::Reg(r) => products.get(&r.at).copied(),
        Src::Value(_) => None,
    };
    let (factors, second) = match (product(a), product(b)) {
        (Some(factors), _) => (factors, false),
        (None, Some(factors)) => (factors, true),
        (None, None) => return None,
    };
    flags.free.then_some(Op::MayFuse { op: sum, bits, flags, to, a, b, factors, second, place })
}

fn targets(op: &Op) -> Vec<usize> {
    match op {
        Op::Branch { target } => vec![*target as usize],
        Op::BranchTable { targets, .. } => targets.iter().map(|t| *t as usize).collect(),
        _ => Vec::new(),
    }
}

/// Registers that an instruction writes.
fn written(op: &Op) -> Vec<Reg> {
    match op {
        Op::Move { to, .. }
        | Op::Special { to, .. }
        | Op::Pack { to, .. }
        | Op::Int1 { to, .. }
        | Op::Int2 { to, .. }
        | Op::Int3 { to, .. }
        | Op::InsertBits { to, .. }
        | Op::Float1 { to, .. }
        | Op::Float2 { to, .. }
        | Op::MayFuse { to, .. }
        | Op::FusedMultiplyAdd { to, .. }
        | Op::Approx { to, .. }
        | Op::DivApprox { to, .. }
        | Op::Convert { to, .. }
        | Op::ConvertPair { to, .. }
        | Op::Select { to, .. }
        | Op::SelectBySign { to, .. }
        | Op::ActiveMask { to }
        | Op::Sync { what: Sync::Shuffle { to, .. } | Sync::Vote { to: VoteTarget::Reg(to), .. }, .. } => {
            vec![*to]
        }
        Op::Unpack { to, .. } => to.iter().flatten().copied().collect(),
        Op::Load { to, .. } => to.clone(),
        Op::Atomic { to, .. } => to.iter().copied().collect(),
        Op::Compare { .. }
        | Op::Logic { .. }
        | Op::MovePred { .. }
        | Op::SetPred { .. }
        | Op::Store { .. }
        | Op::Branch { .. }
        | Op::BranchTable { .. }
        | Op::Exit
        | Op::Trap
        | Op::Barrier { .. }
        | Op::Sync { .. }
        | Op::Fence => Vec::new(),
    }
}
