//! Aggregates that collect: maps of keys to values, histograms and sets.

use super::{Aggregate, Args, elements, list_value, picked};
use crate::functions::nested::{
    Lists, NanOrder, as_list, as_map, canonical, check_count, list_from_parts, list_item, list_of, map_from_parts, map_of,
    map_parts, map_types,
};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt64Array, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::Accumulator;
use std::collections::HashMap;
use std::sync::Arc;

/// More chunks than this are made one.
const MAX_CHUNKS: usize = 64;
/// What a key costs in the hash table beside its bytes, about.
const KEY_OVERHEAD_BYTES: usize = 48;

/// All functions of this file.
pub(super) fn all() -> Vec<Aggregate> {
    let map: super::ResultType = |types| Ok(map_of(types[0].clone(), types[1].clone()));
    let multimap: super::ResultType = |types| Ok(map_of(types[0].clone(), list_of(types[1].clone())));
    let first: super::ResultType = |types| Ok(types[0].clone());
    vec![
        Aggregate::new("map_agg", two, map, lists_of, |args| make(args, Kind::Map)).ordered(),
        Aggregate::new("multimap_agg", two, multimap, lists_of, |args| make(args, Kind::Multimap)).ordered(),
        Aggregate::new("map_union", one_map, first, map_states, |args| make(args, Kind::Union)).ordered(),
        Aggregate::new("histogram", one, count_map, counted, |args| make(args, Kind::Histogram)),
        Aggregate::new("set_agg", one, |types| Ok(list_of(types[0].clone())), lists_of, |args| make(args, Kind::Set)).ordered(),
        Aggregate::new("set_union", one_list, first, first_as_states, |args| make(args, Kind::SetUnion)).ordered(),
    ]
}

fn two(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    Ok(types.to_vec())
}

fn one(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    Ok(types.to_vec())
}

fn one_map(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    Ok(vec![as_map(&types[0])?])
}

fn one_list(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    Ok(vec![as_list(&types[0])?])
}

fn count_map(types: &[DataType]) -> Result<DataType> {
    Ok(map_of(types[0].clone(), DataType::Int64))
}

fn lists_of(types: &[DataType]) -> Result<Vec<DataType>> {
    Ok(types.iter().cloned().map(list_of).collect())
}

fn counted(types: &[DataType]) -> Result<Vec<DataType>> {
    Ok(vec![list_of(types[0].clone()), list_of(DataType::Int64)])
}

fn map_states(types: &[DataType]) -> Result<Vec<DataType>> {
    match map_types(&types[0]) {
        Some((key, value)) => Ok(vec![list_of(key), list_of(value)]),
        None => plan_err!("expected a map, got {}", types[0]),
    }
}

fn first_as_states(types: &[DataType]) -> Result<Vec<DataType>> {
    Ok(vec![types[0].clone()])
}

/// What happens to rows with a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// They are dropped.
    First,
    /// They are kept.
    All,
    /// Their second column, a count, is added.
    Sum,
}

/// Rows in the order of their coming, by key.
#[derive(Debug)]
pub(super) struct Store {
    keep: Keep,
    types: Vec<DataType>,
    key_count: usize,
    converter: RowConverter,
    seen: HashMap<Box<[u8]>, usize>,
    counts: Vec<i64>,
    chunks: Vec<Vec<ArrayRef>>,
    bytes: usize,
}

impl Store {
    /// For rows of `types`, of which the first `key_count` are the key.
    pub(super) fn new(types: &[DataType], key_count: usize, keep: Keep) -> Result<Self> {
        let fields = types[..key_count].iter().map(|of| SortField::new(of.clone())).collect::<Vec<_>>();
        if !RowConverter::supports_fields(&fields) || fields.is_empty() {
            return plan_err!("values of type {} cannot be compared", types[0]);
        }
        types[..key_count].iter().try_for_each(crate::functions::nested::check_comparable)?;
        let converter = RowConverter::new(fields)?;
        let (types, seen, counts, chunks) = (types.to_vec(), HashMap::new(), Vec::new(), Vec::new());
        Ok(Self { keep, types, key_count, converter, seen, counts, chunks, bytes: 0 })
    }

