//! Reads a pipeline file: the ways to do it, and the steps from text to pipeline.

use std::{fmt, io, path::Path, sync::Arc};

use super::{
    DEFAULT_NAME, Pipeline,
    connector::{ConnectorSpec, visit_secret_scalars},
    error::{ErrorKind, PipelineError, PipelineErrors},
    load::load,
    reader::Reader,
    secret::Environment,
    source::{SourceText, Span, read_limited},
    substitute::substitute,
    tree::{self, Content, Node, Scalar},
    url,
};

/// The largest pipeline file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Finds what is wrong with a connector's configuration; see [`PipelineLoader::check_connectors`].
type CheckConnector<'a> = &'a dyn Fn(&ConnectorSpec) -> Vec<PipelineError>;

/// Reads pipeline files.
pub struct PipelineLoader<'a> {
    environment: &'a dyn Environment,
    file: String,
    name: String,
    check: Option<CheckConnector<'a>>,
}

impl fmt::Debug for PipelineLoader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineLoader").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<'a> PipelineLoader<'a> {
    /// A loader that takes variables and files from here.
    pub fn new(environment: &'a dyn Environment) -> Self {
        let (file, name) = ("tidewater.yaml".to_owned(), DEFAULT_NAME.to_owned());
        Self { environment, file, name, check: None }
    }

    /// The file's name in errors, for a text that does not come from a file of this machine.
    #[must_use]
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.file = name.into();
        self
    }

    /// Has every source and sink checked as well, so that their mistakes are reported together with all others. The
    /// check makes its errors with [`ConnectorSpec::value_error`] and its siblings.
    #[must_use]
    pub fn check_connectors(mut self, check: CheckConnector<'a>) -> Self {
        self.check = Some(check);
        self
    }

    /// Reads a file of at most [`MAX_FILE_BYTES`].
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why it can't be read.
    pub fn load_file(mut self, path: impl AsRef<Path>) -> Result<Pipeline, PipelineErrors> {
        let path = path.as_ref();
        self.file = path.display().to_string();
        if let Some(stem) = path.file_stem() {
            self.name = stem.to_string_lossy().into_owned();
        }
        let source = Arc::new(SourceText::new(&self.file, ""));
        let fail = |kind, message: String| -> PipelineErrors {
            PipelineError::new(kind, message).at(Some(&source), None, String::new()).into()
        };
        let bytes = read_limited(path, MAX_FILE_BYTES).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => fail(ErrorKind::Limit, error.to_string()),
            _ => fail(ErrorKind::Io, format!("cannot read it: {error}")),
        })?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            fail(ErrorKind::Syntax, format!("not UTF-8 text in line {line}"))
        })?;
        self.load_text(text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_text(self, text: &str) -> Result<Pipeline, PipelineErrors> {
        let mut source = Arc::new(SourceText::new(&self.file, text));
        if text.len() as u64 > MAX_FILE_BYTES {
            let message = format!("it is larger than {MAX_FILE_BYTES} bytes");
            return Err(PipelineError::new(ErrorKind::Limit, message)
                .at(Some(&source), None, String::new())
                .into());
        }
        let mut report = super::error::Report::default();
        let root = tree::parse(text, &source, &mut report);
        let mut parts = None;
        if let Some(mut root) = root {
            let places = secret_places(&root, &source);
            if let Some(source) = Arc::get_mut(&mut source) {
                source.mask(places);
            }
            substitute(&mut root, self.environment, &source, &mut report);
            let mut reader = Reader { report, ..Reader::new(Some(Arc::clone(&source))) };
            let read = load(&root, &mut reader);
            report = reader.report;
            if let Some(check) = self.check {
                for connector in read.sources.iter().chain(&read.sinks).filter(|spec| spec.is_complete()) {
                    check(connector).into_iter().for_each(|error| report.add(error));
                }
            }
            parts = Some(read);
        }
        match (report.into_errors(), parts) {
            (None, Some(parts)) => Ok(Pipeline::from_parts(self.name, parts)),
            (Some(errors), _) => Err(errors),
            // Without a tree there is an error, but a library does not panic over that.
            (None, None) => Err(PipelineError::new(ErrorKind::Syntax, "not a pipeline file").into()),
        }
    }
}

/// The values in the file itself that no message should show: what stands under a key that looks like a secret's, and parts
/// of URLs.
fn secret_places(root: &Node, source: &SourceText) -> Vec<Span> {
    let Content::Map(entries) = &root.content else { return Vec::new() };
    let connectors = entries.iter().filter(|entry| ["sources", "sinks"].contains(&entry.key.as_str()));
    let mut spans: Vec<Span> = connectors.flat_map(|entry| url::secret_spans(&entry.value, source)).collect();
    let mut add = |scalar: &Scalar, span: Option<Span>| {
        // A reference shows the variable's name, which helps and gives nothing away.
        if !scalar.text.starts_with("${") {
            spans.extend(span);
        }
    };
    for entry in entries {
        match entry.key.as_str() {
            "id_key" => entry.value.visit_scalars(&mut add),
            "sources" | "sinks" => visit_secret_scalars(&entry.value, &mut add),
            _ => {}
        }
    }
    spans
}
