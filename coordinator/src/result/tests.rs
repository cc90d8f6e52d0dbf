//! Random rows through every format, store and page; limits, faults and replaced objects.

mod faults;
mod parse;
mod rows;

use super::encoder::page_tail;
use super::*;
use arrow::array::{
    Array, BooleanArray, DictionaryArray, FixedSizeListArray, Int32Array, Int64Array, LargeListArray, ListViewArray, RecordBatch,
    RecordBatchOptions, RunArray, StringArray, StringViewArray, TimestampSecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use faults::{Fault, FaultyStore};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rows::{Dice, batch, expected_arrow, random_batches, random_schema};
use serde_json::{Value, json};
use std::sync::Arc;

type Test = Result<(), Box<dyn std::error::Error>>;

const STORED: SinkLimits = SinkLimits { max_inline_bytes: 0, max_result_bytes: MAX_RESULT_BYTES, max_pages: MAX_PAGES };

fn path() -> Path {
    Path::from("results/q")
}

async fn finish(sink: ResultSink, receipt: Option<&Value>) -> Result<Finished, Error> {
    sink.finish(receipt).await
}

/// Stores the batches and gives a reader of them.
async fn store(encoder: Encoder, store: &Arc<dyn ObjectStore>, batches: &[RecordBatch]) -> Result<ResultReader, Error> {
    let mut sink = ResultSink::new(encoder, Arc::clone(store), path(), STORED, true);
    for batch in batches {
        sink.write(batch).await?;
    }
    match finish(sink, Some(&json!({"rows": 1}))).await? {
        Finished::Stored(stored) => Ok(ResultReader::new(Arc::clone(store), path(), "q", stored)),
        Finished::Inline { .. } => Err(Error::internal("not stored")),
    }
}

async fn inline(format: ResultFormat, schema: &Schema, batches: &[RecordBatch]) -> Result<(Bytes, u64), Error> {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let encoder = Encoder::new(format, schema, "q")?;
    let mut sink = ResultSink::new(encoder, memory, path(), SinkLimits::default(), false);
    for batch in batches {
        sink.write(batch).await?;
    }
    match finish(sink, Some(&json!({"nano_usd": 7}))).await? {
        Finished::Inline { body, rows } => Ok((body, rows)),
        Finished::Stored(_) => Err(Error::internal("stored")),
    }
}

async fn gather(stream: futures::stream::BoxStream<'static, Result<Bytes, Error>>) -> Result<Bytes, Error> {
    let parts: Vec<Bytes> = stream.try_collect().await?;
    Ok(Bytes::from(parts.concat()))
}

fn words(values: &[&str]) -> RecordBatch {
    batch(vec![("w", Arc::new(StringArray::from(values.to_vec())))])
}

#[tokio::test]
async fn pages_hold_the_rows_that_went_in() -> Test {
    for seed in 0..30 {
        let mut dice = Dice::new(seed);
        let schema = random_schema(&mut dice);
        let batches = random_batches(&mut dice, &schema);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let page_bytes = 4_000 + dice.below(30_000);
        for format in ResultFormat::ALL {
            let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let encoder = Encoder::with_page_bytes(format, &schema, "q", page_bytes)?;
            let reader = store(encoder, &memory, &batches).await?;
            let stored = reader.stored().clone();
            let object = memory.get(&path()).await?.bytes().await?;
            assert_eq!(stored.bytes, object.len() as u64, "seed {seed} {format}");
            assert_eq!(stored.rows, rows as u64);
            assert_eq!(stored.pages.iter().map(|page| page.rows).sum::<u64>(), stored.rows);
            assert!(object.starts_with(&stored.head));
            let last = stored.pages.last().ok_or("no page")?;
            assert_eq!(last.offset + last.bytes + stored.tail_bytes, stored.bytes);
            let mut found = parse::Rows::default();
            for number in 0..stored.pages.len() {
                let page = reader.page(number).await?;
                assert!(page.len() <= page_bytes || stored.pages[number].rows == 1, "seed {seed} {format} page {number}");
                let next = reader.next_page(number);
                let rows = parse::document(format, &page, Some(next), &schema)?;
                assert_eq!(rows.len() as u64, stored.pages[number].rows);
                found.extend(rows);
            }
            assert_eq!(found, parse::expected(format, &schema, &batches)?, "seed {seed} {format}");
            let whole = gather(reader.whole().await?).await?;
            assert_eq!(parse::document(format, &whole, None, &schema)?, found, "seed {seed} {format}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn arrow_pages_are_given_in_every_format() -> Test {
    for seed in 100..125 {
        let mut dice = Dice::new(seed);
        let schema = random_schema(&mut dice);
        let batches = random_batches(&mut dice, &schema);
        let page_bytes = 4_000 + dice.below(20_000);
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let reader = store(Encoder::with_page_bytes(ResultFormat::Arrow, &schema, "q", page_bytes)?, &memory, &batches).await?;
        for format in ResultFormat::ALL {
            assert!(reader.formats().contains(&format));
            let mut found = parse::Rows::default();
            for number in 0..reader.stored().pages.len() {
                let page = reader.page_as(number, format).await?;
                let fits = page.len() <= page_bytes || reader.stored().pages[number].rows == 1;
                assert!(fits, "seed {seed} {format}: {} of {page_bytes}", page.len());
                found.extend(parse::document(format, &page, Some(reader.next_page(number)), &schema)?);
            }
            assert_eq!(found, parse::expected(format, &schema, &batches)?, "seed {seed} {format}");
            let whole = gather(reader.whole_as(format).await?).await?;
            assert_eq!(parse::document(format, &whole, None, &schema)?, found, "seed {seed} {format}");
        }
        let json: Value = serde_json::from_slice(&reader.page_as(0, ResultFormat::Json).await?)?;
        assert_eq!(json["columns"], json!(reader.stored().columns));
    }
    Ok(())
}

#[tokio::test]
async fn arrow_pages_are_small_enough_as_text() -> Test {
    let rows = batch(vec![("flag", Arc::new(BooleanArray::from(vec![false; 1_000_000])))]);
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let reader = store(Encoder::new(ResultFormat::Arrow, &rows.schema(), "q")?, &memory, &[rows]).await?;
    assert!(reader.stored().bytes < PAGE_BYTES as u64 && reader.stored().pages.len() > 1);
    for number in 0..reader.stored().pages.len() {
        assert!(reader.page_as(number, ResultFormat::Ndjson).await?.len() <= PAGE_BYTES);
    }
    Ok(())
}

#[tokio::test]
async fn only_arrow_is_converted() -> Test {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let rows = words(&["a"]);
    let reader = store(Encoder::new(ResultFormat::Csv, &rows.schema(), "q")?, &memory, &[rows]).await?;
    assert_eq!(reader.formats(), [ResultFormat::Csv]);
    assert_eq!(reader.page_as(0, ResultFormat::Csv).await?, "w\na\n");
    assert!(reader.page_as(0, ResultFormat::Json).await.is_err_and(|error| error.kind == ErrorKind::InvalidQuery));
    assert!(reader.whole_as(ResultFormat::Json).await.is_err_and(|error| error.kind == ErrorKind::InvalidQuery));
    assert!(reader.page(1).await.is_err_and(|error| error.kind == ErrorKind::NotFound));
    Ok(())
}

#[tokio::test]
async fn documents_look_as_described() -> Test {
    let rows = words(&["x", "", "a \"b\",\nc"]);
    let text = |found: (Bytes, u64)| String::from_utf8(found.0.to_vec());
    let rows = std::slice::from_ref(&rows);
    let schema = rows[0].schema();
    assert_eq!(
        text(inline(ResultFormat::Json, &schema, rows).await?)?,
        "{\"query_id\":\"q\",\"columns\":[{\"name\":\"w\",\"type\":\"varchar\"}],\"rows\":[\n[\"x\"],\n[\"\"],\n\
         [\"a \\\"b\\\",\\nc\"]],\"receipt\":{\"nano_usd\":7}}\n"
    );
    assert_eq!(
        text(inline(ResultFormat::Ndjson, &schema, rows).await?)?,
        "{\"w\":\"x\"}\n{\"w\":\"\"}\n{\"w\":\"a \\\"b\\\",\\nc\"}\n"
    );
    assert_eq!(text(inline(ResultFormat::Csv, &schema, rows).await?)?, "w\nx\n\"\"\n\"a \"\"b\"\",\nc\"\n");
    let twice = batch(vec![("a", Arc::new(Int64Array::from(vec![1]))), ("a", Arc::new(Int64Array::from(vec![None])))]);
    let json: Value = serde_json::from_slice(&inline(ResultFormat::Json, &twice.schema(), &[twice]).await?.0)?;
    assert_eq!(json["rows"], json!([[1, null]]));
    Ok(())
}

#[tokio::test]
async fn keys_of_maps_become_strings_in_json() -> Test {
    let map = rows::numbered_map(&mut Dice::new(1), 1);
    let rows = batch(vec![("m", map)]);
    let json: Value = serde_json::from_slice(&inline(ResultFormat::Json, &rows.schema(), &[rows]).await?.0)?;
    assert_eq!(json["columns"][0]["type"], "map(integer, varchar)");
    assert!(json["rows"][0][0].is_object() || json["rows"][0][0].is_null());
    Ok(())
}

#[tokio::test]
async fn a_time_beyond_the_calendar_fails_in_text() -> Test {
    let time = TimestampSecondArray::from(vec![Some(0), Some(i64::MAX)]).with_timezone("+00:00");
    let rows = batch(vec![("t", Arc::new(time))]);
    for format in [ResultFormat::Json, ResultFormat::Ndjson, ResultFormat::Csv] {
        let error = inline(format, &rows.schema(), std::slice::from_ref(&rows)).await.err();
        assert!(error.is_some_and(|error| error.kind == ErrorKind::InvalidQuery), "{format}");
        assert_eq!(inline(format, &rows.schema(), &[rows.slice(0, 1)]).await?.1, 1);
    }
    assert_eq!(inline(ResultFormat::Arrow, &rows.schema(), &[rows]).await?.1, 2);
    Ok(())
}

#[tokio::test]
async fn dictionaries_runs_and_views_become_plain_values() -> Test {
    let words = || StringViewArray::from(vec![Some("a"), None, Some("a string that is longer than a view")]);
    let item = |data_type: &DataType| Arc::new(Field::new("item", data_type.clone(), true));
    let offsets = || OffsetBuffer::<i64>::from_lengths([1, 2]);
    let nested = LargeListArray::try_new(item(&DataType::Utf8View), offsets(), Arc::new(words()), None)?;
    let dictionary = DictionaryArray::<Int32Type>::try_new(vec![2, 1].into(), Arc::new(words()))?;
    let of_dictionary = FixedSizeListArray::try_new(item(dictionary.data_type()), 1, Arc::new(dictionary.clone()), None)?;
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2]), &Int64Array::from(vec![Some(7), None]))?;
    let views = ListViewArray::try_new(item(&DataType::Utf8View), vec![1, 0].into(), vec![2, 1].into(), Arc::new(words()), None)?;
    let rows = batch(vec![
        ("nested", Arc::new(nested)),
        ("dictionary", Arc::new(dictionary)),
        ("of_dictionary", Arc::new(of_dictionary)),
        ("runs", Arc::new(runs)),
        ("views", Arc::new(views)),
    ]);
    let long = "a string that is longer than a view";
    let expected = json!([[["a"], long, [long], 7, [null, long]], [[null, long], null, [null], null, ["a"]]]);
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for format in [ResultFormat::Json, ResultFormat::Arrow] {
        let reader = store(Encoder::new(format, &rows.schema(), "q")?, &memory, std::slice::from_ref(&rows)).await?;
        let json: Value = serde_json::from_slice(&reader.page_as(0, ResultFormat::Json).await?)?;
        assert_eq!(json["rows"], expected);
        assert_eq!(json["columns"][2]["type"], "array(varchar)");
    }
    Ok(())
}

#[tokio::test]
async fn no_rows_and_no_columns() -> Test {
    let schema = words(&[]).schema();
    let none = Schema::empty();
    for format in ResultFormat::ALL {
        let (body, rows) = inline(format, &schema, &[words(&[])]).await?;
        assert_eq!((parse::document(format, &body, None, &schema)?.len(), rows), (0, 0));
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let reader = store(Encoder::new(format, &schema, "q")?, &memory, &[]).await?;
        assert_eq!(parse::document(format, &reader.page(0).await?, Some(None), &schema)?.len(), 0);
        assert_eq!(memory.head(&path()).await?.size, reader.stored().bytes);
        assert_eq!(reader.stored().pages.len(), 1);

        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let bare = RecordBatch::try_new_with_options(Arc::new(none.clone()), Vec::new(), &options)?;
        let reader = store(Encoder::new(format, &none, "q")?, &memory, &[bare.clone(), bare]).await?;
        assert_eq!(reader.stored().rows, 6);
        let page = reader.page(0).await?;
        assert!(format == ResultFormat::Csv || parse::document(format, &page, Some(None), &none)?.len() == 6, "{format}");
    }
    Ok(())
}

#[tokio::test]
async fn fifty_megabytes_lie_in_pages() -> Test {
    let value = "a\"é,".repeat(500);
    let values: Vec<String> = (0..1_000).map(|number| format!("{number}{value}")).collect();
    let rows = batch(vec![
        ("n", Arc::new(Int64Array::from_iter_values(0..1_000))),
        ("w", Arc::new(StringArray::from_iter_values(values))),
    ]);
    for format in ResultFormat::ALL {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let reader = store(Encoder::new(format, &rows.schema(), "q")?, &memory, &vec![rows.clone(); 20]).await?;
        let stored = reader.stored();
        assert!(stored.bytes > 50_000_000 && stored.pages.len() >= 17, "{format}: {}", stored.bytes);
        assert!(stored.pages.len() <= 26, "{format}: {} pages", stored.pages.len());
        let mut count = 0;
        for number in 0..stored.pages.len() {
            let page = reader.page(number).await?;
            assert!(page.len() <= PAGE_BYTES);
            if number % 8 == 0 {
                parse::document(format, &page, Some(reader.next_page(number)), &rows.schema())?;
            }
            count += stored.pages[number].rows;
        }
        assert_eq!((count, stored.rows), (20_000, 20_000));
    }
    Ok(())
}

#[tokio::test]
async fn a_row_beyond_a_page_stands_alone() -> Test {
    let large = "x".repeat(PAGE_BYTES + 1);
    let rows = words(&["a", &large, "b", "c"]);
    for format in ResultFormat::ALL {
        let mut encoder = Encoder::new(format, &rows.schema(), "q")?;
        let chunks = encoder.batch(&rows)?;
        assert_eq!(chunks.iter().filter(|chunk| chunk.oversized && chunk.rows == 1).count(), 1, "{format}");
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let reader = store(encoder, &memory, std::slice::from_ref(&rows)).await?;
        let counts: Vec<u64> = reader.stored().pages.iter().map(|page| page.rows).collect();
        assert_eq!(counts, [1, 1, 2], "{format}");
        assert!(reader.page(1).await.is_err_and(|error| error.kind == ErrorKind::LimitExceeded));
        assert_eq!(parse::document(format, &reader.page(2).await?, Some(None), &rows.schema())?.len(), 2);
        let whole = gather(reader.whole().await?).await?;
        assert_eq!(parse::document(format, &whole, None, &rows.schema())?.len(), 4);
    }
    Ok(())
}

#[tokio::test]
async fn inline_and_result_limits_are_exact() -> Test {
    let rows = words(&["some", "words"]);
    let receipt = json!({"nano_usd": 7});
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let run = async |max_inline_bytes: usize, max_result_bytes: usize| {
        let limits = SinkLimits { max_inline_bytes, max_result_bytes: max_result_bytes as u64, max_pages: 1 };
        let encoder = Encoder::new(ResultFormat::Json, &rows.schema(), "q")?;
        let mut sink = ResultSink::new(encoder, Arc::clone(&memory), path(), limits, false);
        sink.write(&rows).await?;
        finish(sink, Some(&receipt)).await
    };
    let (body, _) = inline(ResultFormat::Json, &rows.schema(), std::slice::from_ref(&rows)).await?;
    let size = body.len();
    for (max, is_inline) in [(size - 1, false), (size, true), (size + 1, true)] {
        assert_eq!(matches!(run(max, 1_000).await?, Finished::Inline { .. }), is_inline, "{max}");
    }
    let Finished::Stored(stored) = run(0, 1_000).await? else { return Err("inline".into()) };
    let size = usize::try_from(stored.bytes)?;
    for (max, fits) in [(size - 1, false), (size, true), (size + 1, true)] {
        for max_inline_bytes in [0, 1_000] {
            let found = run(max_inline_bytes, max).await;
            assert_eq!(found.is_ok(), fits, "{max}");
            assert!(found.err().is_none_or(|error| error.kind == ErrorKind::LimitExceeded));
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_page_limit_is_exact() -> Test {
    let large = "x".repeat(PAGE_BYTES / 2);
    let rows = words(&[&large, &large, &large]);
    for (max_pages, fits) in [(2, false), (3, true), (4, true)] {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let encoder = Encoder::new(ResultFormat::Csv, &rows.schema(), "q")?;
        let mut sink = ResultSink::new(encoder, Arc::clone(&memory), path(), SinkLimits { max_pages, ..STORED }, false);
        let written = sink.write(&rows).await;
        assert_eq!(written.is_ok(), fits);
        if let Err(error) = written {
            assert_eq!(error.kind, ErrorKind::LimitExceeded);
            assert!(finish(sink, None).await.is_err());
            assert!(memory.head(&path()).await.is_err());
        }
    }
    Ok(())
}

#[tokio::test]
async fn faults_of_the_store_are_reported_and_nothing_is_visible() -> Test {
    let large = "x".repeat(1 << 20);
    // Eight parts: more than may be on their way, so that a write sees the failure of an early one.
    let rows = words(&[large.as_str(); 60]);
    for fault in [Fault::Part(0), Fault::Part(1), Fault::Part(2), Fault::Complete, Fault::Truncate] {
        let faulty = Arc::new(FaultyStore::new(fault));
        let store: Arc<dyn ObjectStore> = Arc::clone(&faulty) as Arc<dyn ObjectStore>;
        let mut sink = ResultSink::new(Encoder::new(ResultFormat::Csv, &rows.schema(), "q")?, store, path(), STORED, true);
        let found = match sink.write(&rows).await {
            Ok(()) => finish(sink, None).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(found.is_err(), "{fault:?}");
        assert!(faulty.head(&path()).await.is_err(), "{fault:?}");
        assert_eq!(faulty.aborts(), usize::from(fault != Fault::Truncate), "{fault:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_or_aborted_sink_leaves_nothing() -> Test {
    let large = "x".repeat(1 << 20);
    let rows = words(&[large.as_str(); 20]);
    for is_dropped in [true, false] {
        let faulty = Arc::new(FaultyStore::new(Fault::None));
        let store: Arc<dyn ObjectStore> = Arc::clone(&faulty) as Arc<dyn ObjectStore>;
        let mut sink = ResultSink::new(Encoder::new(ResultFormat::Csv, &rows.schema(), "q")?, store, path(), STORED, false);
        sink.write(&rows).await?;
        assert!(sink.is_stored());
        if is_dropped {
            drop(sink);
            while faulty.aborts() == 0 {
                tokio::task::yield_now().await;
            }
        } else {
            sink.abort().await;
        }
        assert_eq!(faulty.aborts(), 1);
        assert!(faulty.head(&path()).await.is_err());
    }
    Ok(())
}

#[tokio::test]
async fn a_replaced_or_missing_object_is_told() -> Test {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let rows = words(&["a", "b"]);
    let reader = store(Encoder::new(ResultFormat::Json, &rows.schema(), "q")?, &memory, &[rows]).await?;
    let bytes = memory.get(&path()).await?.bytes().await?;
    memory.put(&path(), bytes.into()).await?;
    assert!(reader.page(0).await.is_err_and(|error| error.kind == ErrorKind::Changed));
    assert!(reader.whole().await.is_err_and(|error| error.kind == ErrorKind::Changed));
    memory.delete(&path()).await?;
    assert!(reader.page(0).await.is_err_and(|error| error.kind == ErrorKind::NotFound));
    Ok(())
}

#[tokio::test]
async fn files_hold_results_too() -> Test {
    let folder = tempfile::tempdir()?;
    let files: Arc<dyn ObjectStore> = Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder.path())?);
    let large = "x".repeat(1 << 20);
    for rows in [words(&["a"]), words(&[large.as_str(); 20])] {
        let schema = rows.schema();
        let reader = store(Encoder::new(ResultFormat::Json, &schema, "q")?, &files, std::slice::from_ref(&rows)).await?;
        let whole = gather(reader.whole().await?).await?;
        assert_eq!(parse::document(ResultFormat::Json, &whole, None, &schema)?.len(), rows.num_rows());
        assert_eq!(
            parse::document(ResultFormat::Json, &reader.page(0).await?, None, &schema)?.len() as u64,
            reader.stored().pages[0].rows
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_stored_result_reads_back_from_its_record() -> Test {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let rows = words(&["a", "b"]);
    let reader = store(Encoder::new(ResultFormat::Arrow, &rows.schema(), "q")?, &memory, &[rows]).await?;
    let text = serde_json::to_string(reader.stored())?;
    assert_eq!(serde_json::from_str::<StoredResult>(&text)?, *reader.stored());
    Ok(())
}

#[test]
fn arrow_ends_as_its_writer_ends() -> Test {
    let rows = words(&["a"]);
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &rows.schema())?;
    writer.write(&rows)?;
    let whole = writer.into_inner()?;
    let mut encoder = Encoder::new(ResultFormat::Arrow, &rows.schema(), "q")?;
    let chunks = encoder.batch(&rows)?;
    assert_eq!([encoder.head(), chunks[0].bytes.clone(), encoder.tail(None)].concat(), whole);
    assert_eq!(encoder.tail(None), page_tail(ResultFormat::Arrow, Some(1)));
    Ok(())
}

#[test]
fn text_is_never_longer_than_its_bound() -> Test {
    for seed in 200..300 {
        let mut dice = Dice::new(seed);
        let schema = random_schema(&mut dice);
        for batch in random_batches(&mut dice, &schema) {
            let bound = measure::text_bytes(&expected_arrow(&schema, std::slice::from_ref(&batch))?);
            for format in [ResultFormat::Json, ResultFormat::Ndjson, ResultFormat::Csv] {
                let mut encoder = Encoder::new(format, &schema, "q")?;
                let chunks = encoder.batch(&batch)?;
                let bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len() + encoder.separator().len()).sum();
                assert!(bytes <= bound, "seed {seed} {format}: {bytes} beyond {bound}");
            }
        }
    }
    Ok(())
}

#[test]
fn too_many_columns_are_refused() {
    let name = "x".repeat(PAGE_BYTES / 2);
    let schema = Schema::new(vec![Field::new(name, DataType::Int8, true)]);
    for format in [ResultFormat::Json, ResultFormat::Csv, ResultFormat::Arrow] {
        assert!(Encoder::new(format, &schema, "q").is_err_and(|error| error.kind == ErrorKind::LimitExceeded));
    }
}
