//! Labels and masks of every width.

use densekd::io::{self, TensorPath};
use zip::CompressionMethod::Deflated;

use crate::assert_error;
use crate::support::{Folder, Outcome, npy, npz, safetensors};

const KINDS: [(&str, &str, usize); 8] = [
    ("|b1", "BOOL", 1),
    ("|u1", "U8", 1),
    ("|i1", "I8", 1),
    ("<u2", "U16", 2),
    ("<i2", "I16", 2),
    ("<u4", "U32", 4),
    ("<i4", "I32", 4),
    ("<i8", "I64", 8),
];

/// 1 and the number whose bytes are all ones.
fn data(size: usize) -> Vec<u8> {
    let mut one = vec![0; size];
    one[0] = 1;
    [one, vec![0xff; size]].concat()
}

fn read(folder: &Folder, name: &str, bytes: Vec<u8>) -> Result<(Vec<usize>, Vec<i64>), io::Error> {
    let labels = io::read_labels(&TensorPath::parse(folder.file(name, bytes))?)?;
    Ok((labels.shape, labels.values))
}

fn tensors(dtype: &str, size: usize) -> Vec<u8> {
    let header = format!(r#"{{"x":{{"dtype":"{dtype}","shape":[2,1],"data_offsets":[0,{}]}}}}"#, 2 * size);
    safetensors(&header, &data(size))
}

#[test]
fn every_width_is_read_from_every_format() -> Outcome {
    let folder = Folder::new();
    for (descr, dtype, size) in KINDS {
        let all_ones = match dtype {
            "BOOL" => 1,
            "U8" => i64::from(u8::MAX),
            "U16" => i64::from(u16::MAX),
            "U32" => i64::from(u32::MAX),
            _ => -1,
        };
        let wanted = (vec![2, 1], vec![1, all_ones]);
        let array = npy(&format!("'{descr}'"), "(2, 1)", &data(size));
        assert_eq!(read(&folder, "a.npy", array.clone())?, wanted, "{descr}");
        assert_eq!(read(&folder, "a.npz", npz(&[("x.npy", array)], Deflated))?, wanted, "{descr}");
        assert_eq!(read(&folder, "a.safetensors", tensors(dtype, size))?, wanted, "{dtype}");
    }
    Ok(())
}

#[test]
fn floats_and_unsigned_64_bits_are_refused() {
    let folder = Folder::new();
    for (descr, dtype, size) in [("<f4", "F32", 4), ("<f2", "F16", 2), ("<u8", "U64", 8)] {
        let array = npy(&format!("'{descr}'"), "(2, 1)", &data(size));
        let error = read(&folder, "a.npy", array).expect_err("no labels");
        assert_error!(
            error,
            Dtype,
            "a.npy",
            descr,
            "bool, u8, i8, u16, i16, u32, i32 or i64",
            "a.astype('<i8')"
        );
        let error = read(&folder, "a.safetensors", tensors(dtype, size)).expect_err("no labels");
        assert_error!(error, Dtype, "a.safetensors:x", dtype, "t.to(torch.int64)");
    }
    let error = read(&folder, "a.npy", npy("'>i4'", "(2, 1)", &data(4))).expect_err("the other byte order");
    assert_error!(error, BigEndian, "'>i4'");
}
