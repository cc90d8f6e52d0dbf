//! Hive types: read from their text, spelled for Hive and for Trino, and what they are in Arrow.

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use engine::functions::type_name;
use engine::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Most levels of a nested type.
const MAX_TYPE_DEPTH: usize = 64;
/// Longest type text, in bytes.
const MAX_TYPE_BYTES: usize = 128 * 1024;
/// Most digits of a decimal, in Hive and in Trino.
const MAX_PRECISION: u8 = 38;
/// Longest `varchar(n)` in Hive.
const MAX_VARCHAR: u32 = 65_535;
/// Longest `char(n)` in Hive.
const MAX_CHAR: u32 = 255;

/// A Hive type that tables can have here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HiveType {
    /// `boolean`.
    Boolean,
    /// `tinyint`.
    TinyInt,
    /// `smallint`.
    SmallInt,
    /// `int`, also written `integer`.
    Int,
    /// `bigint`.
    BigInt,
    /// `float`, which Trino calls `real`.
    Float,
    /// `double`.
    Double,
    /// `decimal(precision, scale)`.
    Decimal(u8, u8),
    /// `string`.
    String,
    /// `varchar(n)`.
    Varchar(u32),
    /// `char(n)`.
    Char(u32),
    /// `binary`.
    Binary,
    /// `date`.
    Date,
    /// `timestamp`, of milliseconds as in Athena.
    Timestamp,
    /// `timestamp with local time zone`, of milliseconds: a moment. Columns of Hive tables do not have it here.
    Moment,
    /// `timestamp without time zone`, of microseconds. Columns of Hive tables do not have it here.
    TimestampMicros,
    /// `array<element>`.
    Array(Box<HiveType>),
    /// `map<key,value>`.
    Map(Box<HiveType>, Box<HiveType>),
    /// `struct<name:type,..>`.
    Struct(Vec<(String, HiveType)>),
}

const MOMENT: &str = "timestamp with local time zone";
const MICROS: &str = "timestamp without time zone";

const PLAIN: [(&str, HiveType, &str); 17] = [
    ("boolean", HiveType::Boolean, "boolean"),
    ("tinyint", HiveType::TinyInt, "tinyint"),
    ("smallint", HiveType::SmallInt, "smallint"),
    ("int", HiveType::Int, "integer"),
    ("integer", HiveType::Int, "integer"),
    ("bigint", HiveType::BigInt, "bigint"),
    ("float", HiveType::Float, "real"),
    ("double", HiveType::Double, "double"),
    ("string", HiveType::String, "varchar"),
    ("binary", HiveType::Binary, "varbinary"),
    ("date", HiveType::Date, "date"),
    ("timestamp", HiveType::Timestamp, "timestamp(3)"),
    // Names of several words, which only `parse_described` reads.
    (MOMENT, HiveType::Moment, "timestamp(3) with time zone"),
    (MICROS, HiveType::TimestampMicros, "timestamp(6)"),
    ("decimal", HiveType::Decimal(10, 0), "decimal(10,0)"),
    ("real", HiveType::Float, "real"),
    ("varchar", HiveType::String, "varchar"),
];

