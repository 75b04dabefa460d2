//! What was aimed at, and what was reached.

use super::tables::digits;
use super::{Figures, Isa, Times};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fmt::Write as _;

/// What a time is divided by.
#[derive(Clone, Copy)]
enum Over {
    Bound,
    Plain,
    /// Channel-wise distillation on the same map.
    Rows,
    /// The same on the widest instructions of the CPU.
    Widest,
}

/// A goal for a time, at most so many times something, by the students far, half and near.
struct Goal {
    what: &'static str,
    loss: &'static str,
    map: &'static str,
    dtype: &'static str,
    work: &'static str,
    threads: usize,
    over: Over,
    at_most: [f64; 3],
}

const fn goal(
    what: &'static str,
    map: &'static str,
    work: &'static str,
    over: Over,
    at_most: [f64; 3],
) -> Goal {
    Goal { what, loss: "cwd", map, dtype: "f32", work, threads: 1, over, at_most }
}

const LOSS: &str = "loss";
const GRADIENT: &str = "loss+gradient";

const GOALS: &[Goal] = &[
    goal("cwd out of cache / bound", "large", LOSS, Over::Bound, [1.05; 3]),
    Goal { threads: 2, ..goal("the same, 2 threads", "large", LOSS, Over::Bound, [1.10; 3]) },
    goal("cwd in cache / plain", "cached", LOSS, Over::Plain, [1.15, 1.25, 1.10]),
    goal("cwd out of cache / bound", "large", GRADIENT, Over::Bound, [1.5; 3]),
    Goal { threads: 2, ..goal("the same, 2 threads", "large", GRADIENT, Over::Bound, [1.3; 3]) },
    goal("cwd in cache / plain", "cached", GRADIENT, Over::Plain, [1.2; 3]),
    Goal { dtype: "f16", ..goal("cwd in f16 / plain", "large", LOSS, Over::Plain, [1.3; 3]) },
    Goal { dtype: "f16", ..goal("cwd in f16 / plain", "large", GRADIENT, Over::Plain, [1.2; 3]) },
    Goal { dtype: "bf16", ..goal("cwd in bf16 / plain", "large", LOSS, Over::Plain, [1.3; 3]) },
    Goal { dtype: "bf16", ..goal("cwd in bf16 / plain", "large", GRADIENT, Over::Plain, [1.2; 3]) },
    goal("rows of 1024 / plain", "rows1024", LOSS, Over::Plain, [1.3; 3]),
    goal("rows of 1024 / plain", "rows1024", GRADIENT, Over::Plain, [1.3; 3]),
    Goal { loss: "pi", ..goal("pi / cwd, out of cache", "large", LOSS, Over::Rows, [1.3; 3]) },
    Goal { loss: "pi", ..goal("pi / cwd, out of cache", "large", GRADIENT, Over::Rows, [1.3; 3]) },
    goal("AVX2 / AVX-512, in cache", "cached", LOSS, Over::Widest, [2.0; 3]),
    goal("AVX2 / AVX-512, in cache", "cached", GRADIENT, Over::Widest, [2.0; 3]),
];

impl Goal {
    fn reached(&self, figures: &Figures, student: &str) -> Option<f64> {
        let &Self { loss, map, dtype, work, threads, over, .. } = self;
        let find = |loss, isa| figures.find(threads, isa, [loss, map, dtype, student, work]);
        let median = |times: &Times| times.loss.median;
        let own = find(loss, Isa::Widest);
        match over {
            Over::Bound => own.map(|times| times.over_bound),
            Over::Plain => own.and_then(|times| times.over_plain),
            Over::Rows => Some(median(own?) / median(find("cwd", Isa::Widest)?)),
            Over::Widest => Some(median(find(loss, Isa::Avx2)?) / median(own?)),
        }
    }
}

/// A goal for how many times as long the fastest of some peers takes.
struct Lead {
    what: &'static str,
    loss: &'static str,
    shape: [usize; 4],
    work: &'static str,
    /// How the peers' names begin.
    peers: &'static str,
    at_least: f64,
}

const LOGITS: [usize; 4] = [8, 19, 128, 256];
const CACHED: [usize; 4] = [1, 19, 128, 256];
const SHORT: [usize; 4] = [2, 512, 7, 7];

