//! Each check, provoked.
use super::{Memory, Wrong, fetch, kernel, place, refused, run, violation};

/// A thread's address of 4 bytes in the first parameter, in `%rd1`.
const OWN: &str =
    "mov.u32 %r0, %tid.x;\nld.param.u64 %rd1, [p0];\nmul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd1, %rd1, %rd2;\n";

fn with_own(body: &str) -> String {
    kernel(1, &format!("{OWN}{body}"))
}

#[test]
pub(super) fn addresses_outside_of_allocations() {
    let mut memory = Memory::new(1 << 20);
    let base = place(&mut memory, &[0; 16]);
    for line in
        ["ld.global.f32 %f1, [%rd1];", "st.global.f32 [%rd1], 0f00000000;", "atom.add.u32 %r1, [%rd1], 1;"]
    {
        let text = with_own(line);
        run(&text, &mut memory, 1, [1, 32], 0, &[base]).unwrap();
        let f = violation(&text, [1, 33], &[base], &mut memory, Wrong::IllegalAddress);
        assert_eq!((f.code(), f.thread, f.block), (700, [32, 0, 0], [0, 0, 0]));
        assert_eq!(f.instruction, line);
        assert!(f.what.contains("byte 128 of the 128 bytes"), "{f}");
        violation(&text, [1, 1], &[base - 4], &mut memory, Wrong::IllegalAddress);
        violation(&text, [1, 1], &[0], &mut memory, Wrong::IllegalAddress);
    }
    // The first half is inside, the second is not.
    let odd = memory.allocate(6).unwrap();
    assert!(memory.copy_in(odd, &[0; 6]));
    violation(&with_own("ld.global.u32 %r1, [%rd1+4];"), [1, 1], &[odd], &mut memory, Wrong::IllegalAddress);
    violation(&with_own("st.global.u32 [%rd1+4], 0;"), [1, 1], &[odd], &mut memory, Wrong::IllegalAddress);
    violation(
        &with_own("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];"),
        [1, 1],
        &[base + 120],
        &mut memory,
        Wrong::Misaligned,
    );
    assert!(memory.free(base));
    let f = violation(
        &with_own("ld.global.f32 %f1, [%rd1];"),
        [1, 1],
        &[base],
        &mut memory,
        Wrong::IllegalAddress,
    );
    assert!(f.what.contains("freed"), "{f}");
}

#[test]
pub(super) fn alignment() {
    let mut memory = Memory::new(1 << 20);
    let base = place(&mut memory, &[0; 16]);
    for (line, step) in [
        ("ld.global.u16 %h1, [%rd1];", 1),
        ("ld.global.f32 %f1, [%rd1];", 2),
        ("ld.global.f64 %d1, [%rd1];", 4),
        ("ld.global.v2.f32 {%f1, %f2}, [%rd1];", 4),
        ("st.global.v4.u32 [%rd1], {%r0, %r0, %r0, %r0};", 8),
    ] {
        run(&with_own(line), &mut memory, 1, [1, 1], 0, &[base]).unwrap();
        let f = violation(&with_own(line), [1, 1], &[base + step], &mut memory, Wrong::Misaligned);
        assert_eq!(f.code(), 716);
    }
}

