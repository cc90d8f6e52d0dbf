//! The rules for parameters of a deployment: those that the template declares, and those that it cannot say.

use super::Parameters;
use super::template::Parameter;
use crate::figures::count;
use engine::cost::{MB_PER_VCPU, PriceTable};
use engine::settings::Settings;
use regex::Regex;
use std::collections::HashSet;
use std::fmt;

/// Memory of a Lambda function, in MB.
const MEMORY_MB: std::ops::RangeInclusive<u64> = 128..=10_240;
/// Concurrent functions that a new account may run.
const NEW_ACCOUNT_CONCURRENCY: u64 = 10;
/// Concurrent functions that an account may run when AWS has raised that to the usual number.
const USUAL_CONCURRENCY: u64 = 1_000;
/// Concurrency that AWS keeps free of reservations.
const UNRESERVED_CONCURRENCY: u64 = 100;
/// Longest name of a release; it is part of names that AWS limits.
const MAX_RELEASE_CHARS: usize = 10;
/// Partitions that each worker runs at least.
const LEAST_PARTITIONS: u64 = 2;
/// Bucket and prefix that SQL may write to.
const WRITE_PLACE: (&str, &str) = ("WriteBucket", "WritePrefix");
/// Pairs of bucket and prefix that SQL may read.
const DATA_PLACES: [(&str, &str); 3] =
    [("DataBucket", "DataPrefix"), ("DataBucket2", "DataPrefix2"), ("DataBucket3", "DataPrefix3")];

/// Whether a deployment may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong, or may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) parameter: String,
    /// What is wrong, and what to do.
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity} {}: {}", self.parameter, self.text)
    }
}

fn error(parameter: &str, text: impl Into<String>) -> Finding {
    Finding { severity: Severity::Error, parameter: parameter.to_owned(), text: text.into() }
}

fn warning(parameter: &str, text: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, parameter: parameter.to_owned(), text: text.into() }
}

/// What the template itself would refuse, or ignore.
pub(super) fn against_template(given: &Parameters, template: &[Parameter]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if template.is_empty() {
        return findings;
    }
    for name in given.keys().filter(|name| !template.iter().any(|parameter| parameter.name == **name)) {
        let like = template.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name));
        let advice = like.map_or("leave it out".to_owned(), |parameter| format!("write {}", parameter.name));
        findings.push(error(name, format!("the template has no such parameter, {advice}")));
    }
    for parameter in template {
        match (given.get(&parameter.name), &parameter.default) {
            (Some(value), _) => findings.extend(declared(parameter, value).map(|text| error(&parameter.name, text))),
            (None, None) => findings.push(error(&parameter.name, "it has no default, give it a value")),
            (None, Some(_)) => {}
        }
    }
    findings
}

/// What a value breaks of its declaration.
fn declared(parameter: &Parameter, value: &str) -> Option<String> {
    let Parameter { is_number, allowed, min, max, max_length, pattern, .. } = parameter;
    if !allowed.is_empty() && !allowed.iter().any(|one| one == value) {
        return Some(format!("'{value}' is not known, write one of {}", allowed.join(", ")));
    }
    if let Some(most) = max_length.filter(|most| value.chars().count() > *most) {
        return Some(format!("it has more than {most} characters, shorten it"));
    }
    // What this build of regular expressions does not know, CloudFormation judges.
    let pattern = pattern.as_ref().and_then(|pattern| Regex::new(&format!("^(?:{pattern})$")).ok().zip(Some(pattern)));
    if let Some((_, pattern)) = pattern.filter(|(regex, _)| !regex.is_match(value)) {
        return Some(format!("'{value}' does not have the form {pattern}, correct it"));
    }
    if !is_number {
        return None;
    }
    let Ok(number) = value.parse::<i64>() else { return Some(format!("'{value}' is not a whole number, write one")) };
    let bounds = |text: &str| Some(format!("{number} is out of range, write {text}"));
    match (min, max) {
        (Some(min), Some(max)) if number < *min || number > *max => bounds(&format!("{min} to {max}")),
        (Some(min), None) if number < *min => bounds(&format!("{min} or more")),
        (None, Some(max)) if number > *max => bounds(&format!("{max} or less")),
        _ => None,
    }
}

