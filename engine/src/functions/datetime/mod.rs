//! Date and time functions.

mod clock;
mod fields;
mod formats;
mod interval;
mod iso;
mod joda;
mod moment;
mod mysql;
mod parse;
mod pattern;
mod text;
mod units;
mod unix;

pub(crate) use formats::TimeFormats;
pub use interval::interval_texts;
pub(crate) use interval::{day_text, month_text};
pub(crate) use iso::{clock_text, date_text, digits_of};
pub(crate) use moment::{Instants, Zone, make_instants};
pub(crate) use unix::{double, java_round, saturating};

use super::Functions;

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    units::register(functions);
    fields::register(functions);
    text::register(functions);
    iso::register(functions);
    unix::register(functions);
    interval::register(functions);
}
