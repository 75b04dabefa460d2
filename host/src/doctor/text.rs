//! The report as aligned text, and how its numbers are written.

use super::advice::show_power;
use super::{Confidence, Found, Gradient, PresetValue, Report, Side, Usual};
use serde::Serializer;
use std::fmt;

/// Channels that are listed; JSON has all.
const SHOWN: usize = 5;

/// A number, in JSON the name of one where JSON has no such number.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(super) fn number<S: Serializer>(x: &f64, to: S) -> Result<S::Ok, S::Error> {
    if x.is_finite() { to.serialize_f64(*x) } else { to.serialize_str(&show(*x)) }
}

/// The same of a number that may be missing.
#[allow(clippy::ref_option, reason = "serde hands a reference")]
pub(super) fn optional<S: Serializer>(x: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match x {
        Some(x) => number(x, to),
        None => to.serialize_none(),
    }
}

/// A number with six digits, for people.
pub(super) fn show(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x == 0.0 || x.is_infinite() {
        return format!("{x}");
    }
    if !(1e-3..1e6).contains(&x.abs()) {
        return format!("{x:.5e}");
    }
    let digits = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5].iter().filter(|&&power| x.abs() >= power).count();
    let text = format!("{x:.*}", 6 - digits.min(6));
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    short.to_owned()
}

/// A share.
pub(super) fn percent(x: f64) -> String {
    if x.is_nan() { "-".to_owned() } else { format!("{:.2} %", 100.0 * x) }
}

/// How many there are, and where the first stands.
fn found(found: Found) -> String {
    let at = found.first.map_or_else(String::new, |at| format!(", first {at:?}"));
    format!("{}{at}", found.count)
}

/// Rows of cells under each other, the last column not padded.
fn table(f: &mut fmt::Formatter<'_>, title: &str, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    writeln!(f, "{title}")?;
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(f, "  {}", cells.join("  ").trim_end())?;
    }
    writeln!(f)
}

fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, order, backend, positions, counted, .. } = self;
        writeln!(f, "shape {shape:?} ([N, C, H, W]), {order}; {counted} of {positions} positions count")?;
        writeln!(f, "losses by backend {backend}\n")?;
        self.sides(f)?;
        table(f, "teacher's entropy, relative to a uniform distribution's", &confidence(&self.confidence))?;
        table(f, "channel-wise distillation, exactly and in the usual forms", &usual(&self.usual))?;
        self.channel_table(f)?;
        table(f, "gradient to the student at tau 4, weight 1", &gradient(&self.gradient))?;
        table(f, "the loss under every preset", &presets(&self.presets))?;
        writeln!(f, "advice")?;
        self.advice.iter().try_for_each(|advice| writeln!(f, "  {}: {}", advice.code, advice.text))
    }
}

impl Report {
    fn sides(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![cells(["", "teacher", "student"])];
        let mut add = |name: &str, of: &dyn Fn(&Side) -> String| {
            rows.push(vec![name.to_owned(), of(&self.teacher), of(&self.student)]);
        };
        add("dtype", &|side| side.dtype.to_owned());
        add("min", &|side| show(side.min));
        add("max", &|side| show(side.max));
        add("mean", &|side| show(side.mean));
        add("sd", &|side| show(side.sd));
        add("nan", &|side| found(side.nan));
        add("+inf", &|side| found(side.plus_inf));
        add("-inf", &|side| found(side.minus_inf));
        add("subnormal", &|side| side.subnormal.to_string());
        add("65504 / max |x|", &|side| show(side.f16_headroom));
        add("constant channel maps", &|side| found(side.constant_maps));
        add("constant channels", &|side| side.constant_channels.len().to_string());
        add("constant pixels", &|side| side.constant_pixels.to_string());
        table(f, "maps at the counted positions", &rows)?;
        let common = &self.common;
        let rows = [
            ("identical", if common.identical { "yes" } else { "no" }.to_owned()),
            ("largest difference", show(common.largest_difference)),
            ("-inf in both", found(common.minus_inf)),
            ("teacher's sd / student's sd", show(self.sd_ratio)),
        ];
        table(f, "the two together", &rows.map(|(name, value)| vec![name.to_owned(), value]))
    }

    fn channel_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.channels.len().min(SHOWN);
        let mut rows = vec![cells(["channel", "value", "share"])];
        rows.extend(
            self.channels.iter().take(SHOWN).map(|channel| {
                vec![channel.channel.to_string(), show(channel.value), percent(channel.share)]
            }),
        );
        let title = format!("what channels add at tau 4, the {shown} largest of {}", self.channels.len());
        table(f, &title, &rows)
    }
}

fn confidence(all: &[Confidence]) -> Vec<Vec<String>> {
    let mut rows = vec![cells(["tau", "of channel maps", "of pixels"])];
    rows.extend(all.iter().map(|c| vec![show(c.tau), percent(c.channels), percent(c.pixels)]));
    rows
}

fn usual(all: &[Usual]) -> Vec<Vec<String>> {
    let head =
        ["tau", "exact", "softmax then log", "in f16", "log_softmax", "maps", "nan", "infinite", "below 0"];
    let mut rows = vec![cells(head)];
    rows.extend(all.iter().map(|usual| {
        let values =
            [usual.tau, usual.value, usual.softmax_log, usual.softmax_log_f16, usual.log_softmax].map(show);
        let counts = [usual.maps, usual.nan, usual.infinite, usual.negative].map(|count| count.to_string());
        values.into_iter().chain(counts).collect()
    }));
    rows
}

fn gradient(gradient: &Gradient) -> Vec<Vec<String>> {
    let rows = [
        ("largest", show(gradient.largest)),
        ("not finite", gradient.non_finite.to_string()),
        ("nonzero", gradient.nonzero.to_string()),
        ("0 or subnormal in f16", percent(gradient.f16_underflow)),
        ("loss scale for f16", gradient.loss_scale.map_or_else(|| "-".to_owned(), show_power)),
        ("0 or subnormal then", percent(gradient.f16_underflow_scaled)),
    ];
    rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec()
}

fn presets(all: &[PresetValue]) -> Vec<Vec<String>> {
    let mut rows = vec![cells(["preset", "value", "divisor", ""])];
    rows.extend(all.iter().map(|preset| {
        let known = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), show);
        let divisor = match preset.divisor_number {
            Some(number) => format!("{} = {number}", preset.divisor),
            None => preset.divisor.to_owned(),
        };
        let note = preset.note.clone().unwrap_or_default();
        vec![preset.name.to_owned(), known(preset.value), divisor, note]
    }));
    rows
}
