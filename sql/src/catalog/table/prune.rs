//! Which partitions a query reads: first what the catalog can leave out, then exactly those that meet the filters.

use super::TypedColumn;
use super::format::check_partition;
use crate::catalog::Catalog;
use crate::catalog::location::Location;
use crate::catalog::model::{Partition, Table};
use crate::catalog::partition_filter::{Comparison, Condition, PartitionFilter};
use crate::catalog::projection;
use crate::catalog::types::HiveType;
use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{Fields, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::Session;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use engine::clock::now_ms;
use engine::{Error, ErrorKind, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// How Hive writes NULL in a folder's name.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A partition that the query reads.
pub(super) struct ChosenPartition {
    pub(super) values: Vec<ScalarValue>,
    pub(super) location: Location,
}

/// The partitions that meet `filters`, each of which names partition keys only; one for a table without any.
pub(super) async fn partitions(
    session: &dyn Session,
    catalog: &dyn Catalog,
    table: &Table,
    keys: &[TypedColumn],
    filters: &[Expr],
) -> Result<Vec<ChosenPartition>> {
    if keys.is_empty() {
        let location = table.location().ok_or_else(|| Error::invalid(format!("table {} has no location", table.full_name())))?;
        return Ok(vec![ChosenPartition { values: Vec::new(), location: Location::parse(location)? }]);
    }
    let conditions = conditions(keys, filters);
    let known = match projection::is_enabled(table) {
        true => projected(session, table, keys, filters, &conditions)?,
        false => catalog.partitions(table, &conditions).await?,
    };
    let chosen = choose(session, table, keys, known, filters)?;
    chosen.into_iter().map(|(partition, values)| located(table, partition, values)).collect()
}

fn located(table: &Table, partition: Partition, values: Vec<ScalarValue>) -> Result<ChosenPartition> {
    check_partition(table, &partition)?;
    let location = partition.location().ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            format!("partition {} of table {} has no location", partition.values.join("/"), table.full_name()),
        )
    })?;
    Ok(ChosenPartition { location: Location::parse(location)?, values })
}

/// The projected partitions of those values of each key that meet the filters on that key alone.
fn projected(
    session: &dyn Session,
    table: &Table,
    keys: &[TypedColumn],
    filters: &[Expr],
    conditions: &PartitionFilter,
) -> Result<Vec<Partition>> {
    let columns = projection::columns(table, now_ms())?;
    let mut values = Vec::with_capacity(keys.len());
    for (column, key) in columns.iter().zip(keys) {
        let of_key: Vec<&Condition> = conditions.all.iter().filter(|condition| condition.column == key.name).collect();
        let mut all = column.values(&of_key)?;
        // The folder of an empty value would be the one that all the others are in.
        all.retain(|value| !value.is_empty());
        let own: Vec<Expr> = filters.iter().filter(|filter| names_only(filter, &key.name)).cloned().collect();
        let keep = matching(session, table, std::slice::from_ref(key), all.iter().map(std::slice::from_ref), all.len(), &own)?;
        values.push(all.into_iter().zip(keep.0).filter_map(|(value, keep)| keep.then_some(value)).collect());
    }
    projection::partitions(table, &values)
}

fn names_only(filter: &Expr, name: &str) -> bool {
    filter.column_refs().iter().all(|column| column.name == name)
}

fn choose(
    session: &dyn Session,
    table: &Table,
    keys: &[TypedColumn],
    known: Vec<Partition>,
    filters: &[Expr],
) -> Result<Vec<(Partition, Vec<ScalarValue>)>> {
    let rows = known.iter().map(|partition| partition.values.as_slice());
    let (keep, columns) = matching(session, table, keys, rows, known.len(), filters)?;
    let chosen = known.into_iter().zip(keep).enumerate().filter(|(_, (_, keep))| *keep);
    chosen
        .map(|(row, (partition, _))| {
            let values =
                columns.iter().map(|column| column.get(row).cloned().ok_or_else(|| Error::internal("a value is missing")));
            Ok((partition, values.collect::<Result<Vec<_>>>()?))
        })
        .collect()
}

/// For each row of values whether it meets all filters, and the typed values by column.
fn matching<'a>(
    session: &dyn Session,
    table: &Table,
    keys: &[TypedColumn],
    rows: impl Iterator<Item = &'a [String]>,
    count: usize,
    filters: &[Expr],
) -> Result<(Vec<bool>, Vec<Vec<ScalarValue>>)> {
    let mut columns: Vec<Vec<ScalarValue>> = keys.iter().map(|_| Vec::with_capacity(count)).collect();
    for values in rows {
        if values.len() != keys.len() {
            let text = format!("a partition of table {} has {} values for {} keys", table.full_name(), values.len(), keys.len());
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        for ((column, key), value) in columns.iter_mut().zip(keys).zip(values) {
            column.push(typed(key, value)?);
        }
    }
    Ok((met(session, keys, &columns, count, filters)?, columns))
}

/// For each of `count` rows whether the values in `columns`, one for each of `keys`, meet all `filters`.
pub(in crate::catalog) fn met(
    session: &dyn Session,
    keys: &[TypedColumn],
    columns: &[Vec<ScalarValue>],
    count: usize,
    filters: &[Expr],
) -> Result<Vec<bool>> {
    let Some(filter) = conjunction(filters.iter().cloned()).filter(|_| count > 0) else {
        return Ok(vec![true; count]);
    };
    let schema = Arc::new(Schema::new(keys.iter().map(|key| Arc::clone(&key.field)).collect::<Fields>()));
    let arrays = columns.iter().map(|column| ScalarValue::iter_to_array(column.iter().cloned()).map_err(Error::from));
    let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let batch =
        RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options).map_err(|e| Error::internal(e.to_string()))?;
    let df_schema = DFSchema::try_from(schema).map_err(Error::from)?;
    let expr = session.create_physical_expr(filter, &df_schema).map_err(Error::from)?;
    let met = expr.evaluate(&batch).and_then(|value| value.into_array(count)).map_err(Error::from)?;
    let met: &BooleanArray = as_boolean_array(&met).map_err(Error::from)?;
    Ok((0..count).map(|row| met.is_valid(row) && met.value(row)).collect())
}