/// What no template can say.
pub(super) fn own(values: &Parameters) -> Vec<Finding> {
    let mut findings = Vec::new();
    memory(values, &mut findings);
    concurrency(values, &mut findings);
    places(values, &mut findings);
    tables(values, &mut findings);
    authentication(values, &mut findings);
    json(values, &mut findings);
    for (name, value) in values.iter().filter(|(name, value)| name.ends_with("Arn") && !value.is_empty()) {
        findings.extend(arn(name, value).map(|text| error(name, text)));
    }
    if let Some(release) = text(values, "Release")
        && !(release.len() <= MAX_RELEASE_CHARS && release.bytes().all(|b| b.is_ascii_alphanumeric()))
    {
        findings.push(error(
            "Release",
            format!("'{release}' is no word of 1 to {MAX_RELEASE_CHARS} letters and digits, date +%s is one"),
        ));
    }
    if let Some(days) = text(values, "ResultRetentionDays")
        && !days.parse::<u64>().is_ok_and(|days| days >= 1)
    {
        findings.push(error("ResultRetentionDays", format!("'{days}' is not a number of days, write 1 or more")));
    }
    if let Some(kind) = text(values, "Architecture")
        && !matches!(kind, "arm64" | "x86_64")
    {
        findings.push(error("Architecture", format!("Lambda has no '{kind}', write arm64 or x86_64 as the zips were built")));
    }
    findings
}

/// A value that is not empty.
fn text<'a>(values: &'a Parameters, name: &str) -> Option<&'a str> {
    values.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn memory(values: &Parameters, findings: &mut Vec<Finding>) {
    for name in ["CoordinatorMemory", "WorkerMemory"] {
        let Some(value) = text(values, name) else { continue };
        let Some(memory) = value.parse().ok().filter(|memory| MEMORY_MB.contains(memory)) else {
            let (least, most) = (MEMORY_MB.start(), count(*MEMORY_MB.end()));
            findings.push(error(name, format!("'{value}' MB is no memory of a function, write {least} to {most}")));
            continue;
        };
        let enough = LEAST_PARTITIONS * MB_PER_VCPU;
        if name == "WorkerMemory" && memory < enough {
            let cpus = memory as f64 / MB_PER_VCPU as f64;
            findings.push(warning(
                name,
                format!(
                    "{} MB give {cpus:.1} vCPU to the {LEAST_PARTITIONS} partitions that a worker runs at least, {} MB give each a whole one",
                    count(memory),
                    count(enough)
                ),
            ));
        }
    }
}

fn concurrency(values: &Parameters, findings: &mut Vec<Finding>) {
    let name = "WorkerConcurrency";
    let Some(value) = text(values, name) else { return };
    let Some(workers) = value.parse::<u64>().ok().filter(|workers| (1..=10_000).contains(workers)) else {
        findings.push(error(name, format!("'{value}' is not a number of workers, write 1 to 10,000")));
        return;
    };
    let coordinators = text(values, "CoordinatorConcurrency").and_then(|value| value.parse().ok()).unwrap_or(0);
    let needed = workers.saturating_add(coordinators);
    let ask = "'aws lambda get-account-settings' shows the account's quota, Service Quotas raises it";
    if workers > NEW_ACCOUNT_CONCURRENCY {
        let new = NEW_ACCOUNT_CONCURRENCY;
        findings
            .push(warning(name, format!("a new account runs {new} functions at once and {} are wanted, {ask}", count(needed))));
    }
    let reserved = needed.saturating_add(UNRESERVED_CONCURRENCY);
    if text(values, "ReserveConcurrency") != Some("true") {
        return;
    }
    let text = format!(
        "to reserve {} for this stack an account needs a quota of at least {} and deploying fails with less, {ask}; or write false",
        count(needed),
        count(reserved)
    );
    if reserved > USUAL_CONCURRENCY || workers > NEW_ACCOUNT_CONCURRENCY {
        findings.push(warning("ReserveConcurrency", text));
    }
}

fn places(values: &Parameters, findings: &mut Vec<Finding>) {
    for (bucket_name, prefix_name) in DATA_PLACES.into_iter().chain([WRITE_PLACE]) {
        let (bucket, prefix) = (text(values, bucket_name), text(values, prefix_name));
        if let Some(bucket) = bucket {
            findings.extend(wrong_bucket(bucket).map(|text| error(bucket_name, text)));
        }
        match prefix {
            Some(_) if bucket.is_none() => {
                findings.push(warning(prefix_name, format!("it is ignored without a bucket, set {bucket_name} or leave it out")));
            }
            Some(prefix) => findings.extend(wrong_prefix(prefix).map(|text| error(prefix_name, text))),
            None => {}
        }
    }
}

fn wrong_bucket(bucket: &str) -> Option<String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = bucket.as_bytes();
    let sound = (3..=63).contains(&bytes.len())
        && bytes.iter().copied().all(inner)
        && outer(bytes.first())
        && outer(bytes.last())
        && !bucket.contains("..");
    if bucket.contains("://") {
        return Some("write the bucket's name alone, without s3:// and without a prefix".to_owned());
    }
    (!sound).then(|| format!("'{bucket}' is no bucket name, write 3 to 63 lower-case letters, digits, dots and hyphens"))
}

