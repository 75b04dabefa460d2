//! The whole way on the simulated device: driver, module, launch, the shipped kernels, against the core.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod case;
#[path = "../device/mod.rs"]
mod device;

use case::{Beyond, Case, F16, F32, F64, Tensors, agree, all_types, compare, on_cpu, on_gpu};
use densekd_core::{
    Divergence, Epsilon, Ignore, KeptStatistics, Norm, Order, RowOptions, RowStatistics, Samples, Temperature,
};
use densekd_cuda::Error;
use half::f16;

#[test]
fn rows_of_every_length_agree_with_the_core() {
    for width in [1, 2, 19, 64, 65, 300, 1001, 4096, 4097, 8193, 13_000] {
        for distance in [3.0, 1e-3] {
            for masked in [false, true] {
                all_types(Case { shape: [2, 3, 1, width], masked, distance, ..Case::CWD });
            }
        }
    }
}

#[test]
fn plain_rows_agree_with_the_core_whether_they_are_certain_or_not() {
    let one = Temperature::ONE;
    for width in [16, 64, 200, 1000, 1024, 2048, 4096, 8200] {
        let options = RowOptions { tau: one, ..RowOptions::CWD };
        let case = Case { options, shape: [1, 3, 1, width], ..Case::CWD };
        for distance in [8.0, 3.0, 1.0, 0.3, 0.1, 1e-2, 1e-4, 0.0] {
            all_types(Case { distance, ..case });
        }
        for (distance, outlier) in [(1e-3, 3.6), (0.1, 30.0), (1.0, -200.0)] {
            all_types(Case { distance, outlier, ..case });
        }
        compare::<f32>(Case { strange: true, ..case }, F32);
        compare::<f16>(Case { strange: true, ..case }, F16);
    }
    // Those that a larger block holds, and beyond.
    for width in [6000, 16_384, 20_000, 32_768, 36_000] {
        let case = Case { shape: [1, 2, 1, width], ..Case::CWD };
        for distance in [3.0, 0.1, 1e-4] {
            all_types(Case { distance, ..case });
        }
        all_types(Case { strange: true, ..case });
    }
}

#[test]
fn plain_columns_agree_with_the_core_whether_they_are_certain_or_not() {
    for classes in [3, 19, 31, 33, 150, 216] {
        let options = RowOptions { tau: Temperature::ONE, ..RowOptions::PI };
        for (masked, strange) in [(false, false), (true, false), (true, true)] {
            let case = Case { options, shape: [2, classes, 1, 150], masked, strange, ..Case::CWD };
            for distance in [8.0, 3.0, 0.3, 0.1, 1e-2, 1e-4, 0.0] {
                all_types(Case { distance, ..case });
            }
        }
    }
}

#[test]
fn columns_of_every_length_agree_with_the_core() {
    for (options, order, shape) in [
        (RowOptions::PI, Order::Nchw, [2, 19, 5, 9]),
        (RowOptions::PI, Order::Nchw, [1, 150, 3, 3]),
        (RowOptions::PI, Order::Nhwc, [2, 19, 5, 9]),
        (RowOptions::CWD, Order::Nhwc, [2, 5, 20, 20]),
        (RowOptions::CWD, Order::Nhwc, [3, 3, 7, 7]),
    ] {
        for masked in [false, true] {
            all_types(Case { options, shape, order, masked, ..Case::CWD });
        }
    }
}

