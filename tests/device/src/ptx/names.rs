//! What a name in a kernel stands for: registers, predicates, variables, parameters, labels.
use super::op::{Address, Pred, Reg, Space, Src};
use super::types::Type;
use super::{Decoded, module::Symbol};
use std::collections::HashMap;

/// The registers that one line declares.
#[derive(Debug, Clone, Copy)]
struct Bank {
    ty: Type,
    first: u32,
    /// None: the one register of exactly this name.
    count: Option<u32>,
}

/// Names in reach of an instruction.
#[derive(Debug, Default)]
pub(crate) struct Names {
    scopes: Vec<HashMap<String, Bank>>,
    pub(crate) symbols: HashMap<String, Symbol>,
    pub(crate) labels: HashMap<String, u32>,
    pub(crate) tables: HashMap<String, Vec<String>>,
    pub(crate) registers: u32,
    pub(crate) predicates: u32,
}

impl Names {
    pub(crate) fn open(&mut self) {
        self.scopes.push(HashMap::new());
    }

    /// False where no scope is left.
    pub(crate) fn close(&mut self) -> bool {
        self.scopes.pop();
        !self.scopes.is_empty()
    }

    /// `.reg` and what follows it.
    pub(crate) fn declare(&mut self, text: &str) -> Decoded<()> {
        let (ty, list) = text.split_once(' ').ok_or("a type and names are expected")?;
        let ty = ty.strip_prefix('.').and_then(Type::parse).ok_or("unknown register type")?;
        for name in list.split(',').map(str::trim) {
            let (name, count) = match name.split_once('<') {
                None => (name, None),
                Some((prefix, count)) => {
                    let count = count.trim_end_matches('>').parse().map_err(|_| "bad register count")?;
                    (prefix, Some(count))
                }
            };
            let file = if ty == Type::Pred { &mut self.predicates } else { &mut self.registers };
            let first = *file;
            *file += count.unwrap_or(1);
            let scope = self.scopes.last_mut().ok_or("registers outside of a kernel")?;
            scope.insert(name.to_owned(), Bank { ty, first, count });
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<(Type, u32)> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = name[prefix.len()..].parse::<u32>().ok();
        self.scopes.iter().rev().find_map(|scope| {
            if let Some(Bank { ty, first, count: None }) = scope.get(name) {
                return Some((*ty, *first));
            }
            let bank = scope.get(prefix)?;
            let number = number.filter(|n| bank.count.is_some_and(|count| *n < count))?;
            Some((bank.ty, bank.first + number))
        })
    }

    /// A register of any width.
    pub(crate) fn register(&self, name: &str) -> Decoded<Reg> {
        match self.find(name) {
            Some((Type::Pred, _)) => Err(format!("{name} is a predicate, not a number")),
            Some((ty, at)) => Ok(Reg { at, bits: ty.bits() }),
            None => Err(format!("{name} is no register")),
        }
    }

    /// A register of exactly `bits`.
    pub(crate) fn register_of(&self, name: &str, bits: u8) -> Decoded<Reg> {
        let reg = self.register(name)?;
        if reg.bits == bits { Ok(reg) } else { Err(format!("{name} has {} bits, not {bits}", reg.bits)) }
    }

    /// A register of at least `bits`, as loads, stores and conversions allow.
    pub(crate) fn register_from(&self, name: &str, bits: u8) -> Decoded<Reg> {
        let reg = self.register(name)?;
        if reg.bits >= bits {
            Ok(reg)
        } else {
            Err(format!("{name} has {} bits, {bits} are needed", reg.bits))
        }
    }

    fn is_register(&self, text: &str) -> bool {
        text.starts_with('%') || self.find(text).is_some()
    }

    /// A register of exactly `bits`, or a literal.
    pub(crate) fn source(&self, text: &str, bits: u8) -> Decoded<Src> {
        if self.is_register(text) {
            self.register_of(text, bits).map(Src::Reg)
        } else {
            literal(text, bits).map(Src::Value)
        }
    }

    /// A register of at least `bits`, or a literal.
    pub(crate) fn source_from(&self, text: &str, bits: u8) -> Decoded<Src> {
        if self.is_register(text) {
            self.register_from(text, bits).map(Src::Reg)
        } else {
            literal(text, bits).map(Src::Value)
        }
    }

    pub(crate) fn predicate(&self, text: &str) -> Decoded<Pred> {
        let (negated, name) = match text.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, text),
        };
        match self.find(name) {
            Some((Type::Pred, at)) => Ok(Pred { at, negated }),
            _ => Err(format!("{name} is no predicate")),
        }
    }

    /// A predicate that is written.
    pub(crate) fn predicate_to(&self, text: &str) -> Decoded<u32> {
        match self.predicate(text)? {
            Pred { at, negated: false } => Ok(at),
            Pred { .. } => Err("a negated predicate cannot be written".to_owned()),
        }
    }

    pub(crate) fn label(&self, name: &str) -> Decoded<u32> {
        self.labels.get(name).copied().ok_or_else(|| format!("{name} is no label"))
    }

    /// `[base+offset]`, in `space`.
    pub(crate) fn address(&self, text: &str, space: Space) -> Decoded<Address> {
        let inner =
            text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or("an address is expected")?;
        let (base, offset) = match inner.split_once('+') {
            Some((base, offset)) => (base.trim(), offset.trim()),
            None => (inner.trim(), "0"),
        };
        let offset = offset.parse::<i64>().map_err(|_| format!("bad offset {offset}"))?;
        let base = if base.starts_with('%') {
            Src::Reg(self.register_of(base, 64)?)
        } else {
            let symbol = self.symbols.get(base).ok_or_else(|| format!("{base} is no variable"))?;
            if space != symbol.space {
                return Err(format!("{base} does not lie in the named space"));
            }
            Src::Value(symbol.address)
        };
        Ok(Address { space, base, offset })
    }
}

/// Bits of a number in the text, cut to `bits`.
pub(crate) fn literal(text: &str, bits: u8) -> Decoded<u64> {
    let bad = || format!("{text} is no number of {bits} bits");
    let keep = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    if let Some(hex) = text.strip_prefix("0f").or_else(|| text.strip_prefix("0F")) {
        return if bits == 32 { u64::from_str_radix(hex, 16).map_err(|_| bad()) } else { Err(bad()) };
    }
    if let Some(hex) = text.strip_prefix("0d").or_else(|| text.strip_prefix("0D")) {
        return if bits == 64 { u64::from_str_radix(hex, 16).map_err(|_| bad()) } else { Err(bad()) };
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let digits = digits.strip_suffix('U').unwrap_or(digits);
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    }
    .map_err(|_| bad())?;
    Ok(if negative { value.wrapping_neg() } else { value } & keep)
}
