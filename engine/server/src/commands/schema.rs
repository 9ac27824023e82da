//! `tidewater schema`: for editors, which then complete and check the pipeline file as it is written.

use tidewater::Pipeline;

use crate::{
    exit::{Exit, Failure},
    output::Output,
};

/// Prints the JSON Schema of the pipeline file.
///
/// # Errors
/// If it can't be written.
pub fn schema() -> Result<Exit, Failure> {
    let mut output = Output::open(None)?;
    output.write(Pipeline::json_schema().trim_end().as_bytes())?;
    output.write(b"\n")?;
    output.finish()?;
    Ok(Exit::Fine)
}
