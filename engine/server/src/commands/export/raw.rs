//! Events as they were received: those in the log and those in quarantine. Nothing is computed for them.

use tidewater_connector_api::json::{write_string, write_time, write_u64};
use tidewater_model::Timestamp;
use tidewater_storage::{EpochEntry, FIRST_EPOCH, Filter, Record, StateReader};

use super::{ExportArgs, Format, csv::write_row, eprintln_note};
use crate::{exit::Failure, log_store::open_reader, output::Output};

/// Writes the accepted events, in the order of the log: as NDJSON just as they are, ready to be read again.
pub(super) fn events(args: &ExportArgs) -> Result<(), Failure> {
    let reader = open_reader(&args.state)?;
    let starts = reader.log_starts()?;
    let mut log = reader.log(starts)?.accepted(
        args.from.map_or(Timestamp(i64::MIN), |from| from.0),
        args.to.map_or(Timestamp(i64::MAX), |to| to.0),
    );
    if starts > FIRST_EPOCH {
        eprintln_note(&format!("older events were retired: the log is complete from epoch {starts} on"));
    }
    let mut output = Output::open(args.out.as_deref())?;
    let mut line = Vec::new();
    if args.format == Format::Csv {
        write_row(&mut line, ["place", "epoch", "accepted_at", "event"]);
        output.write(&line)?;
    }
    let mut entry = EpochEntry::default();
    while log.read(&mut entry)? {
        // Those that were taken out have only left their places.
        let events = entry.events.iter().enumerate().filter(|(_, event)| !event.is_empty());
        for (index, event) in events {
            line.clear();
            match args.format {
                Format::Csv => {
                    let header = &entry.header;
                    let place = (header.first_place + index as u64).to_string();
                    let (epoch, accepted_at) = (header.epoch.to_string(), header.accepted_at.to_string());
                    write_row(
                        &mut line,
                        [place.as_str(), &epoch, &accepted_at, &String::from_utf8_lossy(event)],
                    );
                }
                Format::Ndjson | Format::Parquet => {
                    // An accepted event is sound JSON, in which a line break is nothing but space.
                    line.extend(
                        event.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
                    );
                    line.push(b'\n');
                }
            }
            output.write(&line)?;
        }
    }
    output.finish()
}

/// Writes the refused events, by their numbers.
pub(super) fn quarantine(args: &ExportArgs) -> Result<(), Failure> {
    let reader = StateReader::open(&args.state)?;
    let mut output = Output::open(args.out.as_deref())?;
    let mut line = Vec::new();
    if args.format == Format::Csv {
        write_row(&mut line, ["id", "reason", "source", "received_at", "bytes", "event"]);
        output.write(&line)?;
    }
    for record in reader.quarantine(Filter::All)? {
        let record = record?;
        line.clear();
        match args.format {
            Format::Csv => {
                let (id, bytes) = (record.id.to_string(), record.original_len.to_string());
                let received_at = record.received_at.to_string();
                let event = String::from_utf8_lossy(&record.bytes);
                write_row(&mut line, [&*id, &record.reason, &record.source, &received_at, &bytes, &event]);
            }
            Format::Ndjson | Format::Parquet => write_record(&mut line, &record),
        }
        output.write(&line)?;
    }
    output.finish()
}

/// Appends a refused event: its text, or, if it is no UTF-8, its bytes in hexadecimal.
fn write_record(line: &mut Vec<u8>, record: &Record) {
    line.extend_from_slice(b"{\"id\":");
    write_u64(line, record.id);
    line.extend_from_slice(b",\"reason\":");
    write_string(line, &record.reason);
    line.extend_from_slice(b",\"source\":");
    write_string(line, &record.source);
    line.extend_from_slice(b",\"received_at\":\"");
    write_time(line, record.received_at);
    line.extend_from_slice(b"\",\"bytes\":");
    write_u64(line, record.original_len);
    match str::from_utf8(&record.bytes) {
        Ok(text) => {
            line.extend_from_slice(b",\"event\":");
            write_string(line, text);
        }
        Err(_) => {
            line.extend_from_slice(b",\"event_hex\":\"");
            for byte in &record.bytes {
                line.extend_from_slice(format!("{byte:02x}").as_bytes());
            }
            line.push(b'"');
        }
    }
    line.extend_from_slice(b"}\n");
}
