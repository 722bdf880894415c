use super::*;

const LIMIT: usize = 1000;

/// An answer that came in these pieces, after which the connection ended, or stayed open.
fn received(pieces: &[&[u8]], ends: bool) -> Result<(Head, Vec<u8>), Faulty> {
    let mut incoming = Incoming::new(LIMIT);
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        bytes.extend_from_slice(piece);
        if let Some(head) = incoming.advance(&mut bytes, false)? {
            // What comes later shows before the next request: a connection is not used again with anything on it.
            let later = pieces[at + 1..].iter().any(|piece| !piece.is_empty());
            return if later { Err(Faulty::Extra) } else { Ok((head, bytes)) };
        }
    }
    if !ends {
        return Err(Faulty::Cut);
    }
    incoming.advance(&mut bytes, true).map(|head| (head.expect("an end is the end"), bytes))
}

/// However the bytes are cut, and whether or not the connection is closed behind them, the same comes of them.
#[track_caller]
fn check(raw: &[u8], expected: Result<(u16, &str, bool), &str>) {
    let by_close = matches!(expected, Ok((.., false)));
    let mut ways: Vec<Vec<&[u8]>> = (0..=raw.len()).map(|at| vec![&raw[..at], &raw[at..]]).collect();
    ways.push(raw.chunks(1).collect());
    for pieces in &ways {
        for ends in [true, false] {
            if !ends && (by_close || expected.is_err()) {
                continue;
            }
            let found = received(pieces, ends);
            let text = String::from_utf8_lossy(raw);
            match (&found, expected) {
                (Ok((head, body)), Ok((status, expected, keep))) => {
                    assert_eq!((head.status.as_u16(), head.keep), (status, keep), "{text}");
                    assert_eq!(body, expected.as_bytes(), "{text}");
                }
                (Err(error), Err(clause)) => {
                    let found = error.to_string();
                    assert!(found.contains(clause), "{found:?} lacks {clause:?}: {text} in {pieces:?}");
                }
                _ => panic!("{found:?} instead of {expected:?}: {text} in {pieces:?}"),
            }
        }
    }
}

#[test]
fn a_length_says_where_the_body_ends() {
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nqueue", Ok((200, "queue", true)));
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok((200, "", true)));
    check(b"HTTP/1.1 200\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab", Ok((200, "ab", true)));
    check(b"HTTP/1.1 500 Oh no\r\ncontent-length: 2, 2\r\n\r\nab", Ok((500, "ab", true)));
    check(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: foo, Close\r\n\r\nab",
        Ok((200, "ab", false)),
    );
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nqueue", Err("before the end"));
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nqueue", Err("more came"));
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc", Err("stated twice"));
    for length in ["-1", "+3", "", "3 3", "0x3", "\x7f"] {
        let raw = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nabc");
        let why = if length == "\x7f" { "not HTTP" } else { "not a number" };
        check(raw.as_bytes(), Err(why));
    }
    for length in ["1001", "99999999999999999999999999"] {
        let raw = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        check(raw.as_bytes(), Err("too large"));
    }
}

#[test]
fn chunks_are_put_together() {
    let chunked =
        |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n{body}").into_bytes();
    check(&chunked("5\r\nqueue\r\n0\r\n\r\n"), Ok((200, "queue", true)));
    check(&chunked("0\r\n\r\n"), Ok((200, "", true)));
    check(&chunked("2;a=b\r\nqu\r\n003 \r\neue\r\n0;x\r\nA: b\r\nC: d\r\n\r\n"), Ok((200, "queue", true)));
    check(&chunked("A\r\n\r\n0\r\n\r\nabc\r\n0\r\n\r\n"), Ok((200, "\r\n0\r\n\r\nabc", true)));
    for cut in ["5\r\nqueue\r\n0\r\n", "5\r\nqueue\r\n", "5\r\nqu", "5", "", "0\r\nA: b\r\n"] {
        check(&chunked(cut), Err("before the end"));
    }
    for damaged in
        ["\r\nqueue", "5\r\nqueueX\r\n0\r\n\r\n", "5 5\r\nqueue", "-1\r\n", "fffffffffffffffff\r\n"]
    {
        check(&chunked(damaged), Err("damaged"));
    }
    check(&chunked("0\r\n\r\nHTTP"), Err("more came"));
    check(&chunked("3e9\r\n"), Err("too large"));
    check(&chunked("ffffffffffffffff\r\n"), Err("too large"));
    let endless = format!("1;{}", "x".repeat(LINE_LIMIT + 100));
    assert_eq!(received(&[&chunked(&endless)], true), Err(Faulty::Chunks));
    let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(HEAD_LIMIT / 6));
    assert_eq!(received(&[&chunked(&trailers)], true), Err(Faulty::LongHead));
    let (head, body) = received(&[&chunked(&("1\r\nx\r\n".repeat(LIMIT) + "0\r\n\r\n"))], false).unwrap();
    assert!(head.keep && body == vec![b'x'; LIMIT]);
}

