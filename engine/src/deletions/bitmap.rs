//! The numbers of deleted rows as they are stored: bitmaps in the portable form of Roaring, one for each 2^32 rows.

use crate::error::{Error, ErrorKind, Result};
use std::ops::Range;

/// What the bytes begin with.
const MAGIC: u32 = 1_681_511_377;
/// Most ranges of rows that one file can have deleted: each is two steps of 16 bytes while the file is read.
pub(super) const MAX_RANGES: usize = 4 << 20;
/// Start of a bitmap without runs.
const WITHOUT_RUNS: u32 = 12_346;
/// Lower half of the start of a bitmap with runs.
const WITH_RUNS: u32 = 12_347;
/// Most containers of a bitmap: each has the numbers with one upper half.
const MAX_CONTAINERS: u32 = 1 << 16;
/// Bitmaps with runs that have fewer containers than these say nothing of where those begin.
const MIN_CONTAINERS_WITH_OFFSETS: u32 = 4;
/// Most numbers of a container that are written one by one.
const MAX_ARRAY_NUMBERS: u32 = 4_096;
/// Words of a container that has a bit for each number.
const WORDS: usize = 1_024;

/// The rows that `data` says, in order and with gaps between them.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for bytes that are not of that form, [`ErrorKind::LimitExceeded`] for more than `most` ranges.
pub(super) fn rows(data: &[u8], most: usize) -> Result<Vec<Range<u64>>> {
    let mut bytes = Bytes(data);
    if bytes.u32()? != MAGIC {
        return Err(corrupt("its format is not known"));
    }
    let mut found = Ranges { found: Vec::new(), most };
    let mut last = None;
    for _ in 0..bytes.u64()? {
        let high = bytes.u32()?;
        if last.is_some_and(|last| last >= high) {
            return Err(corrupt("its bitmaps are not in order"));
        }
        last = Some(high);
        bitmap(&mut bytes, u64::from(high) << 32, &mut found)?;
    }
    match bytes.0 {
        [] => Ok(found.found),
        _ => Err(corrupt("there are bytes behind its end")),
    }
}

fn corrupt(why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("it is no list of rows: {why}"))
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| corrupt("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| corrupt("it ends too early"))
    }

    fn u16(&mut self) -> Result<u32> {
        self.array().map(u16::from_le_bytes).map(u32::from)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

struct Ranges {
    found: Vec<Range<u64>>,
    most: usize,
}

impl Ranges {
    /// Adds `count` rows behind all before them.
    fn push(&mut self, start: u64, count: u32) -> Result<()> {
        let end = start.checked_add(u64::from(count)).ok_or_else(|| corrupt("a row is too far"))?;
        let is_full = self.found.len() >= self.most;
        match self.found.last_mut() {
            Some(last) if last.end > start => Err(corrupt("its rows are not in order")),
            Some(last) if last.end == start => {
                last.end = end;
                Ok(())
            }
            _ if is_full => Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "it has more than {} ranges of rows: rewrite the table without (REORG TABLE .. APPLY (PURGE))",
                    self.most
                ),
            )),
            _ => {
                self.found.push(start..end);
                Ok(())
            }
        }
    }
}

