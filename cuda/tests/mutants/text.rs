//! The text of a module, cut into kernels, and mistakes put into it.

use crate::mistake::{Mistake, kind};
use std::collections::BTreeMap;

/// A module's text, cut into kernels and what stands between them.
pub(crate) struct Text {
    shipped: String,
    lines: Vec<String>,
    /// Of each kernel its name, and its lines from the brace that opens to the one that closes.
    kernels: Vec<(String, std::ops::Range<usize>)>,
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut kernels = Vec::new();
        let mut name = None;
        let mut start = 0;
        for (at, line) in lines.iter().enumerate() {
            if let Some(rest) = line.strip_prefix(".visible .entry ") {
                name = Some((rest.trim_end_matches(['(', ')']).to_owned(), at));
            } else if line == "{" {
                start = at;
            } else if line == "}" {
                let (name, _) = name.take().expect("a body has a head");
                kernels.push((name, start + 1..at));
            }
        }
        Self { shipped: text.to_owned(), lines, kernels }
    }

    /// Names of the kernels.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|(name, _)| name.as_str())
    }

    /// The same with empty bodies for all kernels but these, which is soon loaded.
    pub(crate) fn only(&self, names: &[&str]) -> Self {
        let mut lines = Vec::new();
        let mut next = 0;
        for (name, body) in &self.kernels {
            let kept = if names.contains(&name.as_str()) { body.end } else { body.start };
            lines.extend_from_slice(&self.lines[next..kept]);
            if kept == body.start {
                lines.push("\tret;".to_owned());
            }
            next = body.end;
        }
        lines.extend_from_slice(&self.lines[next..]);
        Self::new(&lines.join("\n"))
    }

    /// Places in a kernel for a mistake: numbers of lines.
    pub(crate) fn places(&self, kernel: &str, mistake: Mistake) -> Vec<usize> {
        let (_, body) = self.kernels.iter().find(|(name, _)| name == kernel).expect("the kernel is there");
        body.clone().filter(|&at| mistake.of(&self.lines[at]).is_some()).collect()
    }

    /// The same by what they have in common.
    pub(crate) fn kinds(&self, kernel: &str, mistake: Mistake) -> BTreeMap<String, Vec<usize>> {
        let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for at in self.places(kernel, mistake) {
            kinds.entry(kind(&self.lines[at])).or_default().push(at);
        }
        kinds
    }

    /// The text with a mistake in these places, in the order of lines; without one, with a trap.
    pub(crate) fn with(&self, places: &[usize], mistake: Option<Mistake>) -> String {
        let mut text = String::with_capacity(self.lines.iter().map(|line| line.len() + 1).sum());
        for (number, of_text) in self.lines.iter().enumerate() {
            let wrong = mistake.map_or(Some("trap;".to_owned()), |mistake| mistake.of(of_text));
            match wrong.filter(|_| places.binary_search(&number).is_ok()) {
                Some(wrong) => text.push_str(&wrong),
                None => text.push_str(of_text),
            }
            text.push('\n');
        }
        text
    }

    /// All of it, as it was given.
    pub(crate) fn shipped(&self) -> &str {
        &self.shipped
    }
}
