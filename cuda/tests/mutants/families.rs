//! Modules, and what reaches their kernels.

use crate::uses::{Maps, Use};
use densekd_core::{
    AtOptions, DistOptions, Divergence, DkdOptions, Epsilon, HoOptions, HoRole, IfvdOptions, Ignore, LaMode,
    LaOptions, Loss, MapOptions, Norm, Order, PaOptions, PkdOptions, ResizeMode, RkdOptions, RowOptions,
    SmoothCeOptions,
};
use std::num::NonZeroUsize;

/// A module.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    /// What reaches all of its kernels for `f32`.
    pub(crate) uses: Vec<Use>,
    /// More than the blocks of a small device do at once, for mistakes that only then show.
    pub(crate) large: Vec<Use>,
}

const NCHW: Order = Order::Nchw;
const NHWC: Order = Order::Nhwc;

fn rows(order: Order, dims: &[[usize; 4]], options: RowOptions) -> Vec<Use> {
    dims.iter().map(|&dims| Use::Rows(order, dims, options)).collect()
}

fn plain(order: Order, dims: &[[usize; 4]], maps: Maps) -> Vec<Use> {
    dims.iter().map(|&dims| Use::Plain(order, dims, maps)).collect()
}

/// Each way of spreading rows over the device, by these options in turn.
fn ways(options: &[RowOptions]) -> Vec<Use> {
    let of = |order, dims: &[[usize; 4]]| dims.iter().map(|&dims| (order, dims)).collect::<Vec<_>>();
    let ways = [of(NCHW, &WAYS), of(NHWC, &COLUMNS)].concat();
    ways.into_iter()
        .zip(options.iter().cycle())
        .map(|((order, dims), &of)| Use::Rows(order, dims, of))
        .collect()
}

/// Both orders in memory.
fn maps(options: MapOptions, dims: [usize; 4]) -> [Use; 2] {
    [NCHW, NHWC].map(|order| Use::Map(options, order, dims))
}

const LENGTHS: [[usize; 4]; 5] =
    [[1, 80, 5, 9], [1, 10, 9, 23], [1, 3, 25, 37], [2, 1, 61, 41], [1, 1, 95, 97]];
/// Of rows that have no kernel for a warp and up to 1024 entries: 8 lanes, a warp, a block, parts.
const WAYS: [[usize; 4]; 4] = [[1, 40, 5, 9], [1, 10, 9, 23], [2, 1, 61, 41], [1, 1, 95, 97]];
const PLAIN: [[usize; 4]; 8] = [
    [1, 80, 4, 12],
    [1, 10, 10, 20],
    [1, 9, 25, 40],
    [1, 3, 40, 50],
    [1, 2, 65, 64],
    [1, 2, 95, 96],
    [1, 2, 128, 129],
    [1, 1, 182, 182],
];
/// That a block takes in stretches where they are not certain.
const STRETCHES: [[usize; 4]; 3] = [PLAIN[4], PLAIN[5], PLAIN[6]];
const COLUMNS: [[usize; 4]; 2] = [[2, 300, 5, 9], [1, 30, 20, 15]];
/// Of which all counts: a thread, and eight; the last rows of a block, too.
const APART: [[usize; 4]; 2] = [[1, 60, 4, 5], [1, 75, 10, 9]];
const PARTS: [usize; 4] = [1, 4200, 3, 43];
const PAIRS: [usize; 4] = [1, 140_000, 1, 2];

