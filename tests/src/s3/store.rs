//! The buckets: objects, conditional writes and multipart uploads under one lock; it knows nothing of HTTP.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use s3s::crypto::{Checksum, Md5};
use s3s::dto::{ETag, ETagCondition, Metadata, Timestamp};
use s3s::{S3Result, s3_error};

/// S3's least size of a part that is not the last one.
const MIN_PART_BYTES: usize = 5 * 1024 * 1024;

/// Where an object's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Ram(Bytes),
    File(Arc<PathBuf>),
}

/// One object; a clone shares the bytes.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) content: Content,
    pub(super) size_bytes: u64,
    /// Without quotes. As in S3 the MD5 of the content, so the same bytes written again have the same tag;
    /// of a mounted file the MD5 of its path, size and time.
    pub(super) etag: String,
    /// In whole seconds, as in S3.
    pub(super) modified: SystemTime,
    pub(super) content_type: Option<String>,
    pub(super) metadata: Option<Metadata>,
}

impl Object {
    pub(super) fn in_ram(body: Bytes) -> Self {
        Self {
            size_bytes: body.len() as u64,
            etag: hex(&Md5::checksum(&body)),
            modified: whole_seconds(SystemTime::now()),
            content: Content::Ram(body),
            content_type: None,
            metadata: None,
        }
    }

    fn on_disk(path: PathBuf, meta: &fs::Metadata) -> io::Result<Self> {
        let modified = meta.modified()?;
        let version = format!("{} {} {modified:?}", path.display(), meta.len());
        Ok(Self {
            size_bytes: meta.len(),
            etag: hex(&Md5::checksum(version.as_bytes())),
            modified: whole_seconds(modified),
            content: Content::File(Arc::new(path)),
            content_type: None,
            metadata: None,
        })
    }

    pub(super) fn copied_now(self) -> Self {
        Self { modified: whole_seconds(SystemTime::now()), ..self }
    }

    /// Reads a range that lies within the object; blocks if the object is a file.
    pub(super) fn read(&self, range: std::ops::Range<u64>) -> io::Result<Bytes> {
        match &self.content {
            Content::Ram(body) => Ok(body.slice(range.start as usize..range.end as usize)),
            Content::File(path) => read_at(&File::open(&**path)?, range),
        }
    }

    /// Evaluates the conditions of a read in RFC 9110's order: 412 and 304 are errors.
    pub(super) fn check_read(&self, rules: &ReadRules) -> S3Result<()> {
        let modified = Timestamp::from(self.modified);
        match (&rules.if_match, &rules.if_unmodified_since) {
            (Some(condition), _) if !self.has_tag(condition) => {
                return Err(s3_error!(PreconditionFailed));
            }
            (None, Some(since)) if modified > *since => return Err(s3_error!(PreconditionFailed)),
            _ => {}
        }
        match (&rules.if_none_match, &rules.if_modified_since) {
            (Some(condition), _) if self.has_tag(condition) => Err(s3_error!(NotModified)),
            (None, Some(since)) if modified <= *since => Err(s3_error!(NotModified)),
            _ => Ok(()),
        }
    }

    fn has_tag(&self, condition: &ETagCondition) -> bool {
        match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(tag) => tag.value() == self.etag,
        }
    }
}

/// Reads exactly this range of a file with pread.
pub(super) fn read_at(file: &File, range: std::ops::Range<u64>) -> io::Result<Bytes> {
    let mut body = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut body, range.start)?;
    Ok(Bytes::from(body))
}

/// The conditions of GetObject, HeadObject and of a copy's source.
#[derive(Debug, Default)]
pub(super) struct ReadRules {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_unmodified_since: Option<Timestamp>,
    pub(super) if_modified_since: Option<Timestamp>,
}

/// The conditions of a write.
#[derive(Debug, Default)]
pub(super) struct WriteRules {
    if_absent: bool,
    if_match: Option<ETagCondition>,
}

