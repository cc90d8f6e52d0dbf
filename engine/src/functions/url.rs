//! URL functions: parts of a URL as Java's `URI` takes it apart, and the encoding of forms.

mod uri;

use self::uri::Uri;
use super::Functions;
use super::text_support::{Arg, Entry, Eval, Row, add_table, bad, on};
use datafusion::error::Result;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;

const TEXT: &[Arg] = &[Arg::Text];
type Text<'a> = Result<Option<Cow<'a, str>>>;

static TABLE: &[Entry] = &[
    ("url_decode", &[on(TEXT, Eval::Text(url_decode))]),
    ("url_encode", &[on(TEXT, Eval::Text(url_encode))]),
    ("url_extract_fragment", &[on(TEXT, Eval::Text(|row| part(row, |uri| decoded(uri.fragment))))]),
    ("url_extract_host", &[on(TEXT, Eval::Text(|row| part(row, |uri| uri.host.unwrap_or_default().into())))]),
    ("url_extract_parameter", &[on(&[Arg::Text; 2], Eval::Text(parameter))]),
    ("url_extract_path", &[on(TEXT, Eval::Text(|row| part(row, |uri| decoded(uri.path))))]),
    ("url_extract_port", &[on(TEXT, Eval::Int(port))]),
    ("url_extract_protocol", &[on(TEXT, Eval::Text(|row| part(row, |uri| uri.scheme.unwrap_or_default().into())))]),
    ("url_extract_query", &[on(TEXT, Eval::Text(|row| part(row, |uri| decoded(uri.query))))]),
];

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    add_table(functions, TABLE);
}

/// A part of a URL, empty where it has none; NULL for what is no URL.
fn part<'a>(row: &Row<'a>, of: fn(Uri<'a>) -> Cow<'a, str>) -> Text<'a> {
    Ok(Uri::parse(row.text(0)).map(of))
}

fn decoded(part: Option<&str>) -> Cow<'_, str> {
    percent_decode_str(part.unwrap_or_default()).decode_utf8_lossy()
}

fn port(row: &Row<'_>) -> Result<Option<i64>> {
    Ok(Uri::parse(row.text(0)).and_then(|uri| uri.port).map(i64::from))
}

/// The first parameter of the name, empty when it has no value, NULL when there is none.
fn parameter<'a>(row: &Row<'a>) -> Text<'a> {
    let Some(query) = Uri::parse(row.text(0)).and_then(|uri| uri.query) else { return Ok(None) };
    let mut parameters = query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    parameters.find(|(name, _)| *name == row.text(1)).map(|(_, value)| form_decode(value)).transpose()
}

fn url_decode<'a>(row: &Row<'a>) -> Text<'a> {
    form_decode(row.text(0)).map(Some)
}

fn form_decode(text: &str) -> Result<Cow<'_, str>> {
    let is_escape = |after: &&str| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if let Some(wrong) = text.split('%').skip(1).find(|after| !is_escape(after)) {
        let wrong: String = wrong.chars().take(2).collect();
        return Err(bad(format!("Illegal hex characters in escape (%) pattern: '%{wrong}'")));
    }
    let spaced = text.replace('+', " ");
    Ok(percent_decode_str(&spaced).decode_utf8_lossy().into_owned().into())
}

/// What a form leaves as it is; a space becomes a plus.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b' ');

fn url_encode<'a>(row: &Row<'a>) -> Text<'a> {
    Ok(Some(utf8_percent_encode(row.text(0), ESCAPED).to_string().replace(' ', "+").into()))
}
