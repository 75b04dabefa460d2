//! Options that are no good: all are usage errors, and none looks at the files.

use crate::run;
use crate::support::{STUDENT, TEACHER};

#[test]
fn numbers_out_of_range() {
    run!["loss", "a.npy", "b.npy", "--tau", "nan"].fails(2, &["--tau", "tau is NaN", "try --tau 4"]);
    run!["loss", "a.npy", "b.npy", "--tau", "0"].fails(2, &["tau is 0", "above 0"]);
    run!["loss", "a.npy", "b.npy", "--tau", "-2"].fails(2, &["tau is -2", "above 0"]);
    run!["loss", "a.npy", "b.npy", "--tau", "four"]
        .fails(2, &["'four'", "tau must be a finite number above 0"]);
    run!["loss", "a.npy", "b.npy", "--weight", "inf"].fails(2, &["weight is inf", "finite"]);
    run!["loss", "a.npy", "b.npy", "--eps", "-1e-5"].fails(2, &["eps is -1e-5", "at least 0"]);
    run!["loss", "a.npy", "b.npy", "--weight", "-inf"].fails(2, &["weight is -inf", "finite"]);
    run!["loss", "a.npy", "b.npy", "--tau", "--json"]
        .fails_json("usage", &["'--json' for '--tau", "finite number above 0"]);
    run!["loss", "a.npy", "b.npy", "--upstream", "nan"].fails(2, &["upstream", "NaN", "finite"]);
    for flag in ["--threads", "--upsample", "--divisor-channels"] {
        run!["loss", "a.npy", "b.npy", flag, "0"].fails(2, &[flag, "'0'", "at least 1"]);
    }
    run!["check", "a.npy", "b.npy", "--samples-checked", "0"].fails(2, &["--samples-checked", "at least 1"]);
}

#[test]
fn names_that_are_none() {
    run!["loss", "a.npy", "b.npy", "--preset", "mmrazr-cwd"]
        .fails(2, &["'mmrazr-cwd'", "nearest", "mmrazor-cwd", "densekd list presets"]);
    run!["loss", "a.npy", "b.npy", "--norm", "pixel"]
        .fails(2, &["'pixel'", "channel, spatial, channel_mean, none"]);
    run!["loss", "a.npy", "b.npy", "--divergence", "l2"].fails(2, &["kl, ce, mse, js, reverse_kl"]);
    run!["loss", "a.npy", "b.npy", "--divisor", "mean"].fails(2, &["sum, batch, positions, batch_channels"]);
    run!["loss", "a.npy", "b.npy", "--loss", "kdw"].fails(2, &["'kdw'", "cwd, pi, at"]);
    run!["loss", "a.npy", "b.npy", "--layout", "chw"].fails(2, &["nchw, nhwc"]);
    run!["loss", "a.npy", "b.npy", "--loss", "pi", "--preset", "cirkd"]
        .fails(2, &["--preset", "cannot be used with"]);
    run!["loss", "a.npy"].fails(2, &["<STUDENT>"]);
}

#[test]
fn options_that_do_not_go_together() {
    run!["loss", "a.npy", "b.npy", "--eps", "1e-5", "--divergence", "js"]
        .fails(2, &["eps", "js has none", "set eps to 0"]);
    run!["loss", "a.npy", "b.npy", "--norm", "none"]
        .fails(2, &["kl compares distributions", "norm none", "mse"]);
    run!["loss", "a.npy", "b.npy", "--divergence", "mse", "--ignore", "after"]
        .fails(2, &["ignore after", "mse", "ignore before"]);
    run!["loss", "a.npy", "b.npy", "--upsample", "2"].fails(2, &["upsample 2", "norm channel", "spatial"]);
    run!["loss", "a.npy", "b.npy", "--loss", "pi", "--per-channel"]
        .fails(2, &["--per-channel", "spatial", "leave"]);
}

#[test]
fn a_gpu_is_not_made_up() {
    let words = ["no CUDA backend", "--backend cpu", "--backend auto"];
    run!["loss", TEACHER, STUDENT, "--backend", "cuda"].fails(1, &words);
    run!["selftest", "--backend", "cuda"].fails(1, &words);
}
