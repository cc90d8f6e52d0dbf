//! Dates to and from text by formats: date_format, date_parse, format_datetime, parse_datetime.

use super::super::define::{Arg, Call, Texts, Typing, define};
use super::joda;
use super::moment::{Instants, MILLIS, Zone, from_millis, make_instants, millis_in};
use super::mysql;
use super::parse::{Parsed, parse};
use super::pattern::{Piece, print};
use crate::functions::Functions;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use chrono::NaiveDateTime;
use datafusion::common::{Result, exec_err};

/// The pieces of a format for each row; a constant format is read once.
struct Formats<F> {
    texts: Texts,
    constant: Option<Vec<Piece>>,
    read: F,
}

impl<F: Fn(&str) -> Result<Vec<Piece>>> Formats<F> {
    fn of(call: &Call<'_>, index: usize, read: F) -> Result<Self> {
        let texts = call.texts(index)?;
        let constant = if call.input(index)?.constant { texts.get(0).map(&read).transpose()? } else { None };
        Ok(Self { texts, constant, read })
    }

    fn with<T>(&self, row: usize, then: impl FnOnce(&[Piece]) -> Result<T>) -> Result<Option<T>> {
        match (&self.constant, self.texts.get(row)) {
            (Some(pieces), _) => then(pieces).map(Some),
            (None, Some(text)) => then(&(self.read)(text)?).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Writes argument 0 by the format of argument 1.
fn write(call: &Call<'_>, read: impl Fn(&str, bool) -> Result<Vec<Piece>>) -> Result<ArrayRef> {
    let instants = Instants::of(call, 0)?;
    let zoned = instants.zone.is_some();
    let formats = Formats::of(call, 1, |text| read(text, zoned))?;
    let zone = instants.zone_or_utc();
    call.make_texts(|row| {
        let Some(utc) = instants.utc(row)?.map(to_millis).transpose()? else { return Ok(None) };
        formats.with(row, |pieces| print(pieces, zone.local(utc)?, &zone, zone.offset(utc)))
    })
}

/// `time` in whole milliseconds, halves up: formats know no finer ones.
fn to_millis(time: NaiveDateTime) -> Result<NaiveDateTime> {
    let micros = time.and_utc().timestamp_micros();
    from_millis(micros.saturating_add(500).div_euclid(1_000))
}

fn joda_to_write(text: &str, zoned: bool) -> Result<Vec<Piece>> {
    let format = joda::format(text, false)?;
    if format.zone && !zoned {
        return exec_err!(
            "format_datetime for TIMESTAMP type, cannot use 'Z' nor 'z' in format, as this type does not contain TZ information"
        );
    }
    Ok(format.pieces)
}

fn date_parse(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let formats = Formats::of(call, 1, mysql::pieces)?;
    make_instants(call.returns, call.rows, |row| {
        let Some(text) = texts.get(row) else { return Ok(None) };
        formats.with(row, |pieces| parse(pieces, text).map(|parsed| parsed.local))
    })
}

/// A column of timestamps has one zone here: that of a constant text, else UTC.
pub(super) fn zone_of_constant(typing: &Typing<'_>, read: impl Fn(&str) -> Result<Parsed>) -> Result<DataType> {
    let zone = match typing.is_literal(0).then(|| typing.text(0)).transpose()?.flatten() {
        Some(text) => read(&text).ok().and_then(|parsed| parsed.zone),
        None => None,
    };
    Ok(millis_in(&zone.unwrap_or(Zone::UTC)))
}

/// What of a text is wanted that may have any zone.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// The clock that it shows.
    Clock,
    /// The instant that it is.
    Instant,
}

impl Wanted {
    /// The type of a column of it.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Clock => MILLIS,
            Self::Instant => millis_in(&Zone::UTC),
        }
    }

    pub(super) fn of(self, parsed: Parsed) -> Result<NaiveDateTime> {
        match self {
            Self::Clock => Ok(parsed.local),
            Self::Instant => parsed.zone.unwrap_or(Zone::UTC).instant(parsed.local, None),
        }
    }
}

/// The instant that was read, if its zone is the one of the column.
pub(super) fn in_column(parsed: Parsed, returns: &DataType, name: &str) -> Result<NaiveDateTime> {
    let column = match returns {
        DataType::Timestamp(_, Some(zone)) => Zone::parse(zone)?,
        _ => Zone::UTC,
    };
    let zone = parsed.zone.unwrap_or(Zone::UTC);
    if zone != column {
        let (zone, column) = (zone.name(), column.name());
        return exec_err!(
            "{name} met the time zone {zone} in a column of {column}: timestamps of one column have one time zone here; put AT TIME \
             ZONE, to_unixtime, date or CAST(.. AS timestamp) around it"
        );
    }
    zone.instant(parsed.local, None)
}

fn parse_datetime(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let formats = Formats::of(call, 1, |text| joda::format(text, true).map(|format| format.pieces))?;
    make_instants(call.returns, call.rows, |row| {
        let Some(text) = texts.get(row) else { return Ok(None) };
        formats.with(row, |pieces| in_column(parse(pieces, text)?, call.returns, call.name))
    })
}

fn read_datetime(call: &Call<'_>, wanted: Wanted) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let formats = Formats::of(call, 1, |text| joda::format(text, true).map(|format| format.pieces))?;
    make_instants(call.returns, call.rows, |row| {
        let Some(text) = texts.get(row) else { return Ok(None) };
        formats.with(row, |pieces| wanted.of(parse(pieces, text)?))
    })
}

fn parse_datetime_type(typing: &Typing<'_>) -> Result<DataType> {
    if !typing.is_literal(1) {
        return Ok(millis_in(&Zone::UTC));
    }
    let pieces = typing.text(1)?.map(|format| joda::format(&format, true)).transpose()?.map(|format| format.pieces);
    zone_of_constant(typing, |text| parse(pieces.as_deref().unwrap_or_default(), text))
}

/// Adds the functions of this file.
pub(super) fn register(functions: &mut Functions) {
    let date_format = |call: &Call<'_>| write(call, |text, _| mysql::pieces(text));
    let format_datetime = |call: &Call<'_>| write(call, joda_to_write);
    for (name, wanted) in [("owlet_clock_parse_datetime", Wanted::Clock), ("owlet_instant_parse_datetime", Wanted::Instant)] {
        let body = move |call: &Call<'_>| read_datetime(call, wanted);
        functions.scalar.push(define(name).form(&[Arg::Text, Arg::Text], wanted.data_type(), body).udf());
    }
    functions.scalar.extend([
        define("date_format").form(&[Arg::Instant, Arg::Text], DataType::Utf8, date_format).udf(),
        define("format_datetime").form(&[Arg::Instant, Arg::Text], DataType::Utf8, format_datetime).udf(),
        define("date_parse").form(&[Arg::Text, Arg::Text], MILLIS, date_parse).udf(),
        define("parse_datetime").typed(&[Arg::Text, Arg::Text], None, parse_datetime_type, parse_datetime).udf(),
    ]);
}
