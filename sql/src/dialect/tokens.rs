//! Text to tokens, statements apart, and the forms that the parser cannot read put into ones that it can.
//!
//! Inserted tokens take the place of their neighbour, so that errors point into the text that was written.

mod forms;
mod limits;

use crate::ddl::hive_statement;
use crate::dialect::{AthenaDialect, json_calls};
use crate::message;
use crate::tables::is_location;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};
use engine::{Error, Result};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The tokens of one statement, without whitespace and comments.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<TokenWithSpan>,
    /// Just behind the last token.
    end: Location,
}

/// The statements of `sql`, each with a token at least.
///
/// # Errors
/// For text that is no sequence of tokens, as an open string.
pub(crate) fn statements(sql: &str) -> Result<Vec<Tokens<'_>>> {
    let readable = with_plain_strings(sql);
    let tokens = Tokenizer::new(&AthenaDialect::default(), &readable).tokenize_with_location();
    let tokens = tokens.map_err(|error| message::syntax_error(&ParserError::from(error).into(), sql))?;
    let mut statements = Vec::new();
    let mut current = Vec::new();
    let text_end = tokens.last().map_or(Location::new(1, 1), |token| token.span.end);
    for token in tokens {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon if current.is_empty() => {}
            Token::SemiColon => {
                statements.push(Tokens { text: sql, tokens: std::mem::take(&mut current), end: token.span.start });
            }
            _ => current.push(token),
        }
    }
    if !current.is_empty() {
        statements.push(Tokens { text: sql, tokens: current, end: text_end });
    }
    Ok(statements)
}

/// `sql` with an `x` for each character of those strings of Hive's DDL that have escapes, of which the tokenizer knows none. The text
/// of a statement is what its own parser reads, so the tokens need no more than their places.
fn with_plain_strings(sql: &str) -> Cow<'_, str> {
    if !sql.contains('\\') {
        return Cow::Borrowed(sql);
    }
    let mut plain = String::with_capacity(sql.len());
    let mut at = 0;
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        let (end, strings) = hive_statement(rest).unwrap_or_else(|| (end_of_statement(rest), Vec::new()));
        let mut copied = 0;
        for string in strings {
            let text = rest.get(string.clone()).unwrap_or_default();
            if !text.contains('\\') {
                continue;
            }
            plain.push_str(rest.get(copied..string.start).unwrap_or_default());
            let quote = text.get(..1).unwrap_or_default();
            let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
            plain.push_str(quote);
            plain.extend(inner.chars().map(|c| if c == '\n' { c } else { 'x' }));
            plain.push_str(quote);
            copied = string.end;
        }
        // The semicolon too.
        let next = (end + 1).min(rest.len());
        plain.push_str(rest.get(copied..next).unwrap_or_default());
        at += next;
    }
    Cow::Owned(plain)
}

/// Where the semicolon of the SQL statement is that `sql` begins with, or its end (bytes).
fn end_of_statement(sql: &str) -> usize {
    let mut at = 0;
    while let Some(rest) = sql.get(at..) {
        let Some(found) = rest.find([';', '\'', '"', '`', '-', '/']) else { return sql.len() };
        let here = rest.get(found..).unwrap_or_default();
        let behind = |open: usize, close: &str| {
            let end = here.get(open..).and_then(|inner| inner.find(close)).map(|end| end + open + close.len());
            end.unwrap_or(here.len())
        };
        at += found
            + match here.as_bytes() {
                [b';', ..] => return at + found,
                // A doubled quote ends a string and begins one.
                [b'\'', ..] => behind(1, "'"),
                [b'"', ..] => behind(1, "\""),
                [b'`', ..] => behind(1, "`"),
                [b'-', b'-', ..] => behind(2, "\n"),
                [b'/', b'*', ..] => behind(2, "*/"),
                _ => 1,
            };
    }
    sql.len()
}

