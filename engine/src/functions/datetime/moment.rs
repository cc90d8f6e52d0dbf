//! Dates and timestamps of every Arrow type as calendar values, and back; zones and their offsets.

use super::super::define::Call;
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Builder, PrimitiveArray, TimestampMicrosecondBuilder, TimestampMillisecondBuilder,
    TimestampNanosecondBuilder, TimestampSecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::{DateTime, Days, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use datafusion::common::{DataFusionError, Result, exec_err};
use std::sync::Arc;

/// Seconds of a day.
pub(crate) const DAY_SECONDS: i64 = 86_400;
/// Names of UTC, in upper case.
const UTC_NAMES: [&str; 13] =
    ["UTC", "Z", "GMT", "UT", "ETC/UTC", "UCT", "ZULU", "UNIVERSAL", "GREENWICH", "GMT0", "ETC/GMT", "ETC/UCT", "ETC/ZULU"];
/// A gap of daylight saving is shorter than this.
const LONGEST_GAP_HOURS: i64 = 25;

/// A time zone: a fixed offset, or a region whose offset changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A region of the tz database.
    Region(Tz),
}

impl Zone {
    /// The zone of sessions.
    pub(crate) const UTC: Self = Self::Fixed(0);

    /// Reads `UTC`, `+08:00`, `-03:30` or a region's name.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let unknown = || DataFusionError::Execution(format!("'{text}' is not a valid time zone"));
        let upper = text.to_ascii_uppercase();
        if UTC_NAMES.contains(&upper.as_str()) {
            return Ok(Self::UTC);
        }
        // An offset may stand behind a name of UTC.
        let offset = ["UTC", "GMT", "UT"].iter().find_map(|name| upper.strip_prefix(name)).unwrap_or(&upper);
        if let Some(sign) = offset.chars().next().filter(|c| matches!(c, '+' | '-')) {
            let digits = match offset.get(1..).map(|rest| rest.split_once(':').unwrap_or((rest, ""))) {
                Some((hours, "")) if hours.len() <= 2 => format!("{hours}00"),
                Some((number, "")) => number.to_string(),
                Some((hours, minutes)) if hours.len() <= 2 && minutes.len() == 2 => format!("{hours}{minutes}"),
                _ => return Err(unknown()),
            };
            if !(3..=4).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(unknown());
            }
            let number: i32 = digits.parse().map_err(|_| unknown())?;
            let (hours, minutes) = (number / 100, number % 100);
            if minutes > 59 || hours * 60 + minutes > 14 * 60 {
                return Err(unknown());
            }
            let seconds = hours * 3600 + minutes * 60;
            return Ok(Self::Fixed(if sign == '-' { -seconds } else { seconds }));
        }
        let any_case = || chrono_tz::TZ_VARIANTS.iter().find(|region| region.name().eq_ignore_ascii_case(text)).copied();
        text.parse().ok().or_else(any_case).map(Self::Region).ok_or_else(unknown)
    }

    /// A zone of whole minutes east of UTC.
    pub(crate) fn minutes(minutes: i64) -> Result<Self> {
        match i32::try_from(minutes) {
            Ok(minutes) if minutes.abs() <= 14 * 60 => Ok(Self::Fixed(minutes * 60)),
            _ => exec_err!("Invalid offset minutes {minutes}"),
        }
    }

    /// The name as Trino shows it and Arrow stores it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Fixed(0) => "UTC".to_string(),
            Self::Fixed(seconds) => offset_text(*seconds, true),
            Self::Region(region) => region.name().to_string(),
        }
    }

    /// Seconds east of UTC at the instant `utc`.
    pub(crate) fn offset(&self, utc: NaiveDateTime) -> i32 {
        match self {
            Self::Fixed(seconds) => *seconds,
            Self::Region(region) => region.offset_from_utc_datetime(&utc).fix().local_minus_utc(),
        }
    }

    /// Wall time of the instant `utc`.
    pub(crate) fn local(&self, utc: NaiveDateTime) -> Result<NaiveDateTime> {
        shift(utc, i64::from(self.offset(utc)))
    }

    /// The instant of a wall time: in an overlap the one with the offset `keep`, else the earlier; in a gap, as if the offset
    /// before it still held.
    pub(crate) fn instant(&self, local: NaiveDateTime, keep: Option<i32>) -> Result<NaiveDateTime> {
        let offset = match self {
            Self::Fixed(seconds) => *seconds,
            Self::Region(region) => match region.offset_from_local_datetime(&local) {
                MappedLocalTime::Single(offset) => offset.fix().local_minus_utc(),
                MappedLocalTime::Ambiguous(early, late) => {
                    let (early, late) = (early.fix().local_minus_utc(), late.fix().local_minus_utc());
                    if keep == Some(late) { late } else { early }
                }
                MappedLocalTime::None => {
                    let before = shift(local, -LONGEST_GAP_HOURS * 3600)?;
                    region.offset_from_utc_datetime(&before).fix().local_minus_utc()
                }
            },
        };
        shift(local, -i64::from(offset))
    }
}

