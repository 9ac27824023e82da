//! Rows in pages of one size.

use crate::graph::Time;

/// Rows in a page: 32 KiB of profiles, the most that the allocator keeps at hand for a thread.
const PAGE: usize = if cfg!(test) { 4 } else { 1 << 11 };

/// A row without its segment: profile, time, difference.
pub(super) type Row = (u128, Time, i32);

/// Rows, in the order in which they were added.
#[derive(Debug)]
pub(super) struct Pages {
    full: Vec<Page>,
    /// The page after those: the rows that come go there.
    last: Page,
    most_rows: usize,
}

#[derive(Debug)]
struct Page {
    profiles: Vec<u128>,
    diffs: Vec<i32>,
    times: Times,
}

/// The times of a page's rows.
#[derive(Debug)]
enum Times {
    One(Time),
    Each(Vec<Time>),
}

/// Rows that stand together on a page.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    profiles: &'a [u128],
    diffs: &'a [i32],
    times: &'a Times,
    /// The place of the first on the page.
    first: usize,
}

impl Pages {
    /// For at most `rows` rows.
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            full: Vec::with_capacity(rows / PAGE),
            last: Page::with_capacity(PAGE.min(rows)),
            most_rows: rows,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.full.len() * PAGE + self.last.profiles.len()
    }

    #[inline]
    pub(super) fn push(&mut self, row: Row) {
        if self.last.profiles.len() == PAGE {
            self.turn();
        }
        self.last.push(row);
    }

    /// Room on the last page for rows of this time; 0 if rows of other times stand there.
    fn room(&mut self, time: Time) -> usize {
        if self.last.profiles.len() == PAGE {
            self.turn();
        }
        if self.last.profiles.is_empty() {
            self.last.times = Times::One(time);
        }
        match self.last.times {
            Times::One(one) if one == time => PAGE - self.last.profiles.len(),
            _ => 0,
        }
    }

    /// Adds rows of two pages that each have one time, in order of the profiles, and those of the same profile added up; until one
    /// of the two or the last page is at its end. Returns how many of each were read: none if rows of other times are in the way.
    ///
    /// No branch depends on which profile comes first, since that is up to chance and could not be predicted.
    pub(super) fn merge(&mut self, a: Rows<'_>, b: Rows<'_>, time: Time) -> [usize; 2] {
        let room = self.room(time).min(a.len() + b.len());
        let (profiles, diffs) = (&mut self.last.profiles, &mut self.last.diffs);
        let start = profiles.len();
        profiles.resize(start + room, 0);
        diffs.resize(start + room, 0);
        let (into_profiles, into_diffs) = (&mut profiles[start..], &mut diffs[start..]);
        let (mut i, mut j, mut written) = (0, 0, 0);
        while i < a.len() && j < b.len() && written < room {
            let (left, right) = (a.profiles[i], b.profiles[j]);
            let (is_left, is_right) = (left <= right, right <= left);
            into_profiles[written] = if is_left { left } else { right };
            let (left_diff, right_diff) = (a.diffs[i], b.diffs[j]);
            let diff = left_diff * i32::from(is_left) + right_diff * i32::from(is_right);
            into_diffs[written] = diff;
            written += usize::from(diff != 0);
            i += usize::from(is_left);
            j += usize::from(is_right);
        }
        profiles.truncate(start + written);
        diffs.truncate(start + written);
        [i, j]
    }

    /// Adds rows of one time as far as the last page has room for them. Returns how many.
    pub(super) fn copy(&mut self, rows: Rows<'_>, time: Time) -> usize {
        let some = self.room(time).min(rows.len());
        self.last.profiles.extend_from_slice(&rows.profiles[..some]);
        self.last.diffs.extend_from_slice(&rows.diffs[..some]);
        some
    }

    /// Takes the last row back, if it is on the last page.
    pub(super) fn pop(&mut self) -> Option<Row> {
        let place = self.last.profiles.len().checked_sub(1)?;
        let time = *self.last.times.get(place);
        if let Times::Each(times) = &mut self.last.times {
            times.pop();
        }
        Some((self.last.profiles.pop()?, time, self.last.diffs.pop()?))
    }

    #[cold]
    fn turn(&mut self) {
        let next = Page::with_capacity(PAGE.min(self.most_rows.saturating_sub(self.len())));
        self.full.push(std::mem::replace(&mut self.last, next));
    }

    fn page(&self, row: usize) -> &Page {
        self.full.get(row / PAGE).unwrap_or(&self.last)
    }

    pub(super) fn profile(&self, row: usize) -> &u128 {
        &self.page(row).profiles[row % PAGE]
    }

    pub(super) fn time(&self, row: usize) -> &Time {
        self.page(row).times.get(row % PAGE)
    }

    pub(super) fn diff(&self, row: usize) -> i32 {
        self.page(row).diffs[row % PAGE]
    }

    /// The rows from `row` on that stand on its page, of those before `end`.
    pub(super) fn rows(&self, row: usize, end: usize) -> Rows<'_> {
        let page = self.page(row);
        let first = row % PAGE;
        let last = PAGE.min(first + (end - row));
        let (profiles, diffs) = (&page.profiles[first..last], &page.diffs[first..last]);
        Rows { profiles, diffs, times: &page.times, first }
    }
}

impl Page {
    fn with_capacity(rows: usize) -> Self {
        let (profiles, diffs) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        Self { profiles, diffs, times: Times::One(0) }
    }

    #[inline]
    fn push(&mut self, (profile, time, diff): Row) {
        match &mut self.times {
            Times::One(one) if *one == time => {}
            _ => self.push_time(time),
        }
        self.profiles.push(profile);
        self.diffs.push(diff);
    }

    /// Adds the time of the next row, which is not that of all rows before.
    #[cold]
    fn push_time(&mut self, time: Time) {
        match &mut self.times {
            Times::One(one) if self.profiles.is_empty() => *one = time,
            Times::One(one) => {
                let mut times = vec![*one; self.profiles.len()];
                times.push(time);
                self.times = Times::Each(times);
            }
            Times::Each(times) => times.push(time),
        }
    }
}

impl Times {
    #[inline]
    fn get(&self, row: usize) -> &Time {
        match self {
            Self::One(time) => time,
            Self::Each(times) => &times[row],
        }
    }
}

impl Rows<'_> {
    pub(super) fn len(&self) -> usize {
        self.profiles.len()
    }

    /// The time of all of them, no earlier than `since`, if it is known to be the same.
    pub(super) fn time(&self, since: Time) -> Option<Time> {
        match self.times {
            Times::One(time) => Some(since.max(*time)),
            Times::Each(_) => None,
        }
    }

    /// The profile of the first.
    pub(super) fn first(&self) -> Option<u128> {
        self.profiles.first().copied()
    }

    /// The row at a place, no earlier than `since`.
    #[inline]
    pub(super) fn row(&self, place: usize, since: Time) -> Row {
        let time = *self.times.get(self.first + place);
        (self.profiles[place], time.max(since), self.diffs[place])
    }
}
