//! The server seen through object_store's S3 client: it behaves like S3, counts right and fails as told.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3CopyIfNotExists};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    RetryConfig, UpdateVersion,
};

use super::*;

mod failing;

const BUCKET: &str = "bucket";

fn builder(server: &S3Server, max_retries: usize) -> AmazonS3Builder {
    let (init_backoff, max_backoff) = (Duration::from_millis(1), Duration::from_millis(5));
    AmazonS3Builder::new()
        .with_endpoint(server.endpoint())
        .with_allow_http(true)
        .with_region(REGION)
        .with_bucket_name(BUCKET)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .with_retry(RetryConfig {
            backoff: BackoffConfig { init_backoff, max_backoff, base: 2.0 },
            max_retries,
            retry_timeout: Duration::from_secs(30),
        })
}

async fn server_and_client() -> (S3Server, AmazonS3) {
    let server = S3Server::start().await;
    server.create_bucket(BUCKET);
    let client = builder(&server, 5).build().expect("all is set");
    (server, client)
}

fn unretried(server: &S3Server) -> AmazonS3 {
    builder(server, 0).build().expect("all is set")
}

fn digits(size: usize) -> Bytes {
    (0..size).map(|at| b'0' + (at % 10) as u8).collect()
}

fn ranged(range: impl Into<GetRange>) -> GetOptions {
    GetOptions { range: Some(range.into()), ..GetOptions::default() }
}

fn statuses(server: &S3Server) -> Vec<Option<u16>> {
    let ledger = server.ledger();
    ledger.records.iter().map(|record| record.status).collect()
}

async fn get(client: &AmazonS3, key: &str, options: GetOptions) -> object_store::Result<Bytes> {
    client.get_opts(&Path::from(key), options).await?.bytes().await
}

#[tokio::test]
async fn objects_make_the_round_trip() {
    let (server, client) = server_and_client().await;
    for key in ["plain", "a b/ü+c%20d", "k", "k/child"] {
        let path = Path::parse(key).unwrap();
        let metadata = Attributes::from_iter([(Attribute::Metadata("attempt".into()), "7")]);
        client.put_opts(&path, digits(25).into(), metadata.clone().into()).await.unwrap();
        assert_eq!(server.read(BUCKET, key), Some(digits(25)), "{key}");
        let got = client.get(&path).await.unwrap();
        assert_eq!(got.attributes, metadata);
        assert_eq!(got.bytes().await.unwrap(), digits(25));
        let head = client.head(&path).await.unwrap();
        assert_eq!(head.size, 25);
        assert!(head.e_tag.unwrap().starts_with('"'));
    }
    client.copy(&Path::from("plain"), &Path::from("copy")).await.unwrap();
    assert_eq!(server.read(BUCKET, "copy"), Some(digits(25)));
    let copier = builder(&server, 0).with_copy_if_not_exists(S3CopyIfNotExists::Multipart).build().unwrap();
    let (from, to) = (Path::from("plain"), Path::from("copy"));
    assert!(matches!(copier.copy_if_not_exists(&from, &to).await, Err(Error::AlreadyExists { .. })));
    client.delete(&to).await.unwrap();
    copier.copy_if_not_exists(&from, &to).await.unwrap();
    assert_eq!(server.read(BUCKET, "copy"), Some(digits(25)));
    client.put(&Path::from("empty"), Bytes::new().into()).await.unwrap();
    assert_eq!(get(&client, "empty", GetOptions::default()).await.unwrap(), Bytes::new());
    client.delete(&Path::from("empty")).await.unwrap();
    assert!(matches!(client.head(&Path::from("empty")).await, Err(Error::NotFound { .. })));
    let all = client.list(None).map_ok(|meta| meta.location).boxed();
    let deleted: Vec<Path> = client.delete_stream(all).try_collect().await.unwrap();
    assert_eq!((deleted.len(), server.keys(BUCKET, "")), (5, Vec::new()));
}

#[tokio::test]
async fn of_sixteen_creates_one_wins() {
    let (server, client) = server_and_client().await;
    for round in 0..10 {
        let path = Path::from(format!("commit-{round}"));
        let creates = (0..16).map(|writer| {
            let (client, path) = (&client, &path);
            let body = Bytes::from(format!("writer {writer}"));
            async move { client.put_opts(path, body.into(), PutMode::Create.into()).await }
        });
        let results = future::join_all(creates).await;
        let winners: Vec<usize> = (0..16).filter(|writer| results[*writer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Error::AlreadyExists { .. }))));
        let stored = server.read(BUCKET, path.as_ref()).unwrap();
        assert_eq!(stored, Bytes::from(format!("writer {}", winners[0])));
    }
}