impl WriteRules {
    /// S3 knows only `*` as a write's If-None-Match.
    pub(super) fn new(if_match: Option<ETagCondition>, if_none_match: Option<ETagCondition>) -> S3Result<Self> {
        match if_none_match {
            Some(ETagCondition::ETag(_)) => Err(s3_error!(NotImplemented, "If-None-Match of a write must be *")),
            other => Ok(Self { if_absent: other.is_some(), if_match }),
        }
    }

    fn check(&self, existing: Option<&Object>) -> S3Result<()> {
        match (existing, &self.if_match) {
            (Some(_), _) if self.if_absent => Err(s3_error!(PreconditionFailed)),
            (Some(object), Some(condition)) if !object.has_tag(condition) => Err(s3_error!(PreconditionFailed)),
            (None, Some(_)) => Err(s3_error!(NoSuchKey)),
            _ => Ok(()),
        }
    }
}

struct Upload {
    bucket: String,
    key: String,
    content_type: Option<String>,
    metadata: Option<Metadata>,
    parts: BTreeMap<i32, Part>,
}

#[derive(Clone)]
struct Part {
    md5: [u8; 16],
    body: Bytes,
}

#[derive(Default)]
struct Shelves {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    uploads: HashMap<String, Upload>,
    uploads_begun: u64,
}

