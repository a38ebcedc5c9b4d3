use super::*;

const TRAITS: Traits = Traits {
    kind: 1,
    rows: 1,
    row_limit: 8,
    mixes: false,
};

fn put(queue: &Queue<usize>, request: usize, owner: Owner) -> Option<Place> {
    queue.put(request, TRAITS, owner).ok()
}

#[test]
fn every_block_is_somebodys_home_and_neighbours_in_number_live_far_apart() {
    for blocks in [1, 2, 3, 7, 16, 100] {
        let mut homes: Vec<usize> = (0..128).map(|number| home(number, blocks)).collect();
        assert!(homes.iter().all(|home| *home < blocks));
        homes.sort_unstable();
        homes.dedup();
        assert_eq!(homes.len(), blocks);
    }
    for first in 0..64 {
        let mut four: Vec<usize> = (first..first + 4).map(|number| home(number, 16)).collect();
        four.sort_unstable();
        let least = if first % 4 == 0 { 4 } else { 1 };
        let apart = |pair: &[usize]| pair[1] - pair[0] >= least;
        assert!(four.windows(2).all(apart), "{first}: {four:?}");
    }
}

#[test]
fn a_thread_takes_the_lowest_free_slot_and_a_future_one_of_its_home() {
    let queue = Queue::new(16 * BLOCK);
    let homes = home(thread_number(), 16);
    let first = put(&queue, 0, Owner::Future).unwrap();
    assert_eq!(first.slot / BLOCK, homes);
    let lowest = put(&queue, 1, Owner::Thread).unwrap();
    assert_eq!(lowest.slot, if homes == 0 { 1 } else { 0 });
    for place in [first, lowest] {
        assert!(queue.withdraw(place).is_ok());
    }
}

/// Evidence: bounded-queue
#[test]
fn a_home_that_is_full_goes_on_to_the_next_and_the_capacity_is_exact() {
    for capacity in [1, BLOCK - 1, BLOCK + 1, 5 * BLOCK + 3] {
        let queue = Queue::new(capacity);
        let places: Vec<Place> = std::iter::from_fn(|| put(&queue, 7, Owner::Future)).collect();
        assert_eq!(places.len(), capacity);
        assert_eq!(queue.waiting(), capacity);
        assert!(put(&queue, 7, Owner::Thread).is_none());
        let mut slots: Vec<usize> = places.iter().map(|place| place.slot).collect();
        slots.sort_unstable();
        assert!(slots.into_iter().eq(0..capacity));
        for place in places {
            assert!(queue.withdraw(place).is_ok());
        }
        assert_eq!(queue.waiting(), 0);
    }
}

/// Evidence: bounded-queue
#[test]
fn senders_of_many_homes_get_no_more_slots_than_there_are() {
    const CAPACITY: usize = 4 * BLOCK + 9;
    let queue = Queue::new(CAPACITY);
    let taken: usize = std::thread::scope(|s| {
        let senders: Vec<_> = (0..8)
            .map(|_| s.spawn(|| std::iter::from_fn(|| put(&queue, 7, Owner::Future)).count()))
            .collect();
        senders.into_iter().map(|s| s.join().unwrap()).sum()
    });
    assert_eq!(taken, CAPACITY);
    assert_eq!(queue.waiting(), CAPACITY);
}

/// More than the words of the index that are written at a time.
#[test]
fn those_claimed_together_are_out_of_the_index_and_the_others_still_in_it() {
    let queue = Queue::new(40 * BLOCK);
    let places: Vec<Place> = std::iter::from_fn(|| put(&queue, 7, Owner::Future)).collect();
    assert_eq!(places.len(), 40 * BLOCK);
    let mut list = Vec::new();
    queue.look(&mut list);
    list.sort_unstable_by_key(|one| one.ticket);
    // Every third, the first of which has been taken back meanwhile, and one that is in no queue.
    let mut batch: Vec<Waiting> = list.iter().copied().step_by(3).collect();
    batch.insert(5, Waiting::new(0, TRAITS));
    let expected: Vec<u64> = batch[1..]
        .iter()
        .map(|one| one.ticket)
        .filter(|t| *t != 0)
        .collect();
    let mut places = places.into_iter();
    assert!(queue.withdraw(places.next().unwrap()).is_ok());
    let mut claims = Vec::new();
    queue.claim_all(&mut batch, |claim| claims.push(claim));
    assert!(claims.iter().map(|claim| claim.ticket).eq(expected));
    assert_eq!(queue.waiting(), 40 * BLOCK - 1 - claims.len());
    list.clear();
    queue.look(&mut list);
    assert_eq!(list.len(), queue.waiting());
    let mut bells = Bells::default();
    claims
        .into_iter()
        .for_each(|claim| assert!(claim.finish(&mut bells)));
    for place in places {
        if let Err(answered) = queue.withdraw(place) {
            assert!(queue.collect(answered).is_some());
        }
    }
    assert_eq!(queue.waiting(), 0);
    assert!(!queue.is_waited_in());
}

#[test]
fn a_thread_is_appointed_if_one_waits_among_however_many_futures() {
    let queue = Queue::new(8);
    assert_eq!(queue.appoint(), Appointed::NobodyWaits);
    let futures = [(); 3].map(|()| put(&queue, 7, Owner::Future).unwrap());
    assert_eq!(queue.appoint(), Appointed::NoThreadWaits);
    let thread = put(&queue, 8, Owner::Thread).unwrap();
    assert_eq!(queue.appoint(), Appointed::Thread);
    assert_eq!(queue.news(&thread), News::Lead);
    assert_eq!(queue.appoint(), Appointed::NoThreadWaits);
    assert!(queue.collect(thread).is_some());
    for place in futures {
        assert!(queue.withdraw(place).is_ok());
    }
    assert_eq!(queue.appoint(), Appointed::NobodyWaits);
}
