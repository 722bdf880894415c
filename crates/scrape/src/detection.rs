//! Which engine a page is of, and from which of its names each metric is read: found out from whole pages, and again when
//! what is found on them changes.
//!
//! Once the engine is known, its names count before those of the others, and the others' are not looked for any more unless
//! something is read from one. They are again as soon as a metric that was there is gone, or a new connection says that the
//! engine may have been started anew as another one.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use windlass_metrics::catalogue::LABELS;
use windlass_metrics::{Catalogue, Detected, Format, Metric, Reading, Readings, Wanted};

/// What a page still lacks is looked for under all names again every so many whole pages.
const LOOK_AGAIN: u32 = 30;

/// The metrics that are read from pages, under the names of every engine that a catalogue knows. Shared by all pods whose
/// pages are read for the same.
#[derive(Debug)]
pub struct Vocabulary {
    catalogue: Arc<Catalogue>,
    metrics: Box<[Metric]>,
    /// How many of them a page must have: the first.
    required: usize,
    wanted: Arc<Wanted>,
    by_engine: Mutex<HashMap<String, OfEngine>>,
}

/// The metrics on pages of one engine, while a pod is read for them.
#[derive(Debug, Default)]
struct OfEngine {
    /// Under its own names alone.
    only: Weak<Wanted>,
    /// Under its own names first.
    first: Weak<Wanted>,
}

impl Vocabulary {
    /// Values come in the order of `metrics`; a page must have the first `required` of them, the others are read beside
    /// them and not told of.
    pub fn new(catalogue: Arc<Catalogue>, metrics: Vec<Metric>, required: usize) -> Self {
        let wanted = Arc::new(Wanted::new(&metrics).requiring(required));
        Self { catalogue, metrics: metrics.into(), required, wanted, by_engine: Mutex::default() }
    }

    /// Under the names of every engine.
    pub fn wanted(&self) -> Arc<Wanted> {
        Arc::clone(&self.wanted)
    }

    fn only_of(&self, engine: &str) -> Arc<Wanted> {
        self.shared(engine, |known| &mut known.only, Wanted::for_engine)
    }

    fn first_of(&self, engine: &str) -> Arc<Wanted> {
        self.shared(engine, |known| &mut known.first, Wanted::preferring)
    }

    /// One for all pods that need it now.
    fn shared(
        &self,
        engine: &str,
        place: fn(&mut OfEngine) -> &mut Weak<Wanted>,
        compile: fn(&[Metric], &str) -> Wanted,
    ) -> Arc<Wanted> {
        let mut by_engine = self.by_engine.lock();
        let known = place(by_engine.entry(engine.to_owned()).or_default());
        known.upgrade().unwrap_or_else(|| {
            let wanted = Arc::new(compile(&self.metrics, engine).requiring(self.required));
            *known = Arc::downgrade(&wanted);
            wanted
        })
    }

    /// Those that a page must have, and that are told of.
    fn told(&self) -> &[Metric] {
        &self.metrics[..self.required.min(self.metrics.len())]
    }

    /// Whether all that is on the page, is there under names of this engine.
    fn is_all_of(&self, engine: &str, on_page: &[Option<usize>]) -> bool {
        self.metrics.iter().zip(on_page).all(|(metric, alias)| {
            let alias = alias.and_then(|alias| metric.aliases.get(alias));
            alias.is_none_or(|alias| alias.may_be_of(engine))
        })
    }
}

/// What is known of the engine behind one page.
#[derive(Debug)]
pub struct Detection {
    vocabulary: Arc<Vocabulary>,
    /// Those of the pod's labels that name an engine.
    labels: Vec<(&'static str, String)>,
    known: Option<Arc<Detected>>,
    /// The alias that each metric was last on the page under.
    aliases: Vec<Option<usize>>,
    /// What was found may not hold any longer.
    doubted: bool,
    /// Whole pages until what is lacking is looked for under all names.
    look_in: u32,
}

impl Detection {
    /// Nothing is known yet. `label` gives the value of one of the pod's labels.
    pub fn new<'a>(vocabulary: Arc<Vocabulary>, label: impl Fn(&str) -> Option<&'a str>) -> Self {
        let labels = LABELS.into_iter().filter_map(|key| Some((key, label(key)?.to_owned())));
        Self {
            labels: labels.collect(),
            known: None,
            aliases: vec![None; vocabulary.metrics.len()],
            doubted: true,
            look_in: 0,
            vocabulary,
        }
    }

