//! What the queue must do.

use super::*;
use postern::spool::{Action, Facts, Filter, SpoolError, State};
use postern_core::mail::{EnvelopeId, Notify, OriginalRecipient, Ret, Seq};

pub async fn commit_reopen_and_read<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut expected = Vec::new();
    for (n, len) in [0, 1, 4096, 61_436 - 41, 61_436, 200_000, 262_144, 262_145, 700_000].into_iter().enumerate() {
        let body = pattern(len, n as u64);
        let new = message(&["a.example", "b.example"]);
        expected.push((commit(&spool, new.clone(), &body).await, whole(&new, &body), new));
    }
    let mut reopened = Some(spool);
    for round in 0..2 {
        let spool = reopened.take().unwrap_or_else(&open);
        for (id, bytes, _) in &expected {
            assert!(content(&spool, *id).await == *bytes, "content of {} octets, round {round}", bytes.len());
        }
        assert_eq!(spool.stats().messages, expected.len() as u64);
    }
    let spool = open();
    let leased = lease(&spool, "b.example", T0).await;
    assert_eq!(leased.len(), expected.len());
    for (leased, (id, bytes, new)) in leased.iter().zip(&expected) {
        let stored = &leased.message;
        assert_eq!((stored.id, stored.len, stored.header_len), (*id, bytes.len() as u64, new.header.len() as u64));
        assert_eq!((&stored.envelope, &stored.queues, &stored.origin), (&new.envelope, &new.queues, &new.origin));
        assert_eq!(leased.recipients[0].token.recipient.seq, Seq(2));
    }
    let newest = expected.last().unwrap().0;
    assert!(commit(&spool, message(&["a.example"]), &Bytes::new()).await > newest, "ids never go back");
}

pub async fn drafts_leave_nothing<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut half = spool.begin(Some(5000)).await.unwrap();
    half.write(pattern(3000, 1)).await.unwrap();
    assert!(spool.stats().draft_memory > 0);
    drop(half);
    drop(draft(&spool, &pattern(500_000, 2)).await);
    assert_eq!(spool.stats().draft_memory, 0);
    assert_eq!(spool.stats().messages, 0);
    let mut nobody = message(&["a.example"]);
    nobody.envelope.recipients.clear();
    assert!(spool.commit(draft(&spool, &pattern(10, 1)).await, nobody).await.is_err());
    assert!(lease(&spool, "a.example", T0).await.is_empty());
}

pub async fn ranges<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    for len in [5000, 100_000, 400_000] {
        let body = pattern(len, len as u64);
        let sealed = draft(&spool, &body).await;
        let source = sealed.body();
        assert!(read_all(&*source).await == body, "a sealed draft of {len}");
        let new = message(&["a.example"]);
        let all = whole(&new, &body);
        let id = sealed.id();
        spool.commit(sealed, new).await.unwrap();
        let source = spool.open(id).await.unwrap();
        for start in [0, 1, 40, 41, 42, 4000, len / 2, len, all.len() - 1] {
            let part = source.read(start as u64, 777).await.unwrap();
            assert!(!part.is_empty() && all[start..].starts_with(&part), "{len} from {start}");
        }
        assert!(source.read(all.len() as u64, 9).await.unwrap().is_empty());
        assert!(source.read(u64::MAX, 9).await.unwrap().is_empty());
    }
}