#[test]
fn without_a_length_the_end_of_the_connection_is_the_end() {
    check(b"HTTP/1.1 200 OK\r\n\r\nqueue", Ok((200, "queue", false)));
    check(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\nqueue", Ok((200, "queue", false)));
    check(b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nqueue", Ok((200, "queue", false)));
    check(
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\nConnection: Keep-Alive\r\n\r\nqueue",
        Ok((200, "queue", true)),
    );
    let long = ["HTTP/1.1 200 OK\r\n\r\n", &"x".repeat(LIMIT + 1)].concat();
    assert_eq!(received(&[long.as_bytes()], true), Err(Faulty::TooLarge));
}

#[test]
fn interim_and_empty_answers() {
    check(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
        Ok((200, "a", true)),
    );
    check(b"HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "", true)));
    check(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\n\r\n", Ok((304, "", true)));
    check(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", Err("switches protocols"));
    let flood = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_LIMIT / 20);
    assert_eq!(received(&[&flood], true), Err(Faulty::LongHead));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    check(b"", Err("without an answer"));
    check(b"HTTP/1.1 200 OK\r\ncontent-le", Err("before the end"));
    check(b"HTTP/1.1 100 Continue\r\n\r\n", Err("before the end"));
    for other in
        ["this is not HTTP at all\r\n\r\n", "<html></html>", "HTTP/2 200\r\n\r\n", "queue 7\n", "\0\0\0"]
    {
        check(other.as_bytes(), Err("not HTTP"));
    }
    check(b"HTTP/1.1 200 OK\r\nname with space: x\r\n\r\n", Err("not HTTP"));
    check(b"HTTP/1.1 099 Low\r\n\r\n", Err("not HTTP"));
    check(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Err("transfer coding \"gzip\""),
    );
    check(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        Err("speaks against"),
    );
    check(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Err("speaks against"));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
    assert_eq!(received(&[many.as_bytes()], true), Err(Faulty::LongHead));
    for end in ["\r\n\r\n", ""] {
        let long = format!("HTTP/1.1 200 OK\r\na: {}{end}", "b".repeat(HEAD_LIMIT));
        assert_eq!(received(&[long.as_bytes()], true), Err(Faulty::LongHead));
    }
}

#[test]
fn what_the_head_says_of_the_body() {
    let head = |lines: &str| {
        let raw = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{lines}\r\n");
        received(&[raw.as_bytes()], false).unwrap().0
    };
    assert_eq!(head("").encoding, Encoding::Identity);
    assert_eq!(head("content-encoding: identity\r\n").encoding, Encoding::Identity);
    assert_eq!(head("Content-Encoding: GZIP\r\n").encoding, Encoding::Gzip);
    assert_eq!(head("content-encoding: br\r\n").encoding, Encoding::Other("br".to_owned()));
    assert_eq!(head("content-encoding: gzip, gzip\r\n").encoding, Encoding::Other("gzip".to_owned()));
    assert_eq!(head("").format, Format::Text);
    assert_eq!(
        head("content-type: application/openmetrics-text; version=1.0.0\r\n").format,
        Format::OpenMetrics
    );
}
