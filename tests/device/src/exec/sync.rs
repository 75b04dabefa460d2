//! Instructions of a warp that wait for the lanes they name: exchanges, votes, barriers of the warp.
use super::access::lanes;
use super::violation::{Violation, Wrong};
use super::warp::Warp;
use crate::ptx::op::{ShuffleMode, Src, Sync, VoteMode, VoteTarget};

impl Warp {
    /// `mask` reaches the instruction at `at`: parks them, and goes on with each set of lanes that is complete.
    pub(super) fn meet(&mut self, at: u32, mask: u32, named: Src, what: Sync) -> Result<(), Violation> {
        self.parked |= mask;
        let row = self.row(named);
        for lane in lanes(mask) {
            let named = row[lane as usize] as u32;
            if named >> lane & 1 == 0 {
                let what = format!("the lane is not among those that it names, {named:#010x}");
                return Err(Violation::new(Wrong::Divergence, lane, what));
            }
        }
        let here = lanes(self.parked).filter(|n| self.at[*n as usize] == at).fold(0, |m, n| m | 1 << n);
        let mut left = mask;
        while left != 0 {
            let named = row[left.trailing_zeros() as usize] as u32;
            let same = lanes(here).filter(|n| row[*n as usize] as u32 == named).fold(0, |m, n| m | 1 << n);
            left &= !same;
            if same == named {
                self.perform(named, what)?;
                self.parked &= !named;
                self.move_to(named, at + 1);
            }
        }
        Ok(())
    }

    fn perform(&mut self, mask: u32, what: Sync) -> Result<(), Violation> {
        match what {
            Sync::Barrier => {
                if mask == self.members {
                    self.barriers += 1;
                }
            }
            Sync::Vote { mode, to, from } => {
                let votes = self.predicate(from) & mask;
                let holds = match mode {
                    VoteMode::Any => votes != 0,
                    VoteMode::All => votes == mask,
                    VoteMode::Uniform | VoteMode::Ballot => votes == 0 || votes == mask,
                };
                match to {
                    VoteTarget::Reg(to) => self.write(to, mask, &[u64::from(votes); 32]),
                    VoteTarget::Pred(to) => self.write_predicate(to, mask, if holds { u32::MAX } else { 0 }),
                }
            }
            Sync::Shuffle { mode, to, valid, from, lane, clamp } => {
                let (values, by, clamp) = (self.row(from), self.row(lane), self.row(clamp));
                let (mut out, mut within) = ([0; 32], 0);
                for me in lanes(mask) {
                    let at = me as usize;
                    let (source, inside) = source(mode, me, by[at] as u32, clamp[at] as u32);
                    if mask >> source & 1 == 0 {
                        let what =
                            format!("reads lane {source}, which is not among those named, {mask:#010x}");
                        return Err(Violation::new(Wrong::Divergence, me, what));
                    }
                    out[at] = values[source as usize];
                    within |= u32::from(inside) << me;
                }
                self.write(to, mask, &out);
                if let Some(valid) = valid {
                    self.write_predicate(valid, mask, within);
                }
            }
        }
        Ok(())
    }
}

/// The lane that is read, and whether it lies within the segment; else it is the lane itself.
fn source(mode: ShuffleMode, me: u32, by: u32, clamp: u32) -> (u32, bool) {
    let (by, clamp, segment) = (by & 31, clamp & 31, clamp >> 8 & 31);
    let (low, high) = (me & segment, me & segment | clamp & !segment);
    let (wanted, inside) = match mode {
        ShuffleMode::Up => (me.wrapping_sub(by), me >= by + high),
        ShuffleMode::Down => (me + by, me + by <= high),
        ShuffleMode::Butterfly => (me ^ by, (me ^ by) <= high),
        ShuffleMode::Index => (low | by & !segment, (low | by & !segment) <= high),
    };
    if inside { (wanted & 31, true) } else { (me, false) }
}
