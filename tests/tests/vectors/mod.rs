//! The golden vectors of the row losses, as questions to the oracle with the answers expected.

use std::path::Path;

use densekd_tests::oracle::{Case, Divergence, Divisor, Ignore, Norm, Options, Samples};
use serde_json::Value;

/// A golden vector.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) case: Case,
    pub(crate) value: f64,
    pub(crate) grad_student: Vec<f64>,
    pub(crate) grad_teacher: Option<Vec<f64>>,
}

/// Every vector of a loss.
pub(crate) fn load(loss: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/golden").join(format!("{loss}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let vectors: Value = serde_json::from_str(&text).expect("the vectors are JSON");
    array(&vectors).iter().map(vector).collect()
}

fn vector(json: &Value) -> Vector {
    let shape: Vec<usize> = array(&json["shape"]).iter().map(count).collect();
    Vector {
        name: text(&json["name"]).to_owned(),
        case: Case {
            shape: shape.try_into().expect("a shape has four numbers"),
            teacher: numbers(&json["teacher"]),
            student: numbers(&json["student"]),
            counted: counted(json),
            options: options(&json["options"]),
        },
        value: number(&json["value"]),
        grad_student: numbers(&json["grad_student"]),
        grad_teacher: json.get("grad_teacher").filter(|x| !x.is_null()).map(numbers),
    }
}

fn counted(json: &Value) -> Option<Vec<bool>> {
    let ignored = &json["options"]["ignore_index"];
    let labels = json.get("labels").map(|labels| array(labels).iter().map(|x| x != ignored).collect());
    labels.or_else(|| json.get("mask").map(|mask| array(mask).iter().map(|x| count(x) != 0).collect()))
}

fn options(json: &Value) -> Options {
    Options {
        norm: match text(&json["norm"]) {
            "channel" => Norm::Channel,
            "spatial" => Norm::Spatial,
            "channel_mean" => Norm::ChannelMean,
            "none" => Norm::None,
            other => panic!("norm {other}"),
        },
        divergence: match text(&json["divergence"]) {
            "kl" => Divergence::Kl,
            "ce" => Divergence::Ce,
            "mse" => Divergence::Mse,
            "js" => Divergence::Js,
            "reverse_kl" => Divergence::ReverseKl,
            other => panic!("divergence {other}"),
        },
        divisor: match text(&json["divisor"]) {
            "sum" => Divisor::Sum,
            "batch" => Divisor::Batch,
            "positions" => Divisor::Positions,
            "batch_channels" => Divisor::BatchChannels,
            "batch_positions" => Divisor::BatchPositions,
            "elements" => Divisor::Elements,
            other => panic!("divisor {other}"),
        },
        divisor_channels: Some(&json["divisor_channels"]).filter(|x| !x.is_null()).map(count),
        tau: number(&json["tau"]),
        tau_square: json["tau_square"].as_bool().expect("tau_square is true or false"),
        weight: number(&json["weight"]),
        eps: number(&json["eps"]),
        ignore: match text(&json["ignore"]) {
            "before" => Ignore::Before,
            "after" => Ignore::After,
            other => panic!("ignore {other}"),
        },
        samples: match text(&json["samples"]) {
            "all" => Samples::All,
            "first" => Samples::First,
            other => panic!("samples {other}"),
        },
        upsample: count(&json["upsample"]),
    }
}

fn array(json: &Value) -> &[Value] {
    json.as_array().unwrap_or_else(|| panic!("{json} is no array"))
}

fn text(json: &Value) -> &str {
    json.as_str().unwrap_or_else(|| panic!("{json} is no text"))
}

fn count(json: &Value) -> usize {
    let count = json.as_u64().unwrap_or_else(|| panic!("{json} is no count"));
    usize::try_from(count).expect("counts fit")
}

fn numbers(json: &Value) -> Vec<f64> {
    array(json).iter().map(number).collect()
}

fn number(json: &Value) -> f64 {
    match json.as_str() {
        Some("nan") => f64::NAN,
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        _ => json.as_f64().unwrap_or_else(|| panic!("{json} is no number")),
    }
}
