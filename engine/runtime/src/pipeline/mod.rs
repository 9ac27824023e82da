//! A [`Pipeline`] is what an engine computes: read from a file or built in Rust, and complete and consistent in
//! either case. Whatever is wrong with one is found here, all of it at once, before anything runs.
//!
//! The way of a file: YAML as a tree with places → substitution of `${...}` → every key read and checked →
//! [`PipelineSpec`]. The Rust builder and stored definitions make the same tree without places, so the checks are
//! the same ones.
//!
//! ```
//! use tidewater::pipeline::{FixedEnvironment, Pipeline};
//!
//! let text = "
//! identifiers: { user_id: { from: userId } }
//! traits:      { orders: { count: Order Completed } }
//! segments:    { loyal: orders >= 3 }
//! ";
//! let pipeline = Pipeline::from_yaml(text, &FixedEnvironment::new())?;
//! assert_eq!(pipeline.spec().segments[0].name, "loyal");
//!
//! let errors = Pipeline::from_yaml(&text.replace("orders >=", "oders >="), &FixedEnvironment::new()).unwrap_err();
//! let error = errors.iter().next().unwrap();
//! assert_eq!(error.position, Some((4, 23)));
//! assert_eq!(error.hint.as_deref(), Some("did you mean `orders`?"));
//! # Ok::<(), tidewater::pipeline::PipelineErrors>(())
//! ```

use std::path::{Path, PathBuf};

use tidewater_model::{HashKey, PipelineSpec};

mod builder;
mod connector;
mod definitions;
mod diff;
mod error;
mod identifiers;
mod keys;
mod load;
mod loader;
mod names;
mod reader;
mod secret;
mod segments;
mod source;
mod substitute;
mod traits;
mod tree;
mod url;

#[cfg(test)]
mod tests;

pub use builder::{Length, PipelineBuilder};
pub use connector::{ConnectorRole, ConnectorSpec};
pub use definitions::{Connector, DEFINITIONS_FORMAT, Definitions, Identifier, Segment, Trait};
pub use diff::{DefinitionChange, diff};
pub use error::{ErrorKind, PipelineError, PipelineErrors};
pub(crate) use load::MAX_WORKERS;
pub use loader::{MAX_FILE_BYTES, PipelineLoader};
pub use secret::{Environment, FixedEnvironment, MAX_SECRET_BYTES, Secret, SystemEnvironment};

/// The name of a pipeline that has none.
const DEFAULT_NAME: &str = "pipeline";

/// What an engine computes, where its events come from and its deltas go, and the settings it runs with.
#[derive(Clone, Debug)]
pub struct Pipeline {
    name: String,
    spec: PipelineSpec,
    segment_texts: Vec<String>,
    state: Option<PathBuf>,
    workers: Option<usize>,
    admin_listen: Option<String>,
    id_key: Option<HashKey>,
    sources: Vec<ConnectorSpec>,
    sinks: Vec<ConnectorSpec>,
}

impl Pipeline {
    /// Reads a pipeline from the text of a file; errors call it `tidewater.yaml`. [`PipelineLoader`] has more ways.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn from_yaml(text: &str, environment: &dyn Environment) -> Result<Self, PipelineErrors> {
        PipelineLoader::new(environment).load_text(text)
    }

    /// Reads a pipeline file, with the variables and files of this process.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why it can't be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PipelineErrors> {
        PipelineLoader::new(&SystemEnvironment).load_file(path)
    }

    /// Starts a pipeline in Rust.
    ///
    /// ```
    /// use tidewater::{
    ///     Normalize,
    ///     pipeline::{Identifier, Pipeline, Trait},
    /// };
    ///
    /// let pipeline = Pipeline::builder()
    ///     .identifier(Identifier::from_path("user_id", "userId"))
    ///     .identifier(Identifier::from_path("email", "traits.email").normalize(Normalize::Email))
    ///     .trait_(Trait::count("orders", "Order Completed"))
    ///     .trait_(Trait::sum("revenue_7d", "properties.revenue").event("Order Completed").window("7d"))
    ///     .segment("loyal", "orders >= 3 and has(email)")
    ///     .build()?;
    /// assert_eq!(pipeline.spec().traits.len(), 2);
    /// # Ok::<(), tidewater::pipeline::PipelineErrors>(())
    /// ```
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder::new()
    }

    /// The pipeline that a state directory was run with, without its sources, sinks and settings.
    ///
    /// # Errors
    /// If the definitions are not ones that [`definitions`](Self::definitions) made, or are of another format.
    pub fn from_definitions(definitions: &Definitions) -> Result<Self, PipelineErrors> {
        if definitions.format != DEFINITIONS_FORMAT {
            let found = definitions.format;
            let message =
                format!("stored definitions have the format {found}, expected {DEFINITIONS_FORMAT}");
            return Err(PipelineError::new(ErrorKind::InvalidValue, message).into());
        }
        let reader = reader::Reader { is_stored: true, ..reader::Reader::new(None) };
        Self::from_tree(DEFAULT_NAME.to_owned(), &definitions.to_tree(), reader)
    }

    /// The JSON Schema (draft 2020-12) of the pipeline file as far as it is built.
    pub fn json_schema() -> String {
        include_str!("schema.json").to_owned()
    }

    fn from_tree(
        name: String,
        root: &tree::Node,
        mut reader: reader::Reader,
    ) -> Result<Self, PipelineErrors> {
        let parts = load::load(root, &mut reader);
        match reader.report.into_errors() {
            Some(errors) => Err(errors),
            None => Ok(Self::from_parts(name, parts)),
        }
    }

    fn from_parts(name: String, parts: load::Parts) -> Self {
        Self {
            name,
            spec: parts.spec,
            segment_texts: parts.segment_texts,
            state: parts.state,
            workers: parts.workers,
            admin_listen: parts.admin_listen,
            id_key: parts.id_key,
            sources: parts.sources,
            sinks: parts.sinks,
        }
    }

    /// Its name in metrics and logs: the file's name without what follows the last dot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is computed.
    pub fn spec(&self) -> &PipelineSpec {
        &self.spec
    }

    /// A segment's condition as it was written, by the segment's index.
    pub fn segment_text(&self, segment: usize) -> Option<&str> {
        self.segment_texts.get(segment).map(String::as_str)
    }

    /// The directory of the event log; `None`: nothing is kept.
    pub fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// How many worker threads: as set, else one less than the machine has physical cores, at least 1.
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| {
            let usable = std::thread::available_parallelism().map_or(1, usize::from);
            num_cpus::get_physical().min(usable).saturating_sub(1).clamp(1, MAX_WORKERS)
        })
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are served, as `host:port`.
    pub fn admin_listen(&self) -> Option<&str> {
        self.admin_listen.as_deref()
    }

    /// The deployment's key for profile ids, if the pipeline sets one.
    pub fn id_key(&self) -> Option<HashKey> {
        self.id_key
    }

    /// The entries of `sources`, in the order of the file.
    pub fn sources(&self) -> &[ConnectorSpec] {
        &self.sources
    }

    /// The entries of `sinks`, in the order of the file.
    pub fn sinks(&self) -> &[ConnectorSpec] {
        &self.sinks
    }

    /// The definitions in the form that the state directory keeps, without any secret.
    pub fn definitions(&self) -> Definitions {
        Definitions::of(&self.spec, &self.sources, &self.sinks)
    }
}
