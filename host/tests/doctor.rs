//! `doctor::examine`: every finding provoked and absent, and the numbers that they rest on.

use densekd::core::{Error, Mask, Order, Preset, RowOptions, Shape};
use densekd::doctor::{Advice, PresetValue, Report, examine};
use densekd::{BackendError, Cpu};
use half::f16;

const DIMS: [usize; 4] = [1, 4, 4, 4];

/// Numbers between -6 and 6.
fn map(seed: u32, length: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f32::from(u16::try_from(state >> 16).unwrap_or_default()) / 65536.0 - 0.5) * 12.0
    };
    (0..length).map(|_| next()).collect()
}

fn pair() -> (Vec<f32>, Vec<f32>) {
    (map(1, 64), map(2, 64))
}

fn report_of(dims: [usize; 4], teacher: &[f32], student: &[f32], mask: Mask<'_>) -> Report {
    let shape = Shape::new(dims).expect("a shape");
    examine(&Cpu::new(), shape, Order::Nchw, teacher.into(), student.into(), mask).expect("a report")
}

fn report(teacher: &[f32], student: &[f32]) -> Report {
    report_of(DIMS, teacher, student, Mask::ALL)
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.advice.iter().map(|advice| advice.code).collect()
}

/// The text of a finding.
#[track_caller]
fn text(report: &Report, code: &str) -> String {
    let found = report.advice.iter().find(|advice| advice.code == code);
    found.unwrap_or_else(|| panic!("{code} is not among {:?}", codes(report))).text.clone()
}

