//! What is not finite, and what has no direction.

use crate::relations::{COSINES, DIST, IFVD, LA, PA, PENALTY, RKD, scores};
use crate::support::{Case, VALUE, both};
use crate::vectors::PKD;
use densekd_core::{AtOptions, MapOptions, MimicOptions, Order};

fn all() -> Vec<MapOptions> {
    let mut all = vec![PKD, DIST, LA, COSINES, PA, RKD, IFVD];
    all.extend([MapOptions::At(AtOptions::DEFAULT), MapOptions::Mimic(MimicOptions::DEFAULT)]);
    all.extend(scores());
    all
}

/// Every number of a NaN, and the value; of what is not finite in one vector nothing reaches another.
#[test]
fn what_is_not_finite_stays_where_it_is() {
    for options in all() {
        for order in [Order::Nchw, Order::Nhwc] {
            for junk in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let case = Case::new(options, [2, 3, 5, 7], order);
                let (teacher, mut student) = case.maps::<f32>();
                student[40] = junk;
                let (found, wanted) = both(&case, &teacher, &student);
                assert_eq!(found.value.is_finite(), wanted.value.is_finite(), "{case:?}");
                for (found, wanted) in [(&found.student, &wanted.student), (&found.teacher, &wanted.teacher)]
                {
                    for (found, wanted) in found.iter().zip(wanted) {
                        assert_eq!(found.is_nan(), wanted.is_nan(), "{case:?} {junk}: {found} {wanted}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_has_no_direction_has_no_gradient() {
    for options in [PKD, DIST, LA, COSINES, PENALTY, PA, RKD, IFVD, MapOptions::At(AtOptions::DEFAULT)] {
        for order in [Order::Nchw, Order::Nhwc] {
            for constant in [0.0, 0.1] {
                let case = Case::new(options, [2, 3, 5, 7], order);
                let (teacher, student) = case.maps::<f32>();
                let student = vec![constant; student.len()];
                let (found, wanted) = both(&case, &teacher, &student);
                assert!((found.value - wanted.value).abs() <= VALUE * wanted.value, "{case:?} {constant}");
                if wanted.student.iter().all(|&x| x == 0.0) {
                    assert!(found.student.iter().all(|&x| x == 0.0), "{case:?} {constant}");
                }
            }
        }
    }
}
