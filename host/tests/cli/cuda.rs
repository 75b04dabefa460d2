//! The program on a GPU, simulated: the choice of the backend, and what is said of it.

use crate::run;
use crate::support::{Run, STUDENT, TEACHER, densekd_on};

fn on_gpu(words: &[&str]) -> Run {
    densekd_on(densekd_device::library(), words.iter().map(Into::into).collect())
}

#[test]
fn a_gpu_is_listed_with_its_name() {
    assert!(on_gpu(&["list", "backends"]).text().contains("simulated device"));
    let list = on_gpu(&["list", "backends", "--json"]).json();
    assert_eq!(list[1]["available"], true);
    let missing = run!["list", "backends", "--json"].json();
    assert_eq!((&missing[1]["available"], &missing[1]["code"]), (&false.into(), &"no_device".into()));
}

#[test]
fn auto_takes_the_gpu_where_it_covers_the_loss() {
    let pair = ["loss", TEACHER, STUDENT, "--json"];
    let gpu = on_gpu(&pair).json();
    assert_eq!(gpu["backend"], "cuda");
    let [found, wanted] =
        [gpu, run!["loss", TEACHER, STUDENT, "--json"].json()].map(|report| report["value"].as_f64());
    let (Some(found), Some(wanted)) = (found, wanted) else { panic!("{found:?} {wanted:?}") };
    assert!((found - wanted).abs() <= 4e-6 * wanted, "{found} {wanted}");
}

#[test]
fn auto_takes_the_cpu_for_the_rest_and_says_why() {
    let text = on_gpu(&["loss", TEACHER, STUDENT, "--loss", "pi", "--upsample", "2"]).text();
    assert!(text.contains("cpu (auto; cuda: its kernels do not resize)"), "{text}");
    let at = on_gpu(&["loss", TEACHER, STUDENT, "--loss", "at", "--json"]).json();
    assert_eq!(at["backend"], "cpu");
    on_gpu(&["loss", TEACHER, STUDENT, "--loss", "at", "--backend", "cuda"])
        .fails(1, &["cuda", "row losses only"]);
}

#[test]
fn without_a_gpu_auto_is_the_cpu() {
    assert_eq!(run!["loss", TEACHER, STUDENT, "--json"].json()["backend"], "cpu");
    run!["loss", TEACHER, STUDENT, "--backend", "cuda"].fails(1, &["no CUDA device", "--backend auto"]);
}

#[test]
fn the_test_vectors_pass_on_the_gpu() {
    let report = on_gpu(&["selftest", "--backend", "cuda", "--json"]).json();
    assert_eq!(report["failed"], 0, "{report}");
    assert!(report["passed"].as_u64() >= Some(71), "{}", report["passed"]);
}