impl<'a> Tokens<'a> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<&Token> {
        self.tokens.get(index).map(|token| &token.token)
    }

    /// The unquoted word at `index`, in upper case; empty for anything else.
    pub(crate) fn word(&self, index: usize) -> String {
        match self.get(index) {
            Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_uppercase(),
            _ => String::new(),
        }
    }

    /// Whether unquoted `words` stand at `index`.
    pub(crate) fn are(&self, index: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.word(index + offset) == *word)
    }

    /// The word that starts at `place`, as it is written.
    pub(crate) fn name_at(&self, place: Location) -> Option<&str> {
        let at = self.tokens.binary_search_by_key(&place, |token| token.span.start).ok()?;
        match &self.tokens.get(at)?.token {
            Token::Word(word) => Some(&word.value),
            _ => None,
        }
    }

    /// Where the token at `index` starts; behind the last one, the end of the statement.
    pub(crate) fn place(&self, index: usize) -> Location {
        self.tokens.get(index).map_or(self.end, |token| token.span.start)
    }

    /// The tokens from `from` to before `to`.
    pub(crate) fn part(&self, from: usize, to: usize) -> Tokens<'a> {
        let to = to.min(self.tokens.len());
        let from = from.min(to);
        Tokens { text: self.text, tokens: self.tokens[from..to].to_vec(), end: self.place(to) }
    }

    /// Whether a table is read as of a version or time.
    pub(crate) fn has_versions(&self) -> bool {
        (0..self.tokens.len()).any(|index| self.word(index) == "FOR" && is_time_travel(self, index))
    }

    /// The text that these tokens were read from, from the first to the last.
    pub(crate) fn source(&self) -> &'a str {
        let (Some(first), Some(last)) = (self.tokens.first(), self.tokens.last()) else { return "" };
        let from = byte_offset(self.text, first.span.start);
        let to = byte_offset(self.text, last.span.end).max(from);
        self.text.get(from..to).unwrap_or_default()
    }

    /// An error at `index` that says what was expected there.
    pub(crate) fn expected(&self, index: usize, what: &str) -> Error {
        let place = self.place(index);
        let found = self.get(index).map_or("the end of the statement".to_string(), |token| format!("'{token}'"));
        Error::invalid(format!("line {}:{}: mismatched input {found}, expecting: {what}", place.line, place.column))
    }

    /// An error at `index` for something that Athena may run and Owlet does not.
    pub(crate) fn not_supported(&self, index: usize, what: &str) -> Error {
        message::not_supported(Some(self.place(index)), what)
    }

    /// The index of the token that closes the parenthesis or bracket at each index.
    pub(crate) fn closings(&self) -> BTreeMap<usize, usize> {
        let mut closings = BTreeMap::new();
        let mut open: Vec<(usize, &Token)> = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            let closes = match &token.token {
                Token::LParen | Token::LBracket => {
                    open.push((index, &token.token));
                    continue;
                }
                Token::RParen => Token::LParen,
                Token::RBracket => Token::LBracket,
                _ => continue,
            };
            if open.last().is_some_and(|(_, token)| **token == closes)
                && let Some((start, _)) = open.pop()
            {
                closings.insert(start, index);
            }
        }
        closings
    }

    /// These tokens as the parser can read them, with an end that has a place.
    ///
    /// # Errors
    /// For forms that are refused: `GROUP BY DISTINCT`, `UESCAPE`.
    pub(crate) fn for_parser(&self) -> Result<Vec<TokenWithSpan>> {
        self.check_nesting()?;
        self.check_queries()?;
        self.check_numbers()?;
        let edits = Edits::of(self)?;
        let mut tokens = Vec::with_capacity(self.tokens.len() + 16);
        let mut types = TypeForms::default();
        let mut places = 0;
        for (index, token) in self.tokens.iter().enumerate() {
            let span = token.span;
            for inserted in edits.before.get(&index).into_iter().flatten() {
                tokens.push(TokenWithSpan { token: inserted.clone(), span });
            }
            if edits.removed.contains(&index) {
                continue;
            }
            if token.token == Token::Placeholder("?".into()) {
                // Numbers, because rewriting may change the order.
                places += 1;
                tokens.push(TokenWithSpan { token: Token::Placeholder(format!("?{places}")), span });
                continue;
            }
            types.push(token, self.get(index + 1), &mut tokens);
        }
        let end = Span::new(self.end, self.end);
        for inserted in edits.before.get(&self.tokens.len()).into_iter().flatten() {
            tokens.push(TokenWithSpan { token: inserted.clone(), span: end });
        }
        tokens.push(TokenWithSpan { token: Token::EOF, span: end });
        Ok(tokens)
    }
}

/// Tokens to insert and to leave out, by index. What is around others is edited before them.
#[derive(Default)]
pub(super) struct Edits {
    before: BTreeMap<usize, Vec<Token>>,
    removed: BTreeSet<usize>,
}

