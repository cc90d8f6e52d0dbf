//! Counts every request that reached the server and the object bytes that moved; it knows nothing of their meaning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;

use super::request::{Op, Target};

/// Records kept; counters go on counting beyond it.
pub const MAX_RECORDS: usize = 100_000;

/// What reached the server since it started or since the last reset, failed and retried requests included.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// GetObject requests.
    pub get: u64,
    /// HeadObject and HeadBucket requests.
    pub head: u64,
    /// PutObject and UploadPart requests.
    pub put: u64,
    /// ListObjectsV2 requests, one per page.
    pub list: u64,
    /// DeleteObject and DeleteObjects requests (the latter once, however many keys it names).
    pub delete: u64,
    /// CreateMultipartUpload, CompleteMultipartUpload and AbortMultipartUpload requests.
    pub multipart: u64,
    /// CopyObject and UploadPartCopy requests.
    pub copy: u64,
    /// All other requests.
    pub other: u64,
    /// Object bytes sent: bodies of successful GetObject answers, and of no other. A body is counted in
    /// steps of at most 256 KiB as it is given to the connection.
    pub bytes_out: u64,
    /// Object bytes received: bodies of PutObject and UploadPart requests, refused ones included.
    pub bytes_in: u64,
    /// The most requests that were being answered at one moment, answer bodies included.
    pub peak_in_flight: u64,
    /// The requests in order of arrival, at most [`MAX_RECORDS`].
    pub records: Vec<Record>,
}

/// One request that reached the server.
#[derive(Debug, Clone)]
pub struct Record {
    /// The S3 operation.
    pub op: Op,
    /// The HTTP method.
    pub method: Method,
    /// The bucket; empty for requests that name none.
    pub bucket: String,
    /// The key, decoded; empty for bucket operations.
    pub key: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `If-Match` header.
    pub if_match: Option<String>,
    /// The status answered; `None` while unanswered and for ever if the connection was closed instead.
    pub status: Option<u16>,
    /// This request's share of [`Ledger::bytes_out`].
    pub bytes_out: u64,
}

impl Ledger {
    /// All requests, whatever their operation.
    pub fn total(&self) -> u64 {
        self.get + self.head + self.put + self.list + self.delete + self.multipart + self.copy + self.other
    }

    /// The kept records of one operation on keys that contain `key_contains`.
    pub fn of<'a>(&'a self, op: Op, key_contains: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.op == op && record.key.contains(key_contains))
    }

    fn counter(&mut self, op: Op) -> &mut u64 {
        match op {
            Op::Get => &mut self.get,
            Op::Head | Op::HeadBucket => &mut self.head,
            Op::Put | Op::UploadPart => &mut self.put,
            Op::List => &mut self.list,
            Op::Delete | Op::DeleteMany => &mut self.delete,
            Op::CreateMultipart | Op::CompleteMultipart | Op::AbortMultipart => &mut self.multipart,
            Op::Copy => &mut self.copy,
            Op::Other => &mut self.other,
        }
    }
}

/// The shared ledger; `epoch` keeps answers that end after a reset out of the new count.
#[derive(Debug, Default)]
pub(super) struct Books(Mutex<Page>);

#[derive(Debug, Default)]
struct Page {
    ledger: Ledger,
    in_flight: u64,
    epoch: u64,
}

impl Books {
    fn page(&self) -> MutexGuard<'_, Page> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Ledger {
        self.page().ledger.clone()
    }

    pub(super) fn reset(&self) {
        let mut page = self.page();
        page.epoch += 1;
        page.ledger = Ledger { peak_in_flight: page.in_flight, ..Ledger::default() };
    }

    /// Enters a request; it is in flight until the ticket has landed or its last clone is dropped.
    pub(super) fn open(self: &Arc<Self>, target: &Target) -> Arc<Ticket> {
        let mut page = self.page();
        *page.ledger.counter(target.op) += 1;
        page.in_flight += 1;
        page.ledger.peak_in_flight = page.ledger.peak_in_flight.max(page.in_flight);
        let row = page.ledger.records.len();
        if row < MAX_RECORDS {
            page.ledger.records.push(Record {
                op: target.op,
                method: target.method.clone(),
                bucket: target.bucket.clone(),
                key: target.key.clone(),
                range: target.range.clone(),
                if_match: target.if_match.clone(),
                status: None,
                bytes_out: 0,
            });
        }
        Arc::new(Ticket { books: Arc::clone(self), epoch: page.epoch, row, has_landed: AtomicBool::new(false) })
    }
}

/// One request's place in the ledger.
#[derive(Debug)]
pub(super) struct Ticket {
    books: Arc<Books>,
    epoch: u64,
    row: usize,
    has_landed: AtomicBool,
}

impl Ticket {
    /// The last byte of the answer is on its way: what the client sends next does not overlap with this.
    pub(super) fn landed(&self) {
        if !self.has_landed.swap(true, Ordering::Relaxed) {
            self.books.page().in_flight -= 1;
        }
    }

    pub(super) fn answered(&self, status: u16) {
        self.edit(|_, record| {
            if let Some(record) = record {
                record.status = Some(status);
            }
        });
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.edit(|bytes_out, record| {
            *bytes_out.0 += bytes as u64;
            if let Some(record) = record {
                record.bytes_out += bytes as u64;
            }
        });
    }

    pub(super) fn received(&self, bytes: usize) {
        self.edit(|totals, _| *totals.1 += bytes as u64);
    }

    /// Gives (bytes_out, bytes_in) and the record, unless the ledger was reset since.
    fn edit(&self, change: impl FnOnce((&mut u64, &mut u64), Option<&mut Record>)) {
        let mut page = self.books.page();
        if page.epoch == self.epoch {
            let ledger = &mut page.ledger;
            change((&mut ledger.bytes_out, &mut ledger.bytes_in), ledger.records.get_mut(self.row));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.landed();
    }
}
