//! stub
#[test]
fn stub() {
    let v: serde_json::Value = yaml_serde::from_str("a: 1").unwrap();
    assert!(regex::Regex::new(v["a"].to_string().as_str()).is_ok());
}
