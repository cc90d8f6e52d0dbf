//! `max` and `min` of floating-point numbers: NaN counts only where there is nothing else.
//!
//! DataFusion's answer depends on the order of rows once there is a NaN, so that it never sees one: NaN goes in as NULL, and
//! comes out where the result would be NULL.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::compute::{is_null, nullif};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use std::sync::Arc;

/// An accumulator (of one group or of many) that never sees NaN.
#[derive(Debug)]
pub(super) struct WithoutNan<A> {
    inner: A,
    of: DataType,
    /// How many NaN each group has, for the groups up to the last that has any.
    counts: Vec<i64>,
}

impl<A> WithoutNan<A> {
    /// For numbers of type `of`.
    pub(super) fn new(inner: A, of: DataType) -> Self {
        Self { inner, of, counts: Vec::new() }
    }

    fn count(&mut self, group: usize, change: i64) {
        if self.counts.len() <= group {
            self.counts.resize(group + 1, 0);
        }
        self.counts[group] += change;
    }
}

/// Which values are NaN, if any.
fn nans(values: &ArrayRef) -> Option<BooleanArray> {
    fn of<T: ArrowPrimitiveType>(values: &ArrayRef, is_nan: impl Fn(T::Native) -> bool) -> Option<BooleanArray> {
        let values = values.as_primitive_opt::<T>()?;
        // What is under a NULL may be anything, but it costs only time here.
        if !values.values().iter().any(|value| is_nan(*value)) {
            return None;
        }
        Some(BooleanArray::from_unary(values, is_nan))
    }
    match values.data_type() {
        DataType::Float64 => of::<Float64Type>(values, f64::is_nan),
        DataType::Float32 => of::<Float32Type>(values, f32::is_nan),
        _ => None,
    }
}

/// The values with NULL for NaN.
fn without(values: &ArrayRef, nans: &BooleanArray) -> Result<[ArrayRef; 1]> {
    Ok([nullif(values, nans)?])
}

fn trues(nans: &BooleanArray) -> impl Iterator<Item = usize> {
    (0..nans.len()).filter(|row| nans.is_valid(*row) && nans.value(*row))
}

fn nan(of: &DataType) -> Result<ScalarValue> {
    ScalarValue::Float64(Some(f64::NAN)).cast_to(of)
}

impl WithoutNan<Box<dyn Accumulator>> {
    fn change(&mut self, values: &[ArrayRef], sign: i64) -> Result<Option<[ArrayRef; 1]>> {
        let Some((values, nans)) = values.first().and_then(|values| Some((values, nans(values)?))) else {
            return Ok(None);
        };
        self.count(0, sign * trues(&nans).count() as i64);
        Ok(Some(without(values, &nans)?))
    }

    fn result(&mut self) -> Result<ScalarValue> {
        let result = self.inner.evaluate()?;
        let any = self.counts.first().is_some_and(|count| *count > 0);
        if result.is_null() && any { nan(&self.of) } else { Ok(result) }
    }
}

impl Accumulator for WithoutNan<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match self.change(values, 1)? {
            Some(changed) => self.inner.update_batch(&changed),
            None => self.inner.update_batch(values),
        }
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match self.change(values, -1)? {
            Some(changed) => self.inner.retract_batch(&changed),
            None => self.inner.retract_batch(values),
        }
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.result()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.result()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        match self.change(states, 1)? {
            Some(changed) => self.inner.merge_batch(&changed),
            None => self.inner.merge_batch(states),
        }
    }
}

impl WithoutNan<Box<dyn GroupsAccumulator>> {
    fn change(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<Option<[ArrayRef; 1]>> {
        let Some((values, nans)) = values.first().and_then(|values| Some((values, nans(values)?))) else {
            return Ok(None);
        };
        for row in trues(&nans) {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.count(groups[row], 1);
            }
        }
        Ok(Some(without(values, &nans)?))
    }

    /// NaN where the result is NULL and the group has one.
    fn restore(&mut self, result: ArrayRef, emit: EmitTo) -> Result<ArrayRef> {
        if self.counts.is_empty() {
            return Ok(result);
        }
        let emitted = result.len().min(self.counts.len());
        let counts: Vec<i64> = match emit {
            EmitTo::All => std::mem::take(&mut self.counts),
            EmitTo::First(_) => self.counts.drain(..emitted).collect(),
        };
        let has = |row: usize| counts.get(row).is_some_and(|count| *count > 0);
        let nulls = is_null(&result)?;
        let lost: BooleanArray = (0..result.len()).map(|row| Some(nulls.value(row) && has(row))).collect();
        fn fill<T: ArrowPrimitiveType>(result: &ArrayRef, lost: &BooleanArray, nan: T::Native) -> ArrayRef {
            let values = result.as_primitive::<T>();
            let one = |row: usize| if lost.value(row) { Some(nan) } else { values.is_valid(row).then(|| values.value(row)) };
            Arc::new((0..values.len()).map(one).collect::<PrimitiveArray<T>>())
        }
        match result.data_type() {
            DataType::Float64 => Ok(fill::<Float64Type>(&result, &lost, f64::NAN)),
            DataType::Float32 => Ok(fill::<Float32Type>(&result, &lost, f32::NAN)),
            _ => Ok(result),
        }
    }
}

impl GroupsAccumulator for WithoutNan<Box<dyn GroupsAccumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        match self.change(values, groups, filter)? {
            Some(changed) => self.inner.update_batch(&changed, groups, filter, total),
            None => self.inner.update_batch(values, groups, filter, total),
        }
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let result = self.inner.evaluate(emit)?;
        self.restore(result, emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        match self.change(states, groups, None)? {
            Some(changed) => self.inner.merge_batch(&changed, groups, total),
            None => self.inner.merge_batch(states, groups, total),
        }
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size() + self.counts.capacity() * size_of::<i64>()
    }
}
