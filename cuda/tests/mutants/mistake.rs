//! Mistakes that an instruction may have.

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
    /// The least in place of the largest, and the other way round.
    Extreme,
    /// A sign is not turned.
    Sign,
    /// A constant of a sum or product, none of a series' tail, is twice what it should be.
    Constant,
    /// A comparison of integers lets one more through, or one fewer.
    Bound,
}

impl Mistake {
    pub(crate) const ALL: [Self; 11] = [
        Self::Barrier,
        Self::Shuffle,
        Self::Guard,
        Self::Mask,
        Self::Index,
        Self::Operand,
        Self::Stride,
        Self::Extreme,
        Self::Sign,
        Self::Constant,
        Self::Bound,
    ];

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
            (Self::Extreme, _) => format!("{} {};", extreme(name)?, operands.join(", ")),
            (Self::Sign, "neg.f32" | "neg.f64") => {
                format!("mov.{} {}, {};", &name[4..], operands[0], operands[1])
            }
            (Self::Constant, _) if ["add.", "sub.", "mul.", "fma."].iter().any(|of| name.starts_with(of)) => {
                let at = operands.iter().rposition(|operand| doubled(operand).is_some())?;
                let mut operands: Vec<String> = operands.iter().map(|&operand| operand.to_owned()).collect();
                operands[at] = doubled(&operands[at])?;
                format!("{name} {};", operands.join(", "))
            }
            (Self::Bound, _) => format!("{} {};", bound(name)?, operands.join(", ")),
            _ => return None,
        })
    }
}

/// The instruction that takes the other of two numbers.
fn extreme(name: &str) -> Option<String> {
    let (taken, of) = name.split_once('.')?;
    Some(format!("{}.{of}", if taken == "max" { "min" } else { (taken == "min").then_some("max")? }))
}

/// The comparison of integers that differs where both are equal.
fn bound(name: &str) -> Option<String> {
    let (how, of) = name.strip_prefix("setp.")?.split_once('.')?;
    let other = match how {
        "lt" => "le",
        "le" => "lt",
        "gt" => "ge",
        "ge" => "gt",
        _ => return None,
    };
    of.starts_with(['s', 'u']).then(|| format!("setp.{other}.{of}"))
}

/// Twice a constant of ordinary size: its exponent is one more.
fn doubled(operand: &str) -> Option<String> {
    if let Some(bits) = operand.strip_prefix("0f") {
        let bits = u32::from_str_radix(bits, 16).ok()?;
        let is_one = (0.5..1e30).contains(&f32::from_bits(bits).abs());
        return is_one.then(|| format!("0f{:08X}", bits + (1 << 23)));
    }
    let bits = u64::from_str_radix(operand.strip_prefix("0d")?, 16).ok()?;
    let is_one = (0.5..1e30).contains(&f64::from_bits(bits).abs());
    is_one.then(|| format!("0d{:016X}", bits + (1 << 52)))
}

/// What places of one kind have in common: the instruction, and of an exchange or a stride how far it goes.
pub(crate) fn kind(line: &str) -> String {
    let (name, operands) = line.trim().split_once(char::is_whitespace).unwrap_or((line, ""));
    let operands = split(operands.trim_end_matches(';'));
    match (name, operands.get(2)) {
        ("shfl.sync.bfly.b32" | "mul.wide.u32" | "shl.b64", Some(far)) => format!("{name} by {far}"),
        _ if name.starts_with('@') => "@".to_owned(),
        _ if operands.iter().any(|operand| doubled(operand).is_some()) => operands
            .iter()
            .rfind(|operand| doubled(operand).is_some())
            .copied()
            .unwrap_or_default()
            .to_owned(),
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
