//! Least and greatest values that old writers compared as signed bytes, whatever their type: they are taken out of a footer before
//! anything is pruned by them.
//!
//! Such are in the fields `min` and `max`. Writers that know a column's order use `min_value` and `max_value`.

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

/// Whether `found` has limits that may leave out rows.
pub fn has_signed_limits(found: &ParquetMetaData) -> bool {
    found.row_groups().iter().flat_map(RowGroupMetaData::columns).any(is_signed)
}

/// The row groups of `found` without those limits.
pub(super) fn without_signed_limits(found: &ParquetMetaData) -> Result<Vec<RowGroupMetaData>> {
    if !has_signed_limits(found) {
        return Ok(found.row_groups().to_vec());
    }
    let cleared = |column: &ColumnChunkMetaData| match is_signed(column) {
        true => column.clone().into_builder().clear_statistics().build(),
        false => Ok(column.clone()),
    };
    let group = |group: &RowGroupMetaData| {
        let columns = group.columns().iter().map(cleared).collect::<Result<Vec<_>>>()?;
        group.clone().into_builder().set_column_metadata(columns).build()
    };
    found.row_groups().iter().map(group).collect()
}

fn is_signed(column: &ColumnChunkMetaData) -> bool {
    let known = column.column_descr();
    let is_other = || match column.column_type() {
        Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY | Type::INT96 => true,
        Type::INT32 | Type::INT64 => {
            let is_unsigned = matches!(known.logical_type_ref(), Some(LogicalType::Integer(kind)) if !kind.is_signed);
            use ConvertedType::{UINT_8, UINT_16, UINT_32, UINT_64};
            is_unsigned || matches!(known.converted_type(), UINT_8 | UINT_16 | UINT_32 | UINT_64)
        }
        _ => false,
    };
    column.statistics().is_some_and(Statistics::is_min_max_deprecated) && is_other()
}
