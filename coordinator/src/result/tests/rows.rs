//! Random columns of every kind that a query gives, and what becomes of them as plain Arrow.

use super::super::types::plain;
use super::super::{Error, ResultFormat, conversion};
use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Builder,
    Int64Array, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder, StringViewArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::record_batch::RecordBatchOptions;
use std::sync::Arc;

/// Numbers that a seed decides (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or_default() % end
    }

    fn number(&mut self) -> i64 {
        let shift = self.below(64);
        self.next().cast_signed() >> shift
    }

    /// A value, or NULL one time in five.
    fn some<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(5) == 0 { None } else { Some(value(self)) }
    }

    fn word(&mut self) -> String {
        const PIECES: [&str; 14] = [
            "a",
            "NULL",
            "\"",
            ",",
            "\n",
            "\r\n",
            "\t",
            "\\",
            "日本",
            "é😀",
            "\u{1}",
            "\u{2028}",
            " ",
            "longer than a view holds",
        ];
        (0..self.below(5)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn many<T>(&mut self, rows: usize, mut value: impl FnMut(&mut Self) -> T) -> Vec<Option<T>> {
        (0..rows).map(|_| self.some(&mut value)).collect()
    }
}

const KINDS: usize = 14;

pub(super) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Keys are numbers.
pub(super) fn numbered_map(dice: &mut Dice, rows: usize) -> ArrayRef {
    let mut map = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
    for _ in 0..rows {
        for key in 0..dice.below(3) {
            map.keys().append_value(i32::try_from(key).unwrap());
            map.values().append_option(dice.some(Dice::word));
        }
        map.append(dice.below(4) > 0).unwrap();
    }
    Arc::new(map.finish())
}

fn named_map(dice: &mut Dice, rows: usize) -> ArrayRef {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for _ in 0..rows {
        for key in 0..dice.below(3) {
            map.keys().append_value(format!("{key}{}", dice.word()));
            map.values().append_option(dice.some(|dice| i32::try_from(dice.below(9)).unwrap()));
        }
        map.append(dice.below(4) > 0).unwrap();
    }
    Arc::new(map.finish())
}

fn list(dice: &mut Dice, rows: usize) -> ArrayRef {
    let rows = dice.many(rows, |dice| {
        let length = dice.below(4);
        dice.many(length, |dice| i32::try_from(dice.below(1_000)).unwrap())
    });
    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))
}

fn structure(dice: &mut Dice, rows: usize) -> ArrayRef {
    let x = Arc::new(Int64Array::from(dice.many(rows, Dice::number))) as ArrayRef;
    let y = Arc::new(dictionary(dice, rows)) as ArrayRef;
    let field = |name: &str, column: &ArrayRef| Arc::new(Field::new(name, column.data_type().clone(), true));
    Arc::new(StructArray::from(vec![(field("x", &x), x), (field("y \"z\"", &y), y)]))
}

fn dictionary(dice: &mut Dice, rows: usize) -> DictionaryArray<Int32Type> {
    let words: Vec<Option<String>> = dice.many(rows, Dice::word);
    words.iter().map(Option::as_deref).collect()
}

fn column(kind: usize, dice: &mut Dice, rows: usize) -> ArrayRef {
    match kind {
        0 => Arc::new(Int64Array::from(dice.many(rows, Dice::number))),
        1 => Arc::new(StringArray::from(dice.many(rows, Dice::word))),
        2 => Arc::new(StringViewArray::from_iter(dice.many(rows, Dice::word))),
        3 => {
            let values = dice.many(rows, |dice| i128::from(dice.number()) % 1_000_000_000_000_000);
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(15, 2).unwrap())
        }
        4 => Arc::new(TimestampMillisecondArray::from(dice.many(rows, |dice| dice.number() >> 12))),
        5 => {
            let values = dice.many(rows, |dice| dice.number() >> 8);
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("+02:00"))
        }
        6 => list(dice, rows),
        7 => structure(dice, rows),
        8 => named_map(dice, rows),
        9 => Arc::new(dictionary(dice, rows)),
        10 => Arc::new(BooleanArray::from(dice.many(rows, |dice| dice.below(2) == 0))),
        11 => Arc::new(Float64Array::from(dice.many(rows, |dice| f64::from_bits(dice.next())))),
        12 => Arc::new(Date32Array::from(dice.many(rows, |dice| i32::try_from(dice.below(80_000)).unwrap() - 20_000))),
        _ => Arc::new(BinaryViewArray::from_iter(dice.many(rows, Dice::word))),
    }
}

/// One to six columns; the metadata name their kind.
pub(super) fn random_schema(dice: &mut Dice) -> Schema {
    let count = 1 + dice.below(6);
    let field = |index: usize, dice: &mut Dice| {
        let kind = dice.below(KINDS);
        let field = Field::new(format!("c{index}{}", dice.word()), column(kind, dice, 0).data_type().clone(), true);
        field.with_metadata([("kind".to_owned(), kind.to_string())].into())
    };
    Schema::new((0..count).map(|index| field(index, dice)).collect::<Vec<_>>())
}

/// Up to six batches, some without rows, some slices of larger ones.
pub(super) fn random_batches(dice: &mut Dice, schema: &Schema) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for _ in 0..dice.below(7) {
        let rows = dice.below(150);
        let kinds: Vec<usize> = schema.fields().iter().map(|field| field.metadata()["kind"].parse().unwrap()).collect();
        let columns = kinds.into_iter().map(|kind| column(kind, dice, rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(schema.clone()), columns, &options).unwrap();
        let start = dice.below(rows / 4 + 1);
        let length = rows - start - dice.below(rows / 4 + 1);
        batches.push(batch.slice(start, length));
    }
    batches
}

/// All rows as one batch of plain types.
pub(super) fn expected_arrow(schema: &Schema, batches: &[RecordBatch]) -> Result<RecordBatch, Error> {
    let mut fields = Vec::new();
    for field in schema.fields() {
        fields.push(Field::new(field.name(), plain(field.data_type(), ResultFormat::Arrow)?, true));
    }
    let joined = concat_batches(&Arc::new(schema.clone()), batches).map_err(conversion)?;
    let unpack = |(column, field): (&ArrayRef, &Field)| -> Result<ArrayRef, Error> {
        let data_type: &DataType = field.data_type();
        if column.data_type() == data_type { Ok(Arc::clone(column)) } else { cast(column, data_type).map_err(conversion) }
    };
    let columns = joined.columns().iter().zip(&fields).map(unpack).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(joined.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(conversion)
}
