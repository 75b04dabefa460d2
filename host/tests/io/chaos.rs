//! Files changed at random are read or refused, but nothing panics, hangs or takes all memory.

use densekd::io::{self, TensorPath};
use zip::CompressionMethod::Deflated;

use crate::support::{Folder, f32s, npy, npy_text, npz, safetensors};

fn try_both(folder: &Folder, name: &str, bytes: &[u8]) {
    let at = TensorPath::parse(folder.file(name, bytes)).expect("a tensor path");
    for error in [io::read(&at).err(), io::read_labels(&at).err()].into_iter().flatten() {
        assert!(error.to_string().contains(name), "{error}");
    }
    let _either = io::read_pair(&at, &at);
}

fn originals() -> [(&'static str, Vec<u8>); 3] {
    let array = npy("'<f4'", "(2, 1)", &f32s(&[1.0, 2.0]));
    let header = r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}}"#;
    let members = [("x.npy", array.clone()), ("y.npy", npy("'|u1'", "(3,)", &[1, 2, 3]))];
    [("f.npy", array), ("f.npz", npz(&members, Deflated)), ("f.safetensors", safetensors(header, &[0; 9]))]
}

#[test]
fn every_byte_changed() {
    let folder = Folder::new();
    for (name, original) in originals() {
        for at in 0..original.len() {
            for change in [0x01_u8, 0x02, 0x10, 0x80, 0xff] {
                let mut bytes = original.clone();
                bytes[at] ^= change;
                try_both(&folder, name, &bytes);
            }
        }
    }
}

#[test]
fn every_run_of_bytes_set_to_the_largest_number() {
    let folder = Folder::new();
    for (name, original) in originals() {
        for width in [2, 4, 8] {
            for at in 0..original.len() - width {
                let mut bytes = original.clone();
                bytes[at..at + width].fill(0xff);
                try_both(&folder, name, &bytes);
                bytes[at + width - 1] = 0x7f;
                try_both(&folder, name, &bytes);
            }
        }
    }
}

#[test]
fn array_headers_of_random_words() {
    const WORDS: [&str; 28] = [
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        ":",
        "'descr'",
        "'shape'",
        "'fortran_order'",
        "'<f4'",
        "'|O'",
        "True",
        "False",
        "None",
        "1",
        "0x",
        "1e999",
        "-",
        "+",
        "1j",
        "b'\\777'",
        "'\\U00110000'",
        "\"",
        "\u{e9}",
        "\\",
        "99999",
    ];
    let folder = Folder::new();
    let mut state = 1_u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % n
    };
    for _ in 0..5000 {
        // A sound header with a few words put in, or nothing but words.
        let mut words: Vec<&str> = if below(2) == 0 {
            vec![
                "{",
                "'descr'",
                ":",
                "'<f4'",
                ",",
                "'fortran_order'",
                ":",
                "False",
                ",",
                "'shape'",
                ":",
                "(",
                "1",
                ",",
                ")",
                "}",
            ]
        } else {
            Vec::new()
        };
        for _ in 0..below(20) {
            words.insert(below(words.len() + 1), WORDS[below(WORDS.len())]);
        }
        try_both(&folder, "f.npy", &npy_text(words.concat(), &[0; 4]));
    }
}
