//! Published settings, by the name of the code base that they reproduce.

use crate::loss::{MAP_PRESETS, Options};
use crate::recipe::{Divergence, Divisor, Ignore, Norm, RowOptions, Samples};
use crate::{Epsilon, Temperature, Weight};
use core::num::NonZeroUsize;

/// The settings under which a loss of this library gives a published code's number.
///
/// ```
/// use densekd_core::Preset;
/// let preset = Preset::named("mmrazor").expect("a code base's name means its own main loss");
/// assert_eq!(preset.name, "mmrazor-cwd");
/// assert_eq!(preset.options.row().map(|options| options.weight.get()), Some(5.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// `<code base>-<loss>[-variant]`.
    pub name: &'static str,
    /// The loss and its settings.
    pub options: Options,
    /// The repository that the settings were read in.
    pub repository: &'static str,
    /// The files, and what to know about them.
    pub source: &'static str,
}

const TORCH_DISTILLER: &str = "irfanICMLL/TorchDistiller";
const SKD: &str = "irfanICMLL/structure_knowledge_distillation";
const CIRKD: &str = "winycg/CIRKD";
const MMRAZOR: &str = "open-mmlab/mmrazor";
const SUPER_GRADIENTS: &str = "Deci-AI/super-gradients";
const YOLOV6: &str = "meituan/YOLOv6";

const fn cwd(
    name: &'static str,
    repository: &'static str,
    source: &'static str,
    tau: f64,
    weight: f64,
) -> Preset {
    let options =
        RowOptions { tau: Temperature::literal(tau), weight: Weight::literal(weight), ..RowOptions::CWD };
    Preset { name, options: Options::Cwd(options), repository, source }
}

const fn pi(
    name: &'static str,
    repository: &'static str,
    source: &'static str,
    (tau, tau_square, weight): (f64, bool, f64),
    divisor: Divisor,
) -> Preset {
    let (tau, weight) = (Temperature::literal(tau), Weight::literal(weight));
    let options = RowOptions { tau, divisor, tau_square, weight, ..RowOptions::PI };
    Preset { name, options: Options::Pi(options), repository, source }
}

/// The preset with other settings of the same row loss.
const fn with(preset: Preset, options: RowOptions) -> Preset {
    let options = match preset.options {
        Options::Pi(_) => Options::Pi(options),
        _ => Options::Cwd(options),
    };
    Preset { options, ..preset }
}

const fn row(preset: &Preset) -> RowOptions {
    match preset.options {
        Options::Cwd(options) | Options::Pi(options) => options,
        Options::Map(_) => RowOptions::CWD,
    }
}

const CRITERION: &str = "SemSeg-distill/utils/criterion.py, CriterionCWD";
const TD_CWD: Preset = cwd("torchdistiller-cwd", TORCH_DISTILLER, CRITERION, 4.0, 3.0);
const TD_MSE: RowOptions = RowOptions { tau: Temperature::ONE, divergence: Divergence::Mse, ..row(&TD_CWD) };
const TD_PI: Preset = pi(
    "torchdistiller-pi",
    TORCH_DISTILLER,
    "SemSeg-distill/utils/criterion.py, CriterionKD",
    (1.0, false, 10.0),
    Divisor::Elements,
);
const SG_CWD: Preset =
    cwd("super_gradients-cwd", SUPER_GRADIENTS, "losses/cwd_loss.py, cityscapes_kd_base.yaml", 3.0, 6.0);
const SKD_PI: Preset =
    pi("skd-pi", SKD, "utils/criterion.py, CriterionPixelWise", (1.0, true, 10.0), Divisor::Positions);
const MMDET: Preset = cwd(
    "mmdet_distiller-cwd",
    "pppppM/mmdetection-distiller",
    "distillation/losses/cwd.py (ADE20K: weight 10; after a 1x1 alignment set divisor_channels to the student's C)",
    1.0,
    5.0,
);
const PADDLE: Preset = cwd(
    "paddle-cwd",
    "PaddlePaddle/PaddleDetection",
    "ppdet/slim/distill_loss.py, CWDFeatureLoss (after a 1x1 alignment set divisor_channels to the student's C)",
    1.0,
    5.0,
);

/// How many presets there are.
const fn count() -> usize {
    let (mut count, mut loss) = (Preset::ROWS.len(), 0);
    while loss < MAP_PRESETS.len() {
        count += MAP_PRESETS[loss].len();
        loss += 1;
    }
    count
}

/// The presets of all losses in one list.
const fn joined<const COUNT: usize>() -> [Preset; COUNT] {
    let mut all = [TD_CWD; COUNT];
    let (mut at, mut row) = (0, 0);
    while row < Preset::ROWS.len() {
        all[at] = Preset::ROWS[row];
        (at, row) = (at + 1, row + 1);
    }
    let mut loss = 0;
    while loss < MAP_PRESETS.len() {
        let mut preset = 0;
        while preset < MAP_PRESETS[loss].len() {
            all[at] = MAP_PRESETS[loss][preset];
            (at, preset) = (at + 1, preset + 1);
        }
        loss += 1;
    }
    all
}

impl Preset {
    /// Every preset: those of row losses by code base, then those of each loss of whole maps.
    pub const ALL: &'static [Self] = &joined::<{ count() }>();