/// Reads one bitmap, whose numbers are behind `base`.
fn bitmap(bytes: &mut Bytes<'_>, base: u64, found: &mut Ranges) -> Result<()> {
    let start = bytes.u32()?;
    let (count, runs): (u32, &[u8]) = match start {
        WITHOUT_RUNS => (bytes.u32()?, &[]),
        _ if start & 0xFFFF == WITH_RUNS => {
            let count = (start >> 16) + 1;
            (count, bytes.take(count.div_ceil(8) as usize)?)
        }
        _ => return Err(corrupt("a bitmap's format is not known")),
    };
    if count > MAX_CONTAINERS {
        return Err(corrupt("a bitmap has too many containers"));
    }
    let mut headers = Bytes(bytes.take(count as usize * 4)?);
    if start == WITHOUT_RUNS || count >= MIN_CONTAINERS_WITH_OFFSETS {
        bytes.take(count as usize * 4)?;
    }
    let mut last = None;
    for index in 0..count as usize {
        let (high, numbers) = (headers.u16()?, headers.u16()? + 1);
        if last.is_some_and(|last| last >= high) {
            return Err(corrupt("its containers are not in order"));
        }
        last = Some(high);
        let base = base | u64::from(high) << 16;
        let has_runs = runs.get(index / 8).is_some_and(|byte| byte & 1 << (index % 8) != 0);
        let read = match has_runs {
            true => container_of_runs(bytes, base, found)?,
            false if numbers <= MAX_ARRAY_NUMBERS => container_of_numbers(bytes, base, numbers, found)?,
            false => container_of_bits(bytes, base, found)?,
        };
        if read != numbers {
            return Err(corrupt("a container has another number of rows than it says"));
        }
    }
    Ok(())
}

fn container_of_numbers(bytes: &mut Bytes<'_>, base: u64, numbers: u32, found: &mut Ranges) -> Result<u32> {
    for _ in 0..numbers {
        found.push(base | u64::from(bytes.u16()?), 1)?;
    }
    Ok(numbers)
}

fn container_of_runs(bytes: &mut Bytes<'_>, base: u64, found: &mut Ranges) -> Result<u32> {
    let mut numbers = 0;
    for _ in 0..bytes.u16()? {
        let (start, length) = (bytes.u16()?, bytes.u16()? + 1);
        if start + length > 1 << 16 {
            return Err(corrupt("a run ends outside of its container"));
        }
        found.push(base | u64::from(start), length)?;
        numbers += length;
    }
    Ok(numbers)
}

