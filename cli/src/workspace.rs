//! From the places that were given to a workspace: where the catalog is, where tables may lie, where SQL may write.

use crate::failure::Failure;
use crate::resolve::Places;
use coordinator::{CatalogSource, Workspace};
use engine::settings::Settings;
use engine::storage::{DataLocations, Storage};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use sql::{PreparedStatements, Tables};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;

/// Where prepared statements of this machine are kept, in the current folder.
pub(crate) const PREPARED_FOLDER: &str = ".owlet/prepared";

/// Lets SQL write to the warehouse and where `places` say.
///
/// # Errors
/// [`Failure::Usage`] for a place that is none.
pub(crate) fn writable(settings: Settings, places: &Places) -> Result<Settings, Failure> {
    let mut write_locations = settings.write_locations;
    for place in std::iter::once(&places.warehouse).chain(&places.allow_write) {
        write_locations.push(folder_url(place)?);
    }
    Ok(Settings { write_locations, ..settings })
}

/// What statements can name and change: `tables`, and the catalog of `places`, whose tables lie in `readable` or where SQL may write.
///
/// # Errors
/// [`Failure::Usage`] for a place that is none.
pub(crate) fn workspace(
    tables: Tables,
    places: &Places,
    settings: &Settings,
    storage: &Storage,
    readable: Vec<String>,
) -> Result<Workspace, Failure> {
    let unusable = |error: engine::Error| Failure::Usage(error.message);
    let catalog = catalog_url(places)?;
    let locations: Vec<String> = readable.into_iter().chain(settings.write_locations.iter().cloned()).collect();
    let locations = DataLocations::new(&locations).and_then(|all| all.without(&settings.denied_locations)).map_err(unusable)?;
    let prepared =
        ObjectPath::from_absolute_path(absolute(Path::new(PREPARED_FOLDER))?).map_err(|e| Failure::Usage(e.to_string()))?;
    let own = Workspace::of(tables);
    Ok(Workspace {
        catalog: Some(CatalogSource::at(&catalog, storage).map_err(unusable)?),
        database: places.database.as_ref().map_or(own.database, |name| name.to_lowercase()),
        prepared: Some(PreparedStatements::new(Arc::new(LocalFileSystem::new()), prepared)),
        warehouse: Some(folder_url(&places.warehouse)?),
        locations: Some(Arc::new(locations)),
        ..own
    })
}

/// The URL of the catalog's folder, or `glue`.
///
/// # Errors
/// [`Failure::Usage`] for a place that is none.
pub(crate) fn catalog_url(places: &Places) -> Result<String, Failure> {
    match places.catalog.as_str() {
        "glue" => Ok("glue".to_string()),
        folder => folder_url(folder),
    }
}

/// URLs of the places whose tables a person at this machine may define: the current folder, those of named tables, and `--allow`.
///
/// # Errors
/// [`Failure::Usage`] for a place that is none.
pub(crate) fn own_places(tables: &Tables, places: &Places) -> Result<Vec<String>, Failure> {
    let named = tables.names().filter_map(|name| tables.location(name)).map(without_pattern);
    let given = places.allow.iter().map(String::as_str);
    std::iter::once(".").chain(named).chain(given).map(folder_url).collect()
}

/// A folder's or file's URL; a URL as it is.
pub(crate) fn folder_url(place: &str) -> Result<String, Failure> {
    if place.contains("://") {
        return Ok(if place.ends_with('/') { place.to_string() } else { format!("{place}/") });
    }
    let path = absolute(Path::new(place))?;
    let wrong = || Failure::Usage(format!("'{place}' is not a path that can be used"));
    Url::from_directory_path(path).map(String::from).map_err(|()| wrong())
}

fn without_pattern(location: &str) -> &str {
    match location.find(['*', '?', '[']).filter(|_| !location.contains("://")) {
        Some(pattern) => location[..pattern].rsplit_once('/').map_or(".", |(folder, _)| folder),
        None => location,
    }
}

/// `path` without links as far as it is there: what is allowed is compared with what is read.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |e: std::io::Error| Failure::Usage(format!("'{}': {e}", path.display()));
    let whole = std::path::absolute(path).map_err(wrong)?;
    let found = whole.ancestors().find_map(|folder| Some((folder, std::fs::canonicalize(folder).ok()?)));
    Ok(match found {
        Some((folder, real)) => match whole.strip_prefix(folder) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => whole,
        },
        None => whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_need_not_be_there_and_links_are_followed() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let real = std::fs::canonicalize(folder.path())?;
        std::fs::create_dir(real.join("a"))?;
        std::os::unix::fs::symlink(real.join("a"), real.join("link"))?;
        let url = |name: &str| folder_url(&real.join(name).display().to_string());
        assert_eq!(url("link/new/x")?, format!("file://{}/a/new/x/", real.display()));
        assert_eq!(folder_url("s3://b/x")?, "s3://b/x/");
        assert_eq!(without_pattern("dir/t/*.parquet"), "dir/t");
        assert_eq!(without_pattern("*.parquet"), ".");
        Ok(())
    }
}