    /// Those of row losses.
    const ROWS: &'static [Self] = &[
        TD_CWD,
        cwd(
            "torchdistiller-cwd-feature",
            TORCH_DISTILLER,
            "criterion.py; weight as in CIRKD's script",
            4.0,
            50.0,
        ),
        with(
            Self { name: "torchdistiller-cwd-spatial", ..TD_CWD },
            RowOptions { norm: Norm::Spatial, divisor: Divisor::BatchPositions, ..row(&TD_CWD) },
        ),
        with(Self { name: "torchdistiller-cwd-mse", ..TD_CWD }, TD_MSE),
        with(
            Self { name: "torchdistiller-cwd-spatial-mse", ..TD_CWD },
            RowOptions { norm: Norm::Spatial, divisor: Divisor::BatchPositions, ..TD_MSE },
        ),
        with(
            Self { name: "torchdistiller-cwd-channel-mean", ..TD_CWD },
            RowOptions { norm: Norm::ChannelMean, ..TD_MSE },
        ),
        with(
            Self {
                name: "torchdistiller-cwd-none",
                source: "SemSeg-distill/utils/criterion.py, CriterionCWD (sums image 0 only)",
                ..TD_CWD
            },
            RowOptions {
                norm: Norm::None,
                divisor: Divisor::BatchPositions,
                samples: Samples::First,
                ..TD_MSE
            },
        ),
        TD_PI,
        with(
            Self { name: "torchdistiller-pi-upsample", ..TD_PI },
            RowOptions { upsample: NonZeroUsize::new(8).unwrap(), ..row(&TD_PI) },
        ),
        with(SKD_PI, RowOptions { divergence: Divergence::Ce, ..row(&SKD_PI) }),
        cwd(
            "cirkd-cwd",
            CIRKD,
            "train_kd.py (after a 1x1 alignment set divisor_channels to the student's C)",
            4.0,
            3.0,
        ),
        cwd(
            "cirkd-cwd-feature",
            CIRKD,
            "train_kd.py, scripts (divisor_channels as for cirkd-cwd)",
            4.0,
            50.0,
        ),
        pi("cirkd-pi", CIRKD, "losses/kd.py", (1.0, true, 1.0), Divisor::BatchPositions),
        cwd("mmrazor-cwd", MMRAZOR, "mmrazor/models/losses/cwd.py, segmentation configs", 1.0, 5.0),
        cwd("mmrazor-cwd-detection", MMRAZOR, "mmrazor/models/losses/cwd.py, FPN configs", 1.0, 10.0),
        pi("mmrazor-pi", MMRAZOR, "mmrazor/models/losses/kl_divergence.py", (1.0, true, 1.0), Divisor::Batch),
        with(MMDET, RowOptions { divergence: Divergence::Ce, ..row(&MMDET) }),
        with(SG_CWD, RowOptions { ignore: Ignore::After, ..row(&SG_CWD) }),
        with(
            Self { name: "super_gradients-cwd-spatial", ..SG_CWD },
            RowOptions {
                ignore: Ignore::After,
                norm: Norm::Spatial,
                divisor: Divisor::BatchPositions,
                ..row(&SG_CWD)
            },
        ),
        with(PADDLE, RowOptions { tau_square: false, eps: Epsilon::literal(1e-5), ..row(&PADDLE) }),
        pi(
            "paddle-pi",
            "PaddlePaddle/PaddleSeg",
            "losses/kl_loss.py, KLLoss (its masked mean adds 1e-8 to the count)",
            (1.0, true, 1.0),
            Divisor::Elements,
        ),
        cwd(
            "yolov6-cwd",
            YOLOV6,
            "yolov6/models/losses/loss_distill.py, distill_loss_cw (summed over 3 levels, times the epoch's cosine decay)",
            1.0,
            10.0,
        ),
        pi(
            "yolov6-pi",
            YOLOV6,
            "loss_distill.py, distill_loss_cls (summed over anchors)",
            (20.0, true, 1.0),
            Divisor::Sum,
        ),
        pi(
            "yolov6-dfl",
            YOLOV6,
            "loss_distill.py, distill_loss_dfl (rows of 17)",
            (20.0, true, 1.0),
            Divisor::BatchPositions,
        ),
        pi(
            "mdistiller-pi",
            "megvii-research/mdistiller",
            "mdistiller/engine/cfg.py",
            (4.0, true, 0.9),
            Divisor::BatchPositions,
        ),
    ];

    /// The preset of this name; a code base's name alone means its main loss (`skd`: `skd-pi`, the others
    /// their `-cwd`).
    pub fn named(name: &str) -> Option<&'static Self> {
        let main = |preset: &&Self| {
            let rest = preset.name.strip_prefix(name);
            rest == Some("-cwd") || (rest == Some("-pi") && name == "skd")
        };
        Self::ALL.iter().find(|preset| preset.name == name).or_else(|| Self::ALL.iter().find(main))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OptionValue, Recipe};

    #[test]
    fn every_preset_has_its_own_name_and_checked_settings() {
        for preset in Preset::ALL {
            let mut options = preset.options;
            for field in options.fields() {
                let value = options.get(field.name).unwrap_or(OptionValue::Null);
                assert_eq!(options.set(field.name, value), Ok(()), "{}: {}", preset.name, field.name);
            }
            assert_eq!(options, preset.options, "{}", preset.name);
            if let Some(options) = options.row() {
                assert!(Recipe::new(*options).is_ok(), "{}", preset.name);
            }
            let same = Preset::ALL.iter().filter(|other| other.name == preset.name).count();
            assert_eq!(same, 1, "{}", preset.name);
        }
    }

    #[test]
    fn a_code_base_alone_means_its_main_loss() {
        let main = |name| Preset::named(name).map(|preset| preset.name);
        assert_eq!(main("skd"), Some("skd-pi"));
        assert_eq!(main("yolov6"), Some("yolov6-cwd"));
        assert_eq!(main("mdistiller"), None);
    }
}