#[track_caller]
fn assert_mentions(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn where_nothing_is_wrong_no_other_code_is_given() {
    let (teacher, student) = pair();
    let report = report(&teacher, &student);
    assert_eq!(codes(&report), ["nothing_wrong"]);
    assert!(Advice::CODES.contains(&"nothing_wrong"));
    assert!(report.usual.iter().all(|usual| usual.failed == 0 && usual.nan == 0));
}

#[test]
fn nan_is_named_with_its_place() {
    let (mut teacher, mut student) = pair();
    teacher[16 + 6] = f32::NAN;
    student[40] = f32::NAN;
    student[63] = f32::NAN;
    let report = report(&teacher, &student);
    let text = text(&report, "nan");
    assert_mentions(&text, &["1 in the teacher", "[0, 1, 1, 2]", "2 in the student", "[0, 2, 2, 0]"]);
    assert_eq!(report.student.nan.count, 2);
    assert!(report.channels[0].value.is_nan() && report.channels[0].share.is_nan());
    assert!(!codes(&report).contains(&"nothing_wrong") && !codes(&report).contains(&"plus_inf"));
}

#[test]
fn infinities_are_told_apart() {
    let (mut teacher, mut student) = pair();
    student[5] = f32::INFINITY;
    let plus = report(&teacher, &student);
    assert_mentions(&text(&plus, "plus_inf"), &["1 in the student", "[0, 0, 1, 1]"]);
    assert!(!codes(&plus).contains(&"minus_inf") && !codes(&plus).contains(&"nan"));

    student[5] = f32::NEG_INFINITY;
    let minus = report(&teacher, &student);
    assert_mentions(&text(&minus, "minus_inf"), &["0 times in the teacher", "1 times in the student"]);
    assert_eq!(minus.usual[0].value, f64::INFINITY);
    // Infinite by definition: no fault of the usual form.
    assert!(!codes(&minus).contains(&"usual_form_fails") && !codes(&minus).contains(&"shared_minus_inf"));

    teacher[5] = f32::NEG_INFINITY;
    let shared = report(&teacher, &student);
    assert_mentions(&text(&shared, "shared_minus_inf"), &["1 elements", "[0, 0, 1, 1]"]);
    assert!(!codes(&shared).contains(&"minus_inf"));
    let usual = shared.usual[1];
    assert!(usual.value.is_finite() && usual.softmax_log.is_nan() && usual.log_softmax.is_nan());
}

#[test]
fn a_far_logit_breaks_the_usual_form_alone() {
    let (mut teacher, mut student) = pair();
    (teacher[20], student[20]) = (-500.0, -500.0);
    let report = report(&teacher, &student);
    assert_mentions(&text(&report, "usual_form_fails"), &["1 of 4", "[0, 1]", "printed nan"]);
    for usual in &report.usual {
        assert_eq!((usual.nan, usual.infinite, usual.failed), (1, 0, 1));
        assert!((usual.log_softmax - usual.value).abs() < 1e-5 * usual.value);
    }
    assert_eq!(report.usual[0].first_failed, Some([0, 1]));
}

#[test]
fn a_far_logit_of_the_student_alone_gives_an_infinity() {
    let (teacher, mut student) = pair();
    student[20] = -500.0;
    let report = report(&teacher, &student);
    assert_eq!(report.usual[0].infinite, 1);
    assert!(report.usual[0].value.is_finite() && report.usual[0].softmax_log.is_infinite());
}

#[test]
fn half_precision_breaks_the_usual_form_first() {
    let (teacher, mut student) = pair();
    let ordinary = report(&teacher, &student);
    for usual in &ordinary.usual {
        let off = (usual.softmax_log_f16 - usual.value).abs() / usual.value;
        assert!(off > 1e-7 && off < 0.02, "{off}");
    }
    // e^-24 is a number in f32, and 0 in f16.
    student[20] = -24.0;
    let far = report(&teacher, &student).usual[0];
    assert_eq!(far.failed, 0);
    assert!(far.softmax_log.is_finite() && far.softmax_log_f16 == f64::INFINITY);
    assert!(report(&teacher, &student).to_string().contains("in f16"));
    // Numbers that the type does not hold.
    student[20] = 7e4;
    assert!(report(&teacher, &student).usual[0].softmax_log_f16.is_nan());
}

#[test]
fn identical_maps_are_named() {
    let (teacher, _) = pair();
    let same = report(&teacher, &teacher);
    assert!(same.common.identical);
    assert_eq!(same.gradient.loss_scale, None);
    assert_mentions(&text(&same, "student_equals_teacher"), &["identical", "is 0 nats"]);

    let near: Vec<f32> = teacher.iter().zip(map(7, 64)).map(|(t, noise)| t + 1e-5 * noise).collect();
    let near = report(&teacher, &near);
    assert!(!near.common.identical && near.usual[1].value >= 0.0);
    assert!(!text(&near, "student_equals_teacher").contains("identical"));
}

#[test]
fn dead_channels_are_counted() {
    let (teacher, mut student) = pair();
    student[16..32].fill(0.0);
    let report = report(&teacher, &student);
    let text = text(&report, "constant_student_channels");
    assert_mentions(&text, &["1 of 4 channel maps", "[0, 1]", "1 of 4 channels in every image"]);
    assert_eq!(report.student.constant_channels, [1]);
    assert_eq!(report.teacher.constant_maps.count, 0);
}

#[test]
fn constant_pixels_are_counted() {
    let (mut teacher, student) = pair();
    (0..4).for_each(|channel| teacher[channel * 16 + 3] = 1.5);
    let report = report(&teacher, &student);
    assert_eq!((report.teacher.constant_pixels, report.student.constant_pixels), (1, 0));
}

#[test]
fn a_flat_teacher_and_a_wide_student_are_named() {
    let (teacher, student) = pair();
    let flat: Vec<f32> = teacher.iter().map(|t| t * 0.01).collect();
    let report = report(&flat, &student);
    assert_mentions(&text(&report, "teacher_uniform"), &["at tau 4", "100.00 %"]);
    assert_mentions(&text(&report, "spread"), &["0.010"]);
    assert!(report.sd_ratio < 0.1 && report.confidence[0].channels < report.confidence[1].channels);
}

#[test]
fn one_channel_that_carries_the_loss_is_named() {
    let (teacher, mut student) = pair();
    student[..48].copy_from_slice(&teacher[..48]);
    student[0] += 0.5;
    let report = report(&teacher, &student);
    assert_mentions(&text(&report, "one_channel"), &["channel 3", "%"]);
    assert_eq!(report.channels[0].channel, 3);
    let total: f64 = report.channels.iter().map(|channel| channel.value).sum();
    assert!((total - report.usual[1].value).abs() < 1e-12 * total);
    assert!((report.channels.iter().map(|channel| channel.share).sum::<f64>() - 1.0).abs() < 1e-12);
}

#[test]
fn an_f16_gradient_that_underflows_gets_a_loss_scale() {
    let dims = [2, 8, 64, 64];
    let (teacher, student) = (map(3, 65536), map(4, 65536));
    let report = report_of(dims, &teacher, &student, Mask::ALL);
    assert_mentions(&text(&report, "gradient_underflow"), &["loss scale of 2^", "before the cast"]);
    let scale = report.gradient.loss_scale.expect("a scale");
    let largest = report.gradient.largest * scale;
    assert!((700.0..1500.0).contains(&largest), "{largest}");
    assert!(report.gradient.f16_underflow > 0.5 && report.gradient.f16_underflow_scaled < 0.01);
}

#[test]
fn numbers_beyond_f16_are_named() {
    let (mut teacher, student) = pair();
    teacher[9] = 1e5;
    let report = report(&teacher, &student);
    assert_mentions(&text(&report, "f16_overflow"), &["teacher", "100000"]);
    assert!((report.teacher.f16_headroom - 0.65504).abs() < 1e-12);
}

#[test]
fn ignored_positions_are_left_out() {
    let (mut teacher, mut student) = pair();
    let clean = report(&teacher, &student);
    (teacher[0], student[20]) = (f32::NAN, f32::INFINITY);
    let mut mask = [1_u8; 16];
    (mask[0], mask[4]) = (0, 0);
    let mask = Mask::new(Shape::new(DIMS).expect("a shape"), None, Some(&mask)).expect("a mask");
    let report = report_of(DIMS, &teacher, &student, mask);
    assert_eq!(codes(&report), ["nothing_wrong"]);
    assert_eq!((report.counted, report.teacher.elements), (14, 56));
    assert_eq!((report.teacher.nan.count, report.student.plus_inf.count), (0, 0));
    assert_ne!(report.teacher.mean, clean.teacher.mean);
    let enlarged = report.presets.iter().find(|preset| preset.name == "torchdistiller-pi-upsample");
    let note = enlarged.and_then(|preset| preset.note.clone()).expect("a note");
    assert_mentions(&note, &["upsample"]);
}

#[test]
fn a_mask_of_nothing_is_named() {
    let (teacher, student) = pair();
    let shape = Shape::new(DIMS).expect("a shape");
    let mask = Mask::new(shape, Some((&[255; 16], 255)), None).expect("a mask");
    let report = report_of(DIMS, &teacher, &student, mask);
    assert_eq!(codes(&report), ["nothing_counted"]);
    assert!(report.teacher.mean.is_nan() && report.usual[1].value == 0.0);
}

#[test]
fn every_preset_has_the_value_of_its_own_run() {
    let (teacher, student) = pair();
    let report = report(&teacher, &student);
    assert_eq!(report.presets.len(), Preset::ALL.len());
    for (preset, value) in Preset::ALL.iter().zip(&report.presets) {
        assert_eq!(preset.name, value.name);
        let Some(options) = preset.options.row() else {
            // A value, or in the note what is missing for one.
            let alone = preset.options.takes_teacher() && !preset.options.takes_labels();
            assert_eq!((value.value.is_some(), value.note.is_none()), (alone, alone), "{value:?}");
            assert!(alone || value.note.as_ref().is_some_and(|note| note.contains(preset.name)), "{value:?}");
            continue;
        };
        assert_eq!(options.divisor.name(), value.divisor);
        let alone = densekd::loss(*options, DIMS, &teacher, &student).expect("a loss");
        assert_eq!(value.value, Some(alone), "{}", preset.name);
        assert!(value.divisor_number.is_some_and(|number| number >= 1.0));
    }
}

#[test]
fn a_map_too_large_to_enlarge_is_skipped_by_name() {
    let dims = [2, 16, 192, 192];
    let length = dims.iter().product();
    let report = report_of(dims, &map(5, length), &map(6, length), Mask::ALL);
    let enlarged = |preset: &&PresetValue| preset.note.as_ref().is_some_and(|note| note.contains("upsample"));
    let skipped: Vec<_> = report.presets.iter().filter(enlarged).collect();
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].name, "torchdistiller-pi-upsample");
    assert_mentions(&report.to_string(), &["skipped: upsample 8 makes 75497472 elements"]);
}

