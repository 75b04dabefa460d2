//! Arrays made by hand, sound and unsound.

use densekd::io::Array;

use crate::assert_error;
use crate::support::{Folder, Outcome, f32s, header, npy, npy_text, read};

const TWO: [f32; 2] = [1.5, -2.0];

#[test]
fn all_three_versions_are_read() -> Outcome {
    let folder = Folder::new();
    let text = header("'<f4'", "False", "(2,)");
    let long = |version: u8| {
        let length = u32::try_from(text.len()).expect("short").to_le_bytes();
        [b"\x93NUMPY", &[version, 0][..], &length, text.as_bytes(), &f32s(&TWO)].concat()
    };
    for (name, bytes) in [("1.npy", npy_text(&text, &f32s(&TWO))), ("2.npy", long(2)), ("3.npy", long(3))] {
        assert_eq!(read(folder.file(name, bytes))?, Array::new([2], TWO.to_vec())?);
    }
    Ok(())
}

#[test]
fn scalars_empty_arrays_and_other_spellings_are_read() -> Outcome {
    let folder = Folder::new();
    let one = |shape: &str, data: &[f32]| read(folder.file("a.npy", npy("'<f4'", shape, &f32s(data))));
    assert_eq!(one("()", &[3.0])?, Array::new([], vec![3.0_f32])?);
    assert_eq!(one("(2, 0, 3)", &[])?, Array::new([2, 0, 3], Vec::<f32>::new())?);
    assert_eq!(one("[1, 2]", &TWO)?, Array::new([1, 2], TWO.to_vec())?);
    let text = "{'shape': (2,), \"fortran_order\": False,'descr':'<f4'}";
    assert_eq!(read(folder.file("a.npy", npy_text(text, &f32s(&TWO))))?, Array::new([2], TWO.to_vec())?);
    Ok(())
}

#[test]
fn other_layouts_are_refused_with_a_way_out() {
    let folder = Folder::new();
    let error = |descr: &str| folder.error("a.npy", npy(descr, "(2,)", &[0; 8]));
    let fortran = npy_text(header("'<f4'", "True", "(1, 2)"), &[0; 8]);
    assert_error!(
        folder.error("a.npy", fortran),
        FortranOrder,
        "a.npy",
        "Fortran",
        "C order",
        "np.ascontiguousarray(a)"
    );
    assert_error!(error("'>f4'"), BigEndian, "a.npy", "'>f4'", "little-endian", "a.astype('<f4')");
    assert_error!(error("'>i8'"), BigEndian, "'>i8'");
    assert_error!(
        error("'|O'"),
        ObjectArray,
        "a.npy",
        "'|O'",
        "Python objects",
        "np.array(a.tolist(), dtype='<f4')"
    );
    let fields = "[('x', '<f4'), ('y', '<f4')]";
    assert_error!(error(fields), StructuredArray, "a.npy", "[('x', '<f4')", "plain numbers", "a['field']");
    assert_error!(error("'|V2'"), Bf16InNpy, "a.npy", "'|V2'", "bfloat16", ".safetensors");
    assert_error!(error("'<V2'"), Bf16InNpy, "'<V2'");
    assert_error!(error("'bfloat16'"), Bf16InNpy, "'bfloat16'");
}

#[test]
fn other_numbers_are_refused_with_a_way_out() {
    let folder = Folder::new();
    let types = [
        ("|b1", 1),
        ("|u1", 1),
        ("<i2", 2),
        ("<u4", 4),
        ("<i8", 8),
        ("<u8", 8),
        ("<c8", 8),
        ("<f16", 16),
        ("<U3", 12),
        ("|S4", 4),
        ("|V4", 4),
    ];
    for (descr, size) in types {
        let error = folder.error("a.npy", npy(&format!("'{descr}'"), "(1,)", &vec![0; size]));
        assert_error!(error, Dtype, "a.npy", descr, "f32, f64, f16 or bf16", "a.astype('<f4')");
    }
    let error = folder.error("a.npy", npy("'<i8'", "(1,)", &[0; 8]));
    assert_error!(error, Dtype, "'<i8'", "where labels are wanted");
    let error = folder.error("a.npy", npy("'<M8[ns]'", "(1,)", &[0; 8]));
    assert_error!(error, NpyHeader, "3 brackets");
}

