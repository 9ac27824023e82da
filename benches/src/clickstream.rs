//! The workload CDP-1 as a stream: any number of events in constant memory, the same ones for the same seed.
//!
//! Shoppers have one to four devices; 40 % sign in now and then, most of these with an email. Some people are here all
//! the time. What a person is like is worked out from their number, so that nothing about people is kept.

use std::io::Write;

use tidewater::RawEvents;

const START_MS: u64 = 1_700_000_000_000;
const SPAN_MS: u64 = 30 * 86_400_000;
/// Of a hundred events so many have each name.
const NAMES: [(&str, u64); 5] = [
    ("Page Viewed", 70),
    ("Product Viewed", 15),
    ("Product Added", 8),
    ("Checkout Started", 3),
    ("Order Completed", 4),
];
const CATEGORIES: [&str; 8] = ["shoes", "hats", "books", "toys", "garden", "audio", "sport", "food"];

/// Events of people over 30 days, in the order of their times.
#[derive(Clone, Debug)]
pub struct Clickstream {
    random: Random,
    events: u64,
    people: u64,
    next: u64,
    line: Vec<u8>,
}

impl Clickstream {
    /// `events` events of `people` people.
    pub fn new(events: u64, people: u64, seed: u64) -> Self {
        Self { random: Random::new(seed), events, people: people.max(1), next: 0, line: Vec::new() }
    }

    /// The next event, as the bytes of a JSON object.
    pub fn next_event(&mut self) -> Option<&[u8]> {
        if self.next == self.events {
            return None;
        }
        self.line.clear();
        self.write_event();
        self.next += 1;
        Some(&self.line)
    }

    /// The next events, at most `count`; none once all have been made.
    pub fn next_batch(&mut self, count: usize) -> RawEvents {
        let mut batch = RawEvents::with_capacity(count * 200);
        while batch.len() < count
            && let Some(event) = self.next_event()
        {
            batch.push(event);
        }
        batch
    }

    fn write_event(&mut self) {
        let Self { random, events, people, next, line } = self;
        let skewed = random.unit().powf(2.2);
        let person = Person::of((*people as f64 * skewed) as u64);
        let number = *next;
        let time = START_MS + (u128::from(SPAN_MS) * u128::from(number) / u128::from(*events)) as u64;
        let name = pick_name(random.below(100));
        let (device, page) = (random.below(person.devices), random.below(5_000));
        let category = CATEGORIES[random.below(8) as usize];
        let place = person.number;
        let mut write = |part: std::fmt::Arguments<'_>| {
            // Writing to memory can't fail.
            let _ = line.write_fmt(part);
        };
        write(format_args!(
            r#"{{"messageId":"m{number}","type":"track","timestamp":{time},"anonymousId":"a{place}-{device}","event":"{name}","properties":{{"path":"/p/{page}","category":"{category}""#
        ));
        if name == "Order Completed" {
            let cents = ((5.0 - 60.0 * (1.0 - random.unit()).ln()) * 100.0).round() as u64;
            write(format_args!(r#","revenue":{}.{:02}"#, cents / 100, cents % 100));
        }
        write(format_args!("}}"));
        if person.signs_in && random.below(100) < 8 {
            write(format_args!(r#","userId":"u{place}""#));
            if person.has_email && random.below(2) == 0 {
                write(format_args!(r#","email":"p{place}@example.com""#));
            }
        }
        write(format_args!("}}"));
    }
}

fn pick_name(mut pick: u64) -> &'static str {
    for (name, weight) in NAMES {
        if pick < weight {
            return name;
        }
        pick -= weight;
    }
    NAMES[0].0
}

/// What a person is like.
struct Person {
    number: u64,
    devices: u64,
    signs_in: bool,
    has_email: bool,
}

impl Person {
    fn of(number: u64) -> Self {
        let mut random = Random::new(number ^ 0x5eed_0f9e_091e);
        let devices = [1, 1, 1, 2, 2, 3, 4][random.below(7) as usize];
        let signs_in = random.below(100) < 40;
        Self { number, devices, signs_in, has_email: signs_in && random.below(100) < 62 }
    }
}

/// Random numbers that are the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next_bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from 0 up to and without 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.below(place as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn events_are_json_in_the_order_of_time_and_the_same_for_a_seed() {
        let (mut stream, mut again) = (Clickstream::new(5_000, 500, 7), Clickstream::new(5_000, 500, 7));
        let mut last = 0;
        let mut orders = 0;
        while let Some(event) = stream.next_event() {
            assert_eq!(Some(event), again.next_event());
            let event: serde_json::Value = serde_json::from_slice(event).unwrap();
            let time = event["timestamp"].as_u64().unwrap();
            assert!(time >= last);
            last = time;
            assert!(event["anonymousId"].is_string());
            if event["event"] == "Order Completed" {
                orders += 1;
                assert!(event["properties"]["revenue"].as_f64().unwrap() >= 5.0);
            }
        }
        assert!((100..300).contains(&orders), "{orders}");
        assert_eq!(again.next_event(), None);
    }
}
