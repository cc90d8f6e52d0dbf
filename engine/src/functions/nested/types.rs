//! Type rules: every list is seen as `List`, every map by one spelling, and text never meets numbers.

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use std::sync::Arc;

/// A list of `item`, spelled as scans and `ARRAY[...]` spell it.
pub(in crate::functions) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// A map, spelled as `MAP(...)` spells it.
pub(in crate::functions) fn map_of(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// A row without names.
pub(in crate::functions) fn struct_of(types: &[DataType]) -> DataType {
    let fields = types.iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true));
    DataType::Struct(fields.collect())
}

/// The element type of any kind of list; NULL is an empty list of nothing.
pub(in crate::functions) fn list_item(list: &DataType) -> Option<DataType> {
    let field: &FieldRef = match list {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => field,
        DataType::Null => return Some(DataType::Null),
        _ => return None,
    };
    Some(field.data_type().clone())
}

/// The one spelling of a list type.
pub(in crate::functions) fn as_list(list: &DataType) -> Result<DataType> {
    match list_item(list) {
        Some(item) => Ok(list_of(item)),
        None => plan_err!("expected an array, got {list}"),
    }
}

/// Key and value types of a map; NULL is an empty map.
pub(in crate::functions) fn map_types(map: &DataType) -> Option<(DataType, DataType)> {
    match map {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Some((fields[0].data_type().clone(), fields[1].data_type().clone())),
            _ => None,
        },
        DataType::Null => Some((DataType::Null, DataType::Null)),
        _ => None,
    }
}

/// The one spelling of a map type.
pub(in crate::functions) fn as_map(map: &DataType) -> Result<DataType> {
    match map_types(map) {
        Some((key, value)) => Ok(map_of(key, value)),
        None => plan_err!("expected a map, got {map}"),
    }
}

/// The type both can be cast to without a change of meaning.
pub(in crate::functions) fn same_type(left: &DataType, right: &DataType) -> Result<DataType> {
    if left == right {
        return Ok(left.clone());
    }
    if let (Some(left), Some(right)) = (list_item(left), list_item(right)) {
        return Ok(list_of(same_type(&left, &right)?));
    }
    if let (Some(left), Some(right)) = (map_types(left), map_types(right)) {
        return Ok(map_of(same_type(&left.0, &right.0)?, same_type(&left.1, &right.1)?));
    }
    if let (DataType::Struct(left), DataType::Struct(right)) = (left, right) {
        if left.len() != right.len() {
            return plan_err!("rows of {} and {} fields are not comparable", left.len(), right.len());
        }
        let fields = left.iter().zip(right.iter()).map(|(l, r)| {
            let both = same_type(l.data_type(), r.data_type())?;
            Ok(Field::new(l.name(), both, true))
        });
        return Ok(DataType::Struct(fields.collect::<Result<_>>()?));
    }
    let text = |t: &DataType| match t {
        DataType::Dictionary(_, value) => value.is_string(),
        other => other.is_string(),
    };
    let null = left.is_null() || right.is_null();
    match type_union_coercion(left, right) {
        Some(both) if null || text(left) == text(right) => Ok(both),
        _ => plan_err!("cannot compare {left} and {right}: cast one of them"),
    }
}

/// An error if values of this type cannot be compared.
pub(in crate::functions) fn check_comparable(of: &DataType) -> Result<()> {
    match of {
        DataType::Map(..) => not_impl_err!("comparison of maps is not supported"),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_comparable(field.data_type())),
        other => match list_item(other) {
            Some(item) if !item.is_null() => check_comparable(&item),
            _ => Ok(()),
        },
    }
}
