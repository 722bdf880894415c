//! Why a page that was read has no reading of a metric: in words, for a clause behind what has the page.

use std::cell::LazyCell;
use std::collections::BTreeSet;

use super::pass::{Fault, Pass};
use super::plan::{AliasPlan, Located, Plan, Spelling, TermPlan, Value};
use super::{Readings, Wanted};
use crate::exposition::Format;
use crate::histogram::MOST_BOUNDS;
use crate::selector::Selector;
use crate::suggest;

impl Wanted {
    /// Why this page has no reading of the `index`-th metric: a clause about its series. `None` if it has one, or cannot be
    /// read at all. The page is read again for it. No value of the page is in it, so that it stays the same while the reason
    /// does.
    pub fn missing(&self, page: &[u8], format: Format, index: usize) -> Option<String> {
        let plan = self.plans.get(index)?;
        let mut readings = Readings::default();
        self.read(page, format, &mut readings).ok()?;
        if readings.get(index)?.is_some() {
            return None;
        }
        let pass = &readings.pass;
        if let Some(alias) = plan.on_page(pass) {
            return Some(self.without_value(plan, alias, pass));
        }
        let there = LazyCell::new(|| suggest::sample_names(page));
        let of_alias = |alias| self.in_part(alias, pass).or_else(|| self.not_as_wanted(alias, pass, &there));
        plan.own().iter().find_map(of_alias).or_else(|| {
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
        let located = |term: &TermPlan| term.locate(alias.series_type, pass);
        let terms: Vec<Located<'_>> = alias.terms.iter().filter_map(located).collect();
        let name = |term: &Located<'_>| self.written(term.spelling);
        let of_term =
            |term: &Located<'_>| Some(format!("{} {}", name(term), self.trouble(term, plan.signed)?));
        if let Some(of_term) = terms.iter().find_map(of_term) {
            return of_term;
        }
        let joined = terms.iter().map(name).collect::<Vec<_>>().join(alias.operator.sign());
        if alias.is_histogram() {
            let most = MOST_BOUNDS - 1;
            return format!(
                "{joined} is no whole histogram: it needs a bucket with le=\"+Inf\" and 1 to {most} with finite bounds"
            );
        }
        format!("{joined} is no finite number")
    }

    /// What is wrong with the values of a term's series, whatever is made of them.
    fn trouble(&self, term: &Located<'_>, signed: bool) -> Option<String> {
        let (found, signed) = (term.found, signed && !term.counter);
        Some(match (found.fault, &self.slots[term.spelling.slot].value) {
            (Some(Fault::NotFinite(value)), Value::Labels(labels)) if value.is_nan() => {
                format!("has no number in {}", labels.join(", "))
            }
            (Some(Fault::NotFinite(value)), _) if value.is_nan() => "is NaN".to_owned(),
            (Some(Fault::NotFinite(_)), _) => "is infinite".to_owned(),
            (Some(Fault::TwoValues), _) => "comes twice, with different values".to_owned(),
            (Some(Fault::NoBound), _) => "has a bucket without a number in le".to_owned(),
            (None, _) if found.least < 0.0 && !signed => "is below 0".to_owned(),
            (None, _) if found.value(term.aggregation, signed).is_none() => {
                "has different values, and one is expected of all its series".to_owned()
            }
            (None, _) => return None,
        })
    }

    /// Of an alias of several terms only some are on the page.
    fn in_part(&self, alias: &AliasPlan, pass: &Pass) -> Option<String> {
        let is_there = |term: &&TermPlan| term.locate(alias.series_type, pass).is_some();
        let (there, lacking): (Vec<&TermPlan>, Vec<&TermPlan>) = alias.terms.iter().partition(is_there);
        let (there, lacking) = (there.first()?.exact, lacking.first()?.exact);
        Some(format!("the page has {}, but no {}", self.written(there), self.written(lacking)))
    }

    /// A name is there, and what it has is not what is looked for.
    fn not_as_wanted(&self, alias: &AliasPlan, pass: &Pass, there: &BTreeSet<&str>) -> Option<String> {
        alias.terms.iter().find_map(|term| {
            let name = self.name(term.exact);
            if alias.is_histogram() {
                if there.contains(format!("{name}_bucket").as_str()) {
                    return self.unmatched(term.exact, pass);
                }
                let no_buckets = || format!("{name} is there, but it is no histogram: it has no buckets");
                return there.contains(name).then(no_buckets);
            }
            let is_there = |spelling: &Spelling| there.contains(self.name(*spelling));
            let spelling = std::iter::once(term.exact).chain(term.other).find(is_there)?;
            Some(self.unmatched(spelling, pass).unwrap_or_else(|| match self.name(spelling) {
                same if same == name => format!("{name} is there, but not as one number"),
                other => format!("the page has no {name}; it has {other}, which is not declared a counter"),
            }))
        })
    }

    /// Why no series of a name that is there counts, if that is because of their labels.
    fn unmatched(&self, spelling: Spelling, pass: &Pass) -> Option<String> {
        let name = self.name(spelling);
        let matchers = self.written(spelling).split_off(name.len());
        pass.found(spelling.slot).is_none().then(|| format!("no series of {name} matches {matchers}"))
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
