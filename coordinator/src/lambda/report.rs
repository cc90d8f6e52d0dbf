//! What Lambda says an invocation used and is billed: the last REPORT in the log tail that comes with an answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::task::Billed;
use serde::Deserialize;

/// Lambda returns the last 4 KB of the log, which is 5,464 bytes of base64; more is not looked at.
const MAX_LOG_RESULT_BYTES: usize = 8_192;

/// The billed figures of one invocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Billed time, in milliseconds.
    pub billed_ms: u64,
    /// Memory of the function, in MB.
    pub memory_mb: u64,
    /// Most memory that the sandbox has used since it started, in MB.
    pub max_memory_mb: u64,
    /// Time that the sandbox took to start, in milliseconds rounded up; 0 for a warm one.
    pub init_ms: u64,
}

impl Report {
    /// Reads the `X-Amz-Log-Result` header: base64 of text lines, or of JSON lines where the function logs JSON.
    ///
    /// None when it holds no complete REPORT. The last one counts, because the service writes it after all that
    /// the function itself logged.
    pub fn from_log_result(header: &str) -> Option<Self> {
        if header.len() > MAX_LOG_RESULT_BYTES {
            return None;
        }
        let log = STANDARD.decode(header.trim()).ok()?;
        String::from_utf8_lossy(&log).lines().rev().find_map(|line| from_text(line).or_else(|| from_json(line)))
    }

    /// What the receipt keeps.
    pub fn billed(&self) -> Billed {
        Billed { memory_mb: self.memory_mb, billed_ms: self.billed_ms, init_ms: self.init_ms }
    }
}

/// `REPORT RequestId: ...\tDuration: 12.30 ms\tBilled Duration: 13 ms\t...`, fields in any order.
fn from_text(line: &str) -> Option<Report> {
    let fields = line.trim_start().strip_prefix("REPORT ")?;
    let (mut billed_ms, mut memory_mb, mut max_memory_mb, mut init_ms) = (None, None, None, None);
    for field in fields.split('\t') {
        let Some((name, value)) = field.split_once(':') else { continue };
        match name.trim() {
            "Billed Duration" => billed_ms = figure(value, "ms"),
            "Memory Size" => memory_mb = figure(value, "MB"),
            "Max Memory Used" => max_memory_mb = figure(value, "MB"),
            "Init Duration" => init_ms = figure(value, "ms"),
            _ => {}
        }
    }
    Some(Report {
        billed_ms: billed_ms?,
        memory_mb: memory_mb?,
        max_memory_mb: max_memory_mb.unwrap_or(0),
        init_ms: init_ms.unwrap_or(0),
    })
}

/// A non-negative decimal number before `unit`, rounded up.
fn figure(text: &str, unit: &str) -> Option<u64> {
    let number = text.trim().strip_suffix(unit)?.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    whole.checked_add(u64::from(fraction.bytes().any(|b| b != b'0')))
}

#[derive(Deserialize)]
struct PlatformEvent {
    r#type: String,
    record: PlatformRecord,
}

