//! `sum` as in Trino: of whole numbers a bigint or an error, of decimals one of 38 digits or an error, of real a real; the rest is DataFusion's.

use super::adapt::{Adapted, Before};
use super::sliding::Sliding;
use super::spans::Spans;
use crate::functions::define::{DAY_TIME, YEAR_MONTH};
use crate::functions::nested::list_of;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, DurationMillisecondType, Field, FieldRef, Int64Type, IntervalYearMonthType};
use datafusion::common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};
use std::collections::HashSet;
use std::sync::Arc;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

impl Sum {
    /// The function.
    pub(super) fn new() -> Self {
        Self { inner: sum_udaf(), signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn is(field: Option<&FieldRef>, of: &DataType) -> bool {
    field.is_some_and(|field| field.data_type() == of)
}

/// The arguments as DataFusion's `sum` shall see them: a real as a double.
fn with_double<T>(args: AccumulatorArgs<'_>, then: impl FnOnce(AccumulatorArgs<'_>) -> Result<T>) -> Result<T> {
    if !is(args.expr_fields.first(), &DataType::Float32) {
        return then(args);
    }
    let field = Arc::new(Field::new("", DataType::Float64, true)) as FieldRef;
    let fields = [Arc::clone(&field)];
    then(AccumulatorArgs { return_field: field, expr_fields: &fields, ..args })
}

fn before(args: &AccumulatorArgs<'_>) -> Before {
    match is(args.expr_fields.first(), &DataType::Float32) {
        true => Before::Cast(DataType::Float64),
        false => Before::Same,
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [of] = types else {
            return plan_err!("sum expects one argument");
        };
        let value = match of {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        match value {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Null => Ok(vec![DataType::Int64]),
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Ok(vec![DataType::Int64]),
            DataType::Float16 => Ok(vec![DataType::Float32]),
            DataType::UInt64 | DataType::Float32 | DataType::Float64 => Ok(vec![value.clone()]),
            decimal if decimal.is_decimal() => Ok(vec![decimal.clone()]),
            &DAY_TIME | &YEAR_MONTH => Ok(vec![value.clone()]),
            other => plan_err!("sum expects numbers or intervals, not {other}"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Float32] => Ok(DataType::Float32),
            [DataType::Decimal128(_, scale)] => Ok(DataType::Decimal128(38, *scale)),
            [interval @ (DAY_TIME | YEAR_MONTH)] => Ok(interval.clone()),
            _ => self.inner.return_type(types),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if is(args.input_fields.first(), &DataType::Int64) && args.is_distinct {
            let name = format_state_name(args.name, "sum distinct");
            return Ok(vec![Arc::new(Field::new(name, list_of(DataType::Int64), true))]);
        }
        match is(args.input_fields.first(), &DataType::Float32) {
            true => {
                let return_field = Arc::new(Field::new("", DataType::Float64, true));
                self.inner.state_fields(StateFieldsArgs { return_field, ..args })
            }
            false => self.inner.state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if is(args.expr_fields.first(), &DataType::Int64) {
            return match args.is_distinct {
                true => Ok(Box::new(DifferentBigints::default())),
                false => Ok(Box::new(Bigints::default())),
            };
        }
        match (args.return_field.data_type(), args.is_distinct) {
            (of @ DataType::Decimal128(..), false) => return Ok(Box::new(Decimals::new(of.clone()))),
            (&DAY_TIME | &YEAR_MONTH, true) => return not_impl_err!("sum(DISTINCT ..) of intervals"),
            (&DAY_TIME, false) => return Ok(Box::new(Spans::<DurationMillisecondType>::default())),
            (&YEAR_MONTH, false) => return Ok(Box::new(Spans::<IntervalYearMonthType>::default())),
            _ => {}
        }
        let (before, after) = (before(&args), args.return_field.data_type().clone());
        let inner = with_double(args, |args| self.inner.accumulator(args))?;
        match before {
            Before::Same => Ok(inner),
            before => Ok(Box::new(Adapted { inner, before, after })),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let is_own = matches!(args.return_field.data_type(), DataType::Decimal128(..) | &DAY_TIME | &YEAR_MONTH);
        if is_own && !args.is_distinct || is(args.expr_fields.first(), &DataType::Int64) {
            return self.accumulator(args);
        }
        let (before, after) = (before(&args), args.return_field.data_type().clone());
        let is_double = matches!(after, DataType::Float64 | DataType::Float32) && !args.is_distinct;
        let inner: Box<dyn Accumulator> = match is_double {
            true => Box::new(Sliding::new(false)),
            false => with_double(args, |args| self.inner.create_sliding_accumulator(args))?,
        };
        match before {
            Before::Same => Ok(inner),
            before => Ok(Box::new(Adapted { inner, before, after })),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if is(args.expr_fields.first(), &DataType::Int64) {
            return Ok(Box::new(Grouped::<Int64Type>::new(DataType::Int64)));
        }
        if matches!(args.return_field.data_type(), DataType::Decimal128(..)) {
            return Ok(Box::new(Grouped::<Decimal128Type>::new(args.return_field.data_type().clone())));
        }
        match *args.return_field.data_type() {
            DAY_TIME => return Ok(Box::new(Grouped::<DurationMillisecondType>::new(DAY_TIME))),
            YEAR_MONTH => return Ok(Box::new(Grouped::<IntervalYearMonthType>::new(YEAR_MONTH))),
            _ => {}
        }
        let (before, after) = (before(&args), args.return_field.data_type().clone());
        let inner = with_double(args, |args| self.inner.create_groups_accumulator(args))?;
        match before {
            Before::Same => Ok(inner),
            before => Ok(Box::new(Adapted { inner, before, after })),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Numbers whose sums may run over.
pub(super) trait Whole: ArrowPrimitiveType + std::fmt::Debug {
    /// The sum, and whether the machine's number ran over.
    fn plus(left: Self::Native, right: Self::Native) -> (Self::Native, bool);
    /// Whether a sum is one of the type.
    fn fits(sum: Self::Native) -> bool;
}

impl Whole for Int64Type {
    fn plus(left: i64, right: i64) -> (i64, bool) {
        left.overflowing_add(right)
    }

    fn fits(_: i64) -> bool {
        true
    }
}

impl Whole for DurationMillisecondType {
    fn plus(left: i64, right: i64) -> (i64, bool) {
        left.overflowing_add(right)
    }

    fn fits(_: i64) -> bool {
        true
    }
}

impl Whole for IntervalYearMonthType {
    fn plus(left: i32, right: i32) -> (i32, bool) {
        left.overflowing_add(right)
    }

    fn fits(_: i32) -> bool {
        true
    }
}

impl Whole for Decimal128Type {
    fn plus(left: i128, right: i128) -> (i128, bool) {
        left.overflowing_add(right)
    }

    fn fits(sum: i128) -> bool {
        sum.unsigned_abs() < DECIMAL_END
    }
}

/// The first number with more digits than a decimal has.
const DECIMAL_END: u128 = 10_u128.pow(38);

pub(super) fn overflow<T>(of: &DataType) -> Result<T> {
    match of {
        DataType::Decimal128(..) => exec_err!("Decimal overflow"),
        &DAY_TIME | &YEAR_MONTH => exec_err!("interval addition overflow"),
        _ => exec_err!("bigint addition overflow"),
    }
}

pub(super) fn numbers<T: Whole>(columns: &[ArrayRef]) -> Result<&PrimitiveArray<T>> {
    match columns.first().and_then(|column| column.as_primitive_opt::<T>()) {
        Some(values) => Ok(values),
        None => exec_err!("sum: expected values of {}", T::DATA_TYPE),
    }
}

fn bigints(columns: &[ArrayRef]) -> Result<&Int64Array> {
    numbers(columns)
}

/// The sum of one group of decimals.
#[derive(Debug)]
struct Decimals {
    of: DataType,
    total: i128,
    count: i64,
}

impl Decimals {
    fn new(of: DataType) -> Self {
        Self { of, total: 0, count: 0 }
    }

    fn change(&mut self, values: &[ArrayRef], change: fn(i128, i128) -> Option<i128>, sign: i64) -> Result<()> {
        let values = numbers::<Decimal128Type>(values)?;
        for value in values.iter().flatten() {
            match change(self.total, value) {
                Some(total) => self.total = total,
                None => return overflow(&self.of),
            }
        }
        self.count += sign * (values.len() - values.null_count()) as i64;
        Ok(())
    }
}

impl Accumulator for Decimals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, i128::checked_add, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, i128::checked_sub, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if !Decimal128Type::fits(self.total) {
            return overflow(&self.of);
        }
        match self.of {
            DataType::Decimal128(digits, scale) => {
                Ok(ScalarValue::Decimal128((self.count > 0).then_some(self.total), digits, scale))
            }
            _ => exec_err!("sum: expected a decimal as result"),
        }
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

/// The exact sum of a batch. Halves are added apart: they cannot overflow, and the loop has no branch.
fn total(values: &Int64Array) -> i128 {
    let add = |(high, low): (i64, i64), value: i64| (high + (value >> 32), low + (value & 0xFFFF_FFFF));
    let (high, low) = match values.null_count() == 0 {
        true => values.values().iter().copied().fold((0, 0), add),
        false => values.iter().flatten().fold((0, 0), add),
    };
    (i128::from(high) << 32) + i128::from(low)
}

/// The sum of one group.
#[derive(Debug, Default)]
struct Bigints {
    total: i128,
    /// How many values there are, so that the sum of none is NULL.
    count: i64,
}

impl Bigints {
    fn value(&self) -> Result<ScalarValue> {
        match (self.count, i64::try_from(self.total)) {
            (0, _) => Ok(ScalarValue::Int64(None)),
            (_, Ok(total)) => Ok(ScalarValue::Int64(Some(total))),
            (_, Err(_)) => overflow(&DataType::Int64),
        }
    }
}

impl Accumulator for Bigints {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = bigints(values)?;
        self.total += total(values);
        self.count += (values.len() - values.null_count()) as i64;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = bigints(values)?;
        self.total -= total(values);
        self.count -= (values.len() - values.null_count()) as i64;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.value()
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// The sum of different values.
#[derive(Debug, Default)]
struct DifferentBigints {
    values: HashSet<i64>,
}

impl Accumulator for DifferentBigints {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.extend(bigints(values)?.iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let total = self.values.iter().map(|value| i128::from(*value)).sum();
        Bigints { total, count: self.values.len() as i64 }.value()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<(i64, u8)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = Int64Array::from_iter_values(self.values.iter().copied());
        Ok(vec![super::list_value(Arc::new(values))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        match states.first() {
            Some(lists) => self.update_batch(&[super::elements(lists)?]),
            None => exec_err!("sum: a state is missing"),
        }
    }
}

/// The sums of many groups, of numbers that may run over.
#[derive(Debug)]
struct Grouped<T: Whole> {
    of: DataType,
    sums: Vec<T::Native>,
    /// Which groups have a value; empty while all have, which is so until a NULL or a filter comes.
    seen: Vec<bool>,
}

impl<T: Whole> Grouped<T> {
    fn new(of: DataType) -> Self {
        Self { of, sums: Vec::new(), seen: Vec::new() }
    }

    fn add(&mut self, values: &PrimitiveArray<T>, groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        let before = self.sums.len();
        self.sums.resize(total.max(before), T::default_value());
        let mut overflowed = false;
        let mut add = |group: usize, value: T::Native| {
            let (sum, over) = T::plus(self.sums[group], value);
            self.sums[group] = sum;
            overflowed |= over;
        };
        if values.null_count() == 0 && filter.is_none() && self.seen.is_empty() {
            groups.iter().zip(values.values()).for_each(|(group, value)| add(*group, *value));
        } else {
            if self.seen.is_empty() {
                self.seen.resize(before, true);
            }
            self.seen.resize(total.max(self.seen.len()), false);
            for (row, group) in groups.iter().enumerate() {
                let taken = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
                if taken && values.is_valid(row) {
                    add(*group, values.value(row));
                    self.seen[*group] = true;
                }
            }
        }
        if overflowed { overflow(&self.of) } else { Ok(()) }
    }

    fn emit(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let seen = emit_seen(emit, &mut self.seen);
        let sums = emit.take_needed(&mut self.sums);
        if sums.iter().any(|sum| !T::fits(*sum)) {
            return overflow(&self.of);
        }
        Ok(Arc::new(PrimitiveArray::<T>::new(sums.into(), seen).with_data_type(self.of.clone())))
    }
}

fn emit_seen(emit: EmitTo, seen: &mut Vec<bool>) -> Option<NullBuffer> {
    if seen.is_empty() {
        return None;
    }
    Some(NullBuffer::from(emit.take_needed(seen)))
}

impl<T: Whole> GroupsAccumulator for Grouped<T> {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.add(numbers::<T>(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.emit(emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.add(numbers::<T>(states)?, groups, None, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = numbers::<T>(values)?;
        let Some(filter) = filter else {
            return Ok(vec![Arc::new(values.clone().with_data_type(self.of.clone()))]);
        };
        let kept = |(row, value): (usize, Option<T::Native>)| value.filter(|_| filter.is_valid(row) && filter.value(row));
        let values = values.iter().enumerate().map(kept).collect::<PrimitiveArray<T>>();
        Ok(vec![Arc::new(values.with_data_type(self.of.clone()))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}
