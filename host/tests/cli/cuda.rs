//! The program on a GPU, simulated: the choice of the backend, and what is said of it.

use crate::run;
use crate::support::{Folder, LABELS, Run, STUDENT, TEACHER, densekd_on, densekd_with, numbers};
use std::ffi::{OsStr, OsString};

fn on_gpu(words: &[&str]) -> Run {
    densekd_on(densekd_device::library(), words.iter().map(Into::into).collect())
}

/// A GPU of before compute capability 8.0.
fn on_older(words: &[&str]) -> Run {
    let environment = [
        ("DENSEKD_CUDA_LIBRARY", densekd_device::library().as_os_str()),
        ("DENSEKD_DEVICE_CAPABILITY", OsStr::new("7.5")),
    ];
    densekd_with(&environment, words.iter().map(Into::into).collect())
}

#[test]
fn a_gpu_is_listed_with_its_name() {
    assert!(on_gpu(&["list", "backends"]).text().contains("simulated device"));
    let list = on_gpu(&["list", "backends", "--json"]).json();
    assert_eq!((&list[1]["available"], &list[1]["kernels"]), (&true.into(), &"sm_80".into()));
    assert!(on_older(&["list", "backends"]).text().contains("kernels for sm_70"));
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

/// The same words on the GPU and on the CPU: values that agree, or a word on where not.
fn agree(words: &[OsString], tolerance: f64) {
    let gpu = densekd_on(densekd_device::library(), words.to_vec()).json();
    assert_eq!(gpu["backend"], "cuda", "{words:?}");
    let cpu = densekd_on("none", words.to_vec()).json();
    let [Some(found), Some(wanted)] = [gpu, cpu].map(|report| report["value"].as_f64()) else {
        panic!("{words:?} has no value")
    };
    assert!((found - wanted).abs() <= tolerance * wanted.abs(), "{words:?}: {found} {wanted}");
}

#[test]
fn auto_takes_the_gpu_for_map_losses_that_it_covers() {
    for (loss, tolerance) in [
        ("at", 1e-6),
        ("pkd", 1e-6),
        ("mimic", 1e-6),
        ("dist", 1e-6),
        ("la", 1e-6),
        ("ho", 1e-6),
        ("pa", 1e-6),
        ("rkd", 1e-6),
        ("ifvd", 1e-6),
        ("dkd", 4e-6),
        ("smooth_ce", 4e-6),
    ] {
        let mut words: Vec<OsString> = vec!["loss".into()];
        if !["smooth_ce", "ho"].contains(&loss) {
            words.push(format!("{TEACHER}:logits").into());
        }
        words.push(format!("{STUDENT}:logits").into());
        words.extend(["--loss", loss, "--json"].map(Into::into));
        if ["dkd", "smooth_ce", "ifvd"].contains(&loss) {
            words.extend(["--labels", LABELS].map(Into::into));
        }
        agree(&words, tolerance);
    }
}

#[test]
fn maps_of_two_types_go_through_one_that_holds_both() {
    let folder = Folder::new();
    let shape = [2, 3, 5, 7];
    let half: Vec<half::f16> = numbers(210, 1).into_iter().map(half::f16::from_f32).collect();
    let wide: Vec<f64> = numbers(210, 3).into_iter().map(f64::from).collect();
    let teachers = [folder.map("f32.npy", &shape, 2), folder.tensor("f64.npy", &shape, wide)];
    let student = folder.tensor("f16.npy", &shape, half);
    for (loss, tolerances) in [("pkd", [1e-6; 2]), ("cwd", [4e-6, 1e-12])] {
        for (i, (teacher, tolerance)) in teachers.iter().zip(tolerances).enumerate() {
            let out = folder.join(&format!("{loss}-{i}.npy"));
            let words = [OsString::from("loss"), teacher.clone().into(), student.clone().into()];
            let more = ["--loss", loss, "--json", "--grad"].map(Into::into);
            let words: Vec<OsString> = words.into_iter().chain(more).chain([out.into()]).collect();
            agree(&words, tolerance);
        }
    }
}

#[test]
fn auto_takes_the_gpu_for_maps_that_are_enlarged_or_projected() {
    let folder = Folder::new();
    let [teacher, student] = [folder.map("t.npy", &[2, 4, 5, 7], 1), folder.map("s.npy", &[2, 3, 5, 7], 2)];
    let [weight, bias] = [folder.map("w.npy", &[4, 3], 3), folder.map("b.npy", &[4], 4)];
    let words = |words: &[&OsStr]| words.iter().map(Into::into).collect::<Vec<OsString>>();
    let of = |flags: &str| flags.split(' ').map(OsString::from).collect::<Vec<_>>();
    let mut enlarged = words(&["loss".as_ref(), teacher.as_ref(), teacher.as_ref()]);
    enlarged[2] = folder.map("u.npy", &[2, 4, 5, 7], 5).into();
    enlarged.extend(of("--loss pi --upsample 3 --json"));
    agree(&enlarged, 4e-6);
    let mut projected = words(&["loss".as_ref(), teacher.as_ref(), student.as_ref()]);
    projected.extend(of("--loss mimic --json --projection"));
    projected.extend(words(&[weight.as_ref(), "--projection-bias".as_ref(), bias.as_ref()]));
    let gradient = folder.join("gw.npy");
    projected.extend(words(&["--grad-projection".as_ref(), gradient.as_ref()]));
    agree(&projected, 1e-6);
}

#[test]
fn an_objective_adapts_on_the_gpu() {
    let folder = Folder::new();
    let (teachers, students) = (folder.folder("teachers"), folder.folder("students"));
    folder.map("teachers/map.npy", &[3, 4, 6, 10], 1);
    folder.map("students/map.npy", &[3, 3, 3, 5], 2);
    folder.map("students/weight.npy", &[4, 3], 3);
    let term = |name: &str, loss: &str, mode: &str| {
        format!(
            "[[term]]\nname = \"{name}\"\nteacher = \"map\"\nstudent = \"map\"\nloss = \"{loss}\"\n\
             project = {{ side = \"student\", weight = \"weight\" }}\nresize = {{ side = \"student\", {mode} }}\n"
        )
    };
    let bilinear = "mode = \"bilinear\", align_corners = false";
    let terms = [
        term("a", "cwd", bilinear),
        term("b", "mimic", "mode = \"area\""),
        term("c", "rkd", bilinear),
        // Of this power there are no kernels.
        term("d", "at", bilinear) + "p = 5\n",
    ];
    let file = folder.bytes("kd.toml", terms.concat());
    let words: Vec<OsString> =
        ["loss".into(), "--objective".into(), file.into(), teachers.into(), students.into()]
            .into_iter()
            .chain([OsString::from("--json")])
            .collect();
    let gpu = densekd_on(densekd_device::library(), words.clone()).json();
    let cpu = densekd_on("none", words).json();
    for (i, tolerance) in [4e-6, 1e-6, 1e-6, 0.0].into_iter().enumerate() {
        let of = |report: &serde_json::Value| report["terms"][i]["value"].as_f64().expect("a value");
        assert!((of(&gpu) - of(&cpu)).abs() <= tolerance * of(&cpu), "{gpu} {cpu}");
    }
    for i in 0..2 {
        let of = |report: &serde_json::Value| report["gradients"][i]["norm"].as_f64().expect("a norm");
        assert!((of(&gpu) - of(&cpu)).abs() <= 4e-6 * of(&cpu), "{gpu} {cpu}");
    }
}

#[test]
fn auto_takes_the_cpu_for_the_rest_and_says_why() {
    let words = ["loss", TEACHER, STUDENT, "--loss", "at", "--p", "5"];
    let text = on_gpu(&words).text();
    assert!(text.contains("cpu (auto; cuda: its kernels take p up to 4)"), "{text}");
    let report = on_gpu(&[&words[..], &["--json"]].concat()).json();
    assert_eq!(report["backend"], "cpu");
    on_gpu(&[&words[..], &["--backend", "cuda"]].concat()).fails(1, &["cuda", "p up to 4"]);
}

#[test]
fn one_of_several_gpus_is_named() {
    let on_two = |words: &[&str]| {
        let environment = [
            ("DENSEKD_CUDA_LIBRARY", densekd_device::library().as_os_str()),
            ("DENSEKD_DEVICE_COUNT", "2".as_ref()),
        ];
        densekd_with(&environment, words.iter().map(Into::into).collect())
    };
    let list = on_two(&["list", "backends", "--json"]).json();
    let numbers: Vec<_> =
        list.as_array().expect("a list").iter().map(|found| found["number"].as_u64()).collect();
    assert_eq!(numbers, [None, Some(0), Some(1)], "{list}");
    assert!(list[2]["device"].as_str().is_some_and(|name| name.contains("device 1")), "{list}");
    let pair = ["loss", TEACHER, STUDENT, "--json", "--device"];
    let [first, second] =
        ["0", "1"].map(|number| on_two(&[&pair[..], &[number]].concat()).json()["value"].clone());
    assert!(first.is_f64() && first == second, "{first} {second}");
    // One that is named is wanted, whatever the backend's name.
    for backend in ["auto", "cuda"] {
        on_two(&[&pair[..], &["2", "--backend", backend]].concat())
            .fails_json("no_backend", &["device 2 of 2"]);
    }
}

#[test]
fn every_strategy_is_timed_beside_a_copy() {
    let quick = ["bench", "gpu", "--turns", "1", "--shrink", "65536", "--dtype", "f16"];
    let report = on_gpu(&[&quick[..], &["--json"]].concat()).json();
    let rows = report["rows"].as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 10 * 2, "{report}");
    for row in &rows {
        let positive = |name: &str| row[name]["median"].as_f64().is_some_and(|time| time >= 0.0);
        assert!(positive("loss_ns") && positive("copy_ns"), "{row}");
    }
    let text = on_gpu(&quick).text();
    for word in ["simulated device", "SHARE", "524288", "loss+gradient"] {
        assert!(text.contains(word), "{text}");
    }
    run!["bench", "gpu"].fails(1, &["no CUDA device"]);
}

#[test]
fn without_a_gpu_auto_is_the_cpu() {
    assert_eq!(run!["loss", TEACHER, STUDENT, "--json"].json()["backend"], "cpu");
    run!["loss", TEACHER, STUDENT, "--backend", "cuda"].fails(1, &["no CUDA device", "--backend auto"]);
}

#[test]
fn the_test_vectors_pass_on_the_gpu() {
    for on in [on_gpu, on_older] {
        let report = on(&["selftest", "--backend", "cuda", "--json"]).json();
        assert_eq!(report["failed"], 0, "{report}");
        assert_eq!(report["passed"], 140);
        assert_eq!(report["unsupported"].as_array().map(Vec::len), Some(0), "{report}");
    }
}
