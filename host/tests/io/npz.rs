//! Archives made by hand, sound and unsound.

use densekd::io::Array;
use zip::CompressionMethod::{self, Deflated, Stored};

use crate::assert_error;
use crate::support::{Folder, Outcome, f32s, npy, npz, read};

fn two(first: f32) -> Vec<u8> {
    npy("'<f4'", "(2,)", &f32s(&[first, 2.0]))
}

fn both(method: CompressionMethod) -> Vec<u8> {
    npz(&[("b.npy", two(1.0)), ("a.npy", two(0.0)), ("readme.txt", b"no array".to_vec())], method)
}

#[test]
fn members_are_read_by_name_stored_or_deflated() -> Outcome {
    let folder = Folder::new();
    for method in [Stored, Deflated] {
        folder.file("f.npz", both(method));
        assert_eq!(read(folder.join("f.npz:b"))?, Array::new([2], vec![1.0_f32, 2.0])?);
        assert_eq!(read(folder.join("f.npz:a"))?, Array::new([2], vec![0.0_f32, 2.0])?);
    }
    let only = folder.file("one.npz", npz(&[("arr_0.npy", two(7.0)), ("x.txt", vec![])], Deflated));
    assert_eq!(read(only)?, Array::new([2], vec![7.0_f32, 2.0])?);
    Ok(())
}

#[test]
fn a_large_member_is_unpacked_whole() -> Outcome {
    let folder = Folder::new();
    let numbers: Vec<f32> = (0_u16..60_000).cycle().take(600_000).map(f32::from).collect();
    let bytes = npy("'<f4'", "(600000,)", &f32s(&numbers));
    for method in [Stored, Deflated] {
        let tensor = read(folder.file("f.npz", npz(&[("x.npy", bytes.clone())], method)))?;
        assert_eq!(tensor.as_slice(), Some(&numbers[..]));
    }
    Ok(())
}

#[test]
fn names_that_are_not_there() {
    let folder = Folder::new();
    assert_error!(folder.error("f.npz", both(Stored)), NameNeeded, "2 tensors", "f.npz:a", "a, b");
    let error = read(folder.join("f.npz:c")).expect_err("no such member");
    assert_error!(error, NameMissing, "f.npz:c` does not exist", "choose one of: a, b");
    let none = npz(&[("readme.txt", vec![1])], Stored);
    assert_error!(folder.error("f.npz", none), NoTensors, "f.npz", "0 tensors", "save it again");
}

#[test]
fn what_is_no_archive() {
    let folder = Folder::new();
    assert_error!(folder.error("f.npz", b"no zip at all"), Npz, "f.npz", "zip archive", "np.savez");
    let whole = both(Stored);
    for length in 1..whole.len() {
        let error = folder.error("f.npz", &whole[..length]);
        assert_error!(error, Npz, "f.npz");
    }
    let mut twice = both(Stored);
    while let Some(at) = twice.windows(5).position(|part| part == b"b.npy") {
        twice[at] = b'a';
    }
    assert_error!(folder.error("f.npz", twice), Npz, "two members have one name");
}

#[test]
fn members_that_cannot_be_trusted() {
    let folder = Folder::new();
    let whole = npz(&[("x.npy", two(1.0))], Stored);

    let mut flipped = whole.clone();
    let data = whole.windows(4).position(|part| part == 2.0_f32.to_le_bytes()).expect("the data");
    flipped[data] ^= 1;
    assert_error!(folder.error("f.npz", flipped), NpzMember, "f.npz:x", "hecksum", "np.savez");

    // The unpacked size in the central directory, and in the member's own header.
    let mut claims = whole.clone();
    let central = whole.windows(4).position(|part| part == b"PK\x01\x02").expect("a directory");
    claims[central + 24..central + 28].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    claims[22..26].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    assert_error!(folder.error("f.npz", claims), NpzClaim, "f.npz:x", "2147483647 bytes", "at most", "again");

    let mut bzip2 = whole.clone();
    bzip2[central + 10] = 12;
    bzip2[8] = 12;
    assert_error!(folder.error("f.npz", bzip2), NpzMember, "f.npz:x", "ompression");

    let mut locked = whole.clone();
    locked[central + 8] |= 1;
    locked[6] |= 1;
    assert_error!(folder.error("f.npz", locked), NpzMember, "f.npz:x", "assword");
}

#[test]
fn members_that_are_no_arrays() {
    let folder = Folder::new();
    let error = |bytes: Vec<u8>| folder.error("f.npz", npz(&[("x.npy", bytes)], Deflated));
    assert_error!(error(b"text".to_vec()), NpyMagic, "f.npz:x");
    assert_error!(error(vec![]), NpyMagic, "f.npz:x");
    assert_error!(error(npy("'<f4'", "(3,)", &[0; 8])), Truncated, "f.npz:x");
    assert_error!(error(npy("'<f4'", "(1,)", &[0; 8])), Trailing, "f.npz:x");
    assert_error!(error(npy("'<f4'", "(99999999999,)", &[0; 8])), Truncated, "f.npz:x");
    assert_error!(error(npy("'>f4'", "(2,)", &[0; 8])), BigEndian, "f.npz:x");
    assert_error!(error(npy("'<i4'", "(2,)", &[0; 8])), Dtype, "f.npz:x", "'<i4'");
}
