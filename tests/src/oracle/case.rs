//! What is asked of the oracle, and what it answers.

/// Which entries share one normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// A softmax over positions for each sample and channel.
    Channel,
    /// A softmax over channels for each sample and position.
    Spatial,
    /// The mean over positions, divided by tau.
    ChannelMean,
    /// None.
    None,
}

/// How two normalised rows are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// `sum p (log p - log q)`.
    Kl,
    /// `-sum p log q`.
    Ce,
    /// `sum (q - p)^2`.
    Mse,
    /// `1/2 sum p log(p/m) + 1/2 sum q log(q/m)`, `m = (p+q)/2`.
    Js,
    /// `sum q (log q - log p)`.
    ReverseKl,
}

/// What the sum over rows is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// 1.
    Sum,
    /// N.
    Batch,
    /// H W.
    Positions,
    /// N C; with a mask, C times the images that have a counted position.
    BatchChannels,
    /// N H W; with a mask, the counted positions.
    BatchPositions,
    /// N C H W; with a mask, C times the counted positions.
    Elements,
}

/// Where ignored positions drop out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignore {
    /// Before the softmax: whatever stands there.
    Before,
    /// After a softmax over all positions: only their terms.
    After,
}

/// Which samples are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// All.
    All,
    /// Sample 0 only; the divisor still counts all.
    First,
}

/// Every option of a row loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The normalisation.
    pub norm: Norm,
    /// The divergence.
    pub divergence: Divergence,
    /// The divisor.
    pub divisor: Divisor,
    /// Replaces C in the divisor.
    pub divisor_channels: Option<usize>,
    /// The temperature, finite and above 0.
    pub tau: f64,
    /// Multiply by tau^2.
    pub tau_square: bool,
    /// Multiplies value and gradients.
    pub weight: f64,
    /// Stands inside the logarithms of kl and ce.
    pub eps: f64,
    /// Where ignored positions drop out.
    pub ignore: Ignore,
    /// Which samples are summed.
    pub samples: Samples,
    /// Factor of the bilinear resize of both maps (corners aligned).
    pub upsample: usize,
}

impl Options {
    /// The defaults of CWD: softmax over positions at tau 4, kl, weight 3.
    pub const fn cwd() -> Self {
        Self {
            norm: Norm::Channel,
            divergence: Divergence::Kl,
            divisor: Divisor::BatchChannels,
            divisor_channels: None,
            tau: 4.0,
            tau_square: true,
            weight: 3.0,
            eps: 0.0,
            ignore: Ignore::Before,
            samples: Samples::All,
            upsample: 1,
        }
    }

    /// The defaults of PI: softmax over channels at tau 1, kl, weight 1.
    pub const fn pi() -> Self {
        Self { norm: Norm::Spatial, divisor: Divisor::BatchPositions, tau: 1.0, weight: 1.0, ..Self::cwd() }
    }
}

/// A question: two tensors and how to compare them.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
    /// The teacher's logits, row-major.
    pub teacher: Vec<f64>,
    /// The student's logits, row-major.
    pub student: Vec<f64>,
    /// `[N, H, W]`: whether a position is counted.
    pub counted: Option<Vec<bool>>,
    /// The options.
    pub options: Options,
}

impl Case {
    /// What the losses refuse with a typed error has no answer.
    pub(super) fn check(&self) {
        let [n, c, h, w] = self.shape;
        let Options { norm, divergence, eps, ignore, upsample, tau, weight, .. } = self.options;
        let logarithm = matches!(divergence, Divergence::Kl | Divergence::Ce);
        assert!(n * c * h * w > 0, "a dimension is empty");
        assert_eq!(self.teacher.len(), n * c * h * w, "the teacher does not fill the shape");
        assert_eq!(self.student.len(), n * c * h * w, "the student does not fill the shape");
        if let Some(counted) = &self.counted {
            assert_eq!(counted.len(), n * h * w, "the mask does not fill the shape");
            assert_eq!(upsample, 1, "a mask has no meaning on a resized map");
        }
        assert!(tau.is_finite() && tau > 0.0, "tau is not a temperature");
        assert!(weight.is_finite() && eps.is_finite() && eps >= 0.0, "weight or eps is out of range");
        assert!(upsample > 0, "a map cannot vanish");
        assert!(eps == 0.0 || logarithm, "eps stands inside the logarithms of kl and ce");
        if ignore == Ignore::After {
            assert!(logarithm && eps == 0.0, "`after` is defined for kl and ce without eps");
        }
        if matches!(norm, Norm::ChannelMean | Norm::None) {
            assert_eq!(divergence, Divergence::Mse, "real rows are compared by mse only");
            assert_eq!(ignore, Ignore::Before, "`after` needs a softmax");
        }
    }
}

/// The truth, each number rounded once to f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The loss.
    pub value: f64,
    /// The rows' divergences before weight, tau^2 and divisor, 0 for rows that are not summed. In order of
    /// (n, position) for [`Norm::Spatial`], of (n, c) for every other norm.
    pub rows: Vec<f64>,
    /// The gradient to the student for upstream 1.
    pub grad_student: Vec<f64>,
    /// The gradient to the teacher for upstream 1.
    pub grad_teacher: Vec<f64>,
}
