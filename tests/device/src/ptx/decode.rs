//! A line into an instruction: guard, name, and what the name's family makes of the rest.
use super::names::Names;
use super::op::{Flags, Instruction, Op};
use super::types::Type;
use super::{Decoded, arithmetic, control, memory, moves};

/// One line of a kernel.
pub(crate) fn instruction(names: &Names, text: &str, line: u32) -> Decoded<Instruction> {
    let (guard, text) = match text.strip_prefix('@') {
        None => (None, text),
        Some(rest) => {
            let (guard, text) = rest.split_once(' ').ok_or("a guard without an instruction")?;
            (Some(names.predicate(guard)?), text.trim())
        }
    };
    let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
    let mut name = Name::new(name);
    let operands = split(operands);
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    let op = family(names, &mut name, &operands)?;
    name.finish()?;
    Ok(Instruction { guard, op, line })
}

fn family(names: &Names, name: &mut Name<'_>, operands: &[&str]) -> Decoded<Op> {
    let families = [arithmetic::decode, moves::decode, memory::decode, control::decode];
    for decode in families {
        if let Some(op) = decode(names, name, operands) {
            return op;
        }
    }
    Err(format!("unknown instruction {}", name.head))
}

/// Operands, cut at the commas outside of braces and brackets.
fn split(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                continue;
            }
            ' ' => continue,
            _ => {}
        }
        if let Some(last) = found.last_mut() {
            last.push(c);
        }
    }
    found.retain(|o| !o.is_empty());
    found
}

/// An instruction's name: its head, and the modifiers that nobody has taken yet.
pub(crate) struct Name<'a> {
    pub(crate) head: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> Name<'a> {
    fn new(text: &'a str) -> Self {
        let mut parts = text.split('.');
        Self { head: parts.next().unwrap_or_default(), rest: parts.collect() }
    }

    /// Takes the modifier `name` where it is there.
    pub(crate) fn take(&mut self, name: &str) -> bool {
        let at = self.rest.iter().position(|m| *m == name);
        if let Some(at) = at {
            self.rest.remove(at);
        }
        at.is_some()
    }

    /// Takes the first modifier that `known` knows.
    pub(crate) fn take_as<T>(&mut self, known: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, found) = self.rest.iter().enumerate().find_map(|(n, m)| known(m).map(|f| (n, f)))?;
        self.rest.remove(at);
        Some(found)
    }

    /// Takes the last type.
    pub(crate) fn ty(&mut self) -> Decoded<Type> {
        let last = self.rest.last().and_then(|m| Type::parse(m)).ok_or("a type is expected last")?;
        self.rest.pop();
        Ok(last)
    }

    pub(crate) fn flags(&mut self) -> Flags {
        Flags { ftz: self.take("ftz"), sat: self.take("sat"), free: false }
    }

    fn finish(&self) -> Decoded<()> {
        match self.rest.first() {
            None => Ok(()),
            Some(m) => Err(format!("unknown modifier .{m} of {}", self.head)),
        }
    }
}

/// Exactly `N` operands.
pub(crate) fn exactly<'a, const N: usize>(operands: &[&'a str]) -> Decoded<[&'a str; N]> {
    operands.try_into().map_err(|_| format!("{N} operands are expected, {} are there", operands.len()))
}