#[test]
fn statistics_are_those_of_the_numbers() {
    let teacher = [1.0_f32, 2.0, 3.0, 4.0, 1e-40, 0.0, f32::NEG_INFINITY, -4.0];
    let student = [0.0_f32; 8];
    let report = report_of([1, 2, 2, 2], &teacher, &student, Mask::ALL);
    let side = &report.teacher;
    assert_eq!((side.min, side.max, side.elements, side.subnormal), (-4.0, 4.0, 8, 1));
    assert!((side.mean - 6.0 / 7.0).abs() < 1e-12);
    let variance = (46.0 - 36.0 / 7.0) / 7.0;
    assert!((side.sd - f64::sqrt(variance)).abs() < 1e-12);
    assert_eq!(side.minus_inf.first, Some([0, 1, 1, 0]));
    assert_eq!(report.student.constant_channels, [0, 1]);
    assert_eq!(report.student.constant_pixels, 4);
    assert!(report.sd_ratio.is_infinite());
}

#[test]
fn memory_orders_and_types_agree() {
    let (teacher, student) = pair();
    let shape = Shape::new(DIMS).expect("a shape");
    let half: Vec<f16> = student.iter().map(|&x| f16::from_f32(x)).collect();
    let last = |channels_first: &[f32]| -> Vec<f32> {
        (0..64).map(|i| channels_first[(i % 4) * 16 + i / 4]).collect()
    };
    let widened: Vec<f32> = half.iter().map(|x| x.to_f32()).collect();
    let a = examine(&Cpu::new(), shape, Order::Nchw, teacher[..].into(), half[..].into(), Mask::ALL);
    let (teacher, student) = (last(&teacher), last(&widened));
    let b = examine(&Cpu::new(), shape, Order::Nhwc, teacher[..].into(), student[..].into(), Mask::ALL);
    let (a, b) = (a.expect("a report"), b.expect("a report"));
    assert_eq!((a.student.dtype, b.student.dtype), ("f16", "f32"));
    assert_eq!((a.student.min, a.student.sd), (b.student.min, b.student.sd));
    let order = |report: &Report| report.channels.iter().map(|c| c.channel).collect::<Vec<_>>();
    assert_eq!(order(&a), order(&b));
    assert!((a.usual[1].value - b.usual[1].value).abs() < 1e-6 * a.usual[1].value);
    assert!((a.usual[1].softmax_log - a.usual[1].value).abs() < 1e-5 * a.usual[1].value);
}

