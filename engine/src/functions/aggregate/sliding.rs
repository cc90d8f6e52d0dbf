//! Aggregates over a frame that moves: sums and means of doubles as Trino keeps them, `avg`, which is DataFusion's but for that, and
//! functions that cannot take a row out again.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// A sum of the rows of a frame.
///
/// What was added is not always gone when it is subtracted again: NaN and infinities stay, and so do digits lost beside a large
/// number. Trino subtracts only while the sum is finite and more rows stay than go, and begins anew otherwise.
#[derive(Debug, Default)]
pub(super) struct Sliding {
    is_mean: bool,
    frame: VecDeque<Option<f64>>,
    /// Rows at the end of `frame` that are not in `sum` yet.
    added: usize,
    /// Rows that are still in `sum`.
    removed: Vec<Option<f64>>,
    sum: f64,
}

impl Sliding {
    /// The sum, or the mean.
    pub(super) fn new(is_mean: bool) -> Self {
        Self { is_mean, ..Self::default() }
    }

    fn move_on(&mut self) {
        let kept = self.frame.len() - self.added;
        let mut is_kept = kept > self.removed.len() && self.sum.is_finite();
        if is_kept {
            self.removed.iter().flatten().for_each(|value| self.sum -= value);
            is_kept = self.sum.is_finite();
        }
        if !is_kept {
            self.sum = 0.0;
        }
        let new = if is_kept { kept } else { 0 };
        self.frame.iter().skip(new).flatten().for_each(|value| self.sum += value);
        self.added = 0;
        self.removed.clear();
    }
}

fn doubles(values: &[ArrayRef]) -> Result<impl Iterator<Item = Option<f64>>> {
    match values.first().and_then(|values| values.as_primitive_opt::<Float64Type>()) {
        Some(values) => Ok(values.iter()),
        None => exec_err!("expected doubles"),
    }
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let before = self.frame.len();
        self.frame.extend(doubles(values)?);
        self.added += self.frame.len() - before;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let count = values.first().map_or(0, |values| values.len()).min(self.frame.len());
        self.removed.extend(self.frame.drain(..count));
        self.added = self.added.min(self.frame.len());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.move_on();
        let count = self.frame.iter().flatten().count();
        let value = if self.is_mean { self.sum / count as f64 } else { self.sum };
        Ok(ScalarValue::Float64((count > 0).then_some(value)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.frame.capacity() * size_of::<Option<f64>>() + self.removed.capacity() * size_of::<Option<f64>>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a frame of a window has no state")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        exec_err!("frames of windows are not merged")
    }
}

/// Makes an accumulator that has seen nothing.
type Make = Box<dyn Fn() -> Result<Box<dyn Accumulator>> + Send + Sync>;

/// Any aggregate of a frame that moves, of all its rows anew for each frame.
pub(super) struct Anew {
    make: Make,
    /// The arguments of the rows, in pieces.
    frame: VecDeque<Vec<ArrayRef>>,
}

impl Anew {
    /// Of accumulators that `make` makes.
    pub(super) fn new(make: Make) -> Self {
        Self { make, frame: VecDeque::new() }
    }
}

impl fmt::Debug for Anew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anew").field("pieces", &self.frame.len()).finish_non_exhaustive()
    }
}

fn rows_of(columns: &[ArrayRef]) -> usize {
    columns.first().map_or(0, |column| column.len())
}

impl Accumulator for Anew {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.frame.push_back(values.to_vec());
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut left = rows_of(values);
        while left > 0
            && let Some(first) = self.frame.front_mut()
        {
            let rows = rows_of(first);
            if rows > left {
                first.iter_mut().for_each(|column| *column = column.slice(left, rows - left));
                return Ok(());
            }
            left -= rows;
            self.frame.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut inner = (self.make)()?;
        self.frame.iter().try_for_each(|piece| inner.update_batch(piece))?;
        inner.evaluate()
    }

    fn size(&self) -> usize {
        let columns = self.frame.iter().flatten();
        size_of_val(self) + columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a frame of a window has no state")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        exec_err!("frames of windows are not merged")
    }
}

/// `avg`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Avg {
    inner: Arc<AggregateUDF>,
}

impl Avg {
    /// The function.
    pub(super) fn new() -> Self {
        Self { inner: avg_udaf() }
    }
}

impl AggregateUDFImpl for Avg {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let is_double = args.expr_fields.first().is_some_and(|field| *field.data_type() == DataType::Float64);
        if is_double && !args.is_distinct {
            return Ok(Box::new(Sliding::new(true)));
        }
        self.inner.create_sliding_accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Float64Array;

    fn frames(values: &[f64], rows: usize) -> Vec<Option<f64>> {
        let mut sliding = Sliding::new(false);
        let one = |value: f64| [Arc::new(Float64Array::from(vec![value])) as ArrayRef];
        let mut sums = Vec::new();
        for (index, value) in values.iter().enumerate() {
            sliding.update_batch(&one(*value)).unwrap();
            if let Some(first) = index.checked_sub(rows) {
                sliding.retract_batch(&one(values[first])).unwrap();
            }
            sums.push(match sliding.evaluate().unwrap() {
                ScalarValue::Float64(sum) => sum,
                other => panic!("{other}"),
            });
        }
        sums
    }

    #[test]
    fn what_leaves_the_frame_leaves_the_sum() {
        let sums = frames(&[f64::NAN, 1.0, f64::INFINITY, 3.0, 4.0, 5.0], 2);
        assert!(sums[0].is_some_and(f64::is_nan) && sums[1].is_some_and(f64::is_nan));
        assert_eq!(sums[2..], [Some(f64::INFINITY), Some(f64::INFINITY), Some(7.0), Some(9.0)]);
        assert_eq!(frames(&[1e16, 1.0, 2.0], 2), [Some(1e16), Some(1e16 + 1.0), Some(3.0)]);
        // More stay than go: the first is subtracted before the last is added.
        assert_eq!(frames(&[0.1, 0.7, 0.2, 0.4], 3)[3], Some(0.1 + 0.7 + 0.2 - 0.1 + 0.4));
    }
}