const fn lead(
    what: &'static str,
    shape: [usize; 4],
    work: &'static str,
    peers: &'static str,
    at_least: f64,
) -> Lead {
    Lead { what, loss: "cwd", shape, work, peers, at_least }
}

const LEADS: &[Lead] = &[
    lead("torch.compile / cwd out of cache", LOGITS, LOSS, "compiled", 5.0),
    lead("eager PyTorch / cwd out of cache", LOGITS, LOSS, "eager", 11.0),
    lead("best peer / cwd in cache", CACHED, LOSS, "", 10.0),
    lead("best peer / cwd out of cache", LOGITS, GRADIENT, "", 6.0),
    lead("best peer / rows of 49", SHORT, LOSS, "", 10.0),
    lead("best peer / rows of 49", SHORT, GRADIENT, "", 12.0),
];

#[derive(Deserialize)]
struct Peers {
    rows: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    loss: String,
    shape: [usize; 4],
    student: String,
    work: String,
    threads: usize,
    #[serde(rename = "peer")]
    name: String,
    ratio: f64,
}

impl Lead {
    fn reached(&self, peers: &Peers, student: &str) -> Option<f64> {
        let of = |row: &&Peer| {
            let work = [&*row.loss, &*row.student, &*row.work] == [self.loss, student, self.work];
            work && row.shape == self.shape && row.threads == 1 && row.name.starts_with(self.peers)
        };
        peers.rows.iter().filter(of).map(|row| row.ratio).min_by(f64::total_cmp)
    }
}

const STUDENTS: [&str; 3] = ["far", "half", "near"];

/// All goals with what was reached, in bold where it was not.
pub(super) fn table(figures: &Figures, peers: Option<&str>) -> Result<String> {
    let mut text = String::from(
        "## Goals\n\nRatios of one run; in bold what misses its goal. The last lines are of the comparison with other \
         libraries: how many times as long the fastest of them takes.\n\n| what | work | goal | far | half | near |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for goal in GOALS {
        let [far, half, near] = goal.at_most;
        #[allow(clippy::float_cmp, reason = "written down as the same number or not")]
        let wanted = if far == half && half == near {
            format!("at most {far}")
        } else {
            format!("at most {far}, {half}, {near}")
        };
        let mut cells = Vec::new();
        for (student, at_most) in STUDENTS.into_iter().zip(goal.at_most) {
            cells.push(cell(goal.reached(figures, student), |x| x <= at_most));
        }
        writeln!(text, "| {} | {} | {wanted} | {} |", goal.what, goal.work, cells.join(" | "))?;
    }
    if let Some(peers) = peers {
        let peers: Peers = serde_json::from_str(peers).context(super::PEERS)?;
        for lead in LEADS {
            let reached = STUDENTS.map(|student| cell(lead.reached(&peers, student), |x| x >= lead.at_least));
            let cells = reached.join(" | ");
            writeln!(text, "| {} | {} | at least {} | {cells} |", lead.what, lead.work, lead.at_least)?;
        }
    }
    Ok(text)
}

fn cell(reached: Option<f64>, holds: impl Fn(f64) -> bool) -> String {
    match reached {
        None => "not measured".to_owned(),
        Some(x) if holds(x) => three(x),
        Some(x) => format!("**{}**", three(x)),
    }
}

/// A digit more than the other tables, so that a goal that was just missed shows.
fn three(x: f64) -> String {
    if x >= 9.95 { digits(x) } else { format!("{x:.2}") }
}

#[cfg(test)]
mod tests {
    use super::{GOALS, cell, table};
    use crate::figures::Figures;

    #[test]
    fn a_goal_that_was_just_missed_is_bold() {
        assert_eq!(cell(Some(1.05), |x| x <= 1.05), "1.05");
        assert_eq!(cell(Some(1.054), |x| x <= 1.05), "**1.05**");
        assert_eq!(cell(None, |_| true), "not measured");
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn nothing_measured_is_said_so() {
        let nothing = Figures { cpu: String::new(), rustc: String::new(), reports: Vec::new() };
        let text = table(&nothing, None).unwrap();
        assert_eq!(text.matches("not measured").count(), 3 * GOALS.len());
    }
}
