//! Snapshots of stage graphs: a wrong plan is seen in the diff.

use engine::settings::Settings;
use tests::cluster::{Cluster, block_on, small_data_settings};
use tests::trap_data;

fn explain(sql: &'static str) -> String {
    let settings = Settings { split_bytes: 1_000, ..small_data_settings(4) };
    let cluster = Cluster::new(settings, trap_data::folder());
    let lines = block_on(async move {
        let answer = cluster.query(&format!("explain {sql}")).await.expect("a plan");
        tests::compare::rows(&answer.batches)
    });
    let lines: Vec<String> = lines.into_iter().flatten().filter(|line| !line.starts_with("estimate")).collect();
    lines.join("\n")
}

#[test]
fn a_grouped_join_with_a_broadcast() {
    insta::assert_snapshot!(explain("select dn, sum(x) from fact join dim on k = dk group by dn order by 2 desc limit 3"));
}

#[test]
fn a_limited_build_side_is_limited_below_its_broadcast() {
    let plan = explain("select count(*) from (select id, k from fact limit 50) b join dim on b.k = dim.dk");
    let broadcast = plan.find("BroadcastExec: ").expect("a broadcast");
    let limit = plan.find("GlobalLimitExec").expect("a limit");
    assert!(limit > broadcast, "{plan}");
    insta::assert_snapshot!(plan);
}

#[test]
fn a_scalar_subquery_is_a_value() {
    insta::assert_snapshot!(explain("select count(*) from fact where id > (select avg(id) from fact)"));
}

#[test]
fn a_union_of_grouped_branches() {
    insta::assert_snapshot!(explain(
        "select k, sum(n) from (select k, count(*) n from fact group by k union all select dk, count(*) from dim group by dk) group by k"
    ));
}
