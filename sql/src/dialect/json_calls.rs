//! The functions of SQL/JSON, whose arguments have a syntax of their own, as calls that the parser reads: clauses become words of
//! the first argument, keys and values arguments. `engine/src/functions/json` says what those mean.
//!
//! Done with tokens: the parser has a part of this syntax, tries it twice at each level, and keeps less than there is to know.

use super::tokens::{Edits, Tokens};
use datafusion::sql::sqlparser::tokenizer::Token;
use engine::{Error, Result};
use std::collections::BTreeMap;

/// Types of RETURNING.
const TYPES: [&str; 17] = [
    "VARCHAR",
    "CHAR",
    "STRING",
    "VARBINARY",
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "INT",
    "BIGINT",
    "REAL",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "DATE",
    "TIME",
    "TIMESTAMP",
];

/// Words behind which an operand is missing.
const OPEN_WORDS: [&str; 17] = [
    "AND", "OR", "NOT", "IN", "IS", "LIKE", "BETWEEN", "ESCAPE", "CASE", "WHEN", "THEN", "ELSE", "FROM", "DISTINCT", "AS",
    "SELECT", "WHERE",
];

/// Rewrites the call that begins at `index` with its name.
///
/// # Errors
/// For clauses that are none of Trino's, or that do not go together.
pub(super) fn rewrite(tokens: &Tokens<'_>, closings: &BTreeMap<usize, usize>, index: usize, edits: &mut Edits) -> Result<()> {
    let is_qualified = index.checked_sub(1).and_then(|before| tokens.get(before)) == Some(&Token::Period);
    let open = index + 1;
    let Some(close) = closings.get(&open).filter(|_| !is_qualified && tokens.get(open) == Some(&Token::LParen)) else {
        return Ok(());
    };
    let mut call = Call { tokens, closings, index, open, close: *close, at: open + 1, edits };
    match tokens.word(index).as_str() {
        "JSON_OBJECT" => call.object(),
        "JSON_ARRAY" => call.array(),
        function => call.path(function),
    }
}

struct Call<'a, 'b> {
    tokens: &'a Tokens<'b>,
    closings: &'a BTreeMap<usize, usize>,
    /// Of the name.
    index: usize,
    open: usize,
    close: usize,
    /// Where clauses are read.
    at: usize,
    edits: &'a mut Edits,
}

/// FORMAT JSON, from where on, and its encoding.
struct Format {
    start: usize,
    encoding: Option<String>,
}

/// What is behind RETURNING.
struct Returning {
    word: String,
    tokens: Vec<Token>,
    encoding: Option<String>,
}

fn word(text: &str) -> Token {
    Token::make_word(text, None)
}

fn keyword(text: &str) -> Token {
    Token::make_keyword(text)
}

fn text(text: &str) -> Token {
    Token::SingleQuotedString(text.to_string())
}

impl Call<'_, '_> {
    /// Behind the token at `at`, or behind the group that it opens.
    fn next(&self, at: usize) -> usize {
        self.closings.get(&at).map_or(at, |close| *close) + 1
    }

    /// Whether an operand may end with the token before `at`.
    fn is_behind_operand(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else { return false };
        match self.tokens.get(before) {
            Some(Token::Word(_)) => !OPEN_WORDS.contains(&self.tokens.word(before).as_str()),
            Some(Token::RParen | Token::RBracket | Token::Number(..) | Token::Placeholder(_)) => true,
            Some(Token::SingleQuotedString(_) | Token::HexStringLiteral(_) | Token::UnicodeStringLiteral(_)) => true,
            Some(_) | None => false,
        }
    }

