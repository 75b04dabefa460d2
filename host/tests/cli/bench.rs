//! The benchmark on small maps: what it reports, not how fast anything is.

use crate::run;

#[test]
fn a_row_loss_is_timed_beside_memory_and_the_plain_form() {
    let quick = ["--turns", "1", "--shrink", "8", "--threads", "1", "--json"];
    let report = run![
        "bench", "losses", "cwd", "at", "--map", "features", "--dtype", "f32", quick[0], quick[1], quick[2],
        quick[3], quick[4], quick[5], quick[6]
    ]
    .json();
    assert_eq!((&report["threads"], &report["turns"]), (&1.into(), &1.into()));
    let rows = report["rows"].as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 2 * 3 + 2, "three students of a row loss, one of another: {rows:?}");
    for row in &rows {
        assert_eq!((&row["map"], &row["dtype"]), (&"features".into(), &"f32".into()));
        let times = &row["nanoseconds_per_element"];
        let positive = |name: &str| times[name]["min"].as_f64().is_some_and(|time| time > 0.0);
        assert!(positive("loss") && positive("bound"), "{row}");
        assert_eq!(positive("plain"), row["loss"] == "cwd", "{row}");
        let over = |name: &str| times[name].as_f64().unwrap_or_default();
        // One turn: the ratios are of the same two times.
        assert!((over("share") * over("over_bound") - 1.0).abs() < 1e-9, "{row}");
    }
    let students: Vec<_> = rows.iter().map(|row| row["student"].as_str().unwrap_or_default()).collect();
    assert_eq!(students, ["far", "far", "half", "half", "near", "near", "half", "half"]);
}

#[test]
fn the_table_names_its_columns() {
    let text = run![
        "bench",
        "losses",
        "cwd",
        "--map",
        "rows49",
        "--student",
        "near",
        "--turns",
        "1",
        "--shrink",
        "2"
    ]
    .text();
    for word in ["SHARE", "TIMES", "X PLAIN", "rows49", "loss+gradient", "last-level cache"] {
        assert!(text.contains(word), "{text}");
    }
    run!["bench", "losses", "cwd", "--map", "rows50"].fails(2, &["rows50", "rows49"]);
    run!["bench", "losses", "--dtype", "f8"].fails(2, &["f8", "bf16"]);
}