    /// Adds rows.
    pub(super) fn add(&mut self, rows: &[ArrayRef]) -> Result<()> {
        let Some(count) = rows.first().map(|column| column.len()).filter(|count| *count > 0) else {
            return Ok(());
        };
        let new: UInt64Array = match self.keep {
            Keep::All => (0..count as u64).collect::<Vec<_>>().into(),
            Keep::First => self.new_keys(rows, None)?.into(),
            Keep::Sum => self.new_keys(rows, rows[1].as_primitive_opt::<Int64Type>())?.into(),
        };
        if new.is_empty() {
            return Ok(());
        }
        let chunk = rows.iter().map(|column| picked(column, &new)).collect::<Result<Vec<_>>>()?;
        self.bytes += chunk.iter().map(|column| column.get_array_memory_size()).sum::<usize>();
        self.chunks.push(chunk);
        if self.chunks.len() > MAX_CHUNKS {
            let one = self.joined()?;
            self.chunks = vec![one];
        }
        Ok(())
    }

    fn new_keys(&mut self, rows: &[ArrayRef], counts: Option<&Int64Array>) -> Result<Vec<u64>> {
        let keys: Vec<_> = rows[..self.key_count].iter().map(|column| canonical(column, NanOrder::Largest)).collect();
        let keys = self.converter.convert_columns(&keys)?;
        let mut new = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let bytes: &[u8] = key.as_ref();
            let place = match self.seen.get(bytes) {
                Some(place) => *place,
                None => {
                    let place = self.seen.len();
                    self.bytes += bytes.len() + KEY_OVERHEAD_BYTES;
                    self.seen.insert(bytes.into(), place);
                    self.counts.extend(counts.map(|_| 0));
                    new.push(index as u64);
                    place
                }
            };
            if let Some(counts) = counts {
                self.counts[place] += counts.value(index);
            }
        }
        Ok(new)
    }

    fn joined(&self) -> Result<Vec<ArrayRef>> {
        let column = |(index, of): (usize, &DataType)| {
            let parts: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk[index].as_ref()).collect();
            if parts.is_empty() { Ok(new_empty_array(of)) } else { Ok(concat(&parts)?) }
        };
        self.types.iter().enumerate().map(column).collect()
    }

    /// The kept rows by column.
    pub(super) fn columns(&self) -> Result<Vec<ArrayRef>> {
        let mut columns = self.joined()?;
        if self.keep == Keep::Sum {
            columns[1] = Arc::new(Int64Array::from(self.counts.clone()));
        }
        Ok(columns)
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        size_of_val(self) + self.bytes + self.counts.capacity() * size_of::<i64>() + self.converter.size()
    }
}

/// What is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Map,
    Multimap,
    Union,
    Histogram,
    Set,
    SetUnion,
}

fn make(args: &Args<'_>, kind: Kind) -> Result<Box<dyn Accumulator>> {
    let types = match kind {
        Kind::Map | Kind::Multimap | Kind::Set => args.types.clone(),
        Kind::Histogram => vec![args.types[0].clone(), DataType::Int64],
        Kind::Union => match map_types(&args.types[0]) {
            Some((key, value)) => vec![key, value],
            None => return plan_err!("expected a map, got {}", args.types[0]),
        },
        Kind::SetUnion => match list_item(&args.types[0]) {
            Some(item) => vec![item],
            None => return plan_err!("expected an array, got {}", args.types[0]),
        },
    };
    let keep = match kind {
        Kind::Multimap => Keep::All,
        Kind::Histogram => Keep::Sum,
        _ => Keep::First,
    };
    let store = Store::new(&types, 1, keep)?;
    Ok(Box::new(Collect { kind, store, started: false, result: args.result.clone() }))
}

