//! `CREATE` and `DROP` of databases, tables and views.

use super::Parser;
use crate::catalog::delta::is_marked;
use crate::catalog::model::{Parameters, SortColumn};
use crate::ddl::lexer::Token;
use crate::ddl::statement::{DdlStatement, NewTable};
use engine::Result;

/// Most buckets.
const MAX_BUCKETS: i32 = 65_536;

impl Parser<'_> {
    pub(super) fn create_database(&mut self) -> Result<DdlStatement> {
        self.at += 2;
        let if_not_exists = self.if_not_exists();
        let name = self.database_name()?;
        let (mut comment, mut location, mut properties) = (None, None, Parameters::new());
        loop {
            if self.eat("comment") {
                comment = Some(self.text()?);
            } else if self.eat("location") {
                location = Some(self.text()?);
            } else if self.eat_all(&["with", "dbproperties"]) {
                properties = self.properties()?;
            } else {
                return Ok(DdlStatement::CreateDatabase { name, if_not_exists, comment, location, properties });
            }
        }
    }

    pub(super) fn drop_database(&mut self) -> Result<DdlStatement> {
        self.at += 2;
        let if_exists = self.if_exists();
        let name = self.database_name()?;
        let cascade = self.eat("cascade");
        if !cascade {
            self.eat("restrict");
        }
        Ok(DdlStatement::DropDatabase { name, if_exists, cascade })
    }

    pub(super) fn drop_table_or_view(&mut self) -> Result<DdlStatement> {
        let is_view = self.peek_word(1) == "view";
        self.at += 2;
        let if_exists = self.if_exists();
        let name = self.table_name()?;
        if !is_view {
            self.eat("purge");
        }
        Ok(if is_view { DdlStatement::DropView { name, if_exists } } else { DdlStatement::DropTable { name, if_exists } })
    }

    /// `CREATE TABLE` is CTAS, which is not read here, or a table of Iceberg.
    pub(super) fn create_table(&mut self) -> Option<Result<DdlStatement>> {
        let mut open = 0_usize;
        for (place, placed) in self.tokens.iter().enumerate() {
            match &placed.token {
                Token::Sign("(") => open += 1,
                Token::Sign(")") => open = open.saturating_sub(1),
                Token::Word(word) if open == 0 && word.eq_ignore_ascii_case("as") => {
                    let before = place.checked_sub(1).and_then(|before| self.tokens.get(before)).map(|placed| &placed.token);
                    let is_clause = matches!(before, Some(Token::Word(word)) if ["stored", "defined"].iter().any(|known| word.eq_ignore_ascii_case(known)));
                    if !is_clause {
                        return None;
                    }
                }
                _ => {}
            }
        }
        Some(Err(self.refuse(
            "NOT_SUPPORTED: CREATE TABLE without EXTERNAL makes an Iceberg table, which is not supported: use CREATE EXTERNAL TABLE \
             .. STORED AS PARQUET LOCATION '..', or CREATE TABLE .. AS SELECT",
        )))
    }

    pub(super) fn create_external_table(&mut self) -> Result<DdlStatement> {
        self.at += 2;
        self.expect("table")?;
        let if_not_exists = self.if_not_exists();
        let name = self.table_name()?;
        let mut table = NewTable::default();
        if self.eat("like") {
            return Err(self.at_place("NOT_SUPPORTED: CREATE TABLE LIKE: write the columns, or use SHOW CREATE TABLE"));
        }
        let columns = self.at;
        if *self.peek() == Token::Sign("(") {
            table.columns = self.list(Self::column)?;
        }
        while self.table_clause(&mut table)? {}
        if table.columns.is_empty() && !is_marked(&table.properties) {
            self.at = columns;
            self.list(Self::column)?;
        }
        if self.eat("as") {
            self.at -= 1;
            return Err(self.at_place(
                "CREATE EXTERNAL TABLE cannot have AS: use CREATE TABLE .. WITH (external_location = '..') AS SELECT",
            ));
        }
        Ok(DdlStatement::CreateTable { name, if_not_exists, table: Box::new(table) })
    }

    /// Reads one clause; `false` when there is none.
    fn table_clause(&mut self, table: &mut NewTable) -> Result<bool> {
        if self.eat("comment") {
            table.comment = Some(self.text()?);
        } else if self.eat_all(&["partitioned", "by"]) {
            table.partition_keys = self.list(Self::column)?;
        } else if self.eat_all(&["clustered", "by"]) {
            table.bucket_columns = self.list(Self::name)?;
            if self.eat_all(&["sorted", "by"]) {
                table.sort_columns = self.list(|parser| {
                    let column = parser.name()?;
                    let descending = parser.eat("desc");
                    if !descending {
                        parser.eat("asc");
                    }
                    Ok(SortColumn { column, sort_order: i32::from(!descending) })
                })?;
            }
            self.expect("into")?;
            let count = match self.take() {
                Token::Word(word) => word.parse::<i32>().ok().filter(|count| (1..=MAX_BUCKETS).contains(count)),
                _ => None,
            };
            table.buckets = Some(match count {
                Some(count) => count,
                None => return self.back("number of buckets"),
            });
            self.expect("buckets")?;
        } else if self.eat_all(&["row", "format"]) {
            self.row_format(table)?;
        } else if self.eat_all(&["stored", "as"]) {
            self.stored_as(table)?;
        } else if self.eat_all(&["stored", "by"]) {
            return Err(self.at_place("NOT_SUPPORTED: STORED BY: only files can be read"));
        } else if self.eat("location") {
            table.location = Some(self.text()?);
        } else if self.eat("tblproperties") {
            table.properties = self.properties()?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn row_format(&mut self, table: &mut NewTable) -> Result<()> {
        if self.eat("serde") {
            table.serde = Some(self.text()?);
            if self.eat_all(&["with", "serdeproperties"]) {
                table.serde_properties = self.properties()?;
            }
            return Ok(());
        }
        self.expect("delimited")?;
        let clauses: [(&[&str], &str); 5] = [
            (&["fields", "terminated", "by"], "field.delim"),
            (&["collection", "items", "terminated", "by"], "colelction.delim"),
            (&["map", "keys", "terminated", "by"], "mapkey.delim"),
            (&["lines", "terminated", "by"], "line.delim"),
            (&["null", "defined", "as"], "serialization.null.format"),
        ];
        while let Some((_, key)) = clauses.iter().find(|(words, _)| self.eat_all(words)) {
            let value = self.text()?;
            if *key == "field.delim" {
                table.serde_properties.insert("serialization.format".into(), value.clone());
                if self.eat_all(&["escaped", "by"]) {
                    let escape = self.text()?;
                    table.serde_properties.insert("escape.delim".into(), escape);
                }
            }
            table.serde_properties.insert((*key).into(), value);
        }
        Ok(())
    }

    fn stored_as(&mut self, table: &mut NewTable) -> Result<()> {
        if self.eat("inputformat") {
            let input = self.text()?;
            self.expect("outputformat")?;
            table.formats = Some((input, self.text()?));
            return Ok(());
        }
        let format = self.name()?;
        match format.as_str() {
            "parquet" | "textfile" | "json" | "jsonfile" => {
                table.stored_as = Some(format);
                Ok(())
            }
            "orc" | "avro" | "rcfile" | "sequencefile" | "ion" => {
                self.at -= 1;
                let text =
                    format!("NOT_SUPPORTED: STORED AS {}: PARQUET, TEXTFILE and JSON can be read here", format.to_uppercase());
                Err(self.at_place(&text))
            }
            _ => self.back("'PARQUET', 'TEXTFILE', 'JSON', 'INPUTFORMAT'"),
        }
    }

    pub(super) fn create_view(&mut self) -> Result<DdlStatement> {
        self.at += 1;
        let or_replace = self.eat_all(&["or", "replace"]);
        self.expect("view")?;
        let if_not_exists = self.if_not_exists();
        let name = self.table_name()?;
        let columns = match self.peek() {
            Token::Sign("(") => self.list(|parser| {
                let name = parser.name()?;
                if parser.eat("comment") {
                    parser.text()?;
                }
                Ok(name)
            })?,
            _ => Vec::new(),
        };
        let comment = if self.eat("comment") { Some(self.text()?) } else { None };
        if self.eat("security") && !self.eat_any(&["definer", "invoker"]) {
            return Err(self.mismatch("'DEFINER', 'INVOKER'"));
        }
        self.expect("as")?;
        let query = self.rest()?;
        Ok(DdlStatement::CreateView { name, or_replace, if_not_exists, columns, comment, query })
    }

    /// Everything up to the end or the last `;`, as it is written and at its place: behind as many blanks as there is text before it.
    fn rest(&mut self) -> Result<String> {
        let start = self.placed(0).map_or(0, |placed| placed.start);
        let mut end = start;
        while !matches!(self.peek(), Token::End | Token::Sign(";")) {
            if *self.peek() == Token::Open {
                return Err(self.mismatch("query"));
            }
            end = self.placed(0).map_or(end, |placed| placed.end);
            self.at += 1;
        }
        match self.sql.get(start..end).filter(|text| !text.is_empty()) {
            Some(text) => {
                let before = self.sql.get(..start).unwrap_or_default().chars();
                Ok(before.map(|c| if c == '\n' { c } else { ' ' }).chain(text.chars()).collect())
            }
            None => Err(self.mismatch("query")),
        }
    }
}
