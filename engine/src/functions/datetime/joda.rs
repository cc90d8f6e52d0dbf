//! The formats of format_datetime and parse_datetime: Joda-Time's letters.

use super::pattern::{Field, Piece, Pivot};
use datafusion::common::{Result, exec_err, not_impl_err};

/// Two digits of a year stand for the hundred years around this many years ago.
const PIVOT_YEARS_AGO: i32 = 30;
/// Most digits of a number of free length.
const MAX_DIGITS: usize = 9;
/// Most digits of a fraction that a format may ask for.
const MAX_FRACTION: usize = 9;

/// What a format says, and whether it shows the zone.
#[derive(Debug)]
pub(super) struct Format {
    /// The pieces in order.
    pub(super) pieces: Vec<Piece>,
    /// True when the zone is part of the format.
    pub(super) zone: bool,
}

enum Token {
    Letters(char, usize),
    Literal(String),
}

/// Cuts a format into runs of one letter, and the text between them; `''` is a quote, inside quotes everything is text.
fn tokens(format: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut letters = format.chars().peekable();
    let mut quoted = false;
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        if letter == '\'' {
            if letters.next_if_eq(&'\'').is_some() {
                text.push('\'');
            } else {
                quoted = !quoted;
            }
        } else if quoted || !letter.is_ascii_alphabetic() {
            text.push(letter);
        } else {
            if !text.is_empty() {
                tokens.push(Token::Literal(std::mem::take(&mut text)));
            }
            let mut count = 1;
            while letters.next_if_eq(&letter).is_some() {
                count += 1;
            }
            tokens.push(Token::Letters(letter, count));
        }
    }
    if !text.is_empty() {
        tokens.push(Token::Literal(text));
    }
    tokens
}

/// True when a run of letters is read as digits, so that a number before it must have its exact length.
fn is_numeric(token: Option<&Token>) -> bool {
    match token {
        Some(Token::Letters(letter, count)) => match letter {
            'c' | 'C' | 'x' | 'y' | 'Y' | 'd' | 'h' | 'H' | 'm' | 's' | 'S' | 'e' | 'D' | 'F' | 'w' | 'W' | 'k' | 'K' => true,
            'M' => *count <= 2,
            _ => false,
        },
        _ => false,
    }
}

fn year(field: Field, count: usize, next: Option<&Token>) -> Piece {
    if count == 2 {
        let lenient = !is_numeric(next);
        return Piece::TwoDigits { field, pivot: Pivot::BeforeNow(PIVOT_YEARS_AGO), lenient };
    }
    let max = if is_numeric(next) { count } else { MAX_DIGITS };
    Piece::Number { field, min: count, max, signed: field != Field::YearOfEra }
}

/// Reads a format; `parsing` refuses letters that can only be written.
pub(super) fn format(text: &str, parsing: bool) -> Result<Format> {
    let tokens = tokens(text);
    let mut format = Format { pieces: Vec::with_capacity(tokens.len()), zone: false };
    for (index, token) in tokens.iter().enumerate() {
        let (letter, count) = match token {
            Token::Literal(text) => {
                format.pieces.push(Piece::Literal(text.clone()));
                continue;
            }
            Token::Letters(letter, count) => (*letter, *count),
        };
        let next = tokens.get(index + 1);
        let number = |field, max| Piece::Number { field, min: count, max, signed: false };
        if matches!(letter, 'z' | 'Z') {
            format.zone = true;
        }
        format.pieces.push(match letter {
            'G' | 'C' | 'z' if parsing => return not_impl_err!("letter '{letter}' in formats that are parsed"),
            'G' => Piece::Name { field: Field::Era, long: true },
            'C' => number(Field::Century, MAX_DIGITS),
            'Y' => year(Field::YearOfEra, count, next),
            'x' => year(Field::Weekyear, count, next),
            'y' => year(Field::Year, count, next),
            'M' if count >= 3 => Piece::Name { field: Field::Month, long: count >= 4 },
            'M' => number(Field::Month, 2),
            'w' => number(Field::Week, 2),
            'e' => number(Field::DayOfWeek, 1),
            'E' => Piece::Name { field: Field::DayOfWeek, long: count >= 4 },
            'D' => number(Field::DayOfYear, 3),
            'd' => number(Field::DayOfMonth, 2),
            'a' => Piece::Name { field: Field::HalfDay, long: true },
            'K' => number(Field::HourOfHalfDay, 2),
            'h' => number(Field::ClockHourOfHalfDay, 2),
            'H' => number(Field::HourOfDay, 2),
            'k' => number(Field::ClockHourOfDay, 2),
            'm' => number(Field::Minute, 2),
            's' => number(Field::Second, 2),
            'S' if count <= MAX_FRACTION => Piece::Fraction { min: count, max: count },
            'S' => return not_impl_err!("more than {MAX_FRACTION} digits of a second"),
            'z' if count >= 4 => return not_impl_err!("long names of time zones in formats"),
            'z' => Piece::ZoneName,
            'Z' if count >= 3 => Piece::ZoneId,
            'Z' => Piece::Offset { colon: count == 2 },
            other => return exec_err!("Illegal pattern component: {}", other.to_string().repeat(count.min(MAX_DIGITS))),
        });
    }
    Ok(format)
}
