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

    /// The row at a place, no earlier than `since`.
    #[inline]
    pub(super) fn row(&self, place: usize, since: Time) -> Row {
        let time = *self.times.get(self.first + place);
        (self.profiles[place], time.max(since), self.diffs[place])
    }
}
