//! The HTTP layer before the S3 service: enters requests in the ledger and carries planned faults out.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use s3s::service::S3Service;

use super::connection::ResetSwitch;
use super::faults::{Failure, FaultKind, Faults};
use super::ledger::{Books, Ticket};
use super::request::{Op, Target};
use super::store::Store;

/// Answer bodies go out in pieces of at most this size, so that counting and cutting are close to the wire.
const PIECE_BYTES: usize = 256 * 1024;

/// The connection ends here, by plan or because the S3 layer could not answer.
#[derive(Debug)]
pub(super) struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the test server closed this connection")
    }
}

impl std::error::Error for HungUp {}

/// Everything that connections share.
pub(super) struct Front {
    pub(super) service: S3Service,
    pub(super) store: Arc<Store>,
    pub(super) books: Arc<Books>,
    pub(super) faults: Arc<Faults>,
}

impl Front {
    /// Answers one request; an error closes the connection without an answer.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        reset: Arc<ResetSwitch>,
    ) -> Result<Response<AnswerBody>, HungUp> {
        let (head, body) = request.into_parts();
        let target = Target::of(&head);
        let ticket = self.books.open(&target);
        let plan = self.faults.plan(&target);
        if !plan.delay.is_zero() {
            tokio::time::sleep(plan.delay).await;
        }
        match plan.change {
            Some(Some(body)) => self.store.replace(&target.bucket, &target.key, body),
            Some(None) => self.store.remove(&target.bucket, &target.key),
            None => {}
        }
        let counts_body = target.op.carries_object();
        let mut body = RequestBody { inner: body, ticket: counts_body.then(|| Arc::clone(&ticket)) };
        match plan.answer {
            Some(FaultKind::Fail(failure)) => {
                body.drain().await;
                return Ok(failed(failure, ticket));
            }
            Some(FaultKind::HangUp) => return Err(HungUp),
            _ => {}
        }
        let request = Request::from_parts(head, s3s::Body::http_body(body));
        let response = self.service.call(request).await.map_err(|_| HungUp)?;
        let cut = match plan.answer {
            Some(FaultKind::ObeyThenFail(failure)) => return Ok(failed(failure, ticket)),
            Some(FaultKind::ObeyThenHangUp) => return Err(HungUp),
            Some(FaultKind::Truncate { after_bytes }) => Some((after_bytes, End::Close)),
            Some(FaultKind::Reset { after_bytes }) => Some((after_bytes, End::Reset(reset))),
            Some(FaultKind::ShortLength { bytes }) => Some((bytes, End::Orderly)),
            _ => None,
        };
        Ok(dressed(response, &target, ticket, cut))
    }
}

/// The S3 layer's answer, counted and perhaps cut.
fn dressed(response: s3s::HttpResponse, target: &Target, ticket: Arc<Ticket>, cut: Option<(u64, End)>) -> Response<AnswerBody> {
    let (mut head, inner) = response.into_parts();
    ticket.answered(head.status.as_u16());
    let success = head.status.is_success();
    let cut = cut.filter(|_| success);
    let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let whole = announced.or_else(|| inner.size_hint().exact());
    if let (Some((bytes, End::Orderly)), Some(whole)) = (&cut, whole) {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.min(*bytes)));
    }
    let counted = success && target.op == Op::Get;
    Response::from_parts(head, AnswerBody { cut, counted, ..AnswerBody::new(inner, whole, ticket) })
}

fn failed(failure: Failure, ticket: Arc<Ticket>) -> Response<AnswerBody> {
    let (status, code) = failure.status_and_code();
    ticket.answered(status);
    let xml =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>planned fault</Message></Error>");
    let whole = Some(xml.len() as u64);
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/xml")
        .body(AnswerBody::new(s3s::Body::from(xml), whole, ticket))
        .expect("constant status and header")
}

/// A request body that counts the object bytes that arrive.
struct RequestBody {
    inner: Incoming,
    ticket: Option<Arc<Ticket>>,
}

impl RequestBody {
    /// Reads to the end, so that a refused client can read its answer and keep its connection.
    async fn drain(&mut self) {
        while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await {}
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let (Some(ticket), Some(Ok(frame))) = (&self.ticket, &frame) {
            ticket.received(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How a cut body ends.
enum End {
    /// The shorter length was announced.
    Orderly,
    /// FIN in the middle of the body.
    Close,
    /// RST in the middle of the body.
    Reset(Arc<ResetSwitch>),
}

/// An answer body: counted, sent in pieces, and cut where a fault says so.
pub(super) struct AnswerBody {
    inner: s3s::Body,
    /// Taken from `inner` but not sent yet.
    piece: Bytes,
    /// Bytes still to be sent by an uncut answer, if that is known.
    left: Option<u64>,
    ticket: Arc<Ticket>,
    counted: bool,
    /// The bytes that may still go out, and what happens then.
    cut: Option<(u64, End)>,
    /// Whether the connection had its chance to flush before a cut.
    flushed: bool,
}

impl AnswerBody {
    fn new(inner: s3s::Body, left: Option<u64>, ticket: Arc<Ticket>) -> Self {
        Self { inner, piece: Bytes::new(), left, ticket, counted: false, cut: None, flushed: false }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, s3s::StdError>>> {
        let this = &mut *self;
        match &this.cut {
            Some((0, End::Orderly)) => return Poll::Ready(None),
            Some((0, _)) if !this.flushed => {
                // The connection writes out what it holds when its body has nothing for it.
                this.flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some((0, end)) => {
                if let End::Reset(reset) = end {
                    reset.set();
                }
                return Poll::Ready(Some(Err(Box::new(HungUp))));
            }
            _ => {}
        }
        while this.piece.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => this.piece = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let mut size = this.piece.len().min(PIECE_BYTES);
        if let Some((left, _)) = &mut this.cut {
            size = size.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= size as u64;
        }
        if this.counted {
            this.ticket.sent(size);
        }
        this.left = this.left.map(|left| left.saturating_sub(size as u64));
        if this.left == Some(0) {
            this.ticket.landed();
        }
        Poll::Ready(Some(Ok(Frame::data(this.piece.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.cut {
            Some((0, End::Orderly)) => true,
            Some((_, End::Close | End::Reset(_))) => false,
            _ => self.piece.is_empty() && self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        // Only asked for before the first frame; a cut answer that lacks the header is sent in chunks.
        if self.cut.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}