#[test]
pub(super) fn uninitialised_global_memory() {
    let mut memory = Memory::new(1 << 20);
    let base = memory.allocate(64).unwrap();
    let f = violation(
        &with_own("ld.global.f32 %f1, [%rd1];"),
        [1, 1],
        &[base],
        &mut memory,
        Wrong::Uninitialised,
    );
    assert_eq!(f.code(), 719);
    // Two of the four bytes are not enough.
    run(&with_own("st.global.u16 [%rd1], 5;"), &mut memory, 1, [1, 1], 0, &[base]).unwrap();
    violation(&with_own("ld.global.f32 %f1, [%rd1];"), [1, 1], &[base], &mut memory, Wrong::Uninitialised);
    run(&with_own("st.global.u16 [%rd1+2], 5;"), &mut memory, 1, [1, 1], 0, &[base]).unwrap();
    run(&with_own("ld.global.f32 %f1, [%rd1];"), &mut memory, 1, [1, 1], 0, &[base]).unwrap();
    // A copy keeps what is unknown so.
    let other = memory.allocate(64).unwrap();
    assert!(memory.copy_within(other, base, 64));
    violation(&with_own("ld.global.f32 %f1, [%rd1+8];"), [1, 1], &[other], &mut memory, Wrong::Uninitialised);
    assert!(memory.copy_out(other, &mut [0; 64]));
    assert_eq!(memory.unknown_copied, 60);
}

#[test]
pub(super) fn the_read_only_path() {
    let mut memory = Memory::new(1 << 20);
    let base = place(&mut memory, &[0; 16]);
    run(&with_own("ld.global.nc.f32 %f1, [%rd1];"), &mut memory, 1, [1, 32], 0, &[base]).unwrap();
    let text = with_own("st.global.f32 [%rd1], 0f3f800000;\nld.global.nc.f32 %f1, [%rd1];");
    violation(&text, [1, 1], &[base], &mut memory, Wrong::NotCoherent);
    // The next launch may.
    run(&with_own("ld.global.nc.f32 %f1, [%rd1];"), &mut memory, 1, [1, 32], 0, &[base]).unwrap();
}

/// Shared memory of 4 bytes a thread; `%rd3` is a thread's own, `%rd4` that of the thread `%r1`.
fn with_shared(body: &str) -> String {
    kernel(
        1,
        &format!(
            ".shared .align 16 .b8 cells[512];\n{OWN}mov.u64 %rd5, cells;\nadd.s64 %rd3, %rd5, %rd2;\n\
            xor.b32 %r1, %r0, 32;\nmul.wide.u32 %rd4, %r1, 4;\nadd.s64 %rd4, %rd5, %rd4;\n{body}"
        ),
    )
}

#[test]
pub(super) fn races_in_shared_memory() {
    let mut memory = Memory::new(1 << 20);
    let base = place(&mut memory, &[0; 64]);
    let (write, read, sync) =
        ("st.shared.u32 [%rd3], %r0;\n", "ld.shared.u32 %r2, [%rd4];\n", "bar.sync 0;\n");
    let store = "st.global.u32 [%rd1], %r2;";
    for seed in 0..8 {
        let ordered = with_shared(&format!("{write}{sync}{read}{sync}{write}{store}"));
        let counters = run(&ordered, &mut memory, seed, [1, 64], 0, &[base]).unwrap();
        assert_eq!(counters.barriers, 2);
        let got = fetch(&mut memory, base, 32);
        assert_eq!(got[0], 33 << 32 | 32);
        for wrong in [
            // Nothing orders the read after the write, the next write after the read, two writes of one cell.
            with_shared(&format!("st.shared.u32 [%rd3], 0;\nst.shared.u32 [%rd4], 1;\n{sync}")),
            with_shared(&format!("{write}{sync}{read}{write}")),
            with_shared(&format!("{write}st.shared.u32 [%rd5], 3;")),
            // One lane of each warp reads a cell that one of the two writes.
            with_shared(&format!(
                "{write}{sync}and.b32 %r3, %r0, 31;\nsetp.ne.u32 %p1, %r3, 0;\n@%p1 bra $end;\n\
                ld.shared.u32 %r2, [%rd5];\nsetp.eq.u32 %p2, %r0, 32;\n@%p2 st.shared.u32 [%rd5], 9;\n$end:"
            )),
        ] {
            let f = run(&wrong, &mut memory, seed, [1, 64], 0, &[base]).unwrap_err();
            assert_eq!((f.wrong, f.code()), (Wrong::Race, 719), "{f}");
        }
        // Whoever comes first: the other warp's cell was never written, or was without order.
        let early =
            run(&with_shared(&format!("{write}{read}")), &mut memory, seed, [1, 64], 0, &[base]).unwrap_err();
        assert!(matches!(early.wrong, Wrong::Race | Wrong::Uninitialised), "{early}");
    }
}

