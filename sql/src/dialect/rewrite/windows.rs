//! Windows that a SELECT names: each is written out where it is used, so that one may build on another.

use super::change_own;
use crate::message;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, OrderBy, Query, Select, SetExpr, WindowSpec, WindowType,
};
use engine::Result;

/// Writes out the windows of the WINDOW clause of `query`.
///
/// # Errors
/// [`engine::ErrorKind::InvalidQuery`] for names that are not there, and for windows that change what they build on.
pub(super) fn write_out(query: &mut Query) -> Result<()> {
    match query.body.as_mut() {
        SetExpr::Select(select) => write_out_of(select, query.order_by.as_mut()),
        _ => Ok(()),
    }
}

/// The same of a SELECT, with the ORDER BY that follows it.
pub(super) fn write_out_of(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
    let mut named = Named { windows: Vec::with_capacity(select.named_window.len()) };
    for NamedWindowDefinition(name, definition) in std::mem::take(&mut select.named_window) {
        if named.find(&name).is_some() {
            return Err(message::at(Some(name.span.start), &format!("the window {name} is named twice")));
        }
        let window = match definition {
            NamedWindowExpr::NamedWindow(base) => named.get(&base)?.clone(),
            NamedWindowExpr::WindowSpec(window) => named.resolved(window)?,
        };
        named.windows.push((name, window));
    }
    // Windows of queries inside are their own.
    for item in &mut select.projection {
        change_own(item, |expression| named.write_out(expression))?;
    }
    if let Some(condition) = &mut select.qualify {
        change_own(condition, |expression| named.write_out(expression))?;
    }
    match order_by {
        Some(order_by) => change_own(order_by, |expression| named.write_out(expression)),
        None => Ok(()),
    }
}

/// The windows that have a name so far, written out.
struct Named {
    windows: Vec<(Ident, WindowSpec)>,
}

impl Named {
    fn find(&self, name: &Ident) -> Option<&WindowSpec> {
        let is_same = |(known, _): &&(Ident, WindowSpec)| known.value.eq_ignore_ascii_case(&name.value);
        self.windows.iter().find(is_same).map(|(_, window)| window)
    }

    fn get(&self, name: &Ident) -> Result<&WindowSpec> {
        self.find(name).ok_or_else(|| message::at(Some(name.span.start), &format!("the window {name} does not exist")))
    }

    /// `window` with what the one that it builds on has.
    fn resolved(&self, mut window: WindowSpec) -> Result<WindowSpec> {
        let Some(name) = window.window_name.take() else { return Ok(window) };
        let base = self.get(&name)?;
        let wrong = |why: &str| Err(message::at(Some(name.span.start), &format!("a window over {name} {why}")));
        if !window.partition_by.is_empty() {
            return wrong("has no PARTITION BY of its own");
        }
        if !window.order_by.is_empty() && !base.order_by.is_empty() {
            return wrong("has no ORDER BY of its own, because that one has one");
        }
        if base.window_frame.is_some() {
            return wrong("is not possible, because that one has a frame");
        }
        window.partition_by.clone_from(&base.partition_by);
        if window.order_by.is_empty() {
            window.order_by.clone_from(&base.order_by);
        }
        Ok(window)
    }

    /// Writes out the window of `expression`, if it is a call over one.
    fn write_out(&self, expression: &mut Expr) -> Result<()> {
        let Expr::Function(function) = expression else { return Ok(()) };
        let window = match function.over.take() {
            None => return Ok(()),
            Some(WindowType::NamedWindow(name)) => self.get(&name)?.clone(),
            Some(WindowType::WindowSpec(window)) => self.resolved(window)?,
        };
        function.over = Some(WindowType::WindowSpec(window));
        Ok(())
    }
}
