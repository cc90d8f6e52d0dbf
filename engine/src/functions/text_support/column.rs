//! Arguments by row: one reading for Arrow's layouts of text and bytes, and prepared patterns kept for a batch.

use super::{Result, Value};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, LargeBinaryArray, LargeStringArray, ListArray,
    StringArray, StringViewArray,
};
use arrow::array::{Float32Array, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use datafusion::common::internal_err;
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Most prepared patterns kept for one batch; then they are forgotten.
const MAX_PREPARED: usize = 64;

enum Values<'a> {
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Real(&'a Float32Array),
    Bool(&'a BooleanArray),
    Texts(&'a ListArray, &'a StringArray),
}

/// What was prepared from texts of a column, the last one first.
#[derive(Default)]
struct Prepared<'a> {
    last: Option<(&'a str, Rc<dyn Any>)>,
    all: HashMap<&'a str, Rc<dyn Any>>,
}

/// One argument for all rows; a constant has one row.
pub(super) struct Column<'a> {
    array: &'a dyn Array,
    values: Values<'a>,
    constant: bool,
    prepared: RefCell<Prepared<'a>>,
}

impl<'a> Column<'a> {
    pub(super) fn new(array: &'a ArrayRef, constant: bool) -> Result<Self> {
        let values = match array.data_type() {
            DataType::Utf8 => Values::Utf8(array.as_string()),
            DataType::LargeUtf8 => Values::LargeUtf8(array.as_string()),
            DataType::Utf8View => Values::Utf8View(array.as_string_view()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::LargeBinary => Values::LargeBinary(array.as_binary()),
            DataType::BinaryView => Values::BinaryView(array.as_binary_view()),
            DataType::Int64 => Values::Int(array.as_primitive::<Int64Type>()),
            DataType::Float64 => Values::Double(array.as_primitive::<Float64Type>()),
            DataType::Float32 => Values::Real(array.as_primitive::<Float32Type>()),
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::List(item) if item.data_type() == &DataType::Utf8 => {
                let list = array.as_list::<i32>();
                Values::Texts(list, list.values().as_string())
            }
            other => return internal_err!("an argument of type {other} reached a text function"),
        };
        Ok(Self { array: array.as_ref(), values, constant, prepared: RefCell::default() })
    }
}

/// The rows of a call.
pub(super) struct Rows<'a> {
    columns: &'a [Column<'a>],
    pub(super) rows: usize,
    /// Rows that give NULL without being looked at: none, some or all.
    nulls: Option<NullBuffer>,
}

impl<'a> Rows<'a> {
    /// Rows of `columns`; those with a NULL give NULL, unless `sees_nulls`.
    pub(super) fn new(columns: &'a [Column<'a>], rows: usize, sees_nulls: bool) -> Self {
        let nulls = columns.iter().filter(|_| !sees_nulls).fold(None, |nulls, column| match column.constant {
            true if column.array.is_null(0) => Some(NullBuffer::new_null(rows)),
            true => nulls,
            false => NullBuffer::union(nulls.as_ref(), column.array.nulls()),
        });
        Self { columns, rows, nulls }
    }

    /// Gives each row's value to `take`, in order.
    pub(super) fn each<T>(&self, eval: fn(&Row<'a>) -> Value<T>, mut take: impl FnMut(Option<T>) -> Result<()>) -> Result<()> {
        for index in 0..self.rows {
            let row = Row { columns: self.columns, index };
            let skip = self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(index));
            take(if skip { None } else { eval(&row)? })?;
        }
        Ok(())
    }
}

/// One row of arguments. Reading an argument as another type than declared gives its empty value; the overloads' types exclude it.
pub(in crate::functions) struct Row<'a> {
    columns: &'a [Column<'a>],
    index: usize,
}

impl<'a> Row<'a> {
    /// How many arguments there are.
    pub(in crate::functions) fn count(&self) -> usize {
        self.columns.len()
    }

    fn at(&self, arg: usize) -> Option<(&'a Column<'a>, usize)> {
        self.columns.get(arg).map(|column| (column, if column.constant { 0 } else { self.index }))
    }

