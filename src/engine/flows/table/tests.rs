//! The table of flows: chains, queues, slots and hints.
#![forbid(unsafe_code)]

use super::*;

fn at(millis: i64) -> Instant {
    Instant::from_millis(millis)
}

fn flow(number: u32) -> Slot {
    let key = Key { far: number.into(), ..Key::default() };
    Slot::new(key, Direction::FromGuest, Progress::default(), 0)
}

/// Keys that stand in one place, as nobody without the secret could find them.
fn colliding(table: &Table, count: usize) -> Vec<Slot> {
    let place = table.places.of(&flow(0).key);
    (0..).map(flow).filter(|flow| table.places.of(&flow.key) == place).take(count).collect()
}

#[test]
fn a_chain_has_an_end() {
    let mut table = Table::new([1, 2]);
    let flows = colliding(&table, CHAIN + 1);
    for flow in &flows[..CHAIN] {
        assert!(table.insert(flow.clone(), Class::Udp, at(0)).is_some());
    }
    assert!(table.insert(flows[CHAIN].clone(), Class::Udp, at(0)).is_none());
    assert!(flows[..CHAIN].iter().all(|flow| table.find(&flow.key, at(0)).is_some()));
    let middle = table.find(&flows[CHAIN / 2].key, at(0)).unwrap();
    table.remove(middle);
    assert!(table.insert(flows[CHAIN].clone(), Class::Udp, at(0)).is_some());
    for (index, flow) in flows.iter().enumerate() {
        assert_eq!(table.find(&flow.key, at(0)).is_some(), index != CHAIN / 2, "{index}");
    }
}

#[test]
fn a_slot_is_used_again_and_no_queue_forgets_anyone() {
    let mut table = Table::new([1, 2]);
    for number in 0..1000 {
        let class = Class::ALL[number as usize % 5];
        table.insert(flow(number), class, at(0)).unwrap();
    }
    let slots = table.slots.len();
    // Renewed in another order than they came in, some moved between queues, some taken out.
    for number in (0..1000).rev() {
        let index = table.find(&flow(number).key, at(1)).unwrap();
        match number % 3 {
            0 => table.remove(index),
            1 => table.renew(index, Class::TcpEstablished, at(1)),
            _ => table.shorten(index, Class::TcpClosing, at(1)),
        }
    }
    // Two go for each that comes, until all that are over are gone.
    for number in 1000..1700 {
        table.insert(flow(number), Class::Udp, at(299_999)).unwrap();
    }
    assert!(table.slots.len() <= slots + 100, "{}", table.slots.len());
    for number in 0..1000 {
        let is_alive = table.find(&flow(number).key, at(299_999)).is_some();
        let is_old =
            !is_alive && table.in_chain(usize::from(table.places.of(&flow(number).key)), &flow(number).key).is_some();
        assert!(!is_old, "{number} is over and still there");
        assert_eq!(is_alive, number % 3 == 1, "{number}");
    }
}

#[test]
fn a_hint_never_finds_what_is_gone() {
    let mut table = Table::new([1, 2]);
    for end in ["removed", "cleared", "replaced"] {
        let index = table.insert(flow(7), Class::Udp, at(0)).unwrap();
        assert_eq!(table.find(&flow(7).key, at(0)), Some(index));
        assert_eq!(table.find(&flow(7).key, at(0)), Some(index), "by its hint");
        match end {
            "cleared" => table.clear(),
            _ => table.remove(index),
        }
        if end == "replaced" {
            assert_eq!(table.insert(flow(8), Class::Udp, at(0)), Some(index));
        }
        assert_eq!(table.find(&flow(7).key, at(0)), None, "{end}");
    }
}

#[test]
fn time_begins_with_the_second_and_a_flow_is_over_early_but_never_late() {
    let mut table = Table::new([1, 2]);
    let index = table.insert(flow(7), Class::Udp, at(1900)).unwrap();
    let is_alive = |table: &mut Table, millis| table.find(&flow(7).key, at(millis)).is_some();
    assert!(is_alive(&mut table, 30_999) && !is_alive(&mut table, 31_000));
    table.renew(index, Class::Udp, at(2000));
    assert!(is_alive(&mut table, 31_999) && !is_alive(&mut table, 32_000));
    table.shorten(index, Class::TcpClosing, at(2999));
    assert!(is_alive(&mut table, 11_999) && !is_alive(&mut table, 12_000));
    // Before the clock's origin too.
    table.renew(index, Class::Udp, at(-1));
    assert!(is_alive(&mut table, 28_999) && !is_alive(&mut table, 29_000));
}

#[test]
fn one_that_is_over_makes_room_for_one_of_the_same_key() {
    let mut table = Table::new([1, 2]);
    table.insert(flow(7), Class::Udp, at(0)).unwrap();
    assert!(table.find(&flow(7).key, at(29_999)).is_some());
    assert!(table.find(&flow(7).key, at(30_000)).is_none());
    table.insert(flow(7), Class::TcpEstablished, at(30_000)).unwrap();
    assert!(table.find(&flow(7).key, at(329_999)).is_some());
    table.clear();
    assert!(table.find(&flow(7).key, at(329_999)).is_none());
    assert!(table.insert(flow(7), Class::Udp, at(0)).is_some());
}

#[test]
fn the_ends_of_each_queue_are_a_slot_of_their_own_and_no_flow() {
    let ends: std::collections::HashSet<usize> = Class::ALL.into_iter().map(|class| class.queue().get()).collect();
    assert_eq!(ends.len(), Class::ALL.len());
    assert!(ends.iter().all(|slot| (1..Table::RESERVED).contains(slot)));
}

#[test]
fn who_comes_takes_two_out_whose_time_is_over_and_no_more() {
    let mut table = Table::new([1, 2]);
    for number in 0..10 {
        table.insert(flow(number), Class::Udp, at(0)).unwrap();
    }
    let free = |table: &Table| table.slots.iter().skip(Table::RESERVED).filter(|slot| slot.deadline == OVER).count();
    for number in 1..5 {
        table.insert(flow(100 + number), Class::Udp, at(30_000)).unwrap();
        assert_eq!(free(&table), number as usize, "two more, of which it has one itself");
    }
    assert_eq!(table.slots.len(), Table::RESERVED + 10);
}
