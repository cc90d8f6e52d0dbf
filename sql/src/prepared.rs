//! Prepared statements by name, as small objects in a store; what they say is parsed when they run.

use bytes::Bytes;
use engine::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

/// Longest name of a prepared statement, in characters (Athena's limit).
const MAX_NAME_CHARS: usize = 256;

/// The prepared statements of one owner.
#[derive(Clone, Debug)]
pub struct PreparedStatements {
    store: Arc<dyn ObjectStore>,
    base: Path,
}

impl PreparedStatements {
    /// Those whose objects lie below `base`.
    pub fn new(store: Arc<dyn ObjectStore>, base: Path) -> Self {
        Self { store, base }
    }

    /// Those of `owner`, which may be any text.
    pub fn of(&self, owner: &str) -> Self {
        // Path escapes what would lead elsewhere.
        Self { store: Arc::clone(&self.store), base: self.base.clone().join(owner) }
    }

    fn path(&self, name: &str) -> Result<Path> {
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(Error::invalid(format!("a prepared statement has a name of 1 to {MAX_NAME_CHARS} characters")));
        }
        Ok(self.base.clone().join(format!("{name}.sql")))
    }

    /// Keeps `sql` as `name`, in place of what had that name.
    ///
    /// # Errors
    /// For a name that is none, and those of the store.
    pub async fn put(&self, name: &str, sql: &str) -> Result<()> {
        let path = self.path(name)?;
        self.store.put(&path, Bytes::from(sql.to_owned()).into()).await.map_err(|e| failed(e, "keeping", name))?;
        Ok(())
    }

    /// The text of `name`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, and those of the store.
    pub async fn get(&self, name: &str) -> Result<String> {
        let read = async { self.store.get(&self.path(name)?).await.map_err(Error::from)?.bytes().await.map_err(Error::from) };
        let bytes = read.await.map_err(|error| match error.kind {
            ErrorKind::NotFound => missing(name),
            _ => error.context(format!("reading the prepared statement '{name}'")),
        })?;
        String::from_utf8(bytes.to_vec())
            .map_err(|_| Error::new(ErrorKind::Corrupt, format!("the prepared statement '{name}' is no text")))
    }

    /// Forgets `name`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, and those of the store.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.get(name).await?;
        self.store.delete(&self.path(name)?).await.map_err(|e| failed(e, "removing", name))
    }
}

fn failed(error: object_store::Error, doing: &str, name: &str) -> Error {
    Error::from(error).context(format!("{doing} the prepared statement '{name}'"))
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("NOT_FOUND: Prepared statement not found: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn statements_are_kept_by_owner_and_name() -> Result<()> {
        let all = PreparedStatements::new(Arc::new(InMemory::new()), Path::from("prepared"));
        let (one, other) = (all.of("a/b"), all.of("a"));
        one.put("p", "SELECT 1").await?;
        one.put("p", "SELECT ?").await?;
        assert_eq!(one.get("p").await?, "SELECT ?");
        assert!(other.get("p").await.is_err_and(|e| e.kind == ErrorKind::NotFound));
        assert!(other.get("b/p").await.is_err() && all.get("../p").await.is_err());
        one.delete("p").await?;
        assert!(one.delete("p").await.is_err_and(|e| e.message.contains("not found: p")));
        assert!(one.put("", "x").await.is_err() && one.put(&"n".repeat(257), "x").await.is_err());
        Ok(())
    }
}