pub async fn leases_in_due_order<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let body = Bytes::new();
    let mut ids = Vec::new();
    for wait in [30, 10, 20, 40] {
        let new = NewMessage { deliver_at: later(wait), ..message(&["a.example"]) };
        ids.push(commit(&spool, new, &body).await);
    }
    assert!(lease(&spool, "a.example", later(9)).await.is_empty());
    assert!(lease(&spool, "b.example", later(99)).await.is_empty());
    let got = |leased: Vec<Leased>| leased.iter().map(|leased| leased.message.id).collect::<Vec<_>>();
    assert_eq!(got(spool.lease(&key("a.example"), later(30), 2, 9, TTL).await.unwrap()), [ids[1], ids[2]]);
    assert_eq!(got(lease(&spool, "a.example", later(30)).await), [ids[0]]);
    assert!(lease(&spool, "a.example", later(39)).await.is_empty());
    assert_eq!(spool.stats().in_attempt, 3);
    drop(spool);
    let spool = open();
    assert_eq!(got(lease(&spool, "a.example", later(40)).await), [ids[1], ids[2], ids[0], ids[3]], "after a restart");
}

pub async fn due_order_across_deferrals<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(commit(&spool, message(&["a.example", "a.example"]), &Bytes::new()).await);
    }
    // Deferred to other times than they came in, one of them with its recipients apart; one isn't tried at all.
    for (leased, wait) in lease(&spool, "a.example", T0).await.iter().take(3).zip([30, 10, 20]) {
        let mut outcome = settlement(leased, &defer(later(wait)));
        if wait == 10 {
            outcome.outcomes[1].1 = defer(later(40));
        }
        spool.settle(outcome).await.unwrap();
    }
    drop(spool);
    let spool = open();
    assert_eq!(spool.ready(later(9)).next_due, Some(later(10)));
    let shape = |leased: &[Leased]| {
        leased.iter().map(|l| (l.message.id, l.recipients[0].token.recipient.seq.0)).collect::<Vec<_>>()
    };
    let due = lease(&spool, "a.example", later(30)).await;
    assert_eq!(shape(&due), [(ids[3], 1), (ids[1], 1), (ids[2], 1), (ids[0], 1)]);
    assert_eq!(due.iter().map(|leased| leased.recipients.len()).collect::<Vec<_>>(), [2, 1, 2, 2]);
    assert!(lease(&spool, "a.example", later(39)).await.is_empty());
    assert_eq!(shape(&lease(&spool, "a.example", later(40)).await), [(ids[1], 2)]);
}

pub async fn groups_and_limits<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let first = commit(&spool, message(&["a.example", "b.example", "a.example", "a.example"]), &Bytes::new()).await;
    let second = commit(&spool, message(&["a.example"]), &Bytes::new()).await;
    let leased = spool.lease(&key("a.example"), T0, 5, 2, TTL).await.unwrap();
    let shape = |leased: &[Leased]| {
        let seqs = |l: &Leased| tokens(l).iter().map(|t| t.recipient.seq.0).collect::<Vec<_>>();
        leased.iter().map(|l| (l.message.id, seqs(l))).collect::<Vec<_>>()
    };
    assert_eq!(shape(&leased), [(first, vec![1, 3]), (second, vec![1])]);
    assert_eq!(shape(&lease(&spool, "a.example", T0).await), [(first, vec![4])]);
    assert_eq!(shape(&lease(&spool, "b.example", T0).await), [(first, vec![2])]);
}

pub async fn fencing<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    commit(&spool, message(&["a.example", "a.example"]), &Bytes::new()).await;
    let old = lease(&spool, "a.example", T0).await.remove(0);
    assert!(lease(&spool, "a.example", T0).await.is_empty(), "one lease at a time");
    assert_eq!(spool.renew(&tokens(&old), TTL).await.unwrap(), tokens(&old));
    let mut one = settlement(&old, &Settle::Release);
    one.outcomes.truncate(1);
    assert!(!spool.settle(one).await.unwrap());
    let new = lease(&spool, "a.example", T0).await.remove(0);
    assert_eq!(new.recipients.len(), 1);
    assert_ne!(new.recipients[0].token, old.recipients[0].token);
    assert_eq!(spool.renew(&tokens(&old), TTL).await.unwrap(), [old.recipients[1].token]);

    // With one stale token nothing happens, not even the facts.
    let mut stale = settlement(&old, &Settle::Done);
    stale.facts = vec![fact("x", Some("y"))];
    match spool.settle(stale).await {
        Err(SpoolError::LeaseLost(lost)) => assert_eq!(lost, old.recipients[0].token.recipient),
        other => panic!("{other:?}"),
    }
    assert_eq!(spool.get("plugin/test", b"x", T0).await.unwrap(), None);
    let mut twice = settlement(&new, &Settle::Done);
    twice.outcomes.push(twice.outcomes[0].clone());
    assert!(matches!(spool.settle(twice).await, Err(SpoolError::LeaseLost(_))));
    assert_eq!(spool.stats().recipients, 2);

    // The leases were not hurt by that.
    let mut both = settlement(&new, &Settle::Done);
    both.outcomes.push((old.recipients[1].token, Settle::Done));
    assert!(spool.settle(both).await.unwrap());
    let again = spool.settle(settlement(&new, &Settle::Done)).await;
    assert!(matches!(again, Err(SpoolError::LeaseLost(_))), "no token settles twice");
}

