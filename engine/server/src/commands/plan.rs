//! `tidewater plan`: what starting a changed file on an existing state would do, before it is done.

use std::{fmt::Write as _, path::PathBuf};

use serde_json::json;
use tidewater::offline::{ChangePlan, plan_change_of};

use super::validate::ValidateFormat;
use crate::{
    exit::{Exit, Failure},
    log_store::open_reader,
    output::print,
};

/// What `plan` can be told.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// The pipeline file.
    #[arg(default_value = super::DEFAULT_FILE)]
    pub file: PathBuf,
    /// The state directory [default: the file's `state`].
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub format: ValidateFormat,
}

/// Says what a start would keep, fill, compute and lose.
///
/// # Errors
/// What is wrong with the file or the state directory. That a start would be refused is no failure of this command, but has
/// the exit code that it would have.
pub fn plan(args: &PlanArgs) -> Result<Exit, Failure> {
    let pipeline = super::load(&args.file)?;
    let Some(state) = args.state.as_deref().or(pipeline.state()) else {
        return Err(Failure::new(
            Exit::Config,
            "the file has no `state`: nothing is kept, so nothing can change",
        ));
    };
    let mut plan = plan_change_of(&open_reader(state)?, &pipeline)?;
    // Others have no start to begin at.
    let reads_files = |name: &String| {
        pipeline.sources().iter().any(|source| source.name() == name && source.kind() == "file")
    };
    plan.new_sources.retain(reads_files);
    let text = match args.format {
        ValidateFormat::Text => {
            as_text(&args.file.display().to_string(), &state.display().to_string(), &plan)
        }
        ValidateFormat::Json => as_json(&plan),
    };
    print(text)?;
    // As `run` would end, so that a deployment can ask before it stops what runs.
    Ok(if plan.refused.is_some() { Exit::Config } else { Exit::Fine })
}

fn as_text(file: &str, state: &str, plan: &ChangePlan) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_text(&mut text, file, state, plan);
    text
}

fn write_text(text: &mut String, file: &str, state: &str, plan: &ChangePlan) -> std::fmt::Result {
    if plan.changes.is_empty() && plan.refused.is_none() {
        return writeln!(text, "{file} is what {state} was run with: a start changes nothing");
    }
    write_changes(text, file, state, plan)?;
    if let Some(refused) = &plan.refused {
        writeln!(
            text,
            "\nThis can't be done here, and `tidewater run {file}` would refuse it:\n\n  {refused}"
        )
    } else if plan.needs_rebuild.is_empty() {
        writeln!(text, "\n`tidewater run {file}` does this.")
    } else {
        writeln!(text, "\nThis loses something and needs `tidewater run --rebuild {file}`:\n")?;
        plan.needs_rebuild.iter().try_for_each(|change| writeln!(text, "  {change}"))
    }
}

/// What differs, and what follows from that.
fn write_changes(text: &mut String, file: &str, state: &str, plan: &ChangePlan) -> std::fmt::Result {
    if plan.changes.is_empty() {
        return writeln!(text, "{file} computes what {state} was run with.");
    }
    writeln!(text, "{file} differs from what {state} was run with:\n")?;
    plan.changes.iter().try_for_each(|change| writeln!(text, "  {change}"))?;
    writeln!(text)?;
    if plan.computes_everything {
        writeln!(text, "Everything is computed again from the log.")?;
    } else {
        let mut list = |what: &str, names: &[String]| {
            if names.is_empty() { Ok(()) } else { writeln!(text, "{what:<30}{}", names.join(", ")) }
        };
        list("traits kept", &plan.kept_traits)?;
        list("traits filled from the log", &plan.filled_traits)?;
        list("segments kept", &plan.kept_segments)?;
        list("segments computed at once", &plan.computed_segments)?;
    }
    if let Some(from) = plan.log_from.filter(|_| plan.computes_everything || !plan.filled_traits.is_empty()) {
        writeln!(text, "\nThe log begins at {from}: what is filled from it is complete from then on.")?;
    }
    if plan.changes.iter().any(|change| change.affects_results) {
        writeln!(text, "\nSinks get whoever enters or exits by the change, once.")?;
    }
    write_new_sources(text, &plan.new_sources)
}

fn write_new_sources(text: &mut String, names: &[String]) -> std::fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nRead from the start, since positions belong to a source's name: {}.",
        names.join(", ")
    )?;
    writeln!(
        text,
        "What another source has read of the same files counts again, unless `dedup` still remembers it.\n\
         One that ran here before under its name goes on where it was."
    )
}

fn as_json(plan: &ChangePlan) -> String {
    let changes: Vec<_> = plan
        .changes
        .iter()
        .map(|change| json!({ "what": change.what, "how": change.how, "affects_results": change.affects_results }))
        .collect();
    let plan = json!({
        "changes": changes,
        "refused": plan.refused,
        "needs_rebuild": plan.needs_rebuild,
        "computes_everything": plan.computes_everything,
        "kept_traits": plan.kept_traits,
        "filled_traits": plan.filled_traits,
        "kept_segments": plan.kept_segments,
        "computed_segments": plan.computed_segments,
        "new_sources": plan.new_sources,
        "log_from": plan.log_from.map(|from| from.to_string()),
    });
    format!("{plan}\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tidewater::pipeline::{FixedEnvironment, Pipeline, diff};

    use super::*;

    #[test]
    fn what_is_refused_is_said_and_not_what_would_be_done() {
        let definitions = |orders: &str| {
            let text = format!("identifiers: {{ u: {{ from: userId }} }}\ntraits: {{ orders: {orders} }}\n");
            Pipeline::from_yaml(&text, &FixedEnvironment::new()).unwrap().definitions()
        };
        let mut plan = ChangePlan::default();
        plan.changes = diff(&definitions("{ count: A }"), &definitions("{ count: B }"));
        plan.needs_rebuild = vec!["trait `orders`".to_owned()];
        plan.refused = Some("older ones were retired".to_owned());
        let text = as_text("a.yaml", "state", &plan);
        assert!(
            text.ends_with("`tidewater run a.yaml` would refuse it:\n\n  older ones were retired\n"),
            "{text}"
        );
        assert!(!text.contains("--rebuild"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&as_json(&plan)).unwrap();
        assert_eq!(json["refused"], "older ones were retired");
    }
}
