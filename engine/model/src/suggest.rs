//! The nearest of a list of names, for people who mistyped one.

/// Longer names are never compared: nobody mistypes one letter of a kilobyte, and the work is quadratic.
const LONGEST_CHARACTERS: usize = 128;

/// The candidate that `name` was most likely meant to be, if one is near: a difference only in case, or at most one
/// typing mistake (a letter too much, missing, wrong, or two swapped) in three letters. Of equally near ones the
/// first.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().take(LONGEST_CHARACTERS + 1).collect();
    if wanted.len() > LONGEST_CHARACTERS {
        return None;
    }
    let most = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = if name.to_lowercase() == candidate.to_lowercase() {
            0
        } else {
            let letters: Vec<char> = candidate.chars().take(LONGEST_CHARACTERS + 1).collect();
            if letters.len().abs_diff(wanted.len()) > most {
                continue;
            }
            edit_distance(&wanted, &letters)
        };
        // Of a name of one letter nothing would be left.
        let near = distance <= most && (distance == 0 || wanted.len() > 1);
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many letters to insert, delete, replace or swap with their neighbor (Damerau-Levenshtein, each place edited
/// once).
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut distance = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                distance = distance.min(before[j - 2] + 1);
            }
            row.push(distance);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["orders", "revenue", "last_seen", "Plan", "id"];
        let near = |name| nearest(name, names.into_iter());
        assert_eq!(near("order"), Some("orders"));
        assert_eq!(near("oredrs"), Some("orders"));
        assert_eq!(near("ORDERS"), Some("orders"));
        assert_eq!(near("plan"), Some("Plan"));
        assert_eq!(near("lastseen"), Some("last_seen"));
        assert_eq!(near("ide"), Some("id"));
        assert_eq!(near("x"), None);
        assert_eq!(near("customers"), None);
        assert_eq!(near(""), None);
    }

    #[test]
    fn distance_counts_each_kind_of_mistake_once() {
        let distance =
            |a: &str, b: &str| edit_distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("abc", "ab"), 1);
        assert_eq!(distance("abc", "xbc"), 1);
        assert_eq!(distance("abc", "xabc"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn of_equally_near_names_the_first_wins() {
        assert_eq!(nearest("orderz", ["orders", "ordera"].into_iter()), Some("orders"));
    }
}
