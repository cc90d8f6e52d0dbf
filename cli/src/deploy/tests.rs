//! Findings for good and bad parameters, and the template of this repository.

use super::rules::{Finding, Severity};
use super::{Parameters, judge, template};

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

const TEMPLATE: &str = "Parameters:\n  Release:\n    Type: String\n  WorkerMemory:\n    Type: Number\n    Default: 3538\n\
    \x20   MinValue: 512\n    MaxValue: 10240\n  WorkerConcurrency:\n    Type: Number\n    Default: 8\n";

#[test]
fn what_the_template_refuses_is_found() -> Result<(), String> {
    let template = template::read(TEMPLATE)?;
    let given = parameters(&[("workermemory", "1"), ("WorkerMemory", "100"), ("WorkerConcurrency", "many")]);
    let found = lines(&judge(&given, &template).0);
    assert_eq!(
        found,
        [
            "error workermemory: the template has no such parameter, write WorkerMemory",
            "error Release: it has no default, give it a value",
            "error WorkerMemory: 100 is out of range, write 512 to 10240",
            "error WorkerConcurrency: 'many' is not a whole number, write one",
        ]
    );
    let (good, values) = judge(&parameters(&[("Release", "1")]), &template);
    assert!(good.is_empty() && values.get("WorkerMemory").map(String::as_str) == Some("3538"), "{good:?}");
    Ok(())
}

#[test]
fn each_rule_names_its_parameter() {
    let key = "arn:aws:kms:eu-west-1:123456789012:key/12ab";
    let cases: [(&str, &str, Severity); 28] = [
        ("WorkerMemory", "20000", Severity::Error),
        ("CoordinatorMemory", "2 GB", Severity::Error),
        ("WorkerMemory", "1024", Severity::Warning),
        ("WorkerConcurrency", "0", Severity::Error),
        ("WorkerConcurrency", "64", Severity::Warning),
        ("DataBucket", "s3://bucket", Severity::Error),
        ("DataBucket2", "My_Bucket", Severity::Error),
        ("DataPrefix", "a/../b/", Severity::Error),
        ("DataPrefix", "a", Severity::Error),
        ("DataPrefix", "/a/", Severity::Error),
        ("DataPrefix", "a*/", Severity::Error),
        ("DataPrefix3", "a/", Severity::Warning),
        ("Tables", "t", Severity::Error),
        ("Tables", "t=/tmp/x", Severity::Error),
        ("Tables", "t=s3://bucket/../x", Severity::Error),
        ("Tables", "t=s3://other/x", Severity::Error),
        ("Tables", "t=s3://bucket/x, T=s3://bucket/y", Severity::Error),
        ("Tables", "a b=s3://bucket/x", Severity::Error),
        ("WriteBucket", "s3://bucket", Severity::Error),
        ("WritePrefix", "new/", Severity::Warning),
        ("Release", "2026-11-24", Severity::Error),
        ("Release", "12345678901", Severity::Error),
        ("ResultRetentionDays", "0", Severity::Error),
        ("Architecture", "mips", Severity::Error),
        ("KmsKeyArn", "arn:aws:kms:eu-west-1:123:key/1", Severity::Error),
        ("AlarmTopicArn", key, Severity::Error),
        ("AuthMode", "open", Severity::Error),
        ("Config", r#"{"wrokers": 1}"#, Severity::Error),
    ];
    for (name, value, severity) in cases {
        let mut given = parameters(&[("DataBucket", "bucket")]);
        given.insert(name.to_owned(), value.to_owned());
        let (found, _) = judge(&given, &[]);
        let [finding] = found.as_slice() else { panic!("{name}={value}: {found:?}") };
        assert_eq!((finding.parameter.as_str(), finding.severity), (name, severity), "{finding}");
    }
    let good = parameters(&[
        ("DataBucket", "my.data-1"),
        ("DataPrefix", "sales/"),
        ("Tables", "t=s3://my.data-1/sales/t/, u=s3://my.data-1/sales/u.parquet"),
        ("KmsKeyArn", key),
        ("DataKmsKeyArn", ""),
        ("AlarmTopicArn", "arn:aws-us-gov:sns:us-gov-west-1:123456789012:alarms"),
        ("WorkerMemory", "3538"),
        ("WorkerConcurrency", "10"),
        ("Config", r#"{"split_bytes": 1000}"#),
    ]);
    assert_eq!(lines(&judge(&good, &[]).0), Vec::<String>::new());
}

#[test]
fn patterns_of_the_template_are_tried() -> Result<(), String> {
    let template =
        template::read("Parameters:\n  Code:\n    Type: String\n    Default: \"\"\n    AllowedPattern: \"^$|^[a-c]+$\"\n")?;
    for (value, fits) in [("", true), ("abc", true), ("abd", false), ("ab\nc", false)] {
        let found = lines(&judge(&parameters(&[("Code", value)]), &template).0);
        assert_eq!(found.is_empty(), fits, "{value}: {found:?}");
        assert!(fits || found[0].contains("^[a-c]+$"), "{found:?}");
    }
    Ok(())
}

#[test]
fn tokens_and_signatures_need_their_own_parameters() {
    let found = lines(&judge(&parameters(&[("AuthMode", "jwt"), ("JwtIssuer", "http://x")]), &[]).0);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|line| line.starts_with("error Jwt")), "{found:?}");
    let found = lines(&judge(&parameters(&[("AuthMode", "iam"), ("JwtIssuer", "https://x")]), &[]).0);
    assert!(found.iter().all(|line| line.starts_with("warning JwtIssuer")) && found.len() == 1, "{found:?}");
}

#[test]
fn a_reservation_needs_more_than_a_new_account_has() {
    let given = [("WorkerConcurrency", "64"), ("CoordinatorConcurrency", "10"), ("ReserveConcurrency", "true")];
    let found = lines(&judge(&parameters(&given), &[]).0);
    assert!(
        found.iter().any(|line| line.starts_with("warning ReserveConcurrency") && line.contains("at least 174")),
        "{found:?}"
    );
}

#[test]
fn the_template_of_this_repository_is_understood() -> Result<(), Box<dyn std::error::Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/template.yaml");
    let template = template::read(&std::fs::read_to_string(path)?)?;
    let given = parameters(&[("Release", "1764000000"), ("DataBucket", "my-data"), ("WorkerConcurrency", "8")]);
    let errors: Vec<String> = lines(&judge(&given, &template).0).into_iter().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors, Vec::<String>::new());
    for name in ["WorkerMemory", "WorkerConcurrency", "ResultRetentionDays", "AuthMode", "Architecture", "ReserveConcurrency"] {
        assert!(template.iter().any(|parameter| parameter.name == name), "{name}");
    }
    Ok(())
}
