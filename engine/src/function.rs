//! Settings of a Lambda function, from what its environment says.

use crate::cost::PriceTable;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::Settings;
use std::path::{Path, PathBuf};

/// Reads one environment variable.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Part of a function's memory that operators may reserve, in percent: the rest is code, footers, buffers in flight.
const OPERATOR_MEMORY_PERCENT: usize = 65;
/// Part of a function's memory that outputs may fill before they go to temporary files, in percent.
const OUTPUT_MEMORY_PERCENT: usize = 10;
/// Folder of temporary files: the only one that a function may write to.
const TEMP_DIR: &str = "/tmp/owlet";
/// Part of the temporary storage that spilled rows may fill, in percent.
const TEMP_PERCENT: u64 = 85;
/// Temporary storage of a function that says nothing else, in MB (AWS Lambda's default).
const DEFAULT_EPHEMERAL_MB: u64 = 512;

/// Settings that both functions share: `OWLET_CONFIG` (JSON, as a settings file) under the variables of their own.
///
/// Without `OWLET_DATA_LOCATIONS` SQL may read nothing, without `OWLET_WRITE_LOCATIONS` it may write nothing.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] that names the variable and what is wrong with it.
pub fn settings(variable: Variable<'_>) -> Result<Settings> {
    let mut settings: Settings = match variable("OWLET_CONFIG").filter(|text| !text.trim().is_empty()) {
        Some(text) => serde_json::from_str(&text).map_err(|e| Error::invalid(format!("OWLET_CONFIG: {e}")))?,
        None => Settings::default(),
    };
    let memory_mb = number(variable, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?;
    if let Some(memory_mb) = memory_mb {
        let bytes = usize::try_from(memory_mb << 20).unwrap_or(usize::MAX);
        settings.memory_bytes = (bytes / 100 * OPERATOR_MEMORY_PERCENT).max(64 << 20);
        settings.exchange_buffer_bytes = (bytes / 100 * OUTPUT_MEMORY_PERCENT).max(16 << 20);
    }
    let ephemeral_mb = number(variable, "OWLET_EPHEMERAL_MB")?.unwrap_or(DEFAULT_EPHEMERAL_MB);
    settings.temp_quota_bytes = (ephemeral_mb << 20) / 100 * TEMP_PERCENT;
    let temp_dir = PathBuf::from(variable("OWLET_TEMP_DIR").unwrap_or_else(|| TEMP_DIR.into()));
    settings.temp_dir = Some(prepare_temp_dir(&temp_dir)?);
    settings.data_locations = Some(list(variable, "OWLET_DATA_LOCATIONS"));
    settings.write_locations = list(variable, "OWLET_WRITE_LOCATIONS");
    settings.exchange_url = variable("OWLET_EXCHANGE_URL").or_else(|| variable("OWLET_STATE_URL"));
    if let Some(prices) = variable("OWLET_PRICES").filter(|text| !text.trim().is_empty()) {
        settings.prices = PriceTable::named(&prices).map_err(|e| e.context("OWLET_PRICES"))?;
    }
    settings.s3.endpoint = variable("OWLET_S3_ENDPOINT").or(settings.s3.endpoint);
    settings.s3.region = variable("AWS_REGION").or(settings.s3.region);
    Ok(settings)
}

/// vCPUs of a function with `memory_mb` MB, rounded up; Lambda gives one per 1,769 MB.
pub fn vcpus(memory_mb: u64) -> usize {
    usize::try_from(memory_mb.div_ceil(crate::cost::MB_PER_VCPU)).unwrap_or(1).max(1)
}

/// A variable that holds a whole number.
///
/// # Errors
/// [`ErrorKind::InvalidQuery`] when it holds something else.
pub fn number(variable: Variable<'_>, name: &str) -> Result<Option<u64>> {
    let Some(text) = variable(name).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| Error::invalid(format!("{name}: '{text}' is not a whole number")))
}

/// A variable that holds a list, comma separated; empty when it is not set.
pub fn list(variable: Variable<'_>, name: &str) -> Vec<String> {
    let text = variable(name).unwrap_or_default();
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_string).collect()
}

/// A variable that must be set.
///
/// # Errors
/// [`ErrorKind::NotFound`] with its name.
pub fn required(variable: Variable<'_>, name: &str) -> Result<String> {
    variable(name)
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the environment variable {name} is not set")))
}

/// A folder of this process in `parent`, without those of processes that have ended: a killed one cannot clean up.
fn prepare_temp_dir(parent: &Path) -> Result<PathBuf> {
    let place = |e: std::io::Error| Error::from(e).context(format!("temporary folder '{}'", parent.display()));
    std::fs::create_dir_all(parent).map_err(place)?;
    for entry in std::fs::read_dir(parent).map_err(place)? {
        let entry = entry.map_err(place)?;
        let is_alive = entry.file_name().to_str().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !is_alive {
            // Another process may be at it too.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
    let own = parent.join(std::process::id().to_string());
    std::fs::create_dir_all(&own).map_err(place)?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_lists_come_from_the_environment() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let temp = folder.path().join("t");
        std::fs::create_dir_all(temp.join("999999999"))?;
        std::fs::write(temp.join("999999999/left"), "x")?;
        let variable = |name: &str| match name {
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" => Some("2048".to_string()),
            "OWLET_TEMP_DIR" => temp.to_str().map(str::to_string),
            "OWLET_DATA_LOCATIONS" => Some("s3://a/x/, s3://b".into()),
            "OWLET_WRITE_LOCATIONS" => Some("s3://a/x/new/".into()),
            "OWLET_STATE_URL" => Some("s3://own/owlet".into()),
            "OWLET_CONFIG" => Some(r#"{"split_bytes": 7}"#.into()),
            _ => None,
        };
        let settings = settings(&variable)?;
        assert_eq!((settings.split_bytes, settings.memory_bytes), (7, (2_048 << 20) / 100 * 65));
        assert_eq!(settings.data_locations, Some(vec!["s3://a/x/".into(), "s3://b".into()]));
        assert_eq!(settings.write_locations, vec!["s3://a/x/new/".to_string()]);
        assert_eq!(settings.exchange_url.as_deref(), Some("s3://own/owlet"));
        let left: Vec<_> = std::fs::read_dir(&temp)?.flatten().map(|entry| entry.path()).collect();
        assert_eq!(Some(left), settings.temp_dir.map(|own| vec![own]));
        Ok(())
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let config = |name: &str| (name == "OWLET_CONFIG").then(|| "{\"no_such\": 1}".to_string());
        assert!(settings(&config).is_err_and(|e| e.message.contains("OWLET_CONFIG") && e.message.contains("no_such")));
        let memory = |name: &str| (name == "AWS_LAMBDA_FUNCTION_MEMORY_SIZE").then(|| "much".to_string());
        assert!(settings(&memory).is_err_and(|e| e.message.contains("MEMORY_SIZE")));
    }

    #[test]
    fn part_of_a_vcpu_counts() {
        assert_eq!([vcpus(128), vcpus(1_769), vcpus(1_770), vcpus(10_240)], [1, 1, 2, 6]);
    }
}
