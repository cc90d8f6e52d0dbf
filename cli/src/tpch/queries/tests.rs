//! Query texts, published answers and the judging of hand-made results.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};

use super::*;

fn decimals(values: &[i128], scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, scale).unwrap())
}

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_from_iter(columns.into_iter().enumerate().map(|(index, column)| (format!("c{index}"), column))).unwrap()
}

/// The published answer as a batch of strings, in the given order of rows.
fn published(number: u8, order: impl Fn(&mut Vec<Vec<String>>)) -> RecordBatch {
    let answer = answer(number).unwrap();
    let mut rows = answer.rows;
    order(&mut rows);
    let column = |index: usize| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row[index]))) as ArrayRef;
    batch((0..answer.columns.len()).map(column).collect())
}

#[test]
fn every_query_is_one_statement_without_placeholders() {
    for number in 1..=22 {
        let sql = sql(number).unwrap();
        assert!(sql.starts_with("select") || sql.starts_with("with"), "{sql}");
        assert!(!sql.contains([';', ':']) && !sql.contains("create view"), "{sql}");
    }
    assert!(sql(0).is_none() && sql(23).is_none() && answer(0).is_none() && answer(23).is_none());
    assert!(sql(1).unwrap().contains("l_shipdate <= date '1998-12-01' - interval '90' day\n"));
    assert!(sql(6).unwrap().contains("l_discount between decimal '0.06' - decimal '0.01' and decimal '0.06' + decimal '0.01'"));
    assert!(sql(15).unwrap().starts_with("with revenue0 (supplier_no, total_revenue) as (\n\tselect"));
    assert!(sql(16).unwrap().contains("in (49, 14, 23, 45, 19, 3, 36, 9)"));
    assert!(sql(3).unwrap().ends_with("\nlimit 10"));
}

#[test]
fn each_rule_has_its_column_and_each_order_column_exists() {
    for number in 1..=22 {
        let (answer, query) = (answer(number).unwrap(), query(number).unwrap());
        assert_eq!(query.rules.len(), answer.columns.len(), "query {number}");
        assert!(query.order.iter().all(|&column| column < answer.columns.len()), "query {number}");
        assert!(answer.rows.iter().all(|row| row.len() == answer.columns.len()), "query {number}");
        assert!(query.limit.is_none_or(|limit| answer.rows.len() <= limit), "query {number}");
        let restored = published(number, |rows| {
            if number == 11 {
                rows.iter_mut().for_each(|row| row[0].push_str("60"))
            }
        });
        assert_eq!(check_answer(number, &[restored]), Ok(()));
    }
    let first = answer(10).unwrap();
    assert_eq!(first.rows[0][1], "Customer#000057040");
    assert_eq!(first.rows[0][7], "sits. slyly regular requests sleep alongside of the regular inst");
}

#[test]
fn typed_values_are_judged_by_their_rules() {
    let years = Arc::new(Int32Array::from(vec![1995, 1996])) as ArrayRef;
    let shares = |a, b| batch(vec![Arc::clone(&years), Arc::new(Float64Array::from(vec![a, b]))]);
    assert_eq!(check_answer(8, &[shares(0.034_435_891, 0.041_485_521)]), Ok(()));
    let error = check_answer(8, &[shares(0.035_1, 0.041)]).unwrap_err();
    assert_eq!(error, "query 8: row 1: mkt_share is '0.0351', published '0.03' (Ratio)");

    let modes = strings(&["MAIL", "SHIP"]);
    let counts = |a, b| Arc::new(Int64Array::from(vec![a, b])) as ArrayRef;
    let right = batch(vec![Arc::clone(&modes), counts(6202, 6200), counts(9324, 9262)]);
    assert_eq!(check_answer(12, &[right.slice(0, 1), right.slice(1, 1)]), Ok(()));
    let wrong = batch(vec![modes, counts(6202, 6201), counts(9324, 9262)]);
    assert!(check_answer(12, &[wrong]).unwrap_err().contains("row 2: high_line_count is '6201', published '6200'"));

    let revenue = |cents| batch(vec![decimals(&[cents], 4)]);
    assert_eq!(check_answer(6, &[revenue(1_231_410_782_283)]), Ok(()));
    assert_eq!(check_answer(6, &[revenue(1_231_411_782_000)]), Ok(()));
    assert!(check_answer(6, &[revenue(1_231_412_000_000)]).is_err());
}

#[test]
fn wrong_shapes_fail() {
    assert_eq!(check_answer(6, &[]), Err("query 6: 0 rows, published 1".to_owned()));
    assert_eq!(check_answer(0, &[]), Err("TPC-H has no query 0".to_owned()));
    let two = batch(vec![decimals(&[1], 2), decimals(&[1], 2)]);
    assert_eq!(check_answer(6, &[two]), Err("query 6: 2 columns, published 1".to_owned()));
    let null = batch(vec![Arc::new(Int64Array::from(vec![None]))]);
    assert!(check_answer(6, &[null]).unwrap_err().contains("'NULL'"));
}

#[test]
fn order_counts_except_among_ties() {
    let swapped = published(4, |rows| rows.swap(0, 1));
    assert!(check_answer(4, &[swapped]).unwrap_err().starts_with("query 4: row 1: o_orderpriority"));

    let ties = Query { parameters: &[], limit: None, rules: &[E, E], order: &[1] };
    let row = |name: &str, count: &str| vec![name.to_owned(), count.to_owned()];
    let wanted =
        PublishedAnswer { columns: row("name", "count"), rows: vec![row("a", "2"), row("b", "1"), row("c", "1"), row("c", "1")] };
    assert_eq!(compare(&ties, &wanted, &[row("a", "2"), row("c", "1"), row("b", "1"), row("c", "1")]), Ok(()));
    assert!(compare(&ties, &wanted, &[row("a", "2"), row("c", "1"), row("b", "1"), row("b", "1")]).is_err());
    assert!(compare(&ties, &wanted, &[row("b", "1"), row("a", "2"), row("c", "1"), row("c", "1")]).is_err());
}

#[test]
fn query_11_is_judged_by_the_digits_its_answer_kept() {
    let first = answer(11).unwrap().rows.remove(0);
    assert_eq!(first, ["1297", "17538456.86"], "the crate has repaired its answer: judge the column by Rule::Exact");
    assert!(Cut.accepts("1297", "129760"));
    for wrong in ["1297", "129860", "12976", "", "x"] {
        assert!(!Cut.accepts("1297", wrong), "{wrong}");
    }
    assert!(check_answer(11, &[published(11, |_| {})]).unwrap_err().contains("ps_partkey is '1297'"));
}

#[test]
fn dates_and_padded_strings_are_text() {
    let mut rows = answer(18).unwrap().rows;
    rows.truncate(1);
    let day = Date32Array::from(vec![8862]);
    let columns = batch(vec![
        strings(&["Customer#000128120   "]),
        Arc::new(Int64Array::from(vec![128_120])),
        Arc::new(Int64Array::from(vec![4_722_021])),
        Arc::new(day),
        decimals(&[54_408_909], 2),
        decimals(&[32_300], 2),
    ]);
    let published = PublishedAnswer { columns: answer(18).unwrap().columns, rows };
    let found = texts(&[columns]).unwrap();
    assert_eq!(compare(query(18).unwrap(), &published, &found), Ok(()));
    assert!(!E.accepts("infinity", "inf") && !E.accepts("25-430-914-2194", "25") && E.accepts("323.00", "323"));
}
