//! The server's own instruments: each fault strikes as often as told, and the ledger says what happened.

use std::time::Instant;

use super::*;

#[tokio::test]
async fn refusals_fire_as_often_as_asked_and_retries_recover() {
    let (server, client) = server_and_client().await;
    for (failure, status) in [(Failure::SlowDown, 503), (Failure::InternalError, 500)] {
        server.put(BUCKET, "part-1", digits(10));
        server.reset_ledger();
        let fault = Fault::new(Op::Get, "part-", FaultKind::Fail(failure)).skip(1).times(3);
        let id = server.faults().arm(fault);
        for _ in 0..3 {
            assert_eq!(get(&client, "part-1", GetOptions::default()).await.unwrap(), digits(10));
        }
        assert_eq!(server.faults().count(id), FaultCount { seen: 6, fired: 3 });
        assert_eq!(statuses(&server), [200, status, status, status, 200, 200].map(Some));
        assert_eq!(server.ledger().bytes_out, 30);
        server.faults().clear();
    }
    let id = server.faults().arm(Fault::new(Op::Put, "commit", FaultKind::Fail(Failure::Conflict)));
    client.put(&Path::from("commit"), digits(1).into()).await.unwrap_err();
    assert_eq!((server.faults().count(id).fired, server.read(BUCKET, "commit")), (1, None));
    client.put(&Path::from("commit"), digits(1).into()).await.unwrap();
}

#[tokio::test]
async fn budgets_hold_under_concurrency_and_do_not_mix() {
    let (server, _) = server_and_client().await;
    server.put(BUCKET, "key", digits(10));
    let first = server.faults().arm(Fault::new(None, "", FaultKind::Fail(Failure::SlowDown)).times(5));
    let second = server.faults().arm(Fault::new(Op::Get, "key", FaultKind::HangUp).times(4));
    let client = unretried(&server);
    let gets = future::join_all((0..32).map(|_| get(&client, "key", GetOptions::default()))).await;
    assert_eq!(gets.iter().filter(|result| result.is_err()).count(), 9);
    assert_eq!((server.faults().count(first).fired, server.faults().count(second).fired), (5, 4));
    assert_eq!(statuses(&server).iter().filter(|status| status.is_none()).count(), 4);
}

#[tokio::test]
async fn cut_bodies_are_fetched_again() {
    let size = 3 * 1024 * 1024;
    let part = 100_000;
    let whole = size as u64;
    let truncate = |after_bytes| FaultKind::Truncate { after_bytes };
    let reset = FaultKind::Reset { after_bytes: part };
    let resumed = [part, part, whole - 2 * part];
    for (name, kind, per_request, words) in [
        ("truncated", truncate(part), resumed, "IncompleteBody"),
        ("no body", truncate(0), [0, 0, whole], "IncompleteBody"),
        ("reset", reset, resumed, "ConnectionReset"),
        ("hung up", FaultKind::HangUp, [0, 0, whole], "IncompleteMessage"),
    ] {
        let (server, client) = server_and_client().await;
        server.put(BUCKET, "key", digits(size));
        let id = server.faults().arm(Fault::new(Op::Get, "key", kind.clone()).times(2));
        assert_eq!(get(&client, "key", GetOptions::default()).await.unwrap(), digits(size), "{name}");
        assert_eq!(server.faults().count(id), FaultCount { seen: 3, fired: 2 }, "{name}");
        let sent: Vec<u64> = server.ledger().records.iter().map(|record| record.bytes_out).collect();
        assert_eq!(sent, per_request, "{name}");

        let id = server.faults().arm(Fault::new(Op::Get, "key", kind));
        let error = get(&unretried(&server), "key", GetOptions::default()).await.expect_err(name);
        let cause = format!("{error:?}");
        assert!(cause.contains(words), "{name}: {cause}");
        assert_eq!(server.faults().count(id).fired, 1, "{name}");
    }
}

/// object_store 0.13 does not notice this one: whoever reads a range must compare lengths.
#[tokio::test]
async fn a_short_answer_is_well_formed() {
    let (server, client) = server_and_client().await;
    server.put(BUCKET, "key", digits(1000));
    let short = Fault::new(Op::Get, "key", FaultKind::ShortLength { bytes: 60 });
    let id = server.faults().arm(short);
    let answer = client.get_opts(&Path::from("key"), ranged(100..200)).await.unwrap();
    assert_eq!(answer.range, 100..200);
    assert_eq!(answer.bytes().await.unwrap().len(), 60);
    assert_eq!(server.faults().count(id).fired, 1);
    assert_eq!(get(&client, "key", ranged(100..200)).await.unwrap().len(), 100);
    assert_eq!(server.ledger().bytes_out, 160);
}

