//! Pairs of vectors: channels, energies, whole tensors.

use crate::support::{Case, F32, all_types, compare};
use densekd_core::{AtMode, AtOptions, MapOptions, MimicOptions, Order, PkdOptions};

pub(crate) const PKD: MapOptions = MapOptions::Pkd(PkdOptions::DEFAULT);

#[test]
fn channels_of_every_shape_agree_with_the_core() {
    for order in [Order::Nchw, Order::Nhwc] {
        for shape in [[2, 3, 5, 7], [3, 2, 1, 1], [2, 40, 3, 3], [1, 2, 70, 70], [3, 1, 1, 2], [5, 33, 1, 61]]
        {
            all_types(Case::new(PKD, shape, order));
        }
    }
}

#[test]
fn offsets_units_and_close_maps_cost_no_digits() {
    for order in [Order::Nchw, Order::Nhwc] {
        let case = Case::new(PKD, [2, 3, 9, 11], order);
        for (offset, distance) in [(1000.0, 1.0), (0.0, 1e-3), (100.0, 1e-3), (-3.0, 1e-5)] {
            compare::<f32>(Case { offset, distance, ..case }, F32);
        }
        for unit in [1e-30, 1e-12, 1e12, 1e30] {
            compare::<f32>(Case { unit, ..case }, F32);
        }
    }
}

#[test]
fn mimicking_agrees_with_the_core() {
    for standardise in [false, true] {
        let options = MapOptions::Mimic(MimicOptions { standardise, ..MimicOptions::DEFAULT });
        for order in [Order::Nchw, Order::Nhwc] {
            for shape in [[2, 3, 5, 7], [1, 1, 1, 1], [1, 2, 70, 70]] {
                all_types(Case::new(options, shape, order));
            }
            for (unit, distance) in [(1e-30, 1.0), (1e30, 1.0), (1.0, 1e-6)] {
                let case = Case::new(options, [2, 3, 5, 7], order);
                compare::<f32>(Case { distance, unit, ..case }, F32);
            }
        }
    }
}

#[test]
fn attention_agrees_with_the_core() {
    for mode in [AtMode::Code, AtMode::Paper] {
        for p in [1, 2, 4] {
            let options = AtOptions { mode, p: p.try_into().unwrap(), ..AtOptions::DEFAULT };
            for order in [Order::Nchw, Order::Nhwc] {
                let of =
                    |student, teacher| Case { teacher, ..Case::new(MapOptions::At(options), student, order) };
                all_types(of([2, 3, 5, 7], [2, 6, 5, 7]));
                all_types(of([2, 70, 3, 50], [2, 70, 3, 50]));
                let close = of([2, 9, 10, 14], [2, 9, 10, 14]);
                compare::<f32>(Case { distance: 1e-4, ..close }, F32);
                for unit in [1e-30, 1e30] {
                    compare::<f32>(Case { unit, ..close }, F32);
                }
            }
        }
    }
}