impl HiveType {
    /// Reads a type text such as `array<struct<a:int,b:decimal(5,2)>>`.
    ///
    /// # Errors
    /// [`engine::ErrorKind::InvalidQuery`] with the text when it is no type that tables can have here.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text, false)
    }

    /// Reads what [`fmt::Display`] writes, also types that columns of Hive tables do not have.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_described(text: &str) -> Result<Self> {
        Self::read(text, true)
    }

    fn read(text: &str, zones: bool) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(200).collect();
            Error::invalid(format!("'{shown}' is no Hive type that is supported here: {why}"))
        };
        if text.len() > MAX_TYPE_BYTES {
            return Err(wrong("it is too long"));
        }
        let mut reader = Reader { rest: text.trim(), zones };
        let parsed = reader.hive_type(0).map_err(wrong)?;
        if reader.skip().rest.is_empty() { Ok(parsed) } else { Err(wrong("something follows the type")) }
    }

    /// The type as Trino and Athena's `information_schema` spell it.
    pub fn trino(&self) -> String {
        match self {
            Self::Decimal(precision, scale) => format!("decimal({precision},{scale})"),
            Self::Varchar(length) => format!("varchar({length})"),
            Self::Char(length) => format!("char({length})"),
            Self::Array(element) => format!("array({})", element.trino()),
            Self::Map(key, value) => format!("map({}, {})", key.trino(), value.trino()),
            Self::Struct(fields) => {
                let fields: Vec<String> = fields.iter().map(|(name, kind)| format!("{name} {}", kind.trino())).collect();
                format!("row({})", fields.join(", "))
            }
            plain => PLAIN.iter().find(|(_, kind, _)| kind == plain).map_or("varchar", |(_, _, trino)| trino).to_string(),
        }
    }

    /// The Arrow type that columns of it have in plans.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::TinyInt => DataType::Int8,
            Self::SmallInt => DataType::Int16,
            Self::Int => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(0)),
            Self::String | Self::Varchar(_) | Self::Char(_) => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::Moment => DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC"))),
            Self::TimestampMicros => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Array(element) => DataType::List(Arc::new(Field::new("item", element.arrow(), true))),
            Self::Map(key, value) => {
                let entries = Fields::from(vec![Field::new("key", key.arrow(), false), Field::new("value", value.arrow(), true)]);
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
            }
            Self::Struct(fields) => {
                DataType::Struct(fields.iter().map(|(name, kind)| Field::new(name, kind.arrow(), true)).collect())
            }
        }
    }

    /// The type of a column that holds what a query's column of `data_type` holds.
    ///
    /// # Errors
    /// When Hive has no such type.
    pub fn of_arrow(data_type: &DataType) -> Result<Self> {
        let inner = |field: &Arc<Field>| Self::of_arrow(field.data_type()).map(Box::new);
        Ok(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::TinyInt,
            DataType::Int16 => Self::SmallInt,
            DataType::Int32 => Self::Int,
            DataType::Int64 => Self::BigInt,
            DataType::Float32 => Self::Float,
            DataType::Float64 => Self::Double,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => match u8::try_from(*s) {
                Ok(scale) => Self::Decimal(*p, scale),
                Err(_) => return Err(Error::invalid(format!("Hive has no type for {data_type}"))),
            },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::String,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Binary,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::List(field) | DataType::LargeList(field) | DataType::ListView(field) => Self::Array(inner(field)?),
            DataType::Dictionary(_, value) => return Self::of_arrow(value),
            DataType::Struct(fields) => {
                let fields = fields.iter().map(|field| Ok((field.name().to_lowercase(), Self::of_arrow(field.data_type())?)));
                Self::Struct(fields.collect::<Result<_>>()?)
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => Self::Map(inner(&fields[0])?, inner(&fields[1])?),
                _ => return Err(Error::invalid("Hive has no type for this map")),
            },
            other => {
                let other = type_name(other);
                return Err(Error::invalid(format!("Unsupported Hive type: {other}; cast the column to one that Hive has")));
            }
        })
    }

    /// Whether it has no types inside.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Map(..) | Self::Struct(_))
    }

    /// Most characters of a `varchar(n)`.
    pub fn max_chars(&self) -> Option<u32> {
        match self {
            Self::Varchar(length) => Some(*length),
            _ => None,
        }
    }

    /// Whether a `varchar(n)` is in it, and not all of it.
    pub fn has_inner_varchar(&self) -> bool {
        let is_varchar = |kind: &Self| kind.max_chars().is_some() || kind.has_inner_varchar();
        match self {
            Self::Array(element) => is_varchar(element),
            Self::Map(key, value) => is_varchar(key) || is_varchar(value),
            Self::Struct(fields) => fields.iter().any(|(_, kind)| is_varchar(kind)),
            _ => false,
        }
    }

    /// Whether a `char(n)` is in it, whose padding nothing here knows of.
    pub fn has_char(&self) -> bool {
        match self {
            Self::Char(_) => true,
            Self::Array(element) => element.has_char(),
            Self::Map(key, value) => key.has_char() || value.has_char(),
            Self::Struct(fields) => fields.iter().any(|(_, kind)| kind.has_char()),
            _ => false,
        }
    }
}

impl fmt::Display for HiveType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::Varchar(length) => write!(f, "varchar({length})"),
            Self::Char(length) => write!(f, "char({length})"),
            Self::Array(element) => write!(f, "array<{element}>"),
            Self::Map(key, value) => write!(f, "map<{key},{value}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (place, (name, kind)) in fields.iter().enumerate() {
                    write!(f, "{}{name}:{kind}", if place == 0 { "" } else { "," })?;
                }
                f.write_str(">")
            }
            plain => f.write_str(PLAIN.iter().find(|(_, kind, _)| kind == plain).map_or("string", |(name, _, _)| name)),
        }
    }
}

