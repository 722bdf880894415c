//! What the agent plays for a pod's containers, by image and command. No container is started, and no command is run.

use http::Uri;

use super::objects::Container;

/// The only command that is understood, as people write it.
const LOOP: &str = r#"/bin/sh -c "while true; do wget -q -O- URL; done""#;
/// The longest part of a command that is quoted in a message.
const QUOTED: usize = 200;

/// What one container does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Program {
    /// `aibrix/vllm-mock`, whatever its command: a mock engine on its first port, 8000 without one.
    Engine { port: u16 },
    /// `nginx`: a web server on its first port, 80 without one.
    Web { port: u16 },
    /// `busybox` with the loop of `wget`: requests to this address, one after the other.
    LoadGenerator { url: Uri },
    /// `pause`: runs and does nothing.
    Idle,
    /// Anything else. It ends at once; why, is told in a sentence.
    NotPlayed(String),
}

impl Program {
    /// Which container of a pod is played: the first that does something. The others only run.
    pub(super) fn played(containers: &[Container]) -> usize {
        let does = |container: &Container| !matches!(Self::of(container), Self::Idle | Self::NotPlayed(_));
        containers.iter().position(does).unwrap_or(0)
    }

    pub(super) fn of(container: &Container) -> Self {
        let words: Vec<&str> = container.command.iter().chain(&container.args).map(String::as_str).collect();
        let port = |default| container.ports.first().map_or(default, |port| port.container_port);
        if is_engine(&container.image) {
            return Self::Engine { port: port(8000) };
        }
        match (image_name(&container.image), &words[..]) {
            ("nginx", [] | ["nginx", ..]) => Self::Web { port: port(80) },
            ("nginx", _) => Self::NotPlayed(format!(
                "the testbed runs no commands: it plays nginx without one, not with {}; take the command away",
                quoted(&words)
            )),
            ("busybox", _) => match load_loop(&words) {
                Ok(url) => Self::LoadGenerator { url },
                Err(problem) => Self::NotPlayed(problem),
            },
            ("pause", _) => Self::Idle,
            _ => Self::NotPlayed(format!(
                "the testbed does not play the image {:?}: use aibrix/vllm-mock, nginx, pause, or busybox with {LOOP}",
                container.image
            )),
        }
    }
}

/// The address that the loop asks for, or a sentence about why this is not the loop.
fn load_loop(words: &[&str]) -> Result<Uri, String> {
    let unknown = || {
        format!(
            "the testbed runs no commands: of busybox it plays only {LOOP}, not {}",
            if words.is_empty() { "a container without a command".to_owned() } else { quoted(words) }
        )
    };
    let ["sh" | "/bin/sh", "-c", script] = words else {
        return Err(unknown());
    };
    let commands: Vec<Vec<&str>> =
        script.split(';').map(|command| command.split_whitespace().collect()).collect();
    let commands = match &commands[..] {
        [all @ .., last] if last.is_empty() => all,
        all => all,
    };
    let [head, body, end] = commands else {
        return Err(unknown());
    };
    match (&head[..], &body[..], &end[..]) {
        (
            ["while", "true"],
            ["do", "wget", "-q", "-O-", url] | ["do", "wget", "-q", "-O", "-", url],
            ["done"],
        ) => address(url),
        _ => Err(unknown()),
    }
}

/// Reads what wget is given: without a scheme it is HTTP.
fn address(url: &str) -> Result<Uri, String> {
    let problem = |what: &str| format!("the testbed's wget cannot ask for {url:?}: {what}");
    // A shell would do something with these.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"$`'\"\\&|<>(){}*[]!".contains(&byte);
    if !url.bytes().all(plain) {
        return Err(problem("write it plainly, without what a shell would expand"));
    }
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri =
        with_scheme.parse().map_err(|_| problem("it is no address such as http://nginx-service"))?;
    match uri.scheme_str() {
        Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err(problem("only http is played")),
    }
}

fn quoted(words: &[&str]) -> String {
    let all = format!("{words:?}");
    match all.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("{}…", &all[..at]),
        None => all,
    }
}

/// The last part of an image's name, without registry, tag and digest.
fn image_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default()
}

