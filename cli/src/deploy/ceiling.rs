//! What a deployment can cost at most: every function busy all month.

use super::Parameters;
use crate::figures::count;
use engine::cost::{LambdaUse, NanoDollars, PriceTable};

/// Hours of a month, as AWS counts them.
const MONTH_HOURS: u64 = 730;
const HOUR_MS: u64 = 3_600_000;
/// What functions are built for when nothing says so, as the template has it.
const USUAL_ARCHITECTURE: &str = "arm64";

/// Lines for the ceiling; none when memory, concurrency or prices are not known.
pub(super) fn lines(values: &Parameters) -> Vec<String> {
    let number = |name: &str| values.get(name).and_then(|value| value.parse::<u64>().ok());
    let (Some(memory), Some(concurrency)) = (number("WorkerMemory"), number("WorkerConcurrency")) else { return Vec::new() };
    let named = |name: &str| values.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let Ok(prices) = PriceTable::named(named("Prices").or(named("Architecture")).unwrap_or(USUAL_ARCHITECTURE)) else {
        return Vec::new();
    };
    let workers = monthly(memory, concurrency, &prices);
    let mut parts = vec![format!("workers {} ({} of {} MB)", dollars(workers), count(concurrency), count(memory))];
    let mut total = workers;
    if let (Some(memory), Some(concurrency)) = (number("CoordinatorMemory"), number("CoordinatorConcurrency")) {
        let coordinators = monthly(memory, concurrency, &prices);
        parts.push(format!("coordinators {} ({} of {} MB)", dollars(coordinators), count(concurrency), count(memory)));
        total = total + coordinators;
    }
    let mut lines = vec![format!(
        "ceiling: {} a month if every function is busy in all of its {MONTH_HOURS} hours: {}; {}; \
         requests and stored bytes come on top",
        dollars(total),
        parts.join(", "),
        prices.label,
    )];
    if values.get("ReserveConcurrency").is_some_and(|value| value == "false") {
        lines.push("note: ReserveConcurrency is false, so concurrent queries together may use more than one ceiling".to_owned());
    }
    lines
}

fn monthly(memory_mb: u64, concurrency: u64, prices: &PriceTable) -> NanoDollars {
    let mb_ms = memory_mb.saturating_mul(concurrency).saturating_mul(MONTH_HOURS * HOUR_MS);
    prices.lambda(LambdaUse { requests: 0, mb_ms })
}

/// Whole dollars, rounded up.
fn dollars(price: NanoDollars) -> String {
    format!("${}", count(price.0.div_ceil(1_000_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_memory_times_concurrency_times_a_month() {
        let values =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut all: Parameters = values(&[("WorkerMemory", "1024"), ("WorkerConcurrency", "10")]);
        // 10 GB × 730 × 3,600 s × $0.0000133334 = $350.40.
        assert!(lines(&all).first().is_some_and(|line| line.starts_with("ceiling: $351 a month") && line.contains("arm64")));
        all.extend::<Parameters>(values(&[("Architecture", "x86_64"), ("ReserveConcurrency", "false")]));
        let lines = lines(&all);
        assert!(lines.first().is_some_and(|line| line.starts_with("ceiling: $439 a month")) && lines.len() == 2, "{lines:?}");
    }
}
