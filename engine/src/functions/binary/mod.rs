//! Functions of `varbinary`: hashes, encodings, and the binary forms of string functions.

mod encode;
mod hash;
mod number;

use super::Functions;
use super::string::target_length;
use super::text_support::{Arg, Entry, Eval, Row, add_table, bad, bounded, on};
use datafusion::error::Result;
use std::borrow::Cow;

const BYTES: &[Arg] = &[Arg::Bytes];
const BYTES_2: &[Arg] = &[Arg::Bytes; 2];
const TEXT: &[Arg] = &[Arg::Text];
const TEXT_2: &[Arg] = &[Arg::Text; 2];
const INT: &[Arg] = &[Arg::Int];
/// Databases that hash text give other answers than those that hash bytes: the text must say which bytes.
const NOT_OF_TEXT: Eval = Eval::Refuse("it takes varbinary; wrap the varchar in to_utf8()");
const NO_HASH: Eval = Eval::Refuse("this hash has no implementation here; xxhash64, md5 or sha256 may serve");

static TABLE: &[Entry] = &[
    ("crc32", &[on(BYTES, Eval::Int(hash::crc32)), on(TEXT, NOT_OF_TEXT)]),
    ("from_base32", &[on(TEXT, Eval::Bytes(encode::from_base32)), on(BYTES, Eval::Bytes(encode::from_base32))]),
    ("from_base64", &[on(TEXT, Eval::Bytes(encode::from_base64)), on(BYTES, Eval::Bytes(encode::from_base64))]),
    ("from_base64url", &[on(TEXT, Eval::Bytes(encode::from_base64url)), on(BYTES, Eval::Bytes(encode::from_base64url))]),
    ("from_big_endian_32", &[on(BYTES, Eval::Int32(number::from_big_endian_32))]),
    ("from_big_endian_64", &[on(BYTES, Eval::Int(number::from_big_endian_64))]),
    ("from_hex", &[on(TEXT, Eval::Bytes(encode::from_hex)), on(BYTES, Eval::Bytes(encode::from_hex))]),
    ("from_ieee754_32", &[on(BYTES, Eval::Real(number::from_ieee754_32))]),
    ("from_ieee754_64", &[on(BYTES, Eval::Double(number::from_ieee754_64))]),
    ("hmac_md5", &[on(BYTES_2, Eval::Bytes(hash::hmac_md5)), on(TEXT_2, NOT_OF_TEXT)]),
    ("hmac_sha1", &[on(BYTES_2, Eval::Bytes(hash::hmac_sha1)), on(TEXT_2, NOT_OF_TEXT)]),
    ("hmac_sha256", &[on(BYTES_2, Eval::Bytes(hash::hmac_sha256)), on(TEXT_2, NOT_OF_TEXT)]),
    ("hmac_sha512", &[on(BYTES_2, Eval::Bytes(hash::hmac_sha512)), on(TEXT_2, NOT_OF_TEXT)]),
    ("md5", &[on(BYTES, Eval::Bytes(hash::md5)), on(TEXT, NOT_OF_TEXT)]),
    ("murmur3", &[on(BYTES, NO_HASH), on(TEXT, NO_HASH)]),
    ("sha1", &[on(BYTES, Eval::Bytes(hash::sha1)), on(TEXT, NOT_OF_TEXT)]),
    ("sha256", &[on(BYTES, Eval::Bytes(hash::sha256)), on(TEXT, NOT_OF_TEXT)]),
    ("sha512", &[on(BYTES, Eval::Bytes(hash::sha512)), on(TEXT, NOT_OF_TEXT)]),
    ("spooky_hash_v2_32", &[on(BYTES, NO_HASH), on(TEXT, NO_HASH)]),
    ("spooky_hash_v2_64", &[on(BYTES, NO_HASH), on(TEXT, NO_HASH)]),
    ("to_base32", &[on(BYTES, Eval::Text(encode::to_base32)), on(TEXT, NOT_OF_TEXT)]),
    ("to_base64", &[on(BYTES, Eval::Text(encode::to_base64)), on(TEXT, NOT_OF_TEXT)]),
    ("to_base64url", &[on(BYTES, Eval::Text(encode::to_base64url)), on(TEXT, NOT_OF_TEXT)]),
    ("to_big_endian_32", &[on(INT, Eval::Bytes(number::to_big_endian_32))]),
    ("to_big_endian_64", &[on(INT, Eval::Bytes(number::to_big_endian_64))]),
    ("to_hex", &[on(BYTES, Eval::Text(encode::to_hex)), on(TEXT, NOT_OF_TEXT)]),
    ("to_ieee754_32", &[on(&[Arg::Real], Eval::Bytes(number::to_ieee754_32))]),
    ("to_ieee754_64", &[on(&[Arg::Double], Eval::Bytes(number::to_ieee754_64))]),
    ("xxhash64", &[on(BYTES, Eval::Bytes(hash::xxhash64)), on(TEXT, NOT_OF_TEXT)]),
];

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    add_table(functions, TABLE);
}

/// `length(varbinary)`.
pub(super) fn length(row: &Row<'_>) -> Result<Option<i64>> {
    Ok(i64::try_from(row.bytes(0).len()).ok())
}

/// `reverse(varbinary)`.
pub(super) fn reverse<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, [u8]>>> {
    Ok(Some(row.bytes(0).iter().rev().copied().collect()))
}

/// `concat(varbinary, ...)`.
pub(super) fn concat<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, [u8]>>> {
    bounded((0..row.count()).map(|arg| row.bytes(arg).len()).sum())?;
    Ok(Some((0..row.count()).flat_map(|arg| row.bytes(arg)).copied().collect()))
}

/// `substr(varbinary, bigint [, bigint])`, as with text.
pub(super) fn substring<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, [u8]>>> {
    let bytes = row.bytes(0);
    let from = match row.int(1) {
        0 => None,
        start @ 1.. => usize::try_from(start - 1).ok(),
        start => usize::try_from(start.unsigned_abs()).ok().and_then(|back| bytes.len().checked_sub(back)),
    };
    let rest = from.and_then(|from| bytes.get(from..)).unwrap_or_default();
    let length = if row.count() > 2 { usize::try_from(row.int(2)).unwrap_or(0) } else { rest.len() };
    Ok(Some(rest.get(..length).unwrap_or(rest).into()))
}

/// `lpad(varbinary, bigint, varbinary)`.
pub(super) fn left_pad<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, [u8]>>> {
    pad(row, |bytes, mut fill| {
        fill.extend_from_slice(bytes);
        fill
    })
}

/// `rpad(varbinary, bigint, varbinary)`.
pub(super) fn right_pad<'a>(row: &Row<'a>) -> Result<Option<Cow<'a, [u8]>>> {
    pad(row, |bytes, fill| [bytes, &fill].concat())
}

fn pad<'a>(row: &Row<'a>, join: fn(&[u8], Vec<u8>) -> Vec<u8>) -> Result<Option<Cow<'a, [u8]>>> {
    let (bytes, fill) = (row.bytes(0), row.bytes(2));
    let target = target_length(row.int(1))?;
    if fill.is_empty() {
        return Err(bad("Padding bytes must not be empty"));
    }
    if let Some(cut) = bytes.get(..target) {
        return Ok(Some(cut.into()));
    }
    let missing = bounded(target)?.saturating_sub(bytes.len());
    Ok(Some(join(bytes, fill.iter().cycle().take(missing).copied().collect()).into()))
}
