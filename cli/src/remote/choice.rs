//! From `--endpoint` and its companions to a checked address and a way to show who asks; asks nobody.

use crate::args::{AuthArg, SharedArgs};
use crate::failure::Failure;
use crate::resolve::Places;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use url::{Host, Url};

/// Environment variable that holds a bearer token.
pub(crate) const TOKEN_VARIABLE: &str = "OWLET_TOKEN";
/// Most bytes of a bearer token; HTTP servers take headers of 8 kB and more.
const MAX_TOKEN_BYTES: usize = 7_000;
/// Name under which Function URLs check signatures.
const LAMBDA_SERVICE: &str = "lambda";
/// Name under which API Gateway checks signatures.
const GATEWAY_SERVICE: &str = "execute-api";

/// A server to run queries on.
#[derive(Clone, Debug)]
pub struct ServerChoice {
    pub(crate) endpoint: Endpoint,
    pub(crate) auth: AuthChoice,
    /// A query that runs longer fails; the server's own limit when absent.
    pub(crate) timeout: Option<Duration>,
}

/// Where the server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    /// Without a slash at the end of its path.
    base: String,
    /// Whether it is on this machine.
    pub(crate) loopback: bool,
    /// Region that the host's name tells.
    pub(crate) region: Option<String>,
    /// Service that signatures are made for.
    pub(crate) service: &'static str,
}

/// How the server knows the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AuthChoice {
    /// Requests are signed with AWS credentials.
    Iam,
    /// A bearer token.
    Token(Secret),
    /// Not at all.
    None,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text, for those who need it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl ServerChoice {
    /// The server that `shared` names, if any; `token` is the value of [`TOKEN_VARIABLE`].
    ///
    /// # Errors
    /// [`Failure::Usage`] that names the option and what is wrong with it.
    pub(crate) fn resolve(shared: &SharedArgs, token: Option<String>) -> Result<Option<Self>, Failure> {
        let Some(url) = &shared.endpoint else { return Ok(None) };
        if let Some(option) = local_option(shared) {
            return Err(Failure::Usage(format!(
                "{option} is for queries in this process, but --endpoint (OWLET_ENDPOINT) runs them on a server: leave one of them out"
            )));
        }
        let endpoint = Endpoint::parse(url).map_err(|wrong| Failure::Usage(format!("--endpoint: {wrong}")))?;
        let token = match (&shared.token_file, token.filter(|token| !token.is_empty())) {
            (Some(path), _) => Some(read_token(path)?),
            (None, Some(token)) => Some(checked_token(&token, TOKEN_VARIABLE)?),
            (None, None) => None,
        };
        let auth = match (shared.credentials, token) {
            (Some(AuthArg::Token) | None, Some(token)) => AuthChoice::Token(token),
            (Some(AuthArg::Token), None) => {
                return Err(Failure::Usage(
                    "--credentials token needs a token: set OWLET_TOKEN or give --token-file FILE".into(),
                ));
            }
            (Some(AuthArg::Iam), _) => AuthChoice::Iam,
            (Some(AuthArg::None), _) => AuthChoice::None,
            (None, None) if endpoint.base.starts_with("https:") => AuthChoice::Iam,
            (None, None) => AuthChoice::None,
        };
        Ok(Some(Self { endpoint, auth, timeout: shared.timeout }))
    }
}

/// An option that has no meaning for a server.
fn local_option(shared: &SharedArgs) -> Option<&'static str> {
    let usual = Places::default();
    let given = [
        (!shared.allow.is_empty(), "--allow"),
        (!shared.allow_write.is_empty(), "--allow-write"),
        (shared.catalog != usual.catalog, "--catalog (OWLET_CATALOG)"),
        (shared.warehouse != usual.warehouse, "--warehouse (OWLET_WAREHOUSE)"),
        (!shared.data.is_empty(), "--data"),
        (!shared.tables.is_empty(), "--table"),
        (shared.s3_endpoint.is_some(), "--s3-endpoint"),
        (shared.s3_region.is_some(), "--s3-region"),
        (shared.workers.is_some(), "--workers"),
        (shared.worker_partitions.is_some(), "--worker-partitions"),
        (shared.split_bytes.is_some(), "--split-bytes"),
        (shared.memory.is_some(), "--memory"),
        (shared.temp_dir.is_some(), "--temp-dir"),
        (shared.temp_quota.is_some(), "--temp-quota"),
        (shared.exchange.is_some(), "--exchange"),
        (shared.config.is_some(), "--config"),
        (!shared.session.is_empty(), "--set"),
    ];
    given.into_iter().find_map(|(is_given, option)| is_given.then_some(option))
}

