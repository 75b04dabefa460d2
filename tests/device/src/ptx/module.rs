//! A module: its variables and kernels.
use super::names::Names;
use super::op::{Instruction, Op, Space};
use super::text::{Kind, Statement, statements};
use super::types::Type;
use super::{Decoded, LoadError, decode, fuse};
use std::collections::HashMap;
use std::sync::Arc;

/// A parameter of a kernel: where its bytes lie in the parameter block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// A variable of a module, in global or constant memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) align: u64,
    /// Zero where the text gives no value.
    pub(crate) value: Vec<u8>,
}

/// A variable's space and address there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) space: Space,
    pub(crate) address: u64,
}

/// The variables of a module outside of its kernels.
#[derive(Debug, Default)]
struct Outer {
    globals: HashMap<String, Symbol>,
    /// In shared memory; without bytes where the launch gives the size.
    shared: Vec<Variable>,
}

/// Gives a module's variable its address, or says that memory is out.
pub(crate) type Place<'a> = dyn FnMut(&Variable) -> Option<u64> + 'a;

/// A kernel, decoded.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) code: Vec<Instruction>,
    pub(crate) registers: u32,
    pub(crate) predicates: u32,
    /// Bytes of shared memory that the text declares; what a launch adds begins after them.
    pub(crate) shared: u32,
    /// Bytes of local memory a thread.
    pub(crate) local: u32,
    pub(crate) params: Vec<Param>,
    /// Most threads of a block, where the text says it.
    pub(crate) max_threads: Option<u32>,
    /// The module's lines, to be quoted.
    pub(crate) source: Arc<[String]>,
}

#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) kernels: HashMap<String, Arc<Kernel>>,
    /// Major and minor version of the text.
    pub(crate) version: (u32, u32),
    /// The compute capability times ten that the text was made for.
    pub(crate) target: u32,
}

/// Where dynamic shared memory begins is aligned to this.
const DYNAMIC_ALIGN: u32 = 16;

impl Module {
    pub(crate) fn parse(text: &str, place: &mut Place<'_>) -> Result<Self, LoadError> {
        let source: Arc<[String]> = text.lines().map(str::to_owned).collect();
        let statements = statements(text);
        let mut module = Self { kernels: HashMap::new(), version: (0, 0), target: 0 };
        let mut outer = Outer::default();
        let mut rest = statements.as_slice();
        while let Some((first, tail)) = rest.split_first() {
            rest = tail;
            match &first.kind {
                Kind::Open(header) => {
                    let length = body(tail);
                    let (inner, after) = tail.split_at(length);
                    let kernel = kernel(header, inner, &outer, &source)
                        .map_err(|e| e.unwrap_or_else(|why| error(first, why)))?;
                    module.kernels.insert(kernel.name.clone(), Arc::new(kernel));
                    rest = after;
                }
                Kind::Text(text) => {
                    module.directive(text, &mut outer, place).map_err(|why| error(first, why))?;
                }
                Kind::Close | Kind::Label(_) => {
                    return Err(error(first, "stands outside of a kernel".into()));
                }
            }
        }
        if module.target == 0 {
            let why = "the module names no target".to_owned();
            return Err(LoadError { line: 1, text: source.first().cloned().unwrap_or_default(), why });
        }
        Ok(module)
    }

    fn directive(&mut self, text: &str, outer: &mut Outer, place: &mut Place<'_>) -> Decoded<()> {
        let mut words = text.split(' ').peekable();
        while matches!(words.peek(), Some(&(".visible" | ".weak" | ".extern"))) {
            words.next();
        }
        match words.next() {
            Some(".version") => {
                let numbers = words.next().and_then(|v| v.split_once('.'));
                let read = |(major, minor): (&str, &str)| Some((major.parse().ok()?, minor.parse().ok()?));
                self.version =
                    numbers.and_then(read).filter(|v| (6..=9).contains(&v.0)).ok_or("unknown version")?;
                Ok(())
            }
            Some(".target") => {
                let name = words.next().and_then(|t| t.trim_end_matches(',').strip_prefix("sm_"));
                self.target = name.and_then(|n| n.parse().ok()).ok_or("unknown target")?;
                Ok(())
            }
            Some(".address_size") if words.next() == Some("64") => Ok(()),
            Some(".shared") => {
                outer.shared.push(declaration(text.split_once(".shared ").map_or("", |t| t.1))?);
                Ok(())
            }
            Some(".global" | ".const") => {
                let rest =
                    text.split_once(".global ").or_else(|| text.split_once(".const ")).ok_or("no space")?.1;
                let variable = declaration(rest)?;
                let address = place(&variable).ok_or("no memory is left for it")?;
                outer.globals.insert(variable.name, Symbol { space: Space::Global, address });
                Ok(())
            }
            _ => Err("unknown directive".to_owned()),
        }
    }
}

