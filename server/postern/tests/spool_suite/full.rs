//! What the queue must do on a full disk: take nothing from clients, go on with what it has. An engine's test file
//! says how to open the store so that its disk counts as full.

use super::*;
use postern::spool::{Facts, Health, SpoolError};

pub async fn takes_nothing_and_delivers<S: Spool + Facts>(open: impl Fn() -> S, open_full: impl Fn() -> S) {
    let spool = open();
    let id = commit(&spool, message(&["a.example", "b.example"]), &pattern(3000, 1)).await;
    drop(spool);
    let spool = open_full();
    assert!(matches!(spool.begin(None).await, Err(SpoolError::Busy(_))));
    assert!(matches!(spool.begin(Some(1000)).await, Err(SpoolError::Busy(_))));
    assert!(matches!(spool.health(), Health::Full(_)), "{:?}", spool.health());
    let a = lease(&spool, "a.example", T0).await.remove(0);
    assert_eq!(content(&spool, id).await, whole(&message(&[]), &pattern(3000, 1)));
    assert!(!spool.settle(settlement(&a, &defer(later(9)))).await.unwrap());
    for (domain, last) in [("b.example", false), ("a.example", true)] {
        let leased = lease(&spool, domain, later(9)).await.remove(0);
        assert_eq!(spool.settle(settlement(&leased, &Settle::Done)).await.unwrap(), last);
    }
    assert_eq!(spool.stats().messages, 0);
}

pub async fn bounces_all_the_same<S: Spool + Facts>(open: impl Fn() -> S, open_full: impl Fn() -> S) {
    let spool = open();
    commit(&spool, message(&["a.example"]), &pattern(3000, 1)).await;
    drop(spool);
    let spool = open_full();
    let leased = lease(&spool, "a.example", T0).await.remove(0);
    let mut bounced = settlement(&leased, &Settle::Done);
    for len in [2000, 400_000] {
        let mut dsn = spool.begin_own().await.unwrap();
        dsn.write(pattern(len, 1)).await.unwrap();
        bounced.emit.push((dsn.seal().await.unwrap(), message(&["sender.example"])));
    }
    bounced.facts = vec![fact("bounced", Some("a"))];
    assert!(spool.settle(bounced).await.unwrap());
    assert_eq!(lease(&spool, "sender.example", T0).await.len(), 2);
    assert_eq!(spool.get("plugin/test", b"bounced", T0).await.unwrap().unwrap(), "a");
    assert!(matches!(spool.begin(None).await, Err(SpoolError::Busy(_))));
}

pub async fn takes_mail_again_once_there_is_room<S: Spool + Facts>(open: impl Fn() -> S, open_full: impl Fn() -> S) {
    let spool = open_full();
    assert!(matches!(spool.begin(None).await, Err(SpoolError::Busy(_))));
    drop(spool);
    let spool = open();
    assert_eq!(spool.health(), Health::Ok);
    commit(&spool, message(&["a.example"]), &pattern(3000, 1)).await;
}