#[derive(Debug)]
struct Collect {
    kind: Kind,
    store: Store,
    /// Whether there was any row that counts: without one the result is NULL.
    started: bool,
    result: DataType,
}

impl Collect {
    fn pairs(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        match self.kind {
            Kind::Set => Ok(values.to_vec()),
            Kind::SetUnion => Ok(vec![elements(&values[0])?]),
            Kind::Union => {
                let (lists, keys, map_values) = map_parts(&values[0])?;
                let places = lists.elements().0;
                Ok(vec![picked(&keys, &places)?, picked(&map_values, &places)?])
            }
            Kind::Map | Kind::Multimap | Kind::Histogram => {
                let known = |row: &u64| values[0].is_valid(*row as usize);
                let places: UInt64Array = (0..values[0].len() as u64).filter(known).collect::<Vec<_>>().into();
                let second = match self.kind {
                    Kind::Histogram => Arc::new(Int64Array::from(vec![1; places.len()])) as ArrayRef,
                    _ => picked(&values[1], &places)?,
                };
                Ok(vec![picked(&values[0], &places)?, second])
            }
        }
    }

    fn multimap(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let converter = RowConverter::new(vec![SortField::new(columns[0].data_type().clone())])?;
        let keys = converter.convert_columns(&[canonical(&columns[0], NanOrder::Largest)])?;
        let (mut order, mut groups) = (Vec::new(), HashMap::<_, Vec<u64>>::new());
        for index in 0..columns[0].len() {
            let group = groups.entry(keys.row(index)).or_default();
            if group.is_empty() {
                order.push(index as u64);
            }
            group.push(index as u64);
        }
        let (mut places, mut lengths) = (Vec::new(), Vec::new());
        for first in &order {
            let group = groups.remove(&keys.row(*first as usize)).unwrap_or_default();
            lengths.push(group.len());
            places.extend(group);
        }
        let values = picked(&columns[1], &places.into())?;
        let lists = list_from_parts(values, &lengths, None, &list_of(columns[1].data_type().clone()))?;
        let count = order.len();
        map_from_parts(&picked(&columns[0], &order.into())?, &lists, &[count], None, &self.result)
    }
}

impl Accumulator for Collect {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let pairs = self.pairs(values)?;
        self.started |= match self.kind {
            Kind::Set => !values[0].is_empty(),
            Kind::SetUnion => true,
            Kind::Union => values[0].null_count() < values[0].len(),
            Kind::Map | Kind::Multimap | Kind::Histogram => !pairs[0].is_empty(),
        };
        self.store.add(&pairs)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if !self.started && self.kind != Kind::SetUnion {
            return ScalarValue::try_from(&self.result);
        }
        let columns = self.store.columns()?;
        let array = match self.kind {
            Kind::Set | Kind::SetUnion => {
                let count = columns[0].len();
                list_from_parts(Arc::clone(&columns[0]), &[count], None, &self.result)?
            }
            Kind::Multimap => self.multimap(&columns)?,
            Kind::Map | Kind::Union | Kind::Histogram => {
                map_from_parts(&columns[0], &columns[1], &[columns[0].len()], None, &self.result)?
            }
        };
        ScalarValue::try_from_array(&array, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.store.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        match self.started {
            true => Ok(self.store.columns()?.into_iter().map(list_value).collect()),
            false => self.store.types.iter().map(|of| ScalarValue::try_from(list_of(of.clone()))).collect(),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(first) = states.first() else {
            return internal_err!("a state is missing");
        };
        let lists = Lists::new(first)?;
        self.started |= (0..lists.len()).any(|row| !lists.is_null(row));
        if states.len() != self.store.types.len() {
            return exec_err!("expected {} states, got {}", self.store.types.len(), states.len());
        }
        self.store.add(&states.iter().map(elements).collect::<Result<Vec<_>>>()?)
    }
}
