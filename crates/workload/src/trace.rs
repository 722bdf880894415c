//! Traces: requests that were recorded, one a line.
//!
//! CSV with the header `arrival_s,prompt_tokens,output_tokens`, in order of time; plain or gzip, told apart by content.

mod reader;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::{Arrival, Lengths};

pub use reader::{Problem, Reader, TraceError};

/// The first line of every trace.
pub const HEADER: &str = "arrival_s,prompt_tokens,output_tokens";

/// A whole trace, checked: nothing in it can surprise in the middle of a run. 24 bytes a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    arrivals: Vec<Arrival>,
}

impl Trace {
    /// Reads a file. The error does not name it.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        File::open(path).map_err(TraceError::Unopened).and_then(Self::read)
    }

    /// Reads to the end. What is read need not be buffered.
    pub fn read(source: impl Read + Send + 'static) -> Result<Self, TraceError> {
        Ok(Self { arrivals: Reader::new(source).collect::<Result<_, _>>()? })
    }

    /// The requests, in order of time; at least one.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// The requests, one by one, in order of time.
    pub fn into_arrivals(self) -> std::vec::IntoIter<Arrival> {
        self.arrivals.into_iter()
    }

    /// From the first arrival to the last.
    pub fn span(&self) -> Duration {
        match (self.arrivals.first(), self.arrivals.last()) {
            (Some(first), Some(last)) => last.at.saturating_sub(first.at),
            _ => Duration::ZERO,
        }
    }

    /// The pairs of lengths as they occur, to be drawn from at other times of arrival.
    pub fn lengths(&self) -> Lengths {
        Lengths::Joint(self.arrivals.iter().map(|row| (row.prompt_tokens, row.output_tokens)).collect())
    }
}

/// Writes requests as a trace: plain text, times to the millisecond below.
pub fn write(arrivals: impl IntoIterator<Item = Arrival>, mut to: impl Write) -> io::Result<()> {
    writeln!(to, "{HEADER}")?;
    for Arrival { at, prompt_tokens, output_tokens } in arrivals {
        writeln!(to, "{}.{:03},{prompt_tokens},{output_tokens}", at.as_secs(), at.subsec_millis())?;
    }
    to.flush()
}
