//! `tidewater schema`: for editors, which then complete and check the pipeline file as it is written.

use tidewater::Pipeline;

use crate::{
    exit::{Exit, Failure},
    output::print,
};

/// Prints the JSON Schema of the pipeline file.
///
/// # Errors
/// If it can't be written.
pub fn schema() -> Result<Exit, Failure> {
    print(format!("{}\n", Pipeline::json_schema().trim_end()))?;
    Ok(Exit::Fine)
}