    /// The first place from `from` to before `to`, outside of groups, that `is` finds.
    fn find(&self, from: usize, to: usize, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = from;
        while at < to {
            if is(at) {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    fn is_comma(&self, at: usize) -> bool {
        self.tokens.get(at) == Some(&Token::Comma)
    }

    /// Whether `words` are next; they are left out then.
    fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.at + words.len() <= self.close && self.tokens.are(self.at, words);
        if found {
            self.edits.remove(self.at..self.at + words.len());
            self.at += words.len();
        }
        found
    }

    fn invalid(&self, at: usize, what: &str) -> Error {
        let place = self.tokens.place(at);
        Error::invalid(format!("{what} (line {}:{})", place.line, place.column))
    }

    /// That all clauses were read.
    fn end(&self) -> Result<()> {
        if self.at == self.close { Ok(()) } else { Err(self.tokens.expected(self.at, "')'")) }
    }

    /// FORMAT JSON at the end of what is between `from` and `to`.
    fn format(&self, from: usize, to: usize) -> Result<Option<Format>> {
        let is_format = |at: usize| at > from && self.tokens.are(at, &["FORMAT", "JSON"]) && self.is_behind_operand(at);
        let Some(start) = self.find(from, to, is_format) else { return Ok(None) };
        let (encoding, end) = self.encoding(start + 2)?;
        if end != to { Err(self.tokens.expected(end, "','")) } else { Ok(Some(Format { start, encoding })) }
    }

    /// An encoding behind FORMAT JSON, and where it ends.
    fn encoding(&self, at: usize) -> Result<(Option<String>, usize)> {
        if self.tokens.word(at) != "ENCODING" {
            return Ok((None, at));
        }
        match self.tokens.word(at + 1).as_str() {
            name @ ("UTF8" | "UTF16" | "UTF32") => Ok((Some(name.to_string()), at + 2)),
            _ => Err(self.tokens.expected(at + 1, "'UTF8', 'UTF16', 'UTF32'")),
        }
    }

    /// Whether what is between `from` and `to` is a call that gives JSON, in parentheses or not.
    fn gives_json(&self, mut from: usize, mut to: usize) -> bool {
        while self.tokens.get(from) == Some(&Token::LParen) && self.next(from) == to {
            from += 1;
            to -= 1;
        }
        let is_name = matches!(self.tokens.word(from).as_str(), "JSON_QUERY" | "JSON_OBJECT" | "JSON_ARRAY");
        is_name && self.tokens.get(from + 1) == Some(&Token::LParen) && self.next(from + 1) == to
    }

    /// Makes a value of what is between `from` and `to`, of JSON or by the function `plain`. Whether it is JSON.
    fn value(&mut self, from: usize, to: usize, plain: &str) -> Result<bool> {
        let format = self.format(from, to)?;
        let end = format.as_ref().map_or(to, |format| format.start);
        let is_json = format.is_some() || self.gives_json(from, end);
        self.edits.remove(end..to);
        self.edits.open(from, [word(if is_json { "owlet_json_text" } else { plain }), Token::LParen]);
        let encoding = format.and_then(|format| format.encoding);
        let encoding = encoding.map(|encoding| [Token::Comma, text(&encoding)]);
        self.edits.close(end, encoding.into_iter().flatten().chain([Token::RParen]));
        Ok(is_json)
    }

    /// Where members or items end and clauses begin.
    fn clauses(&self) -> usize {
        let is_clause = |at: usize| {
            let tokens = self.tokens;
            let is_known = tokens.are(at, &["NULL", "ON", "NULL"])
                || tokens.are(at, &["ABSENT", "ON", "NULL"])
                || tokens.are(at, &["WITH", "UNIQUE"])
                || tokens.are(at, &["WITHOUT", "UNIQUE"])
                || tokens.word(at) == "RETURNING" && TYPES.contains(&tokens.word(at + 1).as_str());
            is_known && (at == self.open + 1 || self.is_behind_operand(at))
        };
        self.find(self.open + 1, self.close, is_clause).unwrap_or(self.close)
    }

    /// The parts between commas, up to `end`.
    fn parts(&self, end: usize) -> Vec<(usize, usize)> {
        let (mut parts, mut from) = (Vec::new(), self.open + 1);
        while let Some(comma) = self.find(from, end, |at| self.is_comma(at)) {
            parts.push((from, comma));
            from = comma + 1;
        }
        if from < end || !parts.is_empty() {
            parts.push((from, end));
        }
        parts
    }

    /// NULL ON NULL or ABSENT ON NULL.
    fn on_null(&mut self, default: &'static str) -> &'static str {
        if self.accept(&["NULL", "ON", "NULL"]) {
            "NULL"
        } else if self.accept(&["ABSENT", "ON", "NULL"]) {
            "ABSENT"
        } else {
            default
        }
    }

    fn object(&mut self) -> Result<()> {
        let end = self.clauses();
        let members = self.parts(end);
        self.at = end;
        let on_null = self.on_null("NULL");
        let is_unique = self.accept(&["WITH", "UNIQUE"]);
        if is_unique || self.accept(&["WITHOUT", "UNIQUE"]) {
            self.accept(&["KEYS"]);
        }
        let returning = self.returning()?;
        self.end()?;
        let clauses = if is_unique { format!("{on_null} UNIQUE") } else { on_null.to_string() };
        self.begin("owlet_json_object", &clauses, returning, !members.is_empty())?;
        for (from, to) in members {
            let is_json = self.member(from, to)?;
            if is_json && is_unique {
                let what = "WITH UNIQUE KEYS behavior is not supported for JSON_OBJECT function when input expression has FORMAT";
                return Err(self.tokens.not_supported(self.index, what));
            }
        }
        Ok(())
    }

    /// `k : v`, `k VALUE v` or `KEY k VALUE v`. Whether the value is JSON.
    fn member(&mut self, from: usize, to: usize) -> Result<bool> {
        let is_value = |at: usize| self.tokens.word(at) == "VALUE" && self.is_behind_operand(at);
        // KEY and VALUE may be names of columns, too.
        let has_key = self.tokens.word(from) == "KEY"
            && match self.tokens.get(from + 1) {
                Some(Token::Word(_)) if self.tokens.word(from + 1) == "VALUE" => {
                    let is_followed = self.tokens.word(from + 2) == "VALUE" && from + 3 < to;
                    is_followed || self.tokens.get(from + 2) == Some(&Token::Period)
                }
                Some(Token::Word(_)) if self.tokens.word(from + 1) == "CASE" => true,
                Some(Token::Word(_)) => !OPEN_WORDS.contains(&self.tokens.word(from + 1).as_str()),
                Some(Token::SingleQuotedString(_) | Token::UnicodeStringLiteral(_) | Token::Placeholder(_)) => true,
                Some(Token::LParen) => true,
                _ => false,
            };
        let start = from + usize::from(has_key);
        let is_split = |at: usize| at > start && (self.tokens.get(at) == Some(&Token::Colon) && !has_key || is_value(at));
        let Some(split) = self.find(start, to, is_split) else {
            return Err(self.tokens.expected(to, "':', 'VALUE'"));
        };
        if split + 1 >= to {
            return Err(self.tokens.expected(to, "<expression>"));
        }
        self.edits.remove(from..start);
        self.edits.remove(split..split + 1);
        self.edits.open(split, [Token::Comma]);
        self.value(split + 1, to, "owlet_json_part")
    }

    fn array(&mut self) -> Result<()> {
        let end = self.clauses();
        let items = self.parts(end);
        self.at = end;
        let on_null = self.on_null("ABSENT");
        let returning = self.returning()?;
        self.end()?;
        self.begin("owlet_json_array", on_null, returning, !items.is_empty())?;
        for (from, to) in items {
            if from >= to {
                return Err(self.tokens.expected(to, "<expression>"));
            }
            self.value(from, to, "owlet_json_part")?;
        }
        Ok(())
    }

    /// Puts `name` and the clauses in place, and around them what makes the type behind RETURNING of a text.
    fn begin(&mut self, name: &str, clauses: &str, returning: Option<Returning>, has_more: bool) -> Result<()> {
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        if let Some(returning) = returning {
            let encoding = returning.encoding.as_deref();
            match returning.word.as_str() {
                "VARBINARY" => {
                    before = vec![word("owlet_json_bytes"), Token::LParen];
                    behind = vec![Token::Comma, text(encoding.unwrap_or("UTF8")), Token::RParen];
                }
                "VARCHAR" | "STRING" if encoding.is_none() => {
                    before = vec![keyword("CAST"), Token::LParen];
                    behind = std::iter::once(keyword("AS")).chain(returning.tokens).chain([Token::RParen]).collect();
                }
                other => {
                    let encoding = encoding.map(|encoding| format!(" ENCODING {encoding}")).unwrap_or_default();
                    let other = other.to_lowercase();
                    let what = format!("TYPE_MISMATCH: Cannot output JSON value as {other} using formatting JSON{encoding}");
                    return Err(self.invalid(self.index, &what));
                }
            }
        }
        before.push(word(name));
        self.edits.remove(self.index..self.index + 1);
        self.edits.open(self.index, before);
        self.edits.open(self.open + 1, std::iter::once(text(clauses)).chain(has_more.then_some(Token::Comma)));
        self.edits.close(self.close + 1, behind);
        Ok(())
    }

    /// RETURNING with a type and, for text and bytes, FORMAT JSON.
    fn returning(&mut self) -> Result<Option<Returning>> {
        let start = self.at;
        if start >= self.close || self.tokens.word(start) != "RETURNING" {
            return Ok(None);
        }
        let name = self.tokens.word(start + 1);
        if !TYPES.contains(&name.as_str()) {
            return Err(self.tokens.not_supported(start + 1, "this type behind RETURNING"));
        }
        if name == "CHAR" {
            return Err(self.tokens.not_supported(start + 1, "RETURNING char: use VARCHAR"));
        }
        let mut end = start + 2;
        if name == "DOUBLE" && self.tokens.word(end) == "PRECISION" {
            end += 1;
        }
        if self.tokens.get(end) == Some(&Token::LParen) {
            end = self.next(end);
        }
        if self.tokens.are(end, &["WITH", "TIME", "ZONE"]) {
            return Err(self.tokens.not_supported(end, "RETURNING a type with time zone: cast the text"));
        }
        if self.tokens.are(end, &["WITHOUT", "TIME", "ZONE"]) {
            end += 3;
        }
        let tokens: Vec<Token> = (start + 1..end).filter_map(|at| self.tokens.get(at).cloned()).collect();
        let mut encoding = None;
        if self.tokens.are(end, &["FORMAT", "JSON"]) {
            (encoding, end) = self.encoding(end + 2)?;
        }
        self.edits.remove(start..end.min(self.close));
        self.at = end;
        Ok(Some(Returning { word: name, tokens, encoding }))
    }

    /// `json_exists`, `json_query` and `json_value`. With a document and a path only, they are functions as others.
    fn path(&mut self, function: &str) -> Result<()> {
        let Some(comma) = self.find(self.open + 1, self.close, |at| self.is_comma(at)) else { return Ok(()) };
        let format = self.format(self.open + 1, comma)?;
        let is_literal = matches!(self.tokens.get(comma + 1), Some(Token::SingleQuotedString(_)));
        self.at = comma + 2;
        if !is_literal || format.is_none() && self.at == self.close {
            return Ok(());
        }
        // What comes first at a place is inserted first.
        let rest = self.at;
        let passed = self.passing(rest)?;
        match function {
            "JSON_EXISTS" => self.exists()?,
            "JSON_QUERY" => self.query()?,
            _ => self.json_value()?,
        }
        self.end()?;
        if let Some(Format { start, encoding }) = format {
            self.edits.remove(start..comma);
            if let Some(encoding) = encoding {
                self.edits.open(self.open + 1, [word("owlet_json_text"), Token::LParen]);
                self.edits.close(start, [Token::Comma, text(&encoding), Token::RParen]);
            }
        }
        passed.into_iter().try_for_each(|(from, to)| self.value(from, to, "owlet_json_parameter").map(drop))
    }

    /// PASSING with its values; where those are.
    fn passing(&mut self, start: usize) -> Result<Vec<(usize, usize)>> {
        let mut values = Vec::new();
        if self.tokens.word(start) != "PASSING" {
            return Ok(values);
        }
        self.edits.remove(start..start + 1);
        self.edits.open(start, [Token::Comma]);
        loop {
            let from = if values.is_empty() { start + 1 } else { self.at + 1 };
            let is_as = |at: usize| at > from && self.tokens.word(at) == "AS" && self.is_behind_operand(at);
            let Some(to) = self.find(from, self.close, is_as) else {
                return Err(self.tokens.expected(self.close, "'AS'"));
            };
            let name = match self.tokens.get(to + 1) {
                Some(Token::Word(name)) if name.quote_style.is_some() => name.value.clone(),
                Some(Token::Word(name)) => name.value.to_uppercase(),
                _ => return Err(self.tokens.expected(to + 1, "<identifier>")),
            };
            self.edits.open(from, [text(&name), Token::Comma]);
            self.edits.remove(to..to + 2);
            values.push((from, to));
            self.at = to + 2;
            if !self.is_comma(self.at) {
                return Ok(values);
            }
        }
    }

    fn exists(&mut self) -> Result<()> {
        let behaviours = ["TRUE", "FALSE", "UNKNOWN", "ERROR"];
        let chosen = behaviours.into_iter().find(|behaviour| self.accept(&[*behaviour, "ON", "ERROR"]));
        self.begin("owlet_json_exists", chosen.unwrap_or("FALSE"), None, true)
    }

    fn query(&mut self) -> Result<()> {
        let returning = self.returning()?;
        let at = self.at;
        let wrapper = self.wrapper()?;
        let quotes = ["KEEP", "OMIT"].into_iter().find(|quotes| self.accept(&[*quotes, "QUOTES"]));
        if quotes.is_some() {
            self.accept(&["ON", "SCALAR", "STRING"]);
        }
        if let Some(quotes) = quotes.filter(|_| wrapper != "WITHOUT") {
            let what = format!("{quotes} QUOTES behavior specified with WITH {wrapper} ARRAY WRAPPER behavior");
            return Err(self.invalid(at, &format!("INVALID_FUNCTION_ARGUMENT: {what}")));
        }
        let mut behaviours = ["NULL", "NULL"];
        for (chosen, event) in behaviours.iter_mut().zip(["EMPTY", "ERROR"]) {
            let words: [(&str, &[&str]); 4] = [
                ("NULL", &["NULL", "ON", event]),
                ("ERROR", &["ERROR", "ON", event]),
                ("ARRAY", &["EMPTY", "ARRAY", "ON", event]),
                ("OBJECT", &["EMPTY", "OBJECT", "ON", event]),
            ];
            *chosen = words.into_iter().find(|(_, words)| self.accept(words)).map_or("NULL", |(behaviour, _)| behaviour);
        }
        let [on_empty, on_error] = behaviours;
        let clauses = format!("{wrapper} {} {on_empty} {on_error}", quotes.unwrap_or("KEEP"));
        self.begin("owlet_json_query", &clauses, returning, true)
    }

    fn wrapper(&mut self) -> Result<&'static str> {
        let wrapper = if self.accept(&["WITHOUT"]) {
            "WITHOUT"
        } else if self.accept(&["WITH"]) {
            let is_conditional = self.accept(&["CONDITIONAL"]);
            if !is_conditional {
                self.accept(&["UNCONDITIONAL"]);
            }
            if is_conditional { "CONDITIONAL" } else { "UNCONDITIONAL" }
        } else {
            return Ok("WITHOUT");
        };
        self.accept(&["ARRAY"]);
        if self.accept(&["WRAPPER"]) { Ok(wrapper) } else { Err(self.tokens.expected(self.at, "'WRAPPER'")) }
    }

    fn json_value(&mut self) -> Result<()> {
        let returning = self.returning()?;
        let (mut of, mut length) = (vec![keyword("VARCHAR")], "-".to_string());
        if let Some(returning) = returning {
            if returning.encoding.is_some() {
                return Err(self.tokens.expected(self.at, "')'"));
            }
            if let ("VARCHAR", Some(Token::Number(digits, _))) = (returning.word.as_str(), returning.tokens.get(2)) {
                length.clone_from(digits);
            }
            if let ("TIME" | "TIMESTAMP", Some(Token::Number(digits, _))) = (returning.word.as_str(), returning.tokens.get(2))
                && !matches!(digits.as_str(), "0" | "3" | "6" | "9")
            {
                return Err(self.tokens.not_supported(self.at, "RETURNING of other than 0, 3, 6 or 9 digits of a second"));
            }
            of = returning.tokens;
        }
        let on_empty = self.value_behaviour("EMPTY", &of);
        let on_error = self.value_behaviour("ERROR", &of);
        self.begin("owlet_json_value", &format!("{on_empty} {on_error} {length}"), None, true)
    }

    /// What is given ON EMPTY or ON ERROR; its value becomes an argument, NULL where there is none.
    fn value_behaviour(&mut self, event: &str, of: &[Token]) -> &'static str {
        let cast_end = || std::iter::once(keyword("AS")).chain(of.iter().cloned()).chain([Token::RParen]);
        let start = self.at;
        let is_end = |at: usize| at > start + 1 && self.tokens.are(at, &["ON", event]) && self.is_behind_operand(at);
        if start < self.close
            && self.tokens.word(start) == "DEFAULT"
            && let Some(end) = self.find(start + 1, self.close, is_end)
            // Else it is what is given for the other event.
            && self.find(start + 1, end, |at| self.tokens.are(at, &["ON", "EMPTY"]) && self.is_behind_operand(at)).is_none()
        {
            self.edits.remove(start..start + 1);
            self.edits.remove(end..end + 2);
            self.edits.open(start, [Token::Comma, keyword("CAST"), Token::LParen]);
            self.edits.close(end, cast_end());
            self.at = end + 2;
            return "DEFAULT";
        }
        self.edits.open(start, [Token::Comma, keyword("TRY_CAST"), Token::LParen, keyword("NULL")].into_iter().chain(cast_end()));
        if self.accept(&["NULL", "ON", event]) {
            "NULL"
        } else if self.accept(&["ERROR", "ON", event]) {
            "ERROR"
        } else {
            "NULL"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tests::rewritten;
    use super::*;
    use crate::statement::{Limits, parse};
    use engine::clock::Stopwatch;
    use std::time::Duration;

    #[test]
    fn calls_become_ones_that_the_parser_reads() -> Result<()> {
        for (sql, expected) in [
            ("json_object()", "owlet_json_object ( 'NULL' )"),
            (
                "json_object(KEY k VALUE v, 'a' : 1 ABSENT ON NULL WITH UNIQUE KEYS)",
                "owlet_json_object ( 'ABSENT UNIQUE' , k , owlet_json_part ( v ) , 'a' , owlet_json_part ( 1 ) )",
            ),
            (
                "json_object(a : json_array(1) RETURNING varchar(9))",
                "CAST ( owlet_json_object ( 'NULL' , a , owlet_json_text ( owlet_json_array ( 'ABSENT' , owlet_json_part ( 1 ) ) ) ) \
                 AS varchar ( 9 ) )",
            ),
            (
                "json_array((json_array(RETURNING varbinary)), x FORMAT JSON ENCODING UTF16)",
                "owlet_json_array ( 'ABSENT' , owlet_json_text ( ( owlet_json_bytes ( owlet_json_array ( 'ABSENT' ) , 'UTF8' ) ) ) , \
                 owlet_json_text ( x , 'UTF16' ) )",
            ),
            ("json_query(x, 'lax $')", "json_query ( x , 'lax $' )"),
            ("json_query(x, p)", "json_query ( x , p )"),
            ("json_object(key VALUE value)", "owlet_json_object ( 'NULL' , key , owlet_json_part ( value ) )"),
            ("json_object(KEY value VALUE key)", "owlet_json_object ( 'NULL' , value , owlet_json_part ( key ) )"),
            (
                "json_exists(x, 'lax $' PASSING f(1, 2) AS a, y FORMAT JSON AS \"b\" TRUE ON ERROR)",
                "owlet_json_exists ( 'TRUE' , x , 'lax $' , 'A' , owlet_json_parameter ( f ( 1 , 2 ) ) , 'b' , owlet_json_text ( y ) )",
            ),
            (
                "json_query(x FORMAT JSON ENCODING UTF32, 'lax $' WITH CONDITIONAL ARRAY WRAPPER EMPTY ARRAY ON EMPTY ERROR ON ERROR)",
                "owlet_json_query ( 'CONDITIONAL KEEP ARRAY ERROR' , owlet_json_text ( x , 'UTF32' ) , 'lax $' )",
            ),
            (
                "json_value(x, 'lax $' RETURNING decimal(5, 2) DEFAULT 1 + 1 ON ERROR)",
                "owlet_json_value ( 'NULL DEFAULT -' , x , 'lax $' , TRY_CAST ( NULL AS decimal ( 5 , 2 ) ) , \
                 CAST ( 1 + 1 AS decimal ( 5 , 2 ) ) )",
            ),
            (
                "json_value(x, 'lax $' DEFAULT a ON EMPTY)",
                "owlet_json_value ( 'DEFAULT NULL -' , x , 'lax $' , CAST ( a AS VARCHAR ) , TRY_CAST ( NULL AS VARCHAR ) )",
            ),
            ("s.json_array(1)", "s . json_array ( 1 )"),
            ("json_array", "json_array"),
        ] {
            assert_eq!(rewritten(&format!("SELECT {sql}"))?, format!("SELECT {expected}"), "{sql}");
        }
        Ok(())
    }

    #[test]
    fn clauses_that_are_none_are_errors() {
        for (sql, expected) in [
            ("json_object('a')", "expecting: ':', 'VALUE'"),
            ("json_object('a' :)", "expecting: <expression>"),
            ("json_object(KEY 'a' : 1)", "expecting: ':', 'VALUE'"),
            ("json_array(1,)", "expecting: <expression>"),
            ("json_array(1 NULL ON NULL 2)", "expecting: ')'"),
            ("json_array(1 RETURNING varchar ABSENT ON NULL)", "expecting: ')'"),
            ("json_exists(x, 'lax $' NULL ON ERROR)", "expecting: ')'"),
            ("json_exists(x, 'lax $' PASSING 1)", "expecting: 'AS'"),
            ("json_query(x, 'lax $' WITH ARRAY)", "expecting: 'WRAPPER'"),
            ("json_query(x, 'lax $' NULL ON ERROR NULL ON EMPTY)", "expecting: ')'"),
            ("json_value(x, 'lax $' RETURNING varchar FORMAT JSON ENCODING UTF8)", "expecting: ')'"),
            ("json_query(x FORMAT JSON ENCODING LATIN1, 'lax $')", "expecting: 'UTF8'"),
        ] {
            let error = rewritten(&format!("SELECT {sql}")).err().map(|error| error.message).unwrap_or_default();
            assert!(error.contains(expected), "{sql}: {error}");
        }
    }

    #[test]
    fn long_and_deep_calls_take_bounded_time() {
        let deep = |depth: usize| format!("SELECT {}1{}", "json_object('k' : ".repeat(depth), ")".repeat(depth));
        assert!(rewritten(&deep(150)).is_ok());
        assert!(rewritten(&deep(10_000)).is_err());
        let started = Stopwatch::start();
        for text in [
            deep(20),
            deep(190),
            format!("SELECT json_object({})", vec!["k : v"; 20_000].join(", ")),
            format!("SELECT json_array({})", vec!["json_array(NULL ON NULL)"; 9_000].join(", ")),
            format!("SELECT {}", "json_array(".repeat(20_000)),
            format!("SELECT json_value(x, 'lax $' {})", "DEFAULT 1 ON ERROR ".repeat(9_000)),
            format!("SELECT json_exists(x, 'lax $' PASSING {})", vec!["1 AS a"; 20_000].join(", ")),
            format!("SELECT {}", vec!["json_value(x, 'lax $' RETURNING bigint DEFAULT y ON EMPTY)"; 3_000].join(" + ")),
        ] {
            assert!(text.len() <= 262_144);
            let run = move || drop(parse(&text, Limits { max_bytes: 262_144, max_depth: 1_000 }));
            std::thread::Builder::new().stack_size(256 << 20).spawn(run).ok().map(std::thread::JoinHandle::join);
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
