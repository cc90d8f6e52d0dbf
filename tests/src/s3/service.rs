//! The S3 operations, translated between the wire types of `s3s` and the store; faults and counting are elsewhere.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use s3s::dto::*;
use s3s::{Body, S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::list::{self, Page, Question};
use super::store::{Content, Object, ReadRules, Store, WriteRules, read_at};

/// Files are sent in reads of this size.
const READ_BYTES: u64 = 1024 * 1024;

/// The most entries on one page of a listing, as in S3.
const MAX_PAGE: i32 = 1000;

/// The S3 interface of a [`Store`].
pub(super) struct Service(pub(super) Arc<Store>);

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Service {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = request.input;
        let object = self.0.get(&input.bucket, &input.key)?;
        object.check_read(&ReadRules {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_unmodified_since: input.if_unmodified_since,
            if_modified_since: input.if_modified_since,
        })?;
        let whole = object.size_bytes;
        let range = input.range.map(|range| satisfiable(range, whole)).transpose()?;
        let content_range = range.as_ref().map(|r| format!("bytes {}-{}/{whole}", r.start, r.end - 1));
        let range = range.unwrap_or(0..whole);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some((range.end - range.start) as i64),
            content_range,
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(object.modified.into()),
            content_type: object.content_type.clone(),
            metadata: object.metadata.clone(),
            body: Some(blob(&object, range)),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let input = request.input;
        let object = self.0.get(&input.bucket, &input.key)?;
        object.check_read(&ReadRules {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_unmodified_since: input.if_unmodified_since,
            if_modified_since: input.if_modified_since,
        })?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(object.size_bytes as i64),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.modified.into()),
            content_type: object.content_type,
            metadata: object.metadata,
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let input = request.input;
        let rules = WriteRules::new(input.if_match, input.if_none_match)?;
        let body = collected(input.body).await?;
        let object = Object { content_type: input.content_type, metadata: input.metadata, ..Object::in_ram(body) };
        let e_tag = Some(ETag::Strong(object.etag.clone()));
        self.0.put(&input.bucket, &input.key, object, &rules)?;
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = request.input;
        let id = self.0.begin_upload(&input.bucket, &input.key, input.content_type, input.metadata)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let input = request.input;
        let body = collected(input.body).await?;
        let etag = self.0.add_part(&input.bucket, &input.key, &input.upload_id, input.part_number, body)?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..UploadPartOutput::default() }))
    }

    async fn upload_part_copy(&self, request: S3Request<UploadPartCopyInput>) -> Answer<UploadPartCopyOutput> {
        let input = request.input;
        let source = self.copy_source(
            &input.copy_source,
            &ReadRules {
                if_match: input.copy_source_if_match,
                if_none_match: input.copy_source_if_none_match,
                if_unmodified_since: input.copy_source_if_unmodified_since,
                if_modified_since: input.copy_source_if_modified_since,
            },
        )?;
        let range = match input.copy_source_range.as_deref().map(s3s::dto::Range::parse) {
            None => 0..source.size_bytes,
            Some(Ok(range)) => satisfiable(range, source.size_bytes)?,
            Some(Err(error)) => return Err(s3_error!(error, InvalidArgument)),
        };
        let body = collected(Some(blob(&source, range))).await?;
        let etag = self.0.add_part(&input.bucket, &input.key, &input.upload_id, input.part_number, body)?;
        let result = CopyPartResult { e_tag: Some(ETag::Strong(etag)), ..CopyPartResult::default() };
        Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = request.input;
        let rules = WriteRules::new(input.if_match, input.if_none_match)?;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named: Vec<(i32, Option<ETag>)> = parts.into_iter().map(|part| (part.part_number.unwrap_or(0), part.e_tag)).collect();
        let etag = self.0.complete_upload(&input.bucket, &input.key, &input.upload_id, &named, &rules)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(&self, request: S3Request<AbortMultipartUploadInput>) -> Answer<AbortMultipartUploadOutput> {
        let input = request.input;
        self.0.abort_upload(&input.bucket, &input.key, &input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        let input = request.input;
        self.0.delete(&input.bucket, &input.key, input.if_match)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        let S3Request { input: DeleteObjectsInput { bucket, delete, .. }, .. } = request;
        self.0.has_bucket(&bucket)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in delete.objects {
            match self.0.delete(&bucket, &object.key, object.e_tag.map(ETagCondition::ETag)) {
                Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() }),
                Err(error) => {
                    errors.push(Error { code: Some(error.code().as_str().to_owned()), key: Some(object.key), ..Error::default() })
                }
            }
        }
        let is_quiet = delete.quiet.unwrap_or(false);
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!is_quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        let if_none_match = request.headers.get(http::header::IF_NONE_MATCH);
        let if_none_match = if_none_match.map(|value| ETagCondition::parse_http_header(value.as_bytes()));
        let if_none_match = if_none_match.transpose().map_err(|error| s3_error!(error, InvalidArgument))?;
        let rules = WriteRules::new(None, if_none_match)?;
        let input = request.input;
        let source = self.copy_source(
            &input.copy_source,
            &ReadRules {
                if_match: input.copy_source_if_match,
                if_none_match: input.copy_source_if_none_match,
                if_unmodified_since: input.copy_source_if_unmodified_since,
                if_modified_since: input.copy_source_if_modified_since,
            },
        )?;
        let copy = source.copied_now();
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(copy.etag.clone())),
            last_modified: Some(copy.modified.into()),
            ..CopyObjectResult::default()
        };
        self.0.put(&input.bucket, &input.key, copy, &rules)?;
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.0.has_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        let max_keys = input.max_keys.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE);
        let resume_after = input.continuation_token.as_deref().map(from_token).transpose()?;
        let question = Question {
            prefix: input.prefix.as_deref().unwrap_or(""),
            delimiter: input.delimiter.as_deref().unwrap_or(""),
            start_after: input.start_after.as_deref().unwrap_or(""),
            resume_after: resume_after.as_deref(),
            max_entries: max_keys as usize,
        };
        let page = self.0.scan(&input.bucket, |objects| list::page(objects, &question))?;
        Ok(S3Response::new(listing(page, input, max_keys)))
    }
}

