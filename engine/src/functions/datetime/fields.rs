//! Fields of dates, timestamps, times and intervals: year(), month(), …, and EXTRACT, which is planned as date_part().

use super::super::define::{Arg, Call, Typing, define};
use super::moment::{Instants, last_day, make_instants};
use super::pattern::Field;
use crate::functions::Functions;
use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, DurationMillisecondType, Int64Type, IntervalYearMonthType, Time64NanosecondType};
use chrono::{Datelike, NaiveDateTime, NaiveTime};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};

/// What can be taken out of a date, a time or an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Calendar(Field),
    Quarter,
    ZoneHour,
    ZoneMinute,
}

/// Function, its other names, and the part that it takes.
const PARTS: [(&str, &[&str], Part); 14] = [
    ("year", &[], Part::Calendar(Field::Year)),
    ("quarter", &[], Part::Quarter),
    ("month", &[], Part::Calendar(Field::Month)),
    ("week", &["week_of_year"], Part::Calendar(Field::Week)),
    ("day", &["day_of_month"], Part::Calendar(Field::DayOfMonth)),
    ("day_of_week", &["dow"], Part::Calendar(Field::DayOfWeek)),
    ("day_of_year", &["doy"], Part::Calendar(Field::DayOfYear)),
    ("year_of_week", &["yow"], Part::Calendar(Field::Weekyear)),
    ("hour", &[], Part::Calendar(Field::HourOfDay)),
    ("minute", &[], Part::Calendar(Field::Minute)),
    ("second", &[], Part::Calendar(Field::Second)),
    ("millisecond", &[], Part::Calendar(Field::Millis)),
    ("timezone_hour", &[], Part::ZoneHour),
    ("timezone_minute", &[], Part::ZoneMinute),
];

impl Part {
    /// The part that EXTRACT names, by Trino's names and those of ISO; it knows no milliseconds.
    fn parse(text: &str) -> Result<Self> {
        let lower = match text.to_lowercase().as_str() {
            "isodow" => "day_of_week".to_string(),
            "isoyear" => "year_of_week".to_string(),
            other => other.to_string(),
        };
        let known = PARTS.iter().find(|(name, others, _)| *name == lower || others.contains(&lower.as_str()));
        match known {
            Some((name, _, part)) if *name != "millisecond" => Ok(*part),
            _ => plan_err!("Invalid EXTRACT field: {text}"),
        }
    }

    fn of_time(self, time: NaiveDateTime) -> i64 {
        match self {
            Self::Calendar(field) => field.of(time),
            Self::Quarter => i64::from(time.month0() / 3 + 1),
            Self::ZoneHour | Self::ZoneMinute => 0,
        }
    }

    fn of_months(self, months: i32) -> Result<i64> {
        match self {
            Self::Calendar(Field::Year) => Ok(i64::from(months / 12)),
            Self::Calendar(Field::Month) => Ok(i64::from(months % 12)),
            _ => exec_err!("an interval of years and months has no such field"),
        }
    }

    fn of_span(self, millis: i64) -> Result<i64> {
        const DAY: i64 = 86_400_000;
        match self {
            Self::Calendar(Field::DayOfMonth) => Ok(millis / DAY),
            Self::Calendar(Field::HourOfDay) => Ok(millis % DAY / 3_600_000),
            Self::Calendar(Field::Minute) => Ok(millis % 3_600_000 / 60_000),
            Self::Calendar(Field::Second) => Ok(millis % 60_000 / 1_000),
            Self::Calendar(Field::Millis) => Ok(millis % 1_000),
            _ => exec_err!("an interval of days and seconds has no such field"),
        }
    }

    /// True for parts of the time of day.
    fn is_clock(self) -> bool {
        matches!(self, Self::Calendar(Field::HourOfDay | Field::Minute | Field::Second | Field::Millis))
    }
}

/// Parts of argument `index`, which may differ by row.
fn extract(call: &Call<'_>, index: usize, part: impl Fn(usize) -> Result<Option<Part>>) -> Result<ArrayRef> {
    match call.input(index)?.array.data_type() {
        DataType::Interval(_) => {
            let values = call.values::<IntervalYearMonthType>(index)?;
            call.make::<Int64Type, _>(|row| {
                let (Some(part), Some(value)) = (part(row)?, values.get(row)) else { return Ok(None) };
                part.of_months(value).map(Some)
            })
        }
        DataType::Duration(_) => {
            let values = call.values::<DurationMillisecondType>(index)?;
            call.make::<Int64Type, _>(|row| {
                let (Some(part), Some(value)) = (part(row)?, values.get(row)) else { return Ok(None) };
                part.of_span(value).map(Some)
            })
        }
        DataType::Time64(_) => {
            let values = call.values::<Time64NanosecondType>(index)?;
            call.make::<Int64Type, _>(|row| {
                let (Some(part), Some(value)) = (part(row)?, values.get(row)) else { return Ok(None) };
                if !part.is_clock() {
                    return exec_err!("a time has no such field");
                }
                let nanos = u32::try_from(value % 1_000_000_000).unwrap_or(0);
                let seconds = u32::try_from(value / 1_000_000_000).unwrap_or(0);
                let clock = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos);
                Ok(clock.map(|clock| part.of_time(NaiveDateTime::default().date().and_time(clock))))
            })
        }
        _ => {
            let instants = Instants::of(call, index)?;
            call.make::<Int64Type, _>(|row| {
                let (Some(part), Some(utc)) = (part(row)?, instants.utc(row)?) else { return Ok(None) };
                let zone = match (instants.zone, part) {
                    (Some(zone), _) => zone,
                    // The session's zone is UTC, which has both fields 0.
                    (None, _) => return Ok(Some(part.of_time(utc))),
                };
                let offset = i64::from(zone.offset(utc)) / 60;
                Ok(Some(match part {
                    Part::ZoneHour => offset / 60,
                    Part::ZoneMinute => offset % 60,
                    _ => part.of_time(zone.local(utc)?),
                }))
            })
        }
    }
}

fn date_part(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let constant = if call.input(0)?.constant { texts.get(0).map(Part::parse).transpose()? } else { None };
    // The planner's own EXTRACT has this name, too, and gives integers.
    let parts = extract(&call.returning(&DataType::Int64), 1, |row| match constant {
        Some(part) => Ok(Some(part)),
        None => texts.get(row).map(Part::parse).transpose(),
    })?;
    Ok(cast(&parts, call.returns)?)
}

fn last_day_of_month(call: &Call<'_>) -> Result<ArrayRef> {
    let instants = Instants::of(call, 0)?;
    make_instants(call.returns, call.rows, |row| {
        let Some(time) = instants.local(row)? else { return Ok(None) };
        last_day(time.date()).map(|date| Some(date.and_time(NaiveTime::MIN)))
    })
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    for (name, aliases, part) in PARTS {
        let body = move |call: &Call<'_>| extract(call, 0, |_| Ok(Some(part)));
        functions.scalar.push(define(name).alias(aliases).form(&[Arg::Fields], DataType::Int64, body).udf());
    }
    let known = |typing: &Typing<'_>| -> Result<DataType> {
        // An unknown field is an error of the statement, not of a row.
        if typing.is_literal(0) {
            typing.text(0)?.map(|text| Part::parse(&text)).transpose()?;
        }
        Ok::<_, DataFusionError>(DataType::Int64)
    };
    functions.scalar.extend([
        define("date_part").alias(&["datepart"]).typed(&[Arg::Text, Arg::Fields], None, known, date_part).udf(),
        define("last_day_of_month").form(&[Arg::Instant], DataType::Date32, last_day_of_month).udf(),
    ]);
}
