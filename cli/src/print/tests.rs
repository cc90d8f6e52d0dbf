//! Each format with NULLs, empty strings, quotes, line feeds, nested values, decimals and repeated names.

use std::io::Cursor;
use std::sync::Mutex;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    StringArray, StructArray, TimestampMicrosecondArray, UnionArray,
};
use arrow::datatypes::{Int32Type, UnionFields};
use arrow::ipc::reader::FileReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// Output that can be read after the printer is gone.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Output whose reader is gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn bytes(format: Format, schema: SchemaRef, batches: &[RecordBatch]) -> Vec<u8> {
    let page = Page::default();
    let mut printer = RowPrinter::new(format, schema, Box::new(page.clone())).unwrap();
    for batch in batches {
        printer.write(batch).unwrap();
    }
    assert_eq!(printer.row_count(), batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>());
    printer.finish().unwrap();
    std::mem::take(&mut page.0.lock().unwrap())
}

pub(super) fn text(format: Format, batch: &RecordBatch) -> String {
    String::from_utf8(bytes(format, batch.schema(), std::slice::from_ref(batch))).unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn sample() -> RecordBatch {
    let price = Decimal128Array::from(vec![Some(5), None, Some(-123_456)]).with_precision_and_scale(15, 2).unwrap();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), Some(vec![]), None]);
    let point = StructArray::from(vec![
        (Arc::new(Field::new("x", DataType::Int32, true)), Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])) as ArrayRef),
        (Arc::new(Field::new("y", DataType::Utf8, true)), Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef),
    ]);
    batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 20, 300]))),
        ("name", Arc::new(StringArray::from(vec![Some("say \"hi\",\nthen\tgo\\"), Some(""), None]))),
        ("price", Arc::new(price)),
        ("list", Arc::new(list)),
        ("point", Arc::new(point)),
    ])
}

/// No rows, no columns, or a number of rows without columns.
fn nothing(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).unwrap()
}

fn twice_named() -> RecordBatch {
    let column = |value| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    batch(vec![("a", column(1)), ("a", column(2)), ("a_1", column(3)), ("a", column(4))])
}

const ALL: [Format; 7] = [Format::Table, Format::Csv, Format::Tsv, Format::Json, Format::Ndjson, Format::Parquet, Format::Arrow];

#[test]
fn names_of_formats_read_back() {
    for format in ALL {
        assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        assert_eq!(format.to_string().to_uppercase().parse::<Format>().unwrap(), format);
        assert_eq!(format.to_possible_value().unwrap().get_name(), format.to_string());
    }
    let error = "xml".parse::<Format>().unwrap_err().to_string();
    assert!(ALL.iter().all(|format| error.contains(&format.to_string())), "{error}");
}

#[test]
fn a_table_is_aligned_and_one_row_is_one_line() {
    let expected = "\
 id  |          name           |  price   |   list    |     point
-----+-------------------------+----------+-----------+----------------
   1 | say \"hi\",\\nthen\\tgo\\    |     0.05 | [1, NULL] | {x: 1, y: a}
  20 |                         |     NULL | []        | {x: NULL, y: b}
 300 | NULL                    | -1234.56 | NULL      | {x: 3, y: c}
(3 rows)
";
    let found = text(Format::Table, &sample());
    let trimmed = |text: &str| text.lines().map(|line| line.replace("-+", "+").replace('-', "")).collect::<Vec<_>>();
    assert_eq!(found.lines().count(), 6);
    assert_eq!(trimmed(&found).len(), trimmed(expected).len());
    for (found, expected) in found.lines().zip(expected.lines()).filter(|(found, _)| !found.starts_with("--")) {
        let words = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        assert_eq!(words(found), words(expected));
    }
    let bars: Vec<Vec<usize>> =
        found.lines().take(5).map(|line| line.match_indices(['|', '+']).map(|(at, _)| at).collect()).collect();
    assert!(bars.iter().all(|at| *at == bars[0] && at.len() == 4), "{found}");
    assert!(found.contains("\n  20 |"), "{found}");
}

#[test]
fn a_table_respects_wide_characters_and_escapes_the_rest() {
    let column = Arc::new(StringArray::from(vec!["日本", "é", "a\u{1b}[31m\u{202e}"])) as ArrayRef;
    let found = text(Format::Table, &batch(vec![("k", column), ("n", Arc::new(Int32Array::from(vec![1, 22, 3])))]));
    assert_eq!(
        found,
        concat!(
            "         k         | n\n",
            "-------------------+----\n",
            " 日本              |  1\n",
            " é                 | 22\n",
            " a\\u{1b}[31m\\u{202e} |  3\n",
            "(3 rows)\n"
        )
        .replace("-------------------+", &format!("{}+", "-".repeat(21)))
        .replace(" 日本              |", &format!(" 日本{}|", " ".repeat(16)))
        .replace(" é                 |", &format!(" é{}|", " ".repeat(19)))
        .replace("         k         |", "          k          |")
    );
}