/// Reads a type text from the front.
struct Reader<'a> {
    rest: &'a str,
    /// Whether timestamps may say what their zone is.
    zones: bool,
}

impl<'a> Reader<'a> {
    fn skip(&mut self) -> &mut Self {
        self.rest = self.rest.trim_start();
        self
    }

    fn eat(&mut self, sign: char) -> bool {
        let rest = self.skip().rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn need(&mut self, sign: char, why: &'static str) -> Result<(), &'static str> {
        if self.eat(sign) { Ok(()) } else { Err(why) }
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let text = self.skip().rest;
        let end = text.find(|c: char| !wanted(c)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        self.take(|c| c.is_ascii_digit()).parse().map_err(|_| "a length or precision is missing")
    }

    fn field_name(&mut self) -> Result<String, &'static str> {
        if self.eat('`') {
            let name = self.rest.split('`').next().unwrap_or_default();
            self.rest = self.rest.get(name.len()..).unwrap_or_default();
            self.need('`', "a quoted field name does not end")?;
            return Ok(name.to_lowercase());
        }
        let name = self.take(|c| !matches!(c, ':' | ',' | '<' | '>' | '(' | ')' | '`') && !c.is_whitespace());
        if name.is_empty() { Err("a field has no name") } else { Ok(name.to_lowercase()) }
    }

    fn hive_type(&mut self, depth: usize) -> Result<HiveType, &'static str> {
        if depth > MAX_TYPE_DEPTH {
            return Err("it nests too deep");
        }
        let word = self.take(|c| c.is_ascii_alphanumeric() || c == '_').to_ascii_lowercase();
        match word.as_str() {
            "array" => {
                self.need('<', "array needs <type>")?;
                let element = self.hive_type(depth + 1)?;
                self.need('>', "array needs one type")?;
                Ok(HiveType::Array(Box::new(element)))
            }
            "map" => {
                self.need('<', "map needs <key,value>")?;
                let key = self.hive_type(depth + 1)?;
                self.need(',', "map needs two types")?;
                let value = self.hive_type(depth + 1)?;
                self.need('>', "map needs two types")?;
                if !key.is_plain() {
                    return Err("the key of a map has a plain type");
                }
                Ok(HiveType::Map(Box::new(key), Box::new(value)))
            }
            "struct" => self.fields(depth),
            "decimal" | "numeric" if self.eat('(') => {
                let precision = self.number()?;
                let scale = if self.eat(',') { self.number()? } else { 0 };
                self.need(')', "decimal needs (precision,scale)")?;
                let (precision, scale) = (u8::try_from(precision).unwrap_or(u8::MAX), u8::try_from(scale).unwrap_or(u8::MAX));
                if precision == 0 || precision > MAX_PRECISION || scale > precision {
                    return Err("decimal has a precision of 1 to 38, and a scale of at most that");
                }
                Ok(HiveType::Decimal(precision, scale))
            }
            "varchar" if self.eat('(') => self.length(MAX_VARCHAR).map(HiveType::Varchar),
            "char" if self.eat('(') => self.length(MAX_CHAR).map(HiveType::Char),
            "char" => Err("char needs a length"),
            "timestamp" if self.zones => Ok(self.timestamp()),
            name => {
                PLAIN.iter().find(|(plain, _, _)| *plain == name).map(|(_, kind, _)| kind.clone()).ok_or("the name is unknown")
            }
        }
    }

    fn timestamp(&mut self) -> HiveType {
        for (name, kind) in [(MOMENT, HiveType::Moment), (MICROS, HiveType::TimestampMicros)] {
            if let Some(rest) = name.strip_prefix("timestamp").and_then(|words| self.rest.strip_prefix(words)) {
                self.rest = rest;
                return kind;
            }
        }
        HiveType::Timestamp
    }

    fn length(&mut self, longest: u32) -> Result<u32, &'static str> {
        let length = self.number()?;
        self.need(')', "a length needs its )")?;
        if (1..=longest).contains(&length) { Ok(length) } else { Err("the length is out of range") }
    }

