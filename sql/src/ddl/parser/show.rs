//! `SHOW` and `DESCRIBE`.

use super::Parser;
use crate::ddl::lexer::Token;
use crate::ddl::statement::{DdlStatement, NamePattern, TableName};
use engine::Result;

impl Parser<'_> {
    /// `SHOW what ..`; `None` for what is not shown here.
    pub(super) fn show(&mut self, what: &str) -> Option<Result<DdlStatement>> {
        let third = self.peek_word(2);
        let read: fn(&mut Self) -> Result<DdlStatement> = match what {
            "databases" | "schemas" => |parser| Ok(DdlStatement::ShowDatabases(parser.pattern()?)),
            "tables" => |parser| {
                let database = parser.in_database()?;
                Ok(DdlStatement::ShowTables { database, pattern: parser.pattern()? })
            },
            "views" => |parser| {
                let database = parser.in_database()?;
                Ok(DdlStatement::ShowViews { database, pattern: parser.pattern()? })
            },
            "columns" => |parser| {
                if !parser.eat_any(&["from", "in"]) {
                    return Err(parser.mismatch("'FROM', 'IN'"));
                }
                let name = parser.table_name()?;
                let database = parser.in_database()?;
                Ok(DdlStatement::ShowColumns(TableName { database: database.or(name.database), name: name.name }))
            },
            "partitions" => |parser| Ok(DdlStatement::ShowPartitions(parser.table_name()?)),
            "tblproperties" => |parser| {
                let name = parser.table_name()?;
                let key = if parser.eat_sign("(") {
                    let key = parser.text()?;
                    parser.expect_sign(")")?;
                    Some(key)
                } else {
                    None
                };
                Ok(DdlStatement::ShowProperties { name, key })
            },
            "functions" => |parser| Ok(DdlStatement::ShowFunctions(parser.pattern()?)),
            "create" if third == "table" => |parser| {
                parser.at += 1;
                Ok(DdlStatement::ShowCreateTable(parser.table_name()?))
            },
            "create" if third == "view" => |parser| {
                parser.at += 1;
                Ok(DdlStatement::ShowCreateView(parser.table_name()?))
            },
            _ => return None,
        };
        self.at += 2;
        Some(read(self))
    }

    fn in_database(&mut self) -> Result<Option<String>> {
        if self.eat_any(&["in", "from"]) { self.database_name().map(Some) } else { Ok(None) }
    }

    fn pattern(&mut self) -> Result<Option<NamePattern>> {
        if self.eat("like") {
            return Ok(Some(NamePattern::Like(self.text()?)));
        }
        Ok(self.eat_text().map(NamePattern::Hive))
    }

    pub(super) fn describe(&mut self) -> Result<DdlStatement> {
        self.at += 1;
        // `extended` and `formatted` may also be the table's name.
        let extended = self.peek_is_name(1) && self.eat_any(&["extended", "formatted"]);
        if self.peek_is_name(1) && matches!(self.peek_word(0).as_str(), "database" | "schema") {
            return Err(self.refuse("NOT_SUPPORTED: DESCRIBE DATABASE: ask information_schema.schemata"));
        }
        let name = self.table_name()?;
        let partition = if self.eat("partition") { Some(self.partition_spec()?) } else { None };
        let column = match self.peek() {
            Token::Word(_) | Token::Quoted(_) | Token::Double(_) => Some(self.name()?),
            _ => None,
        };
        if column.is_some() && self.eat_sign(".") {
            return Err(self.at_place("NOT_SUPPORTED: DESCRIBE of a field within a column"));
        }
        Ok(DdlStatement::Describe { name, extended, partition, column })
    }
}
