//! `concat` and `reverse`, which also take arrays; what is no array goes to the overloads of text and bytes.

use crate::functions::Functions;
use crate::functions::define::is_text;
use crate::functions::text_support::{Overload, TableFunction, bad, list_of, unexpected};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Adds `concat` and `reverse`.
pub(super) fn add(functions: &mut Functions, concat: &'static [Overload], reverse: &'static [Overload]) {
    for (kind, name, overloads) in [(Kind::Concat, "concat", concat), (Kind::Reverse, "reverse", reverse)] {
        let function = ListFunction {
            kind,
            others: TableFunction::new(name, overloads),
            signature: Signature::user_defined(Volatility::Immutable),
        };
        functions.scalar.push(Arc::new(ScalarUDF::new_from_impl(function)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Concat,
    Reverse,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListFunction {
    kind: Kind,
    others: TableFunction,
    signature: Signature,
}

impl ScalarUDFImpl for ListFunction {
    fn name(&self) -> &str {
        self.others.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match self.kind {
            _ if types.iter().all(|one| depth(one) == 0) => self.others.coerce_types(types),
            Kind::Concat => coerce_concat(types),
            Kind::Reverse => match types {
                [one] => Ok(item(one).map(list_of_field).into_iter().collect()),
                _ => Err(DataFusionError::Plan(unexpected("reverse", types))),
            },
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let deepest = types.iter().max_by_key(|one| depth(one)).filter(|one| depth(one) > 0);
        deepest.map_or_else(|| self.others.return_type(types), |list| Ok(list.clone()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.iter().all(|arg| depth(&arg.data_type()) == 0) {
            return self.others.invoke_with_args(args);
        }
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let array = match self.kind {
            Kind::Concat => concat(&arrays, rows, args.return_type())?,
            Kind::Reverse => reverse(&arrays)?,
        };
        if constant {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
        } else {
            Ok(ColumnarValue::Array(array))
        }
    }
}

fn item(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

fn depth(data_type: &DataType) -> usize {
    item(data_type).map_or(0, |item| 1 + depth(item.data_type()))
}

fn list_of_field(item: &FieldRef) -> DataType {
    list_of(item.data_type().clone())
}

/// Arrays of one item type; with two arguments, one of them may be an element.
fn coerce_concat(types: &[DataType]) -> Result<Vec<DataType>> {
    let refuse = |why: &str| Err(DataFusionError::Plan(format!("{}: {why}", unexpected("concat", types))));
    let deepest = types.iter().map(depth).max().unwrap_or(0);
    let is_list = |one: &DataType| depth(one) == deepest;
    if types.iter().any(DataType::is_null) {
        return refuse("NULL may be an array or an element here; cast it");
    }
    // An empty array has no item type of its own: `ARRAY[] || ARRAY[ARRAY[1]]` is an array of arrays.
    let untyped = |one: &DataType| item(one).is_some_and(|item| item.data_type().is_null());
    let elements = types.iter().filter(|one| !is_list(one) && !untyped(one)).count();
    if types.len() < 2 || (elements > 0 && types.len() != 2) {
        return refuse("it takes two or more arrays, or an array and an element");
    }
    let items = types.iter().map(|one| match item(one) {
        Some(item) if is_list(one) || untyped(one) => item.data_type().clone(),
        _ => one.clone(),
    });
    let items: Vec<_> = items.filter(|one| !one.is_null()).collect();
    let common = match items.as_slice() {
        [] => Some(DataType::Null),
        // Text does not become a number, nor a number text.
        some if some.iter().any(is_text) != some.iter().all(is_text) => None,
        some => type_union_resolution(some),
    };
    let Some(common) = common else { return refuse("the arrays have no common item type") };
    Ok(types.iter().map(|one| if is_list(one) || untyped(one) { list_of(common.clone()) } else { common.clone() }).collect())
}

/// Items of all arguments, row by row; a NULL array makes the row NULL, and so does an element that is NULL, as in Athena.
fn concat(arrays: &[ArrayRef], rows: usize, returns: &DataType) -> Result<ArrayRef> {
    let Some(field) = item(returns) else { return Err(DataFusionError::Internal("concat of arrays without an array".into())) };
    let lists: Vec<Option<&ListArray>> =
        arrays.iter().map(|array| if array.data_type() == returns { array.as_list_opt::<i32>() } else { None }).collect();
    let sources: Vec<&dyn Array> =
        arrays.iter().zip(&lists).map(|(array, list)| list.map_or(array.as_ref(), |list| list.values().as_ref())).collect();
    let (mut picks, mut lengths, mut valid) = (Vec::new(), Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows {
        let before = picks.len();
        valid.push(arrays.iter().all(|array| array.is_valid(row)));
        if valid.last() == Some(&true) {
            for (source, list) in lists.iter().enumerate() {
                let range = list.map_or(row..row + 1, |list| range(list, row));
                picks.extend(range.map(|at| (source, at)));
            }
        }
        lengths.push(picks.len() - before);
        if i32::try_from(picks.len()).is_err() {
            return Err(bad("concat: the arrays of one batch have too many items"));
        }
    }
    let values = interleave(&sources, &picks)?;
    let list = ListArray::try_new(Arc::clone(field), OffsetBuffer::from_lengths(lengths), values, Some(NullBuffer::from(valid)))?;
    Ok(Arc::new(list))
}

fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets.get(row).zip(offsets.get(row + 1)).map_or(0..0, |(from, to)| *from as usize..*to as usize)
}

fn reverse(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let [array] = arrays else { return Err(DataFusionError::Plan("reverse takes one argument".into())) };
    let list = array.as_list::<i32>();
    let picks: UInt64Array = (0..list.len()).flat_map(|row| range(list, row).rev()).map(|at| at as u64).collect();
    let lengths = (0..list.len()).map(|row| range(list, row).len());
    let DataType::List(field) = list.data_type() else { return Err(DataFusionError::Internal("reverse of no array".into())) };
    let field: &Arc<Field> = field;
    let values = take(list.values(), &picks, None)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), OffsetBuffer::from_lengths(lengths), values, list.nulls().cloned())?))
}
