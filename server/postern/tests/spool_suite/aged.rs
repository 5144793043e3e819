//! What is found by its age: mail that nobody attempts, and whose sender was told that it is late.

use super::*;
use postern::spool::{Action, Aged, Facts, Filter};

pub async fn leases_aged_across_queues<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut ids = Vec::new();
    for destinations in [&["a.example", "b.example"][..], &["held.example"], &["c.example"], &["a.example"]] {
        ids.push(commit(&spool, message(destinations), &Bytes::new()).await);
    }
    let new = NewMessage { deliver_at: later(30), ..message(&["a.example"]) };
    let not_due = commit(&spool, new, &Bytes::new()).await;
    let held = Filter { destination: Some("held.example".to_owned()), ..Filter::default() };
    spool.admin(&held, Action::Hold).await.unwrap();
    let b = lease(&spool, "b.example", T0).await.remove(0);
    let shape = |leased: &[Leased]| {
        leased
            .iter()
            .map(|l| (l.message.id, l.recipients[0].token.recipient.seq.0, l.recipients.len()))
            .collect::<Vec<_>>()
    };

    assert!(
        spool.lease_aged(Aged::all(Timestamp(1)), T0, 99, 99, TTL).await.unwrap().is_empty(),
        "none is as old as that"
    );
    // By the time in the ids, which is the clock's, not that of the acceptance.
    let all = Aged::all(now().after(TTL));
    let first = spool.lease_aged(all, T0, 2, 99, TTL).await.unwrap();
    assert_eq!(shape(&first), [(ids[0], 1, 1), (ids[2], 1, 1)], "oldest first; neither leased nor held ones");
    let rest = spool.lease_aged(all, T0, 99, 99, TTL).await.unwrap();
    assert_eq!(shape(&rest), [(ids[3], 1, 1)], "not the one that is not due");
    assert_eq!(shape(&spool.lease_aged(all, later(30), 99, 99, TTL).await.unwrap()), [(not_due, 1, 1)]);
    spool.settle(settlement(&b, &Settle::Release)).await.unwrap();
    assert_eq!(shape(&spool.lease_aged(all, T0, 99, 99, TTL).await.unwrap()), [(ids[0], 2, 1)]);
    assert!(!spool.settle(settlement(&first[0], &Settle::Done)).await.unwrap());
}

pub async fn leases_a_part_of_an_aged_message<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let id = commit(&spool, message(&["a.example"; 5]), &Bytes::new()).await;
    let all = Aged::all(now().after(TTL));
    for expected in [&[1, 2][..], &[3, 4], &[5]] {
        let leased = spool.lease_aged(all, T0, 99, 2, TTL).await.unwrap().remove(0);
        let seqs: Vec<u32> = leased.recipients.iter().map(|r| r.token.recipient.seq.0).collect();
        assert_eq!((leased.message.id, &seqs[..]), (id, expected));
        spool.settle(settlement(&leased, &Settle::Done)).await.unwrap();
    }
}

pub async fn that_the_sender_was_told_is_durable<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let ids = [
        commit(&spool, message(&["a.example"; 3]), &Bytes::new()).await,
        commit(&spool, message(&["b.example"]), &Bytes::new()).await,
    ];
    let untold = |from| Aged { from, untold: true, ..Aged::all(now().after(TTL)) };
    let mut leased = spool.lease_aged(untold(QueueId(0)), T0, 99, 99, TTL).await.unwrap();
    assert_eq!(leased.iter().map(|l| l.message.id).collect::<Vec<_>>(), ids);
    assert!(leased.iter().flat_map(|l| &l.recipients).all(|r| !r.told));
    let dsn = draft(&spool, &pattern(500, 1)).await;
    let told = Settle::Defer { due: later(5), reason: "451".to_owned(), told: true };
    let of_a = tokens(&leased[0]).into_iter().zip([told, Settle::Told, Settle::Release]).collect();
    let emit = vec![(dsn, message(&["sender.example"]))];
    let settlement = postern::spool::Settlement { message: ids[0], outcomes: of_a, emit, facts: Vec::new() };
    assert!(!spool.settle(settlement).await.unwrap());
    spool.settle(released(&leased.remove(1))).await.unwrap();
    drop(spool);

    let spool = open();
    let state = |spool: S| async move {
        let of_first = Filter { message: Some(ids[0]), ..Filter::default() };
        let listed = spool.list(&of_first, None, 9).await.unwrap();
        listed.iter().map(|l| (l.told, l.attempts, l.due)).collect::<Vec<_>>()
    };
    assert_eq!(state(spool.clone()).await, [(true, 1, later(5)), (true, 0, T0), (false, 0, T0)]);
    let leased = spool.lease_aged(untold(QueueId(0)), later(9), 99, 99, TTL).await.unwrap();
    assert_eq!(leased[0].recipients.iter().map(|r| r.token.recipient.seq.0).collect::<Vec<_>>(), [3]);
    for leased in &leased {
        spool.settle(released(leased)).await.unwrap();
    }
    let from = spool.lease_aged(untold(ids[1]), later(9), 99, 99, TTL).await.unwrap();
    assert!(from.iter().all(|l| l.message.id >= ids[1]) && from[0].message.id == ids[1]);

    // Whatever happens to the recipient, its sender was told.
    let a = lease(&spool, "a.example", later(5)).await.remove(0);
    assert_eq!(a.recipients.iter().map(|r| r.told).collect::<Vec<_>>(), [true, true, false]);
    spool.settle(super::settlement(&a, &defer(later(8)))).await.unwrap();
    spool.admin(&Filter { message: Some(ids[0]), ..Filter::default() }, Action::Hold).await.unwrap();
    spool.admin(&Filter { message: Some(ids[0]), ..Filter::default() }, Action::Release(later(8))).await.unwrap();
    drop(spool);
    assert_eq!(
        state(open()).await.iter().map(|(told, attempts, _)| (*told, *attempts)).collect::<Vec<_>>(),
        [(true, 2), (true, 1), (false, 1)]
    );
}

fn released<D>(leased: &Leased) -> postern::spool::Settlement<D> {
    settlement(leased, &Settle::Release)
}
