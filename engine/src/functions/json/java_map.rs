//! The order in which Java's `HashMap` gives its keys, which is the order of the members that Trino's `json_object` makes.

use datafusion::error::{DataFusionError, Result};

/// Buckets of an empty map.
const FIRST_BUCKETS: usize = 16;
/// So many keys in a bucket that the next one makes more buckets, or a tree of this one.
const FULL_BUCKET: usize = 8;
/// Buckets from which on a full one becomes a tree.
const TREE_BUCKETS: usize = 64;

/// The places of `keys`, none of which are equal, in the order of a map that they were put into one by one.
///
/// # Errors
/// For so many keys with nearly equal hashes that Java makes a tree of them.
pub(super) fn order(keys: &[&str]) -> Result<Vec<usize>> {
    let hashes: Vec<u32> = keys.iter().map(|key| hash(key)).collect();
    let bucket = |place: usize, count: usize| hashes.get(place).map_or(0, |hash| *hash as usize & (count - 1));
    let mut buckets: Vec<Vec<usize>> = vec![Vec::new(); FIRST_BUCKETS];
    for place in 0..keys.len() {
        let at = bucket(place, buckets.len());
        let Some(own) = buckets.get_mut(at) else { continue };
        let is_full = own.len() >= FULL_BUCKET;
        own.push(place);
        if is_full && buckets.len() >= TREE_BUCKETS {
            return Err(DataFusionError::NotImplemented(
                "json_object of more than 8 keys with nearly equal hashes: Trino's order of its members".into(),
            ));
        }
        for grows in [is_full, place + 1 > buckets.len() / 4 * 3] {
            if grows {
                let mut wider: Vec<Vec<usize>> = vec![Vec::new(); buckets.len() * 2];
                let count = wider.len();
                for place in buckets.into_iter().flatten() {
                    wider.get_mut(bucket(place, count)).into_iter().for_each(|own| own.push(place));
                }
                buckets = wider;
            }
        }
    }
    Ok(buckets.into_iter().flatten().collect())
}

/// The hash of a string, spread as the map spreads it.
fn hash(key: &str) -> u32 {
    let hash = key.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(keys: &str) -> Option<String> {
        let keys: Vec<&str> = keys.split(' ').collect();
        let order = order(&keys).ok()?;
        Some(order.iter().map(|place| keys[*place]).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn keys_come_as_from_java() {
        for (keys, java) in [
            ("key_1 key_2", "key_2 key_1"),
            ("a b c", "a b c"),
            ("id name value type ts a b", "a b name id type value ts"),
            ("Aa BB C#", "Aa BB C#"),
            ("é ß 😀 z", "😀 é z ß"),
            ("k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 k11 k12 k13 k14", "k1 k2 k3 k4 k5 k11 k6 k10 k7 k13 k8 k12 k9 k14"),
            (
                "customer region comment order_date total items address zip country phone email state city status",
                "zip country address city order_date total phone comment state region items email customer status",
            ),
        ] {
            assert_eq!(ordered(keys).as_deref(), Some(java));
        }
    }

    #[test]
    fn a_full_bucket_makes_more_buckets_until_it_is_a_tree() {
        let same: Vec<String> = (0..16_u32)
            .map(|bits| (0..4).map(|bit| if bits >> (3 - bit) & 1 == 0 { "Aa" } else { "BB" }).collect::<String>())
            .collect();
        let eight = format!("{} x", same[..9].join(" "));
        assert_eq!(ordered(&eight).as_deref(), Some(eight.as_str()));
        assert_eq!(ordered(&same.join(" ")), None);
    }
}
