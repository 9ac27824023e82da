//! Random pipelines over random lives of one profile.

use proptest::prelude::*;
use tidewater_model::{Aggregate, Value};

use super::{
    generate::{START, Tape, number, pipeline, scalar},
    world::{Harness, World},
};

/// Numbers that a pipeline is made from, and numbers that a profile's life is made from.
pub(super) type Tapes = (Vec<u16>, Vec<u16>);

pub(super) fn tapes() -> impl Strategy<Value = Tapes> {
    (prop::collection::vec(any::<u16>(), 0..800), prop::collection::vec(any::<u16>(), 0..250))
}

/// Lives through a pair of tapes: a pipeline, then steps of what happens to the profile.
pub(super) fn live((definitions, life): &Tapes) -> Result<(), String> {
    let spec = pipeline(&mut Tape::new(definitions));
    let mut tape = Tape::new(life);
    let mut harness = Harness::new(World::new(spec, START));
    let mut timer = harness.evaluate(true)?;
    while !tape.is_over() {
        let mut identifiers_changed = false;
        match tape.pick(6) {
            0 | 1 => {
                for _ in 0..1 + tape.pick(3) {
                    event(&mut tape, &mut harness.world);
                }
            }
            2 => {
                identifier(&mut tape, &mut harness.world);
                identifiers_changed = true;
            }
            3 => {
                let now = harness.world.now;
                harness.world.now = match timer {
                    Some(timer) if timer < now + 200 => timer,
                    _ => now + tape.between(0, 30),
                };
            }
            4 => {
                // The last moment at which nothing may have changed, then the first at which something may.
                if let Some(due) = timer.filter(|timer| *timer < harness.world.now + 200) {
                    harness.world.now = due - 1;
                    timer = harness.evaluate(false)?;
                    if timer.is_none_or(|timer| timer > due) {
                        return Err(format!("timer {due} has become {timer:?} although nothing happened"));
                    }
                    harness.world.now = due;
                }
            }
            _ => rewrite(&mut tape, &mut harness),
        }
        timer = harness.evaluate(identifiers_changed)?;
    }
    Ok(())
}

/// One event for one trait, sometimes at `now` exactly, sometimes dated ahead.
fn event(tape: &mut Tape<'_>, world: &mut World) {
    let index = tape.pick(world.spec.traits.len());
    let definition = &world.spec.traits[index];
    // Events dated ahead enter windows when the caller says so; here they only go where there is none.
    let ahead = if definition.window.is_some() { 0 } else { 20 };
    let time = world.now + if tape.pick(3) == 0 { 0 } else { tape.between(-45, ahead) };
    let value = match definition.aggregate {
        Aggregate::First(_) | Aggregate::Last(_) => scalar(tape),
        _ => number(tape),
    };
    world.see(index, time, if tape.pick(8) == 7 { Value::Null } else { value });
}

fn identifier(tape: &mut Tape<'_>, world: &mut World) {
    let value = tape.one_of(&["a", "b", "c"]).to_owned();
    let values = &mut world.identifiers[tape.pick(2)];
    match values.iter().position(|known| *known == value) {
        Some(at) => drop(values.remove(at)),
        None => values.push(value),
    }
}

/// What a split or a fresh record does: values fall back, or are decided anew.
fn rewrite(tape: &mut Tape<'_>, harness: &mut Harness) {
    let index = tape.pick(harness.world.seen.len());
    match tape.pick(4) {
        0 => harness.world.seen[index].clear(),
        1 => harness.world.seen.iter_mut().for_each(Vec::clear),
        2 => drop(harness.world.seen[index].pop()),
        _ => {
            harness.old = None;
            harness.bits.fill(u64::MAX);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_definitions_at_every_millisecond(tapes in tapes()) {
        live(&tapes).map_err(TestCaseError::fail)?;
    }
}
