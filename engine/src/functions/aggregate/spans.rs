//! Sums of intervals.

use super::sum::{Whole, numbers, overflow};
use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

/// An addition or a subtraction that may run over.
type Change<T> = fn(
    <T as ArrowPrimitiveType>::Native,
    <T as ArrowPrimitiveType>::Native,
) -> Result<<T as ArrowPrimitiveType>::Native, ArrowError>;

/// The sum of one group of intervals.
#[derive(Debug)]
pub(super) struct Spans<T: Whole> {
    total: T::Native,
    count: i64,
}

impl<T: Whole> Default for Spans<T> {
    fn default() -> Self {
        Self { total: T::default_value(), count: 0 }
    }
}

impl<T: Whole> Spans<T> {
    fn change(&mut self, values: &[ArrayRef], change: Change<T>, sign: i64) -> Result<()> {
        let values = numbers::<T>(values)?;
        for value in values.iter().flatten() {
            match change(self.total, value) {
                Ok(total) => self.total = total,
                Err(_) => return overflow(&T::DATA_TYPE),
            }
        }
        self.count += sign * (values.len() - values.null_count()) as i64;
        Ok(())
    }
}

impl<T: Whole> Accumulator for Spans<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, T::Native::add_checked, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, T::Native::sub_checked, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::new_primitive::<T>((self.count > 0).then_some(self.total), &T::DATA_TYPE)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
