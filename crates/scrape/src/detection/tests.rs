use super::*;

/// One pod whose pages are read.
struct Pod {
    detection: Detection,
    wanted: Arc<Wanted>,
    readings: Readings,
}

impl Pod {
    fn new(label: Option<(&'static str, &'static str)>) -> Self {
        Self::with(Catalogue::builtin(), label)
    }

    fn with(catalogue: &Arc<Catalogue>, label: Option<(&'static str, &'static str)>) -> Self {
        let metrics = ["running", "kv_util"].map(|name| catalogue.resolve(name).unwrap());
        let vocabulary = Arc::new(Vocabulary::new(Arc::clone(catalogue), metrics.into(), 2));
        let wanted = vocabulary.wanted();
        let label = |key: &str| label.filter(|(known, _)| *known == key).map(|(_, value)| value);
        Self { detection: Detection::new(vocabulary, label), wanted, readings: Readings::default() }
    }

    fn read(&mut self, page: &str) -> Option<Arc<Detected>> {
        self.wanted.read(page.as_bytes(), Format::Text, &mut self.readings).unwrap();
        let page = (page.as_bytes(), Format::Text);
        self.detection.look(page, &mut self.wanted, &mut self.readings)
    }

    /// What a page brings: what is new of the engine, and how many of the two metrics there are.
    #[track_caller]
    fn check(&mut self, page: &str, expect: Option<&str>, values: usize) {
        let news = self.read(page);
        let shown = news.map(|found| {
            let series: Vec<_> = found.aliases.iter().map(|used| used.series.as_str()).collect();
            format!("{} {}: {}", found.engine, found.generation.as_deref().unwrap_or("?"), series.join(", "))
        });
        assert_eq!(shown.as_deref(), expect);
        assert_eq!(self.readings.iter().flatten().count(), values);
    }

    fn names(&self) -> usize {
        self.wanted.sample_names().count()
    }
}

const V0: &str = "vllm:num_requests_running 1\nvllm:gpu_cache_usage_perc 0.5\nvllm:num_requests_swapped 0\n";
const V1: &str = "vllm:num_requests_running 1\nvllm:kv_cache_usage_perc 0.5\n";
const IDLE: &str = "vllm:num_requests_running 1\nvllm:kv_cache_usage_perc NaN\n";
const SGLANG: &str = "sglang:num_running_reqs 3\nsglang:token_usage 0.25\n";
const OF_V0: &str = "vllm v0: vllm:num_requests_running, vllm:gpu_cache_usage_perc";
const OF_V1: &str = "vllm v1: vllm:num_requests_running, vllm:kv_cache_usage_perc";
const OF_SGLANG: &str =
    "sglang ?: sglang:num_running_reqs{tp_rank=~\"0|\",pp_rank=~\"0|\"}, sglang:token_usage";

#[test]
fn the_page_tells_once_and_after_that_only_its_names_are_looked_for() {
    let mut pod = Pod::new(None);
    let all = pod.names();
    pod.check(V1, Some(OF_V1), 2);
    assert!(pod.names() * 2 < all, "{} of {all} names", pod.names());
    for _ in 0..2 * LOOK_AGAIN {
        pod.check(V1, None, 2);
    }
}

#[test]
fn an_upgrade_in_place_is_noticed_by_its_names() {
    let mut pod = Pod::new(None);
    pod.check(V0, Some(OF_V0), 2);
    pod.check(V1, Some(OF_V1), 2);
    pod.check(V1, None, 2);
}

#[test]
fn another_engine_at_the_same_address_is_read_at_once() {
    let mut pod = Pod::new(None);
    pod.check(V1, Some(OF_V1), 2);
    pod.check(SGLANG, Some(OF_SGLANG), 2);
    pod.check(SGLANG, None, 2);
}

#[test]
fn a_metric_without_a_value_is_no_news() {
    let mut pod = Pod::new(None);
    pod.check(V1, Some(OF_V1), 2);
    for page in [IDLE, V1, IDLE, IDLE] {
        pod.check(page, None, if page == IDLE { 1 } else { 2 });
    }
    pod.detection.doubt();
    pod.check(IDLE, None, 1);
}

#[test]
fn a_page_that_is_empty_at_first_is_looked_at_again() {
    let mut pod = Pod::new(None);
    pod.check("other 1\n", None, 0);
    pod.check("other 1\n", None, 0);
    pod.check(V1, Some(OF_V1), 2);
}