fn read_token(path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::Usage(format!("--token-file: cannot read '{}': {e}", path.display())))?;
    checked_token(text.trim(), "--token-file")
}

/// A token becomes a header; what is wrong with it is told without showing it.
fn checked_token(token: &str, source: &str) -> Result<Secret, Failure> {
    let sound = !token.is_empty() && token.len() <= MAX_TOKEN_BYTES && token.bytes().all(|b| b.is_ascii_graphic());
    match sound {
        true => Ok(Secret(token.to_owned())),
        false => Err(Failure::Usage(format!(
            "{source}: a token is one line of at most {MAX_TOKEN_BYTES} letters, digits and signs without blanks"
        ))),
    }
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let example = "write https://HOST, or http://127.0.0.1:PORT for a server on this machine";
        let url = Url::parse(text.trim()).map_err(|e| format!("not a URL ({e}); {example}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user name or password is not taken: see --credentials".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the URL of a server has no ? and no #".to_owned());
        }
        let host = url.host().ok_or_else(|| format!("the URL names no host; {example}"))?;
        let loopback = is_loopback(&host);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(format!("http to another machine would show queries and rows to everyone between; {example}")),
            other => return Err(format!("'{other}' URLs are not taken; {example}")),
        }
        let (region, service) = signed_for(&host.to_string());
        Ok(Self { base: url.as_str().trim_end_matches('/').to_owned(), loopback, region, service })
    }

    /// The URL of `path`, which starts with a slash and has its query behind it.
    ///
    /// # Errors
    /// Never for the paths of the API.
    pub(crate) fn at(&self, path: &str) -> Result<Url, Failure> {
        let url = format!("{}{path}", self.base);
        Url::parse(&url).map_err(|e| Failure::Usage(format!("--endpoint: '{url}' is not a URL: {e}")))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => IpAddr::from(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::from(*address).is_loopback(),
    }
}

