//! Names: what each item is called in a merged list.

use std::collections::{HashMap, HashSet};

use crate::{
    catalog::shelf::Offer,
    domain::{ItemKind, Prefixing, Slug, qualify},
};

/// An item's place on a shelf, and the name it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Which of the offers.
    pub(super) offer: usize,
    /// Which of its items.
    pub(super) item: usize,
    /// The name it goes by.
    pub(super) name: String,
}

/// Names tools or prompts of several servers so that no two are the same.
///
/// Qualified names come first: a server cannot take another's name by calling its own tool so.
/// What would be the same all the same is left out and returned beside.
pub(super) fn assign(
    offers: &[(&Offer, Prefixing)],
    kind: ItemKind,
) -> (Vec<Named>, Vec<(Slug, String)>) {
    let mut bare: HashMap<&str, usize> = HashMap::new();
    for (offer, prefixing) in offers {
        if *prefixing != Prefixing::Always {
            for entry in offer.of_kind(kind) {
                *bare.entry(&entry.name).or_default() += 1;
            }
        }
    }
    let qualified: HashSet<String> = offers
        .iter()
        .filter(|(_, prefixing)| *prefixing == Prefixing::Always)
        .flat_map(|(offer, _)| {
            offer.of_kind(kind).iter().map(|entry| qualify(&offer.server.name, &entry.name))
        })
        .collect();
    let mut taken = HashSet::new();
    let mut named = Vec::new();
    let mut left_out = Vec::new();
    for (offer_at, (offer, prefixing)) in offers.iter().enumerate() {
        for (item_at, entry) in offer.of_kind(kind).iter().enumerate() {
            let plain = &*entry.name;
            let is_contested =
                bare.get(plain).is_some_and(|count| *count > 1) || qualified.contains(plain);
            let name = match prefixing {
                Prefixing::Always => qualify(&offer.server.name, plain),
                Prefixing::Conflict if is_contested => qualify(&offer.server.name, plain),
                Prefixing::Conflict | Prefixing::Never => plain.to_owned(),
            };
            let is_anothers = *prefixing == Prefixing::Never && qualified.contains(plain);
            if !is_anothers && taken.insert(name.clone()) {
                named.push(Named { offer: offer_at, item: item_at, name });
            } else {
                left_out.push((offer.server.name.clone(), plain.to_owned()));
            }
        }
    }
    (named, left_out)
}

/// Stands in a URI before the name of the server whose resource it is.
const MARK: &str = "#tollhouse=";

/// Names resources by URI. Only where two servers have the same one is it marked with the
/// server's name, in the fragment, so that scheme and path stay what clients go by.
pub(super) fn assign_uris(offers: &[&Offer], kind: ItemKind) -> Vec<Named> {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for entry in offers.iter().flat_map(|offer| offer.of_kind(kind)) {
        *count.entry(&entry.name).or_default() += 1;
    }
    let mut named = Vec::new();
    for (offer_at, offer) in offers.iter().enumerate() {
        for (item_at, entry) in offer.of_kind(kind).iter().enumerate() {
            let is_unique = count.get(&*entry.name) == Some(&1);
            let name = if is_unique {
                entry.name.to_string()
            } else {
                mark(&entry.name, &offer.server.name)
            };
            named.push(Named { offer: offer_at, item: item_at, name });
        }
    }
    named
}

/// A URI marked with a server's name.
pub(super) fn mark(uri: &str, server: &Slug) -> String {
    format!("{uri}{MARK}{server}")
}

/// A marked URI, taken apart.
pub(super) fn unmark(uri: &str) -> Option<(&str, &str)> {
    uri.rsplit_once(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::shelf::tests_support::offer;

    fn names(offers: &[(&Offer, Prefixing)]) -> Vec<String> {
        assign(offers, ItemKind::Tool).0.into_iter().map(|named| named.name).collect()
    }

    #[test]
    fn always_carries_the_servers_name() {
        let (a, b) = (offer("a", &["read"]), offer("b", &["read", "write"]));

        let names = names(&[(&a, Prefixing::Always), (&b, Prefixing::Always)]);

        assert_eq!(names, ["a__read", "b__read", "b__write"]);
    }

    #[test]
    fn on_conflict_only_the_contested_carry_it() {
        let (a, b) = (offer("a", &["read"]), offer("b", &["read", "write"]));

        let names = names(&[(&a, Prefixing::Conflict), (&b, Prefixing::Conflict)]);

        assert_eq!(names, ["a__read", "b__read", "write"]);
    }

    #[test]
    fn never_keeps_the_first_and_says_what_it_left_out() {
        let (a, b) = (offer("a", &["read"]), offer("b", &["read"]));

        let (named, left_out) =
            assign(&[(&a, Prefixing::Never), (&b, Prefixing::Never)], ItemKind::Tool);

        assert_eq!(named.len(), 1);
        assert_eq!(left_out, [("b".parse().expect("a slug"), "read".to_owned())]);
    }

    #[test]
    fn no_server_takes_anothers_qualified_name() {
        let (a, b) = (offer("a", &["b__read"]), offer("b", &["read"]));

        assert_eq!(names(&[(&a, Prefixing::Never), (&b, Prefixing::Always)]), ["b__read"]);
        let (named, _) = assign(&[(&a, Prefixing::Never), (&b, Prefixing::Always)], ItemKind::Tool);
        assert_eq!(named[0].offer, 1);
        let conflict = names(&[(&a, Prefixing::Conflict), (&b, Prefixing::Always)]);
        assert_eq!(conflict, ["a__b__read", "b__read"]);
    }

    #[test]
    fn a_marked_uri_is_taken_apart_again() {
        let server = "notes".parse().expect("a slug");

        let marked = mark("memo://x#y", &server);

        assert_eq!(unmark(&marked), Some(("memo://x#y", "notes")));
        assert_eq!(unmark("memo://x#y"), None);
    }
}
