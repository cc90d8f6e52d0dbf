//! Lists and maps as values with ranges, and the way to make new ones out of picked elements.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt64Array, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use std::ops::Range;
use std::sync::Arc;

/// The most elements that functions which multiply elements make of one batch, so that memory has a bound.
pub(in crate::functions) const MAX_BATCH_ELEMENTS: usize = 1 << 25;

/// Lists by row: where each row's elements are in `values`.
pub(in crate::functions) struct Lists {
    /// The elements, also those of no row.
    pub(in crate::functions) values: ArrayRef,
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
}

impl Lists {
    /// Of a list array, or of a map's entries.
    pub(in crate::functions) fn new(array: &ArrayRef) -> Result<Self> {
        if let Some(list) = array.as_list_opt::<i32>() {
            let (values, offsets, nulls) = (Arc::clone(list.values()), list.offsets().clone(), list.nulls().cloned());
            return Ok(Self { values, offsets, nulls });
        }
        if let Some(map) = array.as_map_opt() {
            let values = Arc::new(map.entries().clone()) as ArrayRef;
            return Ok(Self { values, offsets: map.offsets().clone(), nulls: map.nulls().cloned() });
        }
        internal_err!("expected a list, got {}", array.data_type())
    }

    /// How many rows.
    pub(in crate::functions) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether the list of `row` is NULL.
    pub(in crate::functions) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Where the elements of `row` are; of NULL, nowhere.
    pub(in crate::functions) fn range(&self, row: usize) -> Range<usize> {
        if self.is_null(row) {
            return 0..0;
        }
        // Offsets are never negative and never decrease.
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// How many elements `row` has.
    pub(in crate::functions) fn count(&self, row: usize) -> usize {
        self.range(row).len()
    }

    /// Which rows are NULL.
    pub(in crate::functions) fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    /// For each element of a row, in order, its place in `values` and its row.
    pub(in crate::functions) fn elements(&self) -> (UInt64Array, UInt64Array) {
        let (mut places, mut rows) = (Vec::new(), Vec::new());
        for row in 0..self.len() {
            for place in self.range(row) {
                places.push(place as u64);
                rows.push(row as u64);
            }
        }
        (places.into(), rows.into())
    }
}

/// Lists in the making: elements picked by their place in some values.
#[derive(Default)]
pub(in crate::functions) struct Picks {
    places: Vec<Option<u64>>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
    done: usize,
}

impl Picks {
    /// Adds an element to the row in the making; `None` is NULL.
    pub(in crate::functions) fn push(&mut self, place: Option<usize>) {
        self.places.push(place.map(|place| place as u64));
    }

    /// Adds elements.
    pub(in crate::functions) fn extend(&mut self, places: impl IntoIterator<Item = usize>) {
        self.places.extend(places.into_iter().map(|place| Some(place as u64)));
    }

    /// An error if one batch makes more elements than it may.
    pub(in crate::functions) fn check(&self) -> Result<()> {
        match self.places.len() > MAX_BATCH_ELEMENTS {
            true => exec_err!("the arrays of one batch have more than {MAX_BATCH_ELEMENTS} elements"),
            false => Ok(()),
        }
    }

    /// Ends the row in the making.
    pub(in crate::functions) fn end_row(&mut self) {
        self.lengths.push(self.places.len() - self.done);
        self.done = self.places.len();
        self.valid.push(true);
    }

    /// Adds a row that is NULL.
    fn null_row(&mut self) {
        self.end_row();
        if let Some(last) = self.valid.last_mut() {
            *last = false;
        }
    }

    /// The picked elements of `values`.
    pub(in crate::functions) fn take(&self, values: &ArrayRef) -> Result<ArrayRef> {
        match values.is_empty() {
            true => Ok(new_null_array(values.data_type(), self.places.len())),
            false => Ok(take(values, &UInt64Array::from(self.places.clone()), None)?),
        }
    }

    /// The picked elements and the lists' lengths and nulls.
    pub(in crate::functions) fn into_parts(self, values: &ArrayRef) -> Result<(ArrayRef, Vec<usize>, Option<NullBuffer>)> {
        let picked = self.take(values)?;
        Ok((picked, self.lengths, Some(NullBuffer::from(BooleanBuffer::from(self.valid)))))
    }

