//! `SELECT r.*` of a row `r`, which the planner knows of relations only.

use super::using::output_name;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

/// What the planner says of such a `*`.
const NO_RELATION: &str = "Invalid qualifier ";

/// Spells the fields of the row out of which the planner said `error`; `plan` plans a query to know them. Gives whether it is a row.
pub(super) fn spelled(
    query: &mut Query,
    error: &DataFusionError,
    plan: impl Fn(Query) -> Result<LogicalPlan, DataFusionError>,
) -> bool {
    let text = error.strip_backtrace();
    let Some((_, row)) = text.split_once(NO_RELATION) else { return false };
    let row = row.lines().next().unwrap_or_default().replace('"', "");
    let around = Query { body: Box::new(SetExpr::Values(no_values())), ..query.clone() };
    let mut stars = Stars { row, around, plan, found: false };
    // The walk never breaks off.
    let _: ControlFlow<()> = query.visit(&mut stars);
    stars.found
}

fn no_values() -> datafusion::sql::sqlparser::ast::Values {
    datafusion::sql::sqlparser::ast::Values { explicit_row: false, value_keyword: false, rows: vec![] }
}

struct Stars<F> {
    row: String,
    /// The query with its WITH, and nothing of its own.
    around: Query,
    plan: F,
    found: bool,
}

impl<F: Fn(Query) -> Result<LogicalPlan, DataFusionError>> VisitorMut for Stars<F> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let items = std::mem::take(&mut select.projection);
        let mut names: Vec<String> = items.iter().filter_map(output_name).collect();
        let mut written = Vec::with_capacity(items.len());
        for item in items {
            match self.path(&item).and_then(|path| Some((self.fields(&path, select)?, path))) {
                Some((fields, path)) => {
                    self.found = true;
                    for (index, field) in fields.into_iter().enumerate() {
                        // Columns of one name are told apart by what follows the mark.
                        let is_new = !names.contains(&field);
                        let alias = if is_new { field.clone() } else { format!("{field}\u{1}row{}_{index}", written.len()) };
                        names.push(field.clone());
                        written.push(item_of(&path, &field, &alias));
                    }
                }
                None => written.push(item),
            }
        }
        select.projection = written;
        ControlFlow::Continue(())
    }
}

impl<F: Fn(Query) -> Result<LogicalPlan, DataFusionError>> Stars<F> {
    /// The path to the row, if `item` is its `*`.
    fn path(&self, item: &SelectItem) -> Option<Vec<Ident>> {
        let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(ObjectName(parts)), _) = item else {
            return None;
        };
        let path: Vec<Ident> = parts.iter().filter_map(ObjectNamePart::as_ident).cloned().collect();
        let name = path.iter().map(|ident| ident.value.to_lowercase()).collect::<Vec<_>>().join(".");
        (name == self.row.to_lowercase()).then_some(path)
    }

    /// The names of the fields of the row at `path` over the relations of `select`.
    fn fields(&self, path: &[Ident], select: &Select) -> Option<Vec<String>> {
        let only = Select {
            projection: vec![SelectItem::UnnamedExpr(expression(path.to_vec()))],
            distinct: None,
            selection: None,
            having: None,
            qualify: None,
            group_by: GroupByExpr::Expressions(vec![], vec![]),
            ..select.clone()
        };
        let query = Query {
            body: Box::new(SetExpr::Select(Box::new(only))),
            order_by: None,
            limit_clause: None,
            fetch: None,
            ..self.around.clone()
        };
        let plan = (self.plan)(query).ok()?;
        match plan.schema().fields().first()?.data_type() {
            DataType::Struct(fields) => Some(fields.iter().map(|field| field.name().clone()).collect()),
            _ => None,
        }
    }
}

fn expression(mut path: Vec<Ident>) -> Expr {
    match (path.len(), path.pop()) {
        (1, Some(only)) => Expr::Identifier(only),
        (_, last) => Expr::CompoundIdentifier(path.into_iter().chain(last).collect()),
    }
}

fn item_of(path: &[Ident], field: &str, alias: &str) -> SelectItem {
    let path = path.iter().cloned().chain([Ident::with_quote('"', field)]).collect();
    SelectItem::ExprWithAlias { expr: expression(path), alias: Ident::with_quote('"', alias) }
}
