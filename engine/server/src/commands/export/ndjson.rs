//! One JSON object a line, its keys in the order of the contract.

use tidewater_connector_api::json::{write_string, write_time};
use tidewater_model::profile::Profile;

use super::{IdentityRow, MembershipRow, Names, Rows, write_value};
use crate::{exit::Failure, output::Output};

#[derive(Default)]
pub(super) struct Ndjson {
    line: Vec<u8>,
}

impl Rows for Ndjson {
    fn memberships(&mut self, output: &mut Output, rows: &[MembershipRow<'_>]) -> Result<(), Failure> {
        for row in rows {
            let line = &mut self.line;
            line.clear();
            line.extend_from_slice(b"{\"segment\":");
            write_string(line, row.segment);
            write_profile(line, b",", row.names, row.profile);
            line.extend_from_slice(b",\"since\":\"");
            write_time(line, row.since);
            line.extend_from_slice(b"\"}\n");
            output.write(line)?;
        }
        Ok(())
    }

    fn profiles(&mut self, output: &mut Output, names: &Names, rows: &[Profile]) -> Result<(), Failure> {
        for profile in rows {
            let line = &mut self.line;
            line.clear();
            write_profile(line, b"{", names, profile);
            line.extend_from_slice(b",\"traits\":{");
            for (index, (name, value)) in names.traits.iter().zip(&profile.traits).enumerate() {
                if index > 0 {
                    line.push(b',');
                }
                write_string(line, name);
                line.push(b':');
                write_value(line, value);
            }
            line.extend_from_slice(b"}}\n");
            output.write(line)?;
        }
        Ok(())
    }

    fn identities(&mut self, output: &mut Output, rows: &[IdentityRow<'_>]) -> Result<(), Failure> {
        for row in rows {
            let line = &mut self.line;
            line.clear();
            line.extend_from_slice(b"{\"identifier\":");
            write_string(line, row.identifier);
            line.extend_from_slice(b",\"value\":");
            write_string(line, row.value);
            line.extend_from_slice(b",\"profile\":\"");
            line.extend_from_slice(&row.profile.encode());
            line.extend_from_slice(b"\"}\n");
            output.write(line)?;
        }
        Ok(())
    }
}

/// Appends `"profile":"…","identifiers":{…}`; an identifier without a value is left out, as in deltas.
fn write_profile(line: &mut Vec<u8>, before: &[u8], names: &Names, profile: &Profile) {
    line.extend_from_slice(before);
    line.extend_from_slice(b"\"profile\":\"");
    line.extend_from_slice(&profile.id.encode());
    line.extend_from_slice(b"\",\"identifiers\":{");
    let with_values =
        names.identifiers.iter().zip(&profile.identifiers).filter(|(_, values)| !values.is_empty());
    for (index, (name, values)) in with_values.enumerate() {
        if index > 0 {
            line.push(b',');
        }
        write_string(line, name);
        for (place, value) in values.iter().enumerate() {
            line.extend_from_slice(if place == 0 { b":[" } else { b"," });
            write_string(line, value);
        }
        line.push(b']');
    }
    line.push(b'}');
}
