//! The page of the load side: that of the testbed's mock engine, asked for once, with one number that changes.

use std::fmt::Write;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;
use windlass_testbed::mock_engine::{self, Script, ScriptedGauges};

use crate::stage::get;

/// The series whose value is the load.
const LOAD: &str = "vllm:num_requests_running";

/// A page, line by line.
pub(super) struct Page {
    /// The name of each line's sample, or of the family for a comment, and the line with its line feed.
    lines: Vec<(String, String)>,
    /// Which of them shows the load, without its value.
    load: usize,
}

impl Page {
    /// Asks a mock engine for it.
    pub(super) async fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let gauges = "num_requests_running".parse::<ScriptedGauges>()?;
        let script = Script { share: 1.0, gauges, ..Script::default() };
        let (_script, script) = watch::channel(script);
        let (status, text) = tokio::select! {
            answer = get(&address, "/metrics") => answer?,
            Err(error) = mock_engine::serve(listener, script, None) => bail!("no mock engine: {error}"),
        };
        if status != 200 {
            bail!("the mock engine answered {status}");
        }
        Self::of(&text)
    }

    fn of(text: &str) -> anyhow::Result<Self> {
        let mut lines: Vec<(String, String)> =
            text.lines().map(|line| (name(line).to_owned(), format!("{line}\n"))).collect();
        let shows = |(named, line): &(String, String)| named == LOAD && !line.starts_with('#');
        let load = lines.iter().position(shows).with_context(|| format!("the page has no {LOAD}"))?;
        let line = &mut lines[load].1;
        line.truncate(line.rfind(' ').context("a line without a value")? + 1);
        Ok(Self { lines, load })
    }

    /// The whole answer to a request, and whether it was filtered by name.
    pub(super) fn answer(&self, request: &[u8], load: f64) -> (Vec<u8>, bool) {
        let target = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let target = String::from_utf8_lossy(target);
        let names: Vec<String> = target
            .split(['?', '&'])
            .filter_map(|part| part.strip_prefix("name[]=").or(part.strip_prefix("name%5B%5D=")))
            .map(|name| name.replace("%3A", ":"))
            .collect();
        let wanted = |name: &String| names.is_empty() || names.contains(name);
        let mut body = String::with_capacity(if names.is_empty() { 64 << 10 } else { 1 << 10 });
        for (at, (name, line)) in self.lines.iter().enumerate() {
            if wanted(name) {
                body.push_str(line);
                if at == self.load {
                    let _ = writeln!(body, "{load}");
                }
            }
        }
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(body.as_bytes());
        (answer, !names.is_empty())
    }
}

/// Whose line it is.
fn name(line: &str) -> &str {
    let text = line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE ")).unwrap_or(line);
    text.split(['{', ' ']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_answered_whole_and_by_name() {
        let text = "# HELP vllm:num_requests_running Running.\n# TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{model_name=\"m\"} 1.0\n# TYPE other gauge\nother 3\n";
        let page = Page::of(text).unwrap();
        let check = |target: &str, body: &str, filtered: bool| {
            let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
            let (answer, was) = page.answer(request.as_bytes(), 7.5);
            let answer = String::from_utf8(answer).unwrap();
            let (head, found) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!((found, was), (body, filtered), "{target}");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        };
        let load = &text[..text.find(" 1.0").unwrap()];
        check("/metrics", &format!("{load} 7.5\n# TYPE other gauge\nother 3\n"), false);
        check("/metrics?name[]=other", "# TYPE other gauge\nother 3\n", true);
        check("/metrics?name%5B%5D=vllm%3Anum_requests_running", &format!("{load} 7.5\n"), true);
        check("/metrics?name[]=absent", "", true);
    }
}
