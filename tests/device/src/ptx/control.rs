//! Decoding of branches, ends, barriers and the exchange between the lanes of a warp.
use super::Decoded;
use super::decode::{Name, exactly};
use super::names::Names;
use super::op::{Op, ShuffleMode, Src, Sync, VoteMode, VoteTarget};
use super::types::Type;

/// None: not of this family.
pub(crate) fn decode(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Option<Decoded<Op>> {
    Some(match name.head {
        "bra" => branch(names, name, o),
        "brx" => branch_table(names, name, o),
        "ret" => {
            name.take("uni");
            exactly::<0>(o).map(|_| Op::Exit)
        }
        "exit" => exactly::<0>(o).map(|_| Op::Exit),
        "trap" => exactly::<0>(o).map(|_| Op::Trap),
        "bar" | "barrier" => barrier(names, name, o),
        "shfl" => shuffle(names, name, o),
        "vote" => vote(names, name, o),
        "activemask" => active(names, name, o),
        _ => return None,
    })
}

fn branch(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    name.take("uni");
    let [label] = exactly(o)?;
    Ok(Op::Branch { target: names.label(label)? })
}

fn branch_table(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    name.take("uni");
    if !name.take("idx") {
        return Err("only a branch by index is known".to_owned());
    }
    let [index, table] = exactly(o)?;
    let list = names.tables.get(table).ok_or_else(|| format!("{table} is no table of labels"))?;
    let targets = list.iter().map(|l| names.label(l)).collect::<Decoded<_>>()?;
    Ok(Op::BranchTable { targets, index: names.source(index, 32)? })
}

fn barrier(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    name.take("cta");
    name.take("aligned");
    if name.take("warp") {
        let [mask] = exactly(o)?;
        return if name.take("sync") {
            Ok(Op::Sync { mask: names.source(mask, 32)?, what: Sync::Barrier })
        } else {
            Err("an unknown barrier".to_owned())
        };
    }
    let [id] = exactly(o)?;
    match names.source(id, 32)? {
        Src::Value(id @ 0..16) if name.take("sync") => Ok(Op::Barrier { id: id as u32 }),
        _ => Err("only bar.sync of all threads with a number below 16 is known".to_owned()),
    }
}

fn shuffle(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let mode = name.take_as(|m| match m {
        "up" => Some(ShuffleMode::Up),
        "down" => Some(ShuffleMode::Down),
        "bfly" => Some(ShuffleMode::Butterfly),
        "idx" => Some(ShuffleMode::Index),
        _ => None,
    });
    let mode = mode.ok_or("an unknown shuffle")?;
    if !name.take("sync") || name.ty()? != Type::Bits(32) {
        return Err("only shfl.sync of b32 is known".to_owned());
    }
    let [to, from, lane, clamp, mask] = exactly(o)?;
    let (to, valid) = match to.split_once('|') {
        Some((to, valid)) => (to, Some(names.predicate_to(valid)?)),
        None => (to, None),
    };
    let what = Sync::Shuffle {
        mode,
        to: names.register_of(to, 32)?,
        valid,
        from: names.source(from, 32)?,
        lane: names.source(lane, 32)?,
        clamp: names.source(clamp, 32)?,
    };
    Ok(Op::Sync { mask: names.source(mask, 32)?, what })
}

fn vote(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let mode = name.take_as(|m| match m {
        "any" => Some(VoteMode::Any),
        "all" => Some(VoteMode::All),
        "uni" => Some(VoteMode::Uniform),
        "ballot" => Some(VoteMode::Ballot),
        _ => None,
    });
    let mode = mode.ok_or("an unknown vote")?;
    let wanted = if mode == VoteMode::Ballot { Type::Bits(32) } else { Type::Pred };
    if !name.take("sync") || name.ty()? != wanted {
        return Err("an unknown vote".to_owned());
    }
    let [to, from, mask] = exactly(o)?;
    let to = match mode {
        VoteMode::Ballot => VoteTarget::Reg(names.register_of(to, 32)?),
        _ => VoteTarget::Pred(names.predicate_to(to)?),
    };
    let what = Sync::Vote { mode, to, from: names.predicate(from)? };
    Ok(Op::Sync { mask: names.source(mask, 32)?, what })
}

fn active(names: &Names, name: &mut Name<'_>, o: &[&str]) -> Decoded<Op> {
    let [to] = exactly(o)?;
    match name.ty()? {
        Type::Bits(32) => Ok(Op::ActiveMask { to: names.register_of(to, 32)? }),
        _ => Err("the active mask is of b32".to_owned()),
    }
}
