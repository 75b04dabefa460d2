//! Labels and masks.

use crate::run;
use crate::support::{Folder, npy, read};

#[test]
fn labels_and_masks_leave_the_same_positions_out() {
    let folder = Folder::new();
    let (teacher, student) = (folder.map("t.npy", &[2, 3, 1, 4], 1), folder.map("s.npy", &[2, 3, 1, 4], 2));
    let labels = folder.whole("l.npy", &[2, 1, 4], &[0, 255, 2, 1, 1, 1, 255, 0]);
    let sevens = folder.whole("l7.npy", &[2, 1, 4], &[0, 7, 2, 1, 1, 1, 7, 0]);
    let mask = folder.bytes("m.npy", npy("|b1", &[2, 1, 4], &[1, 0, 1, 1, 1, 1, 0, 1]));
    let plain = run!["loss", &teacher, &student, "--json"].value();
    let out = folder.join("g.npy");
    let labelled = run!["loss", &teacher, &student, "--json", "--labels", &labels, "--grad", &out].value();
    assert!((plain - labelled).abs() > 1e-3 * plain);
    let (_, gradient) = read(&out);
    assert!((0..3).all(|c| gradient[c * 4 + 1] == 0.0 && gradient[12 + c * 4 + 2] == 0.0));

    let same = [
        run!["loss", &teacher, &student, "--json", "--mask", &mask].value(),
        run!["loss", &teacher, &student, "--json", "--labels", &sevens, "--ignore-index", "7"].value(),
        run!["loss", &teacher, &student, "--json", "--labels", &labels, "--mask", &mask].value(),
    ];
    assert!(same.iter().all(|value| value.to_bits() == labelled.to_bits()), "{labelled} {same:?}");
    let pi = run!["loss", &teacher, &student, "--json", "--loss", "pi", "--mask", &mask].json();
    assert_eq!(pi["divisor"], 6.0);
}

#[test]
fn one_image_may_leave_out_its_dimension() {
    let folder = Folder::new();
    let (teacher, student) = (folder.map("t.npy", &[3, 2, 2], 1), folder.map("s.npy", &[3, 2, 2], 2));
    let flat = folder.whole("m2.npy", &[2, 2], &[1, 0, 1, 1]);
    let full = folder.whole("m3.npy", &[1, 2, 2], &[1, 0, 1, 1]);
    let flat = run!["loss", &teacher, &student, "--json", "--mask", &flat].value();
    let full = run!["loss", &teacher, &student, "--json", "--mask", &full].value();
    assert_eq!(flat.to_bits(), full.to_bits());
}

#[test]
fn ignoring_after_the_softmax_differs_from_before() {
    let folder = Folder::new();
    let (teacher, student) = (folder.map("t.npy", &[1, 3, 2, 2], 1), folder.map("s.npy", &[1, 3, 2, 2], 2));
    let mask = folder.whole("m.npy", &[1, 2, 2], &[1, 0, 1, 1]);
    let before = run!["loss", &teacher, &student, "--json", "--mask", &mask].value();
    let after = run!["loss", &teacher, &student, "--json", "--mask", &mask, "--ignore", "after"].value();
    assert!((before - after).abs() > 1e-6);
}

#[test]
fn what_is_no_labels_or_mask_is_refused() {
    let folder = Folder::new();
    let map = folder.map("t.npy", &[1, 3, 2, 2], 1);
    let wrong = folder.whole("wrong.npy", &[1, 2, 3], &[0; 6]);
    run!["loss", &map, &map, "--labels", &wrong]
        .fails(1, &["labels", "wrong.npy", "[1, 2, 3]", "[1, 2, 2]", "[1, 3, 2, 2]", "nearest"]);
    run!["loss", &map, &map, "--mask", &wrong].fails(1, &["mask", "wrong.npy", "[1, 2, 3]", "[1, 2, 2]"]);
    let floats = folder.map("floats.npy", &[1, 2, 2], 1);
    run!["loss", &map, &map, "--labels", &floats].fails(1, &["floats.npy", "<f4", "i64", "astype"]);
    let twos = folder.whole("twos.npy", &[1, 2, 2], &[1, 0, 2, 1]);
    run!["loss", &map, &map, "--mask", &twos].fails(1, &["twos.npy", "holds 2", "[0, 1, 0]", "--labels"]);
    let labels = folder.whole("l.npy", &[1, 2, 2], &[0; 4]);
    run!["loss", &map, &map, "--loss", "pi", "--labels", &labels, "--upsample", "2"]
        .fails(2, &["labels or a mask cannot be combined with upsample", "resize the maps"]);
}
