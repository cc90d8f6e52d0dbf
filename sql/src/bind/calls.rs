//! Calls of functions with clauses that mean nothing to them: the planner leaves them out.

use crate::message::named;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    OneOrManyWithParens, Query, Select, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Location;
use engine::{Error, Result};
use std::ops::ControlFlow;

/// Refuses what Trino does: `FILTER`, `OVER`, `DISTINCT` and `ORDER BY` of functions of one row, and aggregates where rows are chosen.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] with Trino's name for it.
pub(super) fn check(state: &SessionState, query: &Query) -> Result<()> {
    match query.visit(&mut Calls { state }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Calls<'a> {
    state: &'a SessionState,
}

impl Calls<'_> {
    fn is_aggregate(&self, name: &str) -> bool {
        self.state.aggregate_functions().contains_key(name)
    }

    fn check(&self, function: &Function) -> Result<()> {
        let (name, place) = called(function);
        if let ("count", FunctionArguments::List(list)) = (name.as_str(), &function.args)
            && list.args.len() > 1
        {
            return Err(named("FUNCTION_NOT_FOUND", place, "Unexpected parameters for function count; it takes one, or *"));
        }
        check_lambdas(function, &name, place)?;
        if self.is_aggregate(&name) || self.state.window_functions().contains_key(&name) || !self.is_known(&name) {
            return Ok(());
        }
        let (mut is_distinct, mut is_ordered) = (false, false);
        if let FunctionArguments::List(list) = &function.args {
            is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
            is_ordered = list.clauses.iter().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)));
        }
        match function {
            _ if function.over.is_some() => Err(named("FUNCTION_NOT_WINDOW", place, &format!("Not a window function: {name}"))),
            _ if function.filter.is_some() => {
                Err(named("FUNCTION_NOT_AGGREGATE", place, "Filter is only valid for aggregation functions"))
            }
            _ if is_distinct => {
                Err(named("FUNCTION_NOT_AGGREGATE", place, "DISTINCT is not supported for non-aggregation functions"))
            }
            _ if is_ordered => Err(named("FUNCTION_NOT_AGGREGATE", place, "ORDER BY is only valid for aggregation functions")),
            _ => Ok(()),
        }
    }

    fn is_known(&self, name: &str) -> bool {
        self.state.scalar_functions().contains_key(name) || self.state.higher_order_functions().contains_key(name)
    }
}

impl Visitor for Calls<'_> {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Error> {
        match &select.selection {
            Some(condition) => condition.visit(&mut Rows { calls: self, depth: 0 }),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Error> {
        match expression {
            Expr::Function(function) => match self.check(function) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Looks for what is of several rows, where a condition is of one.
struct Rows<'a, 'b> {
    calls: &'a Calls<'b>,
    depth: usize,
}

impl Visitor for Rows<'_, '_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Error> {
        let Expr::Function(function) = expression else { return ControlFlow::Continue(()) };
        let (name, place) = called(function);
        if self.depth > 0 || function.over.is_none() && !self.calls.is_aggregate(&name) {
            return ControlFlow::Continue(());
        }
        let why = format!("WHERE clause cannot contain aggregations, window functions or grouping operations: [{name}]");
        ControlFlow::Break(named("EXPRESSION_NOT_SCALAR", place, &why))
    }
}

/// How many parameters the lambdas of a function have, one after the other.
const LAMBDAS: [(&str, &[usize]); 12] = [
    ("all_match", &[1]),
    ("any_match", &[1]),
    ("filter", &[1]),
    ("map_filter", &[2]),
    ("map_zip_with", &[3]),
    ("none_match", &[1]),
    ("reduce", &[2, 1]),
    ("reduce_agg", &[2, 2]),
    ("transform", &[1]),
    ("transform_keys", &[2]),
    ("transform_values", &[2]),
    ("zip_with", &[2]),
];

/// Refuses lambdas of another number of parameters; the planner leaves the last ones out.
fn check_lambdas(function: &Function, name: &str, place: Option<Location>) -> Result<()> {
    let Some((_, expected)) = LAMBDAS.iter().find(|(known, _)| *known == name) else { return Ok(()) };
    let FunctionArguments::List(list) = &function.args else { return Ok(()) };
    let counts = list.args.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(lambda))) => Some(match &lambda.params {
            OneOrManyWithParens::One(_) => 1,
            OneOrManyWithParens::Many(many) => many.len(),
        }),
        _ => None,
    });
    match counts.zip(*expected).find(|(count, expected)| count != *expected) {
        None => Ok(()),
        Some((_, expected)) => {
            let why = format!("Unexpected parameters for function {name}: its lambda takes {expected}");
            Err(named("FUNCTION_NOT_FOUND", place, &why))
        }
    }
}

/// The name of a function, in lower case, and where it is.
fn called(function: &Function) -> (String, Option<Location>) {
    let ident = match function.name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    };
    ident.map_or_else(|| (String::new(), None), |ident| (ident.value.to_lowercase(), Some(ident.span.start)))
}
