//! Array functions without lambdas.

mod join;
mod listagg;
mod order;
mod search;
mod sequence;
mod sets;
mod shape;

use super::Functions;
use super::nested::{Coerce, ResultType, Run, Scalar, as_list, check_count, list_item, list_of, same_type};
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::Volatility;

/// Adds the functions of this module.
pub(super) fn add(functions: &mut Functions) {
    let boolean: ResultType = |_| Ok(DataType::Boolean);
    let bigint: ResultType = |_| Ok(DataType::Int64);
    let first: ResultType = |types| Ok(types[0].clone());
    let nested: ResultType = |types| Ok(list_of(types[0].clone()));
    let table: [(&'static str, Coerce, ResultType, Run); 28] = [
        ("array_distinct", one_list, first, sets::distinct),
        ("array_except", two_lists, first, sets::except),
        ("array_intersect", two_lists, first, sets::intersect),
        ("array_union", two_lists, first, sets::union),
        ("arrays_overlap", two_lists, boolean, sets::overlap),
        ("array_remove", list_and_element, first, sets::remove),
        ("array_histogram", one_list, sets::histogram_type, sets::histogram),
        ("contains", list_and_element, boolean, search::contains),
        ("contains_sequence", two_lists, boolean, search::contains_sequence),
        ("array_position", list_element_number, bigint, search::position),
        ("cardinality", search::collection, bigint, search::cardinality),
        ("element_at", search::element_at_types, search::element_type, search::element_at),
        ("array_first", one_list, search::element_type, search::first),
        ("array_last", one_list, search::element_type, search::last),
        ("array_sort", one_list, first, order::sort),
        ("array_max", one_list, search::element_type, order::max),
        ("array_min", one_list, search::element_type, order::min),
        ("slice", list_and_numbers, first, shape::slice),
        ("trim_array", list_and_numbers, first, shape::trim),
        ("flatten", shape::list_of_lists, shape::inner_list, shape::flatten),
        ("repeat", shape::value_and_number, nested, shape::repeat),
        ("ngrams", list_and_numbers, nested, shape::ngrams),
        ("combinations", list_and_numbers, nested, shape::combinations),
        ("zip", shape::lists, shape::zip_type, shape::zip),
        ("array_join", join::types, |_| Ok(DataType::Utf8), join::join),
        ("owlet_listagg", listagg::types, |_| Ok(DataType::Utf8), listagg::listagg),
        ("sequence", sequence::types, nested, sequence::sequence),
        ("owlet_sequence", sequence::row_types, nested, sequence::rows),
    ];
    for (name, coerce, result, run) in table {
        functions.scalar.push(Scalar::udf(name, coerce, result, run));
    }
    functions.scalar.push(Scalar::with_volatility("shuffle", Volatility::Volatile, one_list, first, shape::shuffle));
}

fn one_list(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    Ok(vec![as_list(&types[0])?])
}

fn two_lists(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    let both = same_type(&as_list(&types[0])?, &as_list(&types[1])?)?;
    Ok(vec![both.clone(), both])
}

fn list_and_element(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    let Some(item) = list_item(&types[0]) else {
        return plan_err!("expected an array, got {}", types[0]);
    };
    let both = same_type(&item, &types[1])?;
    Ok(vec![list_of(both.clone()), both])
}

fn list_element_number(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=3)?;
    let mut coerced = list_and_element(&types[..2])?;
    coerced.extend(types.get(2).map(whole_number).transpose()?);
    Ok(coerced)
}

fn list_and_numbers(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=3)?;
    let numbers = types[1..].iter().map(whole_number);
    std::iter::once(as_list(&types[0])).chain(numbers).collect()
}

/// Bigint for any whole number.
fn whole_number(of: &DataType) -> Result<DataType> {
    match of.is_integer() || of.is_null() {
        true => Ok(DataType::Int64),
        false => plan_err!("expected a whole number, got {of}"),
    }
}
