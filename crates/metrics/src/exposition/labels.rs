use std::borrow::Cow;

use super::cursor::Cursor;

/// Which backslash sequences stand for another character; any other stays as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// `\\`, `\n` and `\"`: names, label values, help texts of `OpenMetrics`.
    Quoted,
    /// `\\` and `\n`: help texts of the text format.
    Help,
}

/// A piece of the page, unescaped only when asked for.
#[derive(Debug, Clone, Copy)]
pub struct EscapedStr<'a> {
    raw: &'a [u8],
    escapes: Escapes,
}

impl<'a> EscapedStr<'a> {
    /// `raw` has been checked to be UTF-8 by the parser.
    pub(super) fn new(raw: &'a [u8], escapes: Escapes) -> Self {
        Self { raw, escapes }
    }

    /// The bytes as they stand on the page, backslashes included.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The text that is meant. Allocates only if there is something to unescape.
    pub fn to_str(&self) -> Cow<'a, str> {
        // Never lossy: pieces that are not UTF-8 do not get past the parser.
        let text = String::from_utf8_lossy(self.raw);
        if memchr::memchr(b'\\', self.raw).is_none() {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_ref();
        while let Some((before, after)) = rest.split_once('\\') {
            out.push_str(before);
            let meant = match after.bytes().next() {
                Some(b'\\') => Some('\\'),
                Some(b'n') => Some('\n'),
                Some(b'"') if self.escapes == Escapes::Quoted => Some('"'),
                _ => None,
            };
            out.push(meant.unwrap_or('\\'));
            rest = if meant.is_some() { &after[1..] } else { after };
        }
        out.push_str(rest);
        Cow::Owned(out)
    }
}

impl PartialEq<str> for EscapedStr<'_> {
    fn eq(&self, other: &str) -> bool {
        self.raw == other.as_bytes() && memchr::memchr(b'\\', self.raw).is_none() || self.to_str() == other
    }
}

impl PartialEq<&str> for EscapedStr<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// The labels of one sample or exemplar, in the order of the page, duplicates included.
#[derive(Debug, Clone, Copy, Default)]
pub struct Labels<'a> {
    /// What stands between the braces; the parser has checked it.
    raw: &'a [u8],
}

impl<'a> Labels<'a> {
    pub(super) fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// Label names and values. A metric name in quotes among them is passed over.
    pub fn iter(self) -> LabelIter<'a> {
        LabelIter { cursor: Cursor::new(self.raw) }
    }

    /// What stands between the braces, as it is written there.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

/// Iterator over [`Labels`].
#[derive(Debug, Clone)]
pub struct LabelIter<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = (EscapedStr<'a>, EscapedStr<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let cursor = &mut self.cursor;
        loop {
            cursor.blanks();
            while cursor.eat(b',') {
                cursor.blanks();
            }
            let name = cursor.label_name()?;
            cursor.blanks();
            if cursor.eat(b'=') {
                cursor.blanks();
                let value = cursor.quoted()?;
                return Some((
                    EscapedStr::new(name, Escapes::Quoted),
                    EscapedStr::new(value, Escapes::Quoted),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescaping() {
        let check = |raw: &str, escapes, meant: &str| {
            let piece = EscapedStr::new(raw.as_bytes(), escapes);
            assert_eq!(piece.to_str(), meant);
            assert!(piece == meant);
        };
        check("plain é", Escapes::Quoted, "plain é");
        check(r#"x\\y\"z\nw"#, Escapes::Quoted, "x\\y\"z\nw");
        check(r#"x\\y\"z\nw"#, Escapes::Help, "x\\y\\\"z\nw");
        check(r"\\n", Escapes::Quoted, r"\n");
        check(r"x\ty\é", Escapes::Quoted, r"x\ty\é");
        check("tail\\", Escapes::Help, "tail\\");
        assert!(EscapedStr::new(br"a\\", Escapes::Quoted) != r"a\\");
    }

    #[test]
    fn iteration_passes_over_a_quoted_metric_name() {
        let labels = Labels::new(br#"a="1" , "my.metric", "b c"="2" d="",e="x,}\"","#);
        let got: Vec<_> = labels.iter().map(|(n, v)| format!("{}={}", n.to_str(), v.to_str())).collect();
        assert_eq!(got, ["a=1", "b c=2", "d=", "e=x,}\""]);
    }
}
