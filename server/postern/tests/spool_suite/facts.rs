//! What durable state must do.

use super::*;
use postern::spool::Facts;

const SPACE: &str = "plugin/test";

pub async fn facts_with_mail<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let body = pattern(100, 1);
    let mut new = message(&["a.example"]);
    new.facts = vec![fact("accepted", Some("1"))];
    commit(&spool, new, &body).await;
    assert_eq!(spool.get(SPACE, b"accepted", T0).await.unwrap().unwrap(), "1");

    let leased = lease(&spool, "a.example", T0).await.remove(0);
    let mut settlement = settlement(&leased, &Settle::Done);
    settlement.facts = vec![fact("settled", Some("2")), fact("accepted", None)];
    assert!(spool.settle(settlement).await.unwrap());
    drop(spool);
    let spool = open();
    assert_eq!(spool.get(SPACE, b"settled", T0).await.unwrap().unwrap(), "2");
    assert_eq!(spool.get(SPACE, b"accepted", T0).await.unwrap(), None);
    assert_eq!(spool.get("plugin/tes", b"tsettled", T0).await.unwrap(), None, "namespaces don't run together");
}

pub async fn values_and_expiry<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let until = Fact { expires: Some(later(10)), ..fact("k", Some("v")) };
    spool.write(vec![until, fact("empty", Some(""))]).await.unwrap();
    assert_eq!(spool.get(SPACE, b"k", later(9)).await.unwrap().unwrap(), "v");
    assert_eq!(spool.get(SPACE, b"k", later(10)).await.unwrap(), None);
    assert_eq!(spool.get(SPACE, b"empty", later(9)).await.unwrap().unwrap(), "");
    spool.write(vec![fact("k", Some("w"))]).await.unwrap();
    assert_eq!(spool.get(SPACE, b"k", later(99)).await.unwrap().unwrap(), "w");
    let long = Fact { key: vec![0; 1025], ..fact("", Some("v")) };
    assert!(spool.write(vec![fact("k", None), long]).await.is_err());
    let long = Fact { value: Some(Bytes::from(vec![0; 65537])), ..fact("l", None) };
    assert!(spool.write(vec![fact("k", None), long]).await.is_err());
    assert!(spool.get(SPACE, b"k", T0).await.unwrap().is_some(), "nothing of a refused write");
    let largest = Fact { value: Some(pattern(65536, 1)), key: vec![1; 1024], ..fact("", None) };
    spool.write(vec![largest.clone()]).await.unwrap();
    assert_eq!(spool.get(SPACE, &largest.key, T0).await.unwrap(), largest.value);
}

pub async fn scans<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut facts: Vec<Fact> = ["a/1", "b/1", "b/2", "b/3", "c"].into_iter().map(|k| fact(k, Some("v"))).collect();
    facts.push(Fact { expires: Some(T0), ..fact("b/25", Some("old")) });
    facts.push(Fact { namespace: "plugin/other".to_owned(), ..fact("b/9", Some("x")) });
    spool.write(facts).await.unwrap();
    let keys = async |prefix: &str, after: Option<&str>, limit| {
        let found = spool.scan(SPACE, prefix.as_bytes(), after.map(str::as_bytes), T0, limit).await.unwrap();
        found.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(keys("b/", None, 10).await, ["b/1", "b/2", "b/3"]);
    assert_eq!(keys("b/", None, 2).await, ["b/1", "b/2"]);
    assert_eq!(keys("b/", Some("b/2"), 2).await, ["b/3"]);
    assert_eq!(keys("b/", Some("a"), 2).await, ["b/1", "b/2"]);
    assert_eq!(keys("", None, 10).await, ["a/1", "b/1", "b/2", "b/3", "c"]);
    assert_eq!(keys("d", None, 10).await, Vec::<String>::new());
}
