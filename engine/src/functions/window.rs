//! Window functions: DataFusion's, with ranks as bigints and with Trino's rules for offsets.

mod by_row;

use self::by_row::{ByRow, Kind};
use super::Functions;
use super::nested::named;
use arrow::array::ArrayRef;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_window::{lead_lag, nth_value, ntile, rank, row_number};
use datafusion::logical_expr::function::{
    ExpressionArgs, PartitionEvaluatorArgs, WindowFunctionSimplification, WindowUDFFieldArgs,
};
use datafusion::logical_expr::window_state::WindowAggState;
use datafusion::logical_expr::{LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use std::ops::Range;
use std::sync::Arc;

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    let ranks = [row_number::row_number_udwf(), rank::rank_udwf(), rank::dense_rank_udwf()];
    functions.window.extend(ranks.into_iter().map(|inner| Window::udf(inner, true, None, None)));
    functions.window.push(Window::udf(ntile::ntile_udwf(), true, None, Some(Kind::Ntile)));
    let offsets = [
        (lead_lag::lag_udwf(), 0, Kind::Lag),
        (lead_lag::lead_udwf(), 0, Kind::Lead),
        (nth_value::nth_value_udwf(), 1, Kind::NthValue),
    ];
    functions.window.extend(offsets.into_iter().map(|(inner, least, kind)| Window::udf(inner, false, Some(least), Some(kind))));
}

/// A function of DataFusion's under its own name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Window {
    inner: Arc<WindowUDF>,
    /// Whether the result is cast to bigint.
    bigint: bool,
    /// The least second argument, if it is an offset.
    least_offset: Option<i64>,
    /// What it is where an argument differs from row to row.
    by_row: Option<Kind>,
}

impl Window {
    fn udf(inner: Arc<WindowUDF>, bigint: bool, least_offset: Option<i64>, by_row: Option<Kind>) -> Arc<WindowUDF> {
        Arc::new(WindowUDF::new_from_impl(Self { inner, bigint, least_offset, by_row }))
    }

    /// What the function is, if an argument that DataFusion takes as a constant is none.
    fn by_row(&self, args: &[Arc<dyn PhysicalExpr>]) -> Option<Kind> {
        let is_constant = |arg: &Arc<dyn PhysicalExpr>| arg.downcast_ref::<Literal>().is_some();
        self.by_row.filter(|kind| args.iter().skip(kind.first_constant()).any(|arg| !is_constant(arg)))
    }

    fn check_offset(&self, args: &[Arc<dyn PhysicalExpr>]) -> Result<()> {
        let (Some(least), Some(offset)) = (self.least_offset, args.get(1)) else {
            return Ok(());
        };
        // What is no constant is looked at for each row.
        let Some(offset) = offset.downcast_ref::<Literal>() else {
            return Ok(());
        };
        match offset.value().cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(offset)) if offset >= least => Ok(()),
            other => exec_err!("Offset must be at least {least}, not {other}"),
        }
    }
}

impl WindowUDFImpl for Window {
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

    fn expressions(&self, args: ExpressionArgs<'_>) -> Vec<Arc<dyn PhysicalExpr>> {
        match self.by_row(args.input_exprs()) {
            Some(_) => args.input_exprs().to_vec(),
            None => self.inner.expressions(args),
        }
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        named(self.name(), self.check_offset(args.input_exprs()))?;
        if let Some(kind) = self.by_row(args.input_exprs()) {
            return Ok(Box::new(ByRow::new(kind, args.ignore_nulls())));
        }
        if let Some(kind @ (Kind::Lag | Kind::Lead)) = self.by_row.filter(|_| args.ignore_nulls()) {
            let value = |arg: &Arc<dyn PhysicalExpr>| arg.downcast_ref::<Literal>().map(|literal| literal.value().clone());
            let constants = args.input_exprs().iter().skip(1).filter_map(value).collect();
            return Ok(Box::new(ByRow::with_constants(kind, true, constants)));
        }
        let inner = self.inner.partition_evaluator_factory(args)?;
        match self.bigint {
            true => Ok(Box::new(Bigint(inner))),
            false => Ok(inner),
        }
    }

    fn simplify(&self) -> Option<WindowFunctionSimplification> {
        self.inner.simplify()
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.inner.field(args)?;
        match self.bigint {
            // Of NULL buckets it is NULL.
            true => {
                let is_nullable = field.is_nullable() || self.by_row == Some(Kind::Ntile);
                Ok(Arc::new(field.as_ref().clone().with_data_type(DataType::Int64).with_nullable(is_nullable)))
            }
            false => Ok(field),
        }
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.inner.sort_options()
    }

    /// Never: that a function runs in reverse is lost on the way to a worker, which would then count from the wrong end.
    fn reverse_expr(&self) -> ReversedUDWF {
        ReversedUDWF::NotSupported
    }

    /// How many rows further `lead` looks is not known here: it may ignore NULLs.
    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        if self.by_row == Some(Kind::Lead) {
            return LimitEffect::Unknown;
        }
        self.inner.inner().limit_effect(args)
    }
}

/// Casts what comes out to bigint.
#[derive(Debug)]
struct Bigint(Box<dyn PartitionEvaluator>);

impl PartitionEvaluator for Bigint {
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.0.memoize(state)
    }

    fn get_range(&self, index: usize, rows: usize) -> Result<Range<usize>> {
        self.0.get_range(index, rows)
    }

    fn is_causal(&self) -> bool {
        self.0.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        Ok(cast(&self.0.evaluate_all(values, rows)?, &DataType::Int64)?)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        self.0.evaluate(values, range)?.cast_to(&DataType::Int64)
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        Ok(cast(&self.0.evaluate_all_with_rank(rows, ranks)?, &DataType::Int64)?)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.0.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.0.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.0.include_rank()
    }
}