    /// Whether an argument is NULL.
    pub(in crate::functions) fn is_null(&self, arg: usize) -> bool {
        self.at(arg).is_none_or(|(column, index)| column.array.is_null(index))
    }

    /// A text.
    pub(in crate::functions) fn text(&self, arg: usize) -> &'a str {
        match self.at(arg).map(|(column, index)| (&column.values, index)) {
            Some((Values::Utf8(array), index)) => array.value(index),
            Some((Values::LargeUtf8(array), index)) => array.value(index),
            Some((Values::Utf8View(array), index)) => array.value(index),
            _ => "",
        }
    }

    /// A text, or `None` for NULL.
    pub(in crate::functions) fn nullable_text(&self, arg: usize) -> Option<&'a str> {
        (!self.is_null(arg)).then(|| self.text(arg))
    }

    /// Bytes, also those of a text.
    pub(in crate::functions) fn bytes(&self, arg: usize) -> &'a [u8] {
        match self.at(arg).map(|(column, index)| (&column.values, index)) {
            Some((Values::Binary(array), index)) => array.value(index),
            Some((Values::LargeBinary(array), index)) => array.value(index),
            Some((Values::BinaryView(array), index)) => array.value(index),
            _ => self.text(arg).as_bytes(),
        }
    }

    /// A bigint.
    pub(in crate::functions) fn int(&self, arg: usize) -> i64 {
        match self.at(arg).map(|(column, index)| (&column.values, index)) {
            Some((Values::Int(array), index)) => array.value(index),
            _ => 0,
        }
    }

    /// A double.
    pub(in crate::functions) fn double(&self, arg: usize) -> f64 {
        match self.at(arg).map(|(column, index)| (&column.values, index)) {
            Some((Values::Double(array), index)) => array.value(index),
            _ => 0.0,
        }
    }

    /// A real.
    pub(in crate::functions) fn real(&self, arg: usize) -> f32 {
        match self.at(arg).map(|(column, index)| (&column.values, index)) {
            Some((Values::Real(array), index)) => array.value(index),
            _ => 0.0,
        }
    }

    /// A boolean.
    pub(in crate::functions) fn bool(&self, arg: usize) -> bool {
        match self.at(arg).map(|(column, index)| (&column.values, index)) {
            Some((Values::Bool(array), index)) => array.value(index),
            _ => false,
        }
    }

    /// The texts of an array.
    pub(in crate::functions) fn texts(&self, arg: usize) -> Vec<Option<&'a str>> {
        match self.at(arg).map(|(column, index)| (&column.values, index)) {
            Some((Values::Texts(list, texts), index)) => {
                let offsets = list.value_offsets();
                let range =
                    offsets.get(index).zip(offsets.get(index + 1)).map_or(0..0, |(from, to)| *from as usize..*to as usize);
                range.map(|at| texts.is_valid(at).then(|| texts.value(at))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What `make` prepares from a text argument, made once for equal texts of a batch.
    pub(in crate::functions) fn prepared<T: 'static>(&self, arg: usize, make: fn(&str) -> Result<T>) -> Result<Rc<T>> {
        let text = self.text(arg);
        let Some((column, _)) = self.at(arg) else { return Ok(Rc::new(make(text)?)) };
        let mut prepared = column.prepared.borrow_mut();
        let known = match &prepared.last {
            Some((last, value)) if *last == text => Some(Rc::clone(value)),
            _ => prepared.all.get(text).map(Rc::clone),
        };
        let value = match known {
            Some(value) => value,
            None => {
                if prepared.all.len() >= MAX_PREPARED {
                    prepared.all.clear();
                }
                let value: Rc<dyn Any> = Rc::new(make(text)?);
                prepared.all.insert(text, Rc::clone(&value));
                value
            }
        };
        prepared.last = Some((text, Rc::clone(&value)));
        value.downcast::<T>().or_else(|_| internal_err!("one argument was prepared in two ways"))
    }
}
