//! Mistakes put into the text of a kernel, in one place or in all that have something in common.

use std::collections::BTreeMap;

/// A kind of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mistake {
    /// A barrier of the block is not there.
    Barrier,
    /// An exchange between lanes gives a lane its own number.
    Shuffle,
    /// A branch that a predicate guards is never taken.
    Guard,
    /// Every position counts, whatever the mask says.
    Mask,
    /// A load or store is one element further.
    Index,
    /// The two sides of a difference are swapped.
    Operand,
    /// What is counted in elements is counted in twice their bytes.
    Stride,
}

impl Mistake {
    pub(crate) const ALL: [Self; 7] =
        [Self::Barrier, Self::Shuffle, Self::Guard, Self::Mask, Self::Index, Self::Operand, Self::Stride];

    /// The line with the mistake; `None` where there is no place for it.
    pub(crate) fn of(self, line: &str) -> Option<String> {
        let text = line.trim().trim_end_matches(';');
        let (name, operands) = text.split_once(char::is_whitespace)?;
        let operands: Vec<&str> = split(operands);
        Some(match (self, name) {
            (Self::Barrier, "bar.sync") => String::new(),
            (Self::Shuffle, "shfl.sync.bfly.b32") => format!("mov.b32 {}, {};", operands[0], operands[1]),
            (Self::Guard, guard) if guard.starts_with('@') => String::new(),
            (Self::Mask, "ld.u8" | "ld.global.u8") => format!("mov.u16 {}, 1;", operands[0]),
            (Self::Index, _) if name.starts_with("ld.global") => {
                format!("{name} {}, {};", operands[0], further(operands[1], bytes(name)?)?)
            }
            (Self::Index, _) if name.starts_with("st.global") => {
                format!("{name} {}, {};", further(operands[0], bytes(name)?)?, operands[1])
            }
            (Self::Operand, "sub.f32" | "sub.f64" | "sub.rn.f32") => {
                format!("{name} {}, {}, {};", operands[0], operands[2], operands[1])
            }
            (Self::Stride, "mul.wide.u32") => {
                let bytes: u64 = operands[2].parse().ok()?;
                format!("{name} {}, {}, {};", operands[0], operands[1], 2 * bytes)
            }
            (Self::Stride, "shl.b64") => {
                let bits: u32 = operands[2].parse().ok().filter(|bits| (1..=4).contains(bits))?;
                format!("{name} {}, {}, {};", operands[0], operands[1], bits + 1)
            }
            _ => return None,
        })
    }
}

/// What places of one kind have in common: the instruction, and of an exchange or a stride how far it goes.
fn kind(line: &str) -> String {
    let (name, operands) = line.trim().split_once(char::is_whitespace).unwrap_or((line, ""));
    let operands = split(operands.trim_end_matches(';'));
    match (name, operands.get(2)) {
        ("shfl.sync.bfly.b32" | "mul.wide.u32" | "shl.b64", Some(far)) => format!("{name} by {far}"),
        _ if name.starts_with('@') => "@".to_owned(),
        _ => name.to_owned(),
    }
}

/// Operands, cut at the commas outside of braces.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let outside = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    text.split(outside).map(str::trim).collect()
}

/// Bytes of an access by its name: `ld.global.v4.u32`.
fn bytes(name: &str) -> Option<u64> {
    let bits: u64 = name.rsplit('.').next()?[1..].parse().ok()?;
    let count = name.split('.').find_map(|part| part.strip_prefix('v')?.parse().ok()).unwrap_or(1);
    Some(bits / 8 * count)
}

/// An address so many bytes further.
fn further(address: &str, bytes: u64) -> Option<String> {
    let inner = address.strip_prefix('[')?.strip_suffix(']')?;
    let (base, offset) = inner.split_once('+').unwrap_or((inner, "0"));
    let offset: u64 = offset.parse().ok()?;
    Some(format!("[{base}+{}]", offset + bytes))
}

/// A module's text, cut into kernels and what stands between them.
pub(crate) struct Text {
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
        Self { lines, kernels }
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

    pub(crate) fn whole(&self) -> String {
        self.lines.join("\n")
    }
}