#[test]
fn the_label_counts_and_a_wrong_one_loses_no_reading() {
    let mut pod = Pod::new(Some(("llm-d.ai/engine-type", "sglang")));
    pod.check(SGLANG, Some(OF_SGLANG), 2);
    let mut pod = Pod::new(Some(("model.aibrix.ai/engine", "sglang")));
    pod.check(V1, Some("sglang ?: vllm:num_requests_running, vllm:kv_cache_usage_perc"), 2);
    pod.check(V1, None, 2);
}

/// A page with the names of two engines: those of the one that is told are read, of the other only what it lacks.
#[test]
fn of_two_engines_on_a_page_the_one_that_is_told_is_read() {
    let both = format!("{SGLANG}vllm:num_requests_running 1\n");
    let of_vllm = "vllm ?: vllm:num_requests_running, sglang:token_usage";
    let mut pod = Pod::new(None);
    pod.check(&both, Some(of_vllm), 2);
    pod.check(&both, None, 2);
    assert_eq!(pod.readings[0].as_ref().unwrap().sample, windlass_metrics::Sample::Gauge(1.0));
    let mut pod = Pod::new(Some(("model.aibrix.ai/engine", "sglang")));
    pod.check(&both, Some(OF_SGLANG), 2);
    assert_eq!(pod.readings[0].as_ref().unwrap().sample, windlass_metrics::Sample::Gauge(3.0));
}

#[test]
fn an_engine_that_wraps_another_is_told_by_its_own_names() {
    let file = "engine = [{ name = 'ours', title = 'Ours', prefixes = ['ours_'] }]\n\
                [[metric]]\nname = 'running'\nalias = [{ engine = 'ours', type = 'gauge', add = ['ours_jobs'] }]\n";
    let catalogue = Arc::new(Catalogue::builtin().extended(file).unwrap());
    let page = format!("{V1}ours_jobs 7\n");
    let mut pod = Pod::with(&catalogue, None);
    pod.check(&page, Some("ours ?: ours_jobs, vllm:kv_cache_usage_perc"), 2);
    let mut pod = Pod::with(&catalogue, Some(("llm-d.ai/engine-type", "vllm")));
    pod.check(&page, Some(OF_V1), 2);
}

/// A value that is missing for one page, of a name that is another engine's, is there again on the next.
#[test]
fn one_nan_under_another_engines_name_loses_one_reading() {
    for label in [None, Some(("model.aibrix.ai/engine", "sglang")), Some(("model.aibrix.ai/engine", "tgi"))] {
        let of_vllm = "vllm:kv_cache_usage_perc 0.5\n";
        let beside = if label.is_none() { "sglang:num_running_reqs 3\nvllm:x 1\n" } else { "" };
        let (there, nan) = (format!("{beside}{of_vllm}"), format!("{beside}vllm:kv_cache_usage_perc NaN\n"));
        for begin in [&there, &nan] {
            let mut pod = Pod::new(label);
            let values = |page: &String| usize::from(*page == there) + usize::from(label.is_none());
            for page in [begin, &there, &nan, &there, &there] {
                pod.read(page);
                assert_eq!(pod.readings.iter().flatten().count(), values(page), "{label:?}");
                assert!(
                    pod.detection.known.as_ref().unwrap().aliases.iter().any(|used| used.metric == "kv_util")
                );
            }
        }
    }
}

#[test]
fn an_engine_that_has_no_such_metric_says_so() {
    let catalogue = Catalogue::builtin();
    let lacking =
        catalogue.list().find(|cell| cell.aliases.is_empty() && cell.metric.name == "preemption_rate");
    let engine = lacking.expect("an engine without preemptions").engine.name.clone();
    let metrics = vec![catalogue.resolve("preemption_rate").unwrap()];
    let vocabulary = Arc::new(Vocabulary::new(Arc::clone(catalogue), metrics, 1));
    let mut wanted = vocabulary.wanted();
    let mut detection = Detection::new(vocabulary, |_| Some(engine.as_str()));
    let mut readings = Readings::default();
    wanted.read(b"other 1\n", Format::Text, &mut readings).unwrap();
    assert!(detection.look((b"other 1\n", Format::Text), &mut wanted, &mut readings).is_some());
    let why = detection.why_missing(0).unwrap();
    assert!(why.starts_with("preemption_rate: ") && why.contains("does not expose it"), "{why}");
}
