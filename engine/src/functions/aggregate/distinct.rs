//! `DISTINCT` for any of our aggregates: keeps the different rows and accumulates them at the end.

use super::{elements, list_value};
use crate::functions::aggregate::collect::{Keep, Store};
use crate::functions::nested::list_of;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

/// One list for each argument.
pub(super) fn states(types: &[DataType]) -> Vec<DataType> {
    types.iter().cloned().map(list_of).collect()
}

/// The different rows so far, for an accumulator that has seen `done` of them.
#[derive(Debug)]
pub(super) struct Distinct {
    rows: Store,
    done: usize,
    inner: Box<dyn Accumulator>,
}

impl Distinct {
    /// Different rows of arguments of `types` for `inner`.
    pub(super) fn new(types: &[DataType], inner: Box<dyn Accumulator>) -> Result<Self> {
        Ok(Self { rows: Store::new(types, types.len(), Keep::First)?, done: 0, inner })
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.rows.add(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let columns = self.rows.columns()?;
        let total = columns.first().map_or(0, |column| column.len());
        let new: Vec<_> = columns.iter().map(|column| column.slice(self.done, total - self.done)).collect();
        self.inner.update_batch(&new)?;
        self.done = total;
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.size() + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(self.rows.columns()?.into_iter().map(list_value).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.rows.add(&states.iter().map(elements).collect::<Result<Vec<_>>>()?)
    }
}
