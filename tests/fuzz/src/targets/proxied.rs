//! The PROXY header: what was read of its beginning stands whatever follows, and its length is right.

use postern_core::smtp::proxied::{LONGEST_HEADER, proxy_client};

pub fn run(input: &[u8]) {
    let input = &input[..input.len().min(LONGEST_HEADER)];
    let whole = proxy_client(input);
    for cut in 0..input.len().min(600) {
        match proxy_client(&input[..cut]) {
            Ok(None) => {}
            Ok(Some(client)) => {
                assert!(client.length <= cut);
                assert_eq!(whole, Ok(Some(client)), "cut at {cut}");
            }
            Err(_) => assert!(whole.is_err(), "{whole:?}, cut at {cut}"),
        }
    }
    if let Ok(Some(client)) = whole {
        assert!((1..=input.len()).contains(&client.length));
        let is_header = input.starts_with(b"PROXY") || input.starts_with(b"\r\n\r\n\0\r\nQUIT\n");
        assert!(is_header);
        assert_eq!(proxy_client(&input[..client.length]), Ok(Some(client)));
    }
}
