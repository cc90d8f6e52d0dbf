//! Where a service keeps what is its own: nothing that SQL may read or write, wherever SQL may look.

use super::PREPARED_FOLDER;
use super::stored::RESULTS;
use crate::record::{QUERIES, TOKENS};
use engine::exchange::EXCHANGE_FOLDER;

/// URLs of the folders below `state_url` and `exchange_url` that hold records, tokens, results, prepared statements and rows
/// on their way between stages; and of the catalog's at `catalog_url`, unless one of `locations` lies in it.
///
/// The places of [`engine::settings::Settings::denied_locations`].
pub fn own_locations(
    state_url: &str,
    exchange_url: Option<&str>,
    catalog_url: Option<&str>,
    locations: &[String],
) -> Vec<String> {
    let below = |url: &str, folder: &str| format!("{}/{folder}/", url.trim_end_matches('/'));
    let mut own: Vec<String> =
        [QUERIES, TOKENS, RESULTS, PREPARED_FOLDER, EXCHANGE_FOLDER].map(|name| below(state_url, name)).into();
    own.extend(exchange_url.map(|url| below(url, EXCHANGE_FOLDER)));
    // Glue is no place. A folder of both definitions and files is the operator's choice.
    let catalog = catalog_url.filter(|url| url.contains("://")).map(|url| format!("{}/", url.trim_end_matches('/')));
    own.extend(catalog.filter(|catalog| !locations.iter().any(|location| location.starts_with(catalog))));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_places_are_below_the_state_and_the_exchange() {
        let own = own_locations("s3://b/owlet/", Some("s3://x"), Some("s3://b/catalog/"), &["s3://b/".into()]);
        for place in ["queries", "tokens", "results", "prepared", "exchange"] {
            assert!(own.contains(&format!("s3://b/owlet/{place}/")), "{place}");
        }
        assert!(own.contains(&"s3://x/exchange/".to_string()) && own.contains(&"s3://b/catalog/".to_string()));
        let own = own_locations("file:///s/", None, Some("file:///lake"), &["file:///lake/tables/".into()]);
        assert!(!own.iter().any(|place| place.starts_with("file:///lake")), "tables lie in the catalog's folder");
        assert!(own_locations("file:///s/", None, Some("glue"), &[]).iter().all(|place| place.starts_with("file:///s/")));
    }
}
