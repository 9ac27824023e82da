//! CSV (RFC 4180) with a column for each identifier and trait. Several values of one identifier stand in one cell, one
//! a line: no value that people type has a line break in it.

use tidewater_model::{Value, profile::Profile};

use super::{IdentityRow, MembershipRow, Names, Rows};
use crate::{exit::Failure, output::Output};

pub(super) struct Csv {
    identifiers: Vec<String>,
    line: Vec<u8>,
}

impl Csv {
    pub(super) fn new(names: &Names) -> Self {
        Self { identifiers: names.identifiers.clone(), line: Vec::new() }
    }

    fn row<'a>(
        &mut self,
        output: &mut Output,
        cells: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        self.line.clear();
        write_row(&mut self.line, cells);
        output.write(&self.line)
    }
}

/// Appends a line; a cell is in quotes where it must be.
pub(super) fn write_row<'a>(line: &mut Vec<u8>, cells: impl IntoIterator<Item = &'a str>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        if cell.contains(['"', ',', '\n', '\r']) {
            line.push(b'"');
            line.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            line.push(b'"');
        } else {
            line.extend_from_slice(cell.as_bytes());
        }
    }
    line.extend_from_slice(b"\r\n");
}

impl Rows for Csv {
    fn memberships(&mut self, output: &mut Output, rows: &[MembershipRow<'_>]) -> Result<(), Failure> {
        let identifiers = self.identifiers.clone();
        let names = identifiers.iter().map(String::as_str);
        self.row(output, ["segment", "profile", "since"].into_iter().chain(names))?;
        for row in rows {
            let (profile, since) = (row.profile.id.to_string(), row.since.to_string());
            let values = joined(row.profile);
            let cells = [row.segment, &profile, &since].into_iter().chain(values.iter().map(String::as_str));
            self.row(output, cells)?;
        }
        Ok(())
    }

    fn profiles(&mut self, output: &mut Output, names: &Names, rows: &[Profile]) -> Result<(), Failure> {
        let columns = names.identifiers.iter().chain(&names.traits).map(String::as_str);
        self.row(output, ["profile"].into_iter().chain(columns))?;
        for profile in rows {
            let id = profile.id.to_string();
            let values = joined(profile);
            let traits: Vec<String> = profile.traits.iter().map(cell_of).collect();
            let cells = values.iter().chain(&traits).map(String::as_str);
            self.row(output, [id.as_str()].into_iter().chain(cells))?;
        }
        Ok(())
    }

    fn identities(&mut self, output: &mut Output, rows: &[IdentityRow<'_>]) -> Result<(), Failure> {
        self.row(output, ["identifier", "value", "profile"])?;
        for row in rows {
            self.row(output, [row.identifier, row.value, &row.profile.to_string()])?;
        }
        Ok(())
    }
}

fn joined(profile: &Profile) -> Vec<String> {
    profile.identifiers.iter().map(|values| values.join("\n")).collect()
}

/// A value as a cell: nothing is an empty one.
fn cell_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    }
}
