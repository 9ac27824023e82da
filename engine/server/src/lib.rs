//! The parts of the `tidewater` command. A library only so that tests reach them: nothing depends on it.
//!
//! In reading order: [`cli`] (what can be typed), [`commands`] (one module each), [`registry`] (a `type` becomes a
//! connector), [`log_store`] (an address becomes a store), [`control`] (what a running engine can be asked), [`exit`] (what the
//! shell is told). `shop` makes the clickstream of `generate` and `demo`.

pub mod cli;
pub mod commands;
pub mod control;
pub mod exit;
pub mod log_store;
pub mod logging;
pub mod output;
mod paths;
pub mod registry;
pub mod shop;
pub mod terminal;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    exit::{Exit, Failure},
    logging::LogLevel,
    terminal::{Bars, Color},
};

/// Does what the command line says; the process's exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let color = cli.color;
    match execute(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            report(&failure, color);
            failure.exit.into()
        }
    }
}

fn execute(cli: Cli) -> Result<Exit, Failure> {
    let usual = if matches!(cli.command, Command::Run(_)) { LogLevel::Info } else { LogLevel::Warn };
    let bars = Bars::new();
    logging::start(cli.log_format, cli.log_level.unwrap_or(usual), cli.color, &bars);
    match cli.command {
        Command::Run(args) => commands::run::run(args, &bars),
        Command::Demo(args) => commands::demo::demo(args),
        Command::Validate(args) => commands::validate::validate(&args),
        Command::Plan(args) => commands::plan::plan(&args),
        Command::Generate(args) => commands::generate::generate(args, &bars),
        Command::Export(args) => commands::export::export(args, &bars),
        Command::Verify(args) => commands::verify::verify(args, &bars),
        Command::Redrive(args) => commands::redrive::redrive(args, &bars),
        Command::Checkpoint(args) => commands::checkpoint::checkpoint(&args),
        Command::Dlq(args) => commands::dlq::dlq(args),
        Command::Schema => commands::schema::schema(),
        Command::Explain(_) => Err(Failure::not_built("`tidewater explain`")),
    }
}

/// Writes why a command failed to standard error.
fn report(failure: &Failure, color: Color) {
    if failure.message.is_empty() {
        return;
    }
    let prefix = if color.on_stderr() { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    // With nobody to read it there is nobody to tell either.
    let _ = writeln!(std::io::stderr(), "{prefix} {}", failure.message);
}
