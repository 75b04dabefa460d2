//! Text into statements, each with its line.

/// What stands between two semicolons or braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A brace that opens a scope, with what stands before it.
    Open(String),
    Close,
    Label(String),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) line: u32,
    pub(crate) kind: Kind,
}

/// The directives that end with their line.
const OF_A_LINE: [&str; 3] = [".version", ".target", ".address_size"];

/// Cuts `text`. Whitespace within a statement becomes one space.
pub(crate) fn statements(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let (mut pending, mut started) = (String::new(), 1);
    let mut comment = false;
    for (row, source) in text.lines().enumerate() {
        let line = row as u32 + 1;
        let code = uncommented(source, &mut comment);
        let bytes = code.as_bytes();
        for (at, c) in code.char_indices() {
            let beside_colon = (at > 0 && bytes[at - 1] == b':') || bytes.get(at + 1) == Some(&b':');
            let mut push = |pending: &mut String, kind: fn(String) -> Kind| {
                let text = std::mem::take(pending).trim_end().to_owned();
                found
                    .push(Statement { line: if text.is_empty() { line } else { started }, kind: kind(text) });
            };
            match c {
                ';' if pending.is_empty() => {}
                ';' => push(&mut pending, Kind::Text),
                '{' if pending.is_empty() || is_header(&pending) => push(&mut pending, Kind::Open),
                '}' if pending.is_empty() => push(&mut pending, |_| Kind::Close),
                ':' if !beside_colon && !pending.contains(' ') => push(&mut pending, Kind::Label),
                c if c.is_whitespace() => {
                    if !pending.is_empty() && !pending.ends_with(' ') {
                        pending.push(' ');
                    }
                }
                c => {
                    if pending.is_empty() {
                        started = line;
                    }
                    pending.push(c);
                }
            }
        }
        if OF_A_LINE.iter().any(|d| pending.starts_with(d)) {
            let text = std::mem::take(&mut pending).trim_end().to_owned();
            found.push(Statement { line, kind: Kind::Text(text) });
        } else if !pending.is_empty() && !pending.ends_with(' ') {
            pending.push(' ');
        }
    }
    if !pending.trim().is_empty() {
        found.push(Statement { line: started, kind: Kind::Text(pending) });
    }
    found
}

/// Whether a kernel's or a function's body follows.
fn is_header(text: &str) -> bool {
    text.contains(".entry") || text.contains(".func")
}

/// `source` without comments; `inside` says whether a block comment is open at its end.
fn uncommented(source: &str, inside: &mut bool) -> String {
    if !*inside && !source.contains('/') {
        return source.to_owned();
    }
    let mut rest = source;
    let mut kept = String::new();
    loop {
        if *inside {
            let Some(end) = rest.find("*/") else { return kept };
            rest = &rest[end + 2..];
            *inside = false;
        }
        let line = rest.find("//").unwrap_or(rest.len());
        match rest.find("/*") {
            Some(block) if block < line => {
                kept.push_str(&rest[..block]);
                kept.push(' ');
                rest = &rest[block + 2..];
                *inside = true;
            }
            _ => {
                kept.push_str(&rest[..line]);
                return kept;
            }
        }
    }
}