fn wrong_prefix(prefix: &str) -> Option<String> {
    if prefix.split('/').any(|part| matches!(part, "." | "..")) {
        return Some(format!("'{prefix}' has a part . or .., name the folder itself"));
    }
    if !prefix.ends_with('/') || prefix.starts_with('/') {
        return Some(format!(
            "'{prefix}' is no folder of a bucket, write it as sales/2026/ with a / at its end and none at its start"
        ));
    }
    prefix
        .contains(['*', '?', '$', ','])
        .then(|| format!("'{prefix}' has one of * ? $ , which have a meaning in policies, rename it"))
}

/// Tables lie where the functions may read.
fn tables(values: &Parameters, findings: &mut Vec<Finding>) {
    let name = "Tables";
    let Some(list) = text(values, name) else { return };
    let places: Vec<String> = DATA_PLACES
        .iter()
        .filter_map(|(bucket, prefix)| {
            Some(format!("s3://{}/{}", text(values, bucket)?, text(values, prefix).unwrap_or_default()))
        })
        .collect();
    let mut seen = HashSet::new();
    for entry in list.split(',').map(str::trim) {
        let Some((table, location)) = entry.split_once('=').filter(|(table, _)| !table.trim().is_empty()) else {
            findings.push(error(name, format!("'{entry}' is not NAME=LOCATION, as in trips=s3://bucket/trips/")));
            continue;
        };
        let table = table.trim();
        if !seen.insert(table.to_lowercase()) {
            findings.push(error(name, format!("the table {table} is there twice, names differ in more than their case")));
        } else if !table.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            findings.push(error(name, format!("'{table}' is no name of a table, write letters, digits and _")));
        } else if !location.starts_with("s3://") {
            findings.push(error(name, format!("the location '{location}' of {table} is no s3:// URL, write one")));
        } else if location.split('/').any(|part| matches!(part, "." | "..")) {
            findings
                .push(error(name, format!("the location '{location}' of {table} has a part . or .., name the folder itself")));
        } else if !places.is_empty() && !places.iter().any(|place| location.starts_with(place)) {
            let places = places.join(", ");
            findings.push(error(
                name,
                format!("the location '{location}' of {table} is in none of {places}, which the functions may read: move it or add a place"),
            ));
        }
    }
}

fn authentication(values: &Parameters, findings: &mut Vec<Finding>) {
    let name = "AuthMode";
    let jwt = ["JwtIssuer", "JwtAudience"];
    match text(values, name) {
        Some("jwt") => {
            for needed in jwt.iter().filter(|needed| text(values, needed).is_none()) {
                findings.push(error(needed, "AuthMode jwt needs it, set it to what your tokens carry"));
            }
            if let Some(issuer) = text(values, "JwtIssuer")
                && !issuer.starts_with("https://")
            {
                findings.push(error("JwtIssuer", format!("'{issuer}' is no https:// URL, write the issuer's")));
            }
        }
        Some("iam") => {
            for unused in jwt.iter().filter(|unused| text(values, unused).is_some()) {
                findings.push(warning(unused, "it is ignored with AuthMode iam, set AuthMode to jwt or leave it out"));
            }
        }
        Some(other) => findings.push(error(name, format!("'{other}' is not known, write iam or jwt"))),
        None => {}
    }
}

/// Settings and prices are JSON in a text.
fn json(values: &Parameters, findings: &mut Vec<Finding>) {
    if let Some(config) = text(values, "Config") {
        let settings = serde_json::from_str::<Settings>(config).map_err(|e| e.to_string());
        if let Err(wrong) = settings.and_then(|settings| settings.validate().map_err(|e| e.message)) {
            findings.push(error("Config", format!("it is not settings in JSON ({wrong}), correct it")));
        }
    }
    if let Some(Err(wrong)) = text(values, "Prices").map(PriceTable::named) {
        findings.push(error("Prices", format!("it names no price table ({}), correct it or leave it out", wrong.message)));
    }
}

/// What is wrong with an ARN: `arn:aws:service:region:account:resource`.
fn arn(name: &str, value: &str) -> Option<String> {
    let (service, example) = if name.contains("Kms") || name.contains("Key") {
        ("kms", "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab")
    } else if name.contains("Topic") {
        ("sns", "arn:aws:sns:eu-west-1:123456789012:alarms")
    } else {
        ("", "arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE")
    };
    let parts: Vec<&str> = value.splitn(6, ':').collect();
    let sound = match parts.as_slice() {
        ["arn", partition, found, region, account, resource] => {
            partition.starts_with("aws")
                && (service.is_empty() || *found == service)
                && !region.is_empty()
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && !resource.is_empty()
                && (service != "kms" || resource.starts_with("key/"))
        }
        _ => false,
    };
    (!sound).then(|| format!("'{value}' is not its ARN, write one like {example}"))
}