#[test]
pub(super) fn lanes_of_a_warp_race_too() {
    let mut memory = Memory::new(1 << 20);
    let base = place(&mut memory, &[0; 64]);
    let next = "xor.b32 %r3, %r0, 1;\nmul.wide.u32 %rd6, %r3, 4;\nadd.s64 %rd6, %rd5, %rd6;\n";
    let body = |between: &str| {
        with_shared(&format!("{next}st.shared.u32 [%rd3], %r0;\n{between}\nld.shared.u32 %r2, [%rd6];"))
    };
    violation(&body(""), [1, 32], &[base], &mut memory, Wrong::Race);
    // An exchange does not order memory; a barrier of the warp does.
    violation(&body("shfl.sync.bfly.b32 %r4, %r0, 1, 31, -1;"), [1, 32], &[base], &mut memory, Wrong::Race);
    run(&body("bar.warp.sync -1;"), &mut memory, 1, [1, 32], 0, &[base]).unwrap();
    // One of some lanes counts for nothing here: more is reported than is wrong.
    let halves = "setp.lt.u32 %p1, %r0, 16;\nselp.b32 %r5, 0xffff, 0xffff0000, %p1;\nbar.warp.sync %r5;";
    violation(&body(halves), [1, 32], &[base], &mut memory, Wrong::Race);
    // Atomic operations are in some order among themselves, not with plain reads.
    let atomics = "setp.eq.u32 %p1, %r0, 0;\n@%p1 st.shared.u32 [%rd5], 0;\nbar.sync 0;\natom.shared.add.u32 %r2, [%rd5], 1;\n";
    run(&with_shared(atomics), &mut memory, 1, [1, 64], 0, &[base]).unwrap();
    violation(
        &with_shared(&format!("{atomics}ld.shared.u32 %r2, [%rd5];")),
        [1, 32],
        &[base],
        &mut memory,
        Wrong::Race,
    );
}

#[test]
pub(super) fn shared_memory_has_bounds_and_values() {
    let mut memory = Memory::new(1 << 20);
    let base = place(&mut memory, &[0; 64]);
    violation(&with_shared("ld.shared.u32 %r2, [%rd3];"), [1, 1], &[base], &mut memory, Wrong::Uninitialised);
    violation(
        &with_shared("st.shared.u32 [%rd3+512], 0;"),
        [1, 1],
        &[base],
        &mut memory,
        Wrong::IllegalAddress,
    );
    violation(&with_shared("st.shared.u32 [%rd3+2], 0;"), [1, 1], &[base], &mut memory, Wrong::Misaligned);
    let generic = "cvta.shared.u64 %rd7, %rd3;\nst.u32 [%rd7], 5;\nld.shared.u32 %r2, [%rd3];\nst.global.u32 [%rd1], %r2;";
    run(&with_shared(generic), &mut memory, 1, [1, 1], 0, &[base]).unwrap();
    assert_eq!(fetch(&mut memory, base, 1), [5]);
    // What a launch adds begins behind the rest.
    let dynamic = with_shared("st.shared.u32 [more+4], 7;\nst.shared.u32 [%rd5+4], 8;\nld.shared.u32 %r2, [more+4];\nst.global.u32 [%rd1], %r2;")
        .replace(".visible", ".extern .shared .align 4 .b8 more[];\n.visible");
    run(&dynamic, &mut memory, 1, [1, 1], 16, &[base]).unwrap();
    assert_eq!(fetch(&mut memory, base, 1), [7]);
    assert_eq!(run(&dynamic, &mut memory, 1, [1, 1], 4, &[base]).unwrap_err().wrong, Wrong::IllegalAddress);
}

