//! Partition projection: partitions computed from a table's properties, without asking the catalog. Pure: the time is an argument.

mod dates;

use super::location::{Location, escape_value};
use super::model::{Column, Parameters, Partition, Table};
use super::partition_filter::{Comparison, Condition};
use super::types::HiveType;
use dates::{DateRange, Pattern};
use engine::write::HIVE_NULL;
use engine::{Error, ErrorKind, Result};
use std::collections::HashSet;

/// Most values of one column.
pub const MAX_VALUES: usize = 1_000_000;
/// Most partitions that are looked at; each is a listing.
pub const MAX_PARTITIONS: usize = 100_000;

/// A condition on one column, as [`ProjectedColumn::values`] can use it.
type Conditions<'a> = [&'a Condition];

/// What one partition key can be.
#[derive(Clone, PartialEq, Debug)]
pub struct ProjectedColumn {
    /// The partition key.
    pub name: String,
    kind: Kind,
}

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Enum(Vec<String>),
    Integer { from: i64, to: i64, interval: i64, digits: usize },
    Date(DateRange),
    Injected,
}

impl ProjectedColumn {
    /// Whether its values come from the query.
    pub fn is_injected(&self) -> bool {
        self.kind == Kind::Injected
    }

    /// Its values in order, all of them but for some that do not meet `conditions`, which all are on this column; those of an injected
    /// one are what the query says that they are.
    ///
    /// # Errors
    /// For more than [`MAX_VALUES`], and for an injected column without values.
    pub fn values(&self, conditions: &Conditions<'_>) -> Result<Vec<String>> {
        let equal = conditions.iter().find(|condition| condition.comparison == Comparison::Equal);
        let values: Vec<String> = match &self.kind {
            Kind::Enum(values) => values.clone(),
            Kind::Integer { from, to, interval, digits } => self.integers((*from, *to), *interval, *digits, conditions)?,
            Kind::Date(range) => range.values(&self.name, conditions)?,
            Kind::Injected => match equal {
                Some(equal) => equal.values.clone(),
                None => {
                    return Err(Error::invalid(format!(
                        "CONSTRAINT_VIOLATION: For the injected projected partition column {}, the WHERE clause must contain only \
                         static equality conditions, and at least one such condition must be present",
                        self.name
                    )));
                }
            },
        };
        check_count(&self.name, values.len() as i128)?;
        Ok(values)
    }

    fn integers(&self, (from, to): (i64, i64), interval: i64, digits: usize, conditions: &Conditions<'_>) -> Result<Vec<String>> {
        let interval = i128::from(interval.max(1));
        let (first, mut least, mut most) = (i128::from(from), i128::from(from), i128::from(to));
        for condition in conditions {
            let number = |text: &String| text.parse::<i128>().ok();
            if condition.comparison == Comparison::Equal {
                // Text that is written in another way than the values is none of them.
                let is_own = |value: &i128| (least..=most).contains(value) && (value - first) % interval == 0;
                let mut own: Vec<i128> = condition.values.iter().filter_map(number).filter(is_own).collect();
                own.sort_unstable();
                own.dedup();
                return Ok(own
                    .into_iter()
                    .filter_map(|value| i64::try_from(value).ok())
                    .map(|value| padded(value, digits))
                    .collect());
            }
            let Some(bound) = condition.values.first().filter(|_| condition.numeric).and_then(number) else { continue };
            match condition.comparison {
                Comparison::Less => most = most.min(bound - 1),
                Comparison::LessOrEqual => most = most.min(bound),
                Comparison::Greater => least = least.max(bound + 1),
                Comparison::GreaterOrEqual => least = least.max(bound),
                Comparison::Equal | Comparison::NotEqual => {}
            }
        }
        // The first step that is not below the least value.
        let start = first + (least - first + interval - 1) / interval * interval;
        if start > most {
            return Ok(Vec::new());
        }
        check_count(&self.name, (most - start) / interval + 1)?;
        let step = usize::try_from(interval).unwrap_or(usize::MAX);
        Ok((start..=most)
            .step_by(step)
            .filter_map(|value| i64::try_from(value).ok())
            .map(|value| padded(value, digits))
            .collect())
    }
}

