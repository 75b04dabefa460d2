//! A kernel that a compiler made: `compiled/rows.cu`.
use crate::cuda::{Cuda, cu};
use std::ffi::c_void;

const PTX: &str = include_str!("compiled/rows.ptx");

/// Small whole numbers, whose sums are exact in any order.
fn entry(n: usize) -> f32 {
    (n * 7 % 23) as f32 - 11.0
}

/// The f16 of a whole number below 2048.
fn half(x: f32) -> u16 {
    let power = (x.abs() as u32).checked_ilog2();
    let sign = u16::from(x < 0.0) << 15;
    power.map_or(0, |p| sign | ((p + 15) << 10) as u16 | ((x.abs() / (1 << p) as f32 - 1.0) * 1024.0) as u16)
}

/// Sums `rows` rows of `bytes / rows` bytes; what every row and all together give.
fn sums(cuda: &Cuda, kernel: &str, bytes: &[u8], rows: usize) -> (Vec<f32>, f64) {
    let function = cuda.function(cuda.module(PTX).unwrap(), kernel).unwrap();
    let [mut entries, mut of_rows, mut whole, mut ticket] =
        [bytes.len(), rows * 4, 8, 4].map(|bytes| cuda.allocate(bytes).unwrap());
    let (from, size) = (bytes.as_ptr().cast(), bytes.len());
    assert_eq!(cu!(cuda, cuMemcpyHtoD_v2(entries => u64, from => *const c_void, size => usize)), 0);
    assert_eq!(cu!(cuda, cuMemsetD32_v2(ticket => u64, 0 => u32, 1 => usize)), 0);
    let mut packs = (bytes.len() / rows / 16) as u32;
    let mut args: [*mut c_void; 5] = [
        (&raw mut entries).cast(),
        (&raw mut packs).cast(),
        (&raw mut of_rows).cast(),
        (&raw mut whole).cast(),
        (&raw mut ticket).cast(),
    ];
    assert_eq!(cuda.launch(function, [rows as u32, 1, 1], [64, 1, 1], 0, args.as_mut_ptr()), 0);
    assert_eq!(cuda.synchronise(), 0, "{}", cuda.device.report());
    let all = cuda.read(whole, 2).unwrap();
    let all = f64::from_bits(u64::from(all[1].to_bits()) << 32 | u64::from(all[0].to_bits()));
    (cuda.read(of_rows, rows).unwrap(), all)
}

#[test]
fn sums_of_rows_in_any_order() {
    let cuda = Cuda::ready();
    for (rows, length) in [(1, 8), (5, 256), (9, 1000)] {
        let entries: Vec<f32> = (0..rows * length).map(entry).collect();
        let want: Vec<f32> = entries.chunks(length).map(|row| row.iter().sum()).collect();
        let all = want.iter().map(|x| f64::from(*x)).sum();
        let wide: Vec<u8> = entries.iter().flat_map(|x| x.to_le_bytes()).collect();
        let halves: Vec<u8> = entries.iter().flat_map(|x| half(*x).to_le_bytes()).collect();
        for seed in 0..6 {
            cuda.device.set("SEED", &seed.to_string()).unwrap();
            assert_eq!(sums(&cuda, "sums_f32", &wide, rows), (want.clone(), all));
            assert_eq!(sums(&cuda, "sums_f16", &halves, rows), (want.clone(), all));
        }
    }
}

#[test]
fn what_is_counted_of_it() {
    let cuda = Cuda::ready();
    let bytes: Vec<u8> = (0..4 * 1024).map(entry).flat_map(f32::to_le_bytes).collect();
    sums(&cuda, "sums_f32", &bytes, 4);
    let counters = cuda.device.counters("sums_f32");
    assert_eq!((counters.wide_accesses, counters.barriers, counters.atomics), (4 * 256, 2 * 4, 4));
    // All entries, and the sums again by the last block; sums and their sum.
    assert_eq!((counters.global_read, counters.global_written), (4 * 4096 + 16, 16 + 8));
    assert_eq!((counters.bank_conflicts, counters.local_bytes), (0, 0));
    // The ticket is no request of a load or store.
    assert_eq!(counters.sectors, 4 * 128 + 4 + 4 + 1);
}

/// A compiler's kernel with one barrier less.
#[test]
fn a_missing_barrier_is_found() {
    let cuda = Cuda::ready();
    let kernel = &PTX[PTX.find(".visible .entry sums_f16").unwrap()..];
    let at = PTX.len() - kernel.len() + kernel.find("bar.sync").unwrap();
    let broken = format!("{}//{}", &PTX[..at], &PTX[at..]);
    let function = cuda.function(cuda.module(&broken).unwrap(), "sums_f16").unwrap();
    let [mut entries, mut of_rows, mut whole, mut ticket] =
        [16, 4, 8, 4].map(|bytes| cuda.allocate(bytes).unwrap());
    for (cell, bytes) in [(entries, 4), (ticket, 1)] {
        assert_eq!(cu!(cuda, cuMemsetD32_v2(cell => u64, 0 => u32, bytes => usize)), 0);
    }
    let mut packs = 1_u32;
    let mut args: [*mut c_void; 5] = [
        (&raw mut entries).cast(),
        (&raw mut packs).cast(),
        (&raw mut of_rows).cast(),
        (&raw mut whole).cast(),
        (&raw mut ticket).cast(),
    ];
    assert_eq!(cuda.launch(function, [1, 1, 1], [64, 1, 1], 0, args.as_mut_ptr()), 0);
    assert_eq!(cuda.synchronise(), 719);
    let report = cuda.device.report();
    assert!(
        report.contains("race in kernel sums_f16")
            || report.contains("uninitialised read in kernel sums_f16"),
        "{report}"
    );
}