#[test]
pub(super) fn barriers_that_some_never_reach() {
    let mut memory = Memory::new(1 << 20);
    for (body, threads) in [
        ("mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p1, %r0, 32;\n@%p1 ret;\nbar.sync 0;", 64),
        ("mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p1, %r0, 5;\n@%p1 bra $out;\nbar.sync 0;\n$out:", 32),
        (
            "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p1, %r0, 5;\n@%p1 bra $b;\nbar.sync 0;\nret;\n$b:\nbar.sync 0;",
            64,
        ),
        (
            "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p1, %r0, 5;\n@%p1 bra $b;\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;\n$b:",
            32,
        ),
        ("mov.u32 %r0, %tid.x;\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;", 16),
        ("mov.u32 %r0, %tid.x;\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, 1;", 32),
        (
            "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p1, %r0, 16;\nselp.b32 %r2, 0xffff, 0xffff0000, %p1;\nshfl.sync.bfly.b32 %r1, %r0, 16, 31, %r2;",
            32,
        ),
        ("mov.u32 %r0, %tid.x;\nsetp.eq.u32 %p1, %r0, 7;\n@!%p1 vote.sync.any.pred %p2, %p1, -1;", 32),
        (
            "mov.u32 %r0, %tid.x;\nsetp.eq.u32 %p1, %r0, 7;\n@%p1 bra $b;\nbar.warp.sync -1;\n$b:\nbar.sync 0;",
            32,
        ),
    ] {
        let f = violation(&kernel(0, body), [1, threads], &[], &mut memory, Wrong::Divergence);
        assert_eq!(f.code(), 719, "{f}");
    }
}

#[test]
pub(super) fn ends() {
    let mut memory = Memory::new(1 << 20);
    let f = violation(&kernel(0, "$l:\nbra.uni $l;"), [1, 1], &[], &mut memory, Wrong::Endless);
    assert_eq!(f.code(), 702);
    let f = violation(&kernel(0, "trap;"), [3, 40], &[], &mut memory, Wrong::Trap);
    assert!(f.to_string().contains("trap in kernel k"), "{f}");
}

#[test]
pub(super) fn counters() {
    let mut memory = Memory::new(1 << 20);
    let base = place(&mut memory, &[0; 2048]);
    let dense = run(&with_own("ld.global.f32 %f1, [%rd1];"), &mut memory, 1, [1, 64], 0, &[base]).unwrap();
    assert_eq!((dense.instructions, dense.global_read, dense.global_requests), (6 * 64, 256, 2));
    assert_eq!((dense.sectors, dense.ideal_sectors, dense.wide_accesses), (8, 8, 0));
    let shifted =
        run(&with_own("ld.global.f32 %f1, [%rd1+16];"), &mut memory, 1, [1, 32], 0, &[base]).unwrap();
    assert_eq!((shifted.sectors, shifted.ideal_sectors), (5, 4));
    let strided = "mul.wide.u32 %rd3, %r0, 28;\nadd.s64 %rd1, %rd1, %rd3;\nst.global.f32 [%rd1], 0f00000000;";
    let strided = run(&with_own(strided), &mut memory, 1, [1, 32], 0, &[base]).unwrap();
    assert_eq!((strided.sectors, strided.ideal_sectors, strided.global_written), (32, 4, 128));
    let wide = "mul.wide.u32 %rd3, %r0, 12;\nadd.s64 %rd1, %rd1, %rd3;\nld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];";
    let wide = run(&with_own(wide), &mut memory, 1, [1, 32], 0, &[base]).unwrap();
    assert_eq!((wide.sectors, wide.ideal_sectors, wide.wide_accesses), (16, 16, 32));
    let one = run(
        &with_own("sub.s64 %rd1, %rd1, %rd2;\nld.global.f32 %f1, [%rd1];"),
        &mut memory,
        1,
        [1, 32],
        0,
        &[base],
    );
    let one = one.unwrap();
    assert_eq!((one.sectors, one.ideal_sectors, one.global_read), (1, 1, 128));

    // A column of a matrix of 32 columns lies in one bank, of 33 in all.
    for (columns, conflicts) in [(32, 31), (33, 0), (1, 0), (2, 1)] {
        let body = format!(
            ".shared .align 4 .b8 cells[8192];\nmov.u32 %r0, %tid.x;\nmov.u64 %rd1, cells;\n\
            mad.wide.u32 %rd1, %r0, {}, %rd1;\nst.shared.u32 [%rd1], 0;",
            columns * 4
        );
        let counters = run(&kernel(0, &body), &mut memory, 1, [1, 32], 0, &[]).unwrap();
        assert_eq!((counters.bank_conflicts, counters.shared_requests), (conflicts, 1), "{columns}");
    }
    // Eight lanes at a time ask for 16 bytes each, which is all banks once.
    let wide = ".shared .align 16 .b8 cells[512];\nmov.u32 %r0, %tid.x;\nmov.u64 %rd1, cells;\n\
        mad.wide.u32 %rd1, %r0, 16, %rd1;\nst.shared.v4.u32 [%rd1], {%r0, %r0, %r0, %r0};";
    assert_eq!(run(&kernel(0, wide), &mut memory, 1, [1, 32], 0, &[]).unwrap().bank_conflicts, 0);
    let local = ".local .align 4 .b8 depot[16];\nmov.u32 %r0, %tid.x;\nst.local.u32 [depot+4], %r0;\nld.local.u32 %r1, [depot+4];";
    assert_eq!(run(&kernel(0, local), &mut memory, 1, [1, 32], 0, &[]).unwrap().local_bytes, 256);
}

