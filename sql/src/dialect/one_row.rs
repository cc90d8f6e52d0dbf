//! Queries without tables, or over the elements of one array: what they compute is of the row outside alone, and needs no join.

use super::relations::UNNESTED;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::functions_nested::expr_fn::make_array;
use datafusion::logical_expr::expr::LambdaVariable;
use datafusion::logical_expr::logical_plan::Unnest;
use datafusion::logical_expr::{Expr, LogicalPlan, cast, col};
use std::collections::HashMap;
use std::sync::Arc;

/// The row that `SELECT a + 1 WHERE a > 1` gives, or the rows of `VALUES a, b`.
pub(crate) struct OneRow {
    /// What its columns are, of outer columns, and of `lists` where there are some.
    pub(crate) columns: Vec<Expr>,
    /// When there is a row.
    pub(crate) conditions: Vec<Expr>,
    /// Arrays by name that the rows are, side by side.
    pub(crate) lists: Vec<(String, Expr)>,
    /// The array that has an element for each row, and the variable that `columns` and `conditions` have for it.
    pub(crate) each: Option<(String, Expr)>,
}

impl OneRow {
    /// None for any other query.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => {
                Some(Self { columns: vec![], conditions: vec![], lists: vec![], each: None })
            }
            LogicalPlan::Unnest(unnest) => Self::of_elements(unnest),
            LogicalPlan::Values(values) => {
                let fields = values.schema.fields();
                let list = |index: usize| {
                    let of = fields.get(index)?.data_type();
                    let rows = values.values.iter().map(|row| Some(cast(row.get(index)?.clone(), of.clone())));
                    Some((format!("{UNNESTED}values_{index}"), make_array(rows.collect::<Option<Vec<_>>>()?)))
                };
                let lists = (0..fields.len()).map(list).collect::<Option<Vec<_>>>()?;
                let has_query = lists.iter().any(|(_, list)| has_query(list));
                let columns = lists.iter().map(|(name, _)| col(name.as_str())).collect();
                (!has_query).then_some(Self { columns, conditions: vec![], lists, each: None })
            }
            LogicalPlan::SubqueryAlias(alias) => Self::of(&alias.input),
            LogicalPlan::Subquery(query) => Self::of(&query.subquery),
            LogicalPlan::Filter(filter) => {
                let mut row = Self::of(&filter.input)?;
                if !row.lists.is_empty() {
                    return None;
                }
                let condition = row.over(filter.input.schema(), &filter.predicate)?;
                row.conditions.push(condition);
                Some(row)
            }
            LogicalPlan::Projection(projection) => {
                let row = Self::of(&projection.input)?;
                let schema = projection.input.schema();
                let columns =
                    projection.expr.iter().map(|expression| row.over(schema, expression)).collect::<Option<Vec<_>>>()?;
                Some(Self { columns, ..row })
            }
            _ => None,
        }
    }

    /// UNNEST of one array of the row outside.
    fn of_elements(unnest: &Unnest) -> Option<Self> {
        let [column] = unnest.exec_columns.as_slice() else { return None };
        let LogicalPlan::Projection(lists) = unnest.input.as_ref() else { return None };
        let ([list], LogicalPlan::EmptyRelation(_)) = (lists.expr.as_slice(), lists.input.as_ref()) else { return None };
        let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
            lists.schema.fields().first()?.data_type()
        else {
            return None;
        };
        if !column.name.starts_with(UNNESTED) {
            return None;
        }
        let variable = variable(&column.name, item.data_type());
        let each = Some((column.name.clone(), list.clone().unalias()));
        Some(Self { columns: vec![variable], conditions: vec![], lists: vec![], each })
    }

    /// `expression` over columns of `schema`, which are those of this row.
    pub(crate) fn over(&self, schema: &DFSchema, expression: &Expr) -> Option<Expr> {
        if self.columns.is_empty() {
            return Some(expression.clone().unalias());
        }
        let names: HashMap<&String, &Expr> = schema.fields().iter().map(|field| field.name()).zip(&self.columns).collect();
        // A query inside would refer to columns that are no longer there, of two columns of one name it is not said which, and what is
        // random would be so twice.
        let is_random = self.columns.iter().any(Expr::is_volatile);
        if names.len() < self.columns.len() || has_query(expression) || is_random {
            return None;
        }
        let replaced = expression.clone().unalias().transform(|part| match &part {
            Expr::Column(column) => Ok(names
                .get(&column.name)
                .map_or_else(|| Transformed::no(part.clone()), |made| Transformed::yes((*made).clone()))),
            _ => Ok(Transformed::no(part)),
        });
        replaced.ok().map(|replaced| replaced.data)
    }
}

/// The parameter `name` of a lambda.
pub(crate) fn variable(name: &str, of: &DataType) -> Expr {
    Expr::LambdaVariable(LambdaVariable::new(name.to_string(), Some(Arc::new(Field::new(name, of.clone(), true)))))
}

/// Whether `expression` has a query that refers to the row outside.
pub(crate) fn has_outer_query(expression: &Expr) -> bool {
    let is_query =
        |part: &Expr| Ok(matches!(part, Expr::ScalarSubquery(query) if !query.subquery.all_out_ref_exprs().is_empty()));
    expression.exists(is_query).unwrap_or(true)
}

/// Whether `expression` holds a query.
pub(crate) fn has_query(expression: &Expr) -> bool {
    let is_query = |part: &Expr| {
        Ok::<_, datafusion::common::DataFusionError>(matches!(
            part,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
        ))
    };
    expression.exists(is_query).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::common::Result;
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};

    #[test]
    fn a_query_without_tables_is_its_columns() -> Result<()> {
        let plan = LogicalPlanBuilder::empty(true)
            .project(vec![lit(1i64).alias("a")])?
            .filter(col("a").gt(lit(0i64)))?
            .project(vec![(col("a") + col("a")).alias("b")])?
            .build()?;
        let row = OneRow::of(&plan).ok_or_else(|| datafusion::common::DataFusionError::Internal("no row".into()))?;
        assert_eq!(row.columns, [lit(1i64) + lit(1i64)]);
        assert_eq!(row.conditions, [lit(1i64).gt(lit(0i64))]);
        assert!(OneRow::of(&LogicalPlanBuilder::empty(false).build()?).is_none());
        Ok(())
    }
}
