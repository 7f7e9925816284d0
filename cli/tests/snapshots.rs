//! What a page of output looks like, word for word. `TRYCMD=overwrite` writes the pages anew.

#[test]
fn pages_look_as_they_did() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
