//! `reduce`: a state carried along the elements, in step for all rows of a batch.

use super::{Call, Parameters, apply, item};
use crate::functions::nested::Lists;
use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use std::sync::Arc;

/// The state is at first of the given type, then of the type that the first lambda makes.
pub(super) fn parameters(given: &[DataType], made: &[Option<DataType>]) -> Result<Parameters> {
    let item = item(&given[0])?;
    match made.first() {
        Some(Some(state)) => Ok(vec![Some(vec![state.clone(), item]), Some(vec![state.clone()])]),
        _ => Ok(vec![Some(vec![given[1].clone(), item]), None]),
    }
}

/// `reduce(array, state, (state, element) -> state, state -> result)`.
pub(super) fn reduce(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = Lists::new(&call.values[0])?;
    // Longest first, so that the rows which still have elements are always the first ones.
    let mut order: Vec<usize> = (0..call.rows).filter(|row| !lists.is_null(*row)).collect();
    order.sort_by_key(|row| std::cmp::Reverse(lists.count(*row)));
    let rows: UInt64Array = order.iter().map(|row| Some(*row as u64)).collect();
    let mut state = take(&call.values[1], &rows, None)?;
    let mut finished = Vec::new();
    let longest = order.first().map_or(0, |row| lists.count(*row));
    for step in 0..longest {
        let active = order.partition_point(|row| lists.count(*row) > step);
        finished.push(state.slice(active, state.len() - active));
        let places: UInt64Array = order[..active].iter().map(|row| Some((lists.range(*row).start + step) as u64)).collect();
        let elements = take(&lists.values, &places, None)?;
        let before = state.slice(0, active);
        let after = apply(call.lambdas[0], &[Arc::clone(&before), elements], &rows.slice(0, active))?;
        state = if after.data_type() == before.data_type() { after } else { cast(&after, before.data_type())? };
    }
    finished.push(state);
    let parts: Vec<&dyn Array> = finished.iter().rev().map(AsRef::as_ref).collect();
    let results = apply(call.lambdas[1], &[concat(&parts)?], &rows)?;
    let mut back = vec![None; call.rows];
    for (index, row) in order.iter().enumerate() {
        back[*row] = Some(index as u64);
    }
    match results.is_empty() {
        true => Ok(arrow::array::new_null_array(call.result, call.rows)),
        false => Ok(take(&results, &UInt64Array::from(back), None)?),
    }
}
