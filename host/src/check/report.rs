//! What a check found, for people and machines.

use super::number::finite_or_name;
use serde::Serialize;
use std::fmt;

/// What a check found. Sizes are those of the gradient with upstream gradient 1.
///
/// ```
/// let report = densekd::check::Report::default();
/// assert!(!report.ok && report.worst.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Whether every entry that was checked is right, and one was.
    pub ok: bool,
    /// Why not.
    pub failure: Option<Failure>,
    /// Whose gradient.
    pub backend: &'static str,
    /// The type that the gradient is stored in.
    pub dtype: &'static str,
    /// What an entry's error is measured by: the largest entry of its `row`, or of the whole `tensor`.
    pub scale: &'static str,
    /// How many entries were compared.
    pub entries: usize,
    /// In how many rows; images of a map loss.
    pub rows: usize,
    /// How many entries must be exactly 0, being ignored or in an image that is not summed; all were looked at.
    pub ignored: usize,
    /// Rows whose value is NaN or infinite; 1 where a map loss's is.
    pub skipped_non_finite: usize,
    /// Entries of which the differences do not tell enough.
    pub unresolved: usize,
    /// The error of the worst entry, as a share of what `scale` says, beyond `atol` and the
    /// difference's own error.
    #[serde(serialize_with = "finite_or_name")]
    pub max_error: f64,
    /// What is tolerated of that entry: 1e-5 (1e-7 in `f64`), and `rtol` of the entry itself.
    pub tolerance: f64,
    /// What rounding to the stored type is allowed, relative to the entry.
    pub rtol: f64,
    /// What is allowed besides.
    pub atol: f64,
    /// The smallest and the largest step.
    pub eps: [f64; 2],
    /// The power of two by which the gradient was scaled to be in the stored type's range.
    pub upstream: f64,
    /// The entry with the largest error, as a share of what is tolerated of it.
    pub worst: Option<Entry>,
}

/// An entry of the gradient.
///
/// ```
/// let entry = densekd::check::Entry { index: [0, 1, 2, 3], analytic: 1.0, numeric: 1.5, error: 0.25 };
/// assert_eq!(serde_json::to_value(entry).unwrap()["index"], serde_json::json!([0, 1, 2, 3]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// `[n, c, y, x]`.
    pub index: [usize; 4],
    /// The backend's gradient.
    #[serde(serialize_with = "finite_or_name")]
    pub analytic: f64,
    /// What differences of the value say.
    #[serde(serialize_with = "finite_or_name")]
    pub numeric: f64,
    /// How far they are apart, as a share of the row's largest entry, beyond `atol` and the numeric one's error.
    #[serde(serialize_with = "finite_or_name")]
    pub error: f64,
}

/// Why a check failed.
///
/// ```
/// let failure = densekd::check::Failure::NothingChecked;
/// assert_eq!(serde_json::to_value(failure).unwrap(), "nothing_checked");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// An entry is off by more than the tolerance.
    Differs,
    /// An entry is NaN or infinite where the value is finite.
    NotFinite,
    /// An entry that must be 0 is not.
    IgnoredNotZero,
    /// No entry could be compared.
    NothingChecked,
}

impl Report {
    pub(super) fn note_eps(&mut self, eps: f64) {
        if eps > 0.0 {
            let [least, most] = self.eps;
            self.eps = [if least > 0.0 { least.min(eps) } else { eps }, most.max(eps)];
        }
    }

    /// Keeps the entry with the largest error, as a share of what is allowed of it.
    pub(super) fn see(&mut self, entry: Entry, allowed: f64) {
        if self.worst.is_none_or(|worst| entry.error / allowed > worst.error / self.tolerance) {
            (self.worst, self.tolerance) = (Some(entry), allowed);
        }
    }

    /// Decides; the entry is one that must be 0 and is not.
    pub(super) fn settle(&mut self, not_zero: Option<Entry>) {
        let error = self.worst.map_or(0.0, |worst| worst.error);
        self.failure = if not_zero.is_some() {
            self.worst = not_zero;
            Some(Failure::IgnoredNotZero)
        } else if error > self.tolerance {
            let finite = self.worst.is_none_or(|worst| worst.analytic.is_finite());
            Some(if finite { Failure::Differs } else { Failure::NotFinite })
        } else if self.entries == 0 && self.skipped_non_finite + self.unresolved > 0 {
            Some(Failure::NothingChecked)
        } else {
            None
        };
        self.max_error = self.worst.map_or(0.0, |worst| worst.error);
        self.ok = self.failure.is_none();
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: String| writeln!(f, "{name:<12}{text}");
        line("gradient", format!("{} on backend {}", self.dtype, self.backend))?;
        let maps = self.scale == "tensor";
        line(
            "checked",
            format!("{} entries in {} {}", self.entries, self.rows, if maps { "images" } else { "rows" }),
        )?;
        if self.ignored > 0 {
            let fault = self.failure == Some(Failure::IgnoredNotZero);
            let found = if fault { "not all are" } else { "all are" };
            line("ignored", format!("{} entries, which must be exactly 0: {found}", self.ignored))?;
        }
        if self.skipped_non_finite > 0 && !maps {
            line("skipped", format!("{} rows whose value is NaN or infinite", self.skipped_non_finite))?;
        }
        if self.unresolved > 0 {
            line("unresolved", format!("{} entries whose differences do not tell enough", self.unresolved))?;
        }
        if self.eps != [0.0; 2] {
            line("eps", format!("{:.1e} to {:.1e}", self.eps[0], self.eps[1]))?;
        }
        line("rtol, atol", format!("{:.1e}, {:.1e}", self.rtol, self.atol))?;
        if self.upstream.to_bits() != 1.0_f64.to_bits() {
            line("upstream", format!("2^{} to be in {}'s range", self.upstream.log2(), self.dtype))?;
        }
        let (found, allowed) = (self.max_error, self.tolerance);
        line(
            "max error",
            format!("{found:.1e} of the {}'s largest entry ({allowed:.1e} allowed)", self.scale),
        )?;
        if let Some(Entry { index, analytic, numeric, .. }) = self.worst {
            line("worst", format!("{index:?}: analytic {analytic:e}, numeric {numeric:e}"))?;
        }
        match self.failure {
            None => f.write_str("ok"),
            Some(Failure::Differs) => write!(
                f,
                "FAILED: the gradient is not the derivative of the value: train with another backend than {}, \
                 and report these tensors",
                self.backend
            ),
            Some(Failure::NotFinite) => write!(
                f,
                "FAILED: the gradient is NaN or infinite where the value is finite: train with another backend \
                 than {}, and report these tensors",
                self.backend
            ),
            Some(Failure::IgnoredNotZero) => write!(
                f,
                "FAILED: ignored positions receive a gradient: train with another backend than {}, and report \
                 these tensors with their mask",
                self.backend
            ),
            Some(Failure::NothingChecked) if self.unresolved > 0 => f.write_str(
                "FAILED: nothing could be checked: the values are too large for differences to tell; check \
                 tensors of the size that is trained on",
            ),
            Some(Failure::NothingChecked) => f.write_str(
                "FAILED: nothing could be checked, since no value is finite: `densekd doctor` says where \
                 the tensors are not finite",
            ),
        }
    }
}
