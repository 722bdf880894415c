use super::*;

const ENGINE: &str = "[[engine]]\nname = 'e'\ntitle = 'E'\nprefixes = ['e:']\n";
const ROW: &str = "[[metric]]\nname = 'a'\nkind = 'additive'\nunit = 'x'\naggregation = 'sum'\n";
const ALIAS: &str = "[[metric.alias]]\nengine = 'e'\ngeneration = 'g'\ntype = 'gauge'\nadd = ['e:a']\n";

#[test]
fn faults_are_named() {
    let check = |text: &str, sentence: &str| {
        let error = Catalogue::parse(&format!("{ENGINE}{text}")).unwrap_err().to_string();
        assert!(error.contains(sentence), "{error:?} lacks {sentence:?}");
    };
    let alias = |from: &str, to: &str| {
        assert!(ALIAS.contains(from));
        format!("{ROW}{}", ALIAS.replace(from, to))
    };
    assert_eq!(Catalogue::parse(&format!("{ENGINE}{ROW}{ALIAS}")).unwrap().metrics().len(), 1);
    check("[[metric]]\nkind = 'additive'", "missing field `name`");
    check(&format!("[[metric]]\nname = 'a'\n{ALIAS}"), "row `a`: it is new, so `aggregation` is needed");
    check(&format!("{ROW}colour = 'red'\n{ALIAS}"), "unknown field `colour`");
    check(&format!("{ROW}alias = []"), "catalogue row `a`: it has no alias");
    check(&alias("'e:a'", ""), "names no series");
    check(&alias("add = ['e:a']", ""), "needs just one of `add`, `multiply` and `divide`");
    check(&alias("add", "add = ['e:a']\ndivide"), "needs just one of `add`, `multiply` and `divide`");
    check(&alias("e:a", "e{x=1}"), "`e{x=1}` is not a metric name (label x needs a value in quotes)");
    check(&alias("gauge", "asdeclared"), "unknown variant `asdeclared`");
    check(&alias("'e'", "'f'"), "there is no engine `f`; there are e");
    check(&alias("add = ['e:a']", "multiply = ['e:a']"), "`e:a` multiplies one term");
    check(&alias("add = ['e:a']", "divide = ['e:a']"), "`divide` takes two terms, not 1");
    let product = alias("add = ['e:a']", "multiply = ['e:a', 'e:b']");
    check(&product.replace("gauge", "counter"), "`e:a × e:b` is a product, so the type must be `gauge`");
    check(&alias("e:a", "e:a[x]").replace("gauge", "counter"), "`e:a[x]` reads labels");
    check(&alias("add", "scale = 0.0\nadd"), "`scale` of `e:a` is 0, but must be above 0");
    check(&format!("{ROW}full_scale = 1.0\n{ALIAS}"), "`full_scale` is for kind `utilisation`");
    let utilisation = ROW.replace("additive", "utilisation");
    check(&format!("{utilisation}full_scale = 0.0\n{ALIAS}"), "must be above 0");
    check(&format!("{utilisation}backlog = true\n{ALIAS}"), "`backlog` is for kind `additive`");
    check(&format!("{ROW}quantile = 95.0\n{ALIAS}"), "`quantile` is 95, but must be from 0 to 1");
    check(&format!("{ROW}synonyms = [{{ name = 'p', quantile = 2.0 }}]\n{ALIAS}"), "`quantile` is 2");
    check(&format!("{ROW}synonyms = [{{ name = 'p', percentile = 2.0 }}]\n{ALIAS}"), "with `quantile`");
    let mean = ROW.replace("'sum'", "'mean'");
    check(&format!("{mean}{}", ALIAS.replace("'e:a'", "'e:a', 'e:b'")), "`e:a + e:b` is a sum of series");
    check(&alias("'e:a'", "'e:a', 'e:b'").replace("gauge", "histogram"), "a histogram stands alone");
    check(&format!("{mean}{}", ALIAS.replace("gauge", "histogram")), "the aggregation must be `sum`");
    check(&format!("{ROW}synonyms = ['a']\n{ALIAS}"), "the name `a` is already taken by row `a`");
    check(
        &format!("{ROW}synonyms = ['b']\n{ALIAS}{}{ALIAS}", ROW.replace("'a'", "'b'")),
        "row `b`: the name `b` is already taken by row `a`",
    );
    check(
        &format!("{ROW}{ALIAS}{}{ALIAS}", ROW.replace("'a'", "'b'")),
        "row `b`: the series `e:a` already stands alone in an alias of row `a`",
    );
    check(&format!("{ROW}lacks.e = 'so'\n{ALIAS}"), "engine `e` has it as `e:a` and is said to lack it");
    check(ENGINE, "catalogue engine `e`: it is known already");
    let other = ENGINE.replace("'e'", "'f'");
    check(&other.replace("'e:'", ""), "catalogue engine `f`: it needs `prefixes`");
    for prefix in ["''", "'process_'", "'p'"] {
        check(&other.replace("'e:'", prefix), "tells no engine, because others' series begin so");
    }
    for prefix in ["'e:'", "'e:f'"] {
        let told =
            format!("series that begin with `{}` would be told as those of `e`", prefix.trim_matches('\''));
        check(&other.replace("'e:'", prefix), &told);
    }
    let other = other.replace("'e:'", "'f:'");
    for path in ["x", "/a b"] {
        check(
            &format!("{other}path = '{path}'"),
            &format!("`path` is `{path}`, but must begin with a slash"),
        );
    }
}