#[derive(Deserialize)]
struct PlatformRecord {
    metrics: PlatformMetrics,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlatformMetrics {
    billed_duration_ms: u64,
    #[serde(rename = "memorySizeMB")]
    memory_size_mb: u64,
    #[serde(rename = "maxMemoryUsedMB", default)]
    max_memory_used_mb: u64,
    #[serde(default)]
    init_duration_ms: f64,
}

/// `{"time": ..., "type": "platform.report", "record": {"requestId": ..., "metrics": {...}}}`.
fn from_json(line: &str) -> Option<Report> {
    if !line.contains("platform.report") {
        return None;
    }
    let event: PlatformEvent = serde_json::from_str(line).ok()?;
    let metrics = event.record.metrics;
    (event.r#type == "platform.report").then(|| Report {
        billed_ms: metrics.billed_duration_ms,
        memory_mb: metrics.memory_size_mb,
        max_memory_mb: metrics.max_memory_used_mb,
        // `as` saturates: a negative number or none is 0.
        init_ms: metrics.init_duration_ms.ceil() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &str) -> Option<Report> {
        Report::from_log_result(&STANDARD.encode(log))
    }

    #[test]
    fn text_reports_are_read() {
        let warm = "START RequestId: 1 Version: 7\nEND RequestId: 1\nREPORT RequestId: 1\tDuration: 12.30 ms\t\
                    Billed Duration: 13 ms\tMemory Size: 1769 MB\tMax Memory Used: 80 MB\t\n";
        let expected = Report { billed_ms: 13, memory_mb: 1_769, max_memory_mb: 80, init_ms: 0 };
        assert_eq!(read(warm), Some(expected));
        let cold = warm.replace("80 MB\t", "80 MB\tInit Duration: 120.01 ms\tXRAY TraceId: 1-2-3\tSegmentId: 4");
        assert_eq!(read(&cold), Some(Report { init_ms: 121, ..expected }));
        // The emulator's order of fields, and the status of an invocation that timed out.
        let other = "REPORT RequestId: 1\tInit Duration: 0.00 ms\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\t\
                     Memory Size: 512 MB\tMax Memory Used: 512 MB\tStatus: timeout";
        assert_eq!(read(other), Some(Report { billed_ms: 3_000, memory_mb: 512, max_memory_mb: 512, init_ms: 0 }));
    }

    #[test]
    fn json_reports_are_read() {
        let log = concat!(
            r#"{"level":"INFO","msg":"platform.report"}"#,
            "\n",
            r#"{"time":"2026-01-01T00:00:00Z","type":"platform.report","record":{"requestId":"1","metrics":{"durationMs":12.3,"#,
            r#""billedDurationMs":13,"memorySizeMB":1769,"maxMemoryUsedMB":80,"initDurationMs":120.01},"status":"success"}}"#,
            "\n",
        );
        assert_eq!(read(log), Some(Report { billed_ms: 13, memory_mb: 1_769, max_memory_mb: 80, init_ms: 121 }));
    }

    #[test]
    fn the_last_report_counts() {
        let line = |ms| format!("REPORT RequestId: 1\tBilled Duration: {ms} ms\tMemory Size: 128 MB\n");
        assert_eq!(read(&format!("{}{}", line(1), line(99))).map(|r| r.billed_ms), Some(99));
    }

    #[test]
    fn garbage_is_no_report() {
        for log in [
            "",
            "REPORT",
            "REPORT ",
            "REPORT \t\t:\t:::\tBilled Duration:",
            "REPORT Billed Duration: 13 ms",
            "REPORT Billed Duration: -1 ms\tMemory Size: 128 MB",
            "REPORT Billed Duration: 13\tMemory Size: 128 MB",
            "REPORT Billed Duration: 1e3 ms\tMemory Size: 128 MB",
            "REPORT Billed Duration: 1.2.3 ms\tMemory Size: 128 MB",
            "REPORT Billed Duration: 99999999999999999999 ms\tMemory Size: 128 MB",
            "REPORT Billed Duration: 18446744073709551615.5 ms\tMemory Size: 128 MB",
            "\u{fffd}REPORT Billed Duration: 13 ms\tMemory Size: 128 MB",
            r#"{"type":"platform.report"}"#,
            r#"{"type":"platform.report","record":{"metrics":{"billedDurationMs":-1,"memorySizeMB":1}}}"#,
            r#"["platform.report"]"#,
        ] {
            assert_eq!(read(log), None, "{log:?}");
        }
        for header in ["%%%", "A", "=", "////", &"A".repeat(MAX_LOG_RESULT_BYTES + 4), "\u{0}"] {
            assert_eq!(Report::from_log_result(header), None);
        }
    }

    #[test]
    fn damaged_logs_never_panic() {
        let log = "x\nREPORT RequestId: 1\tBilled Duration: 13.0 ms\tMemory Size: 1769 MB\tInit Duration: 1.5 ms\n";
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut bytes = log.as_bytes().to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 40) as usize % bytes.len();
                bytes[at] = (state >> 32) as u8;
            }
            bytes.truncate((state >> 20) as usize % (bytes.len() + 1));
            if let Some(report) = Report::from_log_result(&STANDARD.encode(&bytes)) {
                assert!(report.memory_mb <= 999_999);
            }
        }
    }
}
