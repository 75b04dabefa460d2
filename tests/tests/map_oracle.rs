//! The oracle of the map losses against the golden vectors, which other code computed in 130 digits: values, and
//! derivatives by central differences where there are any.

use densekd::vectors::{Case, parse};
use densekd_tests::maps::LOSSES;
use densekd_tests::oracle::maps::{MapCase, Setting, Variable, gradient, value};

/// Both were rounded once; the oracle's derivatives are right to 30 digits.
const TOLERANCE: f64 = 1e-13;

/// Vectors at points without a derivative, where the definitions choose a gradient: 0 to a zero vector. Where all
/// that they choose is 0, the other entries are compared.
const CHOSEN: [(&str, bool); 7] = [
    ("la-cos-zero-vector", true),
    // The gradient of equal maxima is the first one's alone.
    ("pa-zero-node", false),
    ("pa-ties", false),
    ("pkd-constant-channel", true),
    ("ho-hinge-at-the-corner", true),
    ("ho-penalty-zero", true),
    // A sample's direction to one that it equals jumps.
    ("rkd-duplicates", false),
];

fn setting(json: &serde_json::Value) -> Setting {
    let text = |text: &String| Setting::Name(text.clone().leak());
    match json {
        serde_json::Value::Null => Setting::Null,
        serde_json::Value::Bool(flag) => Setting::Flag(*flag),
        serde_json::Value::String(name) => text(name),
        serde_json::Value::Array(pair) => {
            let number = |i: usize| pair[i].as_i64().expect("a size");
            Setting::Pair([number(0), number(1)])
        }
        number => match number.as_i64() {
            Some(n) => Setting::Integer(n),
            None => Setting::Number(number.as_f64().expect("a number")),
        },
    }
}

fn question(case: &Case) -> MapCase {
    let settings = case.options.iter().map(|(name, value)| (&*name.clone().leak(), setting(value))).collect();
    let [n, _, h, w] = case.shape;
    let [_, hl, wl] = case.labels_shape.unwrap_or([n, h, w]);
    MapCase {
        settings,
        teacher_shape: case.teacher_shape.unwrap_or(case.shape),
        labels: case.labels.clone().map(|labels| (labels, [hl, wl])),
        counted: case.mask.as_ref().map(|mask| mask.iter().map(|&x| x != 0).collect()),
        weight: case.weight.clone(),
        bias: case.bias.clone(),
        ..MapCase::new(&case.loss, case.shape, case.student.clone(), case.teacher.clone())
    }
}

fn vectors(loss: &str) -> Vec<Case> {
    let path = format!("{}/../host/golden/{loss}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    parse(&text).expect("a vector file")
}

fn misses(case: &Case) -> Vec<String> {
    let question = question(case);
    let mut misses = Vec::new();
    let mut see = |of: String, got: f64, want: f64, scale: f64, floor: f64| {
        let equal = got == want || (got.is_nan() && want.is_nan());
        if !equal && !((got - want).abs() <= TOLERANCE * scale + floor) {
            misses.push(format!("{} {of}: {got:e}, not {want:e}", case.name));
        }
    };
    // What is 0 but for the rounding of 130 digits is written as such.
    see("value".into(), value(&question), case.value, case.value.abs(), 1e-50);
    let chosen = CHOSEN.iter().find(|(name, _)| *name == case.name);
    if !case.value.is_finite() || chosen.is_some_and(|(_, rest)| !rest) {
        return misses;
    }
    let tensors = [
        ("grad_student", Variable::Student, Some(&case.grad_student)),
        ("grad_teacher", Variable::Teacher, case.grad_teacher.as_ref()),
        ("grad_weight", Variable::Weight, case.grad_weight.as_ref()),
        ("grad_bias", Variable::Bias, case.grad_bias.as_ref()),
    ];
    for (name, of, want) in tensors {
        let Some(want) = want else { continue };
        let largest = want.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        let entries: Vec<usize> = (0..want.len()).filter(|&i| chosen.is_none() || want[i] != 0.0).collect();
        let got = gradient(&question, of, entries.iter().copied());
        for (i, got) in entries.into_iter().zip(got) {
            see(format!("{name}[{i}]"), got, want[i], largest, 1e-25);
        }
    }
    misses
}

#[test]
fn equals_every_vector_of_the_map_losses() {
    let mut found = Vec::new();
    let mut count = 0;
    for loss in LOSSES {
        for case in vectors(loss) {
            found.extend(misses(&case));
            count += 1;
        }
    }
    assert!(found.is_empty(), "{} misses:\n{}", found.len(), found.join("\n"));
    assert_eq!(count, 68);
}

#[test]
fn every_chosen_gradient_is_of_a_vector() {
    let names: Vec<String> = LOSSES.iter().flat_map(|loss| vectors(loss)).map(|case| case.name).collect();
    assert!(CHOSEN.iter().all(|(name, _)| names.iter().any(|known| known == name)));
}
