//! `owlet deploy check`: finds what is wrong with the parameters of a deployment before it costs a deployment to learn it.

mod ceiling;
mod parameters;
mod rules;
mod template;

use crate::args::DeployCheckArgs;
use crate::failure::Failure;
use crate::figures::counted;
use crate::print::PrintError;
use rules::{Finding, Severity};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The template that is looked for when none is named.
const USUAL_TEMPLATE: &str = "deploy/template.yaml";

/// Parameters by name.
type Parameters = BTreeMap<String, String>;

/// Prints what is wrong with the parameters, and what they can cost at most.
///
/// # Errors
/// [`Failure::Usage`] when they cannot be read, or have errors.
pub(crate) fn check(args: &DeployCheckArgs) -> Result<(), Failure> {
    let place = |path: &Path, e: &dyn std::fmt::Display| Failure::Usage(format!("'{}': {e}", path.display()));
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| place(path, &e));
    let given = parameters::read(&read(&args.parameters)?).map_err(|e| place(&args.parameters, &e))?;
    let usual = || Some(PathBuf::from(USUAL_TEMPLATE)).filter(|path| path.is_file());
    let template = match args.template.clone().or_else(usual) {
        Some(path) => template::read(&read(&path)?).map_err(|e| place(&path, &e))?,
        None => Vec::new(),
    };
    let (findings, values) = judge(&given, &template);
    let mut lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.extend(ceiling::lines(&values));
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}").map_err(PrintError::from)?;
    }
    match findings.iter().filter(|finding| finding.severity == Severity::Error).count() as u64 {
        0 => Ok(()),
        errors => Err(Failure::Usage(format!(
            "'{}' has {}: correct them before you deploy",
            args.parameters.display(),
            counted(errors, "error")
        ))),
    }
}

/// Everything that is wrong, and the values that a deployment would have.
fn judge(given: &Parameters, template: &[template::Parameter]) -> (Vec<Finding>, Parameters) {
    let mut findings = rules::against_template(given, template);
    let mut values: Parameters =
        template.iter().filter_map(|parameter| Some((parameter.name.clone(), parameter.default.clone()?))).collect();
    values.extend(given.clone());
    findings.extend(rules::own(&values));
    // The template and a rule here may say the same of one parameter.
    let mut seen = std::collections::HashSet::new();
    findings.retain(|finding| finding.severity == Severity::Warning || seen.insert(finding.parameter.clone()));
    (findings, values)
}

#[cfg(test)]
mod tests;
