//! Fields of what the planner takes for a relation: `x.a` of a parameter `x`, and of a column of the query outside.

use super::{nested, take, text};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, LambdaFunction, LambdaFunctionParameter, LambdaSyntax, OneOrManyWithParens, VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

/// `(x -> x + 1)` as the lambda that it is.
pub(super) fn without_brackets(expression: &mut Expr) {
    if let Expr::Nested(inner) = expression
        && matches!(inner.as_ref(), Expr::Lambda(_))
    {
        *expression = take(inner);
    }
}

/// `x.a` in the body of a lambda, whose parameter is `x`.
pub(super) fn of_parameters(lambda: &mut LambdaFunction) {
    let names: Vec<Ident> = lambda.params.iter().map(|parameter| parameter.name.clone()).collect();
    let is_parameter = |first: &Ident| names.iter().any(|name| name.value.eq_ignore_ascii_case(&first.value));
    set_apart(&mut lambda.body, |path| path.first().is_some_and(is_parameter).then_some(1));
}

/// `parameter -> body`.
pub(super) fn lambda(parameter: &str, body: Expr) -> Expr {
    let parameter = LambdaFunctionParameter { name: Ident::new(parameter), data_type: None };
    Expr::Lambda(LambdaFunction {
        params: OneOrManyWithParens::One(parameter),
        body: Box::new(body),
        syntax: LambdaSyntax::Arrow,
    })
}

/// Writes `a.b.c` as the field `c` of `a.b` where `length` of the three names is 2. Gives whether there was any.
pub(crate) fn set_apart<T: VisitMut>(tree: &mut T, length: impl Fn(&[Ident]) -> Option<usize>) -> bool {
    let mut apart = Apart { length, found: false };
    // The walk never breaks off.
    let _: ControlFlow<()> = tree.visit(&mut apart);
    apart.found
}

struct Apart<F> {
    length: F,
    found: bool,
}

impl<F: Fn(&[Ident]) -> Option<usize>> VisitorMut for Apart<F> {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let (mut path, chain) = match &*expression {
            Expr::CompoundIdentifier(path) => (path.clone(), Vec::new()),
            Expr::CompoundFieldAccess { root, access_chain } => match root.as_ref() {
                Expr::Identifier(first) => (vec![first.clone()], access_chain.clone()),
                _ => return ControlFlow::Continue(()),
            },
            _ => return ControlFlow::Continue(()),
        };
        let mut chain = chain.into_iter().peekable();
        while let Some(AccessExpr::Dot(Expr::Identifier(name))) = chain.next_if(is_name) {
            path.push(name);
        }
        let Some(length) = (self.length)(&path).filter(|length| (1..path.len()).contains(length)) else {
            return ControlFlow::Continue(());
        };
        let fields = path.split_off(length);
        let root = if path.len() == 1 { path.pop().map(Expr::Identifier) } else { Some(Expr::CompoundIdentifier(path)) };
        let fields = fields.into_iter().map(|field| AccessExpr::Dot(text(&field.value.to_lowercase())));
        self.found = true;
        *expression = Expr::CompoundFieldAccess {
            root: Box::new(nested(root.unwrap_or_else(|| take(expression)))),
            access_chain: fields.chain(chain).collect(),
        };
        ControlFlow::Continue(())
    }
}

fn is_name(access: &AccessExpr) -> bool {
    matches!(access, AccessExpr::Dot(Expr::Identifier(_)))
}
