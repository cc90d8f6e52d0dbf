//! `ALTER TABLE`, `ALTER DATABASE` and `MSCK REPAIR TABLE`.

use super::Parser;
use crate::catalog::partition_filter::Comparison;
use crate::ddl::lexer::Token;
use crate::ddl::statement::{Alteration, DdlStatement, NewPartition};
use engine::Result;

impl Parser<'_> {
    pub(super) fn repair(&mut self) -> Result<DdlStatement> {
        self.at += 1;
        self.expect("repair")?;
        self.expect("table")?;
        let name = self.table_name()?;
        if self.eat_all(&["add", "partitions"]) || !self.eat_any(&["drop", "sync"]) {
            return Ok(DdlStatement::Repair(name));
        }
        self.at -= 1;
        Err(self.at_place("NOT_SUPPORTED: MSCK REPAIR TABLE adds partitions; drop others with ALTER TABLE DROP PARTITION"))
    }

    pub(super) fn alter_database(&mut self) -> Result<DdlStatement> {
        self.at += 2;
        let name = self.database_name()?;
        self.expect("set")?;
        if matches!(self.peek_word(0).as_str(), "location" | "owner") {
            return Err(self.at_place("NOT_SUPPORTED: Athena changes the DBPROPERTIES of a database, and nothing else"));
        }
        self.expect("dbproperties")?;
        Ok(DdlStatement::AlterDatabase { name, properties: self.properties()? })
    }

    pub(super) fn alter_table(&mut self) -> Result<DdlStatement> {
        self.at += 2;
        let name = self.table_name()?;
        let alteration = self.alteration()?;
        Ok(DdlStatement::AlterTable { name, alteration })
    }

    fn alteration(&mut self) -> Result<Alteration> {
        if self.eat("add") {
            return self.add();
        }
        if self.eat("drop") {
            return self.drop_partitions();
        }
        if self.eat_all(&["replace", "columns"]) {
            return Ok(Alteration::ReplaceColumns(self.list(Self::column)?));
        }
        if self.eat("change") {
            return self.change_column();
        }
        if self.eat_all(&["rename", "to"]) {
            return Ok(Alteration::Rename(self.table_name()?));
        }
        let partition = if self.eat("partition") { Some(self.partition_spec()?) } else { None };
        if self.eat_all(&["set", "location"]) {
            return Ok(Alteration::SetLocation { partition, location: self.text()? });
        }
        match partition {
            None if self.eat_all(&["set", "tblproperties"]) => Ok(Alteration::SetProperties(self.properties()?)),
            Some(from) if self.eat_all(&["rename", "to"]) => {
                self.expect("partition")?;
                Ok(Alteration::RenamePartition { from, to: self.partition_spec()? })
            }
            Some(_) if matches!(self.peek_word(0).as_str(), "add" | "replace" | "change") => {
                Err(self.at_place("NOT_SUPPORTED: columns of one partition: its columns are those of the table here"))
            }
            None => Err(self.mismatch("'ADD', 'CHANGE', 'DROP', 'PARTITION', 'RENAME', 'REPLACE', 'SET'")),
            Some(_) => Err(self.mismatch("'RENAME', 'SET'")),
        }
    }

    fn add(&mut self) -> Result<Alteration> {
        if self.eat("columns") {
            return Ok(Alteration::AddColumns(self.list(Self::column)?));
        }
        if self.eat("column") {
            return Ok(Alteration::AddColumns(vec![self.column()?]));
        }
        let if_not_exists = self.if_not_exists();
        let mut partitions = Vec::new();
        loop {
            self.expect("partition")?;
            let spec = self.partition_spec()?;
            let location = if self.eat("location") { Some(self.text()?) } else { None };
            partitions.push(NewPartition { spec, location });
            // Hive has nothing between them, some write a comma.
            self.eat_sign(",");
            if self.peek_word(0) != "partition" {
                return Ok(Alteration::AddPartitions { if_not_exists, partitions });
            }
        }
    }

    fn drop_partitions(&mut self) -> Result<Alteration> {
        let if_exists = self.if_exists();
        if matches!(self.peek_word(0).as_str(), "column" | "columns") {
            return Err(self.at_place("NOT_SUPPORTED: DROP COLUMN: use REPLACE COLUMNS with the columns that stay"));
        }
        let mut conditions = Vec::new();
        loop {
            self.expect("partition")?;
            conditions.push(self.list(|parser| {
                let key = parser.name()?;
                let comparison = parser.comparison()?;
                Ok((key, comparison, parser.literal()?))
            })?);
            if !self.eat_sign(",") {
                self.eat("purge");
                return Ok(Alteration::DropPartitions { if_exists, conditions });
            }
        }
    }

    fn comparison(&mut self) -> Result<Comparison> {
        match self.take() {
            Token::Sign("=") => Ok(Comparison::Equal),
            Token::Sign("<>" | "!=") => Ok(Comparison::NotEqual),
            Token::Sign("<") => Ok(Comparison::Less),
            Token::Sign("<=") => Ok(Comparison::LessOrEqual),
            Token::Sign(">") => Ok(Comparison::Greater),
            Token::Sign(">=") => Ok(Comparison::GreaterOrEqual),
            _ => self.back("'=', '<>', '<', '<=', '>', '>='"),
        }
    }

    fn change_column(&mut self) -> Result<Alteration> {
        self.eat("column");
        let name = self.name()?;
        let column = self.column()?;
        let place = match self.eat("first") {
            true => Some(None),
            false if self.eat("after") => Some(Some(self.name()?)),
            false => None,
        };
        self.eat_any(&["cascade", "restrict"]);
        Ok(Alteration::ChangeColumn { name, column, place })
    }
}
