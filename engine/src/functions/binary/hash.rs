//! Hashes and checksums.

use super::{Cow, Result, Row, bad};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

type Hash<'a> = Result<Option<Cow<'a, [u8]>>>;

fn digest<'a, D: Digest>(row: &Row<'a>) -> Hash<'a> {
    Ok(Some(D::digest(row.bytes(0)).to_vec().into()))
}

/// `md5(varbinary)`.
pub(super) fn md5<'a>(row: &Row<'a>) -> Hash<'a> {
    digest::<Md5>(row)
}

/// `sha1(varbinary)`.
pub(super) fn sha1<'a>(row: &Row<'a>) -> Hash<'a> {
    digest::<Sha1>(row)
}

/// `sha256(varbinary)`.
pub(super) fn sha256<'a>(row: &Row<'a>) -> Hash<'a> {
    digest::<Sha256>(row)
}

/// `sha512(varbinary)`.
pub(super) fn sha512<'a>(row: &Row<'a>) -> Hash<'a> {
    digest::<Sha512>(row)
}

fn hmac<'a, M: Mac + KeyInit>(row: &Row<'a>) -> Hash<'a> {
    let mut mac = <M as KeyInit>::new_from_slice(row.bytes(1)).map_err(|error| bad(error.to_string()))?;
    mac.update(row.bytes(0));
    Ok(Some(mac.finalize().into_bytes().to_vec().into()))
}

/// `hmac_md5(varbinary, key)`.
pub(super) fn hmac_md5<'a>(row: &Row<'a>) -> Hash<'a> {
    hmac::<Hmac<Md5>>(row)
}

/// `hmac_sha1(varbinary, key)`.
pub(super) fn hmac_sha1<'a>(row: &Row<'a>) -> Hash<'a> {
    hmac::<Hmac<Sha1>>(row)
}

/// `hmac_sha256(varbinary, key)`.
pub(super) fn hmac_sha256<'a>(row: &Row<'a>) -> Hash<'a> {
    hmac::<Hmac<Sha256>>(row)
}

/// `hmac_sha512(varbinary, key)`.
pub(super) fn hmac_sha512<'a>(row: &Row<'a>) -> Hash<'a> {
    hmac::<Hmac<Sha512>>(row)
}

/// `xxhash64(varbinary)`: seed 0, most significant byte first.
pub(super) fn xxhash64<'a>(row: &Row<'a>) -> Hash<'a> {
    Ok(Some(twox_hash::XxHash64::oneshot(0, row.bytes(0)).to_be_bytes().to_vec().into()))
}

/// `crc32(varbinary)`.
pub(super) fn crc32(row: &Row<'_>) -> Result<Option<i64>> {
    Ok(Some(i64::from(crc32fast::hash(row.bytes(0)))))
}
