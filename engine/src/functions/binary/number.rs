//! Numbers as bytes, most significant first.

use super::{Cow, Result, Row, bad};

type Bytes<'a> = Result<Option<Cow<'a, [u8]>>>;

fn exactly<const N: usize>(row: &Row<'_>) -> Result<[u8; N]> {
    let bytes = row.bytes(0);
    bytes.try_into().map_err(|_| bad(format!("expected {N}-byte input, but got instead: {}", bytes.len())))
}

/// `to_big_endian_64(bigint)`.
pub(super) fn to_big_endian_64<'a>(row: &Row<'a>) -> Bytes<'a> {
    Ok(Some(row.int(0).to_be_bytes().to_vec().into()))
}

/// `from_big_endian_64(varbinary)`.
pub(super) fn from_big_endian_64(row: &Row<'_>) -> Result<Option<i64>> {
    Ok(Some(i64::from_be_bytes(exactly(row)?)))
}

/// `to_big_endian_32(integer)`.
pub(super) fn to_big_endian_32<'a>(row: &Row<'a>) -> Bytes<'a> {
    let value = i32::try_from(row.int(0)).map_err(|_| bad(format!("{} is no integer of 32 bits", row.int(0))))?;
    Ok(Some(value.to_be_bytes().to_vec().into()))
}

/// `from_big_endian_32(varbinary)`.
pub(super) fn from_big_endian_32(row: &Row<'_>) -> Result<Option<i32>> {
    Ok(Some(i32::from_be_bytes(exactly(row)?)))
}

/// `to_ieee754_64(double)`.
pub(super) fn to_ieee754_64<'a>(row: &Row<'a>) -> Bytes<'a> {
    Ok(Some(row.double(0).to_be_bytes().to_vec().into()))
}

/// `from_ieee754_64(varbinary)`.
pub(super) fn from_ieee754_64(row: &Row<'_>) -> Result<Option<f64>> {
    Ok(Some(f64::from_be_bytes(exactly(row)?)))
}

/// `to_ieee754_32(real)`.
pub(super) fn to_ieee754_32<'a>(row: &Row<'a>) -> Bytes<'a> {
    Ok(Some(row.real(0).to_be_bytes().to_vec().into()))
}

/// `from_ieee754_32(varbinary)`.
pub(super) fn from_ieee754_32(row: &Row<'_>) -> Result<Option<f32>> {
    Ok(Some(f32::from_be_bytes(exactly(row)?)))
}
