//! Instructions against plain Rust, and every check against a kernel that needs it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod approx;
mod checks;
mod convert;
mod float;
mod integer;
mod lanes;
mod memory;
mod shipped;

use super::random::mix;
use super::violation::{Failure, Wrong};
use super::{Counters, Launch, Memory, launch};
use crate::ptx::Module;

const HEAD: &str = ".version 7.0\n.target sm_80\n.address_size 64\n";

/// A kernel `k` with pointers `p0`, `p1`, ... and these lines.
pub(super) fn kernel(pointers: usize, body: &str) -> String {
    let params: Vec<String> = (0..pointers).map(|n| format!(".param .u64 p{n}")).collect();
    let registers =
        ".reg .pred %p<20>; .reg .b16 %h<20>; .reg .b32 %r<40>; .reg .f32 %f<40>; .reg .b64 %rd<40>;";
    format!(
        "{HEAD}.visible .entry k({})\n{{\n{registers}\n.reg .f64 %d<20>;\n{body}\nret;\n}}\n",
        params.join(", ")
    )
}

/// Loads the only kernel of `text` and runs it.
pub(super) fn run(
    text: &str,
    memory: &mut Memory,
    seed: u64,
    [blocks, threads]: [u32; 2],
    dynamic_shared: u32,
    params: &[u64],
) -> Result<Counters, Box<Failure>> {
    shipped::note(text);
    let module = Module::parse(text, &mut |_| None).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let params: Vec<u8> = params.iter().flat_map(|p| p.to_le_bytes()).collect();
    let what = Launch {
        kernel: &module.kernels["k"],
        grid: [blocks, 1, 1],
        threads: [threads, 1, 1],
        dynamic_shared,
        params: &params,
        seed,
        step_limit: 1 << 16,
    };
    let mut counters = Counters::default();
    launch(&what, memory, &mut counters).map(|()| counters)
}

/// Why a module is refused.
pub(super) fn refused(text: &str) -> String {
    Module::parse(text, &mut |_| None).err().map(|e| e.to_string()).unwrap_or_default()
}

pub(super) fn place(memory: &mut Memory, values: &[u64]) -> u64 {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let base = memory.allocate(bytes.len() as u64).unwrap();
    assert!(memory.copy_in(base, &bytes));
    base
}

pub(super) fn fetch(memory: &mut Memory, from: u64, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; count * 8];
    assert!(memory.copy_out(from, &mut bytes));
    bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect()
}

/// Threads of a block that evaluates one instruction, each on its own values.
const THREADS: usize = 512;

/// Values of a type: its edges and others without a pattern.
fn values(ty: &str, salt: u64) -> Vec<u64> {
    let bits: u32 = ty[1..].parse().unwrap();
    let edges: Vec<u64> = match ty {
        "f32" => [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1.5,
            2.5,
            -2.5,
            3.0e9,
            -3.0e9,
            1e-40,
            -1e-40,
            f32::MAX,
            f32::MIN,
            1e20,
        ]
        .into_iter()
        .chain([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, 65504.0, 65520.0, 1e-7, 6e-8])
        .map(|x: f32| u64::from(x.to_bits()))
        .collect(),
        "f64" => [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            2.5,
            -2.5,
            1e-310,
            f64::MAX,
            f64::MIN,
            1e300,
            3e9,
            1e19,
            1e-46,
            65519.9,
        ]
        .into_iter()
        .chain([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE])
        .map(f64::to_bits)
        .collect(),
        _ => (0..8)
            .flat_map(|n| [n, u64::MAX - n, 1 << (bits - 1), (1 << (bits - 1)) - 1 + n, 31 + n])
            .collect(),
    };
    let keep = u64::MAX >> (64 - bits);
    (0..THREADS as u64)
        .map(|n| {
            let drawn = mix(mix(salt) ^ n);
            let edge = edges[(drawn >> 8) as usize % edges.len()];
            keep & match (drawn % 4, &ty[..1]) {
                (0 | 1, _) => edge,
                // Bits at random are seldom close in size: numbers that are.
                (2, "f") if bits == 32 => u64::from((((drawn >> 20) as f32) * 1e-12 - 8.0).to_bits()),
                (2, "f") => (((drawn >> 20) as f64) * 1e-12 - 8.0).to_bits(),
                (2, _) => drawn >> 40,
                _ => mix(drawn),
            }
        })
        .collect()
}

/// Runs `lines`, in which `$d` is the result of type `out` and `$a`, `$b`, `$c` are values of the types `ins`, on many
/// values, and compares all bits with `expected`.
pub(super) fn check(lines: &str, out: &str, ins: &[&str], expected: impl Fn(&[u64]) -> u64) {
    for (values, got) in evaluate(lines, out, ins, 7) {
        let want = expected(&values);
        assert_eq!(got, want, "{lines}: {values:x?} gives {got:x}, not {want:x}");
    }
}

pub(super) fn evaluate(lines: &str, out: &str, ins: &[&str], seed: u64) -> Vec<(Vec<u64>, u64)> {
    let mut parts = vec!["mov.u32 %r0, %tid.x;\nmul.wide.u32 %rd0, %r0, 8;".to_owned()];
    let mut lines = lines.replace("$d", "%result");
    for (n, (ty, name)) in ins.iter().zip(["$a", "$b", "$c"]).enumerate() {
        parts.push(format!(".reg .{ty} %in{n};\nld.param.u64 %rd1, [p{n}];\nadd.s64 %rd1, %rd1, %rd0;"));
        parts.push(format!("ld.global.b{} %in{n}, [%rd1];", &ty[1..]));
        lines = lines.replace(name, &format!("%in{n}"));
    }
    let last = ins.len();
    parts.push(format!(
        ".reg .{out} %result;\n{lines}\nld.param.u64 %rd1, [p{last}];\nadd.s64 %rd1, %rd1, %rd0;"
    ));
    parts.push(format!("st.global.b{} [%rd1], %result;", &out[1..]));
    let body = parts.join("\n");

    let mut memory = Memory::new(1 << 24);
    let columns: Vec<Vec<u64>> = ins.iter().zip(1..).map(|(ty, salt)| values(ty, salt)).collect();
    let mut params: Vec<u64> = columns.iter().map(|c| place(&mut memory, c)).collect();
    params.push(place(&mut memory, &[0; THREADS]));
    run(&kernel(last + 1, &body), &mut memory, seed, [1, THREADS as u32], 0, &params)
        .unwrap_or_else(|e| panic!("{lines}: {e}"));
    let got = fetch(&mut memory, params[last], THREADS);
    let row = |n: usize| columns.iter().map(|c| c[n]).collect();
    got.into_iter().enumerate().map(|(n, got)| (row(n), got)).collect()
}

/// The violation that a kernel must meet.
pub(super) fn violation(
    text: &str,
    shape: [u32; 2],
    params: &[u64],
    memory: &mut Memory,
    wrong: Wrong,
) -> Failure {
    match run(text, memory, 1, shape, 0, params) {
        Ok(_) => panic!("nothing was found in\n{text}"),
        Err(failure) => {
            assert_eq!(failure.wrong, wrong, "{failure}");
            *failure
        }
    }
}
