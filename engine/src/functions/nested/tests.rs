//! The same rows in one phase, in two phases over many partitions, and after a trip over the wire.

use crate::functions::Functions;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, Int64Builder, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::bytes::{physical_plan_from_bytes, physical_plan_to_bytes};
use std::sync::Arc;

/// 24 rows: `id` 0..24, `g` of three groups, `s` text with NULLs, `x` double with NULL and NaN, `arr` lists with NULLs.
fn batch() -> RecordBatch {
    let ids: Vec<i64> = (0..24).collect();
    let texts = ids.iter().map(|id| (id % 5 != 0).then(|| format!("s{}", id % 7)));
    let doubles = ids.iter().map(|id| match id {
        3 => None,
        4 => Some(f64::NAN),
        id => Some(*id as f64 / 2.0),
    });
    let lists = ids.iter().map(|id| match id % 6 {
        0 => None,
        length => Some((0..length - 1).map(|i| (i != 2).then_some(id + i)).collect::<Vec<_>>()),
    });
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("g", Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id % 3)))),
        ("s", Arc::new(texts.collect::<StringArray>())),
        ("x", Arc::new(doubles.collect::<Float64Array>())),
        ("arr", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).expect("a batch")
}

/// A session whose table has as many partitions, each with batches of one row if there are several.
fn session(partitions: usize) -> Result<SessionContext> {
    let mut config =
        SessionConfig::new().with_target_partitions(partitions).with_batch_size(if partitions > 1 { 2 } else { 8192 });
    config.options_mut().set("datafusion.sql_parser.dialect", "duckdb")?;
    let builder = SessionStateBuilder::new().with_config(config).with_default_features();
    let context = SessionContext::new_with_state(Functions::all().register(builder).build());
    let all = batch();
    let part = |partition: usize| match partitions {
        1 => vec![all.clone()],
        _ => (0..all.num_rows()).filter(|row| row % partitions == partition).map(|row| all.slice(row, 1)).collect(),
    };
    let table = MemTable::try_new(all.schema(), (0..partitions).map(part).collect())?;
    context.register_table("t", Arc::new(table))?;
    Ok(context)
}

/// The answer as text, and the physical plan.
async fn answer(partitions: usize, wire: bool, sql: &str) -> Result<(String, String)> {
    let context = session(partitions)?;
    let mut plan = context.sql(sql).await?.create_physical_plan().await?;
    if wire {
        let bytes = physical_plan_to_bytes(plan)?;
        plan = physical_plan_from_bytes(&bytes, &context.task_ctx())?;
    }
    let shown = displayable(plan.as_ref()).indent(true).to_string();
    let batches = collect(plan, context.task_ctx()).await?;
    Ok((pretty_format_batches(&batches)?.to_string(), shown))
}

