//! The parsed tree with Athena's forms put into DataFusion's, and what would mean something else refused.
//!
//! Runs once on each query, before names and types are known; what needs types waits for `operators` and `casts`.
//! Rewriting a rewritten tree changes nothing.

mod attempt;
mod expression;
mod fields;
mod groups;
mod guard;
mod joins;
mod labels;
mod literal;
mod select;
mod windows;
mod zones;

pub(crate) use fields::set_apart;
pub(crate) use joins::has_star_over_using;
pub(crate) use labels::{ANONYMOUS, label, with_unique_names};
pub(crate) use select::{binary, take_sample};

use crate::message;
use crate::statement::Limits;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query, Select,
    Spanned, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Location;
use engine::{Error, ErrorKind, Result};
use std::ops::ControlFlow;

/// Puts `tree` into DataFusion's forms.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] for forms that are refused, [`ErrorKind::LimitExceeded`] when the tree grows over `limits`.
pub(crate) fn rewrite<T: VisitMut>(tree: &mut T, limits: Limits) -> Result<()> {
    let mut rewriter = Rewriter { limits, copied_bytes: 0, keeps_values: false, keeps_now: false };
    match tree.visit(&mut rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriter {
    limits: Limits,
    /// Text of the expressions that were copied to more places than they were written in.
    copied_bytes: usize,
    /// Whether the query that is entered next is a list of rows that a query was put around.
    keeps_values: bool,
    /// Whether the call of `now` that comes next is what a moment has been made of already.
    keeps_now: bool,
}

impl Rewriter {
    fn copy(&mut self, expression: &Expr) -> Result<Expr> {
        self.copied_bytes = self.copied_bytes.saturating_add(expression.to_string().len());
        if self.copied_bytes > self.limits.max_bytes {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("the statement is longer than {} bytes when its forms are spelled out", self.limits.max_bytes),
            ));
        }
        Ok(expression.clone())
    }
}

/// Has `change` look at each expression of `tree` that is in no query within it, from the outside in.
fn change_own(tree: &mut impl VisitMut, change: impl FnMut(&mut Expr) -> Result<()>) -> Result<()> {
    struct Own<F> {
        /// How many queries the walk is inside of.
        depth: usize,
        change: F,
    }
    impl<F: FnMut(&mut Expr) -> Result<()>> VisitorMut for Own<F> {
        type Break = Error;

        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
            if self.depth > 0 { ControlFlow::Continue(()) } else { flow((self.change)(expression)) }
        }
    }
    match tree.visit(&mut Own { depth: 0, change }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Rewriter {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if std::mem::take(&mut self.keeps_values) {
            return ControlFlow::Continue(());
        }
        flow(select::rewrite_query(query).and_then(|()| self.guard_order(query)))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        flow(self.rewrite_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        self.keeps_values = select::is_wrapped_values(factor);
        flow(select::rewrite_table(factor))
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        self.keeps_now |= expression::is_moment(expression);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        flow(self.rewrite_expression(expression))
    }
}

/// Where `node` starts; none for what was not written.
fn place(node: &impl Spanned) -> Option<Location> {
    let start = node.span().start;
    (start.line > 0).then_some(start)
}

fn not_supported(node: &impl Spanned, what: &str) -> Error {
    message::not_supported(place(node), what)
}

/// A call of `name`, which has nothing but arguments.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_string()).into())
}

fn number(value: u64) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).into())
}

fn nested(expression: Expr) -> Expr {
    Expr::Nested(Box::new(expression))
}

/// The expression in place of `target`, which is moved out.
fn take(target: &mut Expr) -> Expr {
    std::mem::replace(target, Expr::Value(Value::Null.into()))
}

/// The query of `sql`, a text of this crate.
fn template(sql: &str) -> Result<Box<Query>> {
    let parsed =
        Parser::new(&crate::dialect::AthenaDialect::default()).try_with_sql(sql).and_then(|mut parser| parser.parse_query());
    parsed.map_err(|error| Error::internal(format!("a query that this program wrote cannot be read: {error}")))
}

/// The name of a function of one part, in lower case.
fn function_name(function: &Function) -> String {
    match function.name.0.as_slice() {
        [part] => part.as_ident().map(|ident| ident.value.to_lowercase()).unwrap_or_default(),
        _ => String::new(),
    }
}

/// The arguments of a call that has nothing but plain arguments.
fn plain_args(function: &Function) -> Option<Vec<&Expr>> {
    let is_plain = function.filter.is_none()
        && function.over.is_none()
        && function.null_treatment.is_none()
        && function.within_group.is_empty()
        && matches!(function.parameters, FunctionArguments::None);
    let FunctionArguments::List(list) = &function.args else { return None };
    if !is_plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let expression = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expression)) => Some(expression),
        _ => None,
    };
    list.args.iter().map(expression).collect()
}
