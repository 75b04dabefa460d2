//! Any bytes in a tensor file: an error or a tensor, never a panic.
#![no_main]

use densekd::io::{TensorPath, read, read_labels};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["x.npy", "x.npz", "x.safetensors"] {
        let path = folder.path().join(name);
        std::fs::write(&path, data).expect("a file");
        let at = TensorPath::new(path, None).expect("a known ending");
        let _ = read(&at);
        let _ = read_labels(&at);
    }
});
