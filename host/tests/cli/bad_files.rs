//! Files that are no good: what the user is told.

use crate::run;
use crate::support::{Folder, STUDENT, TEACHER, npy};
use std::fs;

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new();
    let good = folder.map("good.npy", &[1, 2, 2, 2], 1);
    run!["loss", &folder.join("none.npy"), &good].fails(1, &["none.npy` does not exist", "check the path"]);
    run!["loss", &folder.join("none"), &good].fails(1, &["none` does not exist"]);
    let other = folder.bytes("weights.pt", "PK");
    run!["loss", &good, &other].fails(1, &["weights.pt", ".pt", "wanted .npy, .npz or .safetensors"]);
    let empty = folder.bytes("empty.npy", "");
    run!["loss", &good, &empty].fails(1, &["empty.npy", "0 bytes"]);

    let whole = fs::read(&good).expect("the file just written");
    let cut = folder.bytes("cut.npy", &whole[..whole.len() - 5]);
    run!["loss", &good, &cut].fails(1, &["cut.npy", "bytes", "cut off"]);
    let noise = folder.bytes("noise.npy", "this is a text");
    run!["loss", &noise, &good].fails(1, &["noise.npy", "np.save"]);
    let corrupt = folder.bytes("corrupt.safetensors", [&8_u64.to_le_bytes()[..], b"{\"a\": 1]"].concat());
    run!["loss", &good, &corrupt].fails(1, &["corrupt.safetensors", "header", "save it again"]);
    let huge = folder.bytes("huge.safetensors", [0xff; 16]);
    run!["loss", &good, &huge].fails(1, &["huge.safetensors", "cut off"]);
    let archive = folder.bytes("text.npz", "this is a text");
    run!["loss", &good, &archive].fails(1, &["text.npz", "zip", "np.savez"]);
}

#[test]
fn tensors_that_are_not_there_or_of_no_use() {
    let folder = Folder::new();
    let good = folder.map("good.npy", &[1, 2, 2, 2], 1);
    run!["loss", format!("{TEACHER}:logit"), format!("{STUDENT}:logits")]
        .fails(1, &["logit", "does not exist", "features, logits"]);
    let archive = folder.join("a.npz");
    let mut zip = zip::ZipWriter::new(fs::File::create(&archive).expect("an archive"));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("logits.npy", options).expect("a member");
    std::io::Write::write_all(&mut zip, &npy("<f4", &[1, 2, 2, 2], &[0; 32])).expect("its bytes");
    zip.finish().expect("the end of the archive");
    let member = |name: &str| format!("{}:{name}", archive.display());
    run!["loss", &good, member("features")].fails(1, &["a.npz:features", "choose one of: logits"]);
    run!["loss", &good, member("logits")].text();

    let whole = folder.whole("whole.npy", &[1, 2, 2, 2], &[1; 8]);
    run!["loss", &good, &whole].fails(1, &["whole.npy", "<i8", "wanted f32, f64, f16 or bf16", "astype"]);
}

#[test]
fn shapes_that_do_not_fit() {
    let folder = Folder::new();
    let good = folder.map("good.npy", &[1, 2, 2, 2], 1);
    let wide = folder.map("wide.npy", &[1, 2, 2, 3], 1);
    run!["loss", &good, &wide]
        .fails(1, &["good.npy", "wide.npy", "[1, 2, 2, 2]", "[1, 2, 2, 3]", "resize one of them"]);
    run!["loss", format!("{TEACHER}:features"), format!("{STUDENT}:features")]
        .fails(1, &["[1, 32, 32, 32]", "[1, 24, 32, 32]", "1x1 convolution"]);
    let none = folder.tensor("none.npy", &[1, 0, 2, 2], Vec::<f32>::new());
    run!["loss", &none, &none].fails(1, &["none.npy", "[1, 0, 2, 2]", "at least 1"]);
    let five = folder.map("five.npy", &[1, 1, 2, 2, 2], 1);
    run!["loss", &five, &five].fails(1, &["five.npy", "5 dimensions", "[1, 1, 2, 2, 2]", "[N, C, H, W]"]);
    run!["loss", &five, &five, "--layout", "nhwc"].fails(1, &["[N, H, W, C]"]);
    let line = folder.map("line.npy", &[4], 1);
    run!["loss", &line, &line].fails(1, &["line.npy", "1 dimension"]);
}

#[test]
fn faults_are_json_where_json_is_asked_for() {
    let folder = Folder::new();
    let good = folder.map("good.npy", &[1, 2, 2, 2], 1);
    let wide = folder.map("wide.npy", &[1, 2, 2, 3], 1);
    run!["loss", &good, &wide, "--json"].fails_json("shape_mismatch", &["good.npy", "[1, 2, 2, 3]"]);
    run!["loss", &folder.join("none.npy"), &wide, "--json"].fails_json("file_missing", &["none.npy"]);
    run!["loss", &good, &good, "--json", "--tau", "0"].fails_json("usage", &["tau is 0"]);
    run!["loss", &good, &good, "--json", "--norm", "none"].fails_json("not_a_distribution", &["norm none"]);
}
