//! The value of a scalar subquery from the values of all its rows, of which there is one at the most.

use super::Functions;
use super::define::{Arg, Call, Typing, define};
use arrow::array::{Array, ArrayRef, AsArray, UInt64Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};

/// Name of the function of a list with at most one element that gives the element, or NULL.
pub const ONLY: &str = "owlet_only";

fn element_type(typing: &Typing<'_>) -> Result<DataType> {
    match typing.kind(0) {
        DataType::List(item) => Ok(item.data_type().clone()),
        other => plan_err!("{ONLY} takes a list, not {other}"),
    }
}

fn only(call: &Call<'_>) -> Result<ArrayRef> {
    let input = call.input(0)?;
    let Some(lists) = input.array.as_list_opt::<i32>() else { return exec_err!("{ONLY} takes a list") };
    let mut places = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let row = if input.constant { 0 } else { row };
        let (start, length) = (lists.value_offsets().get(row).copied().unwrap_or_default(), lists.value_length(row));
        places.push(match length {
            _ if lists.is_null(row) => None,
            0 => None,
            1 => u64::try_from(start).ok(),
            _ => return exec_err!("SUBQUERY_MULTIPLE_ROWS: Scalar sub-query has returned multiple rows"),
        });
    }
    if lists.values().is_empty() {
        return Ok(new_null_array(call.returns, call.rows));
    }
    Ok(take(lists.values(), &UInt64Array::from(places), None)?)
}

/// Adds the function of this file.
pub(super) fn add_to(functions: &mut Functions) {
    functions.scalar.push(define(ONLY).typed(&[Arg::Any], None, element_type, only).udf());
}