#[test]
fn confidence_is_entropy_over_its_largest() {
    // One pixel in four with all the weight in channel maps; pixels uniform.
    let teacher = [0.0_f32, 0.0, 0.0, 900.0, 0.0, 0.0, 0.0, 900.0];
    let report = report_of([1, 2, 2, 2], &teacher, &map(1, 8), Mask::ALL);
    assert_eq!(report.confidence.iter().map(|c| c.tau).collect::<Vec<_>>(), [1.0, 4.0]);
    assert!(report.confidence[0].channels.abs() < 1e-12);
    assert!((report.confidence[0].pixels - 1.0).abs() < 1e-6);
}

#[test]
fn any_numbers_give_a_report() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, -0.0, 0.0];
    for shift in 0..8 {
        let student: Vec<f32> = (0..8).map(|i| odd[(i + shift) % 8]).collect();
        for dims in [[1, 1, 1, 8], [8, 1, 1, 1], [1, 8, 1, 1], [2, 2, 1, 2]] {
            let report = report_of(dims, &odd, &student, Mask::ALL);
            assert!(!report.advice.is_empty() && !report.to_string().is_empty());
            assert!(report.advice.iter().all(|advice| Advice::CODES.contains(&advice.code)));
            serde_json::to_string(&report).expect("JSON");
        }
    }
    let wide = [f64::MAX, f64::MIN, 5e-324, -1e308];
    let shape = Shape::new([1, 1, 2, 2]).expect("a shape");
    let report = examine(&Cpu::new(), shape, Order::Nchw, wide[..].into(), wide[..].into(), Mask::ALL);
    assert_eq!(report.expect("a report").teacher.subnormal, 1);
}

#[test]
fn lengths_are_checked() {
    let shape = Shape::new(DIMS).expect("a shape");
    let (teacher, student) = ([0.0_f32; 64], [0.0_f32; 63]);
    let report = examine(&Cpu::new(), shape, Order::Nchw, teacher[..].into(), student[..].into(), Mask::ALL);
    let wanted = Error::Length { buffer: "student", found: 63, wanted: 64 };
    assert!(matches!(report, Err(BackendError::Request(error)) if error == wanted));
}

#[test]
fn the_text_is_aligned_and_json_has_every_number() {
    let (teacher, mut student) = pair();
    student[2] = f32::NAN;
    let report = report(&teacher, &student);
    let text = report.to_string();
    assert_mentions(&text, &["shape [1, 4, 4, 4] ([N, C, H, W]), nchw", "advice\n  nan: ", "mmrazor-cwd "]);
    let columns = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        line.find("f32").or_else(|| line.find(char::is_numeric))
    };
    assert_eq!(columns("  dtype"), columns("  subnormal"));
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["usual"][0]["value"], "nan");
    assert_eq!(json["channels"].as_array().map(Vec::len), Some(4));
    assert_eq!(json["presets"][0]["divisor_number"], 4.0);
    assert_eq!(json["usual"][0]["tau"], RowOptions::PI.tau.get());
}
