//! String functions: code points, not bytes; what a row asks wrongly is an error, as in Trino.

mod case;
mod lists;
mod measure;
mod pad;
mod search;
mod split;
mod utf8;

use super::text_support::{Arg, Entry, Eval, Overload, Row, add_table, bad, bounded, on, on_many};
use super::{Functions, binary};

use datafusion::error::Result;
pub(super) use pad::target_length;
use std::borrow::Cow;

const TEXT: &[Arg] = &[Arg::Text];
const TEXT_2: &[Arg] = &[Arg::Text; 2];
const TEXT_3: &[Arg] = &[Arg::Text; 3];
const TEXT_INT: &[Arg] = &[Arg::Text, Arg::Int];
const TEXT_INT_2: &[Arg] = &[Arg::Text, Arg::Int, Arg::Int];
const TEXT_2_INT: &[Arg] = &[Arg::Text, Arg::Text, Arg::Int];
const PAD: &[Arg] = &[Arg::Text, Arg::Int, Arg::Text];
const BYTES_INT: &[Arg] = &[Arg::Bytes, Arg::Int];
const BYTES_INT_2: &[Arg] = &[Arg::Bytes, Arg::Int, Arg::Int];
const BYTES_PAD: &[Arg] = &[Arg::Bytes, Arg::Int, Arg::Bytes];

const SUBSTRING: &[Overload] = &[
    on(TEXT_INT, Eval::Text(search::substring)),
    on(TEXT_INT_2, Eval::Text(search::substring)),
    on(BYTES_INT, Eval::Bytes(binary::substring)),
    on(BYTES_INT_2, Eval::Bytes(binary::substring)),
];
const TRIM: &[Overload] = &[on(TEXT, Eval::Text(pad::trim)), on(TEXT_2, Eval::Text(pad::trim_of))];
const CONCAT: &[Overload] = &[on_many(TEXT_2, Eval::Text(concat)), on_many(&[Arg::Bytes; 2], Eval::Bytes(binary::concat))];
const REVERSE: &[Overload] = &[on(TEXT, Eval::Text(reverse)), on(&[Arg::Bytes], Eval::Bytes(binary::reverse))];

static TABLE: &[Entry] = &[
    // `trim(BOTH ... FROM ...)` is planned as `btrim`.
    ("btrim", TRIM),
    ("chr", &[on(&[Arg::Int], Eval::Text(utf8::chr))]),
    ("codepoint", &[on(TEXT, Eval::Int32(utf8::codepoint))]),
    (
        "concat_ws",
        &[on_many(TEXT_2, Eval::Text(concat_ws)).seeing_nulls(), on(&[Arg::Text, Arg::Texts], Eval::Text(concat_ws_array))],
    ),
    (
        "from_utf8",
        &[
            on(&[Arg::Bytes], Eval::Text(utf8::from_utf8)),
            on(&[Arg::Bytes, Arg::Text], Eval::Text(utf8::from_utf8_replacing)),
            on(&[Arg::Bytes, Arg::Int], Eval::Text(utf8::from_utf8_replacing_code)),
        ],
    ),
    ("hamming_distance", &[on(TEXT_2, Eval::Int(measure::hamming_distance))]),
    ("length", &[on(TEXT, Eval::Int(length)), on(&[Arg::Bytes], Eval::Int(binary::length))]),
    ("levenshtein_distance", &[on(TEXT_2, Eval::Int(measure::levenshtein_distance))]),
    ("lower", &[on(TEXT, Eval::Text(case::lower))]),
    ("lpad", &[on(PAD, Eval::Text(pad::left_pad)), on(BYTES_PAD, Eval::Bytes(binary::left_pad))]),
    ("ltrim", &[on(TEXT, Eval::Text(pad::left_trim)), on(TEXT_2, Eval::Text(pad::left_trim_of))]),
    ("luhn_check", &[on(TEXT, Eval::Bool(measure::luhn_check))]),
    ("normalize", &[on(TEXT, Eval::Text(utf8::normalize)), on(TEXT_2, Eval::Text(utf8::normalize))]),
    ("replace", &[on(TEXT_2, Eval::Text(search::replace)), on(TEXT_3, Eval::Text(search::replace))]),
    ("rpad", &[on(PAD, Eval::Text(pad::right_pad)), on(BYTES_PAD, Eval::Bytes(binary::right_pad))]),
    ("rtrim", &[on(TEXT, Eval::Text(pad::right_trim)), on(TEXT_2, Eval::Text(pad::right_trim_of))]),
    ("soundex", &[on(TEXT, Eval::Text(measure::soundex))]),
    ("split", &[on(TEXT_2, Eval::Texts(split::split)), on(TEXT_2_INT, Eval::Texts(split::split))]),
    ("split_part", &[on(TEXT_2_INT, Eval::Text(split::split_part))]),
    ("split_to_map", &[on(TEXT_3, Eval::TextMap(split::split_to_map))]),
    ("split_to_multimap", &[on(TEXT_3, Eval::TextsMap(split::split_to_multimap))]),
    ("strpos", &[on(TEXT_2, Eval::Int(search::position)), on(TEXT_2_INT, Eval::Int(search::position))]),
    ("strrpos", &[on(TEXT_2, Eval::Int(search::position_from_end)), on(TEXT_2_INT, Eval::Int(search::position_from_end))]),
    ("substr", SUBSTRING),
    ("substring", SUBSTRING),
    ("to_utf8", &[on(TEXT, Eval::Bytes(to_utf8))]),
    ("translate", &[on(TEXT_3, Eval::Text(search::translate))]),
    ("trim", TRIM),
    ("upper", &[on(TEXT, Eval::Text(case::upper))]),
    (
        "word_stem",
        &[
            on(TEXT, Eval::Refuse("stemming has no implementation here")),
            on(TEXT_2, Eval::Refuse("stemming has no implementation here")),
        ],
    ),
];

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    add_table(functions, TABLE);
    lists::add(functions, CONCAT, REVERSE);
}

fn concat<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    let bytes = (0..row.count()).map(|arg| row.text(arg).len()).sum();
    let mut joined = String::with_capacity(bounded(bytes)?);
    (0..row.count()).for_each(|arg| joined.push_str(row.text(arg)));
    Ok(Some(joined.into()))
}

/// Joins what is not NULL; a NULL separator gives NULL.
fn join<'a>(separator: &str, texts: Vec<Option<&'a str>>) -> Result<Option<Cow<'a, str>>> {
    if texts.len() > MAX_JOINED {
        return Err(bad(format!("more than {MAX_JOINED} values to concatenate")));
    }
    let texts: Vec<_> = texts.into_iter().flatten().collect();
    bounded(texts.iter().map(|text| text.len() + separator.len()).sum())?;
    Ok(Some(texts.join(separator).into()))
}

/// Most values that `concat_ws` joins, as in Trino.
const MAX_JOINED: usize = 254;

fn concat_ws<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    match row.nullable_text(0) {
        Some(separator) => join(separator, (1..row.count()).map(|arg| row.nullable_text(arg)).collect()),
        None => Ok(None),
    }
}

fn concat_ws_array<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    join(row.text(0), row.texts(1))
}

fn length(row: &Row<'_>) -> Result<Option<i64>> {
    Ok(i64::try_from(row.text(0).chars().count()).ok())
}

fn reverse<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, str>>> {
    Ok(Some(row.text(0).chars().rev().collect::<String>().into()))
}

fn to_utf8<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, [u8]>>> {
    Ok(Some(row.text(0).as_bytes().into()))
}