impl Edits {
    /// Inserts what opens something at `index`, inside of what opens there already.
    pub(super) fn open(&mut self, index: usize, tokens: impl IntoIterator<Item = Token>) {
        self.before.entry(index).or_default().extend(tokens);
    }

    /// Inserts what closes something before `index`, inside of what closes there already.
    pub(super) fn close(&mut self, index: usize, tokens: impl IntoIterator<Item = Token>) {
        self.before.entry(index).or_default().splice(0..0, tokens);
    }

    /// Leaves out tokens.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        self.removed.extend(range);
    }

    fn of(tokens: &Tokens<'_>) -> Result<Self> {
        let mut edits = Self::default();
        let closings = tokens.closings();
        for index in 0..tokens.len() {
            match tokens.word(index).as_str() {
                "VALUES" if starts_query(tokens, index) => {
                    edits.select_rows(tokens, &closings, index);
                    edits.wrap_rows(tokens, &closings, index + 1);
                }
                "TRIM" if tokens.get(index + 1) == Some(&Token::LParen) => edits.spell_trim(tokens, &closings, index),
                "MAP" if tokens.get(index + 1) == Some(&Token::Lt) => edits.spell_map(tokens, index),
                "" => edits.read_number(tokens, index)?,
                "TABLE" if starts_query(tokens, index) && matches!(tokens.get(index + 1), Some(Token::Word(_))) => {
                    let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
                    edits.before.entry(index).or_default().extend(words);
                    edits.removed.insert(index);
                }
                "GROUP" if tokens.are(index + 1, &["BY", "DISTINCT"]) => {
                    return Err(tokens.not_supported(index + 2, "GROUP BY DISTINCT"));
                }
                "GROUP" if tokens.are(index + 1, &["BY", "ALL"]) && !ends_query_part(tokens, index + 3) => {
                    edits.removed.insert(index + 2);
                }
                "FOR" if is_time_travel(tokens, index) => match tokens.word(index + 1).as_str() {
                    "TIMESTAMP" => drop(edits.removed.insert(index)),
                    // The parser reads no expression behind VERSION, and one behind this word.
                    "VERSION" => {
                        edits.removed.insert(index + 1);
                        edits.before.entry(index + 1).or_default().push(Token::make_keyword("SYSTEM_TIME"));
                    }
                    other => return Err(tokens.not_supported(index, &format!("FOR {other}: write FOR VERSION or FOR TIMESTAMP"))),
                },
                // The parser takes it for the VALUE of a named argument.
                "CASE" if tokens.word(index + 1) == "VALUE" => {
                    edits.removed.insert(index + 1);
                    let name = Word { value: "value".into(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
                    edits.before.entry(index + 1).or_default().push(Token::Word(name));
                }
                "JSON_OBJECT" | "JSON_ARRAY" | "JSON_EXISTS" | "JSON_QUERY" | "JSON_VALUE" => {
                    json_calls::rewrite(tokens, &closings, index, &mut edits)?;
                }
                "UESCAPE" if matches!(index.checked_sub(1).and_then(|i| tokens.get(i)), Some(Token::UnicodeStringLiteral(_))) => {
                    return Err(tokens.not_supported(index, "UESCAPE: write the escapes with a backslash"));
                }
                _ => {}
            }
        }
        Ok(edits)
    }

    /// `VALUES 1, 2` reads as `VALUES (1), (2)`, and `ROW(1, 2)` as `(1, 2)`.
    fn wrap_rows(&mut self, tokens: &Tokens<'_>, closings: &BTreeMap<usize, usize>, first: usize) {
        let mut start = first;
        loop {
            let mut end = start;
            while end < tokens.len() && !matches!(tokens.get(end), Some(Token::Comma)) && !ends_query_part(tokens, end) {
                end = closings.get(&end).map_or(end, |close| *close) + 1;
            }
            if end > start {
                self.wrap_row(tokens, closings, start, end);
            }
            if !matches!(tokens.get(end), Some(Token::Comma)) {
                return;
            }
            start = end + 1;
        }
    }

    fn wrap_row(&mut self, tokens: &Tokens<'_>, closings: &BTreeMap<usize, usize>, start: usize, end: usize) {
        let is_group =
            |from: usize| closings.get(&from).is_some_and(|close| close + 1 == end) && tokens.get(from) == Some(&Token::LParen);
        let is_query = matches!(tokens.word(start + 1).as_str(), "SELECT" | "WITH" | "VALUES");
        if tokens.word(start) == "ROW" && is_group(start + 1) {
            self.removed.insert(start);
        } else if tokens.word(start + 1) == "ROW" && is_group(start) && closings.get(&(start + 2)) == Some(&(end - 2)) {
            // A row in parentheses is a row, and has its columns.
            self.removed.extend([start, start + 1, end - 1]);
        } else if !is_group(start) || is_query {
            self.before.entry(start).or_default().push(Token::LParen);
            self.before.entry(end).or_default().insert(0, Token::RParen);
        }
    }
}

fn starts_query(tokens: &Tokens<'_>, index: usize) -> bool {
    match index.checked_sub(1).and_then(|before| tokens.get(before)) {
        None | Some(Token::LParen | Token::RParen) => true,
        Some(Token::Word(word)) => word.quote_style.is_some() || !word.value.eq_ignore_ascii_case("SELECT"),
        Some(_) => false,
    }
}

/// Whether a list of rows or of GROUP BY ends at `index`.
fn ends_query_part(tokens: &Tokens<'_>, index: usize) -> bool {
    const ENDS: [&str; 11] =
        ["ORDER", "LIMIT", "OFFSET", "FETCH", "UNION", "INTERSECT", "EXCEPT", "VALUES", "HAVING", "WINDOW", "QUALIFY"];
    match tokens.get(index) {
        None | Some(Token::RParen | Token::RBracket) => true,
        Some(_) => ENDS.contains(&tokens.word(index).as_str()),
    }
}

fn is_time_travel(tokens: &Tokens<'_>, index: usize) -> bool {
    ["TIMESTAMP", "VERSION", "SYSTEM_TIME", "SYSTEM_VERSION"].iter().any(|what| tokens.are(index + 1, &[what, "AS", "OF"]))
}

/// Follows casts, to write types as the parser reads them: `ARRAY(t)` as `ARRAY<t>`, `ROW(x t)` as `STRUCT<x t>`.
#[derive(Default)]
struct TypeForms {
    open: Vec<Open>,
    next: Option<Open>,
}

#[derive(Clone, Copy, PartialEq)]
enum Open {
    Other,
    /// Behind `CAST(`, before its AS.
    Cast,
    /// Behind the AS of a cast.
    Type,
    /// A parenthesis inside a type that stays one.
    TypeParenthesis,
    /// A parenthesis inside a type that becomes `<`.
    TypeAngle,
}

impl TypeForms {
    fn push(&mut self, token: &TokenWithSpan, following: Option<&Token>, tokens: &mut Vec<TokenWithSpan>) {
        let place = |token: Token, span: Span| TokenWithSpan { token, span };
        let in_type = matches!(self.open.last(), Some(Open::Type | Open::TypeParenthesis | Open::TypeAngle));
        let span = token.span;
        let written = match &token.token {
            Token::LParen => {
                let plain = if in_type { Open::TypeParenthesis } else { Open::Other };
                let open = self.next.take().unwrap_or(plain);
                self.open.push(open);
                if open == Open::TypeAngle { Token::Lt } else { Token::LParen }
            }
            Token::RParen => match self.open.pop() {
                Some(Open::TypeAngle) => Token::Gt,
                _ => Token::RParen,
            },
            Token::Word(word) if word.quote_style.is_none() && !in_type && is_name(word, following) => {
                Token::Word(Word { value: word.value.to_lowercase(), quote_style: Some('"'), keyword: Keyword::NoKeyword })
            }
            Token::Word(word) if word.quote_style.is_none() => self.word(word, following == Some(&Token::LParen), in_type),
            Token::Word(word) => Token::Word(lower_cased(word)),
            Token::UnicodeStringLiteral(text) => Token::SingleQuotedString(text.clone()),
            other => other.clone(),
        };
        tokens.push(place(written, span));
    }

    fn word(&mut self, word: &Word, before_parenthesis: bool, in_type: bool) -> Token {
        let upper = word.value.to_uppercase();
        match upper.as_str() {
            "CAST" | "TRY_CAST" if before_parenthesis => self.next = Some(Open::Cast),
            "AS" => {
                if let Some(open) = self.open.last_mut().filter(|open| **open == Open::Cast) {
                    *open = Open::Type;
                }
            }
            "ARRAY" if before_parenthesis && in_type => self.next = Some(Open::TypeAngle),
            "ROW" if before_parenthesis && in_type => {
                self.next = Some(Open::TypeAngle);
                return Token::make_keyword("STRUCT");
            }
            _ => {}
        }
        Token::Word(word.clone())
    }
}

/// Whether `word` means something to the parser and is a name to Athena, with what is `following` it.
fn is_name(word: &Word, following: Option<&Token>) -> bool {
    match word.keyword {
        Keyword::USER | Keyword::SESSION_USER | Keyword::TOP => following != Some(&Token::LParen),
        Keyword::STRUCT => !matches!(following, Some(Token::LParen | Token::Lt)),
        Keyword::INTERVAL => {
            matches!(
                following,
                None | Some(Token::Comma | Token::RParen | Token::Period | Token::Eq | Token::Neq | Token::Lt | Token::Gt)
            ) || matches!(following, Some(Token::Word(next)) if matches!(next.keyword, Keyword::FROM | Keyword::AS | Keyword::IS | Keyword::IN))
        }
        _ => false,
    }
}

/// Athena's identifiers have no case, quoted or not; the name of a file does.
fn lower_cased(word: &Word) -> Word {
    let value = if is_location(&word.value) { word.value.clone() } else { word.value.to_lowercase() };
    Word { value, ..word.clone() }
}

/// The byte at `place` of `text`; its end for a place behind it.
fn byte_offset(text: &str, place: Location) -> usize {
    let (mut line, mut column) = (1, 1);
    for (offset, character) in text.char_indices() {
        if (line, column) >= (place.line, place.column) {
            return offset;
        }
        if character == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    text.len()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the parser gets of the one statement `sql`.
    pub(in super::super) fn rewritten(sql: &str) -> Result<String> {
        let statement = statements(sql)?.pop().ok_or_else(|| Error::invalid("none"))?;
        let tokens = statement.for_parser()?;
        let words: Vec<String> =
            tokens.iter().filter(|token| token.token != Token::EOF).map(|token| token.token.to_string()).collect();
        Ok(words.join(" "))
    }

    #[test]
    fn forms_that_the_parser_cannot_read_are_put_into_ones_that_it_can() -> Result<()> {
        for (sql, expected) in [
            ("VALUES 1, 2", "VALUES ( 1 ) , ( 2 )"),
            ("VALUES (1, 2), (3, 4)", "VALUES ( 1 , 2 ) , ( 3 , 4 )"),
            ("VALUES ROW(1, 2), (1) + 1", "VALUES ( 1 , 2 ) , ( ( 1 ) + 1 )"),
            ("SELECT * FROM (VALUES 1, f(2, 3) ORDER BY 1) t", "SELECT * FROM ( VALUES ( 1 ) , ( f ( 2 , 3 ) ) ORDER BY 1 ) t"),
            (
                "SELECT CAST(x AS ARRAY(ROW(a MAP(VARCHAR, ARRAY(INTEGER)), b DECIMAL(3,2))))",
                "SELECT CAST ( x AS ARRAY < STRUCT < a MAP ( VARCHAR , ARRAY < INTEGER > ) , b DECIMAL ( 3 , 2 ) > > )",
            ),
            ("TABLE t LIMIT 1", "SELECT * FROM t LIMIT 1"),
            ("SELECT CAST(ROW(1) AS ROW(x INTEGER))", "SELECT CAST ( ROW ( 1 ) AS STRUCT < x INTEGER > )"),
            ("SELECT a FROM t GROUP BY ALL (a)", "SELECT a FROM t GROUP BY ( a )"),
            ("SELECT \"ID\", `Na` FROM \"dir/File.parquet\"", "SELECT \"id\" , `na` FROM \"dir/File.parquet\""),
            ("SELECT U&'\\0041' -- x", "SELECT 'A'"),
            ("SELECT * FROM t FOR VERSION AS OF 3", "SELECT * FROM t FOR SYSTEM_TIME AS OF 3"),
            ("SELECT * FROM t FOR TIMESTAMP AS OF x", "SELECT * FROM t TIMESTAMP AS OF x"),
            ("SELECT 1_000, 0x1F, 0b1_1, 0o17, X'1F', 12 x, 1.5e3", "SELECT 1000 , 31 , 3 , 15 , X'1F' , 12 x , 1.5e3"),
            ("SELECT trim(TRAILING FROM s), trim(FROM f(s))", "SELECT \"rtrim\" ( s ) , trim ( f ( s ) )"),
            (
                "SELECT trim('!' FROM s), trim(s, '!'), trim(BOTH c FROM s)",
                "SELECT trim ( BOTH '!' FROM s ) , \"trim\" ( s , '!' ) , trim ( BOTH c FROM s )",
            ),
            ("SELECT x = ANY (VALUES 1, 2)", "SELECT x = ANY ( SELECT * FROM ( VALUES ( 1 ) , ( 2 ) ) )"),
        ] {
            assert_eq!(rewritten(sql)?, expected, "{sql}");
        }
        Ok(())
    }

    #[test]
    fn statements_are_split_and_keep_their_text() -> Result<()> {
        let parts = statements(" /* a */ SELECT ';' ; ;\nSELECT 'é' -- end\n")?;
        let texts: Vec<&str> = parts.iter().map(Tokens::source).collect();
        assert_eq!(texts, ["SELECT ';'", "SELECT 'é'"]);
        assert_eq!(parts[1].place(0), Location::new(2, 1));
        Ok(())
    }

    #[test]
    fn strings_of_ddl_have_hives_escapes_and_those_of_queries_none() -> Result<()> {
        let ddl = "CREATE EXTERNAL TABLE t (a int COMMENT 'it\\'s;\n') TBLPROPERTIES (\"q\"=\"\\\"\")";
        let sql = format!("SELECT 'a\\', ';' -- it's\n; {ddl}; SELECT '\\' /* ; */");
        let parts = statements(&sql)?;
        let texts: Vec<&str> = parts.iter().map(Tokens::source).collect();
        assert_eq!(texts, ["SELECT 'a\\', ';'", ddl, "SELECT '\\'"]);
        let shown = statements("SHOW TABLES LIKE 'a\\_b'")?;
        assert_eq!(shown[0].get(3), Some(&Token::SingleQuotedString("a\\_b".into())));
        Ok(())
    }

    #[test]
    fn queries_in_expressions_and_with_in_with_have_a_limit() {
        let scalar = |depth: usize| format!("SELECT {}1{}", "(SELECT ".repeat(depth), ")".repeat(depth));
        let with = |depth: usize| format!("{}SELECT 1{}", "WITH c AS (".repeat(depth), ") SELECT 1".repeat(depth));
        let error = |sql: &str| rewritten(sql).err().map(|error| error.message).unwrap_or_default();
        assert!(rewritten(&scalar(16)).is_ok());
        assert!(error(&scalar(17)).starts_with("line 1:136: more than 16 queries inside each other"));
        // The first WITH is in no other.
        assert!(rewritten(&with(17)).is_ok());
        assert!(error(&with(18)).contains("more than 16 queries"));
        assert!(rewritten(&format!("{}SELECT 1{}", "SELECT * FROM (".repeat(20), ")".repeat(20))).is_ok());
    }

    #[test]
    fn nesting_has_a_limit_for_types_too() {
        let types = |depth: usize| format!("SELECT CAST(NULL AS {}INTEGER{})", "ARRAY(".repeat(depth), ")".repeat(depth));
        assert!(rewritten(&types(50)).is_ok() && rewritten(&types(50_000)).is_err());
        assert!(rewritten(&format!("SELECT CAST(NULL AS {}", "ARRAY<".repeat(50_000))).is_err());
        assert!(rewritten(&format!("SELECT CAST(NULL AS INTEGER{})", "[]".repeat(50_000))).is_err());
        assert!(rewritten(&format!("SELECT 1 WHERE {}", vec!["a < b"; 5_000].join(" AND "))).is_ok());
    }

    #[test]
    fn forms_of_other_meaning_are_refused_with_their_place() {
        let error = |sql: &str| rewritten(sql).err().map(|error| error.message).unwrap_or_default();
        assert!(error("SELECT *\nFROM t FOR SYSTEM_TIME AS OF 3").starts_with("NOT_SUPPORTED: line 2:8: "));
        for text in ["SELECT 1abc", "SELECT 1_", "SELECT 1__0", "SELECT 0b12", "SELECT 1e"] {
            assert!(error(text).starts_with("line 1:8: identifiers must not start with a digit"), "{text}");
        }
        assert!(error("SELECT 1 GROUP BY DISTINCT ROLLUP (a)").starts_with("NOT_SUPPORTED: line 1:19: "));
    }
}
