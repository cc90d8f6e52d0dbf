//! Relations that DataFusion plans otherwise or not at all: UNNEST and samples.

use super::rewrite::{ANONYMOUS, take_sample};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, NullHandling, Result, ScalarValue, UnnestOptions};
use datafusion::functions::core::expr_fn::{coalesce, get_field, greatest};
use datafusion::functions::math::expr_fn::random;
use datafusion::functions_nested::expr_fn::{array_length, gen_series, map_entries};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder, cast, col, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, TableAlias, TableFactor, TableSample, TableSampleKind, TableSampleMethod, Value, ValueWithSpan,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the names of columns that are being unnested start with.
pub(crate) const UNNESTED: &str = "owlet_unnest_";

/// Plans UNNEST of arrays and maps, with ordinality, and TABLESAMPLE.
#[derive(Default, Debug)]
pub(crate) struct AthenaRelations {
    planned: AtomicUsize,
}

impl RelationPlanner for AthenaRelations {
    fn plan_relation(&self, mut relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        match take_sample(&mut relation) {
            Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) => {
                return sampled(relation, &sample, context);
            }
            None => {}
        }
        match relation {
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => {
                let number = self.planned.fetch_add(1, Ordering::Relaxed);
                unnested(array_exprs, alias, with_ordinality, number, context)
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

/// Each row with the same chance. `SYSTEM` samples whole pieces of a table in Athena, and which ones is not said; by rows is one
/// of its possible answers.
fn sampled(relation: TableFactor, sample: &TableSample, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
    let refused = |what: &str| Err(DataFusionError::NotImplemented(format!("TABLESAMPLE {what}")));
    if sample.seed.is_some() || sample.bucket.is_some() || sample.offset.is_some() {
        return refused("with REPEATABLE, BUCKET or OFFSET");
    }
    if !matches!(sample.name, Some(TableSampleMethod::Bernoulli | TableSampleMethod::System)) {
        return refused("other than BERNOULLI or SYSTEM");
    }
    let percent =
        sample.quantity.as_ref().filter(|quantity| quantity.unit.is_none()).and_then(|quantity| match &quantity.value {
            SqlExpr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.parse::<f64>().ok(),
            _ => None,
        });
    let Some(percent) = percent.filter(|percent| (0.0..=100.0).contains(percent)) else {
        return Err(DataFusionError::Plan("the sample of TABLESAMPLE must be a number between 0 and 100".into()));
    };
    let plan = context.plan(relation)?;
    let plan = LogicalPlanBuilder::from(plan).filter((random() * lit(100.0)).lt(lit(percent)))?.build()?;
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
}

fn unnested(
    arrays: Vec<SqlExpr>,
    alias: Option<TableAlias>,
    with_ordinality: bool,
    number: usize,
    context: &mut dyn RelationPlannerContext,
) -> Result<RelationPlanning> {
    let schema = DFSchema::empty();
    // One name for each array is one column for each, rows too, as Athena's documentation has it; more are names of fields.
    let names = alias.as_ref().map_or(0, |alias| alias.columns.len());
    let keeps_rows = names == arrays.len() + usize::from(with_ordinality);
    let mut lists = Vec::with_capacity(arrays.len() + 1);
    let mut columns = Vec::new();
    for (index, array) in arrays.into_iter().enumerate() {
        let array = context.sql_to_expr(array, &schema)?;
        let name = format!("{UNNESTED}{number}_{index}");
        let (list, fields) = list_of(array, &schema)?;
        let is_map = fields.as_ref().is_some_and(|fields| fields.iter().any(|(is_named, _)| !is_named));
        match fields.filter(|_| is_map || !keeps_rows) {
            None => columns.push((None, col(name.as_str()))),
            Some(fields) => {
                let is_row = fields.iter().all(|(is_named, _)| *is_named);
                columns.extend(fields.into_iter().map(|(_, field)| {
                    let shown = is_row.then(|| field.clone());
                    (shown, get_field(col(name.as_str()), field))
                }));
            }
        }
        lists.push((name, list));
    }
    if lists.is_empty() {
        return Err(DataFusionError::Plan("UNNEST must have at least one argument".into()));
    }
    if with_ordinality {
        let name = format!("{UNNESTED}{number}_ordinality");
        let lengths: Vec<Expr> = lists.iter().map(|(_, list)| length(list.clone())).collect();
        let longest =
            if lengths.len() == 1 { lengths.into_iter().next().unwrap_or_else(|| lit(0i64)) } else { greatest(lengths) };
        columns.push((None, col(name.as_str())));
        lists.push((name, gen_series(lit(1i64), longest, lit(1i64))));
    }
    let names = lists.iter().map(|(name, _)| name.as_str().into()).collect();
    let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
    // Names that several fields have are ambiguous, and columns of one relation must differ.
    let shown: Vec<String> = columns.iter().filter_map(|(name, _)| name.clone()).collect();
    let is_one = |name: &String| shown.iter().filter(|other| other.eq_ignore_ascii_case(name)).count() == 1;
    let anonymous = |index: usize| format!("{ANONYMOUS}{number}_{index}");
    let plan = LogicalPlanBuilder::empty(true)
        .project(lists.into_iter().map(|(name, list)| list.alias(name)))?
        .unnest_columns_with_options(names, options)?
        .project(
            columns
                .into_iter()
                .enumerate()
                .map(|(index, (name, column))| column.alias(name.filter(is_one).unwrap_or_else(|| anonymous(index)))),
        )?
        .build()?;
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
}

/// The list to unnest, and the fields that its elements are taken apart into, each with whether it keeps its name.
#[expect(clippy::type_complexity, reason = "said once, in the line above")]
fn list_of(array: Expr, schema: &DFSchema) -> Result<(Expr, Option<Vec<(bool, String)>>)> {
    let data_type = array.get_type(schema)?;
    match &data_type {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => match element.data_type()
        {
            DataType::Struct(fields) => {
                let fields = fields.iter().map(|field| (true, field.name().clone())).collect();
                Ok((array, Some(fields)))
            }
            _ => Ok((array, None)),
        },
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(DataFusionError::Internal("a map whose entries are no rows".into()));
            };
            let fields = fields.iter().map(|field| (false, field.name().clone())).collect();
            Ok((map_entries(array), Some(fields)))
        }
        other => Err(DataFusionError::Plan(format!("Cannot unnest type: {other}"))),
    }
}

/// How many elements a list has; none for NULL.
fn length(list: Expr) -> Expr {
    coalesce(vec![cast(array_length(list), DataType::Int64), lit(ScalarValue::Int64(Some(0)))])
}