#[test]
fn an_engine_of_a_file_is_told_before_those_there_were() {
    let extended = |prefixes: &str| {
        let engine = format!("[[engine]]\nname = 'ours'\ntitle = 'Ours'\n{prefixes}\n");
        Catalogue::builtin().extended(&engine).map_err(|error| error.to_string())
    };
    let told = |prefixes: &str| {
        let catalogue = extended(prefixes).unwrap();
        let (engine, _) = catalogue.engine_by_names(["vllm:a", "vllm:ours_b"]).unwrap();
        engine.name.clone()
    };
    assert_eq!(told("prefixes = ['vllm:ours_']"), "ours");
    assert_eq!(told("prefixes = ['other_']"), "vllm");
    assert_eq!(told("labels = ['fork']"), "vllm");
    for all_of_them in ["vllm:", "v"] {
        let error = extended(&format!("prefixes = ['{all_of_them}']")).unwrap_err();
        assert!(error.contains("series that begin with `vllm:` would be told as those of `ours`"), "{error}");
    }
    assert!(extended("").unwrap_err().contains("it needs `prefixes`"));
}

#[test]
fn a_file_extends_the_catalogue() {
    let alias = |engine: &str, add: &str| {
        format!("[[metric.alias]]\nengine = '{engine}'\ntype = 'gauge'\nadd = ['{add}']\n")
    };
    let text = format!(
        "{ENGINE}{ROW}{}[[metric]]\nname = 'kv_util'\nsynonyms = ['use']\n{}{}",
        alias("e", "e:a"),
        alias("e", "e:use"),
        alias("tgi", "tgi_batch_current_max_tokens").replace("add", "derived = 'x'\nscale = 0.0001\nadd"),
    );
    let extended = Catalogue::builtin().extended(&text).unwrap();
    assert_eq!(extended.metrics().len(), Catalogue::builtin().metrics().len() + 1);
    assert_eq!(extended.resolve("e:a").unwrap().canonical.as_deref(), Some("a"));
    let kv = extended.resolve("use").unwrap();
    assert_eq!(kv, Metric { name: "use".to_owned(), ..extended.resolve("kv_util").unwrap() });
    assert_eq!((kv.aliases[0].to_string().as_str(), kv.full_scale), ("e:use", Some(1.0)));
    assert!(kv.aliases[2].to_string().starts_with("vllm:"));
    assert!(!kv.lacks.contains_key("tgi"));
    let names = ["x", "e:b"];
    assert_eq!(extended.engine_by_names(names).unwrap().0.title, "E");
    let check = |text: &str, sentence: &str| {
        let error = Catalogue::builtin().extended(text).unwrap_err().to_string();
        assert!(error.contains(sentence), "{error:?} lacks {sentence:?}");
    };
    check(
        "[[metric]]\nname = 'kv_util'\nunit = 'percent'",
        "row `kv_util`: it is known already, and its `unit` cannot be changed",
    );
    check("[[metric]]\nname = 'gpu_cache_usage_perc'", "is already taken by row `kv_util`");
    check("[[metric]]\nname = 'a'\nsynonyms = ['ttft']", "the name `ttft` is already taken by row `ttft`");
    check("[[metrics]]\nname = 'kv_util'", "unknown field `metrics`");
}