#[test]
fn a_table_keeps_the_widths_of_its_first_thousand_rows() {
    let rows = |values: Vec<i64>| {
        batch(vec![("n", Arc::new(Int64Array::from(values)) as ArrayRef), ("m", Arc::new(BooleanArray::from(vec![true; 600])))])
    };
    let (first, second) = (rows(vec![7; 600]), rows((0..600).map(|n| if n == 599 { 123_456_789 } else { n }).collect()));
    let found = String::from_utf8(bytes(Format::Table, first.schema(), &[first, second])).unwrap();
    assert_eq!(found.lines().count(), 1_203);
    assert!(found.starts_with("  n  |  m\n-----+------\n   7 | true\n"), "{}", &found[..40]);
    assert!(found.ends_with(" 598 | true\n 123456789 | true\n(1200 rows)\n"));
}

#[test]
fn csv_tells_null_from_empty_and_quotes() {
    assert_eq!(
        text(Format::Csv, &sample()),
        "id,name,price,list,point\n\
         1,\"say \"\"hi\"\",\nthen\tgo\\\",0.05,\"[1, NULL]\",\"{x: 1, y: a}\"\n\
         20,\"\",,[],\"{x: NULL, y: b}\"\n\
         300,,-1234.56,,\"{x: 3, y: c}\"\n"
    );
    let name = batch(vec![("a \"b\", c", Arc::new(Int32Array::from(vec![None, Some(1)])) as ArrayRef)]);
    assert_eq!(text(Format::Csv, &name), "\"a \"\"b\"\", c\"\n\n1\n");
}

#[test]
fn tsv_escapes_what_would_break_a_line() {
    assert_eq!(
        text(Format::Tsv, &sample()),
        "id\tname\tprice\tlist\tpoint\n\
         1\tsay \"hi\",\\nthen\\tgo\\\\\t0.05\t[1, NULL]\t{x: 1, y: a}\n\
         20\t\t\\N\t[]\t{x: NULL, y: b}\n\
         300\t\\N\t-1234.56\t\\N\t{x: 3, y: c}\n"
    );
}

#[test]
fn json_keeps_decimals_exact_and_nulls_explicit() {
    let lines = [
        r#"{"id":1,"name":"say \"hi\",\nthen\tgo\\","price":0.05,"list":[1,null],"point":{"x":1,"y":"a"}}"#,
        r#"{"id":20,"name":"","price":null,"list":[],"point":{"x":null,"y":"b"}}"#,
        r#"{"id":300,"name":null,"price":-1234.56,"list":null,"point":{"x":3,"y":"c"}}"#,
    ];
    assert_eq!(text(Format::Ndjson, &sample()), lines.join("\n") + "\n");
    assert_eq!(text(Format::Json, &sample()), format!("[{}]\n", lines.join(",\n")));
    let halves = [sample().slice(0, 1), sample().slice(1, 2)];
    assert_eq!(bytes(Format::Json, sample().schema(), &halves), text(Format::Json, &sample()).into_bytes());
}

#[test]
fn json_takes_every_float_and_timestamp() {
    let floats = Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, 1.5])) as ArrayRef;
    let moments = TimestampMicrosecondArray::from(vec![0, 1_500_000, -1]);
    let found = text(
        Format::Ndjson,
        &batch(vec![("f", floats), ("t", Arc::new(moments.clone())), ("z", Arc::new(moments.with_timezone("+00:00")))]),
    );
    assert_eq!(
        found,
        "{\"f\":null,\"t\":\"1970-01-01T00:00:00\",\"z\":\"1970-01-01T00:00:00Z\"}\n\
         {\"f\":null,\"t\":\"1970-01-01T00:00:01.500\",\"z\":\"1970-01-01T00:00:01.500Z\"}\n\
         {\"f\":1.5,\"t\":\"1969-12-31T23:59:59.999999\",\"z\":\"1969-12-31T23:59:59.999999Z\"}\n"
    );
    let big = Decimal128Array::from(vec![12_345_678_901_234_567_890_123_456_789_i128]).with_precision_and_scale(38, 3).unwrap();
    assert_eq!(text(Format::Json, &batch(vec![("d", Arc::new(big))])), "[{\"d\":12345678901234567890123456.789}]\n");
}

#[test]
fn repeated_names_stay_in_text_and_get_suffixes_elsewhere() {
    assert_eq!(text(Format::Csv, &twice_named()), "a,a,a_1,a\n1,2,3,4\n");
    assert_eq!(text(Format::Ndjson, &twice_named()), "{\"a\":1,\"a_2\":2,\"a_1\":3,\"a_3\":4}\n");
    let file = bytes(Format::Parquet, twice_named().schema(), &[twice_named()]);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes_of(file)).unwrap();
    let names: Vec<&str> = reader.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["a", "a_2", "a_1", "a_3"]);
}

