//! What rows are grouped by, and values of a group sorted by.

use super::{function_name, place, take};
use crate::message;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, Select, SelectItem, Value, ValueWithSpan,
};
use engine::Result;

/// Most grouping sets of a SELECT; Trino's `analyzer.max-grouping-sets`.
const MAX_GROUPING_SETS: usize = 2_048;

/// `GROUP BY (a, b), c` as `GROUP BY a, b, c`, and `GROUP BY ()` as the one grouping set without columns; beside others it says nothing.
///
/// `GROUP BY a, ROLLUP (b)` has a set of `a` alone: the planner adds the columns that `a` determines to plain ones, in every set.
///
/// # Errors
/// For the number of a column within a set, and for one beside sets that SELECT has no column of.
pub(super) fn flatten_groups(select: &mut Select) -> Result<()> {
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return Ok(()) };
    let has_sets = groups.iter().any(is_set);
    if !has_sets && !groups.iter().any(|group| matches!(group, Expr::Tuple(_))) {
        return Ok(());
    }
    if has_sets {
        for group in groups.iter_mut() {
            name_number(group, &select.projection)?;
        }
    }
    let parts = |group| match group {
        Expr::Tuple(values) => values,
        other => vec![other],
    };
    *groups = std::mem::take(groups).into_iter().flat_map(parts).collect();
    if has_sets && groups.len() > 1 {
        for group in groups.iter_mut().filter(|group| !is_set(group)) {
            *group = Expr::GroupingSets(vec![vec![take(group)]]);
        }
    }
    if groups.is_empty() {
        groups.push(Expr::GroupingSets(vec![vec![]]));
    }
    Ok(())
}

/// `GROUP BY 1` beside sets as the column of SELECT that it is; behind it stands a set, in which the planner knows no numbers.
fn name_number(group: &mut Expr, columns: &[SelectItem]) -> Result<()> {
    let number = |group: &Expr| match group {
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => Some(number.clone()),
        _ => None,
    };
    if let Expr::GroupingSets(sets) | Expr::Rollup(sets) | Expr::Cube(sets) = group {
        return match sets.iter().flatten().find(|column| number(column).is_some()) {
            Some(column) => {
                let why = format!("GROUP BY expression must be a column reference: {column}");
                Err(message::named("INVALID_COLUMN_REFERENCE", place(column), &why))
            }
            None => Ok(()),
        };
    }
    let Some(number) = number(group) else { return Ok(()) };
    let column = number.parse::<usize>().ok().and_then(|number| columns.get(number.checked_sub(1)?));
    match column {
        Some(SelectItem::UnnamedExpr(column) | SelectItem::ExprWithAlias { expr: column, .. }) => {
            *group = column.clone();
            Ok(())
        }
        _ => {
            let why = format!("GROUP BY position {number} is not in select list");
            Err(message::named("INVALID_COLUMN_REFERENCE", place(group), &why))
        }
    }
}

pub(super) fn is_set(group: &Expr) -> bool {
    matches!(group, Expr::GroupingSets(_) | Expr::Rollup(_) | Expr::Cube(_))
}

/// `ROLLUP ((a, b), c)` and `CUBE` of several columns at once by their sets, which the planner takes one by one.
pub(super) fn spell_composite_sets(group_by: &mut GroupByExpr) {
    let GroupByExpr::Expressions(groups, _) = group_by else { return };
    for group in groups {
        let sets = match group {
            Expr::Rollup(parts) if parts.iter().any(|part| part.len() != 1) => {
                (0..=parts.len()).rev().map(|length| parts[..length].concat()).collect()
            }
            Expr::Cube(parts) if parts.iter().any(|part| part.len() != 1) => {
                let chosen = |set: usize| {
                    let is_in = |place: &usize| set >> (parts.len() - 1 - place) & 1 == 1;
                    (0..parts.len()).filter(is_in).flat_map(|place| parts[place].clone()).collect()
                };
                (0..1_usize << parts.len()).rev().map(chosen).collect()
            }
            _ => continue,
        };
        *group = Expr::GroupingSets(sets);
    }
}

/// Refuses more grouping sets than Trino does: each is a copy of every row.
pub(super) fn check_group_count(select: &Select) -> Result<()> {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else { return Ok(()) };
    let sets = |group: &Expr| match group {
        Expr::GroupingSets(sets) => sets.len(),
        Expr::Rollup(columns) => columns.len() + 1,
        Expr::Cube(columns) => {
            u32::try_from(columns.len()).ok().and_then(|count| 2_usize.checked_pow(count)).unwrap_or(usize::MAX)
        }
        _ => 1,
    };
    let count = groups.iter().map(sets).fold(1, usize::saturating_mul);
    if count <= MAX_GROUPING_SETS {
        return Ok(());
    }
    let why = format!("GROUP BY has {count} grouping sets but can only have {MAX_GROUPING_SETS}");
    Err(message::named("TOO_MANY_GROUPING_SETS", place(select), &why))
}

/// `array_agg(x ORDER BY y, 1)` without what is the same for all values; to the planner it is the place of an argument.
pub(super) fn drop_constant_orders(function: &mut Function) {
    const ORDERED: [&str; 6] = ["any_value", "arbitrary", "array_agg", "first_value", "last_value", "listagg"];
    if !ORDERED.contains(&function_name(function).as_str()) {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    for clause in &mut list.clauses {
        if let FunctionArgumentClause::OrderBy(orders) = clause {
            orders.retain(|order| !matches!(order.expr, Expr::Value(_)));
        }
    }
    list.clauses.retain(|clause| !matches!(clause, FunctionArgumentClause::OrderBy(orders) if orders.is_empty()));
}