#[test]
pub(super) fn what_is_unknown_is_refused_with_its_line() {
    for (line, why) in [
        ("add.f16 %h1, %h1, %h2;", "arithmetic of this type is not known"),
        ("atom.global.add.f32 %f1, [%rd1], %f2;", "an atomic operation is of 32 or 64 bits of an integer"),
        ("add.rz.f32 %f1, %f1, %f2;", "unknown modifier .rz of add"),
        ("fma.rz.f32 %f1, %f1, %f2, %f3;", "only rounding to nearest"),
        ("cvt.rz.f32.f64 %f1, %d1;", "this rounding does not go"),
        ("cvt.f32.f64 %f1, %d1;", "this rounding does not go"),
        ("cvt.rn.f64.f32 %d1, %f1;", "this rounding does not go"),
        ("wgmma.fence.sync.aligned;", "unknown instruction wgmma"),
        ("add.s32 %r1, %r2, %rd1;", "%rd1 has 64 bits, not 32"),
        ("add.s32 %r1, %r2, %r99;", "%r99 is no register"),
        ("mov.u32 %r1, %clock;", "%clock is no register"),
        ("bra $nowhere;", "$nowhere is no label"),
        ("ld.global.f32 %f1, [nothing];", "nothing is no variable"),
        ("ld.global.v8.f32 %f1, [%rd1];", "unknown modifier .v8"),
        ("call.uni foo;", "unknown instruction call"),
        ("bar.sync 0, 64;", "1 operands are expected"),
        ("add.s32 %r1, %r2;", "3 operands are expected"),
    ] {
        let text = refused(&kernel(0, line));
        assert!(text.contains(why) && text.starts_with("PTX line 8:"), "{line}: {text}");
        assert!(text.contains(line.trim_end_matches(';')), "{line}: {text}");
    }
    for (text, why) in [
        ("", "the module names no target"),
        (".version 12.0\n", "unknown version"),
        (".version 7.0\n.target sm_80\n.address_size 32\n", "unknown directive"),
        (".version 7.0\n.target sm_80\n.func f() { ret; }\n", "only kernels are known"),
    ] {
        assert!(refused(text).contains(why), "{text}: {}", refused(text));
    }
}
