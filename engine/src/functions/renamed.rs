//! Values whose fields of structs have other names: what files of Delta Lake have, as what the table has.

use super::Functions;
use super::define::{Arg, Call, Typing, define};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use std::sync::Arc;

/// Name of the function of a value and of a struct with one field, whose type is that of the value but for names within.
pub const RENAMED: &str = "owlet_renamed";

fn renamed_type(typing: &Typing<'_>) -> Result<DataType> {
    match typing.kind(1) {
        DataType::Struct(fields) if fields.len() == 1 => Ok(fields[0].data_type().clone()),
        other => plan_err!("{RENAMED} takes a value and a struct of its type, not {other}"),
    }
}

fn renamed(call: &Call<'_>) -> Result<ArrayRef> {
    let input = call.input(0)?;
    let named = with_names(&input.array, call.returns)?;
    match input.constant && named.len() != call.rows {
        true => Ok(take(&named, &UInt64Array::from(vec![0; call.rows]), None)?),
        false => Ok(named),
    }
}

/// `values` under the names in `kind`, which go by place.
fn with_names(values: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    match (values.data_type(), kind) {
        (found, kind) if found == kind => Ok(Arc::clone(values)),
        (DataType::Struct(found), DataType::Struct(fields)) if found.len() == fields.len() => {
            let values = values.as_struct();
            let columns = values.columns().iter().zip(fields).map(|(column, field)| with_names(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let named = StructArray::try_new_with_length(fields.clone(), columns, values.nulls().cloned(), values.len())?;
            Ok(Arc::new(named))
        }
        (DataType::List(_), DataType::List(item)) => {
            let lists = values.as_list::<i32>();
            let items = with_names(lists.values(), item.data_type())?;
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), lists.offsets().clone(), items, lists.nulls().cloned())?))
        }
        (DataType::Map(..), DataType::Map(entry, is_sorted)) => {
            let maps = values.as_map();
            let entries: ArrayRef = Arc::new(maps.entries().clone());
            let entries = with_names(&entries, entry.data_type())?.as_struct().clone();
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(Arc::clone(entry), offsets, entries, nulls, *is_sorted)?))
        }
        (found, kind) => exec_err!("{RENAMED}: {found} is not {kind} with other names"),
    }
}

/// Adds the function of this file.
pub(super) fn add_to(functions: &mut Functions) {
    functions.scalar.push(define(RENAMED).typed(&[Arg::Any, Arg::Any], None, renamed_type, renamed).udf());
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{Field, Fields, Schema};
    use arrow::json::ReaderBuilder;

    fn struct_of(a: &str, b: &str) -> DataType {
        DataType::Struct(vec![Field::new(a, DataType::Int64, true), Field::new(b, DataType::Utf8, true)].into())
    }

    #[test]
    fn names_change_and_values_stay() -> Result<()> {
        let list = |kind: DataType| DataType::List(Arc::new(Field::new_list_field(kind, true)));
        let map = |kind: DataType| {
            let entries = vec![Field::new("key", DataType::Utf8, false), Field::new("value", kind, true)];
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), false)
        };
        let whole = |a: &str, b: &str| {
            let fields = [("s", struct_of(a, b)), ("l", list(struct_of(a, b))), ("m", map(list(struct_of(a, b))))];
            DataType::Struct(fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect::<Fields>())
        };
        let schema = Arc::new(Schema::new(vec![Field::new("x", whole("p1", "p2"), true)]));
        let lines = r#"{"x":{"s":{"p1":1,"p2":"a"},"l":[{"p1":2},null],"m":{"k":[{"p2":"b"}]}}}
            {"x":null}
            {"x":{"s":null,"l":[],"m":{}}}
            {"x":{"s":{"p1":null,"p2":"c"},"l":null,"m":null}}"#;
        let mut reader = ReaderBuilder::new(schema).build(std::io::Cursor::new(lines))?;
        let batch: RecordBatch = reader.next().transpose()?.expect("rows");
        let text = |array: &ArrayRef| {
            use arrow::util::display::{ArrayFormatter, FormatOptions};
            let options = FormatOptions::default();
            let shown = ArrayFormatter::try_new(array, &options).expect("a formatter");
            (0..array.len()).map(|row| shown.value(row).to_string()).collect::<Vec<_>>()
        };
        for (from, rows) in [(0, 4), (1, 3), (3, 1)] {
            let found = batch.column(0).slice(from, rows);
            let named = with_names(&found, &whole("A", "b c"))?;
            assert_eq!(named.data_type(), &whole("A", "b c"));
            let expected: Vec<String> = text(&found).iter().map(|row| row.replace("p1", "A").replace("p2", "b c")).collect();
            assert_eq!(text(&named), expected);
        }
        Ok(())
    }

    #[test]
    fn other_types_are_errors() {
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        assert!(with_names(&longs, &DataType::Utf8).is_err());
        assert!(with_names(&texts, &struct_of("a", "b")).is_err());
        assert!(with_names(&longs, &DataType::Int64).is_ok());
    }
}
