//! The locations that SQL may read, and those that it may write: everything else is refused before a request is made.

use crate::error::{Error, ErrorKind, Result};
use object_store::path::Path;
use std::path::{Path as FilePath, PathBuf};
use url::Url;

/// What SQL does at a location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Read,
    Write,
}

/// URL prefixes of readable, or of writable, data.
#[derive(Clone, Debug)]
pub struct DataLocations {
    allowed: Vec<(String, Path)>,
    /// What no prefix above makes readable or writable: the server's own records, results, tokens.
    denied: Vec<(String, Path)>,
    access: Access,
}

impl DataLocations {
    /// Prefixes such as `s3://bucket/folder/` and `file:///folder/`; each covers whole path segments.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidQuery`] for a prefix that is no `s3` or `file` URL.
    pub fn new(prefixes: &[String]) -> Result<Self> {
        Self::of(prefixes, Access::Read)
    }

    /// The same for locations that may be written.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn writable(prefixes: &[String]) -> Result<Self> {
        Self::of(prefixes, Access::Write)
    }

    fn of(prefixes: &[String], access: Access) -> Result<Self> {
        let allowed = prefixes.iter().map(|prefix| parse(prefix)).collect::<Result<_>>()?;
        Ok(Self { allowed, denied: Vec::new(), access })
    }

    /// The same without `prefixes`, wherever they lie.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn without(self, prefixes: &[String]) -> Result<Self> {
        let denied = prefixes.iter().map(|prefix| parse(prefix)).collect::<Result<_>>()?;
        Ok(Self { denied, ..self })
    }

    /// Whether `path` in `store` is denied by its name; a link that leads there is found by [`Self::check`].
    pub(super) fn is_denied(&self, store: &str, path: &Path) -> bool {
        self.denied.iter().any(|denied| covers(denied, store, path))
    }

    /// The folders, as `s3://bucket/folder/` with characters that stand for themselves.
    pub(super) fn folders(&self) -> Vec<String> {
        let slash = |path: &Path| if path.as_ref().is_empty() { "" } else { "/" };
        self.allowed.iter().map(|(root, path)| format!("{root}/{path}{}", slash(path))).collect()
    }

    /// Checks that `path` in `store` (`s3://bucket`, `file://`) may be used.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`] with the location.
    pub fn check(&self, store: &str, path: &Path) -> Result<()> {
        self.root_of(store, path).map(drop)
    }

    /// The first prefix that allows `path` in `store`.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(super) fn root_of(&self, store: &str, path: &Path) -> Result<&Path> {
        // A link on disk may lead out of its folder.
        let real = match store {
            "file://" => real_path(FilePath::new(&format!("/{path}"))).and_then(|real| Path::from_absolute_path(real).ok()),
            _ => None,
        };
        let path = real.as_ref().unwrap_or(path);
        let (verb, setting) = match self.access {
            Access::Read => ("read", "data_locations"),
            Access::Write => ("write", "write_locations"),
        };
        if self.is_denied(store, path) {
            let message = format!("{store}/{path} belongs to this server itself: SQL may not {verb} it");
            return Err(Error::new(ErrorKind::AccessDenied, message));
        }
        if let Some((_, root)) = self.allowed.iter().find(|allowed| covers(allowed, store, path)) {
            return Ok(root);
        }
        Err(Error::new(
            ErrorKind::AccessDenied,
            format!("{store}/{path} is outside the locations that SQL may {verb} here (setting {setting})"),
        ))
    }
}

fn covers((root, prefix): &(String, Path), store: &str, path: &Path) -> bool {
    root == store && path.prefix_matches(prefix)
}

/// `path` with every link resolved, also where its last folders do not exist yet.
fn real_path(path: &FilePath) -> Option<PathBuf> {
    path.ancestors().find_map(|existing| {
        let real = std::fs::canonicalize(existing).ok()?;
        let missing = path.strip_prefix(existing).ok()?;
        Some(if missing.as_os_str().is_empty() { real } else { real.join(missing) })
    })
}