/// Kernels of their own, four reads of a row by a thread, a warp or a block.
#[test]
fn rows_of_f64_agree_with_the_core() {
    for divergence in [Divergence::Kl, Divergence::Ce] {
        let with = |norm| RowOptions { norm, divergence, ..RowOptions::CWD };
        for (norm, shape, order) in [
            (Norm::Channel, [2, 3, 1, 1], Order::Nchw),
            (Norm::Channel, [2, 5, 4, 5], Order::Nchw),
            (Norm::Channel, [1, 3, 32, 32], Order::Nchw),
            (Norm::Channel, [1, 2, 41, 61], Order::Nchw),
            (Norm::Spatial, [2, 19, 5, 9], Order::Nchw),
            (Norm::Spatial, [2, 19, 5, 9], Order::Nhwc),
            (Norm::Channel, [2, 7, 12, 15], Order::Nhwc),
        ] {
            let case = Case { options: with(norm), shape, order, to_teacher: true, ..Case::CWD };
            for (masked, strange) in [(false, false), (true, false), (false, true), (true, true)] {
                // Where entries are missing the core takes a mean off slopes that are near it, and up to 1: both are
                // rounded, and the factor is at most 2.
                let gradient = if strange { 2.0 * f64::EPSILON } else { 0.0 };
                for distance in [3.0, 1e-3, 1e-6, 0.0] {
                    compare::<f64>(Case { masked, distance, strange, ..case }, Beyond { gradient, ..F64 });
                }
            }
            let options = RowOptions { samples: Samples::First, ..case.options };
            compare::<f64>(Case { options, ..case }, F64);
        }
    }
}

#[test]
fn other_rows_of_f64_are_refused() {
    let refused = |options, statistics| {
        let case = Case { options, ..Case::CWD };
        let answer = on_gpu(case, &Tensors::<f64>::of(case), 1.0, statistics);
        let Err(Error::Unsupported { reason }) = answer else { panic!("{options:?}") };
        reason
    };
    let js = RowOptions { divergence: Divergence::Js, ..RowOptions::CWD };
    assert!(refused(js, KeptStatistics::Drop).contains("kl and ce"));
    let after = RowOptions { ignore: Ignore::After, ..RowOptions::CWD };
    assert!(refused(after, KeptStatistics::Drop).contains("ignore after"));
    let mut kept = vec![RowStatistics::default(); Case::CWD.plan().rows()];
    assert!(refused(RowOptions::CWD, KeptStatistics::Write(&mut kept)).contains("statistics of f64"));
}

#[test]
fn cross_entropy_agrees_with_the_core() {
    let tau = Temperature::new(0.7).unwrap();
    for norm in [Norm::Channel, Norm::Spatial] {
        let options = RowOptions { divergence: Divergence::Ce, norm, tau, ..RowOptions::CWD };
        for shape in [[2, 19, 6, 7], [1, 2, 70, 70]] {
            all_types(Case { options, shape, masked: true, distance: 2.0, ..Case::CWD });
        }
    }
}

#[test]
fn a_bad_first_guess_of_the_log_ratio_is_made_good() {
    // Close rows but for one entry, so that the middle of all differences is off by half of its.
    for width in [19, 300, 1001, 5000] {
        all_types(Case { shape: [2, 3, 1, width], distance: 1e-3, outlier: 3.6, ..Case::CWD });
    }
}

/// Every pair of a normalisation and a divergence that there is, at tau = 1.
fn all_options() -> Vec<RowOptions> {
    let with = |norm, divergence| RowOptions { norm, divergence, tau: Temperature::ONE, ..RowOptions::CWD };
    let mut all = Vec::new();
    for norm in [Norm::Channel, Norm::Spatial] {
        for divergence in
            [Divergence::Kl, Divergence::Ce, Divergence::ReverseKl, Divergence::Js, Divergence::Mse]
        {
            all.push(with(norm, divergence));
        }
        for divergence in [Divergence::Kl, Divergence::Ce] {
            let eps = Epsilon::new(1e-5).unwrap();
            all.push(RowOptions { eps, ..with(norm, divergence) });
            all.push(RowOptions { ignore: Ignore::After, ..with(norm, divergence) });
        }
    }
    all.push(with(Norm::ChannelMean, Divergence::Mse));
    all.push(with(Norm::None, Divergence::Mse));
    all
}