    /// The lists as an array of type `result`.
    pub(in crate::functions) fn finish(self, values: &ArrayRef, result: &DataType) -> Result<ArrayRef> {
        let (picked, lengths, nulls) = self.into_parts(values)?;
        list_from_parts(picked, &lengths, nulls, result)
    }
}

/// Lists row by row: NULL where `is_null`, else what `one` picks.
pub(in crate::functions) fn pick_rows(
    rows: usize,
    is_null: impl Fn(usize) -> bool,
    mut one: impl FnMut(usize, &mut Picks) -> Result<()>,
) -> Result<Picks> {
    let mut picks = Picks::default();
    for row in 0..rows {
        if is_null(row) {
            picks.null_row();
            continue;
        }
        one(row, &mut picks)?;
        picks.end_row();
        picks.check()?;
    }
    Ok(picks)
}

fn offsets(lengths: &[usize]) -> Result<OffsetBuffer<i32>> {
    let total = lengths.iter().try_fold(0usize, |sum, length| sum.checked_add(*length));
    match total.and_then(|total| i32::try_from(total).ok()) {
        Some(_) => Ok(OffsetBuffer::from_lengths(lengths.iter().copied())),
        None => exec_err!("the arrays of one batch have more than {} elements", i32::MAX),
    }
}

/// A list array of type `result`.
pub(in crate::functions) fn list_from_parts(
    values: ArrayRef,
    lengths: &[usize],
    nulls: Option<NullBuffer>,
    result: &DataType,
) -> Result<ArrayRef> {
    let DataType::List(field) = result else {
        return internal_err!("expected a list type, got {result}");
    };
    let values = if values.data_type() == field.data_type() { values } else { cast(&values, field.data_type())? };
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets(lengths)?, values, nulls)?))
}

/// A map array of type `result`; keys must be checked.
pub(in crate::functions) fn map_from_parts(
    keys: &ArrayRef,
    values: &ArrayRef,
    lengths: &[usize],
    nulls: Option<NullBuffer>,
    result: &DataType,
) -> Result<ArrayRef> {
    let DataType::Map(entries, _) = result else {
        return internal_err!("expected a map type, got {result}");
    };
    let DataType::Struct(fields) = entries.data_type() else {
        return internal_err!("expected a map type, got {result}");
    };
    let columns = [keys, values].into_iter().zip(fields).map(|(column, field)| Ok(cast(column, field.data_type())?));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    if columns[0].null_count() > 0 {
        return exec_err!("map key cannot be null");
    }
    let rows = StructArray::try_new(fields.clone(), columns, None)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets(lengths)?, rows, nulls, false)?))
}

/// Lists over a map's entries, its keys and its values.
pub(in crate::functions) fn map_parts(array: &ArrayRef) -> Result<(Lists, ArrayRef, ArrayRef)> {
    let lists = Lists::new(array)?;
    match array.as_map_opt() {
        Some(map) => Ok((lists, Arc::clone(map.keys()), Arc::clone(map.values()))),
        None => Err(DataFusionError::Internal(format!("expected a map, got {}", array.data_type()))),
    }
}

/// Places of lists put side by side, the row lengths (of the longest) and which rows have no NULL list.
pub(in crate::functions) type Aligned = (Vec<Vec<Option<u64>>>, Vec<usize>, NullBuffer);

pub(in crate::functions) fn aligned(lists: &[Lists]) -> Aligned {
    let rows = lists.first().map_or(0, Lists::len);
    let mut places = vec![Vec::new(); lists.len()];
    let (mut lengths, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows {
        let known = !lists.iter().any(|list| list.is_null(row));
        let longest = lists.iter().map(|list| list.count(row)).max().unwrap_or(0);
        let length = if known { longest } else { 0 };
        for (list, places) in lists.iter().zip(&mut places) {
            let range = list.range(row);
            let at = |i: usize| (i < range.len()).then_some((range.start + i) as u64);
            places.extend((0..length).map(at));
        }
        lengths.push(length);
        valid.push(known);
    }
    (places, lengths, NullBuffer::from(valid))
}
