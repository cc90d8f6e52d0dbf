//! Map functions without lambdas.

use super::Functions;
use super::nested::{
    Call, Coerce, Lists, Picks, ResultType, Run, Scalar, as_list, as_map, check_count, is_nan, keys, list_item, list_of,
    map_from_parts, map_of, map_parts, map_types, pick_rows, same_type,
};
use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Fields};
use arrow::util::display::array_value_to_string;
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    let first: ResultType = |types| Ok(types[0].clone());
    let table: [(&'static str, Coerce, ResultType, Run); 8] = [
        ("map", keys_and_values, map_type, map),
        // The planner has ideas of its own about `map` with other than two arrays; under this name it has none.
        ("map_from_arrays", keys_and_values, map_type, map),
        ("map_keys", one_map, |types| Ok(list_of(parts(&types[0])?.0)), map_keys),
        ("map_values", one_map, |types| Ok(list_of(parts(&types[0])?.1)), map_values),
        ("map_entries", one_map, entries_type, map_entries),
        ("map_from_entries", one_entries, |types| entry_map(&types[0], false), map_from_entries),
        ("multimap_from_entries", one_entries, |types| entry_map(&types[0], true), multimap_from_entries),
        ("map_concat", same_maps, first, map_concat),
    ];
    for (name, coerce, result, run) in table {
        functions.scalar.push(Scalar::udf(name, coerce, result, run));
    }
}

fn parts(map: &DataType) -> Result<(DataType, DataType)> {
    match map_types(map) {
        Some(types) => Ok(types),
        None => plan_err!("expected a map, got {map}"),
    }
}

fn one_map(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    Ok(vec![as_map(&types[0])?])
}

fn same_maps(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=usize::MAX)?;
    let mut all = as_map(&types[0])?;
    for other in &types[1..] {
        all = same_type(&all, &as_map(other)?)?;
    }
    Ok(vec![all; types.len()])
}

fn keys_and_values(types: &[DataType]) -> Result<Vec<DataType>> {
    if types.is_empty() {
        return Ok(Vec::new());
    }
    check_count(types, 2..=2)?;
    types.iter().map(as_list).collect()
}

fn map_type(types: &[DataType]) -> Result<DataType> {
    match types {
        [] => Ok(map_of(DataType::Null, DataType::Null)),
        [keys, values] => match (list_item(keys), list_item(values)) {
            (Some(key), Some(value)) => Ok(map_of(key, value)),
            _ => plan_err!("expected two arrays"),
        },
        _ => plan_err!("expected two arrays"),
    }
}

/// An error if the keys at `places`, all of one row, are not all known and different.
pub(super) fn check_keys(keys: &ArrayRef, rows: &arrow::row::Rows, places: impl Iterator<Item = usize>) -> Result<()> {
    let mut seen = HashSet::new();
    for place in places {
        if keys.data_type().is_null() || keys.is_null(place) {
            return exec_err!("map key cannot be null");
        }
        if !is_nan(keys, place) && !seen.insert(rows.row(place)) {
            return exec_err!("Duplicate map keys ({}) are not allowed", array_value_to_string(keys, place)?);
        }
    }
    Ok(())
}

/// `map(keys, values)`.
fn map(call: &Call<'_>) -> Result<ArrayRef> {
    if call.args.is_empty() {
        let none = arrow::array::new_empty_array(&DataType::Null);
        return map_from_parts(&none, &none, &vec![0; call.rows], None, call.result);
    }
    let (key_lists, value_lists) = (call.lists(0)?, call.lists(1)?);
    let [rows] = keys([&key_lists.values])?;
    let mut values_out = Picks::default();
    let keys_out = pick_rows(
        call.rows,
        |row| key_lists.is_null(row) || value_lists.is_null(row),
        |row, keys_out| {
            if key_lists.count(row) != value_lists.count(row) {
                return exec_err!("Key and value arrays must be the same length");
            }
            check_keys(&key_lists.values, &rows, key_lists.range(row))?;
            keys_out.extend(key_lists.range(row));
            values_out.extend(value_lists.range(row));
            Ok(())
        },
    );
    let (keys, lengths, nulls) = keys_out?.into_parts(&key_lists.values)?;
    let (values, _, _) = values_out.into_parts(&value_lists.values)?;
    map_from_parts(&keys, &values, &lengths, nulls, call.result)
}

/// One list for each map, of `values` at its entries.
fn per_entry(lists: &Lists, values: &ArrayRef, result: &DataType) -> Result<ArrayRef> {
    let picks = pick_rows(
        lists.len(),
        |row| lists.is_null(row),
        |row, picks| {
            picks.extend(lists.range(row));
            Ok(())
        },
    );
    picks?.finish(values, result)
}

fn map_keys(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, keys, _) = map_parts(call.arg(0)?)?;
    per_entry(&lists, &keys, call.result)
}

fn map_values(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, _, values) = map_parts(call.arg(0)?)?;
    per_entry(&lists, &values, call.result)
}

fn entries_type(types: &[DataType]) -> Result<DataType> {
    let (key, value) = parts(&types[0])?;
    Ok(list_of(super::nested::struct_of(&[key, value])))
}

