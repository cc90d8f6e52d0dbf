//! Where operators and casts are in a statement's text; a tree knows only where operands are.

use crate::dialect::tokens::Tokens;
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

/// Places in the order of the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    operators: Vec<Location>,
    casts: Vec<Location>,
}

impl Places {
    pub(super) fn of(tokens: &Tokens<'_>) -> Self {
        let mut places = Self::default();
        for index in 0..tokens.len() {
            match tokens.get(index) {
                Some(
                    Token::Plus
                    | Token::Minus
                    | Token::Mul
                    | Token::Div
                    | Token::Mod
                    | Token::StringConcat
                    | Token::Eq
                    | Token::Neq
                    | Token::Lt
                    | Token::Gt
                    | Token::LtEq
                    | Token::GtEq,
                ) => places.operators.push(tokens.place(index)),
                _ if matches!(tokens.word(index).as_str(), "CAST" | "TRY_CAST") => places.casts.push(tokens.place(index)),
                _ => {}
            }
        }
        places
    }

    /// The first operator from `end` on, where its left side ends.
    pub(crate) fn operator_behind(&self, end: Location) -> Option<Location> {
        self.operators.get(self.operators.partition_point(|place| *place < end)).copied()
    }

    /// The last cast before `start`, where its value starts.
    pub(crate) fn cast_before(&self, start: Location) -> Option<Location> {
        self.casts.get(self.casts.partition_point(|place| *place < start).checked_sub(1)?).copied()
    }
}
