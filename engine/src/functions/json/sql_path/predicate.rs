//! Filters: predicates are true, false or unknown, and never fail.

use super::eval::{Context, Evaluation, Item, Kind, Result, Scalar, Stop};
use super::{Comparison, Expr, Predicate};

/// Which kinds of items a side of a comparison has.
#[derive(Default)]
struct Kinds {
    null: bool,
    scalar: bool,
    nested: bool,
}

impl Kinds {
    fn of(sequence: &[Item<'_>]) -> Self {
        let mut kinds = Self::default();
        for item in sequence {
            match item.kind() {
                Kind::Null => kinds.null = true,
                Kind::Array | Kind::Object => kinds.nested = true,
                _ => kinds.scalar = true,
            }
        }
        kinds
    }
}

/// An error of a path inside of a predicate makes it unknown.
fn known<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Stop::Path(_)) => Ok(None),
        Err(refused) => Err(refused),
    }
}

impl<'n> Evaluation<'n> {
    /// What `predicate` says; `None` is unknown.
    pub(super) fn holds(&self, predicate: &'n Predicate, context: Context<'_, 'n>) -> Result<Option<bool>> {
        self.visit(1)?;
        match predicate {
            Predicate::And(all) => self.until(all, false, context),
            Predicate::Or(any) => self.until(any, true, context),
            Predicate::Not(inner) => Ok(self.holds(inner, context)?.map(|holds| !holds)),
            Predicate::IsUnknown(inner) => Ok(Some(self.holds(inner, context)?.is_none())),
            Predicate::Exists(path) => Ok(known(self.sequence(path, context))?.map(|found| !found.is_empty())),
            Predicate::Compare(comparison, left, right) => self.compared(*comparison, left, right, context),
            Predicate::StartsWith(whole, prefix) => self.starts_with(whole, prefix, context),
        }
    }

    /// `decides` where one part is that; unknown where one is unknown and none decides.
    fn until(&self, parts: &'n [Predicate], decides: bool, context: Context<'_, 'n>) -> Result<Option<bool>> {
        let mut is_unknown = false;
        for part in parts {
            match self.holds(part, context)? {
                Some(holds) if holds == decides => return Ok(Some(decides)),
                Some(_) => {}
                None => is_unknown = true,
            }
        }
        Ok((!is_unknown).then_some(!decides))
    }

    fn compared(
        &self,
        comparison: Comparison,
        left: &'n Expr,
        right: &'n Expr,
        context: Context<'_, 'n>,
    ) -> Result<Option<bool>> {
        let side = |path| known(self.sequence(path, context).and_then(|found| self.unwrapped(found)));
        let Some(left) = side(left)? else { return Ok(None) };
        let Some(right) = side(right)? else { return Ok(None) };
        if left.is_empty() || right.is_empty() {
            return Ok(Some(false));
        }
        let (left_kinds, right_kinds) = (Kinds::of(&left), Kinds::of(&right));
        let is_mixed = |one: &Kinds, other: &Kinds| one.nested && (other.nested || other.scalar);
        if is_mixed(&left_kinds, &right_kinds) || is_mixed(&right_kinds, &left_kinds) {
            return Ok(None);
        }
        let beside_null = |one: &Kinds, other: &Kinds| one.null && (other.scalar || other.nested);
        let mut found = match comparison {
            Comparison::Equal => left_kinds.null && right_kinds.null,
            Comparison::NotEqual => beside_null(&left_kinds, &right_kinds) || beside_null(&right_kinds, &left_kinds),
            _ => false,
        };
        if found && self.is_lax() || !left_kinds.scalar || !right_kinds.scalar {
            return Ok(Some(found));
        }
        let scalars = |items: &[Item<'n>]| items.iter().filter_map(|item| item.scalar().transpose()).collect();
        let left: std::result::Result<Vec<Scalar<'n>>, String> = scalars(&left);
        let right: std::result::Result<Vec<Scalar<'n>>, String> = scalars(&right);
        let (Ok(left), Ok(right)) = (left, right) else { return Ok(None) };
        for one in &left {
            for other in &right {
                self.visit(1)?;
                match compare(comparison, one, other) {
                    None => return Ok(None),
                    Some(true) if self.is_lax() => return Ok(Some(true)),
                    Some(holds) => found |= holds,
                }
            }
        }
        Ok(Some(found))
    }

    fn starts_with(&self, whole: &'n Expr, prefix: &'n Expr, context: Context<'_, 'n>) -> Result<Option<bool>> {
        let Some(whole) = known(self.sequence(whole, context))? else { return Ok(None) };
        let Some(prefix) = known(self.sequence(prefix, context))? else { return Ok(None) };
        let [prefix] = prefix.as_slice() else { return Ok(None) };
        let Some(prefix) = prefix.text() else { return Ok(None) };
        let mut found = false;
        for item in &self.unwrapped(whole)? {
            match item.text() {
                None => return Ok(None),
                Some(text) if text.starts_with(prefix) && self.is_lax() => return Ok(Some(true)),
                Some(text) => found |= text.starts_with(prefix),
            }
        }
        Ok(Some(found))
    }
}

/// What a comparison says of two values; `None` for types that have no order with each other.
fn compare(comparison: Comparison, left: &Scalar<'_>, right: &Scalar<'_>) -> Option<bool> {
    match (left, right) {
        (Scalar::Bool(left), Scalar::Bool(right)) => Some(comparison.holds(Some(left.cmp(right)))),
        (Scalar::Text(left), Scalar::Text(right)) => Some(comparison.holds(Some(left.cmp(right)))),
        (Scalar::Number(left), Scalar::Number(right)) => Some(left.compare(comparison, *right)),
        _ => None,
    }
}
