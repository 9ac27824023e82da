//! One visit to the shop: which event follows which.

use super::{
    people::{Device, People, Persona},
    rng::Rng,
};

/// What a visitor does next, with what its event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Landing {
        campaign: u8,
    },
    CategoryViewed {
        category: u8,
    },
    Searched {
        category: u8,
    },
    ProductViewed {
        product: u32,
    },
    ProductAdded {
        product: u32,
    },
    ProductRemoved {
        product: u32,
    },
    CartViewed,
    CheckoutStarted,
    OrderCompleted {
        order: u64,
    },
    OrderRefunded {
        order: u64,
    },
    /// Leaves an address for the newsletter: an identify without a user id.
    Subscribed,
    SignedIn,
    /// The alias that some libraries send when an account is opened.
    Aliased,
    JoinedCompany,
}

/// Where a visit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Arriving,
    Browsing,
    AtCheckout,
    Ordering,
    Ordered { order: u64 },
    Gone,
}

/// A visit under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) person: u32,
    pub(super) device: Device,
    pub(super) signed_in: bool,
    /// Things in the cart, and what they cost in cents.
    pub(super) cart: (u32, u64),
    persona: Persona,
    stage: Stage,
    product: u32,
    /// Opened the account in this visit and has not been aliased.
    alias_due: bool,
}

/// How many products there are.
pub(super) const PRODUCTS: u32 = 2_000;

/// What a product costs, in cents.
pub(super) fn price(product: u32) -> u64 {
    let spread = super::rng::mix(u64::from(product) ^ 0x0bad_cafe) % 1_000;
    // Most things are cheap.
    499 + spread * spread / 50 / 10 * 10
}

impl Session {
    pub(super) fn start(people: &mut People, rng: &mut Rng) -> Self {
        let person = people.someone(rng);
        let device = people.device(person, rng);
        let signed_in = people.get(person).has_account && rng.chance(0.45);
        Self {
            person,
            device,
            signed_in,
            cart: (0, 0),
            persona: people.persona(person),
            stage: Stage::Arriving,
            product: 0,
            alias_due: false,
        }
    }

    /// The next event of the visit; `None` when it is over. `orders` numbers the shop's orders.
    pub(super) fn next(&mut self, people: &mut People, rng: &mut Rng, orders: &mut u64) -> Option<Action> {
        if self.alias_due {
            self.alias_due = false;
            return Some(Action::Aliased);
        }
        match self.stage {
            Stage::Arriving => {
                self.stage = Stage::Browsing;
                Some(Action::Landing { campaign: rng.below(10) as u8 })
            }
            Stage::Browsing => self.browse(people, rng),
            Stage::AtCheckout => {
                self.stage = Stage::Ordering;
                if !self.signed_in && people.likes_accounts(self.person) {
                    return Some(self.sign_in(people, rng));
                }
                self.next(people, rng, orders)
            }
            Stage::Ordering if rng.chance(self.persona.orders()) => {
                *orders += 1;
                self.stage = Stage::Ordered { order: *orders };
                let person = people.get(self.person);
                person.orders = person.orders.saturating_add(1);
                Some(Action::OrderCompleted { order: *orders })
            }
            Stage::Ordered { order } => {
                self.stage = Stage::Gone;
                rng.chance(0.04).then_some(Action::OrderRefunded { order })
            }
            Stage::Ordering | Stage::Gone => None,
        }
    }

    fn browse(&mut self, people: &mut People, rng: &mut Rng) -> Option<Action> {
        let roll = rng.below(1_000);
        if self.cart.0 > 0 && roll < 250 {
            return Some(match roll {
                0..90 => Action::CartViewed,
                90..110 if self.cart.0 > 1 => {
                    self.cart = (self.cart.0 - 1, self.cart.1.saturating_sub(price(self.product)));
                    Action::ProductRemoved { product: self.product }
                }
                _ => {
                    self.stage = Stage::AtCheckout;
                    Action::CheckoutStarted
                }
            });
        }
        match roll {
            250..330 if !self.signed_in => return Some(self.introduce(people, rng)),
            330..334 if self.signed_in => return Some(Action::JoinedCompany),
            334..500 => return Some(Action::CategoryViewed { category: rng.below(8) as u8 }),
            500..570 => return Some(Action::Searched { category: rng.below(8) as u8 }),
            570..690 => {
                self.stage = Stage::Gone;
                return None;
            }
            _ => {}
        }
        if self.product > 0 && rng.chance(self.persona.adds()) {
            self.cart = (self.cart.0 + 1, self.cart.1 + price(self.product));
            return Some(Action::ProductAdded { product: self.product });
        }
        // A few products are on every page.
        let unit = rng.unit();
        self.product = 1 + (unit * unit * f64::from(PRODUCTS - 1)) as u32;
        Some(Action::ProductViewed { product: self.product })
    }

    /// Says who it is, or looks around if this person would not.
    fn introduce(&mut self, people: &mut People, rng: &mut Rng) -> Action {
        let likes_accounts = people.likes_accounts(self.person);
        let person = people.get(self.person);
        if person.has_account || (likes_accounts && rng.chance(0.5)) {
            return self.sign_in(people, rng);
        }
        if !person.has_subscribed && rng.chance(0.4) {
            person.has_subscribed = true;
            return Action::Subscribed;
        }
        Action::CategoryViewed { category: rng.below(8) as u8 }
    }

    fn sign_in(&mut self, people: &mut People, rng: &mut Rng) -> Action {
        let is_new = !std::mem::replace(&mut people.get(self.person).has_account, true);
        self.signed_in = true;
        self.alias_due = is_new && rng.chance(0.1);
        Action::SignedIn
    }
}