/// The value that a partition's text means in its column's type.
fn typed(key: &TypedColumn, text: &str) -> Result<ScalarValue> {
    let target = key.field.data_type();
    if text == HIVE_NULL {
        return ScalarValue::try_from(target).map_err(Error::from);
    }
    let is_value = match &key.hive {
        HiveType::Boolean => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
        HiveType::Varchar(length) => usize::try_from(*length).is_ok_and(|length| text.chars().count() <= length),
        _ => true,
    };
    let value = ScalarValue::try_from_string(text.to_string(), target).ok().filter(|_| is_value);
    value.ok_or_else(|| {
        let text = format!(
            "HIVE_INVALID_PARTITION_VALUE: Invalid partition value '{text}' for {} partition key: {}",
            key.hive.trino(),
            key.name
        );
        Error::invalid(text)
    })
}

/// What of the filters a catalog can look at: comparisons of text and whole numbers with literals.
fn conditions(keys: &[TypedColumn], filters: &[Expr]) -> PartitionFilter {
    let mut found = Vec::new();
    for filter in filters {
        collect(keys, filter, &mut found);
    }
    // An injected key needs all of its values, so several equalities on one key are one that all of them agree on.
    let mut all: Vec<Condition> = Vec::new();
    for condition in found {
        let twin = all.iter_mut().find(|known| {
            known.column == condition.column && known.comparison == Comparison::Equal && condition.comparison == Comparison::Equal
        });
        match twin {
            Some(known) if !known.numeric => {
                let both: HashSet<&String> = condition.values.iter().collect();
                let common: Vec<String> = known.values.iter().filter(|value| both.contains(value)).cloned().collect();
                // None in common: the exact filter removes everything, with whatever values.
                if !common.is_empty() {
                    known.values = common;
                }
            }
            _ => all.push(condition),
        }
    }
    PartitionFilter { all }
}

fn collect(keys: &[TypedColumn], filter: &Expr, found: &mut Vec<Condition>) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            collect(keys, left, found);
            collect(keys, right, found);
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            // `p = 1 OR p = 2` is what IN with few values becomes.
            let (mut a, mut b) = (Vec::new(), Vec::new());
            collect(keys, left, &mut a);
            collect(keys, right, &mut b);
            if let ([a], [b]) = (a.as_slice(), b.as_slice())
                && a.column == b.column
                && a.comparison == Comparison::Equal
                && b.comparison == Comparison::Equal
                && is_whole(left)
                && is_whole(right)
            {
                found.push(Condition { values: a.values.iter().chain(&b.values).cloned().collect(), ..a.clone() });
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let Some(comparison) = comparison(*op) else { return };
            if let Some(condition) = condition(keys, left, comparison, std::slice::from_ref(&**right)) {
                found.push(condition);
            } else if let Some(condition) = condition(keys, right, flipped(comparison), std::slice::from_ref(&**left)) {
                found.push(condition);
            }
        }
        Expr::InList(list) if !list.negated => found.extend(condition(keys, &list.expr, Comparison::Equal, &list.list)),
        Expr::Between(between) if !between.negated => {
            found.extend(condition(keys, &between.expr, Comparison::GreaterOrEqual, std::slice::from_ref(&*between.low)));
            found.extend(condition(keys, &between.expr, Comparison::LessOrEqual, std::slice::from_ref(&*between.high)));
        }
        _ => {}
    }
}

/// Whether one condition says all that `filter` does: an AND below an OR may have lost a part.
fn is_whole(filter: &Expr) -> bool {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => is_whole(left) && is_whole(right),
        Expr::BinaryExpr(BinaryExpr { op, .. }) => *op == Operator::Eq,
        Expr::InList(_) => true,
        _ => false,
    }
}

fn condition(keys: &[TypedColumn], column: &Expr, comparison: Comparison, literals: &[Expr]) -> Option<Condition> {
    let Expr::Column(column) = column else { return None };
    let key = keys.iter().find(|key| key.name == column.name)?;
    let numeric = match key.hive {
        HiveType::TinyInt | HiveType::SmallInt | HiveType::Int | HiveType::BigInt => true,
        HiveType::String | HiveType::Varchar(_) => false,
        // The text of other types has more than one form.
        _ => return None,
    };
    let value = |literal: &Expr| match literal {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)),
            _,
        ) if !numeric => Some(text.clone()),
        Expr::Literal(number, _) if numeric && number.data_type().is_integer() && !number.is_null() => Some(number.to_string()),
        _ => None,
    };
    let values: Option<Vec<String>> = literals.iter().map(value).collect();
    let values = values.filter(|values| !values.is_empty())?;
    Some(Condition { column: key.name.clone(), comparison, values, numeric })
}

fn comparison(operator: Operator) -> Option<Comparison> {
    Some(match operator {
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn flipped(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}
