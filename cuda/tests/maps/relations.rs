//! Relations between classes, positions, neighbours and whole maps.

use crate::support::{Case, F32, GRADIENT, VALUE, all_types, both, compare};
use densekd_core::{
    DistOptions, Epsilon, HoAdversary, HoOptions, HoRole, IfvdOptions, LaBorder, LaMode, LaOptions,
    MapOptions, Order, PaEpsMode, PaOptions, PaPool, RkdOptions, Share, Temperature, Weight,
};
use std::num::NonZeroUsize;

pub(crate) const DIST: MapOptions = MapOptions::Dist(DistOptions::DEFAULT);

#[test]
fn correlations_agree_with_the_core() {
    let tau = Temperature::new(0.7).unwrap();
    let other = DistOptions {
        tau,
        intra_weight: Weight::new(0.25).unwrap(),
        eps: Epsilon::new(1e-3).unwrap(),
        ..DistOptions::DEFAULT
    };
    for options in [DIST, MapOptions::Dist(other)] {
        for order in [Order::Nchw, Order::Nhwc] {
            for shape in [[2, 19, 5, 7], [5, 40, 1, 1], [1, 3, 50, 60], [3, 2, 15, 21], [1, 1, 2, 2]] {
                let case = Case { unit: 4.0, ..Case::new(options, shape, order) };
                all_types(case);
                for (distance, offset, unit) in [(1e-3, 20.0, 4.0), (1e-5, 0.0, 1.0), (1.0, 0.0, 60.0)] {
                    compare::<f32>(Case { offset, distance, unit, ..case }, F32);
                }
            }
        }
    }
}

pub(crate) const LA: MapOptions = MapOptions::La(LaOptions::DEFAULT);
pub(crate) const COSINES: MapOptions =
    MapOptions::La(LaOptions { mode: LaMode::Cos, border: LaBorder::Clip, ..LaOptions::DEFAULT });

#[test]
fn local_affinity_agrees_with_the_core() {
    for (mode, squared) in [(LaMode::L2, true), (LaMode::L2, false), (LaMode::Cos, true)] {
        for border in [LaBorder::Interior, LaBorder::Clip] {
            let options = MapOptions::La(LaOptions { mode, squared, border, ..LaOptions::DEFAULT });
            for order in [Order::Nchw, Order::Nhwc] {
                let of = |student, teacher| Case { teacher, ..Case::new(options, student, order) };
                all_types(of([2, 3, 5, 7], [2, 6, 5, 7]));
                all_types(of([1, 40, 3, 3], [1, 33, 3, 3]));
                all_types(of([1, 2, 31, 37], [1, 2, 31, 37]));
                let close = of([2, 5, 6, 5], [2, 5, 6, 5]);
                for (distance, offset, unit) in
                    [(1e-4, 0.0, 1.0), (1.0, 30.0, 1.0), (1.0, 0.0, 1e-12), (1.0, 0.0, 1e6)]
                {
                    compare::<f32>(Case { offset, distance, unit, ..close }, F32);
                }
            }
        }
    }
    // Neighbours in one direction only.
    for shape in [[1, 3, 1, 4], [1, 3, 4, 1], [2, 2, 2, 2]] {
        all_types(Case::new(COSINES, shape, Order::Nchw));
        all_types(Case::new(COSINES, shape, Order::Nhwc));
    }
}

pub(crate) const PENALTY: MapOptions =
    MapOptions::Ho(HoOptions { role: HoRole::GradientPenalty, ..HoOptions::DEFAULT });

/// Every game and role.
pub(crate) fn scores() -> Vec<MapOptions> {
    let mut all = Vec::new();
    for role in [HoRole::Generator, HoRole::Discriminator, HoRole::GradientPenalty] {
        for adversary in [HoAdversary::WganGp, HoAdversary::Hinge] {
            all.push(MapOptions::Ho(HoOptions { role, adversary, ..HoOptions::DEFAULT }));
        }
    }
    all
}

#[test]
fn scores_agree_with_the_core() {
    for options in scores() {
        for order in [Order::Nchw, Order::Nhwc] {
            let of = |student, teacher| Case { teacher, ..Case::new(options, student, order) };
            for case in [
                of([2, 3, 5, 7], [2, 3, 5, 7]),
                of([3, 1, 1, 1], [2, 1, 1, 1]),
                of([2, 1, 70, 70], [1, 1, 90, 95]),
                of([1, 2, 130, 67], [1, 2, 130, 67]),
            ] {
                all_types(Case { unit: 2.0, ..case });
            }
            let case = of([2, 3, 5, 7], [2, 3, 5, 7]);
            for (offset, unit) in [(3.0, 1.0), (0.0, 1e-30), (0.0, 1e30)] {
                compare::<f32>(Case { offset, unit, ..case }, F32);
            }
        }
    }
}

pub(crate) const PA: MapOptions = MapOptions::Pa(PaOptions { detach_norm: false, ..PaOptions::DEFAULT });

