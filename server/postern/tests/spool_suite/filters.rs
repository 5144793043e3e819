//! Which recipients a filter means, for lists and for actions.

use super::*;
use postern::spool::{Action, Facts, Filter, Reach};

fn filter(text: &str) -> Filter {
    text.parse().unwrap()
}

/// The recipients that fit, by place of their message and of theirs in it.
async fn fitting<S: Spool>(spool: &S, ids: &[QueueId], text: &str) -> Vec<(usize, u32)> {
    let listed = spool.list(&filter(text), None, 99).await.unwrap();
    listed.iter().map(|l| (ids.iter().position(|id| *id == l.message.id).unwrap(), l.seq.0)).collect()
}

pub async fn each_term<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut ids = vec![commit(&spool, message(&["a.example", "B.example", "a.example"]), &Bytes::new()).await];
    let mut bulk = message(&["b.example"]);
    bulk.queues[0].zone = "bulk".into();
    bulk.envelope.reverse_path = ReversePath::Path("Other@example.com".parse().unwrap());
    ids.push(commit(&spool, bulk, &Bytes::new()).await);
    let mut bounce = message(&["sub.a.example"]);
    bounce.envelope.reverse_path = ReversePath::Null;
    bounce.queues[0] = key("relay.example:25");
    ids.push(commit(&spool, bounce, &Bytes::new()).await);
    assert_eq!(spool.admin(&filter(&format!("{}.003", ids[0])), Action::Hold).await.unwrap(), 1);
    let held = fitting(&spool, &ids, "state=held").await;
    assert_eq!(held, [(0, 3)]);

    let mut spool = spool;
    // Once from memory, once from the disk.
    for round in 0..2 {
        let first = format!("id={}", ids[0]);
        let only = format!("{}.002", ids[0]);
        let checks: [(&str, &[(usize, u32)]); 13] = [
            ("", &[(0, 1), (0, 2), (0, 3), (1, 1), (2, 1)]),
            (&first, &[(0, 1), (0, 2), (0, 3)]),
            (&only, &[(0, 2)]),
            ("zone=bulk", &[(1, 1)]),
            ("destination=RELAY.example:25", &[(2, 1)]),
            ("state=pending", &[(0, 1), (0, 2), (1, 1), (2, 1)]),
            ("domain=b.example", &[(0, 2), (1, 1)]),
            ("domain=a.example", &[(0, 1), (0, 3)]),
            ("domain=a.example state=pending", &[(0, 1)]),
            ("sender=other@EXAMPLE.com", &[(1, 1)]),
            ("sender=<>", &[(2, 1)]),
            ("recipient=r1@b.example zone=default", &[(0, 2)]),
            ("recipient=nobody@b.example", &[]),
        ];
        for (text, expected) in checks {
            assert_eq!(fitting(&spool, &ids, text).await, expected, "{text}, round {round}");
            // Held ones go, then all that fit are held and one is let go again: each action finds the same recipients.
            let count = expected.len() as u64;
            let was_held = expected.iter().filter(|one| held.contains(one)).count() as u64;
            assert_eq!(spool.admin(&filter(text), Action::Retry(T0)).await.unwrap(), count - was_held, "{text}");
            if !text.contains("state=") {
                assert_eq!(spool.admin(&filter(text), Action::Hold).await.unwrap(), count - was_held, "{text}");
                assert_eq!(spool.admin(&filter(text), Action::Release(T0)).await.unwrap(), count, "{text}");
                spool.admin(&filter(&format!("{}.003", ids[0])), Action::Hold).await.unwrap();
            }
        }
        drop(spool);
        spool = open();
    }
    assert_eq!(spool.admin(&filter("domain=b.example"), Action::Delete).await.unwrap(), 2);
    assert_eq!(fitting(&spool, &ids, "").await, [(0, 1), (0, 3), (2, 1)]);
    drop(spool);
    assert_eq!(fitting(&open(), &ids, "").await, [(0, 1), (0, 3), (2, 1)]);
}

pub async fn a_filter_over_many<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let domains: Vec<&str> = (0..12_000).map(|n| if n % 3 == 0 { "rare.example" } else { "a.example" }).collect();
    let mut many = message(&domains);
    many.queues.fill(key("relay.example"));
    commit(&spool, many, &Bytes::new()).await;
    for _ in 0..20 {
        commit(&spool, message(&["rare.example", "a.example"]), &Bytes::new()).await;
    }
    drop(spool);
    let spool = open();
    let rare = filter("domain=rare.example");
    let (mut after, mut listed) = (None, 0);
    loop {
        let page = spool.list(&rare, after, 700).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(postern_core::mail::RecipientId { message: last.message.id, seq: last.seq });
        assert!(
            page.len() <= 700
                && page.iter().all(|l| l.message.envelope.recipients[l.seq.index()].address.domain() == "rare.example")
        );
        listed += page.len();
    }
    assert_eq!(listed, 4020);
    assert_eq!(spool.admin(&rare, Action::Delete).await.unwrap(), 4020);
    assert_eq!(spool.stats().recipients, 8020);
    drop(spool);
    let spool = open();
    assert_eq!(spool.survey(&rare, Action::Delete).await.unwrap(), Reach::default());
    assert_eq!(spool.stats().recipients, 8020);
}

pub async fn surveys_change_nothing<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    commit(&spool, message(&["a.example", "b.example", "a.example"]), &Bytes::new()).await;
    commit(&spool, message(&["c.example"]), &Bytes::new()).await;
    spool.admin(&filter("destination=b.example"), Action::Hold).await.unwrap();
    let _leased = lease(&spool, "c.example", T0).await;
    let reach = async |text: &str, action| {
        let reach = spool.survey(&filter(text), action).await.unwrap();
        (reach.recipients, reach.queues.iter().map(|queue| queue.destination.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(reach("", Action::Delete).await, (4, ["a", "b", "c"].map(|n| format!("{n}.example")).to_vec()));
    assert_eq!(reach("", Action::Retry(T0)).await, (3, ["a", "c"].map(|n| format!("{n}.example")).to_vec()));
    assert_eq!(reach("", Action::Release(T0)).await, (1, vec!["b.example".to_owned()]));
    assert_eq!(reach("recipient=r2@a.example", Action::Hold).await, (1, vec!["a.example".to_owned()]));
    assert_eq!(reach("sender=nobody@example.com", Action::Delete).await, (0, Vec::new()));
    assert_eq!(spool.stats().recipients, 4);
    assert_eq!(spool.list(&filter("state=held"), None, 9).await.unwrap().len(), 1);
}
