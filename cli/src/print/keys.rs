//! Maps for JSON, whose objects have keys of text: other keys are written as text, at any depth.

use arrow::array::{Array, ArrayRef, AsArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions};
use arrow::array::{FixedSizeListArray, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use std::sync::Arc;

/// `batch` with text for the keys of all maps.
pub(super) fn with_text_keys(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if !batch.schema_ref().fields().iter().any(|field| has_other_keys(field.data_type())) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(text_keys).collect::<Result<Vec<_>, _>>()?;
    let fields = batch.schema_ref().fields().iter().zip(&columns);
    let fields: Vec<Field> =
        fields.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn has_other_keys(kind: &DataType) -> bool {
    match kind {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields
                .iter()
                .enumerate()
                .any(|(at, field)| (at == 0 && *field.data_type() != DataType::Utf8) || has_other_keys(field.data_type())),
            _ => false,
        },
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => has_other_keys(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_other_keys(field.data_type())),
        _ => false,
    }
}

fn text_keys(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !has_other_keys(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    match array.data_type() {
        DataType::Map(..) => map(array.as_map()),
        DataType::List(_) => list(array.as_list::<i32>()),
        DataType::LargeList(_) => list(array.as_list::<i64>()),
        DataType::FixedSizeList(item, length) => {
            let array = array.as_fixed_size_list();
            let values = text_keys(array.values())?;
            let item = Arc::new(item.as_ref().clone().with_data_type(values.data_type().clone()));
            Ok(Arc::new(FixedSizeListArray::try_new(item, *length, values, array.nulls().cloned())?))
        }
        _ => Ok(Arc::new(structure(array.as_struct())?)),
    }
}

fn list<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<ArrayRef, ArrowError> {
    let values = text_keys(array.values())?;
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Ok(Arc::new(GenericListArray::try_new(item, array.offsets().clone(), values, array.nulls().cloned())?))
}

fn structure(array: &StructArray) -> Result<StructArray, ArrowError> {
    let columns = array.columns().iter().map(text_keys).collect::<Result<Vec<_>, _>>()?;
    let fields = array.fields().iter().zip(&columns);
    let fields = fields.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()));
    StructArray::try_new(fields.collect(), columns, array.nulls().cloned())
}

fn map(array: &MapArray) -> Result<ArrayRef, ArrowError> {
    let (keys, values) = (array.keys(), text_keys(array.values())?);
    let texts = (0..keys.len()).map(|row| array_value_to_string(keys, row)).collect::<Result<Vec<_>, _>>()?;
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    let fields = array.entries().fields().iter().zip([&texts, &values]);
    let fields = fields.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()));
    let entries = StructArray::try_new(fields.collect(), vec![Arc::clone(&texts), Arc::clone(&values)], None)?;
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    Ok(Arc::new(MapArray::try_new(field, array.offsets().clone(), entries, array.nulls().cloned(), false)?))
}

#[cfg(test)]
mod tests {
    use super::super::{Format, tests};
    use super::*;
    use arrow::array::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};

    #[test]
    fn keys_that_are_numbers_become_text() -> Result<(), Box<dyn std::error::Error>> {
        let mut maps = MapBuilder::new(None, Int64Builder::new(), StringBuilder::new());
        maps.keys().append_value(7);
        maps.values().append_value("x");
        maps.append(true)?;
        maps.append(false)?;
        let mut lists = ListBuilder::new(MapBuilder::new(None, Int64Builder::new(), Int64Builder::new()));
        lists.values().keys().append_value(-1);
        lists.values().values().append_value(2);
        lists.values().append(true)?;
        lists.append(true);
        lists.append(true);
        let batch = RecordBatch::try_from_iter([("m", Arc::new(maps.finish()) as ArrayRef), ("l", Arc::new(lists.finish()))])?;
        let expected = "{\"m\":{\"7\":\"x\"},\"l\":[{\"-1\":2}]}\n{\"m\":null,\"l\":[]}\n";
        assert_eq!(tests::text(Format::Ndjson, &batch), expected);
        Ok(())
    }
}
