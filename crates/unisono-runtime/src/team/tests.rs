use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;
use std::time::Instant;

const BIG: u64 = 10_000_000;

fn team(threads: usize, spin_us: u64) -> Team {
    Team::new(
        TeamOptions::default()
            .threads(threads)
            .spin(Duration::from_micros(spin_us)),
    )
    .expect("threads")
}

#[test]
fn every_tile_runs_exactly_once_for_any_team_and_any_size() {
    for threads in [1, 2, 3, 8] {
        for spin in [0, 50] {
            let team = team(threads, spin);
            for tiles in [0, 1, 2, 3, 17, 1000] {
                for ns in [0, 10_000, BIG] {
                    let done: Vec<AtomicU32> = (0..tiles).map(|_| AtomicU32::new(0)).collect();
                    team.run(tiles, ns, |tile, seat| {
                        assert!(seat < threads);
                        done[tile].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }
}

#[test]
fn a_seat_has_one_holder_at_a_time() {
    let team = team(4, 50);
    for _ in 0..200 {
        let seats: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
        team.run(64, BIG, |_, seat| {
            assert!(
                !seats[seat].swap(true, Ordering::Relaxed),
                "seat {seat} taken twice"
            );
            std::hint::black_box((0..500).sum::<u64>());
            seats[seat].store(false, Ordering::Relaxed);
        });
    }
}

#[test]
fn workers_really_help() {
    let team = team(2, 50);
    let both = (0..50).any(|_| {
        let helped = AtomicBool::new(false);
        team.run(2, BIG, |_, seat| {
            if seat == 1 {
                helped.store(true, Ordering::Relaxed);
            } else {
                let start = Instant::now();
                while !helped.load(Ordering::Relaxed)
                    && start.elapsed() < Duration::from_millis(100)
                {
                    std::thread::yield_now();
                }
            }
        });
        helped.into_inner()
    });
    assert!(both);
}

#[test]
fn many_leaders_share_one_team() {
    let team = team(3, 20);
    std::thread::scope(|scope| {
        for leader in 0..12_usize {
            let team = &team;
            scope.spawn(move || {
                for round in 0..100 {
                    let sum = AtomicUsize::new(0);
                    let tiles = 1 + (leader * 7 + round) % 40;
                    team.run(tiles, BIG, |tile, _| {
                        sum.fetch_add(tile + 1, Ordering::Relaxed);
                    });
                    assert_eq!(sum.into_inner(), tiles * (tiles + 1) / 2);
                }
            });
        }
    });
}

#[test]
fn a_panic_in_a_tile_reaches_its_leader_alone_and_the_team_goes_on() {
    let team = team(3, 50);
    for bad in [0, 5, 63] {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            team.run(64, BIG, |tile, _| assert!(tile != bad, "tile {bad}"));
        }));
        let payload = caught.expect_err("the panic must reach the leader");
        let text = payload.downcast_ref::<String>().expect("a message");
        assert_eq!(text, &format!("tile {bad}"));
        let count = AtomicUsize::new(0);
        team.run(64, BIG, |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 64);
    }
}

#[test]
fn a_tile_may_lead_a_job_of_its_own() {
    let team = team(2, 50);
    let count = AtomicUsize::new(0);
    team.run(8, BIG, |_, _| {
        team.run(8, BIG, |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(count.into_inner(), 64);
}

#[test]
fn any_thread_can_help() {
    let team = team(2, 0);
    assert!(!team.help());
    let stop = AtomicBool::new(false);
    let sum = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                team.help();
            }
        });
        for _ in 0..200 {
            team.run(10, BIG, |tile, seat| {
                assert!(seat < 2);
                sum.fetch_add(tile, Ordering::Relaxed);
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 200 * 45);
}

#[test]
fn as_many_leaders_as_threads_work_alone() {
    let team = team(2, 50);
    let _one = team.attend();
    let _two = team.attend();
    let me = std::thread::current().id();
    team.run(64, BIG, |_, _| assert_eq!(std::thread::current().id(), me));
}

#[test]
fn worker_threads_run_the_hook_first() {
    let started = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&started);
    let options = TeamOptions::default().threads(3).on_thread_start(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    drop(Team::new(options).expect("threads"));
    assert_eq!(started.load(Ordering::Relaxed), 2);
}

#[test]
fn every_piece_is_one_tile_and_the_heaviest_are_at_the_ends() {
    for tiles in 0..40 {
        let mut pieces: Vec<usize> = (0..tiles).map(|tile| by_weight(tile, tiles)).collect();
        let (front, back) = pieces.split_at(tiles.div_ceil(2));
        assert!(
            front.is_sorted() && back.is_sorted_by(|a, b| a > b),
            "{tiles}"
        );
        pieces.sort_unstable();
        assert!(pieces.into_iter().eq(0..tiles), "{tiles}");
    }
}

/// Helpers wait until the leader has done its tile, and it until they have done theirs: so both ends are seen.
#[test]
fn the_leader_begins_with_the_first_tile_and_a_helper_with_the_last() {
    let team = Team::new(TeamOptions::default().threads(2)).unwrap();
    let both = std::sync::Barrier::new(2);
    let firsts = [AtomicU32::new(u32::MAX), AtomicU32::new(u32::MAX)];
    let tiles = 6;
    team.run(tiles, BIG, |tile, seat| {
        let first = firsts[seat].compare_exchange(
            u32::MAX,
            tile as u32,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if first.is_ok() {
            both.wait();
        }
    });
    assert_eq!(firsts.map(AtomicU32::into_inner), [0, tiles as u32 - 1]);
}
