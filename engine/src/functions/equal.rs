//! `=` of arrays, maps and rows with the NULLs in them, which may be equal to anything.
//!
//! The engine's operator takes two NULLs for equal values.
//! And the one of equal values that stands for all of them, for what the engine compares by its bits.

use super::Functions;
use super::nested::{Call, Lists, NanOrder, Scalar, canonical, check_count, is_nan, keys, map_parts, same_type};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use arrow::row::Rows;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use std::sync::{Arc, LazyLock};

static EQUAL: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Scalar::udf("owlet_equal", both_alike, |_| Ok(DataType::Boolean), equal));

/// The function that compares nested values.
pub fn nested_equal() -> Arc<ScalarUDF> {
    Arc::clone(&EQUAL)
}

static CANONICAL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let any = |types: &[DataType]| check_count(types, 1..=1).map(|()| types.to_vec());
    Scalar::udf(CANONICAL_NAME, any, |types| Ok(types[0].clone()), |call| Ok(canonical(call.arg(0)?, NanOrder::Largest)))
});

/// The name of [`canonical_value`].
pub const CANONICAL_NAME: &str = "owlet_canonical";

/// The function that gives a value as it is, but for one bit pattern of zero and one of NaN, the greatest number, also within arrays and rows.
pub fn canonical_value() -> Arc<ScalarUDF> {
    Arc::clone(&CANONICAL)
}

pub(super) fn add_to(functions: &mut Functions) {
    functions.scalar.push(nested_equal());
    functions.scalar.push(canonical_value());
}

fn both_alike(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=2)?;
    let both = same_type(&types[0], &types[1])?;
    Ok(vec![both.clone(), both])
}

fn equal(call: &Call<'_>) -> Result<ArrayRef> {
    let pair = Pair::new(call.arg(0)?, call.arg(1)?)?;
    Ok(Arc::new((0..call.rows).map(|row| pair.equal(row, row)).collect::<BooleanArray>()))
}

/// Two columns of one type, taken apart to what has no parts.
enum Pair {
    Plain { arrays: [ArrayRef; 2], keys: [Rows; 2] },
    Lists { lists: [Lists; 2], elements: Box<Pair> },
    Maps { entries: [Lists; 2], keys: [Rows; 2], values: Box<Pair> },
    Row { arrays: [ArrayRef; 2], fields: Vec<Pair> },
}

impl Pair {
    fn new(left: &ArrayRef, right: &ArrayRef) -> Result<Self> {
        match left.data_type() {
            DataType::Map(..) => {
                let ((left, left_keys, left_values), (right, right_keys, right_values)) = (map_parts(left)?, map_parts(right)?);
                let values = Box::new(Self::new(&left_values, &right_values)?);
                Ok(Self::Maps { entries: [left, right], keys: keys([&left_keys, &right_keys])?, values })
            }
            DataType::List(_) => {
                let lists = [Lists::new(left)?, Lists::new(right)?];
                let elements = Box::new(Self::new(&lists[0].values, &lists[1].values)?);
                Ok(Self::Lists { lists, elements })
            }
            DataType::Struct(_) => {
                let columns = left.as_struct().columns().iter().zip(right.as_struct().columns());
                let fields = columns.map(|(left, right)| Self::new(left, right)).collect::<Result<_>>()?;
                Ok(Self::Row { arrays: [Arc::clone(left), Arc::clone(right)], fields })
            }
            _ => Ok(Self::Plain { keys: keys([left, right])?, arrays: [Arc::clone(left), Arc::clone(right)] }),
        }
    }

    /// Whether row `l` of the left column equals row `r` of the right one; none when NULLs keep it from being known.
    fn equal(&self, l: usize, r: usize) -> Option<bool> {
        match self {
            Self::Plain { arrays, keys } => {
                let is_known = arrays[0].is_valid(l) && arrays[1].is_valid(r) && !arrays[0].data_type().is_null();
                is_known.then(|| keys[0].row(l) == keys[1].row(r) && !is_nan(&arrays[0], l))
            }
            Self::Lists { lists, elements } => {
                if lists[0].is_null(l) || lists[1].is_null(r) {
                    return None;
                }
                let (left, right) = (lists[0].range(l), lists[1].range(r));
                if left.len() != right.len() {
                    return Some(false);
                }
                all(left.zip(right).map(|(l, r)| elements.equal(l, r)))
            }
            Self::Maps { entries, keys, values } => {
                if entries[0].is_null(l) || entries[1].is_null(r) {
                    return None;
                }
                let (left, right) = (entries[0].range(l), entries[1].range(r));
                if left.len() != right.len() {
                    return Some(false);
                }
                all(left.map(|l| {
                    let found = right.clone().find(|r| keys[0].row(l) == keys[1].row(*r));
                    found.map_or(Some(false), |r| values.equal(l, r))
                }))
            }
            Self::Row { arrays, fields } => {
                if arrays[0].is_null(l) || arrays[1].is_null(r) {
                    return None;
                }
                all(fields.iter().map(|field| field.equal(l, r)))
            }
        }
    }
}

/// AND of conditions.
fn all(conditions: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(true);
    for condition in conditions {
        match condition {
            Some(false) => return Some(false),
            None => result = None,
            Some(true) => {}
        }
    }
    result
}
