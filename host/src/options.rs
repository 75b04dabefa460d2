//! Options from words and from JSON: one reading for flags, vector files and configurations.

use densekd_core::{Field, Loss, OptionValue, Options};

/// What a word says of an option: a name where the option is a choice, else `null` or `none`, `true` or `false`,
/// a number, or two whole numbers (`2,2` or `2x2`). A word of none of these kinds is a name, which the option
/// then refuses.
///
/// ```
/// use densekd::core::{Loss, OptionValue};
/// use densekd::options::from_text;
/// let field = |name| Loss::Cwd.defaults().fields().iter().find(|field| field.name == name).copied();
/// let norm = field("norm").expect("an option of cwd");
/// assert_eq!(from_text("none", &norm), OptionValue::Name("none"));
/// let channels = field("divisor_channels").expect("an option of cwd");
/// assert_eq!(from_text("none", &channels), OptionValue::Null);
/// assert_eq!(from_text("2x3", &channels), OptionValue::Pair([2, 3]));
/// ```
pub fn from_text<'a>(text: &'a str, field: &Field) -> OptionValue<'a> {
    if !field.names.is_empty() {
        return OptionValue::Name(text);
    }
    let whole = |word: &str| word.trim().parse::<i64>().ok();
    let pair = |(height, width): (&str, &str)| Some([whole(height)?, whole(width)?]);
    match text {
        "null" | "none" => OptionValue::Null,
        "true" => OptionValue::Flag(true),
        "false" => OptionValue::Flag(false),
        _ => whole(text)
            .map(OptionValue::Integer)
            .or_else(|| text.parse().ok().map(OptionValue::Number))
            .or_else(|| text.split_once([',', 'x']).and_then(pair).map(OptionValue::Pair))
            .unwrap_or(OptionValue::Name(text)),
    }
}

/// What a JSON value says of an option; strings are read as [`from_text`] reads words. `None` for an object and
/// for an array that is not a pair of whole numbers: no option is of this kind.
///
/// ```
/// use densekd::core::{Loss, OptionValue};
/// let tau = &Loss::Cwd.defaults().fields()[0];
/// let json = serde_json::json!([4, "4", [2, 2], {}]);
/// let read = |i: usize| densekd::options::from_json(&json[i], tau);
/// assert_eq!(read(0), Some(OptionValue::Integer(4)));
/// assert_eq!(read(1), read(0));
/// assert_eq!((read(2), read(3)), (Some(OptionValue::Pair([2, 2])), None));
/// ```
pub fn from_json<'a>(value: &'a serde_json::Value, field: &Field) -> Option<OptionValue<'a>> {
    use serde_json::Value;
    Some(match value {
        Value::Null => OptionValue::Null,
        Value::Bool(flag) => OptionValue::Flag(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => OptionValue::Integer(integer),
            None => OptionValue::Number(number.as_f64()?),
        },
        Value::String(text) => from_text(text, field),
        Value::Array(pair) => match pair.as_slice() {
            [height, width] => OptionValue::Pair([height.as_i64()?, width.as_i64()?]),
            _ => return None,
        },
        Value::Object(_) => return None,
    })
}

/// The option of a name.
pub(crate) fn field(options: &Options, name: &str) -> Option<&'static Field> {
    options.fields().iter().find(|field| field.name == name)
}

/// The losses that have an option, in the order of [`Loss::ALL`], each with the option as the loss has it.
///
/// ```
/// let losses: Vec<_> = densekd::options::losses_with("tau").map(|(loss, _)| loss.name()).collect();
/// assert!(losses.contains(&"cwd") && !losses.contains(&"at"));
/// ```
pub fn losses_with(name: &str) -> impl Iterator<Item = (Loss, &'static Field)> {
    Loss::ALL.iter().filter_map(move |&loss| Some((loss, field(&loss.defaults(), name)?)))
}
