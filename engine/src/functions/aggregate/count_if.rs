//! `count_if(condition)`, which is a `count` in disguise.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Expr, Signature, Volatility, lit, when};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CountIf {
    signature: Signature,
}

impl CountIf {
    /// The function.
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for CountIf {
    fn name(&self) -> &str {
        "count_if"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Boolean | DataType::Null] => Ok(vec![DataType::Boolean]),
            _ => plan_err!("count_if expects one boolean"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        Some(Box::new(|function: AggregateFunction, _| {
            if function.params.distinct {
                return Ok(Expr::AggregateFunction(function));
            }
            let mut params = function.params;
            let args = params.args.into_iter().map(|condition| when(condition, lit(1_i64)).end());
            params.args = args.collect::<Result<_>>()?;
            Ok(Expr::AggregateFunction(AggregateFunction { func: count_udaf(), params }))
        }))
    }

    /// For windows; elsewhere the function is `count` by then.
    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Trues { count: 0, distinct: args.is_distinct }))
    }
}

#[derive(Debug)]
struct Trues {
    count: i64,
    distinct: bool,
}

impl Trues {
    fn of(values: &[ArrayRef]) -> Result<i64> {
        match values.first().and_then(|values| values.as_boolean_opt()) {
            Some(values) => Ok(values.true_count() as i64),
            None => exec_err!("count_if expects one boolean"),
        }
    }
}

impl Accumulator for Trues {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count += Self::of(values)?;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count -= Self::of(values)?;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // Of different values, at most one is true.
        let count = if self.distinct { self.count.min(1) } else { self.count };
        Ok(ScalarValue::Int64(Some(count)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        match states.first().and_then(|states| states.as_primitive_opt::<Int64Type>()) {
            Some(counts) => self.count += counts.iter().flatten().sum::<i64>(),
            None => return exec_err!("count_if has one state"),
        }
        Ok(())
    }
}