impl Service {
    fn copy_source(&self, source: &CopySource, rules: &ReadRules) -> S3Result<Object> {
        let CopySource::Bucket { bucket, key, .. } = source else {
            return Err(s3_error!(NotImplemented, "the source of a copy must be bucket/key"));
        };
        let object = self.0.get(bucket, key)?;
        // Copies know no 304: each failed condition is a 412.
        object.check_read(rules).map_err(|_| s3_error!(PreconditionFailed))?;
        Ok(object)
    }
}

fn listing(page: Page, asked: ListObjectsV2Input, max_keys: i32) -> ListObjectsV2Output {
    let is_encoded = asked.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == EncodingType::URL);
    let shown = |text: String| {
        if is_encoded { percent_encoded(&text) } else { text }
    };
    ListObjectsV2Output {
        name: Some(asked.bucket),
        prefix: Some(shown(asked.prefix.unwrap_or_default())),
        delimiter: asked.delimiter.map(shown),
        start_after: asked.start_after.map(shown),
        continuation_token: asked.continuation_token,
        encoding_type: asked.encoding_type,
        max_keys: Some(max_keys),
        key_count: Some(page.entry_count() as i32),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_deref().map(to_token),
        common_prefixes: Some(page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(shown(prefix)) }).collect()),
        contents: Some(page.objects.into_iter().map(|(key, object)| listed(shown(key), &object)).collect()),
        ..ListObjectsV2Output::default()
    }
}

fn listed(key: String, object: &Object) -> s3s::dto::Object {
    s3s::dto::Object {
        key: Some(key),
        e_tag: Some(ETag::Strong(object.etag.clone())),
        last_modified: Some(object.modified.into()),
        size: Some(object.size_bytes as i64),
        ..s3s::dto::Object::default()
    }
}

fn satisfiable(range: s3s::dto::Range, whole: u64) -> S3Result<Range<u64>> {
    match range.check(whole) {
        Ok(range) if !range.is_empty() => Ok(range),
        _ => Err(s3_error!(InvalidRange)),
    }
}

/// The body of an answer: a slice of what is in RAM, or reads of a file off the async threads.
fn blob(object: &Object, range: Range<u64>) -> StreamingBlob {
    match &object.content {
        Content::Ram(body) => StreamingBlob::from(Body::from(body.slice(range.start as usize..range.end as usize))),
        Content::File(path) => StreamingBlob::wrap(file_reads(Arc::clone(path), range)),
    }
}

fn file_reads(path: Arc<PathBuf>, range: Range<u64>) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync {
    stream::try_unfold((None::<Arc<File>>, range), move |(file, rest)| {
        let path = Arc::clone(&path);
        async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let middle = rest.end.min(rest.start + READ_BYTES);
            let (start, end) = (rest.start, rest.end);
            let read = tokio::task::spawn_blocking(move || {
                let file = file.map_or_else(|| File::open(&*path).map(Arc::new), Ok)?;
                read_at(&file, start..middle).map(|bytes| (bytes, file))
            });
            let (bytes, file) = read.await.map_err(std::io::Error::other)??;
            Ok(Some((bytes, (Some(file), middle..end))))
        }
    })
}

/// Reads a request body to its end; a body of one piece is not copied.
async fn collected(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else {
        return Ok(Bytes::new());
    };
    let broken = |error| S3Error::with_source(s3s::S3ErrorCode::IncompleteBody, error);
    let mut whole = body.next().await.transpose().map_err(broken)?.unwrap_or_default();
    let mut joined = BytesMut::new();
    while let Some(piece) = body.next().await {
        if joined.is_empty() {
            joined.extend_from_slice(&std::mem::take(&mut whole));
        }
        joined.extend_from_slice(&piece.map_err(broken)?);
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}

fn to_token(last: &str) -> String {
    last.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn from_token(token: &str) -> S3Result<String> {
    let pairs = (0..token.len()).step_by(2).map(|at| token.get(at..at + 2));
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| s3_error!(InvalidArgument, "unknown continuation token"))
}

/// As S3 does for `encoding-type=url`; the slash stays.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}