/// Whether an image is the mock engine's: `aibrix/vllm-mock`, from any registry, with any tag or digest.
fn is_engine(image: &str) -> bool {
    const NAME: &str = "aibrix/vllm-mock";
    image.find(NAME).is_some_and(|at| {
        let (before, after) = (&image[..at], &image[at + NAME.len()..]);
        (before.is_empty() || before.ends_with('/')) && (after.is_empty() || after.starts_with([':', '@']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://nginx-service.default.svc.cluster.local";

    /// Compares what is played; of what is not, part of the sentence.
    #[track_caller]
    fn check(image: &str, command: &[&str], args: &[&str], expected: &Program) {
        let container = serde_json::json!({"name": "c", "image": image, "command": command, "args": args});
        let container: Container = serde_json::from_value(container).unwrap();
        match (Program::of(&container), expected) {
            (Program::NotPlayed(sentence), Program::NotPlayed(part)) => {
                assert!(sentence.contains(part.as_str()), "{sentence:?} lacks {part:?}");
            }
            (program, expected) => assert_eq!(&program, expected, "{image} {command:?} {args:?}"),
        }
    }

    fn not_played(part: &str) -> Program {
        Program::NotPlayed(part.to_owned())
    }

    #[test]
    fn images_are_known_by_name() {
        for image in ["nginx", "nginx:latest", "docker.io/library/nginx:1.27@sha256:12", "r:5000/nginx"] {
            check(image, &[], &[], &Program::Web { port: 80 });
        }
        check("nginx", &["nginx"], &["-g", "daemon off;"], &Program::Web { port: 80 });
        check(
            "nginx",
            &["/bin/sh"],
            &["-c", "sleep 1"],
            &not_played(r#"not with ["/bin/sh", "-c", "sleep 1"]"#),
        );
        check("registry.k8s.io/pause:3.10", &[], &[], &Program::Idle);
        check("aibrix/vllm-mock", &["python3"], &["app.py"], &Program::Engine { port: 8000 });
        for image in ["nginx-exporter", "vllm-mock", "", "bitnami/nginxx:1"] {
            check(image, &[], &[], &not_played("does not play the image"));
        }
    }

    #[test]
    fn the_load_loop_is_understood() {
        let played = |url: &str| Program::LoadGenerator { url: url.parse().unwrap() };
        let good = [
            format!("while true; do wget -q -O- {URL}; done"),
            format!("while true;do wget -q -O- {URL};done;"),
            format!("  while  true ;\n do wget -q -O-   {URL} ; done ; "),
            format!("while true; do wget -q -O - {URL}; done"),
        ];
        for script in &good {
            check("busybox", &[], &["/bin/sh", "-c", script], &played(URL));
            check("busybox:1.36", &["sh", "-c"], &[script], &played(URL));
        }
        let script = "while true; do wget -q -O- web.shop:8080/a?b=c; done";
        check("busybox", &[], &["sh", "-c", script], &played("http://web.shop:8080/a?b=c"));
    }

    #[test]
    fn other_commands_are_not() {
        let loop_of = |body: &str| format!("while true; do {body}; done");
        for script in [
            "sleep 3600".to_owned(),
            String::new(),
            "while sleep 1; do wget -q -O- http://a; done".to_owned(),
            loop_of("wget -q -O- http://a http://b"),
            loop_of("wget -O- http://a"),
            loop_of("wget -q -O- http://a; rm -rf /"),
            loop_of("curl http://a"),
            "while true; do wget -q -O- http://a; done;;".to_owned(),
        ] {
            check("busybox", &[], &["/bin/sh", "-c", &script], &not_played("of busybox it plays only"));
        }
        check("busybox", &[], &[], &not_played("a container without a command"));
        check("busybox", &["sleep"], &["3600"], &not_played(r#"not ["sleep", "3600"]"#));
        check("busybox", &["/bin/bash", "-c"], &[&loop_of("wget -q -O- http://a")], &not_played("bash"));
        for (url, part) in [
            ("https://a", "only http"),
            ("http://$HOST", "shell"),
            ("`id`", "shell"),
            ("http://", "address"),
            ("'http://a'", "shell"),
        ] {
            let script = loop_of(&format!("wget -q -O- {url}"));
            check("busybox", &[], &["sh", "-c", &script], &not_played(part));
        }
        let long = "x".repeat(1000);
        check("busybox", &[&long], &[], &not_played("…"));
    }

    #[test]
    fn the_engine_is_known_by_its_image() {
        let known = [
            "aibrix/vllm-mock",
            "aibrix/vllm-mock:nightly",
            "docker.io/aibrix/vllm-mock@sha256:12",
            "r:5000/aibrix/vllm-mock:1",
        ];
        assert!(known.into_iter().all(is_engine));
        let others = ["vllm-mock", "xaibrix/vllm-mock", "aibrix/vllm-mock-gpu:1", "aibrix/vllm"];
        assert!(!others.into_iter().any(is_engine));
    }
}
