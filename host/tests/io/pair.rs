//! Which tensors make a pair where names are left out.

use densekd::io::{self, Array, TensorPath};

use crate::assert_error;
use crate::support::{Folder, Outcome, f32s, npy, npz};

fn tensor(shape: &[usize]) -> Array {
    Array::new(shape, vec![0.5_f32; shape.iter().product()]).expect("a tensor")
}

/// Writes the named shapes to `file`; `argument` is the file with what follows it.
fn write(folder: &Folder, file: &str, tensors: &[(&str, &[usize])]) -> Outcome {
    let tensors: Vec<_> = tensors.iter().map(|&(name, shape)| (name, tensor(shape))).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    Ok(io::write_safetensors(folder.join(file), &tensors, &[])?)
}

fn names(
    folder: &Folder,
    teacher: &str,
    student: &str,
) -> Result<(Option<String>, Option<String>), io::Error> {
    let parse = |argument| TensorPath::parse(folder.join(argument));
    let pair = io::read_pair(&parse(teacher)?, &parse(student)?)?;
    let name = |at: TensorPath| at.name().map(str::to_owned);
    Ok((name(pair.teacher_at), name(pair.student_at)))
}

fn both(teacher: &str, student: &str) -> (Option<String>, Option<String>) {
    (Some(teacher.to_owned()), Some(student.to_owned()))
}

#[test]
fn the_only_names_need_not_be_equal() -> Outcome {
    let folder = Folder::new();
    write(&folder, "t.safetensors", &[("x", &[1, 2])])?;
    write(&folder, "s.safetensors", &[("y", &[1, 3])])?;
    assert_eq!(names(&folder, "t.safetensors", "s.safetensors")?, both("x", "y"));
    io::write_npy(folder.join("n.npy"), &tensor(&[1, 2]))?;
    assert_eq!(names(&folder, "n.npy", "s.safetensors")?, (None, Some("y".into())));
    Ok(())
}

#[test]
fn the_only_shared_name_of_equal_shape_is_taken() -> Outcome {
    let folder = Folder::new();
    write(&folder, "t.safetensors", &[("logits", &[1, 2]), ("features", &[1, 8]), ("extra", &[1])])?;
    write(&folder, "s.safetensors", &[("logits", &[1, 2]), ("features", &[1, 4])])?;
    assert_eq!(names(&folder, "t.safetensors", "s.safetensors")?, both("logits", "logits"));
    // A name that is given settles its namesake, whatever the shapes.
    let expected = both("features", "features");
    assert_eq!(names(&folder, "t.safetensors:features", "s.safetensors")?, expected);
    assert_eq!(names(&folder, "t.safetensors", "s.safetensors:features")?, expected);
    let expected = both("extra", "features");
    assert_eq!(names(&folder, "t.safetensors:extra", "s.safetensors:features")?, expected);
    Ok(())
}

#[test]
fn labels_and_strange_arrays_do_not_stand_in_the_way() -> Outcome {
    let folder = Folder::new();
    let file = npz(
        &[
            ("logits.npy", npy("'<f4'", "(1,)", &f32s(&[1.0]))),
            ("labels.npy", npy("'|u1'", "(1,)", &[1])),
            ("names.npy", npy("'|O'", "(1,)", &[1])),
        ],
        zip::CompressionMethod::Deflated,
    );
    folder.file("t.npz", &file);
    folder.file("s.npz", &file);
    assert_eq!(names(&folder, "t.npz", "s.npz")?, both("logits", "logits"));
    Ok(())
}

#[test]
fn several_or_none_are_listed() -> Outcome {
    let folder = Folder::new();
    write(&folder, "t.safetensors", &[("a", &[2]), ("b", &[3]), ("c", &[4])])?;
    write(&folder, "s.safetensors", &[("a", &[2]), ("b", &[3]), ("c", &[5])])?;
    let error = names(&folder, "t.safetensors", "s.safetensors").expect_err("two qualify");
    assert_error!(
        error,
        PairAmbiguous,
        "t.safetensors",
        "s.safetensors",
        "share 2",
        "t.safetensors:a",
        "from: a, b"
    );

    write(&folder, "s.safetensors", &[("a", &[9]), ("d", &[3])])?;
    let error = names(&folder, "t.safetensors", "s.safetensors").expect_err("none qualifies");
    assert_error!(error, PairNone, "a [2], b [3], c [4]", "a [9], d [3]", "file.safetensors:name");

    let error = names(&folder, "t.safetensors:c", "s.safetensors").expect_err("no namesake");
    assert_error!(error, NameNeeded, "s.safetensors` holds 2 tensors", "a, d");
    io::write_npy(folder.join("n.npy"), &tensor(&[2]))?;
    let error = names(&folder, "n.npy", "s.safetensors").expect_err("no name to go by");
    assert_error!(error, NameNeeded, "s.safetensors", "a, d");
    Ok(())
}

#[test]
fn a_mistyped_name_is_looked_for_in_its_own_file() -> Outcome {
    let folder = Folder::new();
    write(&folder, "t.safetensors", &[("a", &[2]), ("b", &[3])])?;
    write(&folder, "s.safetensors", &[("c", &[2]), ("d", &[3])])?;
    let error = names(&folder, "t.safetensors:x", "s.safetensors").expect_err("no such name");
    assert_error!(error, NameMissing, "t.safetensors:x` does not exist", "one of: a, b");
    let error = names(&folder, "t.safetensors", "s.safetensors:x").expect_err("no such name");
    assert_error!(error, NameMissing, "s.safetensors:x` does not exist", "one of: c, d");
    Ok(())
}

#[test]
fn faults_of_either_file_come_through() -> Outcome {
    let folder = Folder::new();
    write(&folder, "t.safetensors", &[("a", &[2])])?;
    assert_error!(names(&folder, "t.safetensors", "s.npy").expect_err("missing"), Missing, "s.npy");
    write(&folder, "s.safetensors", &[])?;
    let error = names(&folder, "t.safetensors", "s.safetensors").expect_err("nothing in it");
    assert_error!(error, NoTensors, "s.safetensors");
    let error = names(&folder, "t.safetensors:b", "t.safetensors").expect_err("no such name");
    assert_error!(error, NameMissing, "t.safetensors:b");
    Ok(())
}

#[test]
fn the_sample_files_pair_by_their_logits() -> Outcome {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data");
    let file = |name: &str| TensorPath::parse(data.join(name));
    let pair = io::read_pair(&file("teacher.safetensors")?, &file("student.safetensors")?)?;
    assert_eq!((pair.teacher_at.name(), pair.student_at.name()), (Some("logits"), Some("logits")));
    assert_eq!((pair.teacher.shape(), pair.student.shape()), (&[1, 7, 32, 32][..], &[1, 7, 32, 32][..]));
    assert_ne!(pair.teacher, pair.student);
    Ok(())
}
