//! Putting things in order that have a place among few.

/// So many items by their places, else as they come: without comparisons, unless there are more places than items.
///
/// `place` must be less than `places`.
pub fn by_place<'a, T: Copy + 'a>(
    items: impl Iterator<Item = &'a T> + Clone,
    len: usize,
    places: usize,
    place: impl Fn(&T) -> usize,
) -> Vec<T> {
    if len < places {
        let mut sorted: Vec<T> = items.copied().collect();
        sorted.sort_by_key(place);
        return sorted;
    }
    let Some(first) = items.clone().next() else { return Vec::new() };
    // Where the items of each place begin, then where its next one goes.
    let mut starts = vec![0_usize; places + 1];
    items.clone().for_each(|item| starts[place(item) + 1] += 1);
    (1..starts.len()).for_each(|at| starts[at] += starts[at - 1]);
    let mut sorted = vec![*first; starts[places]];
    for item in items {
        let next = &mut starts[place(item)];
        sorted[*next] = *item;
        *next += 1;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_stable_sort_however_many_places_there_are() {
        let items: Vec<(usize, usize)> = (0..40).map(|at| (at * 7 % 5, at)).collect();
        for count in [0, 1, 4, 5, 40] {
            let mut expected = items[..count].to_vec();
            expected.sort_by_key(|item| item.0);
            for places in [5, 6, 100] {
                assert_eq!(
                    by_place(items[..count].iter(), count, places, |item| item.0),
                    expected,
                    "{count} in {places}"
                );
            }
        }
    }
}
