//! TLS before the emulator, as Lambda's own endpoints have it: what the handshakes cost the client.

use crate::AnyError;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Runs this program once more with the same arguments, in a process that trusts a certificate (P-256) made for it in `folder`.
pub(super) async fn run_trusting(folder: &Path) -> Result<ExitStatus, AnyError> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join(CERTIFICATE), cert.pem())?;
    std::fs::write(folder.join(KEY), signing_key.serialize_pem())?;
    let mut again = tokio::process::Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).arg("--tls-folder").arg(folder);
    Ok(again.env("SSL_CERT_FILE", folder.join(CERTIFICATE)).kill_on_drop(true).status().await?)
}

/// Opens a port that speaks TLS, and passes what it hears to `endpoint` (`http://HOST:PORT`) as one of `tasks`; its own URL.
pub(super) async fn before(endpoint: &str, folder: &Path, tasks: &mut JoinSet<()>) -> Result<String, AnyError> {
    let certificate = CertificateDer::from_pem_file(folder.join(CERTIFICATE))?;
    let key = PrivateKeyDer::from_pem_file(folder.join(KEY))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions()?;
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key)?));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    let target = endpoint.strip_prefix("http://").ok_or("the emulator has no HTTP endpoint")?.to_owned();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(pass(stream, acceptor.clone(), target.clone()));
        }
    });
    Ok(url)
}

/// One connection; an error is the end of it, which the client sees.
async fn pass(stream: TcpStream, acceptor: TlsAcceptor, target: String) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut outer = acceptor.accept(stream).await?;
    let mut inner = TcpStream::connect(target).await?;
    inner.set_nodelay(true)?;
    copy_bidirectional(&mut outer, &mut inner).await?;
    Ok(())
}
