//! One opened file or standard input, decompressed as it is read.

use std::{
    fs::{File, Metadata},
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;
use tidewater_connector_api::ReadError;

use super::{
    discover::STDIN,
    position::{HEAD_BYTES, Mark, name_of},
    recognize,
};

/// Compressed bytes are read in pieces of this size.
const COMPRESSED_BLOCK: usize = 128 << 10;

/// An input that is being read.
pub(super) struct Input(Kind);

enum Kind {
    Plain(Raw),
    Gzip(Box<MultiGzDecoder<BufReader<Raw>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Raw>>>),
}

/// The bytes as they lie in the file.
struct Raw {
    stream: Stream,
    /// How many bytes were read.
    done: u64,
    /// The first bytes, for the fingerprint and to tell the compression.
    head: Vec<u8>,
    /// How many bytes of `head` are still to be handed on.
    pending: usize,
}

enum Stream {
    File(File),
    Stdin(io::Stdin),
}

impl Input {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        let name = name_of(path);
        let failed = |error: io::Error| ReadError::failed(describe(&name, &error));
        let stream = if name == STDIN {
            Stream::Stdin(io::stdin())
        } else {
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(ReadError::failed(format!(
                    "{name} is a directory; to read what is in it: {name}/*"
                )));
            }
            Stream::File(file)
        };
        let mut raw = Raw { stream, done: 0, head: Vec::new(), pending: 0 };
        raw.read_head().map_err(failed)?;
        let buffered = |raw| BufReader::with_capacity(COMPRESSED_BLOCK, raw);
        let kind = match compression(&name, &raw.head).map_err(ReadError::failed)? {
            Compression::None => Kind::Plain(raw),
            Compression::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(buffered(raw)))),
            Compression::Zstd => {
                let decoder = zstd::Decoder::with_buffer(buffered(raw)).map_err(failed)?;
                Kind::Zstd(Box::new(decoder))
            }
        };
        Ok(Self(kind))
    }

    /// Goes on at an offset of the content. `false`: the content ends before it.
    pub(super) fn skip_to(&mut self, offset: u64) -> io::Result<bool> {
        if let Kind::Plain(raw) = &mut self.0
            && let Stream::File(file) = &mut raw.stream
        {
            if file.metadata()?.len() < offset {
                return Ok(false);
            }
            file.seek(SeekFrom::Start(offset))?;
            raw.done = offset;
            raw.pending = 0;
            return Ok(true);
        }
        // What is compressed has to be read again, but not looked at.
        Ok(io::copy(&mut self.by_ref().take(offset), &mut io::sink())? == offset)
    }

    /// Goes back to the start of a file whose content is another one now.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.skip_to(0)?;
        if let Kind::Plain(raw) = &mut self.0 {
            raw.head.clear();
        }
        Ok(())
    }

    /// Marks an offset of the content.
    pub(super) fn mark(&self, offset: u64) -> Mark {
        let raw = self.raw();
        // Bytes behind what was read may not be written for good yet.
        let known = usize::try_from(raw.done).unwrap_or(usize::MAX).min(raw.head.len());
        Mark::new(offset, &raw.head[..known])
    }

    /// The file's first bytes.
    pub(super) fn head(&self) -> &[u8] {
        &self.raw().head
    }

    /// How many bytes of the file itself were read.
    pub(super) fn done(&self) -> u64 {
        self.raw().done
    }

    /// Whether the end of the file is the end for good.
    pub(super) fn is_compressed(&self) -> bool {
        !matches!(self.0, Kind::Plain(_))
    }

    /// How long the file itself is as far as it was read, and a hash of its last bytes. Reading can't go on behind this.
    pub(super) fn end(&self) -> (u64, u32) {
        let raw = self.raw();
        let Stream::File(file) = &raw.stream else { return (0, 0) };
        // What was appended since its end was met is not read. A pipe has no length at all.
        let len = file.metadata().map_or(0, |metadata| metadata.len()).min(raw.done);
        (len, recognize::tail_hash(file, len))
    }

    /// The file's metadata as of now; `None` for standard input.
    pub(super) fn metadata(&self) -> io::Result<Option<Metadata>> {
        match &self.raw().stream {
            Stream::File(file) => file.metadata().map(Some),
            Stream::Stdin(_) => Ok(None),
        }
    }

    fn raw(&self) -> &Raw {
        match &self.0 {
            Kind::Plain(raw) => raw,
            Kind::Gzip(decoder) => decoder.get_ref().get_ref(),
            Kind::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Plain(raw) => raw.read(into),
            Kind::Gzip(decoder) => decoder.read(into),
            Kind::Zstd(decoder) => decoder.read(into),
        }
    }
}

impl Raw {
    /// Reads the first bytes ahead. Of a pipe no more than tells the compression: whoever writes it may wait long
    /// between two lines.
    fn read_head(&mut self) -> io::Result<()> {
        let regular = matches!(&self.stream, Stream::File(file) if file.metadata()?.is_file());
        let wanted = if regular { HEAD_BYTES } else { 4 };
        let mut head = vec![0; HEAD_BYTES];
        let mut len = 0;
        while len < wanted {
            match self.stream.read(&mut head[len..]) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        head.truncate(len);
        (self.head, self.pending) = (head, len);
        Ok(())
    }
}

impl Read for Raw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.pending > 0 {
            let from = self.head.len() - self.pending;
            let count = self.pending.min(into.len());
            into[..count].copy_from_slice(&self.head[from..from + count]);
            self.pending -= count;
            self.done += count as u64;
            return Ok(count);
        }
        let count = self.stream.read(into)?;
        // A followed file may have been shorter than its fingerprint when it was opened.
        if self.head.len() < HEAD_BYTES && self.done == self.head.len() as u64 {
            let more = count.min(HEAD_BYTES - self.head.len());
            self.head.extend_from_slice(&into[..more]);
        }
        self.done += count as u64;
        Ok(count)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(into),
            Self::Stdin(stdin) => stdin.read(into),
        }
    }
}

enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The first bytes tell the compression, since no JSON begins like that. A name that promises a compression which
/// is not there means a broken file, and its bytes are no events.
fn compression(name: &str, head: &[u8]) -> Result<Compression, String> {
    match head {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        // A skippable frame, with which parallel compressors begin.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        _ if head.is_empty() => Ok(Compression::None),
        _ if name.ends_with(".gz") => Err(format!("{name} is not compressed with gzip, as its name says")),
        _ if name.ends_with(".zst") => Err(format!("{name} is not compressed with zstd, as its name says")),
        _ => Ok(Compression::None),
    }
}

/// Tells a file's error in people's words.
pub(super) fn describe(name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("no such file: {name}"),
        io::ErrorKind::PermissionDenied => format!("no permission to read {name}"),
        _ => format!("cannot read {name}: {error}"),
    }
}

/// A number for the file itself, whatever its name.
#[cfg(unix)]
pub(super) fn inode(metadata: &Metadata, _name: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;

    // Two file systems use the same numbers.
    metadata.ino() ^ metadata.dev().rotate_left(40)
}

/// A number for the file itself: where there are no inodes, its name has to do.
#[cfg(not(unix))]
pub(super) fn inode(_metadata: &Metadata, name: &str) -> u64 {
    tidewater_model::HashKey::FIXED.seed("inode").hash(name.as_bytes()) as u64
}
