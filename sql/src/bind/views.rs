//! The columns of a view's query as the view declares them, which its tables may not give any more.

use super::Label;
use crate::catalog::types::HiveType;
use crate::catalog::view::ViewColumn;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, cast};
use engine::functions::type_name;
use engine::{Error, Result};

/// An error of a view that is not what it was when it was made.
pub(super) fn stale(why: &str) -> Error {
    Error::invalid(format!("VIEW_IS_STALE: {why}; it must be re-created"))
}

/// `column` of a view's query, called `label` and of the type `found`, as the view declares it.
///
/// # Errors
/// Where its name is another one than when the view was made, or its values are none of the declared type.
pub(super) fn as_declared(column: Expr, label: &Label, found: Option<&DataType>, declared: &ViewColumn) -> Result<Expr> {
    let name = declared.name.to_lowercase();
    if label.name != name {
        return Err(stale(&format!("the column '{name}' of the view is '{}' in its query now", label.name)));
    }
    let wanted = HiveType::parse(&declared.hive_type).map(|kind| kind.arrow());
    let (Some(found), Ok(wanted)) = (found, wanted) else { return Ok(column.alias(name)) };
    match kept(found, &wanted) {
        // A column that is called so already is passed on: under an alias, the optimizer brings none of its fields down to the files.
        Some(Kept::AsIs) => {
            Ok(if matches!(&column, Expr::Column(column) if column.name == name) { column } else { column.alias(name) })
        }
        Some(Kept::Cast) => Ok(cast(column, wanted).alias(name)),
        None => {
            let (found, wanted) = (type_name(found), type_name(&wanted));
            Err(stale(&format!("the column '{name}' of the view is {wanted}, and {found} in its query now")))
        }
    }
}

#[derive(PartialEq, Debug)]
enum Kept {
    AsIs,
    Cast,
}

/// How values of `found` become such of `wanted`. Whole numbers of each width do: literals are bigint here and integer to Athena. Digits
/// of decimals are not always counted as Athena does.
fn kept(found: &DataType, wanted: &DataType) -> Option<Kept> {
    use DataType::{
        Binary, BinaryView, Date32, Decimal128, Dictionary, LargeBinary, LargeUtf8, Null, Time32, Time64, Timestamp, Utf8,
        Utf8View,
    };
    match (found, wanted) {
        _ if found == wanted => Some(Kept::AsIs),
        (Null, _) => Some(Kept::Cast),
        (Dictionary(_, found), wanted) => kept(found, wanted),
        // The catalog knows no times, and no JSON.
        (Utf8 | Utf8View | LargeUtf8 | Time32(_) | Time64(_), Utf8) => Some(Kept::AsIs),
        (Binary | BinaryView | LargeBinary, Binary) | (Timestamp(..), Timestamp(..)) => Some(Kept::AsIs),
        (Date32, Timestamp(..)) => Some(Kept::Cast),
        (Decimal128(_, scale), Decimal128(_, to)) if scale == to => Some(Kept::AsIs),
        (Decimal128(_, scale), Decimal128(_, to)) if scale < to => Some(Kept::Cast),
        (Decimal128(..), _) if wanted.is_floating() => Some(Kept::Cast),
        _ if found.is_integer() && (wanted.is_numeric()) => Some(Kept::Cast),
        _ if found.is_floating() && wanted.is_floating() => Some(Kept::Cast),
        _ if found.is_nested() && std::mem::discriminant(found) == std::mem::discriminant(wanted) => Some(Kept::AsIs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_declared_values_is_kept() {
        use DataType::{Boolean, Date32, Decimal128, Float64, Int32, Int64, Utf8, Utf8View};
        for (found, wanted, expected) in [
            (Int64, Int32, Some(Kept::Cast)),
            (Int32, Int64, Some(Kept::Cast)),
            (Int64, Utf8, None),
            (Utf8View, Utf8, Some(Kept::AsIs)),
            (Utf8, Int64, None),
            (Float64, Int64, None),
            (Decimal128(6, 3), Decimal128(5, 3), Some(Kept::AsIs)),
            (Decimal128(2, 1), Decimal128(4, 3), Some(Kept::Cast)),
            (Decimal128(4, 3), Decimal128(2, 1), None),
            (Boolean, Utf8, None),
            (Date32, Utf8, None),
        ] {
            assert_eq!(kept(&found, &wanted), expected, "{found} {wanted}");
        }
    }
}
