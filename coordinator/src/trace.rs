//! Trace context: from a request's headers to the `traceparent` that tasks carry.

/// The W3C `traceparent` that a query belongs to: the caller's, else that of AWS X-Ray, else empty.
///
/// X-Ray's `Root=1-8hex-24hex;Parent=16hex;Sampled=1` maps to a W3C trace id one to one (AWS X-Ray developer guide).
pub fn trace_parent(traceparent: Option<&str>, xray: Option<&str>) -> String {
    traceparent.filter(|text| is_trace_parent(text)).map(str::to_string).or_else(|| from_xray(xray?)).unwrap_or_default()
}

/// The trace id in a `traceparent`, or empty.
pub(crate) fn trace_id(trace_parent: &str) -> &str {
    trace_parent.split('-').nth(1).unwrap_or("")
}

fn is_trace_parent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts.as_slice(), ["00", trace, span, flags] if is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn from_xray(header: &str) -> Option<String> {
    let field = |name: &str| header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (version, rest) = field("Root")?.split_once('-')?;
    let (time, random) = rest.split_once('-')?;
    let (trace, span) = (format!("{time}{random}"), field("Parent")?);
    let flags = if field("Sampled") == Some("1") { "01" } else { "00" };
    (version == "1" && is_hex(&trace, 32) && is_hex(span, 16)).then(|| format!("00-{trace}-{span}-{flags}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same_trace() {
        let xray = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let w3c = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
        assert_eq!(trace_parent(None, Some(xray)), w3c);
        assert_eq!(trace_parent(Some(w3c), None), w3c);
        assert_eq!(trace_id(w3c), "5759e988bd862e3fe1be46a994272793");
    }

    #[test]
    fn what_is_no_trace_is_left_out() {
        for text in ["", "00-x", "Root=1-5759e988-bd86", "00-5759E988BD862E3FE1BE46A994272793-53995c3f42cd8ad8-01\n"] {
            assert_eq!(trace_parent(Some(text), Some(text)), "", "{text}");
        }
    }
}