/// The region and the service that signatures for `host` are made for.
fn signed_for(host: &str) -> (Option<String>, &'static str) {
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    match labels.as_slice() {
        [_, "lambda-url", region, "on", "aws"] => (Some((*region).to_owned()), LAMBDA_SERVICE),
        [_, "execute-api", region, "amazonaws", "com"] | [_, "execute-api", region, "amazonaws", "com", "cn"] => {
            (Some((*region).to_owned()), GATEWAY_SERVICE)
        }
        _ => (None, LAMBDA_SERVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;

    fn resolve(words: &[&str], token: Option<&str>) -> Result<Option<ServerChoice>, String> {
        let words = ["owlet", "query", "SELECT 1"].iter().chain(words);
        let args = Args::try_parse_from(words).map_err(|e| e.to_string())?;
        ServerChoice::resolve(&args.shared, token.map(str::to_owned)).map_err(|e| format!("{} {e}", e.exit_code()))
    }

    fn auth(words: &[&str], token: Option<&str>) -> Result<AuthChoice, String> {
        Ok(resolve(words, token)?.ok_or("no server")?.auth)
    }

    #[test]
    fn an_endpoint_is_https_or_on_this_machine() {
        for url in
            ["https://x.example", "https://x.example/stage/", "http://127.0.0.1:80", "http://[::1]:9", "http://localhost:8080/"]
        {
            assert!(Endpoint::parse(url).is_ok_and(|endpoint| !endpoint.base.ends_with('/')), "{url}");
        }
        for (url, part) in [
            ("http://x.example", "another machine"),
            ("http://127.0.0.1.example.com", "another machine"),
            ("http://localhost.example.com", "another machine"),
            ("ftp://x", "ftp"),
            ("localhost:8080", "names no host"),
            ("x.example", "not a URL"),
            ("https://me:secret@x.example", "--credentials"),
            ("https://x.example/?a=b", "no ?"),
        ] {
            assert!(Endpoint::parse(url).is_err_and(|e| e.contains(part) && !e.contains("secret")), "{url}");
        }
    }

    #[test]
    fn the_host_tells_region_and_service() -> Result<(), String> {
        let signed = |url: &str| Endpoint::parse(url).map(|endpoint| (endpoint.region, endpoint.service));
        assert_eq!(signed("https://abc.lambda-url.eu-west-1.on.aws/")?, (Some("eu-west-1".into()), "lambda"));
        assert_eq!(signed("https://abc.execute-api.us-east-2.amazonaws.com/x")?, (Some("us-east-2".into()), "execute-api"));
        assert_eq!(signed("https://sql.example.com")?, (None, "lambda"));
        Ok(())
    }

    #[test]
    fn paths_stand_behind_the_base() -> Result<(), Box<dyn std::error::Error>> {
        let endpoint = Endpoint::parse("https://x.example/stage/")?;
        assert_eq!(endpoint.at("/v1/queries?limit=2")?.as_str(), "https://x.example/stage/v1/queries?limit=2");
        Ok(())
    }

    #[test]
    fn the_way_to_show_who_asks_follows_the_address_and_the_token() -> Result<(), Box<dyn std::error::Error>> {
        let (aws, here) = ("https://abc.lambda-url.eu-west-1.on.aws", "http://127.0.0.1:8080");
        let token = AuthChoice::Token(Secret("abc".into()));
        assert_eq!(auth(&["--endpoint", aws], None)?, AuthChoice::Iam);
        assert_eq!(auth(&["--endpoint", here], None)?, AuthChoice::None);
        assert_eq!(auth(&["--endpoint", here, "--credentials", "iam"], None)?, AuthChoice::Iam);
        assert_eq!(auth(&["--endpoint", aws], Some("abc"))?, token);
        assert_eq!(auth(&["--endpoint", aws, "--credentials", "none"], Some("abc"))?, AuthChoice::None);
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("token");
        std::fs::write(&file, "abc\n")?;
        assert_eq!(auth(&["--endpoint", aws, "--token-file", file.to_str().ok_or("path")?], Some("other"))?, token);
        assert!(
            auth(&["--endpoint", aws, "--credentials", "token"], None)
                .is_err_and(|e| e.starts_with("2 ") && e.contains("OWLET_TOKEN"))
        );
        let wrong = auth(&["--endpoint", aws], Some("two words")).err().unwrap_or_default();
        assert!(wrong.contains("OWLET_TOKEN") && !wrong.contains("two words"), "{wrong}");
        assert_eq!(format!("{token:?}"), "Token(***)");
        Ok(())
    }

    #[test]
    fn options_of_this_process_are_refused_by_name() {
        for (option, value) in [
            ("--data", "d"),
            ("--table", "t=p"),
            ("--s3-endpoint", "http://x"),
            ("--s3-region", "r"),
            ("--workers", "2"),
            ("--worker-partitions", "2"),
            ("--split-bytes", "1k"),
            ("--memory", "1g"),
            ("--temp-dir", "/tmp"),
            ("--temp-quota", "1g"),
            ("--exchange", "e"),
            ("--config", "c"),
            ("--set", "a=b"),
        ] {
            let refused = resolve(&["--endpoint", "http://localhost:1", option, value], None).err().unwrap_or_default();
            assert!(refused.starts_with(&format!("2 {option} ")) && refused.contains("--endpoint"), "{option}: {refused}");
        }
        assert!(matches!(resolve(&[], None), Ok(None)));
    }
}