    /// Where the engine that the labels name has its page.
    pub(crate) fn default_path(&self) -> Option<&str> {
        let (engine, _) = self.vocabulary.catalogue.engine_by_label(|key| self.label(key))?;
        Some(&engine.path)
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| *known == key).map(|(_, value)| &**value)
    }

    /// What the first page is to be read for.
    pub(crate) fn wanted(&self) -> Arc<Wanted> {
        self.vocabulary.wanted()
    }

    /// The engine may have been started anew, as another one or another version.
    pub(crate) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Takes a whole page that was read for `wanted`, and may read it again: `readings` are then those of all names, the
    /// engine's own before others. `wanted` is what the next page is to be read for. What was found, if it is not what was
    /// known before.
    pub(crate) fn look(
        &mut self,
        (page, format): (&[u8], Format),
        wanted: &mut Arc<Wanted>,
        readings: &mut Readings,
    ) -> Option<Arc<Detected>> {
        let moved =
            self.aliases.iter().zip(readings.on_page()).any(|(known, now)| now.is_some() && now != known);
        if !(self.doubted || moved || self.misses(readings)) {
            return None;
        }
        self.doubted = false;
        let vocabulary = Arc::clone(&self.vocabulary);
        let detected = vocabulary.catalogue.detect(|key| self.label(key), (page, format));
        let first = |detected: &Detected| vocabulary.first_of(&detected.engine);
        let all = detected.as_ref().map_or_else(|| vocabulary.wanted(), first);
        if !Arc::ptr_eq(wanted, &all) && all.read(page, format, readings).is_err() {
            // A bad line of another engine's name: what was read before stands.
            wanted.read(page, format, readings).ok()?;
            return None;
        }
        for (known, now) in self.aliases.iter_mut().zip(readings.on_page()) {
            *known = now.or(*known);
        }
        let Some(detected) = detected else {
            self.known = None;
            *wanted = all;
            return None;
        };
        let narrow = vocabulary.is_all_of(&detected.engine, readings.on_page());
        *wanted = if narrow { vocabulary.only_of(&detected.engine) } else { all };
        let mut detected = detected.with_aliases(vocabulary.told(), readings);
        self.keep_names(&mut detected);
        if self.known.as_deref() == Some(&detected) {
            return None;
        }
        let detected = Arc::new(detected);
        self.known = Some(Arc::clone(&detected));
        Some(detected)
    }

    /// Whether it is time to look for what the page lacks: at once when it has just gone, and now and then.
    fn misses(&mut self, readings: &[Option<Reading>]) -> bool {
        if readings.iter().take(self.vocabulary.required).all(Option::is_some) {
            self.look_in = 0;
            return false;
        }
        let now = self.look_in == 0;
        self.look_in = if now { LOOK_AGAIN } else { self.look_in - 1 };
        now
    }

    /// A metric that is gone at the moment is still read from where it was, while the engine is the same.
    fn keep_names(&self, detected: &mut Detected) {
        let Some(known) = &self.known else { return };
        if (&known.engine, &known.generation) != (&detected.engine, &detected.generation) {
            return;
        }
        for metric in self.vocabulary.told() {
            let named = |used: &&windlass_metrics::catalogue::AliasUsed| used.metric == metric.name;
            if detected.aliases.iter().any(|used| named(&used)) {
                continue;
            }
            detected.aliases.extend(known.aliases.iter().find(named).cloned());
        }
        let place = |name: &str| self.vocabulary.metrics.iter().position(|metric| metric.name == name);
        detected.aliases.sort_by_key(|used| place(&used.metric));
    }

    /// Why a page that was read has no reading of the `index`-th metric, if that is because its engine has no such thing.
    pub(crate) fn why_missing(&self, index: usize) -> Option<String> {
        let engine = &self.known.as_ref()?.engine;
        let metric = self.vocabulary.metrics.get(index)?;
        let why = self.vocabulary.catalogue.why_lacking(metric, engine)?;
        Some(format!("{}: {why}", metric.name))
    }
}

#[cfg(test)]
mod tests;