pub async fn settles_whole_or_not_at_all<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let id = commit(&spool, message(&["a.example", "b.example", "c.example"]), &pattern(4096, 1)).await;
    let a = lease(&spool, "a.example", T0).await.remove(0);
    let b = lease(&spool, "b.example", T0).await.remove(0);
    let bodies = [pattern(2000, 7), pattern(300_000, 8)];
    let mut dsn_ids = Vec::new();
    let mut bounced = settlement(&a, &Settle::Done);
    for body in &bodies {
        let sealed = draft(&spool, body).await;
        dsn_ids.push(sealed.id());
        bounced.emit.push((sealed, message(&["sender.example"])));
    }
    bounced.facts = vec![fact("bounced", Some("a"))];
    bounced.outcomes.push((b.recipients[0].token, defer(later(60))));
    assert!(!spool.settle(bounced).await.unwrap());
    drop(spool);

    let spool = open();
    assert_eq!(spool.stats().messages, 3);
    assert_eq!(spool.get("plugin/test", b"bounced", T0).await.unwrap().unwrap(), "a");
    for (id, body) in dsn_ids.iter().zip(&bodies) {
        assert!(content(&spool, *id).await == whole(&message(&["sender.example"]), body));
    }
    assert!(lease(&spool, "a.example", later(60)).await.is_empty());
    assert_eq!(lease(&spool, "sender.example", T0).await.len(), 2);
    let b = lease(&spool, "b.example", later(60)).await.remove(0);
    assert_eq!((b.message.id, b.recipients[0].attempts), (id, 1));
    let c = lease(&spool, "c.example", T0).await.remove(0);
    assert!(!spool.settle(settlement(&c, &Settle::Done)).await.unwrap());
    assert!(spool.settle(settlement(&b, &Settle::Done)).await.unwrap(), "the last one ends the message");
    assert!(matches!(spool.open(id).await, Err(SpoolError::NotFound(_))));
}

pub async fn defers_and_reopens<S: Spool + Facts>(open: impl Fn() -> S) {
    let mut spool = open();
    let id = commit(&spool, message(&["a.example"]), &pattern(1000, 1)).await;
    for attempt in 0..4u32 {
        let now = later(u64::from(attempt) * 10);
        assert_eq!(spool.ready(now).queues, [(key("a.example"), 1)]);
        let leased = lease(&spool, "a.example", now).await.remove(0);
        assert_eq!(leased.recipients[0].attempts, attempt);
        let next = now.after(Duration::from_secs(10));
        let reason = format!("451 try {attempt}\r\nsecond line");
        spool.settle(settlement(&leased, &Settle::Defer { due: next, reason, told: false })).await.unwrap();
        assert_eq!(spool.ready(now).next_due, Some(next));
        if attempt % 2 == 1 {
            drop(spool);
            spool = open();
        }
        let listed = spool.list(&Filter::default(), None, 9).await.unwrap();
        assert_eq!((listed[0].message.id, listed[0].attempts, listed[0].due), (id, attempt + 1, next));
        assert_eq!((&listed[0].reason[..], listed[0].state), (&format!("451 try {attempt}")[..], State::Pending));
    }
}

