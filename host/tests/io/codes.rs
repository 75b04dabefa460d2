//! Codes for machines: one an error, and none that another layer has.

use std::collections::BTreeSet;

/// The codes in a source, which has an arm `=> "code",` for each.
fn codes(source: &str) -> Vec<&str> {
    source.lines().filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\",")).collect()
}

#[test]
fn no_two_errors_share_a_code() {
    let source = include_str!("../../src/io/error.rs");
    let messages = source.lines().filter(|line| line.trim_start().starts_with("#[error(")).count();
    let files = codes(source);
    assert_eq!(files.len(), messages, "an error without a code of its own");
    let core = codes(include_str!("../../../core/src/error.rs"));
    let program = codes(include_str!("../../src/cli/failure.rs"));
    assert!(core.len() > 10 && program.len() > 10, "the sources are not what they were");
    let all = [files, core, program].concat();
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
    let plain = |code: &str| code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    assert!(all.iter().all(|code| plain(code)), "{all:?}");
}
