//! DataFusion's accumulators with other types on the outside: what goes in is changed before, what comes out is cast after.

use crate::functions::nested::{NanOrder, converter, keys_with};
use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::row::RowConverter;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use std::sync::Arc;

/// How values go in.
#[derive(Debug)]
pub(super) enum Before {
    /// As they are.
    Same,
    /// As another type.
    Cast(DataType),
    /// As bytes that are equal if the values are.
    Bytes(RowConverter),
}

impl Before {
    /// As comparable bytes of values of type `of`.
    pub(super) fn bytes(of: &DataType) -> Result<Self> {
        Ok(Self::Bytes(converter(of)?))
    }

    /// The first argument, changed; others are not for the inner accumulator.
    fn change(&self, values: &[ArrayRef]) -> Result<[ArrayRef; 1]> {
        let [first, ..] = values else {
            return datafusion::common::exec_err!("an argument is missing");
        };
        match self {
            Self::Same => Ok([Arc::clone(first)]),
            Self::Cast(to) => Ok([cast(first, to)?]),
            Self::Bytes(converter) => {
                let (offsets, bytes, _) = keys_with(converter, first, NanOrder::Largest)?.try_into_binary()?.into_parts();
                // The bytes of NULL are bytes too, so that the nulls must be said again.
                Ok([Arc::new(BinaryArray::try_new(offsets, bytes, first.logical_nulls())?)])
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Bytes(converter) => converter.size(),
            _ => 0,
        }
    }
}

/// An accumulator (of one group or of many) with other types on the outside.
#[derive(Debug)]
pub(super) struct Adapted<A> {
    /// The accumulator inside.
    pub(super) inner: A,
    /// How values go in.
    pub(super) before: Before,
    /// The type of the result.
    pub(super) after: DataType,
}

impl Accumulator for Adapted<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&self.before.change(values)?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&self.before.change(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()?.cast_to(&self.after)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size() + self.before.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }
}

impl GroupsAccumulator for Adapted<Box<dyn GroupsAccumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.inner.update_batch(&self.before.change(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(cast(&self.inner.evaluate(emit)?, &self.after)?)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&self.before.change(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size() + self.before.size()
    }
}