pub async fn release_changes_nothing<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    commit(&spool, message(&["a.example"]), &Bytes::new()).await;
    for _ in 0..3 {
        let leased = lease(&spool, "a.example", T0).await.remove(0);
        assert_eq!(leased.recipients[0].attempts, 0);
        assert!(!spool.settle(settlement(&leased, &Settle::Release)).await.unwrap());
    }
    let listed = spool.list(&Filter::default(), None, 9).await.unwrap();
    assert_eq!((listed[0].attempts, listed[0].due, &listed[0].reason[..]), (0, T0, ""));
}

pub async fn holds_and_releases<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    commit(&spool, message(&["a.example", "b.example"]), &Bytes::new()).await;
    let a = Filter { destination: Some("a.example".to_owned()), ..Filter::default() };
    assert_eq!(spool.admin(&a, Action::Hold).await.unwrap(), 1);
    assert_eq!(spool.admin(&a, Action::Hold).await.unwrap(), 0);
    assert_eq!(spool.admin(&Filter::default(), Action::Retry(later(5))).await.unwrap(), 1, "held ones are not retried");
    drop(spool);
    let spool = open();
    assert!(lease(&spool, "a.example", later(99)).await.is_empty());
    assert!(lease(&spool, "b.example", later(4)).await.is_empty());
    let held = Filter { state: Some(State::Held), ..Filter::default() };
    assert_eq!(spool.list(&held, None, 9).await.unwrap().len(), 1);
    assert_eq!(spool.admin(&Filter::default(), Action::Release(later(7))).await.unwrap(), 1);
    assert_eq!(lease(&spool, "a.example", later(7)).await.len(), 1);
}

pub async fn actions_during_an_attempt<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let destinations = ["hold.example", "delete.example", "retry.example", "done.example", "release.example"];
    let id = commit(&spool, message(&destinations), &pattern(5000, 1)).await;
    let only = |destination: &str| Filter { destination: Some(destination.to_owned()), ..Filter::default() };
    let mut leased = Vec::new();
    for destination in destinations {
        leased.push(lease(&spool, destination, T0).await.remove(0));
    }
    let actions = [Action::Hold, Action::Delete, Action::Retry(later(1)), Action::Hold, Action::Hold];
    for (destination, action) in destinations.iter().zip(actions) {
        assert_eq!(spool.admin(&only(destination), action).await.unwrap(), 1);
        assert_eq!(spool.list(&only(destination), None, 9).await.unwrap()[0].state, State::InAttempt);
    }
    assert_eq!(content(&spool, id).await.len(), 5000 + message(&[]).header.len(), "an attempt still reads it");
    for (at, settle) in [defer(later(50)), defer(later(50)), defer(later(50)), Settle::Done].iter().enumerate() {
        assert!(!spool.settle(settlement(&leased[at], settle)).await.unwrap());
    }
    assert!(!spool.settle(settlement(&leased[4], &Settle::Release)).await.unwrap());
    drop(spool);
    let spool = open();
    let listed = spool.list(&Filter::default(), None, 9).await.unwrap();
    let shape: Vec<_> = listed.iter().map(|l| (l.seq.0, l.state, l.attempts, l.due)).collect();
    assert_eq!(shape, [(1, State::Held, 1, later(50)), (3, State::Pending, 1, later(1)), (5, State::Held, 0, T0),]);
}

