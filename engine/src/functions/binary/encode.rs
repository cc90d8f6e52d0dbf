//! Bytes as text: hexadecimal, base 64 and base 32.

use super::{Cow, Result, Row, bad};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding is written; when reading it may be absent, and unused bits are ignored, as Java's decoder does.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

type Text<'a> = Result<Option<Cow<'a, str>>>;
type Bytes<'a> = Result<Option<Cow<'a, [u8]>>>;

/// `to_hex(varbinary)`.
pub(super) fn to_hex<'a>(row: &Row<'a>) -> Text<'a> {
    Ok(Some(hex::encode_upper(row.bytes(0)).into()))
}

/// `from_hex(varchar or varbinary)`.
pub(super) fn from_hex<'a>(row: &Row<'a>) -> Bytes<'a> {
    hex::decode(row.bytes(0)).map(|bytes| Some(bytes.into())).map_err(|error| bad(error.to_string()))
}

/// `to_base64(varbinary)`.
pub(super) fn to_base64<'a>(row: &Row<'a>) -> Text<'a> {
    Ok(Some(BASE64.encode(row.bytes(0)).into()))
}

/// `from_base64(varchar or varbinary)`.
pub(super) fn from_base64<'a>(row: &Row<'a>) -> Bytes<'a> {
    BASE64.decode(row.bytes(0)).map(|bytes| Some(bytes.into())).map_err(|error| bad(error.to_string()))
}

/// `to_base64url(varbinary)`.
pub(super) fn to_base64url<'a>(row: &Row<'a>) -> Text<'a> {
    Ok(Some(BASE64URL.encode(row.bytes(0)).into()))
}

/// `from_base64url(varchar or varbinary)`.
pub(super) fn from_base64url<'a>(row: &Row<'a>) -> Bytes<'a> {
    BASE64URL.decode(row.bytes(0)).map(|bytes| Some(bytes.into())).map_err(|error| bad(error.to_string()))
}

/// `to_base32(varbinary)`.
pub(super) fn to_base32<'a>(row: &Row<'a>) -> Text<'a> {
    let mut text = String::new();
    for group in row.bytes(0).chunks(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte)) << (8 * (5 - group.len()));
        let used = (group.len() * 8).div_ceil(5);
        for place in 0..8 {
            let digit = BASE32.get((bits >> (35 - 5 * place)) as usize & 31);
            text.push(digit.filter(|_| place < used).map_or('=', |digit| char::from(*digit)));
        }
    }
    Ok(Some(text.into()))
}

/// `from_base32(varchar or varbinary)`: upper case only; padding may be absent.
pub(super) fn from_base32<'a>(row: &Row<'a>) -> Bytes<'a> {
    let digits = row.bytes(0);
    let end = digits.iter().rposition(|digit| *digit != b'=').map_or(0, |last| last + 1);
    let digits = digits.get(..end).unwrap_or_default();
    if !matches!(digits.len() % 8, 0 | 2 | 4 | 5 | 7) {
        return Err(bad(format!("Invalid input length {}", digits.len())));
    }
    let mut bytes = Vec::with_capacity(digits.len() * 5 / 8);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits {
        let value = BASE32.iter().position(|known| known == digit);
        let value = value.ok_or_else(|| bad(format!("Unrecognized character: {}", char::from(*digit).escape_default())))?;
        (bits, count) = ((bits << 5) | value as u32, count + 5);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Ok(Some(bytes.into()))
}
