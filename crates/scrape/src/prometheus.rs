//! Instant queries of Prometheus' HTTP API, and of whatever else speaks it (Thanos, Mimir, `VictoriaMetrics`).

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::client::{Answer, Client, Request};
use crate::error::NoValue;
use crate::percent::percent_encoded;
use crate::{Endpoint, ScrapeError, deadline};

/// The end of an error text that is not worth more.
const LONGEST_ERROR: usize = 200;

/// One query, asked when asked to, on a connection that is kept.
pub struct InstantQuery {
    endpoint: Endpoint,
    deadline: Duration,
    client: Client,
}

impl InstantQuery {
    /// `server`'s path is what its API lies under, `/` for most. Not connected yet.
    pub fn new(server: &Endpoint, query: &str, interval: Duration) -> Self {
        let deadline = deadline(interval);
        let seconds = deadline.as_secs_f64();
        let prefix = server.path.trim_end_matches('/');
        let path = format!("{prefix}/api/v1/query?query={}&timeout={seconds:.3}s", percent_encoded(query));
        Self { endpoint: Endpoint { path, ..server.clone() }, deadline, client: Client::default() }
    }

    /// Asks once: when it was asked, the value or why there is none, and the bytes of the answer.
    pub async fn poll(&mut self) -> (Instant, Result<f64, ScrapeError>, usize) {
        let asked = Instant::now();
        let request = Request { query: "", accept: "application/json" };
        match tokio::time::timeout(self.deadline, self.client.fetch(&self.endpoint, request)).await {
            Ok(Ok(answer)) => (asked, value(&answer), answer.bytes.len()),
            Ok(Err(error)) => (asked, Err(error), 0),
            Err(_) => (asked, Err(ScrapeError::Deadline(self.deadline)), 0),
        }
    }
}

/// What the API wraps everything in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    status: String,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    result_type: String,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// Time and value.
type Point = (f64, String);

#[derive(Deserialize)]
struct Series {
    value: Point,
}

/// The one number of an answer.
fn value(answer: &Answer) -> Result<f64, ScrapeError> {
    let envelope: Envelope<'_> = match serde_json::from_slice(&answer.bytes) {
        Ok(envelope) => envelope,
        Err(_) if answer.status != StatusCode::OK => return Err(ScrapeError::Status(answer.status)),
        Err(error) => return Err(ScrapeError::NotPrometheus(error.to_string())),
    };
    let nonsense = |error: serde_json::Error| ScrapeError::NotPrometheus(error.to_string());
    let data = match envelope.data {
        Some(data) if envelope.status == "success" => data,
        _ => {
            let said = format!("{}: {}", envelope.error_type, envelope.error);
            return Err(ScrapeError::Refused(said.chars().take(LONGEST_ERROR).collect()));
        }
    };
    let (_, text) = match data.result_type.as_str() {
        "scalar" => serde_json::from_str::<Point>(data.result.get()).map_err(nonsense)?,
        "vector" => {
            let mut series: Vec<Series> = serde_json::from_str(data.result.get()).map_err(nonsense)?;
            match (series.pop(), series.len()) {
                (None, _) => return Err(ScrapeError::NoValue(NoValue::Empty)),
                (Some(only), 0) => only.value,
                (Some(_), others) => return Err(ScrapeError::NoValue(NoValue::Several(others + 1))),
            }
        }
        other => return Err(ScrapeError::NoValue(NoValue::Type(other.to_owned()))),
    };
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(ScrapeError::NoValue(NoValue::NotANumber(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Buffer;

    #[track_caller]
    fn check(status: u16, body: &str, expected: Result<f64, &str>) {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            bytes: Buffer::from(body),
            format: windlass_metrics::Format::Text,
            lost: false,
        };
        match (value(&answer), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{body}"),
            (Err(error), Err(clause)) => {
                let found = error.to_string();
                assert!(found.contains(clause), "{found:?} lacks {clause:?}");
            }
            (found, _) => panic!("{body}: {found:?}"),
        }
    }

    #[test]
    fn one_series_or_a_scalar_is_a_value_and_nothing_else() {
        let vector = |series: &str| {
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
        };
        let of = |value: &str| format!(r#"{{"metric":{{"a":"b"}},"value":[1.5,"{value}"]}}"#);
        check(200, &vector(&of("42.5")), Ok(42.5));
        check(200, r#"{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}"#, Ok(3.0));
        check(200, &vector(""), Err("no series matches now"));
        check(200, &vector(&format!("{},{},{}", of("1"), of("2"), of("3"))), Err("3 series instead of one"));
        for none in ["NaN", "+Inf", "-1", "many"] {
            check(200, &vector(&of(none)), Err(&format!("value is {none}, which is no reading")));
        }
        check(
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            Err("gives a matrix instead of one value"),
        );
        check(
            200,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
            Err("gives a string"),
        );
    }

    #[test]
    fn what_prometheus_says_of_a_bad_query_is_passed_on() {
        check(
            400,
            r#"{"status":"error","errorType":"bad_data","error":"1:5: parse error: unclosed left parenthesis"}"#,
            Err("Prometheus refuses the query: bad_data: 1:5: parse error"),
        );
        check(503, "upstream connect error", Err("status 503"));
        check(401, "", Err("status 401 Unauthorized: credentials are missing"));
        check(200, "<html>login</html>", Err("not one of Prometheus' HTTP API"));
        check(200, r#"{"status":"success"}"#, Err("refuses"));
        check(
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{}]}}"#,
            Err("missing field"),
        );
    }
}