#[test]
fn pair_wise_affinity_agrees_with_the_core() {
    let two = NonZeroUsize::new(2);
    for (pool, eps_mode) in [(PaPool::Max, PaEpsMode::Add), (PaPool::Avg, PaEpsMode::Max)] {
        for detach_norm in [false, true] {
            for kernel in [None, two.map(|two| [two, two])] {
                let pool_scale = Share::new(0.4).unwrap();
                let options =
                    PaOptions { pool, eps_mode, detach_norm, kernel, pool_scale, ..PaOptions::DEFAULT };
                for order in [Order::Nchw, Order::Nhwc] {
                    let of = |student, teacher| Case {
                        teacher,
                        ..Case::new(MapOptions::Pa(options), student, order)
                    };
                    all_types(of([2, 3, 5, 7], [2, 6, 5, 7]));
                    all_types(of([1, 40, 3, 3], [1, 35, 3, 3]));
                    // Windows of many cells, and more windows than a tile of the product has.
                    let large = of([2, 5, 17, 15], [2, 5, 17, 15]);
                    all_types(large);
                    for (distance, unit) in [(1e-3, 1.0), (1.0, 1e-12), (1.0, 1e12)] {
                        compare::<f32>(Case { distance, unit, ..large }, F32);
                    }
                }
            }
        }
    }
}

pub(crate) const RKD: MapOptions = MapOptions::Rkd(RkdOptions::DEFAULT);

#[test]
fn relations_between_images_agree_with_the_core() {
    let raw = RkdOptions { normalize: false, ..RkdOptions::DEFAULT };
    for options in [RKD, MapOptions::Rkd(raw)] {
        for order in [Order::Nchw, Order::Nhwc] {
            let of = |shape| Case::new(options, shape, order);
            // One image, more images than a thread pulls, than a tile has; parts of an image.
            for shape in [[1, 3, 5, 7], [9, 2, 3, 5], [19, 5, 3, 1], [3, 7, 35, 37]] {
                all_types(of(shape));
            }
            for (distance, offset, unit) in
                [(1e-3, 0.0, 1.0), (1e-5, 3.0, 1.0), (1.0, 0.0, 1e-12), (1.0, 0.0, 1e12)]
            {
                compare::<f32>(Case { offset, distance, unit, ..of([6, 3, 5, 7]) }, F32);
            }
        }
    }
    // One number an image; at length 1 all would coincide but for a rounding.
    all_types(Case::new(MapOptions::Rkd(raw), [5, 1, 1, 1], Order::Nchw));
}

/// The one distance of two images is its own mean: what is left is rounding.
#[test]
fn two_images_have_no_relations_to_others() {
    let case = Case::new(RKD, [2, 3, 5, 7], Order::Nchw);
    let (teacher, student) = case.maps::<f32>();
    let (found, _) = both(&case, &teacher, &student);
    assert!((0.0..1e-28).contains(&found.value), "{}", found.value);
    assert!(found.student.iter().chain(&found.teacher).all(|x| x.abs() < 1e-13));
}

/// Images that coincide have no distance, no direction from each other, and no gradient by either.
#[test]
fn images_that_coincide_agree_with_the_core() {
    for normalize in [false, true] {
        let options = MapOptions::Rkd(RkdOptions { normalize, ..RkdOptions::DEFAULT });
        let case = Case::new(options, [5, 2, 3, 4], Order::Nchw);
        let (teacher, mut student) = case.maps::<f64>();
        student.copy_within(..24, 48);
        let (found, wanted) = both(&case, &teacher, &student);
        assert!(
            (found.value - wanted.value).abs() <= VALUE * wanted.value,
            "{} {}",
            found.value,
            wanted.value
        );
        for (found, wanted) in [(&found.student, &wanted.student), (&found.teacher, &wanted.teacher)] {
            let largest = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            assert!(found.iter().zip(wanted).all(|(x, y)| (x - y).abs() <= GRADIENT * largest));
        }
    }
}

pub(crate) const IFVD: MapOptions =
    MapOptions::Ifvd(IfvdOptions { num_classes: NonZeroUsize::new(3).unwrap(), ..IfvdOptions::DEFAULT });

#[test]
fn intra_class_variation_agrees_with_the_core() {
    let many = IfvdOptions { count_ignored: false, ..IfvdOptions::DEFAULT };
    for options in [IFVD, MapOptions::Ifvd(many)] {
        for order in [Order::Nchw, Order::Nhwc] {
            let of = |student, teacher| Case { teacher, ..Case::new(options, student, order) };
            all_types(of([2, 3, 5, 7], [2, 6, 5, 7]));
            all_types(of([3, 40, 3, 3], [3, 33, 3, 3]));
            all_types(of([1, 2, 65, 66], [1, 2, 65, 66]));
            for (distance, offset, unit) in [(1e-3, 0.0, 1.0), (1.0, 3.0, 1.0), (1.0, 0.0, 1e6)] {
                compare::<f32>(Case { offset, distance, unit, ..of([2, 5, 6, 7], [2, 5, 6, 7]) }, F32);
            }
        }
    }
    // More classes than a block has threads.
    let more = IfvdOptions { num_classes: NonZeroUsize::new(300).unwrap(), ..many };
    all_types(Case::new(MapOptions::Ifvd(more), [1, 2, 40, 41], Order::Nchw));
}
