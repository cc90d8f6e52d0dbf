//! The syntax of URIs as Java's `URI` reads it, so that the same texts have the same parts, or none.
//!
//! That is RFC 2396 with two differences: letters beyond ASCII are allowed, and an empty authority is. A host with an underscore is
//! no host: the authority is then a registry's name, and the host is empty.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The parts of a URI, not decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Uri<'a> {
    pub(super) scheme: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) port: Option<i32>,
    pub(super) path: Option<&'a str>,
    pub(super) query: Option<&'a str>,
    pub(super) fragment: Option<&'a str>,
}

impl<'a> Uri<'a> {
    /// Takes `text` apart; `None` when it is no URI.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (rest, fragment) = split_before(text, '#');
        let mut uri = match rest.find([':', '/', '?']) {
            Some(end) if rest.get(end..)?.starts_with(':') => {
                let (scheme, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
                let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
                let parts =
                    if rest.starts_with('/') { Self::hierarchical(rest, fragment.is_some())? } else { Self::opaque(rest)? };
                valid.then_some(Self { scheme: Some(scheme), ..parts })?
            }
            _ => Self::hierarchical(rest, fragment.is_some())?,
        };
        if let Some(fragment) = fragment {
            uri.fragment = Some(checked(fragment, URI)?);
        }
        Some(uri)
    }

    /// What follows a scheme without a slash, as in `mailto:`; it has no parts.
    fn opaque(rest: &'a str) -> Option<Self> {
        checked(rest, URI).filter(|rest| !rest.is_empty()).map(|_| Self::default())
    }

    fn hierarchical(rest: &'a str, more: bool) -> Option<Self> {
        let (rest, query) = split_before(rest, '?');
        let query = match query {
            Some(query) => Some(checked(query, URI)?),
            None => None,
        };
        let Some(after) = rest.strip_prefix("//") else {
            return Some(Self { path: Some(checked(rest, PATH)?), query, ..Self::default() });
        };
        let (authority, path) = after.split_at_checked(after.find('/').unwrap_or(after.len()))?;
        if after.is_empty() && query.is_none() && !more {
            return None;
        }
        let (host, port) = if authority.is_empty() { (None, None) } else { parse_authority(authority)? };
        Some(Self { host, port, path: Some(checked(path, PATH)?), query, ..Self::default() })
    }
}

fn split_before(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Punctuation of a whole URI's characters beside letters, digits and escapes.
const URI: &str = "_-!.~'()*;/?:@&=+$,[]";
const PATH: &str = "_-!.~'()*:@&=+$,;/";
const USER: &str = "_-!.~'()*;:&=+$,";
const SERVER: &str = "_-!.~'()*;:&=+$,@[]";
const REGISTRY: &str = "_-!.~'()*$,;:@&=+";

/// `text` if it has only letters, digits, `punctuation`, escapes and what lies beyond ASCII without being space or control.
fn checked<'a>(text: &'a str, punctuation: &str) -> Option<&'a str> {
    let escapes = text.split('%').skip(1).all(|after| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2);
    let allowed = text.chars().all(|c| match c {
        '%' => true,
        _ if c.is_ascii() => c.is_ascii_alphanumeric() || punctuation.contains(c),
        // Java's space characters include the no-break ones; next-line is a control.
        _ => !c.is_whitespace() && !c.is_control(),
    });
    (escapes && allowed).then_some(text)
}

/// Host and port of an authority; neither where it is a registry's name.
fn parse_authority(authority: &str) -> Option<(Option<&str>, Option<i32>)> {
    let server = if authority.contains(']') { Some(authority) } else { checked(authority, SERVER) };
    match server.and_then(parse_server) {
        Some((host, port)) => Some((Some(host), port)),
        None => checked(authority, REGISTRY).map(|_| (None, None)),
    }
}

fn parse_server(authority: &str) -> Option<(&str, Option<i32>)> {
    let rest = match authority.split_once('@') {
        Some((user, rest)) => checked(user, USER).map(|_| rest)?,
        None => authority,
    };
    let end = if rest.starts_with('[') { rest.find(']')? + 1 } else { rest.find(':').unwrap_or(rest.len()) };
    let (host, after) = rest.split_at_checked(end)?;
    let valid = match host.strip_prefix('[') {
        Some(address) => is_ipv6(address.strip_suffix(']')?),
        None => host.parse::<Ipv4Addr>().is_ok() || is_hostname(host),
    };
    let port = match after.strip_prefix(':') {
        None if after.is_empty() => None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    valid.then_some((host, port))
}

fn is_ipv6(address: &str) -> bool {
    let (address, scope) = split_before(address, '%');
    let scope =
        scope.is_none_or(|scope| !scope.is_empty() && scope.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.".contains(&c)));
    scope && address.parse::<Ipv6Addr>().is_ok()
}

/// Labels of letters, digits and inner dashes; the last of several begins with a letter, and a dot may follow it.
fn is_hostname(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let valid = |label: &str| {
        let inner = label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = labels.rsplit_once('.').map(|(_, last)| last);
    labels.split('.').all(valid) && last.is_none_or(|last| last.starts_with(|c: char| c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<String> {
        let uri = Uri::parse(text)?;
        let port = uri.port.map(|port| port.to_string());
        let parts = [uri.scheme, uri.host, port.as_deref(), uri.path, uri.query, uri.fragment];
        Some(parts.map(|part| part.unwrap_or("-")).join(" "))
    }

    #[test]
    fn parts_as_java_has_them() {
        let cases = [
            ("http://example.com:8080/a/b.php?k=v&l#Ref", Some("http example.com 8080 /a/b.php k=v&l Ref")),
            ("http://example.com/p?", Some("http example.com - /p  -")),
            ("https://user:word@example.com", Some("https example.com -  - -")),
            ("mailto:test@example.com", Some("mailto - - - - -")),
            ("foo", Some("- - - foo - -")),
            ("", Some("- - -  - -")),
            ("http://example.com/^", None),
            ("http://example.com/a b", None),
            ("http://example.com/%zz", None),
            ("http://", None),
            ("http:", None),
            ("1http://a", None),
            ("file:///etc/x", Some("file - - /etc/x - -")),
            ("http://my_host.com/x", Some("http - - /x - -")),
            ("http://[::1]:80/", Some("http [::1] 80 / - -")),
            ("http://[::g]/", None),
            ("http://1.2.3.4:5", Some("http 1.2.3.4 5  - -")),
            ("http://1.2.3/x", Some("http - - /x - -")),
            ("http://a:99999999999/", Some("http - - / - -")),
            ("http://a:/", Some("http a - / - -")),
            ("http://é.com/é", Some("http - - /é - -")),
            ("//h/p", Some("- h - /p - -")),
            ("a/b:c", Some("- - - a/b:c - -")),
        ];
        for (text, expected) in cases {
            assert_eq!(parts(text).as_deref(), expected, "{text}");
        }
    }
}
