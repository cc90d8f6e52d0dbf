//! A connection that gives up on a peer which takes nothing; knows nothing of what is sent.

use engine::clock::sleep;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `inner`, whose writes fail when they make no progress for `limit`.
pub(super) struct Patient<S> {
    inner: S,
    limit: Duration,
    /// Runs while a write waits for the peer.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, waiting: None }
    }

    /// `written`, or an error when it has been pending for too long.
    fn bounded<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let written = Pin::new(&mut own.inner).poll_write(context, bytes);
        own.bounded(written, context)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let written = Pin::new(&mut own.inner).poll_write_vectored(context, slices);
        own.bounded(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        let flushed = Pin::new(&mut own.inner).poll_flush(context);
        own.bounded(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() -> io::Result<()> {
        let (here, mut there) = tokio::io::duplex(16);
        let mut patient = Patient::new(here, Duration::from_millis(50));
        let given_up = patient.write_all(&[7; 64]).await;
        assert!(given_up.is_err_and(|error| error.kind() == ErrorKind::TimedOut));
        // One that goes on reading is not, however often it has to be waited for.
        let (here, there_too) = tokio::io::duplex(16);
        let mut patient = Patient::new(here, Duration::from_secs(60));
        let reading = async move {
            let (mut peer, mut all) = (there_too, Vec::new());
            peer.read_to_end(&mut all).await.map(|_| all.len())
        };
        let writing = async move {
            patient.write_all(&[7; 640]).await?;
            patient.shutdown().await
        };
        let (read, wrote) = tokio::join!(reading, writing);
        wrote?;
        assert_eq!(read?, 640);
        there.read_exact(&mut [0; 16]).await.map(drop)
    }
}
