use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::trace::{Trace, write};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Every read gives one byte: nothing may depend on how a source is cut into reads.
struct Dribble(Cursor<Vec<u8>>);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let one = buffer.len().min(1);
        self.0.read(&mut buffer[..one])
    }
}

/// Reads `text` plain, in single bytes, and gzipped.
#[track_caller]
fn check(text: &str, expected: Result<&[(u64, u32, u32)], &str>) {
    let sources: [Box<dyn Read + Send>; 3] = [
        Box::new(Cursor::new(text.as_bytes().to_vec())),
        Box::new(Dribble(Cursor::new(text.as_bytes().to_vec()))),
        Box::new(Cursor::new(gzip(text.as_bytes()))),
    ];
    for source in sources {
        let rows: Result<Vec<_>, _> = Reader::new(source).collect();
        let rows = rows.map_err(|error| error.to_string());
        let shown = |row: &Arrival| (row.at.as_nanos() as u64, row.prompt_tokens, row.output_tokens);
        let rows: Result<Vec<_>, _> = rows.map(|rows| rows.iter().map(shown).collect());
        assert_eq!(rows.as_deref().map_err(String::as_str), expected);
    }
}

fn rows(rows: &str) -> String {
    format!("{HEADER}\n{rows}")
}

#[test]
fn rows_are_read() {
    check(&rows("0.000,374,44\n"), Ok(&[(0, 374, 44)]));
    check(&rows("1.5,1,4294967295\n1.5,2,2"), Ok(&[(1_500_000_000, 1, u32::MAX), (1_500_000_000, 2, 2)]));
    check(&rows("12,3,4\r\n").replace("tokens\n", "tokens\r\n"), Ok(&[(12_000_000_000, 3, 4)]));
    check(&rows("0.0000000019,3,4\n86399.999,1,1\n"), Ok(&[(1, 3, 4), (86_399_999_000_000, 1, 1)]));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let header = "\"arrival_s,prompt_tokens,output_tokens\"";
    let empty = format!("the trace is empty: no request follows the header {header}");
    check("", Err(&format!("line 1: {empty}")));
    check(&rows(""), Err(&format!("line 2: {empty}")));
    check("0.0,1,2\n", Err(&format!("line 1: expected the header {header}, found \"0.0,1,2\"")));
    check("\n", Err(&format!("line 1: expected the header {header}, found \"\"")));
    for time in [
        "",
        ".",
        "x",
        "-1",
        "1e3",
        "1.",
        ".5",
        "1.2.3",
        " 1",
        "99999999999999999999",
        "1.5s",
        "1.0000000000x",
    ] {
        let expected = format!("line 3: arrival_s {time:?} is not a number of seconds such as 12.345");
        check(&rows(&format!("0.0,1,2\n{time},1,2\n")), Err(&expected));
    }
    for count in ["", "0", "-1", "1.5", "many", "4294967296", "99999999999999999999"] {
        let wrong = |field| format!("line 2: {field} {count:?} is not a whole number from 1 to 4294967295");
        check(&rows(&format!("0.0,{count},2\n")), Err(&wrong("prompt_tokens")));
        check(&rows(&format!("0.0,2,{count}\n")), Err(&wrong("output_tokens")));
    }
    for line in ["", "1.0", "1.0,2", "1.0,2,3,4"] {
        let expected =
            format!("line 2: expected three fields, arrival_s,prompt_tokens,output_tokens, found {line:?}");
        check(&rows(&format!("{line}\n")), Err(&expected));
    }
    let unsorted = "line 4: arrival_s 1.999 comes before 2 of the row above; sort the rows by arrival_s";
    check(&rows("1.0,1,1\n2.0,1,1\n1.999,1,1\n"), Err(unsorted));
    let long = format!("{HEADER}\n1.0,1,{}", "1".repeat(5000));
    check(&long, Err("line 2: the line is longer than 4096 bytes; this is no trace"));
}

#[test]
fn an_error_is_the_last_thing() {
    let mut reader = Reader::new(Cursor::new(rows("1.0,1,1\nx\n2.0,1,1\n")));
    assert!(reader.next().unwrap().is_ok());
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none());
}

/// What is not compressible, so that a cut anywhere cuts rows.
fn many() -> Vec<Arrival> {
    let row = |n: u32| Arrival {
        at: Duration::from_millis(u64::from(n) * 7),
        prompt_tokens: n.wrapping_mul(2_654_435_761) | 1,
        output_tokens: n.wrapping_mul(40_503) % 5000 + 1,
    };
    (0..20_000).map(row).collect()
}

#[test]
fn a_gzip_that_was_truncated_or_damaged_is_told() {
    let mut plain = Vec::new();
    write(many(), &mut plain).unwrap();
    let whole = gzip(&plain);
    for length in [3, 10, 11, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
        let error = Trace::read(Cursor::new(whole[..length].to_vec())).unwrap_err();
        let TraceError::Line { line, problem: Problem::Truncated } = error else {
            panic!("{length} of {}: {error}", whole.len());
        };
        let expected = format!("line {line}: the gzip data ends too early; the file was truncated");
        assert_eq!(error.to_string(), expected);
    }
    let mut damaged = whole.clone();
    let end = damaged.len() - 6;
    damaged[end] ^= 1;
    let error = Trace::read(Cursor::new(damaged)).unwrap_err();
    assert!(error.to_string().starts_with("line 20002: the gzip data is damaged: "), "{error}");
    let two = [gzip(rows("1.0,1,1\n").as_bytes()), gzip(b"2.0,1,1\n")].concat();
    assert_eq!(Trace::read(Cursor::new(two)).unwrap().arrivals().len(), 2);
}

struct Fails;
impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is gone"))
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let error = Trace::open(std::path::Path::new("/no/such/trace.csv")).unwrap_err().to_string();
    assert!(error.starts_with("it cannot be opened: "), "{error}");
    let error = Trace::read(Fails).unwrap_err().to_string();
    assert_eq!(error, "line 1: it cannot be read: the disk is gone");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        mut times in prop::collection::vec(0..100_000_000_u64, 1..100),
        lengths in prop::collection::vec((1..u32::MAX, 1..u32::MAX), 100),
        compressed in any::<bool>(),
    ) {
        times.sort_unstable();
        let row = |(at, (prompt_tokens, output_tokens)): (&u64, _)| Arrival {
            at: Duration::from_millis(*at), prompt_tokens, output_tokens,
        };
        let arrivals: Vec<_> = times.iter().zip(lengths).map(row).collect();
        let mut bytes = Vec::new();
        write(arrivals.iter().copied(), &mut bytes).unwrap();
        let bytes = if compressed { gzip(&bytes) } else { bytes };
        let read = Trace::read(Cursor::new(bytes)).unwrap();
        prop_assert_eq!(read.arrivals(), &arrivals[..]);
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let headed = [HEADER.as_bytes(), b"\n", &bytes].concat();
        for text in [bytes, headed] {
            let _ = Reader::new(Cursor::new(text)).count();
        }
    }
}
