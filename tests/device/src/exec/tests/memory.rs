//! Loads, stores and moves: every width, through every space, keeps all bits.
use super::{Memory, check, fetch, kernel, place, run};

/// A register of a type, by number.
fn register(ty: &str, n: usize) -> String {
    let prefix = match ty {
        "f32" => "%f",
        "f64" => "%d",
        _ => match &ty[1..] {
            "8" | "16" => "%h",
            "32" => "%r",
            _ => "%rd",
        },
    };
    format!("{prefix}{}", n + 10)
}

/// One register or several in braces.
fn registers(ty: &str, count: usize) -> String {
    let all: Vec<String> = (0..count).map(|n| register(ty, n)).collect();
    if count == 1 { all[0].clone() } else { format!("{{{}}}", all.join(", ")) }
}

fn suffix(count: usize) -> String {
    if count == 1 { String::new() } else { format!(".v{count}") }
}

/// Bits without a pattern, of which a load of fewer must take the lowest.
const BITS: [u64; 2] = [0x8123_4567_89ab_cdef, 0xfedc_ba98_7654_3211];

#[test]
pub(super) fn every_width_comes_back() {
    for ty in ["u8", "u16", "b16", "u32", "f32", "b32", "u64", "f64", "b64"] {
        let bits: usize = ty[1..].parse().unwrap();
        for count in [1, 2, 4] {
            if bits * count > 128 || bits < 32 && count > 1 {
                continue;
            }
            let (all, v) = (registers(ty, count), suffix(count));
            // Global to shared and back, by one thread, and the same in generic addresses.
            for [load, through, back, store] in [
                ["ld.global", "st.shared", "ld.shared", "st.global"],
                ["ld", "st", "ld", "st"],
                ["ld.global.nc", "st.shared", "ld.shared", "st.global"],
                ["ld.volatile.global", "st.shared", "ld.shared", "st.global"],
            ] {
                let mut memory = Memory::new(1 << 20);
                let (from, to) = (place(&mut memory, &BITS), place(&mut memory, &[0; 2]));
                let shared = if load == "ld" { "cvta.shared.u64 %rd3, %rd3;\n" } else { "" };
                let text = kernel(
                    2,
                    &format!(
                        ".shared .align 16 .b8 cells[16];\nld.param.u64 %rd1, [p0];\nld.param.u64 %rd2, [p1];\n\
                        mov.u64 %rd3, cells;\n{shared}{load}{v}.{ty} {all}, [%rd1];\n{through}{v}.{ty} [%rd3], {all};\n\
                        {back}{v}.{ty} {all}, [%rd3];\n{store}{v}.{ty} [%rd2], {all};"
                    ),
                );
                let counted = run(&text, &mut memory, 1, [1, 1], 0, &[from, to]).unwrap();
                let keep = |bits: usize| if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
                let wanted = [BITS[0] & keep(bits * count), if bits * count > 64 { BITS[1] } else { 0 }];
                assert_eq!(fetch(&mut memory, to, 2), wanted, "{load}{v}.{ty}");
                assert_eq!(counted.global_written, (bits * count / 8) as u64, "{store}{v}.{ty}");
            }
            // Parameters.
            let mut memory = Memory::new(1 << 20);
            let to = place(&mut memory, &[0; 2]);
            let text = kernel(
                3,
                &format!(
                    "ld.param.u64 %rd1, [p2];\nld.param{v}.{ty} {all}, [p0];\nst.global{v}.{ty} [%rd1], {all};"
                ),
            );
            // What is wider than one parameter begins in it and ends in the next.
            let text = text.replace(".param .u64 p0, .param .u64 p1", ".param .align 16 .b8 p0[16]");
            run(&text, &mut memory, 1, [1, 1], 0, &[BITS[0], BITS[1], to]).unwrap();
            let bytes = bits * count / 8;
            let found: Vec<u8> = fetch(&mut memory, to, 2).iter().flat_map(|x| x.to_le_bytes()).collect();
            let given: Vec<u8> = BITS.iter().flat_map(|x| x.to_le_bytes()).collect();
            assert_eq!(found[..bytes], given[..bytes], "ld.param{v}.{ty}");
        }
    }
}

#[test]
pub(super) fn selections_and_moves_keep_all_bits() {
    for ty in ["b16", "u16", "b32", "u32", "f32", "b64", "u64", "f64"] {
        let bits = format!("b{}", &ty[1..]);
        let kind = if ty.starts_with('f') { ty } else { &bits };
        check(&format!("mov.{ty} $d, $a;"), kind, &[kind], |v| v[0]);
        let select = format!("setp.eq.u32 %p1, $c, 31;\nselp.{ty} $d, $a, $b, %p1;");
        check(&select, kind, &[kind, kind, "b32"], |v| if v[2] == 31 { v[0] } else { v[1] });
    }
    for (ty, bits) in [("b16", "b16"), ("b32", "b32"), ("b64", "b64")] {
        for (name, equal) in [("eq", true), ("ne", false)] {
            let line = format!("setp.{name}.{ty} %p1, $a, $b;\nselp.b32 $d, 1, 0, %p1;");
            check(&line, "b32", &[bits; 2], |v| u64::from((v[0] == v[1]) == equal));
        }
    }
    for direction in ["cvta.global.u64", "cvta.to.global.u64"] {
        check(&format!("{direction} $d, $a;"), "b64", &["b64"], |v| v[0]);
    }
    check("abs.f64 $d, $a;", "f64", &["f64"], |v| {
        let x = f64::from_bits(v[0]).abs();
        if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() }
    });
}
