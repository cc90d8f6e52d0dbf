//! Bytes as text in the alphabet Z85, as logs of Delta Lake have them.

use crate::error::{Error, ErrorKind, Result};

const ALPHABET: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
/// Characters that stand for four bytes.
const GROUP_CHARS: usize = 5;

/// The bytes that `text` stands for.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for any other text.
pub(super) fn decode(text: &str) -> Result<Vec<u8>> {
    let no = || Error::new(ErrorKind::Corrupt, "it is no text in base 85");
    let groups = text.as_bytes().chunks_exact(GROUP_CHARS);
    if !groups.remainder().is_empty() {
        return Err(no());
    }
    let mut bytes = Vec::with_capacity(text.len() / GROUP_CHARS * 4);
    for group in groups {
        let mut number = 0_u32;
        for char in group {
            let digit = ALPHABET.iter().position(|known| known == char).and_then(|digit| u32::try_from(digit).ok());
            let next = digit.and_then(|digit| number.checked_mul(85)?.checked_add(digit));
            number = next.ok_or_else(no)?;
        }
        bytes.extend(number.to_be_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_read() -> Result<()> {
        assert_eq!(decode("HelloWorld")?, [0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B]);
        assert_eq!(decode("")?, [0_u8; 0]);
        assert_eq!(decode("00000%nSc0")?, [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        for wrong in ["Hello!!!!", "Hell", "#####", "He lo", "Hellé", "\"\"\"\"\""] {
            assert!(decode(wrong).is_err_and(|error| error.kind == ErrorKind::Corrupt), "{wrong}");
        }
        Ok(())
    }
}
