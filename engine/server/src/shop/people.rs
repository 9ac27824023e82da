//! The people who visit the shop. What somebody is like follows from the seed and the number alone, so that a million
//! of them cost eight bytes each.

use super::rng::{Rng, mix};

const FIRST_NAMES: [&str; 24] = [
    "Mia", "Noah", "Emma", "Liam", "Sofia", "Lucas", "Ana", "Hugo", "Ines", "Omar", "Yuki", "Ravi", "Zoe",
    "Ben", "Lena", "Paul", "Aisha", "Tom", "Elif", "Jan", "Maya", "Leo", "Nina", "Karl",
];
const LAST_NAMES: [&str; 24] = [
    "Silva", "Meyer", "Smith", "Rossi", "Khan", "Novak", "Dubois", "Tanaka", "Lopez", "Olsen", "Patel",
    "Weber", "Kaya", "Costa", "Brown", "Jansen", "Moreau", "Sato", "Fischer", "Nowak", "Evans", "Haas",
    "Marin", "Lund",
];
const CITIES: [&str; 12] = [
    "Lisbon", "Berlin", "Paris", "Osaka", "Austin", "Oslo", "Milan", "Prague", "Lyon", "Leeds", "Porto",
    "Zurich",
];
const PLANS: [&str; 4] = ["free", "free", "plus", "pro"];

/// How someone shops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persona {
    /// Looks and leaves.
    Browser,
    /// Buys now and then.
    Regular,
    /// Comes often and mostly buys.
    Loyal,
}

impl Persona {
    /// How likely a look at a product ends in the cart.
    pub(super) fn adds(self) -> f64 {
        match self {
            Self::Browser => 0.05,
            Self::Regular => 0.15,
            Self::Loyal => 0.3,
        }
    }

    /// How likely a checkout ends in an order.
    pub(super) fn orders(self) -> f64 {
        match self {
            Self::Browser => 0.35,
            Self::Regular => 0.6,
            Self::Loyal => 0.85,
        }
    }
}

/// What the shop remembers of a person while it generates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Person {
    /// Times the cookies of this person were deleted.
    pub(super) generation: u8,
    /// Has an account.
    pub(super) has_account: bool,
    /// Has left an address without an account.
    pub(super) has_subscribed: bool,
    pub(super) orders: u16,
}

/// Everybody, and where a person's properties come from.
#[derive(Clone, Debug)]
pub(super) struct People {
    seed: u64,
    people: Vec<Person>,
}

/// A device with one lifetime of its cookies; its anonymous id follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    person: u32,
    number: u8,
    generation: u8,
    /// Runs the shop's app.
    pub(super) is_phone: bool,
}

impl People {
    pub(super) fn new(seed: u64, count: u32) -> Self {
        Self { seed, people: vec![Person::default(); count.max(1) as usize] }
    }

    /// Someone: a few come all the time, most now and then.
    pub(super) fn someone(&self, rng: &mut Rng) -> u32 {
        let unit = rng.unit();
        (unit * unit * self.people.len() as f64) as u32
    }

    pub(super) fn get(&mut self, person: u32) -> &mut Person {
        &mut self.people[person as usize]
    }

    fn trait_of(&self, person: u32, which: u64) -> u64 {
        mix(mix(self.seed ^ 0x5a0b_11c3) ^ (u64::from(person) << 32) ^ which)
    }

    pub(super) fn persona(&self, person: u32) -> Persona {
        match self.trait_of(person, 1) % 100 {
            0..50 => Persona::Browser,
            50..90 => Persona::Regular,
            _ => Persona::Loyal,
        }
    }

    /// Whether this person would ever open an account.
    pub(super) fn likes_accounts(&self, person: u32) -> bool {
        self.trait_of(person, 2) % 100 < 65
    }

    /// One of the person's one to three devices; in a few households it is the neighbor's.
    pub(super) fn device(&mut self, person: u32, rng: &mut Rng) -> Device {
        let neighbor = person ^ 1;
        let shares = self.trait_of(person.min(neighbor), 3).is_multiple_of(12);
        let owner = match shares && (neighbor as usize) < self.people.len() && rng.chance(0.25) {
            true => neighbor,
            false => person,
        };
        if owner == person && rng.chance(0.02) {
            let generation = &mut self.get(person).generation;
            *generation = generation.saturating_add(1);
        }
        let devices = 1 + self.trait_of(owner, 4) % 3;
        let number = if owner == person { rng.below(devices) as u8 } else { 0 };
        let is_phone = mix(self.trait_of(owner, 5) ^ u64::from(number)) % 100 < 35;
        // Only the first device loses its cookies, the others keep one id for good.
        let generation = if number == 0 { self.get(owner).generation } else { 0 };
        Device { person: owner, number, generation, is_phone }
    }

    /// The 128 bits of a device's anonymous id.
    pub(super) fn anonymous_id(&self, device: Device) -> [u64; 2] {
        let which = (u64::from(device.number) << 8 | u64::from(device.generation)) << 8;
        let high = self.trait_of(device.person, which ^ 0x6ff6);
        [high, mix(high ^ 0x0dd0_f00d)]
    }

    pub(super) fn first_name(&self, person: u32) -> &'static str {
        FIRST_NAMES[(self.trait_of(person, 6) % 24) as usize]
    }

    pub(super) fn last_name(&self, person: u32) -> &'static str {
        LAST_NAMES[(self.trait_of(person, 7) % 24) as usize]
    }

    pub(super) fn city(&self, person: u32) -> &'static str {
        CITIES[(self.trait_of(person, 8) % 12) as usize]
    }

    pub(super) fn plan(&self, person: u32) -> &'static str {
        PLANS[(self.trait_of(person, 9) % 4) as usize]
    }
}
