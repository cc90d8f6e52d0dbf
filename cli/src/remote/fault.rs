//! Why no answer came, in words for the person who waits for one.

use crate::failure::Failure;
use crate::remote::choice::Endpoint;
use engine::{Error, ErrorKind};
use std::error::Error as StdError;
use std::io;

/// Why a request has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nobody listens at the address.
    Refused,
    /// The name of the host leads nowhere.
    NoHost,
    /// No trusted connection.
    Tls(String),
    /// Too long without an answer.
    TimedOut,
    /// The connection ended before the answer did.
    Broken(String),
    /// The answer has more than so many bytes.
    TooLarge(usize),
}

impl Fault {
    /// What `error` means.
    pub(crate) fn new(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        let texts = causes(error);
        let deepest = texts.last().cloned().unwrap_or_default();
        let has = |part: &str| texts.iter().any(|text| text.to_ascii_lowercase().contains(part));
        if io_kind(error) == Some(io::ErrorKind::ConnectionRefused) {
            Self::Refused
        } else if has("dns error") {
            Self::NoHost
        } else if has("certificate") || has("tls") {
            Self::Tls(deepest)
        } else {
            Self::Broken(deepest)
        }
    }

    /// Whether another try can only have the same end.
    pub(crate) fn is_final(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Tls(_) | Self::TooLarge(_) => true,
            Self::Refused => endpoint.loopback,
            Self::NoHost | Self::TimedOut | Self::Broken(_) => false,
        }
    }

    /// The failure after so many tries.
    pub(crate) fn failure(self, endpoint: &Endpoint, tries: u32) -> Failure {
        let tried = if tries > 1 { format!(" ({tries} tries)") } else { String::new() };
        let message = match self {
            Self::Refused if endpoint.loopback => {
                format!("cannot connect to {endpoint}: nobody listens there; is 'owlet serve' running, and on this port?")
            }
            Self::Refused => format!("cannot connect to {endpoint}: connection refused{tried}; check --endpoint"),
            Self::NoHost => {
                format!("cannot connect to {endpoint}: its host is not known{tried}; check --endpoint and the network")
            }
            Self::Tls(text) => {
                format!("no trusted connection to {endpoint}: {text}; check --endpoint and this machine's certificates")
            }
            Self::TimedOut => format!("{endpoint} did not answer in time{tried}; check the network, then try again"),
            Self::Broken(text) => format!("the connection to {endpoint} broke: {text}{tried}; check the network, then try again"),
            Self::TooLarge(most) => {
                return Failure::Query(Error::new(
                    ErrorKind::LimitExceeded,
                    format!("an answer of {endpoint} has more than {most} bytes, which no Owlet server sends; check --endpoint"),
                ));
            }
        };
        Failure::Query(Error::new(ErrorKind::Unavailable, message))
    }
}

/// The texts of an error and what is below it, without the URL.
fn causes(error: &reqwest::Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        texts.push(inner.to_string());
        cause = inner.source();
    }
    texts
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = inner.source();
    }
    None
}