impl Shelves {
    fn bucket(&mut self, name: &str) -> S3Result<&mut BTreeMap<String, Object>> {
        self.buckets.get_mut(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    fn upload(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<&mut Upload> {
        let found = self.uploads.get_mut(id).filter(|upload| upload.bucket == bucket && upload.key == key);
        found.ok_or_else(|| s3_error!(NoSuchUpload))
    }
}

/// All state of the server. One lock makes conditional writes atomic; no body is read or copied under it.
#[derive(Default)]
pub(super) struct Store(Mutex<Shelves>);

impl Store {
    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn create_bucket(&self, name: &str) {
        assert!(s3s::path::check_bucket_name(name), "{name:?} is no valid bucket name (3 to 63 of a-z 0-9 . -)");
        self.shelves().buckets.entry(name.to_owned()).or_default();
    }

    pub(super) fn mount(&self, bucket: &str, dir: &Path) -> io::Result<()> {
        let mut objects = BTreeMap::new();
        collect_files(dir, "", &mut objects)?;
        self.create_bucket(bucket);
        self.shelves().bucket(bucket).map_err(io::Error::other)?.extend(objects);
        Ok(())
    }

    /// Writes past all rules, if the bucket exists.
    pub(super) fn replace(&self, bucket: &str, key: &str, body: Bytes) {
        let object = Object::in_ram(body);
        if let Ok(objects) = self.shelves().bucket(bucket) {
            objects.insert(key.to_owned(), object);
        }
    }

    pub(super) fn remove(&self, bucket: &str, key: &str) {
        if let Ok(objects) = self.shelves().bucket(bucket) {
            objects.remove(key);
        }
    }

    pub(super) fn has_bucket(&self, bucket: &str) -> S3Result<()> {
        self.shelves().bucket(bucket).map(|_| ())
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> S3Result<Object> {
        self.shelves().bucket(bucket)?.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }

    pub(super) fn put(&self, bucket: &str, key: &str, object: Object, rules: &WriteRules) -> S3Result<()> {
        let mut shelves = self.shelves();
        let objects = shelves.bucket(bucket)?;
        rules.check(objects.get(key))?;
        objects.insert(key.to_owned(), object);
        Ok(())
    }

    /// Deleting what is not there succeeds, unless a condition asks for it.
    pub(super) fn delete(&self, bucket: &str, key: &str, if_match: Option<ETagCondition>) -> S3Result<()> {
        let mut shelves = self.shelves();
        let objects = shelves.bucket(bucket)?;
        WriteRules { if_absent: false, if_match }.check(objects.get(key))?;
        objects.remove(key);
        Ok(())
    }

    /// Runs `read` over a bucket's objects in key order.
    pub(super) fn scan<T>(&self, bucket: &str, read: impl FnOnce(&BTreeMap<String, Object>) -> T) -> S3Result<T> {
        self.shelves().bucket(bucket).map(|objects| read(objects))
    }

    pub(super) fn open_uploads(&self, bucket: &str) -> Vec<String> {
        let shelves = self.shelves();
        let of_bucket = shelves.uploads.values().filter(|upload| upload.bucket == bucket);
        let mut keys: Vec<String> = of_bucket.map(|upload| upload.key.clone()).collect();
        keys.sort();
        keys
    }

    pub(super) fn begin_upload(
        &self,
        bucket: &str,
        key: &str,
        content_type: Option<String>,
        metadata: Option<Metadata>,
    ) -> S3Result<String> {
        let mut shelves = self.shelves();
        shelves.bucket(bucket)?;
        shelves.uploads_begun += 1;
        let id = format!("upload-{}", shelves.uploads_begun);
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let upload = Upload { bucket, key, content_type, metadata, parts: BTreeMap::new() };
        shelves.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    pub(super) fn add_part(&self, bucket: &str, key: &str, id: &str, number: i32, body: Bytes) -> S3Result<String> {
        if !(1..=10_000).contains(&number) {
            return Err(s3_error!(InvalidArgument, "part number must be between 1 and 10000"));
        }
        let md5 = Md5::checksum(&body);
        self.shelves().upload(bucket, key, id)?.parts.insert(number, Part { md5, body });
        Ok(hex(&md5))
    }

    pub(super) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let mut shelves = self.shelves();
        shelves.upload(bucket, key, id)?;
        shelves.uploads.remove(id);
        Ok(())
    }

    /// Makes the named parts an object; a failed completion leaves the upload as it was.
    pub(super) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        named: &[(i32, Option<ETag>)],
        rules: &WriteRules,
    ) -> S3Result<String> {
        let parts = self.named_parts(bucket, key, id, named)?;
        let tags: Vec<[u8; 16]> = parts.iter().map(|part| part.md5).collect();
        let etag = format!("{}-{}", hex(&Md5::checksum(&tags.concat())), tags.len());
        let bodies: Vec<&[u8]> = parts.iter().map(|part| &part.body[..]).collect();
        let whole = Bytes::from(bodies.concat());

        let mut shelves = self.shelves();
        let upload = shelves.upload(bucket, key, id)?;
        let object = Object {
            size_bytes: whole.len() as u64,
            etag: etag.clone(),
            modified: whole_seconds(SystemTime::now()),
            content: Content::Ram(whole),
            content_type: upload.content_type.clone(),
            metadata: upload.metadata.clone(),
        };
        let objects = shelves.bucket(bucket)?;
        rules.check(objects.get(key))?;
        objects.insert(key.to_owned(), object);
        shelves.uploads.remove(id);
        Ok(etag)
    }

    fn named_parts(&self, bucket: &str, key: &str, id: &str, named: &[(i32, Option<ETag>)]) -> S3Result<Vec<Part>> {
        if named.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        if !named.is_sorted_by(|(before, _), (after, _)| before < after) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let mut shelves = self.shelves();
        let parts = &shelves.upload(bucket, key, id)?.parts;
        let found: Option<Vec<Part>> = named
            .iter()
            .map(|(number, tag)| {
                let part = parts.get(number)?;
                tag.as_ref().is_none_or(|tag| tag.value() == hex(&part.md5)).then(|| part.clone())
            })
            .collect();
        let found = found.ok_or_else(|| s3_error!(InvalidPart))?;
        match found.split_last() {
            Some((_, rest)) if rest.iter().any(|part| part.body.len() < MIN_PART_BYTES) => Err(s3_error!(EntityTooSmall)),
            _ => Ok(found),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn collect_files(dir: &Path, prefix: &str, objects: &mut BTreeMap<String, Object>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(io::Error::other(format!("{} is not UTF-8", path.display())));
        };
        let key = format!("{prefix}{name}");
        let meta = fs::metadata(&path)?;
        if meta.is_dir() {
            collect_files(&path, &format!("{key}/"), objects)?;
        } else {
            objects.insert(key, Object::on_disk(path, &meta)?);
        }
    }
    Ok(())
}
