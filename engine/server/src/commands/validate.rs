//! `tidewater validate`: everything that is wrong with a file in one go, for people or for programs.

use std::path::PathBuf;

use serde_json::json;
use tidewater::{PipelineErrors, pipeline::Pipeline};

use crate::{
    exit::{Exit, Failure},
    output::print,
};

/// What `validate` can be told.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// The pipeline file.
    #[arg(default_value = super::DEFAULT_FILE)]
    pub file: PathBuf,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub format: ValidateFormat,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ValidateFormat {
    /// For people: mistakes on standard error, each with its line.
    #[default]
    Text,
    /// One JSON object on standard output.
    Json,
}

/// Checks a pipeline file.
///
/// # Errors
/// Everything that is wrong with it, with exit code 1.
pub fn validate(args: &ValidateArgs) -> Result<Exit, Failure> {
    let loaded = super::load(&args.file);
    match args.format {
        ValidateFormat::Json => {
            let text = as_json(&args.file.display().to_string(), &loaded);
            print(format!("{text}\n"))?;
            Ok(if loaded.is_ok() { Exit::Fine } else { Exit::Differences })
        }
        ValidateFormat::Text => match loaded {
            Ok(pipeline) => {
                print(summary(&args.file.display().to_string(), &pipeline))?;
                Ok(Exit::Fine)
            }
            Err(errors) => {
                let count = match errors.len() {
                    1 => "1 mistake".to_owned(),
                    count => format!("{count} mistakes"),
                };
                let file = args.file.display();
                Err(Failure::new(Exit::Differences, format!("{file} has {count}\n\n{errors}")))
            }
        },
    }
}

fn summary(file: &str, pipeline: &Pipeline) -> String {
    let spec = pipeline.spec();
    let parts = [
        (pipeline.sources().len(), "source"),
        (spec.identifiers.len(), "identifier"),
        (spec.traits.len(), "trait"),
        (spec.segments.len(), "segment"),
        (pipeline.sinks().len(), "sink"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .map(|(count, what)| format!("{count} {what}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    format!("{file} is valid: {}\n", parts.join(", "))
}

fn as_json(file: &str, loaded: &Result<Pipeline, PipelineErrors>) -> String {
    let errors: Vec<serde_json::Value> = loaded
        .as_ref()
        .err()
        .into_iter()
        .flatten()
        .map(|error| {
            json!({
                "kind": format!("{:?}", error.kind),
                "file": error.file,
                "line": error.line(),
                "column": error.column(),
                "path": error.path,
                "message": error.message,
                "hint": error.hint,
            })
        })
        .collect();
    json!({ "file": file, "valid": loaded.is_ok(), "errors": errors }).to_string()
}
