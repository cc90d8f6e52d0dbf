//! Money: turns requests, bytes and GB-seconds into list prices, in integers.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A thousand-millionth of a US dollar; integer, so that sums are exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct NanoDollars(pub u64);

impl std::ops::Add for NanoDollars {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for NanoDollars {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self(0), |a, b| a + b)
    }
}

impl fmt::Display for NanoDollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

/// List prices of one region and architecture on one day.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    /// Which prices these are and when they were read.
    pub label: Cow<'static, str>,
    /// Price of one GB-second of Lambda, in 10⁻¹³ dollars ($0.0000133334 = 133,334,000).
    pub lambda_gb_second_e13: u64,
    /// Price of one Lambda request ($0.20 per million).
    pub lambda_request: NanoDollars,
    /// Price of one S3 GET or HEAD ($0.40 per million).
    pub s3_get: NanoDollars,
    /// Price of one S3 PUT, POST or LIST ($5 per million).
    pub s3_put: NanoDollars,
    /// Athena's price of one scanned TB of 10¹² bytes ($5).
    pub athena_tb: NanoDollars,
    /// The smallest scan that Athena bills for a query, in bytes (10 MB).
    pub athena_min_bytes: u64,
}

/// AWS list prices, us-east-1, arm64, as published in November 2026: Lambda $0.0000133334 per GB-second and
/// $0.20 per million requests, S3 Standard $0.40 per million GET and $5 per million PUT or LIST,
/// Athena $5 per TB with a minimum of 10 MB per query.
pub const US_EAST_1_ARM64: PriceTable = PriceTable {
    label: Cow::Borrowed("us-east-1, arm64, list prices of 2026-11"),
    lambda_gb_second_e13: 133_334_000,
    lambda_request: NanoDollars(200),
    s3_get: NanoDollars(400),
    s3_put: NanoDollars(5_000),
    athena_tb: NanoDollars(5_000_000_000),
    athena_min_bytes: 10_000_000,
};

/// The same for x86_64 functions: $0.0000166667 per GB-second.
pub const US_EAST_1_X86_64: PriceTable = PriceTable {
    label: Cow::Borrowed("us-east-1, x86_64, list prices of 2026-11"),
    lambda_gb_second_e13: 166_667_000,
    ..US_EAST_1_ARM64
};

impl PriceTable {
    /// The table that `text` names (`arm64`, `x86_64`: us-east-1), or holds as JSON for another region.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidQuery`](crate::ErrorKind::InvalidQuery) for anything else.
    pub fn named(text: &str) -> Result<Self> {
        match text.trim() {
            "arm64" => Ok(US_EAST_1_ARM64),
            "x86_64" => Ok(US_EAST_1_X86_64),
            json => serde_json::from_str(json)
                .map_err(|e| Error::invalid(format!("prices are 'arm64', 'x86_64', or a table in JSON: {e}"))),
        }
    }
}

/// Memory that gives a Lambda function one vCPU, in MB (AWS Lambda developer guide).
pub const MB_PER_VCPU: u64 = 1_769;

/// Lambda time of some invocations: memory × billed duration.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct LambdaUse {
    /// Number of invocations.
    pub requests: u64,
    /// Sum over invocations of memory in MB × billed milliseconds.
    pub mb_ms: u64,
}

impl LambdaUse {
    /// One invocation with `memory_mb` that ran for `elapsed`; billed by the millisecond, rounded up.
    pub fn invocation(memory_mb: u64, elapsed: Duration) -> Self {
        let billed_ms = u64::try_from(elapsed.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
        Self { requests: 1, mb_ms: memory_mb.saturating_mul(billed_ms) }
    }

    /// One invocation as the service bills it.
    pub fn billed(memory_mb: u64, billed_ms: u64) -> Self {
        Self { requests: 1, mb_ms: memory_mb.saturating_mul(billed_ms) }
    }

    /// Adds the use of other invocations.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.mb_ms = self.mb_ms.saturating_add(other.mb_ms);
    }

    /// GB-seconds (1 GB = 1,024 MB, as Lambda bills).
    pub fn gb_seconds(&self) -> f64 {
        self.mb_ms as f64 / 1_024.0 / 1_000.0
    }
}

/// S3 requests by price class.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct S3Use {
    /// GET and HEAD requests.
    pub gets: u64,
    /// PUT, POST and LIST requests (DELETE is free).
    pub puts: u64,
}

impl PriceTable {
    /// Price of Lambda time and requests.
    pub fn lambda(&self, used: LambdaUse) -> NanoDollars {
        let time_e13 = u128::from(used.mb_ms) * u128::from(self.lambda_gb_second_e13) / (1_024 * 1_000);
        let time = u64::try_from(time_e13 / 10_000).unwrap_or(u64::MAX);
        NanoDollars(time.saturating_add(used.requests.saturating_mul(self.lambda_request.0)))
    }

    /// Price of S3 requests.
    pub fn s3(&self, used: S3Use) -> NanoDollars {
        NanoDollars(used.gets.saturating_mul(self.s3_get.0).saturating_add(used.puts.saturating_mul(self.s3_put.0)))
    }

    /// What Athena charges for a query that scans `bytes`.
    pub fn athena(&self, bytes: u64) -> NanoDollars {
        let billed = u128::from(bytes.max(self.athena_min_bytes));
        NanoDollars(u64::try_from(billed * u128::from(self.athena_tb.0) / 1_000_000_000_000).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_price_of_one_gb_hour() {
        let used = LambdaUse::invocation(1_024, Duration::from_secs(3_600));
        assert_eq!(used.gb_seconds(), 3_600.0);
        // 3,600 × $0.0000133334 + one request.
        assert_eq!(US_EAST_1_ARM64.lambda(used), NanoDollars(48_000_240 + 200));
    }

    #[test]
    fn tables_are_named_or_given() -> Result<()> {
        assert_eq!(PriceTable::named("x86_64")?, US_EAST_1_X86_64);
        let own = serde_json::to_string(&PriceTable { label: "ours".into(), ..US_EAST_1_ARM64 }).unwrap_or_default();
        assert_eq!(PriceTable::named(&own)?.label, "ours");
        assert!(PriceTable::named("mips").is_err());
        Ok(())
    }

    #[test]
    fn part_of_a_millisecond_is_billed_whole() {
        assert_eq!(LambdaUse::invocation(100, Duration::from_micros(1)).mb_ms, 100);
        assert_eq!(LambdaUse::invocation(100, Duration::from_micros(1_001)).mb_ms, 200);
    }

    #[test]
    fn athena_has_a_minimum() {
        assert_eq!(US_EAST_1_ARM64.athena(0), NanoDollars(50_000));
        assert_eq!(US_EAST_1_ARM64.athena(1_000_000_000_000), NanoDollars(5_000_000_000));
    }

    #[test]
    fn s3_price_and_display() {
        let price = US_EAST_1_ARM64.s3(S3Use { gets: 1_000_000, puts: 1_000_000 });
        assert_eq!(price.to_string(), "$5.400000");
    }
}