async fn same_everywhere(sql: &str) {
    let (one, _) = answer(1, false, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    for (partitions, wire) in [(4, false), (1, true), (4, true)] {
        let (other, plan) = answer(partitions, wire, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(one, other, "{sql} with {partitions} partitions, wire {wire}\n{plan}");
        let aggregates = sql.contains("GROUP BY g");
        assert!(!aggregates || partitions == 1 || plan.contains("mode=FinalPartitioned"), "two phases expected\n{plan}");
    }
}

#[tokio::test]
async fn states_of_aggregates_merge() {
    let aggregates = [
        "sum(id), sum(DISTINCT id % 4), sum(id) FILTER (WHERE id > 8), sum(arr[1])",
        "sum(CAST(id AS REAL)), sum(x) FILTER (WHERE id > 8)",
        "sum(CAST(id AS DECIMAL(10, 2))) AS d, sum(CASE WHEN g > 0 THEN id END)",
        "max_by(s, id), min_by(s, id), max_by(id, x), min_by(id, x), max_by(id, x, 2), min_by(id, x, 30)",
        "max(id, 3), min(id, 3), max(s, 2), max(x), min(x), max(id), min(s), max(x) FILTER (WHERE id = 4)",
        "array_sort(map_keys(map_agg(id, s))), array_sort(map_keys(multimap_agg(s, id)))",
        "array_sort(element_at(multimap_agg(s, id), 's1')), element_at(histogram(s), 's1'), array_sort(map_keys(histogram(s)))",
        "array_sort(set_agg(s)), array_sort(set_union(arr)), array_sort(map_keys(map_union(map(ARRAY[id], ARRAY[s]))))",
        "element_at(histogram(DISTINCT s), 's2'), count_if(id > 8), count_if(DISTINCT id > 8), every(id >= 0)",
        "approx_distinct(id), approx_distinct(x), approx_distinct(s, 0.02e0), approx_distinct(arr)",
        "approx_percentile(id, 0.5), approx_percentile(id, ARRAY[0.0, 0.25, 1.0]), approx_percentile(id, id + 1, 0.9)",
        "round(skewness(id), 9), round(kurtosis(id), 9), round(geometric_mean(id + 1), 9), round(entropy(id), 9)",
        "array_agg(id ORDER BY id DESC), array_agg(id ORDER BY id), array_agg(s ORDER BY id DESC) FILTER (WHERE id > 5)",
        "string_agg(s, ',' ORDER BY id DESC), count(DISTINCT s), array_sort(array_agg(DISTINCT s)), first_value(s ORDER BY id)",
        "round(avg(id), 9), round(variance(id), 9), round(stddev_pop(id), 9), round(corr(id, id * id), 9)",
        "bitwise_and_agg(id), bitwise_or_agg(id), bitwise_xor_agg(id)",
    ];
    for columns in aggregates {
        same_everywhere(&format!("SELECT g, {columns} FROM t GROUP BY g ORDER BY g")).await;
        same_everywhere(&format!("SELECT {columns} FROM t")).await;
        same_everywhere(&format!("SELECT {columns} FROM t WHERE id > 1000")).await;
    }
}

#[tokio::test]
async fn lambdas_travel() {
    let lambdas = [
        "transform(arr, v -> v + id)",
        "filter(arr, v -> v > id + 1)",
        "any_match(arr, v -> v > id), all_match(arr, v -> v > 0), none_match(arr, v -> v > 20)",
        "reduce(arr, g, (a, v) -> a + coalesce(v, 0) * id, a -> a + x)",
        "zip_with(arr, ARRAY[id, g], (a, b) -> a * b + id)",
        "map_filter(map(ARRAY[id], ARRAY[x]), (k, v) -> k > g), transform_values(map(ARRAY[id], ARRAY[s]), (k, v) -> k + g)",
        "transform_keys(map(ARRAY[id], ARRAY[x]), (k, v) -> k + g)",
        "map_zip_with(map(ARRAY[id], ARRAY[x]), map(ARRAY[g], ARRAY[s]), (k, a, b) -> coalesce(b, 'none'))",
        "array_sort_by(arr, (a, b) -> CASE WHEN b IS NULL OR a > b THEN -1 WHEN a = b THEN 0 ELSE 1 END)",
        "transform(arr, v -> reduce(arr, v, (a, w) -> a + coalesce(w, id), a -> a * g))",
        "cardinality(shuffle(arr)), slice(arr, -2, 2), ngrams(arr, 2), zip(arr, ARRAY[s]), sequence(id, id + 2)",
    ];
    for columns in lambdas {
        same_everywhere(&format!("SELECT id, {columns} FROM t ORDER BY id")).await;
    }
    same_everywhere("SELECT g, sum(reduce(arr, 0, (a, v) -> a + coalesce(v, 0), a -> a)) FROM t GROUP BY g ORDER BY g").await;
    same_everywhere("SELECT a.id, transform(a.arr, v -> v + b.g) FROM t a JOIN t b ON a.id = b.id + 1 ORDER BY a.id").await;
    same_everywhere("SELECT id FROM t WHERE any_match(arr, v -> v = id + 1) ORDER BY id").await;
}

#[tokio::test]
async fn sums_of_bigints_overflow() {
    for sql in [
        "SELECT sum(9223372036854775807) FROM t",
        "SELECT g, sum(9223372036854775807) FROM t GROUP BY g",
        "SELECT sum(DISTINCT 9223372036854775807 - id % 2) FROM t",
        "SELECT sum(9223372036854775807) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
    ] {
        for partitions in [1, 4] {
            let error = answer(partitions, false, sql).await.expect_err(sql);
            assert!(error.to_string().contains("bigint addition overflow"), "{sql}: {error}");
        }
    }
    let (fits, _) = answer(4, false, "SELECT sum(DISTINCT 9223372036854775807 * (id % 2 * 2 - 1)) FROM t").await.expect("a sum");
    assert!(fits.contains(" 0 "), "{fits}");
}

#[tokio::test]
async fn windows_travel() {
    for columns in [
        "row_number() OVER (ORDER BY id) - 1, rank() OVER (ORDER BY g) - 5, dense_rank() OVER (ORDER BY g), ntile(5) OVER (ORDER BY id)",
        "lag(id, 2) OVER (ORDER BY id DESC), lead(id, 1, -1) OVER (PARTITION BY g ORDER BY id), nth_value(id, 2) OVER (ORDER BY id)",
        "sum(id) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), max(x) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
        "lag(id) OVER (ORDER BY id DESC), lag(id) OVER (ORDER BY id), lead(id, 2) OVER (ORDER BY id), lead(id, 3) OVER (ORDER BY id DESC)",
        "lag(id) OVER (ORDER BY g DESC, id DESC), lead(id) OVER (PARTITION BY g ORDER BY id), row_number() OVER (ORDER BY id DESC)",
        "first_value(id) OVER (ORDER BY id DESC), first_value(id) OVER (ORDER BY id), last_value(id) OVER (ORDER BY id), last_value(id) OVER (ORDER BY id DESC)",
        "array_agg(id) OVER (ORDER BY id), array_agg(id) OVER (ORDER BY id DESC)",
        "array_agg(id) OVER (ORDER BY id), lag(id) OVER (ORDER BY id DESC)",
        "rank() OVER (ORDER BY id DESC), rank() OVER (ORDER BY id), cume_dist() OVER (ORDER BY id DESC), percent_rank() OVER (ORDER BY id)",
        "max_by(s, id) OVER (ORDER BY id), map_agg(g, id) OVER (PARTITION BY g ORDER BY id), approx_distinct(s) OVER (ORDER BY id)",
        "count_if(id > 5) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), approx_percentile(id, 0.5) OVER (ORDER BY id)",
    ] {
        same_everywhere(&format!("SELECT id, {columns} FROM t ORDER BY id")).await;
    }
    for sql in ["SELECT lag(id, -1) OVER (ORDER BY id) FROM t", "SELECT nth_value(id, 0) OVER (ORDER BY id) FROM t"] {
        let error = answer(1, true, sql).await.expect_err(sql);
        assert!(error.to_string().contains("Offset must be at least"), "{sql}: {error}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn every_spelling_of_a_list_is_taken() {
    let context = session(1).expect("a session");
    let all = batch();
    let plain = all.column(4);
    let list_of = |item: DataType| DataType::List(Arc::new(Field::new("element", item, true)));
    let large = DataType::LargeList(Arc::new(Field::new("item", DataType::Int64, true)));
    let words = cast(plain, &list_of(DataType::Utf8)).expect("words");
    let views = cast(&words, &list_of(DataType::Utf8View)).expect("views");
    let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let dictionaries = cast(&words, &list_of(coded.clone())).expect("dictionaries");
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for id in 0..all.num_rows() as i64 {
        maps.keys().append_value("k");
        maps.values().append_value(id);
        maps.append(id % 4 != 0).expect("a map");
    }
    let columns: [(&str, ArrayRef); 10] = [
        // This builder calls the fields by other names than DataFusion does.
        ("m", Arc::new(maps.finish())),
        ("id", Arc::clone(all.column(0))),
        ("arr", Arc::clone(plain)),
        ("large", cast(plain, &large).expect("a large list")),
        ("words", words),
        ("views", views),
        ("dictionaries", dictionaries),
        ("d", cast(all.column(2), &coded).expect("a dictionary")),
        ("v", cast(all.column(2), &DataType::Utf8View).expect("a view")),
        ("s", Arc::clone(all.column(2))),
    ];
    let table = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).expect("a batch");
    context.register_batch("u", table).expect("a table");
    let same = [
        (
            "arr",
            "large",
            "contains(#, id), array_sort(#), slice(#, 1, 2), cardinality(#), transform(#, v -> v + id), array_join(#, ',')",
        ),
        ("words", "views", "contains(#, '7'), array_distinct(#), element_at(#, 1), array_join(#, ','), filter(#, v -> v > '1')"),
        (
            "words",
            "dictionaries",
            "contains(#, '7'), array_union(#, ARRAY['a']), array_max(#), array_join(#, ','), any_match(#, v -> v = '7')",
        ),
        ("s", "d", "contains(ARRAY['s1'], #), repeat(#, 2), map(ARRAY[id], ARRAY[#])"),
        (
            "s",
            "v",
            "contains(ARRAY['s1'], #), repeat(#, 2), map(ARRAY[#, 'x'], ARRAY[id, 0]), element_at(map(ARRAY['s1'], ARRAY[1]), #)",
        ),
    ];
    for (one, other, columns) in same {
        let run = async |name: &str| {
            let sql = format!("SELECT {} FROM u WHERE s IS NOT NULL ORDER BY id", columns.replace('#', name));
            let frame = context.sql(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let batches = frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let text = pretty_format_batches(&batches).expect("a table").to_string();
            text.lines()
                .filter(|line| !line.starts_with('+'))
                .skip(1)
                .map(|line| line.split_whitespace().collect::<String>())
                .collect::<Vec<_>>()
        };
        assert_eq!(run(one).await, run(other).await, "{columns}");
    }
    let maps = "SELECT id, cardinality(m), element_at(m, 'k'), map_keys(m), element_at(transform_values(m, (k, v) -> v + id), 'k'), \
                element_at(map_concat(m, map(ARRAY['k'], ARRAY[7])), 'k') FROM u WHERE id IN (4, 5) ORDER BY id";
    let batches = context.sql(maps).await.expect("a plan").collect().await.expect("rows");
    let text = pretty_format_batches(&batches).expect("a table").to_string();
    let words = |line: &str| line.split_whitespace().collect::<String>();
    let rows: Vec<String> = text.lines().skip(3).map(words).collect();
    assert_eq!(rows[..2], ["|4||||||", "|5|1|5|[k]|10|7|"], "{text}");
    let sum = "SELECT max_by(v, id), max_by(d, id), max(v, 2), element_at(histogram(d), 's1'), approx_distinct(v), approx_distinct(d), array_sort(map_keys(histogram(v))) FROM u";
    let batches = context.sql(sum).await.expect("a plan").collect().await.expect("rows");
    let text = pretty_format_batches(&batches).expect("a table").to_string();
    assert!(text.contains("| s2 ") && text.contains("[s0, s1, s2, s3, s4, s5, s6]"), "{text}");
}
