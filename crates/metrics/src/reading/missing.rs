//! Why a page that was read has no reading of a metric: in words, for a clause behind what has the page.

use std::collections::BTreeSet;

use super::pass::{Fault, Found, Pass};
use super::plan::{AliasPlan, Plan, Spelling, TermPlan};
use super::{Readings, Wanted};
use crate::exposition::Format;
use crate::selector::Selector;
use crate::suggest;

impl Wanted {
    /// Why this page has no reading of the `index`-th metric: a clause without a subject. `None` if it has one, or cannot be
    /// read at all. The page is read again for it.
    pub fn missing(&self, page: &[u8], format: Format, index: usize) -> Option<String> {
        let plan = self.plans.get(index)?;
        let mut readings = Readings::default();
        self.read(page, format, &mut readings).ok()?;
        if readings.get(index)?.is_some() {
            return None;
        }
        let pass = &readings.pass;
        let on_page = plan.aliases.iter().find(|alias| alias.is_on(pass));
        let found = on_page.map(|alias| self.without_value(plan, alias, pass));
        let there = suggest::sample_names(page);
        let why = found.or_else(|| self.in_part(plan, pass)).or_else(|| self.not_as_wanted(plan, &there));
        why.or_else(|| {
            let first = self.name(plan.aliases.first()?.terms.first()?.exact);
            let nearest = suggest::nearest(first, there.iter().copied(), 3);
            Some(match nearest.as_slice() {
                [] => format!("the page has no {first}, and no sample at all"),
                nearest => format!("the page has no {first}; nearest are {}", nearest.join(", ")),
            })
        })
    }

    /// An alias is on the page in full.
    fn without_value(&self, plan: &Plan, alias: &AliasPlan, pass: &Pass) -> String {
        let of_term = |term: &TermPlan| {
            let located = term.locate(alias.series_type, pass)?;
            let signed = plan.signed && !located.counter;
            let trouble = trouble(located.found, signed)?;
            Some(format!("{} {trouble}", self.written(term.exact)))
        };
        if let Some(of_term) = alias.terms.iter().find_map(of_term) {
            return of_term;
        }
        let terms: Vec<String> = alias.terms.iter().map(|term| self.written(term.exact)).collect();
        match (alias.is_histogram(), terms.as_slice()) {
            (true, terms) => {
                format!("{} is no whole histogram: it needs buckets up to le=\"+Inf\"", terms.concat())
            }
            (false, [series]) => format!("the series of {series} differ, and one value is expected of all"),
            (false, terms) => format!("{} make no finite number together", terms.join(" and ")),
        }
    }

    /// Of an alias of several terms only some are on the page.
    fn in_part(&self, plan: &Plan, pass: &Pass) -> Option<String> {
        plan.aliases.iter().find_map(|alias| {
            let is_there = |term: &&TermPlan| term.locate(alias.series_type, pass).is_some();
            let (there, lacking): (Vec<&TermPlan>, Vec<&TermPlan>) = alias.terms.iter().partition(is_there);
            let (there, lacking) = (there.first()?, lacking.first()?);
            Some(format!(
                "the page has {}, but no {}",
                self.written(there.exact),
                self.written(lacking.exact)
            ))
        })
    }

    /// A name is there, and what it has is not what is looked for.
    fn not_as_wanted(&self, plan: &Plan, there: &BTreeSet<&str>) -> Option<String> {
        let terms = plan.aliases.iter().flat_map(|alias| alias.terms.iter().map(move |term| (alias, term)));
        terms.into_iter().find_map(|(alias, term)| {
            let name = self.name(term.exact);
            if alias.is_histogram() {
                let no_buckets = || format!("{name} is there, but it is no histogram: it has no buckets");
                let has_buckets = there.contains(format!("{name}_bucket").as_str());
                let unmatched = has_buckets.then(|| self.unmatched(term.exact)).flatten();
                return unmatched.or_else(|| there.contains(name).then(no_buckets));
            }
            let is_there = |spelling: &Spelling| there.contains(self.name(*spelling));
            let spelling = std::iter::once(term.exact).chain(term.other).find(is_there)?;
            Some(self.unmatched(spelling).unwrap_or_else(|| match self.name(spelling) {
                same if same == name => format!("{name} is there, but not as one number"),
                other => format!("the page has no {name}; it has {other}, which is not declared a counter"),
            }))
        })
    }

    /// Why series of this name do not count, if that is because of their labels.
    fn unmatched(&self, spelling: Spelling) -> Option<String> {
        let name = self.name(spelling);
        let matchers = self.written(spelling).split_off(name.len());
        (!matchers.is_empty()).then(|| format!("no series of {name} matches {matchers}"))
    }

    fn name(&self, spelling: Spelling) -> &str {
        &self.names.as_slice()[spelling.name]
    }

    /// The series that are looked for.
    fn written(&self, spelling: Spelling) -> String {
        let matchers = self.slots[spelling.slot].matchers.clone();
        Selector { name: self.name(spelling).to_owned(), matchers }.to_string()
    }
}

/// What is wrong with the values of series, whatever is made of them.
fn trouble(found: &Found, signed: bool) -> Option<String> {
    match found.fault {
        Some(Fault::NotFinite(value)) if value.is_nan() => Some("is NaN".to_owned()),
        Some(Fault::NotFinite(_)) => Some("is infinite".to_owned()),
        Some(Fault::TwoValues) => Some("comes twice, with different values".to_owned()),
        Some(Fault::NoBound) => Some("has a bucket without a number in le".to_owned()),
        None if found.least < 0.0 && !signed => Some(format!("is {}, below 0", found.least)),
        None => None,
    }
}