fn bytes_of(file: Vec<u8>) -> std::fs::File {
    let mut temporary = tempfile::tempfile().unwrap();
    temporary.write_all(&file).unwrap();
    temporary
}

#[test]
fn parquet_and_arrow_read_back() {
    let sample = sample();
    let file = bytes(Format::Parquet, sample.schema(), &[sample.clone(), sample.clone()]);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes_of(file)).unwrap();
    let column = reader.metadata().row_group(0).column(0);
    assert!(matches!(column.compression(), Compression::ZSTD(_)));
    let read: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].slice(0, 3), sample);

    let file = bytes(Format::Arrow, sample.schema(), &[sample.clone(), sample.slice(1, 1)]);
    let read: Vec<RecordBatch> = FileReader::try_new(Cursor::new(file), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [sample.clone(), sample.slice(1, 1)]);
}

#[test]
fn arrow_takes_a_new_dictionary_with_each_batch() {
    let words =
        |words: Vec<Option<&str>>| batch(vec![("w", Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>()))]);
    let batches = [words(vec![Some("a"), None]), words(vec![Some("b"), Some("c")])];
    let file = bytes(Format::Arrow, batches[0].schema(), &batches);
    let read: Vec<RecordBatch> = FileReader::try_new(Cursor::new(file), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read[1].column(0).as_ref(), &StringArray::from(vec!["b", "c"]) as &dyn Array);
    assert_eq!(text(Format::Csv, &batches[0]), "w\na\n\n");
    assert_eq!(text(Format::Ndjson, &batches[0]), "{\"w\":\"a\"}\n{\"w\":null}\n");
    assert!(!bytes(Format::Parquet, batches[0].schema(), &batches).is_empty());
}

#[test]
fn no_rows_still_give_a_valid_output() {
    let schema = sample().schema();
    let empty = |format| String::from_utf8(bytes(format, Arc::clone(&schema), &[])).unwrap();
    assert_eq!(empty(Format::Table), " id | name | price | list | point\n----+------+-------+------+-------\n(0 rows)\n");
    assert_eq!(empty(Format::Csv), "id,name,price,list,point\n");
    assert_eq!(empty(Format::Tsv), "id\tname\tprice\tlist\tpoint\n");
    assert_eq!(empty(Format::Json), "[]\n");
    assert_eq!(empty(Format::Ndjson), "");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes_of(bytes(Format::Parquet, Arc::clone(&schema), &[]))).unwrap();
    assert_eq!(reader.schema().fields(), schema.fields());
    let reader = FileReader::try_new(Cursor::new(bytes(Format::Arrow, Arc::clone(&schema), &[])), None).unwrap();
    assert_eq!(reader.schema(), schema);
    for format in ALL {
        let none = RecordBatch::new_empty(Arc::clone(&schema));
        assert_eq!(bytes(format, Arc::clone(&schema), &[none]).is_empty(), format == Format::Ndjson);
    }
}

#[test]
fn rows_without_columns_do_not_panic() {
    assert_eq!(text(Format::Table, &nothing(1)), "(1 row)\n");
    assert_eq!(text(Format::Csv, &nothing(2)), "");
    assert_eq!(text(Format::Json, &nothing(2)), "[{},\n{}]\n");
    for format in ALL {
        bytes(format, Arc::new(Schema::empty()), &[nothing(2), nothing(0)]);
        bytes(format, Arc::new(Schema::empty()), &[]);
    }
}

#[test]
fn a_closed_pipe_is_told_apart_in_every_format() {
    for format in ALL {
        let attempt = || {
            let mut printer = RowPrinter::new(format, sample().schema(), Box::new(Closed))?;
            printer.write(&sample())?;
            printer.finish().map(drop)
        };
        let error = attempt().unwrap_err();
        assert!(matches!(error, PrintError::BrokenPipe), "{format}: {error:?}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    for format in ALL {
        let mut printer = RowPrinter::new(format, sample().schema(), Box::new(Page::default())).unwrap();
        let error = printer.write(&twice_named()).unwrap_err();
        assert!(matches!(error, PrintError::ColumnCount { expected: 5, found: 4 }), "{format}: {error:?}");
    }
    let fields: UnionFields = [(0, Arc::new(Field::new("i", DataType::Int32, true)))].into_iter().collect();
    let union = UnionArray::try_new(fields, vec![0].into(), None, vec![Arc::new(Int32Array::from(vec![1]))]).unwrap();
    let union = batch(vec![("u", Arc::new(union))]);
    let error = RowPrinter::new(Format::Parquet, union.schema(), Box::new(Page::default())).unwrap_err();
    assert!(error.to_string().starts_with("column 'u' has type"), "{error}");
    let mut printer = RowPrinter::new(Format::Json, union.schema(), Box::new(Page::default())).unwrap();
    assert!(matches!(printer.write(&union), Err(PrintError::Arrow(_))));
}
