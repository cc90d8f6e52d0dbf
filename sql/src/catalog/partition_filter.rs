//! Conditions on partition values that a catalog can look at: never more than what the query asked, often less.

use std::cmp::Ordering;
use std::fmt::Write as _;

/// Longest expression that Glue takes, in bytes.
const MAX_EXPRESSION_BYTES: usize = 2_048;

/// Conditions that all must hold; none holds always.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionFilter {
    /// The conditions.
    pub all: Vec<Condition>,
}

/// One condition on one partition key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// The partition key.
    pub column: String,
    /// How it compares.
    pub comparison: Comparison,
    /// With what, one of them for a comparison to hold; one value unless the comparison is [`Comparison::Equal`].
    pub values: Vec<String>,
    /// Whether values are compared as whole numbers and not as text.
    pub numeric: bool,
}

/// A comparison of a partition's value with a literal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `=`, or `IN` with several values.
    Equal,
    /// `<>`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
}

impl Comparison {
    /// Its SQL sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether it holds for values in this order.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Condition {
    /// Whether `value` may meet it; what cannot be compared may.
    pub fn may_hold(&self, value: &str) -> bool {
        self.values.iter().any(|wanted| {
            let order = match self.numeric {
                false => Some(value.cmp(wanted)),
                true => value.parse::<i128>().ok().zip(wanted.parse::<i128>().ok()).map(|(a, b)| a.cmp(&b)),
            };
            order.is_none_or(|order| self.comparison.holds(order))
        })
    }

    fn expression(&self) -> String {
        let literal = |value: &String| match self.numeric {
            true => value.clone(),
            false => format!("'{}'", value.replace('\'', "''")),
        };
        match self.values.as_slice() {
            [value] => format!("{} {} {}", self.column, self.comparison.sign(), literal(value)),
            values => format!("{} IN ({})", self.column, values.iter().map(literal).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl PartitionFilter {
    /// Whether a partition with `values` of `keys` may meet all conditions.
    pub fn may_hold(&self, keys: &[String], values: &[String]) -> bool {
        self.all.iter().all(|condition| {
            let place = keys.iter().position(|key| *key == condition.column);
            place.and_then(|place| values.get(place)).is_none_or(|value| condition.may_hold(value))
        })
    }

    /// Glue's `Expression`, of as many conditions as fit; `None` without any.
    pub fn expression(&self) -> Option<String> {
        let mut text = String::new();
        for condition in &self.all {
            let is_plain = condition.column.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let next = condition.expression();
            if is_plain && text.len() + next.len() + 5 <= MAX_EXPRESSION_BYTES {
                let _ = write!(text, "{}{next}", if text.is_empty() { "" } else { " AND " });
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(comparison: Comparison, values: &[&str], numeric: bool) -> Condition {
        Condition { column: "p".into(), comparison, values: values.iter().map(ToString::to_string).collect(), numeric }
    }

    #[test]
    fn numbers_compare_as_numbers_and_text_as_text() {
        assert!(condition(Comparison::Greater, &["9"], true).may_hold("10"));
        assert!(!condition(Comparison::Greater, &["9"], false).may_hold("10"));
        assert!(condition(Comparison::Equal, &["7"], true).may_hold("007"));
        assert!(condition(Comparison::Equal, &["7"], true).may_hold("__HIVE_DEFAULT_PARTITION__"));
    }

    #[test]
    fn the_expression_quotes_text_and_stays_within_the_limit() {
        let filter = PartitionFilter {
            all: vec![condition(Comparison::Equal, &["o'x", "b"], false), condition(Comparison::LessOrEqual, &["3"], true)],
        };
        assert_eq!(filter.expression().as_deref(), Some("p IN ('o''x', 'b') AND p <= 3"));
        let long = condition(Comparison::Equal, &[&"x".repeat(3_000)], false);
        assert_eq!(PartitionFilter { all: vec![long] }.expression(), None);
        assert_eq!(PartitionFilter::default().expression(), None);
    }
}
