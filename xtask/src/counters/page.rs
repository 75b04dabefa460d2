//! The page: tables of what was counted, and what follows for a device.

use super::{Row, cases::Case};
use densekd_core::DType;
use serde::Deserialize;
use std::fmt::Write as _;

/// What `benches/gpu/counts.py` prints.
#[derive(Deserialize)]
pub(super) struct Triton {
    triton: String,
    rows: Vec<TritonRow>,
}

#[derive(Deserialize)]
struct TritonRow {
    dtype: String,
    length: usize,
    threads: u32,
    instructions: f64,
    registers: u32,
    spilled: u32,
}

/// A device as its data sheet has it.
struct Sheet {
    name: &'static str,
    /// Which of the architectures.
    architecture: usize,
    multiprocessors: f64,
    /// Boost clock.
    hertz: f64,
    bytes_per_second: f64,
}

const SHEETS: [Sheet; 3] = [
    Sheet {
        name: "A100 SXM 80 GB",
        architecture: 0,
        multiprocessors: 108.0,
        hertz: 1.41e9,
        bytes_per_second: 2.039e12,
    },
    Sheet {
        name: "H100 SXM",
        architecture: 1,
        multiprocessors: 132.0,
        hertz: 1.98e9,
        bytes_per_second: 3.35e12,
    },
    Sheet { name: "B200", architecture: 2, multiprocessors: 148.0, hertz: 1.965e9, bytes_per_second: 8.0e12 },
];

/// Threads whose instruction a multiprocessor issues in a cycle: four warps.
const ISSUED: f64 = 128.0;
/// Registers of a multiprocessor, bytes of shared memory by architecture, and threads.
const REGISTERS: u32 = 65_536;
const SHARED: [u32; 3] = [164 << 10, 228 << 10, 228 << 10];
const RESIDENT: u32 = 2048;
/// Bytes that the system takes of a block's shared memory.
const SYSTEM: u32 = 1 << 10;

impl Sheet {
    /// The share of the speed of a copy of the ideal bytes that instructions and bytes let it have.
    fn share(&self, instructions: f64, bytes: f64, ideal: f64) -> f64 {
        let issue = instructions / (self.multiprocessors * self.hertz * ISSUED);
        (ideal / self.bytes_per_second / (bytes / self.bytes_per_second).max(issue)).min(1.0)
    }

    fn share_of(&self, row: &Row) -> f64 {
        self.share(row.instructions(), row.bytes(), row.case.ideal())
    }
}

/// The share of a multiprocessor's threads that are there at once.
fn occupancy(architecture: usize, registers: u32, shared: u32, threads: u32) -> f64 {
    // Registers are given to a warp in units of 256.
    let by_registers = REGISTERS / (registers.max(1).next_multiple_of(8) * threads);
    let by_shared = SHARED[architecture] / (shared + SYSTEM);
    f64::from((by_registers.min(by_shared) * threads).min(RESIDENT)) / f64::from(RESIDENT)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

const HEAD: &str = include_str!("page.md");

/// The whole page.
pub(super) fn page(rows: &[Row], halves: &[(Case, [u64; 2])], triton: &Triton) -> String {
    let mut losses = String::new();
    for row in rows {
        line(&mut losses, row);
    }
    let devices = SHEETS.each_ref().map(|sheet| {
        let Sheet { name, multiprocessors, hertz, bytes_per_second, .. } = sheet;
        let (clock, bandwidth) = (hertz / 1e9, bytes_per_second / 1e12);
        format!("| {name} | {multiprocessors} | {clock:.3} GHz | {bandwidth:.3} TB/s |")
    });
    HEAD.replace("{devices}", &devices.join("\n"))
        .replace("{losses}", losses.trim_end())
        .replace("{halves}", of_halves(halves).trim_end())
        .replace("{goal}", goal(rows).trim_end())
        .replace("{triton}", &triton.triton)
        .replace("{peers}", beside(rows, triton).trim_end())
}

fn line(table: &mut String, row: &Row) {
    let (instructions, bytes) = (row.instructions(), row.bytes());
    let shares = SHEETS.each_ref().map(|sheet| percent(sheet.share_of(row)));
    let of = |sheet: &Sheet| {
        let kernel = row.assembled[sheet.architecture];
        percent(occupancy(sheet.architecture, kernel.registers, kernel.shared, kernel.threads))
    };
    let registers = row.assembled.map(|kernel| kernel.registers.to_string());
    let kernel = row.kernels[0].trim_end_matches(&format!("_{}", row.case.dtype.name())).to_owned();
    let _ = writeln!(
        table,
        "| {} | {} | {} | {} | {} | {} | {bytes:.1} | {instructions:.1} | {} | {} | {} | {} |",
        row.case.name,
        row.case.length(),
        row.case.dtype.name(),
        if row.case.pulls { "gradient" } else { "value" },
        kernel,
        row.counted.launches,
        registers.join(" / "),
        SHEETS.each_ref().map(of).join(" / "),
        row.counted.bank_conflicts,
        shares.join(" / "),
    );
}

/// What the kernels for either generation of devices take for rows of 16 bits.
fn of_halves(halves: &[(Case, [u64; 2])]) -> String {
    let mut lines = String::new();
    for (case, counts) in halves {
        let [older, later] = counts.map(|count| case.each(count));
        let (length, dtype) = (case.length(), case.dtype.name());
        let _ = writeln!(lines, "| {length} | {dtype} | {older:.1} | {later:.1} |");
    }
    lines
}

/// Where the goal of 30 instructions an element holds.
fn goal(rows: &[Row]) -> String {
    let mut lines = String::new();
    for row in rows.iter().filter(|row| row.case.name == "cwd" && row.case.pulls && row.case.length() >= 1024)
    {
        let instructions = row.instructions();
        let _ = writeln!(
            lines,
            "| {} | {} | {instructions:.1} | {} | {} | {} |",
            row.case.length(),
            row.case.dtype.name(),
            if instructions <= 30.0 { "yes" } else { "no" },
            row.counted.launches,
            row.counted.local_bytes,
        );
    }
    lines
}

/// The Triton kernel, beside ours on the same rows.
fn beside(rows: &[Row], triton: &Triton) -> String {
    let mut lines = String::new();
    for peer in &triton.rows {
        let TritonRow { dtype, length, threads, instructions, registers, spilled } = peer;
        let dtype_of = |row: &&Row| row.case.dtype.name() == dtype && row.case.length() == *length;
        let ours = rows.iter().filter(|row| row.case.name == "cwd" && row.case.pulls).find(dtype_of);
        let bytes = 3.0 * if dtype == DType::F16.name() { 2.0 } else { 4.0 };
        let h100 = &SHEETS[1];
        let theirs = percent(occupancy(1, *registers, 0, *threads));
        let (our_instructions, our_share) = ours.map_or((String::new(), String::new()), |row| {
            (format!("{:.1}", row.instructions()), percent(h100.share_of(row)))
        });
        let _ = writeln!(
            lines,
            "| {length} | {dtype} | {instructions:.1} | {registers} | {spilled} | {theirs} | {} | {our_instructions} | {our_share} |",
            percent(h100.share(*instructions, bytes, bytes)),
        );
    }
    lines
}
