use super::*;
use crate::error::ErrorKind;

fn request() -> TaskRequest {
    TaskRequest {
        protocol_version: PROTOCOL_VERSION,
        build_id: build_id(),
        query_id: vec![7; 16],
        stage: 2,
        task: 1,
        task_count: 4,
        attempt: 3,
        plan: bytes::Bytes::from_static(b"plan"),
        session: vec![SessionOption { key: "k".into(), value: "v".into() }],
        inputs: vec![StageInput { stage: 1, outputs: vec![output()] }],
        pins: vec![PinnedObject { store: "s3://b".into(), path: "p".into(), etag: "e".into() }],
        exchange_url: "file:///x/".into(),
        inline_limit_bytes: 9,
        time_left_ms: 1_000,
        memory_bytes: 1 << 20,
        broadcast: true,
        ..TaskRequest::default()
    }
}

fn output() -> Output {
    Output {
        task: 0,
        partitions: 2,
        schema: bytes::Bytes::from_static(b"s"),
        segments: vec![Segment { bytes: 3, rows: 1, crc32: 0xdead_beef }, Segment::default()],
        location: Some(OutputLocation::Inline(bytes::Bytes::from_static(b"abc"))),
        ..Output::default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes_of_a_request() {
    let fixed = TaskRequest { build_id: "b".into(), ..request() };
    assert_eq!(
        hex(&fixed.to_bytes()),
        "08021201621a100707070707070707070707070707070720022801300438034204706c616e52060a016b1201765a1b0801121710022201732a\
         09080310011defbeadde2a003a03616263620e0a0673333a2f2f621201701a01656a0a66696c653a2f2f2f782f700978e8078001808040900101"
    );
}

#[test]
fn requests_and_outcomes_round_trip() -> Result<()> {
    assert_eq!(TaskRequest::from_bytes(&request().to_bytes())?, request());
    let outcome =
        TaskOutcome { protocol_version: PROTOCOL_VERSION, result: Some(TaskResult::Output(output())), ..TaskOutcome::default() };
    assert_eq!(TaskOutcome::from_bytes(&outcome.to_bytes())?, outcome);
    Ok(())
}

#[test]
fn another_protocol_or_build_is_refused() {
    let other = TaskRequest { protocol_version: PROTOCOL_VERSION + 1, ..request() };
    assert!(TaskRequest::from_bytes(&other.to_bytes()).is_err_and(|e| e.message.contains("task protocol 3")));
    let other = TaskRequest { build_id: "owlet 0".into(), ..request() };
    assert!(TaskRequest::from_bytes(&other.to_bytes()).is_err_and(|e| e.message.contains("one build")));
}

#[test]
fn what_is_taken_out_of_a_request_is_its_plan_and_its_pins() -> Result<()> {
    let mut short = request();
    let taken = TaskRequest::taken_plan(&short.take_plan())?;
    assert_eq!(taken, (request().plan, request().pins));
    assert_eq!(TaskRequest { plan: taken.0, pins: taken.1, ..short }, request());
    Ok(())
}

#[test]
fn damaged_bytes_are_errors() {
    assert!(TaskRequest::taken_plan(b"\xff\xff").is_err());
    assert!(TaskRequest::from_bytes(b"\xff\xff").is_err());
    assert!(TaskOutcome::from_bytes(b"\xff\xff").is_err_and(|e| e.kind == ErrorKind::Unavailable));
}

#[test]
fn every_error_kind_crosses_the_wire() {
    for kind in ErrorKind::ALL {
        let error = Error::new(kind, "m");
        assert_eq!(Error::from(&TaskError::from(&error)), error);
    }
}