#[tokio::test]
async fn stale_conditions_are_refused() {
    let (server, client) = server_and_client().await;
    let path = Path::from("pinned");
    let old = client.put(&path, digits(3).into()).await.unwrap();
    let pinned = GetOptions { if_match: old.e_tag.clone(), ..GetOptions::default() };
    let cached = GetOptions { if_none_match: old.e_tag.clone(), ..GetOptions::default() };
    assert_eq!(get(&client, "pinned", pinned.clone()).await.unwrap(), digits(3));
    assert!(matches!(get(&client, "pinned", cached.clone()).await, Err(Error::NotModified { .. })));

    let version = |e_tag: &Option<String>| PutMode::Update(UpdateVersion { e_tag: e_tag.clone(), version: None });
    let new = client.put_opts(&path, digits(4).into(), version(&old.e_tag).into()).await.unwrap();
    assert_ne!(new.e_tag, old.e_tag);
    let stale: PutOptions = version(&old.e_tag).into();
    let refused = client.put_opts(&path, digits(5).into(), stale.clone()).await;
    assert!(matches!(refused, Err(Error::Precondition { .. })), "{refused:?}");
    assert!(matches!(get(&client, "pinned", pinned).await, Err(Error::Precondition { .. })));
    assert_eq!(get(&client, "pinned", cached).await.unwrap(), digits(4));
    client.put_opts(&Path::from("missing"), digits(1).into(), stale).await.unwrap_err();
    assert_eq!(server.ledger().of(Op::Put, "missing").next().unwrap().status, Some(404));
    assert_eq!(server.ledger().of(Op::Get, "pinned").filter(|record| record.if_match == old.e_tag).count(), 2);
}

#[tokio::test]
async fn ranges_are_as_in_s3() {
    let (server, client) = server_and_client().await;
    server.put(BUCKET, "digits", digits(100));
    assert_eq!(get(&client, "digits", ranged(10..20)).await.unwrap(), digits(10));
    assert_eq!(get(&client, "digits", ranged(GetRange::Offset(90))).await.unwrap(), digits(10));
    assert_eq!(get(&client, "digits", ranged(90..1000)).await.unwrap(), digits(10));
    assert_eq!(get(&client, "digits", ranged(GetRange::Suffix(7))).await.unwrap(), Bytes::from("3456789"));
    assert_eq!(get(&client, "digits", ranged(GetRange::Suffix(700))).await.unwrap(), digits(100));
    let beyond = get(&client, "digits", ranged(100..101)).await.unwrap_err().to_string();
    assert!(beyond.contains("416"), "{beyond}");
    assert_eq!(statuses(&server), [[Some(206); 5].as_slice(), &[Some(416)]].concat());
    assert_eq!(server.ledger().bytes_out, 10 + 10 + 10 + 7 + 100);
}

#[tokio::test]
async fn listings_have_pages_prefixes_and_starts() {
    let (server, client) = server_and_client().await;
    let keys: Vec<String> = (b'a'..=b'z').map(|letter| format!("p/{}", char::from(letter))).collect();
    keys.iter().for_each(|key| server.put(BUCKET, key, digits(2)));
    server.put(BUCKET, "q", digits(2));
    let (mut listed, mut sizes, mut page_token) = (Vec::new(), Vec::new(), None);
    loop {
        let options = PaginatedListOptions { max_keys: Some(7), page_token, ..PaginatedListOptions::default() };
        let page = client.list_paginated(Some("p/"), options).await.unwrap();
        sizes.push(page.result.objects.len());
        listed.extend(page.result.objects);
        page_token = page.page_token;
        if page_token.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [7, 7, 7, 5]);
    assert!(listed.iter().map(|meta| meta.location.as_ref()).eq(keys.iter().map(String::as_str)));
    assert!(listed.iter().all(|meta| meta.e_tag.is_some() && meta.last_modified.timestamp() > 0 && meta.size == 2));
    assert_eq!(server.ledger().list, 4);

    for key in ["r/1/x", "r/1/y", "r/2/x", "r/3"] {
        server.put(BUCKET, key, digits(1));
    }
    let level = client.list_with_delimiter(Some(&Path::from("r"))).await.unwrap();
    assert_eq!(level.common_prefixes, [Path::from("r/1"), Path::from("r/2")]);
    assert_eq!(level.objects.iter().map(|meta| meta.location.as_ref()).collect::<Vec<_>>(), ["r/3"]);
    let late: Vec<_> = client.list_with_offset(None, &Path::from("r/1/y")).try_collect().await.unwrap();
    assert_eq!(late.iter().map(|meta| meta.location.as_ref()).collect::<Vec<_>>(), ["r/2/x", "r/3"]);

    let options = |page_token| PaginatedListOptions {
        max_keys: Some(1),
        delimiter: Some("/".into()),
        page_token,
        ..PaginatedListOptions::default()
    };
    let (mut entries, mut page_token) = (Vec::new(), None);
    loop {
        let page = client.list_paginated(Some("r/"), options(page_token)).await.unwrap();
        entries.extend(page.result.common_prefixes);
        entries.extend(page.result.objects.into_iter().map(|meta| meta.location));
        page_token = page.page_token;
        if page_token.is_none() {
            break;
        }
    }
    assert_eq!(entries, [Path::from("r/1"), Path::from("r/2"), Path::from("r/3")]);
}

