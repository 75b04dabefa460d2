//! Safetensors files made by hand, sound and unsound.

use densekd::io::Array;
use half::bf16;

use crate::assert_error;
use crate::support::{Folder, Outcome, f32s, read, safetensors};

fn entry(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
}

fn file(entries: &[String], data: &[u8]) -> Vec<u8> {
    safetensors(&format!("{{{}}}", entries.join(",")), data)
}

#[test]
fn tensors_are_read_by_name() -> Outcome {
    let folder = Folder::new();
    let entries = [entry("b", "F32", "[2]", "[0,8]"), entry("a", "BF16", "[1,1]", "[8,10]")];
    let data = [f32s(&[1.0, 2.0]), bf16::ONE.to_le_bytes().to_vec()].concat();
    folder.file("f.safetensors", file(&entries, &data));
    assert_eq!(read(folder.join("f.safetensors:b"))?, Array::new([2], vec![1.0_f32, 2.0])?);
    assert_eq!(read(folder.join("f.safetensors:a"))?, Array::new([1, 1], vec![bf16::ONE])?);
    Ok(())
}

#[test]
fn names_that_are_not_there() {
    let folder = Folder::new();
    let entries = [entry("b", "F32", "[1]", "[0,4]"), entry("a", "F32", "[1]", "[4,8]")];
    let error = folder.error("f.safetensors", file(&entries, &[0; 8]));
    assert_error!(error, NameNeeded, "2 tensors", "f.safetensors:a", "a, b");
    let error = read(folder.join("f.safetensors:c")).expect_err("no such tensor");
    assert_error!(error, NameMissing, "f.safetensors:c` does not exist", "choose one of: a, b");
    assert_error!(folder.error("f.safetensors", file(&[], &[])), NoTensors, "f.safetensors", "0 tensors");
}

#[test]
fn other_numbers_are_refused_with_a_way_out() {
    let folder = Folder::new();
    for (dtype, size) in [("I64", 8), ("U8", 1), ("BOOL", 1), ("U64", 8), ("F8_E4M3", 1), ("C64", 8)] {
        let bytes = file(&[entry("x", dtype, "[1]", &format!("[0,{size}]"))], &vec![0; size]);
        let error = folder.error("f.safetensors", bytes);
        assert_error!(error, Dtype, "f.safetensors:x", dtype, "f32, f64, f16 or bf16", "t.float()");
    }
}

#[test]
fn every_cut_is_noticed() {
    let folder = Folder::new();
    let whole = file(&[entry("x", "F32", "[2]", "[0,8]")], &[0; 8]);
    for length in 1..whole.len() {
        let error = folder.error("f.safetensors", &whole[..length]);
        assert_error!(error, Truncated, "f.safetensors", &format!("has {length} bytes"), "cut off");
    }
    let longer = [whole, vec![0]].concat();
    assert_error!(folder.error("f.safetensors", longer), Trailing, "f.safetensors", "disagree");
}

#[test]
fn headers_that_lie() {
    let folder = Folder::new();
    let error =
        |entries: &[String], data: usize| folder.error("f.safetensors", file(entries, &vec![0; data]));
    let one = |shape: &str, offsets: &str| error(&[entry("x", "F32", shape, offsets)], 8);
    assert_error!(one("[3]", "[0,8]"), SafetensorsHeader, "f.safetensors", "invalid shape", "save it again");
    assert_error!(one("[2]", "[4,12]"), SafetensorsHeader, "invalid offset for tensor `x`");
    assert_error!(one("[2]", "[8,0]"), SafetensorsHeader, "invalid offset");
    assert_error!(one("[4611686018427387904,4]", "[0,8]"), SafetensorsHeader, "overflow");
    assert_error!(one("[-1]", "[0,8]"), SafetensorsHeader, "invalid value");
    assert_error!(one("[1000000000]", "[0,4000000000]"), Truncated, "wants 40000000");
    let overlap = [entry("x", "F32", "[2]", "[0,8]"), entry("y", "F32", "[2]", "[4,12]")];
    assert_error!(error(&overlap, 12), SafetensorsHeader, "invalid offset for tensor `y`");
    let hole = [entry("x", "F32", "[1]", "[0,4]"), entry("y", "F32", "[1]", "[8,12]")];
    assert_error!(error(&hole, 12), SafetensorsHeader, "invalid offset for tensor `y`");
    let twice = [entry("x", "F32", "[1]", "[0,4]"), entry("x", "F32", "[1]", "[4,8]")];
    assert_error!(error(&twice, 8), SafetensorsHeader, "invalid offset for tensor `x`");
    assert_error!(error(&[entry("x", "F99", "[1]", "[0,4]")], 4), SafetensorsHeader, "unknown variant");
}

/// Each tensor is small enough, but together they reach past the largest address.
#[test]
fn offsets_next_to_the_largest_number() {
    let folder = Folder::new();
    let step = 1_u64 << 60;
    let mut entries: Vec<_> = (0..15)
        .map(|i| {
            entry(&format!("t{i}"), "U8", &format!("[{step}]"), &format!("[{},{}]", i * step, (i + 1) * step))
        })
        .collect();
    let last = u64::MAX - 15 * step;
    entries.push(entry("end", "U8", &format!("[{last}]"), &format!("[{},{}]", 15 * step, u64::MAX)));
    assert_error!(
        folder.error("f.safetensors", file(&entries, &[0; 8])),
        Truncated,
        "f.safetensors",
        "cut off"
    );
}

#[test]
fn headers_that_are_none() {
    let folder = Folder::new();
    let error = |header: &str| folder.error("f.safetensors", safetensors(header, &[]));
    assert_error!(error("nonsense"), SafetensorsHeader, "f.safetensors", "expected");
    assert_error!(error("[]"), SafetensorsHeader, "f.safetensors");
    assert_error!(error(r#"{"x":1}"#), SafetensorsHeader, "f.safetensors");
    assert_error!(error(r#"{"__metadata__":{"a":1}}"#), SafetensorsHeader, "f.safetensors");
    assert_error!(error(&"[".repeat(100_000)), SafetensorsHeader, "f.safetensors");
    let claim = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert_error!(folder.error("f.safetensors", claim), Truncated, "has 10 bytes", "18446744073709551615");
}
