//! Columns of files by the ids that their writers gave them.

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name under which the elements of an array have their ids in [`FieldId::inner`], and keys and values of a map.
pub const ELEMENT: &str = "element";
/// See [`ELEMENT`].
pub const KEY: &str = "key";
/// See [`ELEMENT`].
pub const VALUE: &str = "value";

/// The id of a column or of a field within one.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct FieldId {
    /// What files call it. What has no id of its own, as the elements of an array, has 0.
    pub id: i32,
    /// The ids of what is within it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inner: BTreeMap<String, FieldId>,
}

impl FieldId {
    /// Checks that fields within structs have the ids in the file that the table has for them: those are read by name.
    ///
    /// # Errors
    /// With the field that is another one.
    pub(super) fn check(&self, declared: &DataType, found: &DataType) -> Result<(), String> {
        let of = |name: &str| self.inner.get(name);
        match (declared, found) {
            (DataType::Struct(declared), DataType::Struct(found)) => {
                for field in declared {
                    let own = of(field.name()).ok_or_else(|| format!("its field {} has no id", field.name()))?;
                    let by_name = found.iter().find(|known| known.name() == field.name());
                    let by_id = found.iter().find(|known| id(known) == Some(own.id));
                    match (by_name, by_id) {
                        (Some(by_name), Some(by_id)) if by_name.name() == by_id.name() => {
                            own.check(field.data_type(), by_name.data_type())?;
                        }
                        (None, None) => {}
                        _ => {
                            let (name, id) = (field.name(), own.id);
                            return Err(format!(
                                "its field with the id {id} is not the one that is called '{name}' in the file: fields of structs are found by name and id"
                            ));
                        }
                    }
                }
                Ok(())
            }
            (DataType::List(declared), DataType::List(found) | DataType::LargeList(found)) => {
                of(ELEMENT).map_or(Ok(()), |own| own.check(declared.data_type(), found.data_type()))
            }
            (DataType::Map(declared, _), DataType::Map(found, _)) => match (declared.data_type(), found.data_type()) {
                (DataType::Struct(declared), DataType::Struct(found)) => {
                    let both = declared.iter().zip(found).zip([KEY, VALUE]);
                    both.into_iter().try_for_each(|((declared, found), name)| {
                        of(name).map_or(Ok(()), |own| own.check(declared.data_type(), found.data_type()))
                    })
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// Where the column with the id `wanted` is in a file of schema `found`.
///
/// # Errors
/// When the file has no ids, or two columns with this one.
pub(super) fn place(found: &Schema, wanted: i32) -> Result<Option<usize>, String> {
    let ids = || found.fields().iter().map(|field| id(field));
    if !found.fields().is_empty() && ids().all(|id| id.is_none()) {
        return Err("the file has no ids of columns, by which its table finds them".into());
    }
    let mut places = ids().enumerate().filter(|(_, id)| *id == Some(wanted)).map(|(index, _)| index);
    let place = places.next();
    match (place, places.next()) {
        (Some(first), Some(other)) => {
            let (first, other) = (found.field(first).name(), found.field(other).name());
            Err(format!("its id {wanted} is in the file as '{first}' and as '{other}'"))
        }
        _ => Ok(place),
    }
}
