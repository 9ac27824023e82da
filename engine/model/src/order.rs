//! Putting things in order that have a place among few.

/// The items by their places, else as they are: in one pass and without comparisons, unless there are more places than items.
///
/// `place` must be less than `places`.
pub fn by_place<T: Copy>(items: &[T], places: usize, place: impl Fn(&T) -> usize) -> Vec<T> {
    let mut sorted = items.to_vec();
    if items.len() < places {
        sorted.sort_by_key(place);
        return sorted;
    }
    // Where the items of each place begin, then where its next one goes.
    let mut starts = vec![0_usize; places + 1];
    items.iter().for_each(|item| starts[place(item) + 1] += 1);
    (1..starts.len()).for_each(|at| starts[at] += starts[at - 1]);
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
                assert_eq!(by_place(&items[..count], places, |item| item.0), expected, "{count} in {places}");
            }
        }
    }
}