fn error(at: &Statement, why: String) -> LoadError {
    let text = match &at.kind {
        Kind::Open(text) | Kind::Label(text) | Kind::Text(text) => text.clone(),
        Kind::Close => "}".to_owned(),
    };
    LoadError { line: at.line, text, why }
}

/// Statements up to and with the brace that closes a body.
fn body(statements: &[Statement]) -> usize {
    let mut depth = 1;
    for (n, s) in statements.iter().enumerate() {
        match s.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return n + 1;
        }
    }
    statements.len()
}

/// `.align 4 .b8 name[128] = {..}`: what a variable's line says after its space.
fn declaration(text: &str) -> Decoded<Variable> {
    let (head, value) = match text.split_once('=') {
        Some((head, value)) => (head.trim(), Some(value.trim())),
        None => (text.trim(), None),
    };
    let mut words = head.split(' ');
    let (mut align, mut ty, mut name) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            ".align" => {
                align = Some(words.next().and_then(|a| a.parse().ok()).ok_or("bad alignment")?);
            }
            ".ptr" | ".global" => {}
            word if word.starts_with('.') => {
                ty = Some(Type::parse(&word[1..]).ok_or_else(|| format!("unknown type {word}"))?);
            }
            word if name.is_none() => name = Some(word),
            _ => return Err("one name is expected".to_owned()),
        }
    }
    let (name, ty) = (name.ok_or("no name")?, ty.ok_or("no type")?);
    let (name, count) = match name.split_once('[') {
        None => (name, 1),
        Some((name, "]")) => (name, 0),
        Some((name, count)) => {
            (name, count.strip_suffix(']').and_then(|c| c.parse::<usize>().ok()).ok_or("bad length")?)
        }
    };
    let mut bytes = vec![0; count * ty.bytes()];
    if let Some(value) = value {
        let list = value.trim_start_matches('{').trim_end_matches('}');
        let numbers = list.split(',').map(str::trim).filter(|n| !n.is_empty());
        for (n, number) in numbers.enumerate() {
            let bits = super::names::literal(number, ty.bits())?.to_le_bytes();
            let at = n * ty.bytes();
            bytes
                .get_mut(at..at + ty.bytes())
                .ok_or("more values than room")?
                .copy_from_slice(&bits[..ty.bytes()]);
        }
    }
    Ok(Variable { name: name.to_owned(), align: align.unwrap_or(ty.bytes() as u64), value: bytes })
}

fn up(offset: u32, align: u32) -> u32 {
    offset.next_multiple_of(align.max(1))
}

/// An error of the header, or one that already has its line.
type KernelError = Result<LoadError, String>;

