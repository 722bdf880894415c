//! The engines whose pages can be shown, and in what they differ besides the page.

use std::str::FromStr;

/// An engine, with its generation where pages differ. Every one is the same simulated engine behind another page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// `vllm`: 0.8 to 0.9, which has the names of both generations.
    #[default]
    Vllm,
    /// `vllm-v0`: before its second engine.
    VllmV0,
    /// `vllm-v1`: with its second engine, the old names removed.
    VllmV1,
    /// `sglang`: with two tensor-parallel ranks.
    Sglang,
    /// `tgi`: Text Generation Inference.
    Tgi,
    /// `trtllm-serve`: TensorRT-LLM.
    TrtllmServe,
}

/// How an exporter of the Python client answers `?name[]=…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// `single`: the samples of exactly these names.
    Single,
    /// `multiprocess` (`PROMETHEUS_MULTIPROC_DIR`): nothing at all, with status 200.
    Multiprocess,
}

/// How numbers are written on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numerals {
    /// As the Python client does: `4.0`, `1.5e+06`.
    Python,
    /// As Rust's exporter does: `4`, `1500000`.
    Rust,
}

/// What belongs to a kind.
pub(super) struct Dialect {
    pub(super) name: &'static str,
    /// The page; see [`super::page`] for the format.
    pub(super) page: &'static str,
    /// Where it is.
    pub(super) path: &'static str,
    /// How the names of the engine's own series begin.
    pub(super) prefix: &'static str,
    /// What `/v1/models` says.
    pub(super) owner: &'static str,
    pub(super) content_type: &'static str,
    /// The header of this name.
    pub(super) server: Option<&'static str>,
    pub(super) numerals: Numerals,
    /// What the engine has when nothing else is said; without one it does not know `?name[]=…` and sends all.
    ///
    /// vLLM has several processes only with several API servers. SGLang (`set_prometheus_multiproc_dir`) and trtllm-serve
    /// (`mount_metrics`) always collect from several.
    pub(super) exporter: Option<Exporter>,
    /// Whether a `LoRA` adapter is served beside the model.
    pub(super) adapter: bool,
}

const PYTHON_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

const VLLM: Dialect = Dialect {
    name: "vllm",
    page: include_str!("pages/vllm.page"),
    path: "/metrics",
    prefix: "vllm:",
    owner: "vllm",
    content_type: PYTHON_TEXT,
    server: Some("uvicorn"),
    numerals: Numerals::Python,
    exporter: Some(Exporter::Single),
    adapter: true,
};

/// In the order of [`EngineKind`].
static DIALECTS: [(EngineKind, Dialect); 6] = [
    (EngineKind::Vllm, VLLM),
    (EngineKind::VllmV0, Dialect { name: "vllm-v0", page: include_str!("pages/vllm-v0.page"), ..VLLM }),
    (EngineKind::VllmV1, Dialect { name: "vllm-v1", page: include_str!("pages/vllm-v1.page"), ..VLLM }),
    (
        EngineKind::Sglang,
        Dialect {
            name: "sglang",
            page: include_str!("pages/sglang.page"),
            prefix: "sglang:",
            owner: "sglang",
            exporter: Some(Exporter::Multiprocess),
            adapter: false,
            ..VLLM
        },
    ),
    (
        EngineKind::Tgi,
        Dialect {
            name: "tgi",
            page: include_str!("pages/tgi.page"),
            prefix: "tgi_",
            owner: "text-generation-inference",
            content_type: "text/plain; charset=utf-8",
            server: None,
            numerals: Numerals::Rust,
            exporter: None,
            adapter: false,
            ..VLLM
        },
    ),
    (
        EngineKind::TrtllmServe,
        Dialect {
            name: "trtllm-serve",
            page: include_str!("pages/trtllm-serve.page"),
            path: "/prometheus/metrics",
            prefix: "trtllm_",
            owner: "tensorrt_llm",
            exporter: Some(Exporter::Multiprocess),
            adapter: false,
            ..VLLM
        },
    ),
];

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Vllm, Self::VllmV0, Self::VllmV1, Self::Sglang, Self::Tgi, Self::TrtllmServe];

    pub(super) fn dialect(self) -> &'static Dialect {
        &DIALECTS[self as usize].1
    }

    /// Its name in annotations.
    pub fn name(self) -> &'static str {
        self.dialect().name
    }

    /// The path of its page.
    pub fn path(self) -> &'static str {
        self.dialect().path
    }
}

/// A name of an engine or exporter that is not simulated.
#[derive(Debug, thiserror::Error)]
pub enum UnknownEngine {
    /// The engine.
    #[error("{0:?} is not simulated; use vllm, vllm-v0, vllm-v1, sglang, tgi or trtllm-serve")]
    Engine(String),
    /// More engines than turns.
    #[error("{0} engines are too many; at most {MOST} take turns")]
    TooMany(usize),
    /// The exporter.
    #[error("{0:?} is neither single nor multiprocess")]
    Exporter(String),
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let found = DIALECTS.iter().find(|(_, dialect)| dialect.name == name.trim());
        found.map(|(kind, _)| *kind).ok_or_else(|| UnknownEngine::Engine(name.to_owned()))
    }
}

impl FromStr for Exporter {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        match name {
            "single" => Ok(Self::Single),
            "multiprocess" => Ok(Self::Multiprocess),
            _ => Err(UnknownEngine::Exporter(name.to_owned())),
        }
    }
}

/// How many engines can take turns.
const MOST: usize = 8;

/// The engines of a workload, dealt to its pods in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engines {
    kinds: [EngineKind; MOST],
    count: usize,
}

impl Default for Engines {
    fn default() -> Self {
        Self { kinds: [EngineKind::default(); MOST], count: 1 }
    }
}

impl Engines {
    /// Whether there is more than one.
    pub fn are_mixed(self) -> bool {
        self.count > 1
    }

    /// The engine of the pod whose turn this is, from 0 on.
    pub fn of_turn(self, turn: usize) -> EngineKind {
        self.kinds[turn % self.count]
    }
}

impl FromStr for Engines {
    type Err = UnknownEngine;

    /// Reads `engine[,engine…]`; an engine may come twice.
    fn from_str(list: &str) -> Result<Self, UnknownEngine> {
        let mut engines = Self { count: 0, ..Self::default() };
        for name in list.split(',') {
            let kind = name.parse()?;
            let free = engines.kinds.get_mut(engines.count);
            *free.ok_or_else(|| UnknownEngine::TooMany(list.split(',').count()))? = kind;
            engines.count += 1;
        }
        Ok(engines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_names_and_take_turns() {
        for (index, kind) in EngineKind::ALL.into_iter().enumerate() {
            assert!(kind as usize == index && DIALECTS[index].0 == kind, "{kind:?}");
            assert_eq!(kind.name().parse::<EngineKind>().unwrap(), kind);
        }
        let engines: Engines = "vllm-v0, sglang,vllm-v0".parse().unwrap();
        let turns = [0, 1, 2, 3, 4].map(|turn| engines.of_turn(turn).name());
        assert_eq!(turns, ["vllm-v0", "sglang", "vllm-v0", "vllm-v0", "sglang"]);
        assert!(engines.are_mixed() && !"tgi".parse::<Engines>().unwrap().are_mixed());
        for wrong in ["", "ollama", "tgi,", "tgi,tgi,tgi,tgi,tgi,tgi,tgi,tgi,tgi"] {
            assert!(wrong.parse::<Engines>().is_err(), "{wrong:?}");
        }
    }
}
