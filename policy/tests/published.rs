//! Every document of the catalogue loads unchanged and means what its page says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use weir_policy::Policy;

#[test]
fn every_policy_of_the_corpus_loads() {
    let mut names = 0;
    for document in weir_corpus::policies() {
        match Policy::load(document.text.as_bytes(), document.name) {
            Ok(policy) => assert_eq!(policy.document(), document.text.as_bytes()),
            Err(problems) => panic!("{problems}"),
        }
        names += 1;
    }
    assert!(names >= 16, "only {names} policies in the corpus");
}