/// `map_entries(map)`: rows without names.
fn map_entries(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, keys, values) = map_parts(call.arg(0)?)?;
    let DataType::List(field) = call.result else {
        return internal_err!("expected a list type, got {}", call.result);
    };
    let DataType::Struct(fields) = field.data_type() else {
        return internal_err!("expected rows, got {field}");
    };
    let rows = Arc::new(StructArray::try_new(fields.clone(), vec![keys, values], None)?) as ArrayRef;
    per_entry(&lists, &rows, call.result)
}

fn entry_fields(list: &DataType) -> Option<(DataType, Fields)> {
    match list_item(list) {
        Some(DataType::Struct(fields)) if fields.len() == 2 => Some((list_of(DataType::Struct(fields.clone())), fields)),
        _ => None,
    }
}

fn one_entries(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    match entry_fields(&types[0]) {
        Some((list, _)) => Ok(vec![list]),
        None => plan_err!("expected an array of rows with two fields, got {}", types[0]),
    }
}

fn entry_map(list: &DataType, multi: bool) -> Result<DataType> {
    match entry_fields(list) {
        Some((_, fields)) => {
            let (key, value) = (fields[0].data_type().clone(), fields[1].data_type().clone());
            Ok(map_of(key, if multi { list_of(value) } else { value }))
        }
        None => plan_err!("expected an array of rows with two fields, got {list}"),
    }
}

/// Lists of entries, their keys and values; a NULL entry is an error.
fn entries(call: &Call<'_>) -> Result<(Lists, ArrayRef, ArrayRef)> {
    let lists = call.lists(0)?;
    let Some(rows) = lists.values.as_struct_opt() else {
        return internal_err!("expected rows, got {}", lists.values.data_type());
    };
    if (0..lists.len()).any(|row| lists.range(row).any(|place| rows.is_null(place))) {
        return exec_err!("map entry cannot be null");
    }
    let (keys, values) = (Arc::clone(rows.column(0)), Arc::clone(rows.column(1)));
    Ok((lists, keys, values))
}

/// `map_from_entries(array of rows)`.
fn map_from_entries(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, key_values, values) = entries(call)?;
    let [rows] = keys([&key_values])?;
    let keys_out = pick_rows(
        lists.len(),
        |row| lists.is_null(row),
        |row, picks| {
            check_keys(&key_values, &rows, lists.range(row))?;
            picks.extend(lists.range(row));
            Ok(())
        },
    )?;
    let values = keys_out.take(&values)?;
    let (keys, lengths, nulls) = keys_out.into_parts(&key_values)?;
    map_from_parts(&keys, &values, &lengths, nulls, call.result)
}

/// `multimap_from_entries(array of rows)`: all values of a key as an array.
fn multimap_from_entries(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, key_values, values) = entries(call)?;
    let [rows] = keys([&key_values])?;
    let mut values_out = Picks::default();
    let keys_out = pick_rows(
        lists.len(),
        |row| lists.is_null(row),
        |row, keys_out| {
            let (mut order, mut groups) = (Vec::new(), HashMap::<_, Vec<usize>>::new());
            for place in lists.range(row) {
                if key_values.is_null(place) {
                    return exec_err!("map key cannot be null");
                }
                let group = groups.entry(rows.row(place)).or_default();
                if group.is_empty() {
                    order.push(place);
                }
                group.push(place);
            }
            for place in order {
                keys_out.push(Some(place));
                values_out.extend(groups.remove(&rows.row(place)).unwrap_or_default());
                values_out.end_row();
            }
            Ok(())
        },
    );
    let (keys, lengths, nulls) = keys_out?.into_parts(&key_values)?;
    let (_, value) = parts(call.result)?;
    map_from_parts(&keys, &values_out.finish(&values, &value)?, &lengths, nulls, call.result)
}

/// `map_concat(map, ...)`: the last value of a key wins.
fn map_concat(call: &Call<'_>) -> Result<ArrayRef> {
    let maps = call.args.iter().map(map_parts).collect::<Result<Vec<_>>>()?;
    let all_keys: Vec<&dyn Array> = maps.iter().map(|(_, keys, _)| keys.as_ref()).collect();
    let all_values: Vec<&dyn Array> = maps.iter().map(|(_, _, values)| values.as_ref()).collect();
    let (key_values, values) = (concat(&all_keys)?, concat(&all_values)?);
    let [rows] = keys([&key_values])?;
    let (mut places, mut lengths, mut valid) = (Vec::<Option<u64>>::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let before = places.len();
        let known = !maps.iter().any(|(lists, _, _)| lists.is_null(row));
        let (mut base, mut at) = (0, HashMap::new());
        for (lists, keys, _) in &maps {
            for place in lists.range(row).map(|place| place + base).filter(|_| known) {
                match at.get(&rows.row(place)) {
                    Some(index) => places[*index] = Some(place as u64),
                    None => {
                        at.insert(rows.row(place), places.len());
                        places.push(Some(place as u64));
                    }
                }
            }
            base += keys.len();
        }
        lengths.push(places.len() - before);
        valid.push(known);
    }
    let places = arrow::array::UInt64Array::from(places);
    let pick = |array: &ArrayRef| match array.is_empty() {
        true => Ok(Arc::clone(array)),
        false => arrow::compute::take(array, &places, None),
    };
    map_from_parts(&pick(&key_values)?, &pick(&values)?, &lengths, Some(NullBuffer::from(valid)), call.result)
}