pub async fn deletes<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let lost = commit(&spool, message(&["a.example", "b.example"]), &pattern(300_000, 1)).await;
    let kept = commit(&spool, message(&["a.example", "b.example"]), &pattern(100, 2)).await;
    let in_attempt = commit(&spool, message(&["c.example"]), &pattern(100, 3)).await;
    let of = |id| Filter { message: Some(id), ..Filter::default() };
    assert_eq!(spool.admin(&of(lost), Action::Delete).await.unwrap(), 2);
    assert!(matches!(spool.open(lost).await, Err(SpoolError::NotFound(_))));
    assert_eq!(spool.admin(&Filter { seq: Some(Seq(2)), ..of(kept) }, Action::Delete).await.unwrap(), 1);
    let _leased = lease(&spool, "c.example", T0).await;
    assert_eq!(spool.admin(&of(in_attempt), Action::Delete).await.unwrap(), 1);
    assert_eq!(spool.admin(&of(in_attempt), Action::Delete).await.unwrap(), 0);
    drop(spool);
    // The attempt ended with the process, and what was deleted stays so.
    let spool = open();
    let listed = spool.list(&Filter::default(), None, 9).await.unwrap();
    assert_eq!(listed.iter().map(|l| (l.message.id, l.seq.0)).collect::<Vec<_>>(), [(kept, 1)]);
    assert!(matches!(spool.open(in_attempt).await, Err(SpoolError::NotFound(_))));
}

pub async fn admin_by_filter<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut ids = Vec::new();
    for n in 0..6 {
        let mut new = message(&["a.example", "b.example"]);
        if n % 2 == 0 {
            new.queues[1].zone = "bulk".into();
        }
        ids.push(commit(&spool, new, &Bytes::new()).await);
    }
    let bulk = Filter { zone: Some("bulk".to_owned()), ..Filter::default() };
    assert_eq!(spool.admin(&bulk, Action::Hold).await.unwrap(), 3);
    let both = Filter { destination: Some("b.example".to_owned()), state: Some(State::Pending), ..Filter::default() };
    let listed = spool.list(&both, None, 99).await.unwrap();
    assert_eq!(listed.iter().map(|l| l.message.id).collect::<Vec<_>>(), [ids[1], ids[3], ids[5]]);
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = spool.list(&Filter::default(), after, 5).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(postern_core::mail::RecipientId { message: last.message.id, seq: last.seq });
        paged.extend(page.iter().map(|l| (l.message.id, l.seq)));
    }
    assert_eq!(paged.len(), 12);
    assert!(paged.is_sorted());
    let none = Filter { message: Some(QueueId(5)), ..Filter::default() };
    assert_eq!(spool.admin(&none, Action::Delete).await.unwrap(), 0);
}

pub async fn ten_thousand_recipients<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let body = pattern(2000, 1);
    let id = commit(&spool, message(&vec!["a.example"; 10_000]), &body).await;
    let mut ended = false;
    let mut rounds = 0;
    while !ended {
        let leased = spool.lease(&key("a.example"), T0, 10, 3000, TTL).await.unwrap();
        let [leased] = &leased[..] else { panic!("one message, {rounds}") };
        let mut settlement = settlement(leased, &Settle::Done);
        if rounds == 0 {
            for (_, settle) in settlement.outcomes.iter_mut().skip(1).step_by(2) {
                *settle = defer(later(10));
            }
        }
        ended = spool.settle(settlement).await.unwrap();
        rounds += 1;
        if rounds == 4 {
            break;
        }
    }
    assert_eq!(spool.stats().recipients, 1500);
    drop(spool);
    let spool = open();
    assert_eq!(spool.stats().recipients, 1500);
    assert!(lease(&spool, "a.example", later(9)).await.is_empty());
    let rest = lease(&spool, "a.example", later(10)).await.remove(0);
    assert_eq!((rest.message.id, rest.recipients.len()), (id, 1500));
    assert!(rest.recipients.iter().all(|r| r.attempts == 1 && r.token.recipient.seq.0 % 2 == 0));
    assert_eq!(content(&spool, id).await.len(), body.len() + message(&[]).header.len());
    assert!(spool.settle(settlement(&rest, &Settle::Done)).await.unwrap());
    assert_eq!(spool.stats(), postern::spool::Stats::default());
}

