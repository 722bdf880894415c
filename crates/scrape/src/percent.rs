//! Text within URLs.

use std::fmt::Write as _;

/// All but what RFC 3986 calls unreserved is encoded.
pub(crate) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            // A String can always be written to.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_url() {
        assert_eq!(percent_encoded("sum(a{b=\"c d\"}) + 1"), "sum%28a%7Bb%3D%22c%20d%22%7D%29%20%2B%201");
        assert_eq!(percent_encoded("vllm:num_requests_running"), "vllm%3Anum_requests_running");
        assert_eq!(percent_encoded("é~-._"), "%C3%A9~-._");
    }
}