fn check_count(column: &str, count: i128) -> Result<()> {
    if count <= MAX_VALUES as i128 {
        return Ok(());
    }
    let text = format!(
        "partition projection: column {column} has {count} values, and at most {MAX_VALUES} are looked at; narrow its range"
    );
    Err(Error::new(ErrorKind::LimitExceeded, text))
}

fn padded(value: i64, digits: usize) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:0digits$}", value.unsigned_abs())
}

/// Whether the table's partitions are projected.
pub fn is_enabled(table: &Table) -> bool {
    let enabled = parameter(&table.parameters, "projection.enabled");
    !table.partition_keys.is_empty() && enabled.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// The projection of each partition key at `now_ms` (milliseconds since 1970, UTC).
///
/// # Errors
/// With the column and the property that is missing or wrong.
pub fn columns(table: &Table, now_ms: i64) -> Result<Vec<ProjectedColumn>> {
    table.partition_keys.iter().map(|key| column(table, key, now_ms)).collect()
}

fn column(table: &Table, key: &Column, now_ms: i64) -> Result<ProjectedColumn> {
    let property = |name: &str| parameter(&table.parameters, &format!("projection.{}.{name}", key.name));
    let wrong = |name: &str, why: &str| {
        Error::invalid(format!("INVALID_TABLE_PROPERTY: table {}: projection.{}.{name} {why}", table.full_name(), key.name))
    };
    let need = |name: &str| property(name).ok_or_else(|| wrong(name, "is missing"));
    let kind = match property("type").map(|kind| kind.trim().to_ascii_lowercase()).as_deref() {
        None => {
            let text = format!(
                "HIVE_METASTORE_ERROR: Table {} is configured for partition projection, but the following partition columns are missing projection configuration: [{}]",
                table.full_name(),
                key.name
            );
            return Err(Error::invalid(text));
        }
        // Blanks are part of a value, as Athena's documentation has it.
        Some("enum") => Kind::Enum(need("values")?.split(',').map(str::to_string).collect()),
        Some("injected") => Kind::Injected,
        Some("integer") => {
            let number = |name: &str, text: &str| text.trim().parse::<i64>().map_err(|_| wrong(name, "holds no whole number"));
            let (from, to) = need("range")?.split_once(',').ok_or_else(|| wrong("range", "needs two numbers"))?;
            let (from, to) = (number("range", from)?, number("range", to)?);
            let interval = property("interval").map_or(Ok(1), |text| number("interval", text))?;
            let digits = property("digits").map_or(Ok(0), |text| number("digits", text))?;
            if interval < 1 || !(0..=18).contains(&digits) || from > to {
                return Err(wrong("range, interval or digits", "is out of bounds"));
            }
            Kind::Integer { from, to, interval, digits: usize::try_from(digits).unwrap_or(0) }
        }
        Some("date") => {
            let format = need("format")?;
            let pattern = Pattern::parse(format).map_err(|why| wrong("format", &why))?;
            let typed = HiveType::parse(&key.hive_type)?;
            let is_iso =
                matches!((&typed, format), (HiveType::Date, "yyyy-MM-dd") | (HiveType::Timestamp, "yyyy-MM-dd HH:mm:ss"));
            if matches!(typed, HiveType::Date | HiveType::Timestamp) && !is_iso {
                return Err(wrong(
                    "format",
                    "must be yyyy-MM-dd (yyyy-MM-dd HH:mm:ss) for a date (timestamp) column here; declare it as string",
                ));
            }
            let interval = (property("interval"), property("interval.unit"));
            Kind::Date(
                DateRange::parse(pattern, need("range")?, interval, now_ms).map_err(|why| wrong("range or interval", &why))?,
            )
        }
        Some(_) => return Err(wrong("type", "is none of enum, integer, date, injected")),
    };
    Ok(ProjectedColumn { name: key.name.clone(), kind })
}

/// A property, whose name may be written in any case.
fn parameter<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    let exact = parameters.get(name);
    let found = exact.or_else(|| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
    found.map(String::as_str)
}

/// All combinations of `values` (one list per partition key) as partitions.
///
/// # Errors
/// For more than [`MAX_PARTITIONS`], and for a template that does not give locations.
pub fn partitions(table: &Table, values: &[Vec<String>]) -> Result<Vec<Partition>> {
    let count = values.iter().try_fold(1_usize, |count, values| count.checked_mul(values.len())).unwrap_or(usize::MAX);
    if count > MAX_PARTITIONS {
        let text = format!(
            "partition projection of table {} gives {count} partitions for this query, and at most {MAX_PARTITIONS} are looked at: \
             add conditions on {}",
            table.full_name(),
            table.partition_keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ")
        );
        return Err(Error::new(ErrorKind::LimitExceeded, text));
    }
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    for column in values {
        let longer = |start: &Vec<String>, value: &String| start.iter().chain([value]).cloned().collect();
        all = all.iter().flat_map(|start| column.iter().map(move |value| longer(start, value))).collect();
    }
    all.into_iter()
        .map(|values| {
            let location = location(table, &values)?;
            let storage = super::model::StorageDescriptor { location: Some(location), ..Default::default() };
            Ok(Partition { values, storage_descriptor: Some(storage), parameters: Parameters::new() })
        })
        .collect()
}

/// Checks that queries would find `partitions`, which are about to be written.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] with the first one that the table's properties do not give.
pub fn check(table: &Table, partitions: &[Partition], now_ms: i64) -> Result<()> {
    let columns = columns(table, now_ms)?;
    let mut known = Vec::with_capacity(columns.len());
    for (place, column) in columns.iter().enumerate() {
        // Only of these it must be told whether they are there: there may be too many others.
        let written = Condition {
            column: column.name.clone(),
            comparison: Comparison::Equal,
            values: partitions.iter().filter_map(|partition| partition.values.get(place).cloned()).collect(),
            numeric: false,
        };
        known.push(match column.is_injected() {
            true => None,
            false => Some(column.values(&[&written])?.into_iter().collect::<HashSet<String>>()),
        });
    }
    for partition in partitions {
        let is_found = partition.values.iter().zip(&known).all(|(value, known)| match known {
            Some(known) => known.contains(value),
            None => value != HIVE_NULL && !value.is_empty(),
        });
        let place = partition.location().map(Location::parse).transpose()?;
        if !is_found || place != Some(Location::parse(&location(table, &partition.values)?)?) {
            return Err(Error::invalid(format!(
                "NOT_SUPPORTED: rows of partition {} of table {} would not be found: its partition projection does not give that partition",
                partition.values.join("/"),
                table.full_name()
            )));
        }
    }
    Ok(())
}

fn location(table: &Table, values: &[String]) -> Result<String> {
    let Some(template) = parameter(&table.parameters, "storage.location.template") else {
        let base = Location::parse(table.location().unwrap_or_default())?;
        let folder = |(key, value): (&Column, &String)| format!("{}={}", escape_value(&key.name), escape_value(value));
        let folders = table.partition_keys.iter().zip(values).map(folder);
        return Ok(folders.fold(base, |location, folder| location.join(&folder)).to_string());
    };
    let mut text = template.to_string();
    for (key, value) in table.partition_keys.iter().zip(values) {
        let place = format!("${{{}}}", key.name);
        if !text.contains(&place) {
            let why = format!("storage.location.template of table {} lacks {place}", table.full_name());
            return Err(Error::invalid(format!("INVALID_TABLE_PROPERTY: {why}")));
        }
        // A value of the query must not become a path of its own.
        if value.contains("${") || value.split('/').any(|part| part == ".." || part == ".") {
            return Err(Error::invalid(format!("'{value}' is no value of partition column {}", key.name)));
        }
        text = text.replace(&place, value);
    }
    if let Some(at) = text.find("${") {
        let place: String =
            text.chars().skip(text.get(..at).unwrap_or_default().chars().count()).take_while(|c| *c != '}').collect();
        let why = format!("storage.location.template of table {} has {place}}}, which is no partition column", table.full_name());
        return Err(Error::invalid(format!("INVALID_TABLE_PROPERTY: {why}")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