#[test]
fn every_divergence_and_both_gradients_agree_with_the_core() {
    for options in all_options() {
        // Rows of 8 lanes, of a warp, of a block, in parts; and the same apart.
        for (shape, order) in [
            ([2, 5, 4, 5], Order::Nchw),
            ([1, 2, 10, 20], Order::Nchw),
            ([1, 2, 30, 30], Order::Nchw),
            ([1, 2, 45, 97], Order::Nchw),
            ([2, 7, 9, 9], Order::Nhwc),
            ([1, 3, 15, 20], Order::Nhwc),
            ([1, 131, 3, 3], Order::Nchw),
        ] {
            for (masked, distance) in [(false, 3.0), (true, 1.0), (false, 1e-2)] {
                all_types(Case { options, shape, order, masked, to_teacher: true, distance, ..Case::CWD });
            }
        }
    }
}

#[test]
fn what_is_not_finite_means_what_it_means_to_the_core() {
    for options in all_options() {
        for shape in
            [[2, 2, 1, 1], [2, 3, 1, 2], [2, 3, 1, 19], [1, 9, 10, 20], [1, 2, 45, 97], [1, 9, 64, 65]]
        {
            for masked in [false, true] {
                let case = Case { options, shape, masked, to_teacher: true, strange: true, ..Case::CWD };
                compare::<f32>(case, F32);
                compare::<f16>(case, F16);
            }
        }
    }
}

#[test]
fn samples_but_the_first_count_for_nothing() {
    for options in all_options() {
        let options = RowOptions { samples: Samples::First, ..options };
        for (shape, order) in
            [([3, 5, 4, 5], Order::Nchw), ([2, 2, 65, 65], Order::Nchw), ([2, 4, 12, 12], Order::Nhwc)]
        {
            compare::<f32>(Case { options, shape, order, to_teacher: true, masked: true, ..Case::CWD }, F32);
        }
    }
}

#[test]
fn either_machine_reads_the_statistics_of_the_other() {
    let softmax = |options: &RowOptions| matches!(options.norm, Norm::Channel | Norm::Spatial);
    for options in all_options().into_iter().filter(softmax) {
        for (shape, distance, masked) in [
            ([2, 5, 4, 5], 1.0, true),
            ([1, 2, 45, 97], 1e-2, true),
            ([1, 131, 3, 3], 3.0, true),
            // Plain, of which either side is close to the other or not.
            ([1, 2, 10, 20], 1.0, false),
            ([1, 2, 10, 20], 8.0, false),
            ([1, 2, 45, 96], 3.0, false),
            // Rows of one entry among them.
            ([1, 1, 45, 96], 1.0, false),
        ] {
            for to_teacher in [false, true] {
                let case = Case { options, shape, masked, to_teacher, distance, ..Case::CWD };
                let tensors = Tensors::<f32>::of(case);
                let mut kept = vec![RowStatistics::default(); case.plan().rows()];
                let (wanted, factor) = on_cpu(case, &tensors, KeptStatistics::Write(&mut kept));
                let found = on_gpu(case, &tensors, factor, KeptStatistics::Read(&kept)).unwrap();
                agree("of the CPU's", case, &found, &wanted, F32);

                let mut kept = vec![RowStatistics::default(); case.plan().rows()];
                on_gpu(case, &tensors, factor, KeptStatistics::Write(&mut kept)).unwrap();
                let (found, _) = on_cpu(case, &tensors, KeptStatistics::Read(&kept));
                // Its sums are right to 2e-7: so is the logarithm of one in a cross-entropy, and so are the shares'
                // sum, to which slopes that have a part in common keep it.
                let value = if options.divergence == Divergence::Ce { 2e-7 } else { 0.0 };
                let gradient = if case.slack() > 0.0 { 4e-7 * factor } else { 0.0 };
                agree("of the GPU's", case, &found, &wanted, Beyond { gradient, value, ..F32 });
                let found = on_gpu(case, &tensors, factor, KeptStatistics::Read(&kept)).unwrap();
                agree("of its own", case, &found, &wanted, F32);
            }
        }
    }
}