#[tokio::test]
async fn only_the_right_keys_are_let_in() {
    let (server, client) = server_and_client().await;
    server.put(BUCKET, "key", digits(1));
    let path = Path::from("key");
    for (id, secret) in [(ACCESS_KEY, "wrong"), ("WRONG", SECRET_KEY)] {
        let intruder = builder(&server, 0).with_access_key_id(id).with_secret_access_key(secret).build().unwrap();
        assert!(matches!(intruder.get(&path).await, Err(Error::PermissionDenied { .. })));
    }
    let anonymous = builder(&server, 0).with_skip_signature(true).build().unwrap();
    assert!(matches!(anonymous.get(&path).await, Err(Error::PermissionDenied { .. })));
    client.get(&path).await.unwrap();
    assert_eq!(statuses(&server), [Some(403), Some(403), Some(403), Some(200)]);
    assert_eq!(server.ledger().bytes_out, 1);
}

#[tokio::test]
async fn multipart_uploads_complete_or_leave_nothing() {
    const PART: usize = 5 * 1024 * 1024;
    let (server, client) = server_and_client().await;
    let mut upload = client.put_multipart(&Path::from("big")).await.unwrap();
    future::try_join(upload.put_part(digits(PART).into()), upload.put_part(digits(10).into())).await.unwrap();
    assert_eq!((server.keys(BUCKET, ""), server.open_uploads(BUCKET)), (vec![], vec!["big".to_owned()]));
    upload.complete().await.unwrap();
    assert_eq!(server.read(BUCKET, "big").unwrap(), [digits(PART), digits(10)].concat());

    let mut upload = client.put_multipart(&Path::from("gone")).await.unwrap();
    upload.put_part(digits(10).into()).await.unwrap();
    upload.abort().await.unwrap();
    assert!(upload.complete().await.is_err());

    let mut upload = client.put_multipart(&Path::from("small")).await.unwrap();
    upload.put_part(digits(10).into()).await.unwrap();
    upload.put_part(digits(10).into()).await.unwrap();
    assert!(upload.complete().await.is_err(), "a part below 5 MiB that is not the last");
    upload.abort().await.unwrap();
    assert_eq!((server.keys(BUCKET, ""), server.open_uploads(BUCKET)), (vec!["big".to_owned()], vec![]));
    let ledger = server.ledger();
    assert_eq!((ledger.put, ledger.bytes_in), (5, (PART + 40) as u64));
    assert_eq!(ledger.of(Op::CreateMultipart, "").count(), 3);
}

#[tokio::test]
async fn a_mounted_directory_is_a_bucket() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("table/year=2024")).unwrap();
    std::fs::write(dir.path().join("table/year=2024/part.bin"), digits(3_000_000)).unwrap();
    std::fs::write(dir.path().join("readme"), "hello").unwrap();
    let server = S3Server::start().await;
    server.mount(BUCKET, dir.path());
    let client = builder(&server, 0).build().unwrap();
    let listed: Vec<_> = client.list(Some(&Path::from("table"))).try_collect().await.unwrap();
    let (key, size) = (listed[0].location.clone(), listed[0].size);
    assert_eq!((listed.len(), key.as_ref(), size), (1, "table/year=2024/part.bin", 3_000_000));
    assert_eq!(client.get_range(&key, 1_000_003..2_500_000).await.unwrap(), digits(3_000_000).slice(1_000_003..2_500_000));
    assert_eq!(get(&client, key.as_ref(), GetOptions::default()).await.unwrap(), digits(3_000_000));
    client.put(&Path::from("table/other"), digits(2).into()).await.unwrap();
    client.put(&Path::from("readme"), digits(2).into()).await.unwrap();
    assert_eq!(server.keys(BUCKET, ""), ["readme", "table/other", "table/year=2024/part.bin"]);
    assert_eq!(server.read(BUCKET, "readme"), Some(digits(2)));
    assert_eq!(std::fs::read(dir.path().join("readme")).unwrap(), b"hello");
    assert!(!dir.path().join("table/other").exists());
}

#[tokio::test]
async fn dropping_the_server_stops_it() {
    let (server, client) = server_and_client().await;
    server.put(BUCKET, "key", digits(1));
    client.get(&Path::from("key")).await.unwrap();
    let client = unretried(&server);
    let address = server.address;
    drop(server);
    client.get(&Path::from("key")).await.unwrap_err();
    TcpStream::connect(address).await.unwrap_err();
}