pub async fn ready_and_changed<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    assert_eq!(spool.ready(T0), postern::spool::Ready::default());
    commit(&spool, message(&["a.example", "b.example", "a.example"]), &Bytes::new()).await;
    let changed = async || tokio::time::timeout(TTL, spool.changed()).await.unwrap();
    changed().await;
    commit(&spool, NewMessage { deliver_at: later(30), ..message(&["a.example"]) }, &Bytes::new()).await;
    let ready = spool.ready(T0);
    let mut queues = ready.queues;
    queues.sort();
    assert_eq!(queues, [(key("a.example"), 2), (key("b.example"), 1)]);
    assert_eq!(ready.next_due, Some(later(30)));
    let a = lease(&spool, "a.example", T0).await.remove(0);
    assert_eq!(spool.ready(T0).queues, [(key("b.example"), 1)]);
    // What was told before is not taken for news.
    while tokio::time::timeout(Duration::ZERO, spool.changed()).await.is_ok() {}
    spool.settle(settlement(&a, &Settle::Release)).await.unwrap();
    changed().await;
    assert_eq!(spool.ready(T0).queues.len(), 2);
    spool.admin(&Filter::default(), Action::Hold).await.unwrap();
    assert_eq!(spool.ready(later(99)), postern::spool::Ready::default());
    spool.admin(&Filter::default(), Action::Release(later(3))).await.unwrap();
    changed().await;
    assert_eq!(spool.ready(T0).next_due, Some(later(3)));
}

pub async fn ends_without_traces<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    for len in [100, 100_000, 300_000] {
        commit(&spool, message(&["a.example", "b.example"]), &pattern(len, 1)).await;
    }
    for destination in ["a.example", "b.example"] {
        for leased in lease(&spool, destination, T0).await {
            spool.settle(settlement(&leased, &Settle::Done)).await.unwrap();
        }
    }
    assert_eq!(spool.stats(), postern::spool::Stats::default());
    drop(spool);
    assert_eq!(open().stats(), postern::spool::Stats::default());
}

pub async fn large_content_streams<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let chunk = pattern(65_536, 1);
    let mut draft = spool.begin(Some(40 << 20)).await.unwrap();
    for _ in 0..(40 << 20) / 65_536 {
        draft.write(chunk.clone()).await.unwrap();
        assert!(spool.stats().draft_memory < 1 << 20);
    }
    let sealed = draft.seal().await.unwrap();
    let id = spool.commit(sealed, message(&["a.example"])).await.unwrap();
    let source = spool.open(id).await.unwrap();
    let header = message(&[]).header.len() as u64;
    assert_eq!(source.len(), (40 << 20) + header);
    for offset in [0u64, 65_536 * 300 + 17, (40 << 20) - 500] {
        let part = source.read(header + offset, 400).await.unwrap();
        let start = usize::try_from(offset % 65_536).unwrap();
        assert!(!part.is_empty() && chunk[start..start + part.len()] == part[..], "at {offset}");
    }
}

pub async fn keeps_what_is_asked_of_dsns<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut new = message(&["a.example", "a.example"]);
    new.envelope.ret = Some(Ret::Full);
    new.envelope.envid = EnvelopeId::parse("x+20y");
    new.envelope.recipients[0].notify = Notify::parse("NEVER");
    new.envelope.recipients[1].notify = Notify::parse("SUCCESS,DELAY");
    new.envelope.recipients[1].orcpt = OriginalRecipient::parse("utf-8;\\x{F5}@a.example", false);
    commit(&spool, new.clone(), &Bytes::new()).await;
    assert_eq!(lease(&spool, "a.example", T0).await[0].message.envelope, new.envelope);
    drop(spool);
    assert_eq!(lease(&open(), "a.example", T0).await[0].message.envelope, new.envelope);
}