/// Name asked for, canonical name, the aliases of vLLM, the first one's type.
#[test]
fn names_resolve() {
    use SeriesType::{AsDeclared, Counter, Gauge};
    let check = |name: &str, canonical: Option<&str>, aliases: &str, first: SeriesType| {
        let metric = Catalogue::builtin().resolve(name).unwrap();
        let found: Vec<_> = metric
            .aliases
            .iter()
            .filter(|alias| matches!(alias.engine.as_str(), "" | "vllm"))
            .map(ToString::to_string)
            .collect();
        assert_eq!((metric.name.as_str(), metric.canonical.as_deref()), (name, canonical));
        assert_eq!(found.join(", "), aliases);
        assert_eq!(metric.aliases[0].series_type, first);
    };
    let kv = "vllm:kv_cache_usage_perc, vllm:gpu_cache_usage_perc";
    let prompt = "vllm:avg_prompt_throughput_toks_per_s, vllm:prompt_tokens_total";
    check("running", Some("running"), "vllm:num_requests_running", Gauge);
    check("num_requests_waiting", Some("waiting"), "vllm:num_requests_waiting", Gauge);
    check("inflight", Some("inflight"), "vllm:num_requests_running + vllm:num_requests_waiting", Gauge);
    check("gpu_cache_usage_perc", Some("kv_util"), kv, Gauge);
    check("kv_cache_usage_perc", Some("kv_util"), kv, Gauge);
    check("vllm:gpu_cache_usage_perc", Some("kv_util"), "vllm:gpu_cache_usage_perc", Gauge);
    check("avg_prompt_throughput_toks_per_s", Some("prompt_tokens_rate"), prompt, Gauge);
    check("vllm:prompt_tokens_total", Some("prompt_tokens_rate"), "vllm:prompt_tokens_total", Counter);
    check("vllm:prompt_tokens", Some("prompt_tokens_rate"), "vllm:prompt_tokens_total", Counter);
    check("request_success_total", Some("request_rate"), "vllm:request_success_total", Counter);
    check("my_queue_depth", None, "my_queue_depth", AsDeclared);
    check("my.queue/depth", None, "my.queue/depth", AsDeclared);
    check(r#"my{a="b"}"#, None, r#"my{a="b"}"#, AsDeclared);
    check(
        r#"vllm:num_requests_running{model_name="a"}"#,
        Some("running"),
        r#"vllm:num_requests_running{model_name="a"}"#,
        Gauge,
    );
    check(
        r#"inflight{model_name="a"}"#,
        Some("inflight"),
        r#"vllm:num_requests_running{model_name="a"} + vllm:num_requests_waiting{model_name="a"}"#,
        Gauge,
    );
}

/// Name asked for, canonical name, its aliases.
#[test]
fn engines_own_names_resolve() {
    let check = |name: &str, canonical: Option<&str>, aliases: &[&str]| {
        let metric = Catalogue::builtin().resolve(name).unwrap();
        let found: Vec<_> = metric.aliases.iter().map(ToString::to_string).collect();
        assert_eq!(metric.canonical.as_deref(), canonical, "{name}");
        assert_eq!(found, aliases, "{name}");
    };
    let rank = r#"sglang:num_running_reqs{tp_rank=~"0|",pp_rank=~"0|"}"#;
    check("sglang:num_running_reqs", Some("running"), &[rank]);
    let other = r#"sglang:num_running_reqs{pp_rank=~"0|",tp_rank="1"}"#;
    check(r#"sglang:num_running_reqs{tp_rank="1"}"#, Some("running"), &[other]);
    let requests = "nv_trt_llm_request_metrics";
    check(requests, None, &[requests]);
    let waiting = r#"nv_trt_llm_request_metrics{request_type="waiting"}"#;
    check(waiting, Some("waiting"), &[waiting]);
    let of_one = r#"nv_trt_llm_request_metrics{request_type="waiting",model="m"}"#;
    check(of_one, Some("waiting"), &[of_one]);
    let one = r#"nv_inference_request_success{model="m"}"#;
    check(one, Some("request_rate"), &[one]);
    check("vllm:time_per_output_token_seconds", Some("itl"), &["vllm:time_per_output_token_seconds"]);
    check("kv_cache_utilization", Some("kv_util"), &["kv_cache_utilization"]);
    let first = Catalogue::builtin().resolve("nv_inference_first_response_histogram_ms").unwrap();
    assert_eq!((first.canonical.as_deref(), first.unit.as_str()), (Some("ttft"), ""));
    assert!(first.aliases.iter().all(|alias| alias.scale == 1.0), "raw names keep their unit");
}

#[test]
fn names_of_queries_say_what_of_a_histogram_is_meant() {
    let check = |name: &str, canonical: &str, statistic: Statistic, unit: &str| {
        let metric = Catalogue::builtin().resolve(name).unwrap();
        let found = (metric.canonical.as_deref(), metric.statistic, metric.unit.as_str());
        assert_eq!(found, (Some(canonical), statistic, unit), "{name}");
    };
    check("ttft", "ttft", Statistic::Quantile(0.95), "seconds");
    check("p95_ttft_5m_pod", "ttft", Statistic::Quantile(0.95), "seconds");
    check("avg_ttft_5m_pod", "ttft", Statistic::Mean, "seconds");
    check("avg_tpot_pod_5m", "tpot", Statistic::Mean, "seconds");
    check("prompt_length", "prompt_length", Statistic::Mean, "tokens");
    check("avg_requests_per_min_pod", "request_rate", Statistic::Mean, "requests/min");
    let per_minute = Catalogue::builtin().resolve("avg_requests_per_min_pod").unwrap();
    assert!(per_minute.aliases.iter().all(|alias| alias.scale == 60.0));
}

#[test]
fn what_waits_is_a_backlog() {
    for (name, backlog) in [
        ("waiting", true),
        ("num_requests_waiting", true),
        ("vllm:num_requests_waiting", true),
        ("inflight", false),
        ("my_queue_depth", false),
    ] {
        assert_eq!(Catalogue::builtin().resolve(name).unwrap().backlog, backlog, "{name}");
    }
}

#[test]
fn what_needs_events_is_known() {
    let check = |name: &str, histogram: bool, events: bool, seconds: Option<u64>| {
        let metric = Catalogue::builtin().resolve(name).unwrap();
        let window = metric.window.map(|window| window.as_secs());
        assert_eq!(
            (metric.has_histogram(), metric.is_of_events(), window),
            (histogram, events, seconds),
            "{name}"
        );
    };
    check("ttft", true, true, None);
    check("p95_ttft_5m", true, true, Some(300));
    check("avg_tpot_pod_5m", true, true, Some(300));
    check("llamacpp:tokens_predicted_seconds_total", false, false, None);
    check("generation_length", true, true, None);
    check("inflight", false, false, None);
    check("request_rate", false, false, None);
}

#[test]
fn what_cannot_be_read_is_said() {
    for name in ["", "a b", "rate(x[1m])", "x{y=z}", "x\n"] {
        let error = Catalogue::builtin().resolve(name).unwrap_err();
        assert_eq!(error.text, name, "{error}");
    }
}

#[test]
fn utilisation_has_a_full_scale_and_nothing_of_the_catalogue_is_negative() {
    for metric in Catalogue::builtin().metrics() {
        assert_eq!(metric.full_scale.is_some(), metric.kind == Kind::Utilisation, "{}", metric.name);
        assert!(!metric.signed);
    }
}

/// What every engine must have, or be said to lack.
const CANONICAL: [&str; 18] = [
    "running",
    "waiting",
    "inflight",
    "kv_util",
    "kv_tokens",
    "kv_capacity_tokens",
    "prompt_tokens_rate",
    "generation_tokens_rate",
    "cached_tokens_rate",
    "request_rate",
    "preemption_rate",
    "ttft",
    "tpot",
    "itl",
    "e2e",
    "queue_time",
    "prompt_length",
    "generation_length",
];

#[test]
fn every_engine_has_a_metric_or_says_why_not() {
    let catalogue = Catalogue::builtin();
    for name in CANONICAL {
        let metric = catalogue.resolve(name).unwrap();
        assert_eq!(metric.canonical.as_deref(), Some(name));
        let cells: Vec<_> = catalogue.list().filter(|cell| cell.metric.name == name).collect();
        assert_eq!(cells.len(), 8);
        for cell in cells {
            let engine = &cell.engine.name;
            assert!(!cell.aliases.is_empty() || cell.lacks.is_some(), "{name} of {engine}");
            if cell.aliases.is_empty() {
                let why = catalogue.why_lacking(&metric, engine).unwrap();
                let said = format!("{} does not expose it: ", cell.engine.title);
                assert!(why.starts_with(&said) && why.len() > said.len(), "{why}");
            }
        }
    }
    let kv = catalogue.resolve("kv_util").unwrap();
    assert_eq!(catalogue.why_lacking(&kv, "sglang"), None);
    let tokens = catalogue.resolve("kv_tokens").unwrap();
    let of_tgi = tokens.aliases.iter().find(|alias| alias.engine == "tgi").unwrap();
    assert!(of_tgi.derived.is_some(), "a stand-in is named as one");
}

/// What AIBrix's registry maps to engines' series, at the commit the facts name and at its head.
const AIBRIX: &str = "num_requests_running num_requests_waiting num_requests_swapped engine_sleep_state \
    num_prefill_prealloc_queue_reqs num_decode_prealloc_queue_reqs gpu_cache_usage_perc kv_cache_usage_perc \
    kv_cache_hit_rate cpu_cache_usage_perc engine_utilization avg_prompt_throughput_toks_per_s \
    avg_generation_throughput_toks_per_s request_success_total http_requests_total num_preemptions_total \
    prompt_tokens_total generation_tokens_total prefix_cache_queries_total prefix_cache_hits_total \
    external_prefix_cache_queries_total external_prefix_cache_hits_total nixl_num_failed_transfers_total \
    nixl_num_failed_notifications_total nixl_xfer_time_seconds nixl_post_time_seconds nixl_bytes_transferred \
    nixl_num_descriptors e2e_request_latency_seconds time_to_first_token_seconds \
    time_per_output_token_seconds inter_token_latency_seconds request_time_per_output_token_seconds \
    request_queue_time_seconds request_inference_time_seconds request_decode_time_seconds \
    request_prefill_time_seconds request_prompt_tokens request_generation_tokens \
    request_max_num_generation_tokens iteration_tokens_total per_stage_req_latency_seconds \
    http_request_duration_seconds http_request_duration_highr_seconds max_lora p95_ttft_5m p95_ttft_5m_pod \
    avg_ttft_5m_pod p95_tpot_5m_pod avg_tpot_pod_5m avg_prompt_toks_per_req avg_generation_toks_per_req \
    avg_e2e_latency_pod avg_requests_per_min_pod avg_prompt_throughput_toks_per_min_pod \
    avg_generation_throughput_toks_per_min_pod drain_rate_1m";

#[test]
fn aibrix_names_are_known() {
    for name in AIBRIX.split_whitespace() {
        let metric = Catalogue::builtin().resolve(name).unwrap();
        assert!(metric.canonical.is_some(), "{name}");
    }
}

#[test]
fn engines_are_told() {
    let catalogue = Catalogue::builtin();
    let by_label = |key: &'static str, value: &'static str| {
        let found = catalogue.engine_by_label(|asked| (asked == key).then_some(value));
        found.map(|(engine, by)| (engine.name.as_str(), by))
    };
    let (aibrix, llm_d) = ("model.aibrix.ai/engine", "llm-d.ai/engine-type");
    assert_eq!(by_label(aibrix, "vllm"), Some(("vllm", aibrix)));
    assert_eq!(by_label(aibrix, "trtllm"), Some(("trtllm", aibrix)));
    assert_eq!(by_label(aibrix, "xllm"), Some(("xllm", aibrix)));
    assert_eq!(by_label(llm_d, "trtllm-serve"), Some(("trtllm", llm_d)));
    assert_eq!(by_label(llm_d, "triton-tensorrt-llm"), Some(("triton", llm_d)));
    assert_eq!(by_label(llm_d, "SGLang"), Some(("sglang", llm_d)));
    assert_eq!(by_label(aibrix, "ollama"), None);
    assert_eq!(by_label("engine", "vllm"), None);

    let by_names = |names: &[&'static str]| {
        let found = catalogue.engine_by_names(names.iter().copied());
        found.map(|(engine, prefix)| format!("{} {prefix}", engine.name))
    };
    assert_eq!(by_names(&["python_info", "vllm:x"]).as_deref(), Some("vllm vllm:"));
    assert_eq!(by_names(&["nv_inference_count", "nv_trt_llm_x"]).as_deref(), Some("triton nv_inference_"));
    // Triton with vLLM as its backend has both; what vLLM says is what counts.
    assert_eq!(by_names(&["nv_inference_count", "vllm:x"]).as_deref(), Some("vllm vllm:"));
    assert_eq!(by_names(&["trtllm_x"]).as_deref(), Some("trtllm trtllm_"));
    assert_eq!(by_names(&["trtllm:x"]).as_deref(), Some("trtllm trtllm:"));
    assert_eq!(by_names(&["kv_cache_utilization"]).as_deref(), Some("xllm kv_cache_utilization"));
    assert_eq!(by_names(&["up", "go_info"]), None);
    assert_eq!(catalogue.engine("trtllm").unwrap().path, "/prometheus/metrics");
}
