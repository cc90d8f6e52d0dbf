//! Compares results: floats to a relative 1e-9, everything else exactly; without an order, as multisets.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Rows as text, floats with all digits.
pub fn rows(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("a printable type"))
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
        }
    }
    rows
}

/// Which columns are floats.
pub fn float_columns(batches: &[RecordBatch]) -> Vec<bool> {
    batches.first().map_or_else(Vec::new, |batch| {
        batch.columns().iter().map(|column| matches!(column.data_type(), DataType::Float32 | DataType::Float64)).collect()
    })
}

/// Says how `got` differs from `expected`, if it does.
pub fn difference(expected: &[RecordBatch], got: &[RecordBatch], ordered: bool) -> Option<String> {
    let floats = float_columns(expected);
    let (mut expected, mut got) = (rows(expected), rows(got));
    if expected.len() != got.len() {
        return Some(format!("{} rows instead of {}", got.len(), expected.len()));
    }
    if !ordered {
        // Floats last: their last digits must not decide the order.
        let key = |row: &Vec<String>| {
            let exact: Vec<String> =
                row.iter().zip(&floats).filter(|(_, float)| !**float).map(|(value, _)| value.clone()).collect();
            let rounded: Vec<String> =
                row.iter().zip(&floats).filter(|(_, float)| **float).map(|(value, _)| round(value)).collect();
            (exact, rounded)
        };
        expected.sort_by_cached_key(key);
        got.sort_by_cached_key(key);
    }
    expected.iter().zip(&got).enumerate().find_map(|(number, (expected, got))| {
        let same = expected.len() == got.len()
            && expected
                .iter()
                .zip(got)
                .enumerate()
                .all(|(column, (a, b))| a == b || (floats.get(column).copied().unwrap_or(false) && close(a, b)));
        (!same).then(|| format!("row {number}: {got:?} instead of {expected:?}"))
    })
}

fn round(value: &str) -> String {
    value.parse::<f64>().map_or_else(|_| value.to_string(), |number| format!("{number:.6e}"))
}

fn close(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array};
    use std::sync::Arc;

    fn batch(ints: Vec<i64>, floats: Vec<f64>) -> Vec<RecordBatch> {
        let columns: Vec<(&str, ArrayRef)> =
            vec![("i", Arc::new(Int64Array::from(ints))), ("f", Arc::new(Float64Array::from(floats)))];
        vec![RecordBatch::try_from_iter(columns).expect("a batch")]
    }

    #[test]
    fn floats_are_close_and_the_rest_is_exact() {
        let one = batch(vec![1, 2], vec![1.0, 2.0]);
        assert_eq!(difference(&one, &batch(vec![2, 1], vec![2.0 + 1e-12, 1.0]), false), None);
        assert!(difference(&one, &batch(vec![2, 1], vec![2.0, 1.0]), true).is_some());
        assert!(difference(&one, &batch(vec![1, 2], vec![1.0, 2.00001]), false).is_some());
        assert!(difference(&one, &batch(vec![1, 3], vec![1.0, 2.0]), false).is_some());
        assert!(difference(&one, &batch(vec![1], vec![1.0]), false).is_some());
    }
}
