//! The command line: what can be written, and what each word means.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        checkpoint::CheckpointArgs, demo::DemoArgs, dlq::DlqArgs, export::ExportArgs, generate::GenerateArgs,
        plan::PlanArgs, redrive::RedriveArgs, run::RunArgs, validate::ValidateArgs, verify::VerifyArgs,
    },
    logging::{LogFormat, LogLevel},
    terminal::Color,
};

/// Real-time customer data: events in, exact segment membership changes out.
#[derive(Debug, Parser)]
#[command(name = "tidewater", version, about, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Start with `tidewater demo`.\n\nExit codes: 0 fine · 1 found differences or invalid · \
    2 usage · 65 bad data · 69 a service is unreachable · 70 internal failure · 78 config"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines on standard error look.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Everywhere")]
    pub log_format: LogFormat,
    /// Which log lines are written [default: info for `run`, else warn].
    #[arg(long, global = true, value_enum, help_heading = "Everywhere")]
    pub log_level: Option<LogLevel>,
    /// When output is colored.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Everywhere")]
    pub color: Color,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline: until its sources end, or a SIGTERM or SIGINT.
    Run(RunArgs),
    /// Watch a whole pipeline at work on a made-up shop; nothing to install or configure.
    Demo(DemoArgs),
    /// Check a pipeline file and report everything that is wrong with it.
    Validate(ValidateArgs),
    /// Say what starting a changed file on an existing state would keep, fill, compute and lose.
    Plan(PlanArgs),
    /// Write a made-up shop's clickstream: one JSON object a line, in the Segment spec.
    Generate(GenerateArgs),
    /// Write what a state directory holds.
    Export(ExportArgs),
    /// Recompute everything from the log by the plain batch evaluator and compare.
    Verify(VerifyArgs),
    /// Feed quarantined events again.
    Redrive(RedriveArgs),
    /// Have a running engine make a checkpoint now, or copy a state directory, also while an engine runs on it.
    Checkpoint(CheckpointArgs),
    /// Look at the deltas that a sink's destination would not take, have them tried again, or drop them.
    Dlq(DlqArgs),
    /// Print the JSON Schema of the pipeline file.
    Schema,
    /// Say why a profile is in a segment or not (not built yet).
    Explain(Unbuilt),
}

/// Whatever is written behind a command that is not built yet.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Unbuilt {
    /// Not looked at.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<OsString>,
}