/// A client that retries a conditional create cannot tell its own write from another's.
#[tokio::test]
async fn a_lost_answer_is_not_a_lost_write() {
    let (server, client) = server_and_client().await;
    let kinds = [(FaultKind::ObeyThenFail(Failure::InternalError), Some(500)), (FaultKind::ObeyThenHangUp, None)];
    for (kind, first_status) in kinds {
        server.remove(BUCKET, "commit");
        server.reset_ledger();
        let id = server.faults().arm(Fault::new(Op::Put, "commit", kind));
        let answer = client.put_opts(&Path::from("commit"), digits(5).into(), PutMode::Create.into()).await;
        assert!(matches!(answer, Err(Error::AlreadyExists { .. })), "{answer:?}");
        assert_eq!(statuses(&server), [first_status, Some(412)]);
        assert_eq!((server.read(BUCKET, "commit"), server.ledger().bytes_in), (Some(digits(5)), 10));
        assert_eq!(server.faults().count(id), FaultCount { seen: 2, fired: 1 });
    }
}

#[tokio::test]
async fn objects_change_under_a_reader() {
    let (server, client) = server_and_client().await;
    server.put(BUCKET, "key", digits(10));
    let id = server.faults().arm(Fault::new(Op::Get, "key", FaultKind::Overwrite(digits(12))).skip(1));
    let first = client.get(&Path::from("key")).await.unwrap();
    let pinned = GetOptions { if_match: first.meta.e_tag.clone(), ..GetOptions::default() };
    assert_eq!(first.bytes().await.unwrap(), digits(10));
    assert!(matches!(get(&client, "key", pinned).await, Err(Error::Precondition { .. })));
    assert_eq!(get(&client, "key", GetOptions::default()).await.unwrap(), digits(12));
    assert_eq!(server.faults().count(id), FaultCount { seen: 3, fired: 1 });
    server.faults().arm(Fault::new(Op::Get, "key", FaultKind::Vanish));
    assert!(matches!(get(&client, "key", GetOptions::default()).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn the_ledger_equals_what_was_sent() {
    let (server, client) = server_and_client().await;
    for key in ["a", "b", "c"] {
        client.put(&Path::from(key), digits(300_000).into()).await.unwrap();
    }
    get(&client, "a", GetOptions::default()).await.unwrap();
    get(&client, "b", ranged(10..20)).await.unwrap();
    get(&client, "missing", GetOptions::default()).await.unwrap_err();
    client.head(&Path::from("a")).await.unwrap();
    client.copy(&Path::from("a"), &Path::from("d")).await.unwrap();
    client.list(None).try_collect::<Vec<_>>().await.unwrap();
    client.delete(&Path::from("a")).await.unwrap();
    let ledger = server.ledger();
    let counts = [ledger.get, ledger.head, ledger.put, ledger.list, ledger.delete, ledger.copy];
    assert_eq!(counts, [3, 1, 3, 1, 1, 1]);
    assert_eq!((ledger.total(), ledger.records.len()), (10, 10));
    assert_eq!((ledger.bytes_in, ledger.bytes_out), (900_000, 300_010));
    assert_eq!(ledger.peak_in_flight, 1);
    let ranged = ledger.of(Op::Get, "b").next().unwrap();
    assert_eq!((ranged.range.as_deref(), ranged.status, ranged.bytes_out), (Some("bytes=10-19"), Some(206), 10));
    assert_eq!((ranged.method.as_str(), ranged.bucket.as_str()), ("GET", BUCKET));

    server.reset_ledger();
    assert_eq!(server.ledger().total(), 0);
    server.faults().set_latency(Duration::from_millis(200));
    future::join_all((0..8).map(|_| get(&client, "b", GetOptions::default()))).await;
    assert_eq!((server.ledger().get, server.ledger().peak_in_flight), (8, 8));
}

#[tokio::test]
async fn latency_and_bandwidth_slow_down() {
    let (server, client) = server_and_client().await;
    server.put(BUCKET, "key", digits(200_000));
    let timed = async || {
        let start = Instant::now();
        assert_eq!(get(&client, "key", GetOptions::default()).await.unwrap(), digits(200_000));
        start.elapsed()
    };
    server.faults().set_latency(Duration::from_millis(120));
    assert!(timed().await >= Duration::from_millis(120));
    server.faults().set_latency(Duration::ZERO);
    server.faults().set_bandwidth(Some(400_000));
    let limited = timed().await;
    assert!(limited >= Duration::from_millis(400), "{limited:?}");
    let start = Instant::now();
    client.put(&Path::from("up"), digits(200_000).into()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    server.faults().clear();
}
