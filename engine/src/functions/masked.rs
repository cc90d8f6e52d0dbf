//! Rows whose fields are NULL where they are: what reads a field asks the field alone.

use super::Functions;
use super::nested::{Scalar, check_count};
use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::nullif;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use std::sync::{Arc, LazyLock};

static MASKED: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let any = |types: &[DataType]| check_count(types, 1..=1).map(|()| types.to_vec());
    Scalar::udf("owlet_masked", any, |types| Ok(types[0].clone()), |call| masked(call.arg(0)?))
});

/// The function that gives a row as it is, with NULL for the fields of one that is NULL. A CASE without a result has the fields of
/// another row.
pub fn masked_row() -> Arc<ScalarUDF> {
    Arc::clone(&MASKED)
}

pub(super) fn add_to(functions: &mut Functions) {
    functions.scalar.push(masked_row());
}

fn masked(rows: &ArrayRef) -> Result<ArrayRef> {
    let Some(row) = rows.as_struct_opt() else { return Ok(Arc::clone(rows)) };
    let Some(nulls) = row.nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(Arc::clone(rows)) };
    let fields = row.columns().iter().map(|field| masked(&with_nulls(field, nulls)?)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(row.fields().clone(), fields, Some(nulls.clone()))?))
}

/// `values` with NULL where `nulls` has it.
fn with_nulls(values: &ArrayRef, nulls: &NullBuffer) -> Result<ArrayRef> {
    let is_null = arrow::array::BooleanArray::new(!nulls.inner(), None);
    Ok(nullif(values, &is_null)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{Field, Fields, Int64Type};

    #[test]
    fn fields_of_a_row_that_is_null_are_null_at_every_level() -> Result<()> {
        let of = |name: &str, of: DataType| Fields::from(vec![Field::new(name, of, true)]);
        let inner_fields = of("b", DataType::Int64);
        let inner = StructArray::try_new(inner_fields.clone(), vec![Arc::new(Int64Array::from(vec![1, 2, 3]))], None)?;
        let nulls = NullBuffer::from(vec![true, false, true]);
        let outer = StructArray::try_new(of("a", DataType::Struct(inner_fields)), vec![Arc::new(inner)], Some(nulls))?;
        let masked = masked(&(Arc::new(outer) as ArrayRef))?;
        let values = masked.as_struct().column(0).as_struct().column(0).as_primitive::<Int64Type>().clone();
        assert_eq!(values, Int64Array::from(vec![Some(1), None, Some(3)]));
        Ok(())
    }
}
