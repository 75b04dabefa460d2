//! What is written is read back bit for bit, mapped where it is large.

use densekd::core::{DType, Tensor};
use densekd::io::{self, Array, TensorPath, Values};
use half::{bf16, f16};

use crate::assert_error;
use crate::support::{Folder, Outcome, header, npy_text, read};

/// Bit patterns, so that NaN, infinities, zeros of both signs and subnormals are among them.
fn patterns(count: u32) -> impl Iterator<Item = u64> {
    (0..count).map(|i| u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn all_types(count: u32) -> [Values; 4] {
    let low = |x: u64| u32::try_from(x >> 32).expect("32 bits");
    let lower = |x: u64| u16::try_from(x >> 48).expect("16 bits");
    [
        patterns(count).map(low).map(f32::from_bits).collect::<Vec<_>>().into(),
        patterns(count).map(f64::from_bits).collect::<Vec<_>>().into(),
        patterns(count).map(lower).map(f16::from_bits).collect::<Vec<_>>().into(),
        patterns(count).map(lower).map(bf16::from_bits).collect::<Vec<_>>().into(),
    ]
}

fn bits(tensor: &Array) -> Vec<u64> {
    match tensor.as_tensor() {
        Tensor::F32(x) => x.iter().map(|x| x.to_bits().into()).collect(),
        Tensor::F64(x) => x.iter().map(|x| x.to_bits()).collect(),
        Tensor::F16(x) => x.iter().map(|x| x.to_bits().into()).collect(),
        Tensor::Bf16(x) => x.iter().map(|x| x.to_bits().into()).collect(),
    }
}

fn round_trips(count: u32, mapped: bool) -> Outcome {
    let folder = Folder::new();
    for values in all_types(count) {
        let tensor = Array::new([1, usize::try_from(count)?], values)?;
        let names =
            if tensor.dtype() == DType::Bf16 { &["a.safetensors"][..] } else { &["a.npy", "a.safetensors"] };
        for name in names {
            io::write(folder.join(name), "x", &tensor)?;
            let back = read(folder.join(name))?;
            assert_eq!((back.shape(), back.dtype()), (tensor.shape(), tensor.dtype()), "{name}");
            assert_eq!(bits(&back), bits(&tensor), "{name}");
            assert_eq!(back.is_mapped(), mapped && cfg!(target_endian = "little"), "{name}");
        }
    }
    Ok(())
}

#[test]
fn small_files() -> Outcome {
    round_trips(1000, false)
}

#[test]
fn empty_tensors() -> Outcome {
    round_trips(0, false)
}

#[test]
fn large_files_are_mapped() -> Outcome {
    round_trips(600_000, true)
}

#[test]
fn many_tensors_of_mixed_types_stay_aligned() -> Outcome {
    let folder = Folder::new();
    let path = folder.join("a.safetensors");
    // Odd counts: in the order given, the wider numbers would lie askew.
    let tensors: Vec<_> = all_types(300_001).into_iter().rev().map(|v| Array::new([300_001], v)).collect();
    let tensors = tensors.into_iter().collect::<Result<Vec<_>, _>>()?;
    let named: Vec<_> = ["a", "b", "c", "d"].into_iter().zip(&tensors).collect();
    io::write_safetensors(&path, &named, &[("loss", "cwd"), ("tau", "4")])?;
    for (name, tensor) in named {
        let back = io::read(&TensorPath::new(&path, Some(name))?)?;
        assert_eq!(bits(&back), bits(tensor));
        assert!(back.is_mapped() || cfg!(target_endian = "big"));
    }
    // Once more with another implementation's eyes.
    let bytes = std::fs::read(&path)?;
    let file = safetensors::SafeTensors::deserialize(&bytes)?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)?;
    assert_eq!(file.len(), 4);
    assert_eq!(metadata.metadata().as_ref().and_then(|m| m.get("tau")).map(String::as_str), Some("4"));
    Ok(())
}

#[test]
fn numbers_that_lie_askew_are_copied() -> Outcome {
    let folder = Folder::new();
    let numbers: Vec<f32> = (0_u16..=u16::MAX).cycle().take(300_000).map(f32::from).collect();
    let data: Vec<u8> = numbers.iter().copied().flat_map(f32::to_le_bytes).collect();
    for padding in 0..8 {
        let text = " ".repeat(padding) + &header("'<f4'", "False", "(300000,)");
        let start = 10 + text.len();
        let tensor = read(folder.file("a.npy", npy_text(text, &data)))?;
        assert_eq!(tensor.as_slice(), Some(&numbers[..]));
        assert_eq!(tensor.is_mapped(), start.is_multiple_of(4) && cfg!(target_endian = "little"), "{start}");
    }
    Ok(())
}

#[test]
fn a_mapped_tensor_outlives_the_file_that_a_writer_replaces() -> Outcome {
    let folder = Folder::new();
    let path = folder.join("a.npy");
    let tensor = |x: f32| Array::new([600_000], vec![x; 600_000]);
    io::write_npy(&path, &tensor(1.0)?)?;
    let older = read(&path)?;
    io::write_npy(&path, &tensor(2.0)?)?;
    assert!(older == tensor(1.0)? && read(&path)? == tensor(2.0)?);
    std::fs::remove_file(&path)?;
    assert!(older.clone() == tensor(1.0)?);
    Ok(())
}

#[test]
fn arrays_are_written_as_numpy_writes_them() -> Outcome {
    let folder = Folder::new();
    let path = folder.join("a.npy");
    io::write_npy(&path, &Array::new([1, 2], vec![1.0_f32, 2.0])?)?;
    let bytes = std::fs::read(&path)?;
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = bytes.len() - 8;
    assert_eq!(start % 64, 0, "NumPy aligns the data to 64 bytes");
    let text = std::str::from_utf8(&bytes[10..start])?;
    assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2"), "{text}");
    assert!(text.ends_with('\n'));
    Ok(())
}

#[test]
fn shapes_must_fit() {
    let error = |shape: &[usize]| Array::new(shape, vec![0.0_f32; 6]).expect_err("a shape that does not fit");
    assert_error!(error(&[2, 2]), Shape, "[2, 2]", "6 values", "product is 6");
    assert_error!(error(&[]), Shape, "[]");
    assert_error!(error(&[usize::MAX, 2]), Shape, "6 values");
}

#[test]
fn a_tensor_in_words() -> Outcome {
    let tensor = Array::new([2, 0], Vec::<f16>::new())?;
    assert_eq!(format!("{tensor:?}"), "Array(f16 [2, 0], mapped: false)");
    assert!(tensor.is_empty());
    Ok(())
}