#[test]
fn sizes_that_disagree() {
    let folder = Folder::new();
    let error = |shape: &str, data: usize| folder.error("a.npy", npy("'<f4'", shape, &vec![0; data]));
    assert_error!(error("(3,)", 8), Truncated, "a.npy", "cut off", "save it again");
    assert_error!(error("(1,)", 8), Trailing, "a.npy", "disagree", "save it again");
    assert_error!(error("(99999999999,)", 8), Truncated, "a.npy");
    assert_error!(
        error("(99999999999, 99999999999)", 8),
        TooLarge,
        "a.npy",
        "[99999999999, 99999999999]",
        "63 bits"
    );
    assert_error!(error("(9223372036854775807,)", 8), TooLarge, "9223372036854775807");
    assert_error!(error("(18446744073709551616,)", 8), TooLarge, "18446744073709551616");
    // A product of zero whose other factors overflow, as the strides in `npyz` would.
    assert_error!(error("(0, 99999999999, 99999999999)", 0), TooLarge, "[0, 99999999999");
}

#[test]
fn every_cut_is_noticed() {
    let folder = Folder::new();
    let whole = npy("'<f4'", "(2,)", &f32s(&TWO));
    for length in 1..whole.len() {
        let error = folder.error("a.npy", &whole[..length]);
        if length < 6 {
            assert_error!(error, NpyMagic, "a.npy", "np.save");
        } else {
            assert_error!(error, Truncated, "a.npy", &format!("has {length} bytes"));
        }
    }
}

#[test]
fn headers_that_are_none() {
    let folder = Folder::new();
    let error = |text: &str| folder.error("a.npy", npy_text(text, &[]));
    assert_error!(
        folder.error("a.npy", b"PK\x03\x04 and more"),
        NpyMagic,
        r#""PK\x03\x04 a""#,
        r#""\x93NUMPY""#
    );
    assert_error!(folder.error("a.npy", b"\x93NUMPY\x04\x00\x00\x00"), NpyVersion, "4.0", "1.0, 2.0 or 3.0");
    assert_error!(folder.error("a.npy", b"\x93NUMPY\x01\x01\x00\x00"), NpyVersion, "1.1");
    assert_error!(error(""), NpyHeader, "a.npy", "np.save");
    assert_error!(error("nonsense"), NpyHeader, "could not parse");
    assert_error!(error("(1, 2)"), NpyHeader, "expected a python dict");
    assert_error!(error("{'descr': '<f4', 'shape': (1,)}"), NpyHeader, "fortran_order");
    assert_error!(error(&header("'<f4'", "0", "(1,)")), NpyHeader, "not a bool");
    assert_error!(error(&header("'<f4'", "False", "3")), NpyHeader, "shape must be");
    assert_error!(error(&header("'<f4'", "False", "(-3,)")), NpyHeader, "the dimension -3");
    assert_error!(error(&header("'<f4'", "False", "(1.5,)")), NpyHeader, "the dimension 1.5");
    assert_error!(error(&header("'<f3'", "False", "(1,)")), NpyHeader, "invalid size");
    assert_error!(error(&header("7", "False", "(1,)")), NpyHeader, "must be string or list");
    assert_error!(folder.error("a.npy", npy_text([0xff; 9], &[])), NpyHeader, "no Unicode");
}

#[test]
fn headers_made_to_cost_time_or_memory() {
    let folder = Folder::new();
    for nested in ["[", "(", "{", "{{", "[(", "{[("] {
        let error = folder.error("a.npy", npy_text(nested.repeat(3000), &[]));
        assert!(error.to_string().contains("a.npy"), "{error}");
    }
    assert_error!(folder.error("a.npy", npy_text("[".repeat(60), &[])), NpyHeader, "60 brackets");
    assert_error!(folder.error("a.npy", npy_text("[".repeat(20_000), &[])), NpyHeader, "20000 bytes");
    let claim = b"\x93NUMPY\x02\x00\xff\xff\xff\xff{";
    assert_error!(folder.error("a.npy", claim), NpyHeader, "4294967295 bytes", "10000");
}