fn container_of_bits(bytes: &mut Bytes<'_>, base: u64, found: &mut Ranges) -> Result<u32> {
    let mut numbers = 0;
    for index in 0..WORDS {
        let mut word = bytes.u64()?;
        numbers += word.count_ones();
        let first = base | (index as u64) << 6;
        while word != 0 {
            let from = word.trailing_zeros();
            let length = (word >> from).trailing_ones();
            found.push(first + u64::from(from), length)?;
            // The last bit of a word has nothing behind it.
            word &= u64::MAX.checked_shl(from + length).unwrap_or(0);
        }
    }
    Ok(numbers)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// How the containers of a bitmap are written.
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub(in crate::deletions) enum Form {
        /// Numbers, or bits where they are many.
        Plain,
        Runs,
    }

    /// The bytes of a bitmap array with `rows`.
    pub(in crate::deletions) fn written(rows: &BTreeSet<u64>, form: Form) -> Vec<u8> {
        let mut by_high: BTreeMap<u32, BTreeMap<u16, BTreeSet<u16>>> = BTreeMap::new();
        for row in rows {
            let (high, middle, low) = ((row >> 32) as u32, (row >> 16) as u16, *row as u16);
            by_high.entry(high).or_default().entry(middle).or_default().insert(low);
        }
        let mut out = MAGIC.to_le_bytes().to_vec();
        out.extend((by_high.len() as u64).to_le_bytes());
        for (high, containers) in by_high {
            out.extend(high.to_le_bytes());
            out.extend(one(&containers, form));
        }
        out
    }

    fn one(containers: &BTreeMap<u16, BTreeSet<u16>>, form: Form) -> Vec<u8> {
        let count = containers.len() as u32;
        let mut out = Vec::new();
        match form {
            Form::Plain => {
                out.extend(WITHOUT_RUNS.to_le_bytes());
                out.extend(count.to_le_bytes());
            }
            Form::Runs => {
                out.extend((WITH_RUNS | (count - 1) << 16).to_le_bytes());
                out.extend(vec![0xFF; count.div_ceil(8) as usize]);
            }
        }
        for (key, numbers) in containers {
            out.extend(key.to_le_bytes());
            out.extend(((numbers.len() - 1) as u16).to_le_bytes());
        }
        if form == Form::Plain || count >= MIN_CONTAINERS_WITH_OFFSETS {
            out.extend(vec![0; count as usize * 4]);
        }
        containers.values().for_each(|numbers| container(numbers, form, &mut out));
        out
    }

    fn container(numbers: &BTreeSet<u16>, form: Form, out: &mut Vec<u8>) {
        if form == Form::Runs {
            let mut runs: Vec<(u16, u16)> = Vec::new();
            for number in numbers {
                match runs.last_mut() {
                    Some((start, length)) if start.checked_add(*length + 1) == Some(*number) => *length += 1,
                    _ => runs.push((*number, 0)),
                }
            }
            out.extend((runs.len() as u16).to_le_bytes());
            runs.into_iter().for_each(|(start, length)| out.extend([start.to_le_bytes(), length.to_le_bytes()].concat()));
        } else if numbers.len() <= MAX_ARRAY_NUMBERS as usize {
            numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
        } else {
            let mut words = [0_u64; WORDS];
            numbers.iter().for_each(|number| words[usize::from(*number) / 64] |= 1 << (number % 64));
            words.iter().for_each(|word| out.extend(word.to_le_bytes()));
        }
    }

    fn expanded(ranges: &[Range<u64>]) -> BTreeSet<u64> {
        ranges.iter().cloned().flatten().collect()
    }

    #[test]
    fn rows_come_back_in_every_form() -> Result<()> {
        let every = |step: u64, to: u64| (0..to).step_by(step as usize).collect::<BTreeSet<u64>>();
        let many: BTreeSet<u64> = (0..6).flat_map(|high| [high << 16, (high << 16) + 5]).collect();
        for rows_in in [
            BTreeSet::new(),
            BTreeSet::from([0]),
            BTreeSet::from([3, 4, 7, 11, 18, 29]),
            BTreeSet::from([65_535, 65_536, (1 << 32) - 1, 1 << 32, (5 << 32) + 9]),
            every(1, 200_000),
            every(2, 200_000),
            every(3, 10_000),
            every(1, 65_536),
            every(1, 4_096),
            every(2, 2 * 4_097),
            many,
        ] {
            for form in [Form::Plain, Form::Runs] {
                let found = rows(&written(&rows_in, form), MAX_RANGES)?;
                assert_eq!(expanded(&found), rows_in, "{form:?}");
                assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start), "{form:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn bytes_that_are_cut_or_changed_are_never_read_as_other_rows_of_another_number() -> Result<()> {
        let rows_in: BTreeSet<u64> = (0..5_000).chain([70_000, 70_002, 1 << 33]).collect();
        for form in [Form::Plain, Form::Runs] {
            let whole = written(&rows_in, form);
            for end in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
                assert!(rows(&whole[..end], MAX_RANGES).is_err_and(|error| error.kind == ErrorKind::Corrupt), "{end}");
            }
            let longer = [whole.as_slice(), &[0]].concat();
            assert!(rows(&longer, MAX_RANGES).is_err_and(|error| error.message.contains("behind its end")));
            // Any byte: an error or rows in order, and no panic.
            for at in 0..whole.len().min(300) {
                for change in [1, 0x80, 0xFF] {
                    let mut changed = whole.clone();
                    changed[at] ^= change;
                    if let Ok(found) = rows(&changed, MAX_RANGES) {
                        assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start), "{at}");
                    }
                }
            }
        }
        let mut native = written(&rows_in, Form::Plain);
        native[0] -= 1;
        assert!(rows(&native, MAX_RANGES).is_err_and(|error| error.message.contains("format")));
        let endless = [&MAGIC.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
        assert!(rows(&endless, MAX_RANGES).is_err());
        Ok(())
    }

    #[test]
    fn the_number_of_ranges_is_bounded() -> Result<()> {
        let data = written(&(0..20).step_by(2).collect(), Form::Plain);
        assert_eq!(rows(&data, 10)?.len(), 10);
        assert!(rows(&data, 9).is_err_and(|error| error.kind == ErrorKind::LimitExceeded));
        Ok(())
    }
}