fn kernel(
    header: &str,
    body: &[Statement],
    outer: &Outer,
    source: &Arc<[String]>,
) -> Result<Kernel, KernelError> {
    let header = Header::parse(header).map_err(Err)?;
    let mut names = Names::default();
    names.symbols.clone_from(&outer.globals);
    names.symbols.extend(header.names);
    names.open();
    let (mut shared, mut local) = (0, 0);
    let mut next = 0;
    // Of the module's variables in shared memory a kernel holds those that it names.
    let named = |v: &&Variable| body.iter().any(|s| matches!(&s.kind, Kind::Text(t) if t.contains(&v.name)));
    let (dynamic, fixed): (Vec<_>, Vec<_>) =
        outer.shared.iter().filter(named).partition(|v| v.value.is_empty());
    for v in fixed {
        let at = up(shared, v.align as u32);
        shared = at + v.value.len() as u32;
        names.symbols.insert(v.name.clone(), Symbol { space: Space::Shared, address: u64::from(at) });
    }
    for s in body {
        let mut read = || -> Decoded<()> {
            match &s.kind {
                Kind::Label(name) => {
                    names.labels.insert(name.clone(), next);
                }
                Kind::Text(text) if text.starts_with(".shared ") || text.starts_with(".local ") => {
                    let in_shared = text.starts_with(".shared ");
                    let variable = declaration(text.split_once(' ').map_or("", |t| t.1))?;
                    let (space, size) =
                        if in_shared { (Space::Shared, &mut shared) } else { (Space::Local, &mut local) };
                    let at = up(*size, variable.align as u32);
                    *size = at + variable.value.len() as u32;
                    names.symbols.insert(variable.name, Symbol { space, address: u64::from(at) });
                }
                Kind::Text(text) if !text.starts_with('.') => next += 1,
                Kind::Text(text) => {
                    if let Some(list) = text.strip_prefix(".branchtargets ") {
                        let label = names.labels.iter().find(|(_, at)| **at == next);
                        let label = label.map(|(name, _)| name.clone()).ok_or("a table without a name")?;
                        names.tables.insert(label, list.split(',').map(|l| l.trim().to_owned()).collect());
                    }
                }
                Kind::Open(_) | Kind::Close => {}
            }
            Ok(())
        };
        read().map_err(|why| Ok(error(s, why)))?;
    }
    // What a launch adds begins after the rest; all dynamic variables are the same memory.
    if !dynamic.is_empty() {
        shared = up(shared, DYNAMIC_ALIGN);
    }
    for v in dynamic {
        names.symbols.insert(v.name.clone(), Symbol { space: Space::Shared, address: u64::from(shared) });
    }

    let mut code = Vec::with_capacity(next as usize);
    for s in body {
        let mut read = || -> Decoded<()> {
            match &s.kind {
                Kind::Open(text) if text.is_empty() => names.open(),
                Kind::Open(_) => return Err("unknown scope".to_owned()),
                Kind::Close => {
                    names.close();
                }
                Kind::Label(_) => {}
                Kind::Text(text) => match text.strip_prefix(".reg ") {
                    Some(list) => names.declare(list)?,
                    None if [".shared ", ".local ", ".branchtargets ", ".pragma "]
                        .iter()
                        .any(|d| text.starts_with(d)) => {}
                    None => code.push(decode::instruction(&names, text, s.line)?),
                },
            }
            Ok(())
        };
        read().map_err(|why| Ok(error(s, why)))?;
    }
    fuse::mark(&mut code);
    let line = body.last().map_or(0, |s| s.line);
    code.push(Instruction { guard: None, op: Op::Exit, line });
    Ok(Kernel {
        name: header.name,
        code,
        registers: names.registers,
        predicates: names.predicates,
        shared,
        local: up(local, 16),
        params: header.params,
        max_threads: header.max_threads,
        source: Arc::clone(source),
    })
}

struct Header {
    name: String,
    params: Vec<Param>,
    names: HashMap<String, Symbol>,
    max_threads: Option<u32>,
}

impl Header {
    fn parse(text: &str) -> Decoded<Self> {
        let entry = text.split_once(".entry ").ok_or("only kernels are known, no functions")?.1;
        let (name, rest) = entry.split_once('(').unwrap_or((entry, ")"));
        let (list, directives) = rest.split_once(')').ok_or("the parameters do not end")?;
        let (mut params, mut names, mut offset) = (Vec::new(), HashMap::new(), 0);
        for param in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let text = param.strip_prefix(".param ").ok_or("a parameter is expected")?;
            let variable = declaration(text)?;
            let bytes = variable.value.len() as u32;
            // The alignment of a pointer parameter is that of what it points to.
            let align = if text.contains(".ptr") { bytes } else { variable.align as u32 };
            let at = up(offset, align);
            offset = at + bytes;
            params.push(Param { offset: at, bytes });
            names.insert(variable.name, Symbol { space: Space::Param, address: u64::from(at) });
        }
        let mut max_threads = None;
        let mut words = directives.split([' ', ',']).filter(|w| !w.is_empty()).peekable();
        while let Some(word) = words.next() {
            let mut numbers = Vec::new();
            while let Some(n) = words.peek().and_then(|w| w.parse::<u32>().ok()) {
                numbers.push(n);
                words.next();
            }
            match word {
                ".maxntid" => max_threads = Some(numbers.iter().product()),
                ".minnctapersm" | ".maxnreg" => {}
                _ => return Err(format!("unknown directive {word}")),
            }
        }
        let name = name.split(' ').next().unwrap_or_default().to_owned();
        Ok(Self { name, params, names, max_threads })
    }
}