fn parse(prefix: &str) -> Result<(String, Path)> {
    let wrong = |why: String| Error::invalid(format!("data location '{prefix}': {why}"));
    let url = Url::parse(prefix).map_err(|e| wrong(e.to_string()))?;
    let path = Path::from_url_path(url.path()).map_err(|e| wrong(e.to_string()))?;
    match (url.scheme(), url.host_str()) {
        ("s3", Some(bucket)) if url.username().is_empty() && url.port().is_none() => Ok((format!("s3://{bucket}"), path)),
        ("file", None | Some("")) => {
            let real = real_path(FilePath::new(&format!("/{path}"))).and_then(|real| Path::from_absolute_path(real).ok());
            Ok(("file://".into(), real.unwrap_or(path)))
        }
        _ => Err(wrong("only s3://bucket/prefix/ and file:///folder/ can be given".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_cover_whole_segments_of_their_own_store() -> Result<()> {
        let locations = DataLocations::new(&["s3://lake/tables/".into(), "s3://open".into()])?;
        for (store, path, allowed) in [
            ("s3://lake", "tables/t/a.parquet", true),
            ("s3://lake", "tables", true),
            ("s3://lake", "tables2/a", false),
            ("s3://lake", "", false),
            ("s3://open", "anything", true),
            ("s3://other", "tables/a", false),
            ("file://", "etc/passwd", false),
        ] {
            assert_eq!(locations.check(store, &Path::from(path)).is_ok(), allowed, "{store}/{path}");
        }
        Ok(())
    }

    #[test]
    fn a_link_does_not_lead_out() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (inside, outside) = (folder.path().join("in"), folder.path().join("secret"));
        std::fs::create_dir(&inside)?;
        std::fs::write(&outside, "x")?;
        std::fs::write(inside.join("own"), "x")?;
        std::os::unix::fs::symlink(&outside, inside.join("link"))?;
        let locations = DataLocations::new(&[format!("file://{}/", inside.display())])?;
        let path = |name: &str| Path::from_absolute_path(inside.join(name));
        assert!(locations.check("file://", &path("own")?).is_ok());
        assert!(locations.check("file://", &path("link")?).is_err());
        // Nor does one above a folder that is still to be made.
        std::os::unix::fs::symlink(folder.path(), inside.join("up"))?;
        let writable = DataLocations::writable(&[format!("file://{}/", inside.display())])?;
        assert!(writable.check("file://", &path("new/folder")?).is_ok());
        let denied = writable.check("file://", &path("up/new/folder")?);
        assert!(denied.is_err_and(|error| error.message.contains("write_locations")));
        Ok(())
    }

    #[test]
    fn what_is_denied_stays_so_within_what_is_allowed() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let locations = DataLocations::new(&["s3://b/".into()])?.without(&["s3://b/state/results/".into()])?;
        for (path, allowed) in
            [("state/results/1.csv", false), ("state/results", false), ("state/results2/a", true), ("state", true)]
        {
            assert_eq!(locations.check("s3://b", &Path::from(path)).is_ok(), allowed, "{path}");
        }
        let folder = tempfile::tempdir()?;
        let own = folder.path().join("own");
        std::fs::create_dir(&own)?;
        std::fs::write(own.join("a.csv"), "x")?;
        std::os::unix::fs::symlink(&own, folder.path().join("link"))?;
        let url = |path: &FilePath| format!("file://{}/", path.display());
        let writable = DataLocations::writable(&[url(folder.path())])?.without(&[url(&own)])?;
        for (name, allowed) in [("own/a.csv", false), ("own/new/b", false), ("link/a.csv", false), ("other", true)] {
            let path = Path::from_absolute_path(folder.path().join(name))?;
            assert_eq!(writable.check("file://", &path).is_ok(), allowed, "{name}");
        }
        Ok(())
    }

    #[test]
    fn only_buckets_and_folders_are_locations() {
        for prefix in ["", "data", "http://169.254.169.254/", "s3://", "s3://allowed@evil/", "file://host/x"] {
            assert!(DataLocations::new(&[prefix.into()]).is_err(), "{prefix}");
        }
    }
}