    /// `COMMENT 'text'`, of which nothing is kept.
    fn comment(&mut self) -> Result<(), &'static str> {
        const WORD: usize = "comment".len();
        let is_there = self.skip().rest.get(..WORD).is_some_and(|word| word.eq_ignore_ascii_case("comment"));
        if !is_there {
            return Ok(());
        }
        let text = self.rest.get(WORD..).unwrap_or_default().trim_start();
        let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"')).ok_or("a comment needs its text")?;
        let mut letters = text.char_indices().skip(1).peekable();
        while let Some((place, letter)) = letters.next() {
            if letter == '\\' {
                letters.next();
            } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
                self.rest = text.get(place + 1..).unwrap_or_default();
                return Ok(());
            }
        }
        Err("a comment does not end")
    }

    fn fields(&mut self, depth: usize) -> Result<HiveType, &'static str> {
        self.need('<', "struct needs <name:type,..>")?;
        let mut fields: Vec<(String, HiveType)> = Vec::new();
        loop {
            let name = self.field_name()?;
            self.need(':', "a field needs name:type")?;
            let kind = self.hive_type(depth + 1)?;
            self.comment()?;
            if fields.iter().any(|(known, _)| *known == name) {
                return Err("a field is there twice");
            }
            fields.push((name, kind));
            if !self.eat(',') {
                break;
            }
        }
        self.need('>', "struct does not end")?;
        Ok(HiveType::Struct(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zones_are_read_where_they_were_written() -> Result<()> {
        let kind = HiveType::Struct(vec![
            ("a".into(), HiveType::Moment),
            ("b".into(), HiveType::Array(Box::new(HiveType::TimestampMicros))),
            ("c".into(), HiveType::Timestamp),
        ]);
        assert_eq!(HiveType::parse_described(&kind.to_string())?, kind);
        assert_eq!(kind.trino(), "row(a timestamp(3) with time zone, b array(timestamp(6)), c timestamp(3))");
        for kind in [HiveType::Moment, HiveType::TimestampMicros] {
            assert!(HiveType::parse(&kind.to_string()).is_err(), "{kind}");
        }
        Ok(())
    }

    #[test]
    fn types_are_read_and_spelled_for_hive_and_trino() -> Result<()> {
        for (text, hive, trino) in [
            ("INT", "int", "integer"),
            ("integer", "int", "integer"),
            ("Decimal( 5 , 2 )", "decimal(5,2)", "decimal(5,2)"),
            ("decimal", "decimal(10,0)", "decimal(10,0)"),
            ("varchar(10)", "varchar(10)", "varchar(10)"),
            ("char(3)", "char(3)", "char(3)"),
            ("timestamp", "timestamp", "timestamp(3)"),
            (
                "struct<a:int COMMENT 'it\\'s, ''x''>',b:string comment \"\">",
                "struct<a:int,b:string>",
                "row(a integer, b varchar)",
            ),
            (
                "array<struct<A:int, b : map<string,double>>>",
                "array<struct<a:int,b:map<string,double>>>",
                "array(row(a integer, b map(varchar, double)))",
            ),
        ] {
            let parsed = HiveType::parse(text)?;
            assert_eq!((parsed.to_string().as_str(), parsed.trino().as_str()), (hive, trino));
            assert_eq!(HiveType::parse(&parsed.to_string())?, parsed);
        }
        Ok(())
    }

    #[test]
    fn arrow_types_come_back() -> Result<()> {
        for text in ["bigint", "binary", "date", "timestamp", "decimal(38,10)", "map<string,array<struct<x:smallint,y:float>>>"] {
            let parsed = HiveType::parse(text)?;
            assert_eq!(HiveType::of_arrow(&parsed.arrow())?, parsed);
        }
        Ok(())
    }

    #[test]
    fn what_is_no_type_is_refused() {
        let deep = format!("{}int{}", "array<".repeat(100), ">".repeat(100));
        for text in [
            "",
            "uniontype<int>",
            "array",
            "array<int",
            "map<array<int>,int>",
            "struct<>",
            "struct<a:int,a:int>",
            "decimal(39,1)",
            "decimal(2,3)",
            "varchar(0)",
            "int x",
            "char",
            &deep,
        ] {
            assert!(HiveType::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[a-z<>:,()0-9 `ä]{0,60}") {
            let _ = HiveType::parse(&text);
        }
    }
}