/// `+08:00`, or `+0800` without the colon.
pub(crate) fn offset_text(seconds: i32, colon: bool) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    let separator = if colon { ":" } else { "" };
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution("timestamp is out of range".to_string())
}

/// `time` moved by `seconds`.
pub(crate) fn shift(time: NaiveDateTime, seconds: i64) -> Result<NaiveDateTime> {
    TimeDelta::try_seconds(seconds).and_then(|delta| time.checked_add_signed(delta)).ok_or_else(out_of_range)
}

/// The calendar time of `seconds` and `nanos` since 1970.
pub(crate) fn from_epoch(seconds: i64, nanos: u32) -> Result<NaiveDateTime> {
    DateTime::from_timestamp(seconds, nanos).map(|time| time.naive_utc()).ok_or_else(out_of_range)
}

/// The calendar time of `millis` since 1970.
pub(crate) fn from_millis(millis: i64) -> Result<NaiveDateTime> {
    from_epoch(millis.div_euclid(1000), u32::try_from(millis.rem_euclid(1000)).unwrap_or(0) * 1_000_000)
}

/// Whole milliseconds since 1970, rounded down.
pub(crate) fn millis(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_millis()
}

/// Days from 1970-01-01 to `date`.
pub(crate) fn days_of(date: NaiveDate) -> Result<i32> {
    let seconds = date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
    i32::try_from(seconds.div_euclid(DAY_SECONDS)).map_err(|_| out_of_range())
}

