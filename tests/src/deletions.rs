//! Deletion vectors of Delta Lake, as other writers write them.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The bitmap array of `rows`, which are below 2^32.
fn bitmap(rows: &BTreeSet<u32>) -> Vec<u8> {
    let mut containers: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    for row in rows {
        containers.entry((row >> 16) as u16).or_default().push(*row as u16);
    }
    let mut out = 1_681_511_377_u32.to_le_bytes().to_vec();
    out.extend(1_u64.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out.extend(12_346_u32.to_le_bytes());
    out.extend((containers.len() as u32).to_le_bytes());
    for (key, numbers) in &containers {
        out.extend(key.to_le_bytes());
        out.extend(((numbers.len() - 1) as u16).to_le_bytes());
    }
    out.extend(vec![0; containers.len() * 4]);
    for numbers in containers.values() {
        assert!(numbers.len() <= 4_096, "more are written as bits");
        numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
    }
    out
}

fn crc32(data: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !data.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}

fn z85(bytes: &[u8]) -> String {
    let alphabet = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut out = String::new();
    for group in bytes.chunks(4) {
        let mut whole = [0; 4];
        whole[..group.len()].copy_from_slice(group);
        let number = u32::from_be_bytes(whole);
        out.extend((0..5).rev().map(|place| char::from(alphabet[(number / 85_u32.pow(place) % 85) as usize])));
    }
    out
}

/// The vector of `rows` in the log itself.
pub fn inline(rows: &BTreeSet<u32>) -> Value {
    let data = bitmap(rows);
    json!({"storageType": "i", "pathOrInlineDv": z85(&data), "sizeInBytes": data.len(), "cardinality": rows.len()})
}

/// Writes the vectors of `all` into one file in the folder `prefix` of the table in `folder`, and gives them in order.
pub fn write(folder: &Path, prefix: &str, all: &[BTreeSet<u32>]) -> Vec<Value> {
    let (mut file, mut vectors) = (vec![1], Vec::new());
    for rows in all {
        let data = bitmap(rows);
        vectors.push(json!({"storageType": "u", "pathOrInlineDv": format!("{prefix}{}", "0".repeat(20)), "offset": file.len(), "sizeInBytes": data.len(), "cardinality": rows.len()}));
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&data);
        file.extend(crc32(&data).to_be_bytes());
    }
    std::fs::create_dir_all(folder.join(prefix)).expect("a folder");
    std::fs::write(folder.join(prefix).join("deletion_vector_00000000-0000-0000-0000-000000000000.bin"), file).expect("a file");
    vectors
}