#[allow(clippy::too_many_lines, reason = "a list")]
pub(crate) fn by_name(name: &str) -> Family {
    let kl = RowOptions::CWD;
    let family = |name, text, uses, large| Family { name, text, uses, large };
    match name {
        "rows" => family(
            "rows",
            include_str!("../../ptx/rows.ptx"),
            [rows(NCHW, &LENGTHS, kl), plain(NCHW, &STRETCHES, Maps::Distance)].concat(),
            [
                rows(NCHW, &[[1, 300, 24, 25]], kl),
                plain(NCHW, &STRETCHES, Maps::ButFew),
                plain(NCHW, &[[1, 34, 65, 64], [1, 34, 95, 96]], Maps::Distance),
            ]
            .concat(),
        ),
        // The same kernels by the form that they have for plain rows.
        "swift" => {
            let of = |maps| plain(NCHW, &PLAIN, maps);
            family(
                "swift",
                include_str!("../../ptx/rows.ptx"),
                of(Maps::Nothing),
                [of(Maps::Much), of(Maps::ButFew)].concat(),
            )
        }
        "columns" => family(
            "columns",
            include_str!("../../ptx/columns.ptx"),
            [rows(NHWC, &COLUMNS, kl), plain(NHWC, &APART, Maps::Nothing)].concat(),
            [
                rows(NHWC, &[PARTS], kl),
                plain(NHWC, &APART, Maps::Much),
                plain(NHWC, &APART, Maps::ButFew),
                plain(NHWC, &APART, Maps::Distance),
                plain(NHWC, &[[1, 2100, 4, 5], [1, 2100, 10, 9]], Maps::Nothing),
            ]
            .concat(),
        ),
        "terms" => {
            let of = |divergence| RowOptions { divergence, ..kl };
            let with = |divergence| RowOptions { eps: Epsilon::new(1e-3).unwrap(), ..of(divergence) };
            let (js, mse, reverse) = (of(Divergence::Js), of(Divergence::Mse), of(Divergence::ReverseKl));
            let after = RowOptions { ignore: Ignore::After, ..kl };
            let options = [js, with(Divergence::Ce), reverse, of(Divergence::Ce), mse, with(Divergence::Kl)];
            let few = rows(NHWC, &[[1, 3, 20, 15]], js);
            let large =
                [few, rows(NHWC, &[PARTS], reverse), ways(&[after, js, with(Divergence::Kl)])].concat();
            family("terms", include_str!("../../ptx/terms.ptx"), ways(&options), large)
        }
        // The same kernels for rows without a softmax.
        "numbers" => {
            let of = |norm| RowOptions { norm, divergence: Divergence::Mse, ..kl };
            let (raw, means) = (of(Norm::None), of(Norm::ChannelMean));
            let large = [rows(NHWC, &[PARTS], raw), ways(&[means, raw])].concat();
            family("numbers", include_str!("../../ptx/terms.ptx"), ways(&[raw, means]), large)
        }
        "wide" => {
            let ce = RowOptions { divergence: Divergence::Ce, ..kl };
            let of = |order, dims: &[[usize; 4]], options| {
                dims.iter().map(|&dims| Use::Wide(order, dims, options)).collect::<Vec<_>>()
            };
            family(
                "wide",
                include_str!("../../ptx/wide.ptx"),
                [of(NCHW, &WAYS, kl), of(NHWC, &COLUMNS, kl)].concat(),
                [of(NCHW, &WAYS, ce), of(NHWC, &[[2, 300, 5, 9], PARTS], ce)].concat(),
            )
        }
        "whole" => family(
            "whole",
            include_str!("../../ptx/whole.ptx"),
            rows(NCHW, &LENGTHS, kl),
            rows(NHWC, &[PARTS, PAIRS], kl),
        ),
        "vectors" => {
            let pkd = MapOptions::Pkd(PkdOptions::DEFAULT);
            let short = [Use::Map(pkd, NCHW, [2, 300, 1, 7]), Use::Map(pkd, NHWC, [40, 300, 5, 5])];
            family(
                "vectors",
                include_str!("../../ptx/vectors.ptx"),
                [maps(pkd, [3, 5, 37, 41]), short].concat(),
                vec![Use::Map(pkd, NCHW, [1, 20, 96, 96]), Use::Map(pkd, NHWC, [16, 33, 30, 30])],
            )
        }
        "energy" => {
            let at = MapOptions::At(AtOptions::DEFAULT);
            family(
                "energy",
                include_str!("../../ptx/energy.ptx"),
                maps(at, [2, 71, 13, 11]).into(),
                [Use::Of(Maps::Size, at, NCHW, [1, 5, 9, 11]), Use::Of(Maps::Size, at, NHWC, [1, 5, 9, 11])]
                    .into_iter()
                    .chain(maps(at, [3, 200, 20, 20]))
                    .collect(),
            )
        }
        "classes" => {
            let of = |dims| {
                let both =
                    [MapOptions::Dkd(DkdOptions::DEFAULT), MapOptions::SmoothCe(SmoothCeOptions::DEFAULT)];
                both.map(|options| maps(options, dims)).concat()
            };
            family("classes", include_str!("../../ptx/classes.ptx"), of([2, 11, 7, 9]), of([3, 3, 60, 60]))
        }
        "dist" => {
            let of = |dims| maps(MapOptions::Dist(DistOptions::DEFAULT), dims).to_vec();
            let near = Use::Of(Maps::Much, MapOptions::Dist(DistOptions::DEFAULT), NCHW, [2, 5, 9, 11]);
            let large = [vec![near], of([1, 300, 4, 4]), of([3, 3, 40, 40])].concat();
            family("dist", include_str!("../../ptx/dist.ptx"), of([2, 5, 9, 11]), large)
        }
        "la" => {
            let distances = MapOptions::La(LaOptions::DEFAULT);
            let cosines = MapOptions::La(LaOptions { mode: LaMode::Cos, ..LaOptions::DEFAULT });
            family(
                "la",
                include_str!("../../ptx/la.ptx"),
                [distances, cosines].map(|options| maps(options, [2, 3, 7, 9])).concat(),
                [distances, cosines].map(|options| maps(options, [3, 5, 60, 60])).concat(),
            )
        }
        "pa" => {
            let options = MapOptions::Pa(PaOptions { detach_norm: false, ..PaOptions::DEFAULT });
            family(
                "pa",
                include_str!("../../ptx/pa.ptx"),
                [&maps(options, [2, 3, 9, 11])[..], &[Use::Map(options, NCHW, [1, 2, 40, 40])]].concat(),
                maps(options, [2, 40, 33, 33]).to_vec(),
            )
        }
        "rkd" => {
            let raw = MapOptions::Rkd(RkdOptions { normalize: false, ..RkdOptions::DEFAULT });
            let scaled = MapOptions::Rkd(RkdOptions::DEFAULT);
            let large = vec![
                Use::Map(raw, NCHW, [18, 3, 5, 7]),
                Use::Map(scaled, NCHW, [10, 2, 60, 70]),
                Use::Map(scaled, NCHW, [70, 1, 5, 3]),
            ];
            family(
                "rkd",
                include_str!("../../ptx/rkd.ptx"),
                vec![Use::Map(scaled, NCHW, [5, 3, 9, 11])],
                large,
            )
        }
        "ifvd" => {
            let of = |options, dims| maps(MapOptions::Ifvd(options), dims).to_vec();
            // More classes than a warp has lanes.
            let many = IfvdOptions { num_classes: NonZeroUsize::new(300).unwrap(), ..IfvdOptions::DEFAULT };
            let large = [of(many, [1, 3, 9, 11]), of(IfvdOptions::DEFAULT, [3, 7, 65, 66])].concat();
            family("ifvd", include_str!("../../ptx/ifvd.ptx"), of(IfvdOptions::DEFAULT, [2, 7, 13, 9]), large)
        }
        "resize" => {
            let bilinear = ResizeMode::Bilinear { align_corners: false };
            let of = |loss, mode, dims, size| {
                [NCHW, NHWC].map(|order| Use::Resized(loss, mode, order, dims, size))
            };
            let aligned = ResizeMode::Bilinear { align_corners: true };
            family(
                "resize",
                include_str!("../../ptx/resize.ptx"),
                [Loss::Cwd, Loss::Mimic].map(|loss| of(loss, bilinear, [2, 5, 4, 6], [7, 9])).concat(),
                [
                    of(Loss::Mimic, ResizeMode::Area, [2, 8, 9, 11], [4, 3]),
                    of(Loss::Cwd, ResizeMode::Area, [1, 2, 9, 23], [4, 3]),
                    of(Loss::Mimic, bilinear, [1, 2, 3, 4], [24, 32]),
                    // Axes that several blocks write.
                    of(Loss::Mimic, bilinear, [1, 1, 2, 300], [3, 700]),
                    of(Loss::Cwd, ResizeMode::Nearest, [1, 3, 5, 7], [9, 4]),
                    of(Loss::Mimic, aligned, [3, 6, 30, 40], [50, 60]),
                    of(Loss::Cwd, aligned, [3, 8, 30, 40], [50, 60]),
                ]
                .concat(),
            )
        }
        "project" => {
            let of = |dims, outputs| [NCHW, NHWC].map(|order| Use::Projected(order, dims, outputs)).to_vec();
            let large = [of([1, 70, 9, 11], 90), of([70, 3, 1, 5], 5), of([2, 5, 70, 65], 7)].concat();
            family("project", include_str!("../../ptx/project.ptx"), of([2, 19, 7, 9], 21), large)
        }
        "labels" => family(
            "labels",
            include_str!("../../ptx/labels.ptx"),
            vec![Use::Labels([3, 7, 9], [14, 27])],
            vec![Use::Labels([2, 90, 130], [45, 65])],
        ),
        _ => {
            let ho = HoOptions::DEFAULT;
            let penalty = MapOptions::Ho(HoOptions { role: HoRole::GradientPenalty, ..ho });
            let of = |dims| [penalty, MapOptions::Ho(ho)].map(|options| maps(options, dims)).concat();
            family("ho", include_str!("../../ptx/ho.ptx"), of([3, 2, 65, 33]), of([2, 1, 200, 200]))
        }
    }
}
