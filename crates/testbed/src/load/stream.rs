//! The stream of a completion: server-sent events, read as they come.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// An event longer than this is no completion's.
const LONGEST_LINE: usize = 1 << 20;

/// What a piece of the stream brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing that counts yet.
    Waiting,
    /// Text has come.
    Text,
    /// The last event has come.
    Done,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Something that is no event of a completion.
    Malformed,
    /// The engine tells an error.
    Error,
}

/// A completion as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The bytes of a line that is not whole yet.
    rest: Vec<u8>,
    progress: Option<Progress>,
    chunks_with_text: u64,
    usage: Option<Usage>,
}

/// As the engine counts.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: u64,
    #[serde(default)]
    pub(super) completion_tokens: u64,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: String,
}

impl Events {
    /// Takes the next bytes and tells how far the completion has come.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Progress, Unreadable> {
        let mut bytes = bytes;
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            if self.rest.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
            bytes = &rest[1..];
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LONGEST_LINE {
            return Err(Unreadable::Malformed);
        }
        Ok(self.progress.unwrap_or(Progress::Waiting))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Blank lines end events, a colon begins a comment; other fields say nothing here.
        let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else {
            let known = [&b"event:"[..], b"id:", b"retry:", b":"].iter().any(|field| line.starts_with(field));
            return if line.is_empty() || known { Ok(()) } else { Err(Unreadable::Malformed) };
        };
        if data == b"[DONE]" {
            self.progress = Some(Progress::Done);
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data).map_err(|_| Unreadable::Malformed)?;
        if chunk.error.is_some() {
            return Err(Unreadable::Error);
        }
        if chunk.choices.iter().any(|choice| !choice.text.is_empty()) {
            self.chunks_with_text += 1;
            if self.progress.is_none() {
                self.progress = Some(Progress::Text);
            }
        }
        self.usage = chunk.usage.or(self.usage);
        Ok(())
    }

    /// The tokens, as the engine counts them; if it does not, its chunks are counted, of which each is one token in vLLM
    /// unless it fell behind.
    pub(super) fn usage(&self) -> Usage {
        self.usage.unwrap_or(Usage { prompt_tokens: 0, completion_tokens: self.chunks_with_text })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As vLLM sends it: text, a chunk with the reason it ended, the usage in a chunk without choices, the end.
    const STREAM: &str = concat!(
        ": a comment\r\n\r\n",
        r#"data: {"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":"","finish_reason":null}],"usage":null}"#,
        "\n\n",
        r#"data: {"id":"cmpl-1","choices":[{"index":0,"text":" é","finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"cmpl-1","choices":[{"index":0,"text":" b","finish_reason":"length"}]}"#,
        "\n\n",
        r#"data: {"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}"#,
        "\n\ndata: [DONE]\n\n",
    );

    /// Sends the pieces and notes what each brought.
    #[track_caller]
    fn check(pieces: &[&str], expected: &[Result<Progress, Unreadable>], usage: (u64, u64)) {
        let mut events = Events::default();
        let seen: Vec<_> = pieces.iter().map(|piece| events.push(piece.as_bytes())).collect();
        assert_eq!(seen, expected);
        let counted = events.usage();
        assert_eq!((counted.prompt_tokens, counted.completion_tokens), usage);
    }

    #[test]
    fn streams() {
        use Progress::{Done, Text, Waiting};
        check(&[STREAM], &[Ok(Done)], (7, 3));
        let text = r#"data: {"choices":[{"text":"a"}]}"#;
        check(&[text, "\n", "\n", "data:[DONE]\r\n"], &[Ok(Waiting), Ok(Text), Ok(Text), Ok(Done)], (0, 1));
        check(&["data: {\"choices\":[{\"text\":\"\"}]}\n"], &[Ok(Waiting)], (0, 0));
        check(&["event: x\nid: 1\nretry: 5\n: keep-alive\n\n"], &[Ok(Waiting)], (0, 0));
        check(&["data: {\"error\":{\"message\":\"out of memory\"}}\n"], &[Err(Unreadable::Error)], (0, 0));
        check(&["data: {\"choices\":[{\n"], &[Err(Unreadable::Malformed)], (0, 0));
        check(&["<html>\n"], &[Err(Unreadable::Malformed)], (0, 0));
        check(&[&"x".repeat(LONGEST_LINE), "x"], &[Ok(Waiting), Err(Unreadable::Malformed)], (0, 0));
    }

    proptest! {
        #[test]
        fn how_it_is_cut_into_pieces_does_not_matter(mut cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
            cuts.sort_unstable();
            let mut events = Events::default();
            let mut last = Progress::Waiting;
            let mut from = 0;
            for to in cuts.into_iter().chain([STREAM.len()]) {
                last = events.push(&STREAM.as_bytes()[from..to]).unwrap();
                from = to;
            }
            prop_assert_eq!(last, Progress::Done);
            prop_assert_eq!(events.usage(), Usage { prompt_tokens: 7, completion_tokens: 3 });
        }
    }
}
