//! Branches, and what the lanes of a warp do together.
use super::{Memory, fetch, kernel, place, run};

/// Runs `body`, which leaves a number in `%r9`, by `threads` threads, and gives the numbers.
fn of_threads(body: &str, threads: u32, seed: u64) -> Vec<u64> {
    let store = "ld.param.u64 %rd1, [p0];\nmul.wide.u32 %rd2, %r0, 8;\nadd.s64 %rd1, %rd1, %rd2;\nst.global.u32 [%rd1], %r9;";
    let mut memory = Memory::new(1 << 20);
    let out = place(&mut memory, &vec![0; threads as usize]);
    let text = kernel(1, &format!("mov.u32 %r0, %tid.x;\n{body}\n{store}"));
    run(&text, &mut memory, seed, [1, threads], 0, &[out]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    fetch(&mut memory, out, threads as usize)
}

#[test]
pub(super) fn each_lane_loops_as_often_as_it_must() {
    let body = "mov.u32 %r9, 0;\nmov.u32 %r1, %r0;\n$again:\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra $out;\n\
        add.u32 %r9, %r9, %r1;\nsub.u32 %r1, %r1, 1;\nbra.uni $again;\n$out:";
    for seed in 0..4 {
        let got = of_threads(body, 70, seed);
        assert!(got.iter().zip(0..).all(|(g, n)| *g == n * (n + 1) / 2), "{got:?}");
    }
}

#[test]
pub(super) fn lanes_meet_again_after_a_branch() {
    // Both sides are one instruction; counted by the active lanes behind them.
    let body = "and.b32 %r1, %r0, 1;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra $even;\nmov.u32 %r2, 5;\nbra.uni $join;\n\
        $even:\nmov.u32 %r2, 6;\n$join:\nactivemask.b32 %r9;";
    assert_eq!(of_threads(body, 32, 1), [0xffff_ffff; 32]);
}

#[test]
pub(super) fn a_table_of_branches() {
    let body = "rem.u32 %r1, %r0, 3;\n$table: .branchtargets $a, $b, $c;\nbrx.idx %r1, $table;\n$a:\nmov.u32 %r9, 10;\n\
        bra $end;\n$b:\nmov.u32 %r9, 11;\nbra $end;\n$c:\nmov.u32 %r9, 12;\n$end:";
    let got = of_threads(body, 40, 1);
    assert!(got.iter().zip(0..).all(|(g, n)| *g == 10 + n % 3), "{got:?}");
}

#[test]
pub(super) fn special_registers() {
    type Of = fn(u32) -> u32;
    let registers: [(&str, Of); 12] = [
        ("tid.x", |t| t),
        ("tid.y", |_| 0),
        ("ntid.x", |_| 70),
        ("ctaid.x", |_| 0),
        ("nctaid.x", |_| 1),
        ("laneid", |t| t % 32),
        ("warpid", |t| t / 32),
        ("lanemask_eq", |t| 1 << (t % 32)),
        ("lanemask_lt", |t| (1 << (t % 32)) - 1),
        ("lanemask_le", |t| u32::MAX >> (31 - t % 32)),
        ("lanemask_gt", |t| (u64::from(u32::MAX) << (t % 32 + 1)) as u32),
        ("lanemask_ge", |t| u32::MAX << (t % 32)),
    ];
    for (name, of) in registers {
        let got = of_threads(&format!("mov.u32 %r9, %{name};"), 70, 1);
        assert!(got.iter().zip(0..).all(|(g, t)| *g == u64::from(of(t))), "{name}: {got:x?}");
    }
}

/// The lane that is read, as the description of PTX computes it.
fn described(mode: &str, lane: i64, b: i64, c: i64) -> (i64, bool) {
    let (value, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let most = (lane & segment) | (clamp & !segment);
    let least = lane & segment;
    let (j, valid) = match mode {
        "up" => (lane - value, lane - value >= most),
        "down" => (lane + value, lane + value <= most),
        "bfly" => (lane ^ value, (lane ^ value) <= most),
        _ => (least | (value & !segment), (least | (value & !segment)) <= most),
    };
    if valid { (j, true) } else { (lane, false) }
}

#[test]
pub(super) fn exchanges() {
    for mode in ["up", "down", "bfly", "idx"] {
        for by in [0, 1, 5, 16, 31] {
            // Whole warps, and segments of 8 lanes; for "up" the clamp is the least lane.
            for clamp in if mode == "up" { [0, 0x1800] } else { [31, 0x181f] } {
                let body = format!(
                    "mov.u32 %r1, %laneid;\nadd.u32 %r2, %r1, 100;\n\
                    shfl.sync.{mode}.b32 %r9|%p1, %r2, {by}, {clamp}, -1;\n@!%p1 add.u32 %r9, %r9, 1000;"
                );
                for (lane, got) in (0..).zip(of_threads(&body, 32, 1)) {
                    let (from, valid) = described(mode, lane, by, clamp);
                    let want = 100 + from + if valid { 0 } else { 1000 };
                    assert_eq!(i64::from(got as u32), want, "{mode} by {by}, {clamp:x}, lane {lane}");
                }
            }
        }
    }
}

#[test]
pub(super) fn lanes_wait_for_those_that_they_name() {
    // Odd lanes take a longer way to the same exchange.
    let body = "mov.u32 %r1, %laneid;\nand.b32 %r2, %r1, 1;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 bra $meet;\nmov.u32 %r3, 9;\n\
        $long:\nsub.u32 %r3, %r3, 1;\nsetp.ne.u32 %p2, %r3, 0;\n@%p2 bra $long;\n\
        $meet:\nshfl.sync.bfly.b32 %r9, %r1, 1, 31, -1;";
    for seed in 0..4 {
        let got = of_threads(body, 64, seed);
        assert!(got.iter().zip(0..).all(|(g, n)| *g == (n % 32) ^ 1), "{got:?}");
    }
    // Halves of a warp exchange among themselves.
    let body = "mov.u32 %r1, %laneid;\nsetp.lt.u32 %p1, %r1, 16;\nselp.b32 %r2, 0xffff, 0xffff0000, %p1;\n\
        shfl.sync.bfly.b32 %r9, %r1, 15, 31, %r2;";
    let got = of_threads(body, 32, 1);
    assert!(got.iter().zip(0..).all(|(g, n)| *g == n ^ 15), "{got:?}");
}

#[test]
pub(super) fn votes() {
    let ask = |vote: &str| {
        format!("setp.lt.u32 %p1, %r0, 3;\nvote.sync.{vote}.pred %p2, %p1, -1;\nselp.b32 %r9, 1, 0, %p2;")
    };
    assert_eq!(of_threads(&ask("any"), 32, 1), [1; 32]);
    assert_eq!(of_threads(&ask("all"), 32, 1), [0; 32]);
    assert_eq!(of_threads(&ask("uni"), 32, 1), [0; 32]);
    let ballot = "setp.lt.u32 %p1, %r0, 3;\nvote.sync.ballot.b32 %r9, !%p1, -1;";
    assert_eq!(of_threads(ballot, 32, 1), [0xffff_fff8; 32]);
}

#[test]
pub(super) fn atomics_leave_what_each_says() {
    let cases: [(&str, u64, u64); 10] = [
        ("add.u32 %r9, [%rd3], 3", 100, 100 + 3 * 64),
        ("inc.u32 %r9, [%rd3], 9", 0, 4),
        ("dec.u32 %r9, [%rd3], 9", 0, 6),
        ("exch.b32 %r9, [%rd3], 8", 1, 8),
        ("cas.b32 %r9, [%rd3], 5, 6", 5, 6),
        ("min.s32 %r9, [%rd3], -4", 7, 0xffff_fffc),
        ("max.u32 %r9, [%rd3], %r0", 7, 63),
        ("and.b32 %r9, [%rd3], 12", 7, 4),
        ("or.b32 %r9, [%rd3], %r0", 64, 127),
        ("xor.b32 %r9, [%rd3], 1", 5, 5),
    ];
    for (line, before, after) in cases {
        for space in ["", ".global"] {
            let mut memory = Memory::new(1 << 20);
            let cell = place(&mut memory, &[before]);
            let text =
                kernel(1, &format!("ld.param.u64 %rd3, [p0];\nmov.u32 %r0, %tid.x;\natom{space}.{line};"));
            let counters = run(&text, &mut memory, 1, [1, 64], 0, &[cell]).unwrap();
            assert_eq!((fetch(&mut memory, cell, 1), counters.atomics), (vec![after], 64), "{line}");
        }
    }
}

#[test]
pub(super) fn the_result_does_not_depend_on_the_order() {
    // Blocks add their numbers to one cell; every order gives one sum, and each seed runs them in its own.
    let text = kernel(
        2,
        "ld.param.u64 %rd1, [p0];\nld.param.u64 %rd2, [p1];\nmov.u32 %r1, %ctaid.x;\natom.global.inc.u32 %r2, [%rd1], 1000;\n\
        mul.wide.u32 %rd3, %r1, 8;\nadd.s64 %rd2, %rd2, %rd3;\nst.global.u32 [%rd2], %r2;",
    );
    let of = |seed| {
        let mut memory = Memory::new(1 << 20);
        let (cell, out) = (place(&mut memory, &[0]), place(&mut memory, &[0; 40]));
        run(&text, &mut memory, seed, [40, 1], 0, &[cell, out]).unwrap();
        fetch(&mut memory, out, 40)
    };
    assert_eq!(of(0), (0..40).collect::<Vec<u64>>());
    for seed in 1..20 {
        let mut turns = of(seed);
        assert_ne!(turns, of(0), "seed {seed}");
        turns.sort_unstable();
        assert_eq!(turns, of(0), "seed {seed}");
    }
}
