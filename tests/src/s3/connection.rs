//! A TCP connection that keeps to a bandwidth and can end in a reset; it knows nothing of HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::faults::Faults;

/// A limited connection moves its bytes in steps of about this long.
const STEP: Duration = Duration::from_millis(20);

/// Set by an answer that wants its connection to end in a reset instead of an orderly close.
#[derive(Debug, Default)]
pub(super) struct ResetSwitch(AtomicBool);

impl ResetSwitch {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The server's end of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    faults: Arc<Faults>,
    reset: Arc<ResetSwitch>,
    read: Pace,
    write: Pace,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, faults: Arc<Faults>, reset: Arc<ResetSwitch>) -> Self {
        Self { stream, faults, reset, read: Pace::new(), write: Pace::new() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset.0.load(Ordering::Relaxed) {
            // Closing with zero linger sends RST. If the option is refused the close is an orderly one.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(rate) = this.faults.bandwidth() else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        ready!(this.read.poll_due(cx));
        let size = step_bytes(rate).min(buf.remaining());
        let mut step = ReadBuf::new(buf.initialize_unfilled_to(size));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut step))?;
        let read = step.filled().len();
        buf.advance(read);
        this.read.spend(read, rate);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(rate) = this.faults.bandwidth() else {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        };
        ready!(this.write.poll_due(cx));
        let step = buf.get(..step_bytes(rate)).unwrap_or(buf);
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, step))?;
        this.write.spend(written, rate);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.faults.bandwidth().is_none() {
            return Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        self.poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

fn step_bytes(rate: u64) -> usize {
    ((rate as f64 * STEP.as_secs_f64()) as usize).max(1)
}

/// Spaces the steps of one direction; lateness up to one [`STEP`] is made up for.
#[derive(Debug)]
struct Pace {
    due: Instant,
    pause: Pin<Box<Sleep>>,
}

impl Pace {
    fn new() -> Self {
        Self { due: Instant::now(), pause: Box::pin(sleep(Duration::ZERO)) }
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pause.as_mut().poll(cx)
    }

    fn spend(&mut self, bytes: usize, rate: u64) {
        let now = Instant::now();
        let earliest = now.checked_sub(STEP).unwrap_or(now);
        self.due = self.due.max(earliest) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.pause.as_mut().reset(self.due);
    }
}
