//! What columns are beside their values: JSON as a type of its own, and `"$path"`.

use crate::ddl::{World, each};

#[test]
fn rows_tell_their_files_to_who_asks() {
    each(paths);
}

async fn paths(world: World) {
    let (parquet, text) = (world.url("bucket/p%20q/"), world.url("bucket/text/"));
    world
        .run(&[
            &format!(
                "create table p with (external_location = '{parquet}', partitioned_by = array['k']) as
                 select id, id % 3 k from fact where id is not null"
            ),
            &format!(
                "create table c with (format = 'TEXTFILE', external_location = '{text}') as select id, 'x' s from fact limit 10"
            ),
        ])
        .await;
    let files = world.files().into_iter().filter(|file| file.ends_with(".parquet")).map(|file| format!("file://{file}"));
    let mut files: Vec<String> = files.collect();
    files.sort();
    let known = world.sorted(r#"select distinct "$path" from p"#).await;
    assert_eq!(known, files);
    let of_one = r#"select *, length(t."$path") > 0 from p t where "$PATH" like '%/k=1/%' order by id limit 1"#;
    assert_eq!(world.rows(of_one).await, ["1|1|true"]);
    assert_eq!(
        world.rows(r#"select count(*), sum(id) from p where "$path" like '%/k=1/%' and k = 1"#).await,
        world.rows("select count(*), sum(id) from p where k = 1").await
    );
    assert_eq!(world.rows(r#"select count(*), count(distinct "$path") from (select * from c), p where k = 9"#).await, ["0|0"]);
    assert_eq!(world.rows(r#"select s, "$path" like '%/text/%', count(*) from c group by 1, 2"#).await, ["x|true|10"]);
    let both = r#"select c.*, p.* from c join p on c.id = p.id and c."$path" <> p."$path" order by c.id limit 1"#;
    assert_eq!(world.cluster.query(both).await.expect("rows").batches[0].num_columns(), 4);
    world.fails(r#"select * from c, p where c."$path" = p."$path""#, "NOT_SUPPORTED").await;
    world.fails(r#"with p as (select 1 x) select "$path" from p"#, "COLUMN_NOT_FOUND").await;
    world.run(&[r#"create view v as select id, "$path" f from p"#]).await;
    assert_eq!(world.rows("select count(f) from v").await, world.rows("select count(*) from p").await);
    world.fails(r#"select "$path" from v"#, "COLUMN_NOT_FOUND").await;
}

#[test]
fn json_is_written_as_text_only_when_asked() {
    each(json);
}

async fn json(world: World) {
    world.run(&[&format!("create table j with (external_location = '{}') as select 'x' t", world.url("bucket/j"))]).await;
    world.fails("create table n as select json_parse('[1]') a", "Unsupported Hive type: json").await;
    world.fails("insert into j select json_parse('[1]')", "TYPE_MISMATCH").await;
    world.run(&["insert into j select json_format(json_parse('[1, 2]'))", "create view w as select json_parse('\"y\"') v"]).await;
    assert_eq!(world.sorted("select t from j").await, ["[1,2]", "x"]);
    assert_eq!(world.rows("select typeof(v), cast(v as varchar) from w").await, ["json|y"]);
}
