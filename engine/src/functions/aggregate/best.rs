//! `max_by`, `min_by` and the forms of `max` and `min` that return the best n.

use super::nan::WithoutNan;
use super::{Aggregate, Args, elements, list_value};
use crate::functions::nested::{NanOrder, check_count, converter, keys_with, list_of};
use arrow::array::{Array, ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, FieldRef};
use arrow::row::RowConverter;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
    Volatility,
};
use std::sync::Arc;

/// The most values that `max_by(x, y, n)` and `max(x, n)` return, as in Trino.
const MAX_COUNT: usize = 10_000;

/// `max_by` and `min_by`.
pub(super) fn all() -> Vec<Aggregate> {
    vec![
        Aggregate::new("max_by", by_types, by_result, by_states, |args| make_by(args, true)),
        Aggregate::new("min_by", by_types, by_result, by_states, |args| make_by(args, false)),
    ]
}

/// `max` and `min`: DataFusion's with one argument, ours with a count and of arrays and rows.
pub(super) fn with_extremes() -> impl Iterator<Item = Arc<AggregateUDF>> {
    let both = [(max_udaf(), true), (min_udaf(), false)];
    both.into_iter().map(|(inner, largest)| {
        let several = match largest {
            true => Aggregate::new("max", n_types, n_result, n_states, |args| make_n(args, true)),
            false => Aggregate::new("min", n_types, n_result, n_states, |args| make_n(args, false)),
        };
        let nested = match largest {
            true => Aggregate::new("max", one_type, one_result, n_states, |args| make_one(args, true)),
            false => Aggregate::new("min", one_type, one_result, n_states, |args| make_one(args, false)),
        };
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Extreme { inner, several, nested, signature }))
    })
}

fn by_types(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=3)?;
    Ok(types.to_vec())
}

fn by_result(types: &[DataType]) -> Result<DataType> {
    Ok(if types.len() > 2 { list_of(types[0].clone()) } else { types[0].clone() })
}

fn by_states(types: &[DataType]) -> Result<Vec<DataType>> {
    Ok(types[..2].iter().cloned().map(list_of).collect())
}

fn n_types(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    match types[1].is_integer() {
        true => Ok(vec![types[0].clone(), DataType::Int64]),
        false => plan_err!("the second argument must be a count, not {}", types[1]),
    }
}

fn n_result(types: &[DataType]) -> Result<DataType> {
    Ok(list_of(types[0].clone()))
}

fn n_states(types: &[DataType]) -> Result<Vec<DataType>> {
    Ok(vec![list_of(types[0].clone())])
}

fn one_type(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    // Maps have no order.
    converter(&types[0])?;
    Ok(types.to_vec())
}

fn one_result(types: &[DataType]) -> Result<DataType> {
    Ok(types[0].clone())
}

fn make_one(args: &Args<'_>, largest: bool) -> Result<Box<dyn Accumulator>> {
    Ok(Box::new(Best::new(&args.types[..1], largest, None, args.result)?))
}

fn make_by(args: &Args<'_>, largest: bool) -> Result<Box<dyn Accumulator>> {
    let limit = if args.types.len() > 2 { Some(args.count(2, MAX_COUNT)?) } else { None };
    Ok(Box::new(Best::new(&args.types[..2], largest, limit, args.result)?))
}

fn make_n(args: &Args<'_>, largest: bool) -> Result<Box<dyn Accumulator>> {
    let limit = Some(args.count(1, MAX_COUNT)?);
    Ok(Box::new(Best::new(&args.types[..1], largest, limit, args.result)?))
}

/// One of the best rows: its key as bytes and its values.
#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    values: Vec<ScalarValue>,
}

/// The best rows so far, best first; of equals, the first that came. The last of a row's values is its key.
#[derive(Debug)]
struct Best {
    types: Vec<DataType>,
    largest: bool,
    limit: Option<usize>,
    converter: RowConverter,
    entries: Vec<Entry>,
    result: DataType,
}

impl Best {
    fn new(types: &[DataType], largest: bool, limit: Option<usize>, result: &DataType) -> Result<Self> {
        let Some(key) = types.last() else {
            return exec_err!("an argument is missing");
        };
        let converter = converter(key)?;
        Ok(Self { types: types.to_vec(), largest, limit, converter, entries: Vec::new(), result: result.clone() })
    }

    fn better(&self, left: &[u8], right: &[u8]) -> bool {
        if self.largest { left > right } else { left < right }
    }

    fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let Some(keys) = columns.get(self.types.len() - 1) else {
            return exec_err!("a column is missing");
        };
        // NaN is never the best, unless it is alone.
        let nan = if self.largest { NanOrder::Smallest } else { NanOrder::Largest };
        let rows = keys_with(&self.converter, keys, nan)?;
        let limit = self.limit.unwrap_or(1);
        let mut known = (0..keys.len()).filter(|row| keys.is_valid(*row));
        if limit == 1 {
            let first = known.next();
            let best = first.map(|first| {
                known.fold(
                    first,
                    |best, row| {
                        if self.better(rows.row(row).as_ref(), rows.row(best).as_ref()) { row } else { best }
                    },
                )
            });
            return best.map_or(Ok(()), |row| self.insert(columns, row, rows.row(row).as_ref(), limit));
        }
        known.try_for_each(|row| self.insert(columns, row, rows.row(row).as_ref(), limit))
    }

    fn insert(&mut self, columns: &[ArrayRef], row: usize, key: &[u8], limit: usize) -> Result<()> {
        if self.entries.len() >= limit && self.entries.last().is_some_and(|last| !self.better(key, &last.key)) {
            return Ok(());
        }
        let place = self.entries.partition_point(|entry| !self.better(key, &entry.key));
        let values = columns.iter().take(self.types.len()).map(|column| ScalarValue::try_from_array(column, row));
        let mut values = values.collect::<Result<Vec<_>>>()?;
        // A value must not hold on to the batch that it came from.
        values.iter_mut().for_each(ScalarValue::compact);
        self.entries.insert(place, Entry { key: key.into(), values });
        self.entries.truncate(limit);
        Ok(())
    }

    fn column(&self, index: usize) -> Result<ArrayRef> {
        match self.entries.is_empty() {
            true => Ok(new_empty_array(&self.types[index])),
            false => ScalarValue::iter_to_array(self.entries.iter().map(|entry| entry.values[index].clone())),
        }
    }
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match (self.entries.first(), self.limit) {
            (None, _) => ScalarValue::try_from(&self.result),
            (Some(first), None) => Ok(first.values[0].clone()),
            (Some(_), Some(_)) => Ok(list_value(self.column(0)?)),
        }
    }

    fn size(&self) -> usize {
        let entry = |entry: &Entry| entry.key.len() + ScalarValue::size_of_vec(&entry.values);
        size_of_val(self)
            + self.converter.size()
            + self.entries.capacity() * size_of::<Entry>()
            + self.entries.iter().map(entry).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        (0..self.types.len()).map(|index| Ok(list_value(self.column(index)?))).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let columns = states.iter().map(elements).collect::<Result<Vec<_>>>()?;
        self.add(&columns)
    }
}

/// `max` or `min`, which all goes to DataFusion's unless there is a count or a nested value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: Arc<AggregateUDF>,
    several: Aggregate,
    nested: Aggregate,
    signature: Signature,
}

impl Extreme {
    fn of<'a>(&self, mut types: impl ExactSizeIterator<Item = &'a DataType>) -> &dyn AggregateUDFImpl {
        match types.len() {
            2.. => &self.several,
            _ if types.next().is_some_and(DataType::is_nested) => &self.nested,
            _ => self.inner.inner().as_ref(),
        }
    }

    fn of_fields(&self, fields: &[FieldRef]) -> &dyn AggregateUDFImpl {
        self.of(fields.iter().map(|field| field.data_type()))
    }
}

/// The type of the one argument if it may be NaN.
fn floating(args: &AccumulatorArgs<'_>) -> Option<DataType> {
    match args.expr_fields {
        [value] if value.data_type().is_floating() => Some(value.data_type().clone()),
        _ => None,
    }
}

fn wrapped(inner: Box<dyn Accumulator>, of: Option<DataType>) -> Box<dyn Accumulator> {
    match of {
        Some(of) => Box::new(WithoutNan::new(inner, of)),
        None => inner,
    }
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.of(types.iter()).coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of(types.iter()).return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.of_fields(fields).return_field(fields)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = floating(&args);
        let inner = self.of_fields(args.expr_fields).accumulator(args)?;
        Ok(wrapped(inner, of))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of_fields(args.input_fields).state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.of_fields(args.expr_fields).groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let of = floating(&args);
        let inner = self.of_fields(args.expr_fields).create_groups_accumulator(args)?;
        match of {
            Some(of) => Ok(Box::new(WithoutNan::new(inner, of))),
            None => Ok(inner),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = floating(&args);
        let inner = self.of_fields(args.expr_fields).create_sliding_accumulator(args)?;
        Ok(wrapped(inner, of))
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        if args.exprs.len() > 1 { None } else { self.inner.value_from_stats(args) }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn set_monotonicity(&self, of: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(of)
    }
}
