//! `TRY` of any expression, which is the body of a lambda.

use super::{Call, apply};
use crate::functions::attempt::halved;
use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::{cast, take};
use datafusion::common::Result;

/// `owlet_attempt(1, x -> body)`: the body with NULL for the rows that it fails for.
pub(super) fn attempt(call: &Call<'_>) -> Result<ArrayRef> {
    let run = |start: usize, length: usize| {
        let rows = UInt64Array::from_iter_values(start as u64..(start + length) as u64);
        let given = take(&call.values[0], &rows, None)?;
        // The type that planning found, which is another spelling of a list's or a map's at times.
        Ok(cast(&apply(call.lambdas[0], &[given], &rows)?, call.result)?)
    };
    halved(&run, call.result, 0, call.rows)
}
