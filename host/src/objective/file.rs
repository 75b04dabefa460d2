//! A TOML file whose every key and value knows its line and column.

use super::error::{ObjectiveError, Place, Problem};
use densekd_core::OptionValue;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text, and what it is called.
pub(super) struct File<'a> {
    text: &'a str,
    path: &'a Path,
}

impl<'a> File<'a> {
    pub(super) const fn new(text: &'a str, path: &'a Path) -> Self {
        Self { text, path }
    }

    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ObjectiveError> {
        DeTable::parse(self.text).map_err(|error| {
            let place = self.place(error.span().unwrap_or_default(), None, None);
            ObjectiveError::new(place, Problem::Syntax(error.message().to_owned()))
        })
    }

    pub(super) fn place(&self, span: Range<usize>, term: Option<&str>, key: Option<&str>) -> Place {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let file = Some((self.path.to_owned(), line, column));
        Place { file, term: term.map(str::to_owned), key: key.map(str::to_owned) }
    }
}

/// A table of the file.
pub(super) struct Table<'a> {
    pub(super) file: &'a File<'a>,
    fields: &'a DeTable<'a>,
    span: Range<usize>,
    /// The term that it belongs to.
    pub(super) term: Option<String>,
    /// `resize.` for the table of that key.
    prefix: &'static str,
}

/// A key with its value.
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    /// Where the key stands.
    pub(super) place: Place,
    /// Where the value stands.
    pub(super) value_place: Place,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn new(file: &'a File<'a>, fields: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self { file, fields, span, term: None, prefix: "" }
    }

    /// All entries, in the order of the file.
    pub(super) fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries: Vec<_> = self.fields.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries.into_iter().map(|(key, value)| self.entry(key, value)).collect()
    }

    fn entry(
        &self,
        key: &'a Spanned<std::borrow::Cow<'a, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Entry<'a> {
        let name = format!("{}{}", self.prefix, key.get_ref());
        let place = |span| self.file.place(span, self.term.as_deref(), Some(&name));
        Entry {
            key: key.get_ref(),
            place: place(key.span()),
            value_place: place(value.span()),
            value: value.get_ref(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry<'a>> {
        self.fields.get_key_value(key).map(|(key, value)| self.entry(key, value))
    }

    /// A key that must be there.
    pub(super) fn need(&self, key: &str, example: &'static str) -> Result<Entry<'a>, ObjectiveError> {
        let name = format!("{}{key}", self.prefix);
        let place = self.file.place(self.span.clone(), self.term.as_deref(), Some(&name));
        self.get(key).ok_or(ObjectiveError::new(place, Problem::Missing(example)))
    }

    /// Refuses keys other than these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ObjectiveError> {
        match self.entries().into_iter().find(|entry| !known.contains(&entry.key)) {
            Some(Entry { place, .. }) => {
                Err(ObjectiveError::new(place, Problem::UnknownKey(known.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// The table of a key.
    pub(super) fn table(&self, key: &str, prefix: &'static str) -> Result<Option<Table<'a>>, ObjectiveError> {
        let Some((_, value)) = self.fields.get_key_value(key) else { return Ok(None) };
        match (value.get_ref(), self.get(key)) {
            (DeValue::Table(fields), _) => {
                let (file, span, term) = (self.file, value.span(), self.term.clone());
                Ok(Some(Table { file, fields, span, term, prefix }))
            }
            (_, Some(entry)) => Err(entry.wrong("a table, as in { key = value }")),
            (_, None) => Ok(None),
        }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn fault(&self, problem: Problem) -> ObjectiveError {
        ObjectiveError::new(self.value_place.clone(), problem)
    }

    pub(super) fn wrong(&self, wanted: &'static str) -> ObjectiveError {
        self.fault(Problem::Kind(wanted))
    }

    /// Text that is not empty.
    pub(super) fn text(&self) -> Result<&'a str, ObjectiveError> {
        let text = self.value.as_str().filter(|text| !text.is_empty());
        text.ok_or_else(|| self.wrong("a name in quotes"))
    }

    pub(super) fn flag(&self) -> Result<bool, ObjectiveError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A number, written with or without a point.
    pub(super) fn number<T>(
        &self,
        check: fn(f64) -> Result<T, densekd_core::Error>,
    ) -> Result<T, ObjectiveError> {
        let number = match self.value {
            DeValue::Float(x) => x.as_str().parse().ok(),
            DeValue::Integer(x) if x.radix() == 10 => x.as_str().parse().ok(),
            _ => None,
        };
        let number: f64 = number.ok_or_else(|| self.wrong("a number"))?;
        check(number).map_err(|error| self.fault(Problem::Request(error)))
    }

    pub(super) fn integer(&self) -> Option<i64> {
        self.value.as_integer().and_then(|x| i64::from_str_radix(x.as_str(), x.radix()).ok())
    }

    /// The value as an option has it.
    pub(super) fn option(&self) -> Result<OptionValue<'a>, ObjectiveError> {
        let whole = |value: &DeValue<'_>| {
            let number = value.as_integer()?;
            i64::from_str_radix(number.as_str(), number.radix()).ok()
        };
        let value = match self.value {
            DeValue::String(text) if text == "null" => Some(OptionValue::Null),
            DeValue::String(text) => Some(OptionValue::Name(text)),
            DeValue::Boolean(flag) => Some(OptionValue::Flag(*flag)),
            DeValue::Float(number) => number.as_str().parse().ok().map(OptionValue::Number),
            DeValue::Integer(_) => whole(self.value).map(OptionValue::Integer),
            DeValue::Array(pair) => match (pair.len(), pair.first(), pair.get(1)) {
                (2, Some(a), Some(b)) => {
                    let pair = whole(a.get_ref()).zip(whole(b.get_ref()));
                    pair.map(|(a, b)| OptionValue::Pair([a, b]))
                }
                _ => None,
            },
            DeValue::Datetime(_) | DeValue::Table(_) => None,
        };
        value.ok_or_else(|| {
            self.wrong("a name in quotes (\"null\" for none), true or false, a number, or two whole numbers as in [2, 2]")
        })
    }
}