/// The last day of the month of `date`.
pub(crate) fn last_day(date: NaiveDate) -> Result<NaiveDate> {
    use chrono::Datelike;
    let (year, month) = if date.month() == 12 { (date.year() + 1, 1) } else { (date.year(), date.month() + 1) };
    NaiveDate::from_ymd_opt(year, month, 1).and_then(|next| next.checked_sub_days(Days::new(1))).ok_or_else(out_of_range)
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Values of an argument that is a date or a timestamp.
pub(crate) struct Instants {
    array: PrimitiveArray<Int64Type>,
    constant: bool,
    per_second: i64,
    /// The zone of the column, for timestamps with zone.
    pub(crate) zone: Option<Zone>,
}

impl Instants {
    /// Reads the values of `array`; `constant` when its first stands for all rows.
    pub(crate) fn new(array: &ArrayRef, constant: bool) -> Result<Self> {
        let (array, unit, zone) = match array.data_type() {
            DataType::Date32 | DataType::Date64 => {
                let seconds = cast(&cast(array, &DataType::Date32)?, &DataType::Timestamp(TimeUnit::Second, None))?;
                (seconds, TimeUnit::Second, None)
            }
            DataType::Timestamp(unit, zone) => {
                let zone = zone.as_deref().map(Zone::parse).transpose()?;
                (Arc::clone(array), *unit, zone)
            }
            DataType::Null => (cast(array, &MILLIS)?, TimeUnit::Millisecond, None),
            other => return exec_err!("{other} is neither a date nor a timestamp"),
        };
        let array = cast(&array, &DataType::Int64)?;
        Ok(Self { array: array.as_primitive::<Int64Type>().clone(), constant, per_second: per_second(unit), zone })
    }

    /// Argument `index` of `call`.
    pub(crate) fn of(call: &Call<'_>, index: usize) -> Result<Self> {
        let input = call.input(index)?;
        Self::new(&input.array, input.constant)
    }

    /// The value of `row` in UTC, or as written for values without zone.
    pub(crate) fn utc(&self, row: usize) -> Result<Option<NaiveDateTime>> {
        let index = if self.constant { 0 } else { row };
        if self.array.is_null(index) {
            return Ok(None);
        }
        let value = self.array.value(index);
        let fraction = value.rem_euclid(self.per_second) * (1_000_000_000 / self.per_second);
        from_epoch(value.div_euclid(self.per_second), u32::try_from(fraction).unwrap_or(0)).map(Some)
    }

    /// The wall time of `row`.
    pub(crate) fn local(&self, row: usize) -> Result<Option<NaiveDateTime>> {
        match (self.utc(row)?, &self.zone) {
            (Some(utc), Some(zone)) => zone.local(utc).map(Some),
            (time, _) => Ok(time),
        }
    }

    /// The zone, or UTC for values without.
    pub(crate) fn zone_or_utc(&self) -> Zone {
        self.zone.unwrap_or(Zone::UTC)
    }
}

/// `time` as the number that a timestamp of `unit` stores; what is finer is dropped.
pub(crate) fn stamp(time: NaiveDateTime, unit: TimeUnit) -> Result<i64> {
    let utc = time.and_utc();
    let scale = per_second(unit);
    let fraction = i64::from(utc.timestamp_subsec_nanos()) / (1_000_000_000 / scale);
    utc.timestamp().checked_mul(scale).and_then(|whole| whole.checked_add(fraction)).ok_or_else(out_of_range)
}

/// An array of dates or timestamps of `returns` from instants in UTC.
pub(crate) fn make_instants(
    returns: &DataType,
    rows: usize,
    mut row: impl FnMut(usize) -> Result<Option<NaiveDateTime>>,
) -> Result<ArrayRef> {
    macro_rules! fill {
        ($builder:ty, $unit:expr) => {{
            let mut builder = <$builder>::with_capacity(rows).with_data_type(returns.clone());
            for index in 0..rows {
                builder.append_option(row(index)?.map(|time| stamp(time, $unit)).transpose()?);
            }
            Ok(Arc::new(builder.finish()))
        }};
    }
    match returns {
        DataType::Date32 => {
            let mut builder = Date32Builder::with_capacity(rows);
            for index in 0..rows {
                builder.append_option(row(index)?.map(|time| days_of(time.date())).transpose()?);
            }
            Ok(Arc::new(builder.finish()))
        }
        DataType::Timestamp(TimeUnit::Second, _) => fill!(TimestampSecondBuilder, TimeUnit::Second),
        DataType::Timestamp(TimeUnit::Millisecond, _) => fill!(TimestampMillisecondBuilder, TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Microsecond, _) => fill!(TimestampMicrosecondBuilder, TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => fill!(TimestampNanosecondBuilder, TimeUnit::Nanosecond),
        other => exec_err!("{other} is neither a date nor a timestamp"),
    }
}

/// The type of a timestamp with three digits, without zone.
pub(crate) const MILLIS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// The type of a timestamp with three digits in `zone`.
pub(crate) fn millis_in(zone: &Zone) -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(zone.name().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{TimestampMicrosecondArray, TimestampNanosecondArray};

    fn time(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn zones_are_read() {
        for (text, name) in [
            ("utc", "UTC"),
            ("+00:00", "UTC"),
            ("-03:30", "-03:30"),
            ("+0800", "+08:00"),
            ("+13", "+13:00"),
            ("utc+1", "+01:00"),
            ("GMT-03:30", "-03:30"),
            ("Zulu", "UTC"),
            ("america/new_york", "America/New_York"),
        ] {
            assert_eq!(Zone::parse(text).unwrap().name(), name);
        }
        for text in ["", "+", "UTC+", "+15:00", "+08:60", "Mars/Base", "+08:00x", "é+"] {
            assert!(Zone::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wall_times_in_gaps_and_overlaps() {
        let york = Zone::parse("America/New_York").unwrap();
        let gap = york.instant(time("2024-03-10T02:30:00"), None).unwrap();
        assert_eq!(gap, time("2024-03-10T07:30:00"));
        let overlap = time("2024-11-03T01:30:00");
        assert_eq!(york.instant(overlap, None).unwrap(), time("2024-11-03T05:30:00"));
        assert_eq!(york.instant(overlap, Some(-5 * 3600)).unwrap(), time("2024-11-03T06:30:00"));
        // Samoa left out the 30th of December 2011.
        let apia = Zone::parse("Pacific/Apia").unwrap();
        assert_eq!(apia.instant(time("2011-12-30T12:00:00"), None).unwrap(), time("2011-12-30T22:00:00"));
    }

    #[test]
    fn values_before_1970_are_rounded_down() {
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(-1), None]));
        let instants = Instants::new(&nanos, false).unwrap();
        assert_eq!(instants.utc(0).unwrap(), Some(time("1969-12-31T23:59:59.999999999")));
        assert_eq!(instants.utc(1).unwrap(), None);
        let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]));
        assert!(Instants::new(&far, true).unwrap().utc(5).is_err());
        assert_eq!(stamp(time("1969-12-31T23:59:59.999"), TimeUnit::Second).unwrap(), -1);
        assert!(stamp(time("9999-12-31T00:00:00"), TimeUnit::Nanosecond).is_err());
    }
}
