//! Expressions over the table's columns as expressions over those of one file.

use super::fits::is_cast;
use super::millis::{MILLIS, TO_MILLIS};
use super::nested::FileValue;
use super::reader::{BYTES_NOTE, FILE_NOTE};
use super::{TableColumns, is_bytes};
use crate::functions::define::is_text;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{DefaultPhysicalExprAdapter, PhysicalExprAdapter, PhysicalExprAdapterFactory};
use std::collections::HashMap;
use std::sync::Arc;

/// Makes an adapter for each file.
#[derive(Debug)]
pub(super) struct FileColumns {
    columns: Arc<TableColumns>,
}

impl FileColumns {
    pub(super) fn new(columns: Arc<TableColumns>) -> Self {
        Self { columns }
    }
}

impl PhysicalExprAdapterFactory for FileColumns {
    fn create(&self, declared: SchemaRef, found: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let file = found.metadata().get(FILE_NOTE).map_or("of an unknown name", String::as_str).to_string();
        let mut shown: Vec<FieldRef> = found.fields().iter().map(Arc::clone).collect();
        let mut read: Vec<Read> = vec![Read::AsIs; shown.len()];
        let mut unfit = HashMap::new();
        if !self.columns.ids.is_empty() || self.columns.by_place {
            // The name of another column may be that of a declared one.
            let anonymous = |(index, field): (usize, &mut FieldRef)| {
                *field = Arc::new(Field::clone(field).with_name(format!("\0{index}")));
            };
            shown.iter_mut().enumerate().for_each(anonymous);
        }
        for (field, place) in declared.fields().iter().zip(self.columns.places(&declared, &found, &file)?) {
            let Some((place, kind)) = place.and_then(|place| Some((place, found.fields().get(place)?))) else { continue };
            if let Err(why) = self.columns.fits(field, kind) {
                unfit.insert(field.name().clone(), why);
            }
            let way = Read::of(field, kind, &found);
            if let (Some(shown), Some(read)) = (shown.get_mut(place), read.get_mut(place)) {
                // What needs no cast, or is converted here, is shown as declared, and left alone by the adapter below.
                *shown = match way {
                    Read::AsIs if field.data_type() != kind.data_type() => Arc::new(Field::clone(kind).with_name(field.name())),
                    _ => Arc::clone(field),
                };
                *read = way;
            }
        }
        let shown = Arc::new(Schema::new_with_metadata(shown, found.metadata().clone()));
        let inner = DefaultPhysicalExprAdapter::new(declared, shown);
        Ok(Arc::new(FileAdapter { columns: Arc::clone(&self.columns), file, inner, found, read, unfit }))
    }
}

/// How a column of a file is read where the engine's own casts would not do.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Read {
    AsIs,
    /// From this unit to this type of milliseconds.
    Rounded(TimeUnit, DataType),
    /// From bytes that are checked to be UTF-8, to this type of text.
    Text(DataType),
    /// To this type by [`FileValue`], which is told whether there may be text that is not marked as such.
    Value(DataType, bool),
}

impl Read {
    fn of(declared: &Field, kind: &Field, found: &Schema) -> Self {
        let is_unmarked = found.metadata().contains_key(&format!("{BYTES_NOTE}{}", kind.name()));
        match (declared.data_type(), kind.data_type()) {
            (
                millis @ DataType::Timestamp(TimeUnit::Millisecond, _),
                DataType::Timestamp(unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond), _),
            ) => Read::Rounded(*unit, millis.clone()),
            (text, bytes) if is_text(text) && is_bytes(bytes) => Read::Text(text.clone()),
            (text, _) if is_text(text) && is_unmarked => Read::Text(text.clone()),
            (declared, kind) if is_unmarked || !is_cast(declared, kind, true) => Read::Value(declared.clone(), is_unmarked),
            _ => Read::AsIs,
        }
    }
}

#[derive(Debug)]
struct FileAdapter {
    columns: Arc<TableColumns>,
    file: String,
    /// Goes by name, over the file's columns under the table's names.
    inner: DefaultPhysicalExprAdapter,
    found: SchemaRef,
    /// By place in the file.
    read: Vec<Read>,
    /// Why a column cannot be read.
    unfit: HashMap<String, String>,
}

impl PhysicalExprAdapter for FileAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.apply(|node| match node.downcast_ref::<Column>().and_then(|column| self.unfit.get_key_value(column.name())) {
            Some((name, why)) => Err(self.columns.error(name, &self.file, why).into()),
            None => Ok(TreeNodeRecursion::Continue),
        })?;
        let adapted = self.inner.rewrite(expr)?;
        adapted.transform_up(|node| Ok(self.in_file(node))).data()
    }
}

impl FileAdapter {
    fn in_file(&self, node: Arc<dyn PhysicalExpr>) -> Transformed<Arc<dyn PhysicalExpr>> {
        let Some(column) = node.downcast_ref::<Column>() else { return Transformed::no(node) };
        let index = column.index();
        let (Some(field), Some(read)) = (self.found.fields().get(index), self.read.get(index)) else {
            return Transformed::no(node);
        };
        if field.name() == column.name() && *read == Read::AsIs {
            return Transformed::no(node);
        }
        let own: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
        Transformed::yes(match read {
            Read::AsIs => own,
            Read::Rounded(unit, target) => to_millis(own, field.data_type(), *unit, target),
            Read::Text(target) => checked_text(own, field.data_type(), target.clone()),
            Read::Value(target, is_unmarked) => file_value(own, target, *is_unmarked),
        })
    }
}

fn cast(expr: Arc<dyn PhysicalExpr>, to: DataType) -> Arc<dyn PhysicalExpr> {
    Arc::new(CastExpr::new(expr, to, None))
}

fn to_millis(own: Arc<dyn PhysicalExpr>, kind: &DataType, unit: TimeUnit, target: &DataType) -> Arc<dyn PhysicalExpr> {
    // With a zone it is the time of a clock there.
    let plain = DataType::Timestamp(unit, None);
    let own = if *kind == plain { own } else { cast(own, plain) };
    let (function, field) = (Arc::clone(&TO_MILLIS), Arc::new(Field::new(TO_MILLIS.name(), MILLIS, true)));
    let options = Arc::new(ConfigOptions::default());
    let rounded = Arc::new(ScalarFunctionExpr::new(TO_MILLIS.name(), function, vec![own], field, options));
    if *target == MILLIS { rounded } else { cast(rounded, target.clone()) }
}

fn file_value(own: Arc<dyn PhysicalExpr>, target: &DataType, is_unmarked: bool) -> Arc<dyn PhysicalExpr> {
    let function = Arc::new(ScalarUDF::from(FileValue::new(target.clone(), is_unmarked)));
    let field = Arc::new(Field::new(function.name(), target.clone(), true));
    let name = function.name().to_string();
    Arc::new(ScalarFunctionExpr::new(&name, function, vec![own], field, Arc::new(ConfigOptions::default())))
}

/// The text of bytes: the cast to text is what checks them.
fn checked_text(own: Arc<dyn PhysicalExpr>, kind: &DataType, target: DataType) -> Arc<dyn PhysicalExpr> {
    let bytes = match kind {
        DataType::Dictionary(_, value) => return checked_text(cast(own, value.as_ref().clone()), value, target),
        DataType::Utf8 => cast(own, DataType::Binary),
        DataType::LargeUtf8 => cast(own, DataType::LargeBinary),
        DataType::Utf8View | DataType::FixedSizeBinary(_) => cast(own, DataType::BinaryView),
        _ => own,
    };
    cast(bytes, target)
}
